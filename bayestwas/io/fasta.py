"""The reference genome, base by base, from an indexed FASTA file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayestwas.data.optional import library
from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError
from bayestwas.io.tables import require_file


@dataclass(frozen=True, eq=False)
class Genome:
    """Bases of an opened FASTA file: `genome(chromosome, start, end)`, 0-based, half-open; '' where the file
    has no such chromosome or place."""

    path: Path
    file: Any
    labels: dict[str, str] = field(default_factory=dict)

    def __call__(self, chromosome: str, start: int, end: int) -> str:
        label = self.labels.get(chromosome)
        return "" if label is None else str(self.file.fetch(label, start, end)).upper()


def open_genome(path: str | Path) -> Genome:
    """Open a FASTA file, plain (an index .fai is made beside it where there is none) or bgzipped with .gzi.

    Chromosomes may be called 20 or chr20. Raises `InputError`, and `DependencyError` without pysam.
    """
    path = require_file(Path(path), "genome")
    pysam = library("pysam", "fasta", path)
    before = pysam.set_verbosity(0)  # its library prints what the error says again
    try:
        file = pysam.FastaFile(str(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a genome ({error})",
            "A genome is a FASTA file, plain or compressed by bgzip, with .fai (and .gzi) beside it",
            f"samtools faidx {path.name}, in a folder that can be written to",
        ) from error
    finally:
        pysam.set_verbosity(before)
    names = [str(name) for name in file.references]
    return Genome(path, file, dict(zip(map(str, chromosome_labels(names)), names, strict=True)))
