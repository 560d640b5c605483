"""What a run tells of its result as a whole, on results made up of what each sentence needs."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayestwas.report.tables import notes_table
from bayestwas.run.notes import background_notes, expression_notes, reliability_notes, tissue_notes


def test_a_strong_background_is_told() -> None:
    made = result_of(["b1", "b2"], tau2=[0.02, np.nan])
    assert background_notes(made) == []
    (told,) = background_notes(result_of(["b1", "b2"], tau2=[0.02, 0.4]))
    assert told.startswith("1 of 2 blocks have a strong polygenic background")


@pytest.mark.parametrize(
    ("mean", "genes", "told"),
    [(0.3, 40, 1), (0.05, 40, 0), (0.3, 10, 0)],
    ids=["many small eQTLs", "as the model has it", "too few genes to say"],
)
def test_expression_beyond_the_weights_is_told(mean: float, genes: int, told: int) -> None:
    left = np.full((genes, 2, 1), np.nan)
    left[:, 1, 0] = mean + 0.2 * np.resize([-1.0, 1.0], genes)
    values = {"expression_excess": (("gene", "context", "ancestry"), left)}
    made = xr.Dataset(values, coords={"context": ["liver", "blood"], "ancestry": ["EUR"]})
    notes = expression_notes(xr.DataTree.from_dict({"/observed_data": made}))
    assert len(notes) == told
    assert all(note.startswith("expression in blood, EUR keeps association") for note in notes)


def test_notes_are_a_table(synthetic_result: xr.DataTree) -> None:
    assert notes_table(synthetic_result).empty
    synthetic_result.attrs["notes"] = '["one", "two"]'
    assert notes_table(synthetic_result)["note"].tolist() == ["one", "two"]


@pytest.mark.parametrize(
    ("alone", "probable", "told"),
    [(6, 20, 1), (4, 1, 0), (6, 80, 0)],
    ids=["many", "too few to say", "few beside the probable"],
)
def test_shared_variants_without_a_probable_gene_are_told(alone: int, probable: int, told: int) -> None:
    """Each in a block of its own; a neighbour of a probable gene that shares its signal does not count."""
    pip = np.concatenate([np.full(alone, 0.1), np.full(probable, 0.9), [0.2, np.nan]])
    blocks = np.array([*(f"b{i}" for i in range(alone + probable)), f"b{alone}", "empty"], dtype=object)
    values = {
        "pip": ("gene", pip),
        "grcp": (("gene", "context"), np.where(np.isnan(pip), np.nan, 0.8)[:, None]),
    }
    groups = {
        "/marginals": xr.Dataset(values),
        "/constant_data": xr.Dataset({"gene_block": ("gene", blocks)}),
    }
    notes = tissue_notes(xr.DataTree.from_dict(groups))
    assert len(notes) == told
    assert all(note.startswith(f"{alone} genes share a causal variant") for note in notes)


def test_blocks_that_are_not_good_are_counted() -> None:
    graded = xr.Dataset({"reliability": ("block", ["good", "doubtful", "doubtful", "suspicious", ""])})
    (told,) = reliability_notes(xr.DataTree.from_dict({"/blocks": graded}))
    assert told.startswith("the LD or the GWAS of 1 of 5 blocks is suspicious, of 2 doubtful")
    assert reliability_notes(xr.DataTree.from_dict({"/blocks": graded.isel(block=[0, 4])})) == []


def result_of(blocks: list[str], tau2: list[float]) -> xr.DataTree:
    """What a result says of the background of its blocks."""
    found = {"background": (("block", "ancestry"), np.array(tau2)[:, None])}
    return xr.DataTree.from_dict({"/blocks": xr.Dataset(found, coords={"block": blocks})})
