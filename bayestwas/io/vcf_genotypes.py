"""Genotypes in VCF and BCF: dosages (DS) where the file has them, else calls (GT); by range where it is
indexed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayestwas.data.studies import Genotypes, compact_dosage
from bayestwas.data.variants import chromosome_labels, shared_text
from bayestwas.errors import InputError
from bayestwas.io.info import info_of
from bayestwas.io.vcf import damaged_vcf, indexed, opened_vcf

_LARGEST = 200_000_000  # bytes of a file without an index, which is read from its start for every block
_ROUNDING = 1e-3  # DS that a decimal has taken out of 0 to 2

Span = tuple[str, int, int]  # label of the file, first and last position, 1-based


@dataclass(frozen=True)
class VcfDosages:
    """Reads dosages of the alternate alleles of a VCF; small and picklable.

    Rows are numbered in the order of the records of `spans`, one per alternate allele; `first` is the number
    of the first row of each span, and of the end. Without spans the whole file is one.
    """

    path: Path
    n_samples: int
    spans: tuple[Span, ...]
    first: tuple[int, ...]

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """(len(index), samples), -1 where missing: int8 where all are whole, else float32."""
        index = np.asarray(index, dtype=np.intp)
        wanted, place = np.unique(index, return_inverse=True)
        out = np.full((len(wanted), self.n_samples), -1, dtype=np.float32)
        at = np.searchsorted(np.asarray(self.first), wanted, side="right") - 1
        with opened_vcf(self.path) as file:
            for span in np.unique(at):
                rows = np.flatnonzero(at == span)
                where = self.spans[span] if self.spans else None
                self._fill(file, where, wanted[rows] - self.first[span], out[rows[0] : rows[-1] + 1])
        return compact_dosage(out)[place]

    def _fill(self, file: Any, span: Span | None, numbers: np.ndarray, out: np.ndarray) -> None:
        """The rows `numbers`, ascending, of one span."""
        row, done = 0, 0
        for record in _records(self.path, file, span):
            last = row + max(len(record.ALT), 1)
            if done < len(numbers) and numbers[done] < last:
                dosage = record_dosage(self.path, record)
                while done < len(numbers) and numbers[done] < last:
                    out[done] = dosage[numbers[done] - row]
                    done += 1
            row = last
            if done == len(numbers):
                return
        raise damaged_vcf(self.path, ValueError("it is shorter than when it was opened"))


def open_vcf(path: str | Path, name: str | None = None, inside: pd.DataFrame | None = None) -> Genotypes:
    """Open the genotypes of a VCF or BCF; the counted allele is ALT, one row per alternate allele.

    Reads the sites, of an indexed file those of the regions `inside` only (chromosome, start, end; 0-based
    half-open), and no genotypes. Raises `InputError` for a file without people, GT or DS, and for a large
    one without an index.
    """
    path = Path(path)
    with opened_vcf(path) as file:
        samples = np.array(list(file.samples), dtype=object)
        imputed = _check_header(path, str(file.raw_header), len(samples))
        spans: tuple[Span, ...] = ()
        if inside is not None and indexed(path):
            spans = _spans(list(file.seqnames), inside)
        elif not indexed(path) and path.stat().st_size > _LARGEST:
            raise InputError(
                f"{path} has {path.stat().st_size / 1e6:,.0f} MB and no index",
                f"A VCF of more than {_LARGEST // 10**6} MB is read by range, which needs an index",
                "bgzip it and run tabix -p vcf, or bcftools index",
            )
        rows: list[tuple[Any, ...]] = []
        first = [0]
        for span in spans or ((None,) if inside is None or not indexed(path) else ()):
            for record in _records(path, file, span):
                site = (record.CHROM, record.POS, record.ID or "")
                told = info_of(record)
                for alt in record.ALT or ["."]:
                    other = record.REF if alt != record.REF else "?"
                    rows.append((*site, alt, other, told))
            first.append(len(rows))
    columns = ["chromosome", "position", "variant_id", "effect_allele", "other_allele", "info"]
    table = pd.DataFrame(rows, columns=columns).astype({"position": np.int64})
    quality = table.pop("info").to_numpy(dtype=float)
    table["chromosome"] = shared_text(table["chromosome"])
    for allele in ("effect_allele", "other_allele"):
        table[allele] = shared_text(table[allele], str.upper)
    loader = VcfDosages(path, len(samples), spans, tuple(first))
    info = quality if np.isfinite(quality).any() else None
    return Genotypes(name or path.name, table, samples, loader, imputed, info)


def _check_header(path: Path, text: str, people: int) -> bool:
    """Whether dosages are there. Raises `InputError` for a file without people, GT or DS."""
    fields = [field for field in ("GT", "DS") if f"##FORMAT=<ID={field}," in text]
    if not people or not fields:
        raise InputError(
            f"{path} has {people} people and the fields {', '.join(fields) or 'neither GT nor DS'}",
            "A VCF of genotypes has a column per person with GT (calls) or DS (dosages)",
            "A VCF of sites, or of summary statistics, has no genotypes: name the file that has",
        )
    return "DS" in fields


def _spans(labels: list[str], inside: pd.DataFrame) -> tuple[Span, ...]:
    """The regions as the file labels their chromosomes, in its order, overlaps merged."""
    spans: list[Span] = []
    chromosomes = chromosome_labels(inside["chromosome"])
    for label, standard in zip(labels, chromosome_labels(labels), strict=True):
        part = inside[chromosomes == standard].sort_values("start")
        for start, end in zip(part["start"].tolist(), part["end"].tolist(), strict=True):
            if spans and spans[-1][0] == label and start <= spans[-1][2]:
                spans[-1] = (label, spans[-1][1], max(spans[-1][2], int(end)))
            else:
                spans.append((label, int(start) + 1, int(end)))
    return tuple(spans)


def _records(path: Path, file: Any, span: Span | None) -> Iterator[Any]:
    """The records that begin inside a span: an index also gives those that only reach into it."""
    try:
        if span is None:
            yield from file
            return
        label, start, end = span
        for record in file(f"{label}:{start}-{end}"):
            if start <= record.POS <= end:
                yield record
    except InputError:
        raise
    except Exception as error:  # cyvcf2 raises bare exceptions
        raise damaged_vcf(path, error) from error


def record_dosage(path: Path, record: Any) -> np.ndarray:
    """(alternate alleles, samples) float32 copies of each alternate allele, -1 where missing.

    A haploid call counts twice, as PLINK has it.
    """
    count = max(len(record.ALT), 1)
    values = record.format("DS") if "DS" in record.FORMAT else None
    if values is not None:
        dosage = np.where(np.isnan(values), -1.0, values).T
        wrong = (dosage != -1) & ~((dosage >= -_ROUNDING) & (dosage <= 2 + _ROUNDING))
        if wrong.any() or len(dosage) != count:
            raise InputError(
                f"{path}: DS of {record.CHROM}:{record.POS} has {len(dosage)} values for {count} alternate "
                f"alleles, from {values.min()} to {values.max()}",
                "DS is one number from 0 to 2 per alternate allele and person",
                "Write the file again from its source",
            )
        return np.where(dosage == -1, -1, np.clip(dosage, 0, 2)).astype(np.float32)
    if "GT" not in record.FORMAT:
        return np.full((count, len(record.genotypes)), -1, dtype=np.float32)
    calls = record.genotype.array()[:, :-1]  # the last column says whether it is phased
    out = np.empty((count, len(calls)), dtype=np.float32)
    ploidy = (calls != -2).sum(axis=1)
    missing = (calls == -1).any(axis=1) | (ploidy == 0)
    for number in range(count):
        copies = (calls == number + 1).sum(axis=1)
        out[number] = np.where(missing, -1, copies * np.where(ploidy == 1, 2, 1))
    return out
