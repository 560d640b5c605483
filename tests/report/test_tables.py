"""The tables: columns of the contract, a row for every gene, numbers that read back, whole files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.report.tables import (
    TABLES,
    genes_table,
    replacing,
    variants_table,
    write_table,
    write_tables,
)

COLUMNS = {
    "genes.tsv": "gene symbol block chromosome tss pip pip_mcse bayesian_fdr best_context modality effect"
    " effect_sd sign_probability"
    " twas_z twas_p twas_bonferroni twas_bh twas_q conditional_z conditional_z_lead permutation_p n_signals"
    " heterogeneity_p h4 grcp direct_variant direct_pip direction agreement n_variants"
    " pip_fixed_priors pip_plugin pip_weights pip_ld"
    " pip_without_finite_ld pip_without_mismatch pip_without_background pip_one_effect"
    " credible_set status reason explanation"
    " data",
    "contexts.tsv": "gene context modality pip h4 grcp cis_h2 cis_h2_sd data",
    "effects.tsv": "gene context ancestry effect effect_sd sign_probability expression_excess data",
    "variants.tsv": "variant block position effect_allele other_allele pip_direct ancestry z data",
    "blocks.tsv": "block variants genes n_ref mismatch background converged iterations seconds status reason "
    "reliability suspects reliability_reason data",
    "suspects.tsv": "variant block ancestry z predicted t reason data",
    "priors.tsv": "stage parameter of unit mean sd low high prior_sd prior_low prior_high informed"
    " source statement data",
    "notes.tsv": "note data",
}


@pytest.fixture
def tables(synthetic_result: xr.DataTree, tmp_path: Path) -> dict[str, pd.DataFrame]:
    """The tables as a reader of the files sees them: all fields text, so that nothing is guessed."""
    paths = write_tables(synthetic_result, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(TABLES)
    return {path.name: pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False) for path in paths}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_of_the_contract(tables: dict[str, pd.DataFrame], name: str) -> None:
    assert list(tables[name].columns) == COLUMNS[name].split()
    assert (tables[name]["data"] == "simulated").all()


def test_every_requested_gene_has_a_row(
    tables: dict[str, pd.DataFrame], synthetic_result: xr.DataTree
) -> None:
    genes = tables["genes.tsv"]
    assert list(genes["gene"]) == list(synthetic_result["marginals"].dataset["gene"].values)
    skipped = genes[genes["status"].isin(["skipped", "failed"])]
    numbers = COLUMNS["genes.tsv"].split()[5:18]
    assert len(skipped) == 7
    assert (skipped[[c for c in numbers if c != "n_variants"]] == "").all().all()
    assert (skipped[["reason", "explanation", "tss"]] != "").all().all()
    assert (genes.loc[genes["status"] == "ok", numbers] != "").all().all()


def test_numbers_have_six_digits_and_positions_all(
    tables: dict[str, pd.DataFrame], synthetic_result: xr.DataTree
) -> None:
    pips = synthetic_result["marginals"].dataset["pip"].values
    written = pd.to_numeric(tables["genes.tsv"]["pip"]).to_numpy()
    # six significant digits: a relative error of half a unit in the sixth
    np.testing.assert_allclose(written, pips, rtol=5e-6)
    positions = synthetic_result["constant_data"].dataset["position"].values.astype(int)
    assert list(tables["variants.tsv"]["position"].astype(int)[::3]) == list(positions)
    assert list(tables["genes.tsv"]["tss"].astype(int)) == list(
        synthetic_result["constant_data"].dataset["tss"].values.astype(int)
    )


def test_contexts_and_effects_have_rows_only_where_fitted(
    tables: dict[str, pd.DataFrame], synthetic_result: xr.DataTree
) -> None:
    effects, contexts = tables["effects.tsv"], tables["contexts.tsv"]
    # 4 genes x 2 contexts x 3 ancestries and 2 genes x 1 context x 2 ancestries
    assert len(effects) == 28
    assert len(contexts) == 10
    assert set(contexts.loc[contexts["gene"].str.startswith("B2"), "context"]) == {"blood"}
    marginals = synthetic_result["marginals"].dataset
    row = effects[(effects["gene"] == "B2-G1") & (effects["ancestry"] == "AFR")].iloc[0]
    expected = float(marginals["effect"].sel(gene="B2-G1", context="blood", ancestry="AFR"))
    assert float(row["effect"]) == pytest.approx(expected, rel=5e-6)


def test_variants_have_a_row_per_ancestry(
    tables: dict[str, pd.DataFrame], synthetic_result: xr.DataTree
) -> None:
    variants = tables["variants.tsv"]
    assert len(variants) == 900 * 3
    z = synthetic_result["observed_data"].dataset["z"]
    one = variants[variants["variant"] == z["variant"].values[450]].set_index("ancestry")
    assert float(one.loc["AFR", "z"]) == pytest.approx(float(z.sel(ancestry="AFR")[450]), rel=5e-6)
    assert one.loc["EAS", "z"] == ""  # the second block has no EAS GWAS
    assert one["pip_direct"].nunique() == 1
    assert (one["block"] == "b2").all()


def test_blocks_name_the_size_of_each_reference(tables: dict[str, pd.DataFrame]) -> None:
    blocks = tables["blocks.tsv"].set_index("block")
    assert blocks.loc["b2", "n_ref"] == "EUR=489,AFR=639"
    assert list(blocks["status"]) == ["ok", "ok", "failed"]
    assert blocks.loc["b3", ["iterations", "seconds"]].tolist() == ["", ""]
    assert blocks.loc["b1", ["variants", "genes", "iterations", "converged"]].tolist() == [
        "300",
        "6",
        "12",
        "True",
    ]


def test_real_data_say_so(build_block_result: Callable[..., xr.DataTree]) -> None:
    assert set(genes_table(build_block_result("b1", simulated=False))["data"]) == {"real"}


def test_stored_explanations_are_kept(synthetic_result: xr.DataTree) -> None:
    stored = synthetic_result["marginals"].dataset["explanation"].values
    stored[:] = [f"sentence {i}" for i in range(len(stored))]
    assert list(genes_table(synthetic_result)["explanation"]) == list(stored)


def test_zero_has_no_sign(synthetic_result: xr.DataTree) -> None:
    synthetic_result["marginals"].dataset["pip_plugin"].values[:] = -0.0
    synthetic_result["marginals"].dataset["effect"].values[:] = -0.0
    assert not np.signbit(genes_table(synthetic_result)["pip_plugin"]).any()
    assert not np.signbit(TABLES["effects.tsv"](synthetic_result)["effect"]).any()


def test_text_cannot_break_a_row(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": ['tab\tline\nend "quoted"'], "b": [1.0]})
    write_table(table, tmp_path / "x.tsv")
    assert (tmp_path / "x.tsv").read_text() == "a\tb\ntab line end 'quoted'\t1\n"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("before")

    def stop_half_way() -> None:
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        stop_half_way()
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tsv"]
    with replacing(path) as scratch:
        scratch.write_text("after")
    assert path.read_text() == "after"
    fresh = tmp_path / "fresh"
    fresh.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(fresh.stat().st_mode)


def test_a_result_without_variants_or_genes_gives_headers(
    build_block_result: Callable[..., xr.DataTree],
) -> None:
    result = build_block_result("b1")
    empty = {
        name: node.to_dataset().isel({d: slice(0) for d in ("gene", "variant", "entry") if d in node.dims})
        for name, node in result.children.items()
    }
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=result.attrs), **empty})
    assert len(variants_table(tree)) == 0
    for name, make in TABLES.items():
        assert list(make(tree).columns) == COLUMNS[name].split()
