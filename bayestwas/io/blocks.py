"""LD blocks from a BED file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bayestwas.data.studies import check_label
from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError
from bayestwas.io.tables import open_text

_HEADERS = ("#", "track", "browser", "chrom", "chr\t", "chr ")


def read_blocks(path: str | Path) -> pd.DataFrame:
    """Read blocks: chromosome, start, end and, optionally, a name; 0-based half-open.

    Returns a DataFrame with block, chromosome, start, end. A header line or comment lines are skipped;
    without a name a block is called chromosome_start_end. Raises `InputError` for intervals that are empty or
    overlap.
    """
    path = Path(path)
    rows: list[tuple[str, str, int, int]] = []
    lines: list[int] = []
    with open_text(path) as handle:
        for number, line in enumerate(handle, start=1):
            parts = line.split()
            if not parts or line.lower().startswith(_HEADERS):
                continue
            rows.append(_row(path, number, parts))
            lines.append(number)
    if not rows:
        raise InputError(
            f"{path} holds no block",
            "A block file has one line per block: chromosome, start, end, name",
            "Add blocks, or leave [blocks] out: blocks are then made from the gene windows",
        )
    blocks = pd.DataFrame(rows, columns=["block", "chromosome", "start", "end"])
    blocks["chromosome"] = chromosome_labels(blocks["chromosome"])
    _check(path, blocks, np.array(lines))
    return blocks


def _row(path: Path, number: int, parts: list[str]) -> tuple[str, str, int, int]:
    try:
        chromosome, start, end = parts[0], int(parts[1]), int(parts[2])
    except (IndexError, ValueError):
        raise InputError(
            f"{path} line {number}: '{' '.join(parts)[:60]}'",
            "A line of a block file is chromosome, start, end and, optionally, a name; positions are whole "
            "numbers",
            "Correct the line",
        ) from None
    if not 0 <= start < end:
        raise InputError(
            f"{path} line {number}: start {start}, end {end}",
            "A block is 0-based and half-open, with 0 <= start < end",
            "Correct the line",
        )
    name = parts[3] if len(parts) > 3 else f"{chromosome_labels([chromosome])[0]}_{start}_{end}"
    check_label("block", name)
    return name, chromosome, start, end


def _check(path: Path, blocks: pd.DataFrame, lines: np.ndarray) -> None:
    repeated = blocks["block"].duplicated().to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        raise InputError(
            f"{path} line {lines[row]}: block '{blocks['block'].iloc[row]}' occurs more than once",
            "The name of a block is unique",
            "Rename it",
        )
    order = np.lexsort((blocks["start"].to_numpy(), blocks["chromosome"].to_numpy(dtype=str)))
    by = blocks.iloc[order]
    clash = (by["chromosome"].to_numpy()[1:] == by["chromosome"].to_numpy()[:-1]) & (
        by["start"].to_numpy()[1:] < by["end"].to_numpy()[:-1]
    )
    if clash.any():
        first = int(np.argmax(clash))
        one, two = by.iloc[first], by.iloc[first + 1]
        raise InputError(
            f"{path} line {lines[order[first + 1]]}: block '{two['block']}' ({two['start']}-{two['end']}) "
            "overlaps "
            f"'{one['block']}' ({one['start']}-{one['end']})",
            "Blocks do not overlap: a variant belongs to one block",
            "Cut one of them, or merge the two",
        )
