"""What the genes and contexts of a study file are called: gene models, symbols, modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.gene_models import GeneModels
from bayestwas.data.studies import WeightPanel
from bayestwas.errors import StudyFileError
from bayestwas.io.gene_models import read_gene_models

AnyPanel = TypeVar("AnyPanel", bound=WeightPanel)


def modalities_of(path: Path, tree: Mapping[str, Any]) -> dict[str, str]:
    """What every context measures that is not expression. Raises `StudyFileError` where entries disagree."""
    told: dict[str, str] = {}
    for table in ("expression", "eqtl", "weights"):
        for entry in tree[table]:
            context, modality = entry["context"], entry.get("modality", names.MODALITY)
            if told.setdefault(context, modality) != modality or not modality.strip():
                raise StudyFileError(
                    f"{path}: context {context} has the modalities '{told[context]}' and '{modality}'",
                    "A context measures one thing, in a word such as protein",
                    "Give the contexts other names, liver and liver protein for example",
                )
    return {context: modality for context, modality in told.items() if modality != names.MODALITY}


def gene_models_of(folder: Path, tree: Mapping[str, Any]) -> GeneModels | None:
    """The gene models of a study, None where it has none."""
    if "gene_models" not in tree:
        return None
    return read_gene_models(folder / tree["gene_models"], tree["build"], tree["gene_models"])


def model_placed(panel: AnyPanel, models: GeneModels | None) -> AnyPanel:
    """Finished weights or eQTLs whose genes start where the gene models say."""
    if models is None:
        return panel
    genes = panel.weights.genes.copy()
    given = pd.DataFrame({"gene": genes.index.astype(str), "chromosome": genes["chromosome"].to_numpy()})
    placed = models.placed(given.assign(tss=genes["tss"].to_numpy()))
    genes["chromosome"], genes["tss"] = placed["chromosome"].to_numpy(), placed["tss"].to_numpy()
    return replace(panel, weights=replace(panel.weights, genes=genes))


def named_genes(
    models: GeneModels | None, expression: Sequence[xr.Dataset], panels: Sequence[WeightPanel]
) -> dict[str, Any]:
    """`symbols` and `notes` of a `Study`: what the gene models say of the genes of all tables."""
    if models is None:
        return {}
    tables = [data[names.GENE].values for data in expression] + [p.weights.genes.index for p in panels]
    genes = np.array(list(dict.fromkeys(str(gene) for table in tables for gene in table)), dtype=object)
    lost = genes[models.find(genes) < 0]
    listed = ", ".join(lost[:3]) + (" ..." if len(lost) > 3 else "")
    told = f"{models.source}: {len(lost)} of {len(genes)} genes are not in the gene models ({listed})"
    notes = (told,) if len(lost) else ()
    return {"symbols": models.symbols(genes), "notes": notes}
