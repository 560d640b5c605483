"""Genes and variants compete for the trait: candidates of one block -> probabilities of genes, contexts and
variants.

Every (gene, context) enters the kernel through its weighted draws, which share its prior mass; every
variant enters as a direct effect. Averaging Bayes factors over the draws is the marginal likelihood over
the weights, so the GWAS reweights the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

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
class EffectSizes:
    """Prior of the effects of one kind of candidate: a mixture over a grid of variances.

    Attributes
    ----------
    variances : (S,), trait SD per SD of expression or of genotype, squared. weights : (S,), sum to one.
    correlation : of an effect between ancestries, for each pair or as a matrix.
    """

    variances: tuple[float, ...]
    weights: tuple[float, ...] = (1.0,)
    correlation: float | tuple[tuple[float, ...], ...] = 0.9

    def covariance(self, ancestries: int) -> Floats:
        """(A, A) correlation matrix of effects."""
        if isinstance(self.correlation, tuple):
            return np.array(self.correlation)
        return correlation(self.correlation, ancestries)

    @property
    def mean_variance(self) -> float:
        return float(np.dot(self.variances, self.weights))


@dataclass(frozen=True)
class GeneTraitPriors:
    """Priors of one block's trait model.

    Attributes
    ----------
    gene : expected number of effects of a gene, shared by the contexts it was measured in; or an array (T,),
        of every (gene, context).
    direct : expected number of direct effects of a variant, or an array (p,).
    gene_sizes, direct_sizes : of the effects of either.
    """

    gene: float | Floats
    direct: float | Floats
    gene_sizes: EffectSizes
    direct_sizes: EffectSizes

    def told(self) -> dict[str, Any]:
        """The same as plain numbers; of arrays the mean."""
        odds = {name: float(np.mean(getattr(self, name))) for name in ("gene", "direct")}
        return odds | {"gene_sizes": asdict(self.gene_sizes), "direct_sizes": asdict(self.direct_sizes)}


# Before a study says otherwise: one gene in twenty and one variant in a thousand of a block that was chosen
# for its association. A causal gene with a cis-h2 of 0.1 explains 0.005 to 0.5 per cent of the trait (gamma
# of SD 0.02 to 0.2), a direct effect as much.
GENE_GRID, DIRECT_GRID = (0.0005, 0.005, 0.05), (0.00005, 0.0005, 0.005)
GRID_WEIGHTS = (0.3, 0.6, 0.1)
DEFAULT_PRIORS = GeneTraitPriors(
    gene=0.05,
    direct=1e-3,
    gene_sizes=EffectSizes(GENE_GRID, GRID_WEIGHTS),
    direct_sizes=EffectSizes(DIRECT_GRID, GRID_WEIGHTS),
)


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

    Either kind has its own effect sizes and correlation, so a covariance component for every size: direct
    effects first, then genes.
    """
    owner = np.concatenate(
        [np.full(len(t.log_weight), i) for i, t in enumerate(targets)] + [np.empty(0)]
    ).astype(np.intp)
    with np.errstate(divide="ignore"):
        direct = np.where(usable, np.log(np.broadcast_to(priors.direct, p)), -np.inf)
        odds = np.log(gene_odds(targets, priors))
    draws = np.concatenate([t.log_weight for t in targets] + [np.empty(0)])
    kinds = (
        (slice(0, p), direct, priors.direct_sizes), (slice(p, None), odds[owner] + draws, priors.gene_sizes),
    )  # fmt: skip
    columns = (
        tuple(sparse.csr_array(sparse.vstack([t.columns[a] for t in targets])) for a in range(ancestries))
        if targets
        else ()
    )
    components = [(part, log_odds, size, w, own) for part, log_odds, own in kinds
                  for size, w in zip(own.variances, own.weights, strict=True)]  # fmt: skip
    log_prior = np.full((p + len(owner), len(components)), -np.inf)
    scale = np.ones_like(log_prior)
    for m, (part, log_odds, size, weight, _) in enumerate(components):
        log_prior[part, m] = log_odds + np.log(max(weight, 1e-300))
        scale[part, m] = size
    covariances = np.array([own.covariance(ancestries) for *_, own in components])
    return Candidates(p, columns, log_prior, scale, covariances), owner


def gene_odds(targets: Sequence[GeneColumns], priors: GeneTraitPriors) -> Floats:
    """(T,) expected number of effects of every (gene, context): one number is shared by those of a gene."""
    if np.ndim(priors.gene):
        return np.asarray(priors.gene, dtype=np.float64)
    genes = np.array([t.gene for t in targets], dtype=np.intp)
    return np.asarray(priors.gene / np.maximum(np.bincount(genes)[genes], 1)) if len(genes) else np.empty(0)


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
    generous = replace(priors, direct=np.maximum(priors.direct, 2 / max(int(usable.sum()), 1)))
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
    moments = _effects(fit, candidates, member, p)
    return GeneTraitPosterior(
        alpha, pip, mcse, gene_alpha, gene_pip, gene_mcse, *moments,
        inclusion(alpha_k[:, :p]), alpha_k[:, :p], fit.null, fit, candidates,
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
) -> tuple[Floats, Floats, Floats, Floats]:
    """Moments of the targets' effects given inclusion."""
    ancestries, t_total = fit.mean.shape[3], member.shape[1]
    total, positive_mean = np.zeros(t_total), np.zeros(t_total)
    first, positive = np.zeros((t_total, ancestries)), np.zeros((t_total, ancestries))
    second = np.zeros((t_total, ancestries**2))
    for component, omega in enumerate(candidates.covariances):
        if not np.isfinite(candidates.log_prior[p:, component]).any():
            continue  # of direct effects
        root = covariance_root(omega)
        # A prior's worth of every draw keeps the conditional effect defined where the probability underflows.
        floor = 1e-200 * np.exp(candidates.log_prior[p:, component])
        for effect in range(len(fit.alpha)):
            weight = fit.alpha[effect, p:, component] + floor
            index = np.flatnonzero(weight > 1e-250)
            mean = fit.mean[effect, p:, component][index]
            scale = candidates.scale[p:, component][index]
            covariance = diagonal_covariance(fit.information[effect, p:][index].T, scale, root)
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
    return first, spread, positive, positive_mean


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
        fit=replace(fits[0].fit, converged=all(fit.fit.converged for fit in fits)),
    )
