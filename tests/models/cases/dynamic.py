"""The case of `dynamic`: two signals, five times, errors correlated over time, one estimate missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, stats

COORDS = {
    "signal": ["rs1", "rs2"],
    "time": [0.0, 6.0, 12.0, 24.0, 48.0],
    "time_": [0.0, 6.0, 12.0, 24.0, 48.0],
    "grid": list(range(7)),
    "moment": list(range(12)),
}
_rng = np.random.default_rng(1)
POINT = {
    "level": np.array([0.8, -0.4]),
    "amplitude": np.array([0.5, 0.2]),
    "lengthscale": 0.35,
    "wave": _rng.normal(size=(2, 12)),
}
_COVARIANCE = np.tile(0.05**2 * (0.6 * np.eye(5) + 0.4), (2, 1, 1))
_COVARIANCE[1, 2, 2] = np.inf  # the second signal was not measured at 12 hours
FIXED = {
    "times": np.array(COORDS["time"]),
    "grid_times": np.linspace(0.0, 54.0, 7),
    "covariance": _COVARIANCE,
}
# likelihood + prior of `log_density` at POINT, data of simulate(default_rng(4), COORDS, {**FIXED, **POINT})
GOLDEN = -42.310142808617655


def log_density(d: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Normal density of the estimates that are there; the model states that of whitened estimates, with a
    standard normal constant for each that is missing. The Cholesky factor is from a QR."""
    moments = np.concatenate([d["times"], d["grid_times"]])
    r = np.sqrt(5) * np.abs(moments[:, None] - moments[None]) / (moments.max() - moments.min())
    r = r / point["lengthscale"]
    upper = np.linalg.qr(linalg.sqrtm((1 + r + r**2 / 3) * np.exp(-r) + 1e-6 * np.eye(len(moments)))).R
    root = (upper * np.sign(np.diag(upper))[:, None]).T  # the Cholesky factor
    likelihood = 0.0
    for s, estimate in enumerate(d["estimate"]):
        curve = d["effect_scale"] * (point["level"][s] + point["amplitude"][s] * root @ point["wave"][s])
        seen = np.flatnonzero(np.isfinite(estimate))
        covariance = d["covariance"][s][np.ix_(seen, seen)]
        likelihood += stats.multivariate_normal.logpdf(estimate[seen], curve[seen], covariance)
        likelihood += 0.5 * np.linalg.slogdet(covariance)[1]
        likelihood += (len(estimate) - len(seen)) * stats.norm.logpdf(0)
    prior = [
        stats.norm.logpdf(point["level"]).sum(),
        stats.halfnorm.logpdf(point["amplitude"], scale=0.5).sum(),
        stats.lognorm.logpdf(point["lengthscale"], 0.5, scale=0.3),
        stats.norm.logpdf(point["wave"]).sum(),
    ]
    return float(likelihood), float(sum(prior))


SBC_COORDS = {**COORDS, "grid": list(range(6)), "moment": list(range(11))}


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """Times, standard errors from large to small, donors shared over time, an estimate missing."""
    covariance = []
    for size in np.exp(rng.uniform(np.log(0.03), np.log(0.2), size=2)):
        covariance.append(size**2 * (0.6 * np.eye(5) + 0.4))
    covariance[1][2, 2] = np.inf
    return {
        "times": np.array(COORDS["time"]),
        "grid_times": np.linspace(0.0, 54.0, 6),
        "covariance": np.array(covariance),
        "threshold": 0.1,
        "effect_scale": 0.2,
    }


RANKED = ["level", "amplitude", "lengthscale", "curve", "curve_grid"]
PROBABILITIES = {"active": "active", "ever_active": "ever_active"}
