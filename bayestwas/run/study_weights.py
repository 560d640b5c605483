"""Finished weights of a study file: the keys of [[weights]], their rules, and the LD they bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.studies import EqtlPanel, LDMatrix, WeightPanel
from bayestwas.data.variants import chromosome_labels
from bayestwas.data.weights import UNPLACED, FinishedWeights, model_correlation, places_of_genes, standardised
from bayestwas.errors import StudyFileError
from bayestwas.harmonise.finished import weight_genes
from bayestwas.harmonise.genes import merged_windows
from bayestwas.io.eqtl import read_eqtl
from bayestwas.io.weights import read_weights


class Key(NamedTuple):
    """One key of the study file: the kinds of value it takes, whether it is required, what it says."""

    kinds: tuple[type, ...]
    required: bool
    meaning: str


MODALITY_KEY = Key((str,), False, f"what is measured: protein, splicing ...; default {names.MODALITY}")
WEIGHT_KEYS = {
    "context": Key((str,), True, "tissue, cell type, condition or modality"),
    "ancestry": Key((str,), True, "ancestry of the GWAS they are used with"),
    "path": Key((str,), True, "PredictDB .db, FUSION .pos, cTWAS .RDS or SuShiE .tsv"),
    "covariances": Key((str,), False, "covariances of a PredictDB database"),
    "n": Key((int, float), False, "people behind the covariances"),
    "model": Key((str,), False, "FUSION: a column of wgt.matrix; left out: the best of each gene"),
    "modality": MODALITY_KEY,
    "number": Key((int,), False, "SuShiE: the number of the ancestry in the table; default 1"),
}


EQTL_KEYS = {
    "context": Key((str,), True, "tissue, cell type, condition or modality"),
    "ancestry": Key((str,), True, "ancestry of the people, whose LD reference is used"),
    "path": Key((str,), True, "eQTL Catalogue, GTEx, tensorQTL or FastQTL table, text or Parquet"),
    "n": Key((int, float), True, "people"),
    "modality": MODALITY_KEY,
    "covariates": Key((int,), False, "how many covariates were regressed out; default 0"),
}


def check_weights(path: Path, tree: Mapping[str, Any]) -> None:
    """Rules of [[weights]] and [[eqtl]] that concern several entries. Raises `StudyFileError`."""
    if not tree["expression"] and not tree["weights"] and not tree["eqtl"]:
        raise StudyFileError(
            f"{path} lacks expression",
            "A study has [[expression]], [[eqtl]] summary statistics, finished [[weights]], or several",
            "Add [[expression]], [[eqtl]] or [[weights]]",
        )
    if not tree["ld"] and (tree["expression"] or tree["eqtl"] or not tree["weights"]):
        raise StudyFileError(
            f"{path} lacks ld",
            "[[ld]] is required, one per ancestry with a GWAS; only studies of finished [[weights]] with "
            "their own covariances can do without",
            "Add [[ld]]",
        )
    traits = {entry["ancestry"] for entry in tree["gwas"]}
    _check_eqtl(path, tree, traits)
    for number, entry in enumerate(tree["weights"], start=1):
        place = f"{path}: [[weights]] number {number} ({entry['context']} {entry['ancestry']})"
        if entry["ancestry"] not in traits:
            raise StudyFileError(
                f"{place} is of an ancestry without a GWAS",
                "Finished weights are used with the GWAS of their ancestry",
                f"Give one of {', '.join(sorted(traits))}, or add its [[gwas]]",
            )
        if not tree["ld"] and "n" not in entry:
            raise StudyFileError(
                f"{place} has no n, and there is no [[ld]]",
                "LD then comes from the covariances, whose noise depends on how many people they rest on",
                "Add n = <people behind the covariances>",
            )


def _check_eqtl(path: Path, tree: Mapping[str, Any], traits: set[str]) -> None:
    panels = {(e["context"], e["ancestry"]): t for t in ("expression", "weights") for e in tree[t]}
    for number, entry in enumerate(tree["eqtl"], start=1):
        place = f"{path}: [[eqtl]] number {number} ({entry['context']} {entry['ancestry']})"
        if entry["ancestry"] not in traits:
            raise StudyFileError(
                f"{place} is of an ancestry without a GWAS",
                "eQTL summary statistics take the LD reference of a GWAS of their ancestry",
                f"Give one of {', '.join(sorted(traits))}, or add its [[gwas]] and [[ld]]",
            )
        other = panels.get((entry["context"], entry["ancestry"]))
        if other:
            raise StudyFileError(
                f"{place} is an entry of [[{other}]] too",
                "Expression in one context and ancestry is given once",
                "Remove one of them, or give it another context",
            )


def read_weight_panels(
    folder: Path,
    entries: Sequence[Mapping[str, Any]],
    labels: Mapping[Path, str],
) -> tuple[WeightPanel, ...]:
    """The finished weights of a study, per SD of genotype where their covariances say it."""
    panels = []
    for entry in entries:
        path = folder / entry["path"]
        options = {key: entry[key] for key in ("model",) if key in entry}
        options |= {"ancestry": entry["number"]} if "number" in entry else {}
        covariances = folder / entry["covariances"] if "covariances" in entry else None
        weights = read_weights(path, covariances, name=labels[path], **options)
        panels.append(WeightPanel(entry["context"], entry["ancestry"], standardised(weights)))
    return tuple(panels)


def read_eqtl_panels(
    folder: Path,
    entries: Sequence[Mapping[str, Any]],
    labels: Mapping[Path, str],
    blocks: pd.DataFrame | None,
) -> tuple[EqtlPanel, ...]:
    """The eQTL summary statistics of a study, inside its blocks where it has any."""
    return tuple(
        read_eqtl(
            folder / entry["path"], entry["context"], entry["ancestry"], float(entry["n"]),
            covariates=entry.get("covariates", 0), blocks=blocks, name=labels[folder / entry["path"]],
        )
        for entry in entries
    )  # fmt: skip


def windows(
    blocks: pd.DataFrame | None,
    expression: Sequence[xr.Dataset],
    weights: Sequence[WeightPanel],
    cis_window: int,
) -> pd.DataFrame:
    """Where the files of a study are read: its blocks, or the windows of all genes; the whole genome where a
    file of weights has no positions."""
    if blocks is not None:
        return blocks
    if any((panel.weights.table["position"] <= 0).any() for panel in weights):
        chromosomes = [str(c) for c in (*range(1, 23), "X")]
        whole = {"block": chromosomes, "chromosome": chromosomes, "start": 0, "end": 400_000_000}
        return pd.DataFrame(whole)
    genes = [weight_genes(panel) for panel in weights]
    for data in expression:
        where = {"chromosome": chromosome_labels(data["chromosome"].values), "tss": data["tss"].values}
        genes.append(pd.DataFrame(where))
    return merged_windows(pd.concat(genes, ignore_index=True), cis_window)


def placed(panel: WeightPanel, gwas: xr.Dataset) -> WeightPanel:
    """Weights whose file gives identifiers only take positions, and alleles, from the GWAS."""
    return replace(panel, weights=_placed(panel.weights, gwas))


def _placed(weights: FinishedWeights, gwas: xr.Dataset) -> FinishedWeights:
    table = weights.table.copy()
    lacking = (table["position"] <= 0).to_numpy()
    if not lacking.any():
        return weights
    ids = pd.Index(gwas["variant_id"].values.astype(object))
    at = ids.drop_duplicates(keep=False).get_indexer(pd.Index(table["variant_id"]))
    first = np.flatnonzero(~ids.duplicated(keep=False))
    found = lacking & (at >= 0)
    rows = first[at[found]]
    for column in ("chromosome", "position"):
        table.loc[found, column] = gwas[column].values[rows]
    bare = found & (table["effect_allele"] == "").to_numpy()
    for column in ("effect_allele", "other_allele"):
        table.loc[bare, column] = gwas[column].values[first[at[bare]]]
    genes = weights.genes.copy()
    unknown = (genes["tss"] <= 0).to_numpy()
    middle = places_of_genes(table)
    for column, absent in (("chromosome", ""), ("tss", UNPLACED)):
        genes.loc[unknown, column] = middle[column].reindex(genes.index[unknown], fill_value=absent)
    lost = int(lacking.sum() - found.sum())
    told = f"{weights.name}: {lost} weights have no position and are not in the GWAS by identifier"
    return replace(weights, table=table, genes=genes, notes=(*weights.notes, told) if lost else weights.notes)


def model_references(
    panels: Sequence[WeightPanel], entries: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, LDMatrix]]:
    """By ancestry, the LD that the covariances of finished weights hold; the smallest n counts.

    Raises `StudyFileError` for weights without covariances.
    """
    for panel in panels:
        if not panel.weights.covariance:
            raise StudyFileError(
                f"{panel.weights.name} has no covariances, and the study has no [[ld]]",
                "The LD of the variants of a model comes from [[ld]], or from the covariances of its weights",
                "Add [[ld]], or covariances = the file that belongs to the database",
            )
    for ancestry in dict.fromkeys(panel.ancestry for panel in panels):
        mine = [panel.weights for panel in panels if panel.ancestry == ancestry]
        n = min(float(entry["n"]) for entry in entries if entry["ancestry"] == ancestry)
        variants, correlation = model_correlation(mine)
        name = f"covariances of {', '.join(weights.name for weights in mine)}"
        yield ancestry, LDMatrix(name, variants, correlation, n)  # type: ignore[arg-type]
