"""What stands beside a GWAS file about it: the -meta.yaml of GWAS-SSF."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bayestwas.errors import InputError
from bayestwas.io.tables import open_text

_MOST_LINES = 10_000
_PAIR = re.compile(r"^\s*(?:-\s+)?([A-Za-z_0-9]+)\s*:\s*(.*?)\s*(?:\s#.*)?$")


class Meta(NamedTuple):
    """Build ('' where unknown), people (None where unknown), whether positions count from 0, and notes."""

    build: str = ""
    n: float | None = None
    zero_based: bool = False
    notes: tuple[str, ...] = ()


def read_meta(path: Path) -> Meta:
    """The -meta.yaml beside a GWAS-SSF file, an empty account where there is none. Raises `InputError`.

    Three of its keys are used: genome_assembly, coordinate_system and the sample_size of its samples (their
    sum), where the file has no column n.
    """
    names = (f"{path.name}-meta.yaml", f"{path.name.removesuffix('.gz')}-meta.yaml")
    beside = next((path.parent / name for name in names if (path.parent / name).is_file()), None)
    if beside is None:
        return Meta()
    build, system, sizes = "", "", []
    with open_text(beside) as handle:
        for number, line in enumerate(handle, start=1):
            match = _PAIR.match(line)
            if number > _MOST_LINES or not match:
                continue
            key, value = match[1], match[2].strip("'\"")
            if key == "genome_assembly":
                build = value
            elif key == "coordinate_system":
                system = value
            elif key == "sample_size" and value:
                sizes.append(_size(beside, number, value))
    if system and not system.startswith(("1", "0")):
        raise InputError(
            f"{beside}: coordinate_system is '{system}'",
            "Positions count from 1 (1-based) or from 0 (0-based)",
            "Correct the file",
        )
    zero = system.startswith("0")
    notes = (f"{path.name}: positions count from 0 ({beside.name}) and were moved by one",) if zero else ()
    return Meta(build, sum(sizes) if sizes else None, zero, notes)


def _size(path: Path, line: int, value: str) -> float:
    try:
        size = float(value.replace(",", ""))
    except ValueError:
        size = -1.0
    if not 0 < size < float("inf"):
        raise InputError(
            f"{path} line {line}: sample_size is '{value}'",
            "A sample size is a number of people above zero",
            "Correct the file, or give n under [[gwas]]",
        )
    return size
