"""GWAS of several populations: the weights of their LD panels, learned over all blocks of a run.

Before anything else is fitted. What they rest on: the allele frequencies of the GWAS, where its file has
them, and its z-scores in blocks without a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bayestwas import names
from bayestwas.data.results import blank_of_locus
from bayestwas.engine.mixture import (
    Estimate,
    Floats,
    Moments,
    apart,
    between_rows,
    combined,
    estimate,
    frequency_moments,
    no_moments,
    score_moments,
)
from bayestwas.fit.panels import mixed_panels

Source = Callable[[], xr.DataTree]

STRETCHES = 10  # of a block, units of the jackknife
ROUNDS = 2  # the scale of z-scores depends on the weights
SIGNAL = 5.0  # |z| from which the z-scores of a block say nothing about the weights
DISAGREE = 4.0  # standard errors between two sources that are said to disagree


@dataclass(frozen=True)
class Mixture:
    """The panels of one GWAS and what was learned of their weights, from everything (`learned`) and from
    either source, where there is enough of it."""

    ancestry: str
    panels: tuple[str, ...]
    admixed: bool
    learned: Estimate
    frequencies: Estimate | None
    scores: Estimate | None

    @property
    def doubt(self) -> str:
        """What a user should know; empty where there is nothing."""
        if self.frequencies is None and self.scores is None:
            return (
                f"{self.ancestry}: neither allele frequencies nor z-scores say in which shares its panels "
                "enter; they count alike"
            )
        if self.frequencies is not None and self.scores is not None:
            far = apart(self.frequencies, self.scores)
            if far > DISAGREE:
                return (
                    f"{self.ancestry}: allele frequencies and z-scores disagree on the shares of its panels "
                    f"({far:.1f} standard errors): a population may be missing, or frequencies be of others"
                )
        return ""

    def rows(self) -> list[dict[str, object]]:
        """A row per panel: weight, standard error, and the weight by either source."""
        return [
            {
                "ancestry": self.ancestry,
                "panel": panel,
                "weight": float(self.learned.weight[k]),
                "weight_se": float(self.learned.error[k]),
                "by_frequencies": _weight(self.frequencies, k),
                "by_z": _weight(self.scores, k),
                "kind": "admixed" if self.admixed else "meta-analysis",
            }
            for k, panel in enumerate(self.panels)
        ]


def _weight(one: Estimate | None, k: int) -> float:
    """Among the weights of one source alone, none below zero."""
    return float("nan") if one is None else float(combined([one], len(one.weight)).weight[k])


@dataclass(frozen=True)
class Mixed:
    """The source of a block with the weights of its mixtures; see `fit.study.fit_study` for sources."""

    source: Source
    weights: Mapping[str, tuple[float, ...]]

    def __call__(self) -> xr.DataTree:
        locus = self.source().copy()
        for ancestry, weight in self.weights.items():
            path = f"{names.LD}/{ancestry}"
            data = locus.children[names.LD].children[ancestry].to_dataset(inherit=False)
            locus[path] = xr.DataTree(data.assign_attrs(weights=list(weight)))
        return locus

    def blank(self, status: str, reason: str, n_draws: int = 0) -> xr.DataTree:
        """The result of the block where nothing is fitted."""
        made: Callable[..., xr.DataTree] | None = getattr(self.source, "blank", None)
        if made is not None:
            return made(status, reason, n_draws)
        return blank_of_locus(self.source(), status=status, reason=reason, n_draws=n_draws)


@dataclass(frozen=True)
class _Seen:
    """What one block says of one mixture."""

    panels: tuple[str, ...]
    admixed: bool
    frequencies: Moments
    scores: Moments


def learned_mixtures(
    sources: Sequence[Source], mapper: Any, watch: Callable[[str, Iterable[Any], int], Iterable[Any]]
) -> tuple[list[Source], list[Mixture]]:
    """The sources with the weights of their mixtures, and the mixtures; the sources as they are where the
    first block that can be read has none, or has its weights."""
    if not any(_mixed(source) for source in sources[:1]):
        return list(sources), []
    weights: dict[str, tuple[float, ...]] = {}
    found: list[Mixture] = []
    for number in range(ROUNDS):
        label = f"Learning the mixture of LD, round {number + 1}"
        parts = watch(label, mapper.map(partial(_seen, weights=weights), sources), len(sources))
        total: dict[str, list[_Seen]] = {}
        for part in parts:
            for ancestry, seen in part.items() if isinstance(part, dict) else ():
                total.setdefault(ancestry, []).append(seen)
        found = [_mixture(ancestry, seen) for ancestry, seen in total.items()]
        weights = {one.ancestry: tuple(float(w) for w in one.learned.weight) for one in found}
    return [Mixed(source, weights) for source in sources], found


def _mixed(source: Source) -> bool:
    if isinstance(source, Mixed):
        return False
    reader = getattr(source, "mixtures", None)
    if reader is not None:
        return bool(reader)
    try:
        return bool(_groups(source()))
    except Exception:
        return False  # a block that fails is reported where it is fitted


def _groups(locus: xr.DataTree) -> dict[str, xr.Dataset]:
    """The LD of every ancestry that is a mixture and has no weights yet."""
    held = {str(a): node.to_dataset() for a, node in locus[names.LD].children.items()}
    return {a: data for a, data in held.items() if "panel" in data.coords and "weights" not in data.attrs}


def _mixture(ancestry: str, seen: Sequence[_Seen]) -> Mixture:
    frequencies, scores = seen[0].frequencies, seen[0].scores
    for one in seen[1:]:
        frequencies, scores = frequencies + one.frequencies, scores + one.scores
    k = len(seen[0].panels)
    by_frequency, by_score = estimate(frequencies, True), estimate(scores, False)
    known = [one for one in (by_frequency, by_score) if one is not None]
    together = combined(known, k)
    return Mixture(ancestry, seen[0].panels, seen[0].admixed, together, by_frequency, by_score)


def _seen(source: Source, weights: Mapping[str, tuple[float, ...]]) -> dict[str, _Seen]:
    """What one block says under the weights so far; a block that fails says nothing."""
    try:
        locus = source()
        gwas = locus[names.GWAS].dataset
        return {
            ancestry: _look(gwas.sel({names.ANCESTRY: ancestry}), data, weights.get(ancestry))
            for ancestry, data in _groups(locus).items()
        }
    except Exception:
        return {}


def _look(gwas: xr.Dataset, data: xr.Dataset, weight: Sequence[float] | None) -> _Seen:
    panels = mixed_panels(data)
    people = np.array([len(x) for x in panels.values()], dtype=float)
    share = people / people.sum() if weight is None else np.array(weight)
    mean = np.array([x.mean(axis=0) for x in panels.values()])
    given = gwas["frequency"].values if "frequency" in gwas else np.full(mean.shape[1], np.nan)
    stretch = np.arange(mean.shape[1]) * STRETCHES // mean.shape[1]
    admixed = bool(data.attrs["admixed"])
    z = gwas["z"].values.astype(float)
    held = np.isfinite(z)
    frequencies = frequency_moments(np.where(held, given, np.nan), mean / 2, people, stretch)
    scores = _scores(z, held, list(panels.values()), mean, share, admixed, stretch)
    return _Seen(tuple(panels), admixed, frequencies, scores)


def _scores(
    z: Floats,
    held: np.ndarray,
    panels: Sequence[Floats],
    mean: Floats,
    share: Floats,
    admixed: bool,
    stretch: np.ndarray,
) -> Moments:
    """Moments of the z-scores, on the scale of the mixture with the weights `share`; none where a signal
    stands out, whose neighbours have the LD with it in common."""
    if np.nanmax(np.abs(z), initial=0.0) > SIGNAL:
        return no_moments(len(panels))
    between = between_rows(share, mean) * admixed
    centred = [(x - m) / np.sqrt(len(x)) for x, m in zip(panels, mean, strict=True)]
    variance = sum(w * (x**2).sum(axis=0) for w, x in zip(share, centred, strict=True))
    variance = variance + (between**2).sum(axis=0)
    use = held & (variance > 1e-3)
    scale = np.sqrt(np.where(use, variance, 1.0))
    at = np.flatnonzero(use)
    return score_moments(
        z[at], [x[:, at] / scale[at] for x in centred], (between / scale)[:, at], stretch[at]
    )
