"""How an eQTL effect is shared over contexts and ancestries: patterns of covariance, and learning them.

Given its size sigma^2, an effect over the S = C x A studies (context-major) is Normal(0, sigma^2 U_k), with
U_k one of the patterns

    shared          T (x) A       T, A correlations of contexts and of ancestries
    unstructured    U             any covariance, of mean variance one
    context c       e_c e_c' (x) A
    ancestry a      T (x) e_a e_a'

in this order, chosen with weights that sum to one (a mixture of covariances, as in mash: Urbut et al. 2019,
doi:10.1038/s41588-018-0268-8). Everything is learned by EM: the E-step's counts and second moments
E[gamma gamma'] / sigma^2 of every pattern add up over genes; the M-step for T and A alternates between the
two (Dutilleul 1999, doi:10.1080/00949659908811970).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.likelihood import Floats, correlation

SHARED, UNSTRUCTURED, FIRST_CONTEXT = 0, 1, 2
# Effects' worth of the documented defaults in what is learned.
STRENGTH = 20.0
# A learned correlation matrix has no smaller eigenvalue: an eQTL is never quite the same in two places.
SMALLEST_EIGENVALUE = 0.01
FLIPS = 5


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
class SharingSums:
    """What effects say about how they are shared; adds up over genes of the same contexts and ancestries.

    Attributes
    ----------
    count : (2 + C + A,) expected number of effects of each pattern.
    shared, unstructured : (S, S) sums of E[gamma gamma'] / sigma^2 over the effects of these patterns.
    in_context : (A, A) the same over the effects in one context, in that context; in_ancestry : (C, C)
        likewise.
    reach : (S, S) sum over shared effects of r_s r_t, with r_s the share of the variance of an effect that
        the people of study s alone would reveal: how many effects inform an entry.
    """

    count: Floats
    shared: Floats
    unstructured: Floats
    in_context: Floats
    in_ancestry: Floats
    reach: Floats

    @classmethod
    def nothing(cls, contexts: int, ancestries: int) -> SharingSums:
        square = (contexts * ancestries,) * 2
        return cls(
            np.zeros(2 + contexts + ancestries), np.zeros(square), np.zeros(square),
            np.zeros((ancestries,) * 2), np.zeros((contexts,) * 2), np.zeros(square),
        )  # fmt: skip

    def __add__(self, other: SharingSums) -> SharingSums:
        return SharingSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


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


def sharing_sums(
    mass: Floats, second: Floats, reach: Floats, pattern: NDArray[np.intp], contexts: int, ancestries: int
) -> SharingSums:
    """Sums of one gene from its components.

    Parameters
    ----------
    mass, pattern : (M,) expected number of effects of each component and its pattern.
    second : (M, S, S) sums of E[gamma gamma'] / sigma^2. reach : (M, S, S) sums of r r'.
    """
    count = np.bincount(pattern, mass, minlength=2 + contexts + ancestries).astype(np.float64)
    by_pattern = np.zeros((len(count), *second.shape[1:]))
    np.add.at(by_pattern, pattern, second)
    four = by_pattern.reshape(-1, contexts, ancestries, contexts, ancestries)
    return SharingSums(
        count,
        by_pattern[SHARED],
        by_pattern[UNSTRUCTURED],
        sum((four[FIRST_CONTEXT + c, c, :, c] for c in range(contexts)), np.zeros((ancestries,) * 2)),
        sum(
            (four[FIRST_CONTEXT + contexts + a, :, a, :, a] for a in range(ancestries)),
            np.zeros((contexts,) * 2),
        ),
        reach[pattern == SHARED].sum(axis=0),
    )


def completed(sums: SharingSums, contexts: list[int], ancestries: list[int], current: Sharing) -> SharingSums:
    """Sums over some contexts and ancestries of a study (their places) as sums over all of them.

    What was not looked at takes its expectation given what was, under the `current` patterns: the E-step of
    missing data. With B = U_mo U_oo^-1 an effect's second moment over the others is B W B' + U_mm - B U_om.
    """
    c_total, a_total = len(current.contexts), len(current.ancestries)
    places = np.array([c * a_total + a for c in contexts for a in ancestries])
    seen = [
        SHARED, UNSTRUCTURED, *(FIRST_CONTEXT + c for c in contexts),
        *(FIRST_CONTEXT + c_total + a for a in ancestries),
    ]  # fmt: skip
    visible = current.weight[seen].sum()
    count = sums.count.sum() / visible * current.weight
    count[seen] = sums.count
    in_context = count[FIRST_CONTEXT : FIRST_CONTEXT + c_total].sum()
    in_ancestry = count[FIRST_CONTEXT + c_total :].sum()
    here = sums.count[FIRST_CONTEXT : FIRST_CONTEXT + len(contexts)].sum()
    there = sums.count[FIRST_CONTEXT + len(contexts) :].sum()
    reach = np.zeros((c_total * a_total,) * 2)
    reach[np.ix_(places, places)] = sums.reach
    return SharingSums(
        count,
        _filled(sums.shared, sums.count[SHARED], places, current.patterns()[SHARED]),
        _filled(sums.unstructured, sums.count[UNSTRUCTURED], places, current.unstructured),
        _filled(sums.in_context, here, np.array(ancestries), current.ancestries)
        + (in_context - here) * current.ancestries,
        _filled(sums.in_ancestry, there, np.array(contexts), current.contexts)
        + (in_ancestry - there) * current.contexts,
        reach,
    )


def _filled(moment: Floats, count: float, places: NDArray[np.intp], covariance: Floats) -> Floats:
    """Second moments over all places from those over `places`."""
    carry = covariance[:, places] @ np.linalg.inv(covariance[np.ix_(places, places)])
    carry[places] = np.eye(len(places))
    left = covariance - carry @ covariance[places]
    left[places], left[:, places] = 0.0, 0.0
    return np.asarray(carry @ moment @ carry.T + count * left)


def learn_sharing(sums: SharingSums, start: Sharing, default: Sharing) -> Sharing:
    """One M-step from `start`, the current patterns, with STRENGTH effects' worth of `default`.

    A correlation that few effects inform is pooled towards the mean of the others, the mean towards the
    default: T_cd = (n_cd T*_cd + STRENGTH t) / (n_cd + STRENGTH), n_cd from `reach`, T* of the moments.
    """
    c_total, a_total = len(start.contexts), len(start.ancestries)
    four = sums.shared.reshape(c_total, a_total, c_total, a_total)
    reach = sums.reach.reshape(four.shape)
    context_reach = np.einsum("cada->acd", reach).max(axis=0)
    ancestry_reach = np.einsum("cacb->cab", reach).max(axis=0)
    count = sums.count[SHARED]
    in_context = sums.count[FIRST_CONTEXT : FIRST_CONTEXT + c_total].sum()
    in_ancestry = sums.count[FIRST_CONTEXT + c_total :].sum()
    contexts, ancestries = start.contexts, start.ancestries
    for _ in range(FLIPS if sums.count.sum() > 0 else 0):
        moment = np.einsum("cadb,ab->cd", four, np.linalg.inv(ancestries)) + sums.in_ancestry
        contexts = pooled(moment + 1e-6 * (1 + count * a_total + in_ancestry) * start.contexts,
                          context_reach, default.contexts)  # fmt: skip
        moment = np.einsum("cadb,cd->ab", four, np.linalg.inv(contexts)) + sums.in_context
        ancestries = pooled(moment + 1e-6 * (1 + count * c_total + in_context) * start.ancestries,
                            ancestry_reach, default.ancestries)  # fmt: skip
    strength = STRENGTH + len(sums.shared)
    loose = default_unstructured(contexts, ancestries)
    unstructured = (sums.unstructured + strength * loose) / (sums.count[UNSTRUCTURED] + strength)
    weight = (sums.count + STRENGTH * default.weight) / (sums.count.sum() + STRENGTH)
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
