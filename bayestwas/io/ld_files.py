"""Ready LD in one or many files: a matrix and the table of its variants, side by side.

One kind of matrix per ending: PolyFun and UK Biobank halves (.npz of scipy), plain arrays (.npz, .npy), cTWAS
(.RDS), PLINK's --r square (.ld). The tables are read at once, only those of files whose names do not say that
they lie elsewhere; the matrices when a block asks for them.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from bayestwas.data.ld_regions import joined
from bayestwas.data.studies import LDMatrix
from bayestwas.data.variants import COLUMNS, block_number, chromosome_labels, shared_text
from bayestwas.errors import InputError, nearest
from bayestwas.io.ld import load_npz, named_variants, read_ld_matrix, require_sane
from bayestwas.io.ld_checks import check_correlations
from bayestwas.io.plink import read_bim
from bayestwas.io.rfiles import read_r
from bayestwas.io.tables import open_text, read_table, require_file

# chr1_1_3000001 (PolyFun), ukb_b38_0.1_chr16.R_snp.10054_1157206 (cTWAS): chromosome, start, end
_NAMED = re.compile(r"(?:^|[^0-9A-Za-z])chr([0-9]{1,2}|X)(?![0-9]).*?[^0-9](\d+)[_-](\d+)$")
TABLES = (".gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".csv", ".csv.gz", ".Rvar", ".Rvar.gz", ".bim")
_UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError)

# The columns of a table of variants: chromosome, position, identifier, counted allele, other allele.
# Correlations do not change when all variants count their other allele, so a consistent file cannot be wrong.
LAYOUTS = {
    "PolyFun": ("chromosome", "position", "rsid", "allele1", "allele2"),
    "cTWAS": ("chrom", "pos", "id", "alt", "ref"),
    "plain": COLUMNS,
}


def find_ld_files(path: Path) -> tuple[Path, ...]:
    """The matrices that `path` names, whose last part may hold wildcards (*, ?); empty where there is
    none."""
    if not set("*?") & set(path.name):
        return (path,)
    return tuple(sorted(file for file in path.parent.glob(path.name) if file.suffix in MATRICES))


def read_ld(
    files: Sequence[Path], n_ref: float, name: str, blocks: pd.DataFrame
) -> tuple[LDMatrix, tuple[Path, ...]]:
    """`read_ld_matrix` of one file that needs no table, `read_ld_files` of all others."""
    first = files[0]
    if len(files) == 1 and first.suffix == ".npz" and _table(first) is None and "ld" in _names(first):
        return read_ld_matrix(first, n_ref, name), tuple(files)
    return read_ld_files(files, n_ref, name, blocks)


def read_ld_files(
    files: Sequence[Path], n_ref: float, name: str, blocks: pd.DataFrame
) -> tuple[LDMatrix, tuple[Path, ...]]:
    """Open ready LD: the variants inside `blocks` (chromosome, start, end; 0-based, half-open, apart), whose
    correlations are read when a locus is built; and the files that hold any.

    `n_ref`: people behind the matrices; `name`: of the reference in tables. Raises `InputError`.
    """
    tables, regions, used = [], [], []
    for file in files:
        if _elsewhere(file, blocks):
            continue
        table, beside = _variants(file)
        rows = np.flatnonzero(
            block_number(blocks, table["chromosome"].to_numpy(), table["position"].to_numpy()) >= 0
        )
        if len(rows):
            load = MatrixFile(file, len(table), tuple(table["variant_id"].iloc[[0, -1]]))
            tables.append(table.iloc[rows])
            regions.append((load, rows))
            used += [file, *beside]
    if not tables:
        raise InputError(
            f"{name}: none of {len(files)} LD files has a variant inside the blocks of the study",
            "LD files hold the variants of the blocks, at positions of the same build",
            "Likely another build or other chromosomes: compare the tables beside the matrices with the "
            "blocks",
        )
    together = pd.concat(tables, ignore_index=True)
    number, _ = pd.factorize(together["chromosome"])
    order = np.lexsort((together["position"].to_numpy(), number))
    position = together["position"].astype(str)
    alleles = together["effect_allele"] + ":" + together["other_allele"]
    key = together["chromosome"] + ":" + position + ":" + alleles
    code = np.empty(len(key), dtype=np.intp)
    code[order], _ = pd.factorize(key.iloc[order])
    variants = together.iloc[order][~key.iloc[order].duplicated()].reset_index(drop=True)
    edges = np.cumsum([0, *(len(rows) for _, rows in regions)])
    parts = [
        (load, code[start:end], rows)
        for (load, rows), start, end in zip(regions, edges[:-1], edges[1:], strict=True)
    ]
    for load, members, _ in parts:
        if len(np.unique(members)) < len(members):
            raise _repeated(load.path, variants, members)
    return LDMatrix(name, variants, joined(parts, len(variants)), float(n_ref)), tuple(used)


def _repeated(file: Path, variants: pd.DataFrame, members: np.ndarray) -> InputError:
    first = variants["variant_id"].iloc[int(members[pd.Series(members).duplicated().to_numpy()][0])]
    return InputError(
        f"{file} has variant {first} more than once",
        "A matrix has one row per variant",
        "Write it again without the copies",
    )


def _elsewhere(file: Path, blocks: pd.DataFrame) -> bool:
    """Whether the name of a file says that it lies outside all blocks."""
    named = _NAMED.search(_stem(file))
    if named is None:
        return False
    chromosome, start, end = named[1].lstrip("0"), int(named[2]), int(named[3])
    near = (blocks["chromosome"] == chromosome) & (blocks["start"] < end) & (blocks["end"] >= start)
    return not bool(near.any())


def _stem(file: Path) -> str:
    return file.name.removesuffix(file.suffix)


# ---- the variants ----------------------------------------------------------------------------------------


def _table(file: Path) -> Path | None:
    """The table beside a matrix."""
    beside = (file.with_name(_stem(file) + ending) for ending in TABLES)
    return next((path for path in beside if path.is_file()), None)


def _variants(file: Path) -> tuple[pd.DataFrame, tuple[Path, ...]]:
    """The variants of a matrix, in its order, and the file that says so where it is another."""
    require_file(file, "LD matrix")
    table = _table(file)
    if table is not None:
        return _read_variants(table), (table,)
    if file.suffix == ".npz" and "variant_id" in _names(file):
        arrays = load_npz(file, leave_out="ld")
        ids = np.asarray(arrays["variant_id"]).astype(str).astype(object)
        return named_variants(file, ids, arrays), ()
    raise InputError(
        f"{file} has no table of its variants beside it",
        f"A matrix of LD has a table of the same name that ends in one of {', '.join(TABLES)}",
        f"Put the table there, as {_stem(file)}.gz of PolyFun or {_stem(file)}.Rvar of cTWAS; an .npz file "
        "may hold variant_id instead",
    )


def _names(file: Path) -> list[str]:
    """The arrays of an .npz file. Raises `InputError` where it is damaged or unpacks to absurdity."""
    require_sane(file)
    try:
        with zipfile.ZipFile(file) as archive:
            held = archive.infolist()
    except (OSError, zipfile.BadZipFile):
        return list(load_npz(file))  # says what is wrong with it
    return [part.filename.removesuffix(".npy") for part in held]


def _read_variants(path: Path) -> pd.DataFrame:
    if path.suffix == ".bim":
        table = read_bim(path)
        return table.assign(chromosome=chromosome_labels(table["chromosome"]))
    held = read_table(path, text_columns=("rsid", "id", "variant_id"))
    layout = next((names for names in LAYOUTS.values() if set(names) <= set(held.columns)), None)
    if layout is None:
        known = "; ".join(f"{name}: {' '.join(columns)}" for name, columns in LAYOUTS.items())
        lacking = [c for c in LAYOUTS["plain"] if c not in held.columns]
        raise InputError(
            f"{path} has the columns {', '.join(map(str, held.columns))}",
            f"A table of the variants of an LD matrix has the columns of one of the layouts {known}",
            nearest(lacking[0], held.columns) if lacking else "Rename the columns",
        )
    held = held[list(layout)].set_axis(list(COLUMNS), axis=1)
    position = pd.to_numeric(held["position"], errors="coerce")
    bad = (position.isna() | (position % 1 != 0) | (position < 1)).to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path} row {row + 1}: position '{held['position'].iloc[row]}'",
            "Positions are whole numbers of base pairs, 1-based",
            "Correct the column of positions",
        )
    return pd.DataFrame(
        {
            "chromosome": chromosome_labels(held["chromosome"]),
            "position": position.to_numpy(dtype=np.int64),
            "variant_id": held["variant_id"].fillna("").astype(str).to_numpy(dtype=object),
            "effect_allele": shared_text(held["effect_allele"], str.upper),
            "other_allele": shared_text(held["other_allele"], str.upper),
        }
    )


# ---- the matrices ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatrixFile:
    """Reads correlations of a file when called; `size`: variants of its table, `ends`: the first and last."""

    path: Path
    size: int
    ends: tuple[str, ...]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(m, m) correlations of the variants `rows`. Raises `InputError` where they are none."""
        read = MATRICES[self.path.suffix]
        matrix = read(self.path, rows, self.size)
        check_correlations(self.path, matrix, np.array([f"row {row + 1}" for row in rows], dtype=object))
        return matrix


def _check_shape(path: Path, shape: tuple[int, ...], size: int) -> None:
    if shape != (size, size):
        raise InputError(
            f"{path} has shape {shape}, and the table of its variants {size} rows",
            "An LD matrix has one row and one column per variant of its table",
            "Give the table that was written with the matrix",
        )


def _npz(path: Path, rows: np.ndarray, size: int) -> np.ndarray:
    """A sparse matrix of scipy, half or whole, or an array of correlations named ld (or the only one)."""
    if {"shape", "format", "data"} <= set(_names(path)):
        return _sparse(path, rows, size)
    arrays = load_npz(path)
    square = [key for key, value in arrays.items() if value.ndim == 2]
    key = "ld" if "ld" in square else square[0] if len(square) == 1 else None
    if key is None:
        raise InputError(
            f"{path} holds the arrays {', '.join(arrays)}",
            "An LD file holds a sparse matrix of scipy (save_npz), or an array ld of numbers (p, p)",
            "Write the correlations as ld",
        )
    return _square(path, arrays[key], rows, size)


def _sparse(path: Path, rows: np.ndarray, size: int) -> np.ndarray:
    """Half matrices have half of the diagonal, so that the matrix and its transpose add up (PolyFun), or all
    of it."""
    try:
        with open(path, "rb") as handle:
            held = sparse.load_npz(handle)
    except (*_UNREADABLE, KeyError, IndexError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"{path} cannot be read as a sparse matrix ({(str(error) or 'too large').splitlines()[0]})",
            "A sparse LD matrix is what scipy.sparse.save_npz writes",
            "Copy or download the file again",
        ) from error
    _check_shape(path, held.shape, size)
    part = held.tocsr()[rows][:, rows].toarray()
    part = part if part.dtype in (np.float32, np.float64) else part.astype(np.float64)
    half = not np.triu(part, 1).any() or not np.tril(part, -1).any()
    if not half:
        return np.asarray(part)
    diagonal = part.diagonal().copy()
    part += part.T
    middle = np.where(np.abs(diagonal - 0.5) < 0.25, 2 * diagonal, diagonal)
    part[np.diag_indices_from(part)] = middle
    return np.asarray(part)


def _square(path: Path, matrix: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    if matrix.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: the matrix is of type {matrix.dtype}", "Correlations are numbers", "Convert to float32"
        )
    _check_shape(path, matrix.shape, size)
    part = np.array(matrix[np.ix_(rows, rows)])
    return part if part.dtype in (np.float32, np.float64) else part.astype(np.float64)


def _npy(path: Path, rows: np.ndarray, size: int) -> np.ndarray:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read as an .npy file (it holds Python objects, or is no such file at all)",
            "An .npy file of LD holds an array of numbers (p, p)",
            "Write it with numpy.save(path, ld)",
        ) from error
    return _square(path, matrix, rows, size)


def _rds(path: Path, rows: np.ndarray, size: int) -> np.ndarray:
    matrix = read_r(path)
    matrix = matrix.to_numpy() if isinstance(matrix, pd.DataFrame) else matrix
    if not isinstance(matrix, np.ndarray):
        raise InputError(
            f"{path} holds {type(matrix).__name__}",
            "An .RDS file of LD holds one matrix of numbers, as cTWAS writes it",
            "Write it with saveRDS(R, file)",
        )
    return _square(path, matrix, rows, size)


def _text(path: Path, rows: np.ndarray, size: int) -> np.ndarray:
    """PLINK's --r square: numbers only; a first line of identifiers is passed over."""
    with open_text(path) as handle:
        first = handle.readline().split()
    skip = int(bool(first) and not _number(first[0]))
    with open_text(path) as handle:
        try:
            matrix = np.loadtxt(handle, dtype=np.float64, skiprows=skip, ndmin=2)
        except ValueError as error:
            raise InputError(
                f"{path}: {str(error).splitlines()[0]}",
                "A .ld file is a square of numbers, a row per variant",
                "Write it with plink --r square",
            ) from error
    return _square(path, matrix, rows, size)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


MATRICES: dict[str, Callable[[Path, np.ndarray, int], np.ndarray]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".RDS": _rds,
    ".rds": _rds,
    ".ld": _text,
}
