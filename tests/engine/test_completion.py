"""Completion of a partly known correlation matrix against closed forms and its own definition."""

from __future__ import annotations

import numpy as np
import pytest

from bayestwas.engine.completion import complete_correlation


def known(matrix: np.ndarray, *sets: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(index), matrix[np.ix_(index, index)]) for index in sets]


def test_a_chain_has_the_product_of_its_correlations() -> None:
    """Two pairs that share a variant: r13 = r12 r23, the closed form of the completion of a chain."""
    r = np.array([[1, 0.6, np.nan], [0.6, 1, -0.5], [np.nan, -0.5, 1]])
    matrix, worst = complete_correlation(3, known(r, [0, 1], [1, 2]))
    assert worst <= 1e-9
    assert matrix[0, 2] == pytest.approx(0.6 * -0.5, abs=1e-12)


def test_unknown_pairs_are_zero_in_the_precision() -> None:
    rng = np.random.default_rng(3)
    full = np.corrcoef(rng.normal(size=(7, 40)) + rng.normal(size=40))
    sets = [[0, 1, 2], [1, 2, 3], [3, 4], [4, 5, 6], [0, 6]]  # with a cycle: no closed form
    matrix, worst = complete_correlation(7, known(full, *sets))
    assert worst <= 1e-9
    joined = np.zeros((7, 7), dtype=bool)
    for index in sets:
        joined[np.ix_(index, index)] = True
    np.testing.assert_allclose(matrix[joined], full[joined], atol=1e-8)
    np.testing.assert_allclose(np.linalg.inv(matrix)[~joined], 0.0, atol=1e-7)


def test_singular_parts_and_variants_without_parts() -> None:
    """Perfect LD is kept, nothing is divided by zero, and a variant in no part is independent."""
    r = np.array([[1, 1, 0.3], [1, 1, 0.3], [0.3, 0.3, 1]])
    matrix, worst = complete_correlation(4, known(r, [0, 1], [1, 2]))
    assert worst <= 1e-9
    np.testing.assert_allclose(matrix[:3, :3], r, atol=1e-8)
    np.testing.assert_allclose(matrix[3], [0, 0, 0, 1], atol=0)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-12
