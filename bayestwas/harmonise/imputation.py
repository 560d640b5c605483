"""Imputation quality of the variants of a genotype file, from the file or from its dosages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayestwas.data.studies import Genotypes

_CHUNK = 1024  # variants read at once

Floats = NDArray[np.float64]


def imputation_quality(genotypes: Genotypes, rows: NDArray[np.intp]) -> Floats:
    """(len(rows),) INFO of variants of a file: as the file gives it, else of imputed dosages by
    `variance_ratio`; NaN where it is not known, as for calls without imputation."""
    given = genotypes.info
    out = np.full(len(rows), np.nan) if given is None else np.asarray(given, dtype=float)[rows]
    if not genotypes.imputed:
        return out
    lacking = np.flatnonzero(np.isnan(out))
    for first in range(0, len(lacking), _CHUNK):
        part = lacking[first : first + _CHUNK]
        out[part] = variance_ratio(genotypes.load(rows[part]))
    return out


def variance_ratio(dosage: NDArray[np.number]) -> Floats:
    """(p,) variance of dosages (p, n) over that of genotypes in Hardy-Weinberg equilibrium, 2 f (1 - f), at
    most 1: the r2 of MaCH and minimac (Li et al. 2010, doi:10.1002/gepi.20533).

    -1 is missing. 1 where all dosages are whole, NaN where nothing varies or nobody is seen.
    """
    seen = dosage >= 0
    count = np.maximum(seen.sum(axis=1), 1)
    x = np.where(seen, dosage, 0).astype(np.float64)
    mean = x.sum(axis=1) / count
    variance = np.where(seen, (x - mean[:, None]) ** 2, 0.0).sum(axis=1) / count
    expected = mean * (1 - mean / 2)  # 2 f (1 - f) with f = mean / 2
    varies = (variance > 0) & (expected > 0)
    ratio = np.divide(variance, expected, out=np.full(len(x), np.nan), where=varies)
    whole = (x == np.rint(x)).all(axis=1) & varies
    return np.where(whole, 1.0, np.minimum(ratio, 1.0))
