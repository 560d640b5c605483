"""Do two traits share a causal variant: pairs of single effects -> H0 to H4, signal, gene and locus level.

For one pair of signals with log Bayes factors BF1_j, BF2_j of every variant against none, and prior weights
w_j of mean one (models/coloc.md states the same posterior):

    H0 none 1; H1 trait 1 only p1 S1; H2 trait 2 only p2 S2; H3 two variants p1 p2 S3; H4 one shared p12 S4
    S1 = sum w_j BF1_j,  S2 = sum w_j BF2_j,  S3 = sum_{j != k} w_j w_k BF1_j BF2_k,  S4 = sum w_j BF1_j BF2_j

(Giambartolomei et al. 2014, doi:10.1371/journal.pgen.1004383, for one signal; Wallace 2021,
doi:10.1371/journal.pgen.1009440, for pairs of single effects of a fine-mapping.) Variants enter through the
four sums only, so that priors can be changed, learned or averaged over at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

HYPOTHESES = ("H0", "H1", "H2", "H3", "H4")
# standard deviation of a causal effect, in SD of a quantitative trait, or as a log odds ratio (the defaults
# of the program coloc)
QUANTITATIVE_SD, CASE_CONTROL_SD = 0.15, 0.2
# numbers held at once while the sums are made: what fits a processor's cache is twice as fast
CHUNK = 1 << 16


class ColocPriors(NamedTuple):
    """Prior odds of one variant against no effect: on trait 1 only, on trait 2 only, on both.

    Numbers, or arrays of one shape that broadcasts against the pairs.
    """

    p1: float | Floats
    p2: float | Floats
    p12: float | Floats

    def log(self) -> Floats:
        """(..., 5) log prior of a configuration of each hypothesis."""
        p1, p2, p12 = np.broadcast_arrays(*(np.log(np.asarray(p, dtype=np.float64)) for p in self))
        return np.stack([np.zeros_like(p1), p1, p2, p1 + p2, p12], axis=-1)


COLOC_DEFAULT = ColocPriors(1e-4, 1e-4, 1e-5)


@dataclass(frozen=True)
class PairSums:
    """What n pairs say: (n, 5) logs, by hypothesis, of the sum over configurations of prior weight times
    Bayes factor (`log_sum`), and of prior weight alone (`log_mass`)."""

    log_sum: Floats
    log_mass: Floats


# ---- one signal from summary statistics ----------------------------------------------------------------


def approximate_bayes_factor(effect: ArrayLike, variance: ArrayLike, prior_sd: float) -> Floats:
    """Log Bayes factor of an effect Normal(0, prior_sd^2) against none, of an estimate and its variance.

    Wakefield 2009 (doi:10.1002/gepi.20359): log(1 - r) / 2 + r z^2 / 2, r = prior_sd^2 / (prior_sd^2 +
    variance). Any shape; -inf (no variant) where a number is missing or the variance is not above zero.
    """
    effect, variance = np.asarray(effect, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    usable = np.isfinite(effect) & np.isfinite(variance) & (variance > 0)
    safe = np.where(usable, variance, 1.0)
    known = prior_sd**2 / (prior_sd**2 + safe)
    z2 = np.where(usable, effect, 0.0) ** 2 / safe
    return np.where(usable, 0.5 * np.log1p(-known) + 0.5 * known * z2, -np.inf)


def effect_variance(n: ArrayLike, maf: ArrayLike, cases: float | None = None) -> Floats:
    """Variance of an estimated effect per allele, for a trait of variance 1: 1 / (2 n f (1 - f)), and for a
    case-control trait, per log odds, over s (1 - s) as well, s the share of `cases` among n people.

    With z this stands for beta and se: beta = z sqrt(variance). NaN where f is not between 0 and 1.
    """
    n, f = np.asarray(n, dtype=np.float64), np.asarray(maf, dtype=np.float64)
    information = 2 * n * f * (1 - f) * (1.0 if cases is None else cases * (1 - cases))
    return np.where(information > 0, 1 / np.where(information > 0, information, 1.0), np.nan)


def trait_sd(variance: ArrayLike, n: ArrayLike, maf: ArrayLike) -> float:
    """Standard deviation of a quantitative trait, from the variances (p,) of estimated effects per allele.

    Least squares through the origin of 2 n f (1 - f) on 1 / variance, as the program coloc does. NaN where no
    variant can be used.
    """
    variance, n, f = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (variance, n, maf)))
    usable = np.isfinite(variance) & (variance > 0) & (f > 0) & (f < 1) & np.isfinite(n)
    if not usable.any():
        return np.nan
    x, y = 1 / variance[usable], (2 * n * f * (1 - f))[usable]
    return float(np.sqrt((x @ y) / (x @ x)))


# ---- sums over variants --------------------------------------------------------------------------------


def pair_sums(lbf1: Floats, lbf2: Floats, log_weight: Floats | None = None) -> PairSums:
    """The sums of n pairs over m variants.

    Parameters
    ----------
    lbf1, lbf2 : (n, m) natural logs; -inf where a trait lacks the variant, which is then left out of both.
        Either may be (1, m): one signal against n others.
    log_weight : (m,) or (n, m) log prior weight of a variant relative to the others; rescaled to a mean
        weight of one over the variants that both have. None: all alike.
    """
    lbf1, lbf2 = np.atleast_2d(lbf1), np.atleast_2d(lbf2)
    n, m = np.broadcast_shapes(lbf1.shape, lbf2.shape)
    lbf1, lbf2 = np.broadcast_to(lbf1, (n, m)), np.broadcast_to(lbf2, (n, m))
    weight = np.broadcast_to(np.zeros(1) if log_weight is None else log_weight, (n, m))
    step = max(CHUNK // max(m, 1), 1)
    parts = [
        _sums_of(lbf1[i : i + step], lbf2[i : i + step], weight[i : i + step]) for i in range(0, n, step)
    ]
    if not parts:
        return PairSums(np.zeros((0, 5)), np.zeros((0, 5)))
    return PairSums(*(np.concatenate(both) for both in zip(*parts, strict=True)))


def _sums_of(lbf1: Floats, lbf2: Floats, weight: Floats) -> tuple[Floats, Floats]:
    present = np.isfinite(lbf1) & np.isfinite(lbf2) & np.isfinite(weight)
    with np.errstate(divide="ignore"):
        if weight.any():
            weight = scaled_weight(weight, present)
            mass = np.exp(weight)
            total, square = mass.sum(axis=1), (mass**2).sum(axis=1)
            first, second = weight + lbf1, weight + lbf2
        else:
            total = square = present.sum(axis=1).astype(np.float64)
            first, second = lbf1, lbf2
        if not present.all():
            first, second = np.where(present, first, -np.inf), np.where(present, second, -np.inf)
        one, two = _log_sum(first), _log_sum(second)
        log_sum = [np.zeros_like(one), one, two, _log_sum_apart(first, second), _log_sum(first + lbf2)]
        apart = np.log(np.maximum(total**2 - square, 0.0))
        log_mass = [np.zeros_like(total), np.log(total), np.log(total), apart, np.log(total)]
    return np.stack(log_sum, axis=1), np.stack(log_mass, axis=1)


def scaled_weight(log_weight: Floats, present: NDArray[np.bool_]) -> Floats:
    """(n, m) log weights of mean one over the variants present, -inf elsewhere."""
    weight = np.where(present, log_weight, -np.inf)
    count = np.maximum(present.sum(axis=1), 1)
    level = _log_sum(weight) - np.log(count)
    return weight - np.where(np.isfinite(level), level, 0.0)[:, None]


def _log_sum(values: Floats) -> Floats:
    """log sum exp of every row; -inf for a row of nothing."""
    top = values.max(axis=1, initial=-np.inf)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - safe[:, None]).sum(axis=1)) + safe)


def _log_sum_apart(first: Floats, second: Floats) -> Floats:
    """log sum_{j != k} exp(first_j + second_k) of every row, the largest of either taken out beforehand.

    What is left of the two has its sum as a difference, S1 S2 - S4: the terms with the largest are above
    either product, so that rounding stays m times below the result (S1 S2 - S4 of everything would lose all
    digits at one strong variant).
    """
    rows = np.arange(len(first))
    j, k = first.argmax(axis=1), second.argmax(axis=1)
    top1, top2 = first[rows, j], second[rows, k]
    rest1, rest2 = first.copy(), second.copy()
    rest1[rows, j], rest2[rows, k] = -np.inf, -np.inf
    at1, at2 = rest1[rows, k], rest2[rows, j]  # of trait 1 where trait 2 has its largest, and the reverse
    level1, level2 = (np.where(np.isfinite(t), t, 0.0) for t in (rest1.max(axis=1), rest2.max(axis=1)))
    left, right = np.exp(rest1 - level1[:, None]), np.exp(rest2 - level2[:, None])
    sum1, sum2 = left.sum(axis=1), right.sum(axis=1)
    small = np.maximum(sum1 * sum2 - np.einsum("nm,nm->n", left, right), 0.0)
    other1, other2 = sum1 - np.exp(at1 - level1), sum2 - np.exp(at2 - level2)
    with np.errstate(divide="ignore"):
        terms = [
            np.where(j != k, top1 + top2, -np.inf),
            top1 + level2 + np.log(np.maximum(other2, 0.0)),
            top2 + level1 + np.log(np.maximum(other1, 0.0)),
            level1 + level2 + np.log(small),
        ]
    return _log_sum(np.stack(terms, axis=1))


# ---- posterior -----------------------------------------------------------------------------------------


def hypotheses(sums: PairSums, priors: ColocPriors) -> Floats:
    """(..., n, 5) posterior probability of H0 to H4; leading dims are those of draws (D, n) of the priors."""
    joint = sums.log_sum + priors.log()
    joint = np.exp(joint - joint.max(axis=-1, keepdims=True))
    return np.asarray(joint / joint.sum(axis=-1, keepdims=True))


def p12_at(sums: PairSums, priors: ColocPriors, level: float) -> Floats:
    """(n,) the p12 at which H4 is `level`, p1 and p2 as given: above it H4 is higher. Infinite without
    variants."""
    log_p = np.broadcast_to(priors.log(), sums.log_sum.shape)
    rest = _log_sum((sums.log_sum + log_p)[:, :4])
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(rest - sums.log_sum[:, 4] + np.log(level / (1 - level))))


def sensitivity_grid(priors: ColocPriors, decades: float = 4.0, points: int = 41) -> Floats:
    """(points,) values of p12, evenly on the log scale, half of the `decades` on either side of the given."""
    return np.asarray(float(np.mean(priors.p12)) * 10 ** np.linspace(-decades / 2, decades / 2, points))


def reweighted(probability: ArrayLike, factor: ArrayLike) -> Floats:
    """Posterior probability of an inclusion whose prior odds are multiplied by a factor, all other priors as
    they are: its Bayes factor, over everything else, does not depend on its own prior, so that posterior odds
    are multiplied as well. Exact where inclusions are independent a priori."""
    p, f = np.asarray(probability, dtype=np.float64), np.asarray(factor, dtype=np.float64)
    return np.asarray(p * f / (1 + p * (f - 1)))


def shared_variant(lbf1: Floats, lbf2: Floats, log_weight: Floats | None = None) -> Floats:
    """(n, m) probability that each variant is the shared one, given H4; the SNP-level colocalization
    probability (SCP) is this times H4. Zero where either trait lacks the variant."""
    lbf1, lbf2 = np.atleast_2d(lbf1), np.atleast_2d(lbf2)
    joint = lbf1 + lbf2 + (0.0 if log_weight is None else log_weight)
    level = _log_sum(joint)
    return np.asarray(np.exp(joint - np.where(np.isfinite(level), level, 0.0)[:, None]))


def cluster_sums(lbf1: Floats, lbf2: Floats, level: float = 0.95, log_weight: Floats | None = None) -> Floats:
    """(n,) log of S3 restricted to pairs of variants of one cluster: the credible sets of the two signals,
    where they have a variant in common; -inf elsewhere. The prior weights are those over all variants."""
    first, second = within_clusters(lbf1, lbf2, level, log_weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _log_sum_apart(first, second)


def within_clusters(
    lbf1: Floats, lbf2: Floats, level: float = 0.95, log_weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """(n, m) log weights times Bayes factors of either trait, -inf outside the cluster of the pair."""
    first, second = weighted(lbf1, lbf2, log_weight)
    inside1, inside2 = _credible(first, level), _credible(second, level)
    meets = np.asarray((inside1 & inside2).any(axis=1))
    cluster = (inside1 | inside2) & meets[:, None]
    return np.where(cluster, first, -np.inf), np.where(cluster, second, -np.inf)


def weighted(lbf1: Floats, lbf2: Floats, log_weight: Floats | None = None) -> tuple[Floats, Floats]:
    """(n, m) log weights of mean one times Bayes factors of either trait, -inf where one lacks the
    variant."""
    lbf1, lbf2 = (np.array(a, dtype=np.float64) for a in np.broadcast_arrays(*np.atleast_2d(lbf1, lbf2)))
    present = np.isfinite(lbf1) & np.isfinite(lbf2)
    given = np.broadcast_to(np.zeros(1) if log_weight is None else log_weight, lbf1.shape)
    weight = scaled_weight(given, present)
    return np.where(present, weight + lbf1, -np.inf), np.where(present, weight + lbf2, -np.inf)


def _credible(values: Floats, level: float) -> NDArray[np.bool_]:
    """(n, m) whether a variant is in the smallest set with `level` of exp(values)."""
    total = _log_sum(values)
    share = np.exp(values - np.where(np.isfinite(total), total, 0.0)[:, None])
    order = np.argsort(-share, axis=1, kind="stable")
    ranked = np.take_along_axis(share, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    inside = np.empty(values.shape, dtype=bool)
    np.put_along_axis(inside, order, (before < level) & (ranked > 0), axis=1)
    return inside


def locus_level(sums: PairSums, cluster: Floats, priors: ColocPriors) -> Floats:
    """(..., n) probability that both traits have a causal variant in one cluster, the same one or not (LCP of
    Hukku et al. 2022, doi:10.1016/j.ajhg.2022.04.005); at least H4. `cluster` is from `cluster_sums`."""
    posterior = hypotheses(sums, priors)
    with np.errstate(invalid="ignore"):
        share = np.exp(np.minimum(cluster - sums.log_sum[:, 3], 0.0))
    share = np.where(np.isfinite(cluster), share, 0.0)
    return np.asarray(posterior[..., 4] + posterior[..., 3] * share)


def matched(pair: Floats) -> tuple[Floats, float]:
    """Signals that compete: probability (L, K) that signal l of trait 1 goes with signal k of trait 2, and
    that any does, where every signal goes with one at most.

    `pair` (L, K) are the probabilities of each pair by itself. The posterior runs over all partial matchings,
    each weighted by the product of the odds of its pairs (two signals of one trait are two variants, so a
    signal of the other cannot be both); of a single pair it is the probability itself.
    """
    pair = np.clip(np.asarray(pair, dtype=np.float64), 0.0, 1.0)
    if pair.shape[1] > pair.shape[0]:
        turned, anything = matched(pair.T)
        return turned.T, anything
    if pair.size == 1:
        return pair, float(pair[0, 0])
    with np.errstate(divide="ignore"):
        odds = np.log(pair) - np.log(np.maximum(1 - pair, 1e-300))
    signals, masks = pair.shape[0], 1 << pair.shape[1]
    ahead, back = np.full((signals + 1, masks), -np.inf), np.full((signals + 1, masks), -np.inf)
    ahead[0, 0], back[signals] = 0.0, 0.0
    number = np.arange(masks)
    free = [np.flatnonzero((number >> k) & 1 == 0) for k in range(pair.shape[1])]
    for row in range(signals):
        ahead[row + 1] = ahead[row]
        for k, without in enumerate(free):
            taken = without | (1 << k)
            ahead[row + 1, taken] = np.logaddexp(ahead[row + 1, taken], ahead[row, without] + odds[row, k])
    for row in reversed(range(signals)):
        back[row] = back[row + 1]
        for k, without in enumerate(free):
            back[row, without] = np.logaddexp(
                back[row, without], odds[row, k] + back[row + 1, without | (1 << k)]
            )
    total = back[0, 0]
    out = np.empty_like(pair)
    for row in range(signals):
        for k, without in enumerate(free):
            paths = ahead[row, without] + odds[row, k] + back[row + 1, without | (1 << k)]
            out[row, k] = np.exp(np.logaddexp.reduce(paths) - total)
    return np.minimum(out, 1.0), float(-np.expm1(-total))


def enrichment(priors: ColocPriors) -> Floats:
    """log p12 / (p1 p2): log odds ratio of acting on trait 2, of variants that act on trait 1 against those
    that do not (Wen et al. 2017, doi:10.1371/journal.pgen.1006646, to first order in p1, p2)."""
    p1, p2, p12 = (np.log(np.asarray(p, dtype=np.float64)) for p in priors)
    return np.asarray(p12 - p1 - p2)
