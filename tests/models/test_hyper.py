"""What models/hyper.py says beside its density: the collapse of candidates to classes, the rest, the
correlation between ancestries, and quantities that the data cannot inform."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from bayestwas.models import hyper

MODE = "FAST_COMPILE"
SUMMARIES = ["evidence", "context_prior", "enrichment", "correlation"]
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
            model[name].set_value(np.asarray(value, model[name].type.dtype))
        return dict(zip(SUMMARIES, function(), strict=True))

    return at_point


def simulated(case: ModuleType, seed: int, **fixed: Any) -> Locus:
    return hyper.simulate(np.random.default_rng(seed), case.COORDS, {**case.FIXED, **case.POINT, **fixed})


def test_classes_of_one_candidate_each_give_the_same_as_their_sums(
    case: ModuleType, evaluate: Evaluate
) -> None:
    """The collapse to classes is exact: every candidate as a class of its own, in one signal and in the
    rest."""
    rng, data = np.random.default_rng(2), simulated(case, 1)
    count = np.array([3, 1, 0, 2, 12, 4, 1])
    owner = np.repeat(np.arange(7), count)
    log_bf, faint = rng.normal(0.0, 2.0, (len(owner), 2)), rng.uniform(0.5, 1.5, (len(owner), 2))
    sums = np.array([np.logaddexp.reduce(log_bf[owner == c], axis=0, initial=-np.inf) for c in range(7)])
    rest = np.array([faint[owner == c].sum(axis=0) for c in range(7)])
    strong = {name: data[name][:1] for name in ("strong", "score", "information")}
    collapsed = {
        **data,
        **strong,
        "log_sum": sums[None],
        "count": count[None],
        "rest": rest,
        "rest_count": count,
    }
    ones = np.ones(len(owner))
    single = {**collapsed, "log_sum": log_bf[None], "count": ones[None], "rest": faint, "rest_count": ones}
    single |= {name: data[name][owner] for name in ("in_kind", "in_context", "pattern", "offset")}
    one, other = evaluate(collapsed), evaluate(single)
    for name in SUMMARIES:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-10, err_msg=name)


def test_evidence_beyond_the_range_of_numbers_is_no_trouble(case: ModuleType, evaluate: Evaluate) -> None:
    """A z of 100, in a row whose correlation is looked at and in one where it is not."""
    data = simulated(case, 3)
    data["log_sum"][2, 4, 1] = data["log_sum"][3, 0, 0] = 5000.0
    rest = np.delete(np.arange(6), 3)
    data |= {name: data[name][rest] for name in ("strong", "score", "information")}
    found = float(evaluate(data)["evidence"])
    assert found > 9900
    assert found == pytest.approx(case.log_density(data, case.POINT)[0], rel=1e-12)


def test_a_signal_without_any_candidate_says_nothing(case: ModuleType, evaluate: Evaluate) -> None:
    data = simulated(case, 4)
    empty = dict(data, log_sum=data["log_sum"].copy(), count=data["count"].copy())
    empty["log_sum"][0], empty["count"][0] = -np.inf, 0
    rest = dict(data, log_sum=data["log_sum"][1:], count=data["count"][1:], strong=np.arange(5))
    rest |= {name: data[name][1:] for name in ("score", "information")}
    assert float(evaluate(empty)["evidence"]) == pytest.approx(float(evaluate(rest)["evidence"]), rel=1e-12)


def test_without_signals_the_rest_speaks(case: ModuleType, evaluate: Evaluate) -> None:
    """No rows at all: a genome of faint candidates. Bayes factors below one lower the odds."""
    data = simulated(case, 4)
    none = {name: data[name][:0] for name in ("log_sum", "count", "strong", "score", "information")}
    rest = np.random.default_rng(5).uniform(0.2, 1.4, (7, 2)) * data["rest_count"][:, None]
    quiet = {**data, **none, "rest": rest}
    found = float(evaluate(quiet)["evidence"])
    assert found == pytest.approx(case.log_density(quiet, case.POINT)[0], rel=1e-10)
    coords = {**case.COORDS, "row": [], "signal": []}
    low = hyper.build({**quiet, "rest": 0.5 * data["rest_count"][:, None] * np.ones(2)}, coords)
    assert (_gradients(low, case.POINT, ["intercept"])["intercept"] < 0).all()


def test_to_first_order_a_signal_is_one_of_the_rest(case: ModuleType, evaluate: Evaluate) -> None:
    """A candidate with a Bayes factor of 1 + x tells the same as a row of its excess x, or in the rest, where
    odds are small: the difference is of the second order."""
    data = simulated(case, 4, intercept=np.full(2, np.log(1e-5)))
    none = {name: data[name][:0] for name in ("strong", "score", "information")}
    one = np.eye(7)[4]
    common = {**data, **none, "offset": data["offset"] - 8.0, "rest_count": one}
    # unknown in one way or the other: rest and count, or a row for what it has more than 1
    inside = {**common, "log_sum": np.full((1, 7, 2), -np.inf), "count": np.zeros((1, 7))}
    outside = {**inside, "log_sum": np.where(np.outer(one, [1, 1]) > 0, np.log(0.8), -np.inf)[None]}
    first = float(evaluate({**inside, "rest": one[:, None] * np.full(2, 1.8)})["evidence"])
    second = float(evaluate({**outside, "rest": one[:, None] * np.ones(2)})["evidence"])
    assert first > 0
    assert first == pytest.approx(second, rel=1e-3)


def test_without_rows_that_speak_of_it_the_correlation_has_no_say(
    case: ModuleType, evaluate: Evaluate
) -> None:
    """No signals: the evidence is that of the sums as they are, and its gradient in the correlation is 0."""
    data = simulated(case, 5)
    none = {name: data[name][:0] for name in ("strong", "score", "information")}
    silent = {**data, **none}
    found = float(evaluate(silent)["evidence"])
    assert found == pytest.approx(case.log_density(silent, case.POINT)[0], rel=1e-10)
    assert found != pytest.approx(float(evaluate(data)["evidence"]), rel=1e-4)
    # a kind that a signal says nothing of is as it was
    blank = {**data, "score": np.zeros_like(data["score"]), "information": np.zeros_like(data["information"])}
    assert float(evaluate(blank)["evidence"]) == pytest.approx(found, rel=1e-10)
    coords = {**case.COORDS, "signal": []}
    gradients = _gradients(hyper.build(silent, coords), case.POINT, ["shared", "partial", "intercept"])
    assert not gradients["shared"].any()
    assert not gradients["partial"].any()
    assert gradients["intercept"].all()


def test_one_ancestry_has_no_correlation(case: ModuleType) -> None:
    """No pairs: `partial` is empty, `shared` is not moved, and the density is that of its parts."""
    coords = {**case.COORDS, "ancestry": ["EUR"], "ancestry_": ["EUR"], "pair": []}
    alone = {"reference": np.ones((2, 1, 1)), "information": np.full((6, 2, 1), 2.0)}
    point = {**case.POINT, "partial": np.empty((2, 0))}
    data = hyper.simulate(np.random.default_rng(6), coords, {**case.FIXED, **point, **alone})
    assert data["correlation"].tolist() == [[[1.0]], [[1.0]]]
    model = hyper.build(data, coords)
    given = {model[name]: value for name, value in point.items()}
    value = pytensor.function([], model["evidence"], givens=given, mode=MODE, on_unused_input="ignore")()
    # at one ancestry nothing moves: the sums as they are
    none = {name: data[name][:0] for name in ("strong", "score", "information")}
    assert float(value) == pytest.approx(case.log_density({**data, **none}, case.POINT)[0], rel=1e-10)
    assert np.abs(_gradients(model, point, ["shared"])["shared"]).max() < 1e-12
    assert np.isfinite(model.compile_logp(mode=MODE)(model.initial_point()))


def test_what_no_class_has_is_not_moved_by_the_data(case: ModuleType) -> None:
    """An annotation of no class and a context without genes: the gradient of the evidence is zero there."""
    data = simulated(case, 5)
    pattern, context = data["pattern"].copy(), data["in_context"].copy()
    pattern[:, 1], context[:, 2] = 0.0, 0.0
    model = hyper.build({**data, "pattern": pattern, "in_context": context}, case.COORDS)
    found = _gradients(model, case.POINT, ["standard_coefficient", "local_scale", "context_deviation"])
    for gradient, uninformed in zip(found.values(), (1, 1, 2), strict=True):
        assert gradient[uninformed] == 0
        assert (np.delete(gradient, uninformed) != 0).all()


def _gradients(model: pm.Model, point: Locus, names: list[str]) -> dict[str, np.ndarray]:
    """Of the evidence, at the point."""
    given = {model[name]: np.asarray(value) for name, value in point.items()}
    gradients = pytensor.grad(
        model["evidence"], [model[name] for name in names], disconnected_inputs="ignore"
    )
    found = pytensor.function([], gradients, givens=given, mode=MODE, on_unused_input="ignore")()
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("ancestries", [2, 3, 5])
def test_correlations_are_correlations(ancestries: int) -> None:
    """Positive definite with ones on the diagonal; NumPy and PyTensor agree; sharing all is being one."""
    rng = np.random.default_rng(ancestries)
    partial = rng.random((2, ancestries * (ancestries - 1) // 2))
    shared = np.array([0.0, 0.6])
    found = hyper.correlations(shared, partial, ancestries, np)
    np.testing.assert_allclose(np.diagonal(found, axis1=1, axis2=2), 1.0, rtol=1e-12)
    assert (np.linalg.eigvalsh(found) > 0).all()
    again = hyper.correlations(pt.as_tensor(shared), pt.as_tensor(partial), ancestries, pt).eval(mode=MODE)
    np.testing.assert_allclose(found, again, rtol=1e-12)
    np.testing.assert_allclose(found[0, 0, 1:], 2 * partial[0, : ancestries - 1] - 1, rtol=1e-12)
    np.testing.assert_allclose(hyper.correlations(np.ones(2), partial, ancestries, np), 1.0, rtol=1e-12)


def test_what_is_not_shared_is_an_lkj_matrix() -> None:
    """LKJ(1): all pairs are alike, as they are not where every partial correlation has the same prior."""
    rng, shape = np.random.default_rng(0), hyper.beta_shape(4)
    count = 40_000
    partial = rng.beta(shape, shape, size=(count, 6))
    found = hyper.correlations(np.zeros(count), partial, 4, np)
    pairs = found[:, *np.triu_indices(4, 1)]
    error = (pairs**2).std(axis=0) / np.sqrt(count)
    # marginally (r + 1) / 2 is Beta(d / 2, d / 2) at eta = 1, with variance 1 / (4 (d + 1))
    assert (np.abs((pairs**2).mean(axis=0) - 1 / 5) < 5 * error).all()
    assert (np.abs(pairs.mean(axis=0)) < 5 * pairs.std(axis=0) / np.sqrt(count)).all()


def test_log_bf_of_the_model_is_a_ratio_of_normals(case: ModuleType) -> None:
    rng = np.random.default_rng(8)
    information = rng.uniform(0.0, 30.0, (4, 2, 3))
    information[1, 0, 2] = information[2, 1, 0] = 0.0  # an ancestry that is missing
    root = np.sqrt(information)
    z = rng.normal(0.0, 3.0, (4, 2, 3)) * (root > 0)
    found = hyper.log_bf(z, root, case.DESIGN["variance"], case.DESIGN["reference"], np)
    for row, kind, size in np.ndindex(4, 2, 2):
        covariance = case.DESIGN["variance"][kind, size] * case.DESIGN["reference"][kind]
        expected = case.log_bf((z * root)[row, kind], information[row, kind], covariance)
        assert found[row, kind, size] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_prior_standard_deviations_are_those_of_simulate(case: ModuleType) -> None:
    """For as many sizes and ancestries as a table of priors is made for: three of either."""
    coords = {**case.coords(1), "size": [1, 2, 3]}
    rng, count = np.random.default_rng(6), 3000
    draws = [hyper.simulate(rng, coords) for _ in range(count)]
    for name, expected in hyper.PRIOR_SD.items():
        values = np.array([draw[name] for draw in draws])
        if name == "correlation":
            values = values[:, :, *np.triu_indices(3, 1)]
        # elements of a draw are not independent
        square = np.mean((values - values.mean(axis=0)).reshape(count, -1) ** 2, axis=1)
        error = square.std(ddof=1) / np.sqrt(count)
        assert abs(square.mean() - expected**2) < 5 * error, name


def test_prior_intervals_are_those_of_the_priors() -> None:
    """Against draws of the priors as the card has them; four standard errors of a quantile at 2.5%."""
    rng, n = np.random.default_rng(3), 400_000
    free = np.abs(rng.normal(0.0, 0.5, n)) * np.abs(rng.standard_cauchy(n))
    shared, partial = rng.beta(2.0, 1.0, n), 2 * rng.beta(1.5, 1.5, n) - 1
    drawn = {
        "gene": rng.normal(np.log(1e-2), 2.0, n),
        "variant": rng.normal(np.log(1e-4), 2.0, n),
        "context_effect": np.abs(rng.standard_normal(n)) * rng.standard_normal(n),
        "coefficient": free / np.sqrt(1 + (free / 2.0) ** 2) * rng.standard_normal(n),
        "correlation": shared + (1 - shared) * partial,
    }
    error = 4 * np.sqrt(0.025 * 0.975 / n)
    assert set(hyper.PRIOR_RANGE) == set(drawn)
    for name, (low, high) in hyper.PRIOR_RANGE.items():
        rounding = np.quantile(drawn[name], [0.025 - error, 0.025 + error, 0.975 - error, 0.975 + error])
        assert rounding[0] - 0.005 < low < rounding[1] + 0.005, name
        assert rounding[2] - 0.005 < high < rounding[3] + 0.005, name
