"""Sums, hypotheses, clusters and competing signals against enumeration and high precision; published
answers."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from bayestwas.models import coloc as model
from scipy.stats import multivariate_normal

from bayestwas.engine.coloc import (
    COLOC_DEFAULT,
    ColocPriors,
    approximate_bayes_factor,
    cluster_sums,
    effect_variance,
    enrichment,
    hypotheses,
    locus_level,
    matched,
    p12_at,
    pair_sums,
    reweighted,
    sensitivity_grid,
    shared_variant,
    trait_sd,
)
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates
from bayestwas.engine.single_effects import fit_single_effects

SHARED = Path(__file__).parents[3] / "shared" / "data"
PRIORS = ColocPriors(2e-3, 5e-3, 1e-3)


def draw(seed: int, n: int = 6, m: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lbf1, lbf2 = rng.normal(0, 4, (2, n, m))
    lbf1[0, 2] = lbf2[1, 5] = lbf1[2, 0] = lbf2[2, 0] = -np.inf
    return lbf1, lbf2, rng.normal(0, 1, (n, m))


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_those_of_the_generative_model(weighted: bool) -> None:
    """models/coloc.py states the same sums independently; both to rounding."""
    lbf1, lbf2, log_weight = draw(1)
    log_weight = log_weight if weighted else np.zeros_like(log_weight)
    told = model.constants(
        {"lbf1": lbf1, "lbf2": lbf2, "log_prior": log_weight, "in_context": np.ones((6, 1))}
    )
    sums = pair_sums(lbf1, lbf2, log_weight)
    np.testing.assert_allclose(
        sums.log_sum, told["log_sum"] + told["offset"][:, None], rtol=1e-11, atol=1e-11
    )
    np.testing.assert_allclose(sums.log_mass, told["log_mass"], rtol=1e-11)


@pytest.mark.parametrize(("peak1", "peak2"), [(2000.0, 2000.0), (2000.0, 3.0), (0.0, 0.0)])
@pytest.mark.parametrize("same", [True, False])
def test_two_variants_apart_keep_their_digits(peak1: float, peak2: float, same: bool) -> None:
    """Against 60 digits: S1 S2 - S4 in doubles would be 0 or overflow. To 1e-12 of the logarithm."""
    rng = np.random.default_rng(3)
    lbf1, lbf2 = rng.normal(0, 2, (2, 12))
    lbf1[4] += peak1
    lbf2[4 if same else 7] += peak2
    [found] = pair_sums(lbf1, lbf2).log_sum
    with mpmath.workdps(60):
        one, two = ([mpmath.e ** mpmath.mpf(x) for x in row] for row in (lbf1, lbf2))
        apart = sum(a * b for (i, a), (j, b) in itertools.product(enumerate(one), enumerate(two)) if i != j)
        both = sum(a * b for a, b in zip(one, two, strict=True))
        exact = [0.0, *(float(mpmath.log(x)) for x in (sum(one), sum(two), apart, both))]
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-12)


def test_a_pair_without_common_variants_says_nothing() -> None:
    sums = pair_sums(np.array([[1.0, -np.inf]]), np.array([[-np.inf, 2.0]]))
    np.testing.assert_array_equal(hypotheses(sums, PRIORS), [[1, 0, 0, 0, 0]])
    assert p12_at(sums, PRIORS, 0.5) == [np.inf]
    assert pair_sums(np.zeros((0, 3)), np.zeros((0, 3))).log_sum.shape == (0, 5)
    [single] = hypotheses(pair_sums(np.array([[3.0]]), np.array([[2.0]])), PRIORS)
    assert single[3] == 0  # one variant: never two different ones


def test_hypotheses_are_shares_of_all_configurations() -> None:
    lbf1, lbf2, log_weight = draw(2)
    found = hypotheses(pair_sums(lbf1, lbf2, log_weight), PRIORS)
    p1, p2, p12 = PRIORS
    for row, a, b, w in zip(found, lbf1, lbf2, log_weight, strict=True):
        here = np.isfinite(a) & np.isfinite(b)
        weight = np.exp(w[here]) / np.exp(w[here]).mean()
        one, two = weight * np.exp(a[here]), weight * np.exp(b[here])
        apart = sum(one[j] * two[k] for j in range(len(one)) for k in range(len(one)) if j != k)
        terms = np.array(
            [1, p1 * one.sum(), p2 * two.sum(), p1 * p2 * apart, p12 * (one * two / weight).sum()]
        )
        np.testing.assert_allclose(row, terms / terms.sum(), rtol=1e-10)


def test_prior_sensitivity_is_consistent_with_the_posterior() -> None:
    lbf1, lbf2, log_weight = draw(4)
    sums = pair_sums(lbf1, lbf2, log_weight)
    for row, p12 in enumerate(p12_at(sums, PRIORS, 0.8)):
        assert hypotheses(sums, PRIORS._replace(p12=p12))[row, 4] == pytest.approx(0.8, rel=1e-9)
    grid = sensitivity_grid(COLOC_DEFAULT)
    np.testing.assert_allclose(grid[[0, 20, 40]], [1e-7, 1e-5, 1e-3])
    along = hypotheses(sums, ColocPriors(1e-4, 1e-4, grid[:, None]))[..., 4]
    assert along.shape == (41, 6)
    assert (np.diff(along, axis=0) >= 0).all()
    assert enrichment(COLOC_DEFAULT) == pytest.approx(np.log(1e3))


def test_the_shared_variant_and_the_locus_level_by_enumeration() -> None:
    lbf1, lbf2, log_weight = draw(5, n=40)
    given = shared_variant(lbf1, lbf2, log_weight)
    sums = pair_sums(lbf1, lbf2, log_weight)
    lcp = locus_level(sums, cluster_sums(lbf1, lbf2, 0.8, log_weight), PRIORS)
    posterior = hypotheses(sums, PRIORS)
    met = 0
    for i, (a, b, w) in enumerate(zip(lbf1, lbf2, log_weight, strict=True)):
        here = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
        both = np.exp(a + b + w)[here]
        np.testing.assert_allclose(given[i, here], both / both.sum(), rtol=1e-10)
        sets = []
        for values in (a, b):
            share = np.exp(values + w)[here]
            order = np.argsort(-share)
            count = int(np.searchsorted(np.cumsum(share[order]) / share.sum(), 0.8)) + 1
            sets.append(set(here[order[:count]]))
        cluster = sets[0] | sets[1] if sets[0] & sets[1] else set()
        met += bool(cluster)
        pairs = {(j, k): np.exp(a[j] + w[j] + b[k] + w[k]) for j in here for k in here if j != k}
        inside = sum(value for (j, k), value in pairs.items() if {j, k} <= cluster)
        expected = posterior[i, 4] + posterior[i, 3] * inside / sum(pairs.values())
        assert lcp[i] == pytest.approx(expected, rel=1e-9)
    assert 5 < met < 35  # both kinds were seen


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 2), (3, 4), (4, 2)])
def test_competing_signals_by_enumeration_of_matchings(shape: tuple[int, int]) -> None:
    pair = np.random.default_rng(sum(shape)).uniform(0.01, 0.99, shape)
    odds = pair / (1 - pair)
    total, per_pair = 0.0, np.zeros(shape)
    for chosen in itertools.product(range(-1, shape[1]), repeat=shape[0]):
        used = [k for k in chosen if k >= 0]
        if len(set(used)) < len(used):
            continue
        edges = [(row, k) for row, k in enumerate(chosen) if k >= 0]
        weight = np.prod([odds[edge] for edge in edges])
        total += weight
        for edge in edges:
            per_pair[edge] += weight
    found, anything = matched(pair)
    np.testing.assert_allclose(found, per_pair / total, rtol=1e-10)
    assert anything == pytest.approx(1 - 1 / total, rel=1e-10)


def test_certain_pairs_that_exclude_each_other_share_the_probability() -> None:
    found, anything = matched(np.ones((1, 2)))
    np.testing.assert_allclose(found, [[0.5, 0.5]])
    assert anything == 1
    found, anything = matched(np.zeros((2, 2)))
    np.testing.assert_array_equal(found, np.zeros((2, 2)))
    assert anything == 0


def test_summary_statistics_in_every_form() -> None:
    """z, n and frequency of a standardised trait stand for beta and se; the trait's SD is found again."""
    rng = np.random.default_rng(8)
    maf, n, z = rng.uniform(0.02, 0.5, 300), 5_000.0, rng.normal(0, 3, 300)
    variance = effect_variance(n, maf)
    beta = z * np.sqrt(variance)
    scale = 7.0
    assert trait_sd(variance * scale**2, n, maf) == pytest.approx(scale)
    assert np.isnan(trait_sd(np.array([np.nan]), n, np.array([0.2])))
    np.testing.assert_allclose(
        approximate_bayes_factor(beta, variance, 0.15),
        approximate_bayes_factor(scale * beta, scale**2 * variance, 0.15 * scale),
    )
    np.testing.assert_allclose(effect_variance(n, maf, 0.3), variance / 0.21)
    exact = [
        float(mpmath.log(mpmath.npdf(b, 0, mpmath.sqrt(v + 0.04)) / mpmath.npdf(b, 0, mpmath.sqrt(v))))
        for b, v in zip(beta[:20], variance[:20], strict=True)
    ]
    np.testing.assert_allclose(approximate_bayes_factor(beta, variance, 0.2)[:20], exact, rtol=1e-9)
    missing = approximate_bayes_factor([np.nan, 1.0, 1.0], [1.0, np.nan, 0.0], 0.2)
    np.testing.assert_array_equal(missing, [-np.inf] * 3)


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """The test data of the program coloc: name -> beta, varbeta, N, sdY, MAF, LD."""
    path = Path(os.environ.get("BAYESTWAS_DATA", SHARED)) / "coloc_known_answers" / "coloc_test_data.rda"
    if not path.is_file():
        pytest.skip(f"the test data of coloc are not at {path}")
    rdata = pytest.importorskip("rdata", reason="the test data of coloc are in R's format: needs rdata")
    return rdata.read_rda(path)["coloc_test_data"]


def test_published_answers_of_single_signals(published: dict[str, Any]) -> None:
    """To 1e-6, the digits that they are given with."""
    lbf = []
    for name in ("D1", "D2"):
        data = published[name]
        beta, variance = (np.asarray(data[key], dtype=float) for key in ("beta", "varbeta"))
        lbf.append(approximate_bayes_factor(beta, variance, 0.15 * float(np.ravel(data["sdY"])[0])))
    sums = pair_sums(*lbf)
    [found] = hypotheses(sums, COLOC_DEFAULT)
    assert found[3] == pytest.approx(8.33892e-4, abs=1e-6)
    assert found[4] == pytest.approx(0.999166108, abs=1e-6)
    [found] = hypotheses(sums, COLOC_DEFAULT._replace(p12=1e-6))
    assert found[4] == pytest.approx(0.991723, abs=1e-6)


def signals(data: dict[str, Any]) -> np.ndarray:
    """(L, p) log Bayes factors of the single effects that are there, from beta, varbeta and LD."""
    beta, variance = (np.asarray(data[key], dtype=float) for key in ("beta", "varbeta"))
    n = float(np.ravel(data["N"])[0])
    p = len(beta)
    candidates = Candidates(p, (), np.full((p, 1), -np.log(p)), np.full((p, 1), 0.02), np.ones((1, 1, 1)))
    ld = MatrixLD(np.asarray(data["LD"], dtype=float), np.inf)
    fit = fit_single_effects(
        (beta / np.sqrt(variance))[None], np.array([n]), [ld],
        candidates, effects=5,
    )  # fmt: skip
    there = fit.null < 0.5
    information, score = fit.information[there, :, 0], fit.score[there, :, 0]
    known = 0.02 * information / (1 + 0.02 * information)
    return 0.5 * np.log1p(-known) + 0.5 * known * score**2 / information


def test_two_signals_and_one(published: dict[str, Any]) -> None:
    """D3 carries variants 105 and 89, D4 105: one pair shares, and the other signal of D3 does not."""
    first, second = signals(published["D3"]), signals(published["D4"])
    assert (len(first), len(second)) == (2, 1)
    posterior = hypotheses(pair_sums(first, second), COLOC_DEFAULT)
    shared = int(posterior[:, 4].argmax())
    assert posterior[shared, 4] > 0.9
    assert posterior[1 - shared, 3] > 0.9
    given = shared_variant(first[shared], second)[0]
    assert given[104] > 0.05
    assert first[1 - shared].argmax() in np.flatnonzero(np.abs(np.asarray(published["D3"]["LD"])[88]) > 0.8)
    rcp, anything = matched(posterior[:, 4][:, None])
    assert rcp[shared, 0] > 0.9
    assert anything > 0.9


def test_an_inclusion_under_another_prior_is_that_of_every_configuration() -> None:
    """Three correlated effects, each in or out with odds of its own: all 8 configurations, twice."""
    rng = np.random.default_rng(6)
    r = np.array([[1, 0.8, 0.3], [0.8, 1, 0.5], [0.3, 0.5, 1]])
    z = rng.multivariate_normal(3 * r[0], r)

    def probability(odds: np.ndarray) -> np.ndarray:
        inside = np.array([[(c >> i) & 1 for i in range(3)] for c in range(8)], dtype=float)
        density = [multivariate_normal(np.zeros(3), r + 9 * (r * s) @ r).pdf(z) for s in inside]
        weight = np.array(density) * np.prod(odds**inside, axis=1)
        return np.asarray(weight @ inside / weight.sum())

    odds = np.array([0.05, 0.1, 0.02])
    for factor in (0.01, 1.0, 100.0):
        moved = probability(odds * [factor, 1, 1])
        assert reweighted(probability(odds)[0], factor) == pytest.approx(moved[0], rel=1e-10)
