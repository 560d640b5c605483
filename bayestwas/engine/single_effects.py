"""The kernel: a sum of single effects over candidate columns, in one study or many.

Model, for studies s = 1..S over the same p variants (R_s correlation, n_s people):

    z_s | lambda_s ~ Normal(R_s lambda_s, R_s),    lambda_s = sqrt(n_s) sum_l c_{k(l), s} gamma_{l, s}
    k(l) = k with prior odds pi_k against none, where effect l - 1 is there
    gamma_l | k, m ~ Normal(0, scale_km Omega_m)

A candidate column c_k is a vector of p variant effects per study: a unit vector for a variant, a draw of
expression weights for a gene. m runs over a mixture of prior covariances. The posterior is approximated by L
independent single effects, each exact given the others (Wang et al. 2020, doi:10.1111/rssb.12388, for one
study and unit vectors). The effects are interchangeable and the approximation keeps one labelling, so that
dividing a candidate's prior by L would understate moderate signals up to L times. Instead the effects come in
an order: effect l may exist only where effect l - 1 does, weighted by its probability, and has the odds of
one more inclusion (`_posterior`).

Where the LD reference has n_ref people, the score of a column is a noisy one: its variance is inflated by the
Wishart sampling variance of R lambda_bar seen through the column,

    v_k = 1 + (q + (c_k' R lambda_bar)^2 / (c_k' R c_k)) / n_ref,    q = lambda_bar' R lambda_bar,

with lambda_bar the posterior mean of the other effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import (
    Candidates,
    Floats,
    Likelihood,
    covariance_root,
    diagonal_terms,
    posterior_covariance,
    presence,
)

# An effect less probable than this is not counted as there.
THERE = 0.05


@dataclass(frozen=True)
class SingleEffects:
    """Posterior of L single effects over K candidates, M covariances, S studies.

    Attributes
    ----------
    alpha : (L, K, M) posterior probability that effect l is candidate k with covariance m.
    null : (L,) posterior probability that effect l is empty.
    mean : (L, K, M, S) posterior mean of gamma given k and m.
    score, information : (L, K, S) and (L, K, S) or (Q, S, S): the Gaussian likelihood each effect saw.
    group : (K,) row of `information` of each candidate where the noise is correlated, else None.
    lam, fitted : (L, S, p) lambda_bar and R lambda_bar of each effect: summed over effects, the z-scores the
        fit expects.
    converged, sweeps : whether the changes of alpha and lambda in a sweep fell under the tolerance, and after
        how many.
    """

    alpha: Floats
    null: Floats
    mean: Floats
    score: Floats
    information: Floats
    group: NDArray[np.intp] | None
    lam: Floats
    fitted: Floats
    converged: bool
    sweeps: int

    @property
    def pip(self) -> Floats:
        """(K,) probability that at least one effect is candidate k."""
        return inclusion(self.alpha.sum(axis=2))


def rows_there(fit: SingleEffects) -> int:
    """How many effects are there, and one more, which says that there are no others."""
    there = np.flatnonzero(fit.null < 1 - THERE)
    return min(int(there.max(initial=-1)) + 2, len(fit.null))


def inclusion(alpha: Floats) -> Floats:
    """1 - prod_l (1 - alpha_l) along the first axis, without cancellation for small alpha."""
    return -np.expm1(np.log1p(-np.minimum(alpha, 1 - 1e-15)).sum(axis=0))


def fit_single_effects(
    z: Floats,
    n: Floats,
    ld: Sequence[LD],
    candidates: Candidates,
    *,
    effects: int = 10,
    noise: Floats | None = None,
    ld_noise: bool = True,
    tolerance: float = 1e-4,
    max_sweeps: int = 200,
    support: float = 1e-5,
    start: Floats | None = None,
) -> SingleEffects:
    """Fit L single effects by coordinate ascent; see the module's docstring for the model.

    Parameters
    ----------
    z : (S, p) z-scores; NaN where a variant is absent from a study.
    n : (S,) sample sizes.
    ld : S operators over the same p variants; several studies may share one.
    candidates : the columns and their priors.
    effects : L, the largest number of effects that can be told apart.
    noise : (S, S) noise covariance of the studies for one variant (residual variances, shared donors); None:
        identity. Only with unit candidates, and only between studies that share their LD.
    ld_noise : carry the sampling noise of the LD reference.
    tolerance : converged once no effect's distribution over candidates moves by more than this in a sweep
        (total variation: the draws of one gene count together), and no lambda, summed over effects, by more
        than a hundred times this (in z units: effects in LD go on trading long after both are certain). The
        update is damped by half from the middle of the allowed sweeps on, which ends the oscillations that
        LD noise can cause.
    max_sweeps : give up after this many sweeps; the result then says `converged=False`.
    support : entries of an effect's lambda that moved by less than this (in z units) since they were last
        multiplied by R stay where they were, so that `fit` is R `lam` and R is touched through few columns.
    start : (L, S, p) lambda_bar of each effect to begin from; None begins from no effects.

    Raises ValueError where a number is not finite, or where `noise` meets an LD reference of finite n_ref
    under `ld_noise`. A fit whose probabilities leave the finite numbers stops, unconverged.
    """
    studies, p = z.shape
    likelihood = Likelihood.build(z, n, ld, candidates, noise, ld_noise)
    k_total, m_total = candidates.log_prior.shape
    alpha = np.zeros((effects, k_total, m_total))
    null = (
        np.ones(effects) if start is None else (np.abs(start).max(axis=(1, 2)) <= support).astype(np.float64)
    )
    mean = np.zeros((effects, k_total, m_total, studies))
    score = np.zeros((effects, k_total, studies))
    seen = (
        np.zeros((effects, k_total, studies))
        if likelihood.grouped is None
        else likelihood.grouped.information
    )
    lam = np.zeros((effects, studies, p)) if start is None else start.copy()
    fit = np.zeros((effects, studies, p))  # R lambda of each effect
    if start is not None:
        for effect, s in np.argwhere(np.abs(lam).max(axis=2) > support):
            fit[effect, s] = _fitted(lam[effect, s], ld[s], support)
        lam[np.abs(lam) <= support] = 0.0  # `fit` is R times what is left, here and after every update
    converged, sweep, change = False, 0, 0.0
    while not converged and sweep < max_sweeps and np.isfinite(change):
        sweep += 1
        damping = 0.5 if sweep > max_sweeps // 2 else 1.0
        change, before = 0.0, lam.sum(axis=0)
        for effect in range(effects):
            other_lam = lam.sum(axis=0) - lam[effect]
            other_fit = fit.sum(axis=0) - fit[effect]
            u, information = likelihood.see(other_lam, other_fit)
            log_bf, mu = likelihood.terms(u, information)
            updated, null[effect] = _posterior(log_bf, candidates, null[:effect])
            change = float(np.maximum(change, 0.5 * np.abs(updated - alpha[effect]).sum()))  # NaN stays NaN
            alpha[effect], mean[effect], score[effect] = updated, mu, u.T
            if likelihood.grouped is None:
                seen[effect] = information.T
            weight = np.einsum("km,kms->sk", updated, mu)
            for s in range(studies):
                new = np.sqrt(n[s]) * likelihood.candidates.combine(s, weight[s], p) * likelihood.present[s]
                new = lam[effect, s] + damping * (new - lam[effect, s])
                # Empty effects are alike: in the first sweep start from the one before where it is nearer.
                nearest = (
                    effect - 1
                    if sweep == 1 and effect and _nearer(new, lam[:, s], effect, support)
                    else effect
                )
                lam[effect, s], fit[effect, s] = lam[nearest, s], fit[nearest, s]
                step = new - lam[effect, s]
                index = np.flatnonzero((np.abs(step) > support) & (ld[s].variance > 0))
                lam[effect, s, index] += step[index]
                fit[effect, s] += ld[s].apply(index, step[index])
        moved = float(np.abs(lam.sum(axis=0) - before).max(initial=0.0))
        converged = change < tolerance and moved < 100 * tolerance
    group = None if likelihood.grouped is None else likelihood.grouped.group
    return SingleEffects(alpha, null, mean, score, seen, group, lam, fit, converged, sweep)


def _nearer(new: Floats, lam: Floats, effect: int, support: float) -> bool:
    """Whether the effect before this one is the better start: fewer entries to change."""
    own, before = (np.count_nonzero(np.abs(new - lam[i]) > support) for i in (effect, effect - 1))
    return bool(before < own)


def _fitted(lam: Floats, ld: LD, support: float) -> Floats:
    """R lambda, (p,), through the entries of lambda that matter."""
    index = np.flatnonzero((np.abs(lam) > support) & (ld.variance > 0))
    return ld.apply(index, lam[index])


def _posterior(log_bf: Floats, candidates: Candidates, earlier_null: Floats) -> tuple[Floats, float]:
    """Probabilities (K, M) of one effect and of its being empty, given the nulls of the effects before it.

    The effect exists only where the one before it does, and its odds are those of one more inclusion: with
    candidates included independently P(l) / P(l - 1) = sum pi / l. That is exact for effects that are spread
    over the same candidates, and too low by up to the rank for a further effect that is sure of its own
    candidate (tests/engine/test_order.py). Dividing by the overlap with earlier effects instead mends that
    case, and lets weak effects add up: on the hard benchmark it was the worse of the two.
    """
    log_posterior = log_bf + candidates.log_prior
    if np.isfinite(candidates.log_null) and len(earlier_null):
        there = max(1 - float(earlier_null[-1]), 1e-300)
        log_posterior = log_posterior + np.log(there / (len(earlier_null) + 1))
    return _normalise(log_posterior, candidates.log_null)


def _normalise(log_posterior: Floats, log_null: float) -> tuple[Floats, float]:
    """Probabilities of candidates and of the null from unnormalised logs."""
    top = max(float(log_posterior.max()), log_null)
    weight = np.exp(log_posterior - top)
    empty = float(np.exp(log_null - top))
    total = weight.sum() + empty
    return weight / total, empty / total


def from_score(
    score: Floats, present: NDArray[np.bool_], n: Floats, candidates: Candidates, noise: Floats
) -> SingleEffects:
    """The posterior over unit candidates again, from the stored score (L, K, S) of each effect and exact
    LD."""
    zero = np.where(present, 0.0, np.nan)
    ld = [_Presence(row) for row in present]
    likelihood = Likelihood.build(zero, n, ld, candidates, noise, ld_noise=False)
    information = likelihood.variance * likelihood.root_n[:, None] ** 2
    parts: list[Floats] = []
    nulls: list[float] = []
    means: list[Floats] = []
    for u in score:
        log_bf, mean = likelihood.terms(np.ascontiguousarray(u.T), information)
        alpha, null = _posterior(log_bf, candidates, np.array(nulls))
        parts.append(alpha)
        nulls.append(null)
        means.append(mean)
    seen = (
        np.broadcast_to(information.T, score.shape)
        if likelihood.grouped is None
        else likelihood.grouped.information
    )
    group = None if likelihood.grouped is None else likelihood.grouped.group
    nothing = np.zeros((len(score), *present.shape))
    return SingleEffects(
        np.array(parts), np.array(nulls), np.array(means), score, seen, group, nothing, nothing, True, 0
    )


def log_bayes_factors(
    fit: SingleEffects, candidates: Candidates, keep: NDArray[np.intp] | None = None
) -> Floats:
    """(L, K, M) log Bayes factor of every unit candidate and covariance for what each effect saw, in all
    studies or in those of `keep`, which must share no noise with the others."""
    keep = np.arange(fit.score.shape[2]) if keep is None else keep
    out = np.zeros((len(fit.score), *candidates.log_prior.shape))
    for m, omega in enumerate(candidates.covariances):
        if not np.isfinite(candidates.log_prior[: candidates.units, m]).any():
            continue  # a covariance of columns, not of variants
        root, scale = covariance_root(omega[np.ix_(keep, keep)]), candidates.scale[:, m]
        for effect, score in enumerate(fit.score[:, :, keep]):
            if fit.group is None:
                seen = fit.information[effect][:, keep].T
                out[effect, :, m] = diagonal_terms(np.ascontiguousarray(score.T), seen, scale, root)[0]
                continue
            for q in np.unique(fit.group):
                mine = np.flatnonzero(fit.group == q)  # of one group: the scale is the same
                information = fit.information[q][np.ix_(keep, keep)]
                covariance, log_scale = posterior_covariance(np.sqrt(scale[mine[0]]) * root, information)
                u = score[mine]
                out[effect, mine, m] = 0.5 * np.einsum("ks,st,kt->k", u, covariance, u) + log_scale
    return out


class _Presence:
    """LD of which only the usable variants are known; enough to rebuild a posterior from its scores."""

    n_ref = np.inf

    def __init__(self, present: NDArray[np.bool_]) -> None:
        self.variance = present.astype(np.float64)

    def columns(self, index: NDArray[np.intp]) -> Floats:
        raise NotImplementedError("this operator only knows which variants are usable")

    gram = columns

    def apply(self, index: NDArray[np.intp], values: Floats) -> Floats:
        return self.columns(index)


def component_posterior(
    fit: SingleEffects, candidates: Candidates, effect: int, candidate: int, component: int
) -> tuple[Floats, Floats]:
    """Mean (S,) and covariance (S, S) of gamma given that `effect` is `candidate` with covariance
    `component`."""
    mean = fit.mean[effect, candidate, component]
    information = (
        np.diag(fit.information[effect, candidate])
        if fit.group is None
        else fit.information[fit.group[candidate]]
    )
    root = covariance_root(candidates.scale[candidate, component] * candidates.covariances[component])
    return mean, posterior_covariance(root, information)[0]


def elbo(
    z: Floats, n: Floats, ld: Sequence[LD], fit: SingleEffects, candidates: Candidates, inflation: Floats
) -> float:
    """Evidence lower bound of a fit with independent noise between studies, up to a constant of the data.

    sum_s E[lambda_s' z_s - lambda_s' R_s lambda_s / 2] / v_s - KL(posterior || prior), the likelihood
    tempered by v_s, the common `inflation` (S,) of the noise: fits of the same data from different starts are
    compared with it.
    """
    present = presence(z, ld)
    candidates = candidates.restrict(present)
    z = np.where(present, z, 0.0)
    lam, expected = fit.lam.sum(axis=0), fit.fitted.sum(axis=0)
    value = float(((lam * z).sum(axis=1) - 0.5 * (lam * expected).sum(axis=1)) @ (1 / inflation))
    value += 0.5 * float((fit.lam * fit.fitted).sum(axis=(0, 2)) @ (1 / inflation))
    variance = candidates.variances(ld, present).T * np.asarray(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        value -= float(
            np.nansum(np.where(fit.null > 0, fit.null * (np.log(fit.null) - candidates.log_null), 0.0))
        )
    for m, omega in enumerate(candidates.covariances):
        root = covariance_root(omega)
        for effect in range(len(fit.alpha)):
            index = np.flatnonzero(fit.alpha[effect, :, m] > 1e-9)
            alpha, scale = fit.alpha[effect, index, m], candidates.scale[index, m]
            information = fit.information[effect, index]
            middle = np.eye(len(n)) + scale[:, None, None] * np.einsum(
                "si,ks,sj->kij", root, information, root
            )
            inverse = np.linalg.inv(middle)
            inner = np.einsum("kij,kj->ki", inverse, fit.score[effect, index] @ root)
            spread = scale[:, None] * np.einsum("si,kij,sj->ks", root, inverse, root)
            square = fit.mean[effect, index, m] ** 2 + spread
            value -= 0.5 * float(alpha @ (variance[index] * square / inflation).sum(axis=1))
            gauss = (
                np.einsum("kii->k", inverse)
                - len(n)
                + np.linalg.slogdet(middle)[1]
                + scale * (inner**2).sum(axis=1)
            )
            value -= float(alpha @ (np.log(alpha) - candidates.log_prior[index, m] + 0.5 * gauss))
    return value
