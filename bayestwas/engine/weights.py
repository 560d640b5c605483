"""Expression weights of one gene over contexts and ancestries: a posterior with a shared prior.

Studies are context x ancestry pairs, in the order context-major. An eQTL effect is drawn from a mixture of
patterns of sharing (`sharing.py`), each at several sizes, so that a small panel borrows from a large one. A
variant's prior follows its distance to the transcription start site and its annotations. All of it is learned
over genes: `sums` is the E-step of one gene, `learn` the M-step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import (
    Candidates,
    Floats,
    correlation,
    covariance_root,
    posterior_covariance,
    presence,
)
from bayestwas.engine.sharing import (
    FIRST_CONTEXT,
    SHARED,
    STRENGTH,
    UNSTRUCTURED,
    Effects,
    Sharing,
    default_unstructured,
    existing,
    learn_sharing,
)
from bayestwas.engine.single_effects import SingleEffects, fit_single_effects, rows_there

# Relative prior density per variant by distance to the TSS: eQTLs cluster near it (e.g. GTEx Consortium 2020,
# doi:10.1126/science.aaz1776). Only the starting point where a study is large enough to learn its own.
DISTANCE_EDGES = (0.0, 5e3, 2e4, 5e4, 1e5, 2e5, 5e5)
DISTANCE_DENSITY = (8.0, 6.0, 4.0, 2.5, 1.5, 1.0, 0.5)
SIZES = (0.01, 0.04, 0.15)
SMALLEST_RESIDUAL = 0.2
SMALLEST_EIGENVALUE = 0.05
# Components of less than this share of the largest prior weight are left out of a fit.
NEGLIGIBLE = 1e-3
# An effect says how it is shared if it is on some variant with a probability above this.
CLEAR = 0.05


Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class WeightPriors:
    """Prior of expression effects, shared by the genes of a run; plain numbers, to be stored as they are.

    Attributes
    ----------
    rate : prior expected number of eQTLs of a gene.
    sizes : variances of an effect (expression SD per SD of genotype, squared).
    size_weights : (len(sizes),) prior probability of each size.
    shared, unstructured : prior probability that the effects of an eQTL follow the pattern of all contexts
        and ancestries, or a covariance without structure (`engine.sharing`).
    context_specific, ancestry_specific : that it acts in one context, or in one ancestry: of all together,
        equally probable, or of each. The four add up to one where all exist, and are scaled to where not.
    context_correlation, ancestry_correlation : of the effects of a shared eQTL: of every pair, or the matrix.
    unstructured_covariance : (S, S), context-major; None: half-way between shared and independent.
    density : relative prior density per variant in each distance bin.
    annotations : name and coefficient of annotations, which add to the log odds of a variant.
    annotation_intervals : name, standard deviation and ends of the 95% interval of each; told, not used.
    contexts, ancestries : names of what the matrices are over; empty where nothing is learned.
    """

    rate: float = 1.5
    sizes: tuple[float, ...] = SIZES
    size_weights: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    shared: float = 0.75
    unstructured: float = 0.05
    context_specific: float | tuple[float, ...] = 0.15
    ancestry_specific: float | tuple[float, ...] = 0.05
    context_correlation: float | Matrix = 0.8
    ancestry_correlation: float | Matrix = 0.9
    unstructured_covariance: Matrix | None = None
    density: tuple[float, ...] = DISTANCE_DENSITY
    annotations: tuple[tuple[str, float], ...] = ()
    annotation_intervals: tuple[tuple[str, float, float, float], ...] = ()
    contexts: tuple[str, ...] = ()
    ancestries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expression:
    """One gene's summary over S = contexts x ancestries studies and p variants.

    Attributes
    ----------
    z : (S, p) sqrt(n) times the correlation of genotype and expression; NaN where absent.
    n : (S,), 0 where not measured. ld : per study, in-sample.
    correlation : (S, S) correlation of expression over shared donors times their share; the identity where no
        donors are shared.
    share : (S, S) n_st / sqrt(n_s n_t), n_st donors in common. distance : (p,) base pairs to the TSS.
    enrichment : (p,) what annotations add to the log odds of a variant; None: nothing.
    """

    z: Floats
    n: Floats
    ld: tuple[LD, ...]
    correlation: Floats
    share: Floats
    distance: Floats
    contexts: int
    ancestries: int
    enrichment: Floats | None = None


@dataclass(frozen=True)
class WeightPosterior:
    """Posterior of one gene's weights: the single effects, their candidates and the residual noise (S, S)."""

    fit: SingleEffects
    candidates: Candidates
    noise: Floats
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class WeightSums:
    """What genes with the same contexts and ancestries say about the priors; adds up over genes.

    Attributes
    ----------
    genes, found : number of genes, expected number of eQTLs.
    size : (len(sizes),) expected number of each size. effects : the clear ones.
    mass, exposure : (bins,) expected eQTLs by distance, and what they would be at density one.
    """

    genes: float
    found: float
    size: Floats
    effects: Effects
    mass: Floats
    exposure: Floats

    @classmethod
    def nothing(cls, contexts: int, ancestries: int, sizes: int = len(SIZES)) -> WeightSums:
        bins = len(DISTANCE_EDGES)
        effects = Effects.nothing(contexts * ancestries)
        return cls(0.0, 0.0, np.zeros(sizes), effects, np.zeros(bins), np.zeros(bins))

    def __add__(self, other: WeightSums) -> WeightSums:
        return WeightSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Components:
    """Prior covariances (M, S, S) of an effect, patterns x sizes without those of negligible weight; their
    weights (M,), and the pattern and the size (M,) of each."""

    covariances: Floats
    weight: Floats
    pattern: NDArray[np.intp]
    size: NDArray[np.intp]


def sharing(priors: WeightPriors, contexts: int, ancestries: int) -> Sharing:
    """The patterns of `priors` over C contexts and A ancestries."""
    across = _matrix(priors.context_correlation, contexts)
    among = _matrix(priors.ancestry_correlation, ancestries)
    loose = priors.unstructured_covariance
    weight = np.concatenate(
        [
            [priors.shared, priors.unstructured],
            _each(priors.context_specific, contexts),
            _each(priors.ancestry_specific, ancestries),
        ]
    )
    return Sharing(
        across, among,
        default_unstructured(across, among) if loose is None else np.array(loose),
        existing(weight, contexts, ancestries),
    )  # fmt: skip


def _matrix(given: float | Matrix, size: int) -> Floats:
    return np.array(given) if isinstance(given, tuple) else correlation(given, size)


def _each(given: float | tuple[float, ...], size: int) -> Floats:
    return np.array(given) if isinstance(given, tuple) else np.full(size, given / size)


def components(priors: WeightPriors, contexts: int, ancestries: int) -> Components:
    """The mixture of covariances of an effect, pattern-major."""
    shape = sharing(priors, contexts, ancestries)
    weight = np.outer(shape.weight, priors.size_weights)
    pattern, size = np.nonzero(weight >= NEGLIGIBLE * weight.max())
    kept = weight[pattern, size]
    covariances = np.array(priors.sizes)[size][:, None, None] * shape.patterns()[pattern]
    return Components(covariances, kept / kept.sum(), pattern, size)


def distance_bin(distance: Floats) -> NDArray[np.intp]:
    """Bin of DISTANCE_EDGES of each variant."""
    return np.digitize(np.abs(distance), DISTANCE_EDGES) - 1


def weight_candidates(
    distance: Floats,
    usable: NDArray[np.bool_],
    contexts: int,
    ancestries: int,
    priors: WeightPriors,
    enrichment: Floats | None = None,
) -> Candidates:
    """Unit candidates with the prior of `priors`; variants usable in no study get none of it.

    `enrichment` (p,) adds to the log odds of a variant: its annotations times their coefficients.
    """
    mixture = components(priors, contexts, ancestries)
    density = np.where(usable, np.array(priors.density)[distance_bin(distance)], 0.0)
    if enrichment is not None:
        density = density * np.exp(enrichment - enrichment.max(initial=0.0))
    with np.errstate(divide="ignore"):
        variant = np.log(density) - np.log(max(density.sum(), 1e-300)) + np.log(priors.rate)
        log_prior = variant[:, None] + np.log(mixture.weight)[None, :]
    return Candidates(len(distance), (), log_prior, np.ones_like(log_prior), mixture.covariances)


def fit_expression(
    expression: Expression,
    priors: WeightPriors,
    *,
    effects: int = 5,
    rounds: int = 2,
    tolerance: float = 1e-3,
) -> WeightPosterior:
    """Fit one gene: single effects given the residual noise, the residual noise given the effects, `rounds`
    times."""
    present = presence(expression.z, expression.ld) & (expression.n > 0)[:, None]
    z = np.where(present, expression.z, np.nan)
    candidates = weight_candidates(
        expression.distance, np.logical_or.reduce(present), expression.contexts, expression.ancestries,
        priors, expression.enrichment,
    )  # fmt: skip
    noise = _definite(expression.correlation)
    start = None
    for _ in range(rounds):
        fit = fit_single_effects(
            z, expression.n, expression.ld, candidates,
            effects=effects, noise=noise, ld_noise=False, tolerance=tolerance, start=start,
        )  # fmt: skip
        start = fit.lam
        used, noise = noise, residual_noise(expression, fit)
    return WeightPosterior(fit, candidates, used, present)


def residual_noise(expression: Expression, fit: SingleEffects) -> Floats:
    """(S, S) covariance of what the mean weights leave of the expression, kept positive definite."""
    lam, fitted = fit.lam.sum(axis=0), fit.fitted.sum(axis=0)
    n = np.where(expression.n > 0, expression.n, np.inf)
    z = np.nan_to_num(expression.z)
    genetic = lam @ fitted.T / np.sqrt(np.outer(n, n))  # w_s' R w_t, R that of t; symmetric where R is shared
    noise = expression.correlation - expression.share * np.where(
        expression.correlation != 0, 0.5 * (genetic + genetic.T), 0.0
    )
    own = 1 - 2 * (z * lam).sum(axis=1) / n + (lam * fitted).sum(axis=1) / n
    np.fill_diagonal(noise, np.clip(own, SMALLEST_RESIDUAL, 1.0))
    return _definite(noise)


def excess(expression: Expression, posterior: WeightPosterior) -> Floats:
    """(S,) association of expression that the fitted effects leave: the mean over variants of the squared z
    of the residual, less its noise.

    About 0 where the model holds (below, as effects are fitted), above where many effects are too small for
    it; NaN where not measured.
    """
    z = np.where(posterior.present, expression.z - posterior.fit.fitted.sum(axis=0), np.nan)
    count = posterior.present.sum(axis=1)
    left = np.nansum(z**2, axis=1) / np.maximum(count, 1) - np.diag(posterior.noise)
    return np.where(count > 0, left, np.nan)


def _definite(noise: Floats) -> Floats:
    """The matrix with its eigenvalues raised to SMALLEST_EIGENVALUE: the same data given as two contexts can
    still be fitted."""
    value, vector = np.linalg.eigh(noise)
    if value[0] >= SMALLEST_EIGENVALUE:
        return noise
    return (vector * np.maximum(value, SMALLEST_EIGENVALUE)) @ vector.T


def sums(posterior: WeightPosterior, expression: Expression, priors: WeightPriors) -> WeightSums:
    """What this gene contributes to learning `priors`."""
    alpha = posterior.fit.alpha
    mixture = components(priors, expression.contexts, expression.ancestries)
    by_size = np.bincount(mixture.size, alpha.sum(axis=(0, 1)), len(priors.sizes)).astype(np.float64)
    bins = distance_bin(expression.distance)
    usable = posterior.present.any(axis=0)
    enrichment = np.zeros(len(bins)) if expression.enrichment is None else expression.enrichment
    odds = np.exp(enrichment - enrichment.max(initial=0.0))
    count = np.bincount(bins[usable], odds[usable], minlength=len(priors.density)).astype(np.float64)
    by_bin = np.bincount(bins, alpha.sum(axis=(0, 2)), minlength=len(priors.density)).astype(np.float64)
    expected = float((count * priors.density).sum())
    return WeightSums(
        1.0, float(by_size.sum()), by_size, _clear_effects(posterior),
        by_bin, by_bin.sum() * count / max(expected, 1e-300),
    )  # fmt: skip


def _clear_effects(posterior: WeightPosterior) -> Effects:
    """The effects that are on some variant with a probability above CLEAR; the rest say next to nothing of
    how effects are shared."""
    fit = posterior.fit
    information, group = _information(posterior)
    weight = fit.alpha.sum(axis=2)
    effect, k = np.nonzero(weight > CLEAR)
    return Effects(weight[effect, k], fit.score[effect, k], information[group[k]])


def variant_evidence(posterior: WeightPosterior) -> Floats:
    """(R, p) log Bayes factor of every variant for the effects that are there and one more, averaged over the
    components of its prior; -inf where a variant is usable in no study."""
    fit, candidates = posterior.fit, posterior.candidates
    rows = rows_there(fit)
    information, group = _information(posterior)
    _, log_scale = _given(candidates, information)
    log_bf = 0.5 * np.einsum("lkms,lks->lkm", fit.mean[:rows], fit.score[:rows]) + log_scale[group]
    usable = np.isfinite(candidates.log_prior).any(axis=1)
    of_all = logsumexp(candidates.log_prior[usable], axis=1, keepdims=True)
    out = np.full(log_bf.shape[:2], -np.inf)
    share = candidates.log_prior[usable] - of_all
    out[:, usable] = logsumexp(log_bf[:, usable] + share, axis=2)
    return out


def learn(total: WeightSums, start: WeightPriors, contexts: int, ancestries: int) -> WeightPriors:
    """Priors given the sums over genes under `start`, with STRENGTH genes' worth of the defaults: one M-step
    for rate, sizes and density, EM to the end for the patterns of sharing.

    The density is normalised to the bin of 200-500 kb, as the default is.
    """
    default = WeightPriors()
    size = (total.size + STRENGTH * np.array(default.size_weights)) / (total.found + STRENGTH)
    density = (total.mass + STRENGTH / 10 * np.array(default.density)) / (total.exposure + STRENGTH / 10)
    learned = learn_sharing(
        total.effects, sharing(start, contexts, ancestries), sharing(default, contexts, ancestries),
        np.array(start.sizes), size,
    )  # fmt: skip
    weight = tuple(float(x) for x in learned.weight)
    return replace(
        start,
        rate=float((total.found + STRENGTH * default.rate) / (total.genes + STRENGTH)),
        size_weights=tuple(float(x) for x in size),
        shared=weight[SHARED],
        unstructured=weight[UNSTRUCTURED],
        context_specific=weight[FIRST_CONTEXT : FIRST_CONTEXT + contexts],
        ancestry_specific=weight[FIRST_CONTEXT + contexts :],
        context_correlation=_plain(learned.contexts),
        ancestry_correlation=_plain(learned.ancestries),
        unstructured_covariance=_plain(learned.unstructured),
        density=tuple(float(x) for x in density / density[-2]),
    )


def _plain(matrix: Floats) -> Matrix:
    return tuple(tuple(float(x) for x in row) for row in matrix)


def moments(posterior: WeightPosterior) -> tuple[Floats, Floats]:
    """Posterior mean and standard deviation of the weights, each (S, p)."""
    fit = posterior.fit
    information, group = _information(posterior)
    variance = np.einsum("qmss->qms", _given(posterior.candidates, information)[0])[group]
    mean = np.einsum("lkm,lkms->lsk", fit.alpha, fit.mean)
    second = np.einsum("lkm,lkms->lsk", fit.alpha, fit.mean**2) + np.einsum(
        "lkm,kms->lsk", fit.alpha, variance
    )
    return mean.sum(axis=0), np.sqrt(np.maximum(second - mean**2, 0.0).sum(axis=0))


def signals(
    posterior: WeightPosterior, average: Floats, present: float = 0.5
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """The single effects that are there in some studies: their numbers (K,), their mean weights given that
    they are there (K, S, p), and the coefficients of variation of their effects (K,).

    average : (S,) non-negative, sums to one: studies and their shares. A signal is there where its effect is
    more probably than `present` one that acts in these studies. Its variation is that of the average effect,
    given the most probable variant.
    """
    fit, candidates = posterior.fit, posterior.candidates
    power = np.einsum("mss->ms", candidates.covariances) @ average > 1e-12
    alpha = fit.alpha * power[None, None, :]
    total = alpha.sum(axis=(1, 2))
    kept = np.flatnonzero(total > present)
    share = alpha[kept] / total[kept, None, None]
    mean = np.einsum("lkm,lkms->lsk", share, fit.mean[kept])
    information, group = _information(posterior)
    covariance = np.einsum("qmst,s,t->qm", _given(candidates, information)[0], average, average)
    lead = share.sum(axis=2).argmax(axis=1)
    rows = np.arange(len(kept))
    own = share[rows, lead] / share[rows, lead].sum(axis=1, keepdims=True)
    effect = np.einsum("lms,s->lm", fit.mean[kept, lead], average)
    first = (own * effect).sum(axis=1)
    second = (own * (effect**2 + covariance[group[lead]])).sum(axis=1)
    variation = np.sqrt(np.maximum(second - first**2, 0.0)) / np.maximum(np.abs(first), 1e-12)
    return kept, mean, variation


def _information(posterior: WeightPosterior) -> tuple[Floats, NDArray[np.intp]]:
    """Information (Q, S, S) of groups of variants, and the group of each (p,): variants of the same studies
    share it, since their LD is exact."""
    fit = posterior.fit
    if fit.group is not None:
        return fit.information, fit.group
    _, first, group = np.unique(posterior.present, axis=1, return_index=True, return_inverse=True)
    return np.array([np.diag(fit.information[0, k]) for k in first]), group.ravel()


def _given(candidates: Candidates, information: Floats) -> tuple[Floats, Floats]:
    """(Q, M, S, S) posterior covariance of an effect and (Q, M) log scale, from the groups' information."""
    root = np.array([covariance_root(one) for one in candidates.covariances])
    return posterior_covariance(root[None], information[:, None])
