"""MA-FOCUS (pyfocus 0.802) on plain arrays: its own functions, called in its own environment (`peers.py`).

What pyfocus does by default and this keeps: a region runs if a GWAS variant of some population has p <
5e-8; the correlation gets a ridge of 0.1; the prior probability of a gene is 1 / genes of the region; up to
3 causal genes; the prior variance is the region's own chi-square over the number of causal genes; no
intercept; a gene whose weights are all zero in a population leaves the region. Sample sizes do not enter.
What it cannot keep: pyfocus would impute z of variants that the GWAS lacks; here such variants carry no
weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import peers
from scipy.stats import norm

P_THRESHOLD = 5e-8
RIDGE = 0.1
MAX_GENES = 3


@dataclass(frozen=True)
class Region:
    """One region, per population: weights (p_i, G) of standardised genotypes, LD (p_i, p_i), z (p_i,)."""

    weights: Sequence[np.ndarray]
    ld: Sequence[np.ndarray]
    z: Sequence[np.ndarray]


@dataclass(frozen=True)
class FocusResult:
    """G genes, NaN where a gene (or the whole region) did not enter.

    `pip` joint over populations, `pip_by_population` and `twas_z` (populations, G), `status` "ok" or why not.
    """

    pip: np.ndarray
    pip_by_population: np.ndarray
    twas_z: np.ndarray
    status: str


def significant(region: Region) -> bool:
    strongest = max(np.nanmax(np.abs(z), initial=0.0) for z in region.z)
    return bool(2 * norm.sf(strongest) < P_THRESHOLD)


def _payload(region: Region) -> dict[str, object]:
    arrays: dict[str, object] = {
        "n_pop": len(region.z),
        "prior_prob": 1 / region.weights[0].shape[1],
        "max_genes": MAX_GENES,
        "ridge": RIDGE,
    }
    for i, (weights, ld, z) in enumerate(zip(region.weights, region.ld, region.z, strict=True)):
        usable = np.isfinite(z) & (np.nan_to_num(np.diag(ld)) > 0) & (weights != 0).any(axis=1)
        arrays |= {
            f"weights_{i}": weights[usable],
            f"ld_{i}": ld[np.ix_(usable, usable)],
            f"z_{i}": z[usable],
        }
    return arrays


def focus_pips(regions: Sequence[Region]) -> list[FocusResult]:
    """Gene PIPs of every region, in order."""
    runs = [significant(region) for region in regions]
    answers = peers.call(
        "focus_worker.py", (_payload(r) for r, run in zip(regions, runs, strict=True) if run)
    )
    results = []
    for region, run in zip(regions, runs, strict=True):
        if run:
            out = next(answers)
            status = "ok" if out["kept"].any() else "no gene has weights in every population"
            results.append(FocusResult(out["pips_me"], out["pips"], out["twas_z"], status))
        else:
            missing = np.full((len(region.z), region.weights[0].shape[1]), np.nan)
            results.append(
                FocusResult(missing[0], missing, missing, f"no GWAS p-value under {P_THRESHOLD:g}")
            )
    answers.close()
    return results
