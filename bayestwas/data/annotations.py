"""Containers of functional annotations: of variants (intervals, tables read piece by piece) and of genes.

Values are in the units of their files: centring and scaling belong to the model that learns from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError

Regions = Mapping[str, tuple[int, int]]  # chromosome -> first and last position wanted, 1-based, inclusive


class AnnotationRows(NamedTuple):
    """Some rows of a table of annotations, in the order of the file."""

    chromosome: np.ndarray  # labels as `chromosome_labels` spells them
    position: np.ndarray  # int64, 1-based
    alleles: tuple[np.ndarray, np.ndarray]  # in either order; '' where unknown
    variant_id: np.ndarray  # '' where there is none
    values: np.ndarray  # float32 (rows, annotations), NaN where missing


@dataclass(frozen=True)
class IntervalAnnotation:
    """One binary annotation: 1 for the variants whose position lies in an interval, 0 for all others.

    `intervals`: DataFrame chromosome, start, end; 0-based half-open, in any order, overlaps allowed.
    """

    source: str
    annotation: str
    intervals: pd.DataFrame

    @property
    def annotations(self) -> tuple[str, ...]:
        """Its name, as a table of annotations has several."""
        return (self.annotation,)

    def covers(self, chromosome: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Whether each 1-based position lies in an interval, bool (positions,)."""
        inside = np.zeros(len(position), dtype=bool)
        for label, part in self.intervals.groupby("chromosome", sort=False):
            here = np.flatnonzero(chromosome == label)
            base = position[here] - 1
            opened = np.searchsorted(np.sort(part["start"].to_numpy()), base, side="right")
            closed = np.searchsorted(np.sort(part["end"].to_numpy()), base, side="right")
            inside[here] = opened > closed
        return inside


@dataclass(frozen=True)
class VariantTable:
    """Annotations in a table with a row per variant, read piece by piece: `rows(regions)` yields its rows.

    `rows` reads every file once, may leave out what lies outside `regions`, and may hand out rows that do.
    """

    source: str
    annotations: tuple[str, ...]
    rows: Callable[[Regions], Iterator[AnnotationRows]]


VariantAnnotations = IntervalAnnotation | VariantTable


@dataclass(frozen=True)
class GeneAnnotations:
    """Features of genes. `table`: DataFrame gene x feature of numbers, NaN where missing."""

    source: str
    table: pd.DataFrame

    def __post_init__(self) -> None:
        _check_names(self.source, "feature", [str(name) for name in self.table.columns])
        repeated = self.table.index[self.table.index.duplicated()]
        if len(repeated):
            raise InputError(
                f"{self.source}: gene '{repeated[0]}' has more than one row",
                "A table of gene annotations has one row per gene",
                "Keep one row per gene: the mean of its transcripts, for example",
            )


@dataclass(frozen=True)
class Annotations:
    """Everything that the table [annotations] of a study file names, opened but not yet matched."""

    variants: tuple[VariantAnnotations, ...] = ()
    genes: GeneAnnotations | None = None

    def __post_init__(self) -> None:
        home: dict[str, str] = {}
        for given in self.variants:
            for name in given.annotations:
                if name in home:
                    raise InputError(
                        f"annotation '{name}' is in {home[name]} and in {given.source}",
                        "Every annotation of a study has its own name",
                        "Rename or remove one; one set of annotations in a file per chromosome is given "
                        "once, with @ in place of the chromosome: 'baseline.@.annot.gz'",
                    )
                home[name] = given.source

    @property
    def empty(self) -> bool:
        return not self.variants and self.genes is None


NO_ANNOTATIONS = Annotations()


@dataclass(frozen=True, eq=False)
class _HeldRows:
    """Rows in memory, behind the same call as those read from files."""

    held: AnnotationRows

    def __call__(self, regions: Regions) -> Iterator[AnnotationRows]:
        yield self.held


def variant_table(source: str, table: pd.DataFrame) -> VariantTable:
    """`VariantTable` over a DataFrame in memory.

    Columns chromosome and position, effect_allele and other_allele where known, and one column per
    annotation, of numbers. Raises `InputError`.
    """
    place = [name for name in ("chromosome", "position") if name not in table.columns]
    if place:
        raise InputError(
            f"{source}: the table lacks {' and '.join(place)}",
            "Annotations of variants are matched by chromosome and position",
            "Add the columns",
        )
    known = ("chromosome", "position", "effect_allele", "other_allele", "variant_id")
    columns = [str(name) for name in table.columns if name not in known]
    check_annotation_names(source, columns)
    blank = np.full(len(table), "", dtype=object)
    texts = [
        table[name].fillna("").astype(str).to_numpy(dtype=object) if name in table.columns else blank
        for name in known[2:]
    ]
    rows = AnnotationRows(
        chromosome_labels(table["chromosome"]),
        table["position"].to_numpy(dtype=np.int64),
        (texts[0], texts[1]),
        texts[2],
        table[columns].to_numpy(dtype=np.float32),
    )
    return VariantTable(source, tuple(columns), _HeldRows(rows))


def check_annotation_names(source: str, columns: Sequence[str]) -> None:
    """Raise `InputError` unless a table of annotations holds some, each under its own name."""
    _check_names(source, "annotation", columns)


def _check_names(source: str, what: str, columns: Sequence[str]) -> None:
    if not columns:
        raise InputError(
            f"{source} holds no {what}",
            f"Every column beside the identifiers is one {what}, of numbers",
            f"Add columns, or leave {source} out",
        )
    unnamed = [name for name in columns if not name.strip()]
    repeated = [name for number, name in enumerate(columns) if name in columns[:number]]
    for found, said in ((unnamed, "has no name"), (repeated, "occurs more than once")):
        if found:
            raise InputError(
                f"{source}: {what} '{found[0]}' {said}",
                f"Every {what} has its own name",
                "Rename or remove the column",
            )
