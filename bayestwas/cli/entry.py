"""The application, and how every command ends: one message and a true exit status."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from bayestwas.errors import BayestwasError

FINISHED_WITH_FAILURES = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
TERMINATED = 143  # 128 + SIGTERM
DEBUG = "BAYESTWAS_DEBUG"  # set to anything: unexpected errors keep their traceback

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    help="Which gene, in which context, in which ancestry, drives a trait, and how sure are we.\n\n"
    "Exit status: 0 all good; 1 finished, with failed blocks or genes; 2 could not run.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bayestwas {version()}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass  # the option acts through its callback


def version() -> str:
    from importlib.metadata import version

    return version("bayestwas")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as batch systems send it: the same way out as Ctrl-C."""


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can be told what a signal does
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def one_message() -> Iterator[None]:
    """Turn errors into one message on stderr and the exit status; a traceback only where DEBUG is set."""
    try:
        with _sigterm_like_ctrl_c():
            yield
    except typer.Exit:
        raise
    except _Terminated:
        typer.echo("Terminated; nothing half-written is left.", err=True)
        raise typer.Exit(TERMINATED) from None
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing half-written is left.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BayestwasError as error:
        _refuse(error.given, error.rule, error.remedy)
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        _refuse(
            what,
            "Files must be readable and the output folder writable",
            "Check the path, its rights and the disk",
        )
    except Exception as error:
        if DEBUG in os.environ:
            raise
        _refuse(
            f"{type(error).__name__}: {error}",
            "This is a fault of bayestwas, not of your files",
            f"Run again with {DEBUG}=1 to see where it happened, and report that",
        )


def _refuse(given: str, rule: str, remedy: str) -> None:
    for lead, text in (("Error: ", given), ("  Rule: ", rule), ("  Remedy: ", remedy)):
        typer.echo(
            typer.style(lead, bold=True, fg="red" if lead == "Error: " else None) + text.rstrip("."), err=True
        )
    raise typer.Exit(COULD_NOT_RUN)
