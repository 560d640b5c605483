"""Colocalization from tables alone: forms of summary statistics, and a locus with a known answer."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayestwas import SummaryTrait, colocalize_summaries
from bayestwas.engine.coloc import ColocPriors
from bayestwas.errors import InputError, SettingsError

FOLDER = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
LOCUS = FOLDER / "lymphocyte_rbms1_coloc"
DONORS, PEOPLE = 167, 171_643


def table(seed: int = 1, peak: int = 7, m: int = 50) -> pd.DataFrame:
    """beta, se, z, n, maf of a standardised trait with an effect at variant number `peak`."""
    rng = np.random.default_rng(seed)
    maf, n = rng.uniform(0.05, 0.5, m), 4_000.0
    z = rng.normal(0, 1, m)
    z[peak] += 9
    se = 1 / np.sqrt(2 * n * maf * (1 - maf))
    variant = [f"1:{i}:A:G" for i in range(m)]
    return pd.DataFrame({"variant": variant, "beta": z * se, "se": se, "z": z, "n": n, "maf": maf})


def test_both_forms_of_statistics_and_units_of_the_trait_give_one_answer() -> None:
    full, other = table(), SummaryTrait(table(2)[["variant", "z", "n", "maf"]])
    rows = [
        colocalize_summaries(SummaryTrait(given, sd=sd), other)
        for given, sd in (
            (full[["variant", "beta", "se"]], 1.0),
            (full[["variant", "beta", "se", "n", "maf"]], None),
            (full[["variant", "z", "n", "maf"]], None),
            (full.assign(beta=full["beta"] * 12, se=full["se"] * 12)[["variant", "beta", "se"]], 12.0),
        )
    ]
    for row in rows:
        assert row["h4"].item() > 0.9
        assert row["variant"].item() == "1:7:A:G"
        assert row["n_variants"].item() == 50
        pd.testing.assert_frame_equal(row, rows[0], rtol=1e-9)
    apart = colocalize_summaries(SummaryTrait(full, sd=1.0), SummaryTrait(table(2, peak=30), sd=1.0))
    assert apart["h3"].item() > 0.9


def test_a_case_control_trait_has_log_odds_and_its_share_of_cases() -> None:
    z, share = table(3)[["variant", "z", "n", "maf"]], 0.2
    spread = 1 / np.sqrt(2 * z["n"] * z["maf"] * (1 - z["maf"]) * share * (1 - share))
    odds = pd.DataFrame({"variant": z["variant"], "beta": z["z"] * spread, "se": spread})
    other = SummaryTrait(table(), sd=1.0)
    rows = [colocalize_summaries(other, SummaryTrait(given, cases=share)) for given in (z, odds)]
    pd.testing.assert_frame_equal(*rows, rtol=1e-9)
    with pytest.raises(SettingsError, match="share of cases"):
        colocalize_summaries(other, SummaryTrait(z, cases=20.0))


def test_variants_that_do_not_count_and_groups_without_any() -> None:
    first = table().assign(gene="A")
    first.loc[3, "se"] = np.nan
    elsewhere = table().assign(gene="B", variant=[f"2:{i}:A:G" for i in range(50)])
    both = pd.concat([elsewhere, first, first.iloc[:5]])  # repeated rows that agree count once
    found = colocalize_summaries(SummaryTrait(both, sd=1.0), SummaryTrait(table(2), sd=1.0), by="gene")
    assert found["gene"].tolist() == ["A", "B"]
    assert found["n_variants"].tolist() == [49, 0]
    assert found["status"].tolist() == ["ok", "skipped"]
    assert found["reason"].tolist() == ["", "no usable variant in common"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (table().drop(columns="variant"), "no column variant"),
        (table().drop(columns=["n"]), "no column n"),
        (table()[["variant", "z"]], "no column n, maf"),
        (pd.concat([table(), table(5)]), "rows that disagree"),
    ],
)
def test_what_is_missing_is_said(wrong: pd.DataFrame, told: str) -> None:
    with pytest.raises(InputError, match=told):
        colocalize_summaries(SummaryTrait(wrong), SummaryTrait(table(2), sd=1.0))


def test_p12_needed_is_where_h4_is_a_half() -> None:
    traits = SummaryTrait(table(), sd=1.0), SummaryTrait(table(2, peak=8), sd=1.0)
    needed = colocalize_summaries(*traits)["p12_needed"].item()
    again = colocalize_summaries(*traits, priors=ColocPriors(1e-4, 1e-4, needed))
    assert again["h4"].item() == pytest.approx(0.5)


@pytest.fixture(scope="module")
def lymphocytes() -> pd.DataFrame:
    """T-cell genes against lymphocyte count: eQTL Catalogue and GWAS-VCF, no LD."""
    if not LOCUS.is_dir():
        pytest.skip(f"the lymphocyte locus is not at {LOCUS}")
    eqtl = pd.read_csv(LOCUS / "BLUEPRINT_PE.T-cell_ge.nominal.sorted.tsv.gz", sep="\t")
    identifier = ["chromosome", "position", "ref", "alt"]
    eqtl["variant"] = eqtl[identifier].astype(str).agg(":".join, axis=1)
    vcf = pd.read_csv(LOCUS / "LC_GWAS_subset.GRCh38.sorted.vcf.gz", sep="\t", comment="#", header=None)
    numbers = vcf[9].str.split(":", expand=True)
    gwas = pd.DataFrame(
        {
            "variant": vcf[[0, 1, 3, 4]].astype(str).agg(":".join, axis=1),
            "beta": numbers[0].astype(float),
            "se": numbers[1].astype(float),
            "maf": np.minimum(numbers[3].astype(float), 1 - numbers[3].astype(float)),
            "n": PEOPLE,
        }
    )
    return colocalize_summaries(
        SummaryTrait(eqtl.assign(n=DONORS)), SummaryTrait(gwas), by="gene_id"
    ).set_index("gene_id")


def test_a_real_locus_with_a_known_answer(lymphocytes: pd.DataFrame) -> None:
    """RBMS1 shares its variant with lymphocyte count (0.98 by coloc.abf with default priors, to 0.02);
    ENSG00000241399 has another one."""
    assert len(lymphocytes) >= 12
    assert lymphocytes.loc["ENSG00000153250", "h4"] == pytest.approx(0.98, abs=0.02)
    assert lymphocytes.loc["ENSG00000241399", "h3"] > 0.9
    assert lymphocytes.loc["ENSG00000153250", "p12_needed"] < 1e-6
