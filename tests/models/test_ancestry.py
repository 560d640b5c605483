"""The draws of models/ancestry.py are those of the exact conditional posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytest
from bayestwas.models import ancestry
from scipy import stats

MODE = "FAST_COMPILE"
SPREAD, HETEROGENEITY = 0.06, 0.7
TAU = SPREAD * HETEROGENEITY
RAW = ("shared_raw", "effect_raw", "unseen_raw")
RESULTS = ("shared_mean", "gene_effect", "predicted", "same_sign", "same_sign_unseen")
# precise, missing, imprecise, absent everywhere, and a standard error far below tau
ERRORS = np.array([[0.01, 0.03, 0.05], [0.02, np.inf, 0.3], [np.inf] * 3, [1e-4, 0.02, np.inf]])
ESTIMATES = np.array([[0.08, 0.02, -0.01], [-0.05, np.nan, 0.4], [np.nan] * 3, [0.11, 0.06, np.nan]])


def coords(genes: int, ancestries: int) -> dict[str, list[int]]:
    return {"gene": list(range(genes)), "ancestry": list(range(ancestries))}


def results_at(model: pm.Model) -> Callable[..., dict[str, np.ndarray]]:
    """Function of the raw variables that gives the deterministic ones at SPREAD and HETEROGENEITY."""
    inputs = [model[name] for name in ("spread", "heterogeneity", *RAW)]
    compiled = pytensor.function(
        inputs, [model[name] for name in RESULTS], mode=MODE, on_unused_input="ignore"
    )

    def run(shared: Any, effect: Any, unseen: Any) -> dict[str, np.ndarray]:
        return dict(zip(RESULTS, compiled(SPREAD, HETEROGENEITY, shared, effect, unseen), strict=True))

    return run


@pytest.fixture(scope="module")
def run() -> Callable[..., dict[str, np.ndarray]]:
    return results_at(ancestry.build({"estimate": ESTIMATES, "standard_error": ERRORS}, coords(4, 3)))


def exact(estimate: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and covariance of (mu, effects, unseen effect) of one gene, as one normal vector."""
    a = len(estimate)
    prior = np.full((a + 2, a + 2), SPREAD**2) + TAU**2 * np.diag([0.0] + [1.0] * (a + 1))
    some = 1 + np.flatnonzero(np.isfinite(error))
    gain = prior[:, some] @ np.linalg.inv(prior[np.ix_(some, some)] + np.diag(error[some - 1] ** 2))
    return gain @ estimate[some - 1], prior - gain @ prior[some]


def test_effects_are_draws_from_the_exact_conditional_posterior(run: Any) -> None:
    """They are linear in independent standard normals: mean at zero, covariance from the slopes."""

    def at(vector: np.ndarray) -> np.ndarray:
        found = run(np.full(4, vector[0]), np.tile(vector[1:4], (4, 1)), np.full(4, vector[4]))
        return np.column_stack([found["shared_mean"], found["gene_effect"], found["predicted"]])

    mean = at(np.zeros(5))
    slopes = np.stack([at(unit) - mean for unit in np.eye(5)], axis=2)  # gene, quantity, raw variable
    for g in range(4):
        expected, covariance = exact(ESTIMATES[g], ERRORS[g])
        np.testing.assert_allclose(mean[g], expected, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(slopes[g] @ slopes[g].T, covariance, rtol=1e-6, atol=1e-11)


def test_probability_of_one_sign_is_that_of_the_orthants(run: Any) -> None:
    """Averaged over the shared mean by quadrature, against normal orthants (Monte Carlo to about 1e-5)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    found = [run(np.full(4, node), np.zeros((4, 3)), np.zeros(4)) for node in nodes]
    for name, last in (("same_sign", 4), ("same_sign_unseen", 5)):
        average = weights @ np.array([each[name] for each in found]) / weights.sum()
        for g in range(4):
            mean, covariance = (part[..., 1:last] for part in exact(ESTIMATES[g], ERRORS[g]))
            covariance = covariance[1:last]
            orthants = [
                stats.multivariate_normal.cdf(np.zeros(last - 1), sign * mean, covariance, rng=2)
                for sign in (-1, 1)
            ]
            assert average[g] == pytest.approx(sum(orthants), abs=2e-4), (name, g)


def test_what_stands_where_an_estimate_is_absent_is_not_read() -> None:
    one = ancestry.constants({"estimate": ESTIMATES, "standard_error": ERRORS})
    filled = np.where(np.isfinite(ERRORS), ESTIMATES, 7.0)
    two = ancestry.constants({"estimate": filled, "standard_error": ERRORS})
    for name, value in one.items():
        np.testing.assert_array_equal(two[name], value)


@pytest.mark.parametrize("ancestries", [1, 6])
def test_one_and_six_ancestries(ancestries: int) -> None:
    """Density and gradient are finite, also where a study is far more precise than effects are alike."""
    rng, sizes = np.random.default_rng(9), coords(5, ancestries)
    errors = rng.choice([1e-6, 0.01, 1.0, np.inf], (5, ancestries))
    data = ancestry.simulate(rng, sizes, {"standard_error": errors})
    model = ancestry.build(data, sizes)
    gradient = model.compile_dlogp(mode=MODE)(model.initial_point())
    assert np.isfinite(gradient).all()
    assert np.isfinite(model.compile_logp(mode=MODE)(model.initial_point()))


def test_effects_of_simulate_are_the_ones_that_made_the_estimates() -> None:
    """Raw variables turned back into effects leave estimates one standard error away: z-scores of 6,000."""
    sizes = coords(2_000, 3)
    data = ancestry.simulate(
        np.random.default_rng(3), sizes, {"spread": SPREAD, "heterogeneity": HETEROGENEITY}
    )
    z = (data["estimate"] - data["gene_effect"]) / data["standard_error"]
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-6
    for name in RAW:  # under the conditional posterior they are standard normal
        assert stats.kstest(np.ravel(data[name]), "norm").pvalue > 1e-6, name
