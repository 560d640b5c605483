"""Finished expression weights: point predictors that others have trained, with what is known of their LD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from bayestwas.data.variants import COLUMNS
from bayestwas.engine.completion import Part, complete_correlation
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


def standardised(weights: FinishedWeights) -> FinishedWeights:
    """The weights per SD of genotype, their covariances as correlations.

    Per-allele weights without covariances are returned as they are: the SD of their genotypes is that of the
    LD reference. Variants without a variance are left out, and genes of which none is left get a reason in
    the column `reason` of `genes`.
    """
    if weights.scale == PER_GENOTYPE_SD or not weights.covariance:
        return weights
    sd = np.full(len(weights.table), np.nan)
    correlation = {}
    by_gene = weights.table.groupby("gene", sort=False).indices
    for gene, known in weights.covariance.items():
        mine = np.sqrt(np.where(known.matrix.diagonal() > 0, known.matrix.diagonal(), np.nan))
        sd[by_gene[gene]] = mine
        there = np.isfinite(mine)
        scaled = known.matrix[np.ix_(there, there)] / np.outer(mine[there], mine[there])
        correlation[gene] = GeneCovariance(known.ids[there], scaled)
    usable = np.isfinite(sd)
    table = weights.table.assign(weight=weights.table["weight"] * sd)[usable].reset_index(drop=True)
    genes = weights.genes.copy()
    left = genes.index.isin(table["gene"])
    genes["reason"] = np.where(left, "", "the covariances hold none of its variants")
    told = f"{weights.name}: {int((~usable).sum())} weights of variants without a covariance are left out"
    notes = (*weights.notes, told) if not usable.all() else weights.notes
    return replace(
        weights, table=table, scale=PER_GENOTYPE_SD, genes=genes, covariance=correlation, notes=notes
    )


@dataclass(frozen=True, eq=False)
class CompletedCorrelation:
    """Correlations of variants that are known only within models, completed where a block asks for them.

    Stands for the (p, p) array of an `LDMatrix`: `shape`, `dtype`, `diagonal()` and `[np.ix_(rows, rows)]`.
    `parts`: (indices, correlation) of every model; see `engine.completion`.
    """

    size: int
    parts: tuple[Part, ...]
    dtype: np.dtype[np.float64] = field(default_factory=lambda: np.dtype(np.float64))

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def diagonal(self) -> np.ndarray:
        return np.ones(self.size)

    def __getitem__(self, where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        rows, columns = (np.asarray(index).ravel() for index in where)
        if not np.array_equal(rows, columns):
            raise IndexError("the same rows and columns are asked for")
        place = np.full(self.size, -1)
        place[rows] = np.arange(len(rows))
        asked = [(place[index], index, known) for index, known in self.parts if (place[index] >= 0).any()]
        parts = [(at[at >= 0], known[np.ix_(at >= 0, at >= 0)]) for at, _, known in asked]
        return complete_correlation(len(rows), parts)[0]


def model_correlation(sources: Sequence[FinishedWeights]) -> tuple[pd.DataFrame, CompletedCorrelation]:
    """The variants of standardised weights with correlations, each once, and what is known of their LD.

    Where sources give a pair more than once, its correlation is their mean.
    """
    first: dict[tuple[str, int, str], int] = {}
    rows: list[tuple[object, ...]] = []
    models: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for source in sources:
        where = source.table.groupby("gene", sort=False).indices
        columns = {c: source.table[c].to_numpy() for c in COLUMNS}
        for gene, known in source.covariance.items():
            at: list[int] = []
            signs: list[float] = []
            for i in where.get(gene, ()):
                row = tuple(columns[c][i] for c in COLUMNS)
                key = (str(row[0]), int(row[1]), "/".join(sorted((str(row[3]), str(row[4])))))
                number = first.setdefault(key, len(rows))
                if number == len(rows):
                    rows.append(row)
                at.append(number)
                signs.append(1.0 if rows[number][3] == row[3] else -1.0)
            models.append((np.array(at, dtype=np.intp), np.array(signs), known.matrix))
    total: dict[tuple[int, int], list[float]] = {}
    for index, sign, matrix in models:
        oriented = matrix * np.outer(sign, sign)
        for i, row in zip(index.tolist(), oriented, strict=True):
            for j, value in zip(index.tolist(), row.tolist(), strict=True):
                total.setdefault((i, j), []).append(value)
    parts = tuple(
        (index, np.array([[np.mean(total[i, j]) for j in index.tolist()] for i in index.tolist()]))
        for index, _, _ in models
        if len(index)
    )
    variants = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"position": np.int64})
    return variants, CompletedCorrelation(len(rows), parts)
