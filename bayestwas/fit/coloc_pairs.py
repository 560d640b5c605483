"""Pairs of signals of one locus: every gene-context against the trait, all ancestries together and each
alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.coloc import PairSums, shared_variant
from bayestwas.engine.coloc_near import Near, near_pair_sums
from bayestwas.engine.coloc_sizes import Sizes, joined, no_pairs, shared_sums, size_sums
from bayestwas.errors import InputError
from bayestwas.fit.coloc_signals import (
    ALL,
    GeneFit,
    GenePairs,
    LocusSizes,
    Shares,
    Signals,
    TraitFit,
    fit_trait,
    gene_fit,
)
from bayestwas.fit.settings import Settings
from bayestwas.fit.weight_annotations import enrichment
from bayestwas.fit.weight_priors import stored_priors

Floats = NDArray[np.float64]
FINISHED = "finished weights only: their signals are not known"
TRAIT = "trait"  # of the study
CONTEXT_TRAIT = "context x trait"
NO_VARIANT = "no variant that both the panels and the GWAS can use"


@dataclass(frozen=True)
class Pairs:
    """n rows: one per gene, context, ancestry and pair of signals. The same pair has one row per context.

    Attributes
    ----------
    table : gene, block, context, other (what the context is paired with: TRAIT, another context, another
        trait), ancestry, signal, trait_signal (of the other), lead, trait_lead, shared_variant,
        scp_given_h4, n_variants, learn (whether this row stands for its pair where priors are learned), kind
        (priors are learned apart for each), and acts_shared, acts: probability that the expression effect
        acts in the context, given H4, or not.
    sums, cluster : of the pair; see `engine.coloc`.
    skipped : gene, block, reason of genes without any row.
    units : signals of every gene that may form clusters.
    """

    table: pd.DataFrame
    sums: PairSums
    cluster: Floats
    skipped: pd.DataFrame
    units: tuple[Units, ...] = ()


class Units(NamedTuple):
    """Signals at one locus: `lbf` (T, m) of every one over the variants that all have, their names
    (context or trait, number), and the variants."""

    gene: str
    block: str
    names: tuple[tuple[str, int], ...]
    lbf: Floats
    variants: NDArray[np.str_]


def locus_pairs(
    locus: xr.DataTree,
    weights: xr.DataTree,
    settings: Settings | None = None,
    trait: TraitFit | None = None,
    sizes: Sizes | None = None,
) -> Pairs:
    """The pairs of one locus, from the posterior of its weights and of its trait.

    `sizes`: shares of the variances of effects and weight on distinct variants in LD; None: those of the
    fits, and none. Raises InputError for weights that a
    sampler left: their single effects are not known.
    """
    _check(weights)
    trait = trait or fit_trait(locus, settings)
    log_weight = enrichment(locus, stored_priors(weights))
    ancestries = [ALL, *trait.ancestries] if len(trait.ancestries) > 1 else [ALL]
    first, second = (None, None) if sizes is None else (sizes.first, sizes.second)
    near = None if sizes is None else Near(trait.near, sizes.near)
    told = {ancestry: trait.signals(ancestry, second) for ancestry in ancestries}
    variants = np.asarray(locus[names.VARIANT]).astype(str)
    fitted = genes_with_signals(weights)
    everyone = [str(gene) for gene in weights[names.MARGINALS].dataset[names.GENE].values]
    parts: list[Pairs] = []
    skipped = _without_weights(locus, everyone)
    skipped += [(gene, FINISHED) for gene in everyone if gene not in set(fitted)]
    for gene in fitted:
        own = gene_fit(locus, weights, gene)
        mine = [
            gene_pairs(own, ancestry, told[ancestry], variants, log_weight, first, near)
            for ancestry in ancestries
            if _measured(own, ancestry)
        ]
        mine = [one for one in mine if len(one.table)]
        for one in mine:
            one.table.insert(0, "gene", gene)
        parts += mine
        if not mine:
            skipped.append((gene, NO_VARIANT))
    block = str(locus.attrs["block"])
    joined = joined_pairs(parts)
    joined.table.insert(1, "block", block)
    missing = pd.DataFrame(skipped, columns=["gene", "reason"]).assign(block=block)
    return Pairs(joined.table, joined.sums, joined.cluster, missing)


def coloc_sizes(locus: xr.DataTree, weights: xr.DataTree, settings: Settings) -> LocusSizes | None:
    """`locus_sizes` where there is something to pair: None for weights of a sampler or of others alone,
    without a GWAS, and where LD is known within models only."""
    known = "score" in weights[names.CONSTANT].dataset and genes_with_signals(weights)
    if not known or not locus[names.GWAS].sizes[names.ANCESTRY] or locus.attrs.get("gene_level", False):
        return None
    return locus_sizes(locus, weights, fit_trait(locus, settings))


def locus_sizes(locus: xr.DataTree, weights: xr.DataTree, trait: TraitFit) -> LocusSizes:
    """What the pairs of signals of one locus, all ancestries together, say about the sizes of effects."""
    _check(weights)
    log_weight = enrichment(locus, stored_priors(weights))
    second = trait.by_size()
    parts, genes, shares = [], [], Shares((), np.empty(0))
    for gene in genes_with_signals(weights):
        own = gene_fit(locus, weights, gene)
        if not _measured(own, ALL):
            continue
        every = own.by_size()
        first = every[0]
        index = np.flatnonzero(np.isfinite(first).any(axis=(0, 1)) & np.isfinite(second).any(axis=(0, 1)))
        if not len(index):
            continue
        shares = own.source.shares()
        weight = None if log_weight is None else log_weight[index]
        left, right = _every(first.shape[1], second.shape[1])
        other = second[:, right][:, :, index]
        near = trait.near[np.ix_(index, index)]
        parts.append(size_sums(first[:, left][:, :, index], other, weight, near))
        shared = [shared_sums(one[:, left][:, :, index], other, weight) for one in every[1:]]
        measured = own.measured.any(axis=1)
        genes.append(
            GenePairs(
                gene,
                tuple(np.array(own.contexts)[measured].tolist()),
                (first.shape[1], second.shape[1]),
                np.array(shared)[measured],
            )
        )
    sums = joined(parts) if parts else no_pairs(len(shares.variances), len(second))
    return LocusSizes(sums, shares, trait.source.shares(), tuple(genes))


def _every(first: int, second: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the signals of all pairs, those of the second running fastest."""
    left, right = np.meshgrid(np.arange(first), np.arange(second), indexing="ij")
    return left.ravel(), right.ravel()


def _check(weights: xr.DataTree) -> None:
    if "score" not in weights[names.CONSTANT].dataset:
        raise InputError(
            "weights of method='pymc'",
            "Colocalization needs the single effects of the engine",
            "Give fit_weights(locus), with method='engine'",
        )


def genes_with_signals(weights: xr.DataTree) -> list[str]:
    """Genes that were fitted; those that have finished weights only were not."""
    window = weights[names.CONSTANT].dataset["window"]
    fitted = window.transpose(names.GENE, ...).values.any(axis=1)
    return [str(gene) for gene in weights[names.MARGINALS].dataset[names.GENE].values[fitted]]


def _without_weights(locus: xr.DataTree, fitted: Sequence[str]) -> list[tuple[str, str]]:
    genes = locus[names.GENES].to_dataset()
    rows = zip(map(str, np.asarray(genes[names.GENE])), map(str, np.asarray(genes["reason"])), strict=True)
    return [(gene, reason or "no expression weights") for gene, reason in rows if gene not in set(fitted)]


def _measured(own: GeneFit, ancestry: str) -> bool:
    chosen = [ancestry in (ALL, name) for name in own.ancestries]
    return bool(own.measured[:, chosen].any())


def gene_pairs(
    own: GeneFit,
    ancestry: str,
    trait: Signals,
    variants: NDArray[np.str_],
    log_weight: Floats | None,
    share: Floats | None = None,
    near: Near | None = None,
    other: str = TRAIT,
) -> Pairs:
    """The pairs of one gene with a trait; no rows where they have no variant in common."""
    signals = own.signals(ancestry, share)
    found = signal_pairs(signals, own.contexts, trait, variants, log_weight, near)
    found.table["ancestry"], found.table["other"], found.table["kind"] = ancestry, other, CONTEXT_TRAIT
    found.table["learn"] &= ancestry == ALL
    return found


def signal_pairs(
    one: Signals,
    contexts: Sequence[str],
    two: Signals,
    variants: NDArray[np.str_],
    log_weight: Floats | None,
    near: Near | None,
) -> Pairs:
    """All pairs of signals of two sides, a row for each of the `contexts` that those of the first may act in;
    without ancestry, other and kind. No rows where they have no variant in common."""
    index = np.flatnonzero(np.isfinite(one.lbf[0]) & np.isfinite(two.lbf[0]))
    if len(index) == 0:
        return nothing()
    first = Signals(one.number, one.lbf[:, index], one.acts[:, :, index])
    second = Signals(two.number, two.lbf[:, index], two.acts[:, :, index])
    weight = None if log_weight is None else log_weight[index]
    measured = [c for c in range(len(contexts)) if first.acts[c].any()]
    left, right = _every(len(first.lbf), len(second.lbf))
    lbf1, lbf2 = first.lbf[left], second.lbf[right]
    close = None if near is None else Near(near.variants[np.ix_(index, index)], near.log_weight)
    sums, cluster = near_pair_sums(lbf1, lbf2, weight, close)
    given = shared_variant(lbf1, lbf2, weight)
    alone = shared_variant(first.lbf, np.zeros((1, len(index))), weight)  # the expression effect by itself
    apart = shared_variant(second.lbf, np.zeros((1, len(index))), weight)
    names_here, best = variants[index], given.argmax(axis=1)
    acts = np.einsum("clj,lj->cl", first.acts, alone)
    foremost = np.array(measured)[acts[measured].argmax(axis=0)]
    tables = []
    for c in measured:
        tables.append(
            pd.DataFrame(
                {
                    "context": contexts[c],
                    "signal": first.number[left],
                    "trait_signal": second.number[right],
                    "lead": names_here[alone.argmax(axis=1)][left],
                    "trait_lead": names_here[apart.argmax(axis=1)][right],
                    "shared_variant": names_here[best],
                    "scp_given_h4": given[np.arange(len(given)), best],
                    "n_variants": len(index),
                    "learn": foremost[left] == c,
                    "acts_shared": np.einsum("nj,nj->n", first.acts[c][left], given),
                    "acts": acts[c][left],
                }
            )
        )
    times = len(tables)
    tiled = PairSums(np.tile(sums.log_sum, (times, 1)), np.tile(sums.log_mass, (times, 1)))
    return Pairs(pd.concat(tables, ignore_index=True), tiled, np.tile(cluster, times), pd.DataFrame())


def nothing() -> Pairs:
    columns = ["gene", "block", "context", "other", "kind", "ancestry", "signal", "trait_signal", "lead",
               "trait_lead", "shared_variant", "scp_given_h4", "n_variants", "learn", "acts_shared",
               "acts"]  # fmt: skip
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    none = PairSums(np.zeros((0, 5)), np.zeros((0, 5)))
    return Pairs(empty.drop(columns=["gene", "block"]), none, np.zeros(0), pd.DataFrame())


def joined_pairs(parts: Sequence[Pairs]) -> Pairs:
    """The rows of all parts, in order."""
    filled = [part for part in parts if len(part.table)]
    units = tuple(one for part in parts for one in part.units)
    told = [part.skipped for part in parts if len(part.skipped)]
    skipped = (
        pd.concat(told, ignore_index=True) if told else pd.DataFrame(columns=["gene", "reason", "block"])
    )
    if not filled:
        empty = nothing()
        named = empty.table.assign(gene=pd.Series(dtype=object))
        return Pairs(named, empty.sums, empty.cluster, skipped, units)
    return Pairs(
        pd.concat([part.table for part in filled], ignore_index=True),
        PairSums(
            np.concatenate([part.sums.log_sum for part in filled]),
            np.concatenate([part.sums.log_mass for part in filled]),
        ),
        np.concatenate([part.cluster for part in filled]),
        skipped,
        units,
    )
