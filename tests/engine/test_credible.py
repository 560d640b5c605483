"""Credible sets and Bayesian FDR by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bayestwas.engine.credible import bayesian_fdr, credible_set


@pytest.mark.parametrize(
    ("probability", "level", "members"),
    [
        ([0.05, 0.7, 0.2, 0.05], 0.9, [1, 2]),  # 0.7, 0.9: reached exactly
        ([0.05, 0.7, 0.2, 0.05], 0.91, [1, 2, 0]),  # of the two at 0.05 the first
        ([0.05, 0.7, 0.2, 0.05], 0.5, [1]),
        ([0.4, 0.3], 0.9, []),  # the rest is null
        ([0.25, 0.25, 0.25, 0.25], 1.0, [0, 1, 2, 3]),
        ([1.0], 0.95, [0]),
        ([], 0.9, []),
    ],
)
def test_credible_set(probability: list[float], level: float, members: list[int]) -> None:
    assert credible_set(np.array(probability, dtype=float), level).tolist() == members


def test_default_level_is_90_percent() -> None:
    assert credible_set(np.array([0.89, 0.05, 0.01])).tolist() == [0, 1]


def test_bayesian_fdr() -> None:
    """Mean of 1 - pip over all that are called: 0.1; (0.1 + 0.2) / 2; (0.1 + 0.2 + 0.9) / 3."""
    np.testing.assert_allclose(bayesian_fdr(np.array([0.1, 0.9, 0.8])), [0.4, 0.1, 0.15], rtol=1e-12)


def test_bayesian_fdr_of_ties_calls_them_together() -> None:
    """At pip 0.5 three are called: (0 + 0.5 + 0.5) / 3."""
    np.testing.assert_allclose(bayesian_fdr(np.array([0.5, 1.0, 0.5])), [1 / 3, 0.0, 1 / 3], rtol=1e-12)
    assert bayesian_fdr(np.array([])).shape == (0,)
