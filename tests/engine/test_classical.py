"""Error rates over many tests, by their definitions and over simulated tests."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.stats import false_discovery_control

from bayestwas.engine.classical import (
    benjamini_hochberg,
    bonferroni,
    combine_finished,
    null_share,
    q_values,
    two_sided_p,
)


def test_p_values_keep_their_digits_far_out() -> None:
    found = two_sided_p(np.array([0.0, 1.5, -30.0, np.nan]))
    exact = [float(mpmath.erfc(z / mpmath.sqrt(2))) for z in (0, 1.5, 30)]
    np.testing.assert_allclose(found[:3], exact, rtol=1e-12)
    assert np.isnan(found[3])


def test_a_missing_test_is_no_test() -> None:
    p = np.random.default_rng(1).uniform(0, 0.2, 50)
    with_gaps = np.insert(p, [3, 20], np.nan)
    seen = np.isfinite(with_gaps)
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), rtol=1e-12)
    for method in (benjamini_hochberg, bonferroni, q_values):
        np.testing.assert_array_equal(method(with_gaps)[seen], method(p))
        assert np.isnan(method(with_gaps)[~seen]).all()
        assert len(method(np.array([]))) == 0
    np.testing.assert_allclose(bonferroni(p), np.minimum(50 * p, 1))
    assert null_share(np.array([np.nan])) == 1


def test_q_values_hold_their_rate_and_find_more() -> None:
    """100 studies of 1,000 tests, 30% of them real: false share at q <= 0.1 at most 0.1, within 4 standard
    errors; the share of nulls is never far too low, and q-values are never above Benjamini-Hochberg."""
    rng = np.random.default_rng(2)
    false, shares = [], []
    for _ in range(100):
        real = rng.random(1_000) < 0.3
        p = two_sided_p(rng.standard_normal(1_000) + 3.5 * real)
        q = q_values(p)
        called = q <= 0.1
        false.append((called & ~real).sum() / max(called.sum(), 1))
        shares.append(null_share(p))
        assert (q <= benjamini_hochberg(p)).all()
    error = np.std(false) / 10
    assert np.mean(false) < 0.1 + 4 * error
    assert 0.68 < np.mean(shares) < 0.85
    assert null_share(rng.uniform(size=30)) == 1


def test_combination_of_finished_summaries() -> None:
    rng = np.random.default_rng(3)
    p = np.append(rng.uniform(size=600), np.full(400, 1e-6))
    h4 = np.append(rng.uniform(size=600), np.linspace(0, 1, 400))
    found = combine_finished(p, h4)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[h4 < 0.05] == 0).all()
    assert (np.diff(found[600:]) >= 0).all()
    prior = h4[-1] * (1 - null_share(p))
    odds = prior / (1 - prior) / (-np.e * 1e-6 * np.log(1e-6))
    assert found[-1] == pytest.approx(odds / (1 + odds))
    assert np.isnan(combine_finished(np.array([np.nan]), np.array([0.5])))[0]
