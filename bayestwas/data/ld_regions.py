"""An LD reference in many files, one per region of the genome; a block reads only those that hold its
variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Load = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ArrayPart:
    """Part of a matrix in memory, behind the same call as one that is read from files."""

    correlation: np.ndarray

    def __call__(self) -> np.ndarray:
        return self.correlation


@dataclass(frozen=True, eq=False)
class LDRegion:
    """One file of correlations: it holds the variants `members` of the reference (rows of its table,
    ascending) in its own rows `rows`; `load(rows)` reads their (m, m) correlations, NaN throughout where a
    variant does not vary. `load` is picklable."""

    load: Load
    members: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class RegionsPart:
    """The correlations of some variants, read from the files that hold them when called.

    `parts`: (load, places, rows): where the variants of a file stand among those asked for, and in the file.
    Correlations of variants in different files are 0, so that the whole is positive semidefinite like its
    parts.
    """

    size: int
    parts: tuple[tuple[Load, np.ndarray, np.ndarray], ...]

    def __call__(self) -> np.ndarray:
        read = [(places, load(rows)) for load, places, rows in self.parts]
        single = all(part.dtype == np.float32 for _, part in read)
        out = np.zeros((self.size, self.size), dtype=np.float32 if single else np.float64)
        for places, part in read:
            out[np.ix_(places, places)] = part
        absent = np.isnan(out.diagonal())
        out[absent], out[:, absent] = np.nan, np.nan
        return out


@dataclass(frozen=True, eq=False)
class RegionalCorrelation:
    """Stands for the (p, p) array of an `LDMatrix` whose correlations lie in several files.

    A variant may be in several files (windows that overlap). A set of variants is read from the file that
    holds most of them, then, for those it lacks, from the next.
    """

    size: int
    regions: tuple[LDRegion, ...]
    dtype: np.dtype[np.float64] = field(default_factory=lambda: np.dtype(np.float64))

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def diagonal(self) -> np.ndarray:
        """Ones: which variants do not vary is only known when the files are read."""
        return np.ones(self.size)

    def part(self, rows: np.ndarray) -> RegionsPart:
        """What reads the correlations of the variants `rows` (each once); nothing is read yet."""
        rows = np.asarray(rows)
        place = np.full(self.size, -1)
        place[rows] = np.arange(len(rows))
        parts = []
        while (place[rows] >= 0).any():
            held = [np.flatnonzero(place[region.members] >= 0) for region in self.regions]
            best = int(np.argmax([len(at) for at in held]))
            region, at = self.regions[best], held[best]
            parts.append((region.load, place[region.members[at]], region.rows[at]))
            place[region.members[at]] = -1
        return RegionsPart(len(rows), tuple(parts))

    def __getitem__(self, where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        rows, columns = (np.asarray(index).ravel() for index in where)
        if not np.array_equal(rows, columns):
            raise IndexError("the same rows and columns are asked for")
        return self.part(rows)()


def joined(regions: Sequence[tuple[Load, np.ndarray, np.ndarray]], size: int) -> RegionalCorrelation:
    """The correlation of `size` variants from files: (load, members in any order, rows) each."""
    parts = []
    for load, members, rows in regions:
        order = np.argsort(members, kind="stable")
        parts.append(LDRegion(load, np.asarray(members)[order], np.asarray(rows)[order]))
    return RegionalCorrelation(size, tuple(parts))
