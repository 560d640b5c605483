"""Do two traits share a causal variant: pairs of signals, priors learned over loci. Its card is coloc.md.

    rate_c = mean_log_odds + spread * deviation_c          log p1, log p2, logit share; c a context
    log p12 = logit share + (log p1 + log p2) / 2
    P(H0..H4) proportional to 1, m p1, m p2, (m^2 - q) p1 p2, m p12,   q = sum_j w_j^2 (m without annotation)
    P(data | H) / P(data | H0) = prior-weighted means of BF1_j, BF2_j, BF1_j BF2_k (j != k), BF1_j BF2_j

Hypotheses and causal variants are summed out exactly; variants enter through four sums per pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

HYPOTHESES = ["H0", "H1", "H2", "H3", "H4"]
RATES = ["p1", "p2", "share"]
CENTRE = np.log([1e-4, 1e-4, 0.1])  # p12 = 0.1 sqrt(p1 p2) = 1e-5
SCALE = 1.5
# log prior of a configuration of each hypothesis, from log p1, log p2 and logit share
MIX = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.5, 0.5, 1]])

# name: (dims, unit, meaning)
DATA = {
    "lbf1": (("pair", "variant"), "natural log", "Bayes factor for trait 1; -inf where there is no variant"),
    "lbf2": (("pair", "variant"), "natural log", "Bayes factor for trait 2; -inf where there is no variant"),
    "log_prior": (("pair", "variant"), "natural log", "prior weight of a variant relative to the others"),
    "in_context": (("pair", "context"), "0 or 1", "one 1 per row: the context of the pair"),
}
# in place of lbf1, lbf2 and log_prior, where the sums of many pairs are at hand
SUMS = {
    "log_sum": (("pair", "hypothesis"), "natural log", "sum over configurations of weight x Bayes factor"),
    "log_mass": (("pair", "hypothesis"), "natural log", "the same with Bayes factors of 1"),
    "in_context": DATA["in_context"],
}
PARAMETERS = {
    "mean_log_odds": (("rate",), "natural log", "log p1, log p2, logit share: mean over contexts"),
    "spread": (("rate",), "natural log", "standard deviation of the same over contexts"),
    "deviation": (("rate", "context"), "standard deviations", "of a context from the mean"),
}
Coords = Mapping[str, Sequence[Any]]


def constants(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`log_sum` (pair, hypothesis): log of the sum over configurations of prior weight x Bayes factor, less
    `offset` (pair), its largest, so that nothing overflows; `log_mass` (pair, hypothesis): the same with
    Bayes factors of 1; `context_design` (pair, context).

    Prior weights have mean one over the variants with both Bayes factors; the others are left out.
    """
    if "log_sum" in data:
        return _laid_out(*(np.asarray(data[name], float) for name in SUMS))
    lbf1, lbf2, log_prior = (np.asarray(data[name], float) for name in ("lbf1", "lbf2", "log_prior"))
    present = np.isfinite(lbf1) & np.isfinite(lbf2)
    weight = np.where(present, log_prior, -np.inf)
    count = present.sum(axis=1, keepdims=True)
    mean = np.logaddexp.reduce(weight, axis=1, keepdims=True) - np.log(np.maximum(count, 1))
    weight = weight - np.where(count > 0, mean, 0.0)
    first, second = (weight + np.where(present, lbf, 0.0) for lbf in (lbf1, lbf2))
    sums = _sums(first, second, first + second - np.where(present, weight, 0.0))
    return _laid_out(sums, _sums(weight, weight, weight), np.asarray(data["in_context"], float))


def _laid_out(log_sum: np.ndarray, log_mass: np.ndarray, context_design: np.ndarray) -> dict[str, np.ndarray]:
    top = log_sum.max(axis=1)
    rest = {"offset": top, "log_mass": log_mass, "context_design": context_design}
    return {"log_sum": log_sum - top[:, None], **rest}


def build(data: Mapping[str, Any], coords: Coords, *, posterior_of_pairs: bool = True) -> pm.Model:
    """The model of many pairs. `data` has the entries of DATA or of SUMS, `coords` pair, variant and context;
    without `posterior_of_pairs` the large `posterior` and `h4` are left out, to learn the priors only."""
    labels = {name: list(coords[name]) for name in ("pair", "context")}
    dims = {"offset": ("pair",), "context_design": ("pair", "context")}
    with pm.Model(coords={**labels, "hypothesis": HYPOTHESES, "rate": RATES}) as model:
        given = {}
        for name, value in constants(data).items():
            given[name] = pm.Data(name, value, dims=dims.get(name, ("pair", "hypothesis")))
        mean = pm.Normal("mean_log_odds", mu=CENTRE, sigma=SCALE, dims="rate")
        spread = pm.HalfNormal("spread", sigma=0.5, dims="rate")
        deviation = pm.Normal("deviation", dims=("rate", "context"))
        rate = mean[:, None] + spread[:, None] * deviation
        log_p = pt.dot(MIX, rate)  # of a configuration, (hypothesis, context)
        for name, row in (("p1", 1), ("p2", 2), ("p12", 4)):
            pm.Deterministic(name, pt.exp(log_p[row]), dims="context")
        pm.Deterministic("share", pt.sigmoid(rate[2]), dims="context")
        log_prior = pt.dot(given["context_design"], log_p.T)  # (pair, hypothesis)
        log_prior -= pt.logsumexp(given["log_mass"] + log_prior, axis=1, keepdims=True)
        pm.CustomDist(
            "evidence",
            *(log_prior, given["offset"]),
            logp=lambda value, prior, offset: pt.logsumexp(value + prior, axis=-1) + offset,
            signature="(h),()->(h)",
            observed=given["log_sum"],
            dims=("pair", "hypothesis"),
        )
        if posterior_of_pairs:
            joint = pt.exp(given["log_sum"] + log_prior)
            posterior = joint / pt.sum(joint, axis=1, keepdims=True)
            pm.Deterministic("posterior", posterior, dims=("pair", "hypothesis"))
            pm.Deterministic("h4", posterior[:, 4], dims="pair")
    return model


def simulate(
    rng: np.random.Generator, coords: Coords, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One draw of everything: PARAMETERS, DATA, p1, p2, p12, share, `true_hypothesis`, `colocalized` (pair).

    Entries of `fixed` are taken as given; also `ld` (variant, variant), `present` (pair, variant) and
    `signal_sd` (2), the prior standard deviation of a causal z-score's mean in either trait.
    """
    pairs, m, contexts = (len(coords[name]) for name in ("pair", "variant", "context"))
    out: dict[str, Any] = dict(fixed or {})
    out.setdefault("mean_log_odds", rng.normal(CENTRE, SCALE))
    out.setdefault("spread", np.abs(rng.normal(0.0, 0.5, 3)))
    out.setdefault("deviation", rng.standard_normal((3, contexts)))
    rate = out["mean_log_odds"][:, None] + out["spread"][:, None] * out["deviation"]
    out["p1"], out["p2"], odds = np.exp(rate)
    out["share"], out["p12"] = odds / (1 + odds), odds * np.sqrt(out["p1"] * out["p2"])
    out.setdefault("in_context", np.eye(contexts)[rng.integers(contexts, size=pairs)])
    out.setdefault("present", np.ones((pairs, m), bool))
    out.setdefault("log_prior", rng.normal(0.0, 0.5, (pairs, m)))
    out.setdefault("ld", rng.uniform(0.5, 0.9) ** np.abs(np.subtract.outer(np.arange(m), np.arange(m))))
    out.setdefault("signal_sd", np.array([5.0, 5.0]))
    weight = np.where(out["present"], np.exp(out["log_prior"]), 0.0)
    weight = weight / weight.sum(axis=1, keepdims=True) * out["present"].sum(axis=1, keepdims=True)
    p1, p2, p12 = (out["in_context"] @ out[name] for name in ("p1", "p2", "p12"))
    total, squares = weight.sum(axis=1), (weight**2).sum(axis=1)
    apart = (total**2 - squares) * p1 * p2
    prior = np.stack([np.ones(pairs), total * p1, total * p2, apart, total * p12], axis=1)
    chosen = np.array([rng.choice(5, p=row / row.sum()) for row in prior])
    mean = np.zeros((2, pairs, m))
    for i, hypothesis in enumerate(chosen):
        j, k = rng.choice(m, size=2, p=weight[i] / total[i])
        while hypothesis == 3 and j == k:
            j, k = rng.choice(m, size=2, p=weight[i] / total[i])
        mean[0, i, j] = rng.normal(0.0, out["signal_sd"][0]) * (hypothesis in (1, 3, 4))
        mean[1, i, j if hypothesis == 4 else k] = rng.normal(0.0, out["signal_sd"][1]) * (hypothesis > 1)
    z = mean @ out["ld"] + rng.standard_normal((2, pairs, m)) @ np.linalg.cholesky(out["ld"]).T
    known = (out["signal_sd"] ** 2 / (1 + out["signal_sd"] ** 2))[:, None, None]
    lbf = np.where(out["present"], 0.5 * np.log1p(-known) + 0.5 * known * z**2, -np.inf)
    return {**out, "lbf1": lbf[0], "lbf2": lbf[1], "true_hypothesis": chosen, "colocalized": chosen == 4}


def _sums(first: np.ndarray, second: np.ndarray, both: np.ndarray) -> np.ndarray:
    """log of 1, sum_j e^first_j, sum_j e^second_j, sum_{j != k} e^(first_j + second_k) and sum_j e^both_j.

    The sum over j != k is added up without a difference, which would lose everything at one strong variant.
    """
    edge = np.full((first.shape[0], 1), -np.inf)
    before = np.concatenate([edge, np.logaddexp.accumulate(second, axis=1)[:, :-1]], axis=1)
    after = np.concatenate([np.logaddexp.accumulate(second[:, ::-1], axis=1)[:, -2::-1], edge], axis=1)
    apart = first + np.logaddexp(before, after)
    sums = [np.logaddexp.reduce(terms, axis=1) for terms in (first, second, apart, both)]
    return np.stack([np.zeros(len(first)), *sums], axis=1)
