"""Colocalization beside the PIPs of a run: H4 and GRCP of every gene and context, from sums that every block
leaves.

The most probable priors stand for their posterior, over which `fit.coloc` averages: nothing is sampled here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayestwas import names
from bayestwas.engine.coloc import COLOC_DEFAULT, matched
from bayestwas.engine.coloc_sizes import Sizes, collapsed, pairs_of
from bayestwas.fit.coloc_priors import DEFAULT, learned_sizes
from bayestwas.fit.coloc_signals import LocusSizes

LEARNED = "learned (most probable)"


def with_colocalization(
    results: Sequence[xr.DataTree], parts: Sequence[LocusSizes | None], learn: bool
) -> None:
    """Fill in `h4` and `grcp` of the results of blocks, in place, from what each says about its pairs (None:
    nothing). Root attributes tell the priors: learned over all blocks, or coloc's."""
    sizes = learned_sizes([part for part in parts if part is not None]) if learn else None
    for result, part in zip(results, parts, strict=True):
        used = sizes
        if used is None and part is not None:
            used = Sizes(part.expression.share, part.trait.share, COLOC_DEFAULT)
        if part is not None and used is not None:
            _fill(result, part, used)
        told = COLOC_DEFAULT if sizes is None else sizes.priors
        result.attrs["coloc_priors"] = json.dumps(
            {name: float(value) for name, value in told._asdict().items()}
            | {"source": DEFAULT if sizes is None else LEARNED}
        )


def _fill(result: xr.DataTree, part: LocusSizes, sizes: Sizes) -> None:
    marginals = result[names.MARGINALS].dataset
    genes = [str(gene) for gene in marginals[names.GENE].values]
    contexts = [str(context) for context in marginals[names.CONTEXT].values]
    log_p = sizes.priors.log()
    with np.errstate(divide="ignore"):
        both = np.log(sizes.first)[:, None] + np.log(sizes.second)
    at = 0
    for own in part.genes:
        count = own.shape[0] * own.shape[1]
        whole = collapsed(pairs_of(part.sums, slice(at, at + count)), sizes.first, sizes.second, sizes.near)
        at += count
        total = logsumexp(whole.log_sum + log_p, axis=1)
        for context, shared in zip(own.contexts, own.shared, strict=True):
            h4 = np.minimum(np.exp(logsumexp(shared + both, axis=(1, 2)) + log_p[4] - total), 1.0)
            place = (genes.index(own.gene), contexts.index(context))
            marginals["h4"].values[place] = h4.max()
            marginals["grcp"].values[place] = matched(h4.reshape(own.shape))[1]
