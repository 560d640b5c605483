"""method="pymc" on a locus of the users' kind: models get the right data, results have the same form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from bayestwas.models import Model, load

import bayestwas
from bayestwas.data.results import check_result
from bayestwas.errors import SettingsError
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.settings import Settings

Build = Callable[..., xr.DataTree]
# short chains, compiled by C: what is tested is where the numbers go, not the sampler
QUICK = Sampling(draws=100, tune=150, chains=2, cores=1, sampler="pymc", progress=False)


@pytest.fixture(scope="module")
def locus(build: Build, block: Any) -> xr.DataTree:
    keep = np.zeros(len(block.variants), dtype=bool)
    keep[::3] = True
    return build(
        variants=lambda v: v[keep],
        gwas=lambda g: {a: (z[keep], n[keep]) for a, (z, n) in g.items()},
        ld=lambda ld: {a: (x[keep], n) for a, (x, n) in ld.items()},
        panels=lambda p: [(*x[:2], x[2][keep], *x[3:]) for x in p],
    )


@pytest.fixture(scope="module")
def sampled(locus: xr.DataTree, settings: Settings) -> xr.DataTree:
    # 64 draws: none of the 8 that the tests of the engine live on need lie near what the GWAS has seen
    return bayestwas.fit_weights(
        locus, method="pymc", sampling=QUICK, settings=replace(settings, max_draws=64)
    )


def test_weights_are_those_of_the_engine_where_there_is_signal(
    locus: xr.DataTree, sampled: xr.DataTree, settings: Settings
) -> None:
    """Two priors, one gene with a strong eQTL: the same predictor, up to shrinkage."""
    engine = bayestwas.fit_weights(locus, settings=settings)
    for name in ("weight_mean", "weight_sd"):
        assert sampled["marginals"][name].dims == engine["marginals"][name].dims
        assert sampled["marginals"][name].notnull().all()
    one, two = (tree["marginals"]["weight_mean"].isel(gene=1).values.ravel() for tree in (sampled, engine))
    assert np.abs(two).max() > 0.1
    assert np.corrcoef(one, two)[0, 1] > 0.8


def test_weights_carry_draws_and_diagnostics(sampled: xr.DataTree) -> None:
    genes = sampled.sizes.get("gene") or sampled["marginals"].sizes["gene"]
    draws = sampled["posterior"]["weight"]
    assert draws.dims == ("chain", "draw", "gene", "context", "ancestry", "variant")
    assert draws.sizes["draw"] == 64
    np.testing.assert_allclose(draws.mean(("chain", "draw")), sampled["marginals"]["weight_mean"], atol=1e-6)
    assert sampled["diagnostics"].sizes["gene"] == genes
    assert set(np.unique(sampled["diagnostics"]["status"].values)) <= {"ok", "warning", "failed"}
    assert sampled["hyperparameters"]["h2"].dims[:2] == ("chain", "draw")
    assert sampled.attrs["model"] == "weights"


def test_the_engine_takes_sampled_weights(
    locus: xr.DataTree, sampled: xr.DataTree, settings: Settings
) -> None:
    result = bayestwas.fit_genes(locus, sampled, settings=settings)
    check_result(result)
    pip = result["marginals"]["pip"].values
    assert np.argmax(pip) == 1
    assert pip[1] > 0.8


def test_genes_by_sampling_agree_with_the_engine(locus: xr.DataTree, settings: Settings) -> None:
    settings = replace(settings, draws=32, max_draws=256)  # doubled while PIPs are not precise
    weights = bayestwas.fit_weights(locus, settings=settings)
    result = bayestwas.fit_genes(
        locus, weights, method="pymc", sampling=QUICK, settings=settings, most_candidates=3, joint_draws=32
    )
    check_result(result)
    constant, marginals = result["constant_data"], result["marginals"]
    skipped = constant["status"].values == "skipped"
    assert skipped.sum() >= 1
    assert all("3 candidates" in reason for reason in constant["reason"].values[skipped])
    assert np.isnan(marginals["pip"].values[skipped]).all()
    engine = bayestwas.fit_genes(locus, weights, settings=settings)["marginals"]
    assert engine["pip"].values[1] > 0.9
    # the causal gene; the model learns the scale of effects that the engine has fixed, and averages few draws
    errors = [float(tree[name][1]) for tree, name in ((marginals, "pip_mcse"), (engine, "pip_mcse"))]
    pip = float(marginals["pip"][1])
    assert pip == np.nanmax(marginals["pip"])
    assert abs(pip - float(engine["pip"][1])) < 4 * np.hypot(*errors) + 0.2
    effect, sd = (marginals[name].values[1] for name in ("gene_effect", "gene_effect_sd"))
    assert abs(effect - float(engine["gene_effect"][1])) < 4 * max(sd, float(engine["gene_effect_sd"][1]))
    np.testing.assert_allclose(
        marginals["context_pip"].sum("context").values[~skipped], marginals["pip"].values[~skipped], rtol=1e-6
    )
    assert {"inclusion_rate", "effect_sd", "correlation", "pip"} <= set(result["sampling"].data_vars)


def test_a_model_of_ones_own_goes_wherever_a_name_does(locus: xr.DataTree, settings: Settings) -> None:
    """A Gaussian prior in place of the horseshoe, through `fit_weights`."""
    weights = load("weights")

    def gaussian(given: Any, coords: Any) -> Any:
        return pm.HalfNormal("scale", 0.05) * np.ones(len(coords["variant"]))

    def build(data: Any, coords: Any) -> pm.Model:
        return weights.build(data, coords, prior=gaussian)

    own = replace(weights, name="gaussian", build=build)
    assert isinstance(own, Model)
    fitted = bayestwas.fit_weights(locus, method="pymc", model=own, sampling=QUICK, settings=settings)
    assert fitted.attrs["model"] == "gaussian"
    assert "scale" in fitted["hyperparameters"]
    assert fitted["marginals"]["weight_mean"].notnull().all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "nuts"}, "method='nuts'"),
        ({"method": "pymc", "model": "wights"}, "wights"),
        ({"method": "engine", "sampling": QUICK}, "sampling with method='engine'"),
        ({"method": "pymc", "model": "ancestry"}, "ancestry"),
    ],
)
def test_what_cannot_be_is_told(locus: xr.DataTree, given: dict[str, Any], said: str) -> None:
    with pytest.raises(bayestwas.BayestwasError, match=said) as caught:
        bayestwas.fit_weights(locus, **given)
    assert caught.value.remedy


def test_a_model_without_weights_is_refused(locus: xr.DataTree, settings: Settings) -> None:
    weights = load("weights")

    def build(data: Any, coords: Any) -> pm.Model:
        with pm.Model(coords={"variant": list(coords["variant"])}) as model:
            for name, value in weights.constants(data).items():
                pm.Data(name, value)
            pm.Normal("x")
        return model

    own = replace(weights, name="empty", build=build)
    with pytest.raises(SettingsError, match="holds x"):
        bayestwas.fit_weights(locus, method="pymc", model=own, sampling=QUICK, settings=settings)


@pytest.mark.parametrize("given", [{"most_candidates": 0}, {"most_candidates": 13}, {"joint_draws": 4}])
def test_sizes_out_of_range_are_refused(
    locus: xr.DataTree, settings: Settings, given: dict[str, int]
) -> None:
    weights = bayestwas.fit_weights(locus, settings=settings)
    with pytest.raises(SettingsError, match=f"{next(iter(given))} = "):
        bayestwas.fit_genes(locus, weights, method="pymc", **given)


def test_a_locus_without_candidates_has_a_row_for_every_gene(build: Build, settings: Settings) -> None:
    """No signal, no gene that can be fitted: nothing to sample, and nothing lost."""
    quiet = build(
        gwas=lambda g: {a: (0 * z, n) for a, (z, n) in g.items()},
        genes=lambda genes: genes.assign(status="skipped", reason="left out for the test"),
    )
    weights = bayestwas.fit_weights(quiet, settings=settings)
    result = bayestwas.fit_genes(quiet, weights, method="pymc", settings=settings)
    check_result(result)
    assert (result["constant_data"]["status"].values == "skipped").all()
