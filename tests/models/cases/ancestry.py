"""Case of models/ancestry.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

COORDS = {"gene": [f"g{i}" for i in range(4)], "ancestry": ["EUR", "AFR", "EAS"]}
POINT = {
    "spread": 0.06,
    "heterogeneity": 0.7,
    "shared_raw": np.array([0.3, -1.1, 0.6, 1.4]),
    "effect_raw": np.array([[0.1, 0.2, -0.9], [1.5, -0.3, 0.0], [-0.7, 0.4, 0.8], [0.2, -1.2, 0.5]]),
    "unseen_raw": np.array([-0.2, 0.9, 1.1, -0.6]),
}
FIXED = {
    "standard_error": np.array(
        [[0.01, 0.03, 0.05], [0.02, np.inf, 0.08], [np.inf, np.inf, np.inf], [0.02, np.inf, np.inf]]
    ),
}


def log_density(data: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """The estimates of a gene are one normal vector, with its covariance written out. Likelihood, prior."""
    tau = point["heterogeneity"] * point["spread"]
    total = 0.0
    for estimate, error in zip(data["estimate"], data["standard_error"], strict=True):
        here = np.isfinite(error)
        if here.any():
            covariance = np.diag(error[here] ** 2 + tau**2) + point["spread"] ** 2
            total += stats.multivariate_normal.logpdf(estimate[here], cov=covariance)
    priors = [
        stats.halfnorm.logpdf(point["spread"], scale=0.1),
        stats.halfnorm.logpdf(point["heterogeneity"], scale=0.5),
        *(stats.norm.logpdf(point[name]) for name in ("shared_raw", "effect_raw", "unseen_raw")),
    ]
    return float(total), float(sum(np.sum(prior) for prior in priors))


# simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}), then sum(log_density(data, POINT))
GOLDEN = -17.511678381801424

SBC_COORDS = {"gene": list(range(8)), "ancestry": ["EUR", "AFR", "EAS"]}


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """Eight genes: one ancestry is large, the others smaller, and a third of their estimates absent."""
    error = rng.uniform(0.005, 0.1, (8, 3)) * np.array([0.3, 1.0, 2.0])
    absent = rng.random((8, 3)) < np.array([0.0, 0.33, 0.33])
    return {"standard_error": np.where(absent, np.inf, error)}


RANKED = ["spread", "heterogeneity", "tau", "shared_mean", "gene_effect", "predicted"]
PROBABILITIES = {"same_sign": "signs_agree", "same_sign_unseen": "signs_agree_unseen"}
