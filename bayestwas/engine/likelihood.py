"""What the data say to one single effect: candidate columns, scores, Bayes factors.

See `single_effects.py` for the model. Everything here is one Gaussian update, vectorised over the candidates.
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
        own = np.where(present, [one.variance for one in ld], 0.0)[:, : self.units]
        if not self.columns:
            return own
        further = [quadratic_forms(columns, one) for columns, one in zip(self.columns, ld, strict=True)]
        return np.concatenate([own, np.array(further)], axis=1)


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


@dataclass(frozen=True)
class Grouped:
    """Correlated noise: candidates that are present in the same studies share their information and posterior
    covariance."""

    group: NDArray[np.intp]  # (K,)
    precision: Floats  # (Q, S, S) sqrt(n) V^-1 over the studies present: residual z -> score
    information: Floats  # (Q, S, S)
    covariance: Floats  # (Q, M, S, S) posterior covariance
    log_scale: Floats  # (Q, M) the determinant's share of log BF


@dataclass(frozen=True)
class Likelihood:
    """What the data say to one single effect, given the others."""

    z: Floats  # (S, p), 0 where absent
    root_n: Floats  # (S,)
    candidates: Candidates
    variance: Floats  # (S, K) c' R c
    inverse_ref: Floats  # (S,) 1 / n_ref, or 0
    roots: Floats  # (M, S, S) L with L L' = Omega
    present: NDArray[np.bool_]  # (S, p)
    grouped: Grouped | None
    possible: tuple[slice, ...]  # (M,) the candidates that a covariance is for; nothing is computed elsewhere

    @classmethod
    def build(
        cls,
        z: Floats,
        n: Floats,
        ld: Sequence[LD],
        candidates: Candidates,
        noise: Floats | None,
        ld_noise: bool,
    ) -> Likelihood:
        """Raises ValueError where a number of the model is not finite, or noise is given twice."""
        _check_numbers(n, candidates, noise)
        if noise is not None and ld_noise and any(np.isfinite(one.n_ref) for one in ld):
            raise ValueError("residual noise and the noise of an LD reference cannot be carried at once")
        present = presence(z, ld)
        candidates = candidates.restrict(present)
        variance = candidates.variances(ld, present)
        inverse_ref = np.array([1 / one.n_ref if ld_noise else 0.0 for one in ld])
        roots = np.array([covariance_root(omega) for omega in candidates.covariances])
        diagonal = noise is None or np.allclose(noise, np.diag(np.diag(noise)), atol=1e-12)
        root_n = np.sqrt(np.asarray(n, dtype=np.float64))
        possible = tuple(_span(np.isfinite(prior)) for prior in candidates.log_prior.T)
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
                possible,
            )
        return cls(
            np.where(present, z, 0.0), root_n, candidates, variance, inverse_ref, roots, present, grouped,
            possible,
        )  # fmt: skip

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
        log_bf = np.zeros(self.candidates.log_prior.shape)
        mean = np.zeros((*log_bf.shape, len(u)))
        for m, (root, part) in enumerate(zip(self.roots, self.possible, strict=True)):
            scale = self.candidates.scale[part, m]
            log_bf[part, m], mean[part, m] = diagonal_terms(u[:, part], information[:, part], scale, root)
        return log_bf, mean


def _span(wanted: NDArray[np.bool_]) -> slice:
    """The shortest stretch that holds all that is wanted."""
    index = np.flatnonzero(wanted)
    return slice(int(index[0]), int(index[-1]) + 1) if len(index) else slice(0, 0)


def correlation(rho: float, size: int) -> Floats:
    """(size, size) compound symmetry."""
    return (1 - rho) * np.eye(size) + rho * np.ones((size, size))


def _check_numbers(n: Floats, candidates: Candidates, noise: Floats | None) -> None:
    """A number that is not finite would make every probability NaN; z may be NaN and log priors -inf."""
    given = {
        "n": n,
        "noise": 0.0 if noise is None else noise,
        "log_prior": np.where(np.isneginf(candidates.log_prior), 0.0, candidates.log_prior),
        "scale": candidates.scale,
        "covariances": candidates.covariances,
        "columns": np.concatenate([one.data for one in candidates.columns]) if candidates.columns else 0.0,
    }
    for name, values in given.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds a number that is not finite")


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


def posterior_covariance(root: Floats, information: Floats) -> tuple[Floats, Floats]:
    """Posterior covariance (..., S, S) of a Normal(0, L L') effect, L (..., S, K), that data of this
    information (..., S, S) saw, and what its determinant adds to the log Bayes factor (...)."""
    turned = np.swapaxes(root, -1, -2)
    middle = np.eye(root.shape[-1]) + turned @ information @ root
    covariance = root @ np.linalg.solve(
        middle, np.broadcast_to(turned, (*middle.shape[:-1], turned.shape[-1]))
    )
    return covariance, -0.5 * np.linalg.slogdet(middle)[1]


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


def _group(present: NDArray[np.bool_], root_n: Floats, noise: Floats, candidates: Candidates) -> Grouped:
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
            covariance[q, m], log_scale[q, m] = posterior_covariance(root, information[q])
    return Grouped(group.ravel(), precision, information, covariance, log_scale)
