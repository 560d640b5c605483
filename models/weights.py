"""Expression weights of one gene over variants, contexts and ancestries, in PyMC. Its card is weights.md.

    w_jca = scale_j (sqrt(phi_1) s_j + sqrt(phi_2) t_jc + sqrt(phi_3) r_ja),  s, t, r ~ Normal(0, 1)
    scale_j = free_j c / sqrt(c^2 + free_j^2),  free_j = tau u_j exp(annotation_j . coefficient)
    R_ca^(-1/2) z_ca = sqrt(n_ca) R_ca^(1/2) w_ca + e_ca,  cov(e_ca, e_da) = noise_a,cd I

The scale of a variant is shared by all contexts and ancestries. R^(1/2) is the symmetric root of the LD and
R^(-1/2) its pseudo-inverse, so LD of fewer people than variants needs no other treatment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

PARTS = ("shared", "context", "ancestry")
CONCENTRATION = (7.0, 2.0, 1.0)  # of the Dirichlet prior of the partition
EXPECTED, NOTICEABLE = 1.5, 0.05  # eQTLs of a gene; the size of effect that counts as one
SLAB_SHAPE, SLAB_SCALE = 2.0, 0.18  # of the slab's variance: Student t with 4 degrees of freedom, scale 0.3
RANK_TOLERANCE = 1e-10  # eigenvalues of LD below this share of the largest are zero

# name: (dims, unit, meaning)
DATA = {
    "z": (("context", "ancestry", "variant"), "z-score", "sqrt(n) times the correlation with expression"),
    "n": (("context", "ancestry"), "people", "donors; 0 where the gene is not measured"),
    "ld": (("context", "ancestry", "variant", "variant_"), "correlation", "LD; zero or NaN where absent"),
    "noise": (("ancestry", "context", "context_"), "expression variance", "residual covariance"),
    "annotations": (("variant", "annotation"), "as given", "shifts the log local scale"),
}  # fmt: skip
PARAMETERS = {
    "global_scale": ((), "expression SD per SD of genotype", "scale of the effects of all variants, tau"),
    "local_scale": (("variant",), "ratio", "heavy-tailed scale of a variant, u"),
    "slab_variance": ((), "(expression SD per SD of genotype)^2", "of the largest effects, c^2"),
    "annotation_effect": (("annotation",), "log scale per unit", "coefficient of an annotation"),
    "partition": (("part",), "proportion", "of the variance of an effect: shared, by context, by ancestry"),
    "shared": (("variant",), "standard normal", "what all contexts and ancestries have in common, s"),
    "by_context": (("context", "variant"), "standard normal", "what a context adds, t"),
    "by_ancestry": (("ancestry", "variant"), "standard normal", "what an ancestry adds, r"),
}
Coords = Mapping[str, Sequence[Any]]
Prior = Callable[[Mapping[str, Any], Coords], Any]


def summary(genotypes: np.ndarray, expression: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """z (variant,), n and ld of one study, from genotypes (donor, variant) and expression (donor,); the
    likelihood of the three is that of the people, up to a constant, at the residual variance in `noise`."""
    x, y = (v - v.mean(axis=0) for v in (np.asarray(genotypes, float), np.asarray(expression, float)))
    x, y, n = x / x.std(axis=0), y / y.std(), float(len(y))
    return y @ x / np.sqrt(n), n, x.T @ x / n


def constants(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Containers: ld_root R^(1/2) and root_n; mix, the inverse Cholesky factor of the noise; whitened, z with
    unit and independent noise; annotations. A study without donors gets noise of its own and tells nothing."""
    n = np.asarray(data["n"], float)
    value, vector = np.linalg.eigh(np.nan_to_num(np.asarray(data["ld"], float)))
    kept = value > RANK_TOLERANCE * np.maximum(value[..., -1:], 1e-300)
    root = np.sqrt(np.where(kept, value, 0.0))
    inverse = np.where(kept, 1 / np.where(kept, root, 1.0), 0.0)
    turned = np.einsum("capq,cap->caq", vector, np.nan_to_num(np.asarray(data["z"], float)))
    white = np.einsum("capq,caq->cap", vector, inverse * turned) * (n > 0)[:, :, None]
    measured = (n > 0).T
    noise = np.where(measured[:, :, None] & measured[:, None, :], data["noise"], np.eye(len(n)))
    mix = np.linalg.inv(np.linalg.cholesky(noise))
    return {
        "ld_root": (vector * root[..., None, :]) @ np.swapaxes(vector, -1, -2),
        "root_n": np.sqrt(n),
        "mix": mix,
        "whitened": np.einsum("acd,dap->cap", mix, white),
        "annotations": np.asarray(data["annotations"], float),
    }


def horseshoe(given: Mapping[str, Any], coords: Coords) -> Any:
    """The regularised horseshoe (Piironen and Vehtari 2017): scale of each variant's effects, (variant,)."""
    tau = pm.HalfCauchy("global_scale", beta=smallest_scale(len(coords["variant"])))
    local = pm.HalfCauchy("local_scale", beta=1.0, dims="variant")
    slab = pm.InverseGamma("slab_variance", alpha=SLAB_SHAPE, beta=SLAB_SCALE)
    coefficient = pm.Normal("annotation_effect", 0.0, 1.0, dims="annotation")
    free = tau * local * pt.exp(pt.sum(given["annotations"] * coefficient, axis=1))
    return free * pt.sqrt(slab / (slab + free**2))


def smallest_scale(variants: int) -> float:
    """Prior median of the global scale: `EXPECTED` of the variants have an effect above `NOTICEABLE`."""
    expected = min(EXPECTED, variants / 2)
    return NOTICEABLE * expected / (variants - expected)


def build(data: Mapping[str, Any], coords: Coords, *, prior: Prior = horseshoe) -> pm.Model:
    """The model of one gene. `coords` has the dims of DATA.

    `prior(containers, coords)` makes its own free variables and returns the scale of each variant's effects.
    """
    of = {"ld_root": "ld", "root_n": "n", "mix": "noise", "whitened": "z", "annotations": "annotations"}
    with pm.Model(coords={"part": PARTS, **{key: list(labels) for key, labels in coords.items()}}) as model:
        given = {key: pm.Data(key, value, dims=DATA[of[key]][0]) for key, value in constants(data).items()}
        scale = prior(given, coords)
        partition = pm.Dirichlet("partition", np.array(CONCENTRATION), dims="part")
        shared = pm.Normal("shared", dims="variant")
        by_context = pm.Normal("by_context", dims=("context", "variant"))
        by_ancestry = pm.Normal("by_ancestry", dims=("ancestry", "variant"))
        root = pt.sqrt(partition)
        effect = root[0] * shared + root[1] * by_context[:, None, :] + root[2] * by_ancestry[None, :, :]
        weight = pm.Deterministic("weight", scale * effect, dims=("context", "ancestry", "variant"))
        fitted = (given["ld_root"] @ weight[..., None])[..., 0]
        pm.Deterministic("h2", pt.sum(fitted**2, axis=-1), dims=("context", "ancestry"))
        signal = (given["root_n"][:, :, None] * fitted).transpose(1, 0, 2)
        mean = (given["mix"] @ signal).transpose(1, 0, 2)
        pm.Normal("z", mean, 1.0, observed=given["whitened"], dims=DATA["z"][0])
    return model


def simulate(
    rng: np.random.Generator, coords: Coords, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One draw of everything: PARAMETERS, DATA, `weight` and `h2`. Entries of `fixed` are taken as given; a
    design that is not is made up: 200 donors in each ancestry, in all contexts, and autoregressive LD."""
    c, a, p, k = (len(coords[name]) for name in ("context", "ancestry", "variant", "annotation"))
    apart = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    makers: dict[str, Callable[[], Any]] = {
        "global_scale": lambda: abs(smallest_scale(p) * rng.standard_cauchy()),
        "local_scale": lambda: np.abs(rng.standard_cauchy(p)),
        "slab_variance": lambda: SLAB_SCALE / rng.gamma(SLAB_SHAPE),
        "annotation_effect": lambda: rng.normal(size=k),
        "partition": lambda: rng.dirichlet(CONCENTRATION),
        "shared": lambda: rng.normal(size=p),
        "by_context": lambda: rng.normal(size=(c, p)),
        "by_ancestry": lambda: rng.normal(size=(a, p)),
        "annotations": lambda: rng.normal(size=(p, k)),
        "n": lambda: np.full((c, a), 200.0),
        "ld": lambda: np.tile(rng.uniform(0.5, 0.9, (a, 1, 1)) ** apart, (c, 1, 1, 1)),
        "noise": lambda: np.tile(0.7 * np.eye(c) + 0.3, (a, 1, 1)),
    }
    out: dict[str, Any] = dict(fixed or {})
    for name, make in makers.items():
        if name not in out:
            out[name] = make()
    free = out["global_scale"] * out["local_scale"] * np.exp(out["annotations"] @ out["annotation_effect"])
    scale = 1 / np.sqrt(1 / np.maximum(free, 1e-300) ** 2 + 1 / out["slab_variance"])
    phi = np.sqrt(out["partition"])
    effect = phi[0] * out["shared"] + phi[1] * out["by_context"][:, None] + phi[2] * out["by_ancestry"][None]
    out["weight"] = scale * effect
    out["h2"] = np.einsum("cap,capq,caq->ca", out["weight"], out["ld"], out["weight"])
    value, vector = np.linalg.eigh(out["ld"])
    root = (vector * np.sqrt(np.maximum(value, 0.0))[..., None, :]) @ np.swapaxes(vector, -1, -2)
    white = np.einsum("acd,adp->cap", np.linalg.cholesky(out["noise"]), rng.normal(size=(a, c, p)))
    mean = np.sqrt(out["n"])[:, :, None] * np.einsum("capq,caq->cap", out["ld"], out["weight"])
    out.setdefault("z", mean + np.einsum("capq,caq->cap", root, white))
    return out
