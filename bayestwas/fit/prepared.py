"""A block ready for the trait model: its GWAS and LD as arrays, and the draws of its genes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from bayestwas import names
from bayestwas.engine import gene_trait as engine
from bayestwas.engine.draws import WeightDraws, draw_weights, heritability, mean_weights
from bayestwas.engine.gene_trait import GeneColumns, GeneTraitPriors
from bayestwas.engine.ld import LD
from bayestwas.engine.mismatch import LearnedLD, exact, learn_errors
from bayestwas.engine.single_effects import SingleEffects, inclusion
from bayestwas.fit.finished import point_draws, points_of, with_points
from bayestwas.fit.model_data import thin
from bayestwas.fit.panels import gwas_arrays, read_panels
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import gene_posterior

Floats = NDArray[np.float64]

# Support of every variant in the tilt of the draws, beside its direct PIP: keeps the importance weights
# bounded.
TILT_FLOOR = 1e-4
SETS = 8  # of draws, whose spread is the Monte Carlo error


@dataclass(frozen=True)
class GeneDraws:
    """One gene of a block: its draws over the studies, its mean weights, and where it was measured."""

    gene: str
    contexts: tuple[int, ...]  # measured in at least one ancestry
    draws: WeightDraws  # columns over the variants of the block, per study
    mean: tuple[sparse.csr_array, ...]
    h2: Floats  # (contexts,)
    h2_sd: Floats


@dataclass(frozen=True)
class Prepared:
    """A block ready for the trait model: arrays as they came, the draws of its genes, and the errors of z and
    LD, with which the kernel sees them."""

    ancestries: tuple[str, ...]  # those with a GWAS come first
    contexts: tuple[str, ...]
    z: Floats
    n: Floats
    ld: tuple[LD, ...]
    genes: tuple[GeneDraws, ...]
    learned: LearnedLD  # z and ld with what was learned of their errors
    direct: bool = True  # whether variants can have direct effects: not where LD is known within models only

    @property
    def usable(self) -> int:
        """Variants with a z-score and LD in at least one ancestry."""
        return int((np.isfinite(self.z) & np.array([one.variance > 0 for one in self.ld])).any(axis=0).sum())


def prepare(
    locus: xr.DataTree,
    weights: xr.DataTree,
    priors: GeneTraitPriors,
    settings: Settings,
    seed: int,
    draws: int,
) -> Prepared:
    """Draw the weights of every gene and gather the GWAS and its LD."""
    ancestries, z, n, ld = gwas_arrays(locus)
    gene_level = bool(locus.attrs.get("gene_level", False))
    learned, tilt = exact(z, ld), None
    if len(ancestries):
        learned, direct = learn_errors(
            z, ld, partial(_direct, n=n, priors=priors, settings=settings),
            # errors are read from what direct effects leave, and there are none at the level of genes
            mismatch=settings.mismatch and not gene_level,
            background=settings.background and not gene_level,
        )  # fmt: skip
        if settings.feedback:
            tilt = inclusion(direct.alpha.sum(axis=2)) + TILT_FLOOR
    marginals, measures = weights[names.MARGINALS].dataset, weights[names.CONSTANT].dataset
    everyone = [str(a) for a in marginals[names.ANCESTRY].values]
    contexts = [str(c) for c in marginals[names.CONTEXT].values]
    panels = read_panels(locus, settings.min_allele_count)
    operators = dict(zip(ancestries, ld, strict=True))
    for (_, ancestry), panel in panels.items():
        operators.setdefault(ancestry, panel.ld)
    genes = []
    for gene in [str(g) for g in marginals[names.GENE].values]:
        points = points_of(weights, gene)
        if names.POSTERIOR in weights.children:
            drawn, mean = stored_draws(weights, gene, draws)
        elif points and not measures["window"].sel({names.GENE: gene}).values.any():
            drawn, mean = point_draws(points, len(contexts) * len(everyone), locus.sizes[names.VARIANT])
        else:
            drawn, mean = with_points(*new_draws(locus, weights, gene, draws, seed, tilt), points)
        measured = measures["n"].sel({names.GENE: gene}).values.reshape(len(contexts), len(everyone))
        share = measured / np.maximum(measured.sum(axis=1, keepdims=True), 1.0)
        by_context = np.kron(np.eye(len(contexts)), np.ones((1, len(everyone)))) * share.ravel()
        h2, h2_sd = heritability(drawn, [operators[a] for _ in contexts for a in everyone], by_context)
        if points:  # weights of others can be on a scale on which they predict more than all of the variance
            h2 = np.minimum(h2, 1.0)
        genes.append(
            GeneDraws(
                gene,
                tuple(int(c) for c in np.flatnonzero(measured.sum(axis=1) > 0)),
                drawn,
                mean,
                h2,
                h2_sd,
            )
        )
    return Prepared(
        tuple(everyone), tuple(contexts), z, n, tuple(ld), tuple(genes), learned, direct=not gene_level
    )


def _direct(
    z: Floats, ld: Sequence[LD], n: Floats, priors: GeneTraitPriors, settings: Settings
) -> SingleEffects:
    return engine.fit_direct(z, n, ld, priors, effects=settings.trait_effects)


def new_draws(
    locus: xr.DataTree, weights: xr.DataTree, gene: str, draws: int, seed: int, tilt: Floats | None
) -> tuple[WeightDraws, tuple[sparse.csr_array, ...]]:
    """Draws over the variants of the block, and the mean, from the posterior of single effects."""
    index, posterior = gene_posterior(locus, weights, gene)
    drawn = draw_weights(
        posterior.fit,
        posterior.candidates,
        gene_seed(seed, gene),
        draws=draws,
        tilt=None if tilt is None else tilt[index],
    )
    size = locus.sizes[names.VARIANT]
    return (
        replace(drawn, columns=spread(drawn.columns, index, size)),
        spread(mean_weights(posterior.fit), index, size),
    )


def stored_draws(
    weights: xr.DataTree, gene: str, draws: int
) -> tuple[WeightDraws, tuple[sparse.csr_array, ...]]:
    """Draws and mean that a sampler left, at most those that there are; nothing to make new ones from."""
    kept = weights[names.POSTERIOR].dataset["weight"].sel({names.GENE: gene}).values
    count = min(draws, kept.shape[0] * kept.shape[1]) // SETS * SETS
    studies = kept.shape[2] * kept.shape[3]
    flat = thin(kept, count).reshape(count, studies, kept.shape[4])
    drawn = WeightDraws(
        columns=tuple(sparse.csr_array(flat[:, s]) for s in range(studies)),
        log_weight=np.full(count, -np.log(count)),
        replicate=np.repeat(np.arange(SETS), count // SETS),  # stretches of the chains
        active=np.empty(0, dtype=np.intp),
        outcome=np.empty((count, 0), dtype=np.intp),
        normal=np.empty((count, 0, studies)),
        log_ratio=np.zeros(count),
    )
    return drawn, tuple(sparse.csr_array(flat[:, s].mean(axis=0)[None]) for s in range(studies))


def stored(weights: xr.DataTree) -> int:
    """Draws of a gene's weights that a sampler left; 0 where they are made anew, as many as are asked for."""
    return int(weights[names.POSTERIOR].sizes["draw"]) if names.POSTERIOR in weights.children else 0


def gene_seed(seed: int, gene: str) -> np.random.SeedSequence:
    """The seed of one gene's draws: a function of the run's seed and the gene's name only."""
    return np.random.SeedSequence([seed, zlib.crc32(gene.encode())])


def spread(
    columns: Sequence[sparse.csr_array], index: NDArray[np.intp], size: int
) -> tuple[sparse.csr_array, ...]:
    """Columns over the cis-window as columns over the block."""
    return tuple(
        sparse.csr_array((one.data, index[one.indices], one.indptr), shape=(one.shape[0], size))
        for one in columns
    )


def targets(prepared: Prepared, plug_in: bool = False, only: int | None = None) -> list[GeneColumns]:
    """The gene-contexts as candidates: by their draws, their mean weights, or the single draw number
    `only`."""
    studies = len(prepared.ancestries)
    out = []
    for g, gene in enumerate(prepared.genes):
        for c in gene.contexts:
            part = slice(c * studies, c * studies + len(prepared.z))
            if plug_in:
                out.append(GeneColumns(g, c, gene.mean[part], np.zeros(1), np.zeros(1, dtype=np.intp)))
            elif only is not None:
                columns = tuple(one[[only]] for one in gene.draws.columns[part])
                out.append(GeneColumns(g, c, columns, np.zeros(1), np.zeros(1, dtype=np.intp)))
            else:
                out.append(
                    GeneColumns(g, c, gene.draws.columns[part], gene.draws.log_weight, gene.draws.replicate)
                )
    return out
