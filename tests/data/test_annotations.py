"""Annotations in a locus and in simulated studies: what is refused, and whether effects follow them."""

from __future__ import annotations

import dataclasses
import math
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayestwas.data.annotations import (
    Annotations,
    GeneAnnotations,
    IntervalAnnotation,
    check_annotation_names,
    variant_table,
)
from bayestwas.data.schema import check_locus, locus
from bayestwas.data.simulate import PRESETS, SimulatedBlock, block_generator, simulate_block, simulate_study
from bayestwas.errors import InputError, SettingsError

SMALL = dataclasses.replace(PRESETS["tiny"], population=120, n_ref=20, eqtl_maf=0.05)
BED = IntervalAnnotation("a.bed", "a", pd.DataFrame({"chromosome": ["1"], "start": [0], "end": [9]}))


# ---- containers -------------------------------------------------------------------------------------------


def test_one_name_in_two_files_is_refused() -> None:
    table = variant_table("t.tsv", pd.DataFrame({"chromosome": ["1"], "position": [5], "a": [1.0]}))
    with pytest.raises(InputError, match=r"annotation 'a' is in a\.bed and in t\.tsv\. .*own name.*@"):
        Annotations((BED, table))
    assert not Annotations((BED,)).empty
    assert Annotations().empty


@pytest.mark.parametrize(
    ("columns", "said"),
    [([], "holds no"), (["a", "b", "a"], "'a' occurs more than once"), ([" "], "has no name")],
)
def test_names_of_annotations(columns: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_annotation_names("t.tsv", columns)


def test_a_table_in_memory_needs_a_place() -> None:
    with pytest.raises(InputError, match="lacks position"):
        variant_table("t", pd.DataFrame({"chromosome": ["1"], "a": [1.0]}))


def test_a_gene_has_one_row() -> None:
    with pytest.raises(InputError, match="gene 'G1' has more than one row"):
        GeneAnnotations("g", pd.DataFrame({"a": [1, 2]}, index=["G1", "G1"]))


# ---- in a locus -------------------------------------------------------------------------------------------


def parts(**more: Any) -> dict[str, Any]:
    """The arguments of a small locus of three variants and two genes."""
    index = ["7:1:G:A", "7:2:G:A", "7:3:G:A"]
    variants = pd.DataFrame(
        {"chromosome": "7", "position": [1, 2, 3], "effect_allele": "A", "other_allele": "G"}, index=index
    ).assign(source_id=index)
    genes = pd.DataFrame({"chromosome": "7", "tss": [1, 2], "status": "ok", "reason": ""}, index=["G1", "G2"])
    given = {
        "name": "b",
        "variants": variants,
        "gwas": {"EUR": (np.zeros(3), 100)},
        "ld": {"EUR": (np.eye(3), 50.0)},
        "panels": [],
        "genes": genes,
        "build": "GRCh38",
        "study": "s",
        "simulated": True,
    }
    return given | more


def frame(index: list[str], value: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"a": value}, index=index)


def test_either_kind_may_stand_alone() -> None:
    variants = frame(["7:1:G:A", "7:2:G:A", "7:3:G:A"])
    only = locus(**parts(variant_annotation=variants))["annotations"]
    assert list(only.data_vars) == ["variant_annotation"]
    assert only["variant_annotation"].dtype == np.float32
    assert list(locus(**parts(gene_annotation=frame(["G1", "G2"])))["annotations"].data_vars) == [
        "gene_annotation"
    ]
    assert "annotations" not in locus(**parts()).children


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"variant_annotation": frame(["7:1:G:A", "7:2:G:A"])}, "do not fit together"),
        ({"variant_annotation": frame(["7:2:G:A", "7:1:G:A", "7:3:G:A"])}, "do not fit together"),
        ({"variant_annotation": frame(["7:1:G:A", "7:2:G:A", "7:3:G:A"], np.nan)}, "holds NaN or infinite"),
        ({"gene_annotation": frame(["G1", "G2"], np.inf)}, "'gene_annotation' holds NaN"),
        ({"gene_annotation": frame(["G2", "G1"])}, "of different genes, or in another order"),
        ({"gene_annotation": frame(["G1"])}, "of different genes"),
    ],
)
def test_annotations_that_do_not_belong_to_the_locus(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        locus(**parts(**more))


def test_other_dims_are_refused() -> None:
    tree = locus(**parts(gene_annotation=frame(["G1", "G2"])))
    tree["annotations"] = tree["annotations"].to_dataset(inherit=False).rename({"feature": "annotation"})
    with pytest.raises(InputError, match="'gene_annotation' has dims"):
        check_locus(tree)


# ---- simulated --------------------------------------------------------------------------------------------

msprime = pytest.mark.skipif(find_spec("msprime") is None, reason="msprime is the optional extra [simulate]")


@msprime
def test_annotations_without_enrichment_change_nothing_else() -> None:
    """They have a stream of their own: genotypes, eQTLs, expression and trait are those without them."""
    plain = dataclasses.replace(SMALL, direct_blocks=0.0)
    annotated = dataclasses.replace(plain, annotations=(("x", 0.5, 0.0), ("y", 0.1, 0.0)))
    for one, two in zip(simulate_study(plain, 3), simulate_study(annotated, 3), strict=True):
        assert one.annotations is None
        assert two.annotations is not None
        assert two.annotations.index.equals(two.variants.index)
        np.testing.assert_array_equal(one.weights, two.weights)
        for ancestry in one.z:
            np.testing.assert_array_equal(one.z[ancestry], two.z[ancestry])
            np.testing.assert_array_equal(one.reference[ancestry], two.reference[ancestry])
        assert all(frame.equals(two.expression[key]) for key, frame in one.expression.items())
        assert "annotations" not in one.to_locus().children
        np.testing.assert_array_equal(two.to_locus()["annotations"]["variant_annotation"], two.annotations)


@pytest.fixture(scope="module")
def enriched() -> list[SimulatedBlock]:
    design = dataclasses.replace(
        SMALL,
        annotations=(("coding", 0.2, 2.0), ("repressed", 0.3, -1.0)),
        gene_annotations=(("constrained", 0.5, 1.5),),
        causal_genes=(0.0, 1.0),
        direct_blocks=1.0,
    )
    return [simulate_block(design, block_generator(9, index), index) for index in range(100)]


def _prior(block: SimulatedBlock) -> np.ndarray:
    assert block.annotations is not None
    return np.exp(block.annotations.to_numpy() @ [2.0, -1.0])


def _compare(drawn: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """(annotated?, annotation, weights with and without the enrichment) of draws of one from many.

    The number of annotated ones is a sum of independent draws: within 4 sd of its mean with the enrichment,
    more than 4 sd away from it without.
    """
    assert len(drawn) >= 40
    count = sum(hit for hit, *_ in drawn)
    for which, near in ((2, True), (3, False)):
        chance = np.array([np.average(entry[1], weights=entry[which]) for entry in drawn])
        error = math.sqrt(float((chance * (1 - chance)).sum()))
        assert (abs(count - chance.sum()) < 4 * error) == near


@msprime
@pytest.mark.parametrize("name", ["coding", "repressed"])
def test_eqtls_follow_the_enrichment(enriched: list[SimulatedBlock], name: str) -> None:
    """Genes with one eQTL: it is drawn by its distance times exp(annotations @ enrichment)."""
    drawn = []
    for block in enriched:
        assert block.annotations is not None
        minor = [np.minimum(f, 1 - f) for f in block.frequency.values()]
        common = np.max(minor, axis=0) >= SMALL.eqtl_maf
        values = block.annotations[name].to_numpy(dtype=float)
        for g, tss in enumerate(block.genes["tss"]):
            (chosen,) = np.nonzero(block.weights[g].any(axis=(0, 1)))
            if len(chosen) != 1:
                continue
            near = np.exp(-np.abs(block.variants["position"].to_numpy() - tss) / SMALL.eqtl_distance) * common
            place = 0.8 * near / near.sum() + 0.2 * common / common.sum()
            drawn.append((values[chosen[0]], values, place * _prior(block), place))
    _compare(drawn)


@msprime
def test_direct_effects_follow_the_enrichment(enriched: list[SimulatedBlock]) -> None:
    drawn = []
    for block in enriched:
        assert block.annotations is not None
        chosen = block.direct["variant"].unique()
        if len(chosen) != 1:
            continue
        free = ~block.weights[block.genes["causal"].to_numpy()].any(axis=(0, 1, 2))
        values = block.annotations["coding"].to_numpy(dtype=float)
        hit = float(block.annotations.loc[chosen[0], "coding"])
        drawn.append((hit, values, _prior(block) * free, free.astype(float)))
    _compare(drawn)


@msprime
def test_causal_genes_follow_the_enrichment(enriched: list[SimulatedBlock]) -> None:
    drawn = []
    for block in enriched:
        assert block.gene_annotations is not None
        values = block.gene_annotations["constrained"].to_numpy(dtype=float)
        able = (block.cis_h2 > 0).any(axis=(1, 2))
        causal = block.genes["causal"].to_numpy()
        drawn.append((float(values[causal][0]), values, np.exp(1.5 * values) * able, able.astype(float)))
    _compare(drawn)


@pytest.mark.parametrize(
    "entry",
    [("a b", 0.1, 1.0), ("", 0.1, 1.0), ("a", 0.0, 1.0), ("a", 1.0, 1.0), ("a", 0.1, math.inf)],
)
@pytest.mark.parametrize("kind", ["annotations", "gene_annotations"])
def test_impossible_designs(kind: str, entry: tuple[str, float, float]) -> None:
    with pytest.raises(SettingsError, match=f"^{kind} of a simulation design") as caught:
        dataclasses.replace(SMALL, **{kind: (entry,)})
    assert "log enrichment" in caught.value.rule
    assert '("coding", 0.05, 2.0)' in caught.value.remedy


def test_an_annotation_of_a_design_is_named_once() -> None:
    with pytest.raises(SettingsError, match=r"\('a', 0\.2, 0\.0\)"):
        dataclasses.replace(SMALL, annotations=(("a", 0.1, 1.0), ("a", 0.2, 0.0)))
