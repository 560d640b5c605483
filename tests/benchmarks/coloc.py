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

The probability of a gene is GRCP: that any of its signals shares a variant. Of our own, H4 of every pair of
signals is scored too, where a signal stands for the causal variant in strongest LD with it, and GRCP against
whether any pair of the signals that were found stands for one variant. `expected` is the calibration error
that probabilities without any error would have: its mean and 95% quantile over 400 drawn truths. Writes
one row per method and setting to --out, every probability to <out>.genes.tsv, learned priors to
<out>.priors.tsv.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from bayestwas.assess import calibration
from bayestwas.data.coalescent import genotypes
from bayestwas.data.design import Design
from bayestwas.engine import coloc
from bayestwas.engine.coloc_near import Near, near_pair_sums, near_variants
from bayestwas.engine.coloc_sizes import SizeSums, collapsed, learn_sizes, size_sums
from bayestwas.engine.coloc_sizes import joined as joined_sizes
from bayestwas.engine.credible import credible_set
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates, correlation
from bayestwas.engine.single_effects import SingleEffects, fit_single_effects, log_bayes_factors
from bayestwas.fit.coloc_priors import learn_priors, sizes_table

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
    """R (A, p, p) over the variants that vary in every ancestry, square roots of it, and which variants are
    in LD."""

    ld: np.ndarray
    root: np.ndarray
    near: np.ndarray


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
    near = near_variants([MatrixLD(one) for one in r], np.ones(r.shape[:2], dtype=bool))
    return Region(r, vector * np.sqrt(np.maximum(value, 0.0))[:, None, :], near)


@dataclass(frozen=True)
class Gene:
    """z (kind -> (A, p)) and what is true."""

    region: Region
    z: dict[str, np.ndarray]
    hypothesis: int
    causal: dict[str, list[int]]

    @property
    def shared(self) -> bool:
        return bool(set(self.causal["expression"]) & set(self.causal["trait"]))


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
    return Gene(where, z, hypothesis, causal)


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


@dataclass(frozen=True)
class Found:
    """Signals of one trait: log Bayes factors by size (Q, L, p), and the causal variant that each stands for
    (of those of the truth the one in strongest LD with it), -1 where the trait has none."""

    lbf: np.ndarray
    causal: np.ndarray


def our_signals(gene: Gene, kind: str) -> Found:
    fit, candidates = fine_map(gene, kind, null=True)
    rows = np.flatnonzero((fit.null < 0.5) | (np.arange(EFFECTS) == 0))
    lbf = np.moveaxis(log_bayes_factors(fit, candidates)[rows], 2, 0)
    true = np.array(gene.causal[kind], dtype=int)
    if not len(true):
        return Found(lbf, np.full(len(rows), -1))
    near = fit.alpha[rows].sum(axis=2) @ (gene.region.ld[0] ** 2)[:, true]
    return Found(lbf, true[near.argmax(axis=1)])


def pairs_by_size(first: Found, second: Found, near: np.ndarray) -> SizeSums:
    count = (first.lbf.shape[1], second.lbf.shape[1])
    left, right = np.repeat(first.lbf, count[1], axis=1), np.tile(second.lbf, (1, count[0], 1))
    return size_sums(left, right, near=near)


def same_variant(first: Found, second: Found) -> np.ndarray:
    """Of every pair of signals, whether both stand for one variant."""
    return ((first.causal[:, None] == second.causal) & (first.causal[:, None] >= 0)).ravel()


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


def gene_level(shapes: list[tuple[int, int]], h4: np.ndarray) -> np.ndarray:
    """GRCP of every gene from the H4 of its pairs, in order."""
    out, at = [], 0
    for shape in shapes:
        size = shape[0] * shape[1]
        out.append(coloc.matched(h4[at : at + size].reshape(shape))[1] if size else 0.0)
        at += size
    return np.array(out)


def any_of(shapes: list[tuple[int, int]], pairs: np.ndarray) -> np.ndarray:
    """Whether any pair of signals of each gene stands for one variant: what GRCP says of signals found."""
    parts = np.split(pairs, np.cumsum([a * b for a, b in shapes])[:-1])
    return np.array([part.any() for part in parts])


@dataclass(frozen=True)
class Outcome:
    """By method, probabilities and the truth that they are of; and the learned priors."""

    found: dict[str, tuple[np.ndarray, np.ndarray]]
    priors: pd.DataFrame


def methods(genes: list[Gene], seed: int) -> Outcome:
    """Probability that each gene shares a variant, and of our own that each pair of signals does."""
    ours = [tuple(our_signals(gene, kind) for kind in KINDS) for gene in genes]
    shapes = [tuple(one.lbf.shape[1] for one in pair) for pair in ours]
    by_size = joined_sizes(
        [pairs_by_size(*pair, gene.region.near) for pair, gene in zip(ours, genes, strict=True)]
    )
    equal = [np.full(len(SIZES[kind]), 1 / len(SIZES[kind])) for kind in KINDS]
    sizes = learn_sizes(by_size, *equal)
    sums, plain = collapsed(by_size, sizes.first, sizes.second, sizes.near), collapsed(by_size, *equal)
    learned = learn_priors(sums, ["any"] * len(sums.log_sum), seed)
    averaged = coloc.hypotheses(sums, learned.of("any")).mean(axis=0)[:, 4]
    susie = [tuple(susie_signals(gene, kind) for kind in KINDS) for gene in genes]
    single = [tuple(single_signal(gene, kind) for kind in KINDS) for gene in genes]
    either = [a if len(a[0]) and len(a[1]) else b for a, b in zip(susie, single, strict=True)]
    h4 = {name: coloc.hypotheses(joined([all_pairs(*one) for one in kind]), coloc.COLOC_DEFAULT)[:, 4]
          for name, kind in (("susie", either), ("abf", single))}  # fmt: skip
    shared = np.array([gene.shared for gene in genes])
    pairs = np.concatenate([same_variant(*pair) for pair in ours])
    given = coloc.hypotheses(plain, coloc.COLOC_DEFAULT)[:, 4]
    found = {
        "bayestwas, learned priors": (gene_level(shapes, averaged), shared),
        "bayestwas, learned priors: of signals found": (gene_level(shapes, averaged), any_of(shapes, pairs)),
        "bayestwas, learned priors: pairs": (averaged, pairs),
        "bayestwas, coloc's priors": (gene_level(shapes, given), shared),
        "coloc.susie-style, coloc's priors": (
            gene_level([(len(a), len(b)) for a, b in either], h4["susie"]), shared,
        ),
        "ABF, coloc's priors": (gene_level([(1, 1)] * len(genes), h4["abf"]), shared),
    }  # fmt: skip
    told = sizes_table(replace(sizes, variances=tuple(SIZES[kind] for kind in KINDS)))
    return Outcome(found, pd.concat([learned.table, told], ignore_index=True))


def truth_of_enrichment(setting: str, genes: list[Gene]) -> float:
    """log p12 / (p1 p2) of the pairs: of hypotheses by RATIO, or of sharing among the four pairs of
    signals."""
    m = float(np.mean([gene.region.ld.shape[1] for gene in genes]))
    if setting == "two each":
        share = 2 * SHARE / 4
        return float(np.log(share / (1 - share) * m))
    return float(np.log(RATIO[4] * RATIO[0] / (RATIO[1] * RATIO[2]) * m))


def floor(probability: np.ndarray, draws: int = 400) -> dict[str, float]:
    """Calibration errors of these probabilities where they are true."""
    rng = np.random.default_rng(0)
    drawn = rng.random((draws, len(probability))) < probability
    errors = [calibration.expected_calibration_error(truth, probability) for truth in drawn]
    return {"expected": float(np.mean(errors)), "expected_95": float(np.quantile(errors, 0.95))}


def scores(truth: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    power, false = calibration.calls_at(truth, probability)
    return {
        "ece": calibration.expected_calibration_error(truth, probability),
        **floor(probability),
        "auprc": calibration.average_precision(truth, probability),
        "log_score": calibration.mean_log_score(truth, probability),
        "sum": float(probability.sum()), "true": int(truth.sum()),
        "power": power.estimate, "false": false.estimate, "called": false.trials,
    }  # fmt: skip


def calibrate(pairs: int, seed: int, out: Path, settings: Sequence[str]) -> None:
    rows, every, priors = [], [], []
    for setting in settings:
        number = SETTINGS.index(setting)
        began = time.perf_counter()
        ancestries = ("EUR", "AFR", "EAS") if setting == "ancestries" else ("EUR",)
        regions = [region(seed, i, ancestries) for i in range(REGIONS)]
        rng = np.random.default_rng([seed, number])
        genes = [draw_gene(rng, regions[i % REGIONS], setting) for i in range(pairs)]
        outcome = methods(genes, seed)
        table = outcome.priors
        at = table.set_index("quantity").loc["enrichment"]
        expected = truth_of_enrichment(setting, genes)
        priors.append(table.assign(setting=setting, enrichment_truth=expected))
        for name, (probability, truth) in outcome.found.items():
            probability = np.clip(probability, 0.0, 1.0)
            rows.append({"setting": setting, "method": name, **scores(truth, probability)})
            own = {"shared": truth, "probability": probability}
            every.append(pd.DataFrame({"setting": setting, "method": name, **own}))
        interval = f"{at['value']:.2f} ({at['low']:.2f}-{at['high']:.2f}), truth {expected:.2f}"
        seconds = time.perf_counter() - began
        print(f"{setting}: enrichment {interval}; {seconds:.0f} s; {at['source']}", flush=True)
        print(
            pd.DataFrame(rows[-len(outcome.found) :]).to_string(
                index=False, float_format=lambda v: f"{v:.3f}"
            ),
            flush=True,
        )
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
    close = Near(np.triu(rng.random((1_000, 1_000)) < 0.1, 1), 1.0)
    began = time.process_time()
    for row in range(0, 400, 4):  # the same sums where variants in LD have a weight of their own
        first, second = np.repeat(lbf[0][row : row + 2], 2, axis=0), np.tile(lbf[1][row : row + 2], (2, 1))
        near_pair_sums(first, second, None, close)
        coloc.shared_variant(first, second)
    weighted = time.process_time() - began
    told = (("ABF", single, 5_000), ("multi-signal", several, 2_000), ("with LD", weighted, 400))
    for name, seconds, n in told:
        print(f"{name}: {1e6 * seconds / n:.0f} microseconds per pair of 1,000 variants, "
              f"{60 * n / seconds:,.0f} pairs per minute and core")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("coloc.tsv"))
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    cost() if args.cost else calibrate(args.pairs, args.seed, args.out, args.settings)


if __name__ == "__main__":
    main()
