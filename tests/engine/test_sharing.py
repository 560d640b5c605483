"""How effects are shared over contexts and ancestries: E-step by hand, recovery, pooling, order."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import correlation
from bayestwas.engine.sharing import (
    MOST_EFFECTS,
    STRENGTH,
    Effects,
    Sharing,
    default_unstructured,
    definite_correlation,
    existing,
    learn_sharing,
    moments,
    most_effects,
)
from bayestwas.engine.weights import (
    Expression,
    WeightPriors,
    fit_expression,
    learn,
    sharing,
    sums,
)

SIZES, SIZE_WEIGHT = np.array([0.04, 0.15]), np.array([0.5, 0.5])
T = np.array([[1.0, 0.9, 0.3], [0.9, 1.0, 0.3], [0.3, 0.3, 1.0]])
A = correlation(0.6, 2)
TRUTH = Sharing(T, A, np.eye(6), np.array([0.7, 0.0, 0.2, 0.0, 0.0, 0.1, 0.0]))
PEOPLE = np.array([400.0, 150, 300, 120, 200, 80])  # context-major
P = 30
R = 0.5 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P))).astype(float)
# contexts of an ancestry in the same donors: correlated noise
SAME_DONORS = np.kron(correlation(0.3, 3), np.eye(2))


def default(contexts: int, ancestries: int) -> Sharing:
    return sharing(WeightPriors(), contexts, ancestries)


def draw(rng: np.random.Generator, truth: Sharing, count: int) -> np.ndarray:
    """(count, S) effects of the patterns and sizes."""
    pattern = rng.choice(len(truth.weight), count, p=truth.weight)
    size = rng.choice(SIZES, count, p=SIZE_WEIGHT)
    patterns = truth.patterns()
    zero = np.zeros(patterns.shape[1])
    return np.array(
        [rng.multivariate_normal(zero, s * patterns[k]) for k, s in zip(pattern, size, strict=True)]
    )


def observed(rng: np.random.Generator, effects: np.ndarray, people: np.ndarray) -> Effects:
    """Scores n gamma + sqrt(n) noise, information n; people (E, S), 0 where not measured."""
    score = people * effects + np.sqrt(people) * rng.standard_normal(effects.shape)
    return Effects(np.ones(len(effects)), score, np.array([np.diag(row) for row in people]))


def test_moments_by_densities() -> None:
    """Responsibilities from multivariate normal densities of u / n, and conditional moments, one by one."""
    rng = np.random.default_rng(1)
    truth = Sharing(
        correlation(0.5, 2), correlation(0.7, 2), correlation(0.2, 4),
        np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.1]),
    )  # fmt: skip
    people = np.array([200.0, 100, 80, 50])
    effects = observed(rng, draw(rng, truth, 5), np.tile(people, (5, 1)))
    effects = Effects(np.array([1.0, 0.5, 0.2, 1.0, 0.9]), effects.score, effects.information)
    found = moments(effects, truth, SIZES, SIZE_WEIGHT)
    count, second, reach = np.zeros(6), np.zeros((6, 4, 4)), np.zeros((4, 4))
    error = np.diag(1 / people)
    for weight, score in zip(effects.weight, effects.score, strict=True):
        estimate = score / people
        density = np.array(
            [
                [multivariate_normal(np.zeros(4), s * u + error).pdf(estimate) for s in SIZES]
                for u in truth.patterns()
            ]
        )
        share = truth.weight[:, None] * SIZE_WEIGHT * density
        share *= weight / share.sum()
        for (k, i), mass in np.ndenumerate(share):
            prior = SIZES[i] * truth.patterns()[k]
            gain = prior @ np.linalg.inv(prior + error)
            mean, covariance = gain @ estimate, prior - gain @ prior
            count[k] += mass
            second[k] += mass * (np.outer(mean, mean) + covariance) / SIZES[i]
            if k == 0:
                seen = SIZES[i] / (SIZES[i] + 1 / people)
                reach += mass * np.outer(seen, seen)
    np.testing.assert_allclose(found.count, count, rtol=1e-8)
    np.testing.assert_allclose(found.second, second, atol=1e-8)
    np.testing.assert_allclose(found.reach, reach, rtol=1e-8)


def check(
    learned: Sharing, truth: Sharing, effects: Effects, sizes: np.ndarray, size_weight: np.ndarray
) -> None:
    """Correlations within four standard errors (1 - rho^2) / sqrt(n), n the effects that inform them, and
    what STRENGTH pseudo-effects of the default pull; weights of patterns likewise, their standard error
    doubled since the pattern of an effect is not seen."""
    found = moments(effects, learned, sizes, size_weight)
    c_total, a_total = len(truth.contexts), len(truth.ancestries)
    reach = found.reach.reshape(c_total, a_total, c_total, a_total)
    for value, true, n, start in (
        (learned.contexts, truth.contexts, np.einsum("cada->acd", reach).max(axis=0), 0.8),
        (learned.ancestries, truth.ancestries, np.einsum("cacb->cab", reach).max(axis=0), 0.9),
    ):
        assert np.linalg.eigvalsh(value).min() > 0
        np.testing.assert_allclose(np.diag(value), 1.0, atol=1e-12)
        for i, j in zip(*np.triu_indices(len(true), 1), strict=True):
            pull = STRENGTH / (n[i, j] + STRENGTH) * abs(start - true[i, j])
            assert abs(value[i, j] - true[i, j]) < 4 * (1 - true[i, j] ** 2) / np.sqrt(n[i, j]) + pull + 0.02
    total = found.count.sum()
    error = 2 * np.sqrt(truth.weight * (1 - truth.weight) / total)
    assert (np.abs(learned.weight - truth.weight) < 4 * error + STRENGTH / total).all()


def test_recovery_from_effects() -> None:
    """Known patterns, 400 effects: one contextual correlation is high, two are low, some effects are in one
    context or one ancestry only."""
    rng = np.random.default_rng(2)
    effects = observed(rng, draw(rng, TRUTH, 400), np.tile(PEOPLE, (400, 1)))
    learned = learn_sharing(effects, default(3, 2), default(3, 2), SIZES, SIZE_WEIGHT)
    check(learned, TRUTH, effects, SIZES, SIZE_WEIGHT)
    assert learned.contexts[0, 1] > learned.contexts[0, 2] + 0.2
    assert learned.weight[2] > 3 * learned.weight[[3, 4]].max()


def test_recovery_of_a_covariance_without_structure() -> None:
    """Half of the effects are of one sign in the first and of the other in the last study: no T (x) A."""
    rng = np.random.default_rng(3)
    odd = np.eye(4)
    odd[0, 3] = odd[3, 0] = -0.8
    truth = Sharing(correlation(0.9, 2), correlation(0.9, 2), odd, np.array([0.5, 0.5, 0, 0, 0, 0]))
    effects = observed(rng, draw(rng, truth, 600), np.full((600, 4), 300.0))
    learned = learn_sharing(effects, default(2, 2), default(2, 2), SIZES, SIZE_WEIGHT)
    assert abs(learned.weight[1] - 0.5) < 0.15
    # of some 300 effects: four standard errors are 0.1, and 24 pseudo-effects pull a tenth of the way to 0.4
    assert abs(learned.unstructured[0, 3] + 0.8) < 0.25
    np.testing.assert_allclose(np.trace(learned.unstructured), 4.0, rtol=1e-12)


def test_a_context_with_five_genes_is_pooled() -> None:
    """Its correlations are within 0.1 of the mean of the others': 20 pseudo-effects to its five, of which
    noise and the floor of the eigenvalues take a little."""
    rng = np.random.default_rng(4)
    truth = Sharing(correlation(0.4, 4), A, np.eye(8), np.array([1.0, 0, 0, 0, 0, 0, 0, 0]))
    people = np.tile([300.0, 150, 300, 150, 300, 150, 0, 0], (300, 1))
    people[:5, 6:] = 60.0
    effects = observed(rng, draw(rng, truth, 300), people)
    learned = learn_sharing(effects, default(4, 2), default(4, 2), SIZES, SIZE_WEIGHT)
    others = learned.contexts[:3, :3][np.triu_indices(3, 1)]
    assert abs(others.mean() - 0.4) < 0.15
    np.testing.assert_allclose(learned.contexts[3, :3], others.mean(), atol=0.1)


def gene(rng: np.random.Generator) -> Expression:
    """z-scores of one gene with a Poisson number of eQTLs, of mean 1.5, among 30 variants in LD."""
    w = np.zeros((6, P))
    count = min(int(rng.poisson(1.5)), 4)
    w[:, rng.choice(P, count, replace=False)] = draw(rng, TRUTH, count).reshape(count, 6).T
    noise = np.linalg.cholesky(SAME_DONORS) @ rng.standard_normal((6, P)) @ np.linalg.cholesky(R).T
    z = np.sqrt(PEOPLE)[:, None] * w @ R + noise
    share = np.kron(np.ones((3, 3)), np.eye(2))
    return Expression(z, PEOPLE, (MatrixLD(R),) * 6, SAME_DONORS, share, np.linspace(-2e5, 2e5, P), 3, 2)


def test_recovery_over_genes() -> None:
    """200 genes, three rounds of fits and learning; nothing of the truth is told but the grid of sizes."""
    rng = np.random.default_rng(5)
    genes = [gene(rng) for _ in range(200)]
    priors = WeightPriors()
    for _ in range(3):
        parts = [sums(fit_expression(one, priors, effects=4, rounds=1), one, priors) for one in genes]
        total = reduce(add, parts)
        priors = learn(total, priors, 3, 2)
    size_weight = np.array(priors.size_weights)
    check(sharing(priors, 3, 2), TRUTH, total.effects, np.array(priors.sizes), size_weight)
    # 200 genes: the standard error of a mean count is 0.09; effects too small to see keep the number down
    assert 1.0 < priors.rate < 1.5 + 4 * 0.09


def test_effects_add_up_whatever_the_order() -> None:
    """Beyond the limit the same ones are kept, as if at random."""
    rng = np.random.default_rng(6)
    everyone = observed(
        rng, rng.standard_normal((MOST_EFFECTS + 500, 2)), np.full((MOST_EFFECTS + 500, 2), 9.0)
    )
    parts = [
        Effects(everyone.weight[i::5], everyone.score[i::5], everyone.information[i::5]) for i in range(5)
    ]
    forward, backward = (sum(order[1:], start=order[0]) for order in (parts, parts[::-1]))
    assert len(forward.weight) == MOST_EFFECTS == most_effects(2)
    np.testing.assert_array_equal(np.sort(forward.score[:, 0]), np.sort(backward.score[:, 0]))
    kept = np.isin(everyone.score[:, 0], forward.score[:, 0])
    z = (kept[:1250].sum() - kept[1250:].sum()) / np.sqrt(2500 * 0.8 * 0.2)
    assert abs(z) < 4
    assert most_effects(147) * 147**2 * 8 <= 160e6


def test_effects_of_some_studies_as_of_all() -> None:
    one = Effects(np.ones(1), np.array([[1.0, 2.0]]), np.array([[[3.0, 0.5], [0.5, 4.0]]]))
    whole = one.over(np.array([2, 0]), 3)
    np.testing.assert_array_equal(whole.score, [[2.0, 0.0, 1.0]])
    np.testing.assert_array_equal(whole.information[0], [[4.0, 0, 0.5], [0, 0, 0], [0.5, 0, 3.0]])


def test_nothing_leaves_the_default() -> None:
    start = default(2, 3)
    learned = learn_sharing(Effects.nothing(6), start, start, SIZES, SIZE_WEIGHT)
    for name in ("contexts", "ancestries", "unstructured", "weight"):
        np.testing.assert_allclose(getattr(learned, name), getattr(start, name), atol=1e-6)


@pytest.mark.parametrize(
    ("contexts", "ancestries", "there"), [(1, 1, [0]), (1, 2, [0, 1, 3, 4]), (2, 1, [0, 1, 2, 3])]
)
def test_patterns_that_would_be_another_have_no_weight(
    contexts: int, ancestries: int, there: list[int]
) -> None:
    weight = existing(np.full(2 + contexts + ancestries, 0.1), contexts, ancestries)
    assert np.flatnonzero(weight).tolist() == there
    np.testing.assert_allclose(weight.sum(), 1.0, rtol=1e-12)


def test_correlations_are_made_definite() -> None:
    broken = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    mended = definite_correlation(broken)
    assert np.linalg.eigvalsh(mended).min() > 0
    np.testing.assert_allclose(np.diag(mended), 1.0)
    np.testing.assert_array_equal(definite_correlation(T), T)
    loose = default_unstructured(correlation(0.8, 2), np.eye(1))
    np.testing.assert_allclose(loose, correlation(0.4, 2))
