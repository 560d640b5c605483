"""Finished weights of a locus: points that stand beside the posteriors of other contexts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from bayestwas import names
from bayestwas.data.schema import finished_groups
from bayestwas.engine.draws import WeightDraws

Floats = NDArray[np.float64]
Columns = tuple[sparse.csr_array, ...]


@dataclass(frozen=True)
class Points:
    """Finished weights of the genes of a locus: by gene, number of the study -> weights (p,)."""

    by_gene: dict[str, dict[int, Floats]]


def read_points(locus: xr.DataTree, contexts: list[str], ancestries: list[str]) -> Points:
    """The finished weights of the genes that can be fitted; studies are context-major."""
    genes = locus[names.GENES].dataset
    fitted = np.isin(genes["status"].values.astype(str), [names.OK, names.WARNING])
    usable = set(genes[names.GENE].values[fitted].astype(str))
    by_gene: dict[str, dict[int, Floats]] = {}
    for context, ancestry, data in finished_groups(locus):
        study = contexts.index(context) * len(ancestries) + ancestries.index(ancestry)
        values = data["weight"].transpose(names.GENE, names.VARIANT).values
        for gene, row in zip(data[names.GENE].values.astype(str), values, strict=True):
            if gene in usable and row.any():
                by_gene.setdefault(str(gene), {})[study] = row
    return Points(by_gene)


def points_of(weights: xr.DataTree, gene: str) -> dict[int, Floats]:
    """Number of the study -> finished weights of one gene, from what `fit_weights` kept."""
    constant = weights[names.CONSTANT].dataset
    if "finished" not in constant:
        return {}
    held = np.flatnonzero(constant["finished"].sel({names.GENE: gene}).values)
    if not len(held):
        return {}
    mean = weights[names.MARGINALS].dataset["weight_mean"].sel({names.GENE: gene}).values
    flat = mean.reshape(-1, mean.shape[-1]).astype(np.float64)
    return {int(study): flat[study] for study in held}


def point_draws(points: dict[int, Floats], studies: int, p: int) -> tuple[WeightDraws, Columns]:
    """The one draw, and the mean, of a gene that has finished weights only."""
    columns = tuple(
        sparse.csr_array(points[study][None]) if study in points else sparse.csr_array((1, p))
        for study in range(studies)
    )
    nothing = np.empty((1, 0), dtype=np.intp)
    drawn = WeightDraws(
        columns=columns,
        log_weight=np.zeros(1),
        replicate=np.zeros(1, dtype=np.intp),
        active=np.empty(0, dtype=np.intp),
        outcome=nothing,
        normal=np.empty((1, 0, studies)),
        log_ratio=np.zeros(1),
    )
    return drawn, columns


def with_points(drawn: WeightDraws, mean: Columns, points: dict[int, Floats]) -> tuple[WeightDraws, Columns]:
    """Draws of a gene that was measured in some studies, with its finished weights in the others.

    Its draws are not refined any more: what the GWAS keeps of one context says nothing of a fixed one.
    """
    if not points:
        return drawn, mean
    columns, means = list(drawn.columns), list(mean)
    for study, row in points.items():
        means[study] = sparse.csr_array(row[None])
        columns[study] = sparse.csr_array(sparse.vstack([means[study]] * len(drawn.log_weight)))
    return replace(drawn, columns=tuple(columns), active=np.empty(0, dtype=np.intp)), tuple(means)
