"""Read, check and store 10 million rows of GWAS-SSF: seconds, CPU seconds and peak memory. Simulated numbers.

python tests/benchmarks/gwas_speed.py --rows 10000000 --folder .benchmarks
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr

CHROMOSOMES = 20
HEADER = (
    b"chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\t"
    b"effect_allele_frequency\tp_value\trsid\tn\n"
)


def write(path: Path, rows: int) -> None:
    """A GWAS-SSF file: `CHROMOSOMES` times the same variants, a tenth of them indels."""
    rng = np.random.default_rng(1)
    count = rows // CHROMOSOMES
    position = 10_000 + 100 * np.arange(count)
    pairs = np.array([("A", "G"), ("C", "T"), ("G", "T"), ("AT", "A"), ("C", "CTTG")], dtype=object)
    pair = pairs[rng.choice(5, count, p=(0.35, 0.35, 0.2, 0.05, 0.05))]
    error = rng.uniform(0.002, 0.02, count).round(6)
    beta = (error * rng.standard_normal(count)).round(6)
    table = pd.DataFrame({"p": position, "e": pair[:, 0], "o": pair[:, 1], "b": beta, "s": error})
    table["f"] = rng.uniform(0.01, 0.99, count).round(5)
    table["v"] = [f"{value:.4e}" for value in 2 * ndtr(-np.abs(beta / error))]
    table["i"] = [f"rs{10_000_000 + value}" for value in range(count)]
    table["n"] = 400_000
    text = table.to_csv(sep="\t", index=False, header=False).encode()
    with gzip.open(path, "wb", compresslevel=6) as handle:
        handle.write(HEADER)
        for chromosome in range(1, CHROMOSOMES + 1):
            lead = f"{chromosome}\t".encode()
            handle.write(lead + text[:-1].replace(b"\n", b"\n" + lead) + b"\n")


def main() -> None:
    """Write the file unless it is there, and measure `store_gwas`, then a range read from what it stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path(".benchmarks"))
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    path = given.folder / f"gwas-{given.rows}.tsv.gz"
    if not path.is_file():
        # in a process of its own, so that its memory is not counted here
        multiprocessing.get_context("spawn").Pool(1).apply(write, (path, given.rows))
    from bayestwas.io.gwas import read_gwas, store_gwas
    from bayestwas.io.gwas_part import Asked

    out = path.with_suffix(".parquet")
    began, cpu = time.perf_counter(), time.process_time()
    store_gwas(path, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{given.rows:,} rows, {path.stat().st_size / 2**20:,.0f} MiB gzipped: read, checked and stored in")
    print(f"{time.perf_counter() - began:.1f} s ({time.process_time() - cpu:.1f} s CPU), peak {peak:.2f} GiB")
    block = pd.DataFrame({"chromosome": ["7"], "start": [1_000_000], "end": [3_000_000]})
    for source in (out, path):
        began = time.perf_counter()
        count = read_gwas(source, asked=Asked(blocks=block)).sizes["variant"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        seconds = time.perf_counter() - began
        print(f"{count:,} variants of 2 Mb from {source.suffix}: {seconds:.2f} s, peak {peak:.2f} GiB")
    began = time.perf_counter()
    count = read_gwas(out).sizes["variant"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count:,} variants to memory, .parquet: {time.perf_counter() - began:.1f} s, peak {peak:.2f} GiB")


if __name__ == "__main__":
    main()
