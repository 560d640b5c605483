"""Tables are written whole or not at all, and come back as they were."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayestwas.errors import OutputError
from bayestwas.io.tables import atomic, read_table, write_table

TABLE = pd.DataFrame({"gene": ["G1", "G2"], "pip": [1 / 3, 1e-12], "n": [3, 4], "z": [np.nan, -1.23456789]})


@pytest.mark.parametrize("name", ["genes.tsv", "genes.tsv.gz"])
def test_six_digits_and_na(tmp_path: Path, name: str) -> None:
    write_table(TABLE, tmp_path / name)
    back = read_table(tmp_path / name)
    assert back["pip"].tolist() == [0.333333, 1e-12]
    assert back["z"].iloc[1] == -1.23457
    assert np.isnan(back["z"].iloc[0])
    assert back["n"].tolist() == [3, 4]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, zipped: bool) -> None:
    text = "gene\tpip\nG1\t0.5\n".encode("utf-8-sig")
    (tmp_path / "bom.tsv").write_bytes(gzip.compress(text) if zipped else text)
    assert read_table(tmp_path / "bom.tsv").columns.tolist() == ["gene", "pip"]


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "a.tsv.gz")
    write_table(TABLE, tmp_path / "b.tsv.gz")
    assert (tmp_path / "a.tsv.gz").read_bytes() == (tmp_path / "b.tsv.gz").read_bytes()


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "genes.tsv"
    path.write_text("before")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["genes.tsv"]
    assert path.read_text() == "before"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_table(TABLE, tmp_path / "none" / "genes.tsv")
