"""Posteriors of hyperparameters that were made up, in the layout of models/hyper.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import xarray as xr

PRIOR_SD = {
    "intercept": 2.0, "context_effect": 1.0, "coefficient": 0.8, "size_weight": 0.18, "correlation": 0.3
}  # fmt: skip
PRIOR_RANGE = {
    "gene": (-8.0, 0.0), "variant": (-13.0, -5.0), "context_effect": (-2.0, 2.0), "coefficient": (-1.6, 1.6)
}  # fmt: skip
PRIORS = {
    "gene": 0.03,
    "direct": 0.001,
    "variances": {"gene": [0.0005, 0.05], "variant": [5e-5, 5e-3]},
    "ancestries": ["EUR", "AFR"],
}
WEIGHT_PRIORS = {
    "rate": 1.4,
    "sizes": [0.01, 0.04],
    "size_weights": [0.75, 0.25],
    "shared": 0.7,
    "context_specific": [0.1, 0.2],
    "context_correlation": [[1.0, 0.6], [0.6, 1.0]],
    "unstructured_covariance": [[1.2, 0.6], [0.6, 0.9]],
    "density": [8.0, 6.0, 4.0, 2.5, 1.5, 1.0, 0.5],
    "annotations": [["coding", 1.5], ["repressed", -1.0]],
    "contexts": ["liver", "blood"],
    "ancestries": ["EUR"],
}
DRAWS = 400


def draws(mean: np.ndarray, sd: np.ndarray | float) -> np.ndarray:
    """(2, DRAWS / 2, *shape of mean): quantiles of a Gaussian, so that no test depends on a seed."""
    steps = np.linspace(-1, 1, DRAWS)
    standard = steps * np.sqrt(3)  # uniform, of standard deviation one
    shape = (DRAWS, *(1,) * np.ndim(mean))
    return (mean + sd * standard.reshape(shape)).reshape(2, DRAWS // 2, *np.shape(mean))


def make_hyper(
    coefficients: dict[str, tuple[float, float]],
    contexts: Sequence[str] = ("liver", "blood"),
    ancestries: Sequence[str] = ("EUR", "AFR"),
) -> xr.Dataset:
    """`coefficients`: posterior mean and standard deviation by annotation; contexts are a log unit apart."""
    names, a = list(coefficients) or ["none"], len(ancestries)
    mean, sd = np.array(list(coefficients.values()) or [(0.0, 0.8)]).T
    intercept = draws(np.log([0.03, 0.001]), 0.4)
    effect = np.broadcast_to(-np.arange(float(len(contexts))), (2, DRAWS // 2, len(contexts)))
    omega = np.where(np.eye(a) > 0, 1.0, 0.9) + np.zeros((2, DRAWS // 2, 2, 1, 1))
    at = ("chain", "draw")
    values = {
        "intercept": ((*at, "kind"), intercept),
        "context_effect": ((*at, "context"), effect + draws(np.array([0.0]), 0.1)),
        "context_prior": ((*at, "context"), np.exp(intercept[..., :1] + effect)),
        "coefficient": ((*at, "annotation"), draws(mean, sd)),
        "size_weight": ((*at, "kind", "size"), draws(np.full((2, 2), 0.5), 0.05)),
        "correlation": ((*at, "kind", "ancestry", "ancestry_"), omega),
        "a_new_one": (at, draws(np.array(0.0), 1.0)),
    }
    coords = {
        "kind": ["gene", "variant"], "context": list(contexts), "annotation": names, "size": [0, 1],
        "ancestry": list(ancestries), "ancestry_": list(ancestries),
    }  # fmt: skip
    attrs = {"rounds": 2, "settled": True, "blocks": 7, "status": "ok", "reason": "", "sampler": "pymc"}
    told = {
        "prior_sd": json.dumps(PRIOR_SD),
        "prior_range": json.dumps(PRIOR_RANGE),
        "annotation_kinds": json.dumps(["variant"] * len(coefficients)),
    }
    return xr.Dataset(values, coords=coords, attrs=attrs | told)


@pytest.fixture
def build_hyper():
    """The builder of a posterior of hyperparameters."""
    return make_hyper


@pytest.fixture
def learned(synthetic_result: xr.DataTree) -> Callable[..., xr.DataTree]:
    """The synthetic result with learned priors; arguments as those of `make_hyper`."""

    def build(coefficients: dict[str, tuple[float, float]], **others: Sequence[str]) -> xr.DataTree:
        result = synthetic_result.copy()
        result.attrs |= {
            "priors": json.dumps(PRIORS),
            "weight_priors": json.dumps(WEIGHT_PRIORS),
            "priors_source": "learned over 7 blocks in 2 rounds (settled)",
        }
        result["hyperparameters"] = xr.DataTree(make_hyper(coefficients, **others))
        return result

    return build
