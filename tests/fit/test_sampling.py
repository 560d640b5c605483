"""Every sampler and backend draws from the exact posterior, swaps data without a trace of the old, and says
what went wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from bayestwas.models import Model
from scipy import stats

from bayestwas.errors import BayestwasError, DependencyError, InputError, SamplingError, SettingsError
from bayestwas.fit import sampling as module
from bayestwas.fit.convergence import judge
from bayestwas.fit.sampling import Compiled, Sampling, choose, compile_model, diagnose, sample

ENGINES = [("nutpie", "numba"), ("pymc", "c"), ("pymc", "numba")]
K = 5.0  # standard errors of Monte Carlo; chance passes this once in two million comparisons
COORDS = {"unit": ["a", "b"], "visit": [0, 1, 2, 3]}
SHORT = Sampling(draws=20, tune=20, chains=2, cores=1)

# ---- a model with a known posterior: two normal means and the rate of a Poisson ---------------------------

DATA = {
    "y": (("unit", "visit"), "cm", "lengths, of known standard deviation"),
    "sd": (("unit",), "cm", "standard deviation of y"),
    "center": (("unit",), "cm", "prior mean; starting points depend on it"),
    "count": (("visit",), "events", "counts"),
}
PARAMETERS = {"mean": (("unit",), "cm", "of y"), "rate": ((), "events", "of count")}


def constants(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {f"{name}_data": np.asarray(data[name], float) for name in DATA}


def build(data: Mapping[str, Any], coords: Mapping[str, Sequence[Any]], spread: float = 2.0) -> pm.Model:
    arrays = constants(data)
    with pm.Model(coords=dict(coords)) as model:
        given = {
            name: pm.Data(f"{name}_data", arrays[f"{name}_data"], dims=dims)
            for name, (dims, _, _) in DATA.items()
        }
        mean = pm.Normal("mean", given["center"], spread, dims="unit")
        rate = pm.Gamma("rate", alpha=3.0, beta=1.0)
        pm.Normal("y", mean[:, None], given["sd"][:, None], observed=given["y"], dims=("unit", "visit"))
        pm.Poisson("count", rate, observed=given["count"], dims="visit")
        pm.Deterministic("difference", mean - mean[0], dims="unit")  # always 0 for the first unit
    return model


def simulate(rng: np.random.Generator, coords: Any, fixed: Any = None) -> dict[str, Any]:
    center, sd = rng.normal(0, 5, 2), np.array([1.0, 2.0])
    mean, rate = rng.normal(center, 2.0), rng.gamma(3.0)
    y, count = rng.normal(mean[:, None], sd[:, None], (2, 4)), rng.poisson(rate, 4)
    return {"mean": mean, "rate": rate, "y": y, "sd": sd, "center": center, "count": count}


MODEL = Model("conjugate", DATA, PARAMETERS, constants, build, simulate)
ONE, TWO = (simulate(np.random.default_rng(seed), COORDS) for seed in (1, 2))


def exact(data: Mapping[str, Any]) -> dict[str, Any]:
    """Frozen scipy distributions of the posterior."""
    precision = 1 / 2.0**2 + 4 / data["sd"] ** 2
    center = (data["center"] / 2.0**2 + data["y"].sum(axis=1) / data["sd"] ** 2) / precision
    return {
        "mean": stats.norm(center, precision**-0.5),
        "rate": stats.gamma(3.0 + data["count"].sum(), scale=1 / (1.0 + 4)),
    }


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def engine(request: pytest.FixtureRequest) -> Sampling:
    return Sampling(sampler=request.param[0], backend=request.param[1])


@pytest.fixture(scope="module")
def compiled(engine: Sampling) -> Compiled:
    """Compiled for the first data."""
    return compile_model(MODEL, ONE, COORDS, engine)


# ---- draws -------------------------------------------------------------------------------------------------


def test_draws_are_of_the_exact_posterior(compiled: Compiled) -> None:
    """Mean and spread within K standard errors, after the data were swapped."""
    tree = compiled.sample(TWO, seed=11, sampling=Sampling())
    assert tree.attrs["status"] != "failed", tree.attrs["reason"]
    ess = diagnose(tree)[["ess_bulk", "ess_tail"]].min(axis=1)  # of the worst element
    for name, truth in exact(TWO).items():
        draws = tree["posterior"].dataset[name].values.reshape(2000, -1)
        z = (draws.mean(axis=0) - truth.mean()) / (truth.std() / np.sqrt(ess[name]))
        assert np.abs(z).max() < K
        # Var(sample variance) = (kurtosis - 1) variance^2 / ess, kurtosis 3 + excess
        excess = np.max(truth.stats(moments="k"))
        z = (draws.var(axis=0) / truth.var() - 1) / np.sqrt((2 + excess) / ess[name])
        assert np.abs(z).max() < K
    posterior = tree["posterior"].dataset
    np.testing.assert_allclose(
        posterior["difference"], posterior["mean"] - posterior["mean"].sel(unit="a"), atol=1e-12
    )


def test_swapped_data_give_the_draws_of_a_fresh_compile(compiled: Compiled, engine: Sampling) -> None:
    fresh = compile_model(MODEL, TWO, COORDS, engine).sample(TWO, seed=3, sampling=SHORT)
    compiled.sample(ONE, seed=5, sampling=SHORT)
    swapped = compiled.sample(TWO, seed=3, sampling=SHORT)
    for group in ("posterior", "sample_stats", "observed_data", "constant_data"):
        xr.testing.assert_identical(swapped[group].dataset, fresh[group].dataset)


def test_seeds_and_nothing_else_decide_the_draws(compiled: Compiled) -> None:
    first = compiled.sample(ONE, seed=3, sampling=SHORT)["posterior"].dataset
    other_seed = compiled.sample(ONE, seed=4, sampling=SHORT)["posterior"].dataset
    other_cores = compiled.sample(ONE, seed=3, sampling=replace(SHORT, cores=2))["posterior"].dataset
    xr.testing.assert_identical(first, other_cores)
    assert (first["mean"] != other_seed["mean"]).any()
    assert (first["mean"][0] != first["mean"][1]).any()  # chains


def test_the_result_is_labelled_and_says_where_it_comes_from(compiled: Compiled, engine: Sampling) -> None:
    labels = {"unit": ["c", "d"], "visit": [10, 11, 12, 13]}
    tree = compiled.sample(TWO, seed=7, coords=labels, sampling=SHORT)
    posterior, observed, given = (
        tree[group].dataset for group in ("posterior", "observed_data", "constant_data")
    )
    assert posterior["mean"].dims == ("chain", "draw", "unit")
    assert posterior["rate"].dims == ("chain", "draw")
    assert list(posterior.data_vars) == ["mean", "rate", "difference"]
    assert list(posterior["unit"].values) == ["c", "d"]
    assert dict(posterior.sizes) == {"chain": 2, "draw": 20, "unit": 2}
    np.testing.assert_array_equal(observed["y"].sel(unit="d", visit=12), TWO["y"][1, 2])
    np.testing.assert_array_equal(observed["count"], TWO["count"])
    assert set(given.data_vars) == {*(f"{name}_data" for name in DATA), "sd", "center"}
    np.testing.assert_array_equal(given["sd"], TWO["sd"])
    assert set(tree["sample_stats"].data_vars) == set(module.STATISTICS)
    attrs = tree.attrs
    assert (attrs["model"], attrs["sampler"], attrs["backend"]) == (
        "conjugate",
        engine.sampler,
        engine.backend,
    )
    assert (attrs["seed"], attrs["draws"], attrs["tune"], attrs["chains"]) == (7, 20, 20, 2)
    assert attrs["sampling_seconds"] > 0
    assert attrs["compile_seconds"] == compiled.compile_seconds > 0
    assert (attrs["status"], attrs["reason"]) == judge(tree)
    assert "ESS" in attrs["reason"]  # 40 draws cannot be 200 independent ones
    assert json.loads(attrs["versions"])["pymc"] == pm.__version__


def test_nothing_is_said_without_progress(compiled: Compiled, capfd: pytest.CaptureFixture[str]) -> None:
    compiled.sample(ONE, seed=3, sampling=replace(SHORT, cores=2))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_left_to_the_samplers(progress: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own bars need a terminal to be seen."""
    asked = []

    def stopped(*_: Any, **options: Any) -> None:
        asked.append(options)
        raise RuntimeError("enough")

    monkeypatch.setattr(pm, "sample", stopped)
    settings = replace(SHORT, sampler="pymc", backend="c", progress=progress)
    with pytest.raises(SamplingError, match="RuntimeError: enough"):
        sample(MODEL, ONE, COORDS, sampling=settings)
    assert (asked[0]["progressbar"], asked[0]["quiet"]) == (progress, not progress)


def test_data_that_are_not_finite_are_named(compiled: Compiled) -> None:
    broken = ONE | {"y": np.full((2, 4), np.nan)}
    with pytest.raises(SamplingError) as caught:
        compiled.sample(broken, seed=1, sampling=SHORT)
    assert "y_data" in caught.value.given
    assert caught.value.remedy
    assert np.isfinite(compiled.sample(ONE, seed=1, sampling=SHORT)["posterior"]["mean"]).all()


def test_other_sizes_are_refused(compiled: Compiled) -> None:
    with pytest.raises(InputError, match="shape") as caught:
        compiled.sample(ONE | {"count": [1, 2, 3]}, seed=1)
    assert "compile again" in caught.value.remedy
    more = {"unit": ["a", "b", "c"], "visit": COORDS["visit"]}
    larger = {name: np.concatenate([np.atleast_1d(ONE[name])] * 2)[:3] for name in ("y", "sd", "center")}
    with pytest.raises(InputError, match="sizes are not") as caught:
        compiled.sample(ONE | larger, seed=1, coords=more)
    assert "Compile again" in caught.value.remedy


def test_sampler_and_backend_stay_those_of_the_compilation(compiled: Compiled, engine: Sampling) -> None:
    other = "pymc" if engine.sampler == "nutpie" else "nutpie"
    with pytest.raises(SettingsError, match="compiled for"):
        compiled.sample(ONE, seed=1, sampling=Sampling(sampler=other))


@pytest.mark.parametrize("cores", [1, 2])
def test_an_interrupt_ends_it(compiled: Compiled, cores: int) -> None:
    """Both samplers by themselves would hand back the draws so far, or begin the next chain."""
    long = replace(SHORT, draws=200_000, cores=cores)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        compiled.sample(ONE, seed=1, sampling=long)


# ---- status ------------------------------------------------------------------------------------------------


def density_model(name: str, make: Callable[[], Any]) -> Model:
    """A model whose posterior `make` states inside a pm.Model; its data say nothing."""

    def made(data: Mapping[str, Any], coords: Any) -> pm.Model:
        with pm.Model(coords=coords) as model:
            pm.Data("silent", np.zeros(1), dims="one")
            make()
        return model

    table = {"silent": (("one",), "", "")}
    return Model(name, table, {}, lambda data: {"silent": np.zeros(1)}, made, simulate)


def bimodal() -> None:
    """Means of +-8 with unit variance: no chain goes from one to the other."""
    x = pm.Uniform("x", -20, 20)
    pm.Potential("modes", pm.math.logaddexp(-0.5 * (x - 8) ** 2, -0.5 * (x + 8) ** 2))


def funnel() -> None:
    scale = pm.Normal("scale", 0, 3)
    pm.Normal("x", 0, pm.math.exp(scale / 2), shape=9)


@pytest.mark.parametrize(
    ("make", "statuses", "said"),
    [(bimodal, {"failed"}, r"R-hat [0-9.]+ at x "), (funnel, {"warning", "failed"}, "draws diverged")],
    ids=["bimodal", "funnel"],
)
def test_hard_targets_get_a_status_and_advice(make: Callable[[], Any], statuses: set[str], said: str) -> None:
    model = density_model(make.__name__, make)
    settings = Sampling(300, 300, chains=8, cores=1, target_accept=0.8, sampler="pymc", backend="c")
    tree = sample(model, {"silent": np.zeros(1)}, {"one": [0]}, sampling=settings, seed=2)
    assert tree.attrs["status"] in statuses
    assert re.search(said, tree.attrs["reason"])


def chains(posterior: Mapping[str, np.ndarray], **statistics: np.ndarray) -> xr.DataTree:
    shape = next(iter(posterior.values())).shape[:2]
    told = {"diverging": np.zeros(shape, bool), "reached_max_treedepth": np.zeros(shape, bool)} | statistics
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {name: (("chain", "draw", "gene")[: value.ndim], value) for name, value in posterior.items()},
                coords={"gene": ["A", "B"]} if any(value.ndim == 3 for value in posterior.values()) else None,
            ),
            "sample_stats": xr.Dataset({name: (("chain", "draw"), value) for name, value in told.items()}),
        }
    )


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).standard_normal(shape)


def test_independent_draws_are_ok_and_elements_that_never_change_do_not_count() -> None:
    moving = noise(4, 500, 2)
    moving[:, :, 1] = 1.0
    tree = chains({"pip": moving, "fixed": np.ones((4, 500))})
    assert judge(tree) == ("ok", "")
    table = diagnose(tree)
    assert table.loc["pip", "element"] == "pip[A]"
    assert table.loc["pip", "rhat"] == pytest.approx(1, abs=0.01)
    assert np.isnan(table.loc["fixed", "rhat"])


def shifted() -> np.ndarray:
    """One chain of gene B is elsewhere."""
    values = noise(4, 500, 2)
    values[3, :, 1] += 3
    return values


def sticky() -> np.ndarray:
    """Each draw is repeated ten times: 200 independent ones, where 400 are asked for."""
    return np.repeat(noise(4, 50), 10, axis=1)


def broken() -> np.ndarray:
    values = noise(4, 500)
    values[0, 7] = np.nan
    return values


FEW = np.arange(2000).reshape(4, 500) % 400 == 0  # 5 of 2,000 draws
MANY = np.arange(2000).reshape(4, 500) % 4 == 0


@pytest.mark.parametrize(
    ("tree", "status", "said"),
    [
        (lambda: chains({"effect": shifted()}), "failed", "effect[B]"),
        (lambda: chains({"rate": sticky()}), "warning", "bulk ESS"),
        (lambda: chains({"rate": broken()}), "failed", "1 values of rate are not finite"),
        (lambda: chains({"rate": noise(4, 500)}, diverging=FEW), "warning", "5 of 2000 draws diverged"),
        (lambda: chains({"rate": noise(4, 500)}, diverging=MANY), "failed", "500 of 2000 draws diverged"),
        (lambda: chains({"rate": noise(4, 500)}, reached_max_treedepth=MANY), "warning", "25% of the draws"),
        (lambda: chains({"rate": noise(1, 500)}), "warning", "raise chains"),
        (lambda: chains({"rate": noise(2, 2)}), "warning", "no convergence diagnostics"),
    ],
    ids=["rhat", "ess", "nan", "few divergences", "many divergences", "tree depth", "one chain", "few draws"],
)
def test_status_says_what_where_and_what_to_do(
    tree: Callable[[], xr.DataTree], status: str, said: str
) -> None:
    found, reason = judge(tree())
    assert found == status
    assert said in reason


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"draws": 0},
        {"tune": 1.5},
        {"chains": True},
        {"cores": -1},
        {"target_accept": 1.0},
        {"sampler": "stan"},
        {"backend": "jax"},
        {"sampler": "nutpie", "backend": "c"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        Sampling(**wrong)
    assert all(name in caught.value.given for name in wrong)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("installed", "compiler", "asked", "loci", "chosen"),
    [
        ({"nutpie", "numba"}, True, ("auto", "auto"), 1, ("pymc", "c")),
        ({"nutpie", "numba"}, True, ("auto", "auto"), 100, ("nutpie", "numba")),
        ({"nutpie", "numba"}, False, ("auto", "auto"), 1, ("nutpie", "numba")),
        ({"nutpie", "numba"}, True, ("auto", "numba"), 1, ("nutpie", "numba")),
        ({"nutpie", "numba"}, True, ("auto", "c"), 100, ("pymc", "c")),
        ({"nutpie", "numba"}, True, ("pymc", "auto"), 100, ("pymc", "c")),
        ({"nutpie", "numba"}, True, ("nutpie", "auto"), 1, ("nutpie", "numba")),
        ({"numba"}, True, ("auto", "auto"), 100, ("pymc", "c")),
        ({"numba"}, False, ("auto", "auto"), 1, ("pymc", "numba")),
        ({"numba"}, False, ("pymc", "c"), 1, "C++ compiler"),
        ({"numba"}, True, ("nutpie", "auto"), 1, "nutpie, which is not installed"),
        (set(), True, ("pymc", "numba"), 1, "numba, which is not installed"),
    ],
)
def test_choice_of_sampler_and_backend(
    installed: set[str],
    compiler: bool,
    asked: tuple[str, str],
    loci: int,
    chosen: tuple[str, str] | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_installed", lambda *wanted: set(wanted) <= installed)
    monkeypatch.setattr(module, "_compiler", lambda: compiler)
    settings = Sampling(sampler=asked[0], backend=asked[1], loci=loci)
    if isinstance(chosen, str):
        with pytest.raises(DependencyError) as caught:
            choose(settings)
        assert chosen in caught.value.rule
    else:
        assert (choose(settings).sampler, choose(settings).backend) == chosen


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ONE.items() if key != name}


def undeclared(data: Mapping[str, Any], coords: Any) -> pm.Model:
    model = build(data, coords)
    with model:
        pm.Data("more", np.zeros(2), dims="unit")
    return model


def discrete(data: Mapping[str, Any], coords: Any) -> pm.Model:
    model = build(data, coords)
    with model:
        pm.Bernoulli("inclusion", 0.5)
    return model


def refusing(data: Mapping[str, Any], coords: Any) -> pm.Model:
    raise ValueError("13 candidates; at most 12 can be enumerated")


@pytest.mark.parametrize(
    ("model", "data", "coords", "error", "said"),
    [
        ("gene_trai", ONE, COORDS, SettingsError, "Did you mean 'gene_trait'"),
        (MODEL, without("sd"), COORDS, InputError, "data without sd"),
        (MODEL, ONE, {"unit": ["a", "b"]}, InputError, "coords without visit"),
        (MODEL, ONE | {"sd": [1.0]}, COORDS, InputError, "'sd' has shape (1,)"),
        (replace(MODEL, build=undeclared), ONE, COORDS, InputError, "'more'"),
        (replace(MODEL, build=discrete), ONE, COORDS, InputError, "inclusion"),
        (replace(MODEL, build=refusing), ONE, COORDS, InputError, "13 candidates"),
    ],
    ids=["name", "data", "coords", "shape", "containers", "discrete", "build"],
)
def test_what_cannot_be_compiled_is_refused(
    model: Any, data: Any, coords: Any, error: type[BayestwasError], said: str
) -> None:
    with pytest.raises(error) as caught:
        compile_model(model, data, coords)
    assert said in str(caught.value)


def test_options_reach_build() -> None:
    """With a prior this narrow the posterior is the prior."""
    settings = Sampling(sampler="pymc", backend="c", cores=1)
    tree = sample(MODEL, ONE, COORDS, sampling=settings, spread=1e-6)
    np.testing.assert_allclose(tree["posterior"]["mean"].mean(("chain", "draw")), ONE["center"], atol=1e-5)
