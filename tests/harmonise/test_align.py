"""Variants: one orientation for all files, every change in the ledger, nothing silent."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.schema import check_locus
from bayestwas.data.studies import Genotypes
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.align import Harmonised, harmonise

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
FILES = ("gwas.EUR", "gwas.AFR", "ld.EUR", "ld.AFR", "donors.EUR", "donors.AFR")


def _locus(draft: Any, **changes: Any) -> xr.DataTree:
    harmonised = harmonise(draft.build(**changes))
    assert len(harmonised.blocks) == 1
    return harmonised.locus(harmonised.blocks["block"].iloc[0])


def _swap(draft: Any, name: str, rows: np.ndarray) -> None:
    """Count the other allele in some rows of a file: labels and values, so that the data say the same."""
    table = draft.tables[name]
    effect, other = table["effect_allele"].to_numpy(), table["other_allele"].to_numpy()
    table["effect_allele"] = np.where(rows, other, effect)
    table["other_allele"] = np.where(rows, effect, other)
    if "z" in table:
        table["z"] = np.where(rows, -table["z"], table["z"])
    else:
        dosage = draft.dosage[name]
        draft.dosage[name] = np.where(rows[:, None] & (dosage >= 0), 2 - dosage, dosage).astype(np.int8)


def _turn(draft: Any, name: str, rows: np.ndarray) -> None:
    """Name the alleles of some single-base rows by the other strand."""
    table = draft.tables[name]
    for column in ("effect_allele", "other_allele"):
        turned = [COMPLEMENT.get(a, a) if row else a for a, row in zip(table[column], rows, strict=True)]
        table[column] = turned


def _snps(draft: Any) -> np.ndarray:
    return (draft.tables["ld.EUR"]["effect_allele"].str.len() == 1).to_numpy()


def _dropped(harmonised: Harmonised) -> pd.DataFrame:
    return harmonised.ledger[harmonised.ledger["action"] == "dropped"]


def test_a_clean_study_is_kept_whole(draft: Any) -> None:
    harmonised = harmonise(draft.build())
    assert (harmonised.overlap.to_numpy() == 40).all()
    assert harmonised.overlap.index.tolist() == list(FILES)
    assert harmonised.ledger["action"].tolist() == ["kept"] * 6  # one row that counts, per file
    assert harmonised.ledger["reason"].iloc[0].startswith("40 variants in the blocks: 40 as they are")
    assert harmonised.variants.index[0] == "7:1000000:G:A"  # chromosome:position:other:effect
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    check_locus(tree)
    np.testing.assert_array_equal(tree["ld/EUR/dosage"], draft.dosage["ld.EUR"])
    np.testing.assert_array_equal(tree["expression/LCL/AFR/dosage"], draft.dosage["donors.AFR"])
    np.testing.assert_array_equal(tree["gwas/z"].sel(ancestry="AFR"), draft.tables["gwas.AFR"]["z"])
    np.testing.assert_allclose(tree["ld/AFR/correlation"], np.corrcoef(draft.dosage["ld.AFR"]))
    assert tree["ld/AFR"].attrs["n_ref"] == 60


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("change", ["swap", "turn", "both"])
def test_alleles_of_any_later_file_change_nothing(draft: Any, name: str, change: str) -> None:
    before = _locus(draft)
    rows = np.arange(40) % 3 == 0
    if change in ("turn", "both"):
        rows &= _snps(draft)
        _turn(draft, name, rows)
    if change in ("swap", "both"):
        _swap(draft, name, rows)
    after = harmonise(draft.build())
    tree = after.locus(after.blocks["block"].iloc[0])
    for node in before.subtree:  # a matrix is computed again from swapped dosages: equal to rounding
        xr.testing.assert_allclose(tree[node.path].to_dataset(), node.to_dataset(), rtol=1e-12, atol=1e-12)
    entries = after.ledger[(after.ledger["file"] == name) & (after.ledger["variant"] != "")]
    assert len(entries) == rows.sum()
    assert set(entries["action"]) == {"flipped" if change == "swap" else "strand"}
    expected = {"swap": "alleles swapped", "turn": "other strand", "both": "other strand, alleles swapped"}
    assert set(entries["reason"]) == {expected[change]}
    assert set(entries["variant"]) == set(np.asarray(tree["variant"])[rows])


def test_alleles_of_the_first_file_change_signs_and_nothing_else(draft: Any) -> None:
    before = _locus(draft)
    rows = np.arange(40) % 3 == 0
    _swap(draft, "gwas.EUR", rows)
    after = _locus(draft)
    sign = np.where(rows, -1, 1)
    np.testing.assert_array_equal(after["gwas/z"], before["gwas/z"] * sign)
    np.testing.assert_allclose(
        after["ld/AFR/correlation"], before["ld/AFR/correlation"] * np.outer(sign, sign)
    )
    old, new = before["ld/EUR/dosage"].values, after["ld/EUR/dosage"].values
    np.testing.assert_array_equal(new, np.where(rows[:, None] & (old >= 0), 2 - old, old))
    np.testing.assert_array_equal(after["effect_allele"].values[rows], before["other_allele"].values[rows])


def test_the_order_of_rows_does_not_matter(draft: Any) -> None:
    before = _locus(draft)
    order = np.random.default_rng(1).permutation(40)
    for name in FILES:
        draft.tables[name] = draft.tables[name].iloc[order].reset_index(drop=True)
        if name in draft.dosage:
            draft.dosage[name] = draft.dosage[name][order]
    xr.testing.assert_allclose(_locus(draft), before)


def _palindromic(draft: Any, row: int) -> None:
    for name in FILES:
        draft.tables[name].loc[row, ["effect_allele", "other_allele"]] = ["A", "T"]


def _set_frequency(draft: Any, name: str, row: int, frequency: float) -> None:
    count = draft.dosage[name].shape[1]
    alleles = np.arange(2 * count) < frequency * 2 * count
    draft.dosage[name][row] = alleles.reshape(2, count).sum(axis=0)


def _eaf(draft: Any, name: str, row: int, frequency: float) -> None:
    values = np.full(40, np.nan)
    values[row] = frequency
    draft.tables[name]["effect_allele_frequency"] = values


def test_palindromic_without_frequency_is_dropped_with_its_reason(draft: Any) -> None:
    _palindromic(draft, 3)
    harmonised = harmonise(draft.build())
    dropped = _dropped(harmonised)
    assert set(dropped["file"]) == set(FILES)  # the GWAS that came first has no LD left
    at_ld = dropped[dropped["file"] == "ld.EUR"].iloc[0]
    assert at_ld["variant"] == "7:1003000:T:A"
    assert at_ld["source_id"] == "rs3"
    assert at_ld["reason"] == "palindromic, no frequency"
    reason = dropped.loc[dropped["file"] == "gwas.EUR", "reason"].item()
    assert reason == "not in the LD reference of EUR (ld.EUR)"
    assert "7:1003000:T:A" not in harmonised.variants.index


def test_palindromic_with_identifiers_that_spell_out_the_alleles_is_kept(draft: Any) -> None:
    _palindromic(draft, 3)
    for name in FILES:
        draft.tables[name].loc[3, "variant_id"] = "7_1003000_A_T_b37" if name < "g" else "chr7:1003000:A:T"
    assert _dropped(harmonise(draft.build())).empty


def test_identifiers_that_name_another_order_are_no_proof(draft: Any) -> None:
    _palindromic(draft, 3)
    for name in FILES:
        draft.tables[name].loc[3, "variant_id"] = "7_1003000_A_T"
    draft.tables["ld.EUR"].loc[3, "variant_id"] = "7_1003000_T_A"
    dropped = _dropped(harmonise(draft.build()))
    assert dropped.loc[dropped["file"] == "ld.EUR", "reason"].item() == "palindromic, no frequency"


@pytest.mark.parametrize(
    ("gwas", "panel", "action", "reason"),
    [
        (0.2, 0.25, "kept", ""),
        (0.8, 0.7, "kept", ""),
        (0.2, 0.8, "strand", "palindromic, on the other strand by its frequency"),
        (0.2, 0.5, "dropped", "palindromic, frequencies near one half do not tell the strand"),
        (0.45, 0.2, "dropped", "palindromic, frequencies near one half do not tell the strand"),
    ],
)
def test_palindromic_by_frequency_within_an_ancestry(
    draft: Any, gwas: float, panel: float, action: str, reason: str
) -> None:
    _palindromic(draft, 3)
    _eaf(draft, "gwas.EUR", 3, gwas)
    _set_frequency(draft, "ld.EUR", 3, panel)
    harmonised = harmonise(draft.build())
    entry = harmonised.ledger[(harmonised.ledger["file"] == "ld.EUR") & (harmonised.ledger["variant"] != "")]
    assert entry["action"].tolist() == ([] if action == "kept" else [action])
    assert entry["reason"].tolist() == ([] if action == "kept" else [reason])
    if action == "strand":
        tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
        np.testing.assert_array_equal(tree["ld/EUR/dosage"][3], 2 - draft.dosage["ld.EUR"][3])


def test_swapped_labels_are_undone_before_frequencies_are_compared(draft: Any) -> None:
    _palindromic(draft, 3)
    _eaf(draft, "gwas.EUR", 3, 0.2)
    _set_frequency(draft, "ld.EUR", 3, 0.75)
    draft.tables["ld.EUR"].loc[3, ["effect_allele", "other_allele"]] = ["T", "A"]
    harmonised = harmonise(draft.build())
    entry = harmonised.ledger[(harmonised.ledger["file"] == "ld.EUR") & (harmonised.ledger["variant"] != "")]
    assert entry["action"].tolist() == ["flipped"]
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    np.testing.assert_array_equal(tree["ld/EUR/dosage"][3], 2 - draft.dosage["ld.EUR"][3])


def test_another_ancestry_can_confirm_a_strand_and_not_turn_it(draft: Any) -> None:
    _palindromic(draft, 3)
    _eaf(draft, "gwas.EUR", 3, 0.2)
    for name, frequency in (("ld.EUR", 0.2), ("donors.EUR", 0.2), ("donors.AFR", 0.8)):
        _set_frequency(draft, name, 3, frequency)
    dropped = _dropped(harmonise(draft.build()))
    reason = dropped.loc[dropped["file"] == "donors.AFR", "reason"].item()
    assert reason == "palindromic, frequencies differ between ancestries"
    _set_frequency(draft, "donors.AFR", 3, 0.3)
    dropped = _dropped(harmonise(draft.build()))
    assert "donors.AFR" not in set(dropped["file"])


def _spelled(draft: Any, row: int) -> None:
    for name in FILES:
        draft.tables[name].loc[row, "variant_id"] = "7_1003000_A_T"


def _other_strand_throughout(draft: Any, name: str, row: int) -> None:
    """A file on the other strand: the palindromic row of it too, whose labels read A/T all the same."""
    _turn(draft, name, _snps(draft))
    table = draft.tables[name]
    assert sorted(table.loc[row, ["effect_allele", "other_allele"]]) == ["A", "T"]


def test_palindromes_of_a_file_without_identifiers_and_frequencies_are_dropped(draft: Any) -> None:
    _palindromic(draft, 3)
    _spelled(draft, 3)
    draft.tables["gwas.EUR"]["variant_id"] = ""  # as the reader leaves it where there is no such column
    harmonised = harmonise(draft.build())
    dropped = _dropped(harmonised).set_index("file")["reason"]
    assert dropped["gwas.AFR"] == "palindromic, no frequency"
    assert dropped["ld.EUR"] == "palindromic, no frequency"
    assert dropped["gwas.EUR"] == "not in the LD reference of EUR (ld.EUR)"
    assert harmonised.variants["source_id"].iloc[0] == harmonised.variants.index[0]
    (note,) = harmonised.notes
    assert note.startswith("1 palindromic variant (A/T or C/G) is dropped from a file or more")


def test_identifiers_are_no_evidence_where_the_file_is_on_the_other_strand(draft: Any) -> None:
    _palindromic(draft, 3)
    _spelled(draft, 3)
    _other_strand_throughout(draft, "gwas.EUR", 3)
    harmonised = harmonise(draft.build())
    reasons = _dropped(harmonised).set_index("file")["reason"]
    assert reasons["ld.EUR"].startswith("palindromic, no frequency, and its identifier says nothing")
    assert reasons["gwas.EUR"] == "not in the LD reference of EUR (ld.EUR)"


@pytest.mark.parametrize("spelled", [True, False])
def test_a_first_file_on_the_other_strand_is_undone_by_frequencies(draft: Any, spelled: bool) -> None:
    """The panels follow their own ancestry, or their neighbours of the same identifiers; nothing is lost."""
    _palindromic(draft, 3)
    if spelled:
        _spelled(draft, 3)
    for name in ("ld.EUR", "donors.EUR", "donors.AFR"):
        _set_frequency(draft, name, 3, 0.2)
    _eaf(draft, "gwas.AFR", 3, 0.2)
    _eaf(draft, "gwas.EUR", 3, 0.2)
    before = _locus(draft)
    _other_strand_throughout(draft, "gwas.EUR", 3)  # what it calls T is A for all others
    after = harmonise(draft.build())
    own = (after.ledger["variant"] == "7:1003000:A:T") & (after.ledger["action"] == "strand")
    expected = ["gwas.AFR", "ld.EUR", "donors.EUR", "donors.AFR", *(["ld.AFR"] if spelled else [])]
    assert sorted(after.ledger.loc[own, "file"]) == sorted(expected)
    tree = after.locus(after.blocks["block"].iloc[0])
    # only names change: what the first file calls T counts the same allele as A did
    np.testing.assert_array_equal(tree["gwas/z"].values[0], before["gwas/z"].values[0])
    if spelled:  # an LD matrix has no frequency: without identifiers it lacks this variant before and after
        np.testing.assert_array_equal(tree["gwas/z"].values[1], before["gwas/z"].values[1])
        np.testing.assert_allclose(tree["ld/AFR/correlation"], before["ld/AFR/correlation"])
    np.testing.assert_array_equal(tree["ld/EUR/dosage"], before["ld/EUR/dosage"])
    for panel in ("EUR", "AFR"):
        where = f"expression/LCL/{panel}/dosage"
        np.testing.assert_array_equal(tree[where], before[where])


def test_people_among_whom_nothing_varies_do_not_tell_the_strand(draft: Any) -> None:
    _palindromic(draft, 3)
    _spelled(draft, 3)
    _eaf(draft, "gwas.EUR", 3, 0.7)
    draft.dosage["ld.EUR"][3] = 0
    entry = harmonise(draft.build()).ledger
    assert entry[(entry["file"] == "ld.EUR") & (entry["variant"] != "")].empty  # kept by its identifier


def test_another_ancestry_on_the_other_strand_confirms_nothing_by_agreeing(draft: Any) -> None:
    _palindromic(draft, 3)
    _eaf(draft, "gwas.EUR", 3, 0.2)
    _eaf(draft, "gwas.AFR", 3, 0.8)  # its T is A for the others, which is rare there and common here
    _other_strand_throughout(draft, "gwas.AFR", 3)
    dropped = _dropped(harmonise(draft.build())).set_index("file")["reason"]
    assert dropped["gwas.AFR"] == "palindromic, frequencies differ between ancestries"


def test_clear_frequencies_come_before_identifiers(draft: Any) -> None:
    _palindromic(draft, 3)
    _spelled(draft, 3)
    _eaf(draft, "gwas.EUR", 3, 0.2)
    _set_frequency(draft, "ld.EUR", 3, 0.8)
    ledger = harmonise(draft.build()).ledger
    entry = ledger[(ledger["file"] == "ld.EUR") & (ledger["variant"] != "")]
    assert entry["reason"].tolist() == ["palindromic, on the other strand by its frequency"]
    _set_frequency(draft, "ld.EUR", 3, 0.5)  # not clear: the identifiers settle it
    assert _dropped(harmonise(draft.build())).empty


@pytest.mark.parametrize("name", FILES)
def test_all_copies_of_a_duplicate_are_dropped(draft: Any, name: str) -> None:
    table = draft.tables[name]
    draft.tables[name] = pd.concat([table, table.iloc[[7]].assign(variant_id="copy")], ignore_index=True)
    if name in draft.dosage:
        draft.dosage[name] = np.vstack([draft.dosage[name], draft.dosage[name][[7]]])
    harmonised = harmonise(draft.build())
    dropped = _dropped(harmonised)
    own = dropped[dropped["file"] == name]
    assert own["source_id"].tolist() == ["rs7", "copy"]
    assert own["reason"].str.startswith("duplicate").all()
    assert any(name in note and "2 rows are duplicate variants" in note for note in harmonised.notes)
    place = harmonised.variants.index.get_loc("7:1007000:T:G")
    assert harmonised.rows[name][place] == -1


def test_a_file_of_duplicates_is_refused(draft: Any) -> None:
    table = draft.tables["gwas.EUR"]
    draft.tables["gwas.EUR"] = pd.concat([table, table.iloc[:5]], ignore_index=True)
    with pytest.raises(HarmonisationError, match=r"gwas\.EUR: 10 of 45 rows .* duplicate.*must be split"):
        harmonise(draft.build())


def test_alleles_at_one_position_are_variants_of_their_own(draft: Any) -> None:
    """Row 8 becomes a second pair of alleles at the position of row 5 (A/G)."""
    for name in FILES:
        draft.tables[name].loc[8, ["position", "effect_allele", "other_allele"]] = [1_005_000, "C", "G"]
    _swap(draft, "ld.EUR", np.arange(40) == 5)
    harmonised = harmonise(draft.build())
    ids = [v for v in harmonised.variants.index if ":1005000:" in v]
    assert sorted(ids) == ["7:1005000:G:A"]  # C/G is palindromic and has no frequency
    for name in FILES:
        draft.tables[name].loc[8, ["effect_allele", "other_allele"]] = ["C", "A"]
    ids = [v for v in harmonise(draft.build()).variants.index if ":1005000:" in v]
    assert sorted(ids) == ["7:1005000:A:C", "7:1005000:G:A"]


def test_a_variant_with_an_unknown_allele_is_dropped(draft: Any) -> None:
    draft.tables["donors.EUR"].loc[2, "effect_allele"] = "0"  # how PLINK writes a monomorphic variant
    dropped = _dropped(harmonise(draft.build()))
    assert dropped[["file", "source_id", "reason"]].to_numpy().tolist() == [
        ["donors.EUR", "rs2", "an allele is unknown"]
    ]


def test_absent_variants_are_minus_one_and_nan(draft: Any) -> None:
    keep = np.arange(40) != 4
    for name in ("gwas.EUR", "donors.AFR"):
        draft.tables[name] = draft.tables[name][keep].reset_index(drop=True)
    draft.dosage["donors.AFR"] = draft.dosage["donors.AFR"][keep]
    tree = _locus(draft)
    assert tree.sizes["variant"] == 40
    assert (tree["expression/LCL/AFR/dosage"][4] == -1).all()
    assert (tree["expression/LCL/EUR/dosage"][4] >= 0).all()
    assert np.isnan(tree["gwas/z"].sel(ancestry="EUR")[4])
    assert np.isnan(tree["gwas/n"].sel(ancestry="EUR")[4])
    assert np.isfinite(tree["gwas/z"].sel(ancestry="AFR")[4])


def test_z_without_ld_is_set_aside_with_a_ledger_row(draft: Any) -> None:
    draft.dosage["ld.AFR"][9] = 0  # monomorphic: the matrix is NaN there
    with np.errstate(invalid="ignore"):
        study = draft.build()
    harmonised = harmonise(study)
    dropped = _dropped(harmonised)
    assert dropped[["file", "source_id", "reason"]].to_numpy().tolist() == [
        ["ld.AFR", "rs9", "the LD matrix is NaN here"],
        ["gwas.AFR", "rs9", "not in the LD reference of AFR (ld.AFR)"],
    ]
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    assert np.isnan(tree["gwas/z"].sel(ancestry="AFR")[9])
    assert np.isfinite(tree["gwas/z"].sel(ancestry="EUR")[9])
    assert np.isnan(tree["ld/AFR/correlation"][9]).all()


def test_a_reference_in_which_nothing_varies_sets_its_gwas_aside(draft: Any) -> None:
    draft.dosage["ld.EUR"][:] = 0
    draft.dosage["ld.EUR"][3, 2] = -1  # a missing genotype is no variation
    harmonised = harmonise(draft.build())
    dropped = _dropped(harmonised)
    assert len(dropped) == 40
    assert set(dropped["file"]) == {"gwas.EUR"}
    assert set(dropped["reason"]) == {"no variant of this block varies in the LD reference of EUR (ld.EUR)"}
    (note,) = harmonised.notes
    assert note.startswith("ld.EUR: no variant varies in 1 of 1 blocks")
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    assert np.isnan(tree["gwas/z"].sel(ancestry="EUR")).all()
    assert np.isfinite(tree["gwas/z"].sel(ancestry="AFR")).all()
    draft.dosage["ld.EUR"][39, 0] = 1
    assert harmonise(draft.build()).notes == ()


def test_variants_that_only_ld_holds_do_not_enter(draft: Any) -> None:
    keep = np.arange(40) != 4
    for name in FILES:
        if not name.startswith("ld"):
            draft.tables[name] = draft.tables[name][keep].reset_index(drop=True)
            if name in draft.dosage:
                draft.dosage[name] = draft.dosage[name][keep]
    assert _locus(draft).sizes["variant"] == 39


@pytest.mark.parametrize("name", ["gwas.EUR", "ld.AFR", "donors.EUR"])
def test_another_build_is_refused(draft: Any, name: str) -> None:
    draft.tables[name]["position"] += 137
    with pytest.raises(
        HarmonisationError, match=r"share 0 variants.*identifiers agree and positions do not"
    ) as error:
        harmonise(draft.build())
    assert name in error.value.given
    assert "build mismatch" in error.value.rule
    assert "Lift" in error.value.remedy


def test_another_build_without_common_identifiers(draft: Any) -> None:
    draft.tables["gwas.EUR"]["position"] += 137
    draft.tables["gwas.EUR"]["variant_id"] = "."
    with pytest.raises(HarmonisationError, match="neither positions nor identifiers agree"):
        harmonise(draft.build())


def test_other_alleles_at_the_same_positions(draft: Any) -> None:
    draft.tables["ld.EUR"][["effect_allele", "other_allele"]] = ["AAA", "CCC"]
    with pytest.raises(HarmonisationError, match="the positions agree and the alleles do not"):
        harmonise(draft.build())


def test_a_file_outside_the_blocks(draft: Any) -> None:
    draft.tables["gwas.AFR"]["chromosome"] = "8"
    with pytest.raises(
        HarmonisationError, match=r"gwas\.AFR: none of its 40 variants lies inside the blocks"
    ):
        harmonise(draft.build())


def test_identifiers_that_name_another_build(draft: Any) -> None:
    table = draft.tables["ld.EUR"]
    table["variant_id"] = [f"7_{p}_A_G_b38" for p in table["position"]]
    with pytest.raises(
        HarmonisationError, match=r"ld\.EUR: identifiers such as .* say GRCh38, the study says GRCh37"
    ):
        harmonise(draft.build())
    harmonise(draft.build(build="hg38"))


def test_a_task_is_small_picklable_and_reads_its_block_only(draft: Any) -> None:
    study = draft.build(cis_window=3000)
    asked: list[int] = []

    def watch(genotypes: Genotypes) -> Genotypes:
        def load(index: np.ndarray) -> np.ndarray:
            asked.extend(index.tolist())
            return genotypes.load(index)

        return Genotypes(genotypes.name, genotypes.variants, genotypes.samples, load)

    harmonised = harmonise(study)
    assert harmonised.blocks["n_variants"].tolist() == [7, 7]  # 1 kb apart, 3 kb on either side of two TSS
    again = pickle.loads(pickle.dumps(harmonised))
    for block in harmonised.blocks["block"]:
        task = harmonised.reader(block)
        xr.testing.assert_identical(pickle.loads(pickle.dumps(task))(), harmonised.locus(block))
        xr.testing.assert_identical(again.locus(block), harmonised.locus(block))
    watched = harmonise(draft.build(cis_window=3000, ld={**study.ld, "EUR": watch(study.ld["EUR"])}))
    assert asked == list(range(2, 9)) + list(range(17, 24))  # the first of each block, to see that they vary
    asked.clear()
    watched.locus(watched.blocks["block"].iloc[0])
    assert sorted(asked) == list(range(2, 9))


def test_an_unknown_block(draft: Any) -> None:
    with pytest.raises(HarmonisationError, match="block 'x'"):
        harmonise(draft.build()).locus("x")


def test_a_genotype_file_that_serves_twice_is_one_file(draft: Any) -> None:
    study = draft.build()
    panels = tuple(panel for panel in study.panels if panel.ancestry == "EUR")
    shared = harmonise(draft.build(ld={**study.ld, "EUR": panels[0].genotypes}, panels=panels))
    assert shared.overlap.index.tolist() == ["gwas.EUR", "gwas.AFR", "donors.EUR", "ld.AFR"]
    twice = draft.build(ld={**study.ld, "EUR": Genotypes("donors.EUR", *_parts(draft.genotypes("ld.EUR")))})
    named = harmonise(twice).overlap.index.tolist()
    assert "donors.EUR" in named
    assert "donors.EUR (2)" in named


def _parts(genotypes: Genotypes) -> tuple[Any, ...]:
    return genotypes.variants, genotypes.samples, genotypes.load


def test_in_sample_ld_has_an_infinite_reference(draft: Any) -> None:
    tree = _locus(draft, n_ref={"EUR": np.inf})
    assert tree["ld/EUR"].attrs["n_ref"] == np.inf
    assert tree["ld/AFR"].attrs["n_ref"] == 60
