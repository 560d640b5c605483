"""Are the learned priors right? Genomes are simulated with known hyperparameters, and learned from.

    python tests/benchmarks/priors.py recovery --genomes 50      coverage of 90% intervals
    python tests/benchmarks/priors.py null --genomes 20          no causal gene, strong direct effects
    python tests/benchmarks/priors.py crowded-null --genomes 20  the same among a third of the variants
    python tests/benchmarks/priors.py tissue --genomes 20        one relevant context among ten

A genome is a list of blocks of GWAS z-scores (two ancestries, LD known) with genes whose weights are known up
to posterior draws; expression panels are not simulated, so that what is tested is the learning. All data are
simulated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from bayestwas.engine.draws import WeightDraws
from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.mismatch import exact
from bayestwas.fit import hyper
from bayestwas.fit.annotations import Scale
from bayestwas.fit.gene_trait import fit_block, over_priors
from bayestwas.fit.learn import Learned, learn_priors
from bayestwas.fit.prepared import SETS, GeneDraws, Prepared, targets
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.settings import Settings
from bayestwas.fit.trait_priors import (
    GENE,
    GRIDS,
    VARIANT,
    Annotated,
    BlockSums,
    TraitPriors,
    block_priors,
    block_sums,
)

ANCESTRIES = ("EUR", "AFR")
PEOPLE = np.array([100_000.0, 40_000.0])
DRAWS = 16  # of the weights of a gene
SETTINGS = replace(Settings(), trait_effects=6, trait_rounds=2)
SCALES = {
    VARIANT: tuple(Scale(name, True, 0.0, 1.0) for name in ("coding", "conserved", "repressed")),
    GENE: (Scale("constrained", True, 0.0, 1.0), Scale("expression_level", False, 0.0, 1.0)),
}
SHARE = np.array([0.05, 0.2, 0.4])  # of variants, per annotation
LARGEST_ODDS = 0.3  # of the most favoured candidate of a genome


@dataclass(frozen=True)
class Truth:
    """Hyperparameters of a genome, under the names of the global model."""

    intercept: np.ndarray
    context_effect: np.ndarray
    coefficient: np.ndarray
    size_weight: np.ndarray
    correlation: np.ndarray


@dataclass(frozen=True)
class Block:
    prepared: Prepared
    known: Annotated
    causal: np.ndarray  # (genes, contexts) number of effects


def drawn_truth(rng: np.random.Generator, contexts: int) -> Truth:
    """About one causal gene and one direct effect in a block; half of the enrichments are zero.

    Truths outside of what the model is made for, small odds, are drawn again.
    """
    while True:
        coefficient = rng.normal(0, 1, 5) * (rng.random(5) < 0.5)
        intercept = np.array([np.log(0.05) + rng.normal(0, 0.5), np.log(0.006) + rng.normal(0, 0.5)])
        context = rng.normal(0, 0.7, contexts)
        # of a constrained gene whose expression level is one in forty; of a variant with all that adds
        gene = intercept[0] + context.max() + max(coefficient[3], 0.0) + 2 * abs(coefficient[4])
        variant = intercept[1] + np.maximum(coefficient[:3], 0.0).sum()
        if max(gene, variant) <= np.log(LARGEST_ODDS):
            break
    correlation = np.tile(np.eye(2), (2, 1, 1))
    correlation[:, 0, 1] = correlation[:, 1, 0] = rng.beta(2, 1, size=2)
    return Truth(intercept, context, coefficient, rng.dirichlet([2, 2, 2], size=2), correlation)


def simulate_block(rng: np.random.Generator, truth: Truth, p: int, genes: int) -> Block:
    """One block. LD falls off with distance, faster in the second ancestry."""
    contexts = len(truth.context_effect)
    gap = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    decay = rng.uniform(0.85, 0.97)
    ld = [decay ** gap.astype(float), (decay - 0.1) ** gap.astype(float)]
    variant = (rng.random((p, 3)) < SHARE).astype(float)
    feature = np.stack([rng.random(genes) < 0.2, rng.standard_normal(genes)], axis=1).astype(float)
    feature[:, 1] = (
        np.round(2 * feature[:, 1]) / 2
    )  # as patterns round it: what rounding costs is not asked here
    known = Annotated(variant, feature)
    rate_variant = np.exp(truth.intercept[1] + variant @ truth.coefficient[:3])
    rate_gene = np.exp(truth.intercept[0] + feature @ truth.coefficient[3:])[:, None] * np.exp(
        truth.context_effect
    )
    beta = np.zeros((2, p))
    for j in np.repeat(np.arange(p), rng.poisson(rate_variant)):
        beta[:, j] += effect(rng, truth, 1)
    causal = rng.poisson(rate_gene)
    prepared_genes = []
    for g in range(genes):
        true, made = gene_weights(rng, g, p, contexts)
        prepared_genes.append(made)
        for c in range(contexts):
            for _ in range(causal[g, c]):
                beta += effect(rng, truth, 0)[:, None] * true[c]
    z = np.array(
        [r @ (np.sqrt(n) * b) + np.linalg.cholesky(r) @ rng.standard_normal(p)
         for r, n, b in zip(ld, PEOPLE, beta, strict=True)]
    )  # fmt: skip
    labels = tuple(f"context{c}" for c in range(contexts))
    operators = tuple(MatrixLD(one) for one in ld)
    return Block(
        Prepared(ANCESTRIES, labels, z, PEOPLE, operators, tuple(prepared_genes), exact(z, operators)),
        known,
        causal,
    )


def gene_weights(
    rng: np.random.Generator, number: int, p: int, contexts: int
) -> tuple[np.ndarray, GeneDraws]:
    """True weights (context, p), alike in both ancestries, and draws around an estimate of them.

    An eQTL acts in all contexts, with effects correlated by a half. The estimate has the error of the draws.
    """
    true = np.zeros((contexts, p))
    estimate = np.zeros_like(true)
    spread = np.zeros_like(true)
    for j in rng.choice(p, size=2, replace=False):
        common = rng.standard_normal()
        true[:, j] = 0.25 * (np.sqrt(0.5) * common + np.sqrt(0.5) * rng.standard_normal(contexts))
        spread[:, j] = 0.05
    estimate = true + spread * rng.standard_normal(true.shape)
    columns = []
    for c in range(contexts):
        draws = sparse.csr_array(estimate[c] + spread[c] * rng.standard_normal((DRAWS, p)))
        columns += [draws] * 2
    weights = WeightDraws(
        columns=tuple(columns), log_weight=np.full(DRAWS, -np.log(DRAWS)),
        replicate=np.repeat(np.arange(SETS), DRAWS // SETS), active=np.empty(0, dtype=np.intp),
        outcome=np.empty((DRAWS, 0), dtype=np.intp), normal=np.empty((DRAWS, 0, 2 * contexts)),
        log_ratio=np.zeros(DRAWS),
    )  # fmt: skip
    mean = tuple(sparse.csr_array(estimate[c][None]) for c in range(contexts) for _ in range(2))
    blank = np.zeros(contexts)
    return true, GeneDraws(f"gene{number}", tuple(range(contexts)), weights, mean, blank, blank)


def effect(rng: np.random.Generator, truth: Truth, kind: int) -> np.ndarray:
    """Effects on the two ancestries."""
    variance = rng.choice(GRIDS[kind], p=truth.size_weight[kind])
    return np.sqrt(variance) * rng.multivariate_normal(np.zeros(2), truth.correlation[kind])


def learned(blocks: Sequence[Block], seed: int) -> Learned:
    def collect(priors: TraitPriors, number: int) -> list[BlockSums]:
        out = []
        for block in blocks:
            [prior] = block_priors(priors.mean() if priors.learned else priors, block.prepared, block.known)
            fit = fit_block(block.prepared, prior, SETTINGS)
            out.append(block_sums(fit, block.prepared, block.known, prior, SCALES))
        return out

    def silent(label: str, results: Iterable[Any], total: int) -> Iterable[Any]:
        return results

    return learn_priors(collect, SCALES, SETTINGS, seed, silent)


def final_pips(blocks: Sequence[Block], found: Learned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PIPs of all genes averaged over the hyperparameters, at their mean, and whether a gene is causal."""
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for block in blocks:
        [mean] = block_priors(found.priors.mean(), block.prepared, block.known)
        over = list(block_priors(found.priors, block.prepared, block.known))
        fit = fit_block(block.prepared, mean, SETTINGS)
        carried = over_priors(fit, targets(block.prepared), mean, over)
        rows.append((carried.gene_pip, fit.gene_pip, block.causal.any(axis=1)))
    return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))  # type: ignore[return-value]


def intervals(found: Learned, truth: Truth) -> list[dict[str, Any]]:
    """A row per hyperparameter: truth, 90% interval."""
    assert found.hyper is not None
    out = []
    for name in truth.__dataclass_fields__:
        values = found.hyper[name].transpose("chain", "draw", ...).values
        flat = values.reshape(values.shape[0] * values.shape[1], *values.shape[2:])
        true = getattr(truth, name)
        for at in np.ndindex(*true.shape):
            if name == "correlation" and at[1] >= at[2]:
                continue
            low, high = np.quantile(flat[:, *at], [0.05, 0.95])
            label = f"{name}{list(at)}"
            if name == "coefficient":
                label = "coefficient, true zero" if true[at] == 0 else "coefficient, not zero"
            out.append(
                {"parameter": label, "true": true[at], "low": low, "high": high, "mean": flat[:, *at].mean()}
            )
    return out


def recovery_one(task: tuple[int, int, int]) -> tuple[list[dict[str, Any]], dict[str, float], int, str]:
    number, blocks, seed = task
    rng = np.random.default_rng([seed, number])
    truth = drawn_truth(rng, 3)
    made = [simulate_block(rng, truth, 80, 5) for _ in range(blocks)]
    found = learned(made, number)
    carried, fixed, causal = final_pips(made, found)
    logs = {}
    for name, pip in (("averaged", carried), ("at the mean", fixed)):
        pip = np.clip(pip, 1e-6, 1 - 1e-6)
        logs[name] = float(np.log(np.where(causal, pip, 1 - pip)).sum())
    return intervals(found, truth), logs, len(causal), found.source


def recovery(tasks: Iterable[Any]) -> None:
    rows: list[dict[str, Any]] = []
    logs: dict[str, list[float]] = {"averaged": [], "at the mean": []}
    genes = 0
    for number, (part, log, count, source) in enumerate(tasks):
        rows += part
        genes += count
        for name, value in log.items():
            logs[name].append(value)
        print(f"genome {number + 1}: {source}", flush=True)
        if number % 5 == 4:
            report_recovery(pd.DataFrame(rows), logs, genes)


def report_recovery(table: pd.DataFrame, logs: dict[str, list[float]], genes: int) -> None:
    """Coverage by parameter, and what averaging over hyperparameters gains; of the genomes so far."""
    table["covered"] = (table["low"] <= table["true"]) & (table["true"] <= table["high"])
    table["error"] = table["mean"] - table["true"]
    table["square"] = table["error"] ** 2
    grouped = table.groupby("parameter").agg(
        intervals=("covered", "size"), covered=("covered", "mean"),
        bias=("error", "mean"), rmse=("square", "mean"),
    )  # fmt: skip
    grouped["rmse"] **= 0.5
    print(grouped.round(3).to_string())
    print(f"all: {table['covered'].mean():.3f} of {len(table)} intervals of 90% cover the truth")
    for name, values in logs.items():
        print(f"log score of gene PIPs, hyperparameters {name}: {sum(values) / genes:.5f} per gene ({genes})")
    gain = np.subtract(*logs.values()) * len(logs["averaged"]) / genes
    print(f"gain by averaging: {gain.mean():.5f} +- {gain.std(ddof=1) / np.sqrt(len(gain)):.5f} per gene")


def null_one(task: tuple[int, int, int], p: int = 80) -> tuple[float, float]:
    """No causal gene; two strong direct effects in a block of `p` variants."""
    number, blocks, seed = task
    rng = np.random.default_rng([seed, 1, number])
    truth = replace(
        drawn_truth(rng, 3), intercept=np.array([-np.inf, np.log(2 / p)]), coefficient=np.zeros(5),
        size_weight=np.array([[1 / 3] * 3, [0.0, 0.3, 0.7]]),
    )  # fmt: skip
    made = [simulate_block(rng, truth, p, 5) for _ in range(blocks)]
    found = learned(made, number)
    pip, _, _ = final_pips(made, found)
    return float(np.exp(found.priors.mean().intercept[0, 0])), float(pip.max())


def null(tasks: Iterable[Any]) -> None:
    odds, largest = [], []
    for number, (odd, pip) in enumerate(tasks):
        odds.append(odd)
        largest.append(pip)
        print(f"genome {number + 1}: prior odds of a gene {odd:.2e}, largest PIP {pip:.3f}", flush=True)
    passed = int((np.array(largest) > 0.5).sum())
    print(f"{passed} of {len(odds)} genomes have a gene above PIP 0.5; median odds {np.median(odds):.2e}")


def tissue_one(task: tuple[int, int, int]) -> tuple[int, float]:
    """One context of ten holds all causal genes, about 60 of them."""
    number, blocks, seed = task
    rng = np.random.default_rng([seed, 2, number])
    relevant = int(rng.integers(10))
    deviation = np.full(10, -np.inf)
    deviation[relevant] = 0.0
    truth = replace(
        drawn_truth(rng, 10), intercept=np.array([np.log(60 / (blocks * 5)), np.log(0.006)]),
        context_effect=deviation, coefficient=np.zeros(5),
    )  # fmt: skip
    made = [simulate_block(rng, truth, 80, 5) for _ in range(blocks)]
    result = learned(made, number)
    assert result.hyper is not None
    effect_of = result.hyper["context_effect"].stack(sample=("chain", "draw")).transpose("context", "sample")
    at = list(result.hyper["context"].values).index(f"context{relevant}")
    best = float((effect_of.values.argmax(axis=0) == at).mean())
    return sum(int(block.causal.sum()) for block in made), best


def tissue(tasks: Iterable[Any]) -> None:
    sure = []
    for number, (causal, best) in enumerate(tasks):
        sure.append(best)
        print(
            f"genome {number + 1}: {causal} causal genes, P(relevant context is the highest) {best:.3f}",
            flush=True,
        )
    above = np.mean(np.array(sure) > 0.9)
    print(f"above 0.9 in {above:.2f} of {len(sure)} genomes; median {np.median(sure):.3f}")


STUDIES = {
    "recovery": (recovery_one, recovery),
    "null": (partial(null_one, p=240), null),
    "crowded-null": (null_one, null),
    "tissue": (tissue_one, tissue),
}


def main() -> None:
    # one chain at a time: genomes are many
    hyper.SAMPLING = Sampling(draws=400, tune=300, chains=1, cores=1, sampler="pymc")
    hyper.FIRST = replace(hyper.SAMPLING, draws=150)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--genomes", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    one, report = STUDIES[given.study]
    tasks = [(number, given.blocks, given.seed) for number in range(given.genomes)]
    began = time.perf_counter()
    if given.workers == 1:
        report(map(one, tasks))
    else:
        with multiprocessing.get_context("fork").Pool(given.workers) as pool:
            report(pool.imap(one, tasks))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
