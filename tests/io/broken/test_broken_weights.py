"""Broken finished weights and gene models in a sound study: refused in words that name the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdata

from bayestwas.data.weights import PER_GENOTYPE_SD, FinishedWeights, places_of_genes
from bayestwas.errors import BayestwasError
from bayestwas.io.write_weights import write_fusion
from bayestwas.run.check import check

Spoil = Callable[[Path], None]
WEIGHTS = pd.DataFrame(
    {
        "gene": ["G1", "G1", "G2"], "chromosome": "20", "position": [5000, 6000, 8000],
        "variant_id": ["20_5000_G_A_b37", "20_6000_G_A_b37", "20_8000_G_A_b37"],
        "effect_allele": "A", "other_allele": "G", "weight": [0.5, -0.2, 0.3],
    }
)  # fmt: skip


def _use(folder: Path, name: str, more: str = "") -> None:
    """The study with finished weights in place of its expression."""
    head, _, _ = (folder / "study.toml").read_text().partition("[[expression]]")
    entry = f'[[weights]]\ncontext = "LCL"\nancestry = "EUR"\npath = "{name}"\n{more}'
    (folder / "study.toml").write_text(head + entry)


def _predictdb(edit: Callable[[pd.DataFrame], pd.DataFrame], covariances: str | None = None) -> Spoil:
    def spoil(folder: Path) -> None:
        rows = WEIGHTS.rename(columns={"effect_allele": "eff_allele", "other_allele": "ref_allele"})
        rows = rows.assign(rsid=["rs4", "rs5", "rs7"], varID=rows["variant_id"])
        rows = edit(rows.drop(columns=["chromosome", "position", "variant_id"]))
        with closing(sqlite3.connect(folder / "model.db")) as base:
            rows.to_sql("weights", base, index=False)
        if covariances is not None:
            (folder / "model.txt").write_text(covariances)
        _use(folder, "model.db", "" if covariances is None else 'covariances = "model.txt"\n')

    return spoil


def _base(*commands: str) -> Spoil:
    def spoil(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "model.db")) as base:
            for command in commands:
                base.execute(command)
            base.commit()
        _use(folder, "model.db")

    return spoil


def _file(name: str, content: str | bytes, more: str = "") -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        _use(folder, name, more)

    return spoil


def _fusion(edit: Callable[[Path], object]) -> Spoil:
    """A sound list of FUSION weights, then broken."""

    def spoil(folder: Path) -> None:
        genes = places_of_genes(WEIGHTS)
        weights = FinishedWeights("w", WEIGHTS, PER_GENOTYPE_SD, genes)
        write_fusion(weights, folder / "w.pos", pd.Series(0.1, index=genes.index), 100.0)
        edit(folder)
        _use(folder, "w.pos")

    return spoil


def _replaced(old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        text = (folder / "w.pos").read_text()
        assert old in text
        (folder / "w.pos").write_text(text.replace(old, new))

    return edit


def _gene(**held: object) -> Callable[[Path], object]:
    """Other contents of the first file of weights."""

    def edit(folder: Path) -> None:
        file = sorted(folder.glob("w/*.RDat"))[0]
        rdata.write_rda(file, dict(held))

    return edit


def _cut(folder: Path) -> None:
    file = sorted(folder.glob("w/*.RDat"))[0]
    file.write_bytes(file.read_bytes()[:-20])


def _absent(folder: Path) -> None:
    sorted(folder.glob("w/*.RDat"))[0].unlink()


STUDY = """name = "sound"
build = "GRCh37"
simulated = true
[blocks]
path = "blocks.bed"
[[gwas]]
ancestry = "EUR"
path = "gwas.tsv"
[[ld]]
ancestry = "EUR"
genotypes = "EUR"
[[expression]]
"""
SUSHIE = "trait\tchrom\tsnp\tpos\ta0\ta1\tancestry1_sushie_weight\nG1\t20\trs4\t{}\tG\t{}\t{}\n"
PAIRS = "GENE RSID1 RSID2 VALUE\n"
MODELS = '20\tx\tgene\t{}\t9000\t.\t{}\t.\tgene_id "G1";\n'


def _models(text: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "models.gtf").write_text(text)
        study = folder / "study.toml"
        study.write_text('gene_models = "models.gtf"\n' + study.read_text())

    return spoil


BROKEN: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "PredictDB without tables": (_base("CREATE TABLE extra (gene TEXT)"), ("model.db", "extra")),
    "PredictDB weights are a view": (
        _base(
            "CREATE TABLE w (gene, rsid, ref_allele, eff_allele, weight)",
            "CREATE VIEW weights AS SELECT * FROM w",
        ),
        ("model.db", "table weights"),
    ),
    "PredictDB without a column": (_predictdb(lambda t: t.drop(columns="eff_allele")), ("lacks eff_allele",)),
    "PredictDB without rows": (_predictdb(lambda t: t.iloc[:0]), ("model.db", "no weight")),
    "PredictDB weight in words": (_predictdb(lambda t: t.assign(weight="high")), ("model.db", "not finite")),
    "PredictDB alleles are numbers": (_predictdb(lambda t: t.assign(eff_allele=1)), ("model.db",)),
    "PredictDB alleles are missing": (_predictdb(lambda t: t.assign(ref_allele=None)), ("model.db",)),
    "PredictDB genes are missing": (_predictdb(lambda t: t.assign(gene=None)), ("model.db", "gene")),
    "PredictDB variant twice": (
        _predictdb(lambda t: t.assign(gene="G1", varID=t["varID"].iloc[0])),
        ("more than once in the model of G1",),
    ),
    "PredictDB of another chromosome": (
        _predictdb(lambda t: t.assign(varID=t["varID"].str.replace("20_", "1_"))),
        ("model.db",),
    ),
    "PredictDB is text": (_file("model.db", "gene weight\n" * 50), ("model.db", "database")),
    "PredictDB breaks off": (_file("model.db", b"SQLite format 3\x00" + bytes(200)), ("model.db",)),
    "covariances are empty": (_predictdb(lambda t: t, ""), ("model.txt", "empty")),
    "covariances without a column": (_predictdb(lambda t: t, "GENE RSID1 VALUE\nG1 rs4 1\n"), ("RSID2",)),
    "covariances in words": (_predictdb(lambda t: t, PAIRS + "G1 rs4 rs4 big\n"), ("model.txt", "big")),
    "covariances lack a pair": (
        _predictdb(lambda t: t, PAIRS + "G1 rs4 rs4 1\nG1 rs5 rs5 1\n"),
        ("model.txt", "lacks the covariance"),
    ),
    "FUSION list without WGT": (_fusion(_replaced("WGT", "FILE")), ("w.pos", "lacks WGT")),
    "FUSION list in words": (_fusion(_replaced("5500", "middle")), ("w.pos", "middle")),
    "FUSION list names another place": (_fusion(_replaced("w/G1", "../w/G1")), ("lie in its folder",)),
    "FUSION list names an absolute path": (_fusion(_replaced("w/G1", "/etc/G1")), ("lie in its folder",)),
    "FUSION weights absent": (_fusion(_absent), ("does not exist",)),
    "FUSION weights break off": (_fusion(_cut), ("G1.wgt.RDat",)),
    "FUSION weights are a number": (_fusion(_gene(x=np.array([1.0]))), ("G1.wgt.RDat", "wgt.matrix")),
    "FUSION weights without snps": (
        _fusion(_gene(**{"wgt.matrix": np.array([[0.1]])})),
        ("G1.wgt.RDat", "snps"),
    ),
    "FUSION snps with few columns": (
        _fusion(_gene(**{"wgt.matrix": np.array([[0.1]]), "snps": pd.DataFrame({"a": [1.0]})})),
        ("G1.wgt.RDat", "snps"),
    ),
    "SuShiE without weights": (
        _file("w.tsv", "trait\tchrom\tsnp\tpos\ta0\ta1\nG1\t20\trs4\t1\tA\tG\n"),
        ("w.tsv",),
    ),
    "SuShiE position in words": (_file("w.tsv", SUSHIE.format("here", "A", 0.5)), ("w.tsv", "here")),
    "SuShiE position missing": (_file("w.tsv", SUSHIE.format("NA", "A", 0.5)), ("w.tsv", "position")),
    "SuShiE allele missing": (_file("w.tsv", SUSHIE.format(5000, "NA", 0.5)), ("w.tsv", "allele")),
    "SuShiE weight in words": (_file("w.tsv", SUSHIE.format(5000, "A", "big")), ("w.tsv", "not finite")),
    "SuShiE without rows": (_file("w.tsv", SUSHIE.partition("\n")[0] + "\n"), ("w.tsv",)),
    "cTWAS is no R file": (_file("w.RDS", "hello"), ("w.RDS", "R")),
    "weights in an unknown format": (_file("w.xlsx", "PK"), ("w.xlsx", "unknown format")),
    "weights with foreign covariances": (
        _file("w.tsv", SUSHIE.format(5000, "A", 0.5), 'covariances = "gwas.tsv"\n'),
        ("w.tsv with covariances",),
    ),
    "gene models are empty": (_models(""), ("models.gtf", "no gene")),
    "gene models with few columns": (_models("20\tgene\t1\n"), ("models.gtf line 1",)),
    "gene models without a strand": (_models(MODELS.format(5000, ".")), ("models.gtf line 1", "strand")),
    "gene models from end to start": (_models(MODELS.format(9001, "+")), ("models.gtf line 1", "9001")),
    "gene models of another build": (
        _models("#!genome-build GRCh38.p13\n" + MODELS.format(5000, "+")),
        ("models.gtf", "GRCh38"),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(sound: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message of three parts, without NaN and traceback."""
    monkeypatch.chdir(sound.parent)
    spoil, parts = BROKEN[case]
    spoil(sound.parent)
    with pytest.raises(BayestwasError) as error:
        check(sound)
    message = str(error.value)
    for part in parts:
        assert part in message
    assert error.value.rule
    assert error.value.remedy
    for word in ("nan", "Traceback", "object at 0x"):
        assert word not in message


@pytest.mark.parametrize("kind", ["predictdb", "fusion", "sushie"])
def test_the_sound_ones_are_sound(sound: Path, kind: str) -> None:
    """Otherwise the catalogue would show nothing."""
    folder = sound.parent
    spoil = {
        "predictdb": _predictdb(lambda t: t),
        "fusion": _fusion(lambda folder: None),
        "sushie": _file("w.tsv", SUSHIE.format(5000, "A", 0.5)),
    }[kind]
    spoil(folder)
    assert check(sound).runnable == (1 if kind == "sushie" else 2)


def test_no_gene_is_lost(sound: Path) -> None:
    """Genes without a weight, and genes of which no variant has a place, have a row that says why."""
    folder = sound.parent
    lines = SUSHIE.format(5000, "A", 0.5) + "G2\t20\trs7\t8000\tG\tA\t0\n"
    _file("w.tsv", lines)(folder)
    genes = check(sound).genes.set_index("gene")
    assert genes["status"].to_dict() == {"G1": "warning", "G2": "skipped"}
    assert "no weight other than zero" in genes.loc["G2", "reason"]
    sound.write_text(STUDY)
    unplaced = {"rsid": ["rs4", "rs5", "rs99"], "varID": None}
    _predictdb(lambda t: t.assign(**unplaced))(folder)
    genes = check(sound).genes.set_index("gene")
    assert genes["status"].to_dict() == {"G1": "warning", "G2": "skipped"}
    assert genes.loc["G2", "reason"].startswith("no TSS")


def test_no_gene_of_fusion_is_lost(sound: Path) -> None:
    def empty(folder: Path) -> None:
        weights = FinishedWeights(
            "w", WEIGHTS.assign(weight=[0.5, -0.2, 0.0]), PER_GENOTYPE_SD, places_of_genes(WEIGHTS)
        )
        write_fusion(weights, folder / "w.pos", pd.Series(0.1, index=weights.genes.index), 100.0)

    _fusion(empty)(sound.parent)
    genes = check(sound).genes.set_index("gene")
    assert genes["status"].to_dict() == {"G1": "warning", "G2": "skipped"}
    assert "no weight other than zero" in genes.loc["G2", "reason"]


def test_no_gene_of_eqtl_tables_is_lost(sound: Path) -> None:
    """One without an estimate, and one outside the blocks, beside one that is used."""
    folder = sound.parent
    rows = [("G1", "chr20_5000_G_A_b37", 0, 0.4), ("G2", "chr20_8000_G_A_b37", 0, None)]
    rows += [("G3", "chr20_99000_G_A_b37", 0, 0.1)]
    table = pd.DataFrame(rows, columns=["gene_id", "variant_id", "tss_distance", "slope"])
    table.assign(pval_nominal=0.5, slope_se=0.2).to_csv(folder / "e.tsv", sep="\t", index=False)
    head, _, _ = sound.read_text().partition("[[expression]]")
    sound.write_text(head + '[[eqtl]]\ncontext = "LCL"\nancestry = "EUR"\npath = "e.tsv"\nn = 30\n')
    genes = check(sound).genes.set_index("gene")
    assert genes["status"].to_dict() == {"G1": "ok", "G2": "skipped", "G3": "skipped"}
    assert genes.loc["G2", "reason"].startswith("no TSS")
    assert genes.loc["G3", "reason"] == "its TSS 20:99000 lies in no block"
