"""Positions from one genome build to another, with a chain file of the user."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError
from bayestwas.io.tables import open_text


class Lifted(NamedTuple):
    """Where positions are in the other build: chromosome ('' where nowhere, or not in one place), position,
    and whether the two builds run in opposite directions there."""

    chromosome: np.ndarray
    position: np.ndarray
    reverse: np.ndarray


Lift = Callable[[np.ndarray, np.ndarray], Lifted]


def open_chain(path: str | Path) -> Lift:
    """Read a UCSC chain file, plain or gzipped; the result lifts chromosomes and 1-based positions.

    Raises `InputError` where the file is none.
    """
    path = Path(path)
    with open_text(path) as handle:
        first = handle.readline(10_000)
        while first.startswith("#"):
            first = handle.readline(10_000)
    if not first.startswith("chain "):
        raise InputError(
            f"{path} is no chain file: it begins with '{first.strip()[:40]}'",
            "A chain file has lines 'chain score chromosome size strand ...' and says how two builds map",
            "Take the file for the two builds, such as hg38ToHg19.over.chain.gz, from UCSC or Ensembl",
        )
    from liftover import ChainFile

    try:
        chains = ChainFile(str(path), one_based=True)
    except (OSError, RuntimeError, ValueError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} cannot be read as a chain file ({error})", "A chain file is whole", "Download it again"
        ) from error
    return functools.partial(_lift, chains)


def _lift(chains: object, chromosome: np.ndarray, position: np.ndarray) -> Lifted:
    out = Lifted(
        np.full(len(position), "", dtype=object),
        np.zeros(len(position), dtype=np.int64),
        np.zeros(len(position), dtype=bool),
    )
    target = {label: chains[label if label != "MT" else "M"] for label in set(chromosome)}  # type: ignore[index]
    for row, (label, place) in enumerate(zip(chromosome.tolist(), position.tolist(), strict=True)):
        found = target[label][place]
        if len(found) == 1:
            out.chromosome[row], out.position[row], strand = found[0]
            out.reverse[row] = strand == "-"
    out.chromosome[:] = np.where(out.chromosome == "", "", chromosome_labels(out.chromosome))
    return out
