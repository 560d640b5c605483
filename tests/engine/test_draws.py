"""Draws of the weights against enumeration of every outcome of every single effect."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import sparse

from bayestwas.engine.draws import draw_weights, heritability, mean_weights
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates
from bayestwas.engine.single_effects import SingleEffects, component_posterior, fit_single_effects

P, EFFECTS, SIGMA, SEEDS = 5, 2, 4.5, 40
R = 0.6 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P))).astype(float)
TILT = np.array([1e-4, 0.9, 1e-4, 0.3, 1e-4])


@pytest.fixture(scope="module")
def posterior() -> tuple[SingleEffects, Candidates]:
    """Weights in two studies of 120 and 60 people, two sizes of effects, uncertain in variant, size and
    existence.
    """
    rng = np.random.default_rng(2)
    n = np.array([120.0, 60.0])
    z = np.sqrt(n)[:, None] * (R @ np.array([0.0, 0.3, 0.0, -0.2, 0.0])) + rng.standard_normal((2, P)) @ R
    omega = np.array([[1.0, 0.8], [0.8, 1.0]])
    log_prior = np.log(np.full((P, 2), 0.15))
    candidates = Candidates(P, (), log_prior, np.ones((P, 2)), np.array([0.02 * omega, 0.1 * omega]))
    fit = fit_single_effects(z, n, [MatrixLD(R)] * 2, candidates, effects=EFFECTS, ld_noise=False)
    assert 0.01 < fit.null[1] < 0.9
    return fit, candidates


def outcomes(fit: SingleEffects, candidates: Candidates) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Probability, mean (S * P,) and covariance of the weights, study-major, for every combination of
    outcomes.
    """
    each = []
    for effect in range(EFFECTS):
        mine = [(fit.null[effect], np.zeros(2 * P), np.zeros((2 * P, 2 * P)))]
        for variant, component in product(range(P), range(2)):
            mean, covariance = component_posterior(fit, candidates, effect, variant, component)
            place = np.kron(np.eye(2), np.eye(P)[:, [variant]])  # (S * P, S)
            mine.append((fit.alpha[effect, variant, component], place @ mean, place @ covariance @ place.T))
        each.append(mine)
    return [
        (first[0] * second[0], first[1] + second[1], first[2] + second[2]) for first, second in product(*each)
    ]


DIRECTION = np.array([4.0, -3.0, 2.0, 5.0, 1.0, 1.0, 2.0, -2.0, 1.0, 3.0])

# name: of the weights (D, 2 P); of their mean and covariance given the outcomes
FUNCTIONS = {
    "weight of the second variant, first study": (lambda w: w[:, 1], lambda m, v: m[1]),
    "product of the two studies": (
        lambda w: w[:, 1] * w[:, P + 1],
        lambda m, v: m[1] * m[P + 1] + v[1, P + 1],
    ),
    "heritability": (
        lambda w: np.einsum("dp,pq,dq->d", w[:, :P], R, w[:, :P]),
        lambda m, v: m[:P] @ R @ m[:P] + np.trace(R @ v[:P, :P]),
    ),
    "the fourth variant is in": (lambda w: w[:, 3] != 0, lambda m, v: float(v[3, 3] > 0)),
    "a likelihood": (
        lambda w: np.exp(-0.5 * (w @ DIRECTION) ** 2),
        lambda m, v: (
            np.exp(-0.5 * (m @ DIRECTION) ** 2 / (1 + DIRECTION @ v @ DIRECTION))
            / np.sqrt(1 + DIRECTION @ v @ DIRECTION)
        ),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("tilt", [None, TILT], ids=["posterior", "tilted"])
def test_weighted_averages(
    posterior: tuple[SingleEffects, Candidates], name: str, tilt: np.ndarray | None
) -> None:
    """Mean over independent seeds within 4.5 standard errors of the exact value.

    256 draws a seed, so that the bias of normalising the importance weights, of order 1 / 256 of a standard
    deviation of one draw, is far below the error of 40 seeds.
    """
    fit, candidates = posterior
    of_weights, of_moments = FUNCTIONS[name]
    exact = sum(probability * of_moments(m, v) for probability, m, v in outcomes(fit, candidates))
    estimates = []
    for seed in range(SEEDS):
        draws = draw_weights(fit, candidates, seed, draws=256, tilt=tilt)
        w = np.concatenate([columns.toarray() for columns in draws.columns], axis=1)
        estimates.append(np.exp(draws.log_weight) @ of_weights(w))
    error = np.std(estimates, ddof=1) / np.sqrt(SEEDS)
    assert abs(np.mean(estimates) - exact) < SIGMA * error
    assert error > 0


def test_stratified_draws_are_closer_than_independent_ones(
    posterior: tuple[SingleEffects, Candidates],
) -> None:
    """The variance of a mean over 128 draws, against sampling: less than half of it."""
    fit, candidates = posterior
    means, variances = [], []
    for seed in range(30):
        draws = draw_weights(fit, candidates, seed, draws=128)
        value = draws.columns[0].toarray()[:, 1]
        means.append(value.mean())
        variances.append(value.var() / 128)
    assert np.var(means, ddof=1) < 0.5 * np.mean(variances)


@pytest.mark.parametrize("tilt", [None, TILT, np.zeros(P)], ids=["posterior", "tilted", "no support at all"])
def test_layout(posterior: tuple[SingleEffects, Candidates], tilt: np.ndarray | None) -> None:
    draws = draw_weights(*posterior, 3, draws=64, replicates=8, tilt=tilt)
    assert [columns.shape for columns in draws.columns] == [(64, P)] * 2
    np.testing.assert_allclose(np.exp(draws.log_weight).sum(), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(draws.replicate, np.repeat(np.arange(8), 8))
    if tilt is not TILT:
        np.testing.assert_allclose(draws.log_weight, -np.log(64), rtol=1e-12)
    # both studies hold the same variants: a draw picks a variant for all studies at once
    for row in range(64):
        first, second = (np.flatnonzero(c.toarray()[row]) for c in draws.columns)
        np.testing.assert_array_equal(first, second)
        assert len(first) <= EFFECTS


def test_importance_weights_are_bounded(posterior: tuple[SingleEffects, Candidates]) -> None:
    """Half of the proposal is the posterior, so no effect raises a weight by more than two before
    normalising.
    """
    draws = draw_weights(*posterior, 4, draws=1024, tilt=TILT)
    assert (
        draws.log_weight.max() < np.log(2.0**EFFECTS / 1024) + 0.2
    )  # the sum of the weights is 1 to a few per cent


def test_the_tilt_puts_draws_where_the_gwas_looks(posterior: tuple[SingleEffects, Candidates]) -> None:
    fit, candidates = posterior
    tilt = np.full(P, 1e-6)
    tilt[4] = 1.0
    counts = [
        (draw_weights(fit, candidates, 5, draws=256, tilt=t).columns[0].toarray()[:, 4] != 0).sum()
        for t in (None, tilt)
    ]
    assert fit.pip[4] < 0.2
    assert counts[1] > 0.25 * 256 > counts[0]


def test_a_seed_is_enough(posterior: tuple[SingleEffects, Candidates]) -> None:
    """The same seed gives the same draws, another one does not; an integer is its SeedSequence."""
    one, two = (draw_weights(*posterior, seed, draws=64) for seed in (7, np.random.SeedSequence(7)))
    other = draw_weights(*posterior, 8, draws=64)
    np.testing.assert_array_equal(one.columns[0].toarray(), two.columns[0].toarray())
    assert (one.columns[0].toarray() != other.columns[0].toarray()).any()


def test_sets_are_independent(posterior: tuple[SingleEffects, Candidates]) -> None:
    """No draw of one set is in another: their spread is what the Monte Carlo error is taken from."""
    draws = draw_weights(*posterior, 9, draws=64)
    values = draws.columns[0].toarray()
    values = values[(values != 0).any(axis=1)]
    assert len(np.unique(values, axis=0)) == len(values)


def test_flipping_an_allele_flips_its_weights(posterior: tuple[SingleEffects, Candidates]) -> None:
    """Everything about the draws of a flipped fit is the same but the sign."""
    fit, candidates = posterior
    sign = np.array([1.0, -1.0, -1.0, 1.0, -1.0])
    flipped = replace(
        fit,
        mean=fit.mean * sign[None, :, None, None],
        score=fit.score * sign[None, :, None],
        lam=fit.lam * sign,
    )
    before = draw_weights(fit, candidates, 10, draws=64, tilt=TILT)
    after = draw_weights(flipped, candidates, 10, draws=64, tilt=TILT)
    for one, two in zip(before.columns, after.columns, strict=True):
        np.testing.assert_allclose(two.toarray(), one.toarray() * sign, rtol=1e-12)
    np.testing.assert_array_equal(before.log_weight, after.log_weight)


def test_nothing_found_is_nothing_drawn() -> None:
    candidates = Candidates(P, (), np.full((P, 1), -20.0), np.ones((P, 1)), np.eye(2)[None])
    fit = fit_single_effects(
        np.zeros((2, P)), np.array([100.0, 50.0]), [MatrixLD(R)] * 2, candidates, effects=3, ld_noise=False
    )
    draws = draw_weights(fit, candidates, 0, draws=16)
    assert all(columns.nnz == 0 for columns in draws.columns)
    mean, sd = heritability(draws, [MatrixLD(R)] * 2, np.eye(2))
    np.testing.assert_array_equal([mean, sd], 0.0)


def test_heritability_is_that_of_the_draws(posterior: tuple[SingleEffects, Candidates]) -> None:
    draws = draw_weights(*posterior, 11, draws=64, tilt=TILT)
    other = 0.3 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P)))
    mean, sd = heritability(draws, [MatrixLD(R), MatrixLD(other)], np.eye(2))
    weight = np.exp(draws.log_weight)
    for s, r in enumerate((R, other)):
        w = draws.columns[s].toarray()
        h2 = np.array([row @ r @ row for row in w])
        np.testing.assert_allclose(mean[s], weight @ h2, rtol=1e-12)
        np.testing.assert_allclose(sd[s], np.sqrt(weight @ (h2 - weight @ h2) ** 2), rtol=1e-10)


def test_heritability_over_studies_is_averaged_within_each_draw(
    posterior: tuple[SingleEffects, Candidates],
) -> None:
    """Two draws whose studies move in opposite directions: the average is the same in both, its SD zero."""
    columns = tuple(sparse.csr_array(np.diag(np.sqrt(h2))) for h2 in ([0.1, 0.3], [0.3, 0.1]))
    draws = draw_weights(*posterior, 1, draws=2, replicates=1)
    draws = replace(draws, columns=columns, log_weight=np.log([0.5, 0.5]))
    ld = [MatrixLD(np.eye(2))] * 2
    mean, sd = heritability(draws, ld, np.array([[0.5, 0.5], [0.25, 0.75], [1, 0]]))
    np.testing.assert_allclose(mean, 0.2)
    np.testing.assert_allclose(sd, [0, 0.05, 0.1], atol=1e-12)


def test_mean_weights_are_the_posterior_mean(posterior: tuple[SingleEffects, Candidates]) -> None:
    fit, candidates = posterior
    exact = sum(probability * m for probability, m, _ in outcomes(fit, candidates))
    rows = np.concatenate([row.toarray()[0] for row in mean_weights(fit)])
    np.testing.assert_allclose(rows, exact, atol=1e-6)  # entries below 1e-6 are dropped
    # independent between studies but for n: lambda is sqrt(n) times the weights
    np.testing.assert_allclose(
        fit.lam.sum(axis=0)[0], np.sqrt(120) * rows[:P], atol=2e-3
    )  # converged to 1e-4
