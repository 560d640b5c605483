"""LD operators against the dense matrices they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayestwas.engine import ld as module
from bayestwas.engine.ld import LD, FactorLD, GenotypeLD, MatrixLD

# Every entry is a sum of at most a few hundred products of numbers below 1 in double precision.
ROUNDING = 1e-12


def dense(dosage: np.ndarray) -> np.ndarray:
    """Correlation with the mean in place of missing genotypes, zero rows where nothing varies."""
    x = dosage.astype(float)
    x[dosage < 0] = np.nan
    seen = np.isfinite(x)
    mean = np.where(seen, x, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    x = np.where(seen, x - mean[:, None], 0.0)
    norm = np.sqrt((x**2).sum(axis=1))
    x = np.where(norm[:, None] > 1e-6, x / np.where(norm > 1e-6, norm, 1.0)[:, None], 0.0)
    return x @ x.T


def dosages(rng: np.random.Generator, p: int, n: int, missing: float) -> np.ndarray:
    """Correlated genotypes; the second variant never varies, the third is missing throughout."""
    haplotypes = rng.random((2, p, n)) < 0.3
    haplotypes[:, 4:] ^= haplotypes[:, 3:-1] & (rng.random((2, p - 4, n)) < 0.5)
    out = haplotypes.sum(axis=0).astype(np.int8)
    out[1] = 2
    out[rng.random((p, n)) < missing] = -1
    out[2] = -1
    return out


def check(operator: LD, expected: np.ndarray, rng: np.random.Generator, tolerance: float = ROUNDING) -> None:
    p = len(expected)
    np.testing.assert_array_equal(operator.variance, (np.diag(expected) > 0).astype(float))
    for index in (np.arange(p), rng.choice(p, 3, replace=False), np.array([4, 0, 4]), np.empty(0, np.intp)):
        values = rng.standard_normal(len(index))
        np.testing.assert_allclose(operator.columns(index), expected[:, index], atol=tolerance)
        np.testing.assert_allclose(operator.gram(index), expected[np.ix_(index, index)], atol=tolerance)
        np.testing.assert_allclose(
            operator.apply(index, values), expected[:, index] @ values, atol=10 * tolerance
        )


@pytest.mark.parametrize("n", [1, 7, 63, 64, 65, 128, 200])
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_genotypes_against_dense(n: int, missing: float) -> None:
    rng = np.random.default_rng([n, int(100 * missing)])
    dosage = dosages(rng, 20, n, missing)
    operator = GenotypeLD(dosage)
    assert operator.n_ref == n
    check(operator, dense(dosage), rng)


@settings(max_examples=150, deadline=None, derandomize=True)  # the same examples everywhere
@given(
    hnp.arrays(
        np.int8,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=5, max_side=70),
        elements=st.integers(-1, 2),
    )
)
def test_any_genotypes_against_dense(dosage: np.ndarray) -> None:
    check(GenotypeLD(dosage), dense(dosage), np.random.default_rng(0))


def test_cache_is_emptied_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for five rows of twenty: every question is answered from a cache emptied many times over."""
    rng = np.random.default_rng(1)
    dosage = dosages(rng, 20, 100, 0.1)
    expected = dense(dosage)
    monkeypatch.setattr(module, "CACHE_BYTES", 5 * 20 * 8)
    operator = GenotypeLD(dosage)
    counted = []
    count = operator._count
    monkeypatch.setattr(operator, "_count", lambda j: (counted.append(j), count(j))[1])
    for _ in range(50):
        index = rng.integers(0, 20, rng.integers(1, 8))  # repeats, and more rows than fit
        np.testing.assert_allclose(operator.columns(index), expected[:, index], atol=ROUNDING)
    assert len(counted) > 20  # rows were counted again, so the cache was indeed emptied


def test_a_row_is_counted_once_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = GenotypeLD(dosages(np.random.default_rng(2), 20, 100, 0.0))
    counted = []
    count = operator._count
    monkeypatch.setattr(operator, "_count", lambda j: (counted.append(j), count(j))[1])
    for index in ([0, 5, 0], [5, 6], [6, 0]):
        operator.columns(np.array(index))
    assert counted == [0, 5, 6]


def test_flipping_an_allele_changes_signs_only() -> None:
    """Dosage g becomes 2 - g: exact integers, so the correlation is the same number with the other sign."""
    rng = np.random.default_rng(3)
    dosage = dosages(rng, 20, 90, 0.1)
    sign = rng.choice([-1.0, 1.0], 20)
    other = np.where((sign[:, None] < 0) & (dosage >= 0), 2 - dosage, dosage).astype(np.int8)
    index = np.arange(20)
    np.testing.assert_allclose(
        GenotypeLD(other).columns(index),
        GenotypeLD(dosage).columns(index) * np.outer(sign, sign),
        atol=ROUNDING,
    )


def test_people_in_another_order_or_repeated_with_n_ref_given() -> None:
    rng = np.random.default_rng(4)
    dosage = dosages(rng, 20, 70, 0.1)
    shuffled = GenotypeLD(dosage[:, rng.permutation(70)], n_ref=np.inf)
    np.testing.assert_allclose(shuffled.columns(np.arange(20)), dense(dosage), atol=ROUNDING)
    assert shuffled.n_ref == np.inf
    twice = GenotypeLD(np.tile(dosage, 2))
    np.testing.assert_allclose(twice.columns(np.arange(20)), dense(dosage), atol=ROUNDING)
    assert twice.n_ref == 140


def test_matrix_and_factor_against_dense() -> None:
    rng = np.random.default_rng(5)
    factor = rng.standard_normal((30, 20)) @ np.diag(rng.uniform(0.1, 10, 20))
    factor[:, 7] = 0.0
    norm = np.sqrt((factor**2).sum(axis=0))
    standard = factor / np.where(norm > 0, norm, 1.0)
    expected = standard.T @ standard
    check(FactorLD(factor), expected, rng)
    check(MatrixLD(expected), expected, rng)
    assert MatrixLD(expected).n_ref == np.inf
    assert FactorLD(factor, 30).n_ref == 30.0


def test_matrix_with_absent_variants() -> None:
    """A row and column of NaN is an absent variant: nothing of it is left to spread."""
    rng = np.random.default_rng(6)
    matrix = np.corrcoef(rng.standard_normal((8, 50)))
    expected = matrix.copy()
    matrix[3] = matrix[:, 3] = np.nan
    expected[3] = expected[:, 3] = 0.0
    operator = MatrixLD(matrix, 50)
    check(operator, expected, rng)
    assert operator.n_ref == 50.0


def test_the_three_agree() -> None:
    """The same people as genotypes, as a factor and as a matrix."""
    rng = np.random.default_rng(7)
    dosage = dosages(rng, 20, 150, 0.0)
    centred = dosage - dosage.mean(axis=1, keepdims=True)
    centred[2] = 0.0
    index, values = rng.choice(20, 6, replace=False), rng.standard_normal(6)
    expected = GenotypeLD(dosage).apply(index, values)
    np.testing.assert_allclose(FactorLD(centred.T).apply(index, values), expected, atol=ROUNDING)
    np.testing.assert_allclose(MatrixLD(dense(dosage)).apply(index, values), expected, atol=ROUNDING)


def test_many_columns_at_once() -> None:
    """Beyond a few new columns R is applied through the genotypes, in single precision: 1e-6 of the sum of
    what is added.
    """
    rng = np.random.default_rng(8)
    dosage = dosages(rng, 3 * module.FEW, 333, 0.05)
    index, values = np.arange(2 * module.FEW), rng.standard_normal(2 * module.FEW)
    expected = dense(dosage)[:, index] @ values
    operator = GenotypeLD(dosage)
    np.testing.assert_allclose(operator.apply(index, values), expected, atol=1e-6 * np.abs(values).sum())
    operator.columns(index)  # now they are kept, and the product is in double precision
    np.testing.assert_allclose(operator.apply(index, values), expected, atol=ROUNDING * len(index))


def test_a_matrix_reads_its_rows_or_all_of_it() -> None:
    """Few columns and many take different routes to the same product."""
    rng = np.random.default_rng(9)
    matrix = np.corrcoef(rng.standard_normal((40, 60)))
    for size in (1, 9, 11, 40):
        index, values = rng.choice(40, size, replace=False), rng.standard_normal(size)
        np.testing.assert_allclose(
            MatrixLD(matrix).apply(index, values), matrix[:, index] @ values, atol=ROUNDING
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ld_that_is_not_finite_is_refused(value: float) -> None:
    """Between variants that are there; a variant that is absent may be NaN throughout."""
    r = np.eye(4)
    r[0] = r[:, 0] = np.nan
    np.testing.assert_array_equal(MatrixLD(r).variance, [0, 1, 1, 1])
    r[1, 3] = r[3, 1] = value
    with pytest.raises(ValueError, match="variants 1 and 3"):
        MatrixLD(r)
    factor = np.ones((5, 3))
    factor[2, 1] = value
    with pytest.raises(ValueError, match="finite"):
        FactorLD(factor)
