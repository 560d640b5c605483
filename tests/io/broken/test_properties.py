"""The same GWAS written in other ways gives the same z-scores, or an error that names the file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayestwas.data.studies import Study
from bayestwas.errors import BayestwasError
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.io.gwas import read_gwas
from bayestwas.run.study import read_study

FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
OTHER_STRAND = {"A": "T", "G": "C"}


@pytest.fixture
def study(sound: Path) -> Study:
    """The sound study, read."""
    return read_study(sound)


def _with(study: Study, path: Path) -> Harmonised:
    return harmonise(replace(study, gwas={"EUR": read_gwas(path)}))


def _result_or_error(call: Callable[[], Any]) -> tuple[Any, BayestwasError | None]:
    """What a call gives, or the message that it refuses with; any other exception is a failure."""
    try:
        return call(), None
    except BayestwasError as error:
        return None, error


def _by_place(study: Study, path: Path) -> pd.Series:
    """z of the allele A (or T, on the other strand) by position, from the loci of all blocks."""
    harmonised = _with(study, path)
    parts = []
    for block in harmonised.blocks["block"]:
        locus = harmonised.locus(block)
        z = locus["gwas"].dataset["z"].sel(ancestry="EUR").values
        sign = np.where(np.isin(locus["effect_allele"].values, ("A", "T")), 1.0, -1.0)
        parts.append(pd.Series(z * sign, index=locus["position"].values))
    return pd.concat(parts).dropna()


masks = st.lists(st.booleans(), min_size=24, max_size=24).map(np.array)


@FEW
@given(
    order=st.permutations(range(24)),
    flip=masks,
    turn=masks,
    label=st.sampled_from(["20", "chr20", "020"]),
    separator=st.sampled_from(["\t", ",", " "]),
    lower=st.booleans(),
    ending=st.sampled_from([".tsv", ".tsv.gz", ".parquet"]),
)
def test_recoding_changes_nothing(
    study: Study,
    tmp_path: Path,
    order: list[int],
    flip: np.ndarray,
    turn: np.ndarray,
    label: str,
    separator: str,
    lower: bool,
    ending: str,
) -> None:
    table = pd.read_csv(tmp_path / "gwas.tsv", sep="\t").astype({"chromosome": str})
    expected = (table["beta"] / table["standard_error"]).set_axis(table["base_pair_location"])
    one, two = "effect_allele", "other_allele"
    table.loc[flip, [one, two]] = table.loc[flip, [two, one]].to_numpy()
    table.loc[flip, "beta"] *= -1
    table.loc[flip, "effect_allele_frequency"] = 1 - table.loc[flip, "effect_allele_frequency"]
    for column in (one, two):
        table.loc[turn, column] = table.loc[turn, column].map(OTHER_STRAND)
        if lower:
            table[column] = table[column].str.lower()
    table = table.assign(chromosome=label).iloc[order]
    path = tmp_path / f"recoded{ending}"
    if ending == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, sep=separator, index=False)
    found = _by_place(study, path)
    # beta has four digits and se is 0.1: one division, rounded once
    pd.testing.assert_series_equal(found.sort_index(), expected, check_names=False, rtol=1e-12)


@FEW
@given(repeated=masks)
def test_duplicates_are_told_and_no_variant_is_lost(
    study: Study, tmp_path: Path, repeated: np.ndarray
) -> None:
    table = pd.read_csv(tmp_path / "gwas.tsv", sep="\t")
    path = tmp_path / "twice.tsv"
    pd.concat([table, table[repeated]]).to_csv(path, sep="\t", index=False)
    if 2 * repeated.sum() > 0.1 * (24 + repeated.sum()):
        with pytest.raises(BayestwasError, match=r"twice\.tsv.*duplicate"):
            _with(study, path)
        return
    ledger = _with(study, path).ledger
    dropped = ledger[(ledger["file"] == "twice.tsv") & (ledger["action"] == "dropped")]
    assert len(dropped) == 2 * repeated.sum()
    assert len(_by_place(study, path)) == 24 - repeated.sum()


@FEW
@given(share=st.floats(0, 1), gzipped=st.booleans())
def test_a_file_that_is_cut_anywhere(study: Study, tmp_path: Path, share: float, gzipped: bool) -> None:
    """An error that names the file, or the rows before the cut: only the last may have lost digits of n."""
    whole = (tmp_path / "gwas.tsv").read_bytes()
    data = gzip.compress(whole) if gzipped else whole
    path = tmp_path / "cut.tsv"
    path.write_bytes(data[: int(share * len(data))])
    full = read_gwas(tmp_path / "gwas.tsv")
    gwas, error = _result_or_error(lambda: read_gwas(path))
    if gwas is None:
        assert "cut.tsv" in str(error)
        return
    assert not gzipped or share == 1.0
    np.testing.assert_array_equal(gwas["z"].values, full["z"].values[: gwas.sizes["variant"]])
    np.testing.assert_array_equal(gwas["n"].values[:-1], full["n"].values[: gwas.sizes["variant"] - 1])


@FEW
@given(
    row=st.integers(0, 23),
    column=st.integers(0, 8),
    value=st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=6), st.floats().map(repr), st.integers().map(str)
    ),
)
def test_any_value_anywhere(study: Study, tmp_path: Path, row: int, column: int, value: str) -> None:
    """Whatever stands in one cell: an error that names the file, or finite z-scores of all other rows."""
    lines = [line.split("\t") for line in (tmp_path / "gwas.tsv").read_text().splitlines()]
    lines[row + 1][column] = value
    path = tmp_path / "odd.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    harmonised, error = _result_or_error(lambda: _with(study, path))
    if harmonised is None:
        assert "odd.tsv" in str(error)
        return
    gwas = harmonised.study.gwas["EUR"]
    assert np.isfinite(gwas["z"].values).all()
    assert np.isfinite(gwas["n"].values).all()
    assert (harmonised.genes["status"] == "ok").all()
    mentioned = harmonised.ledger.loc[harmonised.ledger["file"] == "odd.tsv", "variant"].iloc[1:]
    assert (harmonised.rows["odd.tsv"] >= 0).sum() + len(mentioned) >= 23
