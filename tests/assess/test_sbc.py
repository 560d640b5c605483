"""Ranks and their uniformity: a right posterior passes, wrong ones show the mark that they should."""

from __future__ import annotations

import numpy as np
import pytest

from bayestwas.assess import sbc
from bayestwas.errors import InputError

DRAWS, SIMULATIONS = 99, 400


def conjugate(shift: float, stretch: float, seed: int) -> np.ndarray:
    """Ranks for theta ~ N(0, 1), y ~ N(theta, 1), whose posterior N(y/2, 1/2) is moved and stretched."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(SIMULATIONS)
    y = theta + rng.standard_normal(SIMULATIONS)
    sd = np.sqrt(0.5)
    draws = y / 2 + shift * sd + stretch * sd * rng.standard_normal((DRAWS, SIMULATIONS))
    return sbc.rank(draws, theta, rng)


def test_a_right_posterior_has_uniform_ranks() -> None:
    row = sbc.uniformity({"theta": conjugate(0, 1, 1)}, DRAWS).iloc[0]
    assert abs(row["mean_z"]) < 4
    assert abs(row["spread_z"]) < 4
    lower, upper = sbc.envelope(SIMULATIONS, DRAWS)
    assert row["sup"] < 1.5 * max(upper.max(), -lower.min())


@pytest.mark.parametrize(
    ("shift", "stretch", "column", "sign"),
    [(0.4, 1, "mean_z", -1), (-0.4, 1, "mean_z", 1), (0, 0.7, "spread_z", 1), (0, 1.5, "spread_z", -1)],
)
def test_wrong_posteriors_are_told(shift: float, stretch: float, column: str, sign: int) -> None:
    """Too high, too low, too narrow, too wide: each is more than four standard errors off, the right way."""
    row = sbc.uniformity({"theta": conjugate(shift, stretch, 2)}, DRAWS).iloc[0]
    assert sign * row[column] > 4


def test_the_band_holds_whole_curves_at_its_level() -> None:
    rng = np.random.default_rng(3)
    lower, upper = sbc.envelope(100, 49, level=0.9)
    inside = 0
    for _ in range(1000):
        curve = sbc.ecdf_difference(rng.integers(0, 50, 100), 49)
        inside += bool(((curve >= lower) & (curve <= upper)).all())
    # at least the level (the band is of counts, whose steps can only widen it), within five standard errors
    assert 0.9 - 5 * np.sqrt(0.09 / 1000) < inside / 1000 < 0.99


def test_ties_are_broken_at_random() -> None:
    """A 0/1 truth with probability p, ranked among draws of it, is uniform too."""
    rng = np.random.default_rng(4)
    p = rng.random(SIMULATIONS)
    truth, draws = rng.random(SIMULATIONS) < p, rng.random((DRAWS, SIMULATIONS)) < p
    ranks = sbc.rank(draws, truth, rng)
    row = sbc.uniformity({"on": ranks}, DRAWS).iloc[0]
    assert abs(row["mean_z"]) < 4
    assert abs(row["spread_z"]) < 4
    assert len(np.unique(ranks)) > 50


def test_ranks_by_hand() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    np.testing.assert_array_equal(sbc.rank(draws, np.array([2.5, 4.0]), rng), [2, 0])
    difference = sbc.ecdf_difference([0, 0, 3, 3], 3)
    np.testing.assert_allclose(difference, [0.25, 0.0, -0.25, 0.0])
    curves = sbc.curves({"a": [0, 0, 3, 3]}, 3)
    assert curves["count"].tolist() == [2, 0, 0, 2]
    np.testing.assert_allclose(curves["difference"], difference)
    assert sbc.thin(np.arange(12.0).reshape(2, 6), 3).tolist() == [0.0, 6.0, 11.0]


def test_probabilities_against_truth() -> None:
    """Right probabilities that share an unknown within a simulation pass; too small ones do not."""
    assert sbc.probability_z([([0.5, 0.5], [1, 0])]) != sbc.probability_z([([0.5], [1])] * 4)
    assert sbc.probability_z([([0.5], [1])] * 4) == pytest.approx(2.0)
    rng = np.random.default_rng(5)
    shared = rng.random(200)[:, None]
    told = [(np.full(20, 0.5), rng.random(20) < p) for p in shared]  # the prior mean of what is shared
    assert abs(sbc.probability_z(told)) < 4
    assert sbc.probability_z([(0.6 * p, true) for p, true in told]) > 4


def test_bad_input_is_told() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="shape"):
        sbc.rank(np.zeros((3, 2)), np.zeros(3), rng)
    with pytest.raises(InputError, match="not finite"):
        sbc.rank(np.full((3, 2), np.nan), np.zeros(2), rng)
    with pytest.raises(InputError, match="7 of 4"):
        sbc.thin(np.zeros((2, 2)), 7)
