"""One single effect is exact: the posterior over "one candidate or none" by enumeration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates
from bayestwas.engine.single_effects import component_posterior, elbo, fit_single_effects

# Both sides are dense double-precision algebra on well-conditioned matrices of order 1.
ROUNDING = 1e-10
SETTINGS = [((4e4,), 0), ((4e4,), 3), ((4e4, 2e4, 1e4), 0), ((4e4, 2e4, 1e4), 3)]


@pytest.mark.parametrize(("n", "genes"), SETTINGS)
def test_against_enumeration(
    locus: Callable[..., Any], enumeration: Callable[..., Any], n: tuple[float, ...], genes: int
) -> None:
    for seed in range(20):
        rng = np.random.default_rng([1, len(n), genes, seed])
        problem = locus(rng, 12 - genes, n, genes=genes, odds=0.2)
        exact = enumeration(problem, largest=1)
        fit = fit_single_effects(*problem.arguments(), effects=1, ld_noise=False)
        np.testing.assert_allclose(fit.pip, exact.pip, atol=ROUNDING)
        np.testing.assert_allclose(fit.null[0], exact.probability[0], atol=ROUNDING)
        assert fit.converged
        assert fit.sweeps == 2  # the second only finds that nothing moves


@pytest.mark.parametrize(("n", "genes"), SETTINGS)
def test_the_lower_bound_is_the_evidence(
    locus: Callable[..., Any], enumeration: Callable[..., Any], n: tuple[float, ...], genes: int
) -> None:
    """With support=0 nothing of lambda is left out, and the bound is the log evidence to rounding (evidence
    below 1e3).
    """
    for seed in range(10):
        problem = locus(np.random.default_rng([2, len(n), genes, seed]), 8, n, genes=genes, odds=0.2)
        fit = fit_single_effects(*problem.arguments(), effects=1, ld_noise=False, support=0.0)
        bound = elbo(*problem.arguments()[:3], fit, problem.candidates, np.ones(len(n)))
        np.testing.assert_allclose(bound, enumeration(problem, largest=1).log_evidence, atol=1e-8)


def test_without_a_null_the_candidates_share_everything(
    locus: Callable[..., Any], enumeration: Callable[..., Any]
) -> None:
    problem = locus(np.random.default_rng(3), 8, (4e4, 2e4), genes=2)
    exact = enumeration(problem, largest=1).probability[1:]
    certain = replace(problem.candidates, log_null=-np.inf)
    fit = fit_single_effects(problem.z, problem.n, problem.ld, certain, effects=1, ld_noise=False)
    # the configurations of one inclusion come in the order of the last candidate first
    np.testing.assert_allclose(fit.pip, exact[::-1] / exact.sum(), atol=ROUNDING)
    assert fit.null[0] == 0.0


def test_absent_variants_are_no_part_of_the_model(locus: Callable[..., Any]) -> None:
    """NaN in z, or no variation in the LD reference: the same as columns with nothing there, whatever R
    says.
    """
    rng = np.random.default_rng(4)
    problem = locus(rng, 10, (4e4, 2e4), genes=3, odds=0.3)
    present = rng.random((2, 10)) < 0.7
    present[:, 0] = False  # in no study at all
    holes = np.where(present, problem.z, np.nan)
    holes[1] = problem.z[1]  # in the second study LD alone says so
    ld = [MatrixLD(problem.r[0]), MatrixLD(np.where(np.outer(present[1], present[1]), problem.r[1], np.nan))]
    fit = fit_single_effects(holes, problem.n, ld, problem.candidates, effects=1, ld_noise=False)
    columns = tuple(
        sparse.csr_array(np.concatenate([np.eye(10), genes.toarray()]) * present[s])
        for s, genes in enumerate(problem.candidates.columns)
    )
    dense = replace(problem.candidates, units=0, columns=columns)
    twin = fit_single_effects(problem.z, problem.n, problem.ld, dense, effects=1, ld_noise=False)
    np.testing.assert_allclose(fit.alpha, twin.alpha, atol=ROUNDING)
    np.testing.assert_allclose(fit.mean, twin.mean, atol=ROUNDING)
    assert not fit.mean[0, 0].any()
    np.testing.assert_allclose(fit.alpha[0, 0, 0] / fit.null[0], 0.3, rtol=ROUNDING)  # its prior odds


def test_moments_against_dense(locus: Callable[..., Any]) -> None:
    """Mean and covariance of gamma for every candidate and each of two prior covariances."""
    problem = locus(np.random.default_rng(5), 6, (4e4, 2e4, 1e4), genes=2)
    k = len(problem.candidates.log_prior)
    covariances = np.array([np.full((3, 3), 1.0), np.diag([1.0, 0.0, 2.0])])  # rank one, and rank two
    scale = np.random.default_rng(6).uniform(1e-4, 1e-2, (k, 2))
    candidates = replace(
        problem.candidates, log_prior=np.full((k, 2), np.log(0.1)), scale=scale, covariances=covariances
    )
    fit = fit_single_effects(problem.z, problem.n, problem.ld, candidates, effects=1, ld_noise=False)
    columns = [np.concatenate([np.eye(6), genes.toarray()]) for genes in candidates.columns]
    log_posterior = np.zeros((k, 2))
    for i in range(k):
        u = np.array([np.sqrt(problem.n[s]) * columns[s][i] @ problem.z[s] for s in range(3)])
        tau = [problem.n[s] * columns[s][i] @ problem.r[s] @ columns[s][i] for s in range(3)]
        for m in range(2):
            prior = scale[i, m] * covariances[m]
            middle = np.eye(3) + prior @ np.diag(tau)
            covariance = np.linalg.solve(middle, prior)
            mean, spread = component_posterior(fit, candidates, 0, i, m)
            np.testing.assert_allclose(mean, covariance @ u, rtol=1e-9, atol=1e-13)
            np.testing.assert_allclose(spread, covariance, rtol=1e-9, atol=1e-13)
            log_posterior[i, m] = 0.5 * u @ covariance @ u - 0.5 * np.linalg.slogdet(middle)[1] + np.log(0.1)
    weight = np.exp(log_posterior)
    np.testing.assert_allclose(fit.alpha[0], weight / (1 + weight.sum()), atol=ROUNDING)


def test_n_is_in_the_effect_only() -> None:
    """A larger n with the prior variance smaller by as much is the same evidence: only sqrt(n) gamma enters
    z.
    """
    z = np.array([[3.0, -1.0, 0.5]])
    results = []
    for n in (1e2, 1e4, 1e6):
        candidates = Candidates(
            3, (), np.full((3, 1), np.log(0.1)), np.full((3, 1), 10 / n), np.ones((1, 1, 1))
        )
        fit = fit_single_effects(z, np.array([n]), [MatrixLD(np.eye(3))], candidates, effects=1)
        results.append(np.concatenate([fit.alpha[0, :, 0], fit.mean[0, :, 0, 0] * np.sqrt(n)]))
    np.testing.assert_allclose(results[1:], np.tile(results[0], (2, 1)), rtol=1e-12)


def test_a_strong_association_does_not_overflow() -> None:
    """|z| = 200: a log Bayes factor near 2e4."""
    candidates = Candidates(3, (), np.full((3, 1), np.log(1e-3)), np.full((3, 1), 0.1), np.ones((1, 1, 1)))
    z = np.array([[200.0, 5.0, 0.0]])
    fit = fit_single_effects(z, np.array([1e5]), [MatrixLD(np.eye(3))], candidates, effects=4)
    assert np.isfinite(fit.alpha).all()
    np.testing.assert_allclose(fit.pip[0], 1.0, atol=1e-12)
