"""GWAS-VCF: effects (ES), standard errors (SE), -log10 p (LP) and sample sizes (SS or NS) per trait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayestwas.data.variants import chromosome_labels, standard_build
from bayestwas.errors import InputError, nearest
from bayestwas.io.gwas_meta import Meta
from bayestwas.io.pieces import PIECE, Wanted
from bayestwas.io.vcf import damaged_vcf, indexed, opened_vcf

_FIELDS = ("ES", "SE", "LP", "AF", "SS", "NS")
_PLACE = ("#CHROM", "POS", "ID", "REF", "ALT")
_ASSEMBLY = re.compile(r"(GRCh3[78]|hg19|hg38|b37)", re.IGNORECASE)
_TOTAL = re.compile(r"Total(?:Cases|Controls)=([0-9.]+)")


def vcf_header(path: Path, sample: str | None = None) -> tuple[list[str], Meta]:
    """The columns that `vcf_pieces` gives, and what the header says of build and people. Raises
    `InputError`."""
    with opened_vcf(path) as file:
        text, samples = str(file.raw_header), list(file.samples)
        chosen = _choose(path, samples, sample)
    fields = [name for name in _FIELDS if f"##FORMAT=<ID={name}," in text]
    if "ES" not in fields or "SE" not in fields:
        raise InputError(
            f"{path} has no fields ES and SE; of {', '.join(_FIELDS)} it has {', '.join(fields) or 'none'}",
            "A GWAS-VCF has the effect of the ALT allele (ES) and its standard error (SE) for each trait",
            "A VCF of genotypes is no GWAS; convert summary statistics with columns to GWAS-VCF or a table",
        )
    contigs = "\n".join(line for line in text.splitlines() if line.startswith(("##contig", "##reference")))
    builds = {standard_build(name) for name in _ASSEMBLY.findall(contigs)}
    own = next((line for line in text.splitlines() if line.startswith(f"##SAMPLE=<ID={chosen},")), "")
    total = sum(float(number) for number in _TOTAL.findall(own))
    return [*_PLACE, *fields], Meta(builds.pop() if len(builds) == 1 else "", total or None)


def _choose(path: Path, samples: list[str], sample: str | None) -> str:
    if sample is None and len(samples) == 1:
        return samples[0]
    if sample in samples:
        return str(sample)
    if sample is not None:
        raise InputError(
            f"{path} has no trait '{sample}'",
            "The sample columns of a GWAS-VCF are its traits",
            nearest(sample, samples),
        )
    raise InputError(
        f"{path} has {len(samples)} traits: {', '.join(samples[:5])}{' ...' if len(samples) > 5 else ''}",
        "A run fits one trait",
        'Add sample = "<trait>" under [[gwas]]'
        if samples
        else "A GWAS-VCF has one sample column per trait: this file has none",
    )


def vcf_pieces(path: Path, wanted: Wanted, sample: str | None = None) -> Iterator[pd.DataFrame]:
    """One row per ALT allele, with the columns of `vcf_header`; by the index of the file where it has one and
    `wanted.regions` are given. Raises `InputError`."""
    fields = [name for name in wanted.columns if name in _FIELDS]
    with opened_vcf(path) as file:
        at = list(file.samples).index(_choose(path, list(file.samples), sample))
        rows: list[tuple[Any, ...]] = []
        first = 0
        try:
            for variant in _variants(path, file, wanted):
                values = [variant.format(name) for name in fields]
                for number, alt in enumerate(variant.ALT or [""]):
                    place = (variant.CHROM, variant.POS, variant.ID, variant.REF, alt)
                    rows.append((*place, *(_value(v, at, number) for v in values)))
                if len(rows) >= PIECE:
                    yield _frame(rows, fields, first)
                    first += len(rows)
                    rows = []
        except InputError:
            raise
        except Exception as error:
            raise damaged_vcf(path, error) from error
        if rows:
            yield _frame(rows, fields, first)


def _variants(path: Path, file: Any, wanted: Wanted) -> Iterator[Any]:
    if wanted.regions is None or not indexed(path):
        yield from file
        return
    for label in file.seqnames:
        span = wanted.regions.get(str(chromosome_labels([label])[0]))
        if span is not None:
            yield from file(f"{label}:{span[0]}-{span[1]}")


def _value(values: np.ndarray | None, sample: int, number: int) -> float:
    """Of one ALT allele; fields with one value stand for every ALT."""
    if values is None:
        return np.nan
    own = values[sample]
    return float(own[number if len(own) > number else 0])


def _frame(rows: list[tuple[Any, ...]], fields: list[str], first: int) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[*_PLACE, *fields])
    frame.index = pd.RangeIndex(first, first + len(frame))
    return frame
