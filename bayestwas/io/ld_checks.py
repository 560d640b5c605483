"""What a matrix of correlations must be, whatever the file it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bayestwas.errors import InputError

_UNIT = (
    1e-3  # of a diagonal from 1, of |r| above 1, of the two halves from each other: rounding to 3 decimals
)
# Rounding to d decimals moves eigenvalues by about 2 sqrt(p) 10^-d / sqrt(12): four decimals are let pass.
_EIGENVALUE = 2e-4
_R2_VARIANTS = 10  # fewer variants can be all positively correlated by chance
_WEAK = (0.01, 0.3)  # pairs in weak LD have correlations of both signs, whatever the alleles
_WEAK_PAIRS = 10  # all positive by chance: 1 in 1,000
_MOST_FACTORED = 2000  # variants: some 0.2 s


def check_correlations(path: Path, ld: np.ndarray, ids: np.ndarray) -> None:
    """Raise `InputError` unless `ld` (p, p) of the variants `ids` holds correlations: finite (or NaN
    throughout a row and column), symmetric, 1 on the diagonal, of both signs, without negative eigenvalues.
    """
    absent = np.isnan(ld).all(axis=1) & np.isnan(ld).all(axis=0)
    if absent.any():
        ld, ids = ld[np.ix_(~absent, ~absent)], ids[~absent]
    if not len(ids):
        raise InputError(
            f"{path}: no variant has LD", "An LD matrix holds correlations", "Write the matrix again"
        )
    worst = ""
    if not np.isfinite(ld).all():
        row, column = divmod(int(np.argmax(~np.isfinite(ld))), len(ld))
        worst = f"ld[{ids[row]}, {ids[column]}] is {ld[row, column]}"
    elif np.abs(ld).max() > 1 + _UNIT:
        row, column = divmod(int(np.abs(ld).argmax()), len(ld))
        worst = f"ld[{ids[row]}, {ids[column]}] = {ld[row, column]:.4g}"
    elif np.abs(ld.diagonal() - 1).max() > _UNIT:
        row = int(np.abs(ld.diagonal() - 1).argmax())
        worst = f"ld[{ids[row]}, {ids[row]}] = {ld[row, row]:.4g} on the diagonal"
    elif np.abs(ld - ld.T).max() > _UNIT:
        row, column = divmod(int(np.abs(ld - ld.T).argmax()), len(ld))
        pair = f"ld[{ids[row]}, {ids[column]}] = {ld[row, column]:.4g}"
        worst = f"{pair} and {ld[column, row]:.4g} the other way round"
    if worst:
        raise InputError(
            f"{path}: {worst}",
            "An LD matrix holds correlations: finite, between -1 and 1, 1 on the diagonal, symmetric",
            "Compute it again as correlations of dosages (plink --r square), not covariances or half a "
            "matrix",
        )
    _check_signs(path, ld)
    _check_eigenvalues(path, ld)


def _check_signs(path: Path, ld: np.ndarray) -> None:
    above = ld[np.triu_indices(len(ld), 1)]
    weak = int(((above > _WEAK[0]) & (above < _WEAK[1])).sum())
    if len(ld) >= _R2_VARIANTS and above.min() >= 0 and weak >= _WEAK_PAIRS:
        raise InputError(
            f"{path}: no correlation among {len(ld)} variants is negative, though {weak} pairs are in weak "
            "LD: "
            "this looks like r2",
            "An LD matrix holds r, with its sign, not r2",
            "Compute it again with plink --r square (not --r2)",
        )


def _check_eigenvalues(path: Path, ld: np.ndarray) -> None:
    """A Cholesky factor of the matrix plus the tolerance exists exactly when no eigenvalue lies below it.

    Of a large matrix a principal part is looked at: it has no negative eigenvalue where the whole has none.
    """
    if len(ld) > _MOST_FACTORED:
        part = np.linspace(0, len(ld) - 1, _MOST_FACTORED).astype(int)
        ld = ld[np.ix_(part, part)]
    tolerance = _EIGENVALUE * np.sqrt(len(ld))
    shifted = ld.astype(float)
    shifted = (shifted + shifted.T) / 2
    shifted[np.diag_indices_from(shifted)] += tolerance
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        smallest = float(np.linalg.eigvalsh(shifted)[0]) - tolerance
        raise InputError(
            f"{path}: the smallest eigenvalue is {smallest:.3g}: the matrix is not positive semidefinite",
            f"A matrix of correlations has no negative eigenvalue (tolerance {tolerance:.1g} for rounding)",
            "Compute all correlations from the same people, without pairwise deletion or entries edited by "
            "hand",
        ) from None
