"""The case of `joint`: two genes, three variants; every covariance is written out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from scipy import special, stats

COORDS = {
    "variant": ["v1", "v2", "v3"],
    "variant_": ["v1", "v2", "v3"],
    "pair": ["v2-v1", "v3-v1", "v3-v2"],
    "gene": ["g1", "g2"],
}
FIXED = {"n": 60_000.0, "n_ref": 150.0, "n_expression": np.array([150.0, 90.0])}
POINT = {
    "chi_square": np.array([140.0, 161.0, 150.0]),
    "normal": np.array([0.5, -1.2, 0.3]),
    "xi": np.array([0.4, -0.8]),
}
# log_density of simulate(np.random.default_rng(4), COORDS, {**FIXED, **POINT}) at POINT, summed
GOLDEN = -22.653452970385377
EQTL, GENE, DIRECT = 0.6, 0.2, 0.3  # prior probabilities
EQTL_SD, GENE_SD, DIRECT_SD = 0.2, 0.1, 0.03


def correlation(covariance: np.ndarray) -> np.ndarray:
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd)


def correlation_matrix(d: dict[str, Any], point: dict[str, Any]) -> np.ndarray:
    """R from the entries of Bartlett's factor A: Sigma^-1 = L A A' L' with L L' = (I + n S)^-1."""
    entries, p = iter(point["normal"]), len(d["ld"])
    factor = np.diag(np.sqrt(point["chi_square"]))
    for i in range(p):
        for j in range(i):
            factor[i, j] = next(entries)
    outer = np.linalg.cholesky(np.linalg.inv(np.eye(p) + d["n_ref"] * d["ld"]))
    return correlation(np.linalg.inv(outer @ factor @ factor.T @ outer.T))


def expression(d: dict[str, Any], gene: int, variant: int, xi: float) -> tuple[float, float]:
    """Log Bayes factor of an eQTL against none, and b, from the joint normal of b and the z-scores."""
    noise, z = correlation(d["ld"]), d["z_expression"][gene]
    shared = EQTL_SD**2 * np.sqrt(d["n_expression"][gene]) * noise[:, variant]  # covariance of b and z
    whole = noise + np.outer(shared, shared) / EQTL_SD**2
    log_bf = stats.multivariate_normal.logpdf(z, cov=whole) - stats.multivariate_normal.logpdf(z, cov=noise)
    variance = EQTL_SD**2 - shared @ np.linalg.solve(whole, shared)
    return float(log_bf), float(shared @ np.linalg.solve(whole, z) + np.sqrt(variance) * xi)


def configurations(
    d: dict[str, Any], point: dict[str, Any]
) -> list[tuple[tuple[Any, ...], float, list[float]]]:
    """((variant or None, included) of each gene, ..., direct variant or None); the log of its prior times the
    likelihoods of the expression (over that without eQTL) and of the trait; the mean effect of each gene."""
    r, genes, p = correlation_matrix(d, point), range(len(d["z_expression"])), len(d["z"])
    eqtl = {(g, j): expression(d, g, j, point["xi"][g]) for g in genes for j in range(p)}
    places = [*range(p), None]
    out = []
    for *states, direct in product(*[list(product(places, [0, 1]))] * len(genes), places):
        log_joint = np.log(1 - DIRECT if direct is None else DIRECT / p)
        shared: list[Any] = []  # covariance of the effect of each gene and z
        covariance = r + (0 if direct is None else d["n"] * DIRECT_SD**2 * np.outer(r[direct], r[direct]))
        for g, (variant, included) in zip(genes, states, strict=True):
            log_joint += np.log(GENE if included else 1 - GENE)
            log_joint += np.log(1 - EQTL if variant is None else EQTL / p)
            shared.append(np.zeros(p))
            if variant is not None:
                log_bf, b = eqtl[g, variant]
                log_joint += log_bf
                shared[-1] = included * GENE_SD**2 * b * np.sqrt(d["n"]) * r[variant]
                covariance = covariance + np.outer(shared[-1], shared[-1]) / GENE_SD**2
        log_joint += stats.multivariate_normal.logpdf(d["z"], cov=covariance)
        effects = [float(column @ np.linalg.solve(covariance, d["z"])) for column in shared]
        out.append(((*states, direct), float(log_joint), effects))
    return out


def log_density(d: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Likelihood, prior."""
    p = len(d["z"])
    prior = [
        stats.chi2.logpdf(point["chi_square"], d["n_ref"] + p + 1 - np.arange(p)).sum(),
        stats.norm.logpdf(point["normal"]).sum(),
        stats.norm.logpdf(point["xi"]).sum(),
    ]
    return float(special.logsumexp([value for _, value, _ in configurations(d, point)])), float(sum(prior))


SBC_COORDS = {
    "variant": list(range(6)),
    "variant_": list(range(6)),
    "pair": [f"{i}-{j}" for i in range(6) for j in range(i)],
    "gene": ["g1", "g2"],
}


def sbc_fixed(rng: np.random.Generator) -> dict[str, Any]:
    """A small reference and a strong GWAS, so that the noise of LD matters."""
    return {"n": 200_000.0, "n_ref": float(rng.choice([100, 300])), "n_expression": np.full(2, 150.0)}


RANKED = ["chi_square", "normal", "correlation", "xi"]
PROBABILITIES = {"pip": "inclusion", "pip_eqtl": "eqtl", "pip_direct": "direct"}
