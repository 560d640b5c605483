"""Bad input: one clear message and exit status 2, or a row with a status; nothing half-written either way."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

GWAS, LIVER = "gwas.EUR.tsv.gz", "expression.liver.EUR.bed.gz"


@pytest.fixture
def folder(tiny_study: Path, tmp_path: Path) -> Path:
    """A copy of the smallest study, to spoil."""
    return shutil.copytree(tiny_study.parent, tmp_path / "study")


def edit(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """Spoil one table of the study."""

    def spoil(folder: Path) -> None:
        change(pd.read_csv(folder / name, sep="\t")).to_csv(folder / name, sep="\t", index=False)

    return spoil


def put(name: str, column: str, value: Any, rows: Any = 0) -> Callable[[Path], None]:
    """Put a value into some rows of one column of a table."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table[column] = table[column].astype(object)
        table.loc[rows, column] = value
        return table

    return edit(name, change)


def study_text(old: str, new: str) -> Callable[[Path], None]:
    """Replace text in the study file."""

    def spoil(folder: Path) -> None:
        path = folder / "study.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def matrix(spoiled: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Give the LD of EUR as a matrix of the GWAS variants that is spoiled somehow."""

    def spoil(folder: Path) -> None:
        gwas = pd.read_csv(folder / GWAS, sep="\t")
        rng = np.random.default_rng(1)
        ld = np.corrcoef(rng.standard_normal((len(gwas), 400)))
        columns = ("chromosome", "base_pair_location", "other_allele", "effect_allele")
        ids = [":".join(map(str, row)) for row in gwas[list(columns)].itertuples(index=False)]
        np.savez(folder / "ld.npz", ld=spoiled(ld), variant_id=np.array(ids))
        study_text('genotypes = "ld.EUR"', 'matrix = "ld.npz"\nn = 400')(folder)

    return spoil


def indefinite(ld: np.ndarray) -> np.ndarray:
    ld[0, 1] = ld[1, 0] = ld[0, 2] = ld[2, 0] = 0.9
    ld[1, 2] = ld[2, 1] = -0.9
    return ld


def truncate(folder: Path) -> None:
    path = folder / "donors.EUR.bed"
    path.write_bytes(path.read_bytes()[:-100])


def strangers(folder: Path) -> None:
    table = pd.read_csv(folder / "donors.EUR.fam", sep=r"\s+", header=None)
    table[1] = [f"P{i}" for i in range(len(table))]
    table.to_csv(folder / "donors.EUR.fam", sep=" ", header=False, index=False)


def other_build(folder: Path) -> None:
    edit(GWAS, lambda t: t.assign(base_pair_location=t["base_pair_location"] + 1_234))(folder)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing file": (lambda folder: (folder / GWAS).unlink(), "there is no file"),
    "unknown key": (study_text("[blocks]\npath", "[blocks]\npth"), "Did you mean 'path'"),
    "wrong column": (edit(GWAS, lambda t: t.rename(columns={"effect_allele": "letter"})), "no column for"),
    "no sample size": (edit(GWAS, lambda t: t.drop(columns="n")), "has no sample size"),
    "p-values without effects": (
        edit(GWAS, lambda t: t.drop(columns=["beta", "standard_error"])),
        "p-values ('p_value') without effects",
    ),
    "standard error of zero": (put(GWAS, "standard_error", 0.0), "standard_error is '0.0'"),
    "negative standard error": (put(GWAS, "standard_error", -0.1), "standard_error is '-0.1'"),
    "infinite effect": (put(GWAS, "beta", "inf"), "beta is 'inf'"),
    "a file of copies": (edit(GWAS, lambda t: pd.concat([t, t])), "duplicate variants"),
    "no donor has genotypes": (strangers, "donors have genotypes"),
    "another build": (other_build, "build"),
    "LD of another size": (matrix(lambda ld: ld[:-1, :-1]), "ld has shape"),
    "LD not positive semidefinite": (matrix(indefinite), "not positive semidefinite"),
    "r2 in place of r": (matrix(lambda ld: ld**2), "this looks like r2"),
    "infinite LD": (matrix(lambda ld: np.where(np.eye(len(ld)) > 0, np.inf, ld)), "ld.npz"),
    "truncated genotypes": (truncate, "is truncated"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run(case: str, folder: Path, command: Any, tmp_path: Path) -> None:
    spoil, message = REFUSED[case]
    spoil(folder)
    done = command("run", folder / "study.toml", "--out", tmp_path / "out", "-j", 1, "--quiet")
    assert done.exit_code == 2, done.output
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Error", "  Rule", "  Remedy"]
    assert message in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    assert command("check", folder / "study.toml").exit_code == 2


def test_an_existing_folder(folder: Path, command: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "genes.tsv").write_text("")
    done = command("run", folder / "study.toml", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "--overwrite" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["genes.tsv"]


def test_an_empty_folder_is_used(folder: Path, command: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    genes, _ = run_all(folder, tmp_path / "out", command)
    assert len(genes) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


def one_dead_gene(folder: Path) -> None:
    for path in folder.glob("expression.*"):
        put(path.name, "gene_id", "dead", rows=2)(folder)
        edit(
            path.name,
            lambda t: t.where(t["gene_id"] != "dead", t.assign(**dict.fromkeys(t.columns[4:], 1.0))),
        )(folder)


def far_gene(folder: Path) -> None:
    """One gene starts where there are no variants, inside a block that reaches there."""
    (folder / "blocks.bed").write_text("1\t4000000\t7900000\tblock001\n1\t8000000\t8200000\tblock002\n")
    for path in folder.glob("expression.*"):
        edit(path.name, lambda t: t.assign(start=t["start"].where(t.index != 2, 7_000_000 - 1)))(folder)
        edit(path.name, lambda t: t.assign(end=t["end"].where(t.index != 2, 7_000_000)))(folder)


def swap_alleles(folder: Path) -> None:
    def swap(table: pd.DataFrame) -> pd.DataFrame:
        table[["effect_allele", "other_allele"]] = table[["other_allele", "effect_allele"]].to_numpy()
        table["beta"], table["effect_allele_frequency"] = -table["beta"], 1 - table["effect_allele_frequency"]
        return table

    edit("gwas.AFR.tsv.gz", swap)(folder)


def drop_frequencies(folder: Path) -> None:
    """No frequencies, and identifiers that do not spell out the alleles."""
    for ancestry in ("EUR", "AFR"):
        edit(
            f"gwas.{ancestry}.tsv.gz",
            lambda t: t.drop(columns="effect_allele_frequency").assign(
                variant_id=[f"rs{position}" for position in t["base_pair_location"]]
            ),
        )(folder)


def add_copies(folder: Path) -> None:
    edit(GWAS, lambda t: pd.concat([t, t.iloc[:2]]))(folder)


def rows_of(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / name, sep="\t", keep_default_na=False)


def run_all(folder: Path, out: Path, command: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Genes and ledger of a run that ends well."""
    done = command("run", folder / "study.toml", "--out", out, "-j", 1, "--quiet")
    assert done.exit_code == 0, done.output
    return rows_of(out, "genes.tsv").set_index("gene"), rows_of(out, "harmonisation.tsv")


def test_expression_that_does_not_vary_is_a_row(folder: Path, command: Any, tmp_path: Path) -> None:
    one_dead_gene(folder)
    genes, _ = run_all(folder, tmp_path / "out", command)
    assert genes.loc["dead", ["status", "pip"]].tolist() == ["skipped", ""]
    assert "zero-variance expression" in genes.loc["dead", "reason"]
    assert (genes["status"] == "skipped").sum() == 1


def test_a_gene_without_variants_is_a_row(folder: Path, command: Any, tmp_path: Path) -> None:
    far_gene(folder)
    genes, _ = run_all(folder, tmp_path / "out", command)
    assert genes.loc["block001_gene03", "status"] == "skipped"
    assert "no variant within 500,000 bp" in genes.loc["block001_gene03", "reason"]
    assert (genes["status"] == "skipped").sum() == 1


def test_swapped_alleles_change_nothing(folder: Path, tiny_run: Any, command: Any, tmp_path: Path) -> None:
    swap_alleles(folder)
    genes, ledger = run_all(folder, tmp_path / "out", command)
    assert (ledger["reason"] == "alleles swapped").sum() > 50
    before = rows_of(tiny_run.out, "genes.tsv").set_index("gene")
    exact = ["block", "tss", "n_variants", "status"]
    pd.testing.assert_frame_equal(genes[exact], before[exact])
    for column in ("pip", "pip_weights", "pip_plugin", "pip_ld", "twas_z"):  # six digits are written
        np.testing.assert_allclose(
            genes[column].astype(float), before[column].astype(float), rtol=1e-4, atol=1e-5
        )


def test_copies_of_a_variant_and_palindromes_are_in_the_ledger(
    folder: Path, command: Any, tmp_path: Path
) -> None:
    add_copies(folder)
    drop_frequencies(folder)
    _, ledger = run_all(folder, tmp_path / "out", command)
    dropped = ledger[ledger["action"] == "dropped"]["reason"]
    assert dropped.str.startswith("duplicate").sum() == 4  # all copies of two variants
    assert dropped.str.contains("palindromic").any()


def test_a_study_without_blocks_makes_them_from_the_gene_windows(
    folder: Path, command: Any, tmp_path: Path
) -> None:
    study_text('[blocks]\npath = "blocks.bed"\n', "")(folder)
    genes, _ = run_all(folder, tmp_path / "out", command)
    assert set(genes["status"]) <= {"ok", "warning"}
    assert len(set(genes["block"])) == 2


def test_gzip_is_what_it_says(folder: Path, command: Any, tmp_path: Path) -> None:
    whole = (folder / GWAS).read_bytes()
    (folder / GWAS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EOFError):
        gzip.decompress((folder / GWAS).read_bytes())
    done = command("run", folder / "study.toml", "--out", tmp_path / "out", "-j", 1, "--quiet")
    assert done.exit_code == 2
    assert GWAS in done.stderr
    assert "fault of bayestwas" not in done.stderr
