"""The study file: what it may say, and one clear message for each thing it may not."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest

from bayestwas.data.preparation import Preparation
from bayestwas.data.studies import Genotypes, LDMatrix
from bayestwas.errors import BayestwasError, InputError, StudyFileError
from bayestwas.harmonise.align import harmonise
from bayestwas.run.study import KEYS, file_hashes, read_study

P, PEOPLE = 12, 30
STUDY = """
name = "small"
build = "GRCh37"

[[gwas]]
ancestry = "EUR"
path = "hdl.gwas.tsv.gz"

[[ld]]
ancestry = "EUR"
genotypes = "EUR"

[[expression]]
context = "LCL"
ancestry = "EUR"
genotypes = "EUR"
phenotypes = "expression.EUR.bed.gz"
covariates = "covariates.EUR.tsv"
"""
Edit = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A whole small study on disk; returns its study file."""
    rng = np.random.default_rng(5)
    people = [f"P{i}" for i in range(PEOPLE)]
    position = 1000 * (1 + np.arange(P))
    dosage = rng.binomial(2, 0.3, (PEOPLE, P)).astype(np.int8)
    properties = {"fid": people, "iid": people, "chromosome": ["20"] * P, "sid": [f"rs{j}" for j in range(P)]}
    properties |= {"bp_position": position, "allele_1": ["A"] * P, "allele_2": ["G"] * P}
    bed_reader.to_bed(tmp_path / "EUR.bed", dosage, properties=properties, num_threads=1)
    gwas = pd.DataFrame(
        {"chromosome": "20", "base_pair_location": position, "effect_allele": "A", "other_allele": "G"}
    )
    gwas = gwas.assign(z=rng.standard_normal(P), n=5000, variant_id=[f"rs{j}" for j in range(P)])
    _gzip(tmp_path / "hdl.gwas.tsv.gz", gwas.to_csv(sep="\t", index=False))
    ids = np.array([f"20_{p}_G_A" for p in position])
    np.savez(tmp_path / "ld.EUR.npz", ld=np.corrcoef(dosage.T), variant_id=ids)
    place = pd.DataFrame({"#chr": "20", "start": [4999, 6999], "end": [5000, 7000], "gene_id": ["G1", "G2"]})
    expression = pd.DataFrame(rng.standard_normal((2, PEOPLE)), columns=people)
    _gzip(
        tmp_path / "expression.EUR.bed.gz",
        pd.concat([place, expression], axis=1).to_csv(sep="\t", index=False),
    )
    covariates = pd.DataFrame(rng.standard_normal((2, PEOPLE)), columns=people)
    covariates.insert(0, "id", ["PC1", "PC2"])
    covariates.to_csv(tmp_path / "covariates.EUR.tsv", sep="\t", index=False)
    (tmp_path / "blocks.bed").write_text("chr20\t0\t20000\tb1\n")
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def _gzip(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def _edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_study_is_read(study: Path) -> None:
    read = read_study(study)
    assert (read.name, read.build, read.simulated, read.genes) == ("small", "GRCh37", False, None)
    assert read.cis_window == 500_000
    assert read.blocks is None
    assert read.gwas["EUR"].attrs["source"] == "hdl.gwas.tsv.gz"
    assert read.panels[0].covariates is not None
    assert read.ld["EUR"] is read.panels[0].genotypes  # one file, opened once
    assert isinstance(read.ld["EUR"], Genotypes)
    assert [path.name for path in read.files] == [
        "study.toml",
        "hdl.gwas.tsv.gz",
        "EUR.bed",
        "EUR.bim",
        "EUR.fam",
        "expression.EUR.bed.gz",
        "covariates.EUR.tsv",
    ]
    harmonised = harmonise(read)
    assert harmonised.overlap.index.tolist() == ["hdl.gwas.tsv.gz", "EUR"]
    assert harmonised.genes["status"].tolist() == ["ok", "ok"]


def test_hashes_of_the_files(study: Path) -> None:
    hashes = file_hashes(read_study(study))
    entry = hashes[str(study)]
    assert entry == {"sha256": hashlib.sha256(study.read_bytes()).hexdigest(), "bytes": study.stat().st_size}
    assert len(hashes) == 7


def test_optional_keys(study: Path) -> None:
    (study.parent / "genes.txt").write_text("# wanted\nG2 a remark\n\nG9\nG2\n")
    top = 'simulated = true\ngenes = "genes.txt"\n'
    more = '\n[settings]\ncis_window = 2000\n\n[blocks]\npath = "blocks.bed"\n'
    study.write_text(top + STUDY + more)
    read = read_study(study)
    assert read.simulated
    assert read.genes == ("G2", "G9")
    assert read.cis_window == 2000
    assert read.blocks is not None
    assert read.blocks["block"].tolist() == ["b1"]
    assert {"blocks.bed", "genes.txt"} <= {path.name for path in read.files}


def test_preparation_of_expression(study: Path) -> None:
    assert read_study(study).panels[0].preparation == Preparation("none", 0, False)
    _edit(study, "phenotypes", 'normalise = "tmm"\nhidden_factors = "auto"\nswap_check = true\nphenotypes')
    assert read_study(study).panels[0].preparation == Preparation("tmm", None, True)
    with pytest.raises(InputError, match="normalise = 'tnm'"):
        read_study(_edit(study, '"tmm"', '"tnm"'))


def test_a_genome_is_opened(study: Path) -> None:
    pytest.importorskip("pysam", reason="pysam is the optional extra [fasta]")
    (study.parent / "genome.fa").write_text(">chr20\nACGT\n")
    study.write_text('genome = "genome.fa"\n' + study.read_text())
    read = read_study(study)
    assert read.genome is not None
    assert [read.genome(*at) for at in (("20", 1, 3), ("20", 3, 9), ("21", 0, 1))] == ["CG", "T", ""]


def test_gene_models_and_modalities(study: Path) -> None:
    """Symbols stand for identifiers in the list of genes; a gene without a place has a row and a reason."""
    line = '20\tx\tgene\t{}\t{}\t.\t-\t.\tgene_id "{}.1"; gene_name "{}";\n'
    models = line.format(4000, 5000, "G1", "PLTP") + line.format(6000, 7500, "G2", "ZNF1")
    (study.parent / "models.gtf").write_text(models.replace("G1.1", "G1").replace("G2.1", "G2"))
    table = pd.read_csv(study.parent / "expression.EUR.bed.gz", sep="\t").iloc[:, 3:]
    table = pd.concat([table, table.iloc[:1].assign(gene_id="G3")])
    table.to_csv(study.parent / "bare.tsv", sep="\t", index=False)
    (study.parent / "genes.txt").write_text("ZNF1\nG3\n")
    _edit(study, "expression.EUR.bed.gz", "bare.tsv")
    _edit(study, 'context = "LCL"', 'context = "LCL"\nmodality = "protein"')
    study.write_text('gene_models = "models.gtf"\ngenes = "genes.txt"\n' + study.read_text())
    read = read_study(study)
    assert read.symbols == {"G1": "PLTP", "G2": "ZNF1"}
    assert read.modalities == {"LCL": "protein"}
    assert read.notes == ("models.gtf: 1 of 3 genes are not in the gene models (G3)",)
    assert "models.gtf" in {path.name for path in read.files}
    genes = harmonise(read).genes.set_index("gene")
    assert genes.loc[["G1", "G2"], "tss"].tolist() == [5000, 7500]
    assert genes.loc["G2", "status"] == "ok"
    assert genes.loc["G3", ["status", "reason"]].tolist() == [
        "skipped",
        "no TSS: neither its table nor the gene models have one",
    ]


def test_an_ld_matrix_needs_n_or_in_sample(study: Path) -> None:
    matrix = 'matrix = "ld.EUR.npz"'
    _edit(study, '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"', f'[[ld]]\nancestry = "EUR"\n{matrix}\nn = 30')
    ld = read_study(study).ld["EUR"]
    assert isinstance(ld, LDMatrix)
    assert (ld.name, ld.n_ref) == ("ld.EUR.npz", 30)
    read = read_study(_edit(study, "n = 30", "in_sample = true"))
    assert read.n_ref == {"EUR": math.inf}
    with pytest.raises(StudyFileError, match=r"\[\[ld\]\] number 1 \(EUR\) has a matrix and no n"):
        read_study(_edit(study, "in_sample = true", ""))


def test_files_of_one_name_in_two_folders_keep_apart(study: Path) -> None:
    other = study.parent / "AFR"
    other.mkdir()
    for name in ("hdl.gwas.tsv.gz", "EUR.bed", "EUR.bim", "EUR.fam"):
        (other / name).write_bytes((study.parent / name).read_bytes())
    study.write_text(
        STUDY + '[[gwas]]\nancestry = "AFR"\npath = "AFR/hdl.gwas.tsv.gz"\n'
        '[[ld]]\nancestry = "AFR"\ngenotypes = "AFR/EUR"\n'
    )
    assert harmonise(read_study(study)).overlap.index.tolist() == [
        "hdl.gwas.tsv.gz",
        "AFR/hdl.gwas.tsv.gz",
        "EUR",
        "AFR/EUR",
    ]


BAD_STUDY = {
    "typo at the top": (
        'build = "GRCh37"',
        'biuld = "GRCh37"',
        "has the unknown key 'biuld'",
        "Did you mean 'build'?",
    ),
    "typo below": (
        "phenotypes =",
        "phenotype =",
        "[[expression]] number 1 has the unknown key 'phenotype'",
        "Did you mean 'phenotypes'?",
    ),
    "no name": ('name = "small"', "", "lacks name", "Add name"),
    "empty": ('name = "small"', 'name = ""', "lacks name", "Add name"),
    "no ancestry": (
        '[[gwas]]\nancestry = "EUR"',
        "[[gwas]]",
        "[[gwas]] number 1 lacks ancestry",
        "Add ancestry",
    ),
    "one bracket": ("[[gwas]]", "[gwas]", "gwas = {", "write [[gwas]] before its keys"),
    "number as text": (
        'path = "hdl.gwas.tsv.gz"',
        'path = "hdl.gwas.tsv.gz"\nn = "94k"',
        "n = '94k'",
        "Give n as a number",
    ),
    "bool as number": (
        'path = "hdl.gwas.tsv.gz"',
        'path = "hdl.gwas.tsv.gz"\nn = true',
        "n = True",
        "Give n as a number",
    ),
    "a matrix of no one": (
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"',
        '[[ld]]\nancestry = "EUR"\nmatrix = "hdl.gwas.tsv.gz"\nn = -3',
        "has n = -3",
        "Correct n",
    ),
    "not TOML": ('name = "small"', "name = small", "is not a TOML file", "Correct the place"),
    "LD missing": (
        '[[ld]]\nancestry = "EUR"',
        '[[ld]]\nancestry = "AFR"',
        "[[gwas]] number 1 is of EUR; there is LD for AFR",
        'Add [[ld]] with ancestry = "EUR"',
    ),
    "no LD at all": ('[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"', "", "lacks ld", "Add [[ld]]"),
    "LD of two kinds": (
        '[[ld]]\nancestry = "EUR"',
        '[[ld]]\nancestry = "EUR"\nmatrix = "ld.EUR.npz"',
        "has genotypes and matrix",
        "Give one of the three",
    ),
    "n with genotypes": (
        '[[ld]]\nancestry = "EUR"',
        '[[ld]]\nancestry = "EUR"\nn = 3',
        "has genotypes and n",
        "Remove n",
    ),
    "one panel": (
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"\n',
        '[[ld]]\nancestry = "EUR"\npanels = { EUR = "EUR" }\n',
        "panels = {'EUR': 'EUR'}",
        "Write panels = {",
    ),
    "a panel that is not there": (
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"\n',
        '[[ld]]\nancestry = "EUR"\npanels = { EUR = "EUR", AFR = "AFR" }\n',
        "genotypes = 'AFR': there is no file",
        "Correct genotypes",
    ),
    "admixed without panels": (
        '[[ld]]\nancestry = "EUR"',
        '[[ld]]\nancestry = "EUR"\nadmixed = true',
        "has admixed and no panels",
        "Remove admixed",
    ),
    "panels in sample": (
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"\n',
        '[[ld]]\nancestry = "EUR"\nin_sample = true\npanels = { EUR = "EUR", AFR = "EUR" }\n',
        "has panels and in_sample",
        "Remove in_sample",
    ),
    "one file as two panels": (
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"\n',
        '[[ld]]\nancestry = "EUR"\npanels = { EUR = "EUR", AFR = "EUR" }\n',
        "panels = {'EUR': 'EUR', 'AFR': 'EUR'}",
        "Name each file once",
    ),
    "a panel whose name holds a slash": (
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"\n',
        '[[ld]]\nancestry = "EUR"\npanels = { EUR = "EUR", "A/B" = "AFR" }\n',
        "panel = 'A/B'",
        "Use letters",
    ),
    "more donors shared than there are": (
        "covariates = ",
        "overlap = 100000\ncovariates = ",
        "has overlap = 100000, and",
        "Give a whole number from 0",
    ),
    "half a donor shared": (
        "covariates = ",
        "overlap = 10.5\ncovariates = ",
        "has overlap = 10.5, and",
        "Give a whole number from 0",
    ),
    "GWAS twice": (
        "[[ld]]",
        '[[gwas]]\nancestry = "EUR"\npath = "hdl.gwas.tsv.gz"\n[[ld]]',
        "[[gwas]] numbers 1 and 2 are both EUR",
        "Remove one",
    ),
    "GWAS file": (
        "hdl.gwas.tsv.gz",
        "hdl.tsv",
        "[[gwas]] number 1 path = 'hdl.tsv': there is no file",
        "Correct path",
    ),
    "genotype prefix": (
        'genotypes = "EUR"\nphenotypes',
        'genotypes = "AFR"\nphenotypes',
        "[[expression]] number 1 genotypes = 'AFR': there is no file",
        "Correct genotypes",
    ),
    "covariates": (
        "covariates.EUR.tsv",
        "cov.tsv",
        "covariates = 'cov.tsv': there is no file",
        "Correct covariates",
    ),
    "genes file": (
        'name = "small"',
        'name = "small"\ngenes = "g.txt"',
        "genes = 'g.txt': there is no file",
        "Correct genes",
    ),
    "setting": (
        "[[gwas]]",
        "[settings]\ncis_windows = 1\n[[gwas]]",
        "[settings] has the unknown key 'cis_windows'",
        "Did you mean 'cis_window'?",
    ),
}


@pytest.mark.parametrize("case", BAD_STUDY)
def test_study_files_that_are_refused(study: Path, case: str) -> None:
    old, new, given, remedy = BAD_STUDY[case]
    with pytest.raises(StudyFileError) as error:
        read_study(_edit(study, old, new))
    assert "study.toml" in error.value.given
    assert given in error.value.given
    assert remedy in error.value.remedy
    assert error.value.rule


def test_a_folder_is_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="is a folder"):
        read_study(tmp_path)


def test_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match=r"none\.toml does not exist"):
        read_study(tmp_path / "none.toml")


def test_an_empty_list_of_genes(study: Path) -> None:
    (study.parent / "genes.txt").write_text("# none\n")
    with pytest.raises(StudyFileError, match=r"genes = 'genes\.txt' is an empty file"):
        read_study(_edit(study, 'name = "small"', 'name = "small"\ngenes = "genes.txt"'))


def test_every_key_says_what_it_means() -> None:
    assert all(key.meaning for table in KEYS.values() for key in table.values())


# ---- what is wrong inside the files: the message names the file, the rule and the remedy ----


def _gwas(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "hdl.gwas.tsv.gz"
    table = pd.read_csv(path, sep="\t", dtype={"chromosome": str})
    _gzip(path, change(table).to_csv(sep="\t", index=False, na_rep="NaN"))


def _expression(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "expression.EUR.bed.gz"
    _gzip(path, change(pd.read_csv(path, sep="\t", dtype={"#chr": str})).to_csv(sep="\t", index=False))


def _first_z(value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.assign(z=np.where(np.arange(len(t)) == 0, value, t["z"]))


def _every_z(value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.assign(z=value)


def _truncate(folder: Path) -> None:
    bed = folder / "EUR.bed"
    bed.write_bytes(bed.read_bytes()[:-5])


BAD_FILES: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "wrong column": (
        lambda f: _gwas(f, lambda t: t.rename(columns={"effect_allele": "allele"})),
        r"hdl\.gwas\.tsv\.gz has no column for the effect allele",
        "one of the columns effect_allele, ea",
        "Rename the column",
    ),
    "n absent": (
        lambda f: _gwas(f, lambda t: t.drop(columns="n")),
        r"hdl\.gwas\.tsv\.gz has no sample size",
        "The sample size is a column",
        r"Add n = <people> under \[\[gwas\]\]",
    ),
    "p-values without effects": (
        lambda f: _gwas(f, lambda t: t.drop(columns="z").assign(p_value=0.5)),
        r"hdl\.gwas\.tsv\.gz has p-values \('p_value'\) without effects",
        "A p-value has no sign",
        "Add a column z",
    ),
    "NaN z": (
        lambda f: _gwas(f, _every_z(np.nan)),
        r"hdl\.gwas\.tsv\.gz: .* rows cannot be used .*no estimate: z is missing",
        "have what is needed",
        "fill the rows in",
    ),
    "infinite z": (
        lambda f: _gwas(f, _first_z(np.inf)),
        r"hdl\.gwas\.tsv\.gz: z is 'inf' in 1 row, line 2",
        "finite number",
        "Remove these rows",
    ),
    "se <= 0": (
        lambda f: _gwas(f, lambda t: t.drop(columns="z").assign(beta=0.1, standard_error=0.0)),
        r"hdl\.gwas\.tsv\.gz: standard_error is '0\.0' in 12 rows, line 2, 3, 4 \.\.\.",
        "above zero",
        "Remove these rows",
    ),
    "truncated .bed": (
        _truncate,
        r"EUR\.bed is truncated",
        r"12 variants \(\.bim\) of 30 people",
        "Copy or write",
    ),
    "samples not in genotypes": (
        lambda f: _expression(f, lambda t: t.rename(columns=lambda name: re.sub("^P", "HG", name))),
        r"expression\.EUR\.bed\.gz: 0 of 30 donors have genotypes in EUR; HG0, HG1, HG2 are not there",
        "at least 10 donors",
        r"column 2\) of the \.fam file",
    ),
    "build mismatch": (
        lambda f: _gwas(f, lambda t: t.assign(base_pair_location=t["base_pair_location"] + 77)),
        r"hdl\.gwas\.tsv\.gz \(12 variants in the blocks\) and EUR \(12\) share 0 variants",
        "build mismatch",
        "Lift hdl",
    ),
    "another chromosome": (
        lambda f: _gwas(f, lambda t: t.assign(chromosome="2")),
        r"hdl\.gwas\.tsv\.gz: none of its 12 variants lies inside the blocks",
        "same build",
        "Likely another build",
    ),
    "many duplicates": (
        lambda f: _gwas(f, lambda t: pd.concat([t, t])),
        r"hdl\.gwas\.tsv\.gz: 24 of 24 rows inside the blocks are duplicate variants",
        "one row per variant",
        "must be split",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_are_refused(study: Path, case: str) -> None:
    spoil, given, rule, remedy = BAD_FILES[case]
    spoil(study.parent)
    with pytest.raises(BayestwasError) as error:
        harmonise(read_study(study))
    assert re.search(given, error.value.given)
    assert re.search(rule, error.value.rule)
    assert re.search(remedy, error.value.remedy)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda r: r[:-1, :-1], "ld has shape (11, 11) for 12 identifiers"),
        (lambda r: np.where(np.eye(12) > 0, 1, -0.9), "not positive semidefinite"),
        (lambda r: r**2, "looks like r2"),
    ],
    ids=["another size", "not positive semidefinite", "r2"],
)
def test_ld_matrices_that_are_refused(study: Path, spoil: Callable, said: str) -> None:
    _edit(
        study,
        '[[ld]]\nancestry = "EUR"\ngenotypes = "EUR"',
        '[[ld]]\nancestry = "EUR"\nmatrix = "ld.EUR.npz"\nn = 30',
    )
    with np.load(study.parent / "ld.EUR.npz") as archive:
        correlation, ids = archive["ld"], archive["variant_id"]
    np.savez(study.parent / "ld.EUR.npz", ld=spoil(correlation), variant_id=ids)
    with pytest.raises(InputError) as error:
        read_study(study)
    assert "ld.EUR.npz" in error.value.given
    assert said in error.value.given
    assert error.value.rule
    assert error.value.remedy
