"""Sample overlap: the regression against dense normal densities, and noise that is in both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayestwas.engine.overlap import SHARES, Shared, posterior, shared_coordinates

PEOPLE, DONORS, VARIANTS = 2000, 200, 150


def test_evidence_and_effects_are_those_of_the_dense_normal() -> None:
    """Double precision: 12 coordinates, 3 genes."""
    rng = np.random.default_rng(1)
    one = Shared(rng.standard_normal(12) * 1.3, 0.2 * rng.standard_normal((12, 3)))
    noise = float(one.noise)
    dense = [
        stats.multivariate_normal.logpdf(one.a, cov=noise * np.eye(12) + t**2 * one.b @ one.b.T)
        for t in SHARES
    ]
    found = one.log_evidence()
    np.testing.assert_allclose(found - found[0], np.array(dense) - dense[0], atol=1e-10)
    weight = posterior(found)
    expected = sum(
        w * t**2 * one.b.T @ np.linalg.solve(noise * np.eye(12) + t**2 * one.b @ one.b.T, one.a)
        for w, t in zip(weight, SHARES, strict=True)
    )
    np.testing.assert_allclose(one.effects(weight), expected, atol=1e-12)
    np.testing.assert_allclose(posterior(np.zeros(20)), 0.05)


def study(rng: np.random.Generator, shared: int, genes: int, r: float) -> tuple[np.ndarray, ...]:
    """Genotypes (n, p) of the donors with columns of norm 1, expression (G, n) and z (p,) of a trait without
    genetics, whose noise correlates r with that of every gene, in a GWAS with `shared` of the donors."""
    haplotypes = rng.random((2, VARIANTS, PEOPLE + DONORS)) < rng.uniform(0.1, 0.5, VARIANTS)[:, None]
    for j in range(1, VARIANTS):
        copied = rng.random((2, PEOPLE + DONORS)) < 0.7
        haplotypes[:, j] = np.where(copied, haplotypes[:, j - 1], haplotypes[:, j])
    x = haplotypes.sum(axis=0).T.astype(float)
    noise = rng.standard_normal((genes, PEOPLE + DONORS))
    sign = rng.choice([-1, 1], genes)
    trait = r * sign @ noise + np.sqrt(1 - genes * r**2) * rng.standard_normal(PEOPLE + DONORS)
    gwas = np.arange(DONORS - shared, DONORS - shared + PEOPLE)
    standard = (x[gwas] - x[gwas].mean(axis=0)) / x[gwas].std(axis=0)
    z = standard.T @ trait[gwas] / np.sqrt(PEOPLE)
    donors = x[:DONORS] - x[:DONORS].mean(axis=0)
    expression = noise[:, :DONORS] - noise[:, :DONORS].mean(axis=1, keepdims=True)
    scale = expression.std(axis=1, keepdims=True)
    return donors / np.sqrt((donors**2).sum(axis=0)), expression / scale, z, r * sign


@pytest.mark.parametrize("shared", [0, DONORS])
def test_noise_in_both_is_found_and_taken_off(shared: int) -> None:
    """40 blocks of 3 genes, r = 0.5: rho = 0.5 sqrt(200 / 2000) = 0.16. The score of every gene's noise in z,
    e'X z / n, is correlated with r where people are shared, by 0.16 of its coordinates; after the correction
    by less than half of that, where none are it is left within 4 standard errors of none."""
    rng = np.random.default_rng([3, shared])
    most = DONORS / np.sqrt(DONORS * PEOPLE)
    blocks = []
    for _ in range(40):
        factor, expression, z, r = study(rng, shared, 3, 0.5)
        a, b = shared_coordinates(factor, expression, z)
        blocks.append((factor, expression, z, r, Shared(a, most * b)))
    probability = posterior(sum(block[4].log_evidence() for block in blocks))
    mean = float(probability @ SHARES)
    before, after = [], []
    for factor, expression, z, r, one in blocks:
        new = z - factor.T @ (expression.T @ (most * one.effects(probability)))
        for seen, kept in ((before, z), (after, new)):
            a, b = shared_coordinates(factor, expression, kept)
            seen.append(np.sign(r) * (b.T @ a) / (b**2).sum(axis=0))
    error = np.std(before, ddof=1) / np.sqrt(np.size(before))
    if shared:
        assert abs(np.mean(before) - 0.5 * most) < 4 * error
        assert abs(np.mean(after)) < 0.5 * abs(np.mean(before))
        assert mean == pytest.approx(0.5, abs=0.15)
    else:
        assert abs(np.mean(before)) < 4 * error
        assert mean < 0.25
        assert abs(np.mean(after)) < 4 * error
