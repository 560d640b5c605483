"""The command line: arguments to one call, and a true exit status.

0: all good. 1: finished, and some blocks or genes failed. 2: could not run; one message says what was given,
the rule it breaks and the remedy. Skipped genes (no variant in the window, say) are facts of the data and
leave the status at 0.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayestwas.errors import BayestwasError, InputError, SettingsError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from bayestwas.engine.coloc import ColocPriors

FINISHED_WITH_FAILURES = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
TERMINATED = 143  # 128 + SIGTERM
WORTH_A_SENTENCE = 0.1  # smallest PIP, or plug-in PIP, of a gene whose sentence is printed
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
        typer.echo(f"bayestwas {_version()}")
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
    with _one_message():
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
    with _one_message():
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
    with _one_message():
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
    with _one_message():
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
            stream, out, recipe=f"Made by bayestwas {_version()}: {command}", overwrite=overwrite
        )
        typer.echo(f"Simulated study: {written}")
        typer.echo(f"The truth: {out / 'truth.tsv'}")
        typer.echo(f"Next: bayestwas run {shlex.quote(str(written))} --out results")


@app.command(epilog="Example: [bold]bayestwas coloc study.toml --out coloc[/bold]")
def coloc(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.", show_default=False)],
    between: Annotated[
        list[str] | None,
        typer.Option(
            help="Further pairs: all, or A,B of contexts, trait (of the study) and other traits; may be "
            "repeated.",
            show_default="all where there are other traits",
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", help="NAME=STUDY: another trait, by its study file; may be repeated."),
    ] = None,
    priors: Annotated[str, typer.Option(help="learned, or coloc-default: 1e-4, 1e-4, 1e-5.")] = "learned",
    results: Annotated[
        Path | None,
        typer.Option(
            help="A result of bayestwas run: its priors of expression weights are used, and its PIPs are "
            "followed along p12."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 1,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier tables.")] = False,
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
    """Does the expression of a gene share a causal variant with the trait: every pair of signals.

    With --between and --with also any two contexts or traits with one another. Writes coloc.tsv (a row per
    gene, context, what it is paired with, ancestry and pair of signals), coloc_priors.tsv (p1, p2, p12 with
    intervals where they were learned), coloc_sensitivity.tsv and .png (how the conclusion hangs on p12), and
    coloc_clusters.tsv (which signals of several contexts and traits share a variant).

    A shared variant is a reason to look closer; it does not show that the gene acts on the trait.
    """
    with _one_message():
        from bayestwas.run.coloc import colocalize_study

        summary = colocalize_study(
            study, out, between=_pairs(between), others=_named(others, "--with"), priors=priors,
            results=results, seed=seed, workers=workers, overwrite=overwrite,
            genes=tuple(gene) if gene else None, progress=not quiet,
        )  # fmt: skip
        for gene_name, context, grcp in summary.top:
            typer.echo(f"{gene_name}\t{context}\tGRCP {grcp:.3f}")
        typer.echo(f"Tables in {summary.out}: {', '.join(path.name for path in summary.written)}")
        if summary.failed:
            typer.echo(f"Failed: {summary.failed} blocks; the column reason of coloc.tsv says why.", err=True)
            raise typer.Exit(FINISHED_WITH_FAILURES)


@app.command(
    name="coloc-tables",
    epilog="Example: [bold]bayestwas coloc-tables --eqtl T_cell=eqtl.tsv.gz --n T_cell=167 "
    "--gwas lymphocytes=gwas.vcf.gz --n lymphocytes=171643 --out coloc[/bold]",
)
def coloc_tables(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.", show_default=False)],
    eqtl: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: eQTL summary statistics; may be repeated.")
    ] = None,
    gwas: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: GWAS summary statistics; may be repeated.")
    ] = None,
    n: Annotated[list[str] | None, typer.Option("--n", help="NAME=PEOPLE of a table.")] = None,
    covariates: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER of covariates of an eQTL table.")
    ] = None,
    cases: Annotated[
        list[str] | None, typer.Option(help="NAME=SHARE of cases, of a case-control trait.")
    ] = None,
    region: Annotated[str, typer.Option(help="chromosome:start-end; needed without eQTL tables.")] = "",
    priors: Annotated[
        str, typer.Option(help="coloc-default (1e-4,1e-4,1e-5), learned over all pairs, or p1,p2,p12.")
    ] = "coloc-default",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier tables.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Colocalization from summary statistics alone, without LD: one signal per trait and gene.

    Any two of the tables, per gene of the eQTL tables, and which of all share a variant. Files of the eQTL
    Catalogue, GTEx, tensorQTL and FastQTL, and every GWAS layout that a study takes, all of one build. Writes
    the tables of bayestwas coloc.
    """
    with _one_message():
        from bayestwas.run.coloc_tables import Files, colocalize_files

        files = Files(
            _named(eqtl, "--eqtl"), _named(gwas, "--gwas"), _numbers(n, "--n"),
            {name: int(value) for name, value in _numbers(covariates, "--covariates").items()},
            _numbers(cases, "--cases"), region,
        )  # fmt: skip
        summary = colocalize_files(
            files, out, priors=_coloc_priors(priors), seed=seed, overwrite=overwrite, progress=not quiet
        )
        for gene_name, pair, h4 in summary.top:
            typer.echo(f"{gene_name}\t{pair}\tH4 {h4:.3f}")
        typer.echo(f"Tables in {summary.out}: {', '.join(path.name for path in summary.written)}")


def _numbers(given: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER, repeated."""
    out = {}
    for name, value in _named(given, option).items():
        try:
            out[name] = float(value)
        except ValueError as error:
            raise SettingsError(
                f"{option} {name}={value}", f"{option} takes NAME=NUMBER", f"Give {option} {name}=1000, say"
            ) from error
    return out


def _coloc_priors(text: str) -> str | ColocPriors:
    """A name of priors, or the three numbers."""
    if "," not in text:
        return text
    from bayestwas.engine.coloc import ColocPriors

    try:
        p1, p2, p12 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"--priors {text}", "Priors are three numbers: p1,p2,p12", "Give --priors 1e-4,1e-4,1e-6, say"
        ) from error
    return ColocPriors(p1, p2, p12)


def _named(given: list[str] | None, option: str) -> dict[str, str]:
    """NAME=VALUE, repeated, as a dict."""
    out: dict[str, str] = {}
    for one in given or []:
        name, sign, value = one.partition("=")
        if not (name and sign and value) or name in out:
            raise SettingsError(
                f"{option} {one}",
                f"{option} takes NAME=VALUE, every name once",
                f"Give {option} height=VALUE, say",
            )
        out[name] = value
    return out


def _pairs(given: list[str] | None) -> str | list[tuple[str, str]] | None:
    """all or trait, or pairs A,B."""
    if not given:
        return None
    if len(given) == 1 and "," not in given[0]:
        return given[0]
    wrong = [one for one in given if len(one.split(",")) != 2]
    if wrong:
        raise SettingsError(f"--between {wrong[0]}", "A pair is two names with a comma", "Give --between A,B")
    return [(one.split(",")[0], one.split(",")[1]) for one in given]


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
    with _one_message():
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
    with _one_message():
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
    with _one_message():
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


def main() -> None:
    """Entry point of the command `bayestwas`."""
    app()


def _version() -> str:
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
def _one_message() -> Iterator[None]:
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


if __name__ == "__main__":
    main()
