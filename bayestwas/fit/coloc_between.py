"""Pairs of signals between any two of the contexts and traits of a locus, and the signals that may form
clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.coloc import PairSums
from bayestwas.engine.coloc_near import Near
from bayestwas.engine.coloc_sizes import Sizes
from bayestwas.errors import SettingsError, nearest
from bayestwas.fit.coloc_pairs import (
    TRAIT,
    Pairs,
    Units,
    gene_pairs,
    genes_with_signals,
    joined_pairs,
    signal_pairs,
)
from bayestwas.fit.coloc_signals import ALL, GeneFit, Signals, TraitFit, gene_fit
from bayestwas.fit.weight_annotations import enrichment
from bayestwas.fit.weight_priors import stored_priors

Wanted = tuple[tuple[str, str], ...]
EVERY = "all"
CONTEXT_CONTEXT, TRAIT_TRAIT = "context x context", "trait x trait"


def wanted_pairs(
    between: str | Sequence[tuple[str, str]] | None, contexts: Sequence[str], others: Sequence[str]
) -> Wanted:
    """Pairs of names beside contexts x the trait, each once, contexts first.

    `between`: None: all if there are `others`, else none; "trait": none; "all"; or pairs. Raises
    SettingsError for unknown names and for traits that are called like a context.
    """
    known = [*contexts, TRAIT, *others]
    if len(set(known)) < len(known):
        raise SettingsError(
            f"contexts {', '.join(contexts)} and traits {', '.join([TRAIT, *others])}",
            "Contexts and traits have different names; that of the study is called trait",
            "Call the other trait something else",
        )
    asked: Iterable[tuple[str, str]]
    if between is None:
        between = EVERY if others else TRAIT
    if isinstance(between, str):
        if between not in (EVERY, TRAIT):
            raise SettingsError(
                f"between='{between}'",
                "Pairs are all, trait, or pairs of names",
                nearest(between, (EVERY, TRAIT)),
            )
        asked = combinations(known, 2) if between == EVERY else ()
    else:
        asked = [tuple(sorted(pair, key=lambda name: _place(name, known))) for pair in between]  # type: ignore[misc]
    return tuple(dict.fromkeys(pair for pair in asked if not (pair[0] in contexts and pair[1] == TRAIT)))


def _place(name: str, known: Sequence[str]) -> int:
    if name not in known:
        raise SettingsError(
            f"'{name}' in a pair to colocalize", f"Names are {', '.join(known)}", nearest(name, known)
        )
    return known.index(name)


def variant_keys(variants: Any) -> NDArray[np.str_]:
    """Identifiers chromosome:position:other:effect as some that do not depend on the effect allele."""
    out = []
    for variant in np.asarray(variants).astype(str):
        chromosome, position, *alleles = variant.split(":")
        out.append(":".join([chromosome, position, *sorted(alleles)]))
    return np.array(out)


def moved(
    other: TraitFit, its: NDArray[np.str_], here: NDArray[np.str_], near: NDArray[np.bool_]
) -> TraitFit:
    """The fit of a trait of another study over the variants of this locus (keys of both)."""
    at = {key: i for i, key in enumerate(its.tolist())}
    return replace(other, place=np.array([at.get(key, -1) for key in here.tolist()]), near=near)


def between_pairs(
    locus: xr.DataTree,
    weights: xr.DataTree,
    traits: Mapping[str, TraitFit],
    wanted: Wanted,
    sizes: Mapping[str, Sizes] | None = None,
) -> Pairs:
    """The `wanted` pairs of one locus, and its signals as units of clusters.

    `traits`: that of the study under TRAIT, and others over the same variants. `sizes`: learned with each
    trait; None: those of the fits.
    """
    if not wanted:
        return joined_pairs([])
    block, main = str(locus.attrs["block"]), None if sizes is None else sizes.get(TRAIT)
    variants = np.asarray(locus[names.VARIANT]).astype(str)
    log_weight = enrichment(locus, stored_priors(weights))
    near = None if main is None else Near(traits[TRAIT].near, main.near)
    shares = {name: None if sizes is None or name not in sizes else sizes[name].second for name in traits}
    told = {
        (name, ancestry): fit.signals(ancestry, shares[name])
        for name, fit in traits.items()
        for ancestry in _ancestries(fit.ancestries)
    }
    parts = []

    def take(found: Pairs, gene: str, pair: tuple[str, str], ancestry: str, kind: str) -> None:
        if len(found.table):
            table = found.table.assign(gene=gene, block=block, other=pair[1], ancestry=ancestry, kind=kind)
            parts.append(replace(found, table=table.assign(learn=table["learn"] & (ancestry == ALL))))

    for pair in wanted:
        if pair[0] in traits:
            for ancestry in _ancestries(traits[pair[0]].ancestries):
                sides = [told.get((name, ancestry)) for name in pair]
                if sides[0] is not None and sides[1] is not None:
                    found = signal_pairs(sides[0], [pair[0]], sides[1], variants, log_weight, near)
                    take(found, "", pair, ancestry, TRAIT_TRAIT)
    units, used = [], {name for pair in wanted for name in pair}
    first = None if main is None else main.first
    genes = genes_with_signals(weights) if used - set(traits) else []
    for gene in genes:
        own = gene_fit(locus, weights, gene)
        for pair in wanted:
            for ancestry in _ancestries(own.ancestries):
                side = None if pair[0] in traits else own.in_context(pair[0], ancestry, first)
                if side is None:
                    continue
                if pair[1] in traits:
                    if (pair[1], ancestry) in told:
                        found = gene_pairs(
                            own, ancestry, told[pair[1], ancestry], variants, log_weight, first, near
                        )
                        take(_only(found, pair[0]), gene, pair, ancestry, f"context x {pair[1]}")
                else:
                    second = own.in_context(pair[1], ancestry, first)
                    if second is not None:
                        found = signal_pairs(side, [pair[0]], second, variants, log_weight, near)
                        take(found, gene, pair, ancestry, CONTEXT_CONTEXT)
        units += _units(gene, block, own, told, used, first, variants)
    if not genes:
        units += _units("", block, None, told, used, first, variants)
    return replace(joined_pairs(parts), units=tuple(units))


def _ancestries(known: Sequence[str]) -> list[str]:
    return [ALL, *known] if len(known) > 1 else [ALL]


def _only(found: Pairs, context: str) -> Pairs:
    """The rows of one context."""
    rows = np.flatnonzero((found.table["context"] == context).to_numpy())
    sums = PairSums(found.sums.log_sum[rows], found.sums.log_mass[rows])
    table = found.table.iloc[rows].assign(learn=True).reset_index(drop=True)
    return replace(found, table=table, sums=sums, cluster=found.cluster[rows])


def _units(
    gene: str,
    block: str,
    own: GeneFit | None,
    told: Mapping[tuple[str, str], Signals],
    used: set[str],
    share: NDArray[np.float64] | None,
    variants: NDArray[np.str_],
) -> list[Units]:
    """The signals of a gene in every context, and of the traits, over the variants that all have."""
    sides = {name: told[name, ALL] for name in (TRAIT, *sorted(used)) if (name, ALL) in told}
    for context in own.contexts if own else ():
        found = own.in_context(context, ALL, share) if own and context in used else None
        if found is not None:
            sides[context] = found
    labels = [(name, int(k)) for name, side in sides.items() for k in side.number]
    if len(sides) < 2:
        return []
    lbf = np.concatenate([side.lbf for side in sides.values()])
    kept = np.flatnonzero(np.isfinite(lbf).all(axis=0))
    return [Units(gene, block, tuple(labels), lbf[:, kept], variants[kept])] if len(kept) else []
