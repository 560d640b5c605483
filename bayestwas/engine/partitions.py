"""Several traits at one locus, one causal variant each: which of them share it.

A configuration gives every trait one variant or none; traits at the same variant form a cluster. Its prior is
a product over clusters of p1 share^(size - 1), relative to no effects, so that two traits have p1, p1, p1^2
and p12 = p1 share, as `coloc.py` has. Exact for up to 12 traits: a sum over variants, one after the other,
whose state is the set of traits that have their variant. Beyond that clusters are merged greedily.

The setting is that of Foley et al. 2021 (doi:10.1038/s41467-020-20885-8); the sums are computed in full here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_EXACT = 12


@dataclass(frozen=True)
class Partition:
    """Posterior over partitions of T traits.

    Attributes
    ----------
    together : (T, T) probability that two traits share their variant; diagonal: that a trait has one at all.
    clusters : the clusters of the best partition, as positions of traits; traits without a variant are in
        none.
    probability : (clusters,) posterior probability of exactly this cluster; NaN where it was found greedily.
    log_evidence : (clusters,) log prior odds times Bayes factor of the cluster against no effects.
    log_gain : (clusters,) the same less that of its best split into two: what speaks for the cluster.
    variant : (clusters,) most probable shared variant. variant_probability : (clusters,) given the cluster.
    exact : whether all configurations were summed.
    """

    together: Floats
    clusters: tuple[tuple[int, ...], ...]
    probability: Floats
    log_evidence: Floats
    log_gain: Floats
    variant: NDArray[np.intp]
    variant_probability: Floats
    exact: bool


def partition(lbf: Floats, p1: float = 1e-4, share: float = 0.1) -> Partition:
    """Posterior over partitions of T traits at a locus of m variants.

    Parameters
    ----------
    lbf : (T, m) log Bayes factors; variants that any trait lacks (-inf) are left out.
    p1 : prior odds of one variant to act on one given trait. share : prior odds, given that it acts on one
        trait, to act on a further one: p12 / p1.

    Up to `MOST_EXACT` traits every configuration is summed. Beyond, `together` is of the greedy clusters:
    0 or 1.
    """
    lbf = np.asarray(lbf, dtype=np.float64)
    kept = np.flatnonzero(np.isfinite(lbf).all(axis=0))
    used = lbf[:, kept]
    if len(lbf) > MOST_EXACT:
        clusters = _greedy(used, p1, share)
        together = np.zeros((len(lbf), len(lbf)))
        for cluster in clusters:
            together[np.ix_(cluster, cluster)] = 1.0
        probability = np.full(len(clusters), np.nan)
    else:
        marginal = cluster_probabilities(used, p1, share)
        together = _together(marginal, len(lbf))
        clusters = _best(_all_evidence(used, p1, share), len(lbf))
        probability = np.array([marginal[_mask(cluster)] for cluster in clusters])
    evidence = np.array([_evidence(used, cluster, p1, share) for cluster in clusters])
    gain = np.array([e - _best_split(used, c, p1, share) for c, e in zip(clusters, evidence, strict=True)])
    joint = [used[list(cluster)].sum(axis=0) for cluster in clusters]
    top = np.array([row.argmax() for row in joint], dtype=np.intp)
    at = np.array([np.exp(row[t] - _log_sum(row)) for row, t in zip(joint, top, strict=True)])
    return Partition(
        together, tuple(clusters), probability, evidence, gain, kept[top] if len(top) else top, at,
        len(lbf) <= MOST_EXACT,
    )  # fmt: skip


def cluster_probabilities(lbf: Floats, p1: float, share: float) -> Floats:
    """(2^T,) posterior probability that exactly the traits of each set (bits) share a variant that is theirs.

    Forward and backward over the variants: F_j(S) sums over the ways in which the traits of S, and no others,
    have their variants among the first j. Positive terms only, so nothing cancels.
    """
    traits, m = lbf.shape
    size = 1 << traits
    cluster, others = _disjoint(traits)
    both = others | cluster
    scale = lbf.max(axis=1, initial=0.0)  # of each trait; a set is scaled by the sum over its traits
    inside = np.array([[(s >> t) & 1 for t in range(traits)] for s in range(size)], dtype=np.float64)
    counts = inside.sum(axis=1)
    with np.errstate(divide="ignore"):
        log_prior = np.where(counts > 0, np.log(p1) + (counts - 1) * np.log(share), -np.inf)
    weight = np.exp(inside @ (lbf - scale[:, None]) + log_prior[:, None])  # (2^T, m)
    ahead = np.zeros((m + 1, size))
    ahead[0, 0] = 1.0
    for j in range(m):
        ahead[j + 1] = ahead[j] + np.bincount(both, ahead[j, others] * weight[cluster, j], size)
    top = inside @ scale
    back, out = np.exp(top - top.max()), np.zeros(size)
    for j in reversed(range(m)):
        reached = back[both] * weight[cluster, j]
        out += np.bincount(cluster, ahead[j, others] * reached, size)
        back = back + np.bincount(others, reached, size)
    return np.asarray(out / back[0])


def _disjoint(traits: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every pair of a non-empty set of traits and a set that has nothing in common with it, 3^T - 2^T of
    them."""
    number = np.arange(1 << traits, dtype=np.intp)
    others = [number[number & cluster == 0] for cluster in number[1:]]
    return np.repeat(number[1:], [len(one) for one in others]), np.concatenate(others)


def _together(marginal: Floats, traits: int) -> Floats:
    number = np.arange(len(marginal))
    bit = [(number >> t) & 1 == 1 for t in range(traits)]
    return np.array([[marginal[bit[a] & bit[b]].sum() for b in range(traits)] for a in range(traits)])


def _mask(cluster: tuple[int, ...]) -> int:
    return sum(1 << t for t in cluster)


def _log_sum(values: Floats) -> float:
    top = float(values.max(initial=-np.inf))
    return float(np.log(np.exp(values - top).sum()) + top) if np.isfinite(top) else -np.inf


def _evidence(lbf: Floats, cluster: tuple[int, ...], p1: float, share: float) -> float:
    """log p1 share^(size - 1) sum_j prod_t BF_tj."""
    prior = float(np.log(p1) + (len(cluster) - 1) * np.log(share))
    return prior + _log_sum(lbf[list(cluster)].sum(axis=0))


def _all_evidence(lbf: Floats, p1: float, share: float) -> Floats:
    """(2^T,) the evidence of every cluster; of the empty one -inf."""
    traits = len(lbf)
    out = np.full(1 << traits, -np.inf)
    for mask in range(1, 1 << traits):
        out[mask] = _evidence(lbf, tuple(t for t in range(traits) if (mask >> t) & 1), p1, share)
    return out


def _best(evidence: Floats, traits: int) -> list[tuple[int, ...]]:
    """The partition with the largest product of evidences; a trait may stay without a variant."""
    best, choice = np.zeros(1 << traits), np.zeros(1 << traits, dtype=np.intp)
    for mask in range(1, 1 << traits):
        low = mask & -mask
        rest = mask ^ low
        best[mask] = best[rest]  # the lowest trait has no variant
        part = rest
        while True:
            value = evidence[part | low] + best[rest ^ part]
            if value > best[mask]:
                best[mask], choice[mask] = value, part | low
            if part == 0:
                break
            part = (part - 1) & rest
    clusters, mask = [], (1 << traits) - 1
    while mask:
        chosen = int(choice[mask])
        if chosen:
            clusters.append(tuple(t for t in range(traits) if (chosen >> t) & 1))
        mask ^= chosen or (mask & -mask)
    return clusters


def _best_split(lbf: Floats, cluster: tuple[int, ...], p1: float, share: float) -> float:
    """The larger evidence without this cluster: no effects for one trait, one trait apart for more."""
    if len(cluster) == 1:
        return 0.0
    splits = []
    for trait in cluster:
        rest = tuple(t for t in cluster if t != trait)
        alone = max(_evidence(lbf, (trait,), p1, share), 0.0)
        splits.append(alone + _evidence(lbf, rest, p1, share))
    return max(splits)


def _greedy(lbf: Floats, p1: float, share: float) -> list[tuple[int, ...]]:
    """Merge the two clusters that gain most until none gains; traits better without a variant are left
    out."""
    clusters: list[tuple[int, ...]] = [(t,) for t in range(len(lbf)) if _evidence(lbf, (t,), p1, share) > 0]
    score = {cluster: _evidence(lbf, cluster, p1, share) for cluster in clusters}
    gain: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    while len(clusters) > 1:
        for i, one in enumerate(clusters):
            for two in clusters[i + 1 :]:
                if (one, two) not in gain:
                    gain[one, two] = _evidence(lbf, one + two, p1, share) - score[one] - score[two]
        now = {(a, b): gain[a, b] for i, a in enumerate(clusters) for b in clusters[i + 1 :]}
        (one, two), best = max(now.items(), key=lambda item: item[1])
        if best <= 0:
            break
        merged = tuple(sorted(one + two))
        score[merged] = best + score[one] + score[two]
        clusters = [c for c in clusters if c not in (one, two)] + [merged]
    return sorted(clusters)
