"""Panels as arrays: covariates out, genotypes standardised, rare and missing genotypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.engine.projection import projection
from bayestwas.fit.panels import contexts_and_ancestries, gwas_arrays, read_panels

Build = Callable[..., xr.DataTree]


def with_covariates(panels: list[Any], make: Callable[[list[str]], np.ndarray]) -> list[Any]:
    """Every panel with the covariates that `make` returns for its donors, (covariates, donors)."""
    out = []
    for panel in panels:
        values = make(panel[3])
        frame = pd.DataFrame(values, index=[f"c{i}" for i in range(len(values))], columns=panel[3])
        out.append((*panel[:5], frame))
    return out


def random_covariates(donors: list[str]) -> np.ndarray:
    """Two covariates of unlike size, the same for a donor in every panel."""
    rng = np.random.default_rng(len(donors))
    return np.array([1e3 * rng.standard_normal(len(donors)) + 5e4, rng.integers(0, 2, len(donors))])


def test_residuals_are_those_of_least_squares(build: Build) -> None:
    """Expression and genotypes given intercept and covariates (of size 5e4), by lstsq: rounding."""
    locus = build(panels=lambda panels: with_covariates(panels, random_covariates))
    panel = read_panels(locus, 1)["blood", "EUR"]
    data = locus["expression/blood/EUR"]
    design = np.concatenate([np.ones((1, 150)), data["covariates"].values]).T
    y = data["expression"].values.T
    y = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(panel.expression.T, y / np.sqrt((y**2).mean(axis=0)), atol=1e-8)
    x = data["dosage"].values.T.astype(float)
    x = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    norm = np.sqrt((x**2).sum(axis=0))
    usable = panel.ld.variance > 0
    np.testing.assert_allclose(panel.ld.factor[:, usable], x[:, usable] / norm[usable], atol=1e-8)
    assert panel.n == 150 - 2  # donors less covariates


@pytest.mark.parametrize("covariates", [0, 3])
def test_projection_is_an_orthonormal_basis(covariates: int) -> None:
    values = 1e4 * np.random.default_rng(1).standard_normal((covariates, 20))
    basis = projection(values, 20)
    assert basis.shape == (20, covariates + 1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(covariates + 1), atol=1e-12)


def test_collinear_covariates_count_once() -> None:
    """A constant, a multiple and a sum of others add nothing, whatever their units."""
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 30))
    basis = projection(np.array([a, b]), 30)
    more = projection(np.array([a, b, np.full(30, 7.0), 1e6 * a, a - 3 * b, np.zeros(30)]), 30)
    assert more.shape == basis.shape == (30, 3)
    np.testing.assert_allclose(more @ more.T, basis @ basis.T, atol=1e-9)


def test_as_many_covariates_as_donors_leave_no_expression(build: Build) -> None:
    """Nothing is left, and nothing is a gene; no division by zero."""
    few = build(panels=lambda panels: with_covariates(panels, lambda donors: np.eye(len(donors)))[:1])
    panel = read_panels(few, 1)["blood", "EUR"]
    assert panel.genes == {}
    assert not panel.ld.variance.any()
    assert panel.n >= 1


def test_missing_genotypes_are_the_mean_and_rare_ones_are_left_out(build: Build, block: Any) -> None:
    dosage = block.panel_dosage("blood", "EUR").copy()
    dosage[0] = 0
    dosage[0, :4] = 1  # four copies
    dosage[1] = 2
    dosage[1, :5] = 1  # five copies of the other allele
    dosage[2, ::3] = -1
    dosage[3] = -1
    locus = build(panels=lambda panels: [(*panels[0][:2], dosage, *panels[0][3:])])
    strict, lenient = (read_panels(locus, count)["blood", "EUR"] for count in (5, 4))
    assert strict.ld.variance[:4].tolist() == [0.0, 1.0, 1.0, 0.0]
    assert lenient.ld.variance[:4].tolist() == [1.0, 1.0, 1.0, 0.0]
    x = np.where(dosage[2] < 0, dosage[2][dosage[2] >= 0].mean(), dosage[2])
    x = x - x.mean()
    np.testing.assert_allclose(strict.ld.factor[:, 2], x / np.sqrt(x @ x), atol=1e-12)


def test_constant_expression_is_no_gene(build: Build) -> None:
    def constant(panels: list[Any]) -> list[Any]:
        frame = panels[0][4].copy()
        frame.iloc[1] = 3.7
        return [(*panels[0][:4], frame, None)]

    panel = read_panels(build(panels=constant), 1)["blood", "EUR"]
    assert sorted(panel.genes.values()) == [0, 2, 3]


def test_order_of_contexts_and_ancestries(build: Build) -> None:
    """Ancestries of the GWAS first, then those with expression only."""
    locus = build(gwas=lambda gwas: {"AFR": gwas["AFR"]}, ld=lambda ld: {"AFR": ld["AFR"]})
    assert contexts_and_ancestries(locus) == (["blood", "liver"], ["AFR", "EUR"])
    assert contexts_and_ancestries(build(panels=lambda panels: [])) == ([], ["EUR", "AFR"])


def test_gwas_arrays(build: Build, block: Any) -> None:
    """z as given, n the median over variants, zero where the GWAS of an ancestry is empty."""
    n = np.where(np.arange(len(block.variants)) < 5, 9e4, 1e5)
    holes = np.full(len(n), np.nan)
    locus = build(gwas=lambda gwas: {"EUR": (gwas["EUR"][0], n), "AFR": (holes, holes)})
    ancestries, z, sizes, ld = gwas_arrays(locus)
    assert ancestries == ["EUR", "AFR"]
    np.testing.assert_array_equal(z, [block.z["EUR"], holes])
    np.testing.assert_array_equal(sizes, [1e5, 0.0])
    assert [one.n_ref for one in ld] == [200.0, 200.0]
