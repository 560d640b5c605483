"""Expression weights: noise of shared donors against individual-level data, borrowing, moments, learning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayestwas.engine.ld import FactorLD, MatrixLD
from bayestwas.engine.likelihood import correlation
from bayestwas.engine.sharing import Effects
from bayestwas.engine.single_effects import component_posterior, fit_single_effects, from_score
from bayestwas.engine.weights import (
    DISTANCE_DENSITY,
    DISTANCE_EDGES,
    Expression,
    WeightPriors,
    WeightSums,
    components,
    distance_bin,
    excess,
    fit_expression,
    learn,
    moments,
    sharing,
    sums,
    weight_candidates,
)

P = 10
R = 0.6 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P))).astype(float)
DISTANCE = np.linspace(-450e3, 450e3, P)
ALL_SHARED = WeightPriors(shared=1.0, unstructured=0.0, context_specific=0.0, ancestry_specific=0.0)


def added(parts: Iterable[WeightSums]) -> WeightSums:
    return reduce(add, parts)


def panel(rng: np.random.Generator, n: int, p: int = P) -> np.ndarray:
    """(n, p) standardised genotypes in LD, columns of mean 0 and mean square 1."""
    x = rng.standard_normal((n, p)) @ np.linalg.cholesky(R[:p, :p]).T
    x -= x.mean(axis=0)
    return x / np.sqrt((x**2).mean(axis=0))


def summary(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """sqrt(n) times the correlation of every variant with y, (p,)."""
    y = y - y.mean()
    return x.T @ y / np.sqrt((y**2).mean() * len(y))


def expression(
    rng: np.random.Generator, contexts: int, ancestries: int, n: tuple[float, ...], effect: float = 0.5
) -> Expression:
    """One gene with an eQTL on the fourth variant in all studies, no donors shared."""
    studies = contexts * ancestries
    z, ld = np.full((studies, P), np.nan), []
    for s in range(studies):
        x = panel(rng, int(n[s]) or 20)
        ld.append(FactorLD(x))
        if n[s]:
            z[s] = summary(x, effect * x[:, 3] + rng.standard_normal(len(x)))
    share = np.eye(studies)
    return Expression(
        z, np.array(n, float), tuple(ld), np.eye(studies), share, DISTANCE, contexts, ancestries
    )


# ---- contexts of the same donors ---------------------------------------------------------------------------


def test_shared_donors_against_individual_level_data() -> None:
    """Two contexts in the same 20 people with known residual covariance V: rows of Y ~ N(x_j gamma, V).

    The exact marginal likelihood of Y (40 numbers) with gamma ~ N(0, D) integrated is N(0, V (x) I + D (x)
    x x'); its ratio to N(0, V (x) I) is the Bayes factor. Densities of 40 dimensions: log differences to
    1e-8.
    """
    rng = np.random.default_rng(1)
    n, p = 20, 3
    x = panel(rng, n, p)
    v = np.array([[0.8, 0.45], [0.45, 0.7]])
    y = 0.5 * x[:, [1]] @ np.array([[1.0, 0.6]]) + rng.standard_normal((n, 2)) @ np.linalg.cholesky(v).T
    z = (x.T @ y / np.sqrt(n)).T
    priors = WeightPriors(rate=0.5)
    candidates = weight_candidates(np.zeros(p), np.ones(p, bool), 2, 1, priors)
    fit = fit_single_effects(
        z, np.array([n, n], float), [FactorLD(x)] * 2, candidates, effects=1, noise=v, ld_noise=False
    )
    mixture = components(priors, 2, 1)
    covariances, weights = mixture.covariances, mixture.weight
    base = np.kron(v, np.eye(n))
    flat = y.T.ravel()
    null = multivariate_normal(np.zeros(2 * n), base).logpdf(flat)
    for j in range(p):
        for m, prior in enumerate(covariances):
            outer = np.kron(prior, np.outer(x[:, j], x[:, j]))
            log_bf = multivariate_normal(np.zeros(2 * n), base + outer).logpdf(flat) - null
            log_odds = log_bf + np.log(0.5 / p) + np.log(weights[m])
            np.testing.assert_allclose(np.log(fit.alpha[0, j, m] / fit.null[0]), log_odds, atol=1e-8)
            design = np.kron(np.eye(2), x[:, [j]])  # vec(Y) = design gamma + noise
            gain = prior @ design.T @ np.linalg.inv(base + outer)
            mean, spread = component_posterior(fit, candidates, 0, j, m)
            np.testing.assert_allclose(mean, gain @ flat, atol=1e-10)
            np.testing.assert_allclose(spread, prior - gain @ design @ prior, atol=1e-10)


@pytest.mark.parametrize("shared", [1.0, 0.25])
def test_residual_correlation_scales_with_the_donors_in_common(shared: float) -> None:
    """Noise of z over contexts is the residual covariance times n_shared / sqrt(n n): 0.35 and 0.35 / 4 here.

    Twelve genes of 800 donors a context; the mean within four standard errors and 0.02 for what shrinkage
    leaves.
    """
    found, n = [], 800
    for seed in range(12):
        rng = np.random.default_rng([2, seed])
        common = int(shared * n)
        x = panel(rng, 2 * n - common)
        noise = rng.multivariate_normal([0, 0], [[0.7, 0.35], [0.35, 0.7]], len(x))
        y = np.sqrt(0.3) * x[:, [3]] + noise  # the same eQTL in both: total covariance 0.65
        people = [slice(0, n), slice(len(x) - n, len(x))]
        both = slice(len(x) - n, n)
        z = np.array([summary(x[who], y[who, c]) for c, who in enumerate(people)])
        share = np.array([[1, shared], [shared, 1]])
        r = np.array([[1, shared], [shared, 1]]) * np.corrcoef(y[both].T)
        np.fill_diagonal(r, 1.0)
        one = Expression(
            z, np.array([n, n], float), tuple(FactorLD(x[who]) for who in people), r, share, DISTANCE, 2, 1
        )
        found.append(fit_expression(one, WeightPriors(), rounds=2).noise)
    found = np.array(found)
    error = found[:, 0, 1].std(ddof=1) / np.sqrt(12)
    assert abs(found[:, 0, 1].mean() - 0.35 * shared) < 4 * error + 0.02
    np.testing.assert_allclose(found[:, [0, 1], [0, 1]].mean(axis=0), 0.7, atol=0.05)


def test_the_same_data_as_two_contexts() -> None:
    """Perfectly correlated noise is taken as nearly so; the second copy adds no evidence to speak of."""
    rng = np.random.default_rng(3)
    x = panel(rng, 120)
    z = summary(x, 0.35 * x[:, 3] + rng.standard_normal(120))
    pips = []
    for copies in (1, 2):
        ones = np.ones((copies, copies))
        one = Expression(
            np.tile(z, (copies, 1)),
            np.full(copies, 120.0),
            (FactorLD(x),) * copies,
            ones,
            ones,
            DISTANCE,
            copies,
            1,
        )
        fitted = fit_expression(one, replace(ALL_SHARED, context_correlation=1.0))
        assert np.linalg.eigvalsh(fitted.noise).min() > 0
        pips.append(fitted.fit.pip)
    np.testing.assert_allclose(pips[1], pips[0], atol=0.1)  # the floor of the noise counts the copy as 5% new


# ---- borrowing
# ----------------------------------------------------------------------------------------------


def test_a_study_without_people_borrows() -> None:
    """n = 0 in one study: its effects are those of the other times the prior regression, rho for equal
    variances.
    """
    rho = 0.7
    one = expression(np.random.default_rng(4), 1, 2, (150.0, 0.0))
    fitted = fit_expression(one, replace(ALL_SHARED, ancestry_correlation=rho))
    mean, sd = moments(fitted)
    assert np.abs(mean[0]).max() > 0.2
    np.testing.assert_allclose(mean[1], rho * mean[0], atol=1e-12)
    # one effect given its variant and size: variance rho^2 var + (1 - rho^2) size
    _, spread = component_posterior(fitted.fit, fitted.candidates, 0, 3, 1)
    size = WeightPriors().sizes[1]
    np.testing.assert_allclose(spread[1, 1], rho**2 * spread[0, 0] + (1 - rho**2) * size, rtol=1e-9)
    assert sd[1, 3] > sd[0, 3]


def test_a_variant_absent_from_one_study_borrows() -> None:
    rho = 0.7
    one = expression(np.random.default_rng(5), 1, 2, (150.0, 100.0))
    holes = one.z.copy()
    holes[1, 3] = np.nan
    fitted = fit_expression(replace(one, z=holes), replace(ALL_SHARED, ancestry_correlation=rho), effects=1)
    assert not fitted.present[1, 3]
    mean = fitted.fit.mean[0, 3]  # (M, S)
    np.testing.assert_allclose(mean[:, 1], rho * mean[:, 0], rtol=1e-9)
    present = fitted.fit.mean[0, 4]
    assert np.abs(present[:, 1] - rho * present[:, 0]).max() > 1e-3  # its neighbour has its own data there


def test_more_data_elsewhere_sharpens_a_small_study() -> None:
    """80 people alone, and with 400 of another ancestry: the posterior of the first is narrower with them."""
    alone, together = [], []
    for seed in range(6):
        one = expression(np.random.default_rng([6, seed]), 1, 2, (80.0, 400.0), effect=0.3)
        lonely = replace(one, n=np.array([80.0, 0.0]))
        together.append(moments(fit_expression(one, WeightPriors()))[1][0].sum())
        alone.append(moments(fit_expression(lonely, WeightPriors()))[1][0].sum())
    assert np.mean(together) < np.mean(alone)


# ---- the posterior and its storage
# --------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_the_score_is_enough_to_rebuild_the_posterior(grouped: bool) -> None:
    rng = np.random.default_rng(7)
    one = expression(rng, 2, 2, (150.0, 80.0, 100.0, 0.0))
    holes = one.z.copy()
    holes[1, 2:5] = np.nan
    r = np.eye(4)
    if grouped:
        r[0, 2] = r[2, 0] = 0.4
    one = replace(one, z=holes, correlation=r, share=(r != 0).astype(float))
    fitted = fit_expression(one, WeightPriors())
    assert (fitted.fit.group is not None) == grouped
    rebuilt = from_score(fitted.fit.score, fitted.present, one.n, fitted.candidates, fitted.noise)
    np.testing.assert_allclose(rebuilt.alpha, fitted.fit.alpha, atol=1e-12)
    np.testing.assert_allclose(rebuilt.null, fitted.fit.null, atol=1e-12)
    np.testing.assert_allclose(rebuilt.mean, fitted.fit.mean, atol=1e-12)
    for candidate, component in ((0, 0), (3, 1), (9, 8)):
        first, second = (
            component_posterior(fit, fitted.candidates, 1, candidate, component)
            for fit in (fitted.fit, rebuilt)
        )
        np.testing.assert_allclose(first[0], second[0], atol=1e-12)
        np.testing.assert_allclose(first[1], second[1], atol=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_moments_by_enumerating_outcomes(grouped: bool) -> None:
    """Sum over effects of the mixture over variants and components, one at a time."""
    one = expression(np.random.default_rng(8), 2, 1, (120.0, 60.0), effect=0.3)
    holes = one.z.copy()
    holes[1, :2] = np.nan
    r = correlation(0.4, 2) if grouped else np.eye(2)
    fitted = fit_expression(
        replace(one, z=holes, correlation=r, share=np.ones((2, 2))), WeightPriors(), effects=3
    )
    mean, sd = moments(fitted)
    alpha = fitted.fit.alpha
    first, second = np.zeros((3, 2, P)), np.zeros((3, 2, P))
    for effect, k, m in np.ndindex(alpha.shape):
        mu, spread = component_posterior(fitted.fit, fitted.candidates, effect, k, m)
        first[effect, :, k] += alpha[effect, k, m] * mu
        second[effect, :, k] += alpha[effect, k, m] * (mu**2 + np.diag(spread))
    np.testing.assert_allclose(mean, first.sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(sd, np.sqrt((second - first**2).sum(axis=0)), atol=1e-10)


def test_residual_variance_is_what_the_weights_leave() -> None:
    """1 - 2 w'r + w'Rw is the mean square of y - Xw for standardised y, by the genotypes themselves."""
    rng = np.random.default_rng(9)
    x = panel(rng, 150)
    y = 0.6 * x[:, 3] + rng.standard_normal(150)
    y = (y - y.mean()) / y.std()
    one = Expression(
        summary(x, y)[None], np.array([150.0]), (FactorLD(x),), np.eye(1), np.eye(1), DISTANCE, 1, 1
    )
    first = fit_expression(one, WeightPriors(), rounds=1)
    second = fit_expression(one, WeightPriors(), rounds=2)
    assert first.noise[0, 0] == 1.0
    left = y - x @ (first.fit.lam.sum(axis=0)[0] / np.sqrt(150))
    np.testing.assert_allclose(
        second.noise[0, 0], (left**2).mean(), rtol=1e-6
    )  # lambda below 1e-5 is dropped


def test_flipping_and_permuting_variants() -> None:
    """Signs and places change, nothing else; eigenvectors and sums may differ in rounding."""
    rng = np.random.default_rng(10)
    one = expression(rng, 2, 1, (120.0, 60.0))
    r = correlation(0.4, 2)
    one = replace(one, correlation=r, share=np.ones((2, 2)))
    sign, order = rng.choice([-1.0, 1.0], P), rng.permutation(P)
    ld = tuple(FactorLD((factor.factor * sign)[:, order]) for factor in one.ld)
    other = replace(one, z=(one.z * sign)[:, order], ld=ld, distance=one.distance[order])
    before, after = (fit_expression(e, WeightPriors(), tolerance=1e-9) for e in (one, other))
    np.testing.assert_allclose(after.fit.pip, before.fit.pip[order], atol=1e-7)
    np.testing.assert_allclose(moments(after)[0], (moments(before)[0] * sign)[:, order], atol=1e-7)
    np.testing.assert_allclose(after.noise, before.noise, atol=1e-7)


def test_an_eqtl_is_found_and_nothing_is_left_alone() -> None:
    """A strong eQTL is the variant; with z of pure noise at most a tenth of genes have a PIP above 0.9
    anywhere.
    """
    strong = fit_expression(expression(np.random.default_rng(11), 1, 1, (300.0,), effect=0.7), WeightPriors())
    assert strong.fit.pip[3] > 0.95
    called = 0
    for seed in range(30):
        quiet = expression(np.random.default_rng([12, seed]), 1, 1, (150.0,), effect=0.0)
        called += fit_expression(quiet, WeightPriors()).fit.pip.max() > 0.9
    assert called <= 3


# ---- priors
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("contexts", "ancestries"), [(1, 1), (1, 3), (2, 2), (4, 1)])
def test_components(contexts: int, ancestries: int) -> None:
    """Patterns x sizes; those of one context or ancestry only where there are several."""
    given = {"shared": 0.5, "unstructured": 0.1, "context_specific": 0.3, "ancestry_specific": 0.1}
    priors = WeightPriors(sizes=(0.01, 0.1), size_weights=(0.3, 0.7), **given)
    mixture = components(priors, contexts, ancestries)
    studies = contexts * ancestries
    several = {"context_specific": contexts > 1, "ancestry_specific": ancestries > 1}
    several |= {"shared": True, "unstructured": studies > 1}
    number = {"shared": 1, "unstructured": 1, "context_specific": contexts, "ancestry_specific": ancestries}
    assert len(mixture.weight) == 2 * sum(number[name] for name, there in several.items() if there)
    total = sum(given[name] for name, there in several.items() if there)
    np.testing.assert_allclose(mixture.weight.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(mixture.weight[0], 0.5 / total * 0.3, rtol=1e-12)
    assert all(np.linalg.eigvalsh(one).min() > -1e-12 for one in mixture.covariances)
    shared = mixture.covariances[1] / 0.1
    for s, t in np.ndindex(studies, studies):
        rho = 0.8 ** (s // ancestries != t // ancestries) * 0.9 ** (s % ancestries != t % ancestries)
        np.testing.assert_allclose(shared[s, t], rho, rtol=1e-12)
    where = np.arange(studies)
    for m, only in enumerate(mixture.covariances):
        acts = set(where[np.diag(only) > 0])
        pattern = mixture.pattern[m]
        if pattern >= 2 + contexts:
            assert acts == set(where[where % ancestries == pattern - 2 - contexts])
        elif pattern >= 2:
            assert acts == set(where[where // ancestries == pattern - 2])
        else:
            assert acts == set(where)


def test_negligible_components_are_left_out() -> None:
    """A context in which nothing is specific costs nothing; what is left adds up to one."""
    priors = WeightPriors(context_specific=(0.15, 1e-6))
    mixture = components(priors, 2, 1)
    assert set(mixture.pattern) == {0, 1, 2}
    np.testing.assert_allclose(mixture.weight.sum(), 1.0, rtol=1e-12)


def test_distance_bins() -> None:
    """Edges belong to the bin they begin, upstream counts as downstream, beyond the last edge is the last
    bin.
    """
    distance = np.array([0, 1, -4999, 5000, -20_000, 99_999, 100_000, 499_999, -500_000, 9e9])
    assert distance_bin(distance).tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 6]
    assert len(DISTANCE_DENSITY) == len(DISTANCE_EDGES)


def test_prior_of_variants_follows_distance_and_adds_up_to_the_rate() -> None:
    distance = np.array([0.0, 3e5, 3e5, 7e4])
    usable = np.array([True, True, False, True])
    candidates = weight_candidates(distance, usable, 2, 1, WeightPriors(rate=1.2))
    odds = np.exp(candidates.log_prior).sum(axis=1)
    np.testing.assert_allclose(odds.sum(), 1.2, rtol=1e-12)
    np.testing.assert_allclose(odds[[0, 3]] / odds[1], [8.0, 2.5], rtol=1e-12)
    assert odds[2] == 0.0
    nothing = weight_candidates(distance, np.zeros(4, bool), 1, 1, WeightPriors())
    assert not np.exp(nothing.log_prior).any()


def test_no_usable_variant_is_an_empty_posterior() -> None:
    one = expression(np.random.default_rng(13), 1, 2, (100.0, 50.0))
    fitted = fit_expression(replace(one, z=np.full((2, P), np.nan)), WeightPriors())
    np.testing.assert_array_equal(fitted.fit.alpha, 0.0)
    np.testing.assert_array_equal(fitted.fit.null, 1.0)
    np.testing.assert_array_equal(moments(fitted), 0.0)


def test_annotations_multiply_the_odds_and_keep_the_rate() -> None:
    distance, usable = np.full(4, 3e5), np.ones(4, bool)
    enrichment = np.array([0.0, np.log(7.0), 0.0, np.log(0.5)])
    candidates = weight_candidates(distance, usable, 1, 1, WeightPriors(rate=1.2), enrichment)
    odds = np.exp(candidates.log_prior).sum(axis=1)
    np.testing.assert_allclose(odds / odds[0], [1.0, 7.0, 1.0, 0.5], rtol=1e-12)
    np.testing.assert_allclose(odds.sum(), 1.2, rtol=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_sums_of_a_gene(grouped: bool) -> None:
    """Counts by loops over alpha, and second moments by enumerating effects, variants and components."""
    priors = WeightPriors()
    one = expression(np.random.default_rng(14), 2, 2, (150.0, 80.0, 60.0, 0.0))
    holes = one.z.copy()
    holes[1, :3] = np.nan
    r = np.eye(4)
    if grouped:
        r[0, 2] = r[2, 0] = 0.4
    one = replace(one, z=holes, correlation=r, share=(r != 0).astype(float))
    fitted = fit_expression(one, priors, effects=3)
    assert (fitted.fit.group is not None) == grouped
    total, mixture = sums(fitted, one, priors), components(priors, 2, 2)
    alpha = fitted.fit.alpha
    assert total.genes == 1.0
    np.testing.assert_allclose(total.found, alpha.sum())
    for size, count in enumerate(total.size):
        np.testing.assert_allclose(count, alpha[:, :, mixture.size == size].sum())
    effect, k = np.nonzero(alpha.sum(axis=2) > 0.05)
    assert len(effect) == len(total.effects.weight) > 0
    for weight, score, information, e, variant in zip(
        total.effects.weight, total.effects.score, total.effects.information, effect, k, strict=True
    ):
        np.testing.assert_allclose(weight, alpha[e, variant].sum())
        for m, prior in enumerate(mixture.covariances):
            mean, spread = component_posterior(fitted.fit, fitted.candidates, e, variant, m)
            middle = np.linalg.inv(np.eye(4) + prior @ information)
            np.testing.assert_allclose(middle @ prior, spread, atol=1e-10)
            np.testing.assert_allclose(spread @ score, mean, atol=1e-10)
    for b in range(len(DISTANCE_EDGES)):
        here = distance_bin(DISTANCE) == b
        np.testing.assert_allclose(total.mass[b], alpha[:, here].sum())
        # exposure is what the mass would be at density 1: its ratio is the density where the prior is right
        expected = sum(DISTANCE_DENSITY[i] for i in distance_bin(DISTANCE))
        np.testing.assert_allclose(total.exposure[b], alpha.sum() * here.sum() / expected)


def test_one_context_says_nothing_about_contexts() -> None:
    priors = WeightPriors()
    one = expression(np.random.default_rng(15), 1, 2, (150.0, 80.0))
    total = sums(fit_expression(one, priors), one, priors)
    assert total.found > 0.5  # there is an eQTL
    learned = learn(total, priors, 1, 2)
    assert learned.context_specific == (0.0,)
    assert learned.context_correlation == ((1.0,),)


def test_sums_add_up_whatever_the_order() -> None:
    one = expression(np.random.default_rng(16), 2, 1, (150.0, 80.0))
    priors = [WeightPriors(rate=rate) for rate in (0.1, 0.5, 1.0, 2.0, 4.0)]
    parts = [sums(fit_expression(one, prior), one, prior) for prior in priors]
    forward, backward = added(parts), added(parts[::-1])
    for name in ("genes", "found", "size", "mass", "exposure"):
        expected = np.sum([getattr(part, name) for part in parts], axis=0)
        np.testing.assert_allclose(getattr(forward, name), expected, rtol=1e-12)
        np.testing.assert_allclose(getattr(backward, name), expected, rtol=1e-12)
    assert len(forward.effects.weight) == sum(len(part.effects.weight) for part in parts)
    np.testing.assert_allclose(forward.effects.score.sum(), backward.effects.score.sum(), rtol=1e-12)


def test_learning_from_nothing_and_from_much() -> None:
    """The defaults come back, correlations as matrices; many eQTLs outweigh the pseudo-counts."""
    nothing = learn(WeightSums.nothing(2, 2), WeightPriors(), 2, 2)
    assert nothing.rate == WeightPriors().rate
    np.testing.assert_allclose(nothing.size_weights, WeightPriors().size_weights)
    np.testing.assert_allclose(nothing.density, WeightPriors().density)
    before, after = sharing(WeightPriors(), 2, 2), sharing(nothing, 2, 2)
    for name in ("contexts", "ancestries", "unstructured", "weight"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-6)
    counts = np.array([10, 20, 30, 40, 50, 60, 70.0])
    density = np.array([20, 10, 4, 2, 1.5, 1, 0.2])
    much = WeightSums(
        1e5, 5e4, 5e4 * np.array([0.7, 0.2, 0.1]), Effects.nothing(4), 1e3 * density * counts, 1e3 * counts
    )
    learned = learn(much, WeightPriors(annotations=(("coding", 1.0),)), 2, 2)
    np.testing.assert_allclose(learned.rate, 0.5, rtol=0.01)
    np.testing.assert_allclose(learned.size_weights, [0.7, 0.2, 0.1], rtol=0.01)
    np.testing.assert_allclose(learned.density, density, rtol=0.01)
    assert learned.annotations == (("coding", 1.0),)  # not learned here: kept


def test_learning_moves_towards_the_truth() -> None:
    """Genes with few eQTLs: rounds of learning lower the rate from 1.5 towards 0.25, the share of genes with
    one.
    """
    genes = [
        expression(np.random.default_rng([17, seed]), 1, 1, (200.0,), effect=0.6 if seed % 4 == 0 else 0.0)
        for seed in range(60)
    ]
    priors = WeightPriors()
    rates = [priors.rate]
    for _ in range(3):
        priors = learn(
            added(sums(fit_expression(g, priors, rounds=1), g, priors) for g in genes), priors, 1, 1
        )
        rates.append(priors.rate)
    assert rates[3] < rates[1] < rates[0]
    assert 0.25 < rates[3] < 0.9  # 20 genes' worth of the default stay in it


def test_matrix_ld_will_do() -> None:
    """Summary statistics with an LD matrix instead of a panel: the same posterior as from its factor."""
    one = expression(np.random.default_rng(18), 1, 1, (150.0,))
    factor = one.ld[0].factor
    matrix = replace(one, ld=(MatrixLD(factor.T @ factor),))
    first, second = (fit_expression(e, WeightPriors()) for e in (one, matrix))
    np.testing.assert_allclose(first.fit.alpha, second.fit.alpha, atol=1e-9)


def test_excess_is_that_of_the_residuals() -> None:
    """z-scores made again from the residuals of the people, expression less predicted expression; to 1e-4,
    as sweeps end once they change the fit by little."""
    rng = np.random.default_rng(19)
    x = panel(rng, 120)
    y = 0.5 * x[:, 3] + rng.standard_normal(len(x))
    z = np.full((2, P), np.nan)
    z[0] = summary(x, y)
    one = Expression(z, np.array([120.0, 0.0]), (FactorLD(x),) * 2, np.eye(2), np.eye(2), DISTANCE, 2, 1)
    fitted = fit_expression(one, WeightPriors())
    unit = np.array([column / np.sqrt(column @ column) for column in x.T])  # (P, people), of length one
    y = (y - y.mean()) / y.std()
    residual = y / np.sqrt(120) - moments(fitted)[0][0] @ unit
    again = (np.sqrt(120) * unit @ residual) ** 2
    left = excess(one, fitted)
    np.testing.assert_allclose(left[0], again.mean() - fitted.noise[0, 0], atol=1e-4)
    assert np.isnan(left[1])


def test_excess_of_many_small_effects_is_above_that_of_a_few() -> None:
    """40 genes of 300 people, correlated variants, 15% of the variance by one variant or by 20 of 60: at
    most 0 but for its error, and above 0.1, from where a run says so."""
    rng = np.random.default_rng(20)
    kinds: dict[int, list[float]] = {1: [], 20: []}
    for _ in range(40):
        common = rng.standard_normal((300, 6))
        x = np.repeat(common, 10, axis=1) + rng.standard_normal((300, 60))
        x = (x - x.mean(axis=0)) / (x.std(axis=0) * np.sqrt(300))
        for count, values in kinds.items():
            effect = np.zeros(60)
            effect[rng.choice(60, count, replace=False)] = rng.standard_normal(count)
            genetic = x @ effect
            y = np.sqrt(0.15) * genetic / genetic.std() + np.sqrt(0.85) * rng.standard_normal(300)
            y = (y - y.mean()) / y.std()
            z = (np.sqrt(300) * x.T @ (y / np.sqrt(300)))[None]
            one = Expression(z, np.array([300.0]), (FactorLD(x),), np.eye(1), np.eye(1), np.zeros(60), 1, 1)
            values.append(float(excess(one, fit_expression(one, WeightPriors()))[0]))
    few, many = (np.mean(kinds[count]) for count in (1, 20))
    print(f"excess: {few:.3f} with one effect, {many:.3f} with 20")
    assert few < 0.05 < 0.1 < many
