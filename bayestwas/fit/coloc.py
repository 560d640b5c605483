"""Colocalization from the same fit: pairs of signals, learned priors, signal, gene and locus level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayestwas.engine.coloc import (
    HYPOTHESES,
    ColocPriors,
    PairSums,
    hypotheses,
    locus_level,
    matched,
    p12_at,
    sensitivity_grid,
)
from bayestwas.engine.coloc_sizes import Sizes
from bayestwas.engine.credible import bayesian_fdr
from bayestwas.errors import InputError
from bayestwas.fit.coloc_pairs import Pairs, joined_pairs, locus_pairs, locus_sizes
from bayestwas.fit.coloc_priors import (
    LEARNED,
    PriorDraws,
    given_priors,
    learn_priors,
    learned_sizes,
    sizes_table,
)
from bayestwas.fit.coloc_signals import ALL, fit_trait
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import fit_weights

Floats = NDArray[np.float64]
LEVEL = 0.5  # of H4, for p12_needed
SHOWN = 0.1  # a gene enters the sensitivity table where its GRCP is above this at the largest p12
GROUP = ["gene", "context", "ancestry"]


@dataclass(frozen=True)
class Colocalization:
    """What colocalization found, as tables; docs/formats.md says every column.

    Attributes
    ----------
    pairs : one row per gene, context, ancestry and pair of signals (coloc.tsv).
    priors : p1, p2, p12, share and enrichment of every context, with 95% intervals where learned.
    sensitivity : GRCP of gene-contexts along p12 over four decades, all ancestries together.
    skipped : genes without a row, and why.
    simulated : whether the data are.
    """

    pairs: pd.DataFrame
    priors: pd.DataFrame
    sensitivity: pd.DataFrame
    skipped: pd.DataFrame
    simulated: bool


def colocalize(
    loci: xr.DataTree | Sequence[xr.DataTree],
    weights: xr.DataTree | Sequence[xr.DataTree] | None = None,
    *,
    priors: str | ColocPriors = LEARNED,
    settings: Settings | None = None,
    seed: int = 1,
) -> Colocalization:
    """Does a gene, in a context, share a causal variant with the trait: every pair of signals of every locus.

    Parameters
    ----------
    loci : one or more. weights : of each, from `fit_weights` (method "engine"); None: fitted here.
    priors : "learned" over the pairs given (first the shares of the sizes of effects, then p1, p2 and p12 per
        context with their uncertainty, which the probabilities are averaged over), "coloc-default" (1e-4,
        1e-4, 1e-5), or `ColocPriors`.
    seed : of the sampler of learned priors.

    A shared variant is a reason to look closer, not proof that the gene acts on the trait: the variant may
    act on both by separate ways, or through another gene that shares it.

    Raises InputError where weights and loci do not go together, SettingsError for unknown priors.
    """
    every = [loci] if isinstance(loci, xr.DataTree) else list(loci)
    if weights is None:
        fitted = [fit_weights(locus, settings=settings) for locus in every]
    else:
        fitted = [weights] if isinstance(weights, xr.DataTree) else list(weights)
    blocks = [(str(a.attrs["block"]), str(b.attrs.get("block"))) for a, b in zip(every, fitted, strict=False)]
    if len(every) != len(fitted) or not every or any(a != b for a, b in blocks):
        raise InputError(
            f"{len(every)} loci and the weights of {len(fitted)}",
            "Every locus has its own weights, in the same order",
            "Give the weights that fit_weights made of these loci",
        )
    pairs = list(zip(every, fitted, [fit_trait(locus, settings) for locus in every], strict=True))
    sizes = None
    if priors == LEARNED:
        sizes = learned_sizes([locus_sizes(locus, own, trait) for locus, own, trait in pairs])
    parts = [locus_pairs(locus, own, settings, trait, sizes) for locus, own, trait in pairs]
    return concluded(parts, priors, seed, bool(every[0].attrs["simulated"]), sizes=sizes)


def concluded(
    parts: Sequence[Pairs],
    priors: str | ColocPriors,
    seed: int,
    simulated: bool,
    watch: Callable[[str, Iterable[Any], int], Iterable[Any]] | None = None,
    sizes: Sizes | None = None,
) -> Colocalization:
    """Priors, then probabilities, of the pairs of all loci, which were made with `sizes`."""
    pairs = joined_pairs(parts)
    if priors == LEARNED and pairs.table["learn"].any():
        rows = pairs.table["learn"].to_numpy(dtype=bool)
        told = PairSums(pairs.sums.log_sum[rows], pairs.sums.log_mass[rows])
        steps = (learn_priors(told, pairs.table.loc[rows, "context"].tolist(), seed) for _ in range(1))
        [used] = watch("Learning priors of colocalization", steps, 1) if watch else steps
    else:
        used = given_priors("coloc-default" if priors == LEARNED else priors)
    told_priors = (
        used.table if sizes is None else pd.concat([used.table, sizes_table(sizes)], ignore_index=True)
    )
    return Colocalization(
        pair_table(pairs, used), told_priors, sensitivity(pairs, used), pairs.skipped, simulated
    )


def pair_table(pairs: Pairs, priors: PriorDraws) -> pd.DataFrame:
    """The rows of `pairs` with their probabilities, averaged over the draws of the priors."""
    table = pairs.table.drop(columns=["learn", "acts_shared", "acts"]).copy()
    n = len(table)
    posterior, lcp, needed = np.zeros((n, 5)), np.zeros(n), np.zeros(n)
    rcp, grcp, glcp = np.zeros((3, n))
    if n:
        for index in _groups(pairs.table, ["context"]):
            context = str(pairs.table["context"].iloc[index[0]])
            sums = _taken(pairs.sums, index)
            draws, typical = priors.of(context), priors.typical(context)
            acts, shared = (
                pairs.table[name].to_numpy(dtype=float)[index] for name in ("acts", "acts_shared")
            )
            posterior[index] = in_context(hypotheses(sums, draws).mean(axis=0), acts, shared)
            within = locus_level(sums, pairs.cluster[index], draws) - hypotheses(sums, draws)[..., 4]
            lcp[index] = posterior[index, 4] + within.mean(axis=0) * acts
            needed[index] = _needed(sums, typical, shared)
        for index in _groups(table, GROUP):
            shape = _shape(table, index)
            found, grcp[index] = matched(posterior[index, 4].reshape(shape))
            rcp[index] = found.ravel()
            glcp[index] = matched(np.minimum(lcp[index], 1.0).reshape(shape))[1]
    for h, name in enumerate(HYPOTHESES):
        table[name.lower()] = posterior[:, h]
    table = table.assign(rcp=rcp, lcp=lcp, grcp=grcp, glcp=glcp, p12_needed=needed)
    table["scp"] = rcp * table.pop("scp_given_h4").to_numpy(dtype=float)
    table["bayesian_fdr"] = _gene_fdr(table)
    return table


def _groups(table: pd.DataFrame, keys: list[str]) -> list[NDArray[np.intp]]:
    """Positions of the rows of every group."""
    if not len(table):
        return []
    return [np.asarray(index, dtype=np.intp) for index in table.groupby(keys).indices.values()]


def _taken(sums: PairSums, index: NDArray[np.intp]) -> PairSums:
    return PairSums(sums.log_sum[index], sums.log_mass[index])


def _shape(table: pd.DataFrame, index: NDArray[np.intp]) -> tuple[int, int]:
    """Signals of the gene x signals of the trait: the rows of one gene-context and ancestry are all pairs."""
    first = table["signal"].to_numpy()[index]
    return len(np.unique(first)), len(index) // len(np.unique(first))


def in_context(posterior: Floats, acts: Floats, shared: Floats) -> Floats:
    """(n, 5) hypotheses of one context, from those of the effect in any: where it acts elsewhere only, there
    is no effect on expression here, and H1 counts as H0, H3 and H4 as H2.

    Parameters
    ----------
    posterior : (n, 5). acts, shared : (n,) probability that the effect acts in the context, and given that
        its variant is the shared one.
    """
    h0, h1, h2, h3, h4 = posterior.T
    acts, shared = np.clip(acts, 0.0, 1.0), np.clip(shared, 0.0, 1.0)
    not_here = h3 * (1 - acts) + h4 * (1 - shared)
    return np.stack([h0 + h1 * (1 - acts), h1 * acts, h2 + not_here, h3 * acts, h4 * shared], axis=1)


def _needed(sums: PairSums, priors: ColocPriors, shared: Floats) -> Floats:
    """(n,) p12 at which H4 in the context is LEVEL; infinite where it acts there less often than that."""
    out = np.full(len(shared), np.inf)
    for level in np.unique(np.round(shared, 3)):  # the level of H4 itself depends on `shared`
        rows = np.flatnonzero(np.round(shared, 3) == level)
        if level > LEVEL:
            out[rows] = p12_at(_taken(sums, rows), priors, LEVEL / level)
    return out


def _gene_fdr(table: pd.DataFrame) -> Floats:
    """(n,) Bayesian FDR of calling every gene-context with a GRCP as high, within its ancestry."""
    out = np.zeros(len(table))
    for index in _groups(table, ["ancestry"]):
        keys = pd.MultiIndex.from_frame(table.iloc[index][["gene", "context"]])
        code, _ = pd.factorize(keys)
        first = np.unique(code, return_index=True)[1]
        out[index] = bayesian_fdr(table["grcp"].to_numpy()[index][first])[code]
    return out


def sensitivity(pairs: Pairs, priors: PriorDraws) -> pd.DataFrame:
    """GRCP along p12 over four decades, p1 and p2 at their typical values: gene, context, p12, grcp, used.

    `used`: whether the p12 of the row is the nearest to that of the result.
    """
    rows = []
    whole = pairs.table[pairs.table["ancestry"] == ALL]
    for index in _groups(whole, ["gene", "context"]):
        at = whole.index.to_numpy()[index]
        gene, context = (str(whole[name].iloc[index[0]]) for name in ("gene", "context"))
        typical = priors.typical(context)
        grid = sensitivity_grid(typical)
        used = int(np.abs(np.log(grid / typical.p12)).argmin())
        along = hypotheses(_taken(pairs.sums, at), ColocPriors(typical.p1, typical.p2, grid[:, None]))[..., 4]
        along = along * pairs.table["acts_shared"].to_numpy(dtype=float)[at]
        shape = _shape(pairs.table, at)
        if matched(along[-1].reshape(shape))[1] <= SHOWN:
            continue
        values = [matched(row.reshape(shape))[1] for row in along]
        rows.append(pd.DataFrame({"gene": gene, "context": context, "p12": grid, "grcp": values,
                                  "used": np.arange(len(grid)) == used}))  # fmt: skip
    columns = ["gene", "context", "p12", "grcp", "used"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)
