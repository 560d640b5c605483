"""Mixtures of LD panels against loops, a general optimiser and large simulated populations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from bayestwas.engine.mixture import (
    Estimate,
    apart,
    between_rows,
    combined,
    estimate,
    frequency_moments,
    mixture_factor,
    mixture_people,
    score_moments,
    solve,
)

TRUTH = np.array([0.6, 0.3, 0.1])


def test_the_simplex_solution_is_that_of_a_general_optimiser() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        root = rng.standard_normal((3, 4))
        gram, right = root @ root.T, rng.standard_normal(3)
        found = solve(gram, right)
        rule = [{"type": "eq", "fun": lambda w: w.sum() - 1}]
        other = minimize(
            lambda w, g=gram, r=right: w @ g @ w - 2 * w @ r, np.full(3, 1 / 3), bounds=[(0, None)] * 3,
            constraints=rule, options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert found @ gram @ found - 2 * found @ right <= other.fun + 1e-8  # SLSQP stops at about 1e-8
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(1.0, abs=1e-12)


def test_moments_of_scores_are_sums_over_pairs() -> None:
    rng = np.random.default_rng(2)
    z, stretch = rng.standard_normal(6), np.array([0, 0, 0, 1, 1, 1])
    panels = [rng.standard_normal((n, 6)) / np.sqrt(n) for n in (8, 5)]
    between = 0.3 * rng.standard_normal((2, 6))
    found = score_moments(z, panels, between, stretch)
    gram, right = np.zeros((2, 2, 2)), np.zeros((2, 2))
    for i in range(6):
        for j in range(6):
            if i == j:
                continue
            s = [float(x[:, i] @ x[:, j]) for x in panels]
            target = z[i] * z[j] - float(between[:, i] @ between[:, j])
            for k in range(2):
                right[stretch[i], k] += s[k] * target
                for other in range(2):
                    value = s[k] * s[other]
                    if k == other:
                        n = len(panels[k])
                        products = n * panels[k][:, i] * panels[k][:, j]  # of people; s is their mean
                        value -= float(products.var(ddof=1)) / n
                    gram[stretch[i], k, other] += value
    np.testing.assert_allclose(found.gram, gram, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.right, right, rtol=1e-12, atol=1e-12)


def populations(
    rng: np.random.Generator, p: int, people: int
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Genotypes (people, p) of three populations: mosaics of eight founder haplotypes each, half of which
    they share; frequencies and covariances beside them, exact."""
    shared = (rng.random((4, p)) < rng.uniform(0.1, 0.9, p)).astype(float)
    held, frequency, covariance = [], [], []
    for _ in TRUTH:
        own = (rng.random((4, p)) < rng.uniform(0.1, 0.9, p)).astype(float)
        founders = np.concatenate([shared, own])
        share = rng.dirichlet(np.full(8, 3.0))
        held.append(sum(founders[rng.choice(8, size=people, p=share)] for _ in range(2)))
        frequency.append(share @ founders)
        centred = founders - frequency[-1]
        covariance.append(2 * (centred.T * share) @ centred)
    return held, frequency, covariance


def test_frequencies_of_small_panels_give_unbiased_weights_and_their_error() -> None:
    """Panels of 60 people: without what their sampling adds taken off, weights shrink to one another."""
    rng = np.random.default_rng(3)
    off, error = [], []
    for _ in range(60):
        frequency = np.clip(rng.uniform(0.1, 0.9, 800) + 0.1 * rng.standard_normal((3, 800)), 0.02, 0.98)
        seen = rng.binomial(120, frequency) / 120
        moments = frequency_moments(TRUTH @ frequency, seen, np.full(3, 60.0), np.arange(800) // 40)
        found = estimate(moments, True)
        assert found is not None
        off.append(found.weight - TRUTH)
        error.append(found.error)
    bias, spread = np.mean(off, axis=0), np.std(off, axis=0, ddof=1)
    assert (np.abs(bias) < 4 * spread / np.sqrt(60)).all()
    assert np.mean(error, axis=0) == pytest.approx(spread, rel=0.4)  # s.e. of a spread of 60: 9%


@pytest.mark.parametrize("tau2", [0.0, 0.3])
def test_scores_of_a_meta_analysis_give_its_weights(tau2: float) -> None:
    """z drawn from the exact LD of the mixture, in 150 stretches, also with a polygenic background; panels of
    300 people."""
    rng = np.random.default_rng(4)
    total = None
    for _ in range(150):
        held, _, covariance = populations(rng, 40, 300)
        mixed = sum(w * c for w, c in zip(TRUTH, covariance, strict=True))
        there = np.diag(mixed) > 1e-9
        sd = np.sqrt(np.diag(mixed)[there])
        value, vector = np.linalg.eigh(mixed[np.ix_(there, there)] / np.outer(sd, sd))
        value = np.maximum(value, 0)
        z = vector @ (np.sqrt(value + tau2 * value**2) * rng.standard_normal(len(value)))
        panels = [(x - x.mean(axis=0))[:, there] / np.sqrt(len(x)) / sd for x in held]
        here = score_moments(z, panels, np.zeros((3, len(sd))), np.zeros(len(sd), dtype=np.intp))
        total = here if total is None else total + here
    assert total is not None
    found = estimate(total, False)
    assert found is not None
    assert (np.abs(found.weight - TRUTH) < 3.5 * found.error).all()
    assert (found.error < 0.15).all()


def test_ld_of_a_mixture_is_that_of_many_people() -> None:
    """20,000 people of each study centred on their own mean; and 60,000 admixed people whose two haplotypes
    have local ancestry of their own."""
    rng = np.random.default_rng(5)
    held, frequency, covariance = populations(rng, 12, 20_000)
    exact = sum(w * c for w, c in zip(TRUTH, covariance, strict=True))
    factor = mixture_factor(held, TRUTH, admixed=False)
    np.testing.assert_allclose(factor.T @ factor, exact, atol=5 * 0.5 / np.sqrt(20_000 / 3))
    between = between_rows(TRUTH, 2 * np.array(frequency))
    haplotypes = [x // 2 + (x % 2) * (rng.random(x.shape) < 0.5) for x in held]  # only means matter here
    which = rng.choice(3, size=(60_000, 2), p=TRUTH)
    means = np.array([h.mean(axis=0) for h in haplotypes])
    people = means[which[:, 0]] + means[which[:, 1]]
    apart_in_mean = np.cov(people.T, bias=True)
    np.testing.assert_allclose(between.T @ between, apart_in_mean, atol=5 * 0.5 / np.sqrt(60_000) + 0.02)
    both = mixture_factor(held, TRUTH, admixed=True)
    assert len(both) == 60_003
    np.testing.assert_allclose(both.T @ both - factor.T @ factor, between.T @ between, atol=0.02)


def test_sources_count_by_their_precision() -> None:
    sharp = Estimate(np.array([0.7, 0.3]), 1e-6 * np.array([[1, -1], [-1, 1]]))
    blunt = Estimate(np.array([0.2, 0.8]), 0.04 * np.array([[1, -1], [-1, 1]]))
    found = combined([sharp, blunt], 2)
    assert found.weight.sum() == pytest.approx(1.0)
    assert found.weight[0] == pytest.approx(0.7, abs=0.01)
    assert found.error[0] < 0.011
    assert combined([], 2).weight == pytest.approx([0.5, 0.5])
    assert apart(sharp, blunt) == pytest.approx(0.5 / np.sqrt(0.04 + 1e-6 + 2e-4), rel=1e-9)


def test_people_behind_a_mixture() -> None:
    assert mixture_people(np.array([500.0, 500.0]), np.array([1.0, 0.0])) == pytest.approx(500)
    assert mixture_people(np.array([500.0, 500.0]), np.array([0.5, 0.5])) == pytest.approx(1000)
    assert mixture_people(np.array([400.0, 100.0]), np.array([0.8, 0.2])) == pytest.approx(500)


def test_too_little_is_said_to_be_nothing() -> None:
    moments = frequency_moments(
        np.array([0.1, 0.4]), np.full((2, 2), 0.3), np.full(2, 50.0), np.array([0, 1])
    )
    assert estimate(moments, True) is None
