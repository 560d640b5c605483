"""`check` says what fits together and what a run would cost, and prints it."""

from __future__ import annotations

import io
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bayestwas.errors import StudyFileError
from bayestwas.io.tables import write_table
from bayestwas.run.check import CheckReport, check, render

P, PEOPLE = 15, 30


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """LD as a matrix and a panel whose files differ from the GWAS in known ways."""
    rng = np.random.default_rng(3)
    people = [f"P{i}" for i in range(PEOPLE)]
    position = 1000 * (1 + np.arange(P))
    dosage = rng.binomial(2, 0.4, (PEOPLE, P)).astype(np.int8)
    effect, other = ["A"] * P, ["G"] * P
    effect[4], other[4] = "G", "A"  # swapped
    effect[5], other[5] = "T", "C"  # the other strand
    effect[6], other[6] = "0", "G"  # unknown
    properties = {"fid": people, "iid": people, "chromosome": ["20"] * P, "sid": [f"rs{j}" for j in range(P)]}
    properties |= {"bp_position": position, "allele_1": effect, "allele_2": other}
    bed_reader.to_bed(tmp_path / "EUR.bed", dosage, properties=properties, num_threads=1)
    gwas = {
        "chr": "chr20",
        "pos": position[:12],
        "ea": "A",
        "nea": "G",
        "z": rng.standard_normal(12),
        "n": 500,
    }
    write_table(pd.DataFrame(gwas), tmp_path / "hdl.tsv")
    ids = np.array([f"20:{p}:G:A" for p in position])
    np.savez(tmp_path / "ld.npz", ld=np.corrcoef(dosage.T), variant_id=ids)
    place = {
        "#chr": "20",
        "start": [4999, 7999, 5_999_999],
        "end": [5000, 8000, 6_000_000],
        "gene_id": ["G1", "G2", "G3"],
    }
    values = pd.DataFrame(rng.standard_normal((3, PEOPLE)), columns=people)
    values.iloc[1] = 1.0
    write_table(pd.concat([pd.DataFrame(place), values], axis=1), tmp_path / "lcl.bed")
    (tmp_path / "study.toml").write_text(
        'name = "odd [b]name"\nbuild = "GRCh37"\nsimulated = true\n'
        '[[gwas]]\nancestry = "EUR"\npath = "hdl.tsv"\n'
        '[[ld]]\nancestry = "EUR"\nmatrix = "ld.npz"\nn = 30\n'
        '[[expression]]\ncontext = "LCL"\nancestry = "EUR"\ngenotypes = "EUR"\nphenotypes = "lcl.bed"\n'
    )
    return tmp_path / "study.toml"


def test_report(study: Path) -> None:
    report = check(study)
    assert isinstance(report, CheckReport)
    overlap = report.overlap.to_numpy().tolist()
    assert overlap == [[12, 12, 11], [12, 15, 14], [11, 14, 14]]  # hdl.tsv, ld.npz, EUR
    counts = report.files.set_index("file")
    assert counts.loc["EUR"].tolist() == [14, 1, 1, 1]  # variants, flipped, strand, dropped
    assert counts.loc["hdl.tsv"].tolist() == [12, 0, 0, 0]
    assert report.dropped[["file", "action", "reason", "count"]].to_numpy().tolist() == [
        ["EUR", "flipped", "alleles swapped", 1],
        ["EUR", "strand", "other strand", 1],
        ["EUR", "dropped", "an allele is unknown", 1],
    ]
    assert report.runnable == 1
    status = report.genes.set_index("gene")["status"]
    assert status.to_dict() == {"G1": "ok", "G2": "skipped", "G3": "skipped"}
    assert report.blocks["n_genes"].tolist() == [1, 0]


def test_cost_grows_with_the_block(study: Path) -> None:
    blocks = check(study).blocks
    assert (blocks["memory_mb"] >= 150).all()
    assert blocks["seconds"].tolist()[0] > 0
    assert blocks["seconds"].tolist()[1] == 0  # no gene to fit


def test_rendered_text(study: Path) -> None:
    stream = io.StringIO()
    render(check(study), Console(file=stream, width=120, force_terminal=False))
    text = stream.getvalue()
    for said in (
        "odd [b]name (simulated), GRCh37",
        "1 hdl.tsv",
        "alleles swapped",
        "an allele is unknown",
        "1 of 3 can run",
        "zero-variance expression in LCL/EUR",
        "no variant within 500,000 bp of its TSS",
        "MB per worker",
    ):
        assert said in text


def test_a_study_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError):
        check(tmp_path / "none.toml")
