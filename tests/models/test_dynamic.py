"""`dynamic`: what the curves, the times of activity, missing estimates and the approximation are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from bayestwas.models import load
from bayestwas.models.dynamic import _sines, constants

MODE = "FAST_COMPILE"
COORDS = {
    "signal": ["rs1", "rs2", "rs3"],
    "time": list(range(6)),
    "time_": list(range(6)),
    "grid": list(range(13)),
}
DERIVED = ("curve", "curve_grid", "active", "gene_active", "ever_active", "onset", "peak_time")


def locus(seed: int, **fixed: Any) -> dict[str, Any]:
    return load("dynamic").simulate(np.random.default_rng(seed), COORDS, fixed)


def derived(data: dict[str, Any], model: pm.Model) -> dict[str, np.ndarray]:
    """Deterministics of the model at the parameters in `data`."""
    given = {rv: np.asarray(data[rv.name], float) for rv in model.free_RVs}
    values = model.compile_fn(
        [model[name] for name in DERIVED], inputs=list(given), mode=MODE, point_fn=False
    )(*given.values())
    return dict(zip(DERIVED, values, strict=True))


def test_curves_and_times_of_activity_are_those_of_the_simulation() -> None:
    """Levels near the threshold: some curves cross it, some never do."""
    model, never = None, 0
    for seed in range(8):
        data = locus(seed, threshold=0.15, lengthscale=0.2)
        if model is None:
            model = load("dynamic").build(data, COORDS)
        pm.set_data(constants(data), model=model)
        found = derived(data, model)
        for name in DERIVED:
            np.testing.assert_allclose(found[name], np.asarray(data[name], float), rtol=1e-9, atol=1e-12)
        never += int(np.sum(data["ever_active"] == 0))
    assert 0 < never < 24


def test_onset_is_the_first_active_time_and_the_last_of_the_grid_where_there_is_none() -> None:
    data = locus(1, threshold=0.3, level=np.array([0.0, 1.0, 3.0]), amplitude=np.array([0.0, 0.9, 0.0]))
    quiet, moving, steady = np.abs(data["curve_grid"]) > 0.3
    assert not quiet.any()
    assert steady.all()
    assert moving.any()
    expected = [data["grid_times"][-1], data["grid_times"][moving][0], data["grid_times"][0]]
    found = derived(data, load("dynamic").build(data, COORDS))
    np.testing.assert_array_equal(found["onset"], expected)
    np.testing.assert_array_equal(found["ever_active"], [0, 1, 1])
    np.testing.assert_array_equal(found["gene_active"], np.ones(13))


@pytest.mark.parametrize("way", ["estimate is NaN", "infinite error"])
def test_a_missing_estimate_is_integrated_out(way: str) -> None:
    """The quadratic form is that of the times that are there, whatever stands at those that are not."""
    data = locus(3)
    estimate, covariance = data["estimate"].copy(), data["covariance"].copy()
    if way == "infinite error":
        covariance[1, 2, 2], estimate[1, 2] = np.inf, 1e6
    else:
        estimate[1, 2] = np.nan
    found = constants(data | {"estimate": estimate, "covariance": covariance})
    kept = [0, 1, 3, 4, 5]
    curve = data["curve"][1]
    residual = found["whitened"][1] - found["whitening"][1] @ curve
    left = (data["estimate"][1] - curve)[kept]
    expected = left @ np.linalg.solve(data["covariance"][1][np.ix_(kept, kept)], left)
    assert residual @ residual == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(found["whitening"][1][:, 2], 0, atol=1e-15)


def test_sines_have_the_correlation_of_the_exact_process() -> None:
    """40 sines, over the central 95% of the prior of the lengthscale; the card states the error."""
    position = np.linspace(-0.5, 0.5, 41)
    apart = np.abs(np.subtract.outer(position, position))
    for lengthscale, largest in ((0.11, 0.03), (0.3, 0.001), (0.8, 0.01)):
        r = np.sqrt(5) * apart / lengthscale
        root = _sines(position, lengthscale, 40).eval(mode=MODE)
        assert np.abs(root @ root.T - (1 + r + r**2 / 3) * np.exp(-r)).max() < largest


def test_the_approximate_model_has_curves_of_the_same_covariance() -> None:
    """Given level, amplitude and lengthscale: covariance of the curve over draws of the waves."""
    data, draws = locus(4), 4000
    given = {"level": np.zeros(3), "amplitude": np.ones(3), "lengthscale": 0.3}
    model = pm.do(load("dynamic").build(data, COORDS, basis=40), given)
    curves, smooth = pm.draw([model["curve"], model["curve_grid"]], draws=draws, random_seed=5, mode=MODE)
    seen = np.concatenate([curves, smooth], axis=2).reshape(draws * 3, -1) / data["effect_scale"]
    moments = np.concatenate([data["times"], data["grid_times"]])
    r = np.sqrt(5) * np.abs(np.subtract.outer(moments, moments)) / np.ptp(moments) / 0.3
    expected = (1 + r + r**2 / 3) * np.exp(-r)
    z = (seen.T @ seen / len(seen) - expected) / np.sqrt((1 + expected**2) / len(seen))
    assert np.abs(z).max() < 5  # the error of the basis, 0.001, is a tenth of the Monte Carlo error
