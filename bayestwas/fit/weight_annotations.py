"""Annotations of variants in the priors of expression weights.

What a gene says of them is the evidence of its single effects, collapsed to classes of variants with the same
distance to the TSS and the same annotations; genes are the blocks of the global model (models/hyper.md), which
knows the distance and learns the coefficients, with a regularised horseshoe, by NUTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.weights import Expression, WeightPosterior, WeightPriors, distance_bin, variant_evidence
from bayestwas.fit.annotations import Scales, patterns
from bayestwas.fit.trait_priors import VARIANT, BlockSums, Class

Floats = NDArray[np.float64]
MOST_GENES = 2000  # whose evidence the global model is given
# Log odds of a variant at the centre of the model's prior, to which those of an average gene are moved.
CENTRE = np.log(1e-4)


def enrichment(locus: xr.DataTree, priors: WeightPriors) -> Floats | None:
    """(p,) what the annotations of a locus add to the log odds of its variants; None where nothing is known."""
    if not priors.annotations or names.ANNOTATIONS not in locus.children:
        return None
    data = locus[names.ANNOTATIONS].dataset
    if "variant_annotation" not in data:
        return None
    values = data["variant_annotation"].transpose(names.VARIANT, names.ANNOTATION)
    known = {str(name): j for j, name in enumerate(values[names.ANNOTATION].values)}
    used = [(known[name], coefficient) for name, coefficient in priors.annotations if name in known]
    columns, coefficients = [j for j, _ in used], np.array([coefficient for _, coefficient in used])
    return np.asarray(values.values[:, columns].astype(np.float64) @ coefficients)


def gene_evidence(
    posterior: WeightPosterior, expression: Expression, values: Floats, scales: Scales, priors: WeightPriors
) -> BlockSums:
    """Evidence of one gene by classes of variants; `values` (p, J) on the scale of learning."""
    bins = distance_bin(expression.distance)
    rows = np.column_stack([bins, patterns(values, scales[VARIANT])])
    unique, own = np.unique(rows, axis=0, return_inverse=True)
    own = own.ravel()
    log_bf = variant_evidence(posterior)
    usable = np.isfinite(log_bf[0])
    count = np.bincount(own[usable], minlength=len(unique)).astype(np.float64)
    top = np.maximum(log_bf.max(axis=1, keepdims=True, initial=-np.inf), -700.0)
    sums = np.array([np.bincount(own, row, minlength=len(unique)) for row in np.exp(log_bf - top)])
    with np.errstate(divide="ignore"):
        log_sum = np.log(sums) + top
    classes = tuple(
        Class(VARIANT, "", tuple(map(float, row[1:])), float(np.log(priors.density[int(row[0])])))
        for row in unique
    )
    nothing = np.zeros((len(log_bf), 2, 1))
    return BlockSums(classes, count, log_sum[:, :, None], nothing, nothing)


def thinned(blocks: Sequence[BlockSums]) -> tuple[BlockSums, ...]:
    """At most MOST_GENES, chosen by a hash of their numbers: as if at random, whatever their order."""
    if len(blocks) <= MOST_GENES:
        return tuple(blocks)
    return tuple(
        sorted(blocks, key=lambda one: crc32(np.ascontiguousarray(one.log_sum).tobytes()))[:MOST_GENES]
    )


def coefficients(
    blocks: Sequence[BlockSums], scales: Scales, priors: WeightPriors, effects: int, seed: int
) -> xr.Dataset:
    """Posterior of the coefficients on the scale of learning. In the main process only: it samples."""
    from bayestwas.fit import hyper  # imports PyMC, which workers do without

    expected = np.mean([np.exp([c.offset for c in one.classes]) @ one.count for one in blocks])
    shift = float(np.log(priors.rate / max(expected, 1e-300)) - CENTRE)
    moved = [
        replace(one, classes=tuple(c._replace(offset=c.offset + shift) for c in one.classes))
        for one in blocks
    ]
    labels = [one.name for one in scales[VARIANT]]
    data, coords = hyper.model_data(moved, labels, np.ones((2, 1)), np.ones((2, 1, 1)), effects)
    return hyper.learn(data, coords, seed)[names.POSTERIOR].to_dataset()


def in_natural_units(posterior: xr.Dataset, scales: Scales) -> tuple[tuple[str, float], ...]:
    """Name and mean coefficient of each annotation, per unit of its file."""
    mean = posterior["coefficient"].mean(("chain", "draw"))
    return tuple(
        (
            one.name,
            float(mean.sel({names.ANNOTATION: one.name})) / (1.0 if one.binary or one.sd <= 0 else one.sd),
        )
        for one in scales[VARIANT]
    )
