"""Gene-trait posteriors of a locus: labelled in, a result out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import xarray as xr

from bayestwas.engine import gene_trait as engine
from bayestwas.engine.evidence import averaged, evidence
from bayestwas.engine.gene_trait import GeneColumns, GeneTraitPosterior, GeneTraitPriors
from bayestwas.fit.coloc_columns import with_colocalization
from bayestwas.fit.coloc_pairs import coloc_sizes
from bayestwas.fit.describe import describe
from bayestwas.fit.overlap import learned_overlap, overlap_evidence, without_overlap
from bayestwas.fit.prepared import Prepared, prepare, stored, targets
from bayestwas.fit.refine import refined
from bayestwas.fit.settings import Settings
from bayestwas.fit.triangulation import triangulate
from bayestwas.fit.weights import chosen_method


def fit_genes(
    locus: xr.DataTree,
    weights: xr.DataTree,
    *,
    method: str = "engine",
    priors: GeneTraitPriors | None = None,
    settings: Settings | None = None,
    seed: int = 1,
    **sampled: Any,
) -> xr.DataTree:
    """Posterior of every gene of a locus: does its expression drive the trait, in which context, how
    strongly.

    Parameters
    ----------
    locus : see docs/architecture.md. weights : of the same locus, from `fit_weights`.
    method : "engine", or "pymc" to sample a generative model.
    priors : for the engine, of genes, direct effects and effect sizes; None: the documented defaults
        (`engine.gene_trait.DEFAULT_PRIORS`).
    seed : of the draws of the weights; the block and the gene enter too, nothing else.
    sampled : for "pymc": model, sampling and more; see `bayestwas.fit.gene_trait_pymc.sample_genes`.

    Returns
    -------
    DataTree with the groups of `names.RESULT_VARIABLES`; every gene of the locus has a row, a status and a
    reason.

    Raises SettingsError for an unknown method, and for arguments of the other method.
    """
    if chosen_method(method, sampled, priors) == "pymc":
        from bayestwas.fit.gene_trait_pymc import sample_genes

        return sample_genes(locus, weights, settings=settings, seed=seed, **sampled)
    settings, priors = settings or Settings(), priors or engine.DEFAULT_PRIORS
    began = time.process_time()
    overlap, _ = learned_overlap([overlap_evidence(locus, weights, settings)])
    locus = without_overlap(locus, weights, overlap, settings)
    prepared, full = sufficient(locus, weights, priors, settings, seed)
    posteriors = switched(prepared, full, priors, settings)
    result = describe(locus, prepared, posteriors, priors, settings, seed, began)
    with_colocalization([result], [coloc_sizes(locus, weights, settings)], learn=False)
    return triangulate(result, locus, weights, prepared, seed)


def sufficient(
    locus: xr.DataTree,
    weights: xr.DataTree,
    priors: GeneTraitPriors,
    settings: Settings,
    seed: int,
    ready: Prepared | None = None,
) -> tuple[Prepared, GeneTraitPosterior]:
    """Draws of the weights until every PIP is precise, or the most that are allowed, and their fit.

    Draws are refined twice around those that the GWAS keeps; where that is not enough, the first draws are
    doubled. Draws that a sampler left are all used: they can be neither refined nor doubled. `ready`: first
    draws that are there already.
    """
    left = stored(weights)
    draws, most = (left, left) if left else (settings.draws, settings.max_draws)
    while True:
        first = ready or prepare(locus, weights, priors, settings, seed, draws)
        now, full = first, fit_block(first, priors, settings)
        for _ in range(settings.refinements if settings.feedback else 0):
            now = refined(locus, weights, first, now, full, seed)
            full = fit_block(now, priors, settings)
        if 2 * draws > most or precise(full, settings):
            return now, full
        draws, ready = 2 * draws, None


def precise(full: GeneTraitPosterior, settings: Settings) -> bool:
    """Whether more draws are not needed; for the cut posterior they are not what would help."""
    return not settings.feedback or bool((full.gene_mcse <= settings.target_mcse).all())


def fit_block(
    prepared: Prepared,
    priors: GeneTraitPriors,
    settings: Settings,
    *,
    off: frozenset[str] = frozenset(),
    over: Sequence[GeneTraitPriors] = (),
) -> GeneTraitPosterior:
    """The trait model of one block, with the sources of uncertainty in `off` (`SWITCHED`) switched off, and
    averaged over the priors `over`, where there are any. "several" off: at most one effect in the block."""
    z, ld = prepared.learned.seen(**{name: name not in off for name in ("finite", "mismatch", "background")})
    data, effects = (z, prepared.n, ld), 1 if "several" in off else settings.trait_effects
    plug_in = "weights" in off
    if not prepared.direct:
        priors = replace(priors, direct=0.0)
    direct = engine.fit_direct(*data, priors, effects=effects).lam
    fit = partial(engine.fit_gene_trait, *data, priors=priors, effects=effects, direct_start=direct)
    if settings.feedback or plug_in:
        columns = targets(prepared, plug_in)
        return over_priors(fit(columns), columns, priors, over)
    drawn = [targets(prepared, only=d) for d in range(min(settings.cut_draws, settings.draws))]
    return engine.average([over_priors(fit(columns), columns, priors, over) for columns in drawn])


def over_priors(
    fit: GeneTraitPosterior,
    columns: Sequence[GeneColumns],
    priors: GeneTraitPriors,
    over: Sequence[GeneTraitPriors],
) -> GeneTraitPosterior:
    """A fit under `priors`, averaged over draws of the priors; as it is where there are none."""
    return averaged(fit, evidence(fit, columns, priors), columns, over) if over else fit


# Which sources of uncertainty are off in a PIP. LD is exact without its finite size and mismatch. Given the
# one variant or gene that is causal the z-scores of the others say nothing more: one effect needs no LD.
EXACT_LD = frozenset({"finite", "mismatch"})
SWITCHED: dict[str, frozenset[str]] = {
    "pip_plugin": EXACT_LD | {"weights"},
    "pip_weights": EXACT_LD,
    "pip_ld": frozenset({"weights"}),
    "pip_without_finite_ld": frozenset({"finite"}),
    "pip_without_mismatch": frozenset({"mismatch"}),
    "pip_without_background": frozenset({"background"}),
    "pip_one_effect": EXACT_LD | {"background", "several"},
}


def switched(
    prepared: Prepared,
    full: GeneTraitPosterior,
    priors: GeneTraitPriors,
    settings: Settings,
    over: Sequence[GeneTraitPriors] = (),
) -> dict[str, GeneTraitPosterior]:
    """`full` averaged over the priors `over`, and, under the names of their PIPs, the same with sources of
    uncertainty switched off, priors at their mean. What a block does not have is not fitted without."""
    if settings.feedback or not over:
        carried = over_priors(full, targets(prepared), priors, over)
    else:
        carried = fit_block(prepared, priors, settings, over=over)
    there = prepared.learned.sources | {"weights", "several"}
    fits = {frozenset[str](): full}
    for off in SWITCHED.values():
        if off & there not in fits:
            fits[off & there] = fit_block(prepared, priors, settings, off=off & there)
    return {"pip": carried, "pip_fixed_priors": full} | {
        name: fits[off & there] for name, off in SWITCHED.items()
    }
