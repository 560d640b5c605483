"""Preparation of expression: each routine against its definition. Simulated."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, ortho_group

from bayestwas.data.preparation import Preparation, preparation
from bayestwas.data.studies import expression_dataset
from bayestwas.engine.projection import projection, residual, unit_variance
from bayestwas.errors import DependencyError, HarmonisationError, InputError
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.expression import (
    hidden_factors,
    inverse_normal,
    normalised,
    parallel_analysis,
    principal_factors,
)


def test_inverse_normal_is_its_definition() -> None:
    """Ranks counted one value at a time, ties sharing their mean rank, missing values left out."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, (5, 20)).astype(float)
    values[2, :3] = np.nan
    got = inverse_normal(values)
    for row, out in zip(values, got, strict=True):
        known = row[np.isfinite(row)]
        for value, quantile in zip(row, out, strict=True):
            if np.isnan(value):
                assert np.isnan(quantile)
                continue
            rank = (known < value).sum() + ((known == value).sum() + 1) / 2
            assert quantile == pytest.approx(norm.ppf(rank / (len(known) + 1)), abs=1e-12)


def test_inverse_normal_knows_nothing_but_the_order() -> None:
    values = np.random.default_rng(1).standard_normal((3, 40))
    np.testing.assert_array_equal(inverse_normal(values), inverse_normal(np.exp(3 * values) - 7))


def test_factors_are_those_of_probabilistic_pca() -> None:
    """Posterior means from the formulas of Tipping & Bishop over genes x genes matrices, and one step of
    their EM algorithm leaves its parameters where they are: rounding."""
    rng = np.random.default_rng(2)
    genes, n, q = 12, 30, 3
    y = rng.standard_normal((genes, n))
    y += 2 * np.outer(rng.standard_normal(genes), rng.standard_normal(n))
    y -= y.mean(axis=1, keepdims=True)
    covariance = y @ y.T / n
    value, vector = np.linalg.eigh(covariance)
    value, vector = value[::-1], vector[:, ::-1]
    noise = value[q:].mean()
    w = vector[:, :q] * np.sqrt(value[:q] - noise)
    inverse = np.linalg.inv(w.T @ w + noise * np.eye(q))
    expected = inverse @ w.T @ y
    got = principal_factors(y, q)
    sign = np.sign((got * expected).sum(axis=1, keepdims=True))  # axes have no sign
    np.testing.assert_allclose(sign * got, expected, atol=1e-10)
    again = covariance @ w @ np.linalg.inv(noise * np.eye(q) + inverse @ w.T @ covariance @ w)
    np.testing.assert_allclose(again, w, atol=1e-10)
    assert np.trace(covariance - covariance @ w @ inverse @ again.T) / genes == pytest.approx(noise)


def _factored(rng: np.random.Generator, genes: int, n: int, factors: int) -> tuple[np.ndarray, np.ndarray]:
    """Expression with orthogonal factors that explain 0.4 of the variance of a gene together."""
    truth = ortho_group.rvs(n, random_state=rng)[:factors] * np.sqrt(n)
    loading = rng.standard_normal((genes, factors)) * np.sqrt(0.4 / max(factors, 1))
    return loading @ truth + np.sqrt(0.6) * rng.standard_normal((genes, n)), truth


@pytest.mark.parametrize("factors", [0, 1, 4])
def test_the_number_of_factors_is_found(factors: int) -> None:
    """Strong factors are all found; of noise one is found at most, in 1 of 20 data sets by construction."""
    y, truth = _factored(np.random.default_rng(3), 400, 60, factors)
    found = hidden_factors(y, np.empty((0, 60)), None, "x")
    assert factors <= len(found) <= factors + 1
    if factors:
        # what is left of a true factor outside the estimated span: sampling error of 400 genes, 60 donors
        left = residual(truth, projection(found, 60))
        assert ((left**2).mean(axis=1) < 0.1).all()


def test_noise_has_no_factors_in_most_data_sets() -> None:
    """p of the first is 1 / 20: of 40 sets of noise, within 4 standard errors of a binomial."""
    rng = np.random.default_rng(4)
    count = 0
    for _ in range(40):
        y = rng.standard_normal((120, 24))
        basis = projection(np.empty((0, 24)), 24)
        count += parallel_analysis(unit_variance(residual(y, basis)), basis) > 0
    assert count <= 40 * 0.05 + 4 * np.sqrt(40 * 0.05 * 0.95)


def test_covariates_are_no_hidden_factors() -> None:
    """A factor that the covariates know is not found again, and those that are found are orthogonal to
    them."""
    y, truth = _factored(np.random.default_rng(5), 400, 60, 2)
    known = truth[:1] * 3 + 7
    found = hidden_factors(y, known, 3, "x")
    np.testing.assert_allclose(found @ truth[0], 0, atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-8)
    rest = unit_variance(residual(truth[1:], projection(known, 60)))
    # a spike of 60 * 0.2 / 0.6 = 20 over noise of aspect 60 / 400: 1 - cos^2 is about 0.01
    assert abs((unit_variance(found[:1]) @ rest.T).item() / 60) > 0.98


def test_few_genes_have_no_hidden_factors() -> None:
    y = np.random.default_rng(6).standard_normal((120, 40))
    with pytest.raises(HarmonisationError, match="hidden factors of 99 genes"):
        hidden_factors(y[:99], np.empty((0, 40)), 2, "lcl.bed")
    with pytest.raises(HarmonisationError, match="hidden factors of 120 genes"):
        hidden_factors(y, np.empty((0, 40)), 13, "lcl.bed")


def test_counts_are_normalised_by_tmm() -> None:
    """Depth of sequencing and one gene that takes half of the reads leave no trace: the ranks of the others
    are those without them, up to the noise of counting."""
    pytest.importorskip("rnanorm", reason="rnanorm is the optional extra [counts]")
    rng = np.random.default_rng(7)
    rate = rng.gamma(4, 25, (200, 1)) * np.exp(0.5 * rng.standard_normal((200, 30)))
    depth = np.exp(rng.standard_normal(30))
    counts = np.round(1000 * rate * depth)
    counts[0, :15] = counts[:, :15].sum(axis=0)
    got = normalised(counts, Preparation("tmm"), "x")
    assert np.isfinite(got).all()
    plain = inverse_normal(rate)
    agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(got[1:], plain[1:], strict=True)]
    naive = inverse_normal(counts / counts.sum(axis=0))
    lost = [np.corrcoef(a, b)[0, 1] for a, b in zip(naive[1:], plain[1:], strict=True)]
    # a factor per donor from some 100 genes that are left after trimming, of SD 0.5 sqrt(2): error 0.07, so
    # that correlations are about 1 / sqrt(1 + (0.07 / 0.5)^2) = 0.99
    assert np.mean(agreement) > 0.97
    assert np.mean(lost) < 0.9


def test_tmm_wants_counts_and_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarmonisationError, match="read counts"):
        normalised(np.array([[1.0, -1.0]]), Preparation("tmm"), "lcl.bed")
    monkeypatch.setitem(sys.modules, "rnanorm", None)
    with pytest.raises(DependencyError, match=r"bayestwas\[counts\]"):
        normalised(np.ones((3, 4)), Preparation("tmm"), "lcl.bed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("inverse_normal", 0), "Did you mean 'inverse-normal'"),
        (("none", -1), "hidden_factors = -1"),
        (("none", "some"), "hidden_factors = 'some'"),
    ],
)
def test_wishes_that_cannot_be_met(given: tuple[Any, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        preparation(*given, True)


def test_a_panel_is_prepared_as_asked(draft: Any) -> None:
    """Normalised over the donors with genotypes, with the factors of all genes beside the covariates."""
    rng = np.random.default_rng(8)
    donors = draft.donors["EUR"]
    values = np.exp(_factored(rng, 150, len(donors), 1)[0])
    names = [f"G{i + 1}" for i in range(150)]
    genes = draft.genes.iloc[[0] * 150].assign(gene=names, tss=draft.genes["tss"].iloc[0])
    study = draft.build()
    panel = replace(
        study.panels[0],
        expression=expression_dataset("lcl.bed", genes, donors, values),
        preparation=Preparation("inverse-normal", 2),
    )
    ready = harmonise(replace(study, panels=(panel,), gwas={"EUR": study.gwas["EUR"]})).panels[0]
    np.testing.assert_allclose(ready.expression.to_numpy(), inverse_normal(values), rtol=1e-12)
    assert ready.covariates is not None
    assert ready.covariates.index.tolist() == ["hidden factor 1", "hidden factor 2"]
    expected = hidden_factors(inverse_normal(values), np.empty((0, len(donors))), 2, "x")
    np.testing.assert_allclose(ready.covariates.to_numpy(), expected, atol=1e-12)
    many = replace(study, panels=(replace(panel, preparation=Preparation(hidden_factors=23)),))
    with pytest.raises(HarmonisationError, match="23 hidden factors for 25 donors"):
        harmonise(many)
