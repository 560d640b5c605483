"""Blocks with one effect each: what needs no LD. Enrichments from z-scores and annotations alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.evidence import bayes_factors
from bayestwas.engine.gene_trait import EffectSizes
from bayestwas.fit.trait_priors import GRIDS, VARIANT, BlockSums, Class

Floats = NDArray[np.float64]


def one_effect_sums(
    z: Floats,
    n: Floats,
    patterns: Floats,
    block: NDArray[np.intp],
    share: Floats | None = None,
    background: float = 1.0,
) -> list[BlockSums]:
    """What blocks say of classes of variants where each holds at most one effect.

    Parameters
    ----------
    z, n : (p,) z-scores and sample sizes. patterns : (p, J) annotations on the scale of learning.
    block : (p,) number of the block of each variant.
    share : (p,) probability that the row is what its variant is. A variant with an unknown annotation has a
        row for each value that it may have, with shares that add up to one; None: all known.

    background : variance of the z-score of a variant without a tie to the effect of its block. Above one
        where the trait is polygenic; the genomic inflation, the median of z^2 over 0.455, is an estimate
        (Devlin and Roeder 1999, doi:10.1111/j.0006-341X.1999.00997.x).

    The Bayes factors are those of Wakefield 2009 (doi:10.1002/gepi.20359) for every size of the grid of
    direct effects. With one effect a block LD between its variants is not needed: given which is causal, the
    z-scores of the others say nothing more. Blocks with several effects are told as if they had their
    strongest.
    """
    sizes = EffectSizes(tuple(GRIDS[1]), (1.0,) * GRIDS.shape[1], 1.0)
    people = np.asarray(n, dtype=np.float64) / background
    log_bf = bayes_factors((np.sqrt(people / background) * z)[None], people[None], sizes)  # (p, S)
    share = np.ones(len(z)) if share is None else share
    unique, own = np.unique(patterns, axis=0, return_inverse=True)
    classes = [Class(VARIANT, "", tuple(map(float, row))) for row in unique]
    return [
        _one_block(classes, own.ravel()[mine], log_bf[mine], share[mine])
        for mine in (np.flatnonzero(block == b) for b in np.unique(block))
    ]


def _one_block(classes: list[Class], own: NDArray[np.intp], log_bf: Floats, share: Floats) -> BlockSums:
    present, local = np.unique(own, return_inverse=True)
    top = max(float(log_bf.max()), 0.0)
    scaled = share[:, None] * np.exp(log_bf - top)
    sums = np.stack([np.bincount(local, column, len(present)) for column in scaled.T], axis=1)
    return BlockSums(
        classes=tuple(classes[c] for c in present),
        count=np.bincount(local, share, len(present)).astype(np.float64),
        log_sum=(np.log(np.maximum(sums, 1e-300)) + top)[None],
        rest=np.zeros_like(sums),
        score=np.zeros((1, 2, 1)),
        information=np.zeros((1, 2, 1)),
        at_most_one=True,
    )
