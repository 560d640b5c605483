"""One way to write an insertion or a deletion: in as few bases as can be and, with a genome, as far to the
left as it goes (Tan et al. 2015, doi:10.1093/bioinformatics/btv112)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Genome = Callable[[str, int, int], str]  # chromosome, start, end (0-based, half-open) -> bases, '' if unknown

TRIMMED = "alleles cut to those bases in which they differ"
SHIFTED = "insertion or deletion written as far to the left as it goes"
_BASES = frozenset("ACGT")
_AHEAD = 256  # base pairs of the genome that are read at once


class Written(NamedTuple):
    """Positions (int64) and alleles of variants; `how`: TRIMMED, SHIFTED, or '' where nothing has changed;
    `foreign`: insertions and deletions of which neither allele is in the genome, left where they are."""

    position: np.ndarray
    one: np.ndarray
    two: np.ndarray
    how: np.ndarray
    foreign: np.ndarray


def trimmed(position: int, one: str, two: str) -> tuple[int, str, str]:
    """A pair of alleles without the bases that both end with and, then, both begin with; each keeps a
    base."""
    end = 0
    while end < min(len(one), len(two)) - 1 and one[-1 - end] == two[-1 - end]:
        end += 1
    one, two = one[: len(one) - end], two[: len(two) - end]
    begin = 0
    while begin < min(len(one), len(two)) - 1 and one[begin] == two[begin]:
        begin += 1
    return position + begin, one[begin:], two[begin:]


def shifted(position: int, one: str, two: str, left: Callable[[int], str]) -> tuple[int, str, str]:
    """A trimmed pair as far to the left as it goes; `left(p)`: the base at the 1-based position p, '' where
    there is none."""
    while one[-1] == two[-1]:
        if min(len(one), len(two)) == 1:
            base = left(position - 1)
            if base not in _BASES:
                break
            position, one, two = position - 1, base + one, base + two
        one, two = one[:-1], two[:-1]
    return trimmed(position, one, two)


def written_once(
    chromosome: np.ndarray,
    position: np.ndarray,
    one: np.ndarray,
    two: np.ndarray,
    genome: Genome | None = None,
) -> Written:
    """Variants (rows,) in their shortest form and, where a `genome` is given, as far to the left as they go.

    Which allele is that of the genome does not matter. Single bases, and alleles that are no bases, are left
    as they are.
    """
    out = Written(
        position.astype(np.int64),
        one.astype(object),
        two.astype(object),
        np.full(len(position), "", dtype=object),
        np.zeros(len(position), dtype=bool),
    )
    sizes = [np.fromiter(map(len, alleles), dtype=np.int64, count=len(alleles)) for alleles in (one, two)]
    reader = None if genome is None else _Reader(genome)
    for i in np.flatnonzero(np.maximum(*sizes) > 1) if len(position) else ():
        was = (int(position[i]), str(one[i]), str(two[i]))
        if was[1] == was[2] or not was[1] or not was[2] or not _BASES.issuperset(was[1] + was[2]):
            continue
        now, how = trimmed(*was), TRIMMED
        if reader is not None and len(now[1]) != len(now[2]):
            reader.chromosome = str(chromosome[i])
            if any(reader.holds(now[0], allele) for allele in now[1:]):
                moved = shifted(*now, reader.base)
                now, how = moved, SHIFTED if moved != now else how
            else:
                out.foreign[i] = True
        if now != was:
            out.position[i], out.one[i], out.two[i], out.how[i] = *now, how
    return out


class _Reader:
    """Single bases of a genome, read a stretch at a time."""

    def __init__(self, genome: Genome) -> None:
        self.genome = genome
        self.chromosome = ""
        self._start, self._bases, self._of = 0, "", ""

    def base(self, position: int) -> str:
        at = position - 1
        if at < 0:
            return ""
        if self._of != self.chromosome or not self._start <= at < self._start + len(self._bases):
            self._of, self._start = self.chromosome, max(0, at + 1 - _AHEAD)
            self._bases = self.genome(self.chromosome, self._start, at + 1).upper()
        offset = at - self._start
        return self._bases[offset] if offset < len(self._bases) else ""

    def holds(self, position: int, allele: str) -> bool:
        return self.genome(self.chromosome, position - 1, position - 1 + len(allele)).upper() == allele
