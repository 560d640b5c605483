"""What stands beside the PIPs of a block: conditional z, permutation p, heterogeneity of signals, expression
beyond the weights."""

from __future__ import annotations

import zlib

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from bayestwas import names
from bayestwas.engine.classical import two_sided_p
from bayestwas.engine.triangulation import conditional_z, heterogeneity, permutation_p, scores
from bayestwas.engine.weights import signals
from bayestwas.fit.prepared import Prepared
from bayestwas.fit.weights import cis_window, gene_posterior

Floats = NDArray[np.float64]
Columns = tuple[sparse.csr_array, ...]
STREAM = 1  # of random numbers, apart from that of the draws of the weights
PERMUTED = 0.05  # p of a TWAS z above which permutations have nothing to add


def triangulate(
    result: xr.DataTree, locus: xr.DataTree, weights: xr.DataTree, prepared: Prepared, seed: int
) -> xr.DataTree:
    """Fill in the classical looks at every fitted gene of one block, in its best context, in place.

    Conditional z need the LD between genes, and are empty where it is known within models only.
    """
    if not len(prepared.z):
        return result
    observed, marginals = result[names.OBSERVED].dataset, result[names.MARGINALS].dataset
    labels = [str(gene) for gene in marginals[names.GENE].values]
    at = [labels.index(gene.gene) for gene in prepared.genes]
    contexts = [prepared.contexts.index(str(marginals["best_context"].values[row])) for row in at]
    columns = [_mean(prepared, g, context) for g, context in enumerate(contexts)]
    if prepared.direct:
        given_genes, given_lead = _conditional(prepared, columns)
        observed["conditional_z"].values[at] = given_genes
        observed["conditional_z_lead"].values[at] = given_lead
    left = weights[names.CONSTANT].dataset.get("excess")
    for g, (row, context) in enumerate(zip(at, contexts, strict=True)):
        gene = prepared.genes[g].gene
        if left is not None:
            shape = (len(prepared.contexts), len(prepared.ancestries))
            observed["expression_excess"].values[row] = left.sel({names.GENE: gene}).values.reshape(shape)
        p = float(two_sided_p(observed["twas_z"].values[row]))
        if prepared.direct and p < PERMUTED:
            rng = np.random.default_rng([seed, zlib.crc32(gene.encode()), STREAM])
            window = cis_window(locus, gene)
            observed["permutation_p"].values[row] = permutation_p(
                prepared.z, prepared.n, prepared.ld, columns[g], window, rng
            )
        count, q = _signals(locus, weights, prepared, gene, context)
        observed["n_signals"].values[row], observed["heterogeneity_q"].values[row] = count, q
    return result


def _mean(prepared: Prepared, g: int, context: int) -> Columns:
    """Mean weights of a gene in one context, per GWAS ancestry."""
    start = context * len(prepared.ancestries)
    return prepared.genes[g].mean[start : start + len(prepared.z)]


def _conditional(prepared: Prepared, columns: list[Columns]) -> tuple[Floats, Floats]:
    """(G,) z given the other genes, and given the lead variant of the block."""
    p, count = prepared.z.shape[1], len(columns)
    if not count:
        return np.empty(0), np.empty(0)
    lead = int(np.argmax(np.nan_to_num(np.abs(prepared.z)).max(axis=0)))
    variant = sparse.csr_array(([1.0], ([0], [lead])), shape=(1, p))
    u, information = scores(prepared.z, prepared.n, prepared.ld, [*columns, (variant,) * len(prepared.z)])
    genes = list(range(count))
    return (
        np.array([conditional_z(u, information, g, genes) for g in genes]),
        np.array([conditional_z(u, information, g, [count]) for g in genes]),
    )


def _signals(
    locus: xr.DataTree, weights: xr.DataTree, prepared: Prepared, gene: str, context: int
) -> tuple[float, float]:
    """Signals of expression in one context, and Cochran's Q over them; NaN where they are not known, as of
    finished weights and of draws that a sampler left."""
    constant = weights[names.CONSTANT].dataset
    if "score" not in constant or not constant["window"].sel({names.GENE: gene}).values.any():
        return np.nan, np.nan
    index, posterior = gene_posterior(locus, weights, gene)
    studies = context * len(prepared.ancestries) + np.arange(len(prepared.z))
    n = constant["n"].sel({names.GENE: gene}).values.astype(np.float64)
    here = np.zeros(len(n))
    here[studies] = np.where(posterior.present.any(axis=1), n, 0.0)[studies]
    if not here.any():
        return np.nan, np.nan
    _, mean, variation = signals(posterior, here / here.sum())
    if len(mean) < 2:
        return float(len(mean)), np.nan
    columns = [
        tuple(_row(mean[k, study], index, prepared.z.shape[1]) for study in studies) for k in range(len(mean))
    ]
    u, information = scores(prepared.z, prepared.n, prepared.ld, columns)
    return float(len(mean)), heterogeneity(u, information, variation)[0]


def _row(values: Floats, index: NDArray[np.intp], size: int) -> sparse.csr_array:
    kept = np.flatnonzero(np.abs(values) > 1e-6)
    place = (np.zeros(len(kept), dtype=np.intp), index[kept])
    return sparse.csr_array((values[kept], place), shape=(1, size))
