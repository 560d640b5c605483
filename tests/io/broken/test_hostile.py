"""Files made to do harm: code in them is never run, and what they would unpack to is never unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayestwas.data.results import _require_memory, open_priors, open_results
from bayestwas.errors import InputError
from bayestwas.io.ld import load_npz, read_ld_matrix
from bayestwas.io.rfiles import read_r
from bayestwas.io.tables import read_table

HARM = "HARMED"


class Harmful:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (HARM, os.O_CREAT)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / HARM).exists()


def test_the_pickle_would_do_harm(tmp_path: Path) -> None:
    """Otherwise the tests below would show nothing."""
    os.close(pickle.loads(pickle.dumps(Harmful())))
    (tmp_path / HARM).unlink()


# ---- Zarr ------------------------------------------------------------------------------------------------


def _version_2(path: Path, filters: list[dict[str, Any]]) -> None:
    """A store whose chunk is a pickle, in the version of Zarr that has a codec for it."""
    array = path / "posterior" / "x"
    array.mkdir(parents=True)
    for folder in (path, path / "posterior"):
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    told = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "order": "C"}
    (array / ".zarray").write_text(json.dumps(told | {"fill_value": None, "filters": filters}))
    (array / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["n"]}')
    (array / "0").write_bytes(pickle.dumps(np.array([Harmful()], dtype=object)))


def _version_3(path: Path, codecs: list[dict[str, Any]], shape: list[int], chunk: bytes = b"") -> None:
    array = path / "posterior" / "x"
    (array / "c").mkdir(parents=True)
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    for folder in (path, path / "posterior"):
        (folder / "zarr.json").write_text(json.dumps(group))
    told: dict[str, Any] = {
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "float64", "fill_value": 0.0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}}, "attributes": {},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [*codecs, {"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": ["n"],
    }  # fmt: skip
    (array / "zarr.json").write_text(json.dumps(told))
    (array / "c" / "0").write_bytes(chunk)


PICKLE = {"id": "pickle", "protocol": 5}


@pytest.mark.parametrize("filters", [[PICKLE], [{"id": "vlen-utf8"}, PICKLE], [{"id": "json2"}, PICKLE]])
@pytest.mark.parametrize("read", [open_results, open_priors])
def test_a_zarr_store_of_pickles_is_not_opened(
    tmp_path: Path,
    filters: list[dict[str, Any]],
    read: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even where unpickling was allowed for other purposes."""
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    _version_2(tmp_path / "results.zarr", filters)
    with pytest.raises(InputError, match=r"results\.zarr' .*Run the analysis again"):
        read(tmp_path / "results.zarr")


@pytest.mark.parametrize("codec", ["pickle", "numcodecs.pickle", "../../codec"])
def test_an_unknown_codec_is_an_error(tmp_path: Path, codec: str) -> None:
    codecs = [{"name": codec, "configuration": {}}]
    _version_3(tmp_path / "results.zarr", codecs, [1], pickle.dumps(Harmful()))
    with pytest.raises(InputError, match=r"results\.zarr' cannot be read"):
        open_results(tmp_path / "results.zarr")


def test_a_store_that_claims_more_than_the_memory_is_not_loaded(tmp_path: Path) -> None:
    """A thousand bytes on disk stand for a petabyte."""
    _version_3(tmp_path / "results.zarr", [], [1 << 47])
    with pytest.raises(InputError, match=r"unpacks to 1,125,899,906,842,624 bytes, and this computer has"):
        open_results(tmp_path / "results.zarr")
    _require_memory(tmp_path, 10, 10)
    with pytest.raises(InputError, match="11 bytes"):
        _require_memory(tmp_path, 11, 10)


# ---- R ---------------------------------------------------------------------------------------------------

HEAD = "A\n3\n262656\n197888\n5\nUTF-8\n"
SYMBOL = "1\n262153\n6\nsystem\n"
CALL = f"6\n{SYMBOL}2\n16\n1\n262153\n12\ntouch {HARM}\n254\n"
R = {
    "a call": f"{HEAD}{CALL}",
    "a promise": f"{HEAD}5\n254\n{CALL}",
    "a function": f"{HEAD}3\n254\n254\n{CALL}",
    "a pointer": f"{HEAD}22\n254\n254\n",
    "a vector of any length": f"{HEAD}14\n2147483647\n1\n",
    "a vector of no length": f"{HEAD}14\n-7\n1\n",
    "a nest": HEAD + "19\n1\n" * 5000,
}


@pytest.mark.parametrize("case", R)
def test_code_in_r_files_is_not_run(tmp_path: Path, case: str) -> None:
    """It is refused, or read as the inert list of its words; no LD matrix and no weights come of it."""
    path = tmp_path / "weights.RDS"
    path.write_text(R[case])
    if case in ("a call", "a pointer"):
        held = read_r(path)
        assert not isinstance(held, np.ndarray)
        assert not callable(held)
        return
    with pytest.raises(InputError, match=r"weights\.RDS cannot be read .* saveRDS"):
        read_r(path)


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_r_files_have_a_limit(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bomb.RDS"
    path.write_bytes(packed(b"X\n" + bytes(1 << 22)))
    with pytest.raises(InputError, match=r"bomb\.RDS .* unpacks to more than 1,048,576 bytes"):
        read_r(path, largest=1 << 20)


# ---- numpy and tables ------------------------------------------------------------------------------------


def _npy(shape: tuple[int, ...], data: bytes) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return out.getvalue() + data


def test_an_archive_of_zeros_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayestwas.io.ld.LARGEST", 1 << 20)
    path = tmp_path / "ld.npz"
    np.savez_compressed(path, ld=np.zeros((400, 400)), variant_id=np.array(["1:1:A:G"]))
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"ld\.npz unpacks to 1,280,"):
        read_ld_matrix(path, 100)


def test_an_array_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    """The header of an array may say any shape: what its file does not hold is not read."""
    path = tmp_path / "ld.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ld.npy", _npy((1 << 25, 1 << 25), bytes(80)))
        archive.writestr("variant_id.npy", _npy((10,), bytes(80)))
    with pytest.raises(InputError, match=r"ld\.npz cannot be read"):
        load_npz(path)


def test_a_table_of_nothing_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayestwas.io.tables._ALWAYS", 1 << 20)
    path = tmp_path / "table.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n" + b"1\t2\n" * (1 << 20)))
    with pytest.raises(InputError, match=r"table\.tsv\.gz unpacks to more than 200 times its size"):
        read_table(path)
