"""Genes and variants compete for the trait: candidates of one block -> probabilities of genes, contexts and
variants.

Every (gene, context) enters the kernel through its weighted draws, which share its prior mass; every
variant enters as a direct effect. Averaging Bayes factors over the draws is the marginal likelihood over
the weights, so the GWAS reweights the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from bayestwas.engine.ld import LD
from bayestwas.engine.likelihood import (
    Candidates,
    Floats,
    correlation,
    covariance_root,
    diagonal_covariance,
    presence,
)
from bayestwas.engine.single_effects import SingleEffects, elbo, fit_single_effects, inclusion

# Genes and variants that predict alike differ by little: finer than the kernel's default
# (docs/benchmarks.md).
SUPPORT = 1e-6


@dataclass(frozen=True)
class GeneTraitPriors:
    """Priors of one block's trait model.

    Attributes
    ----------
    gene : expected number of causal contexts per gene, shared by the contexts it was measured in.
    direct : expected number of direct effects per variant.
    gene_variance : prior variance of gamma, trait SD per SD of expression, squared.
    direct_variance : prior variance of a direct effect, trait SD per SD of genotype, squared.
    gene_correlation, direct_correlation : of effects between ancestries.
    """

    gene: float
    direct: float
    gene_variance: float
    direct_variance: float
    gene_correlation: float = 0.9
    direct_correlation: float = 0.9


# Before a study says otherwise: one gene in twenty and one variant in a thousand of a block that
# was chosen for its association; a causal gene explains up to about one per cent of the trait (gamma of SD
# 0.1), a variant 0.1 per cent.
DEFAULT_PRIORS = GeneTraitPriors(gene=0.05, direct=1e-3, gene_variance=0.01, direct_variance=0.0009)


@dataclass(frozen=True)
class GeneColumns:
    """Candidate columns of one (gene, context): one per draw.

    Attributes
    ----------
    gene, context : positions in the caller's lists.
    columns : per GWAS ancestry, (D, p) sparse.
    log_weight, replicate : as in `draws.WeightDraws`.
    """

    gene: int
    context: int
    columns: tuple[sparse.csr_array, ...]
    log_weight: Floats
    replicate: NDArray[np.intp]


@dataclass(frozen=True)
class GeneTraitPosterior:
    """What one block says. T = number of (gene, context) candidates, A ancestries, L effects.

    Attributes
    ----------
    alpha : (L, T) probability that effect l is candidate t.
    pip, mcse : (T,) per gene-context, and its Monte Carlo error.
    gene_alpha, gene_pip, gene_mcse : (L, G), (G,), (G,) the same for genes, any context.
    effect, effect_covariance : (T, A) and (T, A, A) given inclusion, over draws and effects.
    positive, positive_mean : (T, A) and (T,) probability that the effect, or its mean over ancestries,
        is positive.
    pip_direct : (p,). alpha_direct : (L, p). null : (L,).
    gene_square, direct_square : sums of alpha * E[gamma_a^2], mean of the ancestries, for learning the
        effect variances.
    fit, candidates : the kernel's own result, and what it chose from.
    """

    alpha: Floats
    pip: Floats
    mcse: Floats
    gene_alpha: Floats
    gene_pip: Floats
    gene_mcse: Floats
    effect: Floats
    effect_covariance: Floats
    positive: Floats
    positive_mean: Floats
    pip_direct: Floats
    alpha_direct: Floats
    null: Floats
    gene_square: float
    direct_square: float
    fit: SingleEffects
    candidates: Candidates


def build_candidates(
    p: int,
    usable: NDArray[np.bool_],
    targets: Sequence[GeneColumns],
    priors: GeneTraitPriors,
    effects: int,
    ancestries: int,
) -> tuple[Candidates, NDArray[np.intp]]:
    """Candidate columns of a block and, for each beyond the p unit vectors, the target that owns it.

    The two classes have their own effect correlation, so each has its own covariance component.
    """
    owner = np.concatenate(
        [np.full(len(t.log_weight), i) for i, t in enumerate(targets)] + [np.empty(0)]
    ).astype(np.intp)
    k = p + len(owner)
    log_prior = np.full((k, 2), -np.inf)
    scale = np.ones((k, 2))
    with np.errstate(divide="ignore"):
        log_prior[:p, 0] = np.where(usable, np.log(priors.direct), -np.inf)
    scale[:p, 0] = priors.direct_variance
    scale[p:, 1] = priors.gene_variance
    if targets:
        # a gene has its prior once, however many contexts it was measured in
        contexts = np.bincount([t.gene for t in targets])
        share = [np.log(priors.gene / contexts[t.gene]) + t.log_weight for t in targets]
        log_prior[p:, 1] = np.concatenate(share)
    columns = (
        tuple(sparse.csr_array(sparse.vstack([t.columns[a] for t in targets])) for a in range(ancestries))
        if targets
        else ()
    )
    covariances = np.array(
        [correlation(priors.direct_correlation, ancestries), correlation(priors.gene_correlation, ancestries)]
    )
    return Candidates(p, columns, log_prior, scale, covariances), owner


def fit_gene_trait(
    z: Floats,
    n: Floats,
    ld: Sequence[LD],
    targets: Sequence[GeneColumns],
    priors: GeneTraitPriors,
    *,
    effects: int = 10,
    ld_noise: bool = True,
    tolerance: float = 1e-4,
    max_sweeps: int = 200,
    direct_start: Floats | None = None,
) -> GeneTraitPosterior:
    """Fit one block from two starts and keep the better.

    A gene whose draws reach several association signals can explain them with one effect, and a fit that
    begins with it never tries several direct effects instead; a fit that begins with direct effects may
    never merge them into a gene. So the block is fitted from nothing and from its direct effects, and the
    fit with the higher evidence lower bound, at a common inflation 1 + 2 q / n_ref of the noise, is kept.

    Parameters
    ----------
    z, n, ld : (A, p), (A,), A operators. targets : the gene-contexts.
    direct_start : (L, A, p) lambda_bar of a fit with direct effects only (`fit_direct`); computed where
        it is None.
    """
    ancestries = len(z)
    usable = np.asarray(presence(z, ld).any(axis=0))
    candidates, owner = build_candidates(z.shape[1], usable, targets, priors, effects, ancestries)
    if direct_start is None:
        direct_start = fit_direct(z, n, ld, priors, effects=effects, ld_noise=ld_noise).lam
    fits = [
        fit_single_effects(
            z, n, ld, candidates, effects=effects, ld_noise=ld_noise, tolerance=tolerance,
            max_sweeps=max_sweeps, support=SUPPORT, start=start,
        )
        for start in (None, direct_start)
    ]  # fmt: skip
    inflation = common_inflation(fits, ld) if ld_noise else np.ones(ancestries)
    bounds = [elbo(z, n, ld, fit, candidates, inflation) + (0.0 if fit.converged else -1e6) for fit in fits]
    best = int(np.argmax(np.nan_to_num(bounds, nan=-np.inf)))  # a fit that left the numbers loses
    return _summarise(fits[best], candidates, owner, targets, z.shape[1])


def common_inflation(fits: Sequence[SingleEffects], ld: Sequence[LD]) -> Floats:
    """(A,) 1 + 2 q / n_ref, q = lambda' R lambda, the largest of the fits: what LD noise adds to the variance
    of z where a column carries all of the signal.
    """
    power = np.max([(fit.lam.sum(axis=0) * fit.fitted.sum(axis=0)).sum(axis=1) for fit in fits], axis=0)
    return np.asarray(1 + 2 * power * np.array([1 / one.n_ref for one in ld]))


def fit_direct(
    z: Floats,
    n: Floats,
    ld: Sequence[LD],
    priors: GeneTraitPriors,
    *,
    effects: int = 10,
    ld_noise: bool = True,
) -> SingleEffects:
    """Fine-map the trait with direct effects only: the start that does not prefer genes, and the tilt of
    the draws.

    The prior is at least two direct effects a block, because here they also stand for the effects of genes.
    """
    usable = np.asarray(presence(z, ld).any(axis=0))
    generous = replace(priors, direct=max(priors.direct, 2 / max(int(usable.sum()), 1)))
    candidates, _ = build_candidates(z.shape[1], usable, (), generous, effects, len(z))
    return fit_single_effects(z, n, ld, candidates, effects=effects, ld_noise=ld_noise)


def _summarise(
    fit: SingleEffects,
    candidates: Candidates,
    owner: NDArray[np.intp],
    targets: Sequence[GeneColumns],
    p: int,
) -> GeneTraitPosterior:
    alpha_k = fit.alpha.sum(axis=2)
    t_total, effects = len(targets), len(alpha_k)
    member = sparse.csr_array(
        (np.ones(len(owner)), (np.arange(len(owner)), owner)), shape=(len(owner), t_total)
    )
    alpha = np.asarray((member.T @ alpha_k[:, p:].T).T).reshape(effects, t_total)
    gene_of = np.array([t.gene for t in targets], dtype=np.intp)
    genes = int(gene_of.max(initial=-1)) + 1
    context = sparse.csr_array((np.ones(t_total), (np.arange(t_total), gene_of)), shape=(t_total, genes))
    gene_alpha = np.minimum(alpha @ context, 1.0)
    # the contexts of a gene share its draws, so the error of a gene is that of their sum
    replicate = np.concatenate([t.replicate for t in targets] + [np.empty(0)]).astype(np.intp)
    pip, mcse = _with_error(alpha, _set_errors(alpha_k[:, p:], owner, replicate, t_total))
    gene_pip, gene_mcse = _with_error(
        gene_alpha, _set_errors(alpha_k[:, p:], gene_of[owner], replicate, genes)
    )
    moments, squares = _effects(fit, candidates, member, p)
    return GeneTraitPosterior(
        alpha, pip, mcse, gene_alpha, gene_pip, gene_mcse, *moments,
        inclusion(alpha_k[:, :p]), alpha_k[:, :p], fit.null,
        squares[1], squares[0], fit, candidates,
    )  # fmt: skip


def _with_error(alpha: Floats, error: Floats) -> tuple[Floats, Floats]:
    """PIP and its Monte Carlo error from the alphas (L, T) of all candidates and the errors of their
    evidence, alpha * relative.

    To first order d alpha_t = alpha_t (relative_t - sum_h alpha_h relative_h), and d pip = (1 - pip) / (1 -
    alpha) d alpha.
    """
    square = error**2
    spread = square * (1 - 2 * alpha) + alpha**2 * square.sum(axis=1, keepdims=True)
    pip = inclusion(alpha)
    gradient = (1 - pip) / np.maximum(1 - alpha, 1e-12)
    return pip, np.sqrt((gradient**2 * np.maximum(spread, 0.0)).sum(axis=0))


def _set_errors(alpha: Floats, group: NDArray[np.intp], replicate: NDArray[np.intp], groups: int) -> Floats:
    """(L, groups) Monte Carlo error of the alpha of each group of draws, from its spread over the
    independent sets.
    """
    sets = int(replicate.max(initial=0)) + 1
    if sets == 1:
        return np.zeros((len(alpha), groups))
    place = sparse.csr_array(
        (np.ones(len(group)), (np.arange(len(group)), group * sets + replicate)),
        shape=(len(group), groups * sets),
    )
    sums = np.asarray(alpha @ place).reshape(len(alpha), groups, sets)
    return np.sqrt(sets * sums.var(axis=2, ddof=1))


def _effects(
    fit: SingleEffects, candidates: Candidates, member: sparse.csr_array, p: int
) -> tuple[tuple[Floats, Floats, Floats, Floats], tuple[float, float]]:
    """Moments of the targets' effects given inclusion, and the sums the effect variances are learned from
    (direct, gene).
    """
    effects, k, _ = fit.alpha.shape
    ancestries, t_total = fit.mean.shape[3], member.shape[1]
    squares = [0.0, 0.0]
    # A prior's worth of every draw keeps the conditional effect defined where the probability underflows.
    floor = 1e-200 * np.exp(candidates.log_prior[p:, 1])
    total, positive_mean = np.zeros(t_total), np.zeros(t_total)
    first, positive = np.zeros((t_total, ancestries)), np.zeros((t_total, ancestries))
    second = np.zeros((t_total, ancestries**2))
    for component, part in enumerate((slice(0, p), slice(p, k))):
        root = covariance_root(candidates.covariances[component])
        for effect in range(effects):
            weight = fit.alpha[effect, part, component] + (floor if component else 0.0)
            index = np.flatnonzero(weight > 1e-250)
            mean = fit.mean[effect, part, component][index]
            scale = candidates.scale[part, component][index]
            covariance = diagonal_covariance(fit.information[effect, part][index].T, scale, root)
            square = (mean**2).mean(axis=1) + np.einsum("kss->k", covariance) / ancestries
            squares[component] += float(weight[index] @ square)
            if component == 1:
                sd = np.sqrt(np.maximum(np.einsum("kss->ks", covariance), 1e-300))
                sd_mean = np.sqrt(np.maximum(covariance.mean(axis=(1, 2)), 1e-300))
                owned = sparse.csr_array(member[index].T.multiply(weight[index][None, :]))
                total += owned @ np.ones(len(index))
                first += owned @ mean
                second += owned @ (covariance + mean[:, :, None] * mean[:, None, :]).reshape(
                    len(index), ancestries**2
                )
                positive += owned @ ndtr(mean / sd)
                positive_mean += owned @ ndtr(mean.mean(axis=1) / sd_mean)
    total = np.maximum(total, 1e-300)
    first, positive, positive_mean = first / total[:, None], positive / total[:, None], positive_mean / total
    spread = (second / total[:, None]).reshape(-1, ancestries, ancestries) - first[:, :, None] * first[
        :, None, :
    ]
    return (first, spread, positive, positive_mean), (squares[0], squares[1])


def twas_z(z: Floats, n: Floats, ld: Sequence[LD], weights: Sequence[sparse.csr_array]) -> float:
    """Classical TWAS z of one gene, sum_a sqrt(n_a) w_a'z_a / sqrt(sum_a n_a w_a'R_a w_a), for one ancestry
    w'z / sqrt(w'Rw).

    Gusev et al. 2016 (doi:10.1038/ng.3506) for one ancestry; ancestries are combined as a fixed effect per SD
    of expression. NaN where no weight falls on a variant of the GWAS.
    """
    score = information = 0.0
    for a, row in enumerate(weights):
        usable = np.isfinite(z[a]) & (ld[a].variance > 0)
        index = row.indices[usable[row.indices]]
        w = row.toarray().ravel()[index]
        score += float(np.sqrt(n[a]) * (w @ z[a, index]))
        information += float(n[a] * (w @ ld[a].gram(index) @ w))
    return score / np.sqrt(information) if information > 0 else np.nan


def _error_of_mean(values: Floats) -> Floats:
    """Standard error of the mean over the rows."""
    return values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros(values.shape[1])


def average(fits: Sequence[GeneTraitPosterior]) -> GeneTraitPosterior:
    """The cut posterior: the mean over fits that each take one draw of the weights as known (Plummer 2015).

    Its Monte Carlo error is that of the mean over fits. The numbering of the effects differs between fits,
    so effects are not averaged: `gene_alpha` is zero, and there are no credible gene sets.
    """
    pips = np.array([fit.pip for fit in fits])
    genes = np.array([fit.gene_pip for fit in fits])
    share = np.maximum(pips, 1e-300)
    share /= share.sum(axis=0)
    effect = np.einsum("dt,dta->ta", share, np.array([fit.effect for fit in fits]))
    second = sum(
        w[:, None, None] * (fit.effect_covariance + fit.effect[:, :, None] * fit.effect[:, None, :])
        for w, fit in zip(share, fits, strict=True)
    )
    return replace(
        fits[0],
        alpha=np.mean([fit.alpha for fit in fits], axis=0),
        pip=pips.mean(axis=0),
        mcse=_error_of_mean(pips),
        gene_alpha=np.zeros_like(fits[0].gene_alpha),
        gene_pip=genes.mean(axis=0),
        gene_mcse=_error_of_mean(genes),
        effect=effect,
        effect_covariance=np.asarray(second) - effect[:, :, None] * effect[:, None, :],
        positive=np.einsum("dt,dta->ta", share, np.array([fit.positive for fit in fits])),
        positive_mean=np.einsum("dt,dt->t", share, np.array([fit.positive_mean for fit in fits])),
        pip_direct=np.mean([fit.pip_direct for fit in fits], axis=0),
        alpha_direct=np.mean([fit.alpha_direct for fit in fits], axis=0),
        null=np.mean([fit.null for fit in fits], axis=0),
        gene_square=float(np.mean([fit.gene_square for fit in fits])),
        direct_square=float(np.mean([fit.direct_square for fit in fits])),
        fit=replace(fits[0].fit, converged=all(fit.fit.converged for fit in fits)),
    )


@dataclass(frozen=True)
class TraitSums:
    """What blocks say about the priors of the trait model; adds up over blocks."""

    gene: float = 0.0
    gene_candidates: float = 0.0
    direct: float = 0.0
    direct_candidates: float = 0.0
    gene_square: float = 0.0
    direct_square: float = 0.0

    def __add__(self, other: TraitSums) -> TraitSums:
        return TraitSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def sums(posterior: GeneTraitPosterior, usable: int) -> TraitSums:
    """The sums of one block with `usable` variants."""
    return TraitSums(
        float(posterior.alpha.sum()), float(posterior.gene_alpha.shape[1]),
        float(posterior.alpha_direct.sum()), float(usable),
        posterior.gene_square, posterior.direct_square,
    )  # fmt: skip


def learn(
    total: TraitSums, genes: float = 10.0, variants: float = 500.0, found: float = 2.0
) -> GeneTraitPriors:
    """Priors given the sums: one M-step with the defaults added as so many `genes`, `variants` and effects
    `found`.
    """
    default = DEFAULT_PRIORS
    return replace(
        default,
        gene=(total.gene + genes * default.gene) / (total.gene_candidates + genes),
        direct=(total.direct + variants * default.direct) / (total.direct_candidates + variants),
        gene_variance=(total.gene_square + found * default.gene_variance) / (total.gene + found),
        direct_variance=(total.direct_square + found * default.direct_variance) / (total.direct + found),
    )
