"""Finished expression weights: point predictors that others have trained, with what is known of their LD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bayestwas.data.variants import COLUMNS
from bayestwas.errors import InputError

# what a weight multiplies: copies of the effect allele, or genotypes with variance one
PER_ALLELE, PER_GENOTYPE_SD = "per allele", "per genotype SD"
SCALES = (PER_ALLELE, PER_GENOTYPE_SD)
WEIGHT_COLUMNS = ("gene", *COLUMNS, "weight")
UNPLACED = -1  # position of a variant of which a file gives only the identifier


@dataclass(frozen=True)
class GeneCovariance:
    """Covariance (k, k) of the genotypes of the variants `ids` (k,) of one model; dosages, effect alleles."""

    ids: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True)
class FinishedWeights:
    """Point weights of many genes in one context.

    `table`: DataFrame with gene, chromosome, position (1-based, `UNPLACED` where the file has none),
    variant_id, effect_allele, other_allele, weight; one row per gene and variant. `scale`: one of `SCALES`.
    `genes`: DataFrame indexed by gene with chromosome, tss (the middle of its variants where the file does
    not say). `covariance`: by gene, of dosages where the scale is per allele, else correlations. `notes`:
    sentences about what was left out. Raises `InputError`.
    """

    name: str
    table: pd.DataFrame
    scale: str
    genes: pd.DataFrame
    covariance: Mapping[str, GeneCovariance] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(
                f"{self.name}: weights of the scale '{self.scale}'",
                f"Weights are {' or '.join(SCALES)}",
                f"Give scale='{PER_ALLELE}' for PredictDB, '{PER_GENOTYPE_SD}' for FUSION",
            )
        bad = ~np.isfinite(self.table["weight"].to_numpy(dtype=float))
        if bad.any():
            row = self.table.iloc[int(np.argmax(bad))]
            raise InputError(
                f"{self.name}: {int(bad.sum())} weights are not finite, first {row['variant_id']} of "
                f"{row['gene']}",
                "A weight is a finite number",
                "Remove these rows, or train the model again",
            )
        twice = self.table.duplicated(["gene", "variant_id"]).to_numpy()
        if twice.any():
            row = self.table.iloc[int(np.argmax(twice))]
            raise InputError(
                f"{self.name}: {row['variant_id']} occurs more than once in the model of {row['gene']}",
                "A model has one weight per variant",
                "Keep one of the rows",
            )

    def __len__(self) -> int:
        return len(self.genes)


def places_of_genes(table: pd.DataFrame) -> pd.DataFrame:
    """Chromosome and the middle of the variants of every gene: a stand-in for its TSS."""
    placed = table[table["position"] > 0]
    grouped = placed.groupby("gene", sort=False)
    middle = ((grouped["position"].min() + grouped["position"].max()) // 2).astype(np.int64)
    out = pd.DataFrame({"chromosome": grouped["chromosome"].first(), "tss": middle})
    return out.reindex(pd.unique(table["gene"])).assign(
        chromosome=lambda t: t["chromosome"].fillna(""),
        tss=lambda t: t["tss"].fillna(UNPLACED).astype(np.int64),
    )
