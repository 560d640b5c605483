"""Ready LD: every layout gives back the correlations it was written from, and only the files of a block are
read. Simulated where no real file is named."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest
import rdata
from scipy import sparse

from bayestwas.data.ld_regions import RegionalCorrelation, joined
from bayestwas.errors import InputError
from bayestwas.io.ld_files import find_ld_files, read_ld, read_ld_files

DATA = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
P, PEOPLE = 40, 300
WHOLE = pd.DataFrame({"block": ["b"], "chromosome": ["20"], "start": [0], "end": [10**9]})
POSITION = 1000 * (1 + np.arange(P))


def _blocks(*edges: tuple[int, int], chromosome: str = "20") -> pd.DataFrame:
    names = [f"b{number}" for number in range(len(edges))]
    return pd.DataFrame(edges, columns=["start", "end"]).assign(block=names, chromosome=chromosome)


@pytest.fixture(scope="module")
def correlation() -> np.ndarray:
    rng = np.random.default_rng(3)
    walk = rng.standard_normal((P, PEOPLE))
    for j in range(1, P):
        walk[j] += 0.7 * walk[j - 1]
    sign = rng.choice([-1, 1], P)
    return np.corrcoef(walk) * np.outer(sign, sign)


def _table(rows: np.ndarray | slice = slice(None), names: str = "rsid chromosome position allele1 allele2"):
    at = np.arange(P)[rows]
    values = {
        "rsid": [f"rs{j}" for j in at], "id": [f"rs{j}" for j in at], "variant_id": [f"rs{j}" for j in at],
        "chromosome": 20, "chrom": 20, "position": POSITION[at], "pos": POSITION[at],
        "allele1": "A", "allele2": "G", "alt": "A", "ref": "G", "effect_allele": "A", "other_allele": "G",
        "variance": 0.4,
    }  # fmt: skip
    return pd.DataFrame({name: values[name] for name in names.split()})


def _half(r: np.ndarray, diagonal: float = 0.5) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.tril(r, -1) + diagonal * np.eye(len(r), dtype=r.dtype))


def polyfun(folder: Path, r: np.ndarray, rows: slice = slice(None), stem: str = "chr20_1_3000001") -> Path:
    sparse.save_npz(folder / f"{stem}.npz", _half(r[rows, rows]))
    _table(rows).to_csv(folder / f"{stem}.gz", sep="\t", index=False, compression="gzip")
    return folder / f"{stem}.npz"


def polyfun_upper_whole_diagonal(folder: Path, r: np.ndarray) -> Path:
    sparse.save_npz(folder / "u.npz", sparse.coo_matrix(_half(r, 1.0).T))
    _table().to_csv(folder / "u.tsv", sep="\t", index=False)
    return folder / "u.npz"


def both_halves(folder: Path, r: np.ndarray) -> Path:
    sparse.save_npz(folder / "w.npz", sparse.csc_matrix(r))
    _table().to_csv(folder / "w.txt.gz", sep=" ", index=False)
    return folder / "w.npz"


def ctwas(folder: Path, r: np.ndarray, rows: slice = slice(None), stem: str = "ukb_chr20.R_snp.1_99") -> Path:
    rdata.write_rds(str(folder / f"{stem}.RDS"), np.asfortranarray(r[rows, rows]))
    _table(rows, "chrom id pos alt ref variance").to_csv(folder / f"{stem}.Rvar", sep="\t", index=False)
    return folder / f"{stem}.RDS"


def plain_npz(folder: Path, r: np.ndarray) -> Path:
    np.savez(folder / "plain.npz", correlation=r)
    names = "variant_id chromosome position effect_allele other_allele"
    _table(names=names).to_csv(folder / "plain.csv", index=False)
    return folder / "plain.npz"


def npy(folder: Path, r: np.ndarray) -> Path:
    np.save(folder / "plain.npy", r)
    _table().to_csv(folder / "plain.tsv.gz", sep="\t", index=False)
    return folder / "plain.npy"


def named_npz(folder: Path, r: np.ndarray) -> Path:
    np.savez(folder / "named.npz", ld=r, variant_id=np.array([f"20:{p}:G:A" for p in POSITION]))
    return folder / "named.npz"


def plink_square(folder: Path, r: np.ndarray) -> Path:
    np.savetxt(folder / "p.ld", r, fmt="%.17g", delimiter="\t")
    bim = _table().assign(cm=0)[["chromosome", "rsid", "cm", "position", "allele1", "allele2"]]
    bim.to_csv(folder / "p.bim", sep="\t", index=False, header=False)
    return folder / "p.ld"


LAYOUTS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    f.__name__: f
    for f in (
        polyfun,
        polyfun_upper_whole_diagonal,
        both_halves,
        ctwas,
        plain_npz,
        npy,
        named_npz,
        plink_square,
    )
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_back_its_correlations(
    tmp_path: Path, correlation: np.ndarray, layout: str
) -> None:
    file = LAYOUTS[layout](tmp_path, correlation)
    ld, used = read_ld_files([file], 300, "ld", WHOLE)
    assert used[0] == file
    assert ld.variants["position"].tolist() == POSITION.tolist()
    assert set(ld.variants["effect_allele"]) == {"A"}
    assert set(ld.variants["chromosome"]) == {"20"}
    # the doubles that were written; the diagonal of corrcoef is 1 to rounding
    np.testing.assert_allclose(ld.part(np.arange(P))(), correlation, rtol=0, atol=1e-15)
    some = np.array([7, 3, 30])  # in any order
    np.testing.assert_allclose(ld.part(some)(), correlation[np.ix_(some, some)], rtol=0, atol=1e-15)


def test_single_precision_stays_single(tmp_path: Path, correlation: np.ndarray) -> None:
    ld, _ = read_ld_files([polyfun(tmp_path, correlation.astype(np.float32))], 300, "ld", WHOLE)
    part = ld.part(np.arange(P))()
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, part.T)


def test_a_file_with_identifiers_is_read_whole_and_needs_no_table(
    tmp_path: Path, correlation: np.ndarray
) -> None:
    ld, used = read_ld([named_npz(tmp_path, correlation)], 300, "ld", WHOLE)
    assert isinstance(ld.correlation, np.ndarray)
    assert [file.name for file in used] == ["named.npz"]


def test_only_the_files_of_a_block_are_opened(tmp_path: Path, correlation: np.ndarray) -> None:
    """Windows that overlap, of PolyFun's names; the matrix of another block and the table of another place
    are no files at all."""
    first = polyfun(tmp_path, correlation, slice(0, 25), "chr20_1_25001")
    second = polyfun(tmp_path, correlation, slice(15, 40), "chr20_15001_40001")
    for stem in ("chr2_1_25001", "chr20_500001_600001"):
        (tmp_path / f"{stem}.npz").write_text("no matrix")
        (tmp_path / f"{stem}.gz").write_text("no table")
    files = find_ld_files(tmp_path / "*.npz")
    assert len(files) == 4
    blocks = _blocks((0, 20_000), (20_000, 41_000))
    ld, used = read_ld_files(files, 300, "*.npz", blocks)
    assert {file.name for file in used} == {
        "chr20_1_25001.npz", "chr20_1_25001.gz", "chr20_15001_40001.npz", "chr20_15001_40001.gz",
    }  # fmt: skip
    assert ld.variants["position"].tolist() == POSITION.tolist()  # each once
    inside = np.arange(20)
    second.unlink()
    np.testing.assert_allclose(ld.part(inside)(), correlation[np.ix_(inside, inside)], rtol=0, atol=1e-15)
    assert isinstance(ld.correlation, RegionalCorrelation)
    assert [load.path for load, _, _ in ld.correlation.part(inside).parts] == [first]
    with pytest.raises(InputError, match=r"chr20_15001_40001\.npz"):
        ld.part(np.arange(20, 40))()


def test_variants_of_different_files_are_uncorrelated_and_the_whole_is_positive(
    tmp_path: Path, correlation: np.ndarray
) -> None:
    files = [ctwas(tmp_path, correlation, slice(0, 22), "x_chr20.R_snp.1_22"),
             ctwas(tmp_path, correlation, slice(22, 40), "x_chr20.R_snp.22_40")]  # fmt: skip
    ld, _ = read_ld_files(files, 300, "ld", WHOLE)
    whole = ld.part(np.arange(P))()
    expected = correlation.copy()
    expected[:22, 22:], expected[22:, :22] = 0, 0
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-15)
    assert np.linalg.eigvalsh(whole)[0] > -1e-12  # rounding of the eigenvalues of a matrix of norm 40


def test_a_block_takes_the_file_that_holds_most_of_it_and_then_the_next() -> None:
    calls: list[str] = []

    def load(name: str) -> Callable[[np.ndarray], np.ndarray]:
        def read(rows: np.ndarray) -> np.ndarray:
            calls.append(f"{name}{rows.tolist()}")
            return np.eye(len(rows))

        return read

    members = np.arange(6)
    regions = [(load("a"), members[:3], np.arange(3)), (load("b"), members[1:][::-1], np.arange(5))]
    joined(regions, 6).part(np.array([5, 0, 2, 4]))()
    assert calls == ["b[3, 1, 0]", "a[0]"]


def test_variants_that_do_not_vary_are_absent(tmp_path: Path, correlation: np.ndarray) -> None:
    r = correlation.copy()
    r[4], r[:, 4] = np.nan, np.nan
    ld, _ = read_ld_files([ctwas(tmp_path, r)], 300, "ld", WHOLE)
    part = ld.part(np.arange(P))()
    assert np.isnan(part[4]).all()
    assert np.isnan(part[:, 4]).all()
    assert np.isfinite(np.delete(part[0], 4)).all()


def test_matrices_of_r_itself(tmp_path: Path, correlation: np.ndarray) -> None:
    """What saveRDS writes, with and without names of rows."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    file = ctwas(tmp_path, correlation)
    np.savetxt(tmp_path / "r.txt", correlation, fmt="%.17g")
    for names in ("", "dimnames(m) <- list(paste0('rs', 0:39), paste0('rs', 0:39));"):
        code = f"m <- as.matrix(read.table('r.txt')); dimnames(m) <- NULL; {names} saveRDS(m, '{file.name}')"
        subprocess.run(["Rscript", "--vanilla", "-e", code], cwd=tmp_path, check=True, capture_output=True)
        ld, _ = read_ld_files([file], 300, "ld", WHOLE)
        np.testing.assert_allclose(ld.part(np.arange(P))(), correlation, rtol=0, atol=1e-15)


def test_real_ld_of_a_thousand_genomes_is_that_of_the_genotypes_of_the_same_people(tmp_path: Path) -> None:
    source = DATA / "three_ancestry_1000g"
    if not source.is_dir():
        pytest.skip(f"{source} is absent")
    for ancestry in ("EUR", "AFR", "EAS"):
        prefix = source / "plink" / ancestry
        bim = pd.read_csv(f"{prefix}.bim", sep=r"\s+", header=None)
        wanted = (source / f"{ancestry}.ld").read_text().partition("\n")[0].split()
        held = bim.set_index(1, drop=False).loc[wanted]
        held.to_csv(tmp_path / f"{ancestry}.bim", sep="\t", index=False, header=False)
        shutil.copy(source / f"{ancestry}.ld", tmp_path)
        inside = WHOLE.assign(chromosome=str(held[0].iloc[0]))
        ld, _ = read_ld_files([tmp_path / f"{ancestry}.ld"], 489, ancestry, inside)
        dosage = bed_reader.open_bed(f"{prefix}.bed", num_threads=1).read(dtype="float64", num_threads=1)
        at = pd.Index(bim[1]).get_indexer(pd.Index(wanted))
        direct = np.corrcoef(dosage[:, at].T)
        # written with four decimals: half a unit of the last, and PLINK's rounding of ties
        np.testing.assert_allclose(ld.part(np.arange(len(at)))(), direct, rtol=0, atol=5.2e-5)


def _spoiled(name: str, folder: Path, r: np.ndarray) -> Path:
    file = polyfun(folder, r)
    table = file.with_suffix(".gz")
    if name == "no table":
        table.unlink()
    elif name == "table of another length":
        _table(slice(0, 30)).to_csv(table, sep="\t", index=False)
    elif name == "unknown columns":
        _table().rename(columns={"allele1": "first"}).to_csv(table, sep="\t", index=False)
    elif name == "position":
        _table().astype({"position": str}).replace("5000", "here").to_csv(table, sep="\t", index=False)
    elif name == "twice":
        _table().replace({2000: 1000}).to_csv(table, sep="\t", index=False)
    elif name == "another chromosome":
        _table().assign(chromosome=3).to_csv(table, sep="\t", index=False)
    elif name == "cut off":
        file.write_bytes(file.read_bytes()[:-200])
    elif name == "half of a covariance":
        sparse.save_npz(file, 3 * _half(r))
    elif name == "r2":
        sparse.save_npz(file, _half(r**2))
    elif name == "objects":
        np.savez(file, data=np.array([{}], dtype=object), shape=np.array([P, P]), format=np.array("csr"))
    elif name == "no matrix":
        np.savez(file, one=np.eye(2), two=np.eye(2))
    elif name == "R list":
        file = ctwas(folder, r)
        rdata.write_rds(str(file), {"a": np.eye(2)})
    elif name == "npy of objects":
        file = npy(folder, r)
        np.save(file, np.array([{}], dtype=object))
    elif name == "text":
        file = plink_square(folder, r)
        file.write_text(file.read_text().replace("\t", "\tx", 1))
    elif name == "bomb":
        np.savez_compressed(file, ld=np.zeros((P, 2_000)))
    else:
        raise AssertionError(name)
    return file


def _read_all(file: Path) -> np.ndarray:
    ld, _ = read_ld_files([file], 300, file.name, WHOLE)
    return ld.part(np.arange(len(ld.variants)))()


BAD = {
    "no table": ("has no table of its variants", "PolyFun"),
    "table of another length": ("has shape (40, 40), and the table of its variants 30 rows", "one row"),
    "unknown columns": ("has the columns rsid, chromosome, position, first, allele2", "allele1 allele2"),
    "position": ("row 5: position 'here'", "whole numbers"),
    "twice": ("has variant rs0 more than once", "one row per variant"),
    "another chromosome": ("none of 1 LD files has a variant inside the blocks", "same build"),
    "cut off": ("cannot be read", "Python objects"),
    "half of a covariance": ("[row 16, row 17] = 2.2", "correlations"),
    "r2": ("this looks like r2", "not r2"),
    "objects": ("cannot be read as a sparse matrix", "save_npz"),
    "no matrix": ("holds the arrays one, two", "an array ld"),
    "R list": ("holds dict", "one matrix"),
    "npy of objects": ("holds Python objects", "array of numbers"),
    "text": ("could not convert", "a square of numbers"),
    "bomb": ("unpacks to 640,128 bytes", "at most"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(
    tmp_path: Path, correlation: np.ndarray, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bayestwas.io.ld.LARGEST", 1 << 19)
    file = _spoiled(case, tmp_path, correlation)
    given, rule = BAD[case]
    with pytest.raises(InputError) as error:
        _read_all(file)
    assert file.stem in error.value.given
    assert given in error.value.given
    assert rule in error.value.rule or rule in error.value.remedy
    assert "Traceback" not in str(error.value)


def test_gzipped_tables_need_no_ending_of_their_own(tmp_path: Path, correlation: np.ndarray) -> None:
    file = polyfun(tmp_path, correlation)
    with gzip.open(file.with_suffix(".gz"), "rt") as handle:
        assert handle.readline().split() == ["rsid", "chromosome", "position", "allele1", "allele2"]
    assert len(read_ld_files([file], 300, "ld", WHOLE)[0].variants) == P
