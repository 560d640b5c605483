"""Genes and variants of one locus compete for a trait: the posterior, in PyMC. Its card is gene_trait.md.

    d ~ Categorical(exp(log_weight))                    which joint draw of the weights C_d is the truth
    c_k ~ Bernoulli(pi_k),  logit pi_k = logit(inclusion_rate) + log_odds_k
    gamma_k ~ Normal(0, (effect_sd scale_k)^2 Omega),  Omega = (1 - correlation) I + correlation 1 1'
    z_a ~ Normal(sqrt(n_a) R_a C_da (c * gamma_a), R_a)

Draws d, inclusions c (all 2^K) and effects gamma are summed out exactly. LATENT: C_d + root_d @ offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad

MAX_CANDIDATES = 12  # 4,096 configurations
DATA = {  # name: (dims, unit, meaning)
    "z": (("ancestry", "variant"), "z-score", "association with the trait; NaN where the variant is absent"),
    "n": (("ancestry",), "people", "GWAS sample size"),
    "ld": (("ancestry", "variant", "variant_"), "correlation", "LD; may be singular"),
    "columns": (("weight_draw", "ancestry", "variant", "candidate"), "SD per SD", "joint draws of weights"),
    "log_weight": (("weight_draw",), "natural log", "prior probability of a draw; normalised here"),
    "log_odds": (("candidate",), "log odds", "prior of a candidate relative to the inclusion rate"),
    "scale": (("candidate",), "ratio", "prior SD of the effects of a candidate relative to effect_sd"),
}
PARAMETERS = {
    "inclusion_rate": ((), "probability", "that a candidate with log_odds 0 acts on the trait"),
    "effect_sd": ((), "trait SD per SD of expression (or genotype)", "prior SD of effects of scale 1"),
    "correlation": ((), "correlation", "of the effects of a candidate between ancestries"),
}
LATENT = {  # `root` is data, `offset` a free variable; both are optional
    "root": (("weight_draw", "ancestry", "variant", "candidate", "direction"), "SD per SD", "Gaussian part"),
    "offset": (("direction",), "standard deviations", "of the weights from `columns`, along `root`"),
}
TERM = ("weight_draw", "ancestry", "candidate", "term")
DIMS = {"score": TERM, "information": (*TERM, "candidate_", "term_"), "log_draw": TERM[:1]}
Coords, Values = Mapping[str, Sequence[Any]], Mapping[str, Any]


def constants(data: Values) -> dict[str, np.ndarray]:
    """All that the density sees: of z and R, the score sqrt(n) C'z and the information n C'RC, where C has a
    column for every candidate and term (its weights and the directions of `root`)."""
    z, n, ld, columns, log_draw = (np.asarray(data[name], float) for name in list(DATA)[:5])
    columns = np.concatenate([columns[..., None], *([data["root"]] if "root" in data else [])], axis=-1)
    columns = columns * np.isfinite(z)[:, :, None, None]  # an absent variant says nothing
    used = np.flatnonzero(columns.any(axis=(0, 1, 3, 4)))
    shape = columns.shape[:2] + columns.shape[3:]
    flat = columns[:, :, used].reshape(*shape[:2], len(used), shape[2] * shape[3]) * np.sqrt(n)[:, None, None]
    return {
        "score": (np.nan_to_num(z[:, None, used]) @ flat).reshape(shape),
        "information": (flat.swapaxes(2, 3) @ (ld[:, used][:, :, used] @ flat)).reshape(shape + shape[2:]),
        "log_draw": log_draw - np.logaddexp.reduce(log_draw),
        **{f"prior_{name}": np.asarray(data[name], float) for name in ("log_odds", "scale")},
    }


def build(data: Values, coords: Coords) -> pm.Model:
    """One locus. `data`: DATA (and `root`); `coords`: their dims. ValueError above MAX_CANDIDATES."""
    d, a, k = (len(coords[name]) for name in ("weight_draw", "ancestry", "candidate"))
    if k > MAX_CANDIDATES:
        raise ValueError(f"{k} candidates; at most {MAX_CANDIDATES} can be enumerated")
    latent = ("direction",) if "root" in data else ()
    labels = {name: list(coords[name]) for name in ("weight_draw", "ancestry", "candidate", *latent)}
    labels["term"] = labels["term_"] = ["weights", *labels.get("direction", [])]
    labels |= {"candidate_": labels["candidate"], "effect_of": [*labels["ancestry"], "mean"]}
    with pm.Model(coords=labels) as model:
        given = constants(data).items()  # of known shapes: compilation is linear in k, otherwise exponential
        score, information, log_draw, log_odds, scale = (
            pm.Data(name, x, dims=DIMS.get(name, "candidate"), shape=x.shape) for name, x in given
        )
        rate = pm.Beta("inclusion_rate", alpha=1.0, beta=9.0)
        sd = scale * pm.HalfNormal("effect_sd", sigma=0.1)
        correlation = pm.Beta("correlation", alpha=9.0, beta=1.0)
        terms = pt.concatenate([np.ones(1), *(pm.Normal("offset", dims=dim) for dim in latent)])
        u = pt.sum(score * terms, axis=3)  # (D, A, K)
        t = pt.sum(pt.sum(information * terms, axis=5) * terms[:, None], axis=3)  # (D, A, K, K)
        apart = pt.sqrt(1 - correlation)
        root = apart * pt.eye(a) + (pt.sqrt(1 + (a - 1) * correlation) - apart) / a  # its square is Omega
        h = sd[:, None] * root[:, None]  # (A, K, A), takes standard normals to effects
        hth = pt.sum(t[:, :, :, None, :, None] * h[..., None, None] * h[:, None, None], axis=1)
        last = pt.sum(u[..., None] * h, axis=1).reshape((d, 1, k * a))
        system = pt.concatenate([hth.reshape((d, k * a, k * a)) + pt.eye(k * a), last], axis=1)
        system = pt.concatenate([system, pt.zeros_like(system[..., :1])], axis=2)  # lower triangle is read
        odds = pt.log(rate) - pt.log1p(-rate) + log_odds + pt.zeros_like(log_draw)[:, None]  # (D, K)
        log_p = _log_evidence(system, odds, log_draw, a, k)
        top = disconnected_grad(pt.max(log_p))  # PyTensor's own logsumexp overflows above 700
        total = top + pt.log(pt.sum(pt.exp(log_p - top)))
        pm.Potential("evidence", total - pt.sum(pt.softplus(odds[0])))
        for name, value in _summaries(*pt.grad(total, [system, odds, log_draw]), h, a, k).items():
            dims = ("weight_draw", "candidate", "effect_of") if "draw" in name else ("candidate", "ancestry")
            pm.Deterministic(name, value, dims=dims[: value.ndim])
    return model


def simulate(rng: np.random.Generator, coords: Coords, fixed: Values | None = None) -> dict[str, Any]:
    """PARAMETERS, DATA, latent `picked`, `inclusion`, `gamma` (`offset`); entries of `fixed` are taken."""
    a, p, k, d = (len(coords[name]) for name in ("ancestry", "variant", "candidate", "weight_draw"))
    decay, distance = rng.uniform(0.5, 0.9, (a, 1, 1)), np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    where = rng.permuted(np.tile(np.arange(p), (k, 1)), axis=1).T < 3  # weights on three variants
    made_up = {
        "inclusion_rate": rng.beta(1.0, 9.0), "effect_sd": abs(rng.normal(0.0, 0.1)),
        "correlation": rng.beta(9.0, 1.0), "n": np.full(a, 20_000.0), "ld": decay**distance,
        "columns": where * rng.normal(0.0, 0.2, (d, a, p, k)), "log_weight": np.zeros(d),
        "log_odds": np.zeros(k), "scale": np.ones(k),
    }  # fmt: skip
    out: dict[str, Any] = {**made_up, **(fixed or {})}
    out.setdefault("picked", rng.multinomial(1, np.exp(out["log_weight"]) / np.exp(out["log_weight"]).sum()))
    weights = np.tensordot(out["picked"], out["columns"], axes=1)
    if "root" in out:
        out.setdefault("offset", rng.standard_normal(out["root"].shape[-1]))
        weights = weights + np.tensordot(out["picked"], out["root"], axes=1) @ out["offset"]
    odds = np.exp(out["log_odds"]) / (1 / out["inclusion_rate"] - 1)
    out.setdefault("inclusion", rng.random(k) < odds / (1 + odds))
    omega = (1 - out["correlation"]) * np.eye(a) + out["correlation"]
    normal = rng.multivariate_normal(np.zeros(a), omega, size=k)
    out.setdefault("gamma", out["effect_sd"] * out["scale"][:, None] * normal)
    effect = np.sqrt(out["n"])[:, None] * (out["inclusion"] * out["gamma"].T)
    parts = zip(out["ld"], weights, effect, strict=True)
    z = [rng.multivariate_normal(r @ w @ e, r, method="eigh") for r, w, e in parts]
    return {"z": np.array(z), **out}


def _log_evidence(system: Any, odds: Any, log_draw: Any, a: int, k: int) -> Any:
    """log (prior x Bayes factor) of draws and configurations, (D, 2^K). Candidates left out lose rows, those
    taken in are eliminated: pivots make |I + H'TH|, the corner becomes -u'H (I + H'TH)^-1 H'u."""
    system, log_p = system[:, None], log_draw[:, None]
    for j in range(k):
        taken, log_taken = system, log_p + odds[:, j, None]
        for _ in range(a):
            pivot, below = taken[..., 0, 0], taken[..., 1:, 0]
            taken = taken[..., 1:, 1:] - below[..., :, None] * below[..., None, :] / pivot[..., None, None]
            log_taken = log_taken - 0.5 * pt.log(pivot)
        system = pt.concatenate([system[..., a:, a:], taken], axis=1)
        log_p = pt.concatenate([log_p, log_taken], axis=1)
    return log_p - 0.5 * system[..., 0, 0]


def _summaries(slope: Any, joint: Any, draw: Any, h: Any, a: int, k: int) -> dict[str, Any]:
    """Moments are derivatives of log sum exp(odds'c + u'gamma - gamma'T gamma / 2) by u, T, odds."""
    share = pt.maximum(joint, 1e-300)[:, :, None]
    rows = pt.concatenate([h, pt.mean(h, axis=0, keepdims=True)]).transpose(1, 0, 2)  # ancestries, their mean
    first = pt.sum(rows * slope[:, -1, :-1].reshape((-1, k, 1, a)), axis=3)
    square = pt.diagonal(slope[:, :-1, :-1].reshape((-1, k, a, k, a)), axis1=1, axis2=3).transpose(0, 3, 1, 2)
    second = pt.sum(-2 * rows[:, :, :, None] * rows[:, :, None] * square[:, :, None], axis=(3, 4))
    pip, effect, mean = pt.sum(share, axis=0), pt.sum(first, axis=0), first / share
    spread = pt.sqrt(pt.maximum(second / share - mean**2, 1e-300))
    positive = pt.sum(share * 0.5 * pt.erfc(-mean / spread / np.sqrt(2.0)), axis=0) / pip
    sd = pt.sqrt(pt.maximum(pt.sum(second, axis=0) / pip - (effect / pip) ** 2, 1e-300))
    named = {"effect": effect, "effect_given": effect / pip, "effect_sd_given": sd, "positive": positive}
    named = {name: value[:, :a] for name, value in named.items()}
    named |= {"draw_probability": draw, "draw_pip": joint, "draw_effect": first, "draw_square": second}
    return named | {"pip": pip[:, 0], "positive_mean": positive[:, a]}
