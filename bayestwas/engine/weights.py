"""Expression weights of one gene over contexts and ancestries: a posterior with a shared prior.

Studies are context x ancestry pairs, in the order context-major. An eQTL effect is drawn from a mixture of
covariances: shared by all contexts, or in one context only, each at several sizes; effects are correlated
across ancestries. So a small panel borrows from a large one. A variant's prior follows its distance to the
transcription start site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import Candidates, Floats, correlation, presence
from bayestwas.engine.single_effects import SingleEffects, component_posterior, fit_single_effects

# Relative prior density per variant by distance to the TSS: eQTLs cluster near it (e.g. GTEx Consortium 2020,
# doi:10.1126/science.aaz1776). Only the starting point where a study is large enough to learn its own.
DISTANCE_EDGES = (0.0, 5e3, 2e4, 5e4, 1e5, 2e5, 5e5)
DISTANCE_DENSITY = (8.0, 6.0, 4.0, 2.5, 1.5, 1.0, 0.5)
SIZES = (0.01, 0.04, 0.15)
SMALLEST_RESIDUAL = 0.2
SMALLEST_EIGENVALUE = 0.05


@dataclass(frozen=True)
class WeightPriors:
    """Prior of expression effects, shared by the genes of a run.

    Attributes
    ----------
    rate : prior expected number of eQTLs of a gene.
    sizes : variances of an effect (expression SD per SD of genotype, squared).
    shared : prior probability that an eQTL acts in all contexts rather than in one.
    size_weights : (len(sizes),) prior probability of each size.
    density : relative prior density per variant in each distance bin.
    ancestry_correlation, context_correlation : of the effects of a shared eQTL.
    """

    rate: float = 1.5
    sizes: tuple[float, ...] = SIZES
    shared: float = 0.8
    size_weights: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    density: tuple[float, ...] = DISTANCE_DENSITY
    ancestry_correlation: float = 0.9
    context_correlation: float = 0.8


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
    """

    z: Floats
    n: Floats
    ld: tuple[LD, ...]
    correlation: Floats
    share: Floats
    distance: Floats
    contexts: int
    ancestries: int


@dataclass(frozen=True)
class WeightPosterior:
    """Posterior of one gene's weights: the single effects, their candidates and the residual noise (S, S)."""

    fit: SingleEffects
    candidates: Candidates
    noise: Floats
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class WeightSums:
    """What one or more genes say about the priors; adds up over genes."""

    genes: float = 0.0
    found: float = 0.0
    size: Floats = field(default_factory=lambda: np.zeros(len(SIZES)))
    shared: float = 0.0
    specific: float = 0.0
    mass: Floats = field(default_factory=lambda: np.zeros(len(DISTANCE_DENSITY)))
    exposure: Floats = field(default_factory=lambda: np.zeros(len(DISTANCE_DENSITY)))

    def __add__(self, other: WeightSums) -> WeightSums:
        return WeightSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def components(priors: WeightPriors, contexts: int, ancestries: int) -> tuple[Floats, Floats]:
    """Covariances (M, S, S) and prior weights (M,): patterns of sharing x sizes, pattern-major; the shared
    pattern first."""
    across = correlation(priors.ancestry_correlation, ancestries)
    patterns = [correlation(priors.context_correlation, contexts)]
    weights = [priors.shared if contexts > 1 else 1.0]
    if contexts > 1:
        patterns += [np.outer(unit, unit) for unit in np.eye(contexts)]
        weights += [(1 - priors.shared) / contexts] * contexts
    covariances = np.array([size * np.kron(pattern, across) for pattern in patterns for size in priors.sizes])
    return covariances, np.outer(weights, priors.size_weights).ravel()


def distance_bin(distance: Floats) -> NDArray[np.intp]:
    """Bin of DISTANCE_EDGES of each variant."""
    return np.digitize(np.abs(distance), DISTANCE_EDGES) - 1


def weight_candidates(
    distance: Floats, usable: NDArray[np.bool_], contexts: int, ancestries: int, priors: WeightPriors
) -> Candidates:
    """Unit candidates with the prior of `priors`; variants usable in no study get none of it."""
    covariances, component = components(priors, contexts, ancestries)
    density = np.where(usable, np.array(priors.density)[distance_bin(distance)], 0.0)
    with np.errstate(divide="ignore"):
        variant = np.log(density) - np.log(max(density.sum(), 1e-300)) + np.log(priors.rate)
        log_prior = variant[:, None] + np.log(component)[None, :]
    return Candidates(len(distance), (), log_prior, np.ones_like(log_prior), covariances)


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
        expression.distance, np.logical_or.reduce(present), expression.contexts, expression.ancestries, priors
    )
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


def _definite(noise: Floats) -> Floats:
    """The matrix with its eigenvalues raised to SMALLEST_EIGENVALUE: the same data given as two contexts can
    still be fitted."""
    value, vector = np.linalg.eigh(noise)
    if value[0] >= SMALLEST_EIGENVALUE:
        return noise
    return (vector * np.maximum(value, SMALLEST_EIGENVALUE)) @ vector.T


def sums(posterior: WeightPosterior, distance: Floats, contexts: int, priors: WeightPriors) -> WeightSums:
    """What this gene contributes to learning `priors`; with one context, nothing about sharing."""
    alpha = posterior.fit.alpha
    by_component = alpha.sum(axis=(0, 1)).reshape(-1, len(priors.sizes))
    bins = distance_bin(distance)
    usable = posterior.present.any(axis=0)
    count = np.bincount(bins[usable], minlength=len(priors.density)).astype(np.float64)
    weight = alpha.sum(axis=(0, 2))
    mass = np.bincount(bins, weight, minlength=len(priors.density)).astype(np.float64)
    expected = float((count * priors.density).sum())
    return WeightSums(
        1.0, float(alpha.sum()), by_component.sum(axis=0),
        float(by_component[0].sum()) if contexts > 1 else 0.0,
        float(by_component[1:].sum()) if contexts > 1 else 0.0,
        mass, mass.sum() * count / max(expected, 1e-300),
    )  # fmt: skip


def learn(total: WeightSums, start: WeightPriors, strength: float = 20.0) -> WeightPriors:
    """Priors given the sums over genes: one M-step, with `strength` genes' worth of the defaults added.

    The density is normalised to the bin of 200-500 kb, as the default is.
    """
    default = WeightPriors()
    size = (total.size + strength * np.array(default.size_weights)) / (total.found + strength)
    shared = (total.shared + strength * default.shared) / (total.shared + total.specific + strength)
    density = (total.mass + strength / 10 * np.array(default.density)) / (total.exposure + strength / 10)
    return WeightPriors(
        rate=float((total.found + strength * default.rate) / (total.genes + strength)),
        sizes=start.sizes,
        shared=float(shared),
        size_weights=tuple(float(x) for x in size),
        density=tuple(float(x) for x in density / density[-2]),
        ancestry_correlation=start.ancestry_correlation,
        context_correlation=start.context_correlation,
    )


def total_sums(parts: Sequence[WeightSums]) -> WeightSums:
    """Their sum."""
    return sum(parts, start=WeightSums())


def moments(posterior: WeightPosterior) -> tuple[Floats, Floats]:
    """Posterior mean and standard deviation of the weights, each (S, p)."""
    fit, candidates = posterior.fit, posterior.candidates
    variance = np.array([_spreads(posterior, m) for m in range(candidates.log_prior.shape[1])])  # (M, K, S)
    mean = np.einsum("lkm,lkms->lsk", fit.alpha, fit.mean)
    second = np.einsum("lkm,lkms->lsk", fit.alpha, fit.mean**2) + np.einsum(
        "lkm,mks->lsk", fit.alpha, variance
    )
    return mean.sum(axis=0), np.sqrt(np.maximum(second - mean**2, 0.0).sum(axis=0))


def _spreads(posterior: WeightPosterior, m: int) -> Floats:
    """(K, S) posterior variance of an effect given the variant and component m; candidates with the same
    studies share it."""
    fit, candidates = posterior.fit, posterior.candidates
    pattern, first, back = np.unique(posterior.present, axis=1, return_index=True, return_inverse=True)
    rows = [np.diag(component_posterior(fit, candidates, 0, int(k), m)[1]) for k in first]
    return np.array(rows).reshape(pattern.shape[1], -1)[back.ravel()]
