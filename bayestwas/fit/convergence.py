"""What the chains say of themselves: a table per variable, and a status with advice.

R-hat and effective sample sizes are those of ArviZ (rank-normalised, split chains; Vehtari et al. 2021,
doi:10.1214/20-BA1221).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names

# that paper has 1.01 for one quantity: the largest of hundreds is often above it by chance, where
# all have the effective draws asked for
LARGEST_RHAT = 1.03
HOPELESS_RHAT = 1.1  # chains this far apart have seen different posteriors
SMALLEST_ESS = 100.0  # per chain
DIVERGED = 0.1  # share of divergent draws beyond which the draws are not of the posterior
DEEP = 0.05  # share of draws that may stop at the largest tree depth

COLUMNS = ("rhat", "ess_bulk", "ess_tail")


def diagnose(tree: xr.DataTree) -> pd.DataFrame:
    """Diagnostics of every variable of `posterior`, the worst element of each; worst variables first.

    Columns: rhat, ess_bulk, ess_tail; element (where R-hat, or else the smaller ESS, is worst: `name` or
    `name[label, ...]`); nonfinite (number of draws). Elements that never change have no diagnostics and are
    left out of the worst; NaN where nothing is left. R-hat needs two chains, and all need four draws.
    """
    import arviz

    posterior = tree[names.POSTERIOR].to_dataset()
    values = {str(name): array for name, array in posterior.data_vars.items() if array.size}
    enough = posterior.sizes.get("draw", 0) >= 4
    found: dict[str, xr.Dataset] = {}
    if enough:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of elements that never change: 0 / 0
            with np.errstate(all="ignore"):
                if posterior.sizes["chain"] > 1:
                    found["rhat"] = arviz.rhat(posterior[list(values)])
                found["ess_bulk"] = arviz.ess(posterior[list(values)], method="bulk")
                found["ess_tail"] = arviz.ess(posterior[list(values)], method="tail")
    rows = {name: _worst(name, array, found) for name, array in values.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*COLUMNS, "element", "nonfinite"])
    table.index.name = "variable"
    return table.sort_values(["nonfinite", "rhat", "ess_bulk"], ascending=[False, False, True], kind="stable")


def judge(tree: xr.DataTree, max_depth: int = 10) -> tuple[str, str]:
    """Status (ok, warning or failed) and reason: what was found and where, the rule, what to do."""
    table = diagnose(tree)
    stats = tree["sample_stats"].to_dataset()
    chains, draws = int(stats.sizes["chain"]), int(stats.sizes["draw"])
    total = chains * draws
    divergent = int(stats["diverging"].sum())
    deep = float(stats["reached_max_treedepth"].mean()) if "reached_max_treedepth" in stats else 0.0
    failed: list[str] = []
    warned: list[str] = []
    broken = table[table["nonfinite"] > 0]
    if len(broken):
        failed.append(
            f"{int(broken['nonfinite'].iloc[0])} values of {broken.index[0]} are not finite (every "
            "draw must be): look for a log, root or division at the edge of what the data allow"
        )
    rhat = float(table["rhat"].max())
    if rhat > LARGEST_RHAT:
        where = table["element"].iloc[int(np.nanargmax(table["rhat"]))]
        (failed if rhat > HOPELESS_RHAT else warned).append(
            f"the chains disagree: R-hat {rhat:.3f} at {where} (largest allowed {LARGEST_RHAT}); "
            "double tune and draws, and where it stays look for several modes in the trace of each chain"
        )
    for kind in ("bulk", "tail"):
        column = table[f"ess_{kind}"]
        if column.min() < SMALLEST_ESS * chains:
            warned.append(
                f"few independent draws: {kind} ESS {column.min():.0f} of {total} at {column.idxmin()} "
                f"(smallest allowed {SMALLEST_ESS * chains:.0f}, {SMALLEST_ESS:.0f} per chain); raise draws"
            )
    if divergent:
        (failed if divergent > DIVERGED * total else warned).append(
            f"{divergent} of {total} draws diverged (none should): parts of the posterior may be missing; "
            "raise target_accept towards 0.99, or state the model with standardised variables"
        )
    if deep > DEEP:
        warned.append(
            f"{deep:.0%} of the draws stopped at the largest tree depth, {max_depth} (at most {DEEP:.0%} "
            "should): slow, strongly correlated directions; raise tune, or standardise the variables of "
            "the model"
        )
    if table[list(COLUMNS)].isna().all(axis=None) and len(table):
        warned.append(
            "no convergence diagnostics: they need two chains, four draws and variables that change; "
            "raise draws"
        )
    elif chains < 2:
        warned.append("one chain cannot be compared with another: R-hat needs two or more; raise chains")
    status = names.FAILED if failed else names.WARNING if warned else names.OK
    return status, "; ".join([*failed, *warned])


def _worst(name: str, array: xr.DataArray, found: dict[str, xr.Dataset]) -> list[Any]:
    """One row of `diagnose`."""
    values = array.transpose("chain", "draw", ...).values
    nonfinite = int((~np.isfinite(values)).sum())
    moves = np.asarray(values.max(axis=(0, 1)) > values.min(axis=(0, 1)))
    row: list[Any] = []
    place: tuple[int, ...] | None = None
    for column in COLUMNS:
        sign = 1.0 if column == "rhat" else -1.0
        scores = np.full(moves.shape, np.nan)
        if column in found:
            dims = [dim for dim in array.dims if dim not in ("chain", "draw")]
            scores = np.where(moves, found[column][name].transpose(*dims).values, np.nan)
        if np.isnan(scores).all():
            row.append(np.nan)
            continue
        where = tuple(map(int, np.unravel_index(int(np.nanargmax(sign * scores)), scores.shape)))
        row.append(float(scores[where]))
        place = where if place is None else place
    return [*row, name if place is None else _label(name, array, place), nonfinite]


def _label(name: str, array: xr.DataArray, place: tuple[Any, ...]) -> str:
    dims = [dim for dim in array.dims if dim not in ("chain", "draw")]
    if not dims:
        return name
    labels = [
        str(array[dim].values[i]) if dim in array.coords else str(i)
        for dim, i in zip(dims, place, strict=True)
    ]
    return f"{name}[{', '.join(labels)}]"
