"""More draws of the weights where the trait needs them: around those that the GWAS kept."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from bayestwas.engine.draws import Kept, WeightDraws, refine_weights
from bayestwas.engine.gene_trait import GeneTraitPosterior
from bayestwas.fit.prepared import GeneDraws, Prepared, gene_seed, spread
from bayestwas.fit.weights import cis_window, gene_posterior

Floats = NDArray[np.float64]

# Genes less probable than this keep their first draws: new ones would not move their PIP.
WORTH = 0.005
# Share of a gene's posterior below which a draw is no centre of new ones. Where none reaches it the posterior
# is spread over hundreds of draws, and more of them are not needed.
SMALLEST = 2e-3


def refined(
    locus: xr.DataTree,
    weights: xr.DataTree,
    first: Prepared,
    current: Prepared,
    full: GeneTraitPosterior,
    seed: int,
) -> Prepared:
    """The block with the draws of every gene that matters doubled around those that the GWAS kept.

    `first` holds the draws before any refinement, `current` those that `full` was fitted with.
    """
    genes, start = [], 0
    for g, (old, now) in enumerate(zip(first.genes, current.genes, strict=True)):
        rows = len(now.draws.log_weight)
        stop = start + rows * len(now.contexts)
        index = cis_window(locus, old.gene)
        worth = full.gene_pip[g] >= WORTH and len(old.draws.active) > 0
        kept = _kept(current, now, full, start, index) if worth else []
        if kept:
            _, posterior = gene_posterior(locus, weights, old.gene)
            gram = partial(_gram, current, index)
            drawn = refine_weights(
                posterior.fit,
                posterior.candidates,
                _over(old.draws, index),
                kept,
                gram,
                gene_seed(seed + rows, old.gene),
            )
            columns = spread(drawn.columns, index, first.z.shape[1])
            genes.append(replace(now, draws=replace(drawn, columns=columns)))
        else:
            genes.append(now)
        start = stop
    return replace(first, genes=tuple(genes))


def _over(draws: WeightDraws, index: NDArray[np.intp]) -> WeightDraws:
    """Draws over the block as draws over the cis-window."""
    return replace(draws, columns=tuple(sparse.csr_array(one[:, index]) for one in draws.columns))


def _gram(
    block: Prepared, index: NDArray[np.intp], a: int, variants: NDArray[np.intp]
) -> NDArray[np.float64]:
    """R of one ancestry between variants of a cis-window; zero where the GWAS does not have a variant."""
    at = index[variants]
    z, ld = block.learned.seen()
    there = np.isfinite(z[a, at])
    return np.asarray(ld[a].gram(at) * np.outer(there, there))


def _kept(
    current: Prepared, gene: GeneDraws, full: GeneTraitPosterior, start: int, index: NDArray[np.intp]
) -> list[Kept]:
    """The draws of a gene that the GWAS kept, each with the residual that its single effect saw."""
    z, ld = current.learned.seen()
    fit, rows = full.fit, len(gene.draws.log_weight)
    gwas, p = z.shape
    present = np.isfinite(z) & np.array([one.variance > 0 for one in ld])
    # over the sizes of effects
    alpha = fit.alpha[:, p + start : p + start + rows * len(gene.contexts)].sum(axis=2)
    total = alpha.sum()
    kept = []
    for effect, column in np.argwhere(alpha > SMALLEST * total):
        c, d = divmod(int(column), rows)
        k = p + start + int(column)
        rest = fit.fitted.sum(axis=0) - fit.fitted[effect]
        raw = np.sqrt(current.n)[:, None] * np.where(present, np.nan_to_num(z) - rest, 0.0)
        seen, plain = fit.information[effect, k], np.zeros(gwas)
        for a in range(gwas):
            column_a = gene.draws.columns[gene.contexts[c] * len(current.ancestries) + a][[d]]
            where = column_a.indices[present[a, column_a.indices]]
            w = column_a.toarray().ravel()[where]
            plain[a] = current.n[a] * float(w @ ld[a].gram(where) @ w)
        share = np.divide(seen, plain, out=np.zeros(gwas), where=plain > 0)  # one over the inflation
        kept.append(
            Kept(
                gene.draws.outcome[d],
                float(alpha[effect, column]),
                gene.contexts[c] * len(current.ancestries) + np.arange(gwas),
                fit.alpha[effect, k] @ fit.mean[effect, k] / fit.alpha[effect, k].sum(),
                (raw * share[:, None])[:, index],
                current.n * share,
            )
        )
    return kept
