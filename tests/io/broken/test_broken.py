"""A catalogue of broken inputs: each is refused in words that name the file and what to do, never by a
traceback."""

from __future__ import annotations

import gzip
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bayestwas.errors import BayestwasError
from bayestwas.run.check import check

Spoil = Callable[[Path], None]
BP, EAF, SE_ = "base_pair_location", "effect_allele_frequency", "standard_error"
GENES = ("simulated = true", 'simulated = true\ngenes = "genes.txt"')
PATH = 'path = "gwas.tsv"'
MATRIX = ('genotypes = "EUR"\n[[expression]]', 'matrix = "ld.npz"\nn = 30\n[[expression]]')


def _put(name: str, old: str, new: str, count: int = 1) -> Spoil:
    """Replace text in a file; the text has to be there."""

    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, count) if count else text.replace(old, new))

    return spoil


def _write(name: str, content: str | bytes) -> Spoil:
    return lambda folder: void(
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    )


def void(_: object) -> None:
    """Nothing: a spoil gives nothing back."""


def _cut(name: str, last: int) -> Spoil:
    return lambda folder: void((folder / name).write_bytes((folder / name).read_bytes()[:-last]))


def _drop(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def _cell(name: str, column: str, value: str, row: int = 3) -> Spoil:
    """One value of a table; row 0 is the first below the header, `row` -1 every one."""

    def spoil(folder: Path) -> None:
        lines = [line.split("\t") for line in (folder / name).read_text().splitlines()]
        at = lines[0].index(column)
        for line in lines[1:] if row < 0 else [lines[row + 1]]:
            line[at] = value
        (folder / name).write_text("\n".join("\t".join(line) for line in lines) + "\n")

    return spoil


def _moved(folder: Path) -> None:
    """Every position of the GWAS 123 bases further."""
    lines = [line.split("\t") for line in (folder / "gwas.tsv").read_text().splitlines()]
    for line in lines[1:]:
        line[1] = str(int(line[1]) + 123)
    (folder / "gwas.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n")


def _no_column(name: str, column: str) -> Spoil:
    def spoil(folder: Path) -> None:
        lines = [line.split("\t") for line in (folder / name).read_text().splitlines()]
        at = lines[0].index(column)
        (folder / name).write_text("\n".join("\t".join(x[:at] + x[at + 1 :]) for x in lines) + "\n")

    return spoil


def _repeat(name: str, times: int = 2) -> Spoil:
    def spoil(folder: Path) -> None:
        head, *rows = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join([head, *rows * times]) + "\n")

    return spoil


def _npz(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Spoil:
    def spoil(folder: Path) -> None:
        with np.load(folder / "ld.npz") as held:
            arrays = change(dict(held))
        np.savez(folder / "ld.npz", **arrays)
        _put("study.toml", *MATRIX)(folder)

    return spoil


class _Harmful:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, ("HARMED", os.O_CREAT)


def _pickled(folder: Path) -> None:
    with np.load(folder / "ld.npz") as held:
        np.savez(folder / "ld.npz", ld=held["ld"], variant_id=np.array([_Harmful()], dtype=object))
    _put("study.toml", *MATRIX)(folder)


def _bomb(folder: Path) -> None:
    """Six megabytes of rows in a hundredth of that."""
    head, row, *_ = (folder / "gwas.tsv").read_bytes().splitlines(keepends=True)
    (folder / "gwas.tsv.gz").write_bytes(gzip.compress(head) + gzip.compress(row * 25_000, 9) * 6)
    _put("study.toml", '"gwas.tsv"', '"gwas.tsv.gz"')(folder)


def _line_bomb(folder: Path) -> None:
    """One line of six megabytes."""
    (folder / "blocks.bed").write_bytes(gzip.compress(b"A" * 6_000_000, 9))


def _gwas(old: str, new: str) -> Spoil:
    return _put("gwas.tsv", old, new)


def _study(old: str, new: str) -> Spoil:
    return _put("study.toml", old, new)


def _vcf(text: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "gwas.vcf").write_text(text)
        _study('"gwas.tsv"', '"gwas.vcf"')(folder)

    return spoil


VCF = (
    "##fileformat=VCFv4.2\n##contig=<ID=20>\n{formats}"
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT{names}\n"
)
ES = '##FORMAT=<ID=ES,Number=A,Type=Float,Description="e">\n'
SE = '##FORMAT=<ID=SE,Number=A,Type=Float,Description="e">\n'
PARQUET = ('path = "gwas.tsv"', 'path = "gwas.parquet"')
LIFT = 'path = "gwas.tsv"\nbuild = "GRCh38"\nchain = "x.chain"'


def _both(*spoils: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


# what is broken -> how, and parts of the message, the file first
BROKEN: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    # GWAS
    "gwas absent": (_drop("gwas.tsv"), ("gwas.tsv", "there is no file")),
    "gwas empty": (_write("gwas.tsv", ""), ("gwas.tsv", "is empty")),
    "gwas header only": (_write("gwas.tsv", "chr\tpos\ta1\ta2\tz\tn\n"), ("gwas.tsv", "no variants")),
    "gwas without chromosome": (_gwas("chromosome", "chrm"), ("gwas.tsv", "chromosome", "Is it 'chrm'")),
    "gwas without position": (_no_column("gwas.tsv", BP), ("gwas.tsv", "position")),
    "gwas without effect allele": (_no_column("gwas.tsv", "effect_allele"), ("gwas.tsv", "effect allele")),
    "gwas without other allele": (_no_column("gwas.tsv", "other_allele"), ("gwas.tsv", "other allele")),
    "gwas without effects": (_no_column("gwas.tsv", "beta"), ("gwas.tsv", "neither z nor beta")),
    "gwas without errors": (_no_column("gwas.tsv", SE_), ("gwas.tsv", "neither z nor beta")),
    "gwas without n": (_no_column("gwas.tsv", "n"), ("gwas.tsv", "no sample size", "Add n")),
    "gwas p without effect": (
        _gwas("beta\tstandard_error", "p_value\tx"),
        ("gwas.tsv", "p-values", "no sign"),
    ),
    "gwas odds ratio of which error": (_gwas("beta\t", "odds_ratio\t"), ("gwas.tsv", "ratio_standard_error")),
    "gwas text for beta": (_cell("gwas.tsv", "beta", "high"), ("gwas.tsv", "'high'", "line 5")),
    "gwas infinite beta": (_cell("gwas.tsv", "beta", "inf"), ("gwas.tsv", "'inf'", "line 5")),
    "gwas error of zero": (
        _cell("gwas.tsv", SE_, "0"),
        ("gwas.tsv", "'0'", "line 5", "above zero"),
    ),
    "gwas error below zero": (_cell("gwas.tsv", SE_, "-1"), ("gwas.tsv", "'-1'", "line 5")),
    "gwas position of zero": (_cell("gwas.tsv", BP, "0"), ("gwas.tsv", "'0'", "line 5")),
    "gwas position in halves": (
        _cell("gwas.tsv", BP, "1.5"),
        ("gwas.tsv", "'1.5'", "line 5"),
    ),
    "gwas position below zero": (
        _cell("gwas.tsv", BP, "-4"),
        ("gwas.tsv", "'-4'", "line 5"),
    ),
    "gwas position in words": (
        _cell("gwas.tsv", BP, "1kb"),
        ("gwas.tsv", "'1kb'", "line 5"),
    ),
    "gwas position huge": (_cell("gwas.tsv", BP, "9999999999"), ("gwas.tsv", "line 5")),
    "gwas frequency above one": (
        _cell("gwas.tsv", EAF, "30"),
        ("gwas.tsv", "'30'", "line 5"),
    ),
    "gwas frequency below zero": (
        _cell("gwas.tsv", EAF, "-.1"),
        ("gwas.tsv", "line 5"),
    ),
    "gwas n of zero": (_cell("gwas.tsv", "n", "0"), ("gwas.tsv", "'0'", "line 5")),
    "gwas n in words": (_cell("gwas.tsv", "n", "many"), ("gwas.tsv", "'many'", "line 5")),
    "gwas all effects missing": (
        _cell("gwas.tsv", "beta", "NA", -1),
        ("gwas.tsv", "cannot be used", "no estimate"),
    ),
    "gwas all alleles unknown": (
        _cell("gwas.tsv", "effect_allele", "0", -1),
        ("gwas.tsv", "an allele is unknown"),
    ),
    "gwas one allele twice": (
        _cell("gwas.tsv", "effect_allele", "G", -1),
        ("gwas.tsv", "both alleles are the same"),
    ),
    "gwas other alleles": (_cell("gwas.tsv", "effect_allele", "AC", -1), ("gwas.tsv", "the alleles do not")),
    "gwas other chromosome": (
        _cell("gwas.tsv", "chromosome", "7", -1),
        ("gwas.tsv", "none of its", "blocks"),
    ),
    "gwas other build": (_moved, ("gwas.tsv", "build mismatch", "Lift")),
    "gwas beyond its chromosome": (
        _cell("gwas.tsv", BP, "64000000"),
        ("gwas.tsv", "64000000", "63025520", "GRCh38 has it"),
    ),
    "gwas every row twice": (_repeat("gwas.tsv"), ("gwas.tsv", "duplicate", "Keep one row per variant")),
    "gwas column twice": (_gwas("beta\t", "rsid\t"), ("gwas.tsv", "'rsid' occurs more than once")),
    "gwas row too long": (_gwas("\t5000\n", "\t5000\tx\n"), ("gwas.tsv", "line 2", "unequal length")),
    "gwas row too short": (_gwas("\t5000\n", "\n"), ("gwas.tsv", "line 2", "unequal length")),
    "gwas breaks off": (_cut("gwas.tsv", 8), ("gwas.tsv", "line 25", "break off")),
    "gwas gzip breaks off": (
        _both(
            lambda f: void((f / "x.gz").write_bytes(gzip.compress((f / "gwas.tsv").read_bytes())[:-30])),
            _study('"gwas.tsv"', '"x.gz"'),
        ),
        ("x.gz", "breaks off or is damaged"),
    ),
    "gwas gzip of noise": (
        _both(_write("x.gz", b"\x1f\x8b" + bytes(range(200))), _study('"gwas.tsv"', '"x.gz"')),
        ("x.gz", "damaged"),
    ),
    "gwas is binary": (_write("gwas.tsv", bytes(range(256)) * 20), ("gwas.tsv",)),
    "gwas is a bomb": (_bomb, ("gwas.tsv.gz", "unpacks to more than")),
    "gwas in Latin-1": (_write("gwas.tsv", "chr\tpos\té\n".encode("latin-1")), ("gwas.tsv", "damaged")),
    "gwas without effects, ids alone": (
        _write("gwas.tsv", "SNP\tA1\tA2\tZ\tN\n" + "".join(f"x{j}\tA\tG\t1\t9\n" for j in range(9))),
        ("gwas.tsv", "identifier has no position", "Add columns chromosome and position"),
    ),
    "gwas map of nothing": (
        _study('path = "gwas.tsv"', 'path = "gwas.tsv"\ncolumns = { beta = "BETA" }'),
        ("gwas.tsv", "no column 'BETA'", "beta, chromosome"),
    ),
    "gwas map misspelt": (
        _study('path = "gwas.tsv"', 'path = "gwas.tsv"\ncolumns = { bta = "beta" }'),
        ("gwas.tsv", "name 'bta'", "Did you mean 'beta'"),
    ),
    "gwas map of numbers": (
        _study('path = "gwas.tsv"', 'path = "gwas.tsv"\ncolumns = { beta = 5 }'),
        ("study.toml", "beta = 5"),
    ),
    "gwas n of zero people": (
        _both(_no_column("gwas.tsv", "n"), _study('"gwas.tsv"', '"gwas.tsv"\nn = 0')),
        ("gwas.tsv", "n = 0"),
    ),
    "gwas of build without chain": (
        _study('path = "gwas.tsv"', 'path = "gwas.tsv"\nbuild = "GRCh38"'),
        ("study.toml", "GRCh38", "Add chain"),
    ),
    "chain without build": (
        _both(_write("x.chain", "chain 1"), _study(PATH, PATH + '\nchain = "x.chain"')),
        ("study.toml", "Add build"),
    ),
    "chain is none": (
        _both(_write("x.chain", "hello\n"), _study(PATH, LIFT)),
        ("x.chain", "no chain"),
    ),
    "chain absent": (_study(PATH, LIFT), ("x.chain", "there is no file")),
    "chain of another chromosome": (
        _both(
            _write("x.chain", "chain 1 chr1 9000 + 0 90 chr1 9000 + 0 90 1\n90\n\n"),
            _study(PATH, LIFT),
        ),
        ("gwas.tsv", "no single position in the build of the study"),
    ),
    "meta of another build": (
        _write("gwas.tsv-meta.yaml", "genome_assembly: GRCh38\n"),
        ("gwas.tsv", "its build is GRCh38", "GRCh37"),
    ),
    "meta with nonsense": (
        _write("gwas.tsv-meta.yaml", "samples:\n  - sample_size: lots\n"),
        ("meta.yaml", "line 2", "lots"),
    ),
    "meta of unknown coordinates": (
        _write("gwas.tsv-meta.yaml", "coordinate_system: centimorgan\n"),
        ("meta.yaml", "centimorgan"),
    ),
    "parquet that is text": (
        _both(_write("gwas.parquet", "chr\tpos\n"), _study(*PARQUET)),
        ("gwas.parquet", "no Parquet file"),
    ),
    "vcf that is text": (_vcf("hello\n"), ("gwas.vcf", "no VCF")),
    "vcf of genotypes": (_vcf(VCF.format(formats="", names="\tx")), ("gwas.vcf", "no fields ES and SE")),
    "vcf without traits": (_vcf(VCF.format(formats=ES + SE, names="")), ("gwas.vcf", "no")),
    "vcf of two traits": (
        _vcf(VCF.format(formats=ES + SE, names="\tx\ty")),
        ("gwas.vcf", "2 traits", "sample ="),
    ),
    "vcf without n": (
        _vcf(VCF.format(formats=ES + SE, names="\tx") + "20\t1000\trs0\tG\tA\t.\t.\t.\tES:SE\t1:1\n"),
        ("gwas.vcf", "no sample size"),
    ),
    # blocks
    "blocks empty": (_write("blocks.bed", ""), ("blocks.bed", "holds no block")),
    "blocks backwards": (_put("blocks.bed", "0\t12000", "12000\t0"), ("blocks.bed", "line 1", "start 12000")),
    "blocks overlap": (
        _put("blocks.bed", "12000\t30000", "11000\t30000"),
        ("blocks.bed", "line 2", "overlaps"),
    ),
    "blocks in words": (_put("blocks.bed", "12000\tb1", "x\tb1"), ("blocks.bed", "line 1", "whole numbers")),
    "blocks of one name": (_put("blocks.bed", "b2", "b1"), ("blocks.bed", "line 2", "more than once")),
    "blocks with a path for a name": (_put("blocks.bed", "b2", "../../b2"), ("no slash",)),
    "blocks elsewhere": (_write("blocks.bed", "3\t0\t50000\tb\n"), ("lies inside the blocks",)),
    "blocks are a bomb": (_line_bomb, ("blocks.bed", "unpacks to more than")),
    # expression and covariates
    "expression absent": (_drop("lcl.bed"), ("lcl.bed", "there is no file")),
    "expression empty": (_write("lcl.bed", ""), ("lcl.bed", "is empty")),
    "expression infinite": (_cell("lcl.bed", "P4", "inf", 0), ("lcl.bed", "infinite")),
    "expression in words": (_cell("lcl.bed", "P4", "high", 0), ("lcl.bed", "high")),
    "expression gene twice": (_put("lcl.bed", "G2", "G1"), ("lcl.bed", "'G1'", "more than once")),
    "expression donor twice": (_put("lcl.bed", "\tP4\t", "\tP3\t"), ("lcl.bed", "P3")),
    "expression of strangers": (_put("lcl.bed", "\tP", "\tQ", 0), ("lcl.bed",)),
    "expression position in words": (_cell("lcl.bed", "end", "x", 0), ("lcl.bed",)),
    "covariates of strangers": (_put("cov.txt", "\tP", "\tQ", 0), ("cov.txt",)),
    "covariates in words": (_cell("cov.txt", "P4", "old", 0), ("cov.txt", "old")),
    "covariates empty": (_write("cov.txt", ""), ("cov.txt", "is empty")),
    # genotypes
    "genotypes bed absent": (_drop("EUR.bed"), ("EUR.bed", "there is no file")),
    "genotypes fam absent": (_drop("EUR.fam"), ("EUR.fam", "there is no file")),
    "genotypes break off": (_cut("EUR.bed", 7), ("EUR.bed",)),
    "genotypes are no bed": (_write("EUR.bed", b"hello" * 50), ("EUR.bed",)),
    "genotypes fam empty": (_write("EUR.fam", ""), ("EUR",)),
    "genotypes person twice": (_put("EUR.fam", "P4 P4", "P3 P3"), ("EUR",)),
    "genotypes bim breaks off": (_cut("EUR.bim", 6), ("EUR",)),
    "genotypes position in words": (_put("EUR.bim", "\t1000\t", "\tx\t"), ("EUR",)),
    # LD matrices
    "ld matrix without ids": (_npz(lambda a: {"ld": a["ld"]}), ("ld.npz", "variant_id")),
    "ld matrix not square": (_npz(lambda a: a | {"ld": a["ld"][:-1]}), ("ld.npz",)),
    "ld matrix of fewer ids": (_npz(lambda a: a | {"variant_id": a["variant_id"][1:]}), ("ld.npz",)),
    "ld matrix above one": (_npz(lambda a: a | {"ld": a["ld"] * 3}), ("ld.npz",)),
    "ld matrix lopsided": (_npz(lambda a: a | {"ld": np.triu(a["ld"])}), ("ld.npz",)),
    "ld matrix pickled": (_pickled, ("ld.npz",)),
    "ld matrix is text": (_both(_write("ld.npz", "hello"), _study(*MATRIX)), ("ld.npz",)),
    # study file
    "study is no TOML": (_write("study.toml", "name = \n"), ("study.toml", "is not a TOML file")),
    "study unknown key": (_study("build =", "biuld ="), ("study.toml", "'biuld'", "Did you mean 'build'")),
    "study without gwas": (
        _write("study.toml", 'name = "x"\nbuild = "GRCh37"\n'),
        ("study.toml", "lacks gwas"),
    ),
    "study without ld": (
        _study('[[ld]]\nancestry = "EUR"', '[[ld]]\nancestry = "AFR"'),
        ("study.toml", "LD"),
    ),
    "study gwas twice": (
        _study("[[ld]]", '[[gwas]]\nancestry = "EUR"\npath = "gwas.tsv"\n[[ld]]'),
        ("study.toml", "numbers 1 and 2"),
    ),
    "study number for text": (_study('"sound"', "5"), ("study.toml", "name = 5")),
    "study context with a path": (_study('"LCL"', '"../LCL"'), ("no slash",)),
    "study names a folder": (_study('"gwas.tsv"', '"."'), ("study.toml",)),
    "study window of zero": (_study("[blocks]", "[settings]\ncis_window = 0\n[blocks]"), ("cis_window",)),
    "study genes unknown": (
        _both(_write("genes.txt", "NOPE\n"), _study(*GENES)),
        ("NOPE",),
    ),
    "study genes empty": (
        _both(_write("genes.txt", "\n"), _study(*GENES)),
        ("genes.txt", "empty"),
    ),
}


def test_the_sound_study_is_sound(sound: Path) -> None:
    report = check(sound)
    assert report.runnable == 2
    assert (report.files["dropped"] == 0).all()


def test_the_catalogue_is_large() -> None:
    assert len(BROKEN) >= 80


@pytest.mark.parametrize("case", BROKEN)
def test_broken(sound: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message of three parts, without NaN and traceback; nothing is written beside the inputs."""
    monkeypatch.chdir(sound.parent)
    monkeypatch.setattr("bayestwas.io.tables._ALWAYS", 1 << 20)  # bombs of the tests are small
    spoil, parts = BROKEN[case]
    spoil(sound.parent)
    before = sorted(file.name for file in sound.parent.iterdir())
    with pytest.raises(BayestwasError) as error:
        check(sound)
    message = str(error.value)
    for part in parts:
        assert part in message
    assert error.value.rule
    assert error.value.remedy
    assert not re.search(r"\bnan\b|Traceback|object at 0x", message)
    assert sorted(file.name for file in sound.parent.iterdir()) == before


def test_the_harmful_array_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its case in the catalogue would show nothing."""
    monkeypatch.chdir(tmp_path)
    os.close(pickle.loads(pickle.dumps(_Harmful())))
    assert (tmp_path / "HARMED").is_file()
