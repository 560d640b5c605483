"""Commands on a study: run, check, null, simulate."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayestwas.cli.entry import FINISHED_WITH_FAILURES, app, one_message, version
from bayestwas.errors import SettingsError, nearest

if TYPE_CHECKING:
    import pandas as pd

WORTH_A_SENTENCE = 0.1  # smallest PIP, or plug-in PIP, of a gene whose sentence is printed


@app.command(
    epilog="Example: [bold]bayestwas run study.toml --out results[/bold]",
)
def run(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 1,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")] = False,
    feedback: Annotated[
        bool,
        typer.Option(
            "--feedback/--no-feedback",
            help="Let the GWAS reweigh the expression weights (full Bayes), or keep them (cut posterior).",
        ),
    ] = True,
    gene: Annotated[
        list[str] | None,
        typer.Option(
            "--gene",
            "-g",
            help="Only the blocks that hold this gene; may be repeated.",
            show_default="all blocks",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Fit every block of a study; write tables, figures and results.zarr.

    Every gene has a status: ok; warning (fitted, and its reason says what to keep in mind); skipped (cannot
    be fitted with these data); failed (should have been fitted and was not).

    Exit status: 0 all good; 1 finished, with blocks or genes of status failed; 2 could not run; 130
    interrupted (Ctrl-C), 143 terminated (SIGTERM). Warnings and skipped genes leave the status at 0.
    """
    with one_message():
        from bayestwas.run.pipeline import run_study

        summary = run_study(
            study,
            out,
            seed=seed,
            workers=workers,
            overwrite=overwrite,
            feedback=feedback,
            genes=tuple(gene) if gene else None,
            progress=not quiet,
        )
        _print_top(summary.top)
        typer.echo(f"\nResults in {summary.out}:")
        for name, meaning in _OUTPUTS:
            typer.echo(f"  {name:<18} {meaning}")
        if summary.warned_genes:
            many = "1 gene has" if summary.warned_genes == 1 else f"{summary.warned_genes} genes have"
            typer.echo(
                f"{many} the status warning: the column reason of genes.tsv says what to keep in mind."
            )
        if summary.unknown_genes:
            listed = ", ".join(summary.unknown_genes)
            typer.echo(f"Note: in no phenotype file, and skipped: {listed}", err=True)
        if summary.failed_blocks or summary.failed_genes:
            typer.echo(
                f"Failed: {summary.failed_blocks} blocks, {summary.failed_genes} genes; "
                "the columns status and reason of blocks.tsv and genes.tsv say why.",
                err=True,
            )
            raise typer.Exit(FINISHED_WITH_FAILURES)


_OUTPUTS = (
    ("genes.tsv", "one row per gene: probability, effect, and what it rests on"),
    ("contexts.tsv", "per gene and context"),
    ("effects.tsv", "per gene, context and ancestry"),
    ("variants.tsv", "direct effects of variants"),
    ("blocks.tsv", "per block: size, convergence, status, reliability of its LD"),
    ("suspects.tsv", "variants left out because they do not fit their LD or their file"),
    ("harmonisation.tsv", "every variant that was flipped or dropped, and why"),
    ("priors.tsv", "the priors of the run, with intervals where they were learned"),
    ("notes.tsv", "what to know of the result as a whole: where its probabilities may be off, and why"),
    ("genes.png", "the genes with the highest PIPs"),
    ("triangulation.png", "the same genes from several sides, and how the evidence agrees"),
    ("priors.png", "the priors, drawn"),
    ("locus-*.png", "one figure per block"),
    ("results.zarr", "everything, for bayestwas.open_results"),
)


@app.command(epilog="Example: [bold]bayestwas check study.toml[/bold]")
def check(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).", show_default=False)],
) -> None:
    """Read and harmonise everything, say what fits together and what a run would cost; fit nothing."""
    with one_message():
        from bayestwas.run.check import check as read_and_harmonise
        from bayestwas.run.check import render

        render(read_and_harmonise(study))


@app.command(epilog="Example: [bold]bayestwas null study.toml --kind permutation --n 20 --out null[/bold]")
def null(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the null.", show_default=False)],
    kind: Annotated[
        str, typer.Option(help="permutation (of the donors), or parametric (z drawn from the LD).")
    ] = "permutation",
    n: Annotated[int, typer.Option("--n", min=1, help="Replicates.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 1,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes.")] = 2,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Run a study as it is and N times without gene effects; count what passes each threshold.

    Writes null.tsv (per threshold: genes of the study, genes of the null, empirical and Bayesian false
    discovery rate), null.genes.tsv (per gene) and null.png. The same call again continues a stopped one, and
    a larger N adds replicates.
    """
    with one_message():
        from bayestwas.run.null import run_null, sentence

        found = run_null(study, out, kind=kind, n=n, seed=seed, workers=workers, progress=not quiet)
        typer.echo(f"{found.done} replicates of the {kind} null:")
        for _, row in found.thresholds.iterrows():
            typer.echo(f"  {sentence(row)}")
        typer.echo(f"Tables and figure: {out}/null.tsv, null.genes.tsv, null.png")


@app.command(
    epilog="Example: [bold]bayestwas simulate --preset demo --out demo/study[/bold]",
)
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the study.", show_default=False)],
    preset: Annotated[
        str, typer.Option(help="demo, tiny, friendly, hard, or a setting of docs/calibration.md.")
    ] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 1,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Number of blocks.", show_default="that of the preset")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing simulated study.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Write a simulated study, labelled as such, with its truth (truth.tsv)."""
    with one_message():
        from rich.console import Console
        from rich.progress import track

        from bayestwas.data.simulate import PRESETS, simulate_study
        from bayestwas.io.write_study import check_study_folder, write_study

        if preset not in PRESETS:
            raise SettingsError(
                f"Preset '{preset}'",
                "A preset is a named design of a simulated study",
                nearest(preset, PRESETS),
            )
        design = PRESETS[preset]
        count = design.blocks if blocks is None else blocks
        check_study_folder(out, overwrite)
        command = f"bayestwas simulate --preset {preset} --seed {seed} --blocks {count}"
        stream = track(
            simulate_study(design, seed, count),
            description="Simulating blocks",
            total=count,
            console=Console(stderr=True),
            disable=quiet,
        )
        written = write_study(
            stream, out, recipe=f"Made by bayestwas {version()}: {command}", overwrite=overwrite
        )
        typer.echo(f"Simulated study: {written}")
        typer.echo(f"The truth: {out / 'truth.tsv'}")
        typer.echo(f"Next: bayestwas run {shlex.quote(str(written))} --out results")


def _print_top(top: pd.DataFrame) -> None:
    """The genes with the highest PIPs as a table, and below it what the PIPs that matter rest on."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    console = Console()
    drawn = Table(title="Genes with the highest PIPs", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    numbers = top.drop(columns="explanation", errors="ignore")
    for name in numbers.columns:
        number = numbers[name].dtype.kind in "if"
        label = str(name).replace("_", "\n")
        drawn.add_column(label, justify="right" if number else "left", overflow="fold")
    for row in numbers.itertuples(index=False):
        drawn.add_row(*(f"{value:.3g}" if isinstance(value, float) else escape(str(value)) for value in row))
    console.print(drawn)
    if "explanation" not in top:
        return
    told = top.loc[top[["pip", "pip_plugin"]].max(axis=1) >= WORTH_A_SENTENCE, "explanation"]
    for sentence in told:
        console.print(Padding(escape(str(sentence)), (0, 0, 0, 2)))
