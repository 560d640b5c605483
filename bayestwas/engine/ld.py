"""LD as an operator: columns on demand, from genotypes, from a matrix, or from a factor.

Every class answers the same four questions about a correlation matrix R (p x p) without promising that it
exists in memory: which variants are usable (`variance`), how many people stand behind it (`n_ref`),
`columns`, `gram` and `apply`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

# Columns kept by GenotypeLD before the cache is emptied: bounds its memory at about 256 MiB.
CACHE_BYTES = 256 * 2**20
# GenotypeLD.apply counts up to this many new columns; beyond it one product with all genotypes is faster.
FEW = 24


class LD(Protocol):
    """Correlation of p variants in one ancestry.

    Attributes
    ----------
    n_ref : people behind the matrix; `inf` where it is exact (in-sample).
    variance : (p,) R_jj: of a correlation 1 where the variant is usable and 0 where it is absent or
        monomorphic.
    """

    n_ref: float
    variance: Floats

    def columns(self, index: Index) -> Floats:
        """R[:, index], (p, m)."""
        ...

    def gram(self, index: Index) -> Floats:
        """R[index, index], (m, m)."""
        ...

    def apply(self, index: Index, values: Floats) -> Floats:
        """R[:, index] @ values, (p,)."""
        ...


class MismatchedLD:
    """LD from people unlike those of the GWAS: noisier than `n_ref` people would make it, by delta = 1 /
    n_ref' - 1 / n_ref."""

    def __init__(self, ld: LD, delta: float, finite: bool = True) -> None:
        """`finite`: carry the noise of n_ref people as well."""
        self.ld = ld
        self.variance = ld.variance
        noise = (1 / ld.n_ref if finite else 0.0) + delta
        self.n_ref = 1 / noise if noise > 0 else np.inf

    def columns(self, index: Index) -> Floats:
        return self.ld.columns(index)

    def gram(self, index: Index) -> Floats:
        return self.ld.gram(index)

    def apply(self, index: Index, values: Floats) -> Floats:
        return self.ld.apply(index, values)


class MatrixLD:
    """LD given as a (p, p) correlation matrix; a variant is absent where its diagonal is NaN or zero.

    Raises ValueError where the LD of two variants that are there is not finite.
    """

    def __init__(self, correlation: NDArray[np.floating], n_ref: float = np.inf) -> None:
        matrix: Floats = np.asarray(correlation, dtype=np.float64)
        usable = np.isfinite(np.diag(matrix)) & (np.diag(matrix) > 0)
        if not usable.all():
            matrix = np.where(np.outer(usable, usable), matrix, 0.0)
        if not np.isfinite(matrix).all():
            i, j = (int(k[0]) for k in np.nonzero(~np.isfinite(matrix)))
            raise ValueError(f"the LD of variants {i} and {j} is {matrix[i, j]}, and both are in the matrix")
        self.correlation = matrix
        self.variance = usable.astype(np.float64)
        self.n_ref = float(n_ref)

    def columns(self, index: Index) -> Floats:
        return self.correlation[:, index]

    def gram(self, index: Index) -> Floats:
        return self.correlation[np.ix_(index, index)]

    def apply(self, index: Index, values: Floats) -> Floats:
        if 4 * len(index) > len(self.variance):  # reading all of R is faster than copying a quarter of it
            return np.bincount(index, values, minlength=len(self.variance)) @ self.correlation
        return values @ self.correlation[index]  # rows are contiguous, and R is symmetric


class FactorLD:
    """LD as X'X / n with X (n, p) given: standardised, possibly residualised, genotypes or a low-rank factor.

    Raises ValueError where the factor is not finite.
    """

    def __init__(self, factor: NDArray[np.floating], n_ref: float = np.inf) -> None:
        factor = np.asarray(factor, dtype=np.float64)
        if not np.isfinite(factor).all():
            raise ValueError("a factor of LD is finite; absent variants have columns of zeros")
        scale = np.sqrt(np.einsum("ij,ij->j", factor, factor))
        usable = scale > 0
        self.factor = factor / np.where(usable, scale, 1.0)
        self.variance = usable.astype(np.float64)
        self.n_ref = float(n_ref)

    def columns(self, index: Index) -> Floats:
        return self.factor.T @ self.factor[:, index]

    def gram(self, index: Index) -> Floats:
        part = self.factor[:, index]
        return part.T @ part

    def apply(self, index: Index, values: Floats) -> Floats:
        return self.factor.T @ (self.factor[:, index] @ values)


class GenotypeLD:
    """LD from genotypes packed into two bits a person; a column is counted when it is asked for and then
    kept.

    A dosage is the sum of two bit planes, "at least one copy" and "two copies", so that a cross-product of
    two variants is four AND-and-count passes: exact integers, no (p, p) matrix, and a quarter of a byte per
    genotype. Missing genotypes count as the mean of their variant.

    Parameters
    ----------
    dosage : (p, n) int8 copies of the effect allele, -1 where missing.
    n_ref : people behind the LD; n unless given (`inf`: the GWAS sample itself).
    """

    def __init__(self, dosage: NDArray[np.int8], n_ref: float | None = None) -> None:
        dosage = np.asarray(dosage, dtype=np.int8)
        n = dosage.shape[1]
        self.n_ref = float(n if n_ref is None else n_ref)
        self._one = _pack(dosage >= 1)
        self._two = _pack(dosage == 2)
        missing = dosage < 0
        self._seen = _pack(~missing) if missing.any() else None
        self._n = n
        seen = n - missing.sum(axis=1)
        total = np.bitwise_count(self._one).sum(axis=1, dtype=np.int64)
        twice = np.bitwise_count(self._two).sum(axis=1, dtype=np.int64)
        self._mean = (total + twice) / np.maximum(seen, 1)
        square = (total + 3 * twice) - seen * self._mean**2
        usable = square > 1e-9
        self.variance = usable.astype(np.float64)
        self._inverse_norm = np.where(usable, 1 / np.sqrt(np.where(usable, square, 1.0)), 0.0)
        self._position = np.full(len(dosage), -1, dtype=np.intp)  # of a counted row in the cache
        self._cache = np.empty((0, len(dosage)))
        self._cached = 0

    def _count(self, j: int) -> Floats:
        """Row j of R from counts of shared bits."""
        both = [
            np.bitwise_count(a & b[j]).sum(axis=1, dtype=np.int64)
            for a in (self._one, self._two)
            for b in (self._one, self._two)
        ]
        cross = (both[0] + both[1] + both[2] + both[3]).astype(np.float64)
        if self._seen is None:
            cross -= self._n * self._mean * self._mean[j]
        else:
            mine = self._seen[j]
            theirs = sum(
                np.bitwise_count(a & mine).sum(axis=1, dtype=np.int64) for a in (self._one, self._two)
            )
            own = sum(
                np.bitwise_count(self._seen & a[j]).sum(axis=1, dtype=np.int64)
                for a in (self._one, self._two)
            )
            pairs = np.bitwise_count(self._seen & mine).sum(axis=1, dtype=np.int64)
            cross += self._mean * self._mean[j] * pairs - self._mean * own - self._mean[j] * theirs
        return cross * self._inverse_norm * self._inverse_norm[j]

    def _rows(self, index: Index) -> Floats:
        """(m, p) rows of R, counted where they are new."""
        index = np.asarray(index, dtype=np.intp)
        new = index[self._position[index] < 0]
        if (self._cached + len(new)) * self._cache.shape[1] * 8 > CACHE_BYTES:
            self._position[:] = -1
            self._cached, new = 0, index
        if self._cached + len(new) > len(self._cache):
            grown = np.empty((2 * (self._cached + len(new)), self._cache.shape[1]))
            grown[: self._cached] = self._cache[: self._cached]
            self._cache = grown
        for j in new:
            if self._position[j] < 0:
                self._cache[self._cached] = self._count(int(j))
                self._position[j] = self._cached
                self._cached += 1
        return self._cache[self._position[index]]

    def columns(self, index: Index) -> Floats:
        return self._rows(index).T

    def apply(self, index: Index, values: Floats) -> Floats:
        if np.count_nonzero(self._position[index] < 0) > FEW:
            return self._product(index, values)
        return values @ self._rows(index)

    def _product(self, index: Index, values: Floats) -> Floats:
        """X'(X values), a slab of people at a time, single precision within a slab."""
        out, total = np.zeros(len(self._mean)), 0.0
        weight = (values * self._inverse_norm[index]).astype(np.float32)
        shift = weight @ self._mean[index].astype(np.float32)
        for x in self._slabs(np.arange(len(self._mean)), np.float32, missing=self._mean):
            person = weight @ x[index] - shift
            out += x @ person
            total += float(person.sum())
        return (out - self._mean * total) * self._inverse_norm

    def _slabs(self, index: Index, dtype: type, missing: Floats) -> Iterator[Floats]:
        """Unpacked dosages (m, people) of some variants, `missing` (p,) where not seen, a slab of people
        after the other."""
        words = max(1, 2**21 // (64 * max(len(index), 1)))
        for start in range(0, self._one.shape[1], words):
            part = slice(start, start + words)
            people = min(self._n - 64 * start, 64 * words)
            x: Floats = _unpack(self._one[index, part], people).astype(dtype)
            x += _unpack(self._two[index, part], people)
            if self._seen is not None:
                seen = _unpack(self._seen[index, part], people).astype(bool)
                x = np.where(seen, x, missing[index, None].astype(dtype))
            yield x

    @property
    def people(self) -> int:
        """Genotyped people; `n_ref` may say that they count for more."""
        return self._n

    def standardised(self, index: Index) -> Floats:
        """(n, m) X with R[index, index] = X'X."""
        x = np.concatenate(list(self._slabs(index, np.float64, missing=self._mean)), axis=1)
        return np.asarray(((x - self._mean[index, None]) * self._inverse_norm[index, None]).T)

    def gram(self, index: Index) -> Floats:
        """Through unpacked genotypes, a slab of people at a time: BLAS beats counting where all pairs are
        wanted."""
        out = np.zeros((len(index), len(index)))
        for x in self._slabs(index, np.float64, missing=self._mean):
            x = (x - self._mean[index, None]) * self._inverse_norm[index, None]
            out += x @ x.T
        return out


def standardised(ld: LD, index: Index) -> Floats | None:
    """(n, m) X with R[index, index] = X'X where that is smaller than R; None where it is not."""
    while isinstance(ld, MismatchedLD):
        ld = ld.ld
    if isinstance(ld, FactorLD) and len(ld.factor) < len(index):
        return ld.factor[:, index]
    if isinstance(ld, GenotypeLD) and ld.people < len(index):
        return ld.standardised(index)
    return None


def _pack(plane: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(p, n) booleans -> (p, words) of 64 people each, zero-padded."""
    p, n = plane.shape
    padded = np.zeros((p, -(-n // 64) * 64), dtype=bool)
    padded[:, :n] = plane
    return np.packbits(padded, axis=1).view(np.uint64)


def _unpack(words: NDArray[np.uint64], people: int) -> NDArray[np.uint8]:
    """The first `people` bits of each row: the inverse of `_pack`."""
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, count=people)
