"""A polygenic background in simulated blocks: false genes with the background learned, known and ignored.

    python tests/benchmarks/background.py --blocks 12 --h2 0.002
    python tests/benchmarks/background.py --blocks 24 --preset hard --methods neither both

Simulated. Blocks as in the preset `friendly` with GWAS of 200,000 EUR, 50,000 AFR and 50,000 EAS; every
variant of a block has a small effect besides the genes' and the direct ones, which together explain `h2` of
the trait. LD is in-sample, or that of the first --n_ref people. With --preset the blocks of a preset as they
are, without a background: what learning does where there is nothing to learn.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas.assess import calibration
from bayestwas.data import simulate
from bayestwas.engine.gene_trait import DEFAULT_PRIORS
from bayestwas.fit.gene_trait import sufficient
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import fit_weights

GWAS = {"EUR": 200_000, "AFR": 50_000, "EAS": 50_000}
METHODS = {
    "neither": Settings(mismatch=False, background=False),
    "background": Settings(background=True),
    "mismatch": Settings(mismatch=True),
    "both": Settings(mismatch=True, background=True),
}


def add_background(block: simulate.SimulatedBlock, h2: float, rng: np.random.Generator) -> None:
    """Put sqrt(N_a) R_a b, b ~ Normal(0, h2 / p) over the variants of ancestry a, into its z-scores."""
    for ancestry, dosage in block.reference.items():
        if ancestry not in block.z:
            continue
        z = block.z[ancestry]
        rows = np.flatnonzero(np.isfinite(z))
        x = dosage[rows].astype(float)
        x -= x.mean(axis=1, keepdims=True)
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
        b = rng.standard_normal(len(rows)) * np.sqrt(h2 / len(rows))
        z[rows] += np.sqrt(block.n[ancestry]) * (x @ (b @ x)) / x.shape[1]


def draw(index: int, seed: int, h2: float, n_ref: int | None) -> simulate.SimulatedBlock:
    design = replace(simulate.PRESETS["friendly"], name="background", gwas=GWAS)
    block = simulate.simulate_block(design, simulate.block_generator(seed, index), index)
    add_background(block, h2, np.random.default_rng([seed, index]))
    if n_ref is not None:
        few = {ancestry: dosage[:, :n_ref] for ancestry, dosage in block.reference.items()}
        block = replace(block, reference=few, design=replace(design, n_ref=n_ref))
    return block


def fit_all(
    block: simulate.SimulatedBlock, locus: xr.DataTree, methods: list[str]
) -> list[dict[str, object]]:
    """One row per method and gene."""
    weights = fit_weights(locus)
    causal = dict(zip(block.genes["gene"], block.genes["causal"], strict=True))
    rows: list[dict[str, object]] = []
    for name in methods:
        settings = METHODS[name]
        began = time.process_time()
        prepared, full = sufficient(locus, weights, DEFAULT_PRIORS, settings, 1)
        seconds = time.process_time() - began
        tau2 = [error.tau2 for error in prepared.learned.errors]
        delta = [error.delta for error in prepared.learned.errors]
        for gene, pip in zip(prepared.genes, full.gene_pip, strict=True):
            rows.append(
                {"method": name, "block": block.name, "gene": gene.gene, "causal": causal[gene.gene],
                 "pip": pip, "seconds": seconds, "tau2": tau2[0], "delta": delta[0]}
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--h2", type=float, default=0.002)
    parser.add_argument("--n_ref", type=int)
    parser.add_argument("--preset")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    for index in range(given.blocks):
        if given.preset:
            stream = simulate.block_generator(given.seed, index)
            block = simulate.simulate_block(simulate.PRESETS[given.preset], stream, index)
        else:
            block = draw(index, given.seed, given.h2, given.n_ref)
        rows += fit_all(block, block.to_locus(), given.methods)
    table = pd.DataFrame(rows)
    print(f"simulated; {given.blocks} blocks, {table['gene'].nunique()} genes")
    for name, part in table.groupby("method", sort=False):
        called = part[part["pip"] >= 0.8]
        truth, pip = part["causal"].to_numpy(), np.clip(part["pip"].to_numpy(), 1e-6, 1 - 1e-6)
        score = np.where(truth, np.log(pip), np.log1p(-pip)).mean()
        area = calibration.average_precision(truth, pip)
        power = part.loc[part["causal"], "pip"].ge(0.8).mean()
        per_block = part.groupby("block")[["seconds", "tau2", "delta"]].first()
        print(
            f"{name}: called {len(called)}, false {int((~called['causal']).sum())}, power {power:.2f}, "
            f"AUPRC {area:.3f}, log score {score:.4f}, "
            f"CPU s a block {per_block['seconds'].mean():.2f}, median tau2 {per_block['tau2'].median():.3g}, "
            f"median delta {per_block['delta'].median():.3g}"
        )


if __name__ == "__main__":
    main()
