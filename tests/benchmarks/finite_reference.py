"""Does the engine's finite-reference inflation stand for a latent LD matrix? `joint` against the engine.

    python tests/benchmarks/finite_reference.py --loci 100

Loci are drawn from `bayestwas.models.joint.simulate`. The posterior of `joint`, LD latent, is computed by
sequential Monte Carlo in NumPy, without PyMC: particles of Bartlett's factor and of the eQTL effects, every
configuration summed out exactly. `exact` does the same sum with one LD matrix taken as known. The engine gets
the same data under the same priors, as the pipeline calls it: weights from the panel, draws of them, the
trait. Prints the tables of models/joint.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd
from bayestwas.models import joint
from scipy import optimize, special, stats

from bayestwas.engine.draws import draw_weights
from bayestwas.engine.gene_trait import EffectSizes, GeneColumns, GeneTraitPriors, fit_direct, fit_gene_trait
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.single_effects import inclusion
from bayestwas.engine.weights import Expression, WeightPriors, fit_expression

GENES = 2
DRAWS = 1024  # of the weights of a gene
TILT_FLOOR = 1e-4  # as in bayestwas.fit.prepared
SIGNAL = 5.5  # of the largest |z|; 3.8e-8, a genome-wide significant locus
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """pip (G,), pip_direct (p,), effect (G,) of one locus, the effect zero where a gene does not act."""

    pip: np.ndarray
    pip_direct: np.ndarray
    effect: np.ndarray


NAMES = ("pip", "pip_direct", "effect")


def coords(p: int) -> dict[str, list[Any]]:
    return {
        "variant": list(range(p)),
        "variant_": list(range(p)),
        "pair": [f"{i}-{j}" for i in range(p) for j in range(i)],
        "gene": [f"g{g}" for g in range(GENES)],
    }


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Of each of a stack of covariances."""
    sd = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return covariance / (sd[..., :, None] * sd[..., None, :])


@dataclass(frozen=True)
class Conditional:
    """Given T values of LD and of the eQTL effects: log likelihood (T,), probabilities and effects."""

    log_likelihood: np.ndarray
    pip: np.ndarray  # (T, G)
    pip_direct: np.ndarray  # (T, p)
    effect: np.ndarray  # (T, G)

    def average(self, log_weight: np.ndarray | float = 0.0) -> Answer:
        weight = special.softmax(np.broadcast_to(log_weight, self.log_likelihood.shape))
        return Answer(weight @ self.pip, weight @ self.pip_direct, weight @ self.effect)


def conditional(data: Data, r: np.ndarray, xi: np.ndarray) -> Conditional:
    """Sum over all configurations of two genes and a direct effect, for each of r (T, p, p) and xi (T, 2).

    Two genes and a direct effect, each in one of p + 1 states, the last: not acting.
    """
    z, p = np.asarray(data["z"]), len(data["z"])
    precision = np.asarray(data["n_expression"])[:, None] + joint.SD["eqtl"] ** -2
    score = np.sqrt(np.asarray(data["n_expression"]))[:, None] * data["z_expression"]
    log_bf = 0.5 * score**2 / precision - 0.5 * np.log(precision * joint.SD["eqtl"] ** 2)
    eqtl = np.append(
        log_bf + np.log(joint.PRIOR["eqtl"] / p), np.full((GENES, 1), np.log1p(-joint.PRIOR["eqtl"])), 1
    )
    on, off = np.log(joint.PRIOR["gene"]), np.log1p(-joint.PRIOR["gene"])
    idle = np.logaddexp(special.logsumexp(eqtl, axis=1) + off, eqtl[:, -1] + on)
    silent = np.exp(eqtl[:, -1] + on - idle)  # included without eQTL, among the genes that do not act
    prior = np.append(eqtl[:, :-1] + on, idle[:, None], 1)
    direct = np.log(np.append(np.full(p, joint.PRIOR["direct"] / p), 1 - joint.PRIOR["direct"]))
    b = score / precision + xi[:, :, None] / np.sqrt(precision)
    root_n = np.sqrt(data["n"])
    x = [_none(root_n * joint.SD["gene"] * b[:, g]) for g in range(GENES)]
    x.append(_none(np.full((len(xi), p), root_n * joint.SD["direct"])))
    zz, rr = np.append(z, 0.0), np.pad(r, ((0, 0), (0, 1), (0, 1)))
    log_null = stats.norm.logpdf(np.linalg.solve(np.linalg.cholesky(r), z[:, None])[..., 0]).sum(axis=1)
    log_null -= 0.5 * np.linalg.slogdet(r)[1]
    # Cholesky factor of I + X'RX over axes (T, state 1, state 2, state 3)
    x1, x2, x3 = x[0][:, :, None, None], x[1][:, None, :, None], x[2][:, None, None, :]
    l11 = np.sqrt(1 + x1**2)
    l21 = x1 * x2 * rr[:, :, :, None] / l11
    l31 = x1 * x3 * rr[:, :, None, :] / l11
    l22 = np.sqrt(1 + x2**2 - l21**2)
    l32 = (x2 * x3 * rr[:, None, :, :] - l31 * l21) / l22
    l33 = np.sqrt(1 + x3**2 - l31**2 - l32**2)
    y1 = x1 * zz[:, None, None] / l11
    y2 = (x2 * zz[:, None] - l21 * y1) / l22
    y3 = (x3 * zz - l31 * y1 - l32 * y2) / l33
    log_joint = 0.5 * (y1**2 + y2**2 + y3**2) - np.log(l11 * l22 * l33)
    log_joint += prior[0][:, None, None] + prior[1][:, None] + direct
    top = log_joint.max(axis=(1, 2, 3), keepdims=True)
    weight = np.exp(log_joint - top)
    total = weight.sum(axis=(1, 2, 3))
    weight /= total[:, None, None, None]
    solved3 = y3 / l33
    solved2 = (y2 - l32 * solved3) / l22
    solved1 = (y1 - l21 * solved2 - l31 * solved3) / l11
    first, second, third = weight.sum(axis=(2, 3)), weight.sum(axis=(1, 3)), weight.sum(axis=(1, 2))
    pip = [share[:, :-1].sum(axis=1) + share[:, -1] * silent[g] for g, share in enumerate((first, second))]
    effect = [joint.SD["gene"] * (weight * solved).sum(axis=(1, 2, 3)) for solved in (solved1, solved2)]
    return Conditional(
        log_null + np.log(total) + top[:, 0, 0, 0],
        np.stack(pip, axis=1),
        third[:, :-1],
        np.stack(effect, axis=1),
    )


def _none(x: np.ndarray) -> np.ndarray:
    """With a last state in which nothing acts."""
    return np.pad(x, ((0, 0), (0, 1)))


def importance(data: Data, rng: np.random.Generator, draws: int) -> tuple[Answer, Answer]:
    """Plain Monte Carlo over R given S (SciPy's inverse Wishart) and b, and its standard errors."""
    p = len(data["z"])
    scale = np.eye(p) + data["n_ref"] * data["ld"]
    sigma = stats.invwishart.rvs(data["n_ref"] + p + 1, scale, size=draws, random_state=rng)
    given = conditional(data, correlation(sigma), rng.standard_normal((draws, GENES)))
    answer, weight = given.average(given.log_likelihood), special.softmax(given.log_likelihood)
    errors = [np.sqrt(weight**2 @ (getattr(given, m) - getattr(answer, m)) ** 2) for m in NAMES]
    return answer, Answer(*errors)


def exact(data: Data, r: np.ndarray, rng: np.random.Generator, draws: int = 1_024) -> Answer:
    """The posterior where R is known; only the two eQTL effects are drawn."""
    normals = special.ndtri(stats.qmc.Sobol(GENES, rng=rng).random(2 ** int(np.log2(draws))))
    given = conditional(data, np.broadcast_to(r, (len(normals), *r.shape)), normals)
    return given.average(given.log_likelihood)


def from_bartlett(data: Data, chi_square: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """R (T, p, p) for T values of the entries of Bartlett's factor of Sigma^-1 given S."""
    p = len(data["z"])
    root = np.linalg.cholesky(np.linalg.inv(np.eye(p) + data["n_ref"] * data["ld"]))
    factor = np.zeros((len(normal), p, p))
    factor[:, range(p), range(p)] = np.sqrt(chi_square)
    factor[:, *np.tril_indices(p, -1)] = normal
    inner = root @ factor
    return correlation(np.linalg.inv(inner @ inner.transpose(0, 2, 1)))


def latent(data: Data, rng: np.random.Generator, particles: int = 1_000, moves: int = 6) -> Answer:
    """The posterior of `joint` by sequential Monte Carlo: the likelihood is raised from power 0 to 1 in steps
    that keep half of the particles effective; moves are preconditioned Crank-Nicolson on standard normals.
    """
    p = len(data["z"])
    degrees = data["n_ref"] + p + 1 - np.arange(p)

    def evaluate(u: np.ndarray) -> Conditional:
        r = from_bartlett(data, special.chdtri(degrees, special.ndtr(-u[:, :p])), u[:, p:-GENES])
        return conditional(data, r, u[:, -GENES:])

    u = rng.standard_normal((particles, p * (p + 1) // 2 + GENES))
    given, power, step, answers = evaluate(u), 0.0, 0.5, []
    while power < 1 or len(answers) < 4 * moves:
        new = _next_power(given.log_likelihood, power)
        weight = special.softmax((new - power) * given.log_likelihood)
        points = (np.arange(particles) + rng.random()) / particles
        kept = np.minimum(np.searchsorted(np.cumsum(weight), points), particles - 1)
        u, given, power = u[kept], _rows(given, kept), new
        for _ in range(moves):
            proposal = np.sqrt(1 - step**2) * u + step * rng.standard_normal(u.shape)
            other = evaluate(proposal)
            taken = np.log(rng.random(particles)) < power * (other.log_likelihood - given.log_likelihood)
            u, given = np.where(taken[:, None], proposal, u), _merge(taken, other, given)
            step = float(np.clip(step * np.exp(taken.mean() - 0.3), 0.02, 0.9))
            if power == 1:
                answers.append(given.average())
    return Answer(*(np.mean([getattr(one, name) for one in answers], axis=0) for name in NAMES))


def _next_power(log_likelihood: np.ndarray, power: float) -> float:
    """The largest step that keeps half of the particles effective."""

    def effective(new: float) -> float:
        weight = special.softmax((new - power) * log_likelihood)
        return float(1 / (weight**2).sum() / len(weight))

    if effective(1.0) > 0.5:
        return 1.0
    return float(optimize.brentq(lambda new: effective(new) - 0.5, power, 1.0))


def _rows(given: Conditional, index: np.ndarray) -> Conditional:
    return Conditional(*(getattr(given, name)[index] for name in ("log_likelihood", *NAMES)))


def _merge(taken: np.ndarray, new: Conditional, old: Conditional) -> Conditional:
    """Row by row `new` where taken."""
    parts = [(getattr(new, name), getattr(old, name)) for name in ("log_likelihood", *NAMES)]
    return Conditional(*(np.where(taken.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in parts))


def engine(data: Data, seed: int, *, ld_noise: bool, r: np.ndarray | None = None, effects: int = 3) -> Answer:
    """Weights from the panel, draws of them, the trait: as bayestwas.fit.prepared and fit.gene_trait do.

    The LD is that of the reference, or `r` (known).
    """
    p, z, n = len(data["z"]), np.asarray(data["z"])[None], np.array([data["n"]])
    reference = correlation(np.asarray(data["ld"]))
    panel = MatrixLD(reference)
    ld = [MatrixLD(reference, float(data["n_ref"])) if r is None else MatrixLD(r)]
    odds = {name: share / (1 - share) for name, share in joint.PRIOR.items()}
    sizes = [EffectSizes((joint.SD[name] ** 2,)) for name in ("gene", "direct")]
    priors = GeneTraitPriors(odds["gene"], odds["direct"] / p, *sizes)
    weight_priors = WeightPriors(
        rate=odds["eqtl"], sizes=(joint.SD["eqtl"] ** 2,), size_weights=(1.0,), density=(1.0,) * 7
    )
    direct = fit_direct(z, n, ld, priors, effects=effects, ld_noise=ld_noise)
    tilt = inclusion(direct.alpha.sum(axis=2)) + TILT_FLOOR
    targets = []
    for gene in range(GENES):
        size = np.array([data["n_expression"][gene]], dtype=float)
        one = np.eye(1)
        expression = Expression(
            data["z_expression"][[gene]], size, (panel,), one, one, np.zeros(p), contexts=1, ancestries=1
        )
        weights = fit_expression(expression, weight_priors, effects=1, rounds=1)
        seeds = np.random.SeedSequence([seed, gene])
        drawn = draw_weights(weights.fit, weights.candidates, seeds, draws=DRAWS, tilt=tilt)
        targets.append(GeneColumns(gene, 0, drawn.columns, drawn.log_weight, drawn.replicate))
    fit = fit_gene_trait(
        z, n, ld, targets, priors, effects=effects, ld_noise=ld_noise, direct_start=direct.lam
    )
    return Answer(fit.gene_pip, fit.pip_direct, fit.gene_pip * fit.effect[:, 0])


def locus(p: int, n: float, n_ref: int, index: int) -> dict[str, Any]:
    """The first locus of a stream that has a signal, |z| above SIGNAL: a choice that the data alone make, so
    probabilities stay calibrated."""
    rng = np.random.default_rng([int(n), n_ref, index])
    while True:
        told = {"n": n, "n_ref": float(n_ref), "n_expression": np.full(GENES, 200.0)}
        data = joint.simulate(rng, coords(p), told)
        if np.abs(data["z"]).max() > SIGNAL:
            return data


def true_ld(data: Data) -> np.ndarray:
    lower = np.zeros((len(data["z"]), len(data["z"])))
    lower[np.tril_indices(len(lower), -1)] = data["correlation"]
    return lower + lower.T + np.eye(len(lower))


def compare(p: int, n: float, n_ref: int, index: int) -> list[dict[str, Any]]:
    """One row per gene and per variant of a locus: the truth, and the answer of every method."""
    data = locus(p, n, n_ref, index)
    rng = np.random.default_rng([int(n), n_ref, index, 1])
    true = true_ld(data)
    answers = {
        "latent": latent(data, rng),
        "latent again": latent(data, rng),
        "inflated": engine(data, index, ld_noise=True),
        "not inflated": engine(data, index, ld_noise=False),
        "enumerated, reference": exact(data, correlation(np.asarray(data["ld"])), rng),
        "enumerated, true LD": exact(data, true, rng),
        "engine, true LD": engine(data, index, ld_noise=False, r=true),
    }
    rows = []
    for kind, truth in (("pip", data["inclusion"]), ("pip_direct", data["direct"])):
        for k, one in enumerate(truth):
            row = {"n": n, "n_ref": n_ref, "locus": index, "kind": kind, "k": k, "truth": float(one)}
            row["top"] = float(np.abs(data["z"]).max())
            rows.append(row | {name: getattr(answer, kind)[k] for name, answer in answers.items()})
            if kind == "pip":
                rows.append(row | {"kind": "effect"} | {m: a.effect[k] for m, a in answers.items()})
    return rows


PAIRS = (  # what is compared with what
    ("latent again", "latent"),
    ("inflated", "latent"),
    ("not inflated", "latent"),
    ("enumerated, reference", "latent"),
    ("engine, true LD", "enumerated, true LD"),
)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Absolute differences of probabilities and effects, mean log scores, and calls at 0.8."""
    out = []
    for (n, n_ref, kind), part in rows.groupby(["n", "n_ref", "kind"], sort=False):
        for method, standard in PAIRS:
            gap = (part[method] - part[standard]).abs().groupby(part["locus"]).max()
            line = {"n": f"{n:.0e}", "n_ref": n_ref, "kind": kind, "method": method, "against": standard}
            line |= {"median": gap.median(), "90%": gap.quantile(0.9), "worst": gap.max()}
            if kind != "effect":
                for name in (method, standard):
                    p = part[name].clip(1e-6, 1 - 1e-6)
                    score = np.where(part["truth"] > 0, np.log(p), np.log1p(-p)).mean()
                    line["score" if name == method else "score of standard"] = score
                called = part[method] >= 0.8
                line |= {"called": int(called.sum()), "false": int((called & (part["truth"] == 0)).sum())}
            out.append(line)
    return pd.DataFrame(out)


def nuts(p: int, n: float, n_ref: int, loci: int) -> pd.DataFrame:
    """`joint` by NUTS against `latent`: the largest difference of a locus."""
    from bayestwas.fit.sampling import Sampling, compile_model

    sampling = Sampling(draws=1000, tune=500, chains=2, cores=1, loci=loci)
    compiled = compile_model("joint", locus(p, n, n_ref, 0), coords(p), sampling)
    out = []
    for index in range(loci):
        data = locus(p, n, n_ref, index)
        fit = compiled.sample(data, seed=index + 1)
        means = fit["posterior"].dataset.mean(("chain", "draw"))
        answer = latent(data, np.random.default_rng([index, 2]))
        gaps = {name: np.abs(means[name].values - getattr(answer, name)).max() for name in NAMES}
        told = {"status": fit.attrs["status"], "seconds": fit.attrs["sampling_seconds"]}
        out.append({"n_ref": n_ref, "top": np.abs(data["z"]).max(), **gaps, **told})
        print(out[-1], flush=True)
    return pd.DataFrame(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--loci", type=int, default=100, help="per setting")
    parser.add_argument("--variants", type=int, default=6)
    parser.add_argument("--n", type=float, nargs="*", default=[2e5, 1e6])
    parser.add_argument("--n-ref", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument(
        "--nuts", type=int, default=0, help="loci of each setting to sample with NUTS instead"
    )
    parser.add_argument("--out", type=Path, help="a CSV of all rows")
    given = parser.parse_args()
    pd.set_option("display.width", 200, "display.max_columns", 20)
    settings = [(given.variants, n, n_ref) for n in given.n for n_ref in given.n_ref]
    if given.nuts:
        print(pd.concat([nuts(*setting, given.nuts) for setting in settings]).to_string(index=False))
        return
    parts = []
    for setting in settings:
        parts.append(pd.DataFrame([row for i in range(given.loci) for row in compare(*setting, i)]))
        print(summary(parts[-1]).to_string(index=False, float_format="%.4f"), flush=True)
    if given.out:
        pd.concat(parts).to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
