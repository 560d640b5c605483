"""Gene models: GTF and GFF3 of the usual sources, and what is refused. Simulated lines."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayestwas.data.gene_models import identifiers
from bayestwas.errors import InputError
from bayestwas.io.expression import read_expression
from bayestwas.io.gene_models import read_gene_models

GTF = """#!genome-build GRCh37.p13
chr20\tHAVANA\tgene\t100\t900\t.\t-\t.\tgene_id "ENSG00000000001.12"; gene_type "x"; gene_name "PLTP";
chr20\tHAVANA\ttranscript\t200\t900\t.\t-\t.\tgene_id "ENSG00000000001.12"; gene_name "PLTP";
chr20\tHAVANA\tgene\t2000\t3000\t.\t+\t.\tgene_id "ENSG00000000002.1"; gene_name "ZNF1";
chrX\tHAVANA\tgene\t10\t90\t.\t+\t.\tgene_id "ENSG00000000003.1"; gene_name "TWO";
chrY\tHAVANA\tgene\t15\t95\t.\t+\t.\tgene_id "ENSG00000000003.1_PAR_Y"; gene_name "TWO";
"""
GFF = """##gff-version 3
20\tensembl\tgene\t100\t900\t.\t-\t.\tID=gene:ENSG00000000001;Name=PLTP;biotype=x
20\tensembl\tmRNA\t100\t900\t.\t-\t.\tID=transcript:T1;Parent=gene:ENSG00000000001
20\tensembl\tncRNA_gene\t2000\t3000\t.\t+\t.\tID=gene:ENSG00000000002;Name=ZNF1
X\tensembl\tgene\t10\t90\t.\t+\t.\tID=gene:ENSG00000000003;Name=TWO
"""
PARTS = """20\tx\texon\t100\t300\t.\t-\t.\tgene_id "ENSG00000000001"; gene_name "PLTP";
20\tx\texon\t700\t900\t.\t-\t.\tgene_id "ENSG00000000001"; gene_name "PLTP";
20\tx\texon\t2500\t3000\t.\t+\t.\tgene_id "ENSG00000000002"; gene_name "ZNF1";
20\tx\texon\t2000\t2100\t.\t+\t.\tgene_id "ENSG00000000002"; gene_name "ZNF1";
X\tx\texon\t10\t90\t.\t+\t.\tgene_id "ENSG00000000003"; gene_name "TWO";
"""


@pytest.mark.parametrize("text", [GTF, GFF, PARTS], ids=["GTF", "GFF3", "exons only"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_layout_gives_the_same_genes(text: str, zipped: bool, tmp_path: Path) -> None:
    """The start of transcription is the 5' end: of a gene on the strand -, its largest position."""
    path = tmp_path / "models.gz"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    table = read_gene_models(path, "hg19").table
    assert table.index.tolist() == [f"ENSG0000000000{i}" for i in (1, 2, 3)]
    assert table["symbol"].tolist() == ["PLTP", "ZNF1", "TWO"]
    assert table["chromosome"].tolist() == ["20", "20", "X"]
    assert table["tss"].tolist() == [900, 2000, 10]


def test_versions_do_not_matter(tmp_path: Path) -> None:
    models = _models(tmp_path)
    genes = np.array(["ENSG00000000002.77", "ENSG00000000001", "chr20:1:2:clu_1", "AC01.2"], dtype=object)
    assert models.find(genes).tolist() == [1, 0, -1, -1]
    assert models.symbols(genes) == {"ENSG00000000002.77": "ZNF1", "ENSG00000000001": "PLTP"}


def _models(folder: Path):  # type: ignore[no-untyped-def]
    path = folder / "models.gtf"
    path.write_text(GTF)
    return read_gene_models(path, "GRCh37")


def test_expression_without_coordinates_takes_those_of_the_models(tmp_path: Path) -> None:
    """A gene that the models lack keeps its row, without a place, and is never dropped in silence."""
    models = _models(tmp_path)
    path = tmp_path / "expression.tsv"
    path.write_text("gene_id\tA\tB\nENSG00000000001.3\t1\t2\nENSG00000000099\t3\t4\n")
    data = read_expression(path, models=models)
    assert data["gene"].values.tolist() == ["ENSG00000000001.3", "ENSG00000000099"]
    assert data["tss"].values.tolist() == [900, 0]
    assert data["chromosome"].values.tolist() == ["20", ""]
    np.testing.assert_array_equal(data["expression"].values, [[1, 2], [3, 4]])
    with pytest.raises(InputError, match="gene_models"):
        read_expression(path)


def test_bodies_of_genes_become_their_tss(tmp_path: Path) -> None:
    models = _models(tmp_path)
    path = tmp_path / "expression.bed"
    path.write_text("#chr\tstart\tend\tgene_id\tA\n20\t99\t900\tENSG00000000001\t1\n20\t4\t5\tENSG9\t2\n")
    data = read_expression(path, models=models)
    assert data["tss"].values.tolist() == [900, 5]
    with pytest.raises(InputError, match="start 99, end 900"):
        read_expression(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#!genome-build GRCh38.p14\n" + PARTS, "is of GRCh38"),
        ("20\tx\tgene\t1\t2\n", "line 1: .* nine columns"),
        ('20\tx\tgene\tone\t2\t.\t+\t.\tgene_id "G";\n', "line 1: .* whole numbers"),
        ('20\tx\tgene\t10\t2\t.\t+\t.\tgene_id "G";\n', "line 1: 10 to 2 on strand"),
        ('20\tx\tgene\t1\t2\t.\t.\t.\tgene_id "G";\n', "has a strand"),
        ('20\tx\tCDS\t1\t2\t.\t+\t.\tgene_id "G";\n', "holds no gene"),
        ("", "holds no gene"),
    ],
)
def test_broken_models_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.gtf"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"(?s)broken\.gtf.*{said}|{said}"):
        read_gene_models(path, "GRCh37")


def test_symbols_stand_for_identifiers() -> None:
    """Where a symbol is that of two genes, or is itself an identifier, it stays what it is."""
    symbols = {"E1": "PLTP", "E2": "TWICE", "E3": "TWICE", "E4": "E1"}
    known = pd.Index(["E1", "E2", "E3", "E4"])
    assert identifiers(("PLTP", "E2", "TWICE", "E1", "other"), known, symbols) == [
        "E1",
        "E2",
        "TWICE",
        "other",
    ]
