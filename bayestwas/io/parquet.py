"""Parquet files: opened with one message where they are damaged, and only the row groups that are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bayestwas.data.annotations import Regions
from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError


def is_parquet(path: Path) -> bool:
    """Whether the ending of a name says Parquet."""
    return path.suffix.lower() == ".parquet"


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """An open Parquet file. Raises `InputError` where it is none, or is damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path} breaks off or is no Parquet file ({str(error).split(chr(10))[0]})",
            "A file that ends in .parquet is a Parquet file",
            "Copy or download the file again, or correct its ending",
        ) from error


def row_groups(metadata: Any, place: Mapping[str, str], regions: Regions) -> set[int]:
    """The row groups that may hold a position of `regions`, by the statistics of the columns `place`."""
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    chromosome, position = (paths.index(place[key]) for key in ("chromosome", "position"))
    held = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if _may_hold(_limits(group.column(chromosome)), _limits(group.column(position)), regions):
            held.add(number)
    return held


def _limits(column: Any) -> Sequence[Any] | None:
    """Smallest and largest value of a column of a row group, None where the file does not say."""
    statistics = column.statistics
    return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None


def _may_hold(chromosome: Sequence[Any] | None, position: Sequence[Any] | None, regions: Regions) -> bool:
    if chromosome is None or not all(isinstance(edge, int | float | str) for edge in chromosome):
        return True
    low, high = chromosome
    held: Iterable[Any] = [low]
    if isinstance(low, int | float):
        held = range(int(low), int(high) + 1)
    elif low != high:
        held = regions
    labels = chromosome_labels(list(held))
    spans = [regions[label] for label in labels if label in regions]
    if position is None or not all(isinstance(edge, int | float) for edge in position):
        return bool(spans)
    return any(position[0] <= last and position[1] >= first for first, last in spans)
