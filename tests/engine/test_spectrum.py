"""LD by its eigenvalues, and a polygenic background as a change of inputs, against dense algebra."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import stats

from bayestwas.engine.ld import LD, FactorLD, GenotypeLD, MatrixLD, MismatchedLD
from bayestwas.engine.likelihood import Candidates
from bayestwas.engine.single_effects import fit_single_effects
from bayestwas.engine.spectrum import SpectralLD, spectrum, with_background

# Products of a few hundred numbers below one; eigenvalues down to 1e-10 of the largest are kept.
ROUNDING = 1e-8


def genotypes(rng: np.random.Generator, p: int, n: int) -> np.ndarray:
    """(p, n) dosages in LD, some missing; variant 1 does not vary."""
    haplotypes = rng.random((2, p, n)) < 0.4
    for j in range(1, p):
        copied = rng.random((2, n)) < 0.6
        haplotypes[:, j] = np.where(copied, haplotypes[:, j - 1], haplotypes[:, j])
    out = haplotypes.sum(axis=0).astype(np.int8)
    out[rng.random((p, n)) < 0.05] = -1
    out[1] = 0
    return out


def operators(rng: np.random.Generator, p: int, n: int) -> dict[str, LD]:
    dosage = genotypes(rng, p, n)
    known = GenotypeLD(dosage)
    matrix = known.columns(np.arange(p))
    return {
        "genotypes": known,
        "matrix": MatrixLD(np.where(np.diag(matrix) > 0, matrix, np.nan), n),
        "factor": FactorLD(rng.standard_normal((n, p)) * (np.arange(p) != 2), n),
        "mismatched": MismatchedLD(known, 0.01),
    }


@pytest.mark.parametrize("kind", ["genotypes", "matrix", "factor", "mismatched"])
@pytest.mark.parametrize("n", [9, 40])
def test_spectrum_is_that_of_the_dense_matrix(kind: str, n: int) -> None:
    """Low rank (9 people) and full, with variants that do not vary and one that the GWAS lacks."""
    p = 20
    ld = operators(np.random.default_rng(n), p, n)[kind]
    present = np.arange(p) != 5
    found = spectrum(ld, present)
    assert list(found.index) == [j for j in range(p) if j != 5 and ld.variance[j] > 0]
    assert (np.diff(found.values) <= 0).all()
    assert len(found.values) <= min(n, len(found.index))
    again = found.vectors * found.values @ found.vectors.T
    np.testing.assert_allclose(again, ld.gram(found.index), atol=ROUNDING)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(len(found.values)), atol=ROUNDING)


def test_the_operator_after_a_background_is_that_of_dense_algebra() -> None:
    rng = np.random.default_rng(3)
    ld = operators(rng, 20, 12)["genotypes"]
    present = np.arange(20) != 5
    operator = SpectralLD(ld, present, 0.3, 0.2)
    index = np.flatnonzero(present & (ld.variance > 0))
    dense = np.zeros((20, 20))
    r = ld.gram(index)
    dense[np.ix_(index, index)] = np.linalg.solve(1.2 * np.eye(len(index)) + 0.3 * r, r)
    some, values = np.array([0, 7, 5, 19]), rng.standard_normal(4)
    for one in (operator, pickle.loads(pickle.dumps(operator))):
        np.testing.assert_allclose(one.variance, np.diag(dense), atol=ROUNDING)
        np.testing.assert_allclose(one.columns(some), dense[:, some], atol=ROUNDING)
        np.testing.assert_allclose(one.gram(some), dense[np.ix_(some, some)], atol=ROUNDING)
        np.testing.assert_allclose(one.apply(some, values), dense[:, some] @ values, atol=ROUNDING)
        assert one.n_ref == 12
    assert len(pickle.dumps(operator)) < operator.factor.nbytes + len(pickle.dumps(ld))


def test_one_effect_under_a_background_has_the_exact_posterior() -> None:
    """Every configuration of one effect by dense normal densities: z ~ N(0, S + n v R e_j e_j'R), with S =
    (1 + c) R + tau^2 R^2.

    Double precision; the dense covariance has a condition number below 1e4.
    """
    rng = np.random.default_rng(5)
    p, n, size, tau2, prior = 8, 5000.0, 0.01, 0.4, 0.02
    ld = FactorLD(rng.standard_normal((60, p)) + rng.standard_normal((60, 1)))
    r = ld.gram(np.arange(p))
    noise = 1.3 * r + tau2 * r @ r
    z = rng.multivariate_normal(2.5 * r[:, 2], noise)
    logs = [stats.multivariate_normal.logpdf(z, cov=noise)]
    for j in range(p):
        covariance = noise + n * size * np.outer(r[:, j], r[:, j])
        logs.append(np.log(prior) + stats.multivariate_normal.logpdf(z, cov=covariance))
    weight = np.exp(np.array(logs) - max(logs))
    expected = weight[1:] / weight.sum()
    seen, operator = with_background(z, ld, spectrum(ld, np.full(p, True)), tau2, 0.3)
    columns = Candidates(p, (), np.full((p, 1), np.log(prior)), np.full((p, 1), size), np.ones((1, 1, 1)))
    fit = fit_single_effects(seen[None], np.array([n]), [operator], columns, effects=1)
    np.testing.assert_allclose(fit.alpha[0, :, 0], expected, rtol=1e-7, atol=1e-12)
    assert 0.05 < expected.max() < 0.999, "a case that tells nothing"
