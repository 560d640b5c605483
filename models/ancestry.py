"""The effects of genes on a trait, partially pooled over ancestries. Its card is ancestry.md.

    mu_g ~ Normal(0, spread^2),  gamma_ga ~ Normal(mu_g, tau^2),  tau = heterogeneity * spread
    estimate_ga ~ Normal(gamma_ga, standard_error_ga^2)

The density of the two hyperparameters has mu and gamma integrated out exactly. The other free variables are
standard normals outside the likelihood that turn the conditional posteriors of mu, of gamma and of the effect
in an unseen ancestry into draws: whatever the data, NUTS sees no funnel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

# name: (dims, unit, meaning)
DATA = {
    "estimate": (("gene", "ancestry"), "trait SD per SD of expression", "effect; anything where absent"),
    "standard_error": (("gene", "ancestry"), "trait SD per SD of expression", "of it; inf where absent"),
}
PARAMETERS = {
    "spread": ((), "trait SD per SD of expression", "standard deviation of shared means over genes"),
    "heterogeneity": ((), "ratio", "standard deviation over ancestries relative to spread"),
    "shared_raw": (("gene",), "standard deviations", "of the shared mean from its conditional mean"),
    "effect_raw": (("gene", "ancestry"), "standard deviations", "of an effect from its conditional mean"),
    "unseen_raw": (("gene",), "standard deviations", "of the effect in an unseen ancestry from the mean"),
}
Coords = Mapping[str, Sequence[Any]]


def constants(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`estimates` (gene, ancestry; 0 where absent), `precision` = 1 / standard_error^2 (0 where absent) and
    `log_constant` (gene), what the normal densities of the estimates hold besides."""
    precision = 1 / np.square(np.asarray(data["standard_error"], float))
    present = precision > 0
    logs = np.log(np.where(present, precision, 1.0)) - np.log(2 * np.pi) * present
    return {
        "estimates": np.where(present, np.asarray(data["estimate"], float), 0.0),
        "precision": precision,
        "log_constant": 0.5 * logs.sum(axis=1),
    }


def build(data: Mapping[str, Any], coords: Coords) -> pm.Model:
    """The model of many genes. `data` has the entries of DATA, `coords` gene and ancestry."""
    both = ("gene", "ancestry")
    with pm.Model(coords={name: list(coords[name]) for name in both}) as model:
        given = {
            name: pm.Data(name, value, dims=both[: value.ndim]) for name, value in constants(data).items()
        }
        spread = pm.HalfNormal("spread", sigma=0.1)
        heterogeneity = pm.HalfNormal("heterogeneity", sigma=0.5)
        shared_raw = pm.Normal("shared_raw", dims="gene")
        effect_raw = pm.Normal("effect_raw", dims=both)
        unseen_raw = pm.Normal("unseen_raw", dims="gene")
        tau = pm.Deterministic("tau", heterogeneity * spread)
        pm.Deterministic("correlation", 1 / (1 + heterogeneity**2))
        estimate, precision = given["estimates"], given["precision"]
        pm.CustomDist(
            "estimate",
            *(precision, given["log_constant"], spread, tau),
            logp=_log_density,
            signature="(a),(),(),()->(a)",
            observed=estimate,
            dims=both,
        )
        information = precision / (1 + tau**2 * precision)  # of an estimate about the shared mean
        variance = 1 / (1 / spread**2 + pt.sum(information, axis=1))
        shared = variance * pt.sum(information * estimate, axis=1) + pt.sqrt(variance) * shared_raw
        own = tau**2 * precision  # the estimate against the shared mean
        mean = (shared[:, None] + own * estimate) / (1 + own)
        sd = tau / pt.sqrt(1 + own)
        pm.Deterministic("shared_mean", shared, dims="gene")
        pm.Deterministic("gene_effect", mean + sd * effect_raw, dims=both)
        pm.Deterministic("predicted", shared + tau * unseen_raw, dims="gene")
        positive, negative = (pt.prod(_above_zero(sign * mean / sd), axis=1) for sign in (1, -1))
        unseen = _above_zero(shared / tau)
        pm.Deterministic("same_sign", positive + negative, dims="gene")
        everywhere = positive * unseen + negative * (1 - unseen)
        pm.Deterministic("same_sign_unseen", everywhere, dims="gene")
    return model


def simulate(
    rng: np.random.Generator, coords: Coords, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One draw of everything: PARAMETERS, DATA, the effects, and whether their signs agree (`signs_agree`,
    with the unseen ancestry `signs_agree_unseen`). Entries of `fixed` are taken as given.

    Effects come first, estimates from them; the raw variables are what gives these effects under the model's
    conditional posterior. Where `fixed` has raw variables, effects follow from them and the estimates.
    """
    genes, ancestries = len(coords["gene"]), len(coords["ancestry"])
    out: dict[str, Any] = dict(fixed or {})
    out.setdefault("spread", abs(rng.normal(0.0, 0.1)))
    out.setdefault("heterogeneity", abs(rng.normal(0.0, 0.5)))
    out["tau"] = tau = out["heterogeneity"] * out["spread"]
    out["correlation"] = 1 / (1 + out["heterogeneity"] ** 2)
    shared = rng.normal(0.0, out["spread"], genes)
    effect = rng.normal(shared[:, None], tau, (genes, ancestries))
    out.setdefault("standard_error", rng.uniform(0.01, 0.1, (genes, ancestries)))
    present = np.isfinite(out["standard_error"])
    noise = rng.standard_normal((genes, ancestries))
    seen = effect + np.where(present, out["standard_error"], 0.0) * noise
    out.setdefault("estimate", np.where(present, seen, np.nan))
    out.setdefault("unseen_raw", rng.standard_normal(genes))

    mean, sd = np.zeros(genes), np.zeros(genes)  # of the shared mean given the estimates, gene by gene
    for g in range(genes):
        some = present[g]
        covariance = np.diag(out["standard_error"][g, some] ** 2 + tau**2) + out["spread"] ** 2
        gain = out["spread"] ** 2 * np.linalg.solve(covariance, np.ones(some.sum()))
        mean[g] = gain @ out["estimate"][g, some]
        sd[g] = out["spread"] * np.sqrt(1 - gain.sum())
    out.setdefault("shared_raw", (shared - mean) / sd)
    out["shared_mean"] = mean + sd * out["shared_raw"]
    gain = tau**2 / (tau**2 + out["standard_error"] ** 2)
    mean = out["shared_mean"][:, None] * (1 - gain) + gain * np.where(present, out["estimate"], 0.0)
    sd = tau * np.sqrt(1 - gain)
    out.setdefault("effect_raw", (effect - mean) / sd)
    out["gene_effect"] = mean + sd * out["effect_raw"]
    out["predicted"] = out["shared_mean"] + tau * out["unseen_raw"]
    positive = out["gene_effect"] > 0
    out["signs_agree"] = positive.all(axis=1) | ~positive.any(axis=1)
    out["signs_agree_unseen"] = out["signs_agree"] & (positive[:, 0] == (out["predicted"] > 0))
    return out


def _log_density(estimate: Any, precision: Any, log_constant: Any, spread: Any, tau: Any) -> Any:
    """Of the estimates of each gene, Normal(0, spread^2 1 1' + diag(tau^2 + standard_error^2)), (gene,)."""
    inflation = 1 + tau**2 * precision
    information = precision / inflation
    total, score = pt.sum(information, axis=-1), pt.sum(information * estimate, axis=-1)
    shared = 1 + spread**2 * total
    squares = pt.sum(information * estimate**2, axis=-1) - spread**2 * score**2 / shared
    return log_constant - 0.5 * (pt.sum(pt.log(inflation), axis=-1) + pt.log(shared) + squares)


def _above_zero(standardised: Any) -> Any:
    """P(a normal variable > 0), given its mean in standard deviations."""
    return 0.5 * pt.erfc(-standardised / np.sqrt(2.0))
