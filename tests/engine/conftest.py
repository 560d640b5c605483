"""Exact twins of the kernel, and small loci to hold them against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from bayestwas.engine.ld import LD, MatrixLD
from bayestwas.engine.likelihood import Candidates

Floats = NDArray[np.float64]


def compound(rho: float, size: int) -> Floats:
    return (1 - rho) * np.eye(size) + rho * np.ones((size, size))


def decaying(decay: float, p: int) -> Floats:
    return decay ** np.abs(np.subtract.outer(np.arange(p), np.arange(p))).astype(float)


@dataclass(frozen=True)
class Locus:
    """A small problem for the kernel: z ~ N(R lambda, R) with independent inclusions drawn from the prior."""

    z: Floats  # (S, p)
    n: Floats  # (S,)
    r: tuple[Floats, ...]
    candidates: Candidates
    included: NDArray[np.bool_]  # (K,)

    @property
    def ld(self) -> list[LD]:
        return [MatrixLD(one) for one in self.r]

    def arguments(self) -> tuple[Floats, Floats, list[LD], Candidates]:
        return self.z, self.n, self.ld, self.candidates


def make_locus(
    rng: np.random.Generator,
    p: int,
    n: tuple[float, ...],
    *,
    decay: float = 0.6,
    odds: float = 0.05,
    sd: float = 0.03,
    rho: float = 0.8,
    genes: int = 0,
    gene_sd: float = 0.1,
) -> Locus:
    """A locus drawn from the prior: p variants and `genes` columns on three variants each, odds shared by
    all.
    """
    studies, k = len(n), p + genes
    r = tuple(decaying(decay ** (1 + 0.3 * s), p) for s in range(studies))
    columns = np.zeros((studies, genes, p))
    for g in range(genes):
        where = rng.choice(p, min(3, p), replace=False)
        columns[:, g, where] = 0.3 * rng.standard_normal(len(where)) + 0.05 * rng.standard_normal(
            (studies, len(where))
        )
    scale = np.concatenate([np.full(p, sd**2), np.full(genes, gene_sd**2)])
    omega = compound(rho, studies)
    included = rng.random(k) < odds / (1 + odds)
    gamma = np.sqrt(scale) * (np.linalg.cholesky(omega) @ rng.standard_normal((studies, k))) * included
    z = np.empty((studies, p))
    for s in range(studies):
        beta = gamma[s, :p] + gamma[s, p:] @ columns[s]
        z[s] = np.sqrt(n[s]) * (r[s] @ beta) + np.linalg.cholesky(r[s]) @ rng.standard_normal(p)
    candidates = Candidates(
        p,
        tuple(sparse.csr_array(one) for one in columns) if genes else (),
        np.full((k, 1), np.log(odds)),
        scale[:, None],
        omega[None],
    )
    return Locus(z, np.array(n), r, candidates, included)


def dense_columns(candidates: Candidates, study: int, p: int) -> Floats:
    """(K, p) the candidate columns of one study."""
    unit = np.eye(p)[: candidates.units]
    if not candidates.columns:
        return unit
    return np.concatenate([unit, candidates.columns[study].toarray()])


def statistics(locus: Locus) -> tuple[Floats, Floats]:
    """Score (S, K) and information (S, K, K) of all candidates together."""
    p = locus.z.shape[1]
    columns = [dense_columns(locus.candidates, s, p) for s in range(len(locus.z))]
    score = [np.sqrt(n) * c @ z for n, c, z in zip(locus.n, columns, locus.z, strict=True)]
    information = [n * c @ r @ c.T for n, c, r in zip(locus.n, columns, locus.r, strict=True)]
    return np.array(score), np.array(information)


@dataclass(frozen=True)
class Enumeration:
    """All configurations of independent inclusions: probabilities (2^K,), PIPs (K,) and the log evidence."""

    configurations: NDArray[np.bool_]
    probability: Floats
    pip: Floats
    log_evidence: float


def enumerate_inclusions(locus: Locus, largest: int | None = None) -> Enumeration:
    """Exact posterior over configurations with at most `largest` inclusions, effects integrated.

    log BF = y'B^-1 y / 2 - log|B| / 2 with D = L L', B = I + L'J L, y = L'u: fit for a singular D.
    """
    candidates = locus.candidates
    score, information = statistics(locus)
    studies, k = score.shape
    value, vector = np.linalg.eigh(candidates.covariances[0])
    root = vector * np.sqrt(np.maximum(value, 0.0))
    scale, log_odds = np.sqrt(candidates.scale[:, 0]), candidates.log_prior[:, 0]
    table = np.array(list(product((False, True), repeat=k)))
    table = table[table.sum(axis=1) <= (k if largest is None else largest)]
    size = table.sum(axis=1)
    log_weight = np.zeros(len(table))
    for m in range(1, size.max() + 1):
        rows = np.flatnonzero(size == m)
        at = np.array([np.flatnonzero(table[row]) for row in rows])
        own = scale[at]
        y = np.einsum("st,sbi,bi->bti", root, score[:, at], own).reshape(len(rows), -1)
        joint = information[:, at[:, :, None], at[:, None, :]]
        b = np.einsum("st,sbij,sv,bi,bj->btivj", root, joint, root, own, own, optimize=True)
        b = b.reshape(len(rows), studies * m, studies * m) + np.eye(studies * m)
        solved = np.linalg.solve(b, y[:, :, None])[:, :, 0]
        log_weight[rows] = 0.5 * (y * solved).sum(axis=1) - 0.5 * np.linalg.slogdet(b)[1]
        log_weight[rows] += log_odds[at].sum(axis=1)
    top = log_weight.max()
    weight = np.exp(log_weight - top)
    probability = weight / weight.sum()
    return Enumeration(table, probability, probability @ table, float(np.log(weight.sum()) + top))


@pytest.fixture(scope="session")
def locus() -> Callable[..., Locus]:
    """Draw a small locus from the prior."""
    return make_locus


@pytest.fixture(scope="session")
def enumeration() -> Callable[..., Enumeration]:
    """The exact posterior of a small locus over all configurations."""
    return enumerate_inclusions


@pytest.fixture(scope="session")
def permuted() -> Callable[[Locus, NDArray[np.intp]], Locus]:
    """The same locus with its variants in another order."""

    def permute(locus: Locus, order: NDArray[np.intp]) -> Locus:
        p = len(order)
        rows = np.concatenate([order, np.arange(p, len(locus.candidates.log_prior))])
        candidates = replace(
            locus.candidates,
            columns=tuple(sparse.csr_array(c.toarray()[:, order]) for c in locus.candidates.columns),
            log_prior=locus.candidates.log_prior[rows],
            scale=locus.candidates.scale[rows],
        )
        r = tuple(one[np.ix_(order, order)] for one in locus.r)
        return Locus(locus.z[:, order], locus.n, r, candidates, locus.included[rows])

    return permute


@pytest.fixture(scope="session")
def flipped() -> Callable[[Locus, Floats], Locus]:
    """The same locus with the other allele counted where `sign` (p,) is -1."""

    def flip(locus: Locus, sign: Floats) -> Locus:
        columns = tuple(sparse.csr_array(c.toarray() * sign) for c in locus.candidates.columns)
        r = tuple(one * np.outer(sign, sign) for one in locus.r)
        return Locus(locus.z * sign, locus.n, r, replace(locus.candidates, columns=columns), locus.included)

    return flip
