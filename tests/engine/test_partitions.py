"""Clusters of traits against enumeration of every configuration, and against pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bayestwas.engine.coloc import ColocPriors, hypotheses, pair_sums
from bayestwas.engine.partitions import MOST_EXACT, cluster_probabilities, partition

P1, SHARE = 0.02, 0.3


def enumerated(lbf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2^T,) probability of exactly each cluster and (T, T) of being together, over all (m + 1)^T
    configurations."""
    traits, m = lbf.shape
    exactly, together, total = np.zeros(1 << traits), np.zeros((traits, traits)), 0.0
    for chosen in itertools.product(range(-1, m), repeat=traits):
        clusters = [[t for t in range(traits) if chosen[t] == j] for j in set(chosen) - {-1}]
        weight = np.prod([P1 * SHARE ** (len(c) - 1) for c in clusters])
        weight *= np.exp(sum(lbf[t, j] for t, j in enumerate(chosen) if j >= 0))
        total += weight
        for cluster in clusters:
            exactly[sum(1 << t for t in cluster)] += weight
            together[np.ix_(cluster, cluster)] += weight
    return exactly / total, together / total


@pytest.mark.parametrize("traits", [1, 2, 3, 4])
def test_clusters_are_sums_over_all_configurations(traits: int) -> None:
    lbf = np.random.default_rng(traits).normal(1, 3, (traits, 4))
    exactly, together = enumerated(lbf)
    np.testing.assert_allclose(cluster_probabilities(lbf, P1, SHARE), exactly, rtol=1e-10, atol=1e-14)
    found = partition(lbf, P1, SHARE)
    assert found.exact
    np.testing.assert_allclose(found.together, together, rtol=1e-10)
    for cluster, probability in zip(found.clusters, found.probability, strict=True):
        assert probability == pytest.approx(exactly[sum(1 << t for t in cluster)])


def test_two_traits_are_a_pair() -> None:
    lbf = np.random.default_rng(9).normal(0, 5, (2, 30))
    h = hypotheses(pair_sums(lbf[0], lbf[1]), ColocPriors(P1, P1, P1 * SHARE))[0]
    found = cluster_probabilities(lbf, P1, SHARE)
    np.testing.assert_allclose(found, [0, h[1] + h[3], h[2] + h[3], h[4]], rtol=1e-10)


def peaks(groups: list[list[int]], traits: int, m: int = 40) -> np.ndarray:
    """A strong variant for each group; traits in no group have none."""
    lbf = np.random.default_rng(1).normal(-1, 0.5, (traits, m))
    for number, group in enumerate(groups):
        lbf[group, 5 + 7 * number] = 14.0
    return lbf


def test_the_best_partition_and_its_variants() -> None:
    lbf = peaks([[0, 2, 4], [1, 5]], 7)
    found = partition(lbf)
    assert found.clusters == ((0, 2, 4), (1, 5))
    assert found.variant.tolist() == [5, 12]
    assert (found.probability > 0.9).all()
    assert (found.variant_probability > 0.9).all()
    assert (found.log_gain > 0).all()
    assert found.together[3, 3] < 0.1
    lbf[:, 0] = -np.inf  # a variant that is missing is not one; positions stay those of the input
    lbf[3, 20] = -np.inf
    assert partition(lbf).variant.tolist() == [5, 12]


def test_beyond_the_exact_number_clusters_are_merged() -> None:
    groups = [[0, 3, 6, 9], [1, 2, 13], [7, 8]]
    found = partition(peaks(groups, MOST_EXACT + 2))
    assert not found.exact
    assert [list(cluster) for cluster in found.clusters] == groups
    assert np.isnan(found.probability).all()
    assert (found.log_gain > 0).all()
    assert found.together[0, 3] == 1
    assert found.together[0, 1] == found.together[4, 4] == 0


def test_a_locus_without_signals_has_no_clusters() -> None:
    for traits in (3, MOST_EXACT + 1):
        found = partition(np.full((traits, 10), -0.5))
        assert found.clusters == ()
        assert len(found.log_gain) == len(found.variant) == 0
