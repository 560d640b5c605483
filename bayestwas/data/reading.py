"""How a GWAS file was read: its layout, what could not be used, and sentences for the user."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import xarray as xr

READING = "reading"  # attribute of a GWAS Dataset
UNUSED_COLUMNS = ("variant", "source_id", "reason")


def nothing_unused() -> pd.DataFrame:
    """The table of unused rows of a file of which every row is used."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in UNUSED_COLUMNS})


@dataclass(frozen=True)
class Reading:
    """How a GWAS file was read.

    `layout`: its name. `columns`: our name -> that of the file. `guessed`: which of them were taken by their
    names alone. `build`: as the file says, '' where it does not. `unused`: variant (chromosome:position, ''
    where unknown), source_id, reason, one row per row of the file inside the regions that cannot be used.
    `outside`: rows that were passed over, outside the regions. `furthest`: chromosome -> largest position of
    the file. `notes`: sentences for the user.
    """

    layout: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()
    build: str = ""
    unused: pd.DataFrame = field(default_factory=nothing_unused)
    outside: int = 0
    furthest: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def reading_of(gwas: xr.Dataset) -> Reading:
    """How a GWAS was read; an empty account where it was made in memory."""
    found = gwas.attrs.get(READING)
    return found if isinstance(found, Reading) else Reading()
