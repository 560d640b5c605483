"""What is left of rows once covariates are projected out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def projection(covariates: Floats, n: int) -> Floats:
    """(n, q) orthonormal basis of the intercept and the covariates (rows, n); collinear ones count once."""
    design = np.concatenate([np.ones((1, n)), covariates]).T
    scale = np.sqrt((design**2).sum(axis=0))
    left, value, _ = np.linalg.svd(design / np.where(scale > 0, scale, 1.0), full_matrices=False)
    return left[:, value > 1e-8 * value[0]]


def residual(rows: Floats, basis: Floats) -> Floats:
    """(rows, n) less their projection on `basis` (n, q)."""
    return rows - (rows @ basis) @ basis.T


def unit_variance(rows: Floats) -> Floats:
    """(rows, n) centred rows divided by their standard deviation; zero where nothing varies."""
    spread = np.sqrt((rows**2).mean(axis=1, keepdims=True))
    return np.divide(rows, spread, out=np.zeros_like(rows), where=spread > 1e-8)
