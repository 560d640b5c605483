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

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logsumexp, ndtri
from scipy.stats import qmc

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import Candidates, Floats, covariance_root, quadratic_forms
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
    active : (E,) the single effects that are drawn; the others are empty.
    outcome : (D, E) what each picked: variant * M + component, or -1 for none.
    normal : (D, E, S) standard normals behind the effects, zero where none.
    log_ratio : (D,) log of posterior over proposal of the outcomes, the normals apart.
    """

    columns: tuple[sparse.csr_array, ...]
    log_weight: Floats
    replicate: NDArray[np.intp]
    active: NDArray[np.intp]
    outcome: NDArray[np.intp]
    normal: Floats
    log_ratio: Floats


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
    studies = fit.mean.shape[3]
    active = np.flatnonzero(fit.null < EMPTY)
    per_set = draws // replicates
    points = np.concatenate(
        [_sobol(per_set, max(len(active), 1) * (1 + studies), child) for child in _children(seed, replicates)]
    )
    points = points[:, : len(active) * (1 + studies)].reshape(draws, len(active), 1 + studies)
    outcome = np.full((draws, len(active)), -1, dtype=np.intp)
    log_ratio = np.zeros(draws)
    for position, effect in enumerate(active):
        outcome[:, position], ratio = _pick(fit, int(effect), points[:, position, 0], tilt)
        log_ratio += ratio
    normal = np.where(outcome[:, :, None] >= 0, ndtri(points[:, :, 1:]), 0.0)
    gaussian = _Gaussian(fit, candidates)
    for position, effect in enumerate(active):
        for pick in np.unique(outcome[outcome[:, position] >= 0, position]):
            normal[outcome[:, position] == pick, position] *= gaussian.sign(int(effect), int(pick))
    replicate = np.repeat(np.arange(replicates), per_set)
    columns = _columns(gaussian, active, outcome, normal)
    return WeightDraws(columns, _log_normalised(log_ratio), replicate, active, outcome, normal, log_ratio)


@dataclass(frozen=True)
class Kept:
    """A draw that the GWAS kept, as the centre of new ones.

    Attributes
    ----------
    outcome, probability : what its single effects picked (E,), and its share of the posterior of its gene.
    studies : (A,) the studies of its context, one per GWAS ancestry.
    gamma : (A,) posterior mean of its effect on the trait.
    residual : (A, p) sqrt(n_a) (z_a - R_a lambda_a) of the other effects, over the noise's inflation.
    information : (A,) n_a over the noise's inflation.
    """

    outcome: NDArray[np.intp]
    probability: float
    studies: NDArray[np.intp]
    gamma: Floats
    residual: Floats
    information: Floats


def refine_weights(
    fit: SingleEffects,
    candidates: Candidates,
    draws: WeightDraws,
    kept: Sequence[Kept],
    gram: Callable[[int, NDArray[np.intp]], Floats],
    seed: int | np.random.SeedSequence,
) -> WeightDraws:
    """As many draws again, from where the GWAS and the panel agree (population Monte Carlo; Cappe et al.
    2004, doi:10.1198/106186004X12803).

    Given the variants of a kept draw and its effect on the trait, the GWAS is a Gaussian likelihood of the
    weights, so that the new draws come from the very conditional posterior, a little widened. All draws are
    weighted by posterior over the mixture of both proposals, in equal parts.

    Parameters
    ----------
    fit, candidates, draws : of one gene; draws as `draw_weights` gave them, not refined ones.
    kept : draws to start from; their probabilities are normalised here. gram : (ancestry, variants) -> R.
    """
    gaussian = _Gaussian(fit, candidates)
    rng = np.random.default_rng(seed)
    total = sum(one.probability for one in kept)
    share = np.array([one.probability / total for one in kept])
    parts = [_conditional(gaussian, draws, one, gram) for one in kept]
    sets = int(draws.replicate.max()) + 1
    count = len(draws.log_weight)
    studies = draws.normal.shape[2]
    outcome, normal = np.empty_like(draws.outcome), np.zeros_like(draws.normal)
    for number in range(sets):
        mine = np.flatnonzero(draws.replicate == number)
        point = (np.arange(len(mine)) + rng.random()) / len(mine)
        source = np.minimum(np.searchsorted(np.cumsum(share), point), len(kept) - 1)
        for row, j in zip(mine, source, strict=True):
            outcome[row] = kept[j].outcome
            there = outcome[row] >= 0
            mean, root, _ = parts[j]
            picked = zip(draws.active[there], outcome[row, there], strict=True)
            turn = np.repeat([gaussian.sign(int(effect), int(pick)) for effect, pick in picked], studies)
            step = mean + root @ (turn * rng.standard_normal(len(mean)))
            normal[row, there] = step.reshape(-1, studies)
    outcome = np.concatenate([draws.outcome, outcome])
    normal = np.concatenate([draws.normal, normal])
    log_ratio = _log_ratio_of(fit, draws, outcome)
    # posterior / (first / 2 + second / 2), with the normals' own density taken out of all three
    second = np.full((len(kept), 2 * count), -np.inf)
    for j, (mean, _, precision) in enumerate(parts):
        same = np.flatnonzero((outcome == kept[j].outcome).all(axis=1))
        x = normal[same][:, kept[j].outcome >= 0].reshape(len(same), -1)
        gap = x - mean
        quadratic = np.einsum("di,ij,dj->d", gap, precision, gap) - (x**2).sum(axis=1)
        second[j, same] = np.log(share[j]) + 0.5 * (np.linalg.slogdet(precision)[1] - quadratic)
    log_target = _log_target(fit, draws.active, outcome)
    log_first = log_target - log_ratio
    log_weight = log_target - np.logaddexp(log_first, logsumexp(second, axis=0)) + np.log(2.0)
    columns = _columns(gaussian, draws.active, outcome, normal)
    replicate = np.concatenate([draws.replicate, draws.replicate])
    return WeightDraws(
        columns, _log_normalised(log_weight), replicate, draws.active, outcome, normal, log_ratio
    )


# The conditional posterior is widened by this factor on its variance: gamma is not known either.
WIDEN = 1.5


def _conditional(
    gaussian: _Gaussian, draws: WeightDraws, one: Kept, gram: Callable[[int, NDArray[np.intp]], Floats]
) -> tuple[Floats, Floats, Floats]:
    """Mean, root of the covariance and precision of the normals behind one kept draw, given the GWAS."""
    outcome = one.outcome
    places = np.flatnonzero(outcome >= 0)
    pairs = [gaussian(int(draws.active[i]), int(outcome[i])) for i in places]
    variants = outcome[places] // gaussian.fit.alpha.shape[2]
    studies = draws.normal.shape[2]
    size = len(places) * studies
    precision, linear = np.eye(size), np.zeros(size)
    for a, study in enumerate(one.studies):
        basis = np.zeros((len(places), size))
        for i, (_, root) in enumerate(pairs):
            basis[i, i * studies : (i + 1) * studies] = root[study]
        mean = np.array([center[study] for center, _ in pairs])
        information = one.information[a] * gram(a, variants) if len(variants) else np.zeros((0, 0))
        precision += one.gamma[a] ** 2 * basis.T @ information @ basis
        linear += basis.T @ (
            one.gamma[a] * one.residual[a, variants] - one.gamma[a] ** 2 * information @ mean
        )
    mean = np.linalg.solve(precision, linear)
    precision /= WIDEN
    root = np.asarray(np.linalg.inv(np.linalg.cholesky(precision)).T)
    return np.asarray(mean), root, precision


class _Gaussian:
    """Mean (S,) and root (S, S) of an effect given its outcome, computed once for each."""

    def __init__(self, fit: SingleEffects, candidates: Candidates) -> None:
        self.fit, self.candidates = fit, candidates
        self._known: dict[tuple[int, int], tuple[Floats, Floats]] = {}

    def __call__(self, effect: int, outcome: int) -> tuple[Floats, Floats]:
        key = (effect, outcome)
        if key not in self._known:
            variant, component = divmod(outcome, self.fit.alpha.shape[2])
            mean, covariance = component_posterior(self.fit, self.candidates, effect, variant, component)
            self._known[key] = mean, covariance_root(covariance)
        return self._known[key]

    def sign(self, effect: int, outcome: int) -> float:
        """Sign of the largest mean over the studies and the components of a variant, by which noise is
        turned: swapping alleles then changes signs only. One component alone may have no mean at all.
        """
        mean = self.fit.mean[effect, outcome // self.fit.mean.shape[2]].ravel()
        return 1.0 if mean[np.argmax(np.abs(mean))] >= 0 else -1.0


def _columns(
    gaussian: _Gaussian, active: NDArray[np.intp], outcome: NDArray[np.intp], normal: Floats
) -> tuple[sparse.csr_array, ...]:
    """Per study (D, p) sparse columns; two effects on one variant add up."""
    p, components = gaussian.fit.alpha.shape[1:3]
    studies = gaussian.fit.mean.shape[3]
    rows, variants, values = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty((0, studies))]
    for position, effect in enumerate(active):
        for pick in np.unique(outcome[:, position]):
            if pick < 0:
                continue
            mine = np.flatnonzero(outcome[:, position] == pick)
            mean, root = gaussian(int(effect), int(pick))
            rows.append(mine)
            variants.append(np.full(len(mine), pick // components))
            values.append(mean + normal[mine, position] @ root.T)
    row, variant, value = np.concatenate(rows), np.concatenate(variants), np.concatenate(values)
    shape = (len(outcome), p)
    return tuple(sparse.csr_array((value[:, s], (row, variant)), shape=shape) for s in range(studies))


def _log_target(fit: SingleEffects, active: NDArray[np.intp], outcome: NDArray[np.intp]) -> Floats:
    """(D,) log posterior probability of the outcomes."""
    out = np.zeros(len(outcome))
    for position, effect in enumerate(active):
        target = np.concatenate([[fit.null[effect]], fit.alpha[effect].ravel()])
        out += np.log(target[outcome[:, position] + 1])
    return out


def _log_ratio_of(fit: SingleEffects, draws: WeightDraws, outcome: NDArray[np.intp]) -> Floats:
    """(2D,) log of posterior over first proposal; new draws repeat the outcomes of old ones."""
    known = {tuple(row): ratio for row, ratio in zip(draws.outcome, draws.log_ratio, strict=True)}
    return np.array([known[tuple(row)] for row in outcome])


def _log_normalised(log_weight: Floats) -> Floats:
    return log_weight - logsumexp(log_weight)


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
