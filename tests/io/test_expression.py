"""Expression BED and covariates in the layouts of FastQTL and tensorQTL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bayestwas.errors import InputError
from bayestwas.io.expression import read_covariates, read_expression

Write = Callable[[str, str], Path]
BED = "#chr\tstart\tend\tgene_id\tD1\tD2\tD3\nchr1\t99\t100\tG1\t0.5\t-1\tNA\n1\t199\t200\tG2\t1\t2\t3\n"
COVARIATES = "id\tD1\tD2\tD3\nsex\t0\t1\t1\nPC1\t0.1\t-0.2\t0.3\n"


@pytest.mark.parametrize("name", ["e.bed", "e.bed.gz"])
def test_phenotypes(write: Write, name: str) -> None:
    expression = read_expression(write(name, BED), "panel")
    assert expression["gene"].values.tolist() == ["G1", "G2"]
    assert expression["donor"].values.tolist() == ["D1", "D2", "D3"]
    assert expression["tss"].values.tolist() == [100, 200]  # 1-based: the end of the interval
    np.testing.assert_array_equal(expression["expression"], [[0.5, -1, np.nan], [1, 2, 3]])
    assert expression.attrs["source"] == "panel"


def test_donors_named_by_numbers_stay_text(write: Write) -> None:
    expression = read_expression(write("e.bed", BED.replace("D1", "007")))
    assert expression["donor"].values.tolist() == ["007", "D2", "D3"]


BAD = {
    "order": (
        BED.replace("start\tend", "end\tstart"),
        "starts with the columns #chr, end, start",
        "Rename or reorder",
    ),
    "another fourth column": (
        BED.replace("gene_id", "phenox"),
        "starts with the columns #chr, start, end, phenox, D1",
        "Rename or reorder",
    ),
    "gene body": (
        BED.replace("199\t200", "150\t200"),
        "line 3: start 150, end 200",
        "not the body of the gene",
    ),
    "twice": (BED.replace("G2", "G1"), "gene 'G1' occurs more than once", "Rename or remove"),
    "donor twice": (BED.replace("D2", "D1"), "column 'D1' occurs more than once", "Rename or remove"),
    "strand": (
        BED.replace("D1", "strand").replace("0.5", "+").replace("\t1\t", "\t-\t"),
        "column strand of G1 is '+'",
        "not people",
    ),
    "infinite": (BED.replace("-1", "inf"), "gene G1 has an infinite value", "Write NA"),
    "position": (BED.replace("\t100", "\tx"), "line 2: end is 'x'", "Correct the line"),
}


@pytest.mark.parametrize("case", BAD)
def test_phenotypes_that_are_refused(write: Write, case: str) -> None:
    text, given, remedy = BAD[case]
    with pytest.raises(InputError) as error:
        read_expression(write("bad.bed", text))
    assert "bad.bed" in error.value.given
    assert given in error.value.given
    assert remedy in error.value.remedy


def test_covariates(write: Write) -> None:
    covariates = read_covariates(write("c.tsv", COVARIATES))
    assert covariates.dims == ("covariate", "donor")
    assert covariates["covariate"].values.tolist() == ["sex", "PC1"]
    np.testing.assert_array_equal(covariates.sel(donor="D2"), [1, -0.2])


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (COVARIATES.replace("-0.2", "NA"), "line 3: PC1 is missing or infinite for donor D2"),
        (COVARIATES.replace("sex\t0\t1\t1", "sex\tF\tM\tM"), "line 2: column D1 of sex is 'F'"),
        (COVARIATES.replace("PC1", "sex"), "covariate 'sex' occurs more than once"),
        ("id\nsex\n", "has 1 column"),
    ],
)
def test_covariates_that_are_refused(write: Write, text: str, given: str) -> None:
    with pytest.raises(InputError) as error:
        read_covariates(write("bad.tsv", text))
    assert "bad.tsv" in error.value.given
    assert given in error.value.given
    assert error.value.remedy
