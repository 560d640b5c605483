"""Effects of the eQTLs of one gene along time or another ordered condition, in PyMC. Its card is dynamic.md.

    effect_s(t) = scale (level_s + amplitude_s f_s(t)),  f_s ~ GP(0, Matern 5/2, lengthscale)
    estimate_s ~ Normal(effect_s(times), covariance_s),  over the times at which signal s was measured

Curves are evaluated at the times of the data and on a grid. Exact by a Cholesky factor, or, for many times,
in a Hilbert-space basis of sines (Riutort-Mayol et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

LEVEL_SD, AMPLITUDE_SD = 1.0, 0.5  # relative to the scale of the effects
LENGTHSCALE = (np.log(0.3), 0.5)  # log normal; in spans, first to last time
JITTER = 1e-6  # variance added to each value of a curve of unit variance
WIDTH = 2.0  # half the interval of the sines, in spans: four times what the curves need

# name: (dims, unit, meaning)
DATA = {
    "estimate": (("signal", "time"), "expression SD per SD of genotype", "of an effect; NaN where missing"),
    "covariance": (("signal", "time", "time_"), "unit of the estimates, squared", "of their errors"),
    "times": (("time",), "any unit of time", "of the estimates, or ranks of ordered conditions"),
    "grid_times": (("grid",), "unit of the times", "increasing; where the curves are wanted"),
    "threshold": ((), "unit of the estimates", "an effect larger than this is active"),
    "effect_scale": ((), "unit of the estimates", "prior standard deviation of an average effect"),
}
PARAMETERS = {
    "level": (("signal",), "effect scales", "average effect of a signal, over very many times"),
    "amplitude": (("signal",), "effect scales", "how far the effect of a signal moves about its level"),
    "lengthscale": ((), "spans of time", "over which effects change, alike for all signals"),
    "wave": (("signal", "moment"), "standard normal", "the movement f, before it is made smooth"),
}
CONTAINERS = {
    "position": ("moment",), "hour": ("grid",), "whitening": ("signal", "time", "time_"),
    "whitened": ("signal", "time"), "active_above": (), "unit": (),
}  # fmt: skip
Coords = Mapping[str, Sequence[Any]]


def constants(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """CONTAINERS: moments (times, then grid) in spans about the middle; the grid; per signal the inverse
    Cholesky factor of the errors, zero where an estimate is missing, and the estimates times it."""
    estimate, covariance = (np.asarray(data[name], float) for name in ("estimate", "covariance"))
    present = np.isfinite(estimate) & np.isfinite(np.diagonal(covariance, axis1=1, axis2=2))
    both = present[:, :, None] & present[:, None, :]
    factor = np.linalg.cholesky(np.where(both, covariance, np.eye(estimate.shape[1])))
    whitening = np.linalg.inv(factor) * present[:, :, None]
    moments = np.concatenate([data["times"], data["grid_times"]])
    middle, span = (moments.max() + moments.min()) / 2, moments.max() - moments.min()
    return {
        "position": (moments - middle) / span,
        "hour": np.asarray(data["grid_times"], float),
        "whitening": whitening,
        "whitened": np.einsum("stu,su->st", whitening, np.where(present, estimate, 0.0)),
        "active_above": np.asarray(data["threshold"], float),
        "unit": np.asarray(data["effect_scale"], float),
    }


def build(data: Mapping[str, Any], coords: Coords, *, basis: int | None = None) -> pm.Model:
    """The model of the signals of one gene. `coords` has the dims of DATA.

    `basis`: None, exact; else the number of sines of the approximation, and `wave` is (signal, basis).
    """
    times, moments = len(coords["time"]), len(coords["time"]) + len(coords["grid"])
    size = ("moment", moments) if basis is None else ("basis", basis)
    own = {"moment": range(moments), size[0]: range(size[1])}
    with pm.Model(coords=own | {key: list(labels) for key, labels in coords.items()}) as model:
        given = {key: pm.Data(key, value, dims=CONTAINERS[key]) for key, value in constants(data).items()}
        level = pm.Normal("level", 0.0, LEVEL_SD, dims="signal")
        amplitude = pm.HalfNormal("amplitude", AMPLITUDE_SD, dims="signal")
        lengthscale = pm.LogNormal("lengthscale", *LENGTHSCALE)
        wave = pm.Normal("wave", dims=("signal", size[0]))
        near = given["position"][:times]
        if basis is None:  # the grid is not in the likelihood, hence not in the gradient
            at_times = wave[:, :times] @ _exact(near, lengthscale).T
            at_grid = wave @ _exact(given["position"], lengthscale)[times:].T
        else:
            at_times = wave @ _sines(near, lengthscale, basis).T
            at_grid = wave @ _sines(given["position"][times:], lengthscale, basis).T
        curve, smooth = (
            given["unit"] * (level[:, None] + amplitude[:, None] * f) for f in (at_times, at_grid)
        )
        curve = pm.Deterministic("curve", curve, dims=("signal", "time"))
        smooth = pm.Deterministic("curve_grid", smooth, dims=("signal", "grid"))
        strength = pt.abs(smooth)
        active = pt.cast(strength > given["active_above"], "float64")
        ever = pt.max(active, axis=1)
        first = pt.where(ever > 0, pt.argmax(active, axis=1), len(coords["grid"]) - 1)
        pm.Deterministic("active", active, dims=("signal", "grid"))
        pm.Deterministic("gene_active", pt.max(active, axis=0), dims="grid")
        pm.Deterministic("ever_active", ever, dims="signal")
        pm.Deterministic("onset", given["hour"][first], dims="signal")
        pm.Deterministic("peak_time", given["hour"][pt.argmax(strength, axis=1)], dims="signal")
        mean = (given["whitening"] @ curve[:, :, None])[:, :, 0]
        pm.Normal("estimate", mean, 1.0, observed=given["whitened"], dims=CONTAINERS["whitened"])
    return model


def _exact(position: Any, lengthscale: Any) -> Any:
    """(moment, moment) Cholesky factor of the Matern 5/2 correlation."""
    apart = np.sqrt(5.0) * pt.abs(position[:, None] - position[None, :]) / lengthscale
    correlation = (1.0 + apart + apart**2 / 3.0) * pt.exp(-apart)
    return pt.linalg.cholesky(correlation + JITTER * pt.eye(position.shape[0]))


def _sines(position: Any, lengthscale: Any, basis: int) -> Any:
    """(moment, basis) sines on [-WIDTH, WIDTH] times the root of the Matern 5/2 spectral density."""
    frequency = np.arange(1, basis + 1) * np.pi / (2 * WIDTH)
    kappa = np.sqrt(5.0) / lengthscale
    density = 16.0 / 3.0 * kappa**5 / (kappa**2 + frequency**2) ** 3
    return pt.sin(frequency * (position[:, None] + WIDTH)) * pt.sqrt(density / WIDTH)


def simulate(
    rng: np.random.Generator, coords: Coords, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One draw of everything: PARAMETERS, DATA and what `build` derives. Entries of `fixed` are taken as
    given; a design that is not is made up: two days, standard errors of 0.06, correlated by 0.3 over time."""
    s, t, g = (len(coords[name]) for name in ("signal", "time", "grid"))
    out: dict[str, Any] = {
        "level": rng.normal(0.0, LEVEL_SD, s),
        "amplitude": np.abs(rng.normal(0.0, AMPLITUDE_SD, s)),
        "lengthscale": np.exp(rng.normal(*LENGTHSCALE)),
        "wave": rng.normal(size=(s, t + g)),
        "times": np.linspace(0.0, 48.0, t),
        "grid_times": np.linspace(0.0, 48.0, g),
        "threshold": 0.1,
        "effect_scale": 0.2,
        "covariance": np.tile(0.06**2 * (0.7 * np.eye(t) + 0.3), (s, 1, 1)),
    } | dict(fixed or {})
    moments = np.concatenate([out["times"], out["grid_times"]])
    apart = np.sqrt(5) * np.abs(np.subtract.outer(moments, moments)) / np.ptp(moments) / out["lengthscale"]
    correlation = (1 + apart + apart**2 / 3) * np.exp(-apart) + JITTER * np.eye(t + g)
    moved = np.linalg.cholesky(correlation) @ out["wave"].T
    curves = out["effect_scale"] * (out["level"] + out["amplitude"] * moved).T
    out["curve"], out["curve_grid"] = curves[:, :t], curves[:, t:]
    active = np.abs(out["curve_grid"]) > out["threshold"]
    out["active"], out["gene_active"], out["ever_active"] = active, active.any(axis=0), active.any(axis=1)
    first = np.where(active.any(axis=1), active.argmax(axis=1), g - 1)
    out["onset"] = out["grid_times"][first]
    out["peak_time"] = out["grid_times"][np.abs(out["curve_grid"]).argmax(axis=1)]
    known = np.isfinite(np.diagonal(out["covariance"], axis1=1, axis2=2))
    whole = np.where(known[:, :, None] & known[:, None, :], out["covariance"], np.eye(t))
    error = np.einsum("stu,su->st", np.linalg.cholesky(whole), rng.normal(size=(s, t)))
    out.setdefault("estimate", np.where(known, out["curve"] + error, np.nan))
    return out
