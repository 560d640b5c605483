"""Distinct causal variants in LD: a prior over pairs of variants that is learned, not uniform.

H3 of `engine.coloc` sums over all pairs of distinct variants alike. Causal variants of two traits may lie in
LD with one another more often than two variants at random, and such a pair looks like one shared variant. So
pairs with r2 above NEAR weigh exp(kappa) as much as the others, scaled so that the weights of all pairs keep
their mean: the rates p1 and p2 of either trait stay what they are. With S3 = S3_near + S3_far and the same of
the masses M3,

    S3(kappa) = M3 (exp(kappa) S3_near + S3_far) / (exp(kappa) M3_near + M3_far)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.coloc import PairSums, cluster_sums, pair_sums, weighted, within_clusters
from bayestwas.engine.ld import LD, standardised

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NEAR = 0.1  # r2 above which two variants are in LD, the custom of clumping
ROWS = 512  # of an LD matrix held at once


class Near(NamedTuple):
    """Which variants (m, m) are in LD, and the log weight of such pairs against others."""

    variants: Flags
    log_weight: float


class NearSums(NamedTuple):
    """(n,) logs of the part of S3, and of its mass, over pairs of variants in LD."""

    log_sum: Floats
    log_mass: Floats


def near_variants(ld: Sequence[LD], present: Flags, level: float = NEAR) -> Flags:
    """(p, p) whether r2, its mean over the ancestries (A, p) where both variants are present, is above the
    level; never a variant with itself."""
    p = present.shape[1]
    out, rows_of = np.zeros((p, p), dtype=bool), [_rows(one, p) for one in ld]
    for at in range(0, p, ROWS):
        rows = np.arange(at, min(at + ROWS, p))
        total, count = np.zeros((len(rows), p), np.float32), np.zeros((len(rows), p), np.float32)
        for r, here in zip(rows_of, present, strict=True):
            both = here[rows, None] & here
            total += np.where(both, np.nan_to_num(r(rows)) ** 2, 0.0)
            count += both
        out[rows] = (total > level * count) & (count > 0)
    np.fill_diagonal(out, False)
    return out


def _rows(ld: LD, p: int) -> Callable[[NDArray[np.intp]], NDArray[np.floating]]:
    """Rows of R: from genotypes, in single precision, where they are fewer numbers than R."""
    x = standardised(ld, np.arange(p))
    if x is None:
        r = ld.gram(np.arange(p))
        return lambda rows: r[rows]
    small = x.astype(np.float32)
    return lambda rows: small[:, rows].T @ small


def near_sums(lbf1: Floats, lbf2: Floats, near: Flags | None, log_weight: Floats | None = None) -> NearSums:
    """The sums over pairs of variants in LD, of n pairs of signals; arguments as of `pair_sums`, near (m, m);
    None: there are none."""
    first, second = weighted(lbf1, lbf2, log_weight)
    if near is None:
        return NearSums(*np.full((2, len(first)), -np.inf))
    nothing = np.where(np.isfinite(first), 0.0, -np.inf)
    weight = weighted(nothing, nothing, log_weight)[0]
    with np.errstate(divide="ignore"):
        return NearSums(_product(first, second, near), _product(weight, weight, near))


def _product(first: Floats, second: Floats, near: Flags) -> Floats:
    """(n,) log sum_jk near_jk exp(first_j + second_k)."""
    level1, level2 = (
        np.where(np.isfinite(top), top, 0.0)
        for top in (one.max(axis=1, initial=-np.inf) for one in (first, second))
    )
    left, right = np.exp(first - level1[:, None]), np.exp(second - level2[:, None])
    total = np.zeros(len(first))
    for at in range(0, len(near), ROWS):
        part = near[at : at + ROWS].astype(np.float64)
        total += np.einsum("nj,nj->n", left[:, at : at + ROWS], right @ part.T)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(total) + level1 + level2)


def tilted(
    apart: Floats, near: Floats, apart_mass: Floats, near_mass: Floats, log_weight: float
) -> tuple[Floats, Floats]:
    """log S3(kappa), and its derivative in kappa; all arguments logs that broadcast, the parts near at most
    the whole."""
    share, mass = _share(apart, near), _share(apart_mass, near_mass)
    excess = np.expm1(log_weight)
    norm = 1 + excess * mass
    value = apart + np.log1p(excess * share) - np.log(norm)
    return value, np.exp(log_weight) * (share / (1 + excess * share) - mass / norm)


def _share(whole: Floats, part: Floats) -> Floats:
    """exp(part - whole), within 0 to 1; 0 where there is no whole."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.isfinite(whole), np.exp(np.minimum(part - whole, 0.0)), 0.0))


def near_pair_sums(
    lbf1: Floats, lbf2: Floats, log_weight: Floats | None = None, near: Near | None = None
) -> tuple[PairSums, Floats]:
    """`pair_sums` and `cluster_sums` of n pairs, under a weight on distinct variants in LD."""
    sums, cluster = pair_sums(lbf1, lbf2, log_weight), cluster_sums(lbf1, lbf2, log_weight=log_weight)
    if near is None or near.log_weight == 0.0:
        return sums, cluster
    part = near_sums(lbf1, lbf2, near.variants, log_weight)
    apart, mass = sums.log_sum[:, 3], sums.log_mass[:, 3]
    inside = _product(*within_clusters(lbf1, lbf2, log_weight=log_weight), near.variants)
    log_sum = sums.log_sum.copy()
    log_sum[:, 3] = tilted(apart, part.log_sum, mass, part.log_mass, near.log_weight)[0]
    cluster = tilted(cluster, inside, mass, part.log_mass, near.log_weight)[0]
    return PairSums(log_sum, sums.log_mass), cluster
