"""Annotations of variants in the priors of expression weights.

What a gene says of them is the evidence of its single effects, collapsed to classes of variants with the
same distance to the TSS and the same annotations; genes are the blocks of the global model (models/hyper.md),
which knows the distance and learns the coefficients, with a regularised horseshoe, by NUTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.evidence import split
from bayestwas.engine.weights import Expression, WeightPosterior, WeightPriors, distance_bin, variant_evidence
from bayestwas.fit.annotations import Scales, patterns

if TYPE_CHECKING:
    from bayestwas.fit.sampling import Sampling  # workers do without it

Floats = NDArray[np.float64]
MOST_GENES = 2000  # whose evidence the global model is given
# Log odds of a variant at the centre of the model's prior, to which those of an average gene are moved.
CENTRE = np.log(1e-4)


def enrichment(locus: xr.DataTree, priors: WeightPriors) -> Floats | None:
    """(p,) what its annotations add to the log odds of a variant; None where nothing is known."""
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


@dataclass(frozen=True)
class GeneEvidence:
    """What the R single effects of one gene say of classes of its variants.

    Attributes
    ----------
    offset, pattern : (K,) log density by distance, (K, J) annotations on the scale of learning, of a class.
    count : (K,) its variants. log_sum : (R, K) log of the sum of their Bayes factors, less those of the rest.
    rest : (K,) sum of their Bayes factors for one more effect (`engine.evidence.class_sums`).
    """

    offset: Floats
    pattern: Floats
    count: Floats
    log_sum: Floats
    rest: Floats


def gene_evidence(
    posterior: WeightPosterior, expression: Expression, values: Floats, scales: Scales, priors: WeightPriors
) -> GeneEvidence:
    """Evidence of one gene by classes of variants; `values` (p, J) on the scale of learning."""
    log_bf = variant_evidence(posterior)
    usable = np.isfinite(log_bf[0])
    log_bf = log_bf[:, usable]
    rows = np.column_stack([distance_bin(expression.distance), patterns(values, scales["variant"])])
    unique, own = np.unique(rows[usable], axis=0, return_inverse=True)
    own = own.ravel()
    signals, top, faint = (part[..., 0] for part in split(log_bf[:, :, None]))
    sums = np.array([np.bincount(own, row, len(unique)) for row in signals]).reshape(-1, len(unique))
    with np.errstate(divide="ignore"):
        log_sum = np.log(sums) + top[:, None]
    return GeneEvidence(
        np.log(np.array(priors.density)[unique[:, 0].astype(np.intp)]), unique[:, 1:],
        np.bincount(own, minlength=len(unique)).astype(np.float64), log_sum,
        np.bincount(own, faint, len(unique)).astype(np.float64),
    )  # fmt: skip


def thinned(genes: Sequence[GeneEvidence]) -> tuple[GeneEvidence, ...]:
    """At most MOST_GENES, chosen by a hash of their numbers: as if at random, whatever their order."""
    if len(genes) <= MOST_GENES:
        return tuple(genes)
    order = sorted(genes, key=lambda one: crc32(one.rest.tobytes()))
    return tuple(order[:MOST_GENES])


def coefficients(
    genes: Sequence[GeneEvidence],
    scales: Scales,
    priors: WeightPriors,
    seed: int,
    sampling: Sampling | None = None,
) -> xr.Dataset:
    """Posterior of the coefficients on the scale of learning. In the main process only: it samples."""
    # PyMC, which workers do without, and containers that are made from weights
    from bayestwas.fit import hyper
    from bayestwas.fit.trait_priors import VARIANT, BlockSums, Class

    expected = float(np.mean([np.exp(one.offset) @ one.count for one in genes]))
    shift = float(np.log(priors.rate / max(expected, 1e-300)) - CENTRE)
    blocks = []
    for one in genes:
        classes = tuple(
            Class(VARIANT, "", tuple(map(float, pattern)), float(offset) + shift)
            for offset, pattern in zip(one.offset, one.pattern, strict=True)
        )
        nothing = np.zeros((len(one.log_sum), 2, 1))
        blocks.append(
            BlockSums(classes, one.count, one.log_sum[:, :, None], one.rest[:, None], nothing, nothing)
        )
    labels = [one.name for one in scales["variant"]]
    data, coords = hyper.model_data(blocks, labels, np.ones((2, 1)), np.ones((2, 1, 1)))
    return hyper.learn(data, coords, seed, sampling)[names.POSTERIOR].to_dataset()


def in_natural_units(
    posterior: xr.Dataset, scales: Scales
) -> tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float, float, float], ...]]:
    """Mean coefficient of each annotation, per unit of its file; its standard deviation and the ends of its
    95% interval."""
    means, intervals = [], []
    for one in scales["variant"]:
        unit = 1.0 if one.binary or one.sd <= 0 else one.sd
        draws = posterior["coefficient"].sel({names.ANNOTATION: one.name}).values.ravel() / unit
        low, high = np.quantile(draws, (0.025, 0.975))
        means.append((one.name, float(draws.mean())))
        intervals.append((one.name, float(draws.std()), float(low), float(high)))
    return tuple(means), tuple(intervals)
