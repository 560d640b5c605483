"""What models/gene_trait.py reports beside its density: probabilities and effects, absent variants, singular
LD, weights as draws and with a Gaussian part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from bayestwas.models import gene_trait
from pytensor.graph.replace import graph_replace
from scipy import stats

MODE = "FAST_COMPILE"
SUMMARIES = [
    "pip",
    "draw_probability",
    "effect",
    "effect_given",
    "effect_sd_given",
    "positive",
    "positive_mean",
]
Evaluate = Callable[..., dict[str, np.ndarray]]


def compiled(data: Mapping[str, Any], coords: Mapping[str, Any], point: Mapping[str, float]) -> Evaluate:
    """Evidence and summaries at the point as a function of the data, and of the offset where there is one."""
    model = gene_trait.build(data, coords)
    wanted = [model["evidence"], *(model[name] for name in SUMMARIES)]
    replaced = {model[name]: pt.constant(value) for name, value in point.items()}
    inputs = [pt.vector("offset")] if "root" in data else []
    if inputs:
        replaced[model["offset"]] = inputs[0]
    outputs = graph_replace(wanted, replaced, strict=False)
    function = pytensor.function(inputs, outputs, mode=MODE)

    def evaluate(other: Mapping[str, Any], *offset: np.ndarray) -> dict[str, np.ndarray]:
        for name, value in gene_trait.constants(other).items():
            model[name].set_value(value)
        return dict(zip(["evidence", *SUMMARIES], function(*offset), strict=True))

    return evaluate


@pytest.fixture(scope="module")
def case(case_of: Callable[[str], ModuleType]) -> ModuleType:
    return case_of("gene_trait")


@pytest.fixture(scope="module")
def evaluate(case: ModuleType) -> Evaluate:
    return compiled(simulated(case, 0), case.COORDS, case.POINT)


def simulated(case: ModuleType, seed: int, **fixed: Any) -> dict[str, Any]:
    return gene_trait.simulate(
        np.random.default_rng(seed), case.COORDS, {**case.FIXED, **case.POINT, **fixed}
    )


def enumerated(data: Mapping[str, Any], point: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Every draw and configuration: its weight, its normal posterior of the effects, and their mixture."""
    draws, a, _, k = data["columns"].shape
    omega = (1 - point["correlation"]) * np.eye(a) + point["correlation"]
    logit = np.log(point["inclusion_rate"] / (1 - point["inclusion_rate"])) + data["log_odds"]
    parts: list[tuple[float, int, np.ndarray, np.ndarray, np.ndarray]] = []
    for d, c in product(range(draws), product((False, True), repeat=k)):
        on = np.flatnonzero(c)
        columns = np.sqrt(data["n"])[:, None, None] * data["columns"][d][:, :, on]
        score = np.einsum("apk,ap->ka", columns, data["z"]).ravel()
        blocks = np.einsum("apk,apq,aql->akl", columns, data["ld"], columns)
        information = np.einsum("akl,ab->kalb", blocks, np.eye(a)).reshape(len(on) * a, len(on) * a)
        prior = np.kron(np.diag((point["effect_sd"] * data["scale"][on]) ** 2), omega)
        covariance = np.linalg.inv(information + np.linalg.inv(prior))
        mean = covariance @ score
        log_bf = (
            0.5 * score @ mean + 0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * np.linalg.slogdet(prior)[1]
        )
        parts.append((data["log_weight"][d] + logit[on].sum() + log_bf, d, on, mean, covariance))
    log_weight = np.array([part[0] for part in parts])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    out = {"pip": np.zeros(k), "draw_probability": np.zeros(draws), "positive_mean": np.zeros(k)}
    out |= {name: np.zeros((k, a)) for name in ("effect", "square", "positive")}
    for w, (_, d, on, mean, covariance) in zip(weight, parts, strict=True):
        out["draw_probability"][d] += w
        out["pip"][on] += w
        by_candidate, sd = mean.reshape(-1, a), np.sqrt(np.diag(covariance)).reshape(-1, a)
        out["effect"][on] += w * by_candidate
        out["square"][on] += w * (by_candidate**2 + sd**2)
        out["positive"][on] += w * stats.norm.cdf(by_candidate / sd)
        for position, candidate in enumerate(on):
            block = covariance[position * a : (position + 1) * a, position * a : (position + 1) * a]
            chance = stats.norm.cdf(by_candidate[position].mean() / np.sqrt(block.mean()))
            out["positive_mean"][candidate] += w * chance
    pip = out["pip"][:, None]
    out["effect_given"] = out["effect"] / pip
    out["effect_sd_given"] = np.sqrt(out["square"] / pip - out["effect_given"] ** 2)
    out["positive"] /= pip
    out["positive_mean"] /= out["pip"]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_and_moments_are_those_of_the_enumerated_posterior(
    case: ModuleType, evaluate: Evaluate, seed: int
) -> None:
    data = simulated(case, seed, inclusion=np.array([True, seed % 2 == 0, seed > 1]))
    found, expected = evaluate(data), enumerated(data, case.POINT)
    for name in ("pip", "draw_probability", "effect", "effect_given", "effect_sd_given"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-7, atol=1e-10, err_msg=name)
    # per draw a normal with the moments of a mixture over configurations: measured 0.011 at most on 200 loci
    for name in ("positive", "positive_mean"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.03, err_msg=name)


def test_a_sign_is_exact_where_one_configuration_remains(case: ModuleType, evaluate: Evaluate) -> None:
    data = simulated(case, 3, log_odds=np.array([60.0, -60.0, -60.0]))
    found, expected = evaluate(data), enumerated(data, case.POINT)
    np.testing.assert_allclose(found["positive"][0], expected["positive"][0], rtol=1e-7)
    np.testing.assert_allclose(found["positive_mean"][0], expected["positive_mean"][0], rtol=1e-7)


def test_draws_are_mixed_by_weight_and_evidence(case: ModuleType, evaluate: Evaluate) -> None:
    """Draws in any order, a draw split into two and weights times a number: the same posterior."""
    data = simulated(case, 5)
    order = np.array([2, 0, 0])
    split = dict(data, columns=data["columns"][order], log_weight=np.log([0.3, 0.25, 0.25]))
    whole = dict(data, columns=data["columns"][[0, 2, 2]], log_weight=np.log([5.0, 1.0, 2.0]))
    for name, value in evaluate(split).items():
        if name != "draw_probability":
            np.testing.assert_allclose(value, evaluate(whole)[name], rtol=1e-9, err_msg=name)


def test_an_absent_variant_says_nothing(case: ModuleType, evaluate: Evaluate) -> None:
    """Where z is missing in one ancestry the likelihood is that of the other variants."""
    data = simulated(case, 6)
    data["z"][1, [2, 5]] = np.nan
    present = np.setdiff1d(np.arange(8), [2, 5])
    ld = data["ld"][1][np.ix_(present, present)]
    found = gene_trait.constants(data)
    columns = data["columns"][:, 1][:, present]
    score = np.sqrt(data["n"][1]) * np.einsum("dpk,p->dk", columns, data["z"][1, present])
    information = data["n"][1] * np.einsum("dpk,pq,dql->dkl", columns, ld, columns)
    np.testing.assert_allclose(found["score"][:, 1, :, 0], score, rtol=1e-12)
    np.testing.assert_allclose(found["information"][:, 1, :, 0, :, 0], information, rtol=1e-12)
    assert np.isfinite(evaluate(data)["pip"]).all()


def test_evidence_beyond_the_range_of_numbers_is_no_trouble(case: ModuleType, evaluate: Evaluate) -> None:
    gamma = np.full((3, 2), 0.5)
    data = simulated(case, 8, n=np.array([2e5, 1e5]), gamma=gamma, inclusion=np.array([True, True, False]))
    likelihood, _ = case.log_density(data, case.POINT)
    found, expected = evaluate(data), enumerated(data, case.POINT)
    assert likelihood > 1000  # e^709 is the largest number
    assert float(found["evidence"]) == pytest.approx(likelihood, rel=1e-8)
    np.testing.assert_allclose(found["pip"], expected["pip"], rtol=1e-6)


def test_nothing_but_zero_columns_leaves_the_prior(case: ModuleType, evaluate: Evaluate) -> None:
    data = simulated(case, 7, columns=np.zeros((3, 2, 8, 3)))
    odds = np.exp(data["log_odds"]) * case.POINT["inclusion_rate"] / (1 - case.POINT["inclusion_rate"])
    np.testing.assert_allclose(evaluate(data)["pip"], odds / (1 + odds), rtol=1e-9)


def test_ld_of_fewer_people_than_variants_is_the_limit_of_regular_ld(
    case: ModuleType, evaluate: Evaluate
) -> None:
    genotypes = np.random.default_rng(9).standard_normal((2, 5, 8))
    genotypes /= np.linalg.norm(genotypes, axis=1, keepdims=True)
    ld = genotypes.swapaxes(1, 2) @ genotypes
    data = simulated(case, 10, ld=ld)
    assert np.linalg.matrix_rank(ld[0]) == 5
    regular = dict(data, ld=(ld + 1e-7 * np.eye(8)) / (1 + 1e-7))
    likelihood, _ = case.log_density(regular, case.POINT)
    # z lies in the span of R, so that the ratio to the null has a limit; 1e-7 n c'c moves it by about 1e-4
    assert float(evaluate(data)["evidence"]) == pytest.approx(likelihood, abs=1e-2)


def test_more_candidates_than_can_be_enumerated_are_refused(case: ModuleType) -> None:
    with pytest.raises(ValueError, match="at most 12"):
        gene_trait.build(simulated(case, 0), {**case.COORDS, "candidate": range(13)})


def latent(case: ModuleType, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One gene whose weights are known up to one normal number, and its coordinates."""
    coords = {**case.COORDS, "candidate": ["g1"], "weight_draw": [0], "direction": ["first"]}
    rng = np.random.default_rng(seed)
    fixed = {name: case.FIXED[name][:1] for name in ("log_odds", "scale", "log_weight")}
    fixed |= {
        "columns": case.FIXED["columns"][:1, ..., :1],
        "root": 0.15 * rng.standard_normal((1, 2, 8, 1, 1)),
    }
    fixed |= {"ld": case.FIXED["ld"], "n": case.FIXED["n"], "inclusion": np.array([True])}
    return gene_trait.simulate(rng, coords, {**fixed, **case.POINT}), coords


def test_a_gaussian_part_is_the_limit_of_many_draws(case: ModuleType) -> None:
    """PIP of one gene: the offset integrated by Gauss-Hermite quadrature, against 4,000 stratified draws.

    Both are deterministic; the draws' error is that of a midpoint rule, below 1e-3 for a smooth integrand.
    """
    data, coords = latent(case, 11)
    free = compiled(data, coords, case.POINT)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    points = [free(data, np.array([node])) for node in nodes]
    evidence = weights * np.exp([float(point["evidence"]) for point in points])
    integrated = evidence @ np.array([point["pip"][0] for point in points]) / evidence.sum()
    offset = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    drawn = dict(data, columns=data["columns"] + data["root"][..., 0] * offset[:, None, None, None])
    drawn["log_weight"] = np.zeros(4000)
    del drawn["root"]
    many = compiled(drawn, {**coords, "weight_draw": range(4000)}, case.POINT)(drawn)
    assert many["pip"][0] == pytest.approx(integrated, abs=1e-3)
    assert float(many["evidence"]) == pytest.approx(np.log(evidence.sum() / weights.sum()), abs=1e-3)
    centre = dict(drawn, columns=data["columns"], log_weight=np.zeros(1))
    known = compiled(centre, {**coords, "weight_draw": [0]}, case.POINT)(centre)
    assert abs(float(known["evidence"]) - float(many["evidence"])) > 0.05  # the uncertainty matters here


def test_weights_at_an_offset_are_those_weights(case: ModuleType) -> None:
    """Two directions over three candidates and three draws: the same density as with the columns added up."""
    rng = np.random.default_rng(12)
    coords = {**case.COORDS, "direction": ["first", "second"]}
    data = {**simulated(case, 12), "root": 0.1 * rng.standard_normal((3, 2, 8, 3, 2))}
    offset = np.array([0.7, -1.3])
    found = compiled(data, coords, case.POINT)(data, offset)
    known = {name: value for name, value in data.items() if name != "root"}
    known["columns"] = data["columns"] + data["root"] @ offset
    for name, value in compiled(known, case.COORDS, case.POINT)(known).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-12, err_msg=name)
    free = gene_trait.build(data, coords)
    assert {rv.name for rv in free.free_RVs} == {*gene_trait.PARAMETERS, "offset"}
