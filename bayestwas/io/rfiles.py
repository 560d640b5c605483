"""Files of R (.RDS, .RData, .RDat) as plain arrays and tables; nothing in them is ever run."""

from __future__ import annotations

import bz2
import gzip
import lzma
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import rdata
import xarray as xr

from bayestwas.errors import InputError
from bayestwas.io.tables import require_file

LARGEST = 4 << 30  # bytes after decompression: a small file that grows beyond is no table of genetics
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_PIECE = 1 << 22


def read_r(path: str | Path, largest: int = LARGEST) -> Any:
    """What an .RDS file holds, or, for .RData and .RDat, a dict of what it holds by name.

    Matrices are DataFrames where they have names, else arrays; lists are dicts where they have names. The
    file is parsed, never evaluated: promises, code and external pointers in it are refused or left as inert
    data. Raises `InputError` for a file that is damaged, is not of R, or unpacks to more than `largest`
    bytes.
    """
    path = require_file(Path(path), "R file")
    data = _unpacked(path, largest)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown classes and encodings: their plain data are read
            parsed = rdata.parser.parse_data(data, extension=".rds" if _is_rds(data) else ".rda")
            return _plain(rdata.conversion.convert(parsed))
    except RecursionError:
        why = "it is nested too deeply"
    except Exception as error:  # a hostile file can fail anywhere in the parser
        why = str(error).partition("\n")[0] or type(error).__name__
    raise InputError(
        f"{path} cannot be read as a file of R ({why})",
        "An R file holds tables, matrices and lists, as saveRDS and save write them",
        "Write it again with saveRDS(object, file), without functions, environments or S4 objects",
    )


def _unpacked(path: Path, largest: int) -> bytes:
    with open(path, "rb") as raw:
        start = raw.read(2)
    opener = _OPENERS.get(start, open)
    pieces: list[bytes] = []
    try:
        with opener(path, "rb") as handle:
            _fill(path, handle, pieces, largest)
    except (EOFError, OSError, lzma.LZMAError, ValueError) as error:
        raise InputError(
            f"{path} breaks off or is damaged ({error})",
            "An R file is whole, plain or compressed",
            "Copy or download the file again",
        ) from error
    return b"".join(pieces)


def _fill(path: Path, handle: IO[bytes], pieces: list[bytes], largest: int) -> None:
    total = 0
    while piece := handle.read(_PIECE):
        total += len(piece)
        if total > largest:
            raise InputError(
                f"{path} ({path.stat().st_size:,} bytes) unpacks to more than {largest:,} bytes",
                "An R file of a study fits into memory",
                "Split it, or write its tables as Parquet or text",
            )
        pieces.append(piece)


def _is_rds(data: bytes) -> bool:
    return not data.startswith((b"RDX", b"RDA", b"RDB"))


def _plain(value: Any) -> Any:
    """Labelled arrays as tables, names as plain text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, xr.DataArray):
        if value.ndim != 2 or not value.coords:
            return value.values
        rows, columns = value.dims
        return pd.DataFrame(
            value.values,
            index=value.indexes.get(rows),
            columns=value.indexes.get(columns),
        )
    if isinstance(value, pd.DataFrame):
        return value.reset_index(drop=True)
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return value.astype(object)
    return value
