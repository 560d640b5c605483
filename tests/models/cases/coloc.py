"""Case of models/coloc.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

COORDS = {
    "pair": [f"pair{i}" for i in range(5)],
    "variant": list(range(6)),
    "context": ["liver", "blood"],
    "rate": ["p1", "p2", "share"],
    "hypothesis": ["H0", "H1", "H2", "H3", "H4"],
}
# far above the prior, so that five pairs of six variants hold every hypothesis
POINT = {
    "mean_log_odds": np.log([0.2, 0.1, 0.8]),
    "spread": np.array([0.3, 0.6, 0.4]),
    "deviation": np.array([[0.5, -1.0], [1.2, 0.3], [-0.4, 0.9]]),
}
_present = np.ones((5, 6), bool)
_present[1, 4:], _present[2, 1:], _present[4, 0] = False, False, False  # pair 2 has a single variant: no H3
FIXED = {
    "present": _present,
    "in_context": np.eye(2)[[0, 1, 0, 1, 1]],
    "ld": 0.8 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))),
    "signal_sd": np.array([3.0, 4.0]),
}


def _configurations(weight: np.ndarray, p: tuple[float, float, float]) -> list[tuple[float, list, list]]:
    """Every configuration: its prior relative to none, its variants for trait 1, for trait 2."""
    p1, p2, p12 = p
    found: list[tuple[float, list, list]] = [(1.0, [], [])]
    for j, w in enumerate(weight):
        found += [(p1 * w, [j], []), (p2 * w, [], [j]), (p12 * w, [j], [j])]
        found += [(p1 * p2 * w * v, [j], [k]) for k, v in enumerate(weight) if k != j]
    return found


def log_density(data: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Every configuration of causal variants of every pair, one by one. Likelihood, prior."""
    rate = point["mean_log_odds"] + (point["spread"] * point["deviation"].T)
    total = 0.0
    for i in range(data["lbf1"].shape[0]):
        here = np.flatnonzero(np.isfinite(data["lbf1"][i]))
        weight = np.exp(data["log_prior"][i, here])
        c = int(np.argmax(data["in_context"][i]))
        p1, p2, odds = np.exp(rate[c])
        found = _configurations(weight / weight.mean(), (p1, p2, odds * np.sqrt(p1 * p2)))
        lbf1, lbf2 = data["lbf1"][i, here], data["lbf2"][i, here]
        evidence = [lbf1[one].sum() + lbf2[two].sum() for _, one, two in found]
        prior = np.array([mass for mass, _, _ in found])
        total += special.logsumexp(evidence, b=prior / prior.sum())
    priors = [
        stats.norm.logpdf(point["mean_log_odds"], np.log([1e-4, 1e-4, 0.1]), 1.5),
        stats.halfnorm.logpdf(point["spread"], scale=0.5),
        stats.norm.logpdf(point["deviation"]),
    ]
    return float(total), float(sum(np.sum(prior) for prior in priors))


# simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}), then sum(log_density(data, POINT))
GOLDEN = 5.90939047437633

# a locus has about 0.1 expected signals of either trait under the defaults, as a real one does
SBC_COORDS = {
    **COORDS,
    "pair": list(range(80)),
    "variant": list(range(1000)),
    "context": ["liver", "blood", "brain"],
}
_BAND = 0.9 ** np.abs(np.subtract.outer(np.arange(1000), np.arange(1000)))


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """80 pairs in three contexts of 50, 20 and 10; loci of 200 to 1,000 variants; annotation weights."""
    size = rng.integers(200, 1001, size=80)
    return {
        "present": np.arange(1000) < size[:, None],
        "in_context": np.eye(3)[np.repeat([0, 1, 2], [50, 20, 10])],
        "ld": _BAND,
        "signal_sd": np.array([6.0, 8.0]),
    }


RANKED = ["mean_log_odds", "spread", "deviation", "p1", "p2", "p12", "share"]
PROBABILITIES = {"h4": "colocalized"}
