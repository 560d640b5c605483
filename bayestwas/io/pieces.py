"""Large tables a piece at a time: text by Arrow (tabs, commas) or pandas (blanks), and Parquet.

Every piece is a DataFrame whose index counts the rows of the file from 0 (blank lines are not counted).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bayestwas.data.annotations import Regions
from bayestwas.errors import InputError
from bayestwas.io.parquet import is_parquet, open_parquet, row_groups
from bayestwas.io.tables import MISSING, open_binary, open_text, read_pieces, text_header

PIECE = 200_000  # rows of a piece, about
_BYTES = 1 << 24  # of text parsed at once
MOST_ROWS = 300_000_000  # three times the largest imputation panels: beyond it a file is no GWAS


class NotNumbersError(Exception):
    """A column that was read as numbers holds text: read the file again with `as_text`."""


class Wanted(NamedTuple):
    """Which columns are read, and how: `texts` as text, `few` as categories of text, all others as numbers.

    `as_text`: all as text, as it stands in the file (for messages). `place`: the columns with chromosome and
    position; with `regions` (chromosome -> first and last position) parts of a file may be left out.
    """

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    few: tuple[str, ...]
    place: dict[str, str]
    regions: Regions | None = None
    as_text: bool = False


def header(path: Path) -> list[str]:
    """The names of the columns of a text or Parquet table. Raises `InputError`."""
    if is_parquet(path):
        with open_parquet(path) as file:
            return [str(name) for name in file.schema_arrow.names]
    with open_text(path) as handle:
        return text_header(path, handle).columns


def pieces(path: Path, wanted: Wanted) -> Iterator[pd.DataFrame]:
    """The rows of a table. Raises `InputError`, and `NotNumbersError` where numbers hold text."""
    source = _parquet if is_parquet(path) else _text
    for piece in source(path, wanted):
        if len(piece) and int(piece.index[-1]) >= MOST_ROWS:
            raise InputError(
                f"{path} has more than {MOST_ROWS:,} rows",
                "A table has one row per variant, and no panel has so many",
                "Check what the file is; split it by trait if it holds several",
            )
        yield piece


def line_of(path: Path, row: int) -> str:
    """Where row number `row` (from 0) of a table stands: "line 12" of a text, "row 11" of Parquet."""
    if is_parquet(path):
        return str(row + 1)
    with open_text(path) as handle:
        number = text_header(path, handle).skipped + 1
        count = -1
        for line in handle:
            number += 1
            count += bool(line.strip())
            if count == row:
                return str(number)
    return str(number)


# ---- text -----------------------------------------------------------------------------------------------


def _text(path: Path, wanted: Wanted) -> Iterator[pd.DataFrame]:
    with open_text(path) as handle:
        head = text_header(path, handle)
    if head.separator not in ("\t", ","):
        yield from _blanks(path, wanted)
        return
    import pyarrow
    import pyarrow.csv

    kinds = {name: pyarrow.float64() for name in wanted.columns}
    kinds |= {name: pyarrow.string() for name in wanted.columns if wanted.as_text or name in wanted.texts}
    kinds |= {name: pyarrow.dictionary(pyarrow.int32(), pyarrow.string()) for name in wanted.few}
    options = {
        "read_options": pyarrow.csv.ReadOptions(
            column_names=head.columns, skip_rows=head.skipped + 1, block_size=_BYTES, use_threads=True
        ),
        "parse_options": pyarrow.csv.ParseOptions(delimiter=head.separator),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types=kinds,
            include_columns=list(wanted.columns),
            null_values=list(MISSING),
            strings_can_be_null=True,
        ),
    }
    first = 0
    with open_binary(path) as stream:
        try:
            reader = pyarrow.csv.open_csv(stream, **options)
            for batch in reader:
                yield _frame(batch, first)
                first += len(batch)
        except pyarrow.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            if "conversion error" in str(error) and "UTF8" not in str(error):
                raise NotNumbersError(str(error)) from error
            raise _ragged(path, head.columns, head.separator, str(error)) from error


def _frame(batch: Any, first: int) -> pd.DataFrame:
    frame = batch.to_pandas()
    frame.index = pd.RangeIndex(first, first + len(frame))
    return frame


def _ragged(path: Path, columns: Sequence[str], separator: str, message: str) -> InputError:
    """The error for a text that cannot be cut into rows; names the first line that is too short or long."""
    with open_text(path) as handle:
        number = text_header(path, handle).skipped + 1
        for line in handle:
            number += 1
            fields = line.rstrip("\r\n").count(separator) + 1
            if line.strip() and fields != len(columns) and '"' not in line:
                return InputError(
                    f"{path} line {number}: rows of unequal length ({fields} fields)",
                    f"Every row has the {len(columns)} columns of the header",
                    "Correct the rows, or write the file again: it may break off here",
                )
    return InputError(
        f"{path} breaks off or is damaged ({message.split(chr(10))[0][:200]})",
        f"Every row has the {len(columns)} columns of the header, as text",
        "Copy or download the file again",
    )


def _blanks(path: Path, wanted: Wanted) -> Iterator[pd.DataFrame]:
    """Columns separated by blanks, one or several."""
    texts = wanted.columns if wanted.as_text else wanted.texts
    texts = tuple(name for name in texts if name not in wanted.few)
    first = 0
    for piece in read_pieces(path, PIECE, text_columns=texts, few_values=wanted.few):
        piece = piece[list(wanted.columns)]
        piece.index = pd.RangeIndex(first, first + len(piece))
        first += len(piece)
        for name in wanted.columns:
            if name not in (*texts, *wanted.few) and not pd.api.types.is_numeric_dtype(piece[name].dtype):
                raise NotNumbersError(name)
        yield piece


# ---- Parquet --------------------------------------------------------------------------------------------


def _parquet(path: Path, wanted: Wanted) -> Iterator[pd.DataFrame]:
    import pyarrow

    with open_parquet(path) as file:
        groups = set(range(file.metadata.num_row_groups))
        if wanted.regions is not None and {"chromosome", "position"} <= set(wanted.place):
            groups = row_groups(file.metadata, wanted.place, wanted.regions)
        first = 0
        for group in range(file.metadata.num_row_groups):
            here = first
            first += file.metadata.row_group(group).num_rows
            if group not in groups:
                continue
            for batch in file.iter_batches(PIECE, row_groups=[group], columns=list(wanted.columns)):
                arrays = []
                for name in batch.schema.names:
                    column, text = batch.column(name), name in (*wanted.texts, *wanted.few)
                    try:
                        arrays.append(column.cast(pyarrow.string() if text else pyarrow.float64()))
                    except pyarrow.ArrowInvalid as error:
                        if not wanted.as_text:
                            raise NotNumbersError(str(error)) from error
                        arrays.append(column)
                yield _frame(pyarrow.record_batch(arrays, names=batch.schema.names), here)
                here += len(batch)
