"""Small files written by hand for the readers."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import bed_reader
import numpy as np
import pytest

DOSAGE = np.array([[0, 1, 2, -127, 1], [2, 2, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=np.int8)  # variants x people


@pytest.fixture
def plink_prefix(tmp_path: Path) -> Path:
    """Three variants of five people: counted allele A1, one genotype missing, the last variant
    monomorphic."""
    prefix = tmp_path / "cohort.v1"  # a dot in a prefix is no suffix
    path = Path(f"{prefix}.bed")
    properties = {
        "fid": [f"F{i}" for i in range(5)],
        "iid": [f"P{i}" for i in range(5)],
        "chromosome": ["chr20", "chr20", "chrX"],
        "sid": ["rs1", "rs2", "rs3"],
        "bp_position": [100, 200, 300],
        "allele_1": ["A", "c", "G"],
        "allele_2": ["G", "T", "T"],
    }
    beside = {f"{kind}_filepath": f"{prefix}.{kind}" for kind in ("fam", "bim")}
    bed_reader.to_bed(path, DOSAGE.T, properties=properties, num_threads=1, **beside)
    return prefix


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text under a name; a name that ends in .gz is gzipped."""

    def write_text(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write_text
