"""Sample swaps: found where they are, and not where donors are themselves. Simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from bayestwas.data.preparation import Preparation
from bayestwas.data.studies import (
    Panel,
    Study,
    expression_dataset,
    genotypes_from_array,
    gwas_dataset,
)
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.concordance import identity, log_likelihood, shrunk_covariance, suspected_swaps

GENES, EACH, DONORS, PEOPLE = 40, 5, 60, 80


def make_study(
    seed: int,
    share: float = 0.4,
    labels: list[int] | None = None,
    check: bool = True,
    stranger: int | None = None,
) -> Study:
    """40 genes with an eQTL each that explains `share`; donor i is person i, its expression that of
    `labels[i]` or, of the `stranger`, of nobody; 20 more people have genotypes only."""
    rng = np.random.default_rng(seed)
    p = GENES * EACH
    position = (
        1_000_000 + np.repeat(np.arange(GENES) * 300_000, EACH) + np.tile(np.arange(EACH) * 1000, GENES)
    )
    table = pd.DataFrame(
        {"chromosome": "7", "position": position, "variant_id": [f"rs{j}" for j in range(p)]}
    )
    table["effect_allele"], table["other_allele"] = "A", "G"
    dosage = rng.binomial(2, rng.uniform(0.2, 0.5, p)[:, None], (p, PEOPLE)).astype(np.int8)
    x = dosage[2::EACH, :DONORS].astype(float)
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    values = np.sqrt(share) * x + np.sqrt(1 - share) * rng.standard_normal((GENES, DONORS))
    values = values[:, labels] if labels is not None else values
    if stranger is not None:
        values[:, stranger] = rng.standard_normal(GENES)
    people = np.array([f"P{i}" for i in range(PEOPLE)])
    genotypes = genotypes_from_array("EUR", table, people, dosage)
    genes = pd.DataFrame(
        {"gene": [f"G{g}" for g in range(GENES)], "chromosome": "7", "tss": position[2::EACH]}
    )
    expression = expression_dataset("lcl.bed", genes, people[:DONORS], values)
    gwas = gwas_dataset("gwas", table.assign(z=rng.standard_normal(p), n=1000))
    panel = Panel("LCL", "EUR", genotypes, expression, preparation=Preparation(swap_check=check))
    return Study("swaps", "GRCh37", None, {"EUR": gwas}, {"EUR": genotypes}, (panel,))


def _pair(rng: np.random.Generator, genes: int, people: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Expression (genes, people) and what eQTLs that explain `share` predict of it."""
    predicted = np.sqrt(share) * rng.standard_normal((genes, people))
    return predicted + np.sqrt(1 - share) * rng.standard_normal((genes, people)), predicted


def test_the_likelihood_is_its_definition() -> None:
    """Person by person with scipy: rounding."""
    rng = np.random.default_rng(1)
    y, x, own = rng.standard_normal((7, 12)), rng.standard_normal((7, 15)), np.arange(3, 15)
    noise, whole = shrunk_covariance(y - x[:, own]), shrunk_covariance(y)
    expected = [
        [multivariate_normal.logpdf(y[:, i], x[:, j], noise) for j in range(15)]
        + [multivariate_normal.logpdf(y[:, i], np.zeros(7), whole)]
        for i in range(12)
    ]
    np.testing.assert_allclose(log_likelihood(y, x, own), expected, rtol=1e-11)


def test_the_shrunk_covariance_is_its_definition() -> None:
    """The share from sums over donors of matrices, as in the paper: rounding."""
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((5, 40)) + rng.standard_normal(40)) * np.arange(1, 6)[:, None]
    scale = np.sqrt((x**2).mean(axis=1, keepdims=True))
    rows = x / scale
    sample = rows @ rows.T / 40
    noise = sum(((np.outer(one, one) - sample) ** 2).sum() for one in rows.T) / 40**2
    share = min(noise / ((sample - np.eye(5)) ** 2).sum(), 1.0)
    expected = (share * np.eye(5) + (1 - share) * sample) * (scale @ scale.T)
    np.testing.assert_allclose(shrunk_covariance(x), expected, rtol=1e-12)
    assert 0 < share < 1


def test_swapped_donors_are_named() -> None:
    """Two that are exchanged, one whose expression is that of somebody else, and one of a stranger; all
    others are left alone. The same donors without the check: nothing is read."""
    labels = list(range(DONORS))
    labels[3], labels[9], labels[20] = 9, 3, 30
    harmonised = harmonise(make_study(2, share=0.6, labels=labels, stranger=7))
    told = harmonised.measured["sample_swaps"].iloc[0]
    assert set(told.split(": ")[1].split("; ")) == {
        "P3 fits P9",
        "P9 fits P3",
        "P20 fits P30",
        "P7 fits nobody",
    }
    notes = [note for note in harmonised.notes if "samples may be swapped" in note]
    assert len(notes) == 4
    assert notes[0].startswith("lcl.bed: the expression of P3 does not fit its genotypes (probability ")
    assert notes[0].endswith("most likely those of P9: samples may be swapped")
    row = harmonise(make_study(2, labels=labels, check=False)).measured.iloc[0]
    assert row["sample_swaps"] == "not looked for"
    assert (row["donors"], row["genes"], row["covariates"], row["hidden_factors"]) == (DONORS, GENES, 0, 0)


@pytest.mark.parametrize(("genes", "share"), [(20, 0.15), (40, 0.2), (100, 0.5)])
def test_probabilities_mean_what_they_say(genes: int, share: float) -> None:
    """4,000 donors of whom each is another with probability 0.005 and a stranger with 0.005: of all, and of
    those in the middle, as many are not themselves as the probabilities sum to, within 4 standard errors and
    a tenth for covariances that are estimated from 200 donors."""
    rng = np.random.default_rng(genes)
    told, true = [], []
    for _ in range(20):
        y, x = _pair(rng, genes, 220, share)
        kind = rng.choice(3, 200, p=[0.99, 0.005, 0.005])
        label = np.where(kind == 1, rng.integers(200, 220, 200), np.arange(200))
        z = np.where(kind == 2, rng.standard_normal((genes, 200)), y[:, label])
        own = np.arange(200)
        told.append(1 - identity(log_likelihood(z, x, own), own)[own, own])
        true.append(kind > 0)
    p, other = np.concatenate(told), np.concatenate(true)
    for among in (p >= 0, (p > 0.02) & (p < 0.98)):
        expected = p[among].sum()
        error = np.sqrt((p[among] * (1 - p[among])).sum())
        assert abs(other[among].sum() - expected) <= 4 * error + 0.1 * expected + 1e-3


def test_donors_that_are_themselves_are_not_named() -> None:
    """4,000 donors of whom none is somebody else, and genes that share hidden factors (correlations about
    0.5): by Markov's inequality the odds against itself of such a donor exceed 0.95 / 0.05 at prior odds of
    1 / 99 once in 1,881, so 2 are named in the mean at most; 8 is 4 standard deviations above."""
    rng = np.random.default_rng(4)
    count, own = 0, np.arange(200)
    for _ in range(20):
        y, x = _pair(rng, 60, 200, 0.3)
        hidden = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 200)) / np.sqrt(2)
        score = log_likelihood((y + hidden) / np.sqrt(2), x / np.sqrt(2), own)
        count += len(suspected_swaps(identity(score, own), own))
    assert count <= 8


def test_swaps_in_a_large_panel_are_named() -> None:
    """Two of 370 people, by 60 eQTLs of r2 0.3: though nobody, whose prior is 370 times that of one person,
    is a rival of the other, it is sure that neither is itself."""
    rng = np.random.default_rng(5)
    own = np.arange(370)
    y, x = _pair(rng, 60, 370, 0.3)
    y[:, [3, 9]] = y[:, [9, 3]]
    found = suspected_swaps(identity(log_likelihood(y, x, own), own), own)
    assert found[["donor", "resembles"]].to_numpy().tolist() == [[3, 9], [9, 3]]


def test_twins_are_not_named() -> None:
    """Two people with one genome fit either, so that the label decides; a third donor is clearly the
    fifth."""
    rng = np.random.default_rng(3)
    y, x = _pair(rng, 60, 30, 0.5)
    x[:, 7] = x[:, 4]
    y[:, [4, 7]] = x[:, [4, 7]] + np.sqrt(0.5) * rng.standard_normal((60, 2))
    own = np.arange(30)
    assert suspected_swaps(identity(log_likelihood(y, x, own), own), own).empty
    y[:, 2] = y[:, 5]
    found = suspected_swaps(identity(log_likelihood(y, x, own), own), own)
    assert found[["donor", "resembles"]].to_numpy().tolist() == [[2, 5]]


def test_without_eqtls_nothing_is_said() -> None:
    labels = list(np.random.default_rng(4).permutation(DONORS))
    harmonised = harmonise(make_study(5, share=0.0, labels=labels))
    assert harmonised.measured["sample_swaps"].iloc[0].endswith("too few to tell")
