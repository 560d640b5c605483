"""LD matrices in .npz files, checked before use."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from bayestwas.data.studies import LDMatrix
from bayestwas.data.variants import parse_variant_ids
from bayestwas.errors import InputError

_UNIT = (
    1e-3  # of a diagonal from 1, of |r| above 1, of the two halves from each other: rounding to 3 decimals
)
# Rounding to d decimals moves eigenvalues by about 2 sqrt(p) 10^-d / sqrt(12): four decimals are let pass.
_EIGENVALUE = 2e-4
_R2_VARIANTS = 10  # fewer variants can be all positively correlated by chance
_WEAK = (0.01, 0.3)  # pairs in weak LD have correlations of both signs, whatever the alleles
_WEAK_PAIRS = 10  # all positive by chance: 1 in 1,000


def read_ld_matrix(path: str | Path, n_ref: float, name: str | None = None) -> LDMatrix:
    """Read an LD matrix: an .npz with `ld` (p, p) and `variant_id` (p,), optionally `effect_allele`,
    `other_allele`.

    Without alleles the identifiers are read as chr_pos_other_effect[_build] or chr:pos:other:effect. `n_ref`:
    people behind the matrix. Rows and columns that are NaN throughout (monomorphic variants) stand for
    variants without LD. Raises `InputError` unless the matrix is square, of the size of its identifiers,
    symmetric, with a unit diagonal, |r| <= 1 and no negative eigenvalue, and looks like r rather than r2.
    """
    path = Path(path)
    arrays = _load(path)
    ld = arrays["ld"]
    ids = np.asarray(arrays["variant_id"]).astype(str).astype(object)
    if ld.ndim != 2 or ld.shape != (len(ids), len(ids)):
        raise InputError(
            f"{path}: ld has shape {ld.shape} for {len(ids)} identifiers in variant_id",
            "An LD matrix has one row and one column per identifier",
            "Write ld and variant_id of the same variants, in the same order",
        )
    ld = ld if ld.dtype in (np.float32, np.float64) else ld.astype(float)
    _check_matrix(path, ld, ids)
    return LDMatrix(name or path.name, _variants(path, ids, arrays), ld, float(n_ref))


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise InputError(
            f"LD matrix {path} does not exist", "Every file that is named can be read", "Correct the path"
        ) from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        why = str(error).splitlines()[0]
        if "pickle" in why:  # numpy's advice to load it unsafely is none for a file from elsewhere
            why = "it holds Python objects, or is no such file at all"
        raise InputError(
            f"{path} cannot be read as an .npz file ({why})",
            "An LD matrix is an .npz file of plain arrays (numbers and text, no Python objects)",
            "Write it with numpy.savez(path, ld=ld, variant_id=ids.astype(str))",
        ) from error
    lacking = [key for key in ("ld", "variant_id") if key not in arrays]
    if lacking:
        raise InputError(
            f"{path} lacks {' and '.join(lacking)}; it holds {', '.join(arrays)}",
            "An LD file holds ld (p x p correlations) and variant_id (p identifiers)",
            "Rename the arrays",
        )
    if arrays["ld"].dtype.kind not in "fiu":
        raise InputError(
            f"{path}: ld is of type {arrays['ld'].dtype}",
            "Correlations are numbers",
            "Convert them to float32",
        )
    return arrays


def _variants(path: Path, ids: np.ndarray, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    parsed = parse_variant_ids(ids)
    bad = parsed["position"].isna().to_numpy()
    if bad.any():
        raise InputError(
            f"{path}: {int(bad.sum())} of {len(ids)} identifiers do not give chromosome, position and "
            "alleles, "
            f"first '{ids[int(np.argmax(bad))]}'",
            "Identifiers of an LD matrix are chr_pos_other_effect or chr:pos:other:effect",
            "Rename them; the correlations are of the effect alleles",
        )
    table = pd.DataFrame(
        {
            "chromosome": parsed["chromosome"],
            "position": parsed["position"].astype(np.int64),
            "variant_id": ids,
            "effect_allele": parsed["effect_allele"],
            "other_allele": parsed["other_allele"],
        }
    )
    for key in ("effect_allele", "other_allele"):
        if key in arrays:
            if arrays[key].shape != ids.shape:
                raise InputError(
                    f"{path}: {key} has shape {arrays[key].shape} for {len(ids)} identifiers",
                    "Alleles are given for every variant",
                    "Write arrays of the same length",
                )
            table[key] = np.char.upper(arrays[key].astype(str)).astype(object)
    return table


def _check_matrix(path: Path, ld: np.ndarray, ids: np.ndarray) -> None:
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
    """A Cholesky factor of the matrix plus the tolerance exists exactly when no eigenvalue lies below it."""
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
