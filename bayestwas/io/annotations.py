"""Functional annotations: BED intervals, tables of variants (`annotation_tables.py`), a table of genes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bayestwas.data.annotations import GeneAnnotations, IntervalAnnotation, VariantAnnotations
from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError
from bayestwas.io.annotation_tables import numbers, open_tables, parquet_frame
from bayestwas.io.tables import open_text, read_header, read_table, require_file

CHROMOSOME_MARK = "@"  # stands for the chromosome in the name of a file, as in LDSC and PolyFun
_CHROMOSOMES = (*map(str, range(1, 100)), "X", "Y", "M", "MT")
_BED = (".bed", ".bed.gz", ".bed.bgz")
_ENDINGS = re.compile(r"(\.(gz|bgz|bed|annot|tsv|csv|txt|parquet))+$", re.IGNORECASE)
_HEADERS = ("#", "track", "browser", "chrom", "chr\t", "chr ")
_PLINK_MAGIC = b"\x6c\x1b"
# What the column of genes may be called, in lower case; earlier ones win, and the others are passed over.
GENE_COLUMNS = (
    "gene",
    "gene_id",
    "geneid",
    "ensembl_gene_id",
    "ensembl_id",
    "ensg",
    "phenotype_id",
    "id",
    "gene_name",
    "gene_symbol",
    "symbol",
    "name",
)


def annotation_files(path: str | Path) -> dict[str, Path]:
    """Chromosome -> file where the name holds @ for the chromosome; else the file itself under ''.

    Files that do not exist are left out, so the result may be empty.
    """
    path = Path(path)
    if path.is_file() or CHROMOSOME_MARK not in path.name:
        return {"": path} if path.is_file() else {}
    named = {label: path.with_name(path.name.replace(CHROMOSOME_MARK, label)) for label in _CHROMOSOMES}
    return {chromosome_labels([label])[0]: file for label, file in named.items() if file.is_file()}


def read_variant_annotations(path: str | Path, source: str | None = None) -> VariantAnnotations:
    """Open annotations of variants: BED intervals are read, tables are opened and read later, piece by piece.

    The ending says the format: .bed (plain or gzipped), .parquet, anything else a table as text. `path` may
    hold @ for the chromosome. `source` stands for the file in messages. Raises `InputError`.
    """
    path = Path(path)
    files = annotation_files(path)
    if not files:
        require_file(path, "annotation file")
    source = source or path.name
    if path.name.lower().endswith(_BED):
        return _read_bed(list(files.values()), source, _stem(path))
    return open_tables(source, files)


def _stem(path: Path) -> str:
    """The name of a file without its endings and without the chromosome: 'coding.chr@.bed.gz' is
    coding."""
    return re.sub(r"[._-]?(chr)?@", "", _ENDINGS.sub("", path.name)).strip("._-") or path.name


def _read_bed(paths: Sequence[Path], source: str, name: str) -> IntervalAnnotation:
    """Intervals of one binary annotation: chromosome, start, end (0-based half-open); other columns are not
    read."""
    chromosome: list[str] = []
    edges: list[tuple[int, int]] = []
    for path in paths:
        with open(path, "rb") as raw:
            if raw.read(2) == _PLINK_MAGIC:
                raise InputError(
                    f"{path} holds genotypes (PLINK 1)",
                    "A .bed file of annotations is a text of intervals: chromosome, start, end",
                    "Name the file of intervals",
                )
        with open_text(path) as handle:
            for number, line in enumerate(handle, start=1):
                parts = line.split(None, 3)
                if not parts or line.lower().startswith(_HEADERS):
                    continue
                edges.append(_edges(path, number, parts))
                chromosome.append(parts[0])
    if not edges:
        raise InputError(
            f"{source} holds no interval",
            "A BED file has one line per interval: chromosome, start, end",
            "Add intervals, or leave the file out",
        )
    table = pd.DataFrame(np.array(edges, dtype=np.int64), columns=["start", "end"])
    table.insert(0, "chromosome", chromosome_labels(np.array(chromosome, dtype=object)))
    return IntervalAnnotation(source, name, table)


def _edges(path: Path, number: int, parts: Sequence[str]) -> tuple[int, int]:
    try:
        start, end = int(parts[1]), int(parts[2])
    except (IndexError, ValueError):
        raise InputError(
            f"{path} line {number}: '{' '.join(parts).strip()[:60]}'",
            "A line of a BED file is chromosome, start, end; positions are whole numbers",
            "Correct the line; a table with a row per variant has another ending than .bed",
        ) from None
    if not 0 <= start < end:
        raise InputError(
            f"{path} line {number}: start {start}, end {end}",
            "An interval is 0-based and half-open, with 0 <= start < end: base 100 alone is 99 100",
            "Correct the line",
        )
    return start, end


def read_gene_annotations(path: str | Path, source: str | None = None) -> GeneAnnotations:
    """Read a table gene x feature: a column of genes (`GENE_COLUMNS`), all others numeric features.

    Text (plain or gzipped) or Parquet. Missing values are NaN. Raises `InputError`.
    """
    path = require_file(Path(path), "file of gene annotations")
    source = source or path.name
    if path.suffix.lower() == ".parquet":
        table, unit = parquet_frame(path), "row"
        column = _gene_column(source, [str(name) for name in table.columns])
        table.index = pd.RangeIndex(1, len(table) + 1)
    else:
        column = _gene_column(source, read_header(path))
        texts = tuple(name for name in read_header(path) if name.lower() in GENE_COLUMNS)
        table, unit = read_table(path, text_columns=texts), "line"
        table.index = table.index + table.attrs["first_line"]
    missing = table[column].isna().to_numpy()
    if missing.any():
        raise InputError(
            f"{source} {unit} {table.index[int(np.argmax(missing))]}: {column} is missing",
            "Every row of a table of gene annotations names its gene",
            "Remove the row, or fill it in",
        )
    features = [str(name) for name in table.columns if str(name).lower() not in GENE_COLUMNS]
    values = {name: numbers(source, table[name], unit) for name in features}
    genes = pd.Index(table[column].astype(str).to_numpy(dtype=object), name="gene")
    return GeneAnnotations(source, pd.DataFrame(values, index=genes, dtype=np.float32))


def _gene_column(source: str, columns: Sequence[str]) -> str:
    lower: Mapping[str, str] = {name.lower(): name for name in columns}
    for name in GENE_COLUMNS:
        if name in lower:
            return lower[name]
    listed = ", ".join(columns[:8]) + (" ..." if len(columns) > 8 else "")
    raise InputError(
        f"{source} has no column of genes; it has {listed}",
        f"A table of gene annotations has one of the columns {', '.join(GENE_COLUMNS)}",
        "Rename the column that holds the identifiers to gene",
    )
