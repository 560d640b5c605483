"""Gene posteriors against the truth of simulated blocks: ours, ours as a plug-in, MA-FOCUS, classical TWAS.

    python tests/benchmarks/gene_settings.py --setting friendly --blocks 48 --seed 1 --workers 2 --out
    friendly.tsv

The settings are the presets of bayestwas.data.simulate. Writes the table, and beside it <out>.genes.tsv
(every gene under every method) and <out>.calibration.tsv (observed frequency by bin of PIP).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd
from focus_adapter import Region, focus_pips
from gene_inputs import Blocks, arrays, load
from scipy.stats import norm

from bayestwas.assess import calibration

RESAMPLES = 500  # of blocks, for the standard error of AUPRC

# A method takes the blocks and returns a row per gene: gene and pip (NaN: none for this gene); or, where it
# has no probabilities, gene, score (for ranking) and called.
Method = Callable[[Blocks], pd.DataFrame]


# ---- methods -------------------------------------------------------------------------------------------


def ours(variable: str) -> Method:
    def method(blocks: Blocks) -> pd.DataFrame:
        parts = [result["marginals"] for result in blocks.results]
        return pd.DataFrame(
            {
                "gene": np.concatenate([part["gene"].values for part in parts]),
                "pip": np.concatenate([part[variable].values for part in parts]),
            }
        )

    return method


def focus(weights: str) -> Method:
    def method(blocks: Blocks) -> pd.DataFrame:
        regions, genes = [], []
        for block, point in zip(blocks.simulated, getattr(blocks, weights), strict=True):
            data = arrays(block)
            regions.append(Region(point, data.ld, data.z))
            genes += data.genes
        results = focus_pips(regions)
        return pd.DataFrame({"gene": genes, "pip": np.concatenate([result.pip for result in results])})

    return method


def twas(weights: str) -> Method:
    """Classical TWAS, w'z / sqrt(w'Rw), ancestries weighted by sqrt(n); called at Bonferroni's 0.05."""

    def method(blocks: Blocks) -> pd.DataFrame:
        genes, scores = [], []
        for block, point in zip(blocks.simulated, getattr(blocks, weights), strict=True):
            data = arrays(block)
            top = np.zeros(len(data.genes))
            people = np.zeros(len(data.genes))
            for w, z, ld, n in zip(point, data.z, data.ld, data.n, strict=True):
                used = np.flatnonzero(np.isfinite(z) & np.isfinite(np.diag(ld)) & (w != 0).any(axis=1))
                variance = np.einsum("pg,pg->g", ld[np.ix_(used, used)] @ w[used], w[used])
                predicted = variance > 1e-12
                top[predicted] += np.sqrt(n) * (w[used].T @ z[used])[predicted] / np.sqrt(variance[predicted])
                people[predicted] += n
            genes += data.genes
            scores.append(np.abs(top) / np.sqrt(np.maximum(people, 1.0)))
        score = np.concatenate(scores)
        return pd.DataFrame({"gene": genes, "score": score, "called": 2 * norm.sf(score) < 0.05 / len(score)})

    return method


METHODS: dict[str, Method] = {
    "bayestwas": ours("pip"),
    "bayestwas, priors at their mean": ours("pip_fixed_priors"),
    "bayestwas, LD as exact": ours("pip_weights"),
    "bayestwas, weights as their mean": ours("pip_ld"),
    "bayestwas, plug-in": ours("pip_plugin"),
    "MA-FOCUS, our mean weights": focus("mean_weights"),
    "MA-FOCUS, elastic net": focus("elastic_net_weights"),
    "TWAS, our mean weights": twas("mean_weights"),
    "TWAS, elastic net": twas("elastic_net_weights"),
}


# ---- scores --------------------------------------------------------------------------------------------


def run(name: str, blocks: Blocks) -> pd.DataFrame:
    """One method on every gene of the truth; a gene without a result scores 0 and is counted as left out."""
    table = blocks.truth.merge(METHODS[name](blocks), on="gene", how="left", validate="one_to_one")
    value = table["pip"] if "pip" in table else table["score"]
    table = table.assign(method=name, left_out=value.isna(), score=value.fillna(0.0))
    if "pip" in table:
        table["pip"] = table["pip"].fillna(0.0)
        table["called"] = table["pip"] >= calibration.THRESHOLD
    else:
        table["pip"] = np.nan
        table["called"] = table["called"].eq(True)
    return table[["block", "gene", "causal", "method", "score", "pip", "called", "left_out"]]


def auprc_error(table: pd.DataFrame, seed: int = 0) -> float:
    """Standard error of the AUPRC over resampled blocks."""
    rng = np.random.default_rng(seed)
    rows = list(table.groupby("block").indices.values())
    values = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        sample = table.iloc[chosen]
        if sample["causal"].any():
            values.append(calibration.average_precision(sample["causal"], sample["score"]))
    return float(np.std(values, ddof=1))


def summary(table: pd.DataFrame, seconds: float) -> dict[str, object]:
    truth, pip = table["causal"], table["pip"]
    power, false = calibration.calls(truth, table["called"])
    probabilities = bool(pip.notna().all())
    return {
        "method": table["method"].iloc[0],
        "auprc": calibration.average_precision(truth, table["score"]),
        "auprc_se": auprc_error(table),
        "power": power.estimate,
        "power_95": f"{power.low:.2f}-{power.high:.2f}",
        "false": false.estimate,
        "false_95": f"{false.low:.3f}-{false.high:.3f}",
        "called": false.trials,
        "calibration_error": calibration.expected_calibration_error(truth, pip) if probabilities else np.nan,
        "log_score": calibration.mean_log_score(truth, pip) if probabilities else np.nan,
        "left_out": int(table["left_out"].sum()),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=["friendly", "hard", "tiny"], required=True)
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    blocks = load(args.setting, args.blocks, args.seed, args.workers)
    causal, total = int(blocks.truth["causal"].sum()), len(blocks.truth)
    print(
        f"{args.setting}: {args.blocks} blocks, seed {args.seed}, {causal} causal genes of {total}",
        flush=True,
    )
    tables, rows, bins = [], [], []
    for name in args.methods:
        start = time.perf_counter()
        table = run(name, blocks)
        rows.append(summary(table, time.perf_counter() - start))
        tables.append(table)
        if table["pip"].notna().all():
            bins.append(calibration.calibration_bins(table["causal"], table["pip"]).assign(method=name))
        print(f"  {name}: AUPRC {rows[-1]['auprc']:.3f}", flush=True)
    summaries = pd.DataFrame(rows)
    summaries.to_csv(args.out, sep="\t", index=False, float_format="%.6g")
    pd.concat(tables).to_csv(args.out.with_suffix(".genes.tsv"), sep="\t", index=False, float_format="%.6g")
    print(summaries.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if bins:
        columns = ["method", "lower", "upper", "total", "count", "mean_pip", "frequency", "low", "high"]
        calibrated = pd.concat(bins)[columns]
        calibrated.to_csv(
            args.out.with_suffix(".calibration.tsv"), sep="\t", index=False, float_format="%.6g"
        )
        print(calibrated.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
