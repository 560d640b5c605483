"""What the single effects of a block say, whatever the priors: Bayes factors of every gene-context and
every variant at every effect size. Priors are learned from their sums over classes; probabilities are
averaged over priors.

R effects (those that are there, and one more, which says that there are no others), T gene-contexts, p
variants, S sizes, A ancestries; kinds are gene and variant, in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.gene_trait import (
    EffectSizes,
    GeneColumns,
    GeneTraitPosterior,
    GeneTraitPriors,
    gene_odds,
)
from bayestwas.engine.likelihood import Floats, covariance_root, diagonal_terms
from bayestwas.engine.single_effects import inclusion, rows_there

# Log Bayes factor above which a candidate of the last row stands out. Below it the evidence of many
# candidates adds up as that of a Poisson process; above it a sum would have no bound.
FAINT = 1.0
# A kind less probable than this, in an effect, says nothing of the correlation of its effects.
OF_KIND = 0.05


@dataclass(frozen=True)
class Evidence:
    """Attributes
    ----------
    gene : (R, T, S) log Bayes factor, averaged over the draws of the weights.
    variant : (R, p, S); -inf where a variant is not usable.
    score, information : (R, 2, A) of the effect, were it of that kind, averaged over its candidates; zero
        where it hardly is.
    sizes : of genes and of variants: the grid and the correlation under which all this was computed.
    """

    gene: Floats
    variant: Floats
    score: Floats
    information: Floats
    sizes: tuple[EffectSizes, EffectSizes]


def evidence(
    posterior: GeneTraitPosterior, targets: Sequence[GeneColumns], priors: GeneTraitPriors
) -> Evidence:
    """The evidence in a fit. `targets` are those that were fitted, `priors` give the sizes."""
    fit, candidates = posterior.fit, posterior.candidates
    p = candidates.units
    rows = rows_there(fit)
    log_weight = np.concatenate([t.log_weight for t in targets] + [np.empty(0)])
    starts = np.concatenate([[0], np.cumsum([len(t.log_weight) for t in targets])])[:-1].astype(np.intp)
    sizes = (priors.gene_sizes, priors.direct_sizes)
    usable = np.asarray(np.isfinite(candidates.log_prior[:p]).any(axis=1))
    gene = np.empty((rows, len(targets), len(sizes[0].variances)))
    variant = np.empty((rows, p, len(sizes[1].variances)))
    studies = fit.score.shape[2]
    score, information = np.zeros((2, rows, 2, studies))
    parts = (slice(p, None), slice(0, p))
    for row in range(rows):
        for kind, part in enumerate(parts):
            u, tau = fit.score[row, part].T, fit.information[row, part].T
            log_bf = bayes_factors(u, tau, sizes[kind])
            if kind == 1:
                variant[row] = np.where(usable[:, None], log_bf, -np.inf)
            elif len(targets):
                gene[row] = np.logaddexp.reduceat(log_bf + log_weight[:, None], starts, axis=0)
            alpha = fit.alpha[row, part].sum(axis=1)
            if alpha.sum() >= OF_KIND:
                score[row, kind], information[row, kind] = (x @ alpha / alpha.sum() for x in (u, tau))
    return Evidence(gene, variant, score, information, sizes)


def bayes_factors(score: Floats, information: Floats, sizes: EffectSizes) -> Floats:
    """(K, S) log Bayes factors from (A, K) scores and information."""
    root = covariance_root(sizes.covariance(len(score)))
    one = np.ones(score.shape[1])
    return np.stack(
        [diagonal_terms(score, information, variance * one, root)[0] for variance in sizes.variances], axis=1
    )


def class_sums(
    seen: Evidence, gene_class: NDArray[np.intp], variant_class: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """What the signals say of classes of candidates, and what the rest says (`split`).

    Returns
    -------
    (R, C, S) log of the sum over each class of the Bayes factors that are a signal's own, -inf where there
    are none; (C, S) sums of the Bayes factors of the rest. C is the largest class and one; the classes of
    genes and of variants are different ones.
    """
    classes = int(max(gene_class.max(initial=-1), variant_class.max(initial=-1))) + 1
    rows, sizes = len(seen.variant), seen.variant.shape[2]
    out, rest = np.full((rows, classes, sizes), -np.inf), np.zeros((classes, sizes))
    for log_bf, owner in ((seen.gene, gene_class), (seen.variant, variant_class)):
        if not len(owner):
            continue
        own, top, faint = split(log_bf)
        for c in np.unique(owner):
            mine = owner == c
            rest[c] = faint[mine].sum(axis=0)
            with np.errstate(divide="ignore"):
                out[:, c] = np.log(own[:, mine].sum(axis=1)) + top
    return out, rest


def split(log_bf: Floats) -> tuple[Floats, Floats, Floats]:
    """Bayes factors of K candidates in R effects: those that are the signals' own, and the rest.

    The last row of `log_bf` (R, K, S), the effect that is not there, is given all signals. In the row of a
    signal a candidate that it is not about has the same Bayes factor as there; what it has more is the
    signal's own. The candidates of the last row that stand out are a signal as well, an improbable one; the
    others are the rest.

    Returns
    -------
    (R, K, S) the signals' own, to be multiplied by exp of the second, (R, S); (K, S) the rest.
    """
    faint = np.where(log_bf[-1] <= FAINT, np.exp(np.minimum(log_bf[-1], FAINT)), 0.0)
    top = np.maximum(np.where(np.isfinite(log_bf), log_bf, 0.0).max(axis=1, initial=0.0), 0.0)
    own = np.exp(log_bf - top[:, None])
    # log Bayes factors of the last row in units of each signal's, which may be far larger or far smaller
    there = np.minimum(log_bf[-1] - top[:-1, None], log_bf[:-1] - top[:-1, None])
    own[:-1] -= np.exp(there)
    own[-1] = np.where(faint > 0, 0.0, own[-1])
    return own, top, faint


def averaged(
    posterior: GeneTraitPosterior,
    seen: Evidence,
    targets: Sequence[GeneColumns],
    priors: Iterable[GeneTraitPriors],
) -> GeneTraitPosterior:
    """The posterior of a block averaged over draws of its priors, given the effects as they were fitted.

    Each draw weighs the evidence of every effect anew, in the order of `single_effects`: effect l is there
    only where the one before it is. Effects given inclusion, and Monte Carlo errors, stay those of the fit.
    """
    gene_of = np.array([t.gene for t in targets], dtype=np.intp)
    genes = posterior.gene_alpha.shape[1]
    pick = np.eye(genes)[gene_of] if len(targets) else np.zeros((0, genes))
    parts: list[tuple[Floats, ...]] = []
    for prior in priors:
        alpha, direct, null = _weighed(seen, gene_odds(targets, prior), prior)
        gene_alpha = np.minimum(alpha @ pick, 1.0)
        parts.append(
            (alpha, inclusion(alpha), gene_alpha, inclusion(gene_alpha), direct, inclusion(direct), null)
        )
    mean = [np.mean(values, axis=0) for values in zip(*parts, strict=True)]
    rows = len(seen.variant)
    alpha, gene_alpha, direct, null = (
        np.concatenate([now, before[rows:]])
        for now, before in zip(
            (mean[0], mean[2], mean[4], mean[6]),
            (posterior.alpha, posterior.gene_alpha, posterior.alpha_direct, posterior.null), strict=True,
        )
    )  # fmt: skip
    return replace(
        posterior, alpha=alpha, pip=mean[1], gene_alpha=gene_alpha, gene_pip=mean[3], alpha_direct=direct,
        pip_direct=mean[5], null=null,
    )  # fmt: skip


def _weighed(seen: Evidence, gene: Floats, prior: GeneTraitPriors) -> tuple[Floats, Floats, Floats]:
    """Probabilities (R, T) of the gene-contexts, (R, p) of the variants, (R,) of nothing, of every effect."""
    p = seen.variant.shape[1]
    logs = []
    sizes = (prior.gene_sizes, prior.direct_sizes)
    for kind, (log_bf, odds) in enumerate(
        ((seen.gene, gene), (seen.variant, np.broadcast_to(prior.direct, p)))
    ):
        u, tau = seen.score[:, kind].T, seen.information[:, kind].T
        moved = bayes_factors(u, tau, sizes[kind]) - bayes_factors(u, tau, seen.sizes[kind])  # (R, S)
        weight = np.log(np.maximum(sizes[kind].weights, 1e-300))
        with np.errstate(divide="ignore"):
            logs.append(np.log(odds) + np.logaddexp.reduce(log_bf + (moved + weight)[:, None], axis=2))
    both = np.concatenate(logs, axis=1)
    top = np.maximum(both.max(axis=1, initial=0.0), 0.0)
    scaled, empty = np.exp(both - top[:, None]), np.exp(-top)
    alpha, null, there = np.empty_like(scaled), np.empty(len(both)), 1.0
    for row in range(len(both)):
        terms = scaled[row] * there / (row + 1)
        total = terms.sum() + empty[row]
        alpha[row], null[row] = terms / total, empty[row] / total
        there = 1 - null[row]
    genes = len(gene)
    return alpha[:, :genes], alpha[:, genes:], null
