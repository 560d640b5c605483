"""PLINK 2 genotypes: .pgen, .pvar and .psam; hard calls or dosages, read a block at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayestwas.data.optional import library
from bayestwas.data.studies import Genotypes, compact_dosage
from bayestwas.data.variants import shared_text
from bayestwas.errors import InputError
from bayestwas.io.info import parse_info
from bayestwas.io.plink import require_unique
from bayestwas.io.tables import read_table, require_file

_PROBED = 64  # variants that are looked at to see whether a file holds imputed dosages


class _Alleles(NamedTuple):
    """Rows of a table with one alternate allele each: number of the variant in the file, of the allele."""

    variant: np.ndarray
    allele: np.ndarray
    offsets: np.ndarray  # (variants + 1,) of the alleles of the file


@dataclass(frozen=True)
class PgenDosages:
    """Reads dosages of the alternate alleles from a .pgen file; small and picklable.

    `rows`: of the table, one per alternate allele; where there are more than variants, the .pvar file is read
    again, once per process.
    """

    path: Path
    pvar: Path
    n_samples: int
    n_variants: int
    rows: int

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """(len(index), samples), -1 where missing: int8 where all are whole, else float32."""
        index = np.asarray(index, dtype=np.intp)
        several = _alleles(self.pvar) if self.rows > self.n_variants else None
        variant = index if several is None else several.variant[index]
        allele = np.ones(len(index), dtype=int) if several is None else several.allele[index]
        out = np.empty((len(index), self.n_samples), dtype=np.float32)
        with _opened(self.path, self.n_samples, self.n_variants, several) as file:
            for row, number, which in zip(out, variant.tolist(), allele.tolist(), strict=True):
                file.read_dosages(number, row, which)
        out[out < 0] = -1
        return compact_dosage(out)


@contextmanager
def _opened(path: Path, n_samples: int, n_variants: int, several: _Alleles | None) -> Iterator[Any]:
    pgenlib = library("pgenlib", "pgen", path)
    offsets = None if several is None else several.offsets
    try:
        with pgenlib.PgenReader(
            str(path).encode(),
            raw_sample_ct=n_samples,
            variant_ct=n_variants,
            allele_idx_offsets=offsets,
        ) as file:
            yield file
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be read ({str(error).strip()})",
            f"A .pgen file belongs to its .pvar ({n_variants:,} variants) and .psam ({n_samples:,} people)",
            "Copy or write the three files again with plink2 --make-pgen",
        ) from error


def pgen_files(path: Path) -> tuple[Path, Path, Path]:
    """The three paths of a PLINK 2 file set, from that of its .pgen file."""
    prefix = str(path)[: -len(".pgen")]
    return path, Path(f"{prefix}.pvar"), Path(f"{prefix}.psam")


def open_pgen(path: str | Path, name: str | None = None) -> Genotypes:
    """Open a PLINK 2 file set, one row per alternate allele, which is the one counted.

    Reads the .pvar and .psam files and a few variants of the .pgen file. Raises `InputError`, and
    `DependencyError` without pgenlib.
    """
    pgen, pvar, psam = pgen_files(Path(path))
    for file in (pgen, pvar, psam):
        require_file(file, "PLINK 2 file")
    library("pgenlib", "pgen", pgen)
    table, several = _read_pvar(pvar)
    samples = _read_psam(psam)
    n_variants = int(several.variant[-1]) + 1 if len(table) else 0
    loader = PgenDosages(pgen, pvar, len(samples), n_variants, len(table))
    probe = np.unique(np.linspace(0, max(len(table) - 1, 0), _PROBED).astype(int))[: len(table)]
    imputed = loader(probe).dtype.kind == "f"
    info = parse_info(table.pop("info"))
    return Genotypes(name or pgen.stem, table, samples, loader, imputed, info)


@functools.lru_cache(maxsize=4)
def _alleles(path: Path) -> _Alleles:
    return _read_pvar(path)[1]


def _read_pvar(path: Path) -> tuple[pd.DataFrame, _Alleles]:
    table = read_table(path, text_columns=("#CHROM", "ID", "REF", "ALT", "INFO", "FILTER"))
    lacking = [column for column in ("#CHROM", "POS", "ID", "REF", "ALT") if column not in table.columns]
    if lacking:
        raise InputError(
            f"{path} has the columns {', '.join(map(str, table.columns[:6]))}",
            "A .pvar file has a header with #CHROM, POS, ID, REF and ALT",
            "Write it again with plink2 --make-pgen",
        )
    position = pd.to_numeric(table["POS"], errors="coerce").to_numpy(dtype=float)
    bad = ~(np.isfinite(position) & (position % 1 == 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path} line {int(table.index[row]) + table.attrs['first_line']}: POS is "
            f"'{table['POS'].iloc[row]!s}'",
            "Positions are whole numbers of base pairs",
            "Correct the line",
        )
    alternates = table["ALT"].fillna(".").str.split(",")
    count = np.array([len(several) for several in alternates], dtype=np.intp)
    variant = np.repeat(np.arange(len(table)), count)
    first = np.concatenate([[0], np.cumsum(count)])
    allele = np.arange(len(variant)) - first[variant] + 1
    info = table["INFO"] if "INFO" in table.columns else pd.Series("", index=table.index)
    rows = pd.DataFrame(
        {
            "chromosome": shared_text(table["#CHROM"].to_numpy()[variant]),
            "position": position.astype(np.int64)[variant],
            "variant_id": table["ID"].fillna("").to_numpy(dtype=object)[variant],
            "effect_allele": shared_text(np.concatenate([*alternates, []]), str.upper),
            "other_allele": shared_text(table["REF"].fillna(".").to_numpy()[variant], str.upper),
            "info": info.fillna("").to_numpy(dtype=object)[variant],
        }
    )
    offsets = np.concatenate([[0], np.cumsum(np.maximum(count + 1, 2))]).astype(np.uintp)
    same = (rows["effect_allele"] == rows["other_allele"]).to_numpy()
    rows.loc[same, "other_allele"] = "?"  # nothing is known of either; alignment leaves it out with a reason
    return rows, _Alleles(variant, allele, offsets)


def _read_psam(path: Path) -> np.ndarray:
    table = read_table(path, text_columns=("#FID", "IID", "#IID", "SID"))
    column = next((name for name in ("IID", "#IID") if name in table.columns), None)
    if column is None:
        raise InputError(
            f"{path} has the columns {', '.join(map(str, table.columns[:6]))}",
            "A .psam file has a header with #IID, or #FID and IID",
            "Write it again with plink2 --make-pgen",
        )
    return require_unique(path, table[column].astype(str), table.attrs["first_line"])
