"""Containers check what they are given; the locus constructor and its check agree."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.schema import check_locus, expression_groups, locus
from bayestwas.data.studies import (
    Genotypes,
    LDMatrix,
    Panel,
    Study,
    expression_dataset,
    genotypes_from_array,
    gwas_dataset,
)
from bayestwas.data.variants import chromosome_labels, parse_variant_ids, standard_build
from bayestwas.errors import InputError

P, N = 4, 6


def _variants() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "chromosome": "1",
            "position": np.arange(P) + 10,
            "variant_id": [f"rs{j}" for j in range(P)],
            "effect_allele": list("ACGT"),
            "other_allele": list("CATG"),
        }
    )


def _genotypes(**changes: Any) -> Genotypes:
    samples = np.array([f"P{i}" for i in range(N)])
    dosage = np.arange(P * N).reshape(P, N) % 4 - 1
    given = {"name": "EUR", "variants": _variants(), "samples": samples, "dosage": dosage} | changes
    return genotypes_from_array(**given)


def test_chromosome_labels_have_one_spelling() -> None:
    given = ["chr20", "20", "Chr01", "23", "chrX", "x", "M", "chrMT", "1"]
    assert chromosome_labels(given).tolist() == ["20", "20", "1", "X", "X", "X", "MT", "MT", "1"]
    assert chromosome_labels(np.array([1, 22])).tolist() == ["1", "22"]


def test_identifiers_that_spell_out_their_alleles() -> None:
    ids = ["20_100_A_G_b37", "chr1:5:AT:a", "rs12", "X_7_C_T", "20_100_A"]
    parsed = parse_variant_ids(ids)
    assert parsed["position"].tolist()[:2] == [100, 5]
    assert parsed["position"].isna().tolist() == [False, False, True, False, True]
    spelled = parsed.astype(object).where(parsed.notna(), None)
    assert spelled["chromosome"].tolist() == ["20", "1", None, "X", None]
    assert spelled["other_allele"].tolist() == ["A", "AT", None, "C", None]
    assert spelled["effect_allele"].tolist() == ["G", "A", None, "T", None]
    assert spelled["build"].tolist() == ["b37", None, None, None, None]


def test_builds_have_one_name() -> None:
    assert [standard_build(b) for b in ("hg19", "b37", "GRCh38", "T2T")] == [
        "GRCh37",
        "GRCh37",
        "GRCh38",
        "T2T",
    ]


def test_genotypes_load_rows() -> None:
    genotypes = _genotypes()
    loaded = genotypes.load(np.array([2, 0]))
    assert loaded.dtype == np.int8
    np.testing.assert_array_equal(loaded, (np.arange(P * N).reshape(P, N) % 4 - 1)[[2, 0]])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(genotypes)).load(np.array([1])), genotypes.load(np.array([1]))
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dosage": np.zeros((N, P))}, r"shape \(6, 4\) for 4 variants and 6 samples"),
        ({"dosage": np.full((P, N), 3)}, "dosages between 3 and 3"),
        ({"dosage": np.full((P, N), -0.5)}, "dosages between -0.5 and -0.5"),
        ({"samples": np.array(["P0"] * N)}, "sample 'P0' occurs more than once"),
        ({"samples": np.array(["P0"]), "dosage": np.zeros((P, 1))}, "1 samples"),
        ({"variants": _variants().drop(columns="position")}, "lacks position"),
        ({"variants": _variants().assign(other_allele="A")}, "1 variants have the same"),
        ({"variants": _variants().assign(position=0.5)}, "positions are float64"),
    ],
)
def test_genotypes_that_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        _genotypes(**changes)
    assert error.value.given.startswith("EUR")


def test_gwas_and_ld_and_expression_check_their_numbers() -> None:
    table = _variants().assign(z=[1.0, np.inf, np.nan, 2], n=10)
    with pytest.raises(InputError, match="2 variants with an unusable z, first rs1"):
        gwas_dataset("hdl", table)
    with pytest.raises(InputError, match="4 variants with an unusable n, first rs0"):
        gwas_dataset("hdl", table.assign(z=1.0, n=0))
    with pytest.raises(InputError, match=r"shape \(2, 2\) for 4 variants"):
        LDMatrix("ld", _variants(), np.eye(2), 100)
    genes = pd.DataFrame({"gene": ["G"], "chromosome": ["1"], "tss": [12]})
    with pytest.raises(InputError, match="for 1 genes and 2 donors"):
        expression_dataset("lcl", genes, np.array(["a", "b"]), np.zeros((1, 3)))
    with pytest.raises(InputError, match="donor 'a' occurs more than once"):
        expression_dataset("lcl", genes, np.array(["a", "a"]), np.zeros((1, 2)))


def test_a_study_wants_ld_for_every_gwas_and_names_without_slashes() -> None:
    gwas = gwas_dataset("hdl", _variants().assign(z=1.0, n=10))
    with pytest.raises(InputError, match=r"GWAS in EUR without an LD reference.*Add LD for EUR"):
        Study("s", "GRCh37", None, {"EUR": gwas}, {}, ())
    with pytest.raises(InputError, match="cis_window = 0"):
        Study("s", "GRCh37", None, {}, {}, (), cis_window=0)
    genes = pd.DataFrame({"gene": ["G"], "chromosome": ["1"], "tss": [12]})
    expression = expression_dataset("lcl", genes, np.array(["P0", "P1"]), np.ones((1, 2)))
    with pytest.raises(InputError, match="context = 'brain/cortex'"):
        Panel("brain/cortex", "EUR", _genotypes(), expression)


def _locus(**changes: Any) -> xr.DataTree:
    variants = _variants().assign(source_id=list("abcd"))
    variants.index = pd.Index([f"1:{10 + j}:X:Y" for j in range(P)])
    donors = ["P0", "P1", "P2"]
    given: dict[str, Any] = {
        "name": "b1",
        "variants": variants,
        "gwas": {"EUR": ([1, 2, np.nan, 4], 100), "AFR": (np.zeros(P), np.full(P, 50))},
        "ld": {"EUR": np.ones((P, N), dtype=np.int8), "AFR": (np.eye(P), 300)},
        "panels": [
            (
                "LCL",
                "EUR",
                np.zeros((P, 3), dtype=np.int8),
                donors,
                pd.DataFrame([[1.0, 2, 3]], index=["G1"], columns=donors),
                pd.DataFrame([[1.0, 0, 1]], index=["sex"], columns=donors),
            )
        ],
        "genes": pd.DataFrame(
            {"chromosome": "1", "tss": 12, "status": "ok", "reason": ""}, index=["G1", "G2"]
        ),
        "build": "GRCh37",
        "study": "test",
        "simulated": True,
    }
    return locus(**given | changes)


def _one_pair_is_nan() -> np.ndarray:
    """The first variant has no LD, which is fine; two others have LD, and none with each other."""
    r = np.eye(P)
    r[0] = r[:, 0] = np.nan
    r[1, 3] = np.nan
    return r


def test_a_locus_holds_what_it_was_given() -> None:
    tree = _locus()
    assert tree.attrs["block"] == "b1"
    assert (tree.attrs["start"], tree.attrs["end"]) == (9, 13)
    np.testing.assert_array_equal(
        tree["gwas/n"].sel(ancestry="EUR"), [100, 100, np.nan, 100]
    )  # NaN where z is
    assert tree["ld/EUR"].attrs["n_ref"] == N
    assert tree["ld/AFR"].attrs["n_ref"] == 300
    (panel,) = expression_groups(tree)
    assert panel[:2] == ("LCL", "EUR")
    assert panel[2]["expression"].sel(gene="G1", donor="P2") == 3
    check_locus(pickle.loads(pickle.dumps(tree)))


def test_exact_ld_from_genotypes_has_an_infinite_reference() -> None:
    tree = _locus(ld={"EUR": (np.ones((P, N), dtype=np.int8), np.inf), "AFR": (np.eye(P), np.inf)})
    assert tree["ld/EUR"].attrs["n_ref"] == np.inf
    assert "dosage" in tree["ld/EUR"]
    assert "correlation" in tree["ld/AFR"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ld": {"EUR": np.ones((P, N), dtype=np.int8)}}, "a GWAS in AFR without the group ld/AFR"),
        ({"gwas": {"EUR": ([1, 2, np.inf, 4], 100)}}, "z = inf, n = 100.0 at 1:12:X:Y in EUR"),
        ({"gwas": {"EUR": (np.ones(P), 0)}}, "z = 1.0, n = 0.0"),
        (
            {"ld": {"EUR": np.full((P, N), 4, dtype=np.int8), "AFR": (np.eye(P), 3)}},
            "ld: dosages between 4 and 4",
        ),
        ({"ld": {"EUR": (np.eye(P), 0), "AFR": (np.eye(P), 3)}}, "ld/EUR has n_ref = 0"),
        (
            {"ld": {"EUR": (np.eye(P), 9), "AFR": (_one_pair_is_nan(), 9)}},
            "ld/AFR: the correlation of 1:11:X:Y and 1:13:X:Y is nan",
        ),
        ({"ld": {"EUR": (np.eye(P), 9), "AFR": (np.eye(P)[:, 1:], 9)}}, "ld/AFR: correlation has shape"),
        (
            {"ld": {"EUR": np.ones((P + 1, N), dtype=np.int8), "AFR": (np.eye(P), 3)}},
            "arrays that do not fit together",
        ),
        (
            {
                "genes": pd.DataFrame(
                    {"chromosome": "1", "tss": 1, "status": "good", "reason": ""}, index=["G1"]
                )
            },
            "status 'good'",
        ),
        (
            {
                "genes": pd.DataFrame(
                    {"chromosome": "1", "tss": 1, "status": "ok", "reason": ""}, index=["G2"]
                )
            },
            "gene G1 is not in the group genes",
        ),
    ],
)
def test_a_locus_that_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        _locus(**changes)
    assert error.value.remedy


def test_check_locus_of_a_tree_built_by_hand() -> None:
    tree = _locus()
    for group in ("gwas", "genes"):
        with pytest.raises(InputError, match=f"no '{group}'"):
            check_locus(tree.drop_nodes(group))
    with pytest.raises(InputError, match="a Dataset"):
        check_locus(tree["gwas"].to_dataset())  # type: ignore[arg-type]
    twice = tree.to_dataset().assign_coords(variant=["a", "a", "b", "c"])
    with pytest.raises(InputError, match="variant a occurs more than once"):
        check_locus(xr.DataTree.from_dict({"/": twice, **_groups(tree)}))
    nameless = tree.copy()
    nameless.attrs = {}
    with pytest.raises(InputError, match="without the attributes block, chromosome"):
        check_locus(nameless)
    wrong = _groups(tree)
    wrong["gwas"] = wrong["gwas"].rename(z="zscore")
    with pytest.raises(InputError, match=r"gwas holds .*zscore.*, and no 'z'.*Add 'z' to gwas"):
        check_locus(xr.DataTree.from_dict({"/": tree.to_dataset(), **wrong}))
    missing = _groups(tree)
    missing["expression/LCL/EUR"]["expression"][0, 0] = np.nan
    with pytest.raises(InputError, match="expression/LCL/EUR: expression or covariates hold NaN"):
        check_locus(xr.DataTree.from_dict({"/": tree.to_dataset(), **missing}))


def _groups(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {
        node.path.strip("/"): node.to_dataset(inherit=False).copy(deep=True)
        for node in tree.subtree
        if node.path != "/" and (node.data_vars or node.attrs)
    }
