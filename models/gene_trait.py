"""Genes and variants of one locus compete for a trait: the posterior, in PyMC. Its card is gene_trait.md.

    c_k ~ Bernoulli(pi_k),  logit pi_k = logit(inclusion_rate) + log_odds_k
    gamma_k ~ Normal(0, effect_sd^2 Omega) over ancestries,  Omega = (1 - correlation) I + correlation 1 1'
    z_a ~ Normal(sqrt(n_a) R_a C_a (c * gamma_a), R_a)

Inclusions c are summed over all 2^K configurations and effects gamma are integrated, both exactly, so the
density of the three free variables is smooth. `pip` and `effect` are exact given them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

MAX_CANDIDATES = 12  # 4,096 configurations

# name: (dims, unit, meaning)
DATA = {
    "z": (("ancestry", "variant"), "z-score", "marginal association with the trait"),
    "n": (("ancestry",), "people", "GWAS sample size"),
    "ld": (("ancestry", "variant", "variant_"), "correlation", "LD, positive definite"),
    "columns": (("ancestry", "variant", "candidate"), "SD per SD of genotype", "weights, or a unit vector"),
    "log_odds": (("candidate",), "log odds", "prior of a candidate relative to the inclusion rate"),
}
PARAMETERS = {
    "inclusion_rate": ((), "probability", "that a candidate with log_odds 0 acts on the trait"),
    "effect_sd": ((), "trait SD per SD of expression (or genotype)", "prior standard deviation of effects"),
    "correlation": ((), "correlation", "of the effects of a candidate between ancestries"),
}
Coords = Mapping[str, Sequence[Any]]


def build(data: Mapping[str, Any], coords: Coords) -> pm.Model:
    """The model of one locus. `data` has the entries of DATA (others are ignored), `coords` all their dims.

    Raises ValueError for more than MAX_CANDIDATES candidates.
    """
    table = configurations(len(coords["candidate"]))
    with pm.Model(coords={name: list(labels) for name, labels in coords.items()}) as model:
        given = {
            name: pm.Data(f"{name}_data", np.asarray(data[name], float), dims=dims)
            for name, (dims, _, _) in DATA.items()
        }
        rate = pm.Beta("inclusion_rate", alpha=1.0, beta=9.0)
        effect_sd = pm.HalfNormal("effect_sd", sigma=0.1)
        correlation = pm.Beta("correlation", alpha=9.0, beta=1.0)
        n, ld, columns, log_odds = (given[name] for name in ("n", "ld", "columns", "log_odds"))
        settings = (rate, effect_sd, correlation, n, ld, columns, log_odds)
        pm.CustomDist(
            "z",
            *settings,
            logp=lambda z, *rest: pt.logsumexp(_log_joint(z, *rest, table)[0]),
            signature="(),(),(),(a),(a,p,q),(a,p,k),(k)->(a,p)",
            observed=given["z"],
            dims=DATA["z"][0],
        )
        log_joint, means = _log_joint(given["z"], *settings, table)
        weight = pt.special.softmax(log_joint)
        pm.Deterministic("pip", weight @ table, dims="candidate")
        pm.Deterministic("effect", pt.tensordot(weight, means, axes=1), dims=("candidate", "ancestry"))
    return model


def simulate(
    rng: np.random.Generator, coords: Coords, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One draw of everything: PARAMETERS, DATA, and the latent `inclusion` (K,) and `gamma` (K, A).

    Entries of `fixed` are taken as given. LD and columns not in `fixed` are made up: autoregressive LD,
    weights on three variants for every candidate.
    """
    a, p, k = (len(coords[name]) for name in ("ancestry", "variant", "candidate"))
    out: dict[str, Any] = dict(fixed or {})
    out.setdefault("inclusion_rate", rng.beta(1.0, 9.0))
    out.setdefault("effect_sd", abs(rng.normal(0.0, 0.1)))
    out.setdefault("correlation", rng.beta(9.0, 1.0))
    out.setdefault("n", np.full(a, 20_000.0))
    out.setdefault("log_odds", np.zeros(k))
    if "ld" not in out:
        decay = rng.uniform(0.5, 0.9, size=a)
        out["ld"] = decay[:, None, None] ** np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    if "columns" not in out:
        columns = np.zeros((a, p, k))
        for j in range(k):
            columns[:, rng.choice(p, min(3, p), replace=False), j] = rng.normal(0.0, 0.2, (a, min(3, p)))
        out["columns"] = columns
    odds = out["inclusion_rate"] / (1 - out["inclusion_rate"]) * np.exp(out["log_odds"])
    out.setdefault("inclusion", rng.random(k) < odds / (1 + odds))
    omega = (1 - out["correlation"]) * np.eye(a) + out["correlation"]
    out.setdefault("gamma", out["effect_sd"] * rng.multivariate_normal(np.zeros(a), omega, size=k))
    effect = out["inclusion"][:, None] * out["gamma"]
    joint = np.einsum("apk,ka->ap", out["columns"], effect) * np.sqrt(out["n"])[:, None]
    noise = np.linalg.cholesky(out["ld"]) @ rng.standard_normal((a, p, 1))
    out.setdefault("z", np.einsum("apq,aq->ap", out["ld"], joint) + noise[:, :, 0])
    return out


def configurations(candidates: int) -> np.ndarray:
    """All 0/1 vectors of length K, (2^K, K). Raises ValueError for K above MAX_CANDIDATES."""
    if candidates > MAX_CANDIDATES:
        raise ValueError(f"{candidates} candidates; at most {MAX_CANDIDATES} can be enumerated")
    return np.array(list(product((0.0, 1.0), repeat=candidates)))


def _log_joint(
    z: Any,
    rate: Any,
    sd: Any,
    correlation: Any,
    n: Any,
    ld: Any,
    columns: Any,
    log_odds: Any,
    table: np.ndarray,
) -> tuple[Any, Any]:
    """Per configuration: log p(z, c) with effects integrated, (2^K,); posterior mean of effects, (2^K, K, A).

    With u = sqrt(n) C'z, T = n C'RC, V = sd^2 D_c (x) Omega = H H':
    p(z | c) = Normal(z; 0, R) |I + H'TH|^-1/2 exp(1/2 u'H (I + H'TH)^-1 H'u).
    """
    size, k = table.shape
    a = ld.shape[0]
    log_null = pt.sum(pm.logp(pm.MvNormal.dist(mu=pt.zeros_like(z), chol=pt.linalg.cholesky(ld)), z))
    score = (pt.sqrt(n)[:, None] * pt.sum(columns * z[:, :, None], axis=1)).T  # (K, A)
    blocks = n[:, None, None] * (columns.transpose(0, 2, 1) @ ld @ columns)  # (A, K, K)
    information = blocks.transpose(1, 2, 0)[:, None, :, :] * pt.eye(a)[None, :, None, :]
    information = information.reshape((k * a, k * a))
    omega = (1 - correlation) * pt.eye(a) + correlation
    root = sd * pt.linalg.kron(pt.eye(k), pt.linalg.cholesky(omega))  # of the effects of all candidates
    on = pt.repeat(table, a, axis=1)  # (2^K, K A), 1 where included; H = root diag(on)
    middle = (root.T @ information @ root)[None] * on[:, :, None] * on[:, None, :] + pt.eye(k * a)
    projected = on * (root.T @ score.ravel())[None]
    factor = pt.linalg.cholesky(middle)
    solved = pt.linalg.solve_triangular(factor, projected[:, :, None], lower=True)
    log_bf = 0.5 * pt.sum(solved**2, axis=(1, 2))
    log_bf -= pt.sum(pt.log(pt.diagonal(factor, axis1=-2, axis2=-1)), axis=1)
    back = pt.linalg.solve_triangular(factor.transpose(0, 2, 1), solved, lower=False)[:, :, 0]
    means = (back @ root.T).reshape((size, k, a))

    logit = pt.log(rate) - pt.log1p(-rate) + log_odds
    log_prior = pt.sum(table * logit - pt.softplus(logit), axis=1)
    return log_prior + log_null + log_bf, means
