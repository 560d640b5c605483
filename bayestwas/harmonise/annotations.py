"""Annotations matched to the variants and genes of a study: one pass over every file, unknown values at the
mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayestwas import names
from bayestwas.data.annotations import (
    AnnotationRows,
    Annotations,
    GeneAnnotations,
    IntervalAnnotation,
    VariantTable,
)
from bayestwas.data.variants import block_number, chromosome_order
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.alleles import pair_labels
from bayestwas.harmonise.fit_together import LEAST_SHARED
from bayestwas.harmonise.indels import Genome, written_once

MOST_UNKNOWN = 0.1  # of the variants or genes: with more of them at the mean, an annotation has a warning
_LOOK = 1000  # identifiers that are looked at to tell another build
_CONFLICT = np.float32(np.inf)  # in place of a value on which rows of a file disagree; files hold none


class AnnotationSummary(NamedTuple):
    """One annotation in one study; mean and sd are of the known values."""

    annotation: str
    file: str
    of: str  # variants or genes
    known: int
    missing: int
    nonzero: int
    mean: float
    sd: float
    status: str  # ok; warning; skipped: not part of any locus
    reason: str


def _no_summary() -> pd.DataFrame:
    return pd.DataFrame(columns=list(AnnotationSummary._fields))


@dataclass(frozen=True, eq=False)
class MatchedAnnotations:
    """Annotations along the variants and genes of a study; unknown values stand at the mean.

    `names`: the annotations of the columns of `values`, float32 (variants, annotations) in the order of the
    variants of the study, None without any; `used`: numbers of the columns that vary. `genes`: gene x
    feature, the features that vary, or None. `summary`: one `AnnotationSummary` per row.
    """

    names: tuple[str, ...] = ()
    values: np.ndarray | None = None
    used: tuple[int, ...] = ()
    genes: pd.DataFrame | None = None
    summary: pd.DataFrame = field(default_factory=_no_summary)
    notes: tuple[str, ...] = ()

    def of_variants(self, rows: slice, index: pd.Index) -> pd.DataFrame | None:
        """variant x annotation of some rows of the study, or None."""
        if self.values is None or not self.used:
            return None
        columns = [self.names[number] for number in self.used]
        return pd.DataFrame(self.values[rows][:, list(self.used)], index=index, columns=columns)

    def of_genes(self, index: pd.Index) -> pd.DataFrame | None:
        """gene x feature of some genes of the study, or None."""
        return None if self.genes is None or self.genes.shape[1] == 0 else self.genes.loc[index]


def match_annotations(
    given: Annotations,
    variants: pd.DataFrame,
    genes: pd.DataFrame,
    blocks: pd.DataFrame,
    genome: Genome | None = None,
) -> MatchedAnnotations:
    """Match annotations to the variants (by chromosome, position and, where given, alleles) and genes of a
    study.

    `variants` and `genes` are those of `Harmonised`; `blocks` has block, chromosome, start, end. Rows that
    agree on a variant count once; where they disagree the value is unknown. Raises `HarmonisationError` where
    next to nothing of a file matches.
    """
    if given.empty:
        return MatchedAnnotations()
    columns = [name for source in given.variants for name in source.annotations]
    _require_apart(columns, given.genes)
    values = np.full((len(variants), len(columns)), np.nan, dtype=np.float32)
    places, summary, first = _Places(variants), [], 0
    notes: list[str] = []
    for source in given.variants:
        part = values[:, first : first + len(source.annotations)]
        first += len(source.annotations)
        empty = ""
        if isinstance(source, IntervalAnnotation):
            part[:, 0] = source.covers(places.chromosome, places.position)
            empty = _why_empty(source, places)
            without = set(places.regions) - set(source.intervals["chromosome"])
            said = "no interval: their variants count as outside, 0"
        else:
            without = set(places.regions) - _fill(part, source, places, blocks, genome)
            said = "no row: their variants stand at the mean"
        if without and not empty:
            notes.append(
                f"{source.source}: chromosomes {_listed(without)} of the study have {said}. Is a file, or a "
                "part of it, missing?"
            )
        summary += [
            _settle(part[:, number], name, source.source, "variants", empty)
            for number, name in enumerate(source.annotations)
        ]
    used = tuple(number for number, row in enumerate(summary) if row.status != names.SKIPPED)
    features: pd.DataFrame | None = None
    if given.genes is not None:
        features, told, more = _match_genes(given.genes, genes)
        summary += told
        notes += more
    notes += _remarks(summary)
    table = pd.DataFrame(summary, columns=list(AnnotationSummary._fields))
    return MatchedAnnotations(
        tuple(columns), values if columns else None, used, features, table, tuple(notes)
    )


def _require_apart(variants: Sequence[str], genes: GeneAnnotations | None) -> None:
    """Learned coefficients are told by the name of the annotation alone."""
    both = sorted({*variants} & {*(() if genes is None else map(str, genes.table.columns))})
    if both:
        raise HarmonisationError(
            f"{', '.join(map(repr, both))} in the annotations of variants and in those of genes",
            "An annotation of variants and one of genes have different names",
            "Rename one of them in its file",
        )


def _settle(values: np.ndarray, name: str, source: str, of: str, empty: str = "") -> AnnotationSummary:
    """Summary of one annotation; writes the mean to the places of `values` where it is unknown.

    `empty`: what to say of an annotation that is zero throughout.
    """
    conflicts = int(np.isinf(values).sum())
    disagree = f"rows of the file disagree on {conflicts:,} {of}, which are taken as unknown"
    known = np.isfinite(values)
    values[~known] = np.nan
    count = int(known.sum())
    missing = len(values) - count
    if not count:
        reason = f"no value for any of the {of} of the study" + (f"; {disagree}" if conflicts else "")
        return AnnotationSummary(name, source, of, 0, missing, 0, np.nan, np.nan, names.SKIPPED, reason)
    there = values[known].astype(float)
    mean, nonzero = float(there.mean()), int(np.count_nonzero(there))
    constant = bool((there == there[0]).all())
    status, reason = names.OK, ""
    if constant:
        status = names.SKIPPED
        reason = f"{there[0]:g} for all {count:,} {of} of the study"
        if empty and not nonzero:
            reason = empty
        elif missing:
            reason += f" that have a value; the {missing:,} without are unknown, not 0"
    elif conflicts or missing > MOST_UNKNOWN * len(values):
        status = names.WARNING
        told = [disagree] if conflicts else []
        if missing > MOST_UNKNOWN * len(values):
            told.append(f"{missing:,} of {len(values):,} {of} have no value and stand at the mean")
        reason = "; ".join(told)
    values[~known] = mean
    sd = 0.0 if constant else float(there.std())
    return AnnotationSummary(name, source, of, count, missing, nonzero, mean, sd, status, reason)


def _remarks(summary: Sequence[AnnotationSummary]) -> list[str]:
    """A sentence per file and reason."""
    by_reason: dict[tuple[str, str, str], list[str]] = {}
    for row in summary:
        if row.reason:
            by_reason.setdefault((row.file, row.status, row.reason), []).append(row.annotation)
    remarks = []
    for (file, status, reason), found in by_reason.items():
        listed = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        remarks.append(f"{file}: {listed}{' left out' if status == names.SKIPPED else ''}: {reason}")
    return remarks


# ---- variants
# -----------------------------------------------------------------------------------------------


class _Places:
    """The variants of a study by chromosome and position."""

    def __init__(self, variants: pd.DataFrame) -> None:
        self.chromosome = variants["chromosome"].to_numpy(dtype=object)
        self.position = variants["position"].to_numpy(dtype=np.int64)
        effect, other = (
            variants[name].astype(str).to_numpy(dtype=object) for name in ("effect_allele", "other_allele")
        )
        self.label = pair_labels(effect, other)
        self.ids = variants["source_id"].to_numpy(dtype=object)
        code, unique = pd.factorize(self.chromosome)
        self._code = {str(label): number for number, label in enumerate(unique)}
        key = self._key(code, self.position)
        self._order = np.argsort(key, kind="stable")
        self._sorted = key[self._order]
        self.regions = {
            label: (int(self.position[code == number].min()), int(self.position[code == number].max()))
            for label, number in self._code.items()
        }

    @staticmethod
    def _key(code: np.ndarray, position: np.ndarray) -> np.ndarray:
        return (code.astype(np.int64) << 40) | position

    def find(self, rows: AnnotationRows) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (row, variant) of the same chromosome and position."""
        code, unique = pd.factorize(rows.chromosome)
        known = np.array([self._code.get(str(label), -1) for label in unique], dtype=np.int64)[code]
        here = np.flatnonzero(known >= 0)
        key = self._key(known[here], rows.position[here])
        first, last = (np.searchsorted(self._sorted, key, side=side) for side in ("left", "right"))
        count = last - first
        row = np.repeat(here, count)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, self._order[np.repeat(first, count) + offset]


@dataclass
class _Tally:
    """What a table shares with the study: rows inside the blocks; variants with a row at their position
    (`placed`), and with their alleles too (`covered`)."""

    placed: np.ndarray
    covered: np.ndarray
    inside: int = 0
    chromosomes: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)  # some of the rows inside the blocks

    def see(self, rows: AnnotationRows, blocks: pd.DataFrame) -> None:
        here = np.flatnonzero(block_number(blocks, rows.chromosome, rows.position) >= 0)
        self.inside += len(here)
        self.chromosomes.update(pd.unique(rows.chromosome))
        if len(self.ids) < _LOOK:
            self.ids.update(rows.variant_id[here[:_LOOK]])


def _fill(
    values: np.ndarray, source: VariantTable, places: _Places, blocks: pd.DataFrame, genome: Genome | None
) -> set[str]:
    """Write the values of a table to `values` (variants, annotations), in one pass over it; returns the
    chromosomes of the variants that have a row."""
    tally = _Tally(np.zeros(len(values), dtype=bool), np.zeros(len(values), dtype=bool))
    for rows in source.rows(places.regions):
        new = written_once(rows.chromosome, rows.position, *rows.alleles, genome)
        rows = rows._replace(position=new.position, alleles=(new.one, new.two))
        tally.see(rows, blocks)
        row, variant = places.find(rows)
        one, two = (alleles[row] for alleles in rows.alleles)
        spelled = one != ""
        same = ~spelled
        same[spelled] = pair_labels(one[spelled], two[spelled]) == places.label[variant[spelled]]
        tally.placed[variant] = True
        tally.covered[variant[same]] = True
        _add(values, variant[same], rows.values[row[same]])
    _require_shared(source, tally, places)
    return {str(label) for label in pd.unique(places.chromosome[tally.covered])}


def _add(values: np.ndarray, variant: np.ndarray, new: np.ndarray) -> None:
    """Enter the rows `new` at the places `variant`; a value that differs from an earlier one is a
    conflict."""
    if not len(variant):
        return
    order = np.argsort(variant, kind="stable")
    at, starts = np.unique(variant[order], return_index=True)
    low = np.fmin(np.fmin.reduceat(new[order], starts, axis=0), values[at])
    high = np.fmax(np.fmax.reduceat(new[order], starts, axis=0), values[at])
    values[at] = np.where(low < high, _CONFLICT, low)


def _require_shared(source: VariantTable, tally: _Tally, places: _Places) -> None:
    """Raise `HarmonisationError` where next to no variant of the study has a row, with the likely cause."""
    if not len(tally.placed):
        return
    smaller = min(tally.inside, len(tally.placed))
    placed, covered = int(tally.placed.sum()), int(tally.covered.sum())
    if smaller and covered >= LEAST_SHARED * smaller:
        return
    given = f"{source.source}: {covered} of {len(tally.placed)} variants of the study have a row"
    if not tally.chromosomes:
        raise HarmonisationError(
            f"{source.source} has no row on the chromosomes of the study ({_listed(places.regions)})",
            "An annotation file has a row for the variants of the study",
            "Give the file that has them, or leave this one out",
        )
    if not tally.inside:
        given = f"{source.source}: none of its rows lies inside the blocks of the study"
        cause = (
            f"other chromosomes (read: {_listed(tally.chromosomes)}; the study: {_listed(places.regions)})"
        )
        if tally.chromosomes & set(places.regions):
            cause = "another build (build mismatch): the chromosomes are those of the study"
    elif placed >= LEAST_SHARED * smaller:
        cause = f"the positions agree ({placed} variants) and the alleles do not"
    elif len(tally.ids & set(places.ids) - {"", "."}) > 0.2 * min(len(tally.ids), len(places.ids)):
        cause = "another build: identifiers agree and positions do not (build mismatch)"
    else:
        cause = f"another build (build mismatch): {tally.inside} of its rows lie inside the blocks"
    raise HarmonisationError(
        given,
        f"An annotation file shares at least {LEAST_SHARED:.0%} of its variants inside the blocks with the "
        f"study, by chromosome, position and, where given, alleles; likely cause: {cause}",
        "Lift the file over to the build of the study, correct its columns, or leave it out",
    )


def _why_empty(source: IntervalAnnotation, places: _Places) -> str:
    """What to say of intervals without a variant, '' of others."""
    if source.covers(places.chromosome, places.position).any():
        return ""
    given = set(source.intervals["chromosome"])
    reason = f"none of its {len(source.intervals):,} intervals holds a variant of the study"
    if not given & set(places.regions):
        return (
            f"{reason}: they are on chromosomes {_listed(given)}, the study on {_listed(places.regions)}; "
            "give the file of the chromosomes of the study, or leave it out"
        )
    return (
        f"{reason}, as if they were of another build: lift them over to that of the study, or leave them out"
    )


def _listed(chromosomes: Sequence[str] | set[str] | dict[str, tuple[int, int]]) -> str:
    ordered = sorted(chromosomes, key=chromosome_order)
    return ", ".join(ordered[:5]) + (" ..." if len(ordered) > 5 else "")


# ---- genes
# --------------------------------------------------------------------------------------------------


def _match_genes(
    given: GeneAnnotations, genes: pd.DataFrame
) -> tuple[pd.DataFrame, list[AnnotationSummary], list[str]]:
    """gene x feature of the genes of the blocks, the features that vary; a summary of all; notes."""
    index = pd.Index(genes.loc[genes["block"] != "", "gene"].to_numpy(dtype=object), name=names.GENE)
    held = index.isin(given.table.index)
    if len(index) and not held.any():
        plain = {str(gene).split(".")[0] for gene in index} & {
            str(gene).split(".")[0] for gene in given.table.index
        }
        raise HarmonisationError(
            f"{given.source}: none of its {len(given.table):,} genes (first {given.table.index[0]}) is among "
            f"the {len(index):,} genes of the study (first {index[0]})",
            "Genes carry the identifiers of the phenotype files"
            + ("; without versions such as .12 they would agree" if plain else ""),
            "Write the identifiers as the phenotype files do, or leave the file out",
        )
    values = given.table.reindex(index).to_numpy(dtype=np.float32).copy()
    features = [str(name) for name in given.table.columns]
    summary = [
        _settle(values[:, number], name, given.source, "genes") for number, name in enumerate(features)
    ]
    used = [number for number, row in enumerate(summary) if row.status != names.SKIPPED]
    table = pd.DataFrame(values[:, used], index=index, columns=[features[number] for number in used])
    notes = []
    outside, absent = len(given.table) - int(held.sum()), int((~held).sum())
    if absent:
        notes.append(
            f"{given.source}: {absent:,} of {len(index):,} genes of the study have no row; their features "
            "stand at the mean"
        )
    if outside:
        notes.append(
            f"{given.source}: {outside:,} of its {len(given.table):,} genes are not in the study and are "
            "passed over"
        )
    return table, summary, notes
