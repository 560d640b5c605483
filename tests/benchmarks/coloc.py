"""Colocalization against the truth of simulated pairs, and its cost.

    python tests/benchmarks/coloc.py --pairs 600 --seed 1 --out coloc.tsv
    python tests/benchmarks/coloc.py --cost

Four settings, `--pairs` genes each, in 20 msprime regions of at most 300 variants, z ~ Normal(R lambda, R), R
known. Expression n = 400 (150 in each of three ancestries), trait n = 100,000 (50,000); the effect of a
causal variant is Normal, of variance 0.07 (expression) and 0.0005 (trait). One hypothesis per pair, H0 to H4,
in the ratio 1 : 2 : 2 : 4 : 3.

    shared      distinct variants (H3) anywhere
    in LD       distinct variants with r2 0.1 to 0.9
    two each    two causal variants per trait, each shared with probability 0.2
    ancestries  like `shared`, three ancestries, effects correlated 0.9

Writes one row per method and setting to --out, every gene to <out>.genes.tsv, learned priors to
<out>.priors.tsv.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from bayestwas.assess import calibration
from bayestwas.data.coalescent import genotypes
from bayestwas.data.design import Design
from bayestwas.engine import coloc
from bayestwas.engine.credible import credible_set
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates, correlation
from bayestwas.engine.single_effects import SingleEffects, fit_single_effects, log_bayes_factors
from bayestwas.fit.coloc_priors import learn_priors

SETTINGS = ("shared", "in LD", "two each", "ancestries")
RATIO = np.array([1.0, 2.0, 2.0, 4.0, 3.0])
SHARE = 0.2  # of either causal variant of `two each`
REGIONS, VARIANTS, EFFECTS = 20, 300, 5
SIZES = {"expression": (0.01, 0.04, 0.15), "trait": (5e-5, 5e-4, 5e-3)}
VARIANCE = {"expression": 0.07, "trait": 5e-4}  # of a causal effect; not on the grid of the fit
PEOPLE = {False: {"expression": 400.0, "trait": 100_000.0}, True: {"expression": 150.0, "trait": 50_000.0}}
KINDS = ("expression", "trait")


@dataclass(frozen=True)
class Region:
    """R (A, p, p) over the variants that vary in every ancestry, and square roots of it."""

    ld: np.ndarray
    root: np.ndarray


def region(seed: int, number: int, ancestries: tuple[str, ...]) -> Region:
    one = dict.fromkeys(ancestries, 1)
    design = Design(
        name="coloc", gwas=one, donors={"any": one}, blocks=1, genes_per_block=1, block_length=300_000,
        variants_per_block=VARIANTS, population=2_000, maf=0.05,
    )  # fmt: skip
    people = genotypes(design, np.random.default_rng([seed, number, 7]), "1", 1_000_000)[1]
    dosage = np.array([people[a][:, :2_000] for a in ancestries], dtype=float)
    varies = (dosage.std(axis=2) > 0.1).all(axis=0)
    dosage = dosage[:, varies]
    x = (dosage - dosage.mean(axis=2, keepdims=True)) / dosage.std(axis=2, keepdims=True)
    # the same variant under two names would be two candidates that nobody can tell apart, and no error
    r = x @ x.transpose(0, 2, 1) / x.shape[2]
    twin = (np.triu(np.abs(r).min(axis=0), 1) > 0.999).any(axis=0)
    r = r[:, ~twin][:, :, ~twin]
    value, vector = np.linalg.eigh(r)
    return Region(r, vector * np.sqrt(np.maximum(value, 0.0))[:, None, :])


@dataclass(frozen=True)
class Gene:
    """z (kind -> (A, p)) and what is true."""

    region: Region
    z: dict[str, np.ndarray]
    hypothesis: int
    shared: bool


def draw_gene(rng: np.random.Generator, where: Region, setting: str) -> Gene:
    p = where.ld.shape[1]
    hypothesis = int(rng.choice(5, p=RATIO / RATIO.sum()))
    causal: dict[str, list[int]] = {"expression": [], "trait": []}
    if setting == "two each":
        own = rng.choice(p, 4, replace=False).tolist()
        causal = {"expression": own[:2], "trait": [
            own[i] if rng.random() < SHARE else own[2 + i] for i in range(2)
        ]}  # fmt: skip
    elif hypothesis:
        j, k = rng.choice(p, 2, replace=False)
        if setting == "in LD":
            near = np.flatnonzero((where.ld[0, j] ** 2 > 0.1) & (where.ld[0, j] ** 2 < 0.9))
            k = int(rng.choice(near)) if len(near) else k
        causal = {"expression": [j] if hypothesis in (1, 3, 4) else [],
                  "trait": [j if hypothesis == 4 else k] if hypothesis > 1 else []}  # fmt: skip
    ancestries = len(where.ld)
    z = {}
    for kind in KINDS:
        n = PEOPLE[ancestries > 1][kind]
        lam = np.zeros((ancestries, p))
        for j in causal[kind]:
            covariance = n * VARIANCE[kind] * correlation(0.9, ancestries)
            lam[:, j] += rng.multivariate_normal(np.zeros(ancestries), covariance)
        noise = np.einsum("apk,ak->ap", where.root, rng.standard_normal((ancestries, p)))
        z[kind] = np.einsum("apq,aq->ap", where.ld, lam) + noise
    return Gene(where, z, hypothesis, bool(set(causal["expression"]) & set(causal["trait"])))


# ---- methods -------------------------------------------------------------------------------------------


def fine_map(gene: Gene, kind: str, null: bool) -> tuple[SingleEffects, Candidates]:
    ancestries, p = gene.z[kind].shape
    sizes = np.array(SIZES[kind])
    prior = np.full((p, len(sizes)), -np.log(p * len(sizes)))
    candidates = Candidates(
        p, (), prior, np.broadcast_to(sizes, prior.shape).copy(),
        np.array([correlation(0.9, ancestries)] * len(sizes)), 0.0 if null else -np.inf,
    )  # fmt: skip
    n = np.full(ancestries, PEOPLE[ancestries > 1][kind])
    ld = [MatrixLD(one, np.inf) for one in gene.region.ld]
    return fit_single_effects(gene.z[kind], n, ld, candidates, effects=EFFECTS, ld_noise=False), candidates


def factors(fit: SingleEffects, candidates: Candidates) -> np.ndarray:
    return logsumexp(log_bayes_factors(fit, candidates), axis=2) - np.log(candidates.log_prior.shape[1])


def our_signals(gene: Gene, kind: str) -> np.ndarray:
    fit, candidates = fine_map(gene, kind, null=True)
    return factors(fit, candidates)[(fit.null < 0.5) | (np.arange(EFFECTS) == 0)]


def susie_signals(gene: Gene, kind: str) -> np.ndarray:
    """Single effects without a null that have a 95% credible set of purity 0.5."""
    fit, candidates = fine_map(gene, kind, null=False)
    kept = []
    for row, alpha in enumerate(fit.alpha.sum(axis=2)):
        inside = credible_set(alpha, 0.95)
        if np.abs(gene.region.ld[:, inside][:, :, inside]).max(axis=0).min() > 0.5:
            kept.append(row)
    return factors(fit, candidates)[kept]


def single_signal(gene: Gene, kind: str) -> np.ndarray:
    """(1, p) log ABF of the z-scores, ancestries combined as a fixed effect; coloc's effect size."""
    z = gene.z[kind].sum(axis=0) / np.sqrt(len(gene.z[kind]))
    n = PEOPLE[len(gene.z[kind]) > 1][kind] * len(gene.z[kind])
    return coloc.approximate_bayes_factor(z / np.sqrt(n), np.full(len(z), 1 / n), coloc.QUANTITATIVE_SD)[None]


def all_pairs(first: np.ndarray, second: np.ndarray) -> coloc.PairSums:
    return coloc.pair_sums(np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1)))


def joined(parts: list[coloc.PairSums]) -> coloc.PairSums:
    return coloc.PairSums(*(np.concatenate([getattr(a, n) for a in parts]) for n in ("log_sum", "log_mass")))


def gene_level(signals: list[tuple[np.ndarray, np.ndarray]], h4: np.ndarray) -> np.ndarray:
    """GRCP of every gene from the H4 of its pairs, in order."""
    out, at = [], 0
    for first, second in signals:
        shape = (len(first), len(second))
        size = shape[0] * shape[1]
        out.append(coloc.matched(h4[at : at + size].reshape(shape))[1] if size else 0.0)
        at += size
    return np.array(out)


def methods(genes: list[Gene], seed: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Probability that each gene shares a variant, by method; and the learned priors."""
    ours = [tuple(our_signals(gene, kind) for kind in KINDS) for gene in genes]
    sums = joined([all_pairs(*one) for one in ours])
    learned = learn_priors(sums, ["any"] * len(sums.log_sum), seed)
    susie = [tuple(susie_signals(gene, kind) for kind in KINDS) for gene in genes]
    single = [tuple(single_signal(gene, kind) for kind in KINDS) for gene in genes]
    either = [a if len(a[0]) and len(a[1]) else b for a, b in zip(susie, single, strict=True)]
    h4 = {name: coloc.hypotheses(joined([all_pairs(*one) for one in kind]), coloc.COLOC_DEFAULT)[:, 4]
          for name, kind in (("susie", either), ("abf", single))}  # fmt: skip
    averaged = coloc.hypotheses(sums, learned.of("any")).mean(axis=0)
    found = {
        "bayestwas, learned priors": gene_level(ours, averaged[:, 4]),
        "bayestwas, coloc's priors": gene_level(ours, coloc.hypotheses(sums, coloc.COLOC_DEFAULT)[:, 4]),
        "coloc.susie-style, coloc's priors": gene_level(either, h4["susie"]),
        "ABF, coloc's priors": gene_level(single, h4["abf"]),
    }
    return found, learned.table


def truth_of_enrichment(setting: str, genes: list[Gene]) -> float:
    """log p12 / (p1 p2) of the pairs: of hypotheses by RATIO, or of sharing among the four pairs of
    signals."""
    m = float(np.mean([gene.region.ld.shape[1] for gene in genes]))
    if setting == "two each":
        share = 2 * SHARE / 4
        return float(np.log(share / (1 - share) * m))
    return float(np.log(RATIO[4] * RATIO[0] / (RATIO[1] * RATIO[2]) * m))


def scores(truth: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    power, false = calibration.calls_at(truth, probability)
    return {
        "ece": calibration.expected_calibration_error(truth, probability),
        "auprc": calibration.average_precision(truth, probability),
        "log_score": calibration.mean_log_score(truth, probability),
        "sum": float(probability.sum()), "true": int(truth.sum()),
        "power": power.estimate, "false": false.estimate, "called": false.trials,
    }  # fmt: skip


def calibrate(pairs: int, seed: int, out: Path) -> None:
    rows, every, priors = [], [], []
    for number, setting in enumerate(SETTINGS):
        began = time.perf_counter()
        ancestries = ("EUR", "AFR", "EAS") if setting == "ancestries" else ("EUR",)
        regions = [region(seed, i, ancestries) for i in range(REGIONS)]
        rng = np.random.default_rng([seed, number])
        genes = [draw_gene(rng, regions[i % REGIONS], setting) for i in range(pairs)]
        found, table = methods(genes, seed)
        truth = np.array([gene.shared for gene in genes])
        at = table.set_index("quantity").loc["enrichment"]
        expected = truth_of_enrichment(setting, genes)
        priors.append(table.assign(setting=setting, enrichment_truth=expected))
        for name, probability in found.items():
            probability = np.clip(probability, 0.0, 1.0)
            rows.append({"setting": setting, "method": name, **scores(truth, probability)})
            own = {"hypothesis": [gene.hypothesis for gene in genes], "shared": truth, "grcp": probability}
            every.append(pd.DataFrame({"setting": setting, "method": name, **own}))
        interval = f"{at['value']:.2f} ({at['low']:.2f}-{at['high']:.2f}), truth {expected:.2f}"
        seconds = time.perf_counter() - began
        print(f"{setting}: enrichment {interval}; {seconds:.0f} s; {at['source']}", flush=True)
        print(pd.DataFrame(rows[-4:]).to_string(index=False, float_format=lambda v: f"{v:.3f}"), flush=True)
    pd.DataFrame(rows).to_csv(out, sep="\t", index=False, float_format="%.6g")
    pd.concat(every).to_csv(out.with_suffix(".genes.tsv"), sep="\t", index=False, float_format="%.6g")
    pd.concat(priors).to_csv(out.with_suffix(".priors.tsv"), sep="\t", index=False, float_format="%.6g")


def cost() -> None:
    """CPU time of one process."""
    rng = np.random.default_rng(1)
    beta, variance = rng.normal(0, 0.02, (2, 5_000, 1_000)), np.full((5_000, 1_000), 1e-4)
    began = time.process_time()
    lbf = [coloc.approximate_bayes_factor(one, variance, 0.15) for one in beta]
    coloc.hypotheses(coloc.pair_sums(*lbf), coloc.COLOC_DEFAULT)
    single = time.process_time() - began
    began = time.process_time()
    for row in range(0, 2_000, 4):  # a gene with two signals, a trait with two: what locus_pairs computes
        first, second = np.repeat(lbf[0][row : row + 2], 2, axis=0), np.tile(lbf[1][row : row + 2], (2, 1))
        sums, cluster = coloc.pair_sums(first, second), coloc.cluster_sums(first, second)
        coloc.shared_variant(first, second)
        posterior = coloc.hypotheses(sums, coloc.COLOC_DEFAULT)
        coloc.matched(posterior[:, 4].reshape(2, 2))
        coloc.matched(coloc.locus_level(sums, cluster, coloc.COLOC_DEFAULT).reshape(2, 2))
    several = time.process_time() - began
    for name, seconds, n in (("ABF", single, 5_000), ("multi-signal", several, 2_000)):
        print(f"{name}: {1e6 * seconds / n:.0f} microseconds per pair of 1,000 variants, "
              f"{60 * n / seconds:,.0f} pairs per minute and core")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("coloc.tsv"))
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    cost() if args.cost else calibrate(args.pairs, args.seed, args.out)


if __name__ == "__main__":
    main()
