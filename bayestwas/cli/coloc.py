"""Commands of colocalization: of a study, and of tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayestwas.cli.entry import FINISHED_WITH_FAILURES, app, one_message
from bayestwas.errors import SettingsError

if TYPE_CHECKING:
    from bayestwas.engine.coloc import ColocPriors


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
    with one_message():
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
    with one_message():
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
