"""Commands on what is finished: export and priors of a result, cards of the models."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from bayestwas.cli.entry import app, one_message
from bayestwas.errors import InputError, SettingsError, nearest


@app.command(
    name="export", epilog="Example: [bold]bayestwas export results --format predictdb --to weights[/bold]"
)
def export_weights(
    results: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a result.", show_default=False)
    ],
    to: Annotated[Path, typer.Option("--to", help="A new folder for the files.", show_default=False)],
    format: Annotated[
        str, typer.Option("--format", help="predictdb, fusion or parquet.", show_default=False)
    ],
    study: Annotated[
        Path | None,
        typer.Option(help="The study file of the run.", show_default="the one that the result names"),
    ] = None,
    agreement: Annotated[
        float,
        typer.Option(help="Squared correlation of the prediction by the exported weights with that by all."),
    ] = 0.99,
) -> None:
    """Write the expression weights of a finished run for S-PrediXcan, FUSION or a notebook.

    predictdb: a database and covariances per context and ancestry, weights per allele. fusion: a list (.pos)
    and .wgt.RDat files, weights per SD of genotype. Both hold posterior means, with the LD of the study.
    parquet: every draw with its probability, and the means.
    """
    with one_message():
        from bayestwas.run.export import export

        for path in export(results, to, format=format, study=study, agreement=agreement):
            typer.echo(path)


@app.command(epilog="Example: [bold]bayestwas models gene_trait[/bold]")
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, to print its card.", show_default="list them all")
    ] = None,
) -> None:
    """List the generative models, or print the card of one: question, equations, priors, limits."""
    with one_message():
        from bayestwas.models import MODELS, card

        if name is None:
            _print_models({known: _question(card(known)) for known in MODELS})
            return
        if name not in MODELS:
            raise SettingsError(f"Model '{name}'", "A model is one of those that ship", nearest(name, MODELS))
        if _terminal():
            from rich.console import Console
            from rich.markdown import Markdown

            Console().print(Markdown(card(name)))
        else:
            typer.echo(card(name).rstrip())


@app.command(epilog="Example: [bold]bayestwas priors results[/bold]")
def priors(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a result.", show_default=False)
    ],
) -> None:
    """Print the priors that a result was fitted under, and draw them into DIR/priors.png.

    Priors of genes and variants that were learned have 95% intervals; a quantity that the data did not inform
    says so. priors.tsv has every number, with a statement in words.
    """
    with one_message():
        from bayestwas.data.results import STORE, open_priors
        from bayestwas.report.priors import print_priors

        if not (folder / STORE).is_dir():
            raise InputError(
                f"'{folder}' " + (f"holds no {STORE}" if folder.is_dir() else "is not a folder"),
                "A result is a folder that bayestwas run has written",
                "Give the folder that was its --out",
            )
        result = open_priors(folder / STORE)
        print_priors(result)
        # drawn last: what takes longest, and what a folder that cannot be written to refuses
        from bayestwas.report.forest import write_priors

        typer.echo(f"Drawn: {write_priors(result, folder)}")


def _terminal() -> bool:
    return sys.stdout.isatty()


def _question(card: str) -> str:
    """What follows the name in the first heading of a card."""
    return card.partition("\n")[0].partition(": ")[2]


def _print_models(questions: dict[str, str]) -> None:
    width = max(map(len, questions))
    for name, question in questions.items():
        typer.echo(f"{name:<{width}}  {question}")
    nutpie = all(find_spec(library) is not None for library in ("nutpie", "numba"))
    typer.echo(
        "\nnutpie is installed: it samples many loci faster than PyMC's own sampler."
        if nutpie
        else "\nnutpie, which samples many loci faster, is not installed: pip install 'bayestwas[nutpie]'"
    )
    typer.echo("The card of one: bayestwas models NAME")
