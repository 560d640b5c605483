"""Bayes factors and posteriors of one candidate against dense algebra, and against 60 digits where that is
needed.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates, covariance_root, diagonal_covariance, diagonal_terms
from bayestwas.engine.single_effects import component_posterior, fit_single_effects


def compound(rho: float, size: int) -> np.ndarray:
    return (1 - rho) * np.eye(size) + rho * np.ones((size, size))


def dense_terms(
    u: np.ndarray, information: np.ndarray, prior: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """log BF, mean and covariance from Sigma = (T + D^-1)^-1, for an invertible prior covariance D."""
    covariance = np.linalg.inv(information + np.linalg.inv(prior))
    log_bf = (
        0.5 * u @ covariance @ u + 0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * np.linalg.slogdet(prior)[1]
    )
    return float(log_bf), covariance @ u, covariance


def precise_terms(
    u: np.ndarray, tau: np.ndarray, prior: mpmath.matrix
) -> tuple[float, np.ndarray, np.ndarray]:
    """The same with 60 digits, as Sigma = (I + D T)^-1 D so that D may be singular."""
    with mpmath.workdps(60):
        size = len(u)
        middle = mpmath.eye(size) + prior * mpmath.diag([mpmath.mpf(float(x)) for x in tau])
        covariance = mpmath.inverse(middle) * prior
        score = mpmath.matrix([mpmath.mpf(float(x)) for x in u])
        mean = covariance * score
        log_bf = (score.T * mean)[0] / 2 - mpmath.log(mpmath.det(middle)) / 2
        dense = np.array([[float(covariance[i, j]) for j in range(size)] for i in range(size)])
        return float(log_bf), np.array([float(x) for x in mean]), dense


def precise_prior(scale: float, omega: np.ndarray) -> mpmath.matrix:
    with mpmath.workdps(60):
        return mpmath.matrix([[mpmath.mpf(scale) * mpmath.mpf(float(x)) for x in row] for row in omega])


@pytest.mark.parametrize("studies", [1, 2, 3, 6])
def test_all_candidates_at_once_against_dense(studies: int) -> None:
    """Condition numbers stay below 1e6 here: ten digits remain."""
    rng = np.random.default_rng(studies)
    k = 50
    half = rng.standard_normal((studies, studies))
    omega = half @ half.T + 0.3 * np.eye(studies)
    root = covariance_root(omega)
    u, tau = 30 * rng.standard_normal((studies, k)), rng.uniform(0, 500, (studies, k))
    tau[rng.random((studies, k)) < 0.2] = 0.0  # studies that say nothing
    u[tau == 0] = 0.0
    scale = rng.uniform(1e-4, 1.0, k)
    log_bf, mean = diagonal_terms(u.copy(), tau, scale, root)
    covariance = diagonal_covariance(tau, scale, root)
    for i in range(k):
        expected = dense_terms(u[:, i], np.diag(tau[:, i]), scale[i] * omega)
        for value, exact in zip((log_bf[i], mean[i], covariance[i]), expected, strict=True):
            np.testing.assert_allclose(value, exact, rtol=1e-9, atol=1e-10)


@settings(max_examples=200, deadline=None, derandomize=True)  # the same examples everywhere
@given(
    studies=st.sampled_from([1, 2, 3, 6]),
    rho=st.sampled_from([0.0, 0.9, 1 - 1e-6, 1.0]),
    log_scale=st.floats(-12, 4),
    log_information=st.floats(-3, 8),
    seed=st.integers(0, 2**31),
)
def test_ill_conditioned_against_high_precision(
    studies: int, rho: float, log_scale: float, log_information: float, seed: int
) -> None:
    """Perfect correlation, scales from 1e-12 to 1e4, information to 1e8: B has condition up to 1e13.

    A correlation of 1 - 1e-6 leaves an eigenvalue of 1e-6, known to 1e-10 of itself, and B loses two more
    digits where it is largest: worst seen 3e-8 relative. Perfect correlation itself is good to 1e-14.
    """
    rng = np.random.default_rng(seed)
    scale, omega = 10**log_scale, compound(rho, studies)
    tau = 10**log_information * rng.uniform(0.1, 1, studies)
    tau[rng.random(studies) < 0.2] = 0.0
    u = 5 * rng.standard_normal(studies) * np.sqrt(tau)
    root = covariance_root(omega)
    log_bf, mean = diagonal_terms(u[:, None].copy(), tau[:, None], np.array([scale]), root)
    covariance = diagonal_covariance(tau[:, None], np.array([scale]), root)[0]
    expected = precise_terms(u, tau, precise_prior(scale, omega))
    assert (
        abs(log_bf[0] - expected[0]) <= 1e-6 * abs(expected[0]) + 1e-12
    )  # a small one is a difference of logs
    for value, exact in zip((mean[0], covariance), expected[1:], strict=True):
        assert np.abs(value - exact).max() <= 1e-6 * np.abs(exact).max()


def test_the_root_of_a_singular_covariance_has_its_rank() -> None:
    """Rounding in the null space of perfect correlation is not a variance."""
    root = covariance_root(compound(1.0, 6))
    assert (np.abs(root).max(axis=0) > 0).sum() == 1
    np.testing.assert_allclose(root @ root.T, np.ones((6, 6)), rtol=1e-14)
    assert not covariance_root(np.zeros((3, 3))).any()


@pytest.mark.parametrize("rho", [0.5, 1.0])
def test_correlated_noise_against_dense(rho: float) -> None:
    """Grouped candidates: every pattern of presence of three studies, the noise of the first two correlated
    0.6.

    The score and information of a candidate are those of the studies that have it, sqrt(n) V^-1 z and
    sqrt(n) V^-1 sqrt(n).
    """
    rng = np.random.default_rng(7)
    noise = np.array([[0.9, 0.5, 0.0], [0.5, 0.7, 0.0], [0.0, 0.0, 1.0]])
    n = np.array([200.0, 100.0, 60.0])
    patterns = np.array(
        [[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]], dtype=bool
    )
    z = np.where(patterns, 3 * rng.standard_normal(patterns.shape), np.nan)
    covariances = np.array([0.04 * compound(rho, 3), 0.1 * np.diag([1.0, 0.0, 0.0])])
    log_prior = np.log(rng.dirichlet(np.ones(16)).reshape(8, 2))
    candidates = Candidates(8, (), log_prior, np.ones((8, 2)), covariances)
    fit = fit_single_effects(
        z, n, [MatrixLD(np.eye(8))] * 3, candidates, effects=1, noise=noise, ld_noise=False
    )
    log_posterior = np.zeros((8, 2))
    for k in range(8):
        here = np.flatnonzero(patterns[:, k])
        inner = np.linalg.inv(noise[np.ix_(here, here)])
        select = np.eye(3)[here]
        u = select.T @ (np.sqrt(n[here]) * (inner @ z[here, k])) if len(here) else np.zeros(3)
        information = select.T @ (np.sqrt(np.outer(n[here], n[here])) * inner) @ select
        for m, prior in enumerate(covariances):
            middle = np.eye(3) + prior @ information
            covariance = np.linalg.solve(middle, prior)
            log_posterior[k, m] = (
                0.5 * u @ covariance @ u - 0.5 * np.linalg.slogdet(middle)[1] + log_prior[k, m]
            )
            mean, spread = component_posterior(fit, candidates, 0, k, m)
            np.testing.assert_allclose(mean, covariance @ u, atol=1e-12)  # order 0.1, condition below 100
            np.testing.assert_allclose(spread, covariance, atol=1e-12)
    weight = np.exp(log_posterior)
    np.testing.assert_allclose(fit.alpha[0], weight / (1 + weight.sum()), rtol=1e-10)
    np.testing.assert_allclose(fit.null[0], 1 / (1 + weight.sum()), rtol=1e-10)
    # the variant that no study has keeps its prior odds, and borrows nothing
    np.testing.assert_allclose(fit.alpha[0, 7] / fit.null[0], np.exp(log_prior[7]), rtol=1e-10)
    assert not fit.mean[0, 7].any()


def test_uncorrelated_noise_is_the_same_through_either_route() -> None:
    """A residual variance, as the diagonal of `noise`, against a vanishing correlation that takes the
    grouped route.

    The correlation of 1e-9 itself moves the answer by about 1e-9 of z'z.
    """
    rng = np.random.default_rng(8)
    z, n = 3 * rng.standard_normal((2, 6)), np.array([150.0, 80.0])
    candidates = Candidates(
        6, (), np.full((6, 1), np.log(0.1)), np.full((6, 1), 0.05), compound(0.8, 2)[None]
    )
    ld = [MatrixLD(0.5 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))).astype(float))] * 2
    diagonal = np.diag([0.8, 0.6])
    plain = fit_single_effects(z, n, ld, candidates, effects=3, noise=diagonal, ld_noise=False)
    grouped = fit_single_effects(z, n, ld, candidates, effects=3, noise=diagonal + 1e-9, ld_noise=False)
    assert plain.group is None
    assert grouped.group is not None
    np.testing.assert_allclose(plain.alpha, grouped.alpha, atol=1e-6)
    np.testing.assert_allclose(plain.mean, grouped.mean, atol=1e-6)


def test_correlated_noise_needs_unit_candidates() -> None:
    from scipy import sparse

    columns = (sparse.csr_array(np.eye(3)),) * 2
    candidates = Candidates(0, columns, np.zeros((3, 1)), np.ones((3, 1)), np.eye(2)[None])
    with pytest.raises(ValueError, match="unit candidates"):
        fit_single_effects(
            np.ones((2, 3)), np.ones(2), [MatrixLD(np.eye(3))] * 2, candidates, noise=compound(0.5, 2)
        )
