"""Imputation quality: its definition, and what is left out of a study for it. Simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bayestwas.data.studies import Genotypes, Panel, genotypes_from_array
from bayestwas.errors import InputError
from bayestwas.fit.panels import gwas_arrays
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.imputation import imputation_quality, variance_ratio


def test_the_ratio_is_its_definition() -> None:
    """Against the formula written out for one variant at a time, missing people left out."""
    rng = np.random.default_rng(2)
    dosage = rng.uniform(0, 2, (6, 30)).astype(np.float32)
    dosage[3, 4] = -1
    expected = []
    for row in dosage:
        known = row[row >= 0].astype(float)
        f = known.mean() / 2
        expected.append(min(known.var() / (2 * f * (1 - f)), 1.0))
    np.testing.assert_allclose(variance_ratio(dosage), expected, rtol=1e-12)


def test_the_ratio_is_the_squared_correlation_with_the_genotype() -> None:
    """Of expected copies given a noisy reading of each allele, whose r2 is 0.81 by construction: within 5
    standard errors, at 20,000 people."""
    rng = np.random.default_rng(5)
    n, f, error = 20_000, 0.3, 0.03
    allele = rng.random((2, n)) < f
    read = np.where(rng.random((2, n)) < error, ~allele, allele)
    told = {True: f * (1 - error), False: f * error}
    given = {r: told[r] / (told[r] + (1 - f) * (error if r else 1 - error)) for r in (True, False)}
    dosage = np.where(read, given[True], given[False]).sum(axis=0)
    r2 = np.corrcoef(dosage, allele.sum(axis=0))[0, 1] ** 2
    # relative standard errors of a variance and of a squared correlation are about sqrt(2 / n) and smaller
    assert variance_ratio(dosage[None])[0] == pytest.approx(r2, rel=5 * np.sqrt(2 / n))


def test_calls_are_certain_and_what_does_not_vary_says_nothing() -> None:
    whole = np.array([[0, 1, 2, 0, -1], [1, 1, 1, 1, 1], [-1, -1, -1, -1, -1], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(variance_ratio(whole), [1, np.nan, np.nan, np.nan])


def test_the_file_comes_before_its_dosages(draft: Any) -> None:
    """Where it says nothing of a variant the dosages do, and calls without imputation are not judged."""
    table, samples = draft.tables["ld.EUR"], draft.samples["ld.EUR"]
    half = np.where(draft.dosage["ld.EUR"] < 0, -1.0, draft.dosage["ld.EUR"] / 2)
    info = np.full(len(table), np.nan)
    info[3] = 0.11
    genotypes = replace(genotypes_from_array("x", table, samples, half), info=info)
    assert genotypes.imputed
    rows = np.array([3, 8, 1])
    np.testing.assert_allclose(imputation_quality(genotypes, rows), [0.11, *variance_ratio(half[[8, 1]])])
    calls = genotypes_from_array("x", table, samples, draft.dosage["ld.EUR"])
    assert np.isnan(imputation_quality(calls, rows)).all()
    np.testing.assert_array_equal(imputation_quality(replace(calls, info=info), rows), [0.11, np.nan, np.nan])


@pytest.fixture
def imputed(draft: Any) -> Genotypes:
    """The LD reference of EUR as dosages: variant 4 hardly imputed, 6 half, the others all but certain."""
    dosage = np.where(draft.dosage["ld.EUR"] < 0, 0, draft.dosage["ld.EUR"]).astype(float)
    certain = np.full((len(dosage), 1), 0.99)
    certain[4], certain[6] = 0.1, 0.75
    dosage = certain * dosage + (1 - certain) * dosage.mean(axis=1, keepdims=True)
    return genotypes_from_array("ld.EUR", draft.tables["ld.EUR"], draft.samples["ld.EUR"], dosage)


def test_poorly_imputed_variants_are_left_out_with_a_reason(draft: Any, imputed: Genotypes) -> None:
    ld = draft.build().ld | {"EUR": imputed}
    ledger = harmonise(draft.build(ld=ld)).ledger
    mine = ledger[(ledger["file"] == "ld.EUR") & ledger["reason"].str.startswith("imputation")]
    assert mine["source_id"].tolist() == ["rs4"]
    assert set(mine["reason"]) == {"imputation INFO below 0.3"}
    strict = harmonise(draft.build(ld=ld, min_info=0.9)).ledger
    lost = strict.loc[strict["reason"] == "imputation INFO below 0.9", "source_id"]
    assert {"rs4", "rs6"} <= set(lost)
    free = harmonise(draft.build(ld=ld, min_info=0.0)).ledger
    assert not free["reason"].str.startswith("imputation").any()
    with pytest.raises(InputError, match=r"min_info = 1\.5"):
        draft.build(min_info=1.5)


def test_dosages_reach_the_locus_as_they_are(draft: Any, imputed: Genotypes) -> None:
    """Flipped where the file counts the other allele; their LD is the correlation of the dosages."""
    turned = draft.tables["ld.EUR"].copy()
    names = ["effect_allele", "other_allele"]
    turned.loc[10:20, names] = turned.loc[10:20, names[::-1]].to_numpy()
    dosage = imputed.load(np.arange(len(turned)))
    dosage[10:21] = 2 - dosage[10:21]
    file = genotypes_from_array("ld.EUR", turned, draft.samples["ld.EUR"], dosage)
    study = draft.build(ld=draft.build().ld | {"EUR": file}, min_info=0.0)
    study = replace(
        study, panels=tuple(Panel("LCL", p.ancestry, p.genotypes, p.expression) for p in study.panels)
    )
    harmonised = harmonise(study)
    locus = harmonised.locus(harmonised.blocks["block"].iloc[0])
    held = locus["ld/EUR"].dataset["dosage"].transpose("variant", ...).values
    assert held.dtype == np.float32
    expected = imputed.load(np.arange(len(turned)))
    # 2 - (2 - x) in single precision
    np.testing.assert_allclose(held, expected[harmonised.rows["ld.EUR"]], rtol=0, atol=4e-7)
    ancestries, *_, ld = gwas_arrays(locus)
    mine = ld[ancestries.index("EUR")]
    np.testing.assert_allclose(mine.gram(np.arange(len(held))), np.corrcoef(held.astype(float)), atol=1e-12)
    assert mine.n_ref == held.shape[1]
