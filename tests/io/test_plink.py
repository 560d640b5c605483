"""PLINK 1: the counted allele, blocks on demand, and damaged file sets."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from bayestwas.errors import InputError
from bayestwas.io.plink import open_plink

DOSAGE = np.array([[0, 1, 2, -1, 1], [2, 2, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=np.int8)


def test_dosages_count_a1_and_missing_is_minus_one(plink_prefix: Path) -> None:
    genotypes = open_plink(plink_prefix)
    assert genotypes.name == "cohort.v1"
    assert genotypes.samples.tolist() == ["P0", "P1", "P2", "P3", "P4"]
    assert genotypes.variants["effect_allele"].tolist() == ["A", "C", "G"]  # A1, in capitals
    assert genotypes.variants["position"].tolist() == [100, 200, 300]
    loaded = genotypes.load(np.array([2, 0]))
    assert loaded.dtype == np.int8
    np.testing.assert_array_equal(loaded, DOSAGE[[2, 0]])


def test_the_bytes_say_that_a1_is_counted(tmp_path: Path) -> None:
    """Written by hand from the format's definition: 00 homozygous A1, 10 heterozygous, 11 homozygous A2, 01
    missing."""
    (tmp_path / "x.bed").write_bytes(bytes([0x6C, 0x1B, 0x01, 0b01_11_10_00]))
    (tmp_path / "x.bim").write_text("1 rs1 0 10 A G\n")
    (tmp_path / "x.fam").write_text("".join(f"f{i} i{i} 0 0 0 -9\n" for i in range(4)))
    np.testing.assert_array_equal(open_plink(tmp_path / "x").load(np.array([0])), [[2, 1, 0, -1]])


def test_the_prefix_may_be_the_bed_file_and_no_variant_may_be_asked(plink_prefix: Path) -> None:
    genotypes = open_plink(f"{plink_prefix}.bed", "panel")
    assert genotypes.name == "panel"
    assert genotypes.load(np.zeros(0, dtype=int)).shape == (0, 5)


def test_the_loader_is_small_and_picklable(plink_prefix: Path) -> None:
    loader = open_plink(plink_prefix).load
    blob = pickle.dumps(loader)
    assert len(blob) < 1000
    np.testing.assert_array_equal(pickle.loads(blob)(np.arange(3)), DOSAGE)


@pytest.mark.parametrize(
    ("size", "said"), [(-1, "truncated"), (-4, "truncated"), (3, "too long")], ids=["byte", "row", "longer"]
)
def test_a_bed_of_another_length_is_refused_when_opened(plink_prefix: Path, size: int, said: str) -> None:
    bed = Path(f"{plink_prefix}.bed")
    content = bed.read_bytes()
    bed.write_bytes(content[:size] if size < 0 else content + bytes(size))
    with pytest.raises(InputError) as error:
        open_plink(plink_prefix)
    assert "cohort.v1.bed" in error.value.given
    assert said in error.value.given
    assert "3 variants (.bim) of 5 people (.fam) take 9 bytes" in error.value.rule
    assert "Copy or write the file again" in error.value.remedy


def test_another_kind_of_bed_is_refused(plink_prefix: Path) -> None:
    Path(f"{plink_prefix}.bed").write_bytes(b"chr1\t100\t200\n")
    with pytest.raises(InputError, match=r"cohort.v1.bed starts with the bytes 636872.*--make-bed"):
        open_plink(plink_prefix)


def test_a_lone_bed_is_refused(plink_prefix: Path) -> None:
    Path(f"{plink_prefix}.fam").unlink()
    with pytest.raises(InputError, match=r"cohort\.v1\.fam does not exist.*holds cohort\.v1\.bed"):
        open_plink(plink_prefix)


@pytest.mark.parametrize(
    ("suffix", "text", "said"),
    [
        (".fam", "a P0 0 0 0 0\nb P0 0 0 0 0\n", r"line 2: individual 'P0' occurs more than once"),
        (".bim", "20 rs1 0 x A G\n", r"line 1: position 'x'"),
        (".bim", "20 rs1 0 100 A\n", r"has 5 columns"),
        (".bim", "20 rs1 0 100 A A\n", r"same effect_allele and other_allele, first rs1"),
        (".bim", "", r"is empty"),
        (".bim", "20 rs1 0 100 A G\n20 rs2 0 200 A G extra\n", r"rows of unequal length"),
    ],
)
def test_faults_of_bim_and_fam(plink_prefix: Path, suffix: str, text: str, said: str) -> None:
    path = Path(f"{plink_prefix}{suffix}")
    path.write_text(text)
    if suffix == ".bim":
        rows = len(text.splitlines())
        Path(f"{plink_prefix}.bed").write_bytes(b"\x6c\x1b\x01" + bytes(2 * rows))
    with pytest.raises(InputError, match=said) as error:
        open_plink(plink_prefix)
    assert "cohort.v1" in error.value.given
    assert error.value.remedy
