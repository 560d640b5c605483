"""Case of models/hyper.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

CONTEXTS, ANNOTATIONS, SIZES = ["liver", "blood", "brain"], ["coding", "conserved"], ["small", "large"]
# a class of genes for every context, one of constrained genes in liver; variants by annotation pattern
_KIND = np.array([0, 0, 0, 0, 1, 1, 1])
_CONTEXT = np.zeros((7, 3))
_CONTEXT[[0, 1, 2, 3], [0, 1, 2, 0]] = 1.0
_ANNOTATION = np.array([[0, 0], [0, 0], [0, 0], [0, 1], [0, 0], [0, 1], [1, 1]], float)
DESIGN = {
    "in_kind": np.eye(2)[_KIND],
    "in_context": _CONTEXT,
    "pattern": _ANNOTATION,
    "signal_variance": np.array([8.0, 40.0]),
}
COORDS = {
    "effect": list(range(6)),
    "class": [f"class{c}" for c in range(7)],
    "kind": ["gene", "variant"],
    "context": CONTEXTS,
    "annotation": ANNOTATIONS,
    "size": SIZES,
}
# so likely that six effects hold genes and variants
POINT = {
    "intercept": np.log([0.2, 0.05]),
    "context_spread": 0.7,
    "context_deviation": np.array([1.0, -0.5, 0.2]),
    "global_scale": 0.4,
    "local_scale": np.array([3.0, 0.8]),
    "standard_coefficient": np.array([1.1, -0.4]),
    "size_weight": np.array([[0.7, 0.3], [0.4, 0.6]]),
}
FIXED = {**DESIGN, "count": np.random.default_rng(2).poisson([2, 2, 1, 1, 20, 5, 1], size=(6, 7))}


def log_density(data: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Every class and size of every effect, one by one, in logarithms. Likelihood, prior."""
    context = point["context_spread"] * point["context_deviation"]
    free = point["global_scale"] * point["local_scale"]
    coefficient = point["standard_coefficient"] * np.sqrt(2.0**2 * free**2 / (2.0**2 + free**2))
    total = 0.0
    for log_sum, count in zip(data["log_sum"], data["count"], strict=True):
        evidence, mass = [0.0], 1.0
        for c in range(log_sum.shape[0]):
            kind = int(np.argmax(data["in_kind"][c]))
            log_odds = point["intercept"][kind] + data["pattern"][c] @ coefficient
            if kind == 0:
                log_odds += context[int(np.argmax(data["in_context"][c]))]
            mass += count[c] * np.exp(log_odds)
            evidence += [
                log_odds + np.log(w) + b for w, b in zip(point["size_weight"][kind], log_sum[c], strict=True)
            ]
        total += special.logsumexp(evidence) - np.log(mass)
    priors = [
        stats.norm.logpdf(point["intercept"], np.log([1e-2, 1e-4]), 2.0),
        stats.halfnorm.logpdf(point["context_spread"]),
        stats.norm.logpdf(point["context_deviation"]),
        stats.halfnorm.logpdf(point["global_scale"], scale=0.5),
        stats.halfcauchy.logpdf(point["local_scale"]),
        stats.norm.logpdf(point["standard_coefficient"]),
        [stats.dirichlet.logpdf(row, [2.0, 2.0]) for row in point["size_weight"]],
    ]
    return float(total), float(sum(np.sum(prior) for prior in priors))


# simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}), then sum(log_density(data, POINT))
GOLDEN = 2.997561700568234

SBC_COORDS = {**COORDS, "effect": list(range(300))}


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """300 effects among some 15 genes and 500 variants each."""
    return {**DESIGN, "count": rng.poisson([5, 5, 3, 2, 450, 45, 5], size=(300, 7))}


RANKED = ["intercept", "context_spread", "context_effect", "global_scale", "coefficient", "size_weight"]
PROBABILITIES = {"probability": "causal"}
