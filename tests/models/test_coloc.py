"""The sums behind models/coloc.py, its posterior against enumeration, and published answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytensor
import pytest
from bayestwas.models import coloc
from scipy import special

from bayestwas.io.rfiles import read_r

MODE = "FAST_COMPILE"
SHARED = Path(__file__).parents[3] / "shared" / "data"
PARAMETERS = ("mean_log_odds", "spread", "deviation")


@pytest.fixture(scope="module")
def case(case_of: Callable[[str], ModuleType]) -> ModuleType:
    return case_of("coloc")


def posterior_at(data: dict[str, Any], coords: dict[str, Any], point: dict[str, Any]) -> np.ndarray:
    model = coloc.build(data, coords)
    return model["posterior"].eval({model[name]: point[name] for name in PARAMETERS}, mode=MODE)


def pairs(lbf1: np.ndarray, lbf2: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and coords of pairs in one context without annotation."""
    n, m = lbf1.shape
    data = {"lbf1": lbf1, "lbf2": lbf2, "log_prior": np.zeros((n, m)), "in_context": np.ones((n, 1))}
    return data, {"pair": list(range(n)), "variant": list(range(m)), "context": ["any"]}


def at(p1: float, p2: float, p12: float) -> dict[str, Any]:
    """Free variables at which one context has these priors."""
    rates = np.log([p1, p2, p12 / np.sqrt(p1 * p2)])
    return {"mean_log_odds": rates, "spread": np.ones(3), "deviation": np.zeros((3, 1))}


def test_posterior_is_the_share_of_each_hypothesis_among_all_configurations(case: ModuleType) -> None:
    data = coloc.simulate(np.random.default_rng(11), case.COORDS, {**case.FIXED, **case.POINT})
    found = posterior_at(data, case.COORDS, case.POINT)
    rate = case.POINT["mean_log_odds"][:, None] + case.POINT["spread"][:, None] * case.POINT["deviation"]
    for i, row in enumerate(found):
        here = np.isfinite(data["lbf1"][i])
        weight = np.exp(data["log_prior"][i, here])
        weight /= weight.mean()
        p1, p2, odds = np.exp(rate[:, data["in_context"][i].argmax()])
        one, two = weight * np.exp(data["lbf1"][i, here]), weight * np.exp(data["lbf2"][i, here])
        different = np.outer(one, two)[~np.eye(here.sum(), dtype=bool)].sum()
        terms = [1, p1 * one.sum(), p2 * two.sum(), p1 * p2 * different]
        terms += [odds * np.sqrt(p1 * p2) * (one * two / weight).sum()]
        np.testing.assert_allclose(row, np.array(terms) / sum(terms), rtol=1e-10)
    assert found[2, 3] == 0  # a single variant: never two different ones


def test_variants_of_one_trait_only_and_the_scale_of_weights_do_not_matter(case: ModuleType) -> None:
    data = coloc.simulate(np.random.default_rng(12), case.COORDS, {**case.FIXED, **case.POINT})
    other = {name: data[name].copy() for name in coloc.DATA}
    other["log_prior"] += np.array([[3.0], [-2.0], [0.5], [9.0], [-7.0]])
    other["lbf2"][0, 3] = data["lbf1"][0, 3] = data["lbf2"][0, 3] = -np.inf
    other["lbf1"][0, 3] = 50.0
    before, after = coloc.constants(data), coloc.constants(other)
    assert set(before) == set(after)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-12, atol=1e-12)


def test_one_overwhelming_variant_leaves_the_other_sums_their_digits() -> None:
    """log BF of 2,000 in both traits: S1 S2 - S4 as a difference would be 0, or overflow."""
    lbf = np.full((1, 50), -1.0)
    lbf[0, 7] = 2_000.0
    data, coords = pairs(lbf, lbf)
    values = coloc.constants(data)
    exact = special.logsumexp([2_000.0 - 1.0 + np.log(2 * 49), -2.0 + np.log(49 * 48)])
    assert values["log_sum"][0, 3] + values["offset"][0] == pytest.approx(exact, rel=1e-14)
    assert values["log_mass"][0, 3] == pytest.approx(np.log(50 * 49), rel=1e-12)
    model = coloc.build(data, coords)
    density = model.logp(vars=model.observed_RVs, jacobian=False)
    gradient = pytensor.function(
        model.value_vars, pytensor.grad(density, model.value_vars[0]), mode=MODE, on_unused_input="ignore"
    )
    start = model.initial_point()
    slope = gradient(*(start[value.name] for value in model.value_vars))
    # H4 for certain: log p12 rises by 1/2, 1/2 and 1, less what the prior masses gain (0.5% each)
    np.testing.assert_allclose(slope, [0.5, 0.5, 1.0], atol=0.01)


def test_a_locus_without_variants_tells_nothing() -> None:
    data, coords = pairs(np.full((2, 4), -np.inf), np.zeros((2, 4)))
    model = coloc.build(data, coords)
    found = posterior_at(data, coords, at(1e-3, 1e-3, 1e-4))
    np.testing.assert_array_equal(found, [[1, 0, 0, 0, 0]] * 2)
    density = model.compile_logp(vars=model.observed_RVs, mode=MODE)
    assert density(model.initial_point()) == 0


def test_hypotheses_come_as_often_as_their_prior_mass(case: ModuleType) -> None:
    """Also in simulate: counts of 4,000 pairs within 5 standard errors of the masses of the model."""
    fixed = dict(at(0.03, 0.05, 0.02), ld=np.eye(10), in_context=np.ones((4_000, 1)))
    coords = {"pair": list(range(4_000)), "variant": list(range(10)), "context": ["any"]}
    told = coloc.simulate(np.random.default_rng(5), coords, fixed)
    flat = {**told, "lbf1": np.zeros((4_000, 10)), "lbf2": np.zeros((4_000, 10))}
    mass = posterior_at(flat, coords, fixed)  # Bayes factors of 1: the prior
    counts = np.bincount(told["true_hypothesis"], minlength=5)
    error = np.sqrt((mass * (1 - mass)).sum(axis=0))
    assert (np.abs(counts - mass.sum(axis=0)) < 5 * error).all()


def test_published_answers_of_coloc() -> None:
    """D1 and D2 of coloc's test data: H3 8.33892e-4, H4 0.999166108 at its default priors, which this model
    reaches at fixed p1, p2, p12; H4 0.991723 at p12 = 1e-6. To 1e-6, the digits they are given with."""
    folder = Path(os.environ.get("BAYESTWAS_DATA", SHARED)) / "coloc_known_answers"
    if not folder.is_dir():
        pytest.skip(f"the test data of coloc are not at {folder}")
    lbf = []
    for name in ("D1", "D2"):
        held = read_r(folder / "coloc_test_data.rda")["coloc_test_data"][name]
        beta, variance = np.asarray(held["beta"]), np.asarray(held["varbeta"])
        spread = (0.15 * float(held["sdY"][0])) ** 2  # coloc's prior of effects
        known = spread / (spread + variance)
        lbf.append(0.5 * np.log1p(-known) + 0.5 * known * beta**2 / variance)
    data, coords = pairs(lbf[0][None], lbf[1][None])
    assert data["lbf1"].shape == data["lbf2"].shape == (1, 500)
    [found] = posterior_at(data, coords, at(1e-4, 1e-4, 1e-5))
    assert found[3] == pytest.approx(8.33892e-4, abs=1e-6)
    assert found[4] == pytest.approx(0.999166108, abs=1e-6)
    [found] = posterior_at(data, coords, at(1e-4, 1e-4, 1e-6))
    assert found[4] == pytest.approx(0.991723, abs=1e-6)
