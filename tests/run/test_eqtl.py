"""Weights from eQTL summary statistics with in-sample LD are those from the individuals. Simulated."""

from __future__ import annotations

import shutil
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest

from bayestwas.errors import BayestwasError
from bayestwas.fit.gene_trait import fit_genes
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import fit_weights
from bayestwas.harmonise.align import harmonise
from bayestwas.io.plink import read_bim
from bayestwas.run.null import run_null
from bayestwas.run.study import read_study

HEAD = """name = "summaries"
build = "GRCh38"
simulated = true
[blocks]
path = "blocks.bed"
"""
SETTINGS = Settings(draws=32, max_draws=32)


def _table(folder: Path, ancestry: str, turn: bool) -> int:
    """Marginal regressions of every gene of blood on every variant, in the layout of GTEx; every third
    variant has its alleles exchanged where `turn`. Returns the number of people."""
    bed = pd.read_csv(folder / f"expression.blood.{ancestry}.bed.gz", sep="\t")
    variants = read_bim(folder / f"donors.{ancestry}.bim")
    fam = pd.read_csv(folder / f"donors.{ancestry}.fam", sep=r"\s+", header=None)
    at = pd.Index(fam[1]).get_indexer(bed.columns[4:])
    dosage = bed_reader.open_bed(str(folder / f"donors.{ancestry}.bed"), num_threads=1).read(
        dtype="float64", num_threads=1
    )[at]
    people = len(at)
    count = dosage.sum(axis=0)
    common = np.minimum(count, 2 * people - count) >= SETTINGS.min_allele_count  # as for individuals
    x = dosage - dosage.mean(axis=0)
    rows = []
    for _, line in bed.iterrows():
        y = line.iloc[4:].to_numpy(dtype=float)
        y = y - y.mean()
        for j in np.flatnonzero(common):
            square = x[:, j] @ x[:, j]
            beta = x[:, j] @ y / square
            error = np.sqrt(((y - beta * x[:, j]) ** 2).sum() / (people - 2) / square)
            one = variants.iloc[j]
            alleles, sign = (one["other_allele"], one["effect_allele"]), 1
            palindromic = set(alleles) in ({"A", "T"}, {"C", "G"})  # without a frequency, of no known strand
            if turn and j % 3 == 0 and not palindromic:
                alleles, sign = alleles[::-1], -1
            name = f"chr{one['chromosome']}_{one['position']}_{alleles[0]}_{alleles[1]}_b38"
            rows.append((line.iloc[3], name, one["position"] - line.iloc[2], 0.5, sign * beta, error))
    columns = ["gene_id", "variant_id", "tss_distance", "pval_nominal", "slope", "slope_se"]
    table = pd.DataFrame(rows, columns=columns).assign(ma_samples=9, ma_count=9, maf=0.1)
    table.to_csv(folder / f"eqtl.{ancestry}.txt.gz", sep="\t", index=False)
    return people


@pytest.fixture(scope="module")
def studies(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same people as panels, and as summary statistics with their own LD."""
    folder = tmp_path_factory.mktemp("eqtl") / "study"
    shutil.copytree(tiny_study.parent, folder)
    shared, panels, summaries = HEAD, "", ""
    for ancestry in ("EUR", "AFR"):
        people = _table(folder, ancestry, turn=True)
        shared += f'[[gwas]]\nancestry = "{ancestry}"\npath = "gwas.{ancestry}.tsv.gz"\n'
        shared += f'[[ld]]\nancestry = "{ancestry}"\ngenotypes = "donors.{ancestry}"\n'
        head = f'context = "blood"\nancestry = "{ancestry}"\n'
        panels += f'[[expression]]\n{head}genotypes = "donors.{ancestry}"\n'
        panels += f'phenotypes = "expression.blood.{ancestry}.bed.gz"\n'
        summaries += f'[[eqtl]]\n{head}path = "eqtl.{ancestry}.txt.gz"\nn = {people}\n'
    (folder / "panels.toml").write_text(shared + panels)
    (folder / "summaries.toml").write_text(shared + summaries)
    return folder / "panels.toml", folder / "summaries.toml"


def test_weights_and_pips_are_those_of_the_individuals(studies: tuple[Path, Path]) -> None:
    """X'y and X'X are the same numbers; donors are shared within an ancestry only."""
    individual, summary = (harmonise(read_study(path)) for path in studies)
    assert summary.genes["gene"].tolist() == individual.genes["gene"].tolist()
    assert summary.genes["tss"].tolist() == individual.genes["tss"].tolist()
    assert summary.variants.index.equals(individual.variants.index)
    assert set(summary.genes["status"]) == {"ok"}
    block = str(individual.blocks["block"].iloc[0])
    one, two = (h.locus(block) for h in (individual, summary))
    mine, theirs = fit_weights(one, settings=SETTINGS), fit_weights(two, settings=SETTINGS)
    for name in ("weight_mean", "weight_sd", "pip"):
        # stored in single precision; the fit stops within 1e-3 of convergence at the same sweep
        np.testing.assert_allclose(
            theirs["marginals"][name].values, mine["marginals"][name].values, rtol=1e-4, atol=1e-6
        )
    assert float(np.abs(mine["marginals"]["weight_mean"]).max()) > 0.1
    pips = [
        fit_genes(locus, weights, settings=SETTINGS, seed=1)["marginals"]["pip"].values
        for locus, weights in ((one, mine), (two, theirs))
    ]
    np.testing.assert_allclose(pips[0], pips[1], rtol=0, atol=1e-3)


def test_absent_variants_are_absent(studies: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(studies[1].parent, tmp_path / "s")
    file = tmp_path / "s" / "eqtl.EUR.txt.gz"
    table = pd.read_csv(file, sep="\t")
    gone = table["variant_id"].iloc[0]
    table[table["variant_id"] != gone].to_csv(file, sep="\t", index=False)
    h = harmonise(read_study(tmp_path / "s" / "summaries.toml"))
    locus = h.locus(str(h.blocks["block"].iloc[0]))
    position = int(gone.split("_")[1])
    there = np.isfinite(locus["eqtl/blood/EUR"].dataset["correlation"].values)
    at = locus.dataset["position"].values == position
    assert not there[:, at].any()
    assert there[:, ~at].any()
    weights = fit_weights(locus, settings=SETTINGS)
    assert np.isfinite(weights["marginals"]["weight_mean"].values).all()


def test_without_blocks_the_windows_are_those_of_the_genes(studies: tuple[Path, Path]) -> None:
    text = studies[1].read_text().replace('[blocks]\npath = "blocks.bed"\n', "")
    other = studies[1].with_name("windows.toml")
    other.write_text(text)
    h = harmonise(read_study(other))
    assert (h.genes["block"] != "").all()
    assert len(h.genes) == len(harmonise(read_study(studies[1])).genes)


BAD = {
    "ancestry": (
        'context = "blood"\nancestry = "EUR"', 'context = "blood"\nancestry = "EAS"', "without a GWAS",
    ),
    "twice": ('"AFR"\npath = "eqtl.AFR', '"EUR"\npath = "eqtl.AFR', "are both blood EUR"),
    "n": ("n = ", "m = ", "unknown key 'm'"),
    "file": ("eqtl.EUR.txt.gz", "eqtl.none.txt.gz", "there is no file"),
    "panel": ("[[eqtl]]", '[[expression]]\ncontext = "blood"\nancestry = "EUR"\ngenotypes = "donors.EUR"\n'
              'phenotypes = "expression.blood.EUR.bed.gz"\n[[eqtl]]', "an entry of [[expression]] too"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(studies: tuple[Path, Path], case: str) -> None:
    old, new, message = BAD[case]
    text = studies[1].read_text()
    assert old in text
    toml = studies[1].with_name("bad.toml")
    toml.write_text(text.replace(old, new, 1))
    with pytest.raises(BayestwasError) as error:
        read_study(toml)
    assert message in str(error.value)


def test_donors_of_summaries_cannot_be_permuted(studies: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BayestwasError, match="--kind parametric"):
        run_null(studies[1], tmp_path / "null", n=1, progress=False)
