"""Columns of tables of finished weights, each value checked before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bayestwas.errors import InputError


def text(path: Path, column: pd.Series, what: str) -> np.ndarray:
    """A column as text. Raises `InputError` where a value is missing."""
    missing = column.isna().to_numpy() | (column.astype(str).str.strip() == "").to_numpy()
    if missing.any():
        raise InputError(
            f"{path}: {what} is missing in row {int(np.argmax(missing)) + 1} ({int(missing.sum())} rows)",
            f"Every row of a table of weights has its {what}",
            "Fill it in, or remove the row",
        )
    return column.astype(str).to_numpy(dtype=object)


def alleles(path: Path, column: pd.Series, what: str) -> np.ndarray:
    """Alleles in capitals. Raises `InputError` where one is missing or a number."""
    values = np.array([value.upper() for value in text(path, column, what)], dtype=object)
    number = np.array([value[:1].isdigit() for value in values], dtype=bool)
    if number.any():
        raise InputError(
            f"{path}: {what} is '{values[int(np.argmax(number))]}' in row {int(np.argmax(number)) + 1}",
            "Alleles are bases, as A or ACT",
            "Write the bases; codes 1 and 2 need the table that says what they stand for",
        )
    return values


def whole(path: Path, column: pd.Series, what: str) -> np.ndarray:
    """Base pairs, int64. Raises `InputError` for anything but whole numbers from 0."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers % 1 == 0) & (numbers < 2**31))
    if bad.any():
        row = int(np.argmax(bad))
        value = column.iloc[row]
        raise InputError(
            f"{path}: {what} is {'missing' if pd.isna(value) else repr(str(value))} in row {row + 1}",
            "Positions are whole numbers of base pairs, 1-based",
            "Correct the value, or remove the row",
        )
    return numbers.astype(np.int64)
