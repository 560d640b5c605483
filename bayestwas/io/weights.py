"""Finished weights: PredictDB .db with covariances, FUSION .pos with .wgt.RDat, SuShiE and cTWAS."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayestwas.data.variants import chromosome_labels, parse_variant_ids
from bayestwas.data.weights import (
    PER_ALLELE,
    PER_GENOTYPE_SD,
    UNPLACED,
    WEIGHT_COLUMNS,
    FinishedWeights,
    GeneCovariance,
    places_of_genes,
)
from bayestwas.errors import InputError, nearest
from bayestwas.io import weight_columns as columns
from bayestwas.io.rfiles import read_r
from bayestwas.io.tables import read_pieces, read_table, require_file

_PIECE = 1 << 20  # rows of a covariance file at a time
NO_WEIGHT = "its model has no weight other than zero"
_COVARIANCE = ("GENE", "RSID1", "RSID2", "VALUE")


def read_weights(path: str | Path, covariances: str | Path | None = None, **options: Any) -> FinishedWeights:
    """Finished weights by the ending of their file: .db (PredictDB), .pos (FUSION), .RDS (cTWAS), .tsv
    (SuShiE).

    `covariances` goes with PredictDB, `model` with FUSION, `ancestry` with SuShiE. Raises `InputError`.
    """
    path = Path(path)
    weights = _by_ending(path, covariances, options)
    if weights.table.empty:
        raise InputError(
            f"{path} holds no weight",
            "Finished weights have a row per gene and variant, or a model per gene",
            "Give another file, or leave it out",
        )
    return weights


def _by_ending(path: Path, covariances: str | Path | None, options: dict[str, Any]) -> FinishedWeights:
    lower = path.name.lower()
    if lower.endswith((".db", ".sqlite", ".sqlite3")):
        return read_predictdb(path, covariances, **options)
    if covariances is not None:
        raise InputError(
            f"{path.name} with covariances",
            "Covariances go with a PredictDB .db file; other weights bring their own LD or need [[ld]]",
            "Leave covariances out",
        )
    if lower.endswith(".pos"):
        return read_fusion(path, **options)
    if lower.endswith(".rds"):
        return read_ctwas_weights(path, **options)
    if lower.endswith((".tsv", ".tsv.gz")):
        return read_sushie(path, **options)
    raise InputError(
        f"{path}: weights in an unknown format",
        "Weights are .db (PredictDB), .pos (FUSION), .RDS (cTWAS) or .tsv (SuShiE); the ending says which",
        "Rename the file",
    )


# ---- PredictDB -------------------------------------------------------------------------------------------


def read_predictdb(
    path: str | Path, covariances: str | Path | None = None, name: str | None = None
) -> FinishedWeights:
    """Read a PredictDB database: tables `weights` (gene, rsid, ref_allele, eff_allele, weight, and varID
    where it has one) and `extra`.

    Weights are per copy of the effect allele (doi:10.1038/s41467-018-03621-1). Positions come from varID, or
    rsid where that spells them. `covariances`: GENE RSID1 RSID2 VALUE, plain or gzipped. The database is
    opened read-only. Raises `InputError`.
    """
    path = require_file(Path(path), "PredictDB database")
    rows = _select(path, "weights", ("gene", "rsid", "ref_allele", "eff_allele", "weight"), ("varID",))
    known = rows["varID"].fillna("") if "varID" in rows else pd.Series("", index=rows.index)
    identifier = known.where(known != "", rows["rsid"])
    parsed = parse_variant_ids(identifier.to_numpy())
    placed = parsed["position"].notna().to_numpy()
    table = pd.DataFrame(
        {
            "gene": columns.text(path, rows["gene"], "the gene"),
            "chromosome": parsed["chromosome"].where(placed, "").to_numpy(dtype=object),
            "position": parsed["position"].fillna(UNPLACED).astype(np.int64).to_numpy(),
            "variant_id": identifier.to_numpy(dtype=object),
            "effect_allele": columns.alleles(path, rows["eff_allele"], "the allele eff_allele"),
            "other_allele": columns.alleles(path, rows["ref_allele"], "the allele ref_allele"),
            "weight": pd.to_numeric(rows["weight"], errors="coerce").to_numpy(dtype=float),
            "rsid": rows["rsid"].to_numpy(dtype=object),
        }
    )
    matrices = {} if covariances is None else read_covariances(covariances, table, name or path.name)
    return FinishedWeights(name or path.name, table, PER_ALLELE, places_of_genes(table), matrices)


def _select(path: Path, table: str, required: tuple[str, ...], optional: tuple[str, ...]) -> pd.DataFrame:
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as base:
            base.execute("PRAGMA trusted_schema = OFF")
            kinds = dict(base.execute("SELECT name, type FROM sqlite_master"))
            found = [row[1] for row in base.execute(f"PRAGMA table_info({table})")]
            lacking = [column for column in required if column not in found]
            if kinds.get(table) != "table" or lacking:
                held = ", ".join(sorted(k for k, kind in kinds.items() if kind == "table")) or "none"
                raise InputError(
                    f"{path} has the tables {held}"
                    + (f"; {table} lacks {', '.join(lacking)}" if found else ""),
                    f"A PredictDB database has a table {table} with {', '.join(required)}",
                    "Give a .db file of PredictDB",
                )
            wanted = [*required, *(column for column in optional if column in found)]
            return pd.read_sql_query(f"SELECT {_quoted(wanted)} FROM {table}", base)
    except (sqlite3.Error, pd.errors.DatabaseError) as error:
        raise InputError(
            f"{path} cannot be read as a database ({error})",
            "PredictDB weights are an SQLite database",
            "Copy or download the file again",
        ) from error


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in names)


def read_covariances(path: str | Path, table: pd.DataFrame, name: str) -> dict[str, GeneCovariance]:
    """The covariances of the dosages of every model in `table`, in its order of variants.

    The file has GENE RSID1 RSID2 VALUE, separated by blanks or tabs, and names variants as the database does
    in varID or rsid. A variant without a variance is NaN throughout, and a model that the file does not have
    has no entry; a missing pair of variants that both have a variance is an error. Raises `InputError`.
    """
    path = Path(path)
    wanted = set(table["gene"])
    parts = []
    for piece in read_pieces(path, _PIECE, text_columns=_COVARIANCE[1:3], few_values=_COVARIANCE[:1]):
        lacking = [column for column in _COVARIANCE if column not in piece.columns]
        if lacking:
            raise InputError(
                f"{path} has the columns {', '.join(map(str, piece.columns))}",
                f"A covariance file has {' '.join(_COVARIANCE)}",
                "Give the .txt.gz file that belongs to the database",
            )
        parts.append(piece[piece["GENE"].isin(wanted)].astype({"GENE": str}))
    rows = pd.concat(parts, ignore_index=True)
    value = pd.to_numeric(rows["VALUE"], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(value).all():
        bad = rows.iloc[int(np.argmin(np.isfinite(value)))]
        raise InputError(
            f"{path}: the covariance of {bad['RSID1']} and {bad['RSID2']} in {bad['GENE']} is {bad['VALUE']}",
            "Covariances are finite numbers",
            "Compute it again, or leave the gene out",
        )
    names_of = table["variant_id"] if rows["RSID1"].isin(set(table["variant_id"])).any() else table["rsid"]
    model = pd.MultiIndex.from_arrays([table["gene"], names_of])
    number = table.groupby("gene", sort=False).cumcount().to_numpy()
    first, second = (
        model.get_indexer(pd.MultiIndex.from_arrays([rows["GENE"], rows[column]]))
        for column in ("RSID1", "RSID2")
    )
    held = (first >= 0) & (second >= 0)
    gene, i, j = rows["GENE"].to_numpy()[held], number[first[held]], number[second[held]]
    known = value[held]
    order = np.argsort(gene, kind="stable")
    edges = np.flatnonzero(gene[order][1:] != gene[order][:-1]) + 1 if len(order) else np.zeros(0, dtype=int)
    ids = {str(key): table["variant_id"].to_numpy()[at] for key, at in table.groupby("gene").indices.items()}
    out = {}
    for part in np.split(order, edges) if len(order) else ():
        label = str(gene[part[0]])
        matrix = np.full((len(ids[label]), len(ids[label])), np.nan)
        matrix[i[part], j[part]] = matrix[j[part], i[part]] = known[part]
        _check_pairs(path, name, label, ids[label], matrix)
        out[label] = GeneCovariance(ids[label], matrix)
    return out


def _check_pairs(path: Path, name: str, gene: str, ids: np.ndarray, matrix: np.ndarray) -> None:
    there = np.isfinite(matrix.diagonal())  # published files lack variants that the reference did not have
    missing = np.argwhere(np.isnan(matrix) & np.outer(there, there))
    if len(missing):
        one, two = missing[0]
        raise InputError(
            f"{path} lacks the covariance of {ids[one]} and {ids[two]} in {gene} ({len(missing)} entries)",
            f"Every pair of variants of a model in {name} has a covariance",
            "Give the covariances that were made with this database",
        )


# ---- FUSION ----------------------------------------------------------------------------------------------

_POS = ("WGT", "ID", "CHR", "P0", "P1")


def read_fusion(path: str | Path, model: str | None = None, name: str | None = None) -> FinishedWeights:
    """Read a FUSION list (.pos) and the .wgt.RDat files it names, relative to its folder.

    `model`: a column of wgt.matrix (blup, lasso, top1, enet ...); None: for each gene that with the highest
    cross-validated R2 (the first row of cv.performance), as FUSION chooses. Of top1 only the strongest
    variant counts. Weights are per SD of genotype (doi:10.1038/ng.3506); the effect allele is A1. Raises
    `InputError`.
    """
    path = Path(path)
    listed = read_table(path, text_columns=("WGT", "ID", "CHR", "PANEL"))
    lacking = [column for column in _POS if column not in listed.columns]
    if lacking:
        raise InputError(
            f"{path} lacks {', '.join(lacking)}", f"A .pos file has {' '.join(_POS)}", "Rename the columns"
        )
    tables = [_fusion_gene(_inside(path, str(row.WGT)), str(row.ID), model) for row in listed.itertuples()]
    empty = [str(gene) for gene, part in zip(listed["ID"], tables, strict=True) if part.empty]
    tables = [part for part in tables if len(part)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(WEIGHT_COLUMNS))
    genes = pd.DataFrame(
        {
            "chromosome": chromosome_labels(listed["CHR"]),
            "tss": (columns.whole(path, listed["P0"], "P0") + columns.whole(path, listed["P1"], "P1")) // 2,
        },
        index=pd.Index(listed["ID"].astype(str), name="gene"),
    )
    notes = (f"{path.name}: {len(empty)} models without a weight, first {empty[0]}",) if empty else ()
    genes = _with_reasons(genes[~genes.index.duplicated()], table)
    return FinishedWeights(name or path.name, table, PER_GENOTYPE_SD, genes, {}, notes)


def _with_reasons(genes: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The genes of a file, with a reason where none of their weights is left in `table`."""
    held = genes.index.isin(table["gene"])
    return genes if held.all() else genes.assign(reason=np.where(held, "", NO_WEIGHT))


def _inside(path: Path, given: str) -> Path:
    """The file that a list names, which lies in the folder of the list or below it."""
    folder = path.parent.resolve()
    file = (folder / given).resolve()
    if not file.is_relative_to(folder):
        raise InputError(
            f"{path} names {given}",
            "The files of a list lie in its folder or below it",
            f"Put the weights beside {path.name}, and name them relative to it",
        )
    return require_file(file, f"{path.name}: weights")


def _fusion_gene(file: Path, gene: str, model: str | None) -> pd.DataFrame:
    held = read_r(file)
    matrix = held.get("wgt.matrix") if isinstance(held, dict) else None
    snps = held.get("snps") if isinstance(held, dict) else None
    if not isinstance(matrix, pd.DataFrame) or not isinstance(snps, pd.DataFrame) or snps.shape[1] < 6:
        found = ", ".join(held) if isinstance(held, dict) else type(held).__name__
        raise InputError(
            f"{file} holds {found}",
            "FUSION weights hold wgt.matrix (variants x models) and snps (the columns of a .bim file)",
            "Give files that FUSION.compute_weights.R has written",
        )
    if len(snps) != len(matrix):
        raise InputError(
            f"{file}: {len(matrix)} rows of weights and {len(snps)} of snps",
            "Every row of wgt.matrix has a row of snps",
            "Write the file again",
        )
    chosen = _best_model(file, matrix, held.get("cv.performance")) if model is None else model
    if chosen not in matrix.columns:
        raise InputError(
            f"{file}: model '{chosen}'", "A model is a column of wgt.matrix", nearest(chosen, matrix.columns)
        )
    weight = matrix[chosen].to_numpy(dtype=float)
    if chosen == "top1" and len(weight):
        weight = np.where(np.arange(len(weight)) == np.nanargmax(np.abs(weight)), weight, 0.0)
    keep = np.isfinite(weight) & (weight != 0)
    snps = snps[keep]
    return pd.DataFrame(
        {
            "gene": gene,
            "chromosome": chromosome_labels(snps.iloc[:, 0]),
            "position": columns.whole(file, snps.iloc[:, 3], "a position of snps"),
            "variant_id": snps.iloc[:, 1].astype(str).to_numpy(dtype=object),
            "effect_allele": columns.alleles(file, snps.iloc[:, 4], "an allele of snps"),
            "other_allele": columns.alleles(file, snps.iloc[:, 5], "an allele of snps"),
            "weight": weight[keep],
        }
    )


def _best_model(file: Path, matrix: pd.DataFrame, performance: Any) -> str:
    if not isinstance(performance, pd.DataFrame) or "rsq" not in performance.index:
        if matrix.shape[1] == 1:
            return str(matrix.columns[0])
        raise InputError(
            f"{file} has {matrix.shape[1]} models and no cv.performance",
            "The model of a gene is the one with the highest cross-validated R2, or the one that is named",
            f"Give model, one of {', '.join(map(str, matrix.columns))}",
        )
    r2 = performance.loc["rsq"].astype(float)
    return str(matrix.columns[0]) if r2.isna().all() else str(r2.idxmax())


# ---- SuShiE and cTWAS ------------------------------------------------------------------------------------

_SUSHIE = ("trait", "chrom", "snp", "pos", "a0", "a1")


def read_sushie(path: str | Path, ancestry: int = 1, name: str | None = None) -> FinishedWeights:
    """Read the weights table of SuShiE: trait, chrom, snp, pos, a0, a1, ancestry1_sushie_weight ...

    `ancestry`: the number of the ancestry, as SuShiE counts them. Weights are per SD of genotype, of the
    allele a1 (doi:10.1038/s41588-025-02262-7). Raises `InputError`.
    """
    path = Path(path)
    rows = read_table(path, text_columns=("trait", "chrom", "snp", "a0", "a1"))
    names = [str(c) for c in rows.columns if str(c).endswith("_weight")]
    column = f"ancestry{ancestry}_sushie_weight"
    lacking = [c for c in (*_SUSHIE, column) if c not in rows.columns]
    if lacking:
        raise InputError(
            f"{path} lacks {', '.join(lacking)}",
            f"A weights table of SuShiE has {' '.join(_SUSHIE)} and {column}",
            f"Its columns of weights are {', '.join(names) or 'none'}: give ancestry as their number",
        )
    table = pd.DataFrame(
        {
            "gene": columns.text(path, rows["trait"], "the trait"),
            "chromosome": chromosome_labels(columns.text(path, rows["chrom"], "the chromosome")),
            "position": columns.whole(path, rows["pos"], "the position"),
            "variant_id": columns.text(path, rows["snp"], "the snp"),
            "effect_allele": columns.alleles(path, rows["a1"], "the allele a1"),
            "other_allele": columns.alleles(path, rows["a0"], "the allele a0"),
            "weight": pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=float),
        }
    )
    genes = places_of_genes(table)
    table = table[table["weight"] != 0].reset_index(drop=True)
    return FinishedWeights(name or path.name, table, PER_GENOTYPE_SD, _with_reasons(genes, table))


def read_ctwas_weights(path: str | Path, name: str | None = None) -> FinishedWeights:
    """Read the preprocessed weights of cTWAS (.RDS): per model wgt, R_wgt, chrom, p0, p1, gene_id, context.

    The identifiers of the models are kept ("gene|context"). Alleles are those of the z-scores the weights
    were preprocessed with; the file does not name them, so they are empty and variants match by identifier.
    """
    path = Path(path)
    held = read_r(path)
    parts, covariance, places = [], {}, {}
    for label, entry in held.items() if isinstance(held, dict) else ():
        if not isinstance(entry, dict) or not {"wgt", "chrom", "p0", "p1"} <= set(entry):
            break
        if not isinstance(entry["wgt"], pd.DataFrame):
            break
        weight = entry["wgt"].iloc[:, 0]
        ids = weight.index.astype(str).to_numpy(dtype=object)
        parts.append(pd.DataFrame({"gene": label, "variant_id": ids, "weight": weight.to_numpy(float)}))
        chromosome = str(chromosome_labels([str(int(entry["chrom"][0]))])[0])
        places[label] = (chromosome, (int(entry["p0"][0]) + int(entry["p1"][0])) // 2)
        if isinstance(entry.get("R_wgt"), pd.DataFrame):
            covariance[label] = GeneCovariance(ids, entry["R_wgt"].loc[ids, ids].to_numpy(dtype=float))
    if not parts or len(parts) != len(held):
        raise InputError(
            f"{path} holds no list of models with wgt, chrom, p0 and p1",
            "Preprocessed weights of cTWAS are a list with an entry per gene and context",
            "Give the file that saveRDS wrote from preprocess_weights",
        )
    table = pd.concat(parts, ignore_index=True)
    table["chromosome"] = table["gene"].map({label: place[0] for label, place in places.items()})
    table = table.assign(position=UNPLACED, effect_allele="", other_allele="")[list(WEIGHT_COLUMNS)]
    genes = pd.DataFrame.from_dict(places, orient="index", columns=["chromosome", "tss"])
    return FinishedWeights(name or path.name, table, PER_GENOTYPE_SD, genes.rename_axis("gene"), covariance)
