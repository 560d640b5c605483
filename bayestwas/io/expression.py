"""Expression panels in the layouts of FastQTL and tensorQTL: phenotypes as BED, covariates as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.gene_models import GeneModels
from bayestwas.data.studies import expression_dataset
from bayestwas.errors import InputError
from bayestwas.io.tables import read_table

FIRST_COLUMNS = "#chr start end gene_id"
_CHROMOSOME = ("#chr", "chr", "#chrom", "chrom", "#chromosome", "chromosome")
_GENE = (
    "gene_id",
    "phenotype_id",
    "molecular_trait_id",
    "trait_id",
    "targetid",
    "probeid",
    "gene",
    "geneid",
    "gene_name",
    "ensembl_id",
    "id",
    "pid",
    "name",
)


def read_expression(
    path: str | Path, source: str | None = None, models: GeneModels | None = None
) -> xr.Dataset:
    """Read a phenotype BED: #chr, start, end, gene_id and one column per donor; TSS = end = start + 1.

    With gene models, the TSS of the genes that these hold is theirs, and a table may do without the first
    three columns: genes that the models lack have the TSS 0 then.
    Missing values are NaN. Returns the Dataset of `data.studies.expression_dataset`. Raises `InputError`.
    """
    path = Path(path)
    table = read_table(
        path, text_columns=(*_CHROMOSOME, "#Chr", "#CHROM", "gene_id", "phenotype_id", "ID", "pid", "gene")
    )
    columns = [str(name) for name in table.columns]
    lower = [name.lower() for name in columns[:4]]
    first = table.attrs["first_line"]
    if models is not None and lower[0] in _GENE and len(columns) > 1:
        genes = pd.DataFrame({"gene": table[columns[0]].astype(str), "chromosome": "", "tss": 0})
        values = _values(path, table, columns[1:], first, columns[0])
        return expression_dataset(
            source or str(path), models.placed(genes), np.array(columns[1:], dtype=object), values
        )
    known = lower[:1] in [[name] for name in _CHROMOSOME] and lower[1:3] == ["start", "end"]
    if len(columns) < 5 or not known or lower[3] not in _GENE:
        raise InputError(
            f"{path} starts with the columns {', '.join(columns[:5])}",
            f"A phenotype BED (FastQTL, tensorQTL) starts with {FIRST_COLUMNS}, then has one column per "
            f"donor; gene_id may be called {', '.join(_GENE[1:])}",
            "Rename or reorder the columns; a table of genes and donors without coordinates takes "
            "gene_models = a GTF or GFF3 file",
        )
    start, end = (_whole(path, table, name, first) for name in columns[1:3])
    labels = table[columns[3]].astype(str).to_numpy(dtype=object)
    wrong = np.asarray(end - start != 1)
    if models is not None:
        wrong &= models.find(labels) < 0
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{path} line {int(table.index[row]) + first}: start {start[row]}, end {end[row]}",
            "The interval of a phenotype is one base: start + 1 = end = TSS",
            "Give the transcription start site, not the body of the gene; or gene_models, a GTF or GFF3 file",
        )
    genes = pd.DataFrame(
        {
            "gene": labels,
            "chromosome": table[columns[0]].astype(str).to_numpy(dtype=object),
            "tss": end,
        }
    )
    if models is not None:
        genes = models.placed(genes)
    values = _values(path, table, columns[4:], first, columns[3])
    return expression_dataset(source or str(path), genes, np.array(columns[4:], dtype=object), values)


def _whole(path: Path, table: pd.DataFrame, column: str, first: int) -> np.ndarray:
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    bad = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers % 1 == 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path} line {int(table.index[row]) + first}: {column} is '{table[column].iloc[row]!s}'",
            "start and end are whole numbers of base pairs",
            "Correct the line",
        )
    return numbers.astype(np.int64)


def _values(path: Path, table: pd.DataFrame, columns: list[str], first: int, label: str) -> np.ndarray:
    """The numbers of the columns, (rows, columns), NaN where missing; text is an error."""
    block = table[columns]
    if all(pd.api.types.is_numeric_dtype(kind) for kind in block.dtypes):
        return block.to_numpy(dtype=float)
    out = block.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    bad = np.isnan(out) & block.notna().to_numpy()
    if bad.any():
        row, column = (int(i[0]) for i in np.nonzero(bad))
        raise InputError(
            f"{path} line {int(table.index[row]) + first}: column {columns[column]} of "
            f"{table[label].iloc[row]!s} is "
            f"'{block.iloc[row, column]!s}'",
            "Every column after the first ones is a person, and holds numbers",
            "Remove columns that are not people, and write NA for missing values",
        )
    return out


def read_covariates(path: str | Path, source: str | None = None) -> xr.DataArray:
    """Read covariates in FastQTL layout: a header of donors, one row per covariate, its name first.

    Returns a DataArray (covariate x donor). Raises `InputError` for text, missing values or repeated names.
    """
    path = Path(path)
    table = read_table(path)
    columns = [str(name) for name in table.columns]
    if len(columns) < 2:
        raise InputError(
            f"{path} has {len(columns)} column",
            "A covariate file has the name of the covariate in its first column, then one column per donor",
            "Write one row per covariate, with a header of donors",
        )
    first = table.attrs["first_line"]
    values = _values(path, table, columns[1:], first, columns[0])
    if not np.isfinite(values).all():
        row, column = (int(i[0]) for i in np.nonzero(~np.isfinite(values)))
        raise InputError(
            f"{path} line {int(table.index[row]) + first}: {table.iloc[row, 0]!s} is missing or infinite "
            "for donor "
            f"{columns[1 + column]}",
            "Every covariate is known for every donor",
            "Fill it in, or drop the covariate",
        )
    labels = table[columns[0]].astype(str)
    if labels.duplicated().any():
        raise InputError(
            f"{path}: covariate '{labels[labels.duplicated()].iloc[0]}' occurs more than once",
            "Every covariate has its own name",
            "Rename or remove one of them",
        )
    return xr.DataArray(
        values,
        dims=(names.COVARIATE, names.DONOR),
        coords={
            names.COVARIATE: labels.to_numpy(dtype=object),
            names.DONOR: np.array(columns[1:], dtype=object),
        },
        attrs={"source": source or str(path)},
    )
