"""The files of a study as alignment sees them: a name each, their variants inside the blocks, their
frequencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas.data.ld_regions import RegionalCorrelation
from bayestwas.data.reading import reading_of
from bayestwas.data.studies import Genotypes, LDMatrix, Study
from bayestwas.data.variants import COLUMNS, block_number, chromosome_labels
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.alleles import VariantFile
from bayestwas.harmonise.finished import weight_variants
from bayestwas.harmonise.imputation import imputation_quality
from bayestwas.harmonise.indels import Genome, written_once

MOST_FOREIGN, FEWEST_FOREIGN = 0.5, 10  # of the insertions and deletions of a file
_CHUNK = 2048  # variants read at once when frequencies are wanted


@dataclass(frozen=True)
class FileNames:
    """What each file of a study is called in tables and messages; a file opened twice is one file.

    `gwas` and `ld` by ancestry (only ancestries with a GWAS), `panels`, `weights` and `eqtl` in the order
    of the study, `genotypes` the genotypes behind a name.
    """

    gwas: dict[str, str]
    ld: dict[str, str]
    panels: tuple[str, ...]
    genotypes: dict[str, Genotypes]
    weights: tuple[str, ...] = ()
    eqtl: tuple[str, ...] = ()


def name_files(study: Study) -> FileNames:
    """Give every file of a study its own name."""
    used: dict[str, Genotypes] = {}
    return FileNames(
        gwas=_gwas_names(study),
        ld={
            ancestry: _genotype_name(ld, used) if isinstance(ld, Genotypes) else ld.name
            for ancestry, ld in study.ld.items()
            if ancestry in study.gwas
        },
        panels=tuple(_genotype_name(panel.genotypes, used) for panel in study.panels),
        genotypes=used,
        weights=tuple(f"{panel.weights.name} ({panel.context})" for panel in study.weights),
        eqtl=tuple(f"{panel.weights.name} ({panel.context})" for panel in study.eqtl),
    )


def _gwas_names(study: Study) -> dict[str, str]:
    given = {
        ancestry: str(gwas.attrs.get("source", f"gwas.{ancestry}")) for ancestry, gwas in study.gwas.items()
    }
    repeated = {name for name in given.values() if list(given.values()).count(name) > 1}
    return {
        ancestry: f"{name} ({ancestry})" if name in repeated else name for ancestry, name in given.items()
    }


def _genotype_name(genotypes: Genotypes, used: dict[str, Genotypes]) -> str:
    name, number = genotypes.name, 1
    while name in used and not _same_file(used[name], genotypes):
        number += 1
        name = f"{genotypes.name} ({number})"
    used.setdefault(name, genotypes)
    return name


def _same_file(one: Genotypes, two: Genotypes) -> bool:
    return one is two or (
        one.load == two.load
        and np.array_equal(one.samples, two.samples)
        and one.variants.equals(two.variants)
    )


def variant_files(study: Study, blocks: pd.DataFrame, named: FileNames) -> list[VariantFile]:
    """Every file with its variants inside the blocks: GWAS first, then LD, then panels."""
    files: dict[str, VariantFile] = {}
    for ancestry, gwas in study.gwas.items():
        table = pd.DataFrame({column: gwas[column].values for column in COLUMNS})
        name = named.gwas[ancestry]
        file = _inside(name, ancestry, table, blocks, _column_frequency(gwas))
        files[name] = replace(file, outside=file.outside + reading_of(gwas).outside)
    for ancestry, name in named.ld.items():
        ld = study.ld[ancestry]
        if isinstance(ld, LDMatrix):
            absent = np.where(np.isnan(ld.correlation.diagonal()), "the LD matrix is NaN here", "").astype(
                object
            )
            files[name] = _inside(name, ancestry, ld.variants, blocks, None, absent)
        elif name not in files:
            files[name] = _genotype_file(name, ancestry, ld, blocks, study.min_info)
    for panel, name in zip(study.panels, named.panels, strict=True):
        if name not in files:
            files[name] = _genotype_file(name, panel.ancestry, panel.genotypes, blocks, study.min_info)
    finished = ((*study.weights, *study.eqtl), (*named.weights, *named.eqtl))
    for weights, name in zip(*finished, strict=True):
        table = weight_variants(weights)
        frequency = None if "frequency" not in table else _values(table["frequency"].to_numpy())
        files[name] = _inside(name, weights.ancestry, table, blocks, frequency)
    return [rewritten(file, blocks, study.genome) for file in files.values()]


def rewritten(file: VariantFile, blocks: pd.DataFrame, genome: Genome | None) -> VariantFile:
    """A file whose insertions and deletions are in the one way to write them; those that this would move out
    of the blocks stay. Raises `HarmonisationError` where the genome is that of another build."""
    chromosome, position, effect, other = (
        file.table[name].to_numpy() for name in ("chromosome", "position", *COLUMNS[3:])
    )
    new = written_once(chromosome, position, effect, other, genome)
    foreign = int(new.foreign.sum())
    indels = sum(len(a) != len(b) for a, b in zip(new.one, new.two, strict=True)) if foreign else 0
    if foreign > max(MOST_FOREIGN * indels, FEWEST_FOREIGN):
        raise HarmonisationError(
            f"{file.name}: neither allele of {foreign} of {indels} insertions and deletions is in the genome",
            "One allele of a variant is that of the reference genome, at its position",
            "Give the genome of the build of the study, or leave it out",
        )
    changed = new.how != ""
    moved = block_number(blocks, chromosome, new.position) != block_number(blocks, chromosome, position)
    new.how[moved] = ""
    if not (changed & ~moved).any():
        return file
    values = zip(
        ("position", *COLUMNS[3:]), (new.position, new.one, new.two), (position, effect, other), strict=True
    )
    table = file.table.assign(**{name: np.where(moved, old, now) for name, now, old in values})
    return replace(file, table=table, how=new.how)


def _genotype_file(
    name: str, ancestry: str, genotypes: Genotypes, blocks: pd.DataFrame, min_info: float
) -> VariantFile:
    """Genotypes without the variants that are imputed too badly; reads the dosages of those inside the blocks
    where the file does not say how well they are."""
    file = _inside(name, ancestry, genotypes.variants, blocks, _dosage_frequency(genotypes))
    if min_info > 0 and (genotypes.imputed or genotypes.info is not None):
        known = file.usable()
        poor = np.zeros(len(file.row), dtype=bool)
        poor[known] = imputation_quality(genotypes, file.row[known]) < min_info  # NaN is not
        file.unusable[poor] = f"imputation INFO below {min_info:g}"
    return file


def _inside(
    name: str,
    ancestry: str,
    table: pd.DataFrame,
    blocks: pd.DataFrame,
    frequency: Callable[[np.ndarray], np.ndarray] | None,
    unusable: np.ndarray | None = None,
) -> VariantFile:
    chromosome = chromosome_labels(table["chromosome"])
    row = np.flatnonzero(block_number(blocks, chromosome, table["position"].to_numpy()) >= 0)
    inside = pd.DataFrame(
        {
            "chromosome": chromosome[row],
            "position": table["position"].to_numpy(dtype=np.int64)[row],
            **{column: table[column].to_numpy(dtype=object)[row] for column in COLUMNS[2:]},
        }
    )
    reasons = np.full(len(row), "", dtype=object) if unusable is None else unusable[row]
    outside = len(table) - len(row)
    if frequency is None:
        return VariantFile(name, ancestry, inside, row, reasons, outside)
    return VariantFile(name, ancestry, inside, row, reasons, outside, frequency)


def _column_frequency(gwas: xr.Dataset) -> Callable[[np.ndarray], np.ndarray] | None:
    if "effect_allele_frequency" not in gwas:
        return None
    return _values(gwas["effect_allele_frequency"].values)


def _values(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: values[rows]


def _dosage_frequency(genotypes: Genotypes) -> Callable[[np.ndarray], np.ndarray]:
    def frequency(rows: np.ndarray) -> np.ndarray:
        out = np.full(len(rows), np.nan)
        for first in range(0, len(rows), _CHUNK):
            dosage = genotypes.load(rows[first : first + _CHUNK])
            known = (dosage >= 0).sum(axis=1)
            total = np.where(dosage >= 0, dosage, 0).sum(axis=1)
            out[first : first + _CHUNK] = np.divide(
                total, 2 * known, out=np.full(len(known), np.nan), where=known > 0
            )
        out[(out == 0) | (out == 1)] = np.nan  # people among whom nothing varies do not tell the strand
        return out

    return frequency


def seam_notes(
    study: Study, named: FileNames, rows: Mapping[str, np.ndarray], spans: Mapping[str, tuple[int, int]]
) -> list[str]:
    """A sentence per LD reference of several files of which one alone does not hold all variants of a
    block."""
    notes = []
    for ancestry, name in named.ld.items():
        ld = study.ld[ancestry]
        if not isinstance(ld, LDMatrix) or not isinstance(ld.correlation, RegionalCorrelation):
            continue
        seams = []
        for block, (first, last) in spans.items():
            held = rows[name][first:last]
            if len(ld.correlation.part(held[held >= 0]).parts) > 1:
                seams.append(block)
        if seams:
            listed = ", ".join(seams[:3]) + (" ..." if len(seams) > 3 else "")
            notes.append(
                f"{name}: {len(seams)} of {len(spans)} blocks lie in several LD files ({listed}); "
                "correlations of variants in different files count as 0. Blocks that fit into the files, "
                "in [blocks], avoid it"
            )
    return notes
