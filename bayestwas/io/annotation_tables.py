"""Tables of annotations with a row per variant, as text (LDSC, PolyFun, plain) or Parquet, read in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayestwas.data.annotations import AnnotationRows, Regions, VariantTable, check_annotation_names
from bayestwas.data.variants import chromosome_labels, parse_variant_ids, shared_text
from bayestwas.errors import InputError
from bayestwas.io.gwas_layouts import SYNONYMS
from bayestwas.io.parquet import is_parquet, open_parquet, row_groups
from bayestwas.io.tables import read_header, read_pieces

PIECE = 50_000  # rows read at a time
_PLACE = ("chromosome", "position", "effect_allele", "other_allele", "variant_id")
# What the columns that are no annotations may be called, in lower case; A1 and A2 may stand in either order.
NAMES = {key: SYNONYMS[key] for key in _PLACE} | {"other_allele": (*SYNONYMS["other_allele"], "allele2")}
_UNKNOWN = ("", "0", ".", "N", "?")  # alleles
_PASSED_OVER = {"cm"}.union(*NAMES.values())
_INDEX = "__index_level_"  # what pandas calls the unnamed index of a frame in a Parquet file
NO_ANNOTATION = "Remove columns that are no annotations; write categories as one column of 0 and 1 each"
_TORUS = ("_d", "_c")
_TORUS_PLACE = ("chromosome of the identifier", "position of the identifier")
_PLACED_ID = r"^(?:chr)?([0-9A-Za-z]+)[:_.](\d+)(?:[:_.].*)?$"
_CANNOT_MATCH = "Annotations of variants are matched by chromosome and position"


class Layout(NamedTuple):
    """Which columns of a file say what."""

    place: dict[str, str]  # our name -> the column: chromosome, position and, if there, the others of _PLACE
    annotations: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    """The files of one table, one per chromosome or one for all (under ''), as `VariantTable.rows`."""

    source: str
    annotations: tuple[str, ...]
    files: dict[str, tuple[Path, Layout]]

    def __call__(self, regions: Regions) -> Iterator[AnnotationRows]:
        for chromosome, (path, layout) in self.files.items():
            if not chromosome or chromosome in regions:
                layout = Layout(layout.place, self.annotations)
                pieces = _parquet_pieces if is_parquet(path) else _text_pieces
                yield from pieces(path, layout, regions)


def open_tables(source: str, files: Mapping[str, Path]) -> VariantTable:
    """The files of one table, by chromosome or under '': their headers are read. Raises `InputError`."""
    opened = {chromosome: (path, open_table(path)) for chromosome, path in files.items()}
    first, layout = next(iter(opened.values()))
    for path, other in opened.values():
        differ = sorted(set(layout.annotations) ^ set(other.annotations))
        if differ:
            raise InputError(
                f"{source}: '{differ[0]}' is in one of {first.name} and {path.name} and not in the other",
                "The files of all chromosomes have the same annotations",
                "Write them with the same columns, or give them as separate files",
            )
    return VariantTable(source, layout.annotations, _Rows(source, layout.annotations, opened))


def open_table(path: Path) -> Layout:
    """The layout of a table of variants, from its header. Raises `InputError`."""
    columns = _parquet_columns(path) if is_parquet(path) else read_header(path)
    lower = {name.lower(): name for name in reversed(columns)}
    place = {}
    for key, spellings in NAMES.items():
        match = next((lower[name] for name in spellings if name in lower), None)
        if match is not None:
            place[key] = match
    annotations = [
        name for name in columns if name.lower() not in _PASSED_OVER and not name.startswith(_INDEX)
    ]
    if _is_torus(place, annotations) and not is_parquet(path):
        return Layout({"variant_id": place["variant_id"]}, tuple(annotations))
    for key in ("chromosome", "position"):
        if key not in place:
            listed = ", ".join(columns[:8]) + (" ..." if len(columns) > 8 else "")
            raise InputError(
                f"{path} has no column for the {key}; it has {listed}",
                f"{_CANNOT_MATCH}: one of the columns {', '.join(NAMES[key])}",
                f"Rename the column that holds it to {key}; a thin .annot file of LDSC needs its CHR and BP, "
                "and intervals have the ending .bed",
            )
    check_annotation_names(str(path), annotations)
    return Layout(place, tuple(annotations))


def _is_torus(place: Mapping[str, str], annotations: list[str]) -> bool:
    """TORUS: identifiers, then annotations whose names end in _d (discrete) or _c (continuous)."""
    marked = all(name.endswith(_TORUS) for name in annotations)
    return marked and bool(annotations) and "variant_id" in place and "position" not in place


def _with_places(path: Path, piece: pd.DataFrame, layout: Layout) -> tuple[pd.DataFrame, Layout]:
    """A piece of a TORUS file with chromosome and position from its identifiers. Raises `InputError`."""
    column = layout.place["variant_id"]
    ids = piece[column].astype(str)
    parts = ids.str.extract(_PLACED_ID)
    bad = parts[1].isna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path} line {piece.index[row]}: {column} is '{ids.iloc[row]}'",
            f"{_CANNOT_MATCH}; TORUS has them in its identifiers, as chr1:1000 or chr1_1000_A_G_b38",
            "Write identifiers of that form, or add the columns chromosome and position",
        )
    for name in layout.annotations:
        if name.endswith("_d") and not set(piece[name].dropna().unique()) <= {0, 1}:
            raise InputError(
                f"{path}: {name} has values other than 0 and 1",
                "The numbers of a discrete annotation of TORUS (_d) are categories, and no amounts",
                NO_ANNOTATION,
            )
    out = piece.assign(**{_TORUS_PLACE[0]: parts[0], _TORUS_PLACE[1]: parts[1]})
    place = layout.place | {"chromosome": _TORUS_PLACE[0], "position": _TORUS_PLACE[1]}
    return out, Layout(place, layout.annotations)


# ---- values
# -----------------------------------------------------------------------------------------------


def numbers(source: str, column: pd.Series, unit: str) -> np.ndarray:
    """float32 of a column, NaN where missing; its index says which `unit` (line or row) a value stands in.

    Raises `InputError` for text and for infinite values.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        _refuse(source, column, np.isnan(values) & column.notna().to_numpy(), unit, "Annotations are numbers")
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    _refuse(
        source,
        column,
        np.isinf(single),
        unit,
        "Annotations are finite, in single precision (below 3e38)",
        "Correct the value, write NA where it is unknown, or take the logarithm of the whole column",
    )
    return single


def _refuse(
    source: str, column: pd.Series, bad: np.ndarray, unit: str, rule: str, remedy: str = NO_ANNOTATION
) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{source} {unit} {column.index[row]}: {column.name} is '{column.iloc[row]!s}'",
            f"{rule}, or missing (NA): every column beside chromosome, position, alleles and identifiers",
            remedy,
        )


def _assemble(path: Path, frame: pd.DataFrame, values: np.ndarray, layout: Layout, unit: str) -> Any:
    """`AnnotationRows` of a piece; the index of `frame` numbers its rows (lines of a text)."""
    place = layout.place
    position = pd.to_numeric(frame[place["position"]], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    chromosome = frame[place["chromosome"]]
    whole = np.isfinite(position) & (position > 0) & (position % 1 == 0)
    for key, bad in (("chromosome", chromosome.isna().to_numpy()), ("position", ~whole)):
        if bad.any():
            row = int(np.argmax(bad))
            value = frame[place[key]].iloc[row]
            raise InputError(
                f"{path} {unit} {frame.index[row]}: {place[key]} is "
                f"{'missing' if pd.isna(value) else repr(str(value))}",
                f"{_CANNOT_MATCH}; a position is a whole number above zero",
                "Remove the row, or correct it",
            )
    if pd.api.types.is_float_dtype(chromosome.dtype):
        chromosome = chromosome.astype(np.int64)
    labels, position = chromosome_labels(chromosome), position.astype(np.int64)
    ids = _texts(frame, place.get("variant_id"))
    alleles = _alleles(path, frame, place, (labels, position, ids), unit)
    return AnnotationRows(labels, position, alleles, ids, values)


def _texts(frame: pd.DataFrame, column: str | None, spell: Callable[[str], str] = str) -> np.ndarray:
    """A column as text, '' where missing or where there is no such column."""
    if column is None:
        return np.full(len(frame), "", dtype=object)
    values = frame[column].astype(object)
    return shared_text(values.where(values.notna(), ""), spell)


def _allele(path: Path, frame: pd.DataFrame, column: str, unit: str) -> np.ndarray:
    """Alleles in capitals, '' where unknown. A number raises `InputError`: annotations may be called A1."""
    values = _texts(frame, column, str.upper)
    code, unique = pd.factorize(values)
    for number, value in enumerate(unique):
        if value not in _UNKNOWN and value.lstrip("-.")[:1].isdigit():
            row = frame.index[int(np.argmax(code == number))]
            raise InputError(
                f"{path} {unit} {row}: {column} is '{value}', no allele",
                f"A column called {column} holds alleles: letters, or 0 where unknown",
                "Rename the column if it is an annotation",
            )
    return np.where(np.isin(values, _UNKNOWN), "", values)


def _alleles(
    path: Path,
    frame: pd.DataFrame,
    place: Mapping[str, str],
    told: tuple[np.ndarray, np.ndarray, np.ndarray],
    unit: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The alleles of each row from their columns, else from identifiers that spell them out, else ''; `told`:
    chromosome, position and identifiers."""
    if "effect_allele" in place and "other_allele" in place:
        one, two = (_allele(path, frame, place[key], unit) for key in ("effect_allele", "other_allele"))
    else:
        labels, position, ids = told
        parsed = parse_variant_ids(ids)
        same = (parsed["chromosome"] == labels) & (parsed["position"] == position)
        spelled = same.fillna(False).to_numpy(dtype=bool)
        one, two = (
            np.where(spelled, parsed[key].to_numpy(dtype=object), "")
            for key in ("effect_allele", "other_allele")
        )
    known = (one != "") & (two != "")
    return np.where(known, one, ""), np.where(known, two, "")


# ---- text
# -------------------------------------------------------------------------------------------------


def _text_pieces(path: Path, layout: Layout, regions: Regions) -> Iterator[AnnotationRows]:
    place = layout.place
    few = tuple(place[key] for key in ("chromosome", "effect_allele", "other_allele") if key in place)
    texts = (place["variant_id"],) if "variant_id" in place else ()
    for piece in read_pieces(path, PIECE, text_columns=texts, few_values=few):
        if piece.empty:
            continue
        piece.index = piece.index + piece.attrs["first_line"]
        here = layout
        if "position" not in place:
            piece, here = _with_places(path, piece, layout)
        values = np.empty((len(piece), len(layout.annotations)), dtype=np.float32)
        for number, name in enumerate(layout.annotations):
            values[:, number] = numbers(str(path), piece[name], "line")
        yield _assemble(path, piece, values, here, "line")


# ---- Parquet
# -----------------------------------------------------------------------------------------------


def parquet_frame(path: Path) -> pd.DataFrame:
    """A whole Parquet file; an index with a name becomes a column. Raises `InputError`."""
    with open_parquet(path) as file:
        frame = file.read().to_pandas(ignore_metadata=True)
    return frame[[name for name in frame.columns if not str(name).startswith(_INDEX)]]


def _parquet_columns(path: Path) -> list[str]:
    """The names of the columns; annotations that are no numbers raise `InputError`."""
    import pyarrow.types as kinds

    with open_parquet(path) as file:
        schema = file.schema_arrow
    columns = [str(name) for name in schema.names]
    for name, kind in zip(columns, schema.types, strict=True):
        number = any(
            is_kind(kind)
            for is_kind in (
                kinds.is_integer,
                kinds.is_floating,
                kinds.is_boolean,
                kinds.is_decimal,
                kinds.is_null,
            )
        )
        if not number and name.lower() not in _PASSED_OVER and not name.startswith(_INDEX):
            raise InputError(
                f"{path}: column {name} is {kind}",
                "Annotations are numbers: every column beside chromosome, position, alleles and identifiers",
                NO_ANNOTATION,
            )
    return columns


def _parquet_pieces(path: Path, layout: Layout, regions: Regions) -> Iterator[AnnotationRows]:
    """Pieces of the row groups that may hold a position of `regions`, by the statistics of the file."""
    import pyarrow

    wanted = list(dict.fromkeys([*layout.place.values(), *layout.annotations]))
    with open_parquet(path) as file:
        groups = row_groups(file.metadata, layout.place, regions)
        first = 1
        for group in range(file.metadata.num_row_groups):
            here = first
            first += file.metadata.row_group(group).num_rows
            if group not in groups:
                continue
            for batch in file.iter_batches(PIECE, row_groups=[group], columns=wanted):
                values = np.empty((len(batch), len(layout.annotations)), dtype=np.float32)
                for number, name in enumerate(layout.annotations):
                    column = batch.column(name).cast(pyarrow.float64(), safe=False)
                    series = pd.Series(column.to_numpy(zero_copy_only=False), name=name)
                    series.index = pd.RangeIndex(here, here + len(batch))
                    values[:, number] = numbers(str(path), series, "row")
                frame = batch.select(list(dict.fromkeys(layout.place.values()))).to_pandas()
                frame.index = pd.RangeIndex(here, here + len(frame))
                here += len(frame)
                yield _assemble(path, frame, values, layout, "row")
