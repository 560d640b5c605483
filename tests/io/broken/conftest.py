"""A small sound study in a folder, for tests that break it: 24 variants, 30 people, 2 genes. Simulated."""

from __future__ import annotations

from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest

P, PEOPLE = 24, 30
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
context = "LCL"
ancestry = "EUR"
genotypes = "EUR"
phenotypes = "lcl.bed"
covariates = "cov.txt"
"""


def write_sound(folder: Path) -> Path:
    """Write the study into `folder`; returns the study file."""
    rng = np.random.default_rng(8)
    people = [f"P{i}" for i in range(PEOPLE)]
    position = 1000 * (1 + np.arange(P))
    dosage = rng.binomial(2, 0.3, (PEOPLE, P)).astype(np.int8)
    properties = {"fid": people, "iid": people, "chromosome": ["20"] * P, "sid": [f"rs{j}" for j in range(P)]}
    properties |= {"bp_position": position, "allele_1": ["A"] * P, "allele_2": ["G"] * P}
    bed_reader.to_bed(folder / "EUR.bed", dosage, properties=properties, num_threads=1)
    gwas = pd.DataFrame({"chromosome": "20", "base_pair_location": position, "effect_allele": "A"})
    gwas["other_allele"] = "G"
    gwas["beta"], gwas["standard_error"] = rng.normal(0, 0.2, P).round(4), 0.1
    gwas["effect_allele_frequency"] = 0.3
    gwas["rsid"], gwas["n"] = [f"rs{j}" for j in range(P)], 5000
    gwas.to_csv(folder / "gwas.tsv", sep="\t", index=False)
    place = {"#chr": "20", "start": [4999, 7999], "end": [5000, 8000], "gene_id": ["G1", "G2"]}
    values = pd.DataFrame(rng.standard_normal((2, PEOPLE)).round(4), columns=people)
    pd.concat([pd.DataFrame(place), values], axis=1).to_csv(folder / "lcl.bed", sep="\t", index=False)
    covariates = pd.DataFrame([["age", *range(20, 20 + PEOPLE)]], columns=["id", *people])
    covariates.to_csv(folder / "cov.txt", sep="\t", index=False)
    (folder / "blocks.bed").write_text("20\t0\t12000\tb1\n20\t12000\t30000\tb2\n")
    ids = np.array([f"20:{p}:G:A" for p in position])
    np.savez(folder / "ld.npz", ld=np.corrcoef(dosage.T.astype(float)), variant_id=ids)
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """The study file of a sound study."""
    return write_sound(tmp_path)
