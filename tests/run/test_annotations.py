"""[annotations] of a study file: from the files to check and to the locus."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bayestwas.data.simulate import PRESETS, SimulatedBlock, simulate_study
from bayestwas.errors import BayestwasError, HarmonisationError, InputError, StudyFileError
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.io.write_study import write_study
from bayestwas.run.check import check, render
from bayestwas.run.study import file_hashes, read_study

pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
DESIGN = dataclasses.replace(
    PRESETS["tiny"],
    annotations=(("coding", 0.1, 2.0), ("repressed", 0.3, -1.0)),
    gene_annotations=(("constrained", 0.5, 1.0),),
)


@pytest.fixture(scope="module")
def blocks() -> list[SimulatedBlock]:
    return list(simulate_study(DESIGN, seed=4))


@pytest.fixture
def study(blocks: list[SimulatedBlock], tmp_path: Path) -> Path:
    return write_study(blocks, tmp_path / "study")


def with_files(study: Path, lines: str) -> Path:
    """The study with other lines below [annotations]."""
    head = study.read_text().split("[annotations]")[0]
    study.write_text(f"{head}[annotations]\n{lines}\n")
    return study


def agrees(harmonised: Harmonised, blocks: list[SimulatedBlock]) -> None:
    for block in blocks:
        drawn, read = (
            tree["annotations"].to_dataset() for tree in (block.to_locus(), harmonised.locus(block.name))
        )
        there = read["variant"].values
        assert len(there) == len(block.variants)
        both = drawn["variant_annotation"].sel(variant=there), read["variant_annotation"]
        np.testing.assert_array_equal(*both)
        np.testing.assert_array_equal(
            drawn["gene_annotation"].sel(gene=read["gene"].values), read["gene_annotation"]
        )


def test_a_written_study_gives_the_annotations_back(study: Path, blocks: list[SimulatedBlock]) -> None:
    read = read_study(study)
    assert {"annotations.tsv.gz", "gene_annotations.tsv"} <= {path.name for path in read.files}
    assert str(study.parent / "annotations.tsv.gz") in file_hashes(read)
    agrees(harmonise(read), blocks)


def test_the_truth_is_written_where_there_is_one(study: Path, tmp_path: Path) -> None:
    truth = pd.read_csv(study.parent / "truth.annotations.tsv", sep="\t")
    assert truth.to_numpy().tolist() == [
        ["coding", "variants", 0.1, 2.0],
        ["repressed", "variants", 0.3, -1.0],
        ["constrained", "genes", 0.5, 1.0],
    ]
    assert "truth.annotations.tsv" in (study.parent / "README.txt").read_text()
    plain = write_study(simulate_study(PRESETS["tiny"], 4, 1), tmp_path / "plain")
    assert "annotations" not in plain.read_text() + (plain.parent / "README.txt").read_text()
    assert not list(plain.parent.glob("*annotations*"))


def test_other_formats_of_the_same_annotations_give_the_same_locus(
    study: Path, blocks: list[SimulatedBlock]
) -> None:
    """Intervals of one base, and LDSC's columns in Parquet, one file per chromosome."""
    table = pd.read_csv(study.parent / "annotations.tsv.gz", sep="\t", dtype={"chromosome": str})
    bases = table.loc[table["coding"] == 1, "position"]
    bed = pd.DataFrame({"chr": "chr" + table["chromosome"], "start": bases - 1, "end": bases}).dropna()
    bed.astype({"start": int, "end": int}).to_csv(
        study.parent / "coding.bed", sep="\t", index=False, header=False
    )
    ldsc = table.rename(columns={"chromosome": "CHR", "position": "BP"}).assign(SNP="rs", CM=0.0)
    for label, part in ldsc.groupby("CHR"):
        columns = ["CHR", "BP", "SNP", "CM", "repressed"]
        part[columns].to_parquet(study.parent / f"base.{label}.annot.parquet")
    lines = 'variants = ["coding.bed", "base.@.annot.parquet"]\ngenes = "gene_annotations.tsv"'
    read = read_study(with_files(study, lines))
    assert "base.1.annot.parquet" in {path.name for path in read.files}
    agrees(harmonise(read), blocks)


def test_check_shows_the_annotations(study: Path, blocks: list[SimulatedBlock]) -> None:
    report = check(study)
    table = report.annotations.set_index("annotation")
    drawn = pd.concat([block.annotations for block in blocks])
    assert table["of"].tolist() == ["variants", "variants", "genes"]
    assert table.loc["coding", "known"] == len(drawn)
    assert table.loc["coding", "mean"] == pytest.approx(drawn["coding"].mean(), rel=1e-12)
    assert table.loc["coding", "sd"] == pytest.approx(drawn["coding"].std(ddof=0), rel=1e-9)
    stream = io.StringIO()
    render(report, Console(file=stream, width=80, force_terminal=False))
    text = stream.getvalue()
    for said in ("where missing they stand at the mean", "constrained", f"{drawn['repressed'].mean():.3g}"):
        assert said in text


def test_check_says_what_is_wrong_with_an_annotation(study: Path) -> None:
    (study.parent / "far.bed").write_text("chr20\t0\t1000\n")
    report = check(with_files(study, 'variants = ["far.bed", "annotations.tsv.gz"]'))
    assert report.annotations["status"].tolist() == ["skipped", "ok", "ok"]
    stream = io.StringIO()
    render(report, Console(file=stream, width=200, force_terminal=False))
    assert "far.bed: far left out: none of its 1 intervals holds a variant of the study" in stream.getvalue()


def test_an_empty_table_is_no_annotations(study: Path) -> None:
    report = check(with_files(study, ""))
    assert report.annotations.empty
    stream = io.StringIO()
    render(report, Console(file=stream, width=80))
    assert "Annotations" not in stream.getvalue()


@pytest.mark.parametrize(
    ("lines", "kind", "given", "rule", "remedy"),
    [
        (
            'variant = ["a.bed"]',
            StudyFileError,
            "unknown key 'variant'",
            "is known",
            "Did you mean 'variants'?",
        ),
        ('variants = "a.bed"', StudyFileError, "variants = 'a.bed'", "a list of names", "Write variants = ["),
        ("variants = [1]", StudyFileError, "variants = [1]", "a list of names", "Write variants = ["),
        (
            'variants = ["a.bed"]',
            StudyFileError,
            "there is no file",
            "relative to its folder",
            "Correct variants",
        ),
        ('variants = ["a.@.bed"]', StudyFileError, "variants = 'a.@.bed'", "relative", "Correct variants"),
        ("genes = 3", StudyFileError, "genes = 3", "genes is text", "Give genes as text"),
        ('genes = "g.tsv"', StudyFileError, "genes = 'g.tsv': there is no file", "relative", "Correct genes"),
        (
            'variants = ["annotations.tsv.gz", "annotations.tsv.gz"]',
            StudyFileError,
            "names annotations.tsv.gz more than once",
            "named once",
            "Remove the copies",
        ),
        (
            'variants = ["annotations.tsv.gz", "coding.bed"]',
            InputError,
            "annotation 'coding' is in annotations.tsv.gz and in coding.bed",
            "its own name",
            "'baseline.@.annot.gz'",
        ),
        (
            'variants = ["shifted.tsv"]',
            HarmonisationError,
            "shifted.tsv: 0 of",
            "another build",
            "Lift the file over",
        ),
        (
            'genes = "other.tsv"',
            HarmonisationError,
            "none of its 1 genes",
            "identifiers",
            "phenotype files do",
        ),
    ],
)
def test_one_message_for_each_mistake(
    study: Path, lines: str, kind: type[BayestwasError], given: str, rule: str, remedy: str
) -> None:
    folder = study.parent
    (folder / "coding.bed").write_text("1\t0\t10\n")
    (folder / "other.tsv").write_text("gene\tpLI\nENSG1\t1\n")
    table = pd.read_csv(folder / "annotations.tsv.gz", sep="\t")
    taken = set(table["position"])
    table["position"] = [next(p for p in range(x + 1, x + 999) if p not in taken) for x in table["position"]]
    table.to_csv(folder / "shifted.tsv", sep="\t", index=False)
    with pytest.raises(kind) as caught:
        harmonise(read_study(with_files(study, lines)))
    assert given in caught.value.given
    assert rule in caught.value.rule
    assert remedy in caught.value.remedy


def test_annotations_is_a_table(study: Path) -> None:
    head = study.read_text().split("[annotations]")[0]
    study.write_text(f'annotations = ["a.bed"]\n{head}')
    with pytest.raises(StudyFileError, match="annotations is a table"):
        read_study(study)
