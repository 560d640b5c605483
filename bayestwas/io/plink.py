"""PLINK 1 genotypes: .bed, .bim and .fam, dosages read a block at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from bed_reader import open_bed

from bayestwas.data.studies import Genotypes
from bayestwas.data.variants import shared_text
from bayestwas.errors import InputError
from bayestwas.io.tables import open_text, require_file

SUFFIXES = (".bed", ".bim", ".fam")
_MAGIC = b"\x6c\x1b\x01"  # PLINK 1, variant-major
_HEADER = len(_MAGIC)
# Text throughout; columns with few distinct values take a code per row (chromosome, cM; alleles or pedigree).
_KINDS = {0: "category", 1: "str", 2: "category", 3: "str", 4: "category", 5: "category"}
_MISSING = -127  # what bed-reader writes for a missing int8 genotype


@dataclass(frozen=True)
class PlinkDosages:
    """Reads dosages of the A1 allele from a .bed file; small and picklable."""

    path: Path
    n_samples: int
    n_variants: int

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """int8 (len(index), samples), -1 where missing, of the variants numbered `index`."""
        index = np.asarray(index, dtype=np.intp)
        with open_bed(
            self.path,
            iid_count=self.n_samples,
            sid_count=self.n_variants,
            count_A1=True,
            num_threads=1,
        ) as bed:
            dosage = bed.read(np.s_[:, index], dtype="int8", order="F").T
        dosage[dosage == _MISSING] = -1
        return dosage


def plink_files(prefix: str | Path) -> tuple[Path, Path, Path]:
    """The three paths of a PLINK 1 file set, from its prefix or from the path of its .bed file."""
    text = str(prefix)
    text = text[: -len(".bed")] if text.endswith(".bed") else text
    bed, bim, fam = (Path(text + suffix) for suffix in SUFFIXES)
    return bed, bim, fam


def open_plink(prefix: str | Path, name: str | None = None) -> Genotypes:
    """Open a PLINK 1 file set; the counted allele is A1, the fifth column of the .bim file.

    Reads the .bim and .fam files and the size of the .bed file; genotypes are read when asked. `name` stands
    for the file in messages and tables (default: the name of the prefix). Raises `InputError`.
    """
    bed, bim, fam = plink_files(prefix)
    for path in (bed, bim, fam):
        require_file(path, "PLINK file")
    variants = read_bim(bim)
    samples = _read_fam(fam)
    _check_bed(bed, len(samples), len(variants))
    loader = PlinkDosages(bed, len(samples), len(variants))
    return Genotypes(name or bed.stem, variants, samples, loader)


def _read_columns(path: Path, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    """Read a headerless table separated by blanks; every column is required."""
    with open_text(path) as handle:
        try:
            table = pd.read_csv(
                handle,
                sep=r"\s+",
                header=None,
                dtype=_KINDS,
                low_memory=False,
                keep_default_na=False,
                skip_blank_lines=True,
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(
                f"{path} is empty or has rows of unequal length ({str(error).strip()})",
                f"A {path.suffix} file has one row per {what} and 6 columns",
                "Write the files again with PLINK",
            ) from error
    if table.shape[1] != len(columns):
        raise InputError(
            f"{path} has {table.shape[1]} columns",
            f"A {path.suffix} file has 6 columns: {', '.join(columns)}",
            "Write the files again with PLINK 1 (--make-bed)",
        )
    table.columns = pd.Index(list(columns))
    return table


def read_bim(path: Path) -> pd.DataFrame:
    """The variants of a .bim file; the counted allele is A1. Raises `InputError`."""
    columns = ("chromosome", "variant_id", "cm", "position", "A1", "A2")
    table = _read_columns(path, columns, "variant")
    position = pd.to_numeric(table["position"], errors="coerce")
    if position.isna().any() or (position % 1 != 0).any():
        row = int(np.argmax((position.isna() | (position % 1 != 0)).to_numpy()))
        raise InputError(
            f"{path} line {row + 1}: position '{table['position'].iloc[row]}'",
            "Positions are whole numbers of base pairs",
            "Correct the fourth column",
        )
    return pd.DataFrame(
        {
            "chromosome": shared_text(table["chromosome"]),
            "position": position.to_numpy(dtype=np.int64),
            "variant_id": table["variant_id"].to_numpy(dtype=object),
            "effect_allele": shared_text(table["A1"], str.upper),
            "other_allele": shared_text(table["A2"], str.upper),
        }
    )


def _read_fam(path: Path) -> np.ndarray:
    columns = ("family", "individual", "father", "mother", "sex", "phenotype")
    individuals = _read_columns(path, columns, "person")["individual"]
    return require_unique(path, individuals, 1)


def require_unique(path: Path, people: pd.Series, first_line: int) -> np.ndarray:
    """The identifiers of people as an array. Raises `InputError` for one that occurs again."""
    repeated = people[people.duplicated()]
    if len(repeated):
        raise InputError(
            f"{path} line {int(repeated.index[0]) + first_line}: individual '{repeated.iloc[0]}' occurs more "
            "than once",
            "Individual identifiers are unique: expression files name donors by them",
            "Rename the individuals (plink --update-ids)",
        )
    return people.to_numpy(dtype=object)


def _check_bed(path: Path, n_samples: int, n_variants: int) -> None:
    with open(path, "rb") as handle:
        magic = handle.read(_HEADER)
    size = path.stat().st_size
    if magic != _MAGIC and size >= _HEADER:
        raise InputError(
            f"{path} starts with the bytes {magic.hex()}",
            f"A variant-major PLINK 1 .bed file starts with {_MAGIC.hex()}",
            "Convert the genotypes with plink --make-bed",
        )
    row = -(-n_samples // 4)
    expected = _HEADER + row * n_variants
    if size != expected:
        found = max(0, size - _HEADER) // row
        raise InputError(
            f"{path} is {'truncated' if size < expected else 'too long'}: {size:,} bytes, enough for "
            f"{found:,} "
            "variants",
            f"{n_variants:,} variants (.bim) of {n_samples:,} people (.fam) take {expected:,} bytes",
            "Copy or write the file again, with the .bim and .fam files it belongs to",
        )
