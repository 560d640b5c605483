"""Expression weights of one gene over variants, contexts and ancestries, in PyMC. Its card is weights.md.

    w_jca = scale_j (sqrt(phi_1) s_j + sqrt(phi_2) t_jc + sqrt(phi_3) r_ja),  s, t, r ~ Normal(0, 1)
    scale_j = free_j c / sqrt(c^2 + free_j^2),  free_j = tau u_j exp(annotation_j . coefficient)
    R_s^(-1/2) z_s = sqrt(n_s) R_s^(1/2) w_s + e_s,  cov(e_s, e_t) = noise_st I  for studies s, t

A study is a context in an ancestry; the scale of a variant is shared by all of them. R^(1/2) is the symmetric
root of the LD and R^(-1/2) its pseudo-inverse, so LD of fewer people than variants needs no other treatment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

PARTS = ("shared", "context", "ancestry")
MEMBERS = ("sharing", "context_of_rest", "shared", "by_context", "by_ancestry")  # free under any prior
SHARING, CONTEXT_OF_REST = (7.0, 3.0), (2.0, 1.0)  # together: a Dirichlet(7, 2, 1) prior of the partition
EXPECTED, NOTICEABLE = 1.5, 0.05  # eQTLs of a gene; the size of effect that counts as one
SLAB = (2.0, 0.18)  # inverse gamma of the slab's variance: Student t with 4 degrees of freedom, scale 0.3
RANK_TOLERANCE = 1e-10  # eigenvalues of LD below this share of the largest are zero

# name: (dims, unit, meaning)
DATA = {
    "z": (("context", "ancestry", "variant"), "z-score", "sqrt(n) times the correlation with expression"),
    "n": (("context", "ancestry"), "people", "donors; 0 where the gene is not measured"),
    "ld": (("context", "ancestry", "variant", "variant_"), "correlation", "LD; zero or NaN where absent"),
    "noise": (("context", "ancestry", "context_", "ancestry_"), "expression variance", "of the residuals"),
    "annotations": (("variant", "annotation"), "as given", "shift the log local scale"),
}
PARAMETERS = {
    "global_scale": ((), "expression SD per SD of genotype", "scale of the effects of all variants, tau"),
    "local_scale": (("variant",), "ratio", "heavy-tailed scale of a variant, u"),
    "slab_variance": ((), "(expression SD per SD of genotype)^2", "of the largest effects, c^2"),
    "annotation_effect": (("annotation",), "log scale per unit", "coefficient of an annotation"),
    "sharing": ((), "proportion", "of the variance of an effect that is shared by all studies, phi_1"),
    "context_of_rest": ((), "proportion", "of what is not shared, that follows contexts"),
    "shared": (("variant",), "standard normal", "what all studies have in common, s"),
    "by_context": (("context", "variant"), "standard normal", "what a context adds, t"),
    "by_ancestry": (("ancestry", "variant"), "standard normal", "what an ancestry adds, r"),
}
CONTAINERS = {
    "ld_root": ("study", "variant", "variant_"), "root_n": ("study",), "mix": ("study", "study_"),
    "whitened": ("study", "variant"), "annotations": ("variant", "annotation"), "usual_scale": (),
}  # fmt: skip
Coords = Mapping[str, Sequence[Any]]
Prior = Callable[[Mapping[str, Any], Coords], Any]


def constants(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """CONTAINERS over studies, context-major: R^(1/2); sqrt(n); inverse Cholesky factor of the noise; z with
    unit, independent noise. A study without donors gets noise of its own and tells nothing."""
    z, n, ld, noise = (np.nan_to_num(np.asarray(data[key], float)) for key in ("z", "n", "ld", "noise"))
    s, p = n.size, z.shape[-1]
    value, vector = np.linalg.eigh(ld.reshape(s, p, p))
    root = np.sqrt(np.where(value > RANK_TOLERANCE * value[:, -1:], value, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    white = np.einsum("sqp,sp,srp,sr->sq", vector, inverse, vector, z.reshape(s, p), optimize=True)
    measured = n.ravel() > 0
    noise = np.where(np.outer(measured, measured), noise.reshape(s, s), np.eye(s))
    mix = np.linalg.inv(np.linalg.cholesky(noise))
    return {
        "ld_root": (vector * root[:, None, :]) @ vector.transpose(0, 2, 1),
        "root_n": np.sqrt(n.ravel()),
        "mix": mix,
        "whitened": mix @ (white * measured[:, None]),
        "annotations": np.asarray(data["annotations"], float),
        "usual_scale": np.array(_tau(np.diagonal(ld, axis1=2, axis2=3).any(axis=(0, 1)).sum())),
    }


def horseshoe(given: Mapping[str, Any], coords: Coords) -> Any:
    """The regularised horseshoe (Piironen and Vehtari 2017): scale of each variant's effects, (variant,)."""
    tau = pm.HalfCauchy("global_scale", beta=given["usual_scale"])
    local = pm.HalfCauchy("local_scale", beta=1.0, dims="variant")
    slab = pm.InverseGamma("slab_variance", alpha=SLAB[0], beta=SLAB[1])
    coefficient = pm.Normal("annotation_effect", 0.0, 1.0, dims="annotation")
    free = tau * local * pt.exp(given["annotations"] @ coefficient)
    return free * pt.sqrt(slab / (slab + free**2))


def _tau(variants: int) -> float:
    """Prior median of the global scale: about `EXPECTED` variants have effects of `NOTICEABLE` size. Variants
    that vary in no study, such as pad a gene to the size of another, do not count."""
    return NOTICEABLE * min(EXPECTED / max(variants - EXPECTED, 0.1), 1.0)


def build(data: Mapping[str, Any], coords: Coords, *, prior: Prior = horseshoe) -> pm.Model:
    """The model of one gene; `coords` has the dims of DATA. `prior(containers, coords)` makes its own free
    variables and returns the scale of each variant's effects."""
    studies = [", ".join(map(str, study)) for study in product(coords["context"], coords["ancestry"])]
    shape = tuple(len(coords[dim]) for dim in DATA["z"][0])
    own = {"part": PARTS, "study": studies, "study_": studies}
    with pm.Model(coords=own | {key: list(labels) for key, labels in coords.items()}) as model:
        given = {key: pm.Data(key, value, dims=CONTAINERS[key]) for key, value in constants(data).items()}
        scale = prior(given, coords)
        sharing, rest = pm.Beta("sharing", *SHARING), pm.Beta("context_of_rest", *CONTEXT_OF_REST)
        partition = pt.stack([sharing, (1 - sharing) * rest, (1 - sharing) * (1 - rest)])
        pm.Deterministic("partition", partition, dims="part")
        shared = pm.Normal("shared", dims="variant")
        by_context = pm.Normal("by_context", dims=("context", "variant"))
        by_ancestry = pm.Normal("by_ancestry", dims=("ancestry", "variant"))
        c, a = (grid.ravel() for grid in np.indices(shape[:2]))
        member = np.hstack([np.ones((c.size, 1)), np.eye(shape[0])[c], np.eye(shape[1])[a]])  # (study, row)
        part = np.repeat([0, 1, 2], [1, *shape[:2]])  # of each row
        parts = pt.concatenate([shared[None], by_context, by_ancestry])
        weight = scale * ((member * pt.sqrt(partition)[part]) @ parts)  # (study, variant)
        fitted = (given["ld_root"] @ weight[:, :, None])[:, :, 0]
        pm.Deterministic("weight", weight.reshape(shape), dims=DATA["z"][0])
        pm.Deterministic("h2", pt.sum(fitted**2, axis=1).reshape(shape[:2]), dims=DATA["n"][0])
        mean = given["mix"] @ (given["root_n"][:, None] * fitted)
        pm.Normal("z", mean, 1.0, observed=given["whitened"], dims=CONTAINERS["whitened"])
    return model


def simulate(
    rng: np.random.Generator, coords: Coords, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One draw of everything: PARAMETERS, DATA, `partition`, `weight` and `h2`. Entries of `fixed` are taken
    as given; a design that is not is made up: 200 donors in every context of an ancestry, AR(1) LD."""
    c, a, p, k = (len(coords[name]) for name in ("context", "ancestry", "variant", "annotation"))
    apart = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    out: dict[str, Any] = {
        "global_scale": abs(_tau(p) * rng.standard_cauchy()),
        "local_scale": np.abs(rng.standard_cauchy(p)),
        "slab_variance": SLAB[1] / rng.gamma(SLAB[0]),
        "annotation_effect": rng.normal(size=k),
        "sharing": rng.beta(*SHARING),
        "context_of_rest": rng.beta(*CONTEXT_OF_REST),
        "shared": rng.normal(size=p),
        "by_context": rng.normal(size=(c, p)),
        "by_ancestry": rng.normal(size=(a, p)),
        "annotations": rng.normal(size=(p, k)),
        "n": np.full((c, a), 200.0),
        "ld": np.tile(rng.uniform(0.5, 0.9, (a, 1, 1)) ** apart, (c, 1, 1, 1)),
        "noise": np.einsum("cd,ab->cadb", 0.7 * np.eye(c) + 0.3, np.eye(a)),
    } | dict(fixed or {})
    free = out["global_scale"] * out["local_scale"] * np.exp(out["annotations"] @ out["annotation_effect"])
    scale = 1 / np.sqrt(1 / np.maximum(free, 1e-300) ** 2 + 1 / out["slab_variance"])
    rest, by_context = 1 - out["sharing"], out["context_of_rest"]
    out["partition"] = np.array([out["sharing"], rest * by_context, rest * (1 - by_context)])
    phi = np.sqrt(out["partition"])
    effect = phi[0] * out["shared"] + phi[1] * out["by_context"][:, None] + phi[2] * out["by_ancestry"][None]
    out["weight"] = scale * effect
    fitted = np.einsum("capq,caq->cap", out["ld"], out["weight"])
    out["h2"] = np.sum(out["weight"] * fitted, axis=-1)
    value, vector = np.linalg.eigh(out["ld"])
    white = np.linalg.cholesky(out["noise"].reshape(c * a, c * a)) @ rng.normal(size=(c * a, p))
    turned = np.sqrt(np.maximum(value, 0.0)) * np.einsum("capq,cap->caq", vector, white.reshape(c, a, p))
    out.setdefault("z", np.sqrt(out["n"])[..., None] * fitted + np.einsum("capq,caq->cap", vector, turned))
    return out
