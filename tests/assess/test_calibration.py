"""Every score against a value worked out by hand, or by a slower route in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from bayestwas.assess import calibration
from bayestwas.errors import InputError

ROUNDING = 1e-12  # a handful of double-precision operations on numbers of order one


def brute_average_precision(truth: list[int], score: list[float]) -> Fraction:
    """Sum over distinct thresholds of (gain in recall) x precision, in exact fractions."""
    total, area, recall = sum(truth), Fraction(0), Fraction(0)
    for threshold in sorted(set(score), reverse=True):
        called = [t for t, s in zip(truth, score, strict=True) if s >= threshold]
        now = Fraction(sum(called), total)
        area += (now - recall) * Fraction(sum(called), len(called))
        recall = now
    return area


def test_average_precision_by_hand():
    # ranks of the true: 1 and 3 -> (1/1 + 2/3) / 2
    assert calibration.average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx(
        5 / 6, abs=ROUNDING
    )
    assert calibration.average_precision([1, 1, 0, 0], [0.9, 0.8, 0.7, 0.1]) == 1.0
    assert calibration.average_precision([0, 0, 1], [3.0, 2.0, 1.0]) == pytest.approx(1 / 3, abs=ROUNDING)


def test_average_precision_treats_ties_as_one_threshold():
    # all tied: precision is the prevalence, whatever the order
    assert calibration.average_precision([0, 1, 0, 1], [0.5] * 4) == pytest.approx(0.5, abs=ROUNDING)
    # first threshold calls 1 of 1; the tie of three holds 1 true: 1/2 + 1/2 * 2/4
    assert calibration.average_precision([1, 0, 1, 0], [0.9, 0.4, 0.4, 0.4]) == pytest.approx(
        0.75, abs=ROUNDING
    )
    items = [(1, 0.9), (0, 0.4), (1, 0.4), (0, 0.4), (1, 0.2)]
    values = {calibration.average_precision(*zip(*order, strict=True)) for order in permutations(items)}
    assert len(values) == 1


def test_average_precision_against_fractions():
    rng = np.random.default_rng(1)
    for _ in range(50):
        truth = rng.integers(0, 2, 30)
        truth[0] = 1
        score = rng.integers(0, 12, 30) / 4
        expected = float(brute_average_precision(truth.tolist(), score.tolist()))
        assert calibration.average_precision(truth, score) == pytest.approx(expected, abs=ROUNDING)


def test_average_precision_without_a_true_item_is_undefined():
    assert math.isnan(calibration.average_precision([0, 0], [0.1, 0.2]))


def test_wilson_by_hand():
    # 8 of 10 at z = 2: centre (0.8 + 4/20) / 1.4, half-width 2/1.4 * sqrt(0.016 + 0.01)
    share = calibration.wilson(8, 10, quantile=2.0)
    assert share.estimate == 0.8
    assert share.low == pytest.approx(1 / 1.4 - 2 / 1.4 * math.sqrt(0.026), abs=ROUNDING)
    assert share.high == pytest.approx(1 / 1.4 + 2 / 1.4 * math.sqrt(0.026), abs=ROUNDING)


@pytest.mark.parametrize(("count", "total"), [(1, 7), (3, 4), (50, 100)])
def test_wilson_ends_solve_the_score_equation(count, total):
    # the ends are the p at which |count / total - p| is exactly z standard errors under p
    share = calibration.wilson(count, total)
    for end in (share.low, share.high):
        distance = abs(count / total - end) / math.sqrt(end * (1 - end) / total)
        assert distance == pytest.approx(calibration.NORMAL_95, abs=1e-9)  # divides two small differences


def test_wilson_ends_at_none_and_all():
    none, every = calibration.wilson(0, 5), calibration.wilson(5, 5)
    square = calibration.NORMAL_95**2
    assert (none.low, every.high) == (0.0, 1.0)
    assert none.high == pytest.approx(square / (5 + square), abs=ROUNDING)
    assert every.low == pytest.approx(5 / (5 + square), abs=ROUNDING)
    empty = calibration.wilson(0, 0)
    assert math.isnan(empty.estimate)
    assert (empty.low, empty.high) == (0.0, 1.0)


def test_calls_by_hand():
    truth = [1, 1, 1, 0, 0, 0]
    pip = [0.99, 0.80, 0.79, 0.95, 0.10, 0.0]  # the threshold itself is called
    power, false = calibration.calls_at(truth, pip)
    assert (power.successes, power.trials) == (2, 3)
    assert (false.successes, false.trials) == (1, 3)
    nothing = calibration.calls(truth, [False] * 6)
    assert nothing.power.estimate == 0.0
    assert math.isnan(nothing.false.estimate)


def test_calibration_bins_by_hand():
    truth = [0, 0, 1, 0, 1, 1]
    pip = [0.0, 0.1, 0.3, 0.5, 0.9, 1.0]  # 0.5 opens the second bin, 1.0 closes it
    table = calibration.calibration_bins(truth, pip, edges=[0, 0.5, 1])
    assert table["total"].tolist() == [3, 3]
    assert table["count"].tolist() == [1, 2]
    assert table["mean_pip"].tolist() == pytest.approx([0.4 / 3, 0.8], abs=ROUNDING)
    assert table["frequency"].tolist() == pytest.approx([1 / 3, 2 / 3], abs=ROUNDING)
    assert tuple(table.loc[1, ["low", "high"]]) == calibration.wilson(2, 3)[3:]
    # (3 |1/3 - 0.4/3| + 3 |2/3 - 0.8|) / 6
    error = calibration.expected_calibration_error(truth, pip, edges=[0, 0.5, 1])
    assert error == pytest.approx((0.6 + 0.4) / 6, abs=ROUNDING)


def test_an_empty_bin_is_kept_and_does_not_count():
    table = calibration.calibration_bins([1], [0.9], edges=[0, 0.5, 1])
    assert table["total"].tolist() == [0, 1]
    assert math.isnan(table.loc[0, "mean_pip"])
    assert calibration.expected_calibration_error([1], [0.9], edges=[0, 0.5, 1]) == pytest.approx(
        0.1, abs=ROUNDING
    )


def test_log_score_by_hand():
    assert calibration.mean_log_score([1, 0], [0.8, 0.4]) == pytest.approx(
        (math.log(0.8) + math.log(0.6)) / 2, abs=ROUNDING
    )


def test_log_score_of_a_wrong_certainty_is_the_clip():
    assert calibration.mean_log_score([1], [0.0]) == pytest.approx(math.log(1e-6), abs=ROUNDING)
    assert calibration.mean_log_score([0], [1.0]) == pytest.approx(
        math.log(1e-6), abs=1e-9
    )  # 1 - (1 - 1e-6) rounds
    assert calibration.mean_log_score([0], [1.0], clip=0.25) == pytest.approx(math.log(0.25), abs=ROUNDING)


def test_log_score_is_proper():
    # with a true probability of 3/4 the best of these reports is 3/4
    truth = [1, 1, 1, 0]
    scores = {p: calibration.mean_log_score(truth, [p] * 4) for p in (0.6, 0.7, 0.75, 0.8, 0.9)}
    assert max(scores, key=scores.__getitem__) == 0.75


@pytest.mark.parametrize(
    ("call", "given"),
    [
        (lambda: calibration.average_precision([1, 0], [0.5]), "shape"),
        (lambda: calibration.average_precision([], []), "shape"),
        (lambda: calibration.mean_log_score([1], [math.nan]), "not finite"),
        (lambda: calibration.calls_at([1], [1.5]), "1.5"),
        (lambda: calibration.calibration_bins([1], [0.5], edges=[0.1, 1]), "0.1"),
        (lambda: calibration.wilson(3, 2), "3 successes among 2"),
    ],
)
def test_mistakes_are_named(call, given):
    with pytest.raises(InputError) as caught:
        call()
    assert given in caught.value.given
