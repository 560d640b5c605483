"""Signals of a locus for colocalization: log Bayes factors of the single effects that are fitted already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayestwas import names
from bayestwas.engine.gene_trait import DEFAULT_PRIORS, GeneTraitPriors, build_candidates, fit_direct
from bayestwas.engine.likelihood import Candidates, presence
from bayestwas.engine.single_effects import SingleEffects, log_bayes_factors
from bayestwas.fit.panels import gwas_arrays
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import gene_posterior

Floats = NDArray[np.float64]
ALL = "all"  # all ancestries together
# The first effect always counts: H0 and H2 need its chance of being none. A further one is a signal where it
# is more probably there than not.
PRESENT = 0.5


@dataclass(frozen=True)
class Signals:
    """L single effects of one trait, or of one gene, over the p variants of a locus.

    Attributes
    ----------
    number : (L,) of each effect within its fit, from 1.
    lbf : (L, p) log Bayes factor of each variant against none, given the other effects and that the effect
        acts in one of the contexts and ancestries asked for; -inf where the variant is absent there.
    acts : (C, L, p) probability that it acts in each context, given the variant. One row of ones for a trait.
    """

    number: NDArray[np.intp]
    lbf: Floats
    acts: Floats


def _rows(null: Floats) -> NDArray[np.intp]:
    return np.flatnonzero((null < 1 - PRESENT) | (np.arange(len(null)) == 0))


def _signals(
    fit: SingleEffects,
    candidates: Candidates,
    present: NDArray[np.bool_],
    keep: NDArray[np.intp],
    contexts: Sequence[NDArray[np.intp]],
) -> Signals:
    """Over the unit candidates of a fit; `keep` are its studies, `contexts` those of each context."""
    rows = _rows(fit.null)
    p = candidates.units
    with np.errstate(invalid="ignore", divide="ignore"):
        prior = candidates.log_prior[:p] - logsumexp(candidates.log_prior[:p], axis=1, keepdims=True)
    prior = np.where(np.isfinite(prior), prior, -np.inf)
    joint = log_bayes_factors(fit, candidates, keep)[rows][:, :p] + prior  # (L, p, M)
    power = np.einsum("mss->ms", candidates.covariances) > 1e-12
    active = power[:, keep].any(axis=1)
    usable = present[keep].any(axis=0) & np.isfinite(prior[:, active]).any(axis=1)
    lbf = np.full(joint.shape[:2], -np.inf)
    acts = np.zeros((len(contexts), *lbf.shape))
    total = logsumexp(joint[:, usable][:, :, active], axis=2)
    lbf[:, usable] = total - logsumexp(prior[usable][:, active], axis=1)
    for c, studies in enumerate(contexts):
        here = power[:, studies].any(axis=1) if len(studies) else np.zeros(len(power), dtype=bool)
        if here.any():
            with np.errstate(divide="ignore"):
                part = logsumexp(joint[:, usable][:, :, here], axis=2)
            acts[c][:, usable] = np.exp(np.minimum(part - total, 0.0))
    return Signals(rows + 1, lbf, acts)


@dataclass(frozen=True)
class TraitFit:
    """The trait of one locus, fine-mapped with direct effects; `signals` are taken per ancestry."""

    ancestries: tuple[str, ...]
    fit: SingleEffects
    candidates: Candidates
    present: NDArray[np.bool_]

    def signals(self, ancestry: str = ALL) -> Signals:
        """Of all ancestries together, or of one."""
        keep = _chosen(self.ancestries, ancestry)
        return _signals(self.fit, self.candidates, self.present, keep, [keep])


def _chosen(ancestries: Sequence[str], ancestry: str) -> NDArray[np.intp]:
    return np.array([a for a, name in enumerate(ancestries) if ancestry in (ALL, name)], dtype=np.intp)


def fit_trait(
    locus: xr.DataTree, settings: Settings | None = None, priors: GeneTraitPriors = DEFAULT_PRIORS
) -> TraitFit:
    """Fine-map the trait of a locus: the direct effects that `fit_genes` starts from."""
    settings = settings or Settings()
    ancestries, z, n, ld = gwas_arrays(locus)
    present = presence(z, ld)
    fit = fit_direct(z, n, ld, priors, effects=settings.trait_effects)
    candidates, _ = build_candidates(z.shape[1], np.asarray(present.any(axis=0)), (), priors, 1, len(z))
    return TraitFit(tuple(ancestries), fit, candidates, present)


@dataclass(frozen=True)
class GeneFit:
    """One gene of a locus, from the posterior of its weights."""

    contexts: tuple[str, ...]
    ancestries: tuple[str, ...]
    index: NDArray[np.intp]  # of the cis-window among the variants of the locus
    variants: int
    fit: SingleEffects
    candidates: Candidates
    present: NDArray[np.bool_]
    measured: NDArray[np.bool_]  # (contexts, ancestries)

    def signals(self, ancestry: str = ALL) -> Signals:
        """Over the variants of the locus; a context without data there has acts of zero."""
        chosen = _chosen(self.ancestries, ancestry)
        place = np.arange(self.measured.size).reshape(self.measured.shape)
        used = [row[chosen][known[chosen]] for row, known in zip(place, self.measured, strict=True)]
        found = _signals(self.fit, self.candidates, self.present, np.concatenate(used), used)
        lbf = np.full((len(found.lbf), self.variants), -np.inf)
        acts = np.zeros((len(used), *lbf.shape))
        lbf[:, self.index], acts[:, :, self.index] = found.lbf, found.acts
        return Signals(found.number, lbf, acts)


def gene_fit(locus: xr.DataTree, weights: xr.DataTree, gene: str) -> GeneFit:
    """The single effects of one gene, from what `fit_weights(method="engine")` kept."""
    index, posterior = gene_posterior(locus, weights, gene)
    marginals = weights[names.MARGINALS].dataset
    contexts, ancestries = (
        tuple(str(name) for name in marginals[dim].values) for dim in (names.CONTEXT, names.ANCESTRY)
    )
    n = weights[names.CONSTANT].dataset["n"].sel({names.GENE: gene}).values
    measured = n.reshape(len(contexts), len(ancestries)) > 0
    return GeneFit(
        contexts, ancestries, index, locus.sizes[names.VARIANT], posterior.fit, posterior.candidates,
        posterior.present, measured,
    )  # fmt: skip
