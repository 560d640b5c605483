"""Simulation-based calibration of the models: ranks of the truth among posterior draws, and probabilities.

    python tests/benchmarks/sbc.py gene_trait --simulations 200 --out docs/images

Reads tests/models/cases/<model>.py for the sizes of the locus, what is fixed and what is ranked. Writes
sbc-<model>.png and prints the table of the card. `--workers` processes, each compiles the model once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
)

import numpy as np
import pandas as pd
from bayestwas.models import MODELS, load

from bayestwas.assess import sbc
from bayestwas.fit.sampling import Sampling, compile_model

CASES = Path(__file__).parents[1] / "models" / "cases"
LARGEST_Z = 4.0  # of some 300 z-scores over all models, chance passes this once in 50 runs


def read_case(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"case_{name}", CASES / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"There is no case for '{name}' in {CASES}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def elements(name: str, truth: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name of each scalar in a quantity, and where it is."""
    for index in np.ndindex(np.shape(truth)):
        yield (name if index == () else f"{name}[{','.join(map(str, index))}]"), index


def simulate_one(case: ModuleType, model: Any, seed: tuple[int, int]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return model.simulate(rng, case.SBC_COORDS, case.sbc_fixed(rng))


def run_part(name: str, indices: list[int], seed: int, keep: int, sampling: Sampling) -> list[dict[str, Any]]:
    """Ranks, probabilities and statuses of some simulations; compiles once."""
    case, model = read_case(name), load(name)
    options = getattr(case, "SBC_OPTIONS", {})
    compiled = compile_model(
        model, simulate_one(case, model, (seed, 0)), case.SBC_COORDS, sampling, **options
    )
    rows = []
    for index in indices:
        data = simulate_one(case, model, (seed, index))
        fit = compiled.sample(data, seed=index + 1)
        posterior, rng = fit["posterior"].dataset, np.random.default_rng((seed, index, 1))
        row: dict[str, Any] = {"status": fit.attrs["status"], "reason": fit.attrs["reason"]}
        row["seconds"] = float(fit.attrs["sampling_seconds"])
        for quantity in case.RANKED:
            draws = sbc.thin(posterior[quantity].values, keep)
            ranks = sbc.rank(draws, data[quantity], rng)
            row |= {label: ranks[where] for label, where in elements(quantity, ranks)}
        row["probabilities"] = [
            (posterior[probability].mean(("chain", "draw")).values.ravel(), np.ravel(data[truth]))
            for probability, truth in getattr(case, "PROBABILITIES", {}).items()
        ]
        rows.append(row)
    return rows


def report(name: str, rows: list[dict[str, Any]], keep: int) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Table of uniformity, curves for the figure, and lines about probabilities and fits."""
    table = pd.DataFrame(rows)
    ranks = table.drop(columns=["status", "reason", "seconds", "probabilities"]).to_dict("list")
    lines = [
        f"{len(rows)} simulations, {keep} draws kept of each; fits ok: {(table['status'] == 'ok').sum()}, "
        f"warning: {(table['status'] == 'warning').sum()}, failed: {(table['status'] == 'failed').sum()}; "
        f"median {table['seconds'].median():.1f} s a fit"
    ]
    for number, (probability, truth) in enumerate(getattr(read_case(name), "PROBABILITIES", {}).items()):
        pairs = [row["probabilities"][number] for row in rows]
        p, true = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        lines.append(
            f"{probability} against {truth}: {len(p)} probabilities, expected {p.sum():.1f}, "
            f"true {true.sum():.0f}, z {sbc.probability_z(pairs):+.2f}"
        )
        for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.0001)):
            inside = (p >= low) & (p < high)
            if inside.any():
                lines.append(
                    f"  {low:4.2f}-{min(high, 1):4.2f}: {inside.sum():5d}, mean {p[inside].mean():.3f}, "
                    f"observed {true[inside].mean():.3f}"
                )
    return sbc.uniformity(ranks, keep), sbc.curves(ranks, keep), lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="names; all seven by default")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=int, default=99, help="posterior draws that the truth is ranked among")
    parser.add_argument("--draws", type=int, default=400, help="per chain")
    parser.add_argument("--tune", type=int, default=500)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--target-accept", type=float, default=0.9)
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for the figures and tables")
    given = parser.parse_args()
    sampling = Sampling(
        draws=given.draws, tune=given.tune, chains=given.chains, cores=1, sampler=given.sampler,
        backend=given.backend, target_accept=given.target_accept, loci=given.simulations,
    )  # fmt: skip
    wrong = []
    for name in given.models:
        parts = [list(range(k, given.simulations, given.workers)) for k in range(given.workers)]
        context = get_context("spawn")
        with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
            jobs = [
                pool.submit(run_part, name, part, given.seed, given.keep, sampling) for part in parts if part
            ]
            rows = [row for job in jobs for row in job.result()]
        table, curves, lines = report(name, rows, given.keep)
        print(f"\n{name}: " + "\n".join(lines))
        print(table.round(2).to_string(index=False), flush=True)
        extreme = table[table[["mean_z", "spread_z"]].abs().max(axis=1) > LARGEST_Z]
        wrong += [f"{name} {quantity}" for quantity in extreme["quantity"]]
        if given.out:
            from bayestwas.report.ranks import plot_ranks
            from bayestwas.report.style import save_figure

            given.out.mkdir(parents=True, exist_ok=True)
            title = f"{name}: ranks in {len(rows)} simulations"
            save_figure(plot_ranks(curves, title), given.out / f"sbc-{name}.png")
    if wrong:
        raise SystemExit(f"More than {LARGEST_Z} standard errors from uniform: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
