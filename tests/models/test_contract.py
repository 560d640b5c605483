"""Every model keeps the contract of models/, and its density is that of an independent computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bayestwas.models
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from bayestwas.models import MODELS, Model, card, load
from scipy import stats

HEADINGS = [
    "Question",
    "Equations",
    "Symbols",
    "Priors",
    "Identifiability",
    "When it is wrong",
    "Cost",
    "Calibration",
    "Measured error of the engine",
    "References",
]
FOLDER = Path(bayestwas.models.__file__).parent
MODE = "FAST_COMPILE"
PRIOR_DRAWS = 400
SCORES = 150
SMALLEST_P = 1e-6  # of a test that is right: a few hundred are made here
LARGEST_Z = 5.0
# About 150 lines. `hyper` alone has an LKJ matrix and Cholesky factors, written out for speed.
LINES = {"hyper": 240}


def observed_terms(built: pm.Model) -> list[Any]:
    return [*built.observed_RVs, *built.potentials]


def test_files_and_registry_agree() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == set(MODELS)
    assert {path.stem for path in FOLDER.glob("*.md")} == set(MODELS)
    assert {path.stem for path in (Path(__file__).parent / "cases").glob("*.py")} == set(MODELS)


def test_unknown_names_and_own_models() -> None:
    with pytest.raises(KeyError):
        load("genes")
    with pytest.raises(KeyError):
        card("genes")
    own = Model("own", {}, {}, dict, dict, dict)
    assert load(own) is own


@pytest.mark.parametrize("name", MODELS)
def test_module_is_short(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= LINES.get(name, 160)


@pytest.mark.parametrize("name", MODELS)
def test_card_has_every_heading_and_a_doi(name: str) -> None:
    text, model = card(name), load(name)
    assert text.startswith(f"# {name}: ")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == HEADINGS
    assert "doi:10." in text.split("## References")[1]
    for variable in [*model.data, *model.parameters]:
        assert f"`{variable}`" in text, variable


def test_simulate_returns_every_name_and_respects_fixed(contract: Any) -> None:
    model, case, data = contract.model, contract.case, contract.data
    assert set(model.data) | set(model.parameters) <= set(data)
    for parameter, value in case.POINT.items():
        np.testing.assert_array_equal(data[parameter], value)
    for table in (model.data, model.parameters):
        for variable, (dims, unit, meaning) in table.items():
            shape = tuple(len(case.COORDS[dim]) for dim in dims)
            assert np.shape(data[variable]) == shape, variable
            assert unit
            assert meaning
    free = model.simulate(np.random.default_rng(5), case.COORDS, dict(case.FIXED))
    assert set(model.data) | set(model.parameters) <= set(free)


def test_free_variables_are_the_parameters_and_arrays_have_dims(contract: Any) -> None:
    model, built = contract.model, contract.built
    assert {rv.name for rv in built.free_RVs} == set(model.parameters) == set(contract.case.POINT)
    assert {rv.name for rv in built.data_vars} == set(model.constants(contract.data))
    assert observed_terms(built)
    everything = [*built.free_RVs, *built.observed_RVs, *built.deterministics, *built.data_vars]
    for variable in everything:
        assert variable.ndim == len(built.named_vars_to_dims.get(variable.name, ())), variable.name
    for rv in built.free_RVs:
        assert tuple(built.named_vars_to_dims.get(rv.name, ())) == model.parameters[rv.name][0], rv.name


def test_log_density_equals_the_independent_computation(contract: Any) -> None:
    built, case, point = contract.built, contract.case, contract.unconstrained()
    likelihood, prior = case.log_density(contract.data, case.POINT)
    assert likelihood + prior == pytest.approx(case.GOLDEN, rel=1e-8, abs=1e-8)
    compiled = built.compile_logp(vars=observed_terms(built), jacobian=False, mode=MODE)
    # two factorisations of covariances with condition numbers up to 1e6
    assert float(compiled(point)) == pytest.approx(likelihood, rel=1e-8, abs=1e-7)
    whole = float(built.compile_logp(jacobian=False, mode=MODE)(point))
    # PyMC keeps whole numbers in priors, hence normalising constants, in single precision
    assert whole == pytest.approx(likelihood + prior, rel=1e-7, abs=2e-6)


def test_swapped_data_give_the_density_of_a_fresh_build(contract: Any) -> None:
    point, other = contract.unconstrained(), contract.simulate(41)
    swapped = contract.built.compile_logp(mode=MODE)
    before = float(swapped(point))
    with contract.built:
        pm.set_data(contract.model.constants(other))
    after = float(swapped(point))
    with contract.built:
        pm.set_data(contract.model.constants(contract.data))
    fresh = contract.model.build(other, contract.case.COORDS).compile_logp(mode=MODE)
    assert after == pytest.approx(float(fresh(point)), rel=1e-12)
    assert after != before


def test_priors_of_the_model_and_of_simulate_agree(contract: Any) -> None:
    """Kolmogorov-Smirnov, for the first element and the mean of every parameter."""
    model, case, built = contract.model, contract.case, contract.built
    rng = np.random.default_rng(7)
    told = [model.simulate(rng, case.COORDS, dict(case.FIXED)) for _ in range(PRIOR_DRAWS)]
    drawn = pm.draw(built.free_RVs, draws=PRIOR_DRAWS, random_seed=8, mode=MODE)
    for rv, values in zip(built.free_RVs, drawn, strict=True):
        one = np.asarray(values, float).reshape(PRIOR_DRAWS, -1)
        two = np.array([np.ravel(draw[rv.name]) for draw in told], float)
        for summary in (lambda x: x[:, 0], lambda x: x.mean(axis=1)):
            assert stats.ks_2samp(summary(one), summary(two)).pvalue > SMALLEST_P, rv.name


def test_what_simulate_draws_is_what_the_density_says(contract: Any) -> None:
    """Over data simulated at a point, the gradient of the log likelihood there has mean zero (Fisher)."""
    built, model, point = contract.built, contract.model, contract.unconstrained()
    values = built.value_vars
    [log_likelihood] = [built.logp(vars=observed_terms(built), jacobian=False)]
    gradients = pytensor.grad(log_likelihood, values, disconnected_inputs="ignore")
    flat = pt.concatenate([gradient.ravel() for gradient in gradients])
    compiled = pytensor.function(values, flat, mode=MODE, on_unused_input="ignore")
    arguments = [point[value.name] for value in values]
    seen = []
    for index in range(SCORES):
        with built:
            pm.set_data(model.constants(contract.simulate(6, index)))
        seen.append(compiled(*arguments))
    with built:
        pm.set_data(model.constants(contract.data))
    scores = np.array(seen)
    assert np.isfinite(scores).all()
    error = scores.std(axis=0, ddof=1) / np.sqrt(SCORES)
    moved = error > 0
    assert moved.any()
    np.testing.assert_allclose(scores[:, ~moved], 0, atol=1e-9)
    z = scores.mean(axis=0)[moved] / error[moved]
    assert np.abs(z).max() < LARGEST_Z, dict(zip(np.flatnonzero(moved), z, strict=True))
