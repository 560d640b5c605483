"""Weights in the files of other programs: PredictDB .db with covariances, FUSION .pos with .wgt.RDat."""

from __future__ import annotations

import gzip
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdata
from rdata.conversion import to_r

from bayestwas.data.weights import PER_ALLELE, PER_GENOTYPE_SD, FinishedWeights
from bayestwas.errors import InputError
from bayestwas.io.tables import atomic, write_table

MODEL = "bayestwas"  # the name of the column of wgt.matrix


def write_predictdb(weights: FinishedWeights, database: Path, covariances: Path, h2: pd.Series) -> None:
    """Write weights per allele, with their covariances, as S-PrediXcan takes them.

    The column rsid holds rs numbers where all variants have one of their own (a column rsid of the table),
    else identifiers chromosome_position_other_effect like varID; covariances name variants as rsid does.
    `h2`: by gene, the column cis.h2 of the table extra; cross-validated columns stay empty. Raises
    `InputError` for weights of another scale or without covariances.
    """
    _require_scale(weights, PER_ALLELE)
    lacking = [gene for gene in weights.genes.index if gene not in weights.covariance]
    if lacking:
        raise InputError(
            f"{weights.name}: {lacking[0]} has no covariance",
            "S-PrediXcan needs the covariances of the variants of every model",
            "Give the weights their covariances",
        )
    table = weights.table
    named = _rs_numbers(table)
    rows = pd.DataFrame(
        {
            "gene": table["gene"], "rsid": named, "varID": table["variant_id"],
            "ref_allele": table["other_allele"], "eff_allele": table["effect_allele"],
            "weight": table["weight"].astype(float),
        }
    )  # fmt: skip
    genes = weights.genes.index.astype(str)
    empty = np.full(len(genes), None, dtype=object)
    extra = pd.DataFrame(
        {
            "gene": genes, "genename": genes,
            "n.snps.in.model": table.groupby("gene").size().reindex(genes).to_numpy(),
            "pred.perf.R2": empty, "pred.perf.pval": empty, "pred.perf.qval": empty,
            "cis.h2": h2.reindex(genes).to_numpy(dtype=float),
        }
    )  # fmt: skip
    with atomic(database) as temporary, closing(sqlite3.connect(temporary)) as base:
        rows.to_sql("weights", base, index=False)
        extra.to_sql("extra", base, index=False)
        base.execute("CREATE INDEX weights_gene ON weights (gene)")
        base.execute("CREATE INDEX weights_rsid ON weights (rsid)")
        base.commit()
    name_of = dict(zip(table["variant_id"], named, strict=True))
    with atomic(covariances) as temporary, gzip.open(temporary, "wt", compresslevel=4) as handle:
        handle.write("GENE RSID1 RSID2 VALUE\n")
        for gene in genes:
            known = weights.covariance[gene]
            labels = [name_of[variant] for variant in known.ids]
            for i, j in np.argwhere(np.triu(np.isfinite(known.matrix))):
                handle.write(f"{gene} {labels[i]} {labels[j]} {float(known.matrix[i, j])!r}\n")


def _rs_numbers(table: pd.DataFrame) -> list[str]:
    """rs numbers of the variants where all have their own, else their identifiers."""
    ids = table["variant_id"].astype(str)
    if "rsid" not in table.columns:
        return ids.tolist()
    pairs = pd.DataFrame({"rsid": table["rsid"].astype(str), "id": ids}).drop_duplicates()
    sound = pairs["rsid"].str.fullmatch(r"rs\d+").all() and not pairs["rsid"].duplicated().any()
    return table["rsid"].astype(str).tolist() if sound else ids.tolist()


def write_fusion(weights: FinishedWeights, path: Path, h2: pd.Series, n: float) -> None:
    """Write weights per SD of genotype as FUSION takes them: the list `path` (.pos) and, in a folder of its
    name, one .wgt.RDat per gene with wgt.matrix (one model), snps, cv.performance, hsq and N.tot.

    P0 and P1 are both the TSS. FUSION takes no gene without an rsq: it is `h2`, the posterior mean of the
    heritability and not a cross-validated R2, with a missing p-value. `n`: people behind the weights,
    NaN where not known.
    """
    _require_scale(weights, PER_GENOTYPE_SD)
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    rows, used = [], set()
    by_gene = weights.table.groupby("gene", sort=False).indices
    genes = weights.genes
    places = zip(genes.index.astype(str), genes["chromosome"], genes["tss"], strict=True)
    for gene, chromosome, tss in places:
        stem = safe_name(gene)
        while stem in used:
            stem += "_"
        used.add(stem)
        part = weights.table.iloc[by_gene[gene]]
        _write_gene(folder / f"{stem}.wgt.RDat", part, float(h2.loc[gene]), n)
        rows.append((path.stem, f"{folder.name}/{stem}.wgt.RDat", gene, chromosome, tss, tss, n))
    columns = ["PANEL", "WGT", "ID", "CHR", "P0", "P1", "N"]
    table = pd.DataFrame(rows, columns=columns)
    table["N"] = table["N"].round().astype("Int64")
    write_table(table, path)


def safe_name(text: str) -> str:
    """`text` as part of the name of a file."""
    return re.sub(r"[^0-9A-Za-z._-]", "_", text).lstrip(".") or "_"


def _write_gene(path: Path, table: pd.DataFrame, h2: float, n: float) -> None:
    ids = table["variant_id"].astype(str).to_numpy(dtype=object)
    named = table["rsid"].astype(str).to_numpy(dtype=object) if "rsid" in table.columns else ids
    named = np.where(named == "", ids, named)
    snps = pd.DataFrame(
        {
            "V1": table["chromosome"].astype(str).to_numpy(dtype=object),
            "V2": named,
            "V3": np.zeros(len(table)),
            "V4": table["position"].to_numpy(dtype=np.int32),
            "V5": table["effect_allele"].astype(str).to_numpy(dtype=object),
            "V6": table["other_allele"].astype(str).to_numpy(dtype=object),
        },
        index=pd.RangeIndex(1, len(table) + 1),  # as R counts rows
    ).astype(dict.fromkeys(("V1", "V2", "V5", "V6"), object))
    held = {
        "wgt.matrix": _Matrix(table["weight"].to_numpy(dtype=float)[:, None], named, _text(MODEL)),
        "snps": snps,
        "cv.performance": _Matrix(np.array([[h2], [np.nan]]), _text("rsq", "pval"), _text(MODEL)),
        "hsq": np.array([h2, np.nan]),
        "hsq.pv": np.array([np.nan]),
        "N.tot": np.array([float(n)]),
    }
    with atomic(path) as temporary:
        rdata.write_rda(str(temporary), held, constructor_dict=_CONSTRUCTORS)


def _text(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)


@dataclass(frozen=True, eq=False)
class _Matrix:
    """A matrix of R with names of rows and columns."""

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def _r_matrix(matrix: _Matrix, converter: Any) -> Any:
    attributes = converter.convert_to_r_attributes(
        {"dim": np.array(matrix.values.shape, dtype=np.int32), "dimnames": [matrix.rows, matrix.columns]}
    )
    kind = rdata.parser.RObjectType.REAL
    return to_r.build_r_object(kind, value=np.ravel(matrix.values, order="F"), attributes=attributes)


_CONSTRUCTORS = {**to_r.DEFAULT_CLASS_MAP, _Matrix: _r_matrix}


def _require_scale(weights: FinishedWeights, scale: str) -> None:
    if weights.scale != scale:
        raise InputError(
            f"{weights.name}: weights {weights.scale}",
            f"These files hold weights {scale}",
            "Multiply (or divide) them by the SD of the genotypes",
        )
