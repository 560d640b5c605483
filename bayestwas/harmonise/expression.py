"""Expression of a panel before it is fitted: normalisation, and hidden factors beside the covariates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from bayestwas.data.optional import library
from bayestwas.data.preparation import INVERSE_NORMAL, TMM, Preparation
from bayestwas.engine.projection import projection, residual, unit_variance
from bayestwas.errors import HarmonisationError

Floats = NDArray[np.float64]

FEWEST_GENES = 100  # from which hidden factors are estimated: of few genes they are the genes themselves
GENES_PER_FACTOR = 10
_PERMUTED = 19  # data sets without factors: one that beats them all has p = 1 / 20
_MOST = 4  # automatic factors take at most one donor in so many
_SEED = 1999  # the permutations of a panel depend on its data only


def normalised(values: Floats, preparation: Preparation, source: str) -> Floats:
    """Expression (genes, donors) as `preparation` asks, NaN where missing. Raises `HarmonisationError` for
    counts that are none, `DependencyError` for TMM without rnanorm."""
    if preparation.normalise == TMM:
        return inverse_normal(_tmm(values, source))
    return inverse_normal(values) if preparation.normalise == INVERSE_NORMAL else values


def inverse_normal(values: Floats) -> Floats:
    """Quantiles r / (n + 1) of the normal distribution, r the rank among the n donors of a gene with a value;
    ties share their mean rank (as GTEx, doi:10.1126/science.aaz1776)."""
    rank = rankdata(values, axis=1, nan_policy="omit")
    count = np.isfinite(values).sum(axis=1, keepdims=True)
    return np.where(np.isfinite(values), ndtri(rank / (count + 1.0)), np.nan)


def _tmm(values: Floats, source: str) -> Floats:
    """Counts per million of effective library sizes (Robinson & Oshlack 2010,
    doi:10.1186/gb-2010-11-3-r25)."""
    if not np.isfinite(values).all() or (values < 0).any():
        raise HarmonisationError(
            f"{source}: normalise = 'tmm' and values that are missing or below zero",
            "TMM takes read counts of every gene in every donor",
            "Give counts, or leave normalise out for values that are normalised already",
        )
    method = library("rnanorm", "counts", f"{source}: normalise = 'tmm'").TMM()
    return np.asarray(method.fit_transform(values.T), dtype=np.float64).T


def hidden_factors(values: Floats, covariates: Floats, number: int | None, source: str) -> Floats:
    """(factors, donors) posterior means of the factors of probabilistic PCA, of expression (genes, donors)
    with the covariates (q, donors) projected out and every gene of variance 1.

    With lambda_j the eigenvalues over n donors and sigma^2 the mean of those left out, factor j is
    sqrt(lambda_j - sigma^2) / lambda_j times the projection of a donor on axis j (Tipping & Bishop 1999,
    doi:10.1111/1467-9868.00196, at their equation 7 for W). `number` None: `parallel_analysis`. Raises
    `HarmonisationError` for too few genes.
    """
    if number == 0:
        return np.empty((0, values.shape[1]))
    known = values[np.isfinite(values).all(axis=1)]
    least = max(FEWEST_GENES, GENES_PER_FACTOR * (number or 0))
    if len(known) < least:
        raise HarmonisationError(
            f"{source}: hidden factors of {len(known)} genes without missing values",
            f"Factors are what genes share: {FEWEST_GENES} genes or more, {GENES_PER_FACTOR} per factor",
            "Leave hidden_factors out, and give factors of all genes as covariates",
        )
    basis = projection(covariates, known.shape[1])
    y = unit_variance(residual(known, basis))
    q = parallel_analysis(y, basis) if number is None else number
    return principal_factors(y, q)


def principal_factors(y: Floats, q: int) -> Floats:
    """(q, n) posterior means of the factors of probabilistic PCA of centred rows y (genes, n)."""
    genes, n = y.shape
    value, vector = np.linalg.eigh(y.T @ y / n)
    value, vector = value[::-1], vector[:, ::-1].T
    q = min(q, int((value > 1e-10 * value[0]).sum()))
    noise = max(float(value[q:].sum()), 0.0) / max(genes - q, 1)
    kept = value[:q]
    return np.sqrt(np.maximum(kept - noise, 0.0) / kept * n)[:, None] * vector[:q]


def parallel_analysis(y: Floats, basis: Floats, seed: int = _SEED) -> int:
    """Leading eigenvalues of y (genes, n) above those of each of 19 permutations of every gene over the
    donors (Horn 1965, doi:10.1007/BF02289447; Buja & Eyuboglu 1992, doi:10.1207/s15327906mbr2704_2), at most
    n / 4."""
    n = y.shape[1]
    rng = np.random.default_rng(seed)
    highest = np.zeros(n)
    for _ in range(_PERMUTED):
        mixed = unit_variance(residual(rng.permuted(y, axis=1), basis))
        highest = np.maximum(highest, np.linalg.eigvalsh(mixed.T @ mixed)[::-1])
    above = np.linalg.eigvalsh(y.T @ y)[::-1] > highest
    return min(int(np.argmin(above)) if not above.all() else n, n // _MOST)
