"""How far a run has come, on stderr: bars on a terminal, plain lines elsewhere, nothing where nobody
asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVERY = 20.0  # seconds between two plain lines of one stage


class Watch(Protocol):
    """Told of the stages of a run and of what the user should know."""

    def __call__(self, label: str, results: Iterable[Any], total: int) -> Iterable[Any]:
        """Pass on the `total` results of one stage, and show how many have come."""

    def note(self, sentence: str) -> None:
        """Show one sentence."""


class Silent:
    """Shows nothing."""

    def __call__(self, label: str, results: Iterable[Any], total: int) -> Iterable[Any]:
        return results

    def note(self, sentence: str) -> None:
        pass


class Bars:
    """One bar per stage."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, label: str, results: Iterable[Any], total: int) -> Iterator[Any]:
        task = self.progress.add_task(escape(label), total=total)
        for result in results:
            self.progress.advance(task)
            yield result

    def note(self, sentence: str) -> None:
        self.progress.console.print(f"[yellow]Note[/yellow]: {escape(sentence)}")


class Lines:
    """One line per stage when it is done, and some between where it takes long."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, label: str, results: Iterable[Any], total: int) -> Iterator[Any]:
        began = told = time.monotonic()
        count = 0
        for count, result in enumerate(results, start=1):
            yield result
            now = time.monotonic()
            if now - told > EVERY and count < total:
                told = now
                self._say(f"{label}: {count} of {total}, {now - began:.0f} s")
        self._say(f"{label}: {count} of {total}, {time.monotonic() - began:.1f} s")

    def note(self, sentence: str) -> None:
        self._say(f"Note: {sentence}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def watching(wanted: bool, console: Console | None = None) -> Iterator[Watch]:
    """The watch of a run: nothing unless `wanted`, bars on a terminal, plain lines elsewhere."""
    console = console or Console(stderr=True)
    if not wanted:
        yield Silent()
    elif not console.is_terminal:
        yield Lines(console)
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield Bars(progress)
