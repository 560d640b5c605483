"""Conditional z, heterogeneity and permutations against regressions on individuals and enumeration."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import chi2, kstest

from bayestwas.engine.gene_trait import twas_z
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.triangulation import conditional_z, heterogeneity, permutation_p, scores

PEOPLE = (400, 300)
VARIANTS = 12


@pytest.fixture(scope="module")
def people() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Standardised genotypes in LD and a trait of variance one, of two ancestries."""
    rng = np.random.default_rng(1)
    genotypes, traits = [], []
    for n in PEOPLE:
        x = rng.standard_normal((n, VARIANTS))
        x[:, 1:] += 0.8 * x[:, :-1]
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        y = 0.2 * x[:, 2] + rng.standard_normal(n)
        genotypes.append(x)
        traits.append((y - y.mean()) / y.std())
    return genotypes, traits


def summaries(people: tuple[list[np.ndarray], list[np.ndarray]]) -> tuple:
    z = np.array([x.T @ y / np.sqrt(len(y)) for x, y in zip(*people, strict=True)])
    return z, np.array(PEOPLE, float), [MatrixLD(x.T @ x / len(x)) for x in people[0]]


def rows(weights: np.ndarray) -> list[tuple[sparse.csr_array, ...]]:
    """(T, A, p) as columns."""
    return [tuple(sparse.csr_array(own[None]) for own in one) for one in weights]


def regression(people: tuple, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of the trait on predicted expression of all people of both ancestries, residual variance
    one: estimates and their covariance."""
    design = np.concatenate([x @ weights[:, a].T for a, x in enumerate(people[0])])
    inverse = np.linalg.inv(design.T @ design)
    return inverse @ design.T @ np.concatenate(people[1]), inverse


def test_conditional_z_is_that_of_a_regression_on_individuals(people: tuple) -> None:
    weights = np.random.default_rng(2).standard_normal((3, 2, VARIANTS))
    u, information = scores(*summaries(people), rows(weights))
    estimate, covariance = regression(people, weights)
    for t in range(3):
        expected = estimate[t] / np.sqrt(covariance[t, t])
        assert conditional_z(u, information, t, range(3)) == pytest.approx(expected, rel=1e-9)
        alone = twas_z(*summaries(people), rows(weights)[t])
        assert conditional_z(u, information, t, [t]) == pytest.approx(alone, rel=1e-12)
    assert conditional_z(u, information, 0, [2]) == pytest.approx(
        (lambda b, v: b[0] / np.sqrt(v[0, 0]))(*regression(people, weights[[0, 2]])), rel=1e-9
    )


def test_what_others_predict_has_no_conditional_z(people: tuple) -> None:
    weights = np.random.default_rng(3).standard_normal((4, 2, VARIANTS))
    weights[3] = 2 * weights[0]  # twice the same gene among the others: its direction counts once
    u, information = scores(*summaries(people), rows(weights))
    assert np.isnan(conditional_z(u, information, 0, range(4)))
    twice = conditional_z(u, information, 1, [0, 2, 3])
    assert twice == pytest.approx(conditional_z(u, information, 1, [0, 2]), rel=1e-6)
    u, information = scores(*summaries(people), rows(np.zeros((2, 2, VARIANTS))))
    assert np.isnan(conditional_z(u, information, 0, [1]))


def test_absent_variants_count_as_no_effect(people: tuple) -> None:
    z, n, ld = summaries(people)
    weights = np.random.default_rng(4).standard_normal((2, 2, VARIANTS))
    z[1, :5] = np.nan
    u, information = scores(z, n, ld, rows(weights))
    kept = weights.copy()
    kept[:, 1, :5] = 0
    expected = scores(np.nan_to_num(z), n, ld, rows(kept))
    np.testing.assert_allclose(u, expected[0])
    np.testing.assert_allclose(information, expected[1])


def test_heterogeneity_by_hand(people: tuple) -> None:
    """Three signals of one gene: Q is the weighted sum of squares of their estimates about the common one."""
    weights = np.zeros((3, 2, VARIANTS))
    for signal, variant in enumerate((2, 6, 10)):
        weights[signal, :, variant] = 0.3 + 0.1 * signal
    u, information = scores(*summaries(people), rows(weights))
    q, freedom = heterogeneity(u, information)
    estimate, covariance = regression(people, weights)
    precision = np.linalg.inv(covariance)
    common = precision.sum(axis=0) @ estimate / precision.sum()
    assert freedom == 2
    assert q == pytest.approx((estimate - common) @ precision @ (estimate - common), rel=1e-9)
    # what the signals explain apart, less what the gene explains
    together = twas_z(*summaries(people), rows(weights.sum(axis=0)[None])[0])
    assert q == pytest.approx(u @ np.linalg.solve(information, u) - together**2, rel=1e-9)
    spread = np.array([0.1, 0.2, 0.3])
    precision = np.linalg.inv(covariance + np.diag((u.sum() / information.sum() * spread) ** 2))
    common = precision.sum(axis=0) @ estimate / precision.sum()
    wider, _ = heterogeneity(u, information, spread)
    assert wider == pytest.approx((estimate - common) @ precision @ (estimate - common), rel=1e-9)
    assert wider < q
    assert np.isnan(heterogeneity(u[:1], information[:1, :1])[0])
    same = np.ix_([0, 0], [0, 0])
    assert np.isnan(heterogeneity(u[[0, 0]], information[same])[0])


def test_heterogeneity_holds_its_rate_where_effects_are_the_same() -> None:
    """2,000 genes of three signals with one effect: p is uniform."""
    rng = np.random.default_rng(5)
    root = np.linalg.cholesky(np.array([[50.0, 10, 0], [10, 40, 5], [0, 5, 30]]))
    information = root @ root.T
    u = information @ np.full(3, 0.7) + rng.standard_normal((2_000, 3)) @ root.T
    p = [chi2.sf(*heterogeneity(one, information)) for one in u]
    assert kstest(p, "uniform").pvalue > 6e-5  # 4 standard deviations
    apart = information @ np.array([0.7, -0.7, 0.7])
    assert chi2.sf(*heterogeneity(apart, information)) < 1e-6


def test_permutations_against_all_of_them(people: tuple) -> None:
    """Two weights among five variants have 20 places: the share of them with a z as large."""
    z, n, ld = summaries(people)
    weights = np.zeros((1, 2, VARIANTS))
    weights[0, :, [1, 2]] = np.array([[0.5, 0.4], [0.2, 0.3]])
    window = np.arange(5)
    observed = abs(twas_z(z, n, ld, rows(weights)[0]))
    every = []
    for first, second in permutations(window, 2):
        moved = np.zeros((1, 2, VARIANTS))
        moved[0, :, first], moved[0, :, second] = weights[0, :, 1], weights[0, :, 2]
        every.append(abs(twas_z(z, n, ld, rows(moved)[0])) >= observed - 1e-9)
    count = 4_000
    found = permutation_p(z, n, ld, rows(weights)[0], window, np.random.default_rng(6), count)
    share = np.mean(every)
    assert 0 < share < 1
    assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / count) + 1 / count
    again = permutation_p(z, n, ld, rows(weights)[0], window, np.random.default_rng(6), count)
    assert again == found
    assert np.isnan(permutation_p(z, n, ld, rows(weights)[0], np.arange(6, 9), np.random.default_rng(6)))
