"""LD matrices in .npz files, checked before use."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from bayestwas.data.studies import LDMatrix
from bayestwas.data.variants import parse_variant_ids
from bayestwas.errors import InputError
from bayestwas.io.ld_checks import check_correlations

LARGEST = 32 << 30  # bytes of an unpacked .npz: some 50,000 variants


def read_ld_matrix(path: str | Path, n_ref: float, name: str | None = None) -> LDMatrix:
    """Read an LD matrix: an .npz with `ld` (p, p) and `variant_id` (p,), optionally `effect_allele`,
    `other_allele`.

    Without alleles the identifiers are read as chr_pos_other_effect[_build] or chr:pos:other:effect. `n_ref`:
    people behind the matrix. Rows and columns that are NaN throughout (monomorphic variants) stand for
    variants without LD. Raises `InputError` unless the matrix is square, of the size of its identifiers,
    symmetric, with a unit diagonal, |r| <= 1 and no negative eigenvalue, and looks like r rather than r2.
    """
    path = Path(path)
    arrays = _checked(path, load_npz(path))
    ld = arrays["ld"]
    ids = np.asarray(arrays["variant_id"]).astype(str).astype(object)
    if ld.ndim != 2 or ld.shape != (len(ids), len(ids)):
        raise InputError(
            f"{path}: ld has shape {ld.shape} for {len(ids)} identifiers in variant_id",
            "An LD matrix has one row and one column per identifier",
            "Write ld and variant_id of the same variants, in the same order",
        )
    ld = ld if ld.dtype in (np.float32, np.float64) else ld.astype(float)
    check_correlations(path, ld, ids)
    return LDMatrix(name or path.name, named_variants(path, ids, arrays), ld, float(n_ref))


def require_sane(path: Path) -> None:
    """Raise `InputError` where a zip archive unpacks to more than LARGEST bytes, by its own account, beyond
    which nothing of it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(part.file_size for part in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return  # whoever reads it says what is wrong with it
    if total > LARGEST:
        raise InputError(
            f"{path} unpacks to {total:,} bytes",
            f"An LD matrix takes at most {LARGEST:,} bytes",
            "Split it into regions of a few megabases",
        )


def load_npz(path: Path, leave_out: str = "") -> dict[str, np.ndarray]:
    """The arrays of an .npz file, by name; Python objects are never unpickled. Raises `InputError`."""
    require_sane(path)
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key != leave_out}
    except FileNotFoundError:
        raise InputError(
            f"LD matrix {path} does not exist", "Every file that is named can be read", "Correct the path"
        ) from None
    except (
        ValueError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        AttributeError,
        MemoryError,
    ) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        if "pickle" in why:  # numpy's advice to load it unsafely is none for a file from elsewhere
            why = "it holds Python objects, or is no such file at all"
        raise InputError(
            f"{path} cannot be read as an .npz file ({why})",
            "An LD matrix is an .npz file of plain arrays (numbers and text, no Python objects)",
            "Write it with numpy.savez(path, ld=ld, variant_id=ids.astype(str))",
        ) from error


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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


def named_variants(path: Path, ids: np.ndarray, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """The variants that identifiers spell out, with the alleles of `arrays` where it has them. Raises
    `InputError`."""
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
