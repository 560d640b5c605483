"""Donors of expression panels who are in the GWAS: how much noise the two share, and z-scores without it.

Where the study says how many (`overlap` under [[expression]]), at most that much; where it does not, at most
what all donors would make. In a GWAS of hundreds of times the size of the panel that is too little to matter,
and nothing is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayestwas import names
from bayestwas.engine import gene_trait as engine
from bayestwas.engine.overlap import SHARES, Floats, Shared, posterior, shared_coordinates
from bayestwas.fit.panels import Panel, gwas_arrays, read_panels
from bayestwas.fit.settings import Settings

LEAST = 0.05  # largest correlation of noise below which nothing is done
SIGNAL = 5.0  # |z| above which a block says nothing about overlap: it is estimated where there are no effects

Overlap = Mapping[str, Floats]  # ancestry -> probability of each of SHARES


@dataclass(frozen=True)
class Told:
    """What was found of one ancestry: `most` the largest correlation of noise that is possible, `share` the
    posterior mean of the part of it that there is."""

    ancestry: str
    most: float
    share: float

    @property
    def sentence(self) -> str:
        """For the user."""
        return (
            f"{self.ancestry}: donors of expression panels can be in the GWAS; their noise is correlated by "
            f"up to {self.share * self.most:.2f} ({self.most:.2f} if all are, with the trait itself), and it "
            "is taken off the z-scores"
        )


def largest(locus: xr.DataTree) -> dict[str, dict[str, float]]:
    """ancestry -> context -> n_s / sqrt(n N), of the panels with a GWAS of their ancestry; only ancestries
    where it reaches LEAST in a context."""
    gwas = locus[names.GWAS].dataset
    people = {
        str(a): float(np.nanmedian(row)) if np.isfinite(row).any() else np.inf
        for a, row in zip(gwas[names.ANCESTRY].values, gwas["n"].values, strict=True)
    }
    out: dict[str, dict[str, float]] = {}
    if names.EXPRESSION not in locus.children:
        return out
    for context, group in locus[names.EXPRESSION].children.items():
        for ancestry, node in group.children.items():
            n = float(node.dataset.sizes[names.DONOR])
            shared = min(float(node.attrs.get("overlap", n)), n)
            if str(ancestry) in people:
                out.setdefault(str(ancestry), {})[str(context)] = shared / np.sqrt(n * people[str(ancestry)])
    return {ancestry: sizes for ancestry, sizes in out.items() if max(sizes.values()) >= LEAST}


def overlap_evidence(
    locus: xr.DataTree, weights: xr.DataTree, settings: Settings
) -> dict[str, tuple[float, Floats]]:
    """ancestry -> the largest correlation that is possible, and the log evidence of SHARES in one block, zero
    where the block has a signal."""
    sizes, out = largest(locus), {}
    z = locus[names.GWAS].dataset["z"]
    for ancestry, by_context in sizes.items():
        out[ancestry] = (max(by_context.values()), np.zeros(len(SHARES)))
    for ancestry, size, panel in _panels(locus, sizes, settings):
        mine = z.sel({names.ANCESTRY: ancestry}).values
        if np.nanmax(np.abs(mine), initial=0.0) <= SIGNAL:
            one, _ = _regression(panel, weights, mine, size)
            out[ancestry] = (out[ancestry][0], out[ancestry][1] + one.log_evidence())
    return out


def learned_overlap(parts: Sequence[Mapping[str, tuple[float, Floats]]]) -> tuple[Overlap, list[Told]]:
    """The probabilities of SHARES over all blocks, and what to tell."""
    total: dict[str, Floats] = {}
    most: dict[str, float] = {}
    for part in parts:
        for ancestry, (size, evidence) in part.items():
            total[ancestry] = total.get(ancestry, 0.0) + evidence
            most[ancestry] = max(most.get(ancestry, 0.0), size)
    found = {ancestry: posterior(evidence) for ancestry, evidence in total.items()}
    return found, [Told(a, most[a], float(p @ SHARES)) for a, p in found.items()]


def without_overlap(
    locus: xr.DataTree, weights: xr.DataTree, overlap: Overlap, settings: Settings
) -> xr.DataTree:
    """The locus with z-scores less the noise that they share with expression; the same where none is."""
    if not overlap:
        return locus
    sizes = {ancestry: one for ancestry, one in largest(locus).items() if ancestry in overlap}
    gwas = locus.children[names.GWAS].to_dataset(inherit=False)
    ancestries, z, n, ld = gwas_arrays(locus)
    fit = engine.fit_direct(z, n, ld, engine.DEFAULT_PRIORS, effects=settings.trait_effects)
    effects = fit.fitted.sum(axis=0)  # what variants explain is no noise
    z = z.copy()
    for ancestry, size, panel in _panels(locus, sizes, settings):
        # panels of one ancestry are mostly of the same donors: each sees what those before it leave
        a = ancestries.index(ancestry)
        one, noise = _regression(panel, weights, z[a] - effects[a], size)
        z[a] -= one.effects(overlap[ancestry]) @ noise
    out = locus.copy()
    out[names.GWAS] = xr.DataTree(gwas.assign(z=((names.ANCESTRY, names.VARIANT), z)))
    return out


def _panels(
    locus: xr.DataTree, sizes: Mapping[str, Mapping[str, float]], settings: Settings
) -> Iterator[tuple[str, float, Panel]]:
    """Ancestry, largest correlation and arrays of every panel that matters."""
    held = read_panels(locus, settings.min_allele_count) if sizes else {}
    for (context, ancestry), panel in held.items():
        size = sizes.get(ancestry, {}).get(context, 0.0)
        if size > 0 and isinstance(panel, Panel):
            yield ancestry, size, panel


def _regression(panel: Panel, weights: xr.DataTree, z: Floats, size: float) -> tuple[Shared, Floats]:
    """The regression of z (p,) on one panel, and (G, p) what each rho / c takes off it."""
    mean = weights[names.MARGINALS].dataset["weight_mean"]
    here = mean.sel({names.CONTEXT: panel.context, names.ANCESTRY: panel.ancestry})
    here = here.transpose(names.GENE, names.VARIANT)
    known = np.isfinite(here.values).all(axis=1) & np.isin(here[names.GENE].values, list(panel.genes))
    genes = [str(gene) for gene in here[names.GENE].values[known]]
    use = np.isfinite(z) & (panel.ld.variance > 0)
    factor = np.where(use, panel.ld.factor, 0.0)
    measured = panel.expression[[panel.genes[gene] for gene in genes]]
    people = measured.shape[1]
    residual = measured - np.sqrt(people) * here.values[known] @ panel.ld.factor.T
    spread = np.sqrt(np.square(residual).mean(axis=1, keepdims=True))
    residual = residual / np.where(spread > 0, spread, 1.0)
    a, b = shared_coordinates(factor, residual, np.where(use, z, 0.0))
    return Shared(a, size * b), size * residual @ factor
