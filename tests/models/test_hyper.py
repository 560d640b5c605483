"""What models/hyper.py says beside its density: probabilities of an effect, the collapse of candidates to
classes, and quantities that the data cannot inform."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytensor
import pytest
from bayestwas.models import hyper

MODE = "FAST_COMPILE"
SUMMARIES = ["evidence", "probability", "expected_causal", "context_prior", "enrichment"]
Locus = dict[str, Any]
Evaluate = Callable[[Locus], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def case(case_of: Callable[[str], ModuleType]) -> ModuleType:
    return case_of("hyper")


@pytest.fixture(scope="module")
def evaluate(case: ModuleType) -> Evaluate:
    """Evidence and summaries at the point of the case, as a function of the data (of any sizes)."""
    model = hyper.build(simulated(case, 0), case.COORDS)
    given = {model[name]: value for name, value in case.POINT.items()}
    function = pytensor.function([], [model[name] for name in SUMMARIES], givens=given, mode=MODE)

    def at_point(data: Locus) -> dict[str, np.ndarray]:
        for name, value in hyper.constants(data).items():
            model[name].set_value(value)
        return dict(zip(SUMMARIES, function(), strict=True))

    return at_point


def simulated(case: ModuleType, seed: int, **fixed: Any) -> Locus:
    return hyper.simulate(np.random.default_rng(seed), case.COORDS, {**case.FIXED, **case.POINT, **fixed})


def test_probability_of_a_kind_is_the_share_of_its_evidence(case: ModuleType, evaluate: Evaluate) -> None:
    """Without the evidence of a kind, at the same prior mass, the likelihood falls by its probability."""
    data = simulated(case, 1)
    found = evaluate(data)
    for i in range(len(case.COORDS["effect"])):
        row = {**data, "log_sum": data["log_sum"][i : i + 1], "count": data["count"][i : i + 1]}
        whole, _ = case.log_density(row, case.POINT)
        for kind in range(2):
            silent = np.where(data["in_kind"][:, kind, None] > 0, -np.inf, row["log_sum"])
            rest, _ = case.log_density({**row, "log_sum": silent}, case.POINT)
            assert found["probability"][i, kind] == pytest.approx(-np.expm1(rest - whole), abs=1e-10)
    np.testing.assert_allclose(found["expected_causal"], found["probability"].sum(axis=0), rtol=1e-12)


def test_classes_of_one_candidate_each_give_the_same_as_their_sums(
    case: ModuleType, evaluate: Evaluate
) -> None:
    """The collapse to patterns is exact: every candidate as a class of its own, in one effect."""
    rng = np.random.default_rng(2)
    count = np.array([3, 1, 0, 2, 12, 4, 1])
    owner = np.repeat(np.arange(7), count)
    log_bf = rng.normal(0.0, 2.0, (len(owner), 2))
    sums = np.array([np.logaddexp.reduce(log_bf[owner == c], axis=0, initial=-np.inf) for c in range(7)])
    design = {name: case.DESIGN[name] for name in ("in_kind", "in_context", "pattern")}
    collapsed = {"log_sum": sums[None], "count": count[None], **design}
    single = {"log_sum": log_bf[None], "count": np.ones((1, len(owner)))}
    single |= {name: value[owner] for name, value in design.items()}
    one, other = evaluate(collapsed), evaluate(single)
    for name in SUMMARIES:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-10, err_msg=name)


def test_evidence_beyond_the_range_of_numbers_is_no_trouble(case: ModuleType, evaluate: Evaluate) -> None:
    data = simulated(case, 3)
    data["log_sum"][2, 4, 1] = 5000.0  # z of 100
    found = evaluate(data)
    likelihood, _ = case.log_density(data, case.POINT)
    assert float(found["evidence"]) == pytest.approx(likelihood, rel=1e-12)
    np.testing.assert_allclose(found["probability"][2], [0, 1], atol=1e-12)


def test_an_effect_without_any_candidate_says_nothing(case: ModuleType, evaluate: Evaluate) -> None:
    data = simulated(case, 4)
    empty = dict(data, log_sum=data["log_sum"].copy(), count=data["count"].copy())
    empty["log_sum"][0], empty["count"][0] = -np.inf, 0
    rest = dict(data, log_sum=data["log_sum"][1:], count=data["count"][1:])
    found = evaluate(empty)
    assert float(found["evidence"]) == pytest.approx(float(evaluate(rest)["evidence"]), rel=1e-12)
    np.testing.assert_array_equal(found["probability"][0], 0)


def test_what_no_class_has_is_not_moved_by_the_data(case: ModuleType) -> None:
    """An annotation of no class and a context without genes: the gradient of the evidence is zero there."""
    data = simulated(case, 5)
    pattern, context = data["pattern"].copy(), data["in_context"].copy()
    pattern[:, 1], context[:, 2] = 0.0, 0.0
    model = hyper.build({**data, "pattern": pattern, "in_context": context}, case.COORDS)
    given = {model[name]: value for name, value in case.POINT.items()}
    names = ["standard_coefficient", "local_scale", "context_deviation"]
    gradients = pytensor.grad(model["evidence"], [model[name] for name in names])
    coefficient, local, deviation = pytensor.function([], gradients, givens=given, mode=MODE)()
    for gradient, uninformed in ((coefficient, 1), (local, 1), (deviation, 2)):
        assert gradient[uninformed] == 0
        assert (np.delete(gradient, uninformed) != 0).all()


def test_prior_standard_deviations_are_those_of_simulate(case: ModuleType) -> None:
    rng, coords = np.random.default_rng(6), {**case.COORDS, "effect": [0]}
    draws = [hyper.simulate(rng, coords) for _ in range(3000)]
    for name, expected in hyper.PRIOR_SD.items():
        values = np.array([draw[name] for draw in draws])
        square = np.mean(
            (values - values.mean(axis=0)) ** 2, axis=1
        )  # elements of a draw are not independent
        error = square.std(ddof=1) / np.sqrt(len(draws))
        assert abs(square.mean() - expected**2) < 5 * error, name
