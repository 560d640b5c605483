"""Finished weights beside panels: their genes, their variants, and their part of one block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayestwas import names
from bayestwas.data.studies import EqtlPanel, WeightPanel
from bayestwas.data.variants import COLUMNS, chromosome_labels
from bayestwas.data.weights import PER_ALLELE
from bayestwas.harmonise.genes import PreparedPanel

POINT = "finished weights without uncertainty"
NO_LD = "LD is known within models only: genes compete with genes, direct effects could not be modelled"


@dataclass(frozen=True)
class WeightRows:
    """Finished weights in one block: `weight` DataFrame gene x variant, per SD of genotype, or, where
    `genotypes` names those whose SD is to be used, per allele."""

    context: str
    ancestry: str
    weight: pd.DataFrame
    genotypes: str = ""

    def scaled(self, dosages: dict[str, np.ndarray]) -> tuple[str, str, pd.DataFrame]:
        """As `data.schema.locus` takes them."""
        if not self.genotypes:
            return self.context, self.ancestry, self.weight
        dosage = np.where(dosages[self.genotypes] < 0, np.nan, dosages[self.genotypes].astype(float))
        known = np.isfinite(dosage)
        count = np.maximum(known.sum(axis=1), 1)
        mean = np.nansum(dosage, axis=1) / count
        sd = np.sqrt(np.where(known, (dosage - mean[:, None]) ** 2, 0.0).sum(axis=1) / count)
        return self.context, self.ancestry, self.weight * sd


@dataclass(frozen=True)
class EqtlRows:
    """eQTL summary statistics in one block: `correlation` DataFrame gene x variant, NaN where absent; `n`
    people."""

    context: str
    ancestry: str
    correlation: pd.DataFrame
    n: float


def weight_genes(panel: WeightPanel) -> pd.DataFrame:
    """gene, chromosome, tss of the genes of finished weights; a TSS of 0 where none is known."""
    placed = panel.weights.genes
    return pd.DataFrame(
        {
            "gene": placed.index.astype(str).to_numpy(dtype=object),
            "chromosome": chromosome_labels(placed["chromosome"]),
            "tss": np.maximum(placed["tss"].to_numpy(dtype=np.int64), 0),
        }
    )


def weight_variants(panel: WeightPanel) -> pd.DataFrame:
    """The placed variants of finished weights, each once: the columns of a variant table, and frequency where
    they have it."""
    table = panel.weights.table
    columns = [*COLUMNS, *(name for name in ("frequency",) if name in table)]
    return table[table["position"] > 0].drop_duplicates(list(COLUMNS))[columns].reset_index(drop=True)


def as_prepared(panel: WeightPanel, name: str, wanted: set[str]) -> PreparedPanel:
    """Finished weights as the table of genes sees panels: which genes, and why others are not usable."""
    genes = panel.weights.genes
    reason = genes["reason"] if "reason" in genes else pd.Series("", index=genes.index)
    here = [str(gene) for gene in genes.index if str(gene) in wanted]
    unusable = {gene: str(reason[gene]) for gene in here if reason[gene]}
    return PreparedPanel(
        panel.context,
        panel.ancestry,
        name,
        np.zeros(0, dtype=np.intp),
        pd.DataFrame(index=pd.Index([gene for gene in here if gene not in unusable], dtype=object)),
        None,
        unusable,
    )


def marked(genes: pd.DataFrame, prepared: Sequence[PreparedPanel], gene_level: bool) -> pd.DataFrame:
    """The table of genes with statuses that say what rests on finished weights."""
    out = genes.copy()
    for i, gene in enumerate(genes["gene"]):
        if genes["status"].iloc[i] not in (names.OK, names.WARNING):
            continue
        held = [one.label for one in prepared if gene in one.expression.index]
        told = ([f"{POINT} in {', '.join(held)}"] if held else []) + ([NO_LD] if gene_level else [])
        if told:
            before = [genes["reason"].iloc[i]] if genes["reason"].iloc[i] else []
            out.loc[out.index[i], ["status", "reason"]] = [names.WARNING, "; ".join([*before, *told])]
    return out


def weight_rows(
    panels: Sequence[WeightPanel],
    file_names: Sequence[str],
    rows: dict[str, np.ndarray],
    signs: dict[str, np.ndarray],
    here: slice,
    labels: pd.Index,
    genes: pd.Index,
    ld_names: dict[str, str],
) -> tuple[WeightRows, ...]:
    """The weights of the genes of one block, of the effect alleles of the study."""
    out = []
    for panel, name in zip(panels, file_names, strict=True):
        frame = _oriented(panel, rows[name][here], signs[name][here], labels, genes, 0.0)
        if len(frame):
            scale = ld_names[panel.ancestry] if panel.weights.scale == PER_ALLELE else ""
            out.append(WeightRows(panel.context, panel.ancestry, frame, scale))
    return tuple(out)


def eqtl_rows(
    panels: Sequence[EqtlPanel],
    file_names: Sequence[str],
    rows: dict[str, np.ndarray],
    signs: dict[str, np.ndarray],
    here: slice,
    labels: pd.Index,
    genes: pd.Index,
) -> tuple[EqtlRows, ...]:
    """The eQTL summary statistics of the genes of one block, of the effect alleles of the study."""
    out = []
    for panel, name in zip(panels, file_names, strict=True):
        frame = _oriented(panel, rows[name][here], signs[name][here], labels, genes, np.nan)
        if len(frame):
            out.append(EqtlRows(panel.context, panel.ancestry, frame, panel.n))
    return tuple(out)


def _oriented(
    panel: WeightPanel, at: np.ndarray, sign: np.ndarray, labels: pd.Index, genes: pd.Index, absent: float
) -> pd.DataFrame:
    """DataFrame gene x variant, `absent` where a table has no row; `at` and `sign`: the row of each variant
    of the block among the variants of the panel, and its orientation."""
    variants = weight_variants(panel)
    place = np.full(len(variants), -1)
    place[at[at >= 0]] = np.flatnonzero(at >= 0)
    table = panel.weights.table
    table = table[table["gene"].isin(genes)]
    key = pd.MultiIndex.from_frame(variants[list(COLUMNS)])
    column = place[key.get_indexer(pd.MultiIndex.from_frame(table[list(COLUMNS)]))]
    used = (column >= 0) & (table["position"] > 0).to_numpy()
    kept = table[used]
    members = pd.Index(pd.unique(kept["gene"]))
    values = np.full((len(members), len(labels)), absent)
    value = kept["weight"].to_numpy(dtype=float) * sign[column[used]]
    values[members.get_indexer(pd.Index(kept["gene"])), column[used]] = value
    return pd.DataFrame(values, index=members, columns=labels)
