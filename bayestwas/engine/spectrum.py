"""LD by its eigenvalues: R = V diag(e) V', and what a polygenic background makes of it.

Background: every variant has a small effect besides those that are modelled, sqrt(N) b ~ Normal(0, tau^2 I),
so that z ~ Normal(R lambda, R + tau^2 R^2). The likelihood of lambda is then that of an ordinary study with

    z' = (I + tau^2 R)^-1 z,    R' = R (I + tau^2 R)^-1,

which has the eigenvectors of R and the eigenvalues e / (1 + tau^2 e).

The LD of a reference is uncertain for the background as it is for effects. The Wishart variance of
(R_gwas - R) sqrt(N) b with s = 1 / n_ref + delta is s (b'Rb R + R b b'R) N, whose mean over b is
s tau^2 (m R + R^2) with m = tr R variants, so that z ~ Normal(R lambda, (1 + c) R + tau^2 R^2), c = s tau^2 m
(s R^2 beside R^2 is left out). Then I + tau^2 R above is (1 + c) I + tau^2 R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayestwas.engine.ld import LD, Floats, Index, standardised

# Eigenvalues below this share of the largest are rounding errors.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues that are not zero, of the LD between the variants `index`, and their vectors.

    Attributes
    ----------
    index : (m,) variants, of p. size : p. values : (k,), falling. vectors : (m, k), orthonormal columns.
    """

    index: Index
    size: int
    values: Floats
    vectors: Floats

    def coordinates(self, vector: Floats) -> Floats:
        """V' vector, (k,), of a (p,) vector."""
        return np.asarray(self.vectors.T @ vector[self.index])


def spectrum(ld: LD, present: NDArray[np.bool_]) -> Spectrum:
    """The spectrum of R between the variants that are `present` (p,): exact, through the smaller of the Gram
    matrices of variants and of people."""
    index = np.flatnonzero(present & (ld.variance > 0))
    size = len(ld.variance)
    if not len(index):
        return Spectrum(index, size, np.empty(0), np.empty((0, 0)))
    factor = standardised(ld, index)
    if factor is None:
        values, vectors = np.linalg.eigh(ld.gram(index))
        keep = np.flatnonzero(values > ROUNDING * values[-1])[::-1]
        return Spectrum(index, size, values[keep], vectors[:, keep])
    values, left = np.linalg.eigh(factor @ factor.T)  # people x people
    keep = np.flatnonzero(values > ROUNDING * values[-1])[::-1]
    vectors = factor.T @ (left[:, keep] / np.sqrt(values[keep]))
    return Spectrum(index, size, values[keep], vectors)


class SpectralLD:
    """R ((1 + c) I + tau^2 R)^-1 as an operator: a covariance, whose diagonal is below one.

    Pickled as the LD it was made from: that is smaller, and made again soon.
    """

    def __init__(
        self, ld: LD, present: NDArray[np.bool_], tau2: float, c: float = 0.0, parts: Spectrum | None = None
    ) -> None:
        parts = parts or spectrum(ld, present)
        self._recipe = (ld, present, tau2, c)
        root = np.sqrt(parts.values / (1 + c + tau2 * parts.values))
        self.factor = np.zeros((parts.size, len(root)))
        self.factor[parts.index] = parts.vectors * root
        self.variance = np.einsum("jk,jk->j", self.factor, self.factor)
        self.n_ref = ld.n_ref

    def __reduce__(self) -> tuple[type[SpectralLD], tuple[LD, NDArray[np.bool_], float, float]]:
        return SpectralLD, self._recipe

    def columns(self, index: Index) -> Floats:
        return self.factor @ self.factor[index].T

    def gram(self, index: Index) -> Floats:
        part = self.factor[index]
        return part @ part.T

    def apply(self, index: Index, values: Floats) -> Floats:
        return self.factor @ (values @ self.factor[index])


def with_background(
    z: Floats, ld: LD, parts: Spectrum, tau2: float, c: float = 0.0
) -> tuple[Floats, SpectralLD]:
    """(p,) z' and the operator of R' for a background of tau^2; NaN at variants outside `parts`."""
    out = np.full(parts.size, np.nan)
    y = parts.coordinates(z)
    shrunk = tau2 * parts.values / (1 + c + tau2 * parts.values) * y
    out[parts.index] = (z[parts.index] - parts.vectors @ shrunk) / (1 + c)
    return out, SpectralLD(ld, np.isfinite(z), tau2, c, parts)
