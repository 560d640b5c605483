"""BGEN genotypes: expected copies from the probabilities of imputed genotypes, read a block at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayestwas.data.optional import library
from bayestwas.data.studies import Genotypes, compact_dosage
from bayestwas.data.variants import shared_text
from bayestwas.errors import InputError
from bayestwas.io.plink import require_unique
from bayestwas.io.tables import open_text, require_file

_COLUMNS = ["chromosome", "position", "variant_id", "other_allele", "effect_allele"]
_QUERY = (
    "SELECT chromosome, position, rsid, allele1, allele2, number_of_alleles FROM Variant "
    "ORDER BY file_start_position"
)
_WHOLE = 1e-6  # rounding of float32 around the probability of a certain genotype


@dataclass(frozen=True)
class BgenDosages:
    """Reads dosages of the second allele from a .bgen file; small and picklable."""

    path: Path
    n_samples: int

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """(len(index), samples), -1 where missing: int8 where all are whole, else float32."""
        out = np.empty((len(index), self.n_samples), dtype=np.float32)
        with _opened(self.path) as file:
            for row, number in zip(out, np.asarray(index).tolist(), strict=True):
                row[:] = file[number].alt_dosage
        out[np.isnan(out)] = -1
        near = np.abs(out - np.rint(out)) < _WHOLE
        out[near] = np.rint(out[near])
        return compact_dosage(out)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, its index used where there is one. Raises `InputError` where it is damaged."""
    bgen = library("bgen", "bgen", path)
    try:
        with bgen.BgenReader(str(path), delay_parsing=True) as file:
            yield file
    except (ValueError, IndexError, RuntimeError, OSError, MemoryError) as error:
        raise InputError(
            f"{path} breaks off or is no BGEN file ({str(error).strip() or type(error).__name__})",
            "A .bgen file is whole, of layout 1 or 2, and of variants with two alleles",
            "Copy or write the file again (plink2 --export bgen-1.2 bits=8)",
        ) from error


def bgen_files(path: Path) -> tuple[Path, ...]:
    """The .bgen file and, where they are there, its index and the names of its people."""
    beside = (Path(f"{path}.bgi"), _sample_file(path))
    return (path, *(file for file in beside if file.is_file()))


def _sample_file(path: Path) -> Path:
    return Path(str(path)[: -len(".bgen")] + ".sample")


def open_bgen(path: str | Path, name: str | None = None) -> Genotypes:
    """Open a BGEN file; the counted allele is the second, people are named by the .sample file beside it, or
    by the file itself.

    Reads the table of variants from the index <file>.bgi where there is one, else from the file, and no
    genotypes. Raises `InputError`, and `DependencyError` without bgen.
    """
    path = Path(path)
    require_file(path, "BGEN file")
    with _opened(path) as file:
        named = list(file.samples) if file.header.has_sample_ids else None
        people = int(file.header.nsamples)
        table = _from_index(Path(f"{path}.bgi")) if Path(f"{path}.bgi").is_file() else _scan(file)
        if len(table) != len(file):
            raise ValueError(f"{len(table):,} variants in the index, {len(file):,} in the file")
    samples = _samples(path, named, people)
    table["chromosome"] = shared_text(table["chromosome"])
    for allele in ("effect_allele", "other_allele"):
        table[allele] = shared_text(table[allele], str.upper)
    return Genotypes(name or path.stem, table, samples, BgenDosages(path, people), imputed=True)


def _scan(file: Any) -> pd.DataFrame:
    rows = []
    for variant in file:
        alleles = list(variant.alleles)
        shown = alleles if len(alleles) == 2 else ["?", ",".join(alleles)]
        rows.append((variant.chrom, variant.pos, variant.rsid, *shown))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"position": np.int64})


def _from_index(path: Path) -> pd.DataFrame:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
            rows = file.execute(_QUERY).fetchall()
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path} is no index of a BGEN file ({error})",
            "An index has the table Variant, as bgenix writes it",
            "Write it again with bgenix -index, or remove it",
        ) from error
    table = pd.DataFrame(rows, columns=[*_COLUMNS, "alleles"])
    several = (table.pop("alleles") != 2).to_numpy()
    table.loc[several, "other_allele"] = "?"  # no single dosage; alignment leaves it out with a reason
    return table


def _samples(path: Path, named: list[str] | None, people: int) -> np.ndarray:
    beside = _sample_file(path)
    if beside.is_file():
        with open_text(beside) as handle:
            lines = [line.split() for line in handle if line.strip()]
        found = pd.Series([parts[min(1, len(parts) - 1)] for parts in lines[2:]], dtype=object)
        if len(found) != people:
            raise InputError(
                f"{beside} names {len(found)} people, {path} holds {people}",
                "A .sample file has two lines of header and one line per person",
                "Use the .sample file that belongs to the genotypes",
            )
        return require_unique(beside, found, 3)
    if named is None:
        raise InputError(
            f"{path} does not name its people, and there is no {beside}",
            "Expression files name donors by their identifiers",
            f"Put the .sample file beside it as {beside.name}",
        )
    return require_unique(path, pd.Series(named, dtype=object), 1)
