"""Signals of a locus for colocalization: log Bayes factors of the single effects that are fitted already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayestwas import names
from bayestwas.engine.coloc_near import near_variants
from bayestwas.engine.coloc_sizes import SizeSums
from bayestwas.engine.gene_trait import DEFAULT_PRIORS, GeneTraitPriors, build_candidates, fit_direct
from bayestwas.engine.likelihood import Candidates, presence
from bayestwas.engine.single_effects import SingleEffects, log_bayes_factors
from bayestwas.engine.weights import components
from bayestwas.fit.panels import gwas_arrays
from bayestwas.fit.settings import Settings
from bayestwas.fit.weight_priors import stored_priors
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


@dataclass(frozen=True)
class Source:
    """The fit that signals are taken from, over the p unit candidates and M components of its prior.

    Attributes
    ----------
    present : (S, p) whether a study has the variant. size : (M,) which of the prior variances `variances`
    (Q,) a
        component has, -1 where it is of no variant.
    """

    fit: SingleEffects
    candidates: Candidates
    present: NDArray[np.bool_]
    size: NDArray[np.intp]
    variances: tuple[float, ...]

    def rows(self) -> NDArray[np.intp]:
        """The effects that count as signals."""
        null = self.fit.null
        return np.flatnonzero((null < 1 - PRESENT) | (np.arange(len(null)) == 0))

    def prior(self, share: Floats | None = None) -> Floats:
        """(p, M) log probability of a component given the variant, as in the fit or with other shares (Q,) of
        the variances."""
        given = np.where(self.size >= 0, self.candidates.log_prior[: self.candidates.units], -np.inf)
        with np.errstate(invalid="ignore", divide="ignore"):
            prior = given - logsumexp(given, axis=1, keepdims=True)
            prior = np.where(np.isfinite(prior), prior, -np.inf)
            if share is not None:
                change = np.log(share) - np.log(self.shares().share)
                prior = prior + np.where(self.size >= 0, change[self.size], 0.0)
        return np.where(np.isnan(prior), -np.inf, prior)

    def shares(self) -> Shares:
        """The variances in the prior of the fit: those of any variant."""
        prior = self.prior()
        usable = np.flatnonzero(np.isfinite(prior).any(axis=1))
        held = np.exp(prior[usable[0]]) if len(usable) else np.zeros(len(self.size))
        kept = self.size >= 0
        share = np.bincount(self.size[kept], held[kept], minlength=len(self.variances))
        return Shares(self.variances, np.asarray(share, dtype=np.float64))

    def signals(
        self, keep: NDArray[np.intp], contexts: Sequence[NDArray[np.intp]], share: Floats | None = None
    ) -> Signals:
        """`keep` are the studies asked for, `contexts` those of each context, `share` (Q,) the shares of the
        variances; None: of the fit."""
        rows, prior = self.rows(), self.prior(share)
        power, active = self._power(keep)
        joint = self._joint(keep)[rows] + prior  # (L, p, M)
        usable = self.present[keep].any(axis=0) & np.isfinite(prior[:, active]).any(axis=1)
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

    def by_size(self, keep: NDArray[np.intp], contexts: Sequence[NDArray[np.intp]] = ()) -> Floats:
        """(1 + C, Q, L, p) log Bayes factor of every variant given the variance, and of its acting in each of
        the `contexts` as well; -inf where nothing does."""
        rows, prior = self.rows(), self.prior()
        power, active = self._power(keep)
        acting = [active, *(power[:, studies].any(axis=1) & active for studies in contexts)]
        joint = self._joint(keep)[rows] + prior
        out = np.full((len(acting), len(self.variances), *joint.shape[:2]), -np.inf)
        for q in range(len(self.variances)):
            mine = active & (self.size == q)
            usable = self.present[keep].any(axis=0) & np.isfinite(prior[:, mine]).any(axis=1)
            if not usable.any():
                continue
            norm = logsumexp(prior[usable][:, mine], axis=1)
            for c, here in enumerate(acting):
                if (mine & here).any():
                    out[c, q][:, usable] = logsumexp(joint[:, usable][:, :, mine & here], axis=2) - norm
        return out

    def _power(self, keep: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        power = np.einsum("mss->ms", self.candidates.covariances) > 1e-12
        return power, power[:, keep].any(axis=1)

    def _joint(self, keep: NDArray[np.intp]) -> Floats:
        return log_bayes_factors(self.fit, self.candidates, keep)[:, : self.candidates.units]


@dataclass(frozen=True)
class Shares:
    """Prior variances of an effect and their shares, both (Q,)."""

    variances: tuple[float, ...]
    share: Floats


@dataclass(frozen=True)
class LocusSizes:
    """What one locus says about the sizes of effects, and the shares that its fits began with.

    Attributes
    ----------
    sums : of all pairs of signals. genes : of each gene with pairs, in their order.
    """

    sums: SizeSums
    expression: Shares
    trait: Shares
    genes: tuple[GenePairs, ...] = ()


@dataclass(frozen=True)
class GenePairs:
    """The pairs of one gene: signals x trait signals, and the sums of H4 in each context where it was
    measured, (C, pairs, Q, R) logs."""

    gene: str
    contexts: tuple[str, ...]
    shape: tuple[int, int]
    shared: Floats


@dataclass(frozen=True)
class TraitFit:
    """The trait of one locus, fine-mapped with direct effects; `signals` are taken per ancestry. `near`
    (p, p): which variants are in LD. `place` (p,): where its fit has the variants of the locus, -1 where it
    lacks one; None: its fit is of this locus."""

    ancestries: tuple[str, ...]
    source: Source
    near: NDArray[np.bool_]
    place: NDArray[np.intp] | None = None

    def signals(self, ancestry: str = ALL, share: Floats | None = None) -> Signals:
        """Of all ancestries together, or of one."""
        keep = _chosen(self.ancestries, ancestry)
        found = self.source.signals(keep, [keep], share)
        return Signals(found.number, self._here(found.lbf, -np.inf), self._here(found.acts, 0.0))

    def by_size(self) -> Floats:
        """(Q, L, p) of all ancestries together."""
        return self._here(self.source.by_size(_chosen(self.ancestries, ALL))[0], -np.inf)

    def _here(self, values: Floats, absent: float) -> Floats:
        if self.place is None:
            return values
        return np.where(self.place >= 0, values[..., self.place], absent)


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
    own = priors.direct_sizes.variances
    size = np.arange(len(candidates.covariances))  # direct effects come first
    source = Source(fit, candidates, present, np.where(size < len(own), size, -1), own)
    return TraitFit(tuple(ancestries), source, near_variants(ld, present))


@dataclass(frozen=True)
class GeneFit:
    """One gene of a locus, from the posterior of its weights."""

    contexts: tuple[str, ...]
    ancestries: tuple[str, ...]
    index: NDArray[np.intp]  # of the cis-window among the variants of the locus
    variants: int
    source: Source
    measured: NDArray[np.bool_]  # (contexts, ancestries)

    def signals(self, ancestry: str = ALL, share: Floats | None = None) -> Signals:
        """Over the variants of the locus; a context without data there has acts of zero."""
        used = self._studies(ancestry)
        found = self.source.signals(np.concatenate(used), used, share)
        lbf = np.full((len(found.lbf), self.variants), -np.inf)
        acts = np.zeros((len(used), *lbf.shape))
        lbf[:, self.index], acts[:, :, self.index] = found.lbf, found.acts
        return Signals(found.number, lbf, acts)

    def in_context(self, context: str, ancestry: str = ALL, share: Floats | None = None) -> Signals | None:
        """From the data of one context alone, given the other effects; None where it was not measured."""
        if context not in self.contexts:
            return None
        used = self._studies(ancestry)[self.contexts.index(context)]
        if not len(used):
            return None
        found = self.source.signals(used, [used], share)
        lbf, acts = (
            np.full((len(found.lbf), self.variants), -np.inf),
            np.zeros((1, len(found.lbf), self.variants)),
        )
        lbf[:, self.index], acts[:, :, self.index] = found.lbf, found.acts
        return Signals(found.number, lbf, acts)

    def by_size(self) -> Floats:
        """(1 + C, Q, L, variants of the locus) of all contexts and ancestries together, and in each
        context."""
        studies = self._studies(ALL)
        found = self.source.by_size(np.concatenate(studies), studies)
        out = np.full((*found.shape[:3], self.variants), -np.inf)
        out[..., self.index] = found
        return out

    def _studies(self, ancestry: str) -> list[NDArray[np.intp]]:
        """Numbers of the studies of every context."""
        chosen = _chosen(self.ancestries, ancestry)
        place = np.arange(self.measured.size).reshape(self.measured.shape)
        return [row[chosen][known[chosen]] for row, known in zip(place, self.measured, strict=True)]


def gene_fit(locus: xr.DataTree, weights: xr.DataTree, gene: str) -> GeneFit:
    """The single effects of one gene, from what `fit_weights(method="engine")` kept."""
    index, posterior = gene_posterior(locus, weights, gene)
    marginals = weights[names.MARGINALS].dataset
    contexts, ancestries = (
        tuple(str(name) for name in marginals[dim].values) for dim in (names.CONTEXT, names.ANCESTRY)
    )
    n = weights[names.CONSTANT].dataset["n"].sel({names.GENE: gene}).values
    measured = n.reshape(len(contexts), len(ancestries)) > 0
    priors = stored_priors(weights)
    size = components(priors, len(contexts), len(ancestries)).size
    source = Source(posterior.fit, posterior.candidates, posterior.present, size, priors.sizes)
    return GeneFit(contexts, ancestries, index, locus.sizes[names.VARIANT], source, measured)
