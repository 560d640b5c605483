"""Tables as text: read what users bring, write tab-separated files that are never half-written."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd

from bayestwas.errors import InputError, OutputError

MISSING = ("", "NA", "na", "NaN", "nan", ".", "#NA", "#N/A", "NULL", "null", "None")
_BUFFER = 1 << 20
# Deflate packs at most 1032 to 1, tables of numbers 3 to 20 to 1, constant ones some 50 to 1.
_MOST_RATIO = 200
_ALWAYS = 1 << 28  # bytes: what unpacks to less does no harm
_LONGEST_HEADER = 1 << 24  # characters: 100,000 donors have a header of a few megabytes


def require_file(path: Path, what: str = "file") -> Path:
    """The path itself. Raises `InputError` where there is no such file."""
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(
            f"{what} {path} is a folder", "A file is named, not a folder", "Name a file inside the folder"
        )
    parent = path.parent
    near = sorted(p.name for p in parent.iterdir())[:8] if parent.is_dir() else []
    raise InputError(
        f"{what} {path} does not exist",
        "Every file that is named can be read",
        f"Correct the path; {parent} holds {', '.join(near)}"
        if near
        else f"Correct the path; {parent} is empty or absent",
    )


class _Unzipped(io.RawIOBase):
    """The bytes of a gzipped file, up to what a table of its size can hold. Raises `InputError` beyond."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.GzipFile(path, "rb")
        self._path = path
        self._left = max(_ALWAYS, _MOST_RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self._file.readinto(buffer)
        self._left -= got
        if self._left < 0:
            raise InputError(
                f"{self._path} unpacks to more than {_MOST_RATIO} times its size",
                "A gzipped table is some 3 to 20 times as large when it is unpacked",
                "The file is damaged or was made to fill the memory: download it again from its source",
            )
        return got

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain or gzipped file, unpacked. Raises `InputError` where it is damaged or unpacks to
    absurdity."""
    require_file(path)
    with open(path, "rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    try:
        with io.BufferedReader(_Unzipped(path), _BUFFER) if gzipped else open(path, "rb") as handle:
            yield handle
    except (EOFError, gzip.BadGzipFile, OSError, zlib.error) as error:
        raise _damaged(path, error) from error


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a plain or gzipped text file. Raises `InputError` where it is damaged or is not text."""
    with open_binary(path) as binary:
        try:
            # utf-8-sig: spreadsheets put a byte order mark before the header
            with io.TextIOWrapper(binary, encoding="utf-8-sig") as handle:
                yield handle
        except UnicodeDecodeError as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} breaks off or is damaged ({error})",
        "A table is a whole text file, plain or gzipped",
        "Copy or download the file again",
    )


def read_table(
    path: Path, *, text_columns: tuple[str, ...] = (), few_values: tuple[str, ...] = (), comment: str = "##"
) -> pd.DataFrame:
    """Read a table with a header line, separated by tabs, commas or blanks, plain or gzipped.

    Lines before the header that start with `comment` are skipped. Columns named in `text_columns` stay text,
    those in `few_values` become categories of text; the attribute `first_line` of the result is the line
    number of its first row. Raises `InputError`.
    """
    with open_text(path) as handle:
        head = text_header(path, handle, comment)
        with _rows_as_the_header(path, head):
            table = pd.read_csv(handle, **_options(head, text_columns, few_values))
    table = table[~table.isna().all(axis=1)]
    table.attrs["first_line"] = head.skipped + 2
    return table


def read_pieces(
    path: Path, rows: int, *, text_columns: tuple[str, ...] = (), few_values: tuple[str, ...] = ()
) -> Iterator[pd.DataFrame]:
    """The table of `read_table`, `rows` lines at a time."""
    with open_text(path) as handle:
        head = text_header(path, handle)
        reader = pd.read_csv(handle, chunksize=rows, **_options(head, text_columns, few_values))
        while True:
            with _rows_as_the_header(path, head):
                piece = next(reader, None)
            if piece is None:
                return
            piece = piece[~piece.isna().all(axis=1)]
            piece.attrs["first_line"] = head.skipped + 2
            yield piece


def read_header(path: Path) -> list[str]:
    """The names of the columns of a table. Raises `InputError`."""
    with open_text(path) as handle:
        return text_header(path, handle).columns


class Header(NamedTuple):
    """Columns and separator of a table (a pattern for blanks)."""

    columns: list[str]
    separator: str
    skipped: int  # lines before it


def text_header(path: Path, handle: IO[str], comment: str = "##") -> Header:
    """The header of an open table; the next line that is read is the first row. Raises `InputError`."""
    skipped = 0
    header = handle.readline(_LONGEST_HEADER)
    while header.startswith(comment):
        skipped += 1
        header = handle.readline(_LONGEST_HEADER)
    if not header.strip():
        raise InputError(f"{path} is empty", "A table has a header line and rows", "Write the file again")
    if len(header) >= _LONGEST_HEADER or "\0" in header:
        raise InputError(
            f"{path} does not begin with a header line of text",
            "A table has a header line that names its columns",
            "Check what the file is: it may be of another format, or damaged",
        )
    separator = next((mark for mark in ("\t", ",") if mark in header), None)
    columns = [name.strip().strip('"') for name in header.strip("\r\n").split(separator)]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: column '{repeated[0]}' occurs more than once",
            "Every column has its own name",
            "Rename or remove one of them",
        )
    return Header(columns, separator or r"\s+", skipped)


def _options(head: Header, text_columns: tuple[str, ...], few_values: tuple[str, ...]) -> dict[str, Any]:
    kinds = dict.fromkeys(text_columns, "str") | dict.fromkeys(few_values, "category")
    return {
        "sep": head.separator,
        "header": None,
        "names": head.columns,
        "index_col": False,
        "dtype": {name: kinds[name] for name in head.columns if name in kinds},
        "na_values": list(MISSING),
        "keep_default_na": False,
        "low_memory": False,
        "skip_blank_lines": False,
    }


@contextmanager
def _rows_as_the_header(path: Path, head: Header) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        try:
            yield
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise InputError(
                f"{path}: rows of unequal length ({str(error).strip()})",
                f"Every row has the {len(head.columns)} columns of the header",
                "Correct the rows, or write the file again",
            ) from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error."""
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror})",
            "The folder exists and can be written to",
            "Choose another folder",
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a tab-separated table: floats with up to 6 significant digits, NA where missing, all of it or
    nothing.

    A name that ends in .gz is gzipped. The index is not written.
    """
    path = Path(path)
    text = table.to_csv(sep="\t", index=False, float_format="%.6g", na_rep="NA", lineterminator="\n").encode()
    with atomic(path) as temporary:  # gzip's header would carry the name of the temporary file and the time
        temporary.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
