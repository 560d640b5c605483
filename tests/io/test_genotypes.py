"""One table and one array of dosages, whatever the format: calls, dosages, missing, ranges, real people."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from bayestwas.errors import DependencyError, InputError
from bayestwas.io import vcf_genotypes
from bayestwas.io.genotypes import genotype_files, open_genotypes
from bayestwas.io.vcf_genotypes import open_vcf


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


files = _beside("genotype_files")
DATA = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
P = 10
Write = Callable[[Path, pd.DataFrame, np.ndarray], Path]
WRITERS: dict[str, Write] = {
    "bed": files.write_bed,
    "pgen": files.write_pgen,
    "vcf": files.write_vcf,
    "vcf indexed": files.write_indexed,
    "bgen": files.write_bgen,
    "bgen without index": lambda *given: files.write_bgen(*given, index=False),
}
IMPUTED = [name for name in WRITERS if name != "bed"]
# decimals of the format: sixths in VCF as written here, 2^-14 in pgen, 2^-16 and two probabilities in BGEN
STEP = {"pgen": 2.0**-14, "vcf": 1e-6, "vcf indexed": 1e-6, "bgen": 2.0**-14, "bgen without index": 2.0**-14}


def calls() -> np.ndarray:
    rng = np.random.default_rng(3)
    dosage = rng.integers(0, 3, (P, len(files.PEOPLE))).astype(np.int8)
    dosage[2, 4] = dosage[7, 0] = -1
    return dosage


def expected_copies() -> np.ndarray:
    rng = np.random.default_rng(4)
    dosage = rng.uniform(0, 2, (P, len(files.PEOPLE))).astype(np.float32)
    dosage[1, 3] = -1
    dosage[5] = calls()[5]  # a typed variant among imputed ones
    return dosage


@pytest.mark.parametrize("kind", WRITERS)
def test_calls_agree_in_all_formats(tmp_path: Path, kind: str) -> None:
    table = files.variants(P)
    genotypes = open_genotypes(WRITERS[kind](tmp_path, table, calls()))
    pd.testing.assert_frame_equal(genotypes.variants[list(table)], table, check_dtype=False)
    assert tuple(genotypes.samples) == files.PEOPLE
    loaded = genotypes.load(np.arange(P))
    assert loaded.dtype == np.int8
    np.testing.assert_array_equal(loaded, calls())
    some = np.array([7, 2, 2, 9])  # in any order, and twice
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(genotypes.load))(some), calls()[some])
    assert genotypes.load(np.zeros(0, dtype=int)).shape == (0, len(files.PEOPLE))
    assert len(pickle.dumps(genotypes.load)) < 1000


@pytest.mark.parametrize("kind", IMPUTED)
def test_dosages_are_used_as_they_are(tmp_path: Path, kind: str) -> None:
    genotypes = open_genotypes(WRITERS[kind](tmp_path, files.variants(P), expected_copies()))
    assert genotypes.imputed
    loaded = genotypes.load(np.arange(P))
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, expected_copies(), rtol=0, atol=STEP[kind])
    typed = genotypes.load(np.array([5]))
    assert typed.dtype == np.int8  # what is whole is stored as such


@pytest.mark.parametrize("write", [files.write_pgen, files.write_vcf])
def test_the_quality_of_the_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    """Under any of its names, NaN where a variant has none."""
    info = ["R2=0.25;AF=0.1", *["AF=0.2"] * (P - 2), "AF=.3;R2=0.75"]
    given = open_genotypes(write(tmp_path, files.variants(P), expected_copies(), info)).info
    assert given is not None
    np.testing.assert_allclose(given[[0, -1]], [0.25, 0.75])
    assert np.isnan(given[1:-1]).all()


def test_a_prefix_is_the_first_that_is_there(tmp_path: Path) -> None:
    prefix = tmp_path / "x"
    files.write_vcf(tmp_path, files.variants(P), calls())
    assert genotype_files(prefix) == (tmp_path / "x.vcf",)
    files.write_bed(tmp_path, files.variants(P), calls())
    assert genotype_files(prefix)[0] == tmp_path / "x.bed"
    assert genotype_files(tmp_path / "x.VCF") == (tmp_path / "x.VCF",)
    assert genotype_files(tmp_path / "none.v1")[0] == tmp_path / "none.v1.bed"


def test_an_indexed_vcf_is_read_by_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the regions alone, in the order of the file, one that overlap merged; sites between are not read."""
    path = files.write_indexed(tmp_path, files.variants(P), calls())
    inside = pd.DataFrame(
        {"chromosome": ["chr21", "20", "20"], "start": [6999, 999, 1500], "end": [9000, 1999, 3500]}
    )
    seen = []
    original = vcf_genotypes.record_dosage
    monkeypatch.setattr(vcf_genotypes, "record_dosage", lambda p, r: seen.append(r.POS) or original(p, r))
    genotypes = open_vcf(path, "part", inside)
    held = [0, 1, 2, 6, 7, 8]
    assert genotypes.variants["position"].tolist() == [1000 * (1 + j) for j in held]
    assert seen == []
    np.testing.assert_array_equal(genotypes.load(np.arange(6)), calls()[held])
    seen.clear()
    np.testing.assert_array_equal(genotypes.load(np.array([4])), calls()[[7]])
    assert seen == [8000]


def test_a_large_vcf_needs_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.write_vcf(tmp_path, files.variants(P), calls())
    monkeypatch.setattr(vcf_genotypes, "_LARGEST", 100)
    with pytest.raises(InputError, match=r"no index.*tabix"):
        open_vcf(path)


VCF = (
    "##fileformat=VCFv4.2\n##contig=<ID=X>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
    '##FORMAT=<ID=DS,Number=A,Type=Float,Description="d">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\td\te\n"
)


def test_calls_of_the_definition(tmp_path: Path) -> None:
    """By hand: several alternates are rows of their own, a haploid call counts twice, half a call is missing,
    and calls stand in where a site has no DS."""
    text = VCF.replace('##FORMAT=<ID=DS,Number=A,Type=Float,Description="d">\n', "")
    text += "X\t5\t.\tA\tC,G\t.\t.\t.\tGT\t0/1\t1|2\t2\t./1\t.\n"
    text += "X\t6\tm\tA\t.\t.\t.\t.\tGT\t0/0\t0/0\t0\t0/0\t0/0\n"
    (tmp_path / "x.vcf").write_text(text)
    genotypes = open_vcf(tmp_path / "x.vcf")
    assert genotypes.variants["effect_allele"].tolist() == ["C", "G", "."]
    assert genotypes.variants["variant_id"].tolist() == ["", "", "m"]
    np.testing.assert_array_equal(
        genotypes.load(np.arange(3)), [[1, 1, 0, -1, -1], [0, 1, 2, -1, -1], [0, 0, 0, 0, 0]]
    )
    mixed = VCF + "X\t5\t.\tA\tC\t.\t.\t.\tGT:DS\t0/1:0.75\t1|1:1.9995\t0/0:0\t0/0:.\t0/1:2.0004\n"
    (tmp_path / "y.vcf").write_text(mixed + "X\t7\t.\tA\tC\t.\t.\t.\tGT\t0/1\t1|1\t0/0\t./.\t0/1\n")
    loaded = open_vcf(tmp_path / "y.vcf").load(np.arange(2))
    np.testing.assert_allclose(loaded, [[0.75, 1.9995, 0, -1, 2], [1, 2, 0, -1, 1]], rtol=1e-6)


def test_several_alternates_of_a_pgen(tmp_path: Path) -> None:
    """The same site in PLINK 2: a row per alternate allele."""
    import pgenlib

    alleles = np.array([[0, 1, 1, 2, 2, 2, 0, 0], [0, 0, 0, 1, 1, 1, -9, -9]], dtype=np.int32)
    with pgenlib.PgenWriter(
        str(tmp_path / "m.pgen").encode(), 4, variant_ct=2, nonref_flags=False, allele_ct_limit=3
    ) as file:
        file.append_alleles(alleles[0], allele_ct=3)
        file.append_alleles(alleles[1], allele_ct=2)
    (tmp_path / "m.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n1\t5\t.\tA\tC,G\n1\t6\trs6\tT\tC\n")
    (tmp_path / "m.psam").write_text("#FID\tIID\nf\ta\nf\tb\nf\tc\nf\td\n")
    genotypes = open_genotypes(tmp_path / "m")
    assert genotypes.variants["effect_allele"].tolist() == ["C", "G", "C"]
    expected = [[1, 1, 0, 0], [0, 1, 2, 0], [0, 1, 2, -1]]
    np.testing.assert_array_equal(genotypes.load(np.arange(3)), expected)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(genotypes.load))(np.array([2, 1])), expected[:0:-1]
    )


def test_people_of_a_bgen(tmp_path: Path) -> None:
    """The .sample file beside it names them; it has to fit, and to be there where the file has no names."""
    from bgen import BgenWriter

    path = tmp_path / "n.bgen"
    with BgenWriter(str(path), 3) as file:
        file.add_variant("v", "rs1", "1", 5, ["A", "G"], np.eye(3))
    with pytest.raises(InputError, match=r"does not name its people.*n\.sample"):
        open_genotypes(path)
    (tmp_path / "n.sample").write_text("ID_1 ID_2 missing\n0 0 0\nF1 a 0\nF2 b 0\nF3 c 0\n")
    genotypes = open_genotypes(path)
    assert genotypes.samples.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(genotypes.load(np.array([0])), [[0, 1, 2]])
    (tmp_path / "n.sample").write_text("ID_1 ID_2 missing\n0 0 0\nF1 a 0\n")
    with pytest.raises(InputError, match="names 1 people"):
        open_genotypes(path)


@pytest.mark.parametrize(("module", "write"), [("pgenlib", files.write_pgen), ("bgen", files.write_bgen)])
def test_without_its_library_the_extra_is_named(
    tmp_path: Path, module: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, files.variants(P), calls())
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=r"pip install 'bayestwas\[(pgen|bgen)\]'"):
        open_genotypes(path)


def _cut(path: Path, last: int) -> None:
    path.write_bytes(path.read_bytes()[:-last])


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "pgen breaks off": ("pgen", lambda f: _cut(f / "x.pgen", 20), "x.pgen"),
    "pgen is text": ("pgen", lambda f: (f / "x.pgen").write_text("hello" * 9), "x.pgen"),
    "pgen of other variants": ("pgen", lambda f: _cut(f / "x.pvar", 20), "x.pgen"),
    "pgen of other people": ("pgen", lambda f: _cut(f / "x.psam", 7), "x.pgen"),
    "pvar without header": ("pgen", lambda f: (f / "x.pvar").write_text("20\t1\trs\tA\tG\n"), "x.pvar"),
    "pvar position": (
        "pgen",
        lambda f: (f / "x.pvar").write_text((f / "x.pvar").read_text().replace("\t1000\t", "\tx\t")),
        "x.pvar line 3",
    ),
    "psam without people": ("pgen", lambda f: (f / "x.psam").write_text("SEX\n1\n"), "x.psam"),
    "psam person twice": (
        "pgen",
        lambda f: (f / "x.psam").write_text("#IID\n" + "P0\n" * 12),
        "x.psam line 3",
    ),
    "psam absent": ("pgen", lambda f: (f / "x.psam").unlink(), "x.psam"),
    "bgen breaks off": ("bgen without index", lambda f: _cut(f / "x.bgen", 40), "x.bgen"),
    "bgen is text": ("bgen without index", lambda f: (f / "x.bgen").write_text("hello" * 50), "x.bgen"),
    "bgen of another index": ("bgen", lambda f: (f / "x.bgen.bgi").write_bytes(b"hello" * 50), "x.bgen.bgi"),
    "vcf is text": ("vcf", lambda f: (f / "x.vcf").write_text("hello\n" * 9), "x.vcf"),
    "vcf of sites": (
        "vcf",
        lambda f: (f / "x.vcf").write_text(
            "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        ),
        "neither GT nor DS",
    ),
    "vcf dosage of three": (
        "vcf",
        lambda f: (f / "x.vcf").write_text(VCF + "X\t5\t.\tA\tC\t.\t.\t.\tDS\t3\t1\t1\t1\t1\n"),
        "DS of X:5",
    ),
}


def _read_all(path: Path) -> np.ndarray:
    genotypes = open_genotypes(path)
    return genotypes.load(np.arange(len(genotypes.variants)))


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused(tmp_path: Path, case: str) -> None:
    """When they are opened, or at the latest when they are read, in words that name the file."""
    kind, damage, said = DAMAGE[case]
    WRITERS[kind](tmp_path, files.variants(P), calls())
    damage(tmp_path)
    with pytest.raises(InputError) as error:
        _read_all(tmp_path / f"x.{kind.split()[0]}")
    assert said in error.value.given
    assert error.value.remedy


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
@pytest.mark.parametrize("ancestry", ["EUR", "AFR", "EAS"])
def test_plink_and_vcf_of_the_same_people_agree(ancestry: str) -> None:
    """1000 Genomes: every call, once A1 and ALT are the same allele."""
    folder = DATA / "three_ancestry_1000g"
    plink = open_genotypes(folder / "plink" / ancestry)
    vcf = open_genotypes(folder / "vcf" / f"{ancestry}.vcf")
    assert plink.samples.tolist() == vcf.samples.tolist()
    shared = plink.variants.reset_index().merge(
        vcf.variants.reset_index(), on="position", suffixes=("", "_vcf")
    )
    assert len(shared) == len(plink.variants) == len(vcf.variants)
    one = plink.load(shared["index"].to_numpy())
    two = vcf.load(shared["index_vcf"].to_numpy())
    swapped = (shared["effect_allele"] == shared["other_allele_vcf"]).to_numpy()
    assert (swapped | (shared["effect_allele"] == shared["effect_allele_vcf"]).to_numpy()).all()
    two = np.where(swapped[:, None] & (two >= 0), 2 - two, two)
    np.testing.assert_array_equal(one, two)
