"""Broken LD files and eQTL tables: refused in words that name the file, or, where only one block is struck,
a failed block that says why beside others that are fitted."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from bayestwas import names
from bayestwas.errors import BayestwasError
from bayestwas.run.check import check
from bayestwas.run.pipeline import run_study

Spoil = Callable[[Path], None]
HALVES = ("chr20_1_12000", "chr20_12001_30000")


def _ld_files(folder: Path) -> None:
    """The LD of the sound study as two halves of PolyFun's."""
    with np.load(folder / "ld.npz") as held:
        r, ids = held["ld"], held["variant_id"]
    (folder / "ld.npz").unlink()
    position = np.array([int(name.split(":")[1]) for name in ids])
    for stem, inside in zip(HALVES, (position <= 12_000, position > 12_000), strict=True):
        at = np.flatnonzero(inside)
        half = np.tril(r[np.ix_(at, at)], -1) + 0.5 * np.eye(len(at))
        sparse.save_npz(folder / f"{stem}.npz", sparse.csr_matrix(half))
        table = pd.DataFrame({"rsid": [f"rs{j}" for j in at], "chromosome": 20, "position": position[at]})
        table.assign(allele1="A", allele2="G").to_csv(folder / f"{stem}.gz", sep="\t", index=False)
    text = (folder / "study.toml").read_text()
    new = 'matrix = "chr20_*.npz"\nn = 30\n[[expression]]'
    (folder / "study.toml").write_text(text.replace('genotypes = "EUR"\n[[expression]]', new))


def _eqtl(folder: Path) -> None:
    """The expression of the sound study as eQTL summary statistics."""
    rng = np.random.default_rng(1)
    position = 1000 * (1 + np.arange(24))
    parts = [
        pd.DataFrame(
            {
                "gene_id": gene, "variant_id": [f"chr20_{p}_G_A_b37" for p in position],
                "tss_distance": position - tss, "ma_samples": 9, "ma_count": 9, "maf": 0.3,
                "pval_nominal": 0.5, "slope": rng.normal(0, 0.2, 24), "slope_se": 0.2,
            }
        )
        for gene, tss in (("G1", 5000), ("G2", 8000))
    ]  # fmt: skip
    pd.concat(parts).to_csv(folder / "eqtl.tsv", sep="\t", index=False)
    head, _, _ = (folder / "study.toml").read_text().partition("[[expression]]")
    entry = '[[eqtl]]\ncontext = "LCL"\nancestry = "EUR"\npath = "eqtl.tsv"\nn = 30\n'
    (folder / "study.toml").write_text(head + entry)


def _change(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Spoil:
    return lambda folder: change(pd.read_csv(folder / name, sep="\t")).to_csv(
        folder / name, sep="\t", index=False
    )


def _bytes(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


def _drop(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def _toml(old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> None:
        text = (folder / "study.toml").read_text()
        assert old in text
        (folder / "study.toml").write_text(text.replace(old, new))

    return spoil


def _both(*spoils: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


TABLE = f"{HALVES[0]}.gz"
BROKEN: dict[str, tuple[Spoil, Spoil, tuple[str, ...]]] = {
    "ld table absent": (_ld_files, _drop(TABLE), (HALVES[0], "no table of its variants")),
    "ld table cut off": (
        _ld_files, _bytes(TABLE, gzip.compress(b"rsid\tchromosome\n" * 99)[:-9]), (TABLE, "breaks off"),
    ),
    "ld table empty": (_ld_files, _bytes(TABLE, b""), (TABLE, "empty")),
    "ld table of another kind": (_ld_files, _bytes(TABLE, b"a\tb\n1\t2\n"), (TABLE, "PolyFun: chromosome")),
    "ld files elsewhere": (_ld_files, _toml("chr20_*", "chr21_*"), ("chr21_*.npz", "there is no file")),
    "ld files without n": (_ld_files, _toml("n = 30", ""), ("[[ld]] number 1", "no n")),
    "ld of another chromosome": (
        _ld_files,
        _both(*(_change(f"{stem}.gz", lambda t: t.assign(chromosome=3)) for stem in HALVES)),
        ("chr20_*.npz", "same build"),
    ),
    "ld with a variant twice": (
        _ld_files, _change(TABLE, lambda t: t.assign(position=t["position"].clip(lower=2000))),
        (HALVES[0], "more than once"),
    ),
    "ld without position": (
        _ld_files, _change(TABLE, lambda t: t.assign(position=t["position"].where(t.index > 2))),
        (TABLE, "row 1: position"),
    ),
    "eqtl absent": (_eqtl, _drop("eqtl.tsv"), ("eqtl.tsv", "there is no file")),
    "eqtl empty": (_eqtl, _bytes("eqtl.tsv", b""), ("eqtl.tsv", "empty")),
    "eqtl of no layout": (
        _eqtl, _change("eqtl.tsv", lambda t: t.drop(columns="slope")), ("eqtl.tsv", "GTEx"),
    ),
    "eqtl without n": (_eqtl, _toml("n = 30", ""), ("[[eqtl]] number 1", "lacks n")),
    "eqtl n of text": (_eqtl, _toml("n = 30", 'n = "many"'), ("[[eqtl]] number 1", "a number")),
    "eqtl of two people": (_eqtl, _toml("n = 30", "n = 2"), ("eqtl.tsv", "more people than covariates")),
    "eqtl of another build": (
        _eqtl,
        _change("eqtl.tsv", lambda t: t.assign(variant_id=t["variant_id"].str.replace("000_", "123_"))),
        ("eqtl.tsv", "share 0 variants"),
    ),
    "eqtl with an error below zero": (
        _eqtl, _change("eqtl.tsv", lambda t: t.assign(slope_se=-1.0)), ("eqtl.tsv", "slope_se is -1"),
    ),
    "eqtl of an ancestry without LD": (
        _eqtl, _toml('context = "LCL"\nancestry = "EUR"', 'context = "LCL"\nancestry = "AFR"'),
        ("[[eqtl]] number 1", "without a GWAS"),
    ),
    "eqtl Parquet that is none": (
        _eqtl, _both(_bytes("e.parquet", b"PAR1"), _toml("eqtl.tsv", "e.parquet")),
        ("e.parquet", "no Parquet file"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken(sound: Path, case: str) -> None:
    make, spoil, parts = BROKEN[case]
    make(sound.parent)
    spoil(sound.parent)
    with pytest.raises(BayestwasError) as error:
        check(sound)
    message = str(error.value)
    for part in parts:
        assert part in message
    assert "Traceback" not in message


@pytest.mark.parametrize("make", [_ld_files, _eqtl])
def test_unbroken(sound: Path, make: Spoil) -> None:
    make(sound.parent)
    assert check(sound).runnable == 2


def test_a_damaged_matrix_fails_its_block_and_says_so(sound: Path, tmp_path: Path) -> None:
    """Matrices are read by the block that needs them: the run ends, with a status and a reason."""
    _ld_files(sound.parent)
    (sound.parent / f"{HALVES[0]}.npz").write_bytes(b"no matrix")
    assert check(sound).runnable == 2  # tables are read, matrices are not
    summary = run_study(sound, tmp_path / "out", workers=1, progress=False)
    assert summary.failed_blocks == 1
    blocks = summary.result[names.BLOCKS].dataset
    failed = blocks["block_reason"].values[blocks["block_status"].values == names.FAILED]
    assert len(failed) == 1
    assert f"{HALVES[0]}.npz" in failed[0]
    assert "cannot be read" in failed[0]
