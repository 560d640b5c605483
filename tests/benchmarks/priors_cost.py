"""Cost of the global model of priors: seconds and memory of NUTS at the size of a genome.

    python tests/benchmarks/priors_cost.py
    python tests/benchmarks/priors_cost.py --blocks 200

Made-up data in the shape that 2,000 blocks leave: 20 annotations of variants, 10 contexts, three effect
sizes, three ancestries, 4,400 rows of which 2,400 say something of the correlation. Effects follow known
priors, so that the posterior has a shape; recovery is measured elsewhere (tests/benchmarks/priors.py).
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from bayestwas.models import hyper as model

from bayestwas.fit import hyper
from bayestwas.fit.sampling import diagnose

CONTEXTS, ANNOTATIONS, ANCESTRIES, SIZES = 10, 20, 3, 3
GENES, VARIANTS, PATTERNS = 20, 2_000, 100  # gene-contexts and variants of a block; patterns of variants
SHARE = 0.08  # of variants in an annotation


def classes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two patterns of genes in every context, and the patterns of variants that are most frequent."""
    found, number = np.unique(rng.random((20_000, ANNOTATIONS)) < SHARE, axis=0, return_counts=True)
    found = found[np.argsort(-number)[:PATTERNS]].astype(float)
    frequency = np.prod(np.where(found > 0, SHARE, 1 - SHARE), axis=1)
    genes, total = 2 * CONTEXTS, 2 * CONTEXTS + PATTERNS
    pattern = np.zeros((total, ANNOTATIONS))
    pattern[genes:] = found
    pattern[1:genes:2, 0] = 1.0  # constrained genes
    gene = np.arange(total) < genes
    return {
        "pattern": pattern, "in_kind": np.stack([gene, ~gene], axis=1).astype(float),
        "offset": np.zeros(total),
        "in_context": gene[:, None] * np.eye(CONTEXTS)[np.minimum(np.arange(total) // 2, CONTEXTS - 1)],
        "mean": np.concatenate([np.full(genes, GENES / genes), VARIANTS * frequency / frequency.sum()]),
    }  # fmt: skip


def made_up(blocks: int, seed: int) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """DATA and coords of the model: signals about some candidates each, and the rest of the blocks."""
    rng = np.random.default_rng(seed)
    design = classes(rng)
    mean = design.pop("mean")
    rows, signals = int(2.2 * blocks), int(1.2 * blocks)  # the last row of a block says nothing of it
    coords: dict[str, list[Any]] = {
        "row": [*range(rows)], "signal": [*range(rows)], "class": [*range(len(mean))],
        "kind": [*model.KINDS], "context": [f"context{i}" for i in range(CONTEXTS)],
        "annotation": [f"annotation{i}" for i in range(ANNOTATIONS)], "size": [*range(SIZES)],
        "ancestry": [*range(ANCESTRIES)], "ancestry_": [*range(ANCESTRIES)],
        "pair": [f"{a}-{b}" for a, b in combinations(range(ANCESTRIES), 2)],
    }  # fmt: skip
    fixed = {
        "intercept": np.log([0.02, 2e-4]), "context_spread": 1.0, "global_scale": 0.1,
        "size_weight": np.full((2, SIZES), 1 / SIZES), "shared": np.array([0.8, 0.5]),
        "variance": np.tile([0.5, 2.0, 8.0], (2, 1)), "information": np.full((rows, 2, ANCESTRIES), 10.0),
        "count": rng.poisson(mean / 20, size=(rows, len(mean))),  # what a signal is about
        "rest_count": np.ceil(mean * blocks).astype(int),
    }  # fmt: skip
    data = model.simulate(rng, coords, design | fixed)
    data |= {name: data[name][:signals] for name in ("strong", "score", "information")}
    return data, coords | {"signal": [*range(signals)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--density", action="store_true", help="time density and gradient only")
    given = parser.parse_args()
    data, coords = made_up(given.blocks, given.seed)
    print(f"{given.blocks} blocks: {len(coords['row'])} rows, {len(coords['class'])} classes, {SIZES} sizes, "
          f"{ANNOTATIONS} annotations, {CONTEXTS} contexts, {ANCESTRIES} ancestries")  # fmt: skip
    began = time.perf_counter()
    compiled = hyper.compiled(data, coords, replace(hyper.SAMPLING, sampler=given.sampler))
    print(f"compilation {time.perf_counter() - began:.1f} s, {compiled.sampling.sampler} with "
          f"{compiled.sampling.backend}", flush=True)  # fmt: skip
    built = compiled.built
    density = built.logp_dlogp_function(ravel_inputs=True)
    density.set_extra_values({})
    at = np.concatenate([np.ravel(value) for value in built.initial_point().values()])
    density(at)
    began = time.process_time()
    for step in range(20):
        density(at + 1e-3 * step)
    print(f"density and gradient {50 * (time.process_time() - began):.1f} ms of processor", flush=True)
    if given.density:
        return
    began, own_cpu = time.perf_counter(), time.process_time()
    fit = compiled.sample(data, seed=given.seed)
    seconds, cpu = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    steps = float(fit["sample_stats"]["n_steps"].mean())
    told = compiled.sampling
    own, largest = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    chain = largest if told.sampler == "pymc" else 0.0  # processes; threads with nutpie
    peak = own + told.cores * chain
    print(f"NUTS, {told.chains} chains of {told.tune} + {told.draws}: {seconds:.0f} s on {told.cores} cores, "
          f"{steps:.0f} steps an iteration, status {fit.attrs['status']} {fit.attrs['reason']}")  # fmt: skip
    worst = diagnose(fit)["ess_bulk"].nsmallest(3).round().astype(int).to_dict()
    print(f"processor time {time.process_time() - own_cpu + cpu.ru_utime + cpu.ru_stime:.0f} s; "
          f"fewest independent draws: {worst}")  # fmt: skip
    print(f"memory at most {peak / 2**20:.2f} GiB: {own / 2**20:.2f} here, {chain / 2**20:.2f} a chain")


if __name__ == "__main__":
    main()
