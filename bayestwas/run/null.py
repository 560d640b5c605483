"""A study run again without gene effects: how many genes pass each threshold where none should."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.assess.nulls import KINDS, NullSource, genes_table, thresholds_table
from bayestwas.errors import InputError, OutputError, SettingsError, nearest
from bayestwas.fit.mixtures import learned_mixtures
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import Source, fit_study
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.report.tables import REAL, SIMULATED, replacing, write_table
from bayestwas.run.execute import executor
from bayestwas.run.pipeline import fitted_readers
from bayestwas.run.progress import watching
from bayestwas.run.study import file_hashes, read_study

RECORD = "null.json"
REPLICATES = "replicates"
OBSERVED = "study.tsv"  # beside the replicates


@dataclass(frozen=True)
class NullSummary:
    """What a null run has found: `thresholds` and `genes` (see `assess.nulls`), `out` the folder, `done` how
    many replicates stand behind them."""

    thresholds: pd.DataFrame
    genes: pd.DataFrame
    out: Path
    done: int


def run_null(
    study_path: Path | str,
    out: Path | str,
    *,
    kind: str = "permutation",
    n: int = 20,
    seed: int = 1,
    workers: int = 2,
    progress: bool = True,
) -> NullSummary:
    """Run a study as it is and `n` times without gene effects; write null.tsv, null.genes.tsv and null.png.

    Parameters
    ----------
    study_path : the study file. out : a folder; what an earlier call with the same study, kind and seed left
        there is taken up, so that a stopped call continues and a larger `n` adds replicates; with a smaller
        one all that are there count.
    kind : "permutation" (genotypes exchanged among the donors of the panels) or "parametric" (z-scores drawn
        from the LD of the reference).
    seed, workers, progress : as for `run_study`.

    Raises SettingsError for an unknown kind or no replicates, OutputError where `out` holds something else,
    InputError where no gene can be fitted.
    """
    _check(kind, n, seed)
    out = Path(out)
    with watching(progress) as watch:
        study = read_study(study_path)
        record = {
            "kind": kind,
            "seed": seed,
            "settings": asdict(Settings()),
            "files": _digest(file_hashes(study)),
        }
        if kind == "permutation" and study.eqtl:
            raise InputError(
                f"{study_path} has [[eqtl]] summary statistics",
                "A permutation exchanges genotypes among donors, who are not known there",
                "Use --kind parametric",
            )
        folder = _opened(out, record)
        harmonised = harmonise(study)
        readers: list[Source] = [*fitted_readers(harmonised)]
        if not readers:
            raise InputError(
                f"{study_path}: no gene can be fitted", "A null needs genes", "See bayestwas check"
            )
        with executor(workers) as mapper:
            readers, _ = learned_mixtures(readers, mapper, watch)  # z-scores are drawn from the LD
            fit = partial(fit_study, settings=Settings(), seed=seed, mapper=mapper)
            observed = _kept(folder / OBSERVED, lambda: fit(readers, progress=watch))
            while (folder / f"{n + 1:04d}.tsv").exists():
                n += 1
            numbers = range(1, n + 1)
            nulls = [
                _kept(folder / f"{i:04d}.tsv", partial(fit, [NullSource(r, kind, seed, i) for r in readers]))
                for i in watch(f"Replicates ({kind})", numbers, n)
            ]
        pips = [table["pip"].to_numpy() for table in nulls]
        thresholds, genes = thresholds_table(observed["pip"].to_numpy(), pips), genes_table(observed, pips)
        _write(out, thresholds, genes, kind, n, harmonised)
    return NullSummary(thresholds, genes, out, n)


def _check(kind: str, n: int, seed: int) -> None:
    if kind not in KINDS:
        raise SettingsError(f"kind = '{kind}'", f"A null is one of {', '.join(KINDS)}", nearest(kind, KINDS))
    if n < 1 or seed < 0:
        raise SettingsError(
            f"n = {n}, seed = {seed}", "There is at least one replicate, and a seed is from 0", "Give n=20"
        )


def _digest(hashes: dict[str, dict[str, str | int]]) -> str:
    """One hash of the contents of all files, whatever their folder."""
    parts = sorted(f"{Path(path).name}:{entry['sha256']}" for path, entry in hashes.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _opened(out: Path, record: dict[str, object]) -> Path:
    """The folder of the replicates: new, or one that the same call has left."""
    path = out / RECORD
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file", "Results go into a folder", "Choose another place")
    if out.exists() and any(out.iterdir()):
        try:
            before = json.loads(path.read_text()) if path.is_file() else None
        except ValueError:
            before = None
        if before != json.loads(json.dumps(record)):
            raise OutputError(
                f"{out} holds something else than this null of this study",
                "A null is continued where the study, the kind and the seed are the same",
                "Choose another folder, or remove this one",
            )
    folder = out / REPLICATES
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(record, indent=1) + "\n")
    return folder


def _kept(path: Path, fit: Callable[[], list[xr.DataTree]]) -> pd.DataFrame:
    """gene and pip of every fitted gene: read where they are there, else fitted and written."""
    if not path.exists():
        parts = [result[names.MARGINALS].dataset["pip"].to_series().dropna() for result in fit()]
        table = pd.concat(parts).rename_axis("gene").reset_index(name="pip")
        write_table(table, path)
    try:
        return pd.read_csv(path, sep="\t", dtype={"gene": str}).astype({"pip": float})
    except (ValueError, KeyError):
        raise InputError(
            f"{path} is damaged",
            "What an earlier call has left is a table of genes and their PIPs",
            "Remove this file: it is made again",
        ) from None


def _write(
    out: Path, thresholds: pd.DataFrame, genes: pd.DataFrame, kind: str, n: int, harmonised: Harmonised
) -> None:
    label = SIMULATED if harmonised.study.simulated else REAL
    for name, table in (("null.tsv", thresholds), ("null.genes.tsv", genes)):
        write_table(table.assign(kind=kind, replicates=n, data=label), out / name)
    # imported here: processes that only fit should not carry matplotlib
    from bayestwas.report.nulls import write_null

    write_null(thresholds, out, kind, n, harmonised.study.simulated)


def sentence(row: pd.Series) -> str:
    """One threshold in words."""
    if not row["genes"]:
        return f"{row['threshold']}: no gene passes; {row['null_mean']:.3g} a replicate in the null"
    rates = f"empirical FDR {row['empirical_fdr']:.3g} (at most {row['empirical_fdr_high']:.3g})"
    return (
        f"{row['threshold']}: {row['genes']} genes, {row['null_mean']:.3g} a replicate in the null; {rates}, "
        f"Bayesian FDR {row['bayesian_fdr']:.3g}"
    )
