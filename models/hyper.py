"""Priors of genes and variants, learned over the single effects of a genome, in PyMC. Its card is hyper.md.

    log odds_c = intercept_kind(c) + context_effect_context(c) + pattern_c . coefficient
    P(effect i is candidate k of class c) = odds_c / M_i, P(none) = 1 / M_i,  M_i = 1 + sum_c count_ic odds_c
    P(data_i) / P(data_i | none) = (1 + sum_c odds_c sum_s size_weight_s exp(log_sum_ics)) / M_i

A class is a kind (gene, variant), a context (of genes) and an annotation pattern; log_sum is the log of the
sum of its candidates' Bayes factors at effect size s. Which candidate and which size are summed out exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

KINDS = ("gene", "variant")
CENTRE, WIDTH = np.log([1e-2, 1e-4]), 2.0  # log prior odds: of a gene in a context, of a variant
SLAB = 2.0  # standard deviation of a coefficient that the horseshoe leaves free
CONCENTRATION = 2.0  # of the weights of effect sizes

# name: (dims, unit, meaning)
DATA = {
    "log_sum": (("effect", "class", "size"), "natural log", "sum of Bayes factors of a class; -inf if empty"),
    "count": (("effect", "class"), "candidates", "that the sum runs over"),
    "in_kind": (("class", "kind"), "0 or 1", "one 1 per row: gene or variant"),
    "in_context": (("class", "context"), "0 or 1", "the context of a class of genes; zeros for variants"),
    "pattern": (("class", "annotation"), "as given", "annotations of a class"),
}
PARAMETERS = {
    "intercept": (("kind",), "natural log", "prior odds of a candidate without annotations"),
    "context_spread": ((), "natural log", "standard deviation of contexts"),
    "context_deviation": (("context",), "standard deviations", "of a context from the mean"),
    "global_scale": ((), "natural log", "scale of all coefficients"),
    "local_scale": (("annotation",), "ratio", "heavy-tailed scale of a coefficient"),
    "standard_coefficient": (("annotation",), "standard deviations", "coefficient in units of its scale"),
    "size_weight": (("kind", "size"), "probability", "of the effect sizes of the grid"),
}
# prior standard deviations; a posterior as wide was not informed by the data
PRIOR_SD = {"intercept": WIDTH, "context_effect": 1.0, "coefficient": 0.785}
Coords, Values = Mapping[str, Sequence[Any]], Mapping[str, Any]


def constants(data: Values) -> dict[str, np.ndarray]:
    """The design, `count`, and `scaled_sum` (effect, class, size) and `null` (effect): exp(log_sum) and 1, in
    units of exp(`offset`), the largest term of an effect, so that nothing overflows."""
    given = {name: np.asarray(data[name], float) for name in DATA}
    log_sum = given.pop("log_sum")
    offset = np.maximum(log_sum.max(axis=(1, 2)), 0.0)
    scaled = np.exp(log_sum - offset[:, None, None])
    return {"scaled_sum": scaled, "null": np.exp(-offset), "offset": offset, **given}


def build(data: Values, coords: Coords) -> pm.Model:
    """The model of all effects. `data` has the entries of DATA, `coords` their dims; the kinds are KINDS."""
    labels = {name: list(coords[name]) for name in ("effect", "class", "context", "annotation", "size")}
    dims = {name: row[0] for name, row in DATA.items()} | {"scaled_sum": DATA["log_sum"][0]}
    with pm.Model(coords={**labels, "kind": list(KINDS)}) as model:
        given = {
            name: pm.Data(name, value, dims=dims.get(name, ("effect",)))
            for name, value in constants(data).items()
        }
        intercept = pm.Normal("intercept", mu=CENTRE, sigma=WIDTH, dims="kind")
        spread = pm.HalfNormal("context_spread", sigma=1.0)
        context = spread * pm.Normal("context_deviation", dims="context")
        free = pm.HalfNormal("global_scale", sigma=0.5) * pm.HalfCauchy("local_scale", 1.0, dims="annotation")
        scale = free / pt.sqrt(1 + (free / SLAB) ** 2)  # the regularised horseshoe
        coefficient = scale * pm.Normal("standard_coefficient", dims="annotation")
        sizes = np.full((len(KINDS), len(labels["size"])), CONCENTRATION)
        size_weight = pm.Dirichlet("size_weight", a=sizes, dims=("kind", "size"))
        in_kind = given["in_kind"]
        eta = in_kind @ intercept + given["in_context"] @ context + given["pattern"] @ coefficient
        weight = pt.exp(eta)[:, None] * (in_kind @ size_weight)  # (class, size)
        scaled = given["scaled_sum"].flatten(2)  # (effect, class x size)
        total = given["null"] + scaled @ weight.ravel()
        log_prior = pt.log1p(given["count"] @ pt.exp(eta))  # of an effect being none, with a minus
        pm.Potential("evidence", pt.sum(pt.log(total) + given["offset"] - log_prior))
        pm.Deterministic("baseline", pt.exp(intercept), dims="kind")
        pm.Deterministic("context_effect", context, dims="context")
        pm.Deterministic("context_prior", pt.exp(intercept[0] + context), dims="context")
        pm.Deterministic("coefficient", coefficient, dims="annotation")
        pm.Deterministic("enrichment", pt.exp(coefficient), dims="annotation")
        by_kind = (weight[:, :, None] * in_kind[:, None, :]).reshape((-1, len(KINDS)))
        probability = pm.Deterministic(
            "probability", scaled @ by_kind / total[:, None], dims=("effect", "kind")
        )
        pm.Deterministic("expected_causal", pt.sum(probability, axis=0), dims="kind")
    return model


def simulate(rng: np.random.Generator, coords: Coords, fixed: Values | None = None) -> dict[str, Any]:
    """PARAMETERS, DATA, Deterministics of both, and `causal` (effect, kind); entries of `fixed` are taken.

    Every candidate has a z-score of its own: Normal(0, 1), or Normal(0, 1 + signal_variance) if it is causal,
    where `signal_variance` (size) may be given in `fixed`. Their Bayes factors make `log_sum`.
    """
    effects, c, contexts, annotations, s = (
        len(coords[name]) for name in ("effect", "class", "context", "annotation", "size")
    )
    genes = np.arange(c) % 2 == 0  # every other class
    made_up = {
        "intercept": rng.normal(CENTRE, WIDTH), "context_spread": abs(rng.normal()),
        "context_deviation": rng.standard_normal(contexts), "global_scale": abs(rng.normal(0.0, 0.5)),
        "local_scale": np.abs(rng.standard_cauchy(annotations)),
        "standard_coefficient": rng.standard_normal(annotations),
        "size_weight": rng.dirichlet(np.full(s, CONCENTRATION), size=len(KINDS)),
        "in_kind": np.stack([genes, ~genes], axis=1).astype(float),
        "in_context": genes[:, None] * np.eye(contexts)[rng.integers(contexts, size=c)],
        "pattern": rng.integers(2, size=(c, annotations)).astype(float),
        "count": rng.poisson(np.where(genes, 3, 30), size=(effects, c)),
        "signal_variance": 4.0 ** np.arange(1, s + 1),
    }  # fmt: skip
    out: dict[str, Any] = {**made_up, **(fixed or {})}
    out["context_effect"] = out["context_spread"] * out["context_deviation"]
    free = out["global_scale"] * out["local_scale"]
    out["coefficient"] = free / np.sqrt(1 + (free / SLAB) ** 2) * out["standard_coefficient"]
    out |= {"baseline": np.exp(out["intercept"]), "enrichment": np.exp(out["coefficient"])}
    out["context_prior"] = np.exp(out["intercept"][0] + out["context_effect"])
    eta = out["in_kind"] @ out["intercept"] + out["in_context"] @ out["context_effect"]
    mass = out["count"] * np.exp(eta + out["pattern"] @ out["coefficient"])  # (effect, class)
    point = rng.random(effects) * (1 + mass.sum(axis=1))
    chosen = np.sum(point[:, None] >= mass.cumsum(axis=1), axis=1)  # the class; c where there is none
    there = np.arange(out["count"].max()) < out["count"][:, :, None]  # (effect, class, candidate)
    z = rng.standard_normal(there.shape)
    row = np.flatnonzero(chosen < c)
    kind = out["in_kind"][chosen[row]].argmax(axis=1)
    size = np.array([rng.choice(s, p=out["size_weight"][k]) for k in kind], dtype=int)
    z[row, chosen[row], 0] *= np.sqrt(1 + out["signal_variance"][size])
    known = out["signal_variance"] / (1 + out["signal_variance"])
    log_bf = 0.5 * np.log1p(-known)[:, None] + 0.5 * known[:, None] * z[:, :, None, :] ** 2
    out["log_sum"] = np.logaddexp.reduce(np.where(there[:, :, None, :], log_bf, -np.inf), axis=3)
    out["causal"] = np.zeros((effects, len(KINDS)))
    out["causal"][row, kind] = 1.0
    return out
