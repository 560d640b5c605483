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
an order: effect l may exist only where effect l - 1 does, weighted by its probability, and the odds of all
its candidates are those of one more inclusion, P(l) / P(l - 1) = sum pi / l for independent (Poisson)
inclusions.

Where the LD reference has n_ref people, the score of a column is a noisy one: its variance is inflated by the
Wishart sampling variance of R lambda_bar seen through the column,

    v_k = 1 + (q + (c_k' R lambda_bar)^2 / (c_k' R c_k)) / n_ref,    q = lambda_bar' R lambda_bar,

with lambda_bar the posterior mean of the other effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayestwas.engine.ld import LD

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """K candidate columns: the unit vectors of the first `units` variants, then sparse columns.

    Attributes
    ----------
    units : how many unit vectors come first (p, or 0).
    columns : per study, (K - units, p) sparse rows, the further candidates; empty where there are none.
    log_prior : (K, M) log prior odds of candidate k with covariance m against no effect (log_null = 0), or
        its log probability where no effect can be empty (log_null = -inf).
    scale : (K, M) factor on the covariance.
    covariances : (M, S, S) prior covariances of an effect over studies.
    log_null : 0 where effects may be empty, -inf where every effect is some candidate.
    """

    units: int
    columns: tuple[sparse.csr_array, ...]
    log_prior: Floats
    scale: Floats
    covariances: Floats
    log_null: float = 0.0

    def project(self, study: int, vector: Floats) -> Floats:
        """c_k' vector for every candidate, (K,)."""
        if not self.columns:
            return vector[: self.units]
        return np.concatenate([vector[: self.units], self.columns[study] @ vector])

    def combine(self, study: int, weight: Floats, p: int) -> Floats:
        """sum_k weight_k c_k, (p,)."""
        out = np.zeros(p)
        out[: self.units] = weight[: self.units]
        if self.columns:
            out += self.columns[study].T @ weight[self.units :]
        return out

    def restrict(self, present: NDArray[np.bool_]) -> Candidates:
        """The same candidates with nothing where a variant is absent from a study: it says nothing there."""
        columns = tuple(
            sparse.csr_array(columns.multiply(present[s][None, :])) for s, columns in enumerate(self.columns)
        )
        return replace(self, columns=columns)

    def variances(self, ld: Sequence[LD], present: NDArray[np.bool_]) -> Floats:
        """c_k' R c_k for every study and candidate, (S, K); the candidates as `restrict` leaves them."""
        own = present[:, : self.units].astype(np.float64)
        if not self.columns:
            return own
        further = [quadratic_forms(columns, one) for columns, one in zip(self.columns, ld, strict=True)]
        return np.concatenate([own, np.array(further)], axis=1)


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


def inclusion(alpha: Floats) -> Floats:
    """1 - prod_l (1 - alpha_l) along the first axis, without cancellation for small alpha."""
    return -np.expm1(np.log1p(-np.minimum(alpha, 1 - 1e-15)).sum(axis=0))


def presence(z: Floats, ld: Sequence[LD]) -> NDArray[np.bool_]:
    """(S, p) whether a variant can speak in a study: it has a z-score and varies in the LD reference."""
    return np.isfinite(z) & np.array([one.variance > 0 for one in ld])


def quadratic_forms(columns: sparse.csr_array, ld: LD) -> Floats:
    """c' R c for every row of a sparse (K, p) matrix, touching R only where rows are non-zero."""
    used = np.unique(columns.indices)
    if len(used) == 0:
        return np.zeros(columns.shape[0])
    part = columns[:, used]
    return np.asarray((part @ ld.gram(used) * part.toarray()).sum(axis=1)).ravel()


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
    tolerance : converged once no effect's distribution over candidates moves by more than this in a
        sweep (total
        variation: the draws of one gene count together), and no lambda, summed over effects, by more than a
        hundred times this (in z units: effects in LD go on trading long after both are certain). The update
        is damped by half from the middle of the allowed sweeps on, which ends the oscillations that LD
        noise can cause.
    max_sweeps : give up after this many sweeps; the result then says `converged=False`.
    support : entries of an effect's lambda that moved by less than this (in z units) since they were last
        multiplied by R stay where they were, so that `fit` is R `lam` and R is touched through few columns.
    start : (L, S, p) lambda_bar of each effect to begin from; None begins from no effects.
    """
    studies, p = z.shape
    likelihood = _Likelihood.build(z, n, ld, candidates, noise, ld_noise)
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
    converged, sweep = False, 0
    while not converged and sweep < max_sweeps:
        sweep += 1
        damping = 0.5 if sweep > max_sweeps // 2 else 1.0
        change, before = 0.0, lam.sum(axis=0)
        for effect in range(effects):
            other_lam = lam.sum(axis=0) - lam[effect]
            other_fit = fit.sum(axis=0) - fit[effect]
            u, information = likelihood.see(other_lam, other_fit)
            log_bf, mu = likelihood.terms(u, information)
            updated, null[effect] = _normalise(
                log_bf + candidates.log_prior + _gate(null, effect, candidates.log_null), candidates.log_null
            )
            change = max(change, 0.5 * float(np.abs(updated - alpha[effect]).sum()))
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


def _gate(null: Floats, effect: int, log_null: float) -> float:
    """log of P(the effect before this one is there) / (effect + 1); 0 where no effect can be empty.

    With candidates included independently, n effects are Poisson-like: each further effect has the odds of
    all candidates over its rank, P(n) / P(n - 1) = sum pi / n.
    """
    if not np.isfinite(log_null):
        return 0.0
    before = 1.0 if effect == 0 else max(1 - float(null[effect - 1]), 1e-300)
    return float(np.log(before / (effect + 1)))


def _normalise(log_posterior: Floats, log_null: float) -> tuple[Floats, float]:
    """Probabilities of candidates and of the null from unnormalised logs."""
    top = max(float(log_posterior.max()), log_null)
    weight = np.exp(log_posterior - top)
    empty = float(np.exp(log_null - top))
    total = weight.sum() + empty
    return weight / total, empty / total


@dataclass(frozen=True)
class _Grouped:
    """Correlated noise: candidates that are present in the same studies share their information and posterior
    covariance."""

    group: NDArray[np.intp]  # (K,)
    precision: Floats  # (Q, S, S) sqrt(n) V^-1 over the studies present: residual z -> score
    information: Floats  # (Q, S, S)
    covariance: Floats  # (Q, M, S, S) posterior covariance
    log_scale: Floats  # (Q, M) the determinant's share of log BF


@dataclass(frozen=True)
class _Likelihood:
    """What the data say to one single effect, given the others."""

    z: Floats  # (S, p), 0 where absent
    root_n: Floats  # (S,)
    candidates: Candidates
    variance: Floats  # (S, K) c' R c
    inverse_ref: Floats  # (S,) 1 / n_ref, or 0
    roots: Floats  # (M, S, S) L with L L' = Omega
    present: NDArray[np.bool_]  # (S, p)
    grouped: _Grouped | None

    @classmethod
    def build(
        cls,
        z: Floats,
        n: Floats,
        ld: Sequence[LD],
        candidates: Candidates,
        noise: Floats | None,
        ld_noise: bool,
    ) -> _Likelihood:
        present = presence(z, ld)
        candidates = candidates.restrict(present)
        variance = candidates.variances(ld, present)
        inverse_ref = np.array([1 / one.n_ref if ld_noise else 0.0 for one in ld])
        roots = np.array([covariance_root(omega) for omega in candidates.covariances])
        diagonal = noise is None or np.allclose(noise, np.diag(np.diag(noise)), atol=1e-12)
        root_n = np.sqrt(np.asarray(n, dtype=np.float64))
        grouped = None
        if noise is not None and not diagonal:
            grouped = _group(present, root_n, noise, candidates)
        elif noise is not None:
            # independent studies with residual variance v: z / sqrt(v) with n / v people is the same
            # likelihood
            spread = np.sqrt(np.diag(noise))
            return cls(
                np.where(present, z, 0.0),
                root_n / spread**2,
                candidates,
                variance * spread[:, None] ** 2,
                inverse_ref,
                roots,
                present,
                None,
            )
        return cls(
            np.where(present, z, 0.0), root_n, candidates, variance, inverse_ref, roots, present, grouped
        )

    def see(self, other_lam: Floats, other_fit: Floats) -> tuple[Floats, Floats]:
        """Score (S, K) and information (S, K) of every candidate; the information is unused where noise is
        correlated."""
        rho = np.where(self.present, self.z - other_fit, 0.0)
        if self.grouped is not None:
            out = np.empty_like(rho)
            for q, precision in enumerate(self.grouped.precision):
                mine = self.grouped.group == q
                out[:, mine] = precision @ rho[:, mine]
            return out, self.variance
        u = np.array([self.candidates.project(s, row) for s, row in enumerate(rho)])
        u *= self.root_n[:, None]
        information = self.variance * self.root_n[:, None] ** 2
        for s, inverse in enumerate(self.inverse_ref):
            if inverse > 0:
                power = float(other_lam[s] @ other_fit[s])
                seen = self.candidates.project(s, np.where(self.present[s], other_fit[s], 0.0))
                share = seen**2 / np.where(self.variance[s] > 0, self.variance[s], 1.0)
                inflation = 1 + inverse * (power + share)
                u[s] /= inflation
                information[s] /= inflation
        return u, information

    def terms(self, u: Floats, information: Floats) -> tuple[Floats, Floats]:
        """log BF (K, M) and posterior mean (K, M, S) of every candidate under every covariance."""
        if self.grouped is not None:
            g = self.grouped
            mean = np.empty((u.shape[1], *g.covariance.shape[1:3]))
            for q, covariance in enumerate(g.covariance):
                mine = g.group == q
                mean[mine] = (covariance.reshape(-1, len(u)) @ u[:, mine]).T.reshape(
                    -1, *covariance.shape[:2]
                )
            return 0.5 * np.einsum("kms,sk->km", mean, u) + g.log_scale[g.group], mean
        parts = [
            diagonal_terms(u, information, self.candidates.scale[:, m], root)
            for m, root in enumerate(self.roots)
        ]
        return np.stack([a for a, _ in parts], axis=1), np.stack([b for _, b in parts], axis=1)


def covariance_root(omega: Floats) -> Floats:
    """L with L L' = omega, for any positive semidefinite omega (perfect correlation included).

    Eigenvalues within rounding of zero are zero: their square roots would act as a prior variance of their
    own.
    """
    value, vector = np.linalg.eigh(omega)
    return vector * np.sqrt(np.where(value > 1e-14 * value[-1], value, 0.0))


def diagonal_terms(u: Floats, information: Floats, scale: Floats, root: Floats) -> tuple[Floats, Floats]:
    """log Bayes factor and posterior mean for K candidates at once, noise independent between studies.

    With prior covariance s Omega = s L L' and B = I + s L' diag(tau) L:
    log BF = s/2 |B^(-1/2) L'u|^2 - 1/2 log|B|, mean = s L B^-1 L'u. B is factorised for all K together, entry
    by entry: S is small and K is large.

    Parameters
    ----------
    u, information : (S, K) score and information. scale : (K,). root : (S, S), L.

    Returns
    -------
    (K,) log BF, (K, S) mean.
    """
    y, factor = _solve_half(u, information, scale, root)
    log_det = 2 * sum(np.log(factor[i][i]) for i in range(len(u)))
    log_bf = 0.5 * scale * (y**2).sum(axis=0) - 0.5 * log_det
    for i in reversed(range(len(u))):  # back substitution: B^(-T/2) y
        for j in range(i + 1, len(u)):
            y[i] -= factor[j][i] * y[j]
        y[i] /= factor[i][i]
    return log_bf, (scale * (root @ y)).T


def diagonal_covariance(information: Floats, scale: Floats, root: Floats) -> Floats:
    """(K, S, S) posterior covariance s L B^-1 L' that goes with `diagonal_terms`."""
    studies = len(root)
    middle = np.eye(studies) + scale[:, None, None] * np.einsum("si,sk,sj->kij", root, information, root)
    return scale[:, None, None] * (root @ np.linalg.solve(middle, np.broadcast_to(root.T, middle.shape)))


def _solve_half(
    u: Floats, information: Floats, scale: Floats, root: Floats
) -> tuple[Floats, list[list[Floats]]]:
    """y = G^-1 L'u and G, with G G' = B, for all K candidates: Cholesky and forward substitution written out
    over S."""
    studies = len(u)
    y = root.T @ u
    factor: list[list[Floats]] = []
    for i in range(studies):
        row: list[Floats] = []
        for j in range(i + 1):
            entry = scale * ((root[:, i] * root[:, j]) @ information)
            if i == j:
                entry += 1.0
            for k in range(j):
                entry -= row[k] * (row[k] if i == j else factor[j][k])
            row.append(np.sqrt(entry) if i == j else entry / factor[j][j])
        factor.append(row)
        for j in range(i):
            y[i] -= row[j] * y[j]
        y[i] /= row[i]
    return y, factor


def _group(present: NDArray[np.bool_], root_n: Floats, noise: Floats, candidates: Candidates) -> _Grouped:
    """Precompute what candidates with the same studies present and the same prior scale have in common."""
    if candidates.columns:
        raise ValueError("correlated noise between studies is only defined for unit candidates")
    key = np.concatenate([present.T.astype(float), candidates.scale], axis=1)
    unique, group = np.unique(key, axis=0, return_inverse=True)
    studies, m_total = len(root_n), candidates.log_prior.shape[1]
    q_total = len(unique)
    precision = np.zeros((q_total, studies, studies))
    information = np.zeros((q_total, studies, studies))
    covariance = np.zeros((q_total, m_total, studies, studies))
    log_scale = np.zeros((q_total, m_total))
    for q, row in enumerate(unique):
        index = np.flatnonzero(row[:studies])
        if len(index):
            inner = np.linalg.inv(noise[np.ix_(index, index)])
            precision[q][np.ix_(index, index)] = root_n[index, None] * inner
            information[q][np.ix_(index, index)] = root_n[index, None] * inner * root_n[index]
        for m in range(m_total):
            root = covariance_root(row[studies + m] * candidates.covariances[m])
            middle = np.eye(studies) + root.T @ information[q] @ root
            covariance[q, m] = root @ np.linalg.solve(middle, root.T)
            log_scale[q, m] = -0.5 * np.linalg.slogdet(middle)[1]
    return _Grouped(group.ravel(), precision, information, covariance, log_scale)


def from_score(
    score: Floats, present: NDArray[np.bool_], n: Floats, candidates: Candidates, noise: Floats
) -> SingleEffects:
    """The posterior over unit candidates again, from the stored score (L, K, S) of each effect and exact
    LD."""
    zero = np.where(present, 0.0, np.nan)
    ld = [_Presence(row) for row in present]
    likelihood = _Likelihood.build(zero, n, ld, candidates, noise, ld_noise=False)
    information = likelihood.variance * likelihood.root_n[:, None] ** 2
    parts: list[Floats] = []
    nulls: list[float] = []
    means: list[Floats] = []
    for effect, u in enumerate(score):
        log_bf, mean = likelihood.terms(np.ascontiguousarray(u.T), information)
        gate = _gate(np.array(nulls), effect, candidates.log_null)
        alpha, null = _normalise(log_bf + candidates.log_prior + gate, candidates.log_null)
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
    middle = np.eye(len(mean)) + root.T @ information @ root
    return mean, root @ np.linalg.solve(middle, root.T)


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
