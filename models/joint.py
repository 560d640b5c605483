"""One small locus, everything at once: LD, expression weights, genes, a direct effect. Its card is joint.md.

    Sigma ~ InverseWishart(p + 1, I),  n_ref S ~ Wishart(n_ref, Sigma),  R = corr(Sigma)
    j_g ~ Categorical(variants, none),  b_g ~ Normal(0, SD_eqtl^2),  C = corr(S)
    z_expression_g ~ Normal(sqrt(n_expression_g) C[:, j_g] b_g, C)
    c_g ~ Bernoulli,  gamma_g ~ Normal(0, SD_gene^2);  d ~ Categorical(variants, none),  theta ~ Normal
    z ~ Normal(sqrt(n) R beta, R),  beta = sum_g c_g gamma_g b_g e_{j_g} + theta e_d

j, c and d are summed and gamma and theta integrated, exactly. Free are Bartlett's decomposition of
Sigma^-1 given S, and b given its panel and j in posterior standard deviations: smooth and near normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad

MAX_CONFIGURATIONS = 5_000
# probability that a gene has an eQTL, that it acts, that there is a direct effect; and of the effects
PRIOR = {"eqtl": 0.6, "gene": 0.2, "direct": 0.3}
SD = {"eqtl": 0.2, "gene": 0.1, "direct": 0.03}
# name: (dims, unit, meaning)
DATA = {
    "z": (("variant",), "z-score", "marginal association with the trait"),
    "n": ((), "people", "GWAS sample size"),
    "ld": (("variant", "variant_"), "covariance", "of genotypes in the reference, positive definite"),
    "n_ref": ((), "people", "of the reference"),
    "z_expression": (("gene", "variant"), "z-score", "marginal association with expression"),
    "n_expression": (("gene",), "people", "whose expression was measured"),
}
PARAMETERS = {
    "chi_square": (("variant",), "1", "squared diagonal of Bartlett's factor"),
    "normal": (("pair",), "1", "entries of the factor below the diagonal, row by row"),
    "xi": (("gene",), "posterior SD", "b less its posterior mean given the panel and the variant"),
}
DIMS = {
    "z_data": ("variant",), "n": (), "degrees": ("variant",), "precision_root": ("variant", "variant_"),
    "b_mean": ("gene", "variant"), "b_sd": ("gene",),
    "log_state": ("actor", "state"), "idle": ("gene", "state"),
}  # fmt: skip
Table = Mapping[str, Any]


def constants(data: Table) -> dict[str, np.ndarray]:
    """What the density needs of the data, by the names of DIMS.

    A gene acts through one of p variants or (last state) does not. `log_state`: log of its prior times the
    likelihood of its expression over that without eQTL, in which C cancels; `idle`: what not acting consists
    of, eQTL j and not included, or (last) no eQTL.
    """
    z, n, ld, n_ref, z_expression, n_expression = (np.asarray(data[name], float) for name in DATA)
    p = len(z)
    precision = n_expression[:, None] + SD["eqtl"] ** -2
    mean = np.sqrt(n_expression)[:, None] * z_expression / precision
    log_bf = 0.5 * precision * mean**2 - 0.5 * np.log(precision * SD["eqtl"] ** 2)
    log_eqtl = np.pad(log_bf, ((0, 0), (0, 1))) + np.log(_place("eqtl", p))
    idle = log_eqtl + np.append(np.full(p, np.log1p(-PRIOR["gene"])), 0.0)
    total = np.logaddexp.reduce(idle, axis=1, keepdims=True)
    genes = np.append(log_eqtl[:, :-1] + np.log(PRIOR["gene"]), total, axis=1)
    log_state = np.append(genes, np.log([_place("direct", p)]), axis=0)
    root = np.linalg.cholesky(np.linalg.inv(n_ref * ld + np.eye(p)))
    values = (z, n, n_ref + p + 1 - np.arange(p), root, mean, precision[:, 0] ** -0.5, log_state)
    return dict(zip(DIMS, (*values, np.exp(idle - total)), strict=True))


def build(data: Table, coords: Mapping[str, Sequence[Any]]) -> pm.Model:
    """The model of one locus. `data` has the entries of DATA, `coords` their dims and `pair`, p (p - 1) / 2.
    ValueError for more than MAX_CONFIGURATIONS of what genes and the direct effect may do."""
    p, actors = len(coords["variant"]), [*coords["gene"], "direct"]
    if (p + 1) ** len(actors) > MAX_CONFIGURATIONS:
        raise ValueError(f"{(p + 1) ** len(actors)} configurations; at most {MAX_CONFIGURATIONS}")
    states = np.indices([p + 1] * len(actors)).reshape(len(actors), -1)  # (actor, configuration)
    at, below = np.minimum(states, p - 1), np.tril_indices(p, -1)
    pairs, units = at[:, None] * p + at, np.eye(len(actors))[:, :, None]
    labels = {**coords, "state": range(p + 1), "actor": actors}
    with pm.Model(coords={name: list(values) for name, values in labels.items()}) as model:
        given = {name: pm.Data(name, value, dims=DIMS[name]) for name, value in constants(data).items()}
        chi_square = pm.ChiSquared("chi_square", given["degrees"], dims="variant")
        normal = pm.Normal("normal", dims="pair")
        xi = pm.Normal("xi", dims="gene")
        z = given["z_data"]
        inner = given["precision_root"] @ pt.set_subtensor(pt.diag(pt.sqrt(chi_square))[below], normal)
        root = pt.linalg.solve_triangular(inner, pt.eye(p), lower=True)  # Sigma = root' root
        sd = pt.sqrt(pt.sum(root**2, axis=0))
        ld = (root / sd).T @ (root / sd)
        log_null = pt.sum(pt.log(pt.diagonal(inner) * sd)) - 0.5 * pt.sum((inner.T @ (sd * z)) ** 2)
        b = given["b_mean"] + given["b_sd"][:, None] * xi[:, None]
        weight = pt.concatenate([SD["gene"] * b, pt.full((1, p), SD["direct"])])
        # X: sqrt(n), weight, prior SD of what acts. log BF = z'XB^-1X'z / 2 - log|B| / 2, B = I + X'RX, by
        # elimination in all configurations at once
        x = pt.stack([weight[k][at[k]] for k in range(len(at))]) * pt.sqrt(given["n"]) * (states < p)
        right = x * z[at.ravel()].reshape(at.shape)
        table = x[:, None] * x * ld.ravel()[pairs.ravel()].reshape(pairs.shape) + units
        table = pt.concatenate([table, right[:, None]], axis=1)
        log_joint = log_null - 0.5 * p * np.log(2 * np.pi)
        for k, unit in enumerate(units):
            log_joint += given["log_state"][k][states[k]] - 0.5 * pt.log(table[k, k])
            table -= (table[:, k] - unit)[:, None] * table[k] / table[k, k]
        log_joint += 0.5 * pt.sum(right * table[:, -1], axis=0)
        top = disconnected_grad(pt.max(log_joint))  # PyTensor's own logsumexp may under- or overflow
        pm.CustomDist(
            "z", z, log_joint - top, top, logp=lambda z, _, rest, top: top + pt.log(pt.sum(pt.exp(rest))),
            signature="(p),(m),()->(p)", observed=z, dims="variant",
        )  # fmt: skip
        posterior = pt.special.softmax(log_joint)
        share = pt.sum(np.eye(p + 1)[states] * posterior[:, None], axis=1)  # (actor, state)
        acting, resting = share[:-1, :-1], share[:-1, -1:] * given["idle"]
        pm.Deterministic("correlation", ld[below], dims="pair")
        pm.Deterministic("pip", pt.sum(acting, axis=1) + PRIOR["gene"] * resting[:, -1], dims="gene")
        pm.Deterministic("pip_eqtl", acting + resting[:, :-1], dims=("gene", "variant"))
        pm.Deterministic("pip_direct", share[-1, :-1], dims="variant")
        pm.Deterministic("effect", SD["gene"] * pt.sum(table[:-1, -1] * posterior, axis=1), dims="gene")
    return model


def simulate(rng: np.random.Generator, coords: Table, fixed: Table | None = None) -> dict[str, Any]:
    """One draw: PARAMETERS, DATA, `correlation`, `b` and `gamma` (G,), `theta`, and as 0 and 1 `inclusion`
    (G,), `eqtl` (G, p), `direct` (p,). Entries of `fixed` are taken as given.
    """
    p, g, normals = len(coords["variant"]), len(coords["gene"]), rng.standard_normal
    eqtl = rng.multinomial(1, _place("eqtl", p), g)[:, :-1]
    direct, inclusion = rng.multinomial(1, _place("direct", p))[:-1], rng.random(g) < PRIOR["gene"]
    b, gamma, theta = SD["eqtl"] * normals(g), SD["gene"] * normals(g), SD["direct"] * normals()
    out: dict[str, Any] = {"n": 1e5, "n_ref": 300.0, "n_expression": np.full(g, 200.0), **(fixed or {})}
    if "ld" not in out:
        wishart = normals((p + 1, p))
        sigma = np.linalg.inv(wishart.T @ wishart)
        people = rng.multivariate_normal(np.zeros(p), sigma, int(out["n_ref"]))
        out["ld"] = people.T @ people / len(people)
    panel = out["ld"] / np.sqrt(np.outer(np.diag(out["ld"]), np.diag(out["ld"])))
    signal = (np.sqrt(out["n_expression"]) * b)[:, None] * eqtl
    out["z_expression"] = signal @ panel + normals((g, p)) @ np.linalg.cholesky(panel).T
    # LD and b anew, from their distributions given reference and panel: the joint distribution is the same
    given = constants({**out, "z": np.zeros(p)})
    out.setdefault("chi_square", rng.chisquare(given["degrees"]))
    out.setdefault("normal", normals(p * (p - 1) // 2))
    out.setdefault("xi", normals(g))
    b = (eqtl * given["b_mean"]).sum(axis=1) + given["b_sd"] * out["xi"]
    bartlett = np.diag(np.sqrt(out["chi_square"]))
    bartlett[np.tril_indices(p, -1)] = out["normal"]
    inner = given["precision_root"] @ bartlett
    sigma = np.linalg.inv(inner @ inner.T)
    ld = sigma / np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)))
    beta = (inclusion * gamma * b) @ eqtl + theta * direct
    out["z"] = np.sqrt(out["n"]) * ld @ beta + np.linalg.cholesky(ld) @ normals(p)
    out |= {"b": b, "gamma": gamma, "theta": theta, "eqtl": eqtl, "direct": direct, "inclusion": inclusion}
    return out | {"correlation": ld[np.tril_indices(p, -1)]}


def _place(name: str, p: int) -> np.ndarray:
    """Prior probability of each variant and, last, of none."""
    return np.append(np.full(p, PRIOR[name] / p), 1 - PRIOR[name])
