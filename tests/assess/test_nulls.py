"""Nulls: what is exchanged, what is kept, and what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from bayestwas import names
from bayestwas.assess.nulls import NullSource, drawn, genes_table, permuted, thresholds_table
from bayestwas.engine.credible import bayesian_fdr


@pytest.fixture(scope="module")
def block() -> Any:
    pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
    from bayestwas.data.simulate import PRESETS, block_generator, simulate_block

    return simulate_block(PRESETS["tiny"], block_generator(5, 0), 0)


def panels(locus: xr.DataTree) -> dict[tuple[str, str], xr.Dataset]:
    return {
        (str(c), str(a)): node.to_dataset(inherit=False)
        for c, group in locus[names.EXPRESSION].children.items()
        for a, node in group.children.items()
    }


def test_permutation_exchanges_whole_people_and_keeps_them_over_contexts(block: Any) -> None:
    locus = block.to_locus()
    before, after = panels(locus), panels(permuted(locus, np.random.default_rng(1)))
    given: dict[str, dict[str, bytes]] = {}
    for key, data in before.items():
        assert data["expression"].identical(after[key]["expression"])
        old = [column.tobytes() for column in data["dosage"].transpose("donor", "variant").values]
        new = [column.tobytes() for column in after[key]["dosage"].transpose("donor", "variant").values]
        assert sorted(old) == sorted(new)
        assert np.mean([a == b for a, b in zip(old, new, strict=True)]) < 0.2  # few keep their own
        for donor, column in zip(data["donor"].values, new, strict=True):
            given.setdefault(str(donor), {})[str(key)] = column
    assert any(len(columns) == 2 for columns in given.values())  # EUR has two contexts
    assert all(len(set(columns.values())) == 1 for columns in given.values())
    assert locus[names.GWAS].identical(permuted(locus, np.random.default_rng(1))[names.GWAS])


@pytest.mark.parametrize("matrix", [False, True])
def test_drawn_z_have_the_covariance_of_the_reference(block: Any, matrix: bool) -> None:
    """Mean of z z' over 150 draws against R, entry by entry: sd at most sqrt(2 / 150), five of them."""
    locus = block.to_locus()
    dosage = block.reference["AFR"].astype(float)
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(dosage)
    if matrix:
        data = xr.Dataset({"correlation": ((names.VARIANT, "variant_"), r)}, attrs={"n_ref": 200.0})
        locus[f"{names.LD}/AFR"] = xr.DataTree(data)
    absent = np.isnan(locus[names.GWAS].dataset["z"].sel(ancestry="AFR").values)
    rng = np.random.default_rng(2)
    z = np.array([drawn(locus, rng)[names.GWAS].dataset["z"].sel(ancestry="AFR").values for _ in range(150)])
    assert (np.isnan(z).all(axis=0) == absent).all()
    there = ~absent & np.isfinite(np.diag(r))
    found = z[:, there].T @ z[:, there] / len(z)
    assert np.abs(found - r[np.ix_(there, there)]).max() < 5 * np.sqrt(2 / len(z))


def test_a_replicate_depends_on_seed_replicate_and_block(block: Any) -> None:
    def z(seed: int, replicate: int) -> np.ndarray:
        locus = NullSource(block.to_locus, "parametric", seed, replicate)()
        return np.nan_to_num(locus[names.GWAS].dataset["z"].values)

    assert np.array_equal(z(1, 1), z(1, 1))
    assert not np.array_equal(z(1, 1), z(1, 2))
    assert not np.array_equal(z(1, 1), z(2, 1))
    other = block.to_locus()
    other.attrs["block"] = "another"
    moved = NullSource(lambda: other, "parametric", 1, 1)()[names.GWAS].dataset["z"].values
    assert not np.array_equal(z(1, 1), np.nan_to_num(moved))


def test_thresholds_are_counted() -> None:
    observed = np.array([0.99, 0.96, 0.85, 0.3, 0.01])
    nulls = [np.array([0.97, 0.6, 0.0]), np.array([0.1, 0.1, 0.1]), np.array([0.82, 0.81, 0.2])]
    table = thresholds_table(observed, nulls).set_index("threshold")
    row = table.loc["PIP >= 0.8"]
    assert (row["genes"], row["null_most"]) == (3, 2)
    assert row["null_mean"] == pytest.approx(1.0)
    assert row["empirical_fdr"] == pytest.approx(1 / 3)
    assert row["empirical_fdr_high"] == pytest.approx(stats.chi2.ppf(0.975, 8) / 2 / 3 / 3)
    assert row["bayesian_fdr"] == pytest.approx(np.mean([0.01, 0.04, 0.15]))
    assert table.loc["Bayesian FDR <= 0.05", "genes"] == 2  # (0.01 + 0.04) / 2, and with 0.15 more than 0.05
    assert table.loc["Bayesian FDR <= 0.05", "null_mean"] == pytest.approx(1 / 3)
    nothing = thresholds_table(np.array([0.1]), nulls).set_index("threshold")
    assert nothing.loc["PIP >= 0.5", "genes"] == 0
    assert nothing.loc["PIP >= 0.5", ["empirical_fdr", "bayesian_fdr"]].isna().all()


def test_rates_of_genes_do_not_fall_with_the_pip() -> None:
    observed = pd.DataFrame({"gene": ["a", "b", "c", "d"], "pip": [0.2, 0.95, 0.9, 0.5]})
    nulls = [np.array([0.92, 0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1, 0.1])]
    table = genes_table(observed, nulls).set_index("gene")
    assert table.index.tolist() == ["b", "c", "d", "a"]
    # half a null gene above 0.9, of two, three and four genes; the least rate at or below each PIP
    np.testing.assert_allclose(table["empirical_fdr"], [0, 0.125, 0.125, 0.125])
    np.testing.assert_allclose(table["bayesian_fdr"], bayesian_fdr(table["pip"].to_numpy()))
