"""Classical TWAS z-scores of finished weights: weights, the LD of their variants, and z."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayestwas.data.weights import PER_ALLELE, FinishedWeights, GeneCovariance
from bayestwas.errors import InputError


def gene_z(weights: FinishedWeights, gwas: pd.DataFrame) -> pd.DataFrame:
    """z of the predicted expression of every gene: w' S z / sqrt(w' C w), S the SDs of the genotypes and C
    their covariance (doi:10.1038/s41467-018-03621-1; for weights per genotype SD S = 1, doi:10.1038/ng.3506).

    `gwas`: DataFrame indexed by variant_id with z and, where alleles are known, effect_allele and
    other_allele. Variants match by identifier; z is turned where the alleles are swapped and left out where
    they are others. Returns gene, z, n_variants (in the model), n_used, reason (why z is missing). Variants
    without z or covariance are left out of numerator and variance. Raises `InputError` for weights without
    covariances.
    """
    if not weights.covariance:
        raise InputError(
            f"{weights.name} has no covariances",
            "The variance of a prediction needs the LD of its variants",
            "Give the covariances of the database",
        )
    if not gwas.index.is_unique:
        raise InputError(
            f"variant {gwas.index[gwas.index.duplicated()][0]} has more than one z",
            "A GWAS has one row per variant",
            "Keep one row per variant",
        )
    table = weights.table
    at = gwas.index.get_indexer(pd.Index(table["variant_id"]))
    if "rsid" in table:
        by_rsid = gwas.index.get_indexer(pd.Index(table["rsid"]))
        at = np.where(at >= 0, at, by_rsid)
    z = np.where(at >= 0, gwas["z"].to_numpy(dtype=float)[at], np.nan) * _signs(table, gwas, at)
    rows = []
    for gene, index in table.groupby("gene", sort=False).indices.items():
        known = weights.covariance.get(str(gene))
        rows.append((gene, *_one(table["weight"].to_numpy()[index], z[index], known, weights.scale)))
    return pd.DataFrame(rows, columns=["gene", "z", "n_variants", "n_used", "reason"])


def _signs(table: pd.DataFrame, gwas: pd.DataFrame, at: np.ndarray) -> np.ndarray:
    """+1, -1 where alleles are swapped, NaN where they are others; +1 where a file does not name them."""
    if "effect_allele" not in gwas:
        return np.ones(len(table))
    effect, other = (gwas[c].to_numpy(dtype=object)[at] for c in ("effect_allele", "other_allele"))
    mine, yours = (table[c].to_numpy(dtype=object) for c in ("effect_allele", "other_allele"))
    same, swapped = (effect == mine) & (other == yours), (effect == yours) & (other == mine)
    return np.where(same | (mine == ""), 1.0, np.where(swapped, -1.0, np.nan))


def _one(
    w: np.ndarray, z: np.ndarray, known: GeneCovariance | None, scale: str
) -> tuple[float, int, int, str]:
    if known is None:
        return np.nan, len(w), 0, "the covariances do not have this gene"
    used = np.isfinite(z) & np.isfinite(known.matrix.diagonal())
    size = (len(w), int(used.sum()))
    if not used.any():
        return np.nan, *size, "none of its variants has both a z-score with its alleles and a covariance"
    covariance = known.matrix[np.ix_(used, used)]
    sd = np.sqrt(covariance.diagonal()) if scale == PER_ALLELE else np.ones(size[1])
    variance = float(w[used] @ covariance @ w[used])
    if not variance > 0:
        return np.nan, *size, "its predicted expression does not vary in the LD reference"
    return float(w[used] @ (sd * z[used])) / np.sqrt(variance), *size, ""
