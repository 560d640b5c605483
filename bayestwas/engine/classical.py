"""The classical side: p-values, and error rates over many tests beside the Bayesian ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]

# p-values above these are those of null tests, to estimate the share of nulls
LAMBDAS = np.arange(0.05, 0.96, 0.05)


def two_sided_p(z: Floats) -> Floats:
    """Two-sided p-values of z-scores, any shape; NaN stays NaN."""
    return np.asarray(2 * norm.sf(np.abs(z)))


def bonferroni(p: Floats) -> Floats:
    """(n,) p times the number of tests made, at most 1. A NaN is no test."""
    return np.asarray(np.minimum(p * max(np.isfinite(p).sum(), 1), 1.0))


def benjamini_hochberg(p: Floats, nulls: float = 1.0) -> Floats:
    """(n,) adjusted p-values: the smallest false discovery rate at which each is called.

    Benjamini and Hochberg 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x); `nulls` is the share of true nulls.
    A NaN is no test.
    """
    out = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    rate = nulls * p[order] * len(order) / np.arange(1, len(order) + 1)
    out[order] = np.minimum(np.minimum.accumulate(rate[::-1])[::-1], 1.0)
    return out


def null_share(p: Floats) -> float:
    """Share of true nulls: the smallest over LAMBDAS of #(p > lambda) / ((1 - lambda) n), plus two standard
    errors of the count, at most 1; with few tests that is 1.

    After Storey 2002 (doi:10.1111/1467-9868.00346); the bound errs to the safe side where it is uncertain.
    """
    tested = p[np.isfinite(p)]
    if len(tested) == 0:
        return 1.0
    above = (tested[:, None] > LAMBDAS).sum(axis=0)
    share = (above + 2 * np.sqrt(np.maximum(above, 1))) / ((1 - LAMBDAS) * len(tested))
    return float(min(share.min(), 1.0))


def q_values(p: Floats) -> Floats:
    """(n,) q-values: Benjamini-Hochberg with the estimated share of nulls (`null_share`)."""
    return benjamini_hochberg(p, null_share(p))


def combine_finished(p_twas: Floats, colocalization: Floats, threshold: float = 0.05) -> Floats:
    """(n,) probability that a gene is causal, of finished TWAS z and colocalization results of OTHER
    programs.

    In the manner of INTACT (Okamoto et al. 2023, doi:10.1016/j.ajhg.2022.12.002): the Bayes factor bound of a
    p-value, 1 / (-e p log p) (Sellke et al. 2001, doi:10.1198/000313001300339950), with the colocalization
    probability as prior, set to zero under `threshold`, times the share of genes that are not null (1 -
    `null_share`). Not for results of this package: gene PIP and GRCP come from the same data, and would count
    it twice.
    """
    p = np.clip(p_twas, 1e-300, 1.0)
    bound = np.where(p < np.exp(-1), 1 / (-np.e * p * np.log(np.minimum(p, 0.999999))), 1.0)
    prior = np.where(colocalization >= threshold, colocalization, 0.0) * (1 - null_share(p_twas))
    out = prior * bound / (prior * bound + 1 - prior)
    return np.asarray(np.where(np.isfinite(p_twas) & np.isfinite(colocalization), out, np.nan))
