"""How soon do draws come, of the first locus and of the second, whose data are swapped in?

    python tests/benchmarks/sampling_start.py gene_trait weights
    python tests/benchmarks/sampling_start.py gene_trait --cold

Every sampler and backend runs in a process of its own, its libraries imported before the clock starts. Times
are CPU seconds, compilers included, so that other work on the machine does not count. The loci are those of
the model's simulation-based calibration. A start is everything up to the first draw: building, compiling,
starting points, and one draw of one chain.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context

import numpy as np
import pandas as pd
from bayestwas.models import MODELS
from sbc import read_case, simulate_one

ENGINES = [("nutpie", "numba"), ("pymc", "numba"), ("pymc", "c")]
REQUIRED = 20.0  # the second locus starts this many times faster than the first


def cpu_seconds() -> float:
    """Of this process and of those it has started and waited for."""
    return sum(os.times()[:4])


def time_engine(name: str, sampler: str, backend: str, seed: int) -> dict[str, object]:
    """One row of the table: starts of two loci, then a fit of each with the default settings."""
    import arviz  # noqa: F401
    import pymc  # noqa: F401

    if sampler == "nutpie":
        import nutpie  # noqa: F401

    from bayestwas.models import load

    from bayestwas.fit.sampling import Sampling, compile_model

    case, model = read_case(name), load(name)
    first, second = (simulate_one(case, model, (seed, locus)) for locus in (0, 1))
    one_draw = Sampling(draws=1, tune=1, chains=1, cores=1, sampler=sampler, backend=backend)
    default = Sampling(cores=1, sampler=sampler, backend=backend)
    began = cpu_seconds()
    compiled = compile_model(model, first, case.SBC_COORDS, one_draw, **getattr(case, "SBC_OPTIONS", {}))
    compiled.sample(first, seed=1)
    start = cpu_seconds() - began
    began = cpu_seconds()
    compiled.sample(second, seed=1)
    again = cpu_seconds() - began
    fits = []
    for data in (first, second):
        began = cpu_seconds()
        compiled.sample(data, seed=1, sampling=default)
        fits.append(cpu_seconds() - began)
    return {
        "model": name,
        "sampler": sampler,
        "backend": backend,
        "first start": start,
        "second start": again,
        "times faster": start / again,
        "a fit": float(np.mean(fits)),
        "first locus": start + fits[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=["gene_trait"], help=f"of {', '.join(MODELS)}")
    parser.add_argument(
        "--engines", nargs="*", default=[f"{s}-{b}" for s, b in ENGINES], help="of the default"
    )
    parser.add_argument("--cold", action="store_true", help="with an empty cache of compiled code each time")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rows = []
    for name in given.models:
        for sampler, backend in (engine.split("-") for engine in given.engines):
            with tempfile.TemporaryDirectory() as cache:
                if given.cold:
                    os.environ["PYTENSOR_FLAGS"] = f"base_compiledir={cache}"
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    rows.append(pool.submit(time_engine, name, sampler, backend, given.seed).result())
            print(f"{name}, {sampler}, {backend}: done", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    told = {package: version(package) for package in ("pymc", "pytensor", "nutpie", "numba", "arviz")}
    print(", ".join(f"{package} {number}" for package, number in told.items()))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    slow = table[table["times faster"] < REQUIRED]
    if len(slow):
        raise SystemExit(f"Less than {REQUIRED:.0f} times faster: {len(slow)} of {len(table)}")


if __name__ == "__main__":
    main()
