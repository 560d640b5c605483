"""Case of models/hyper.py."""

from __future__ import annotations

from math import factorial
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


def coords(blocks: int, effects: int) -> dict[str, list[Any]]:
    """Every effect of every block has a row, and every row says something of the correlation."""
    rows = list(range(blocks * effects))
    return {
        "row": rows, "signal": rows, "block": list(range(blocks)), "effect": list(range(effects)),
        "class": [f"class{c}" for c in range(7)], "kind": ["gene", "variant"], "context": CONTEXTS,
        "annotation": ANNOTATIONS, "size": SIZES, "ancestry": ANCESTRIES, "ancestry_": ANCESTRIES,
        "pair": ["AFR-EAS", "AFR-EUR", "EAS-EUR"],
    }  # fmt: skip


COORDS = coords(5, 3)
# so likely that five blocks hold genes and variants
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
    "count": np.random.default_rng(2).poisson([2, 2, 1, 1, 20, 5, 1], size=(5, 7)),
    "offset": np.array([0.0, 0.3, 0.0, -0.2, 0.0, 0.0, 0.4]),
    "information": np.random.default_rng(3).uniform(0.5, 4.0, size=(15, 2, 3)),
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


def effect_bf(data: dict[str, Any], point: dict[str, Any], row: int, share: np.ndarray) -> float:
    """Bayes factor of an effect that is a candidate of a class with the probability `share` (class,), all of
    them alike: what the data of a row say of it, class by class and size by size."""
    own = {kind: correlation(point["shared"][kind], point["partial"][kind]) for kind in range(2)}
    terms = [-np.inf]
    for c, p in enumerate(share):
        kind = int(np.argmax(data["in_kind"][c]))
        for s, (weight, log_sum) in enumerate(
            zip(point["size_weight"][kind], data["log_sum"][row, c], strict=True)
        ):
            moved = 0.0
            if row in data["strong"]:
                at = list(data["strong"]).index(row)
                u, j = data["score"][at, kind], data["information"][at, kind]
                v = data["variance"][kind, s]
                moved = log_bf(u, j, v * own[kind]) - log_bf(u, j, v * data["reference"][kind])
            terms.append(np.log(p) + np.log(weight) + log_sum + moved)
    return float(special.logsumexp(terms))


def log_density(data: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Blocks one by one, and in them every number of effects. Likelihood, prior."""
    context = point["context_spread"] * point["context_deviation"]
    free = point["global_scale"] * point["local_scale"]
    coefficient = point["standard_coefficient"] * np.sqrt(2.0**2 * free**2 / (2.0**2 + free**2))
    odds = []
    for c, kind in enumerate(np.argmax(data["in_kind"], axis=1)):
        log_odds = data["offset"][c] + point["intercept"][kind] + data["pattern"][c] @ coefficient
        odds.append(np.exp(log_odds + (data["in_context"][c] @ context if kind == 0 else 0.0)))
    total = 0.0
    for place, count in zip(data["place"], data["count"], strict=True):
        expected = float(count @ np.array(odds))
        prior = np.array([expected**number / factorial(number) for number in range(len(place) + 1)])
        log_share = np.log(prior / prior.sum())
        share = np.array(odds) / max(expected, 1e-300)  # of one candidate; log_sum adds up the candidates
        seen = [effect_bf(data, point, row, share) if row >= 0 else -np.inf for row in place]
        given = [sum(seen[:number]) for number in range(len(place) + 1)]
        total += float(special.logsumexp(log_share + given)) if expected > 0 else 0.0
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
    return total, float(sum(np.sum(prior) for prior in priors))


# simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}), then sum(log_density(data, POINT))
GOLDEN = 10.987874448896129

SBC_COORDS = coords(100, 3)


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """100 blocks of some 15 genes and 500 variants. At the medians of the prior 20 effects are there, on
    average over it more; each with an information that tells of the correlation."""
    return {
        **DESIGN,
        "count": rng.poisson([5, 5, 3, 2, 450, 45, 5], size=(100, 7)),
        "information": rng.uniform(5.0, 30.0, size=(300, 2, 3)),
    }


# `correlation` follows from `shared` and `partial`; its own entries hold ones, which are not to be ranked
RANKED = [
    "intercept", "context_spread", "context_effect", "global_scale", "coefficient", "size_weight", "shared",
    "partial",
]  # fmt: skip
