"""Where labels and marks go."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from bayestwas.report.layout import flags, minus_log10_p, shortened, spread, stack, within_unit


def test_p_values_of_any_size() -> None:
    z = np.array([0.0, 1.96, -5.45, 12.0, 100.0, -1000.0, np.nan])
    exact = [float(-mpmath.log10(mpmath.erfc(abs(mpmath.mpf(x)) / mpmath.sqrt(2)))) for x in z[:-1]]
    # log_ndtr is good to a few units in the last place; 1e-12 leaves room for the division
    np.testing.assert_allclose(minus_log10_p(z)[:-1], exact, rtol=1e-12, atol=1e-15)
    assert np.isnan(minus_log10_p(z)[-1])


@pytest.mark.parametrize("seed", range(5))
def test_spread_keeps_the_gap_and_the_order_and_moves_no_further_than_needed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.choice([rng.random(12), np.repeat(rng.random(3), 4)])
    placed = spread(x, 0.05)
    order = np.argsort(x, kind="stable")
    assert (np.diff(placed[order]) >= 0.05 - 1e-12).all()
    # optimality of the projection: any other feasible placement is further away
    for _ in range(200):
        other = np.cumsum(np.concatenate([[rng.normal(x.min(), 0.1)], 0.05 + rng.exponential(0.03, 11)]))
        assert ((other - x[order]) ** 2).sum() >= ((placed - x) ** 2).sum()


def test_spread_leaves_alone_what_is_far_enough() -> None:
    x = np.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(spread(x, 0.5), x)
    np.testing.assert_allclose(spread(np.array([1.0, 1.0]), 0.2), [0.9, 1.1])
    assert spread(np.zeros(0), 0.1).size == 0


@pytest.mark.parametrize("seed", range(5))
def test_stacked_labels_do_not_overlap_and_need_no_more_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left = rng.random(25)
    right = left + rng.uniform(0.02, 0.2, 25)
    rows = stack(left, right, 0.01)
    for row in range(rows.max() + 1):
        order = np.argsort(left[rows == row])
        assert (left[rows == row][order][1:] >= right[rows == row][order][:-1] + 0.01).all()
    # as many rows as intervals (with their gap) share the busiest point: no assignment needs fewer
    depth = max(int(((left <= point) & (point < right + 0.01)).sum()) for point in left)
    assert rows.max() + 1 == depth


@pytest.mark.parametrize("seed", range(5))
def test_no_pole_crosses_a_flag(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pole, width = rng.random(6), rng.uniform(0.05, 0.4, 6)
    rows = flags(pole, width, 0.01)
    assert rows.min() == 0
    for i in range(6):
        for j in range(6):
            if pole[i] < pole[j] <= pole[i] + width[i]:
                assert rows[j] < rows[i]


def test_long_labels_lose_their_middle() -> None:
    assert shortened("20:44554015:C:T") == "20:44554015:C:T"
    assert shortened("20:44554015:C:" + "T" * 50) == "20:44554015:C:TTT...TTTTTT"
    assert len(shortened("x" * 100)) == 26


def test_error_bars_of_probabilities_end_at_zero_and_one() -> None:
    lengths = within_unit(np.array([0.02, 0.5, 1.0]), np.array([0.05, 0.1, 0.05]))
    np.testing.assert_allclose(lengths, [[0.02, 0.1, 0.05], [0.05, 0.1, 0.0]], atol=1e-15)
