"""What is learned of the errors of LD: densities against dense ones, recovery, and a real block."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bayestwas.engine import mismatch as module
from bayestwas.engine.credible import credible_set
from bayestwas.engine.gene_trait import DEFAULT_PRIORS, fit_direct
from bayestwas.engine.ld import LD, FactorLD, GenotypeLD, MatrixLD
from bayestwas.engine.mismatch import (
    LDError,
    Residual,
    learn_error,
    learn_errors,
    residual,
    true_share,
    with_errors,
    without_effects,
)
from bayestwas.engine.single_effects import SingleEffects
from bayestwas.engine.spectrum import spectrum
from bayestwas.io.rfiles import read_r

Floats = NDArray[np.float64]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
EXAMPLE = (
    Path(os.environ.get("BAYESTWAS_DATA", SHARED))
    / "ld_mismatch_regions" / "susie_rss" / "rss_mismatch_example.RData"
)  # fmt: skip


def left_over(rng: np.random.Generator, delta: float, tau2: float, k: int = 250) -> Residual:
    """A residual drawn from its model: a reference of 1,000 people, a signal of q = 400."""
    value = 40 * 0.98 ** np.arange(k)
    rho = 1 / (1 - np.arange(k) / 1000)
    along = rng.standard_normal(k)
    along *= np.sqrt(400 / np.square(along).sum())
    s = 1e-3 + delta
    y = np.sqrt(rho * (1 + s * (400 + 300 * tau2) + tau2 * rho * value)) * rng.standard_normal(k)
    y += np.sqrt(s) * along * rng.standard_normal()
    return Residual(y, y**2, along, value, rho, 400.0, 1e-3, 300)


def test_the_density_of_a_residual_is_that_of_the_dense_normal() -> None:
    """Double precision: sums of 250 terms."""
    left = left_over(np.random.default_rng(1), 0.01, 0.05)
    deltas, taus = np.array([0.0, 0.003, 0.2]), np.array([0.0, 0.4])
    found = left.log_likelihood(deltas, taus)
    for (i, delta), (j, tau2) in [((i, d), (j, t)) for i, d in enumerate(deltas) for j, t in enumerate(taus)]:
        s = left.inverse_ref + delta
        covariance = np.diag(left.rho * (1 + s * (left.power + tau2 * 300) + tau2 * left.rho * left.value))
        covariance += s * np.outer(left.along, left.along)
        dense = stats.multivariate_normal.logpdf(left.y, cov=covariance) + 125 * np.log(2 * np.pi)
        assert found[i, j] == pytest.approx(dense, rel=1e-10)


def test_second_moments_of_a_residual_are_those_of_the_posterior_of_the_effect() -> None:
    """One effect: the mean of y_k^2 over all that it may be, variant by variant, mean and variance."""
    rng = np.random.default_rng(2)
    ld = FactorLD(rng.standard_normal((30, 12)) + rng.standard_normal((30, 1)), 500)
    z = ld.columns(np.array([4]))[:, 0] * 4 + 0.5 * rng.standard_normal(12)
    fit = fit_direct(z[None], np.array([1e4]), [ld], DEFAULT_PRIORS, effects=1)
    parts = spectrum(ld, np.full(12, True))
    found = residual(without_effects(z, parts, 500.0), fit, 0, parts)
    r, root = ld.gram(np.arange(12)), np.sqrt(parts.values)
    expected = fit.null[0] * (parts.vectors.T @ z / root) ** 2
    for j in range(12):
        for m in range(fit.alpha.shape[2]):
            effect = 100 * fit.mean[0, j, m, 0]
            expected += fit.alpha[0, j, m] * (parts.vectors.T @ (z - r[:, j] * effect) / root) ** 2
    keep = (parts.values >= module.SMALLEST) & (np.arange(12) <= 250)
    # entries of lambda below the kernel's support of 1e-5 are not in R lambda
    np.testing.assert_allclose(found.square, expected[keep], rtol=1e-3)
    lam = fit.lam[0, 0]
    assert found.power == pytest.approx(lam @ r @ lam, rel=1e-9)
    assert (found.square > found.y**2).all()


def test_the_grid_halves_the_prior_at_its_scale() -> None:
    """Without data the posterior is the prior, whose median is the square of its scale (the steps of the grid
    move it by less than a sixth)."""
    points, log_mass = module.grid(0.03, 1.0)
    assert np.exp(log_mass).sum() == pytest.approx(1.0, abs=1e-12)
    below = np.exp(log_mass[points <= 0.03**2]).sum()
    assert below == pytest.approx(stats.halfcauchy(scale=0.03).cdf(0.03), abs=0.05)
    none = np.empty(0)
    found = learn_error(Residual(none, none, none, none, none, 0.0, 1e-3, 0))
    assert np.sqrt(found.delta) == pytest.approx(module.DELTA_SCALE, rel=0.17)
    assert np.sqrt(found.tau2) == pytest.approx(module.TAU_SCALE, rel=0.17)


@pytest.mark.parametrize(("delta", "tau2"), [(0.01, 0.0), (0.0, 0.2), (0.01, 0.2)])
def test_mismatch_and_background_are_recovered_and_told_apart(delta: float, tau2: float) -> None:
    """20 residuals of 250 coordinates: the noise 1 + s q is known to sqrt(2 / 250) of itself, 0.09, where
    there is no background and a few times worse beside one. Means over residuals within 4 standard errors,
    and half a step of the grid."""
    rng = np.random.default_rng(7)
    found = [learn_error(left_over(rng, delta, tau2)) for _ in range(20)]
    noise = np.array([one.delta * 400 for one in found])
    background = np.array([one.tau2 for one in found])
    for seen, truth, floor in ((noise, delta * 400, 0.3), (background, tau2, 0.02)):
        error = 4 * seen.std(ddof=1) / np.sqrt(20)
        # zero is on the edge of what can be found
        assert abs(seen.mean() - truth) < error + floor


def test_nothing_is_learned_where_it_is_not_asked_for() -> None:
    left = left_over(np.random.default_rng(1), 0.01, 0.2)
    assert learn_error(left, mismatch=False).delta == 0.0
    assert learn_error(left, background=False).tau2 == 0.0


def test_what_is_seen_follows_the_switches() -> None:
    rng = np.random.default_rng(4)
    ld: list[LD] = [MatrixLD(np.eye(3) * 0.5 + 0.5, 100.0), MatrixLD(np.eye(3), np.inf)]
    z = rng.standard_normal((2, 3))
    parts = module.spectra_of(z, ld)
    errors = [LDError(0.02, 0.5, 50.0, 2.0), LDError(1e-6, 1e-6, 50.0, 1.0)]
    learned = with_errors(z, ld, parts, errors)
    assert learned.sources == {"finite", "mismatch", "background"}

    def sizes(**switches: bool) -> list[float]:
        return [one.n_ref for one in learned.seen(**switches)[1]]

    assert sizes() == pytest.approx([1 / 0.03, np.inf])
    assert sizes(finite=False) == pytest.approx([50.0, np.inf])
    assert sizes(mismatch=False) == [100.0, np.inf]
    assert sizes(finite=False, mismatch=False) == [np.inf, np.inf]
    seen, operators = learned.seen(background=False)
    np.testing.assert_array_equal(seen, z)
    np.testing.assert_array_equal(operators[0].variance, 1.0)
    seen, operators = learned.seen()
    np.testing.assert_allclose(seen[0], np.linalg.solve(np.eye(3) + 0.5 * (np.eye(3) * 0.5 + 0.5), z[0]))
    np.testing.assert_array_equal(seen[1], z[1])


def direct(z: Floats, ld: list[LD], n: Floats) -> SingleEffects:
    return fit_direct(z, n, ld, DEFAULT_PRIORS)


def population(
    rng: np.random.Generator, p: int, n: int, copied: Floats, frequency: Floats
) -> NDArray[np.int8]:
    haplotypes = rng.random((2, p, n)) < frequency[:, None]
    for j in range(1, p):
        same = rng.random((2, n)) < copied[j]
        haplotypes[:, j] = np.where(same, haplotypes[:, j - 1], haplotypes[:, j])
    return haplotypes.sum(axis=0).astype(np.int8)


def standard(people: NDArray[np.int8]) -> Floats:
    """(n, p) standardised genotypes."""
    x = people - people.mean(axis=1, keepdims=True)
    return np.asarray((x / np.sqrt((x**2).mean(axis=1, keepdims=True))).T)


@pytest.mark.parametrize("n_ref", [100, 200, 600])
def test_eigenvalues_of_few_people_are_brought_to_those_of_the_population(n_ref: int) -> None:
    """V_k'R V_k over e_k in 4,000 people, in thirds of the coordinates that are used, mean over 4 panels:
    within a quarter of rho, and in the worst third nearer than without it."""
    rng = np.random.default_rng([3, n_ref])
    p = 300
    copied, frequency = rng.uniform(0.5, 0.98, p), rng.uniform(0.1, 0.5, p)
    everyone = standard(population(rng, p, 4000, copied, frequency))
    shares, plain = [], []
    for _ in range(4):
        panel = FactorLD(standard(population(rng, p, n_ref, copied, frequency)), n_ref)
        parts = spectrum(panel, np.full(p, True))
        count = int((parts.values[: n_ref // 2] >= module.SMALLEST).sum())
        true = np.square(everyone @ parts.vectors[:, :count]).mean(axis=0) / parts.values[:count]
        split = np.array_split(np.arange(count), 3)
        shares.append([(true / true_share(parts.values, n_ref, count))[part].mean() for part in split])
        plain.append([true[part].mean() for part in split])
    np.testing.assert_allclose(np.mean(shares, axis=0), 1.0, atol=0.25)
    without, corrected = (np.abs(np.mean(one, axis=0) - 1).max() for one in (plain, shares))
    assert corrected < without, f"{corrected:.2f} with the correction, {without:.2f} without"


@pytest.mark.parametrize("n_ref", [200, 600])
def test_a_background_is_seen_through_few_people_as_said(n_ref: int) -> None:
    """V_k'R^2 V_k over e_k in 4,000 people, in thirds of the coordinates that are used, mean over 4 panels:
    rho_k (rho_k e_k + m / n_ref) within a quarter, where e_k alone is off by more than half in one."""
    rng = np.random.default_rng([5, n_ref])
    p = 300
    copied, frequency = rng.uniform(0.5, 0.98, p), rng.uniform(0.1, 0.5, p)
    everyone = standard(population(rng, p, 4000, copied, frequency))
    r = everyone.T @ everyone / 4000
    r2 = r @ r - (p * r + r @ r) / 4000  # less what 4,000 people add
    shares, plain = [], []
    for _ in range(4):
        panel = FactorLD(standard(population(rng, p, n_ref, copied, frequency)), n_ref)
        parts = spectrum(panel, np.full(p, True))
        count = int((parts.values[: n_ref // 2] >= module.SMALLEST).sum())
        value, vectors = parts.values[:count], parts.vectors[:, :count]
        true = np.einsum("ik,ij,jk->k", vectors, r2, vectors) / value
        rho = true_share(parts.values, n_ref, count)
        split = np.array_split(np.arange(count), 3)
        shares.append([(true / (rho * (rho * value + p / n_ref)))[part].mean() for part in split])
        plain.append([(true / value)[part].mean() for part in split])
    np.testing.assert_allclose(np.mean(shares, axis=0), 1.0, atol=0.25)
    assert np.abs(np.mean(plain, axis=0) - 1).max() > 0.5


def test_the_wrong_people_are_told_from_the_right_ones() -> None:
    """A signal of q = 900 in 300 variants: with 500 people of the GWAS population mismatch adds less to the
    variance of z than with 500 of another, in every one of six blocks; by chance 1 in 64."""
    p = 300
    for seed in range(6):
        rng = np.random.default_rng([11, seed])
        copied, frequency = rng.uniform(0.5, 0.98, p), rng.uniform(0.1, 0.5, p)
        mine = population(rng, p, 3000, copied, frequency)
        other = population(rng, p, 500, rng.permutation(copied), rng.permutation(frequency))
        truth = FactorLD((mine[:, 500:] - mine[:, 500:].mean(axis=1, keepdims=True)).T)
        lam = np.zeros(p)
        lam[rng.choice(p, 2, replace=False)] = 21.0
        z = truth.apply(np.arange(p), lam) + truth.factor.T @ rng.standard_normal(2500)
        added = []
        for people in (mine[:, :500], other):
            learned, _ = learn_errors(z[None], [GenotypeLD(people)], partial(direct, n=np.array([1e5])))
            added.append(learned.errors[0].delta * learned.errors[0].power)
        assert added[0] < added[1], f"{added[0]:.2f} with the right people, {added[1]:.2f} with others"


@pytest.fixture(scope="module")
def example() -> tuple[float, Floats, Floats]:
    """n, z and R of rss_mismatch_example: a real trait, and LD of about 500 people from elsewhere."""
    if not EXAMPLE.exists():
        pytest.skip(f"{EXAMPLE} is not there")
    held = read_r(EXAMPLE)["rss_mismatch_example"]
    return float(held["n"][0]), np.asarray(held["z"]), np.asarray(held["R"])


@pytest.mark.parametrize("n_ref", [500.0, np.inf])
def test_no_variant_is_sure_where_ld_is_of_other_people(
    example: tuple[float, Floats, Floats], n_ref: float
) -> None:
    """Required: with mismatch learned no PIP above 0.5 and at most one credible set. The finite size of
    the reference alone does not reach that."""
    n, z, r = example
    fit = partial(direct, n=np.array([n]))
    learned, fitted = learn_errors(z[None], [MatrixLD(r, n_ref)], fit)
    assert learned.errors[0].delta > 0.01
    assert fitted.pip.max() < 0.5
    assert sum(len(credible_set(row.sum(axis=1), 0.9)) > 0 for row in fitted.alpha) <= 1
    assert fit(z[None], [MatrixLD(r, n_ref)]).pip.max() > 0.5
