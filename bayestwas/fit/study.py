"""A study of many blocks: local, global, local. The priors are learned from sums over blocks, then every
block is fitted.

Where a run has fewer than `Settings.learn_blocks` blocks there is too little to learn from, and the
documented defaults stand.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from bayestwas import names
from bayestwas.data.results import blank_of_locus
from bayestwas.engine import gene_trait
from bayestwas.engine.overlap import Floats
from bayestwas.engine.weights import WeightPriors
from bayestwas.errors import BayestwasError
from bayestwas.fit.annotations import Moments, Scales, moments
from bayestwas.fit.annotations import scales as annotation_scales
from bayestwas.fit.coloc_columns import with_colocalization
from bayestwas.fit.coloc_pairs import coloc_sizes
from bayestwas.fit.coloc_signals import LocusSizes
from bayestwas.fit.describe import describe
from bayestwas.fit.gene_trait import fit_block, sufficient, switched
from bayestwas.fit.learn import NOT_LEARNED, Progress, learn_priors
from bayestwas.fit.mixtures import learned_mixtures
from bayestwas.fit.overlap import Overlap, Told, largest, learned_overlap, overlap_evidence, without_overlap
from bayestwas.fit.prepared import Prepared, prepare
from bayestwas.fit.screen import Screen, Screened, screen, with_screen
from bayestwas.fit.settings import Settings
from bayestwas.fit.trait_priors import Annotated, BlockSums, TraitPriors, annotated, block_priors, block_sums
from bayestwas.fit.triangulation import triangulate
from bayestwas.fit.weight_priors import StudySums, learned_priors, total_sums
from bayestwas.fit.weights import fit_weights, weight_sums

Source = Callable[[], xr.DataTree]


@dataclass(frozen=True)
class Lost:
    """What a mapper yields where the process that computed a result died; the run goes on without it."""

    reason: str


class Mapper(Protocol):
    """The parallel interface: anything with a lazy `map` that keeps order; `Lost` where there is no
    result."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]: ...


class Serial:
    """One after the other, in this process."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        return map(function, items)


@dataclass(frozen=True)
class Priors:
    """What every block of a run is fitted under."""

    weights: WeightPriors
    trait: TraitPriors
    overlap: Overlap


def fit_loci(
    loci: Sequence[xr.DataTree], settings: Settings | None = None, seed: int = 1, mapper: Mapper | None = None
) -> list[xr.DataTree]:
    """Fit the blocks of a study that are in memory; results in the same order."""
    return fit_study([partial(_given, locus) for locus in loci], settings, seed, mapper)


def _given(locus: xr.DataTree) -> xr.DataTree:
    return locus


def _kept(results: Iterable[Any]) -> list[Any]:
    return [result for result in results if not isinstance(result, Lost)]


def fit_study(
    sources: Sequence[Source],
    settings: Settings | None = None,
    seed: int = 1,
    mapper: Mapper | None = None,
    progress: Progress | None = None,
) -> list[xr.DataTree]:
    """Fit the blocks of a study.

    Parameters
    ----------
    sources : one picklable task per block that returns its locus when called. Where it has a method
        `blank(status, reason, n_draws)`, that makes the result of a block whose locus cannot be read.
    mapper : where the blocks are computed; None: here.
    progress : wraps the results of one stage (label, iterable, total); None: silent.

    Returns
    -------
    One result per block, in order. A block whose fit fails is returned with the status `failed` and the
    reason. Root attributes `priors`, `weight_priors` (JSON) and `priors_source` say what every block was
    fitted under.
    """
    settings, mapper = settings or Settings(), mapper or Serial()
    watch = progress or _silent
    sources, mixtures = learned_mixtures(sources, mapper, watch)
    sources = _screened(sources, settings, mapper, watch)
    learn = settings.learn and len(sources) >= settings.learn_blocks
    scales = _scales(sources, mapper, watch) if learn else TraitPriors().scales
    weight_priors = WeightPriors()
    for number in range(settings.weight_rounds if learn else 0):
        learn_weights = partial(_weight_sums, priors=weight_priors, settings=settings, scales=scales)
        label = f"Learning expression priors, round {number + 1}"
        total = total_sums(_kept(watch(label, mapper.map(learn_weights, sources), len(sources))))
        weight_priors = learned_priors(total, weight_priors, scales, seed + number)
    overlap, shared = _overlap(sources, weight_priors, settings, mapper, watch)
    with tempfile.TemporaryDirectory(prefix="bayestwas-") as scratch:
        folder = Path(scratch)
        draw = partial(
            _prepare, folder=folder, priors=weight_priors, overlap=overlap, scales=scales, settings=settings,
            seed=seed,
        )  # fmt: skip
        items = list(enumerate(sources))
        ready = list(watch("Expression weights", mapper.map(draw, items), len(items)))
        fitted = [i for i, fine in enumerate(ready) if fine is True]
        # what is learned from a fit of the cut posterior would be one fit per draw of the weights
        task = partial(_trait_sums, folder=folder, settings=replace(settings, feedback=True))

        def collect(priors: TraitPriors, number: int) -> list[BlockSums]:
            label = f"Learning gene and variant priors, round {number}"
            share = mapper.map(partial(task, priors=priors), fitted)
            return [one for one in _kept(watch(label, share, len(fitted))) if one is not None]

        learned = learn_priors(collect, scales, settings, seed, watch) if learn else NOT_LEARNED
        priors = Priors(weight_priors, learned.priors, overlap)
        finish = partial(_finish, folder=folder, priors=priors, settings=settings, seed=seed)
        done = list(watch("Genes and variants", mapper.map(finish, items), len(items)))
        pairs = [_pickled(folder / f"{number}.coloc.pickle") for number, _ in items]
    results = [
        _failed(source, one.reason, settings) if isinstance(one, Lost) else one
        for source, one in zip(sources, done, strict=True)
    ]
    with_colocalization(results, pairs, learn)
    told = {
        "weight_priors": json.dumps(asdict(weight_priors)),
        "priors": json.dumps(learned.told),
        "priors_source": learned.source,
        "mixtures": json.dumps([row for one in mixtures for row in one.rows()]),
        "overlap": json.dumps([one.sentence for one in shared]),
        "mixture_doubts": json.dumps([one.doubt for one in mixtures if one.doubt]),
    }
    for source, result in zip(sources, results, strict=True):
        if isinstance(source, Screened):
            with_screen(result, source.screen)
        result.attrs |= told
        if learned.hyper is not None:
            result[names.HYPERPARAMETERS] = xr.DataTree(learned.hyper)
    return results


def _silent(label: str, results: Iterable[Any], total: int) -> Iterable[Any]:
    return results


def _screened(
    sources: Sequence[Source], settings: Settings, mapper: Mapper, watch: Progress
) -> Sequence[Source]:
    """The sources without the variants that do not fit; a block that fails is reported by `_finish`."""
    if not settings.screen:
        return sources
    found = watch("Checking LD", mapper.map(_screen, sources), len(sources))
    return [
        Screened(source, one) if isinstance(one, Screen) else source
        for source, one in zip(sources, found, strict=True)
    ]


def _screen(source: Source) -> Screen | None:
    try:
        return screen(source())
    except Exception:
        return None


def _weight_sums(source: Source, priors: WeightPriors, settings: Settings, scales: Scales) -> StudySums:
    """One block's share of learning; a block that fails says nothing here and is reported by `_finish`."""
    try:
        return weight_sums(source(), priors, settings, scales)
    except Exception:
        return StudySums()


def _overlap(
    sources: Sequence[Source], priors: WeightPriors, settings: Settings, mapper: Mapper, watch: Progress
) -> tuple[Overlap, list[Told]]:
    """How much noise expression panels share with the GWAS; nothing where it cannot matter."""
    if True not in list(mapper.map(_matters, sources)):
        return {}, []
    look = partial(_shared_noise, priors=priors, settings=settings)
    parts = watch("Sample overlap", mapper.map(look, sources), len(sources))
    return learned_overlap([part for part in parts if isinstance(part, dict)])


def _matters(source: Source) -> bool:
    """Whether shared people could matter in one block; a block that fails is reported by `_finish`."""
    try:
        return bool(largest(source()))
    except Exception:
        return False


def _shared_noise(
    source: Source, priors: WeightPriors, settings: Settings
) -> dict[str, tuple[float, Floats]]:
    """One block's share; a block that fails says nothing here and is reported by `_finish`."""
    try:
        locus = source()
        return overlap_evidence(locus, fit_weights(locus, priors=priors, settings=settings), settings)
    except Exception:
        return {}


def _scales(sources: Sequence[Source], mapper: Mapper, watch: Progress) -> Scales:
    """The scale of every annotation over the blocks; none where the first block that can be read has none."""
    for source in sources:
        try:
            first = source()
        except Exception:
            continue
        if names.ANNOTATIONS not in first.children:
            break
        parts = watch("Reading annotations", mapper.map(_moments, sources), len(sources))
        return annotation_scales(_kept(parts))
    return TraitPriors().scales


def _moments(source: Source) -> Moments:
    """One block's annotations; a block that fails says nothing here and is reported by `_finish`."""
    try:
        return moments(source())
    except Exception:
        return Moments()


def _prepare(
    item: tuple[int, Source],
    folder: Path,
    priors: WeightPriors,
    overlap: Overlap,
    scales: Scales,
    settings: Settings,
    seed: int,
) -> bool:
    """Fit the weights of one block and keep its draws in the run's own scratch folder."""
    number, source = item
    try:
        locus = source()
        fitted = fit_weights(locus, priors=priors, settings=settings)
        locus = without_overlap(locus, fitted, overlap, settings)
        ready = prepare(locus, fitted, gene_trait.DEFAULT_PRIORS, settings, seed, settings.draws)
        known = annotated(locus, ready, scales)
    except Exception:
        return False
    (folder / f"{number}.pickle").write_bytes(pickle.dumps((fitted, ready, known)))
    return True


def _load(folder: Path, number: int) -> tuple[xr.DataTree, Prepared, Annotated]:
    return pickle.loads((folder / f"{number}.pickle").read_bytes())


def _pickled(path: Path) -> LocusSizes | None:
    """What a block left for colocalization; None where it left nothing."""
    return pickle.loads(path.read_bytes()) if path.exists() else None


def _trait_sums(number: int, folder: Path, settings: Settings, priors: TraitPriors) -> BlockSums | None:
    """One block's share of learning the priors of genes and variants, under the mean of `priors`."""
    _, ready, known = _load(folder, number)
    try:
        [prior] = block_priors(priors.mean() if priors.learned else priors, ready, known)
        posterior = fit_block(ready, prior, settings)
        return block_sums(posterior, ready, known, prior, priors.scales)
    except Exception:
        return None


def _finish(
    item: tuple[int, Source], folder: Path, priors: Priors, settings: Settings, seed: int
) -> xr.DataTree:
    """The result of one block under the learned priors, or a result that says why there is none."""
    number, source = item
    began = time.process_time()
    try:
        locus = source()
        if (folder / f"{number}.pickle").exists():
            fitted, ready, known = _load(folder, number)
            locus = without_overlap(locus, fitted, priors.overlap, settings)
        else:  # fails as it failed before, and says why
            fitted = fit_weights(locus, priors=priors.weights, settings=settings)
            locus = without_overlap(locus, fitted, priors.overlap, settings)
            ready = prepare(locus, fitted, gene_trait.DEFAULT_PRIORS, settings, seed, settings.draws)
            known = annotated(locus, ready, priors.trait.scales)
        learned = priors.trait
        [mean] = block_priors(learned.mean() if learned.learned else learned, ready, known)
        over = list(block_priors(learned, ready, known)) if learned.learned else []
        block, full = sufficient(locus, fitted, mean, settings, seed, ready)
        posteriors = switched(block, full, mean, settings, over)
        result = describe(locus, block, posteriors, mean, settings, seed, began)
        if sizes := coloc_sizes(locus, fitted, settings):
            (folder / f"{number}.coloc.pickle").write_bytes(pickle.dumps(sizes))
        return triangulate(result, locus, fitted, block, seed)
    except BayestwasError as error:
        return _failed(source, str(error), settings)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__} in {Path(frame.filename).name}, {frame.name}: {error}"
        return _failed(source, reason, settings)


def _failed(source: Source, reason: str, settings: Settings) -> xr.DataTree:
    """The result of a block that failed, made without reading its genotypes where its source can do that."""
    blank = getattr(source, "blank", None)
    if blank is not None:
        made: xr.DataTree = blank(names.FAILED, reason, settings.posterior_draws)
        return made
    return blank_of_locus(source(), status=names.FAILED, reason=reason, n_draws=settings.posterior_draws)
