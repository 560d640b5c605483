"""Studies of finished weights: with LD of variants, with covariances only, and on real data."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayestwas.errors import StudyFileError
from bayestwas.harmonise.align import harmonise
from bayestwas.io.rfiles import read_r
from bayestwas.io.weights import read_predictdb
from bayestwas.run.pipeline import run_study
from bayestwas.run.study import read_study

DATA = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
LDL = DATA / "ldl_chr16_gtex_liver_adipose"
HPR = "ENSG00000261701.6"
P, PEOPLE = 12, 400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve variants; models of g1 (variants 0-2), g2 (2-4) and g3 (8-9); g1 drives the trait. Simulated."""
    rng = np.random.default_rng(11)
    dosage = rng.binomial(2, 0.3, size=(PEOPLE, P)).astype(float)
    dosage[:, 3] = np.where(rng.random(PEOPLE) < 0.7, dosage[:, 2], dosage[:, 3])
    covariance = np.cov(dosage.T)
    sd = np.sqrt(covariance.diagonal())
    models = {"g1": {0: 0.3, 1: -0.2, 2: 0.2}, "g2": {2: 0.3, 3: 0.2, 4: 0.1}, "g3": {8: 0.3, 9: 0.3}}
    ids = [f"chr1_{1000 * (i + 1)}_A_G_b38" for i in range(P)]
    rows = [(g, f"rs{i}", ids[i], "A", "G", w) for g, model in models.items() for i, w in model.items()]
    table = pd.DataFrame(rows, columns=["gene", "rsid", "varID", "ref_allele", "eff_allele", "weight"])
    with sqlite3.connect(tmp_path / "liver.db") as base:
        table.to_sql("weights", base, index=False)
    base.close()
    lines = ["GENE RSID1 RSID2 VALUE"] + [
        f"{g} {ids[i]} {ids[j]} {float(covariance[i, j])!r}"
        for g, model in models.items() for i in model for j in model if i <= j
    ]  # fmt: skip
    (tmp_path / "liver.txt").write_text("\n".join(lines) + "\n")
    weight = np.zeros(P)
    for i, w in models["g1"].items():
        weight[i] = w * sd[i]
    r = covariance / np.outer(sd, sd)
    z = np.sqrt(50_000) * 0.06 * (r @ weight) / np.sqrt(weight @ r @ weight)
    alleles = [("G", "A") if i % 2 else ("A", "G") for i in range(P)]  # every other one counts A
    gwas = pd.DataFrame(
        {
            "chromosome": "1", "base_pair_location": 1000 * np.arange(1, P + 1),
            "effect_allele": [a[0] for a in alleles], "other_allele": [a[1] for a in alleles],
            "z": np.where(np.arange(P) % 2, z, -z), "n": 50_000,
        }
    )  # fmt: skip
    gwas.to_csv(tmp_path / "gwas.tsv", sep="\t", index=False)
    np.savez(tmp_path / "ld.npz", ld=r, variant_id=np.array(ids))
    head = 'name = "finished"\nbuild = "GRCh38"\nsimulated = true\n'
    gwas_entry = '[[gwas]]\nancestry = "EUR"\npath = "gwas.tsv"\n'
    weights = '[[weights]]\ncontext = "liver"\nancestry = "EUR"\npath = "liver.db"\n'
    weights += 'covariances = "liver.txt"\nn = 670\n'
    (tmp_path / "models.toml").write_text(head + gwas_entry + weights)
    ld = f'[[ld]]\nancestry = "EUR"\nmatrix = "ld.npz"\nn = {PEOPLE}\n'
    (tmp_path / "ld.toml").write_text(head + gwas_entry + ld + weights)
    (tmp_path / "no_n.toml").write_text(head + gwas_entry + weights.replace("n = 670\n", ""))
    return tmp_path


@pytest.mark.parametrize("study", ["models", "ld"])
def test_the_gene_behind_the_trait_is_found_and_statuses_say_what_it_rests_on(
    folder: Path, study: str
) -> None:
    summary = run_study(folder / f"{study}.toml", folder / "out", workers=1, progress=False)
    genes = pd.read_csv(folder / "out" / "genes.tsv", sep="\t").set_index("gene")
    assert summary.failed_blocks == summary.failed_genes == 0
    assert set(genes.index) == {"g1", "g2", "g3"}
    assert genes["pip"].idxmax() == "g1"
    assert np.isfinite(genes["pip"]).all()
    assert (genes["status"] == "warning").all()
    assert genes["reason"].str.contains("finished weights without uncertainty in liver/EUR").all()
    assert genes["reason"].str.contains("direct effects could not be modelled").all() == (study == "models")
    if study == "models":
        assert genes.loc["g1", "pip"] > 0.9
        assert (summary.result["marginals"].dataset["pip_direct"].values == 0).all()
    # z of the prediction is sqrt(n) gamma, whichever allele a file counts: it was made without noise
    assert genes.loc["g1", "twas_z"] == pytest.approx(np.sqrt(50_000) * 0.06, rel=1e-6)


def test_ld_of_models_is_that_of_the_covariances(folder: Path) -> None:
    harmonised = harmonise(read_study(folder / "models.toml"))
    locus = harmonised.locus(str(harmonised.blocks["block"].iloc[0]))
    position = locus.dataset["position"].values
    mine = locus["ld/EUR"].dataset["correlation"].values
    truth = np.load(folder / "ld.npz")["ld"]
    sign = np.where(locus.dataset["effect_allele"].values == "G", 1, -1)
    at = {int(where): i for i, where in enumerate(position)}
    pairs = [(0, 1), (1, 2), (2, 3), (2, 4), (8, 9)]
    for i, j in pairs:
        a, b = at[1000 * (i + 1)], at[1000 * (j + 1)]
        assert mine[a, b] * sign[a] * sign[b] == pytest.approx(truth[i, j], abs=1e-8)


def test_a_study_without_ld_needs_n(folder: Path) -> None:
    with pytest.raises(StudyFileError, match="has no n, and there is no"):
        read_study(folder / "no_n.toml")


def test_ldl_a_run_without_snp_ld(tmp_path: Path) -> None:
    """HPR-liver drives its region in the stored run of cTWAS; the z of CHST4, TAT ... follow from it."""
    if not LDL.exists():
        pytest.skip(f"the real data are not at {LDL}")
    z = read_r(LDL / "LDL_example.ctwas_sumstats_res.RDS")["z_gene"].set_index("id")["z"]
    weights = read_predictdb(LDL / "expression_Liver.db").table
    weights = weights[(weights["chromosome"] == "16") & weights["position"].between(71_020_125, 72_901_251)]
    snps = read_r(LDL / "LDL_example.preprocessed.z_snp.RDS")
    columns = {"A1": "effect_allele", "A2": "other_allele", "id": "variant_id"}
    gwas = snps.rename(columns=columns).merge(
        weights[["rsid", "chromosome", "position"]].drop_duplicates(), left_on="variant_id", right_on="rsid"
    )
    gwas.drop(columns="rsid").assign(n=343_621).to_csv(tmp_path / "gwas.tsv", sep="\t", index=False)
    (tmp_path / "blocks.bed").write_text("16\t71020125\t72901251\n")
    (tmp_path / "study.toml").write_text(
        'name = "LDL"\nbuild = "GRCh38"\n[blocks]\npath = "blocks.bed"\n'
        '[[gwas]]\nancestry = "EUR"\npath = "gwas.tsv"\n'
        f'[[weights]]\ncontext = "liver"\nancestry = "EUR"\npath = "{LDL / "expression_Liver.db"}"\n'
        f'covariances = "{LDL / "expression_Liver.txt.gz"}"\nn = 670\n'
    )
    run_study(tmp_path / "study.toml", tmp_path / "out", genes=(HPR,), workers=1, progress=False)
    genes = pd.read_csv(tmp_path / "out" / "genes.tsv", sep="\t").set_index("gene")
    assert genes.loc[HPR, "pip"] > 0.95
    assert genes.loc[HPR, "pip"] == genes["pip"].max()
    assert genes["reason"].str.contains("direct effects could not be modelled").all()
    # GTEx covariances here, UK Biobank LD there; HPR's model is dominated by one variant
    assert genes.loc[HPR, "twas_z"] == pytest.approx(z[f"{HPR}|liver_expression"], abs=0.5)
