"""Colocalization of a whole study: read, harmonise, fit the weights of every block, pair the signals."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bayestwas import names
from bayestwas.data.results import STORE, open_priors
from bayestwas.engine.coloc_sizes import Sizes
from bayestwas.engine.weights import WeightPriors
from bayestwas.errors import BayestwasError, InputError
from bayestwas.fit.coloc import Colocalization, concluded
from bayestwas.fit.coloc_pairs import Pairs, locus_pairs, locus_sizes
from bayestwas.fit.coloc_priors import LEARNED, given_priors, learned_sizes
from bayestwas.fit.coloc_signals import LocusSizes, fit_trait
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import Lost, Mapper
from bayestwas.fit.weight_priors import from_json
from bayestwas.fit.weights import fit_weights
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.harmonise.locus import LocusReader
from bayestwas.report.coloc import coloc_table, top_pairs, write_coloc
from bayestwas.run.execute import executor
from bayestwas.run.output import check_out, replacing_folder
from bayestwas.run.progress import Watch, watching
from bayestwas.run.study import read_study

NO_BLOCK = "lies in no block that can be fitted"


@dataclass(frozen=True)
class ColocSummary:
    """What was done: tables, the folder, its files, gene-contexts with the highest GRCP, failed blocks."""

    result: Colocalization
    table: pd.DataFrame
    out: Path
    written: tuple[Path, ...]
    top: tuple[tuple[str, str, float], ...]
    failed: int


def colocalize_study(
    study_path: Path | str,
    out: Path | str,
    *,
    priors: str = LEARNED,
    results: Path | str | None = None,
    seed: int = 1,
    workers: int = 2,
    overwrite: bool = False,
    genes: tuple[str, ...] | None = None,
    progress: bool = True,
) -> ColocSummary:
    """Colocalization of every gene-context with the trait, over the blocks of a study; tables go into `out`.

    Parameters
    ----------
    priors : "learned" or "coloc-default". results : folder of an earlier run of the same study, whose learned
        priors of expression weights are used; None: the documented defaults. The others are those of
        `run_study`.

    A block that fails has its genes in coloc.tsv with the status failed, and the others go on. Raises
    `BayestwasError` where nothing can be run.
    """
    out = Path(out)
    check_out(out, overwrite)
    if priors != LEARNED:
        given_priors(priors)  # refused before anything is read
    weight_priors = _weight_priors(results)
    with watching(progress) as watch:
        study = read_study(study_path)
        if genes is not None:
            study = replace(study, genes=tuple(dict.fromkeys(genes)))
        harmonised = harmonise(study)
        for note in harmonised.notes:
            watch.note(note)
        with replacing_folder(out) as folder, executor(workers) as mapper:
            parts, sizes, failed = _fit(harmonised, weight_priors, priors == LEARNED, mapper, watch)
            result = concluded(parts, priors, seed, study.simulated, watch, sizes)
            unfitted = _unfitted(harmonised, result, failed)
            table = coloc_table(result.pairs, unfitted, study.simulated)
            written = write_coloc(folder, table, result.priors, result.sensitivity, study.simulated)
    return ColocSummary(
        result, table, out, tuple(out / path.name for path in written), tuple(top_pairs(table)), len(failed)
    )


def _weight_priors(results: Path | str | None) -> WeightPriors:
    if results is None:
        return WeightPriors()
    store = Path(results) / STORE
    if not store.is_dir():
        raise InputError(
            f"'{results}' holds no {STORE}",
            "Priors of expression weights are taken from a folder that bayestwas run has written",
            "Give the folder that was its --out, or leave it out",
        )
    told = open_priors(store).attrs.get("weight_priors")
    return WeightPriors() if told is None else from_json(str(told))


def _fit(
    harmonised: Harmonised, weight_priors: WeightPriors, learn: bool, mapper: Mapper, watch: Watch
) -> tuple[list[Pairs], Sizes | None, dict[str, str]]:
    """The pairs of every block with a gene to fit, the sizes of effects if they are learned, and the reasons
    of the blocks that failed."""
    wanted = set(harmonised.genes["block"])
    blocks = harmonised.blocks[harmonised.blocks["block"].isin(wanted) & (harmonised.blocks["n_genes"] > 0)]
    held = [str(block) for block in blocks["block"]]
    with tempfile.TemporaryDirectory(prefix="bayestwas-") as scratch:
        items = [(Path(scratch) / f"{i}.pickle", harmonised.reader(block)) for i, block in enumerate(held)]
        draw = partial(_block_fit, priors=weight_priors)
        told = _sorted(held, watch("Signals", mapper.map(draw, items), len(items)))
        sizes = learned_sizes(list(told.good.values())) if learn else None
        fitted = [(block, item[0]) for block, item in zip(held, items, strict=True) if block in told.good]
        task = partial(_block_pairs, sizes=sizes)
        done = mapper.map(task, [path for _, path in fitted])
        pairs = _sorted([block for block, _ in fitted], watch("Colocalization", done, len(fitted)))
    return list(pairs.good.values()), sizes, told.failed | pairs.failed


class _Sorted(NamedTuple):
    good: dict[str, Any]
    failed: dict[str, str]


def _sorted(blocks: Sequence[str], results: Iterable[Any]) -> _Sorted:
    """Results by block, those that are a reason (or lost) apart."""
    out = _Sorted({}, {})
    for block, one in zip(blocks, results, strict=True):
        if isinstance(one, Lost | str):
            out.failed[block] = one.reason if isinstance(one, Lost) else one
        else:
            out.good[block] = one
    return out


def _block_fit(item: tuple[Path, LocusReader], priors: WeightPriors) -> LocusSizes | str:
    """Fit the signals of one block and keep them in the run's own scratch folder; what they say about the
    sizes of effects, or why there are none."""
    path, source = item
    try:
        locus, settings = source(), Settings()
        weights, trait = fit_weights(locus, priors=priors, settings=settings), fit_trait(locus, settings)
        path.write_bytes(pickle.dumps((source, weights, trait)))
        return locus_sizes(locus, weights, trait)
    except BayestwasError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _block_pairs(path: Path, sizes: Sizes | None) -> Pairs | str:
    """The pairs of one block, or why there are none."""
    try:
        source, weights, trait = pickle.loads(path.read_bytes())
        return locus_pairs(source(), weights, trait=trait, sizes=sizes)
    except BayestwasError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _unfitted(harmonised: Harmonised, result: Colocalization, failed: dict[str, str]) -> pd.DataFrame:
    """Every requested gene without a row: gene, block, status, reason."""
    known = dict(zip(result.skipped["gene"], result.skipped["reason"], strict=True))
    rows = []
    present = set(result.pairs["gene"])
    for gene, block, reason in harmonised.genes[["gene", "block", "reason"]].itertuples(index=False):
        if gene in present:
            continue
        told = failed.get(block) or known.get(gene) or reason or NO_BLOCK
        rows.append((gene, block, names.FAILED if block in failed else names.SKIPPED, told))
    return pd.DataFrame(rows, columns=["gene", "block", "status", "reason"])
