"""Classical looks at one association from several sides: conditional z, heterogeneity of signals,
permutation.

All of them need the score and the information of columns of variant effects (genes, signals, single variants)
over ancestries a, effects per SD of a column taken as the same in all of them:

    u_t = sum_a sqrt(n_a) c_ta' z_a,    I_ts = sum_a n_a c_ta' R_a c_sa

A regression of the trait on the columns has the estimates I^-1 u with covariance I^-1 (residual variance 1,
as effects are small), so that everything here is least squares. Weights and LD count as known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import quadratic_forms

Floats = NDArray[np.float64]

# A column of which the others predict all but this share of variance has no conditional z: what is left is
# noise of the LD reference as much as signal.
LEFT = 0.05
# Directions that hold less of the variance of the others than this are not conditioned on.
FLAT = 1e-6
# Weights smaller than this share of the largest are left out of permutations.
SMALL = 0.01


def scores(
    z: Floats, n: Floats, ld: Sequence[LD], columns: Sequence[Sequence[sparse.csr_array]]
) -> tuple[Floats, Floats]:
    """u (T,) and I (T, T) of T columns; see the module's docstring.

    z : (A, p), NaN where absent, which counts as an effect of zero there. n : (A,). columns : T x A rows (1,
    p).
    """
    total = len(columns)
    u, information = np.zeros(total), np.zeros((total, total))
    for a, operator in enumerate(ld):
        usable = np.isfinite(z[a]) & (operator.variance > 0)
        dense = np.array([column[a].toarray().ravel() * usable for column in columns]).reshape(total, -1)
        support = [np.flatnonzero(row) for row in dense]
        fitted = np.array(
            [operator.apply(index, row[index]) for row, index in zip(dense, support, strict=True)]
        )
        u += np.sqrt(n[a]) * (dense @ np.where(usable, z[a], 0.0))
        information += n[a] * (dense @ fitted.reshape(total, -1).T)
    return u, 0.5 * (information + information.T)


def conditional_z(u: Floats, information: Floats, column: int, given: Sequence[int]) -> float:
    """z of one column in a regression on it and those `given` together; NaN where they predict it to more
    than 1 - LEFT of its variance.

    (u_t - I_tG I_GG^-1 u_G) / sqrt(I_tt - I_tG I_GG^-1 I_Gt), as of conditional TWAS (Mancuso et al. 2017,
    doi:10.1016/j.ajhg.2017.01.031) and conditional GWAS of summary statistics (Yang et al. 2012,
    doi:10.1038/ng.2213).
    """
    own = information[column, column]
    others = [g for g in given if g != column and information[g, g] > 0]
    if not own > 0:
        return np.nan
    scale = np.sqrt(information[others, others])
    value, vector = np.linalg.eigh(information[np.ix_(others, others)] / np.outer(scale, scale))
    kept = value > FLAT * max(len(others), 1)
    basis = vector[:, kept] / np.sqrt(value[kept])
    along = basis.T @ (information[others, column] / scale)
    left = own - along @ along
    if left < LEFT * own:
        return np.nan
    return float((u[column] - along @ (basis.T @ (u[others] / scale))) / np.sqrt(left))


def heterogeneity(u: Floats, information: Floats, spread: Floats | None = None) -> tuple[float, int]:
    """Cochran's Q over L signals of one gene, and its degrees of freedom: does every signal say the same of
    the effect of expression on the trait?

    With theta = I^-1 u the effects by signal, V = I^-1 + theta_0^2 diag(spread^2) and theta_0 the effect
    common to all, Q = sum of squares of theta about their mean weighted by V^-1: chi-squared of L - 1 degrees
    of freedom where all are the same. `spread` (L,) is the coefficient of variation of each signal's effect
    on expression (modified second-order weights; Bowden et al. 2019, doi:10.1093/ije/dyy258); None: effects
    are known, and Q = u' I^-1 u - (sum u)^2 / sum I, the chi-squared of the signals apart less that of the
    gene.

    (NaN, 0) for fewer than two signals that differ.
    """
    kept = np.flatnonzero(np.diag(information) > 0)
    if len(kept) < 2 or np.linalg.cond(_correlation(information[np.ix_(kept, kept)])) > 1 / FLAT:
        return np.nan, 0
    own = np.linalg.inv(information[np.ix_(kept, kept)])
    theta = own @ u[kept]
    common = u[kept].sum() / information[np.ix_(kept, kept)].sum()
    noise = np.zeros(len(kept)) if spread is None else np.asarray(spread)[kept]
    precision = np.linalg.inv(own + np.diag((common * noise) ** 2))
    mean = precision.sum(axis=0) @ theta / precision.sum()
    return float((theta - mean) @ precision @ (theta - mean)), len(kept) - 1


def _correlation(information: Floats) -> Floats:
    scale = np.sqrt(np.diag(information))
    return information / np.outer(scale, scale)


def permutation_p(
    z: Floats,
    n: Floats,
    ld: Sequence[LD],
    column: Sequence[sparse.csr_array],
    window: NDArray[np.intp],
    rng: np.random.Generator,
    permutations: int = 999,
) -> float:
    """(1 + permutations with a TWAS z as large) / (1 + permutations): would weights as large on other
    variants of the window predict the trait as well?

    The weights of `column` (A rows (1, p)) change places among the variants of `window`, in all ancestries
    alike, the GWAS and its LD stay (Gusev et al. 2016, doi:10.1038/ng.3506). Weights under SMALL of the
    largest are left out. NaN where no weight falls on a variant of the window with a z-score.
    """
    usable = np.array([np.isfinite(row) & (one.variance > 0) for row, one in zip(z, ld, strict=True)])
    window = window[usable[:, window].any(axis=0)]
    weights = np.array([row.toarray().ravel() for row in column])
    largest = np.abs(weights).max(axis=0)
    held = window[largest[window] > SMALL * largest[window].max(initial=0.0)]
    if not len(held):
        return np.nan
    count = permutations + 1
    places = np.array([held, *(rng.permutation(window)[: len(held)] for _ in range(permutations))])
    rows = np.repeat(np.arange(count), len(held))
    score, information = np.zeros(count), np.zeros(count)
    for a, operator in enumerate(ld):
        there = usable[a, places]
        values = np.where(there, weights[a, held], 0.0)
        moved = sparse.csr_array((values.ravel(), (rows, places.ravel())), shape=(count, z.shape[1]))
        moved.eliminate_zeros()
        score += np.sqrt(n[a]) * (moved @ np.nan_to_num(z[a]))
        information += n[a] * quadratic_forms(moved, operator)
    if not information[0] > 0:
        return np.nan
    found = np.divide(score**2, information, out=np.zeros(count), where=information > 0)
    # a permutation that happens to be the identity counts as large, whatever the rounding
    return float((1 + np.count_nonzero(found[1:] >= found[0] * (1 - 1e-9))) / count)
