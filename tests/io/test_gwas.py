"""GWAS summary statistics: what is understood, and what is refused with which words."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bayestwas.errors import InputError
from bayestwas.io.gwas import read_gwas
from bayestwas.io.gwas_layouts import SYNONYMS

Write = Callable[[str, str], Path]
SSF = (
    "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\t"
    "p_value\tvariant_id\tn\n"
    "20\t100\ta\tg\t0.2\t0.1\t0.3\t0.0455\trs1\t1000\n"
    "20\t200\tC\tT\t-0.3\t0.1\tNA\t0.0027\trs2\t900\n"
)
PLAIN = "CHR,POS,EA,NEA,Z\n20,100,A,G,2.5\n20,200,C,T,-1\n"


def test_gwas_ssf(write: Write) -> None:
    gwas = read_gwas(write("hdl.tsv.gz", SSF))
    np.testing.assert_allclose(gwas["z"], [2.0, -3.0], rtol=1e-12)
    assert gwas["n"].values.tolist() == [1000, 900]
    assert gwas["effect_allele"].values.tolist() == ["A", "C"]
    assert gwas["chromosome"].values.tolist() == ["20", "20"]
    np.testing.assert_array_equal(gwas["effect_allele_frequency"], [0.3, np.nan])
    assert gwas.attrs["source"] == "hdl.tsv.gz"


@pytest.mark.parametrize("separator", ["\t", ",", " ", "   "])
def test_plain_tables_with_any_separator(write: Write, separator: str) -> None:
    gwas = read_gwas(write("z.txt", PLAIN.replace(",", separator)), n=500)
    assert gwas["z"].values.tolist() == [2.5, -1]
    assert gwas["n"].values.tolist() == [500, 500]
    assert gwas["variant_id"].values.tolist() == ["", ""]  # none is made up: it would be evidence of a strand


def test_a_column_n_wins_over_the_argument(write: Write) -> None:
    assert read_gwas(write("a.tsv", SSF), n=7)["n"].values.tolist() == [1000, 900]


def test_z_wins_over_beta(write: Write) -> None:
    header, *rows = SSF.splitlines()
    text = "\n".join([header + "\tz", *(row + "\t9" for row in rows)])
    assert read_gwas(write("a.tsv", text))["z"].values.tolist() == [9, 9]


def test_the_sign_of_beta_and_the_size_of_p(write: Write) -> None:
    text = "chr pos a1 a2 beta p n\n1 10 A G 0.5 1e-200 10\n1 20 A G -0.1 0.5 10\n1 30 A G 0.1 1 10\n"
    expected = [stats.norm.isf(5e-201), -stats.norm.isf(0.25), 0]
    np.testing.assert_allclose(read_gwas(write("a.txt", text))["z"], expected, rtol=1e-12, atol=1e-12)


def test_synonyms_do_not_clash() -> None:
    names = [name for spellings in SYNONYMS.values() for name in spellings]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


def test_lines_before_the_header_are_counted(write: Write) -> None:
    with pytest.raises(InputError, match="line 4"):
        read_gwas(write("a.tsv", "##made by hand\n" + SSF.replace("-0.3\t0.1", "-0.3\t0")))


BAD = {
    "no effects": (
        "chr pos a1 a2 p n\n1 10 A G 0.5 10\n",
        "has p-values ('p') without effects",
        "A p-value has no sign",
        "Add a column z, or beta and standard_error",
    ),
    "a misspelt effect": (
        "chr pos a1 a2 bta se p n\n1 10 A G 0.1 0.1 0.5 10\n",
        "has p-values ('p') without effects",
        "A p-value has no sign",
        "Is it 'bta', for beta?",
    ),
    "a misspelt error": (
        "chr pos a1 a2 beta standard_eror n\n1 10 A G 0.1 0.1 10\n",
        "neither z nor beta",
        "A GWAS file has a column z",
        "Is it 'standard_eror', for standard_error?",
    ),
    "header only": (
        "chr pos a1 a2 z n\n",
        "holds no variants",
        "one row per variant",
        "Write or download",
    ),
    "odds ratios": (
        "chr pos a1 a2 or se n\n1 10 A G 1.1 0.1 10\n",
        "has odds ratios ('or') and no p-values",
        "cannot be told",
        "ratio_standard_error",
    ),
    "nothing": (
        "chr pos a1 a2 n\n1 10 A G 10\n",
        "neither z nor beta",
        "A GWAS file has a column z",
        "Rename the columns",
    ),
    "no n": (
        "chr pos a1 a2 z\n1 10 A G 1\n",
        "has no sample size",
        "The sample size is a column",
        "Add n = <people> under [[gwas]] in the study file",
    ),
    "wrong column": (
        "chr posn a1 a2 z n\n1 10 A G 1 10\n",
        "has no column for the position; it has chr, posn, a1, a2, z, n",
        "base_pair_location",
        "Is it 'posn'?",
    ),
    "NaN z": (
        "chr pos a1 a2 z n\n1 10 A G 1 10\n1 20 A G NaN 10\n1 30 A G x 10\n",
        "z is 'x' in 1 row, line 4",
        "Every z-score is a finite number",
        "Remove these rows",
    ),
    "infinite z": (
        "chr pos a1 a2 z n\n1 10 A G inf 10\n",
        "z is 'inf' in 1 row, line 2",
        "finite",
        "Remove these rows",
    ),
    "se of zero": (
        "chr pos a1 a2 beta se n\n1 10 A G 1 0 10\n1 20 A G 1 -2 10\n",
        "se is '0' in 2 rows, line 2, 3",
        "Every standard error is finite and above zero",
        "Remove these rows",
    ),
    "p of zero": (
        "chr pos a1 a2 beta p n\n1 10 A G 1 0 10\n",
        "p is '0' in 1 row, line 2",
        "above 0 and at most 1",
        "Add a column standard_error, or z",
    ),
    "p beside an error": (
        "chr pos a1 a2 beta se p n\n1 10 A G 1 1 0.3 10\n1 20 A G 1 1 2 10\n",
        "p is '2' in 1 row, line 3",
        "A p-value lies between 0 and 1",
        "leave it missing",
    ),
    "-log10 p beside an error": (
        "chr pos a1 a2 beta se neg_log_10_p_value n\n1 10 A G 1 1 -3 10\n",
        "neg_log_10_p_value is '-3' in 1 row, line 2",
        "-log10 p is at least 0",
        "leave it missing",
    ),
    "n of zero": (
        "chr pos a1 a2 z n\n1 10 A G 1 0\n",
        "n is '0' in 1 row",
        "above zero",
        "fill n in",
    ),
    "n missing": ("chr pos a1 a2 z n\n1 10 A G 1 NA\n", "(1 n is missing)", "50%", "fill the rows in"),
    "position": (
        "chr pos a1 a2 z n\n1 10.5 A G 1 9\n",
        "pos is '10.5'",
        "whole number",
        "Remove these rows",
    ),
    "frequency": (
        "chr pos a1 a2 z n eaf\n1 10 A G 1 9 1.5\n",
        "eaf is '1.5'",
        "between 0 and 1",
        "leave it missing",
    ),
    "allele missing": (
        "chr pos a1 a2 z n\n1 10 A NA 1 9\n",
        "(1 an allele is unknown)",
        "50%",
        "fill the rows in",
    ),
    "one allele": (
        "chr pos a1 a2 z n\n1 10 A A 1 9\n",
        "both alleles are the same",
        "50%",
        "fill the rows in",
    ),
    "ragged": (
        "chr pos a1 a2 z n\n1 10 A G 1 9\n1 20 A G 1 9 8 7\n",
        "unequal length",
        "6 columns",
        "Correct the rows",
    ),
    "empty": ("", "is empty", "header", "again"),
    "twice": (
        "chr pos a1 a2 z z n\n1 10 A G 1 1 9\n",
        "column 'z' occurs more than once",
        "own name",
        "Rename",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(write: Write, case: str) -> None:
    text, given, rule, remedy = BAD[case]
    with pytest.raises(InputError) as error:
        read_gwas(write("bad.txt", text))
    assert "bad.txt" in error.value.given
    assert given in error.value.given
    assert rule in error.value.rule
    assert remedy in error.value.remedy


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "hdl.tsv").write_text(SSF)
    with pytest.raises(InputError, match=r"hdl\.tsv\.gz does not exist.*holds hdl\.tsv"):
        read_gwas(tmp_path / "hdl.tsv.gz")


def test_a_gzip_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "cut.tsv.gz"
    path.write_bytes(gzip.compress(SSF.encode())[:-20])
    with pytest.raises(InputError, match=r"cut\.tsv\.gz breaks off or is damaged"):
        read_gwas(path)


@pytest.mark.parametrize("n", [0, -5, float("nan")])
def test_n_given_as_nonsense(write: Write, n: float) -> None:
    with pytest.raises(InputError, match="A sample size is above zero"):
        read_gwas(write("z.txt", PLAIN), n=n)


def test_a_z_that_disagrees_with_its_row_is_marked(tmp_path: Path) -> None:
    """Rounding to two digits is no conflict; another sign is, and so is a p-value of another test."""
    path = tmp_path / "gwas.tsv"
    lines = [
        "chr pos ea oa z beta se p n",
        "1 10 A G 2.54 0.025 0.010 0.011 1000",
        "1 20 A G 2.54 -0.025 0.010 0.011 1000",
        "1 30 A G 2.54 0.025 0.010 1e-9 1000",
        "1 40 A G 40.2 0.4 0.0100 0 1000",
        "1 50 A G 0.1 NA 0.0100 NA 1000",
    ]
    path.write_text("\n".join(line.replace(" ", "\t") for line in lines) + "\n")
    assert read_gwas(path)["conflict"].values.tolist() == [False, True, True, False, False]
