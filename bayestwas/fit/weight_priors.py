"""Priors of expression weights over a study: a block may lack contexts or ancestries that others have.

Sums are kept apart by which contexts and ancestries were there, and put together where the priors are
learned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from bayestwas.engine import weights as engine
from bayestwas.engine.sharing import definite_correlation
from bayestwas.engine.weights import Matrix, WeightPriors, WeightSums
from bayestwas.fit.annotations import Scales
from bayestwas.fit.weight_annotations import GeneEvidence, coefficients, in_natural_units, thinned

Names = tuple[str, ...]


@dataclass(frozen=True)
class StudySums:
    """What the genes of some blocks say about the priors, by (contexts, ancestries), and of annotations, gene
    by gene; adds up over blocks."""

    parts: dict[tuple[Names, Names], WeightSums] = field(default_factory=dict)
    genes: tuple[GeneEvidence, ...] = ()

    def __add__(self, other: StudySums) -> StudySums:
        parts = dict(self.parts)
        for key, sums in other.parts.items():
            parts[key] = parts[key] + sums if key in parts else sums
        return StudySums(parts, thinned((*self.genes, *other.genes)))


def total_sums(parts: Iterable[StudySums]) -> StudySums:
    """Their sum; nothing of nothing."""
    return sum(parts, start=StudySums())


def learned_priors(
    sums: StudySums, priors: WeightPriors, scales: Scales | None = None, seed: int = 1
) -> WeightPriors:
    """One step of learning, from the sums under `priors`: over all contexts and ancestries, sorted by name.

    Coefficients of annotations are sampled, where genes say something of them.
    """
    if not sums.parts:
        return priors
    contexts = tuple(sorted({name for names, _ in sums.parts for name in names}))
    ancestries = tuple(sorted({name for _, names in sums.parts for name in names}))
    whole = local(priors, contexts, ancestries)
    parts = []
    for (some, among), part in sorted(sums.parts.items()):
        places = [contexts.index(c) * len(ancestries) + ancestries.index(a) for c in some for a in among]
        seen = part.effects.over(np.array(places), len(contexts) * len(ancestries))
        parts.append(replace(part, effects=seen))
    learned = engine.learn(sum(parts[1:], start=parts[0]), whole, len(contexts), len(ancestries))
    if not sums.genes or scales is None:
        return learned
    posterior = coefficients(sums.genes, scales, priors, seed)
    means, intervals = in_natural_units(posterior, scales)
    return replace(learned, annotations=means, annotation_intervals=intervals)


def local(priors: WeightPriors, contexts: Sequence[str], ancestries: Sequence[str]) -> WeightPriors:
    """The priors over these contexts and ancestries. What was not learned of one is as of the others: the
    mean correlation and the mean probability of a specific effect."""
    across = _places(priors.contexts, contexts)
    among = _places(priors.ancestries, ancestries)
    whole = [c * len(priors.ancestries) + a if c >= 0 <= a else -1 for c in across for a in among]
    loose = priors.unstructured_covariance
    return replace(
        priors,
        contexts=tuple(contexts),
        ancestries=tuple(ancestries),
        context_correlation=_taken(priors.context_correlation, across, WeightPriors.context_correlation),
        ancestry_correlation=_taken(priors.ancestry_correlation, among, WeightPriors.ancestry_correlation),
        context_specific=_weights(priors.context_specific, across),
        ancestry_specific=_weights(priors.ancestry_specific, among),
        unstructured_covariance=None if loose is None or min(whole) < 0 else _square(np.array(loose), whole),
    )


def _places(known: Names, wanted: Sequence[str]) -> list[int]:
    return [known.index(name) if name in known else -1 for name in wanted]


def _taken(given: float | Matrix, places: list[int], default: float | Matrix) -> float | Matrix:
    if not isinstance(given, tuple):
        return given
    matrix = np.array(given)
    if min(places) >= 0:
        return _square(matrix, places)
    off = matrix[np.triu_indices(len(matrix), 1)]
    mean = np.mean(off) if len(off) else default
    out = np.full((len(places),) * 2, mean)
    known = np.flatnonzero(np.array(places) >= 0)
    at = np.array(places)[known]
    out[np.ix_(known, known)] = matrix[np.ix_(at, at)]
    np.fill_diagonal(out, 1.0)
    return _square(definite_correlation(out), range(len(out)))


def _square(matrix: np.ndarray, places: Sequence[int]) -> Matrix:
    return tuple(tuple(float(matrix[i, j]) for j in places) for i in places)


def _weights(given: float | tuple[float, ...], places: list[int]) -> Any:
    if not isinstance(given, tuple):
        return given
    return tuple(float(given[i]) if i >= 0 else float(np.mean(given)) for i in places)


def stored_priors(weights: xr.DataTree) -> WeightPriors:
    """The priors a weights tree was fitted under."""
    return from_json(weights.attrs["priors"])


def from_json(text: str) -> WeightPriors:
    """Priors from what `json.dumps(asdict(priors))` made."""
    return WeightPriors(**{key: _tuples(value) for key, value in json.loads(text).items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
