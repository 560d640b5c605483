"""Case of models/hyper.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

CONTEXTS, ANNOTATIONS, SIZES = ["liver", "blood", "brain"], ["coding", "conserved"], ["small", "large"]
ANCESTRIES = ["AFR", "EAS", "EUR"]
# a class of genes for every context, one of constrained genes in liver; variants by annotation pattern
_KIND = np.array([0, 0, 0, 0, 1, 1, 1])
_CONTEXT = np.zeros((7, 3))
_CONTEXT[[0, 1, 2, 3], [0, 1, 2, 0]] = 1.0
_ANNOTATION = np.array([[0, 0], [0, 0], [0, 0], [0, 1], [0, 0], [0, 1], [1, 1]], float)
DESIGN = {
    "in_kind": np.eye(2)[_KIND],
    "in_context": _CONTEXT,
    "pattern": _ANNOTATION,
    "variance": np.array([[0.5, 3.0], [0.2, 2.0]]),
    "reference": np.array([rho * np.ones((3, 3)) + (1 - rho) * np.eye(3) for rho in (0.9, 0.6)]),
}


def coords(rows: int) -> dict[str, list[Any]]:
    """Every signal says something of the correlation."""
    return {
        "row": list(range(rows)), "signal": list(range(rows)), "class": [f"class{c}" for c in range(7)],
        "kind": ["gene", "variant"], "context": CONTEXTS, "annotation": ANNOTATIONS, "size": SIZES,
        "ancestry": ANCESTRIES, "ancestry_": ANCESTRIES, "pair": ["AFR-EAS", "AFR-EUR", "EAS-EUR"],
    }  # fmt: skip


COORDS = coords(6)
# so likely that six signals hold genes and variants
POINT = {
    "intercept": np.log([0.2, 0.05]),
    "context_spread": 0.7,
    "context_deviation": np.array([1.0, -0.5, 0.2]),
    "global_scale": 0.4,
    "local_scale": np.array([3.0, 0.8]),
    "standard_coefficient": np.array([1.1, -0.4]),
    "size_weight": np.array([[0.7, 0.3], [0.4, 0.6]]),
    "shared": np.array([0.8, 0.3]),
    "partial": np.array([[0.7, 0.4, 0.6], [0.3, 0.55, 0.9]]),
}
FIXED = {
    **DESIGN,
    "count": np.random.default_rng(2).poisson([2, 2, 1, 1, 20, 5, 1], size=(6, 7)),
    "rest_count": np.array([8, 5, 6, 3, 60, 20, 4]),
    "faint": 0.1,  # so small that a Poisson process is what it is the limit of
    "offset": np.array([0.0, 0.3, 0.0, -0.2, 0.0, 0.0, 0.4]),
    "information": np.random.default_rng(3).uniform(0.5, 4.0, size=(6, 2, 3)),
}


def correlation(shared: float, partial: np.ndarray) -> np.ndarray:
    """Three ancestries: the third partial correlation is that of the last two, given the first."""
    r01, r02, r12_0 = 2 * partial - 1
    r12 = r12_0 * np.sqrt((1 - r01**2) * (1 - r02**2)) + r01 * r02
    own = np.array([[1.0, r01, r02], [r01, 1.0, r12], [r02, r12, 1.0]])
    return shared * np.ones((3, 3)) + (1 - shared) * own


def log_bf(score: np.ndarray, information: np.ndarray, covariance: np.ndarray) -> float:
    """The score given an effect is Normal(0, J + J covariance J), given none Normal(0, J)."""
    seen = information > 0
    if not seen.any():
        return 0.0
    noise = np.diag(information[seen])
    both = noise + noise @ covariance[np.ix_(seen, seen)] @ noise
    normal = stats.multivariate_normal
    return float(normal.logpdf(score[seen], cov=both) - normal.logpdf(score[seen], cov=noise))


def moved(data: dict[str, Any], point: dict[str, Any], row: int, kind: int, size: int) -> float:
    """What the correlation of the point adds to a log Bayes factor at the `reference`."""
    if row not in data["strong"]:
        return 0.0
    at = list(data["strong"]).index(row)
    seen = data["score"][at, kind], data["information"][at, kind]
    own, v = correlation(point["shared"][kind], point["partial"][kind]), data["variance"][kind, size]
    return log_bf(*seen, v * own) - log_bf(*seen, v * data["reference"][kind])


def log_density(data: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Every class and size of every signal, one by one, in logarithms. Likelihood, prior."""
    context = point["context_spread"] * point["context_deviation"]
    free = point["global_scale"] * point["local_scale"]
    coefficient = point["standard_coefficient"] * np.sqrt(2.0**2 * free**2 / (2.0**2 + free**2))
    kinds, log_odds = np.argmax(data["in_kind"], axis=1), []
    for c, kind in enumerate(kinds):
        one = data["offset"][c] + point["intercept"][kind] + data["pattern"][c] @ coefficient
        log_odds.append(one + (data["in_context"][c] @ context if kind == 0 else 0.0))
    classes = list(enumerate(zip(kinds, log_odds, strict=True)))
    weights, total = point["size_weight"], 0.0
    for row, (log_sum, count) in enumerate(zip(data["log_sum"], data["count"], strict=True)):
        evidence, mass = [0.0], 1.0
        for c, (kind, one) in classes:
            mass += count[c] * np.exp(one)
            evidence += [
                one + np.log(w) + log_sum[c, s] + moved(data, point, row, kind, s)
                for s, w in enumerate(weights[kind])
            ]
        total += special.logsumexp(evidence) - np.log(mass)
    # a Poisson process of rate odds: Poisson(0 | rate) each, and the rate times the mean Bayes factor
    for c, (kind, one) in classes:
        total += np.exp(one) * (data["rest"][c] @ weights[kind] - data["rest_count"][c])
    # LKJ(1) over three ancestries: pairs with the first have Beta(3/2, 3/2), the last one Beta(1, 1)
    partial = [stats.beta.logpdf(point["partial"][:, k], b, b) for k, b in enumerate((1.5, 1.5, 1.0))]
    priors = [
        stats.norm.logpdf(point["intercept"], np.log([1e-2, 1e-4]), 2.0),
        stats.halfnorm.logpdf(point["context_spread"]),
        stats.norm.logpdf(point["context_deviation"]),
        stats.halfnorm.logpdf(point["global_scale"], scale=0.5),
        stats.halfcauchy.logpdf(point["local_scale"]),
        stats.norm.logpdf(point["standard_coefficient"]),
        [stats.dirichlet.logpdf(row, [2.0, 2.0]) for row in point["size_weight"]],
        stats.beta.logpdf(point["shared"], 2.0, 1.0),
        partial,
    ]
    return float(total), float(sum(np.sum(prior) for prior in priors))


# simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}), then sum(log_density(data, POINT))
GOLDEN = 2.686631315332832

SBC_COORDS = coords(300)


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """300 signals among some 15 genes and 500 variants each, which tell of the correlation. The rest says
    nothing: there the density is a limit, and the simulation is not."""
    return {
        **DESIGN,
        "count": rng.poisson([5, 5, 3, 2, 450, 45, 5], size=(300, 7)),
        "information": rng.uniform(5.0, 30.0, size=(300, 2, 3)),
    }


# `correlation` follows from `shared` and `partial`; its own entries hold ones, which are not to be ranked
RANKED = [
    "intercept", "context_spread", "context_effect", "global_scale", "coefficient", "size_weight", "shared",
    "partial",
]  # fmt: skip
