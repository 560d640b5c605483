"""A correlation matrix of which only some blocks are known, completed with as little as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Part = tuple[NDArray[np.intp], Floats]

_NEGLIGIBLE = 1e-10  # share of the largest eigenvalue below which a direction is taken as absent


def complete_correlation(
    size: int, parts: Sequence[Part], *, sweeps: int = 200, tolerance: float = 1e-9
) -> tuple[Floats, float]:
    """The correlation matrix of largest entropy that agrees with its known parts.

    Parameters
    ----------
    size : p. parts : (indices (k,), correlation (k, k)) of every set of variants whose correlations are known
        together; sets may overlap.

    Returns
    -------
    (p, p) correlation, and the largest difference from a known entry. Variants that no part joins are
    independent given the others (Dempster 1972, doi:10.2307/2528966): the conditional of all others given a
    part is kept while the part is set to its known value, part after part, until all agree (iterative
    proportional scaling, Speed and Kiiveri 1986, doi:10.1214/aos/1176349846). Every step keeps the matrix
    positive semidefinite, also where parts are singular.
    """
    matrix = np.eye(size)
    parts = [(np.asarray(index, dtype=np.intp), _possible(known)) for index, known in parts]
    worst = 0.0
    for _ in range(sweeps):
        worst = 0.0
        for index, known in parts:
            here = matrix[np.ix_(index, index)]
            worst = max(worst, float(np.abs(known - here).max(initial=0.0)))
            others = matrix[:, index] @ _inverse(here)
            matrix = matrix + others @ (known - here) @ others.T
            matrix = (matrix + matrix.T) / 2
        if worst <= tolerance:
            break
    scale = np.sqrt(np.maximum(matrix.diagonal(), 1e-12))
    return matrix / np.outer(scale, scale), worst


def _inverse(matrix: Floats) -> Floats:
    value, vector = np.linalg.eigh(matrix)
    keep = value > _NEGLIGIBLE * max(float(value[-1]), 1e-300)
    return np.asarray((vector[:, keep] / value[keep]) @ vector[:, keep].T)


def _possible(known: Floats) -> Floats:
    """Without negative eigenvalues, and with a unit diagonal: published numbers are rounded."""
    value, vector = np.linalg.eigh((known + known.T) / 2)
    if len(value) and value[0] >= 0:
        return np.asarray(known, dtype=np.float64)
    clipped = (vector * np.maximum(value, 0.0)) @ vector.T
    scale = np.sqrt(np.maximum(clipped.diagonal(), 1e-12))
    return np.asarray(clipped / np.outer(scale, scale))
