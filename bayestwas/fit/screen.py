"""Before a block is fitted: which z-scores do not belong to its LD or to their files, and can it be trusted?

Suspect variants are left out of the GWAS that they are suspect in. A block that is still suspicious is fitted
like the others, with what it teaches about the mismatch of its LD, and flagged; the PIPs of a fit with one
effect, which needs no LD, are reported beside (`pip_one_effect`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.results import blank_of_locus
from bayestwas.engine.diagnostics import DOUBTFUL, GOOD, SUSPICIOUS, Kriging, grade, krige
from bayestwas.fit.panels import gwas_arrays
from bayestwas.harmonise.inputs import check_inputs, minor_copies

GRADES = (GOOD, DOUBTFUL, SUSPICIOUS)
FLIP = "effect allele flipped: the z-score fits the variants around it with the other sign"
APART = "z-score does not fit the variants around it"
COMPARE = "compare its PIPs with pip_one_effect, which needs no LD"
COLUMNS = ("ancestry", "index", "variant", "z", "predicted", "t", "reason")


@dataclass(frozen=True)
class Screen:
    """What was found in one block. `suspects`: a row per variant and GWAS, with COLUMNS. `doubts`: what is
    wrong with whole columns, and part of `reason`."""

    grade: str
    reason: str
    suspects: pd.DataFrame
    doubts: str = ""


def screen(locus: xr.DataTree) -> Screen:
    """Compare the z-scores of every GWAS of a locus with its own columns and with one another."""
    ancestries, z, _, ld = gwas_arrays(locus)
    labels = locus.dataset[names.VARIANT].values.astype(str)
    parts, worst, told = [], GOOD, []
    doubts: list[str] = []
    for ancestry, mine, operator in zip(ancestries, z, ld, strict=True):
        inputs = check_inputs(locus, ancestry)
        fit = krige(np.where(inputs.reason == "", mine, np.nan), operator, minor_copies(locus, ancestry))
        reason = np.where(fit.suspect, np.where(fit.flip, FLIP, APART), inputs.reason)
        at = np.flatnonzero(reason != "")
        columns = (ancestry, at, labels[at], mine[at], fit.predicted[at], fit.t[at], reason[at])
        parts.append(pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))))
        doubts += inputs.doubts
        told += [*inputs.doubts, *filter(None, [inputs.people]), *_said(ancestry, fit, reason)]
        own = grade(int(np.isfinite(fit.t).sum()), int(fit.suspect.sum()), fit.ended)
        if own == GOOD and (inputs.doubts or inputs.people or len(at)):
            own = DOUBTFUL
        worst = max(worst, own, key=GRADES.index)
    suspects = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return Screen(worst, "; ".join(told), suspects, "; ".join(doubts))


def _said(ancestry: str, fit: Kriging, reason: np.ndarray) -> list[str]:
    """What was found in one GWAS, a phrase per reason."""
    told = [f"{ancestry}: {why} ({int((reason == why).sum())})" for why in dict.fromkeys(reason) if why]
    if fit.ended:
        told.append(f"{ancestry}: more variants do not fit than were left out")
    return told


@dataclass(frozen=True)
class Screened:
    """The source of a block without its suspect variants; see `fit.study.fit_study` for sources."""

    source: Callable[[], xr.DataTree]
    screen: Screen

    def __call__(self) -> xr.DataTree:
        return masked(self.source(), self.screen)

    def blank(self, status: str, reason: str, n_draws: int = 0) -> xr.DataTree:
        """The result of the block where nothing is fitted."""
        made: Callable[..., xr.DataTree] | None = getattr(self.source, "blank", None)
        if made is not None:
            return made(status, reason, n_draws)
        return blank_of_locus(self.source(), status=status, reason=reason, n_draws=n_draws)


def masked(locus: xr.DataTree, found: Screen) -> xr.DataTree:
    """The locus without its suspect z-scores; the locus itself where there are none."""
    if found.suspects.empty:
        return locus
    gwas = locus.children[names.GWAS].to_dataset(inherit=False).transpose(names.ANCESTRY, names.VARIANT, ...)
    row = gwas[names.ANCESTRY].to_index().get_indexer(pd.Index(found.suspects["ancestry"]))
    gone = np.zeros(gwas["z"].shape, dtype=bool)
    gone[row, found.suspects["index"].to_numpy(dtype=np.intp)] = True
    values: dict[str, Any] = {name: gwas[name].where(~gone) for name in ("z", "n")}
    out = locus.copy()
    out[names.GWAS] = xr.DataTree(gwas.assign(values))
    return out


def with_screen(result: xr.DataTree, found: Screen) -> xr.DataTree:
    """The result of a block, with what was found before it was fitted, its statuses adjusted."""
    blocks, constant = result[names.BLOCKS].dataset, result[names.CONSTANT].dataset
    blocks["reliability"].values[:] = found.grade
    blocks["reliability_reason"].values[:] = found.reason
    blocks["suspects"].values[:] = len(found.suspects)
    warnings = []  # of the block, of its genes
    if found.doubts:
        warnings.append((f"the GWAS is doubtful ({found.doubts})",) * 2)
    if found.grade == SUSPICIOUS:
        of_genes = f"LD of the block is suspicious: {COMPARE}"
        warnings.append((f"LD is suspicious ({found.reason}): {COMPARE}", of_genes))
    for of_block, of_genes in warnings:
        _warn(blocks["block_status"].values, blocks["block_reason"].values, of_block)
        _warn(constant["status"].values, constant["reason"].values, of_genes)
    table = found.suspects.assign(block=blocks[names.BLOCK].values[0])
    columns = {
        f"suspect_{name}": table[name] for name in ("variant", "block", "ancestry", "z", "predicted", "t")
    }
    values = {name: (names.SUSPECT, column.to_numpy()) for name, column in columns.items()}
    values["suspect_reason"] = (names.SUSPECT, table["reason"].to_numpy())
    text = {
        name: (dim, array.astype(object))
        for name, (dim, array) in values.items()
        if array.dtype.kind not in "f"
    }
    result[names.SUSPECTS] = xr.DataTree(xr.Dataset(values | text))
    return result


def _warn(status: np.ndarray, reason: np.ndarray, why: str) -> None:
    """Add `why` to whatever was fitted, in place."""
    for i in np.flatnonzero(np.isin(status, (names.OK, names.WARNING))):
        reason[i] = f"{reason[i]}; {why}" if status[i] == names.WARNING and reason[i] else why
        status[i] = names.WARNING
