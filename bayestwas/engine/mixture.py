"""LD of a GWAS of several populations: a mixture of panels, whose weights are learned.

With S_k the genotype covariance of population k and w_k its share of the people, the covariance within
populations is S(w) = sum_k w_k S_k: that of a meta-analysis, in which every study adjusts for its own mean.
In one admixed population people of different local ancestry differ in mean genotype as well, which adds

    1/2 sum_k w_k d_k d_k',    d_k = mean genotype of panel k minus that of the mixture,

(haplotypes of population k have the mean genotype / 2; local ancestry is taken to be the same along a block).
LD is S(w) as a correlation.

Weights come from two sources. Allele frequencies of the GWAS are f = sum_k w_k f_k. Products of z-scores that
nothing has an effect on have the mean LD, s_i s_j z_i z_j = S(w)_ij, a regression over pairs of variants. In
both, what the sampling of a panel adds to the moments of the regressors is taken off, and the uncertainty is
that of a jackknife over stretches of the genome, which LD does not reach across.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GROUPS = 100  # of stretches in the jackknife, at most
FEWEST = {True: 8, False: 40}  # stretches: of frequencies, and of z-scores, whose LD reaches further
FLOOR = 0.01  # least standard error of a weight: what the panels cannot tell of other people of their kind
WIDE = 0.5  # standard deviation of a weight before anything is seen


@dataclass(frozen=True)
class Moments:
    """Normal equations of a regression on the panels, per stretch: `gram` (S, K, K), `right` (S, K)."""

    gram: Floats
    right: Floats

    def __add__(self, other: Moments) -> Moments:
        return Moments(np.concatenate([self.gram, other.gram]), np.concatenate([self.right, other.right]))


def no_moments(panels: int) -> Moments:
    """Of nothing seen."""
    return Moments(np.zeros((0, panels, panels)), np.zeros((0, panels)))


@dataclass(frozen=True)
class Estimate:
    """Weights (K,) and their covariance (K, K), from one source or from all."""

    weight: Floats
    covariance: Floats

    @property
    def error(self) -> Floats:
        """(K,) standard errors."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))


def frequency_moments(given: Floats, panels: Floats, people: Floats, stretch: NDArray[np.intp]) -> Moments:
    """Regression of the allele frequencies of a GWAS `given` (p,) on those of the `panels` (K, p) of so many
    `people` (K,); each variant counts by one over its binomial variance. `stretch` (p,): 0, 1, ... NaN: not
    known."""
    mean = panels.mean(axis=0)
    use = np.isfinite(given) & np.isfinite(panels).all(axis=0) & (mean * (1 - mean) > 0)
    f, x, count = given[use], panels[:, use], int(stretch.max(initial=-1)) + 1
    weight = 1 / (mean * (1 - mean))[use]
    noise = x * (1 - x) / (2 * people - 1)[:, None]
    gram = np.einsum("kj,lj,j->jkl", x, x, weight)
    gram -= np.einsum("kj,kl,j->jkl", noise, np.eye(len(x)), weight)
    out = Moments(np.zeros((count, *gram.shape[1:])), np.zeros((count, len(x))))
    np.add.at(out.gram, stretch[use], gram)
    np.add.at(out.right, stretch[use], (x * f * weight).T)
    return out


def score_moments(z: Floats, panels: Sequence[Floats], between: Floats, stretch: NDArray[np.intp]) -> Moments:
    """Regression of z_i z_j on the LD of the panels over pairs i != j.

    `z` (p,), all finite. `panels`: (n_k, p) centred genotypes over sqrt(n_k) and over the standard deviation
    of the mixture, so that X'X is S_k of the scale on which S(w) has a diagonal of 1. `between` (K, p): rows
    b with b'b what admixture adds, zero in a meta-analysis.
    """
    grams = [x.T @ x for x in panels]
    fourth = [len(x) * np.square(x).T @ np.square(x) for x in panels]
    count = int(stretch.max(initial=-1)) + 1
    target = np.outer(z, z) - between.T @ between
    out = Moments(np.zeros((count, len(grams), len(grams))), np.zeros((count, len(grams))))
    for k, one in enumerate(grams):
        diagonal = np.diag(one)
        for other, two in enumerate(grams[: k + 1]):
            value = (one * two).sum(axis=1) - diagonal * np.diag(two)
            if other == k:  # a sampled covariance squared is the true one squared and its variance
                square = value
                noise = fourth[k].sum(axis=1) - np.diag(fourth[k]) - square
                value = square - noise / (len(panels[k]) - 1)
            total = np.bincount(stretch, value, minlength=count)
            out.gram[:, k, other] = out.gram[:, other, k] = total
        out.right[:, k] = np.bincount(
            stretch, (one * target).sum(axis=1) - diagonal * np.diag(target), minlength=count
        )
    return out


def solve(gram: Floats, right: Floats) -> Floats:
    """(K,) the w >= 0 of sum 1 that minimises w'Gw - 2 w'r, exactly, by trying which are zero; K is small."""
    best, least = np.zeros(len(right)), np.inf
    for size in range(1, len(right) + 1):
        for held in combinations(range(len(right)), size):
            at = list(held)
            part = gram[np.ix_(at, at)]
            value = _with_sum(part, right[at])
            if (value < -1e-12).any():
                continue
            loss = float(value @ part @ value - 2 * value @ right[at])
            if loss < least:
                best, least = np.zeros(len(right)), loss
                best[at] = np.maximum(value, 0.0)
    return best


def _with_sum(gram: Floats, right: Floats) -> Floats:
    """The minimiser of w'Gw - 2 w'r over the w of sum 1."""
    columns = np.stack([right, np.ones(len(right))], axis=1)
    free, one = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(len(right)), columns).T
    return np.asarray(free + one * (1 - free.sum()) / one.sum())


def _scaled(gram: Floats, right: Floats) -> Floats:
    """The minimiser of w'Gw - 2 w'r, scaled to sum 1."""
    free = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(len(right)), right)
    return np.asarray(free / free.sum())


def estimate(moments: Moments, sum_known: bool) -> Estimate | None:
    """Weights, which sum to 1 and may be negative, with their jackknife covariance; None where too little is
    seen to have one.

    `sum_known` False: what is common to all products of z-scores scales the coefficients, and they are scaled
    to 1 afterwards.
    """
    filled = np.flatnonzero(np.abs(moments.gram).sum(axis=(1, 2)) > 0)
    groups = min(len(filled), GROUPS)
    if len(filled) < FEWEST[sum_known]:
        return None
    group = np.arange(len(filled)) * groups // len(filled)
    gram = np.array([moments.gram[filled[group == g]].sum(axis=0) for g in range(groups)])
    right = np.array([moments.right[filled[group == g]].sum(axis=0) for g in range(groups)])

    def weights(a: Floats, b: Floats) -> Floats:
        return _with_sum(a, b) if sum_known else _scaled(a, b)

    whole = weights(gram.sum(axis=0), right.sum(axis=0))
    left = [weights(gram.sum(axis=0) - a, right.sum(axis=0) - b) for a, b in zip(gram, right, strict=True)]
    apart = np.array(left) - np.mean(left, axis=0)
    covariance = (groups - 1) / groups * apart.T @ apart
    return Estimate(whole, covariance) if np.isfinite(covariance).all() else None


def combined(estimates: Sequence[Estimate], panels: int) -> Estimate:
    """All sources by their precision, and a wide prior around equal weights; the weights sum to 1."""
    equal = np.full(panels, 1 / panels)
    precision, right = np.eye(panels) / WIDE**2, equal / WIDE**2
    for one in estimates:
        inverse = np.linalg.inv(one.covariance + FLOOR**2 * np.eye(panels))
        precision, right = precision + inverse, right + inverse @ one.weight
    covariance = np.linalg.inv(precision)
    along = covariance.sum(axis=1)
    return Estimate(solve(precision, right), covariance - np.outer(along, along) / along.sum())


def apart(one: Estimate, two: Estimate) -> float:
    """The largest difference of a weight between two sources, in standard errors."""
    error = np.sqrt(one.error**2 + two.error**2 + 2 * FLOOR**2)
    return float(np.abs((one.weight - two.weight) / error).max())


def between_rows(weight: Floats, mean: Floats) -> Floats:
    """(K, p) rows b, b'b = 1/2 sum_k w_k d_k d_k', of the mean genotypes (K, p) of the panels."""
    return np.asarray(np.sqrt(weight / 2)[:, None] * (mean - weight @ mean))


def mixture_factor(panels: Sequence[Floats], weight: Floats, admixed: bool) -> Floats:
    """(sum of n_k (+ K), p) X with X'X = S(w): `panels` (n_k, p) genotypes without missing values."""
    mean = np.array([x.mean(axis=0) for x in panels])
    rows = [np.sqrt(w / len(x)) * (x - m) for x, w, m in zip(panels, weight, mean, strict=True)]
    return np.concatenate([*rows, between_rows(weight, mean)] if admixed else rows)


def mixture_people(people: Floats, weight: Floats) -> float:
    """People of one population whose LD would be as noisy as that of the mixture."""
    return float(1 / np.sum(weight**2 / people))
