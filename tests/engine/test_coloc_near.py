"""Distinct variants in LD: sums against every pair written out, and a weight that is learned."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from bayestwas.engine.coloc import approximate_bayes_factor, cluster_sums, pair_sums
from bayestwas.engine.coloc_near import Near, near_pair_sums, near_sums, near_variants, tilted
from bayestwas.engine.coloc_sizes import collapsed, learn_sizes, size_sums
from bayestwas.engine.ld import FactorLD, MatrixLD

M = 8


def flags(rng: np.random.Generator) -> np.ndarray:
    upper = np.triu(rng.random((M, M)) < 0.4, 1)
    return upper | upper.T


def written_out(
    lbf1: np.ndarray, lbf2: np.ndarray, near: np.ndarray, kappa: float, log_weight: np.ndarray
) -> tuple[float, float]:
    """S3 under the weight, and its mass, over every pair of distinct variants that both traits have."""
    present = np.flatnonzero(np.isfinite(lbf1) & np.isfinite(lbf2))
    w = np.exp(log_weight[present] - logsumexp(log_weight[present])) * len(present)
    pairs = [(a, b) for a in range(len(present)) for b in range(len(present)) if a != b]
    prior = np.array([w[a] * w[b] * np.exp(kappa * near[present[a], present[b]]) for a, b in pairs])
    mass = sum(w[a] * w[b] for a, b in pairs)
    prior *= mass / prior.sum()
    said = [np.exp(lbf1[present[a]] + lbf2[present[b]]) for a, b in pairs]
    return float(np.log(prior @ said)), float(np.log(prior.sum()))


@pytest.mark.parametrize("kappa", [-2.0, 0.0, 3.0])
def test_the_weighted_sums_are_those_of_every_pair(kappa: float) -> None:
    rng = np.random.default_rng(1)
    lbf1, lbf2 = rng.normal(0, 3, (2, 5, M))
    lbf1[2, 4] = -np.inf
    near, weight = flags(rng), rng.normal(0, 1, M)
    sums, _ = near_pair_sums(lbf1, lbf2, weight, Near(near, kappa))
    plain = pair_sums(lbf1, lbf2, weight)
    for row in range(5):
        expected, mass = written_out(lbf1[row], lbf2[row], near, kappa, weight)
        assert sums.log_sum[row, 3] == pytest.approx(expected, rel=1e-10)
        assert sums.log_mass[row, 3] == pytest.approx(mass, rel=1e-10)
    others = [0, 1, 2, 4]
    np.testing.assert_array_equal(sums.log_sum[:, others], plain.log_sum[:, others])


def test_a_cluster_is_a_part_of_the_whole_under_any_weight() -> None:
    rng = np.random.default_rng(2)
    lbf1, lbf2 = rng.normal(0, 3, (2, 30, M))
    near = flags(rng)
    for kappa in (-3.0, 2.0):
        sums, cluster = near_pair_sums(lbf1, lbf2, None, Near(near, kappa))
        assert (cluster <= sums.log_sum[:, 3] + 1e-9).all()
    everything = near_pair_sums(lbf1, lbf2, None, Near(~np.eye(M, dtype=bool), 2.0))
    np.testing.assert_allclose(everything[0].log_sum, pair_sums(lbf1, lbf2).log_sum, rtol=1e-12)
    np.testing.assert_allclose(everything[1], cluster_sums(lbf1, lbf2), rtol=1e-12)


def test_the_slope_is_exact() -> None:
    whole, part, mass, part_mass = np.log([[5.0], [2.0], [9.0], [3.0]])
    for kappa in (-1.5, 0.0, 2.5):
        slope = tilted(whole, part, mass, part_mass, kappa)[1]
        up, down = (tilted(whole, part, mass, part_mass, kappa + s)[0] for s in (1e-6, -1e-6))
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-7)


def test_variants_in_ld_by_the_mean_over_ancestries_that_have_both() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (6, 40))  # fewer people than variants: LD from genotypes
    x = (x - x.mean(axis=0)) / np.linalg.norm(x - x.mean(axis=0), axis=0)
    other = np.corrcoef(rng.normal(0, 1, (40, 60)))
    present = rng.random((2, 40)) < 0.8
    found = near_variants([FactorLD(x), MatrixLD(other)], present, 0.25)
    for j in range(40):
        for k in range(40):
            both = present[:, j] & present[:, k]
            r2 = np.array([(x[:, j] @ x[:, k]) ** 2, other[j, k] ** 2])[both]
            expected = j != k and both.any() and r2.mean() > 0.25
            assert found[j, k] == expected or abs(r2.mean() - 0.25) < 1e-5  # single precision
    assert found.any()


def test_without_ld_nothing_is_learned_and_with_it_the_weight_is_found() -> None:
    """400 pairs of which distinct variants are always in LD: its weight is high, and is not where they lie
    anywhere."""
    rng, m, kappa = np.random.default_rng(4), 40, {}
    near = np.kron(np.eye(m // 4, dtype=bool), np.ones((4, 4), dtype=bool)) & ~np.eye(m, dtype=bool)
    for close in (False, True):
        truth, effect = rng.choice(5, 400, p=np.array([1, 2, 2, 4, 3]) / 12), np.zeros((2, 400, m))
        for i, h in enumerate(truth):
            j = int(rng.integers(m))
            k = int(rng.choice(np.flatnonzero(near[j]) if close else np.delete(np.arange(m), j)))
            effect[0, i, j] = rng.normal(0, 6) * (h in (1, 3, 4))
            effect[1, i, j if h == 4 else k] = rng.normal(0, 6) * (h > 1)
        z = effect + rng.standard_normal(effect.shape)
        lbf = [approximate_bayes_factor(one, np.ones_like(one), 6.0)[None] for one in z]
        sums = size_sums(*lbf, near=near)
        kappa[close] = learn_sizes(sums, np.ones(1), np.ones(1)).near
        assert learn_sizes(size_sums(*lbf), np.ones(1), np.ones(1)).near == pytest.approx(0.0, abs=1e-6)
    assert abs(kappa[False]) < 1.0  # 4 of 39 others are in LD: a few of some 100 pairs
    assert kappa[True] > 3.0
    empty = near_sums(*(one[0] for one in lbf), None)
    assert np.isneginf(empty.log_sum).all()
    np.testing.assert_allclose(
        collapsed(size_sums(*lbf), np.ones(1), np.ones(1), 3.0).log_sum,
        pair_sums(*(o[0] for o in lbf)).log_sum,
    )
