"""eQTL summary statistics: every layout says the same; a real table of the eQTL Catalogue. Else simulated."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayestwas.errors import InputError
from bayestwas.io.eqtl import read_eqtl

DATA = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
RBMS1 = DATA / "lymphocyte_rbms1_coloc"
N, Q = 120, 3
TSS = {"g1": 5_000, "g2": 9_000}


@pytest.fixture(scope="module")
def individual() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Regressions of two genes on 8 variants beside Q covariates, one variant at a time; and the partial
    correlation of each by residuals."""
    rng = np.random.default_rng(4)
    position = 1_000 * np.arange(1, 9)
    dosage = rng.binomial(2, 0.4, (8, N)).astype(float)
    covariates = np.vstack([np.ones(N), rng.normal(size=(Q, N))])
    projector = np.eye(N) - np.linalg.pinv(covariates) @ covariates
    rows, truth = [], []
    for gene, tss in TSS.items():
        y = 0.5 * dosage[2] + covariates[1] + rng.normal(size=N)
        for j, x in enumerate(dosage):
            design = np.vstack([x, covariates])
            beta, rss = np.linalg.lstsq(design.T, y, rcond=None)[:2]
            variance = rss[0] / (N - Q - 2) * np.linalg.inv(design @ design.T)[0, 0]
            error = np.sqrt(variance)
            p = 2 * stats.t.sf(abs(beta[0]) / error, N - Q - 2)
            rows.append((gene, position[j], tss, beta[0], error, p))
            truth.append(np.corrcoef(projector @ x, projector @ y)[0, 1])
    table = pd.DataFrame(rows, columns=["gene", "position", "tss", "beta", "se", "p"])
    return table, pd.Series(truth)


def _variant(table: pd.DataFrame) -> pd.Series:
    return "chr1_" + table["position"].astype(str) + "_A_G_b38"


def catalogue(folder: Path, t: pd.DataFrame) -> Path:
    out = pd.DataFrame(
        {
            "molecular_trait_id": t["gene"], "chromosome": "1", "position": t["position"], "ref": "A",
            "alt": "G", "variant": "chr1_" + t["position"].astype(str) + "_A_G", "ma_samples": 60,
            "ac": 240, "an": 96,
            "maf": 0.4, "pvalue": t["p"], "beta": t["beta"], "se": t["se"], "type": "SNP", "rsid": "rs1",
        }
    )  # fmt: skip
    again = out.iloc[:3].assign(rsid="rs2")  # the catalogue repeats variants with several rs numbers
    pd.concat([out, again]).to_csv(folder / "c.tsv.gz", sep="\t", index=False)
    return folder / "c.tsv.gz"


def _gtex(t: pd.DataFrame, gene: str, distance: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            gene: t["gene"], "variant_id": _variant(t), distance: t["position"] - t["tss"], "ma_samples": 60,
            "ma_count": 70, "maf": 0.4, "pval_nominal": t["p"], "slope": t["beta"], "slope_se": t["se"],
        }
    )  # fmt: skip


def gtex_text(folder: Path, t: pd.DataFrame) -> Path:
    _gtex(t, "gene_id", "tss_distance").to_csv(folder / "g.txt.gz", sep="\t", index=False)
    return folder / "g.txt.gz"


def gtex_significant(folder: Path, t: pd.DataFrame) -> Path:
    table = _gtex(t, "gene_id", "tss_distance").assign(pval_nominal_threshold=1e-4, pval_beta=1e-9)
    table.to_csv(folder / "s.txt", sep="\t", index=False)
    return folder / "s.txt"


def gtex_parquet(folder: Path, t: pd.DataFrame) -> Path:
    _gtex(t, "phenotype_id", "tss_distance").to_parquet(folder / "g.parquet")
    return folder / "g.parquet"


def tensorqtl(folder: Path, t: pd.DataFrame) -> Path:
    _gtex(t, "phenotype_id", "start_distance").rename(columns={"maf": "af"}).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def fastqtl(folder: Path, t: pd.DataFrame) -> Path:
    columns = ["gene_id", "variant_id", "tss_distance", "pval_nominal", "slope", "slope_se"]
    table = _gtex(t, "gene_id", "tss_distance")[columns]
    table.to_csv(folder / "f.txt.gz", sep=" ", index=False, header=False)
    return folder / "f.txt.gz"


def fastqtl_without_errors(folder: Path, t: pd.DataFrame) -> Path:
    columns = ["gene_id", "variant_id", "tss_distance", "pval_nominal", "slope"]
    _gtex(t, "gene_id", "tss_distance")[columns].to_csv(folder / "p.txt", sep=" ", index=False, header=False)
    return folder / "p.txt"


LAYOUTS: dict[str, Callable[[Path, pd.DataFrame], Path]] = {
    f.__name__: f
    for f in (
        catalogue, gtex_text, gtex_significant, gtex_parquet, tensorqtl, fastqtl, fastqtl_without_errors,
    )
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_partial_correlations(
    tmp_path: Path, individual: tuple[pd.DataFrame, pd.Series], layout: str
) -> None:
    table, truth = individual
    panel = read_eqtl(LAYOUTS[layout](tmp_path, table), "liver", "EUR", N, covariates=Q)
    weights = panel.weights
    assert panel.n == N - Q
    # an identity of least squares; the numbers are written in full. A p-value near 1e-12 has lost 4 digits
    np.testing.assert_allclose(weights.table["weight"], truth, rtol=0, atol=1e-9)
    assert weights.table["gene"].tolist() == table["gene"].tolist()
    assert weights.table["position"].tolist() == table["position"].tolist()
    assert set(weights.table["effect_allele"]) == {"G"}
    assert set(weights.table["chromosome"]) == {"1"}
    middle = {"g1": 4_500, "g2": 4_500}  # the catalogue has no distances
    assert weights.genes["tss"].to_dict() == (middle if layout == "catalogue" else TSS)
    told = {"catalogue": 0.4, "tensorqtl": 0.4}.get(layout, np.nan)  # alt; the others give the minor one
    np.testing.assert_array_equal(weights.table["frequency"], told)
    assert any("significant pairs only" in note for note in weights.notes) == (layout == "gtex_significant")


def test_blocks_and_rows_that_cannot_be_used(
    tmp_path: Path, individual: tuple[pd.DataFrame, pd.Series]
) -> None:
    table = individual[0].copy()
    table.loc[3, "se"] = np.nan
    blocks = pd.DataFrame({"block": ["b"], "chromosome": ["1"], "start": [1_500], "end": [4_000]})
    panel = read_eqtl(catalogue(tmp_path, table), "liver", "EUR", N, blocks=blocks)
    assert panel.weights.table["position"].tolist() == [2_000, 3_000, 2_000, 3_000, 4_000]
    assert panel.weights.genes["tss"].to_dict() == {"g1": 4_500, "g2": 4_500}  # of all rows
    assert panel.weights.notes == (
        "c.tsv.gz: 1 rows without estimate, or without position and alleles, are left out",
    )


def test_real_catalogue_table() -> None:
    """BLUEPRINT T cells: the lead variant of RBMS1 lies in its published credible set."""
    if not RBMS1.is_dir():
        pytest.skip(f"{RBMS1} is absent")
    file = RBMS1 / "BLUEPRINT_PE.T-cell_ge.nominal.sorted.tsv.gz"
    panel = read_eqtl(file, "T-cell", "EUR", 167)
    source = pd.read_csv(file, sep="\t")
    assert set(panel.weights.genes.index) == set(source["molecular_trait_id"])
    distinct = source.drop_duplicates(["molecular_trait_id", "variant"])
    assert len(panel.weights.table) == len(distinct)
    t = distinct["beta"] / distinct["se"]
    key = ["gene", "position", "other_allele", "effect_allele"]
    known = distinct.assign(r=t / np.sqrt(t**2 + 165)).rename(
        columns={"molecular_trait_id": "gene", "ref": "other_allele", "alt": "effect_allele"}
    )
    both = panel.weights.table.set_index(key)["weight"].to_frame().join(known.set_index(key)["r"])
    np.testing.assert_allclose(both["weight"], both["r"], rtol=0, atol=1e-12)
    mine = panel.weights.table[panel.weights.table["gene"] == "ENSG00000153250"]
    lead = mine.iloc[int(mine["weight"].abs().to_numpy().argmax())]
    published = pd.read_csv(RBMS1 / "RBMS1_credible_set.tsv", sep="\t")
    assert int(lead["position"]) in set(published["pos"])


def _spoiled(case: str, folder: Path, table: pd.DataFrame) -> Path:
    file = gtex_text(folder, table)
    held = pd.read_csv(file, sep="\t")
    change: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "columns": lambda t: t.rename(columns={"slope": "b"}),
        "credible sets": lambda t: t.assign(cs_id="L1", pip=0.5).drop(columns="slope"),
        "Bayes factors": lambda t: t.assign(lbf_variable1=1.0).drop(columns="slope"),
        "error of zero": lambda t: t.assign(slope_se=0.0),
        "text": lambda t: t.astype({"slope": object}).replace({"slope": {t["slope"][2]: "high"}}),
        "rs numbers": lambda t: t.assign(variant_id="rs" + t.index.astype(str)),
        "two estimates": lambda t: pd.concat([t, t.iloc[:1].assign(slope=9.0)]),
    }
    change[case](held).to_csv(file, sep="\t", index=False)
    return file


BAD = {
    "columns": ("has the columns gene_id, variant_id", "gene_id pval_nominal slope slope_se"),
    "credible sets": ("holds credible sets", "nominal"),
    "Bayes factors": ("Bayes factors", "nominal"),
    "error of zero": ("row 1: slope_se is 0", "above zero"),
    "text": ("a column of numbers holds text", "slope"),
    "rs numbers": ("no usable row inside the blocks", "chr_pos_ref_alt"),
    "two estimates": ("occurs more than once in the model of g1", "one weight per variant"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tmp_path: Path, individual: tuple[pd.DataFrame, pd.Series], case: str) -> None:
    file = _spoiled(case, tmp_path, individual[0])
    given, rest = BAD[case]
    with pytest.raises(InputError) as error:
        read_eqtl(file, "liver", "EUR", N)
    assert file.name in error.value.given
    assert given in error.value.given
    assert rest in error.value.rule + error.value.remedy


def test_more_covariates_than_people(tmp_path: Path, individual: tuple[pd.DataFrame, pd.Series]) -> None:
    with pytest.raises(InputError, match="n = 120 and 119 covariates"):
        read_eqtl(gtex_text(tmp_path, individual[0]), "liver", "EUR", N, covariates=119)
