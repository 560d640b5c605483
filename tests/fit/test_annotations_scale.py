"""Annotations on the scale that priors are learned on."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayestwas.fit.annotations import MOST, Moments, Scale, moments, patterns, scaled, scales

GENES = 3


def locus(variant: np.ndarray | None, gene: np.ndarray | None = None, variants: int = 0) -> xr.DataTree:
    """Only what annotations are read from."""
    count = len(variant) if variant is not None else variants
    root = xr.Dataset(coords={"variant": np.arange(count).astype(str)})
    tree = xr.DataTree(root)
    tree["genes"] = xr.DataTree(xr.Dataset(coords={"gene": np.arange(GENES).astype(str)}))
    group = {}
    if variant is not None:
        group["variant_annotation"] = (("variant", "annotation"), variant.astype(np.float32))
    if gene is not None:
        group["gene_annotation"] = (("gene", "feature"), gene.astype(np.float32))
    if group:
        made = xr.Dataset(group)
        labels = {dim: [f"{dim}{j}" for j in range(size)] for dim, size in made.sizes.items()}
        made = made.assign_coords({k: v for k, v in labels.items() if k in ("annotation", "feature")})
        tree["annotations"] = xr.DataTree(made)
    return tree


def columns(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=float).T


@pytest.fixture(scope="module")
def loci() -> list[xr.DataTree]:
    """Binary; binary with an unknown value at the mean; continuous; constant, in two blocks. One feature of
    genes."""
    first = columns([0, 1, 1, 0], [0, 1, 0.25, 0], [2, 4, 6, 8], [3, 3, 3, 3])
    second = columns([0, 0], [0, 0.25], [-1, 5], [3, 3])
    feature = columns([10, 20, 30])
    return [locus(first, feature), locus(second, feature + 30)]


def test_scales_are_those_of_all_blocks(loci: list[xr.DataTree]) -> None:
    found = scales(map(moments, loci))
    assert [one.name for one in found["variant"]] == [f"annotation{j}" for j in range(4)]
    assert [one.binary for one in found["variant"]] == [True, True, False, False]
    third, feature = found["variant"][2], found["gene"][0]
    everyone = np.array([2, 4, 6, 8, -1, 5.0])
    assert third.mean == pytest.approx(everyone.mean())
    assert third.sd == pytest.approx(everyone.std())
    assert not feature.binary
    assert feature.mean == pytest.approx(35.0)
    assert feature.sd == pytest.approx(np.std([10, 20, 30, 40, 50, 60]))
    assert scales([moments(one) for one in loci[::-1]])["gene"] == found["gene"]


def test_two_values_between_zero_and_one_are_not_binary() -> None:
    """An unknown value stands at one mean for the whole study; two values are something else, and so is a
    value that no mean of zeros and ones has."""
    for values, binary in (([0, 1, 0.4, 0.4], True), ([0, 1, 0.4, 0.5], False), ([0, 1, 2], False),
                           ([0, 0, 0], True), ([1, 1, 1], True), ([0, 1, -0.5], False)):  # fmt: skip
        (found,) = scales([moments(locus(columns(values)))])["variant"]
        assert found.binary is binary, values
    halves = [moments(locus(columns(values))) for values in ([0, 1, 0.4], [0, 1, 0.5])]
    assert not scales(halves)["variant"][0].binary


def test_values_on_the_scale_of_learning(loci: list[xr.DataTree]) -> None:
    found = scales(map(moments, loci))
    values = [scaled(one, "variant", found) for one in loci]
    np.testing.assert_array_equal(values[0][:, :2], columns([0, 1, 1, 0], [0, 1, 0.25, 0]))
    both = np.concatenate(values)[:, 2]
    assert both.mean() == pytest.approx(0.0, abs=1e-7)  # kept as float32
    assert both.std() == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_array_equal(np.concatenate(values)[:, 3], 0.0)  # constant: at the mean, nothing to tell


def test_a_block_or_a_study_without_annotations(loci: list[xr.DataTree]) -> None:
    found = scales(map(moments, [*loci, locus(None, variants=5)]))
    assert found == scales(map(moments, loci))
    none = locus(None, variants=5)
    np.testing.assert_array_equal(scaled(none, "variant", found), np.zeros((5, 4)))
    np.testing.assert_array_equal(scaled(none, "gene", found), np.zeros((GENES, 1)))
    assert scales([]) == scales([Moments()]) == {"variant": (), "gene": ()}
    assert scaled(loci[0], "variant", {"variant": (), "gene": ()}).shape == (4, 0)
    only = scales([moments(locus(columns([0, 1])))])
    assert len(only["variant"]) == 1
    assert only["gene"] == ()


def test_patterns_are_exact_for_binary_annotations_and_rounded_for_others() -> None:
    wanted = (Scale("b", True, 0.2, 0.4), Scale("x", False, 1.0, 2.0))
    values = np.array([[0, 0.24], [1, -0.26], [0.2, 0.76], [1, 17.0], [0, -17.0]])
    found = patterns(values, wanted)
    np.testing.assert_array_equal(found[:, 0], values[:, 0])
    np.testing.assert_array_equal(found[:, 1], [0, -0.5, 1.0, MOST, -MOST])
    assert patterns(np.zeros((3, 0)), ()).shape == (3, 0)
    rng = np.random.default_rng(0)
    many = rng.standard_normal((1000, 2))
    rounded = patterns(many, (wanted[1], wanted[1]))
    assert np.abs(rounded - many).max() <= 0.25 + 1e-12
    assert len(np.unique(rounded)) <= 2 * MOST / 0.5 + 1
