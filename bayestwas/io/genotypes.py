"""Genotypes of any kind, by the ending of their name: PLINK 1, PLINK 2, VCF and BCF, BGEN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bayestwas.data.studies import Genotypes
from bayestwas.io.bgen import bgen_files, open_bgen
from bayestwas.io.pgen import open_pgen, pgen_files
from bayestwas.io.plink import open_plink, plink_files
from bayestwas.io.vcf import ENDINGS
from bayestwas.io.vcf_genotypes import open_vcf

Open = Callable[[Path, str | None, pd.DataFrame | None], Genotypes]


class Kind(NamedTuple):
    """One kind of genotype file: the files behind a name without its ending, and the reader."""

    files: Callable[[Path], tuple[Path, ...]]
    open: Open


# ending of the file that holds the genotypes -> how it is read; a prefix stands for the first that exists
KINDS: dict[str, Kind] = {
    ".bed": Kind(plink_files, lambda path, name, _: open_plink(path, name)),
    ".pgen": Kind(pgen_files, lambda path, name, _: open_pgen(path, name)),
    ".bgen": Kind(bgen_files, lambda path, name, _: open_bgen(path, name)),
    **{ending: Kind(lambda path: (path,), open_vcf) for ending in ENDINGS},
}


def genotype_ending(path: str | Path) -> str:
    """The ending that says what `path` is; of a prefix that of the first file that is there."""
    text = str(path)
    own = [ending for ending in KINDS if text.lower().endswith(ending)]
    if own:
        return max(own, key=len)
    return next((ending for ending in KINDS if Path(text + ending).is_file()), ".bed")


def genotype_files(path: str | Path) -> tuple[Path, ...]:
    """The files that a name of genotypes stands for, that with the genotypes first."""
    ending = genotype_ending(path)
    return KINDS[ending].files(_whole(path, ending))


def open_genotypes(
    path: str | Path, name: str | None = None, inside: pd.DataFrame | None = None
) -> Genotypes:
    """Open genotypes; dosages are read when asked.

    `path`: a file with one of the endings of `KINDS`, or a prefix. `name` stands for it in messages.
    `inside`: regions (chromosome, start, end; 0-based half-open) that are enough, for formats that are read
    by range. Raises `InputError`, and `DependencyError` where the library of a format is not installed.
    """
    ending = genotype_ending(path)
    return KINDS[ending].open(_whole(path, ending), name, inside)


def _whole(path: str | Path, ending: str) -> Path:
    text = str(path)
    return Path(text if text.lower().endswith(ending) else text + ending)
