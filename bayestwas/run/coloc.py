"""Colocalization of a whole study: read, harmonise, fit the weights of every block, pair the signals."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.results import STORE, open_priors, open_results
from bayestwas.engine.coloc_sizes import Sizes
from bayestwas.engine.weights import WeightPriors
from bayestwas.errors import BayestwasError, InputError
from bayestwas.fit.coloc import (
    Colocalization,
    all_pairs,
    concluded,
    sizes_of,
    trait_sizes,
    traits_here,
    with_pips,
)
from bayestwas.fit.coloc_between import Wanted, wanted_pairs
from bayestwas.fit.coloc_pairs import TRAIT, Pairs
from bayestwas.fit.coloc_priors import LEARNED, given_priors
from bayestwas.fit.coloc_signals import LocusSizes
from bayestwas.fit.mixtures import learned_mixtures
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import Lost, Mapper, Source
from bayestwas.fit.weight_priors import from_json
from bayestwas.fit.weights import fit_weights
from bayestwas.harmonise.align import Harmonised, harmonise
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
    between: str | Sequence[tuple[str, str]] | None = None,
    others: Mapping[str, Path | str] | None = None,
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
    between, others : as in `fit.coloc.colocalize`, the others as study files with the same blocks.
    priors : "learned" or "coloc-default". results : folder of an earlier run of the same study, whose learned
        priors of expression weights are used and whose PIPs go along with p12; None: the documented
        defaults, and no PIPs. The others are those of
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
        told = [panel.context for panel in study.panels] + [panel.context for panel in study.eqtl]
        contexts = dict.fromkeys([*told, *(panel.context for panel in study.weights)])
        wanted = wanted_pairs(between, [*contexts], [*(others or {})])
        harmonised = harmonise(study)
        further = {name: harmonise(read_study(path)) for name, path in (others or {}).items()}
        for note in (*harmonised.notes, *_blocks_in_common(harmonised, further)):
            watch.note(note)
        with replacing_folder(out) as folder, executor(workers) as mapper:
            job = _Job(weight_priors, wanted, priors == LEARNED)
            parts, sizes, failed = _fit(harmonised, further, job, mapper, watch)
            result = concluded(parts, priors, seed, study.simulated, watch, sizes)
            result = replace(result, sensitivity=with_pips(result.sensitivity, _pips(results)))
            unfitted = _unfitted(harmonised, result, failed)
            table = coloc_table(result.pairs, unfitted, study.simulated)
            written = write_coloc(
                folder, table, result.priors, result.sensitivity, study.simulated, clusters=result.clusters
            )
    return ColocSummary(
        result, table, out, tuple(out / path.name for path in written), tuple(top_pairs(table)), len(failed)
    )


def _pips(results: Path | str | None) -> dict[str, float]:
    """The PIPs of an earlier run, by gene."""
    if results is None:
        return {}
    marginals = open_results(Path(results) / STORE)[names.MARGINALS].dataset
    genes = [str(gene) for gene in marginals[names.GENE].values]
    return dict(zip(genes, np.asarray(marginals["pip"], dtype=float).tolist(), strict=True))


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


class _Job(NamedTuple):
    """What is asked of every block."""

    weight_priors: WeightPriors
    wanted: Wanted
    learn: bool


class _Source(NamedTuple):
    """How a block is read, and the same block of other studies."""

    locus: Source
    others: dict[str, Source]


def _blocks_in_common(harmonised: Harmonised, others: Mapping[str, Harmonised]) -> list[str]:
    """What to say of blocks that another study does not have. Raises InputError where it has none."""
    notes, own = [], {str(block) for block in harmonised.blocks["block"]}
    for name, other in others.items():
        missing = own - {str(block) for block in other.blocks["block"]}
        if missing == own:
            raise InputError(
                f"the study of '{name}' has none of the blocks of the first",
                "Traits are compared block by block",
                "Give both studies the same blocks, in one build",
            )
        if missing:
            notes.append(f"{len(missing)} blocks are not in the study of {name}: no pairs with it there")
    return notes


def _fit(
    harmonised: Harmonised, others: Mapping[str, Harmonised], job: _Job, mapper: Mapper, watch: Watch
) -> tuple[list[Pairs], Sizes | None, dict[str, str]]:
    """The pairs of every block with a gene to fit, the sizes of effects if they are learned, and the reasons
    of the blocks that failed."""
    chosen = set(harmonised.genes["block"])
    blocks = harmonised.blocks[harmonised.blocks["block"].isin(chosen) & (harmonised.blocks["n_genes"] > 0)]
    held = [str(block) for block in blocks["block"]]
    with tempfile.TemporaryDirectory(prefix="bayestwas-") as scratch:
        own = _sources(harmonised, held, mapper, watch)
        apart = {name: _sources(other, held, mapper, watch) for name, other in others.items()}
        items = [
            (
                Path(scratch) / f"{i}.pickle",
                _Source(own[block], {name: one[block] for name, one in apart.items() if block in one}),
            )
            for i, block in enumerate(held)
        ]
        draw = partial(_block_fit, priors=job.weight_priors)
        told = _sorted(held, watch("Signals", mapper.map(draw, items), len(items)))
        sizes = sizes_of(list(told.good.values())) if job.learn else {}
        fitted = [(block, item[0]) for block, item in zip(held, items, strict=True) if block in told.good]
        task = partial(_block_pairs, wanted=job.wanted, sizes=sizes)
        done = mapper.map(task, [path for _, path in fitted])
        pairs = _sorted([block for block, _ in fitted], watch("Colocalization", done, len(fitted)))
    return list(pairs.good.values()), sizes.get(TRAIT), told.failed | pairs.failed


def _sources(harmonised: Harmonised, blocks: list[str], mapper: Mapper, watch: Watch) -> dict[str, Source]:
    """How each block that a study has is read, the mixtures of its LD learned."""
    there = [block for block in blocks if block in set(harmonised.blocks["block"])]
    sources, _ = learned_mixtures([harmonised.reader(block) for block in there], mapper, watch)
    return dict(zip(there, sources, strict=True))


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


def _block_fit(item: tuple[Path, _Source], priors: WeightPriors) -> dict[str, LocusSizes] | str:
    """Fit the signals of one block and keep them in the run's own scratch folder; what they say about the
    sizes of effects, or why there are none."""
    path, source = item
    try:
        locus, settings = source.locus(), Settings()
        weights = fit_weights(locus, priors=priors, settings=settings)
        traits = traits_here(locus, {name: read() for name, read in source.others.items()}, settings)
        path.write_bytes(pickle.dumps((source, weights, traits)))
        return trait_sizes(locus, weights, traits)
    except BayestwasError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _block_pairs(path: Path, wanted: Wanted, sizes: Mapping[str, Sizes]) -> Pairs | str:
    """The pairs of one block, or why there are none."""
    try:
        source, weights, traits = pickle.loads(path.read_bytes())
        here = tuple(pair for pair in wanted if not _elsewhere(pair, source, weights))
        return all_pairs(source.locus(), weights, traits, here, sizes)
    except BayestwasError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _elsewhere(pair: tuple[str, str], source: _Source, weights: xr.DataTree) -> bool:
    """Whether a pair names what this block lacks."""
    contexts = [str(name) for name in weights[names.MARGINALS].dataset[names.CONTEXT].values]
    return bool(set(pair) - {TRAIT, *contexts, *source.others})


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
