"""A written study holds what was simulated, twice the same, and appears whole or not at all."""

from __future__ import annotations

import dataclasses
import filecmp
import tomllib
from collections.abc import Iterator
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest

from bayestwas.data.simulate import PRESETS, SimulatedBlock, simulate_study
from bayestwas.errors import InputError, OutputError
from bayestwas.io.write_study import write_study

pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def blocks() -> list[SimulatedBlock]:
    return list(simulate_study(TINY, seed=11))


@pytest.fixture(scope="module")
def folder(blocks: list[SimulatedBlock], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(blocks, tmp_path_factory.mktemp("written") / "study", recipe="a recipe").parent


def test_genotypes_of_all_blocks_read_back(blocks: list[SimulatedBlock], folder: Path) -> None:
    for prefix, stored in [("ld.AFR", "reference"), ("donors.EUR", "donors")]:
        with bed_reader.open_bed(folder / f"{prefix}.bed", num_threads=1) as bed:
            expected = np.concatenate([getattr(b, stored)[prefix[-3:]] for b in blocks])
            np.testing.assert_array_equal(bed.read(dtype="int8", num_threads=1).T, expected)
            alleles = pd.concat([b.variants for b in blocks])
            assert bed.allele_1.tolist() == alleles["effect_allele"].tolist()
            assert bed.bp_position.tolist() == alleles["position"].tolist()


def test_gwas_reads_back_to_z(blocks: list[SimulatedBlock], folder: Path) -> None:
    table = pd.read_csv(folder / "gwas.EUR.tsv.gz", sep="\t")
    z = np.concatenate([b.z["EUR"] for b in blocks])
    f = np.concatenate([b.frequency["EUR"] for b in blocks])
    kept = np.isfinite(z)
    np.testing.assert_allclose(
        table["beta"] / table["standard_error"], z[kept], rtol=1e-6
    )  # 8 digits written
    np.testing.assert_allclose(table["effect_allele_frequency"], f[kept], rtol=1e-7)
    assert (table["n"] == TINY.gwas["EUR"]).all()


def test_expression_reads_back_with_the_tss_as_zero_based_interval(
    blocks: list[SimulatedBlock], folder: Path
) -> None:
    table = pd.read_csv(folder / "expression.liver.EUR.bed.gz", sep="\t", dtype={"#chr": str})
    expected = pd.concat([b.expression["liver", "EUR"] for b in blocks])
    np.testing.assert_allclose(table.iloc[:, 4:], expected, rtol=1e-7)
    assert list(table.columns[4:]) == list(expected.columns)
    assert (table["end"].to_numpy() == pd.concat([b.genes for b in blocks])["tss"].to_numpy()).all()
    assert (table["end"] - table["start"] == 1).all()


def test_study_file_is_labelled_and_every_path_exists(folder: Path) -> None:
    study = tomllib.loads((folder / "study.toml").read_text())
    assert study["simulated"] is True
    assert study["name"] == "simulated-tiny"
    assert "no person" in (folder / "README.txt").read_text()
    assert "a recipe" in (folder / "README.txt").read_text()
    assert {entry["ancestry"] for entry in study["gwas"]} == {"EUR", "AFR"}
    assert [(e["context"], e["ancestry"]) for e in study["expression"]] == [
        ("blood", "EUR"),
        ("blood", "AFR"),
        ("liver", "EUR"),
    ]
    for entry in [*study["gwas"], *study["ld"], *study["expression"], study["blocks"]]:
        for key in {"path", "phenotypes", "covariates"} & set(entry):
            assert (folder / entry[key]).is_file()
        if "genotypes" in entry:
            assert all((folder / f"{entry['genotypes']}.{end}").is_file() for end in ("bed", "bim", "fam"))


def test_truth_lists_every_gene_once(blocks: list[SimulatedBlock], folder: Path) -> None:
    truth = pd.read_csv(folder / "truth.tsv", sep="\t")
    assert truth["gene"].tolist() == [g for b in blocks for g in b.genes["gene"]]
    assert truth["causal"].tolist() == [c for b in blocks for c in b.genes["causal"]]
    weights = pd.read_csv(folder / "truth.weights.tsv", sep="\t")
    assert len(weights) == sum(np.count_nonzero(b.weights) for b in blocks)


def test_same_blocks_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = write_study(simulate_study(TINY, seed=11), tmp_path / "again", recipe="a recipe").parent
    names = sorted(p.name for p in folder.iterdir())
    assert names == sorted(p.name for p in again.iterdir())
    same, different, errors = filecmp.cmpfiles(folder, again, names, shallow=False)
    assert sorted(same) == names, (different, errors)


def test_in_sample_ld_says_so(tmp_path: Path) -> None:
    design = dataclasses.replace(TINY, n_ref=None, blocks=1)
    out = write_study(simulate_study(design, seed=1), tmp_path / "study")
    study = tomllib.loads(out.read_text())
    assert all(entry["in_sample"] for entry in study["ld"])
    assert len((out.parent / "ld.EUR.fam").read_text().splitlines()) == design.population


def test_existing_folder_is_refused_and_overwritten_on_request(
    blocks: list[SimulatedBlock], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    write_study(blocks, out)
    with pytest.raises(OutputError, match="exists"):
        write_study(blocks, out)
    write_study(blocks[:1], out, overwrite=True)
    assert len(pd.read_csv(out / "truth.tsv", sep="\t")) == TINY.genes_per_block
    assert [p.name for p in tmp_path.iterdir()] == ["study"]


def test_overwrite_never_removes_a_folder_of_another_kind(
    blocks: list[SimulatedBlock], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="does not hold a simulated study"):
        write_study(blocks, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_failure_half_way_leaves_nothing(blocks: list[SimulatedBlock], tmp_path: Path) -> None:
    def broken() -> Iterator[SimulatedBlock]:
        yield blocks[0]
        raise RuntimeError("the machine stopped")

    with pytest.raises(RuntimeError):
        write_study(broken(), tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_no_blocks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No blocks"):
        write_study([], tmp_path / "study")
