"""Annotations in the priors of weights: the collapse to classes, what crosses over, what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.engine.evidence import split
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.weights import Expression, WeightPriors, fit_expression, variant_evidence
from bayestwas.fit.annotations import Scale, moments, scales
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.weight_annotations import (
    MOST_GENES,
    GeneEvidence,
    coefficients,
    enrichment,
    gene_evidence,
    in_natural_units,
    thinned,
)
from bayestwas.fit.weight_priors import learned_priors
from bayestwas.fit.weights import fit_weights, gene_posterior, weight_sums

Build = Callable[..., xr.DataTree]
P = 40
R = 0.5 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P))).astype(float)
ROOT = np.linalg.cholesky(R)
SCALES = {"variant": (Scale("coding", True, 0.2, 0.4), Scale("other", True, 0.2, 0.4)), "gene": ()}


def gene(rng: np.random.Generator, values: np.ndarray, log_odds: float) -> Expression:
    """One study of 300 people; a Poisson number of eQTLs, of mean one, that follow the first annotation."""
    chance = np.exp(log_odds * values[:, 0])
    w = np.zeros(P)
    at = rng.choice(P, min(int(rng.poisson(1.0)), 3), replace=False, p=chance / chance.sum())
    w[at] = rng.normal(0.0, 0.4, len(at))
    z = np.sqrt(300) * R @ w + ROOT @ rng.standard_normal(P)
    return Expression(
        z[None], np.array([300.0]), (MatrixLD(R),), np.eye(1), np.eye(1), np.linspace(-1e5, 1e5, P), 1, 1
    )


@pytest.fixture(scope="module")
def annotated(build: Build) -> xr.DataTree:
    """The locus with a binary annotation and one in units of its own."""
    locus = build()
    rng = np.random.default_rng(1)
    labels = locus["variant"].values
    table = pd.DataFrame(
        {"coding": rng.random(len(labels)) < 0.3, "score": 5.0 + 3.0 * rng.standard_normal(len(labels))},
        index=labels,
    )
    values = (("variant", "annotation"), table.to_numpy(np.float32))
    group = xr.Dataset({"variant_annotation": values}, coords={"annotation": list(table.columns)})
    locus["annotations"] = xr.DataTree(group)
    return locus


def test_evidence_is_the_odds_of_the_posterior_over_those_of_the_prior() -> None:
    """Of the first effect, and of the second given that the first may not be there; classes add up."""
    rng = np.random.default_rng(2)
    values = (rng.random((P, 2)) < 0.3).astype(float)
    one = gene(rng, values, 2.0)
    priors = WeightPriors()
    fitted = fit_expression(one, priors, effects=3, rounds=1, tolerance=1e-9)
    log_bf = variant_evidence(fitted)
    fit = fitted.fit
    assert 1 <= len(log_bf) <= 3
    odds = np.exp(fitted.candidates.log_prior).sum(axis=1)
    there = np.concatenate([[1.0], 1 - fit.null[:-1]])
    for row, values_of in enumerate(log_bf):
        expected = fit.alpha[row].sum(axis=1) / fit.null[row] / (odds * there[row] / (row + 1))
        np.testing.assert_allclose(np.exp(values_of), expected, rtol=1e-5)
    collapsed = gene_evidence(fitted, one, values, SCALES, priors)
    assert collapsed.count.sum() == P
    own, top, rest = (part[..., 0] for part in split(log_bf[:, :, None]))
    more = own * np.exp(top)[:, None]  # what a signal's own variants have more than the rest
    np.testing.assert_allclose(collapsed.rest.sum(), rest.sum(), rtol=1e-10)
    np.testing.assert_allclose(np.exp(collapsed.log_sum).sum(axis=1), more.sum(axis=1), rtol=1e-8)
    near = np.abs(one.distance) < 5e3
    mine = near & (values == [1.0, 0.0]).all(axis=1)
    of_class = np.isclose(collapsed.offset, np.log(8.0)) & (collapsed.pattern == [1.0, 0.0]).all(axis=1)
    assert of_class.sum() == mine.any()
    everywhere = values[:, 0] == 1
    coded = collapsed.pattern[:, 0] == 1
    np.testing.assert_allclose(
        np.exp(collapsed.log_sum[:, coded]).sum(axis=1), more[:, everywhere].sum(axis=1), rtol=1e-8
    )
    assert collapsed.count[collapsed.pattern[:, 0] == 1].sum() == everywhere.sum()


def test_an_unusable_variant_says_nothing() -> None:
    rng = np.random.default_rng(3)
    values = np.zeros((P, 2))
    values[5] = 1.0  # alone in its class
    one = gene(rng, values, 0.0)
    z = one.z.copy()
    z[0, 5] = np.nan
    one = replace(one, z=z)
    fitted = fit_expression(one, WeightPriors(), effects=2, rounds=1)
    assert np.isneginf(variant_evidence(fitted)[:, 5]).all()
    collapsed = gene_evidence(fitted, one, values, SCALES, WeightPriors())
    assert collapsed.count.sum() == P - 1
    assert not collapsed.pattern.any()


def test_coefficients_are_recovered() -> None:
    """150 genes, log odds 2 of a fifth of the variants and none of another fifth: the posterior covers both
    within four standard deviations, and tells them from one another."""
    pytest.importorskip("pymc")
    rng = np.random.default_rng(4)
    priors, found = WeightPriors(), []
    for _ in range(150):
        values = (rng.random((P, 2)) < 0.2).astype(float)
        one = gene(rng, values, 2.0)
        fitted = fit_expression(one, priors, effects=5, rounds=1)
        found.append(gene_evidence(fitted, one, values, SCALES, priors))
    quick = Sampling(draws=200, tune=300, chains=2, cores=1, target_accept=0.9)
    posterior = coefficients(found, SCALES, priors, 1, quick)
    draws = posterior["coefficient"].stack(sample=("chain", "draw"))
    mean, sd = draws.mean("sample").values, draws.std("sample").values
    assert (np.abs(mean - [2.0, 0.0]) < 4 * sd).all()
    assert (sd < 0.5).all()
    assert mean[0] - mean[1] > 1.0
    means, intervals = in_natural_units(posterior, SCALES)
    assert dict(means) == pytest.approx({"coding": mean[0], "other": mean[1]})
    assert [one[0] for one in intervals] == ["coding", "other"]
    ends = np.quantile(draws.transpose("sample", ...).values, (0.025, 0.975), axis=0).T
    np.testing.assert_allclose([one[1:] for one in intervals], np.column_stack([sd, ends]))


def test_coefficients_go_back_to_the_units_of_the_file() -> None:
    posterior = xr.Dataset(
        {"coefficient": (("chain", "draw", "annotation"), np.array([[[1.0, 2.0], [3.0, 4.0]]]))},
        coords={"annotation": ["coding", "score"]},
    )
    wanted = {"variant": (Scale("coding", True, 0.1, 0.3), Scale("score", False, 5.0, 4.0)), "gene": ()}
    means, intervals = in_natural_units(posterior, wanted)
    assert means == (("coding", 2.0), ("score", 0.75))
    np.testing.assert_allclose([one[1:] for one in intervals], [[1.0, 1.05, 2.95], [0.25, 0.5125, 0.9875]])


def test_a_fit_follows_annotations_and_can_be_rebuilt(annotated: xr.DataTree) -> None:
    """Exact values, in the units of the file: log odds of the prior differ by them; the constant does not
    matter."""
    priors = WeightPriors(annotations=(("score", 0.5), ("coding", 2.0), ("of another study", 9.0)))
    table = annotated["annotations"]["variant_annotation"]
    expected = 0.5 * table.sel(annotation="score").values + 2.0 * table.sel(annotation="coding").values
    np.testing.assert_allclose(enrichment(annotated, priors), expected, rtol=1e-6)
    assert enrichment(annotated, WeightPriors()) is None
    fitted = fit_weights(annotated, priors=priors)
    plain = fit_weights(annotated)
    name = str(fitted["marginals"]["gene"].values[0])
    index, posterior = gene_posterior(annotated, fitted, name)
    _, before = gene_posterior(annotated, plain, name)
    moved = posterior.candidates.log_prior - before.candidates.log_prior
    usable = np.isfinite(moved[:, 0])
    gap = moved[usable] - expected[index][usable, None]
    np.testing.assert_allclose(gap, gap[0, 0], atol=1e-5)
    pip = fitted["marginals"].dataset.sel(gene=name)["pip"].values[index]
    np.testing.assert_allclose(posterior.fit.pip, pip, atol=1e-5)
    assert (pip != plain["marginals"].dataset.sel(gene=name)["pip"].values[index]).any()


def test_annotations_are_learned_where_the_study_has_them(
    annotated: xr.DataTree, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every gene's evidence crosses over; the mean of the posterior comes back in the priors."""
    wanted = scales([moments(annotated)])
    total = weight_sums(annotated, WeightPriors(), settings, wanted)
    assert len(total.genes) == sum(part.genes for part in total.parts.values()) == 4
    assert not weight_sums(annotated, WeightPriors(), settings).genes
    assert (total.genes[0].pattern[:, 1] % 0.5 == 0).all()
    posterior = xr.Dataset(
        {"coefficient": (("chain", "draw", "annotation"), np.ones((1, 2, 2)))},
        coords={"annotation": ["coding", "score"]},
    )
    monkeypatch.setattr("bayestwas.fit.weight_priors.coefficients", lambda *_: posterior)
    learned = learned_priors(total, WeightPriors(), wanted)
    assert learned.annotations == (("coding", 1.0), ("score", 1 / wanted["variant"][1].sd))
    assert json.loads(json.dumps(asdict(learned)))["annotations"][0] == ["coding", 1.0]
    assert learned_priors(total, WeightPriors()).annotations == ()


def test_evidence_is_thinned_whatever_the_order() -> None:
    many = [
        GeneEvidence(np.zeros(1), np.zeros((1, 0)), np.ones(1), np.zeros((0, 1)), np.array([float(i)]))
        for i in range(MOST_GENES + 50)
    ]
    forward, backward = thinned(many), thinned(many[::-1])
    assert len(forward) == MOST_GENES
    assert {float(one.rest[0]) for one in forward} == {float(one.rest[0]) for one in backward}
    assert thinned(many[:5]) == tuple(many[:5])
