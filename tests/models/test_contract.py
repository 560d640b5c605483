"""Every model keeps the contract of models/, and its density is that of an independent computation."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pymc as pm
import pytest
from bayestwas.models import MODELS, load
from scipy import special, stats

HEADINGS = [
    "Question",
    "Equations",
    "Symbols",
    "Priors",
    "Identifiability",
    "When it is wrong",
    "Cost",
    "Measured error of the engine",
    "References",
]
COORDS = {
    "gene_trait": {
        "ancestry": ["EUR", "AFR"],
        "variant": list(range(8)),
        "variant_": list(range(8)),
        "candidate": ["g1", "g2", "v1"],
    },
}
POINTS = {"gene_trait": {"inclusion_rate": 0.2, "effect_sd": 0.15, "correlation": 0.7}}
MODE = "FAST_COMPILE"  # no C compiler at work: seconds, not minutes


def gene_trait_log_density(d: dict[str, Any], point: dict[str, float]) -> tuple[float, float]:
    """Per configuration z over all ancestries is one normal vector, with its covariance written out.
    Likelihood, prior."""
    a, p, k = d["columns"].shape
    omega = (1 - point["correlation"]) * np.eye(a) + point["correlation"]
    logit = special.logit(point["inclusion_rate"]) + d["log_odds"]
    means = np.sqrt(d["n"])[:, None, None] * np.einsum("apq,aqk->apk", d["ld"], d["columns"])
    noise = np.zeros((a, p, a, p))
    for i in range(a):
        noise[i, :, i, :] = d["ld"][i]
    terms = []
    for c in product((0, 1), repeat=k):
        signal = point["effect_sd"] ** 2 * np.einsum(
            "k,apk,ab,bqk->apbq", np.array(c, float), means, omega, means
        )
        covariance = (noise + signal).reshape(a * p, a * p)
        log_prior = sum(np.log(special.expit(x if on else -x)) for x, on in zip(logit, c, strict=True))
        terms.append(log_prior + stats.multivariate_normal.logpdf(d["z"].ravel(), cov=covariance))
    priors = [
        stats.beta.logpdf(point["inclusion_rate"], 1, 9),
        stats.halfnorm.logpdf(point["effect_sd"], scale=0.1),
        stats.beta.logpdf(point["correlation"], 9, 1),
    ]
    return float(special.logsumexp(terms)), float(sum(priors))


DENSITIES = {"gene_trait": gene_trait_log_density}


@pytest.fixture(scope="module", params=sorted(MODELS))
def case(request: pytest.FixtureRequest) -> tuple[str, ModuleType, dict[str, Any], pm.Model]:
    name = request.param
    module = load(name)
    data = module.simulate(np.random.default_rng(4), COORDS[name], dict(POINTS[name], n=np.array([9e3, 3e3])))
    data["log_odds"] = np.array([0.0, 0.5, -1.0])
    return name, module, data, module.build(data, COORDS[name])


def test_every_model_is_covered_here() -> None:
    assert set(MODELS) == set(COORDS) == set(POINTS) == set(DENSITIES)


def test_files_and_registry_agree(case: tuple[str, ModuleType, dict[str, Any], pm.Model]) -> None:
    folder = Path(case[1].__file__ or "").parent
    assert {p.stem for p in folder.glob("*.py")} - {"__init__"} == set(MODELS)
    assert {p.stem for p in folder.glob("*.md")} == set(MODELS)
    assert len(Path(case[1].__file__ or "").read_text().splitlines()) < 150


def test_card_has_every_heading_and_a_doi(case: tuple[str, ModuleType, dict[str, Any], pm.Model]) -> None:
    card = Path(case[1].__file__ or "").with_suffix(".md").read_text()
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == HEADINGS
    assert "doi:10." in card.split("## References")[1]
    for name in [*case[1].DATA, *case[1].PARAMETERS]:
        assert f"`{name}`" in card, name


def test_simulate_returns_every_name_and_respects_fixed(
    case: tuple[str, ModuleType, dict[str, Any], pm.Model],
) -> None:
    name, module, data, _ = case
    assert set(module.DATA) | set(module.PARAMETERS) <= set(data)
    for parameter, value in POINTS[name].items():
        assert data[parameter] == value
    for variable, (dims, unit, meaning) in module.DATA.items():
        assert np.shape(data[variable]) == tuple(len(COORDS[name][dim]) for dim in dims)
        assert unit
        assert meaning


def test_free_variables_are_the_parameters_and_arrays_have_dims(
    case: tuple[str, ModuleType, dict[str, Any], pm.Model],
) -> None:
    _, module, _, model = case
    assert {rv.name for rv in model.free_RVs} == set(module.PARAMETERS)
    for variable in [*model.free_RVs, *model.observed_RVs, *model.deterministics, *model.data_vars]:
        assert variable.ndim == len(model.named_vars_to_dims.get(variable.name, ())), variable.name


def test_log_density_equals_the_independent_computation(
    case: tuple[str, ModuleType, dict[str, Any], pm.Model],
) -> None:
    name, _, data, model = case
    point = {}
    for rv in model.free_RVs:
        transform = model.rvs_to_transforms[rv]
        value = transform.forward(np.asarray(POINTS[name][rv.name]), *rv.owner.inputs).eval(mode=MODE)
        point[model.rvs_to_values[rv].name] = value
    likelihood, priors = DENSITIES[name](data, POINTS[name])
    seen = model.compile_logp(vars=model.observed_RVs, jacobian=False, mode=MODE)(point)
    assert float(seen) == pytest.approx(likelihood, rel=1e-9)  # two factorisations of one 16 x 16 covariance
    whole = model.compile_logp(jacobian=False, mode=MODE)(point)
    # PyMC keeps the whole numbers in the priors, hence their normalising constants, in single precision
    assert float(whole) == pytest.approx(likelihood + priors, abs=1e-6)


def test_pip_and_effect_are_the_exact_conditional_posterior() -> None:
    """The density with a candidate forced out gives its PIP; the effect of a sure one is a ridge estimate."""
    module, name = load("gene_trait"), "gene_trait"
    data = module.simulate(np.random.default_rng(8), COORDS[name], POINTS[name])
    model = module.build(data, COORDS[name])
    given = {model[parameter]: value for parameter, value in POINTS[name].items()}
    pip = model["pip"].eval(given, mode=MODE)
    whole, _ = gene_trait_log_density(data, POINTS[name])
    for k in range(3):
        out = dict(data, log_odds=np.where(np.arange(3) == k, -700.0, data["log_odds"]))
        without, _ = gene_trait_log_density(out, POINTS[name])
        absent = 1 - POINTS[name]["inclusion_rate"]  # the prior of exclusion, one in `without`
        assert 1 - pip[k] == pytest.approx(absent * np.exp(without - whole), rel=1e-8)
    root_n = np.sqrt(data["n"])
    only = dict(data, log_odds=np.array([700.0, -700.0, -700.0]))  # the first candidate, for certain
    model = module.build(only, COORDS[name])
    given = {model[parameter]: value for parameter, value in POINTS[name].items()}
    column = data["columns"][:, :, 0]
    omega = POINTS[name]["effect_sd"] ** 2 * np.array([[1, 0.7], [0.7, 1]])
    information = np.diag(data["n"] * np.einsum("ap,apq,aq->a", column, data["ld"], column))
    score = root_n * np.einsum("ap,ap->a", column, data["z"])
    expected = np.linalg.solve(information + np.linalg.inv(omega), score)
    effect = model["effect"].eval(given, mode=MODE)
    np.testing.assert_allclose(effect[0], expected, rtol=1e-8)
    np.testing.assert_allclose(effect[1:], 0, atol=1e-12)


def test_too_many_candidates_are_refused() -> None:
    module = load("gene_trait")
    with pytest.raises(ValueError, match="at most 12"):
        module.configurations(13)
