"""What a figure shows of one block, taken out of a result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.results import text
from bayestwas.errors import InputError
from bayestwas.report.tables import suspects_table


@dataclass(frozen=True)
class LocusView:
    """One block; positions in megabases. Ancestries without any z-score in the block are left out."""

    block: str
    chromosome: str
    bounds: tuple[float, float]  # of the block itself
    span: tuple[float, float]  # of the position axis: variants and genes, and some air
    status: str
    reason: str
    simulated: bool
    ancestries: np.ndarray
    n_ref: np.ndarray  # (ancestry,)
    variants: np.ndarray
    x: np.ndarray  # (variant,)
    z: np.ndarray  # (ancestry, variant)
    r2: np.ndarray  # (ancestry, variant)
    direct: np.ndarray  # (variant,)
    lead: int  # position along variant; -1 where no variant has a z-score
    genes: np.ndarray
    tss: np.ndarray  # (gene,)
    pip: np.ndarray
    mcse: np.ndarray
    plugin: np.ndarray
    gene_status: np.ndarray
    grade: str  # of the block's LD and GWAS, with the reason
    grade_reason: str
    suspects: np.ndarray  # (n, 3) position among `ancestries`, x and z of what was left out


def blocks_with_variants(result: xr.DataTree) -> list[str]:
    """Names of the blocks that a figure can show, in the order of dim block."""
    held = set(text(_dataset(result, names.CONSTANT)["variant_block"].values))
    return [block for block in text(_dataset(result, names.BLOCKS)[names.BLOCK].values) if block in held]


def view_locus(result: xr.DataTree, block: str) -> LocusView:
    """Take one block out of a result. Raises InputError for one that it does not hold or that has no
    variants."""
    known = blocks_with_variants(result)
    if block not in known:
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise InputError(
            f"There is no block '{block}' with variants", "A figure shows a block", f"Blocks: {shown}"
        )
    constant, marginals = _dataset(result, names.CONSTANT), _dataset(result, names.MARGINALS)
    observed = _dataset(result, names.OBSERVED)
    row = _dataset(result, names.BLOCKS).sel({names.BLOCK: block})
    variants = np.flatnonzero(text(constant["variant_block"].values) == block)
    genes = np.flatnonzero(text(constant["gene_block"].values) == block)
    genes = genes[np.isfinite(constant["tss"].values[genes].astype(float))]
    z = observed["z"].values[:, variants]
    r2 = constant["r2_lead"].values[:, variants]
    seen = np.isfinite(z).any(axis=1)
    x, tss = (constant[name].values[where] / 1e6 for name, where in (("position", variants), ("tss", genes)))
    start, end = (row[name].item() / 1e6 for name in ("block_start", "block_end"))
    edges = np.array([*x, *tss])
    bounds = (start, end) if np.isfinite([start, end]).all() else (float(x.min()), float(x.max()))
    low, high = float(np.nanmin(edges)), float(np.nanmax(edges))
    pad = 0.02 * (high - low) + 1e-4
    return LocusView(
        block=block,
        chromosome=str(row["block_chromosome"].item()),
        bounds=bounds,
        span=(low - pad, high + pad),
        status=str(row["block_status"].item()),
        reason=str(row["block_reason"].item()),
        simulated=bool(result.attrs["simulated"]),
        ancestries=text(observed[names.ANCESTRY].values)[seen],
        n_ref=row["n_ref"].values.astype(float)[seen],
        variants=text(constant[names.VARIANT].values[variants]),
        x=x,
        z=z[seen],
        r2=r2[seen],
        direct=marginals["pip_direct"].values[variants],
        lead=lead_variant(z, r2),
        genes=text(constant[names.GENE].values[genes]),
        tss=tss,
        pip=marginals["pip"].values[genes],
        mcse=marginals["pip_mcse"].values[genes],
        plugin=marginals["pip_plugin"].values[genes],
        gene_status=text(constant["status"].values[genes]),
        grade=str(row["reliability"].item()),
        grade_reason=str(row["reliability_reason"].item()),
        suspects=_suspects(result, block, text(observed[names.ANCESTRY].values)[seen], x, variants),
    )


def _suspects(
    result: xr.DataTree, block: str, ancestries: np.ndarray, x: np.ndarray, variants: np.ndarray
) -> np.ndarray:
    """(n, 3) position of the ancestry, x and z of the variants that were left out of a GWAS."""
    found = suspects_table(result)
    found = found[found["block"] == block]
    labels = text(_dataset(result, names.CONSTANT)[names.VARIANT].values[variants])
    row = pd.Index(ancestries).get_indexer(pd.Index(found["ancestry"]))
    at = pd.Index(labels).get_indexer(pd.Index(found["variant"]))
    held = (row >= 0) & (at >= 0)
    return np.column_stack([row[held], x[at[held]], found["z"].to_numpy(dtype=float)[held]])


def lead_variant(z: np.ndarray, r2: np.ndarray) -> int:
    """Position of the lead variant, to which `r2` refers, or -1 where there is no z-score.

    It is the variant with the highest |z| of those with r2 = 1 (perfect proxies of the lead have that too),
    and of all variants where r2 is not known. `z` and `r2` have shape (ancestry, variant).
    """
    strength = np.where(np.isfinite(z), np.abs(z), -1.0).max(axis=0, initial=-1.0)
    candidates = (np.nan_to_num(r2, nan=0.0) > 1 - 1e-6).any(axis=0)
    if candidates.any():
        strength = np.where(candidates, strength, -1.0)
    best = int(np.argmax(strength))
    return best if strength[best] >= 0 else -1


def _dataset(result: xr.DataTree, group: str) -> xr.Dataset:
    return result.children[group].to_dataset()
