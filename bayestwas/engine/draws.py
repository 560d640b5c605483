"""From the posterior of expression weights to weighted candidate columns.

The posterior of a gene's weights is a product of single effects: each picks a variant (or none) and a
Gaussian effect over the studies. A draw picks for all of them at once. Draws are quasi-random (scrambled
Sobol points through the inverse cumulative distributions), so they are stratified over variants and over
effect sizes; and the variants are proposed half from the posterior and half from the posterior tilted
towards the variants that the GWAS supports, with importance weights that undo the tilt. The weighted
average of any Bayes factor over the draws is then an unbiased estimate of its average over the posterior,
and the draws that matter for the trait are there even where the panel is small. Several independent
scrambles give the Monte Carlo error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri
from scipy.stats import qmc

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import Candidates, Floats, quadratic_forms
from bayestwas.engine.single_effects import SingleEffects, component_posterior

# A single effect that is empty with more than this probability is left out of the draws.
EMPTY = 0.999


@dataclass(frozen=True)
class WeightDraws:
    """D weighted draws of one gene's weights over S studies.

    Attributes
    ----------
    columns : per study, (D, p) sparse rows: effects of standardised genotypes on expression (SD per SD).
    log_weight : (D,) log of the draws' importance weights, which sum to one.
    replicate : (D,) number of the independent set each draw belongs to.
    """

    columns: tuple[sparse.csr_array, ...]
    log_weight: Floats
    replicate: NDArray[np.intp]


def draw_weights(
    fit: SingleEffects,
    candidates: Candidates,
    seed: int | np.random.SeedSequence,
    *,
    draws: int = 128,
    replicates: int = 8,
    tilt: Floats | None = None,
) -> WeightDraws:
    """Draw weights from the fit of one gene's expression.

    Parameters
    ----------
    fit, candidates : posterior over unit candidates, from `fit_single_effects`.
    seed : of the scrambles.
    draws : D, a multiple of `replicates`; powers of two keep the Sobol points balanced.
    tilt : (p,) non-negative support of each variant by the GWAS; None draws from the posterior alone.
    """
    p = fit.alpha.shape[1]
    studies = fit.mean.shape[3]
    active = np.flatnonzero(fit.null < EMPTY)
    per_set = draws // replicates
    points = np.concatenate(
        [_sobol(per_set, max(len(active), 1) * (1 + studies), child) for child in _children(seed, replicates)]
    )
    rows, variants, values = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty((0, studies))]
    log_weight = np.zeros(draws)
    for position, effect in enumerate(active):
        block = points[:, position * (1 + studies) : (position + 1) * (1 + studies)]
        pick, ratio = _pick(fit, int(effect), block[:, 0], tilt)
        log_weight += ratio
        taken = np.flatnonzero(pick >= 0)
        rows.append(taken)
        variants.append(pick[taken] // fit.alpha.shape[2])
        values.append(_effects(fit, candidates, int(effect), pick[taken], block[taken, 1:]))
    row, variant, value = np.concatenate(rows), np.concatenate(variants), np.concatenate(values)
    columns = tuple(sparse.csr_array((value[:, s], (row, variant)), shape=(draws, p)) for s in range(studies))
    log_weight -= np.log(np.exp(log_weight).sum())
    return WeightDraws(columns, log_weight, np.repeat(np.arange(replicates), per_set))


def mean_weights(fit: SingleEffects, keep: float = 1e-6) -> tuple[sparse.csr_array, ...]:
    """Posterior mean weights as one sparse row per study, (1, p): what a plug-in analysis would use."""
    mean = np.einsum("lkm,lkms->sk", fit.alpha, fit.mean)
    return tuple(sparse.csr_array(np.where(np.abs(row) > keep, row, 0.0)[None]) for row in mean)


def heritability(draws: WeightDraws, ld: Sequence[LD], share: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (C,) over the draws of w'Rw, the share of expression variance the cis-
    window explains, averaged over the studies of each draw by the rows of `share` (C, S).
    """
    weight = np.exp(draws.log_weight)
    forms = [quadratic_forms(columns, one) for columns, one in zip(draws.columns, ld, strict=True)]
    h2 = share @ np.array(forms)
    mean = h2 @ weight
    return mean, np.sqrt(np.maximum((h2 - mean[:, None]) ** 2 @ weight, 0.0))


def _children(seed: int | np.random.SeedSequence, count: int) -> list[np.random.Generator]:
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return [np.random.default_rng(child) for child in sequence.spawn(count)]


def _sobol(count: int, dims: int, rng: np.random.Generator) -> Floats:
    """(count, dims) scrambled Sobol points inside the open unit cube."""
    log2 = max(0, int(np.ceil(np.log2(count))))
    points = qmc.Sobol(dims, scramble=True, rng=rng).random_base2(log2)[:count]
    return np.clip(points, 1e-12, 1 - 1e-12)


def _pick(
    fit: SingleEffects, effect: int, point: Floats, tilt: Floats | None
) -> tuple[NDArray[np.intp], Floats]:
    """Outcome of one single effect per draw (variant * M + component, or -1 for empty) and its log
    importance ratio.
    """
    alpha = fit.alpha[effect]
    target = np.concatenate([[fit.null[effect]], alpha.ravel()])
    proposal = target
    if tilt is not None:
        tilted = (alpha * tilt[:, None]).ravel()
        total = tilted.sum()
        if total > 0:
            share = np.concatenate([[fit.null[effect]], tilted * (alpha.sum() / total)])
            proposal = 0.5 * (target + share)
    cumulative = np.cumsum(proposal)
    outcome = np.minimum(np.searchsorted(cumulative, point * cumulative[-1], side="right"), len(target) - 1)
    return outcome - 1, np.log(target[outcome]) - np.log(proposal[outcome])


def _effects(
    fit: SingleEffects, candidates: Candidates, effect: int, pick: NDArray[np.intp], point: Floats
) -> Floats:
    """(len(pick), S) Gaussian effects of the picked outcomes through standard normal quantiles of `point`."""
    normal = ndtri(point)
    value = np.zeros_like(normal)
    for outcome in np.unique(pick):
        variant, component = divmod(int(outcome), fit.alpha.shape[2])
        mean, covariance = component_posterior(fit, candidates, effect, variant, component)
        spread, vector = np.linalg.eigh(covariance)
        mine = pick == outcome
        # noise that turns with the sign of the effect: swapping the alleles of a variant then changes signs
        # only
        turn = 1.0 if mean[np.argmax(np.abs(mean))] >= 0 else -1.0
        value[mine] = mean + turn * normal[mine] @ (vector * np.sqrt(np.maximum(spread, 0.0))).T
    return value
