"""How large effects are, learned with p1, p2 and p12: empirical Bayes over the pairs of signals of a study.

A Bayes factor averages over prior variances of the effect. Where that average gives much to weak effects that
a study does not have, a signal that is not there looks like a weak one, and p1, p2 and p12 come out too high
(docs/coloc.md). So the shares of the variances are learned. With u and v the shares of the variances of
either trait, the sums of `engine.coloc` are

    S1 = sum_q u_q S1_q,  S2 = sum_r v_r S2_r,  S3 = sum_qr u_q v_r S3_qr,  S4 = sum_qr u_q v_r S4_qr

so that the evidence of all pairs is a smooth function of p1, p2, p12, u and v, whatever the number of
variants. The weight on distinct variants in LD (`engine.coloc_near`) is one number more of that function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from bayestwas.engine.coloc import ColocPriors, PairSums, pair_sums
from bayestwas.engine.coloc_near import near_sums, tilted

Floats = NDArray[np.float64]

# priors of log p1, log p2 and logit of the share p12 / sqrt(p1 p2), those of models/coloc.py
CENTRE, SCALE = np.log([1e-4, 1e-4, 0.1]), 1.6
MIX = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.5, 0.5, 1]])
# pairs' worth of evidence for the shares that the fit began with
STRENGTH = 3.0


@dataclass(frozen=True)
class SizeSums:
    """What n pairs say, by the variances of both effects: logs of the sums over variants.

    first (n, Q), second (n, R), apart and shared (n, Q, R); log_mass (n, 5) as of `PairSums`. near (n, Q, R)
    and near_mass (n,): the part of `apart`, and of its mass, that is of variants in LD.
    """

    first: Floats
    second: Floats
    apart: Floats
    shared: Floats
    log_mass: Floats
    near: Floats
    near_mass: Floats


@dataclass(frozen=True)
class Sizes:
    """Shares of the prior variances of the effects of either trait, (Q,) and (R,), and the most probable
    priors that go with them; the variances themselves, where they are known; and the log weight on distinct
    variants in LD."""

    first: Floats
    second: Floats
    priors: ColocPriors
    variances: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    near: float = 0.0


def size_sums(
    lbf1: Floats, lbf2: Floats, log_weight: Floats | None = None, near: NDArray[np.bool_] | None = None
) -> SizeSums:
    """The sums of n pairs over m variants, by variance: lbf1 (Q, n, m), lbf2 (R, n, m), natural logs; the
    rest as in `pair_sums`. near (m, m): which variants are in LD; None: unknown, and nothing is learned."""
    every = [[pair_sums(one, two, log_weight) for two in lbf2] for one in lbf1]
    sums = np.array([[cell.log_sum for cell in row] for row in every])  # (Q, R, n, 5)
    close = [[near_sums(one, two, near, log_weight) for two in lbf2] for one in lbf1]
    return SizeSums(
        sums[:, 0, :, 1].T,
        sums[0, :, :, 2].T,
        np.moveaxis(sums[..., 3], 2, 0),
        np.moveaxis(sums[..., 4], 2, 0),
        np.max([cell.log_mass for row in every for cell in row], axis=0),  # a variance may have no variant
        np.moveaxis(np.array([[cell.log_sum for cell in row] for row in close]), 2, 0),
        np.max([cell.log_mass for row in close for cell in row], axis=0),
    )


def shared_sums(lbf1: Floats, lbf2: Floats, log_weight: Floats | None = None) -> Floats:
    """(n, Q, R) the sums `shared` alone; `lbf1` (Q, n, m) may be that of an effect in one context, -inf where
    it cannot act, with weights scaled over the variants m, all of which both traits have."""
    weight = np.zeros(lbf1.shape[2]) if log_weight is None else log_weight
    weight = weight - logsumexp(weight) + np.log(max(lbf1.shape[2], 1))
    every = [[logsumexp(one + two + weight, axis=1) for two in lbf2] for one in lbf1]
    return np.moveaxis(np.array(every), 2, 0)


def no_pairs(first: int, second: int) -> SizeSums:
    """The sums of no pairs, over this many variances of either trait."""
    both = (0, first, second)
    shapes = ((0, first), (0, second), both, both, (0, 5), both, (0,))
    return SizeSums(*(np.zeros(shape) for shape in shapes))


def joined(parts: Sequence[SizeSums]) -> SizeSums:
    """The pairs of all parts, in order."""
    names = SizeSums.__dataclass_fields__
    return SizeSums(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def pairs_of(sums: SizeSums, index: slice) -> SizeSums:
    """Some of the pairs."""
    return SizeSums(*(getattr(sums, name)[index] for name in SizeSums.__dataclass_fields__))


def collapsed(sums: SizeSums, first: Floats, second: Floats, near: float = 0.0) -> PairSums:
    """The sums of the pairs under shares of the variances and a log weight on distinct variants in LD."""
    log1, log2 = _log(first), _log(second)
    both = log1[:, None] + log2[None, :]
    one, two = logsumexp(sums.first + log1, axis=1), logsumexp(sums.second + log2, axis=1)
    apart, shared = (logsumexp(part + both, axis=(1, 2)) for part in (_apart(sums, near)[0], sums.shared))
    return PairSums(np.stack([np.zeros_like(one), one, two, apart, shared], axis=1), sums.log_mass)


def _apart(sums: SizeSums, near: float) -> tuple[Floats, Floats]:
    """(n, Q, R) the sums over distinct variants under a weight on those in LD, and their slope in it."""
    mass, near_mass = (part[:, None, None] for part in (sums.log_mass[:, 3], sums.near_mass))
    return tilted(sums.apart, sums.near, mass, near_mass, near)


def learn_sizes(sums: SizeSums, first: Floats, second: Floats) -> Sizes:
    """The most probable shares of the variances and weight on distinct variants in LD, with p1, p2 and p12:
    one maximum over all pairs.

    `first` (Q,) and `second` (R,) are the shares to begin with, which STRENGTH pairs' worth of evidence speak
    for.
    """
    held = [np.flatnonzero(share > 0) for share in (first, second)]
    base = [
        np.asarray(share, dtype=np.float64)[kept] for share, kept in zip((first, second), held, strict=True)
    ]
    cut = SizeSums(
        sums.first[:, held[0]],
        sums.second[:, held[1]],
        sums.apart[:, held[0]][:, :, held[1]],
        sums.shared[:, held[0]][:, :, held[1]],
        sums.log_mass,
        sums.near[:, held[0]][:, :, held[1]],
        sums.near_mass,
    )
    start = np.concatenate([CENTRE, *(np.log(share) for share in base), [0.0]])
    found = minimize(_loss, start, args=(cut, base), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    rates, one, two = np.split(found.x[:-1], [3, 3 + len(base[0])])
    out = [np.zeros(len(share)) for share in (first, second)]
    for share, kept, values in zip(out, held, (one, two), strict=True):
        share[kept] = np.exp(log_softmax(values))
    p = np.exp(MIX[[1, 2, 4]] @ rates)
    return Sizes(out[0], out[1], ColocPriors(*(float(value) for value in p)), near=float(found.x[-1]))


def _loss(x: Floats, sums: SizeSums, base: Sequence[Floats]) -> tuple[float, Floats]:
    """Negative log posterior of rates, shares (softmax) and the weight on variants in LD, and its gradient.

    The gradient of the evidence is that of its expectation-maximisation bound: of a log share the expected
    number of effects of that variance, of a rate its expected number of effects after less before the data.
    """
    rates, one, two = np.split(x[:-1], [3, 3 + len(base[0])])
    near = float(x[-1])
    log1, log2 = log_softmax(one), log_softmax(two)
    log_p = MIX @ rates
    apart, slope = _apart(sums, near)
    flat = (len(sums.first), len(log1) * len(log2))
    terms = [
        np.zeros((len(sums.first), 1)),
        sums.first + log1 + log_p[1],
        sums.second + log2 + log_p[2],
        (apart + (log1[:, None] + log2) + log_p[3]).reshape(flat),
        (sums.shared + (log1[:, None] + log2) + log_p[4]).reshape(flat),
    ]
    every = np.concatenate(terms, axis=1)
    total = logsumexp(every, axis=1)
    each = np.split(np.exp(every - total[:, None]), np.cumsum([t.shape[1] for t in terms])[:-1], axis=1)
    responsible = [part.sum(axis=0) for part in each]
    before = sums.log_mass + log_p
    norm = logsumexp(before, axis=1)
    expected = np.array([part.sum() for part in responsible]) - np.exp(before - norm[:, None]).sum(axis=0)
    shape = (len(log1), len(log2))
    pairs = responsible[3].reshape(shape) + responsible[4].reshape(shape)
    counts = (responsible[1] + pairs.sum(axis=1), responsible[2] + pairs.sum(axis=0))
    value = float((total - norm).sum() - 0.5 * (((rates - CENTRE) / SCALE) ** 2).sum())
    slopes = [expected @ MIX - (rates - CENTRE) / SCALE**2]
    for log_share, share, count in zip((log1, log2), base, counts, strict=True):
        value += STRENGTH * float(share @ log_share)
        both = count + STRENGTH * share
        slopes.append(both - np.exp(log_share) * both.sum())
    value -= 0.5 * (near / SCALE) ** 2
    slopes.append(np.array([(each[3] * slope.reshape(flat)).sum() - near / SCALE**2]))
    return -value, -np.concatenate(slopes)


def _log(share: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(share, dtype=np.float64))
