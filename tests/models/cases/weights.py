"""The case of `weights`: two contexts measured in the same donors, two ancestries, six variants."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, stats

COORDS = {
    "context": ["blood", "liver"],
    "context_": ["blood", "liver"],
    "ancestry": ["EUR", "AFR"],
    "ancestry_": ["EUR", "AFR"],
    "variant": list(range(6)),
    "variant_": list(range(6)),
    "annotation": ["tss", "open"],
}
POINT = {
    "global_scale": 0.03,
    "local_scale": np.array([0.5, 8.0, 1.5, 0.2, 3.0, 1.0]),
    "slab_variance": 0.12,
    "annotation_effect": np.array([0.4, -0.3]),
    "sharing": 0.6,
    "context_of_rest": 0.7,
    "shared": np.array([0.3, 1.2, -0.7, 0.1, -1.5, 0.8]),
    "by_context": np.array([[0.5, -0.2, 1.1, 0.4, 0.3, -1.0], [-0.6, 0.9, 0.2, -1.3, 0.7, 0.1]]),
    "by_ancestry": np.array([[1.0, 0.3, -0.4, 0.2, -0.8, 0.6], [-0.1, -1.2, 0.5, 0.9, 0.4, -0.3]]),
}
_APART = np.abs(np.subtract.outer(range(6), range(6)))
# every study has its own LD and size
FIXED = {
    "n": np.array([[300.0, 90.0], [250.0, 60.0]]),
    "ld": np.array([[0.6, 0.8], [0.7, 0.5]])[:, :, None, None] ** _APART,
}
# likelihood + prior of `log_density` at POINT, data of simulate(default_rng(4), COORDS, {**FIXED, **POINT})
GOLDEN = -84.12034402759477


def log_density(d: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Normal density of the z-scores of all studies with their covariance written out; the model
    states that of whitened z, which differs by the Jacobian of the whitening."""
    free = (
        point["global_scale"] * point["local_scale"] * np.exp(d["annotations"] @ point["annotation_effect"])
    )
    scale = np.sqrt(point["slab_variance"] * free**2 / (point["slab_variance"] + free**2))
    c, a, p = d["z"].shape
    rest = 1 - point["sharing"]
    partition = (point["sharing"], rest * point["context_of_rest"], rest * (1 - point["context_of_rest"]))
    studies = [(k, i) for k in range(c) for i in range(a)]
    roots = [linalg.sqrtm(d["ld"][study]) for study in studies]
    covariance = np.block(
        [
            [d["noise"][s][t] * roots[i] @ roots[j] for j, t in enumerate(studies)]
            for i, s in enumerate(studies)
        ]
    )
    means = []
    for k, i in studies:
        parts = (point["shared"], point["by_context"][k], point["by_ancestry"][i])
        weight = scale * sum(np.sqrt(f) * part for f, part in zip(partition, parts, strict=True))
        means.append(np.sqrt(d["n"][k, i]) * d["ld"][k, i] @ weight)
    density = stats.multivariate_normal.logpdf(d["z"].ravel(), np.concatenate(means), covariance)
    likelihood = density + 0.5 * np.linalg.slogdet(covariance)[1]
    prior = [
        stats.halfcauchy.logpdf(point["global_scale"], scale=0.05 * 1.5 / (p - 1.5)),
        stats.halfcauchy.logpdf(point["local_scale"]).sum(),
        stats.invgamma.logpdf(point["slab_variance"], 2.0, scale=0.18),
        stats.norm.logpdf(point["annotation_effect"]).sum(),
        stats.beta.logpdf(point["sharing"], 7.0, 3.0),
        stats.beta.logpdf(point["context_of_rest"], 2.0, 1.0),
        *(stats.norm.logpdf(point[name]).sum() for name in ("shared", "by_context", "by_ancestry")),
    ]
    return float(likelihood), float(sum(prior))


SBC_COORDS = {**COORDS, "variant": list(range(5)), "variant_": list(range(5)), "annotation": ["tss"]}


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """LD of small samples of people, in part singular, donors shared by the contexts of an ancestry."""
    p = len(SBC_COORDS["variant"])
    ld = []
    for people in (100, 4):
        x = rng.normal(size=(people, p)) + rng.normal(size=(people, 1))
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        ld.append(x.T @ x / people)
    noise = np.zeros((2, 2, 2, 2))
    for i, share in enumerate(rng.uniform(0.0, 0.7, size=2)):
        noise[:, i, :, i] = [[0.9, share], [share, 0.8]]
    return {
        "n": np.array([[200.0, 100.0], [150.0, 100.0]]),
        "ld": np.array([ld, ld]),
        "noise": noise,
        "annotations": rng.normal(size=(p, 1)),
    }


RANKED = ["global_scale", "slab_variance", "annotation_effect", "partition", "weight", "h2"]
