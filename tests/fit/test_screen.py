"""Variants that do not fit are left out, and a block of suspicious LD is flagged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestwas import names
from bayestwas.data.results import concat_results
from bayestwas.engine.diagnostics import DOUBTFUL, GOOD, SUSPICIOUS
from bayestwas.fit.screen import FLIP, masked, screen
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import fit_study
from bayestwas.harmonise import inputs
from bayestwas.report.tables import blocks_table, genes_table, suspects_table


def changed(locus: xr.DataTree, **values: Any) -> xr.DataTree:
    """The locus with variables of its GWAS set, (ancestry, variant)."""
    out = locus.copy()
    gwas = locus.children[names.GWAS].to_dataset(inherit=False)
    out[names.GWAS] = xr.DataTree(
        gwas.assign({name: ((names.ANCESTRY, names.VARIANT), value) for name, value in values.items()})
    )
    return out


def z_of(locus: xr.DataTree) -> np.ndarray:
    return np.array(locus[names.GWAS].dataset["z"].transpose(names.ANCESTRY, names.VARIANT).values)


@pytest.fixture(scope="module")
def tagged(block: Any) -> tuple[xr.DataTree, int]:
    """The block with exact LD, a strong signal at the best-tagged variant of EUR, and a variant that tags
    it."""
    dosage = block.donors["EUR"]
    spread = dosage.std(axis=1, keepdims=True)
    x = np.divide(
        dosage - dosage.mean(axis=1, keepdims=True), spread, out=np.zeros(dosage.shape), where=spread > 0
    )
    n = dosage.shape[1]
    r = x @ x.T / n
    z = z_of(block.to_locus())
    there = np.isfinite(z[0])
    others = np.where(np.outer(there, there) & ~np.eye(len(r), dtype=bool), np.abs(r), 0.0)
    causal = int(np.argmax(np.sort(others, axis=1)[:, -4:].sum(axis=1)))
    tag = int(np.argsort(-others[causal])[1])
    locus = block.to_locus()
    locus["ld/EUR"] = xr.DataTree(
        xr.Dataset({"dosage": ((names.VARIANT, names.SAMPLE), dosage)}, attrs={"n_ref": np.inf})
    )
    drawn = 12 * r[causal] + x @ np.random.default_rng(2).standard_normal(n) / np.sqrt(n)
    z[0] = np.where(there, drawn, np.nan)
    return changed(locus, z=z), tag


def test_a_simulated_block_is_good(block: Any) -> None:
    found = screen(block.to_locus())
    assert (found.grade, found.reason, len(found.suspects)) == (GOOD, "", 0)
    assert masked(block.to_locus(), found)[names.GWAS].identical(block.to_locus()[names.GWAS])


def test_a_flipped_variant_is_left_out(tagged: tuple[xr.DataTree, int], settings: Settings) -> None:
    locus, tag = tagged
    assert screen(locus).suspects.empty
    z = z_of(locus)
    assert abs(z[0, tag]) > 5
    z[0, tag] *= -1
    wrong = changed(locus, z=z)
    found = screen(wrong)
    assert found.grade == DOUBTFUL
    assert found.suspects[["ancestry", "index", "reason"]].to_numpy().tolist() == [["EUR", tag, FLIP]]
    left = z_of(masked(wrong, found))
    assert np.isnan(left[0, tag])
    np.testing.assert_array_equal(np.delete(left[0], tag), np.delete(z[0], tag))
    np.testing.assert_array_equal(left[1:], z[1:])
    [result] = fit_study([partial(changed, locus, z=z)], settings)
    table = suspects_table(result)
    assert table["variant"].tolist() == [str(locus[names.VARIANT].values[tag])]
    assert table["z"].item() == pytest.approx(z[0, tag])
    assert table["predicted"].item() == pytest.approx(-z[0, tag], abs=3)  # three of its standard errors
    row = blocks_table(result).iloc[0]
    assert (row["reliability"], row["suspects"], row["status"]) == (DOUBTFUL, 1, names.OK)


def test_a_suspicious_block_is_flagged_and_has_pips_that_need_no_ld(
    tagged: tuple[xr.DataTree, int], settings: Settings
) -> None:
    locus, _ = tagged
    shuffled = z_of(locus)
    there = np.flatnonzero(np.isfinite(shuffled[0]))
    shuffled[0, there] = shuffled[0, np.random.default_rng(3).permutation(there)]
    source = partial(changed, locus, z=shuffled)
    [result] = fit_study([source], settings)
    row = blocks_table(result).iloc[0]
    assert (row["reliability"], row["status"]) == (SUSPICIOUS, names.WARNING)
    assert "pip_one_effect" in row["reason"]
    assert row["mismatch"].startswith("EUR=")
    assert not row["mismatch"].startswith("EUR=0,")
    genes = genes_table(result)
    assert set(genes["status"]) == {names.WARNING}
    assert genes["reason"].str.contains("pip_one_effect").all()
    assert genes["explanation"].str.contains("LD of the block is suspicious").all()
    assert genes["pip_one_effect"].sum() <= 1 + 1e-6
    [trusting] = fit_study([lambda: locus], replace(settings, screen=False))
    assert trusting[names.BLOCKS].dataset["reliability"].values.tolist() == [""]


def test_results_with_and_without_suspects_are_joined(
    tagged: tuple[xr.DataTree, int], block: Any, settings: Settings
) -> None:
    locus, tag = tagged
    z = z_of(locus)
    z[0, tag] *= -1
    results = fit_study([partial(changed, locus, z=z)], settings)
    other = block.to_locus()
    other.attrs["block"] = "another"
    other[names.GENES] = (
        other[names.GENES]
        .to_dataset(inherit=False)
        .assign_coords(gene=[f"{g}b" for g in other[names.GENES].dataset["gene"].values])
    )
    del other[names.EXPRESSION]
    results += fit_study([lambda: other], settings)
    table = blocks_table(concat_results(results))
    assert table["suspects"].tolist() == [1, 0]
    assert len(suspects_table(concat_results(results))) == 1


# ---- the numbers of the files ---------------------------------------------------------------------------


@pytest.fixture
def with_columns(block: Any) -> Callable[..., xr.DataTree]:
    """The block with frequencies, and values changed at some variants of EUR."""

    def make(name: str, where: list[int], value: float) -> xr.DataTree:
        locus = block.to_locus()
        frequency = np.array([block.frequency[a] for a in block.z])
        values = {
            "frequency": frequency,
            "conflict": np.zeros(frequency.shape, dtype=bool),
            "n": np.array(locus[names.GWAS].dataset["n"].values),
        }
        values[name][0, where] = value
        return changed(locus, **values)

    return make


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("frequency", None, inputs.SWAPPED),
        ("frequency", 0.5, inputs.FREQUENCY),
        ("conflict", True, inputs.CONFLICT),
        ("n", 1000.0, inputs.SIZE),
        ("n", 10_000_000.0, inputs.SIZE),
    ],
)
def test_odd_inputs_are_left_out(
    block: Any, with_columns: Callable[..., xr.DataTree], name: str, value: float | None, reason: str
) -> None:
    present = np.flatnonzero(np.isfinite(block.z["EUR"]))
    at = int(present[np.argmin(block.frequency["EUR"][present])])
    assert block.frequency["EUR"][at] < 0.2
    given = 1 - block.frequency["EUR"][at] if value is None else value
    found = screen(with_columns(name, [at], given))
    assert found.grade == DOUBTFUL
    assert found.suspects[["ancestry", "index", "reason"]].to_numpy().tolist() == [["EUR", at, reason]]


def test_a_column_that_is_wrong_everywhere_condemns_no_variant(
    block: Any, with_columns: Callable[..., xr.DataTree]
) -> None:
    present = np.flatnonzero(np.isfinite(block.z["EUR"]))
    found = screen(with_columns("conflict", present[: len(present) // 2].tolist(), True))
    assert found.suspects.empty
    assert found.grade == DOUBTFUL
    assert "50%" in found.reason


def test_a_column_that_is_wrong_everywhere_is_a_warning_for_the_block_and_its_genes(
    block: Any, with_columns: Callable[..., xr.DataTree], settings: Settings
) -> None:
    present = np.flatnonzero(np.isfinite(block.z["EUR"]))
    [result] = fit_study([partial(with_columns, "conflict", present.tolist(), True)], settings)
    row, genes = blocks_table(result).iloc[0], genes_table(result)
    assert (row["status"], row["reliability"]) == (names.WARNING, DOUBTFUL)
    assert inputs.CONFLICT in row["reason"]
    assert set(genes["status"]) == {names.WARNING}
    assert genes["reason"].str.contains("the GWAS is doubtful").all()


def test_frequencies_of_the_other_alleles_are_called_so(block: Any) -> None:
    """A whole column of 1 - f: one doubt, and no word of other people."""
    frequency = np.array([block.frequency[a] for a in block.z])
    frequency[0] = 1 - frequency[0]
    found = screen(changed(block.to_locus(), frequency=frequency))
    assert (found.grade, len(found.suspects)) == (DOUBTFUL, 0)
    assert inputs.SWAPPED in found.reason
    assert inputs.PEOPLE not in found.reason


def test_true_columns_are_no_reason(with_columns: Callable[..., xr.DataTree]) -> None:
    assert screen(with_columns("conflict", [], False)).grade == GOOD


def test_a_reference_of_other_people_is_told_by_its_frequencies(block: Any) -> None:
    """Every frequency of AFR moved by 0.1 towards 0.5: Fst of about 0.01 / 0.4; no variant is condemned."""
    frequency = np.array([block.frequency[a] for a in block.z])
    moved = frequency.copy()
    moved[1] += np.where(moved[1] < 0.5, 0.1, -0.1)
    right, wrong = (changed(block.to_locus(), frequency=values) for values in (frequency, moved))
    assert abs(inputs.reference_distance(right, "AFR")) < inputs.OTHER_PEOPLE
    assert inputs.reference_distance(wrong, "AFR") == pytest.approx(0.025, abs=0.015)
    assert screen(right).grade == GOOD
    found = screen(wrong)
    assert (found.grade, len(found.suspects), found.doubts) == (DOUBTFUL, 0, "")
    assert inputs.PEOPLE in found.reason
