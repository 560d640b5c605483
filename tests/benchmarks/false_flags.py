"""How often the diagnostics flag simulated blocks that are as they should be, and how often they find a flip.

    python tests/benchmarks/false_flags.py --preset demo --blocks 40 --seed 1

One flipped allele at a time: in every GWAS, one of the variants with |z| > 5 is chosen at random, its sign is
turned, and the diagnostics are run again.
"""

from __future__ import annotations

import argparse
import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd

from bayestwas.data import simulate
from bayestwas.engine.diagnostics import GOOD, krige
from bayestwas.fit.panels import gwas_arrays
from bayestwas.fit.screen import screen
from bayestwas.harmonise.inputs import minor_copies

STRONG = 5.0


def block_rows(block: simulate.SimulatedBlock) -> list[dict[str, object]]:
    locus = block.to_locus()
    graded = screen(locus)
    rows = []
    rng = np.random.default_rng(block.index)
    for ancestry, z, _, ld in zip(*gwas_arrays(locus), strict=True):
        copies = minor_copies(locus, ancestry)
        fit = krige(z, ld, copies)
        row: dict[str, object] = {
            "flagged": graded.grade != GOOD,
            "checked": int(np.isfinite(fit.t).sum()),
            "suspects": int(fit.suspect.sum()),
            "largest_t": float(np.nanmax(np.abs(fit.t), initial=0.0)),
        }
        strong = np.flatnonzero((np.abs(np.nan_to_num(z)) > STRONG) & np.isfinite(fit.t))
        if len(strong):
            turned = int(rng.choice(strong))
            wrong = krige(np.where(np.arange(len(z)) == turned, -z, z), ld, copies)
            row["found"] = bool(wrong.flip[turned])
            row["others"] = int(wrong.suspect.sum()) - int(wrong.suspect[turned])
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=simulate.PRESETS, default="demo")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    design = simulate.PRESETS[args.preset]
    rows = []
    for block in simulate.simulate_study(design, args.seed, args.blocks):
        rows += [row | {"block": block.name} for row in block_rows(block)]
    table = pd.DataFrame(rows)
    flagged = table.groupby("block")["flagged"].first()
    print(
        f"{args.preset}, seed {args.seed}: {int(flagged.sum())} of {len(flagged)} blocks flagged; "
        f"{table['suspects'].sum()} suspects of {table['checked'].sum()} variants, {len(table)} times; "
        f"largest |t| {table['largest_t'].max():.2f}; flips found {int(table['found'].sum())} of "
        f"{int(table['found'].notna().sum())}, {int(table['others'].sum())} others flagged beside them"
    )


if __name__ == "__main__":
    main()
