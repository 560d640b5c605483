"""How an eQTL effect is shared over contexts and ancestries: patterns of covariance, and learning them.

Given its size sigma^2, an effect over the S = C x A studies (context-major) is Normal(0, sigma^2 U_k), with
U_k one of the patterns

    shared          T (x) A       T, A correlations of contexts and of ancestries
    unstructured    U             any covariance, of mean variance one
    context c       e_c e_c' (x) A
    ancestry a      T (x) e_a e_a'

in this order, chosen with weights that sum to one (a mixture of covariances, as in mash: Urbut et al. 2019,
doi:10.1038/s41588-018-0268-8). What genes say of it are the Gaussian likelihoods of their clear effects,
exp(u'gamma - gamma'J gamma / 2), from which EM finds the patterns. One EM step for each pass over the genes
would need many passes: what a study cannot see of an effect repeats the prior. The M-step for T and A
alternates between the two (Dutilleul 1999, doi:10.1080/00949659908811970).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayestwas.engine.likelihood import Floats, correlation, covariance_root, posterior_covariance

SHARED, UNSTRUCTURED, FIRST_CONTEXT = 0, 1, 2
# Effects' worth of the documented defaults in what is learned.
STRENGTH = 20.0
# A learned correlation matrix has no smaller eigenvalue: an eQTL is never quite the same in two places.
SMALLEST_EIGENVALUE = 0.01
FLIPS = 3
TINY = 1e-6  # of a pattern that no effect follows
TOLERANCE, MOST_STEPS = 2e-3, 100
MOST_EFFECTS = 2000


@dataclass(frozen=True)
class Sharing:
    """Patterns of C contexts and A ancestries, S = C A.

    Attributes
    ----------
    contexts, ancestries : (C, C) T and (A, A) A. unstructured : (S, S) U.
    weight : (2 + C + A,) prior probability of each pattern, in the order of the module's docstring; zero
        where a pattern would be the same as another (a single context, a single ancestry).
    """

    contexts: Floats
    ancestries: Floats
    unstructured: Floats
    weight: Floats

    def patterns(self) -> Floats:
        """(2 + C + A, S, S) covariances of the patterns."""
        one, other = np.eye(len(self.contexts)), np.eye(len(self.ancestries))
        return np.array(
            [np.kron(self.contexts, self.ancestries), self.unstructured]
            + [np.kron(np.outer(unit, unit), self.ancestries) for unit in one]
            + [np.kron(self.contexts, np.outer(unit, unit)) for unit in other]
        )


@dataclass(frozen=True)
class Effects:
    """Likelihoods of E effects over S studies; adds up over genes, the ones beyond `most_effects` left out.

    Attributes
    ----------
    weight : (E,) probability that the effect is there, on this variant. score : (E, S) u.
    information : (E, S, S) J, zero for studies without data.
    """

    weight: Floats
    score: Floats
    information: Floats

    @classmethod
    def nothing(cls, studies: int) -> Effects:
        return cls(np.zeros(0), np.zeros((0, studies)), np.zeros((0, studies, studies)))

    def __add__(self, other: Effects) -> Effects:
        both = Effects(
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.score, other.score]),
            np.concatenate([self.information, other.information]),
        )
        return both.thinned(most_effects(self.score.shape[1]))

    def thinned(self, most: int) -> Effects:
        """At most so many, chosen by a hash of their numbers: as if at random, whatever their order."""
        if len(self.weight) <= most:
            return self
        kept = np.argsort([crc32(row.tobytes()) for row in self.score], kind="stable")[:most]
        return Effects(self.weight[kept], self.score[kept], self.information[kept])

    def over(self, places: NDArray[np.intp], studies: int) -> Effects:
        """The same over more studies, of which these are `places`: the others have no data."""
        score = np.zeros((len(self.weight), studies))
        information = np.zeros((len(self.weight), studies, studies))
        score[:, places] = self.score
        information[:, places[:, None], places] = self.information
        return Effects(self.weight, score, information)


def most_effects(studies: int) -> int:
    """Enough for the correlations of that many studies, within 160 MB."""
    return int(min(MOST_EFFECTS, 2e7 / studies**2))


def default_unstructured(contexts: Floats, ancestries: Floats) -> Floats:
    """(S, S) half-way between T (x) A and independence: what the unstructured pattern is pooled towards. At
    T (x) A itself the two patterns would be one, and EM could never tell them apart."""
    shared = np.kron(contexts, ancestries)
    return 0.5 * (shared + np.eye(len(shared)))


def existing(weight: Floats, contexts: int, ancestries: int) -> Floats:
    """The weights of patterns that differ from each other, summing to one."""
    there = np.ones(len(weight), dtype=bool)
    there[UNSTRUCTURED] = contexts * ancestries > 1
    there[FIRST_CONTEXT : FIRST_CONTEXT + contexts] = contexts > 1
    there[FIRST_CONTEXT + contexts :] = ancestries > 1
    kept = np.where(there, weight, 0.0)
    return kept / kept.sum()


@dataclass(frozen=True)
class Moments:
    """E-step over effects: expected number (P,) of each pattern, sums of E[gamma gamma'] / sigma^2 (P, S, S),
    and reach (S, S), the sum over shared effects of r_s r_t, with r_s the share of the variance of an effect
    that study s alone reveals: how many effects inform an entry."""

    count: Floats
    second: Floats
    reach: Floats


def moments(effects: Effects, current: Sharing, sizes: Floats, size_weight: Floats) -> Moments:
    """Of `effects`, given that each follows one of the `current` patterns at one of the sizes."""
    pattern, size = np.nonzero(np.outer(current.weight, size_weight) > 0)
    patterns = current.patterns()
    log_share = np.log(current.weight[pattern] * size_weight[size])
    log_share = np.tile(log_share, (len(effects.weight), 1))
    parts = [_given(effects, sizes[k] * patterns[j]) for j, k in zip(pattern, size, strict=True)]
    log_share += np.array([log_bf for log_bf, _, _ in parts]).T
    share = np.exp(log_share - logsumexp(log_share, axis=1, keepdims=True)) * effects.weight[:, None]
    second = np.zeros_like(patterns)
    own = np.einsum("ess->es", effects.information)
    reach = np.zeros(patterns.shape[1:])
    for m, (j, k) in enumerate(zip(pattern, size, strict=True)):
        _, mean, covariance = parts[m]
        moment = (share[:, m, None] * mean).T @ mean + np.tensordot(share[:, m], covariance, 1)
        second[j] += moment / sizes[k]
        if j == SHARED:
            seen = own * sizes[k] / (1 + own * sizes[k])
            reach += (share[:, m, None] * seen).T @ seen
    return Moments(np.bincount(pattern, share.sum(axis=0), len(patterns)).astype(np.float64), second, reach)


def _given(effects: Effects, prior: Floats) -> tuple[Floats, Floats, Floats]:
    """log Bayes factor (E,), posterior mean (E, S) and covariance (E, S, S) under Normal(0, prior)."""
    root = covariance_root(prior)
    root = root[:, np.abs(root).any(axis=0)]
    covariance, log_scale = posterior_covariance(root, effects.information)
    mean = np.einsum("est,et->es", covariance, effects.score)
    log_bf = 0.5 * (mean * effects.score).sum(axis=1) + log_scale
    return log_bf, mean, covariance


def learn_sharing(
    effects: Effects, start: Sharing, default: Sharing, sizes: Floats, size_weight: Floats
) -> Sharing:
    """Patterns from effects: EM from `start`, with STRENGTH effects' worth of `default`, until nothing moves
    by TOLERANCE, or for MOST_STEPS steps."""
    current = start
    for _ in range(MOST_STEPS):
        updated = maximised(moments(effects, current, sizes, size_weight), current, default)
        moved = max(
            float(np.abs(getattr(updated, f.name) - getattr(current, f.name)).max()) for f in fields(current)
        )
        current = updated
        if moved < TOLERANCE:
            break
    return current


def maximised(found: Moments, current: Sharing, default: Sharing) -> Sharing:
    """One M-step. A correlation that few effects inform is pooled towards the mean of the others, the mean
    towards the default: T_cd = (n_cd T*_cd + STRENGTH t) / (n_cd + STRENGTH), n_cd from `reach`, T* of the
    moments. Unstructured covariances are pooled towards `default_unstructured`."""
    c_total, a_total = len(current.contexts), len(current.ancestries)
    shape = (c_total, a_total, c_total, a_total)
    four, reach = found.second[SHARED].reshape(shape), found.reach.reshape(shape)
    specific = found.second.reshape(-1, *shape)
    first_ancestry = FIRST_CONTEXT + c_total
    in_context = sum(specific[FIRST_CONTEXT + c, c, :, c] for c in range(c_total))
    in_ancestry = sum(specific[first_ancestry + a, :, a, :, a] for a in range(a_total))
    contexts, ancestries = current.contexts, current.ancestries
    context_reach = np.einsum("cada->acd", reach).max(axis=0)
    ancestry_reach = np.einsum("cacb->cab", reach).max(axis=0)
    for _ in range(FLIPS):
        moment = np.einsum("cadb,ab->cd", four, np.linalg.inv(ancestries)) + in_ancestry
        contexts = pooled(moment + TINY * contexts, context_reach, default.contexts)
        moment = np.einsum("cadb,cd->ab", four, np.linalg.inv(contexts)) + in_context
        ancestries = pooled(moment + TINY * ancestries, ancestry_reach, default.ancestries)
    strength = STRENGTH + c_total * a_total
    loose = default_unstructured(contexts, ancestries)
    unstructured = found.second[UNSTRUCTURED] + strength * loose
    weight = (found.count + STRENGTH * default.weight) / (found.count.sum() + STRENGTH)
    return Sharing(
        contexts, ancestries, unstructured * len(loose) / np.trace(unstructured),
        existing(weight, c_total, a_total),
    )  # fmt: skip


def pooled(moment: Floats, informed: Floats, default: Floats) -> Floats:
    """Correlation of second moments (D, D), each entry pooled with `informed` (D, D) effects of its own."""
    size = len(moment)
    if size == 1:
        return np.ones((1, 1))
    off = np.triu_indices(size, 1)
    spread = np.sqrt(np.diag(moment))
    raw = moment / np.outer(spread, spread)
    total = informed[off].sum() + STRENGTH
    mean = (informed[off] @ raw[off] + STRENGTH * default[off].mean()) / total
    out = (informed * raw + STRENGTH * correlation(mean, size)) / (informed + STRENGTH)
    np.fill_diagonal(out, 1.0)
    return definite_correlation(out)


def definite_correlation(matrix: Floats) -> Floats:
    """The matrix with its eigenvalues raised to SMALLEST_EIGENVALUE and its diagonal set to one again."""
    value, vector = np.linalg.eigh(matrix)
    if value[0] < SMALLEST_EIGENVALUE:
        matrix = (vector * np.maximum(value, SMALLEST_EIGENVALUE)) @ vector.T
        spread = np.sqrt(np.diag(matrix))
        matrix = matrix / np.outer(spread, spread)
    return np.asarray(matrix)
