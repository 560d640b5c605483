"""Colocalization from the same fit: pairs of signals, learned priors, signal, gene and locus level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.coloc import (
    HYPOTHESES,
    ColocPriors,
    PairSums,
    hypotheses,
    locus_level,
    matched,
    p12_at,
    reweighted,
    sensitivity_grid,
)
from bayestwas.engine.coloc_sizes import Sizes
from bayestwas.engine.credible import bayesian_fdr
from bayestwas.errors import InputError
from bayestwas.fit.coloc_between import Wanted, between_pairs, moved, variant_keys, wanted_pairs
from bayestwas.fit.coloc_clusters import cluster_table
from bayestwas.fit.coloc_pairs import TRAIT, Pairs, joined_pairs, locus_pairs, locus_sizes
from bayestwas.fit.coloc_priors import (
    LEARNED,
    PriorDraws,
    given_priors,
    joined_draws,
    learn_priors,
    learned_sizes,
    sizes_table,
)
from bayestwas.fit.coloc_signals import ALL, LocusSizes, TraitFit, fit_trait
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import fit_weights

Floats = NDArray[np.float64]
LEVEL = 0.5  # of H4, for p12_needed
SHOWN = 0.1  # a gene enters the sensitivity table where its GRCP is above this at the largest p12
PAIR = ["gene", "block", "context", "other"]


@dataclass(frozen=True)
class Colocalization:
    """What colocalization found, as tables; docs/formats.md says every column.

    Attributes
    ----------
    pairs : one row per gene, context, what it is paired with, ancestry and pair of signals (coloc.tsv).
    priors : p1, p2, p12, share and enrichment of every context, with 95% intervals where learned.
    sensitivity : GRCP of gene-contexts along p12 over four decades, all ancestries together.
    skipped : genes without a row, and why.
    simulated : whether the data are.
    clusters : signals of contexts and traits that share a variant, where more than the trait was asked for.
    """

    pairs: pd.DataFrame
    priors: pd.DataFrame
    sensitivity: pd.DataFrame
    skipped: pd.DataFrame
    simulated: bool
    clusters: pd.DataFrame


def colocalize(
    loci: xr.DataTree | Sequence[xr.DataTree],
    weights: xr.DataTree | Sequence[xr.DataTree] | None = None,
    *,
    between: str | Sequence[tuple[str, str]] | None = None,
    others: Mapping[str, Sequence[xr.DataTree]] | None = None,
    priors: str | ColocPriors = LEARNED,
    settings: Settings | None = None,
    seed: int = 1,
) -> Colocalization:
    """Does a gene, in a context, share a causal variant with the trait: every pair of signals of every locus;
    and any two contexts or traits with one another.

    Parameters
    ----------
    loci : one or more. weights : of each, from `fit_weights` (method "engine"); None: fitted here.
    between : what is paired beside every context and the trait: "all", or pairs of names of contexts and
        traits ("trait" is that of `loci`), also as clusters; None: all where there are `others`, else
        nothing.
    others : further traits by name, as loci of their own studies, in the same blocks.
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
    further = others or {}
    contexts = [str(name) for name in fitted[0][names.MARGINALS].dataset[names.CONTEXT].values]
    wanted = wanted_pairs(between, contexts, [*further])
    every_trait = [traits_here(locus, _same_block(locus, further), settings) for locus in every]
    held = list(zip(every, fitted, every_trait, strict=True))
    sizes: dict[str, Sizes] = {}
    if priors == LEARNED:
        sizes = sizes_of([trait_sizes(locus, own, traits) for locus, own, traits in held])
    parts = [all_pairs(locus, own, traits, wanted, sizes, settings) for locus, own, traits in held]
    return concluded(parts, priors, seed, bool(every[0].attrs["simulated"]), sizes=sizes.get(TRAIT))


def _same_block(locus: xr.DataTree, others: Mapping[str, Sequence[xr.DataTree]]) -> dict[str, xr.DataTree]:
    """The locus of every other trait in the block of `locus`."""
    block = str(locus.attrs["block"])
    found = {}
    for name, loci in others.items():
        mine = [one for one in loci if str(one.attrs["block"]) == block]
        if not mine:
            raise InputError(
                f"others['{name}'] has no locus of the block {block}",
                "Traits are compared block by block",
                "Give both studies the same blocks, and the loci of all of them",
            )
        found[name] = mine[0]
    return found


def traits_here(
    locus: xr.DataTree, others: Mapping[str, xr.DataTree], settings: Settings | None
) -> dict[str, TraitFit]:
    """The trait of a locus and those of other studies, fine-mapped, over the variants of the locus."""
    trait = fit_trait(locus, settings)
    here = variant_keys(locus[names.VARIANT])
    return {TRAIT: trait} | {
        name: moved(fit_trait(other, settings), variant_keys(other[names.VARIANT]), here, trait.near)
        for name, other in others.items()
    }


def trait_sizes(
    locus: xr.DataTree, weights: xr.DataTree, traits: Mapping[str, TraitFit]
) -> dict[str, LocusSizes]:
    """What the pairs of genes with every trait say about the sizes of effects."""
    return {name: locus_sizes(locus, weights, trait) for name, trait in traits.items()}


def sizes_of(parts: Sequence[Mapping[str, LocusSizes]]) -> dict[str, Sizes]:
    """Sizes of effects learned with every trait, where there is a pair."""
    traits = dict.fromkeys(name for part in parts for name in part)
    found = {name: learned_sizes([part[name] for part in parts if name in part]) for name in traits}
    return {name: sizes for name, sizes in found.items() if sizes is not None}


def all_pairs(
    locus: xr.DataTree,
    weights: xr.DataTree,
    traits: Mapping[str, TraitFit],
    wanted: Wanted,
    sizes: Mapping[str, Sizes],
    settings: Settings | None = None,
) -> Pairs:
    """Every context with the trait of the study, and the `wanted` pairs."""
    main = locus_pairs(locus, weights, settings, traits[TRAIT], sizes.get(TRAIT))
    return joined_pairs([main, between_pairs(locus, weights, traits, wanted, sizes)])


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
        kinds = sorted(set(pairs.table.loc[pairs.table["learn"].astype(bool), "kind"]))
        steps = (_learned(pairs, kind, seed) for kind in kinds)
        told_steps = watch("Learning priors of colocalization", steps, len(kinds)) if watch else steps
        used = joined_draws(list(told_steps))
    else:
        used = given_priors("coloc-default" if priors == LEARNED else priors)
    told_priors = (
        used.table if sizes is None else pd.concat([used.table, sizes_table(sizes)], ignore_index=True)
    )
    clusters = cluster_table(pairs.units, used.overall())
    return Colocalization(
        pair_table(pairs, used), told_priors, sensitivity(pairs, used), pairs.skipped, simulated, clusters
    )


def _learned(pairs: Pairs, kind: str, seed: int) -> PriorDraws:
    """The priors of one kind of pairs."""
    rows = np.flatnonzero((pairs.table["learn"].astype(bool) & (pairs.table["kind"] == kind)).to_numpy())
    held = zip(pairs.table["context"].iloc[rows], pairs.table["other"].iloc[rows], strict=True)
    return learn_priors(_taken(pairs.sums, rows), [prior_label(*names_here) for names_here in held], seed)


def pair_table(pairs: Pairs, priors: PriorDraws) -> pd.DataFrame:
    """The rows of `pairs` with their probabilities, averaged over the draws of the priors."""
    table = pairs.table.drop(columns=["learn", "kind", "acts_shared", "acts"]).copy()
    n = len(table)
    posterior, lcp, needed = np.zeros((n, 5)), np.zeros(n), np.zeros(n)
    rcp, grcp, glcp = np.zeros((3, n))
    if n:
        for index in _groups(pairs.table, ["context", "other"]):
            label = prior_label(*pairs.table.iloc[index[0]][["context", "other"]])
            sums = _taken(pairs.sums, index)
            draws, typical = priors.of(label), priors.typical(label)
            acts, shared = (
                pairs.table[name].to_numpy(dtype=float)[index] for name in ("acts", "acts_shared")
            )
            posterior[index] = in_context(hypotheses(sums, draws).mean(axis=0), acts, shared)
            within = locus_level(sums, pairs.cluster[index], draws) - hypotheses(sums, draws)[..., 4]
            lcp[index] = posterior[index, 4] + within.mean(axis=0) * acts
            needed[index] = _needed(sums, typical, shared)
        for index in _groups(table, [*PAIR, "ancestry"]):
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


def with_pips(sensitivity: pd.DataFrame, pips: Mapping[str, float]) -> pd.DataFrame:
    """The table of `sensitivity` with the PIP of the gene along the same factors on its own prior odds, and
    `pip_holds`; NaN for genes without a PIP, and for pairs without the trait of the study.

    p12 is p1 times the chance that a variant of expression acts on the trait; where the gene acts on the
    trait all of them do, so that the prior odds of the gene go with p12. Other genes and variants keep
    theirs.
    """
    own = (sensitivity["other"] == TRAIT).to_numpy()
    pip = np.array([pips.get(str(gene), np.nan) for gene in sensitivity["gene"]], dtype=np.float64)
    along = np.where(own, reweighted(pip, sensitivity["factor"].to_numpy(dtype=float)), np.nan)
    holds = (along >= LEVEL) == (pip >= LEVEL)
    return sensitivity.assign(pip=along, pip_holds=holds & np.isfinite(along))


def prior_label(context: str, other: str) -> str:
    """What the priors of a pair go by: its context, and what it is paired with unless that is the trait of
    the study."""
    return context if other == TRAIT else f"{context} x {other}"


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
    """(n,) Bayesian FDR of calling every gene-context with a GRCP as high, within its ancestry and what it is
    paired with."""
    out = np.zeros(len(table))
    for index in _groups(table, ["ancestry", "other"]):
        keys = pd.MultiIndex.from_frame(table.iloc[index][PAIR])
        code, _ = pd.factorize(keys)
        first = np.unique(code, return_index=True)[1]
        out[index] = bayesian_fdr(table["grcp"].to_numpy()[index][first])[code]
    return out


def sensitivity(pairs: Pairs, priors: PriorDraws) -> pd.DataFrame:
    """GRCP along p12 over four decades, p1 and p2 at their typical values: gene, block, context, other, p12,
    factor (p12 over that of the result), grcp, used, holds.

    `used`: whether the p12 of the row is the nearest to that of the result. `holds`: whether GRCP is on the
    same side of one half there.
    """
    parts = []
    whole = pairs.table[pairs.table["ancestry"] == ALL]
    for index in _groups(whole, PAIR):
        at = whole.index.to_numpy()[index]
        names_here = whole[PAIR].iloc[index[0]].to_dict()
        typical = priors.typical(prior_label(names_here["context"], names_here["other"]))
        grid = sensitivity_grid(typical)
        used = int(np.abs(np.log(grid / typical.p12)).argmin())
        along = hypotheses(_taken(pairs.sums, at), ColocPriors(typical.p1, typical.p2, grid[:, None]))[..., 4]
        along = along * pairs.table["acts_shared"].to_numpy(dtype=float)[at]
        shape = _shape(pairs.table, at)
        if matched(along[-1].reshape(shape))[1] <= SHOWN:
            continue
        values = np.array([matched(row.reshape(shape))[1] for row in along])
        holds = (values >= LEVEL) == (values[used] >= LEVEL)
        part = pd.DataFrame({"p12": grid, "factor": grid / grid[used], "grcp": values})
        part["used"] = np.arange(len(grid)) == used
        parts.append(part.assign(holds=holds, **names_here)[[*PAIR, *part.columns, "holds"]])
    columns = [*PAIR, "p12", "factor", "grcp", "used", "holds"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
