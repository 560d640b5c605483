"""Case of models/gene_trait.py."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from scipy import special, stats

COORDS = {
    "ancestry": ["EUR", "AFR"],
    "variant": list(range(8)),
    "variant_": list(range(8)),
    "candidate": ["g1", "g2", "v1"],
    "weight_draw": [0, 1, 2],
}
POINT = {"inclusion_rate": 0.2, "effect_sd": 0.15, "correlation": 0.7}


def _ld(p: int) -> np.ndarray:
    distance = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    return np.array([0.8**distance, 0.5**distance])


def _columns(rng: np.random.Generator, draws: int, p: int, genes: int) -> np.ndarray:
    """(draw, 2, p, genes + 1): genes on three variants each, the same in all draws, and variant 2 itself."""
    columns = np.zeros((draws, 2, p, genes + 1))
    for k in range(genes):
        where = rng.choice(p, 3, replace=False)
        shared = rng.normal(0.0, 0.2, (1, 1, 3))
        columns[:, :, where, k] = shared + rng.normal(0.0, 0.1, (draws, 2, 3))
    columns[:, :, 2, genes] = 1.0
    return columns


FIXED = {
    "ld": _ld(8),
    "n": np.array([9e3, 3e3]),
    "columns": _columns(np.random.default_rng(1), 3, 8, 2),
    "log_weight": np.log([0.5, 0.2, 0.3]),
    "log_odds": np.array([0.0, 0.5, -1.0]),
    "scale": np.array([1.0, 1.5, 0.3]),
}


def log_density(data: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """For every draw and configuration z over all ancestries is one normal vector, with its covariance
    written out; relative to z without any effect. Likelihood, prior."""
    _, a, p, k = data["columns"].shape
    omega = (1 - point["correlation"]) * np.eye(a) + point["correlation"]
    logit = special.logit(point["inclusion_rate"]) + data["log_odds"]
    variance = (point["effect_sd"] * data["scale"]) ** 2
    noise = np.zeros((a, p, a, p))
    for i in range(a):
        noise[i, :, i, :] = data["ld"][i]
    terms = []
    for columns, log_weight in zip(data["columns"], data["log_weight"], strict=True):
        means = np.sqrt(data["n"])[:, None, None] * np.einsum("apq,aqk->apk", data["ld"], columns)
        for c in product((0, 1), repeat=k):
            signal = np.einsum("k,apk,ab,bqk->apbq", variance * np.array(c), means, omega, means)
            covariance = (noise + signal).reshape(a * p, a * p)
            log_prior = sum(np.log(special.expit(x if on else -x)) for x, on in zip(logit, c, strict=True))
            log_p = stats.multivariate_normal.logpdf(data["z"].ravel(), cov=covariance)
            terms.append(log_weight + log_prior + log_p)
    null = stats.multivariate_normal.logpdf(data["z"].ravel(), cov=noise.reshape(a * p, a * p))
    priors = [
        stats.beta.logpdf(point["inclusion_rate"], 1, 9),
        stats.halfnorm.logpdf(point["effect_sd"], scale=0.1),
        stats.beta.logpdf(point["correlation"], 9, 1),
    ]
    return float(special.logsumexp(terms) - special.logsumexp(data["log_weight"]) - null), float(sum(priors))


# simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}), then sum(log_density(data, POINT))
GOLDEN = 5.19411764496531

SBC_COORDS = {
    **COORDS,
    "variant": list(range(12)),
    "variant_": list(range(12)),
    "candidate": ["g1", "g2", "g3", "v1"],
}


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """Three genes with uncertain weights and a variant; a GWAS that sees effects of two prior SD or less."""
    return {
        "ld": _ld(12),
        "n": np.array([40e3, 15e3]),
        "columns": _columns(rng, 3, 12, 3),
        "log_weight": np.log(rng.dirichlet(np.ones(3))),
        "log_odds": np.array([2.0, 2.0, 2.0, 1.0]),  # so that a locus without any effect is the exception
        "scale": np.array([1.0, 1.0, 1.0, 0.3]),
    }


RANKED = ["inclusion_rate", "effect_sd", "correlation"]
PROBABILITIES = {"pip": "inclusion", "draw_probability": "picked"}
