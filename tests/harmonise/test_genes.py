"""Genes, blocks and donors: every requested gene has one row, every lost donor a ledger entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.variants import block_number
from bayestwas.errors import HarmonisationError, InputError
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.genes import merged_windows


def _genes(harmonised: Any) -> dict[str, tuple[str, str]]:
    assert harmonised.genes["gene"].is_unique
    table = harmonised.genes.set_index("gene")
    return {gene: (table.at[gene, "status"], table.at[gene, "reason"]) for gene in table.index}


def _blocks(*rows: tuple[str, str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["block", "chromosome", "start", "end"])


def test_windows_that_overlap_are_merged() -> None:
    genes = pd.DataFrame({"chromosome": ["10", "2", "2", "2"], "tss": [50, 1000, 1150, 5000]})
    blocks = merged_windows(genes, 100)
    assert blocks.to_numpy().tolist() == [
        ["2_899_1250", "2", 899, 1250],  # the TSS are 1-based, blocks 0-based and half-open
        ["2_4899_5100", "2", 4899, 5100],
        ["10_0_150", "10", 0, 150],
    ]


def test_a_block_holds_the_bases_after_its_start_up_to_its_end() -> None:
    blocks = _blocks(("b", "1", 200, 300), ("a", "1", 100, 200), ("x", "X", 0, 10))
    chromosome = np.array(["1", "1", "1", "1", "1", "X", "2"], dtype=object)
    position = np.array([100, 101, 200, 201, 301, 10, 5])
    assert block_number(blocks, chromosome, position).tolist() == [-1, 1, 1, 0, -1, 2, -1]


def test_genes_of_a_clean_study(draft: Any) -> None:
    harmonised = harmonise(draft.build(cis_window=5000))
    assert _genes(harmonised) == {"G1": ("ok", ""), "G2": ("ok", "")}
    assert harmonised.genes["n_variants"].tolist() == [11, 11]
    assert harmonised.genes["chromosome"].tolist() == ["7", "7"]
    assert harmonised.blocks["n_genes"].tolist() == [1, 1]


def test_blocks_cut_windows_and_leave_genes_out(draft: Any) -> None:
    blocks = _blocks(("b1", "chr7", 1_002_000, 1_010_000), ("empty", "chr7", 2_000_000, 2_010_000))
    harmonised = harmonise(draft.build(blocks=blocks))
    assert _genes(harmonised)["G2"] == ("skipped", "its TSS 7:1020000 lies in no block")
    assert harmonised.genes["n_variants"].tolist() == [8, 0]
    assert harmonised.blocks["n_variants"].tolist() == [8, 0]
    tree = harmonised.locus("b1")
    assert (tree.attrs["start"], tree.attrs["end"], tree.attrs["chromosome"]) == (1_002_000, 1_010_000, "7")
    assert tree["genes/gene"].values.tolist() == ["G1"]
    assert blocks["chromosome"].tolist() == ["chr7", "chr7"]  # the argument is as it was
    with pytest.raises(InputError, match="block empty holds no variant"):
        harmonised.locus("empty")


def test_requested_genes_bring_the_genes_of_their_blocks(draft: Any) -> None:
    blocks = _blocks(("b1", "7", 1_000_000, 1_010_000), ("b2", "7", 1_010_000, 1_040_000))
    apart = harmonise(draft.build(genes=("nowhere", "G2"), blocks=blocks))
    assert apart.genes["gene"].tolist() == ["G2", "nowhere"]
    assert _genes(apart)["nowhere"] == ("skipped", "in no phenotype file")
    assert apart.locus("b2")["expression/LCL/EUR/gene"].values.tolist() == ["G2"]
    together = harmonise(draft.build(genes=("G2",)))  # one block of merged windows
    assert together.genes["gene"].tolist() == ["G1", "G2"]
    tree = together.locus(together.blocks["block"].iloc[0])
    xr.testing.assert_identical(tree, harmonise(draft.build()).locus(together.blocks["block"].iloc[0]))


def test_genes_are_ordered_by_chromosome_and_tss(draft: Any) -> None:
    draft.genes["tss"] = draft.genes["tss"].to_numpy()[::-1].copy()
    assert harmonise(draft.build()).genes["gene"].tolist() == ["G2", "G1"]


def test_no_requested_gene_is_known(draft: Any) -> None:
    with pytest.raises(HarmonisationError, match=r"none of the 1 requested genes .* such as G1, G2"):
        harmonise(draft.build(genes=("nowhere",)))


def test_zero_variance_in_one_panel_is_a_warning_and_in_all_a_skip(draft: Any) -> None:
    draft.expression["EUR"][0] = 3.7
    harmonised = harmonise(draft.build())
    assert _genes(harmonised)["G1"] == ("warning", "left out: zero-variance expression in LCL/EUR")
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    assert tree["expression/LCL/EUR/gene"].values.tolist() == ["G2"]
    assert tree["expression/LCL/AFR/gene"].values.tolist() == ["G1", "G2"]
    draft.expression["AFR"][0, :3] = np.nan
    missing = "expression missing in 3 of 25 donors (more than 10%) in LCL/AFR"
    reason = f"zero-variance expression in LCL/EUR; {missing}"
    assert _genes(harmonise(draft.build()))["G1"] == ("skipped", reason)


def test_few_missing_values_are_filled_with_the_mean(draft: Any) -> None:
    draft.expression["AFR"][0, :2] = np.nan
    draft.expression["EUR"][1] = 1.0
    draft.expression["EUR"][1, 4] = np.nan  # what is known does not vary
    harmonised = harmonise(draft.build())
    assert _genes(harmonised)["G1"] == ("ok", "")
    assert _genes(harmonised)["G2"] == ("warning", "left out: zero-variance expression in LCL/EUR")
    values = harmonised.locus(harmonised.blocks["block"].iloc[0])["expression/LCL/AFR/expression"].values
    np.testing.assert_allclose(values[0, :2], draft.expression["AFR"][0, 2:].mean(), rtol=1e-12)
    np.testing.assert_array_equal(values[0, 2:], draft.expression["AFR"][0, 2:])
    (note,) = harmonised.notes
    assert note.startswith("lcl.AFR.bed: 1 genes lack values in up to 10% of the donors")


def test_a_gene_without_variants_in_its_window(draft: Any) -> None:
    draft.genes.loc[1, "tss"] = 1_500_000
    blocks = _blocks(("b1", "7", 900_000, 1_600_000))
    harmonised = harmonise(draft.build(cis_window=10_000, blocks=blocks))
    reason = "no variant within 10,000 bp of its TSS in the genotypes of its panels"
    assert _genes(harmonised)["G2"] == ("skipped", reason)
    tree = harmonised.locus("b1")
    assert tree["genes/status"].values.tolist() == ["ok", "skipped"]
    assert tree["expression/LCL/EUR/gene"].values.tolist() == ["G1"]


def test_a_gene_whose_variants_no_gwas_has(draft: Any) -> None:
    near = draft.tables["gwas.EUR"]["position"] < 1_015_000
    for name in ("gwas.EUR", "gwas.AFR"):
        draft.tables[name] = draft.tables[name][near].reset_index(drop=True)
    status, reason = _genes(harmonise(draft.build(cis_window=4000)))["G2"]
    assert (status, reason) == (
        "skipped",
        "no variant within 4,000 bp of its TSS is in both a panel and a GWAS",
    )


def test_a_gene_measured_in_one_panel_only(draft: Any) -> None:
    study = draft.build()
    one = study.panels[1].expression.isel(gene=[1])
    panels = (study.panels[0], type(study.panels[1])("LCL", "AFR", study.panels[1].genotypes, one))
    harmonised = harmonise(draft.build(panels=panels))
    assert set(_genes(harmonised).values()) == {("ok", "")}
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    assert tree["expression/LCL/AFR/gene"].values.tolist() == ["G2"]


def test_panels_that_place_a_gene_apart(draft: Any) -> None:
    study = draft.build()
    moved = study.panels[1].expression.assign(tss=("gene", [1, 2]))
    panels = (study.panels[0], type(study.panels[1])("LCL", "AFR", study.panels[1].genotypes, moved))
    with pytest.raises(HarmonisationError, match=r"gene G1 starts at 7:1005000 in lcl\.EUR\.bed and at 7:1 "):
        harmonise(draft.build(panels=panels))


def test_an_ancestry_with_expression_and_no_gwas_and_the_reverse(draft: Any) -> None:
    study = draft.build()
    harmonised = harmonise(draft.build(gwas={"EUR": study.gwas["EUR"]}, panels=study.panels[1:]))
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    assert tree["gwas/ancestry"].values.tolist() == ["EUR"]
    assert list(tree["ld"].children) == ["EUR"]
    assert list(tree["expression/LCL"].children) == ["AFR"]
    assert any("LD in AFR is not used" in note for note in harmonised.notes)


def test_donors_follow_their_identifiers(draft: Any) -> None:
    order = np.random.default_rng(2).permutation(25)
    before = harmonise(draft.build())
    draft.donors["EUR"] = draft.donors["EUR"][order]
    draft.expression["EUR"] = draft.expression["EUR"][:, order]
    after = harmonise(draft.build())
    one, two = (
        h.locus(h.blocks["block"].iloc[0])["expression/LCL/EUR"].to_dataset() for h in (before, after)
    )
    xr.testing.assert_equal(two.sel(donor=one["donor"]), one)


def test_donors_without_genotypes_are_left_out_and_said(draft: Any) -> None:
    draft.donors["EUR"] = np.array(["stranger", *draft.donors["EUR"][1:]])
    harmonised = harmonise(draft.build())
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    assert tree["expression/LCL/EUR"].sizes["donor"] == 24
    np.testing.assert_array_equal(tree["expression/LCL/EUR/expression"], draft.expression["EUR"][:, 1:])
    np.testing.assert_array_equal(tree["expression/LCL/EUR/dosage"], draft.dosage["donors.EUR"][:, 1:])
    entry = harmonised.ledger[harmonised.ledger["source_id"] == "stranger"].iloc[0]
    assert entry["file"] == "lcl.EUR.bed"
    assert (entry["action"], entry["reason"]) == ("dropped", "donor without genotypes in donors.EUR")
    assert "1 of 25 donors have no genotypes in donors.EUR and are left out (stranger)" in harmonised.notes[0]


def test_too_few_donors(draft: Any) -> None:
    draft.donors["EUR"] = np.array([f"HG{i}" for i in range(16)] + draft.donors["EUR"][16:].tolist())
    with pytest.raises(
        HarmonisationError, match=r"9 of 25 donors have genotypes in donors\.EUR; HG0"
    ) as error:
        harmonise(draft.build())
    assert "lcl.EUR.bed" in error.value.given
    assert "donors.EUR.0" in error.value.given  # what the other file calls them
    assert "column 2" in error.value.remedy


def _covariates(donors: np.ndarray, count: int = 2) -> xr.DataArray:
    values = np.arange(count * len(donors), dtype=float).reshape(count, len(donors))
    coords = {"covariate": [f"PC{i}" for i in range(count)], "donor": donors}
    return xr.DataArray(values, dims=("covariate", "donor"), coords=coords, attrs={"source": "cov.tsv"})


def test_covariates_are_matched_by_donor(draft: Any) -> None:
    covariates = _covariates(draft.donors["EUR"][::-1])
    draft.covariates["EUR"] = covariates
    harmonised = harmonise(draft.build())
    panel = harmonised.locus(harmonised.blocks["block"].iloc[0])["expression/LCL/EUR"]
    xr.testing.assert_equal(
        panel["covariates"].drop_attrs(), covariates.sel(donor=panel["donor"]).drop_attrs()
    )


def test_covariates_that_lack_a_donor_or_leave_no_room(draft: Any) -> None:
    draft.covariates["EUR"] = _covariates(draft.donors["EUR"][:-2])
    with pytest.raises(
        HarmonisationError, match=r"cov\.tsv lacks 2 of the 25 donors of lcl\.EUR\.bed"
    ) as error:
        harmonise(draft.build())
    assert "Add the donors" in error.value.remedy
    draft.covariates["EUR"] = _covariates(draft.donors["EUR"], 23)
    with pytest.raises(HarmonisationError, match=r"cov\.tsv has 23 covariates for 25 donors"):
        harmonise(draft.build())


def test_wide_blocks_of_merged_windows_are_told(draft: Any) -> None:
    draft.genes["tss"] = [6_000_000, 14_000_000]
    harmonised = harmonise(draft.build(cis_window=5_000_000))
    assert any("give [blocks] path" in note for note in harmonised.notes)
