"""Pairs of signals between any two of the contexts and traits of a locus, and the signals that may form
clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

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

Floats = NDArray[np.float64]
Wanted = tuple[tuple[str, str], ...]
Told = Mapping[tuple[str, str], Signals]  # by trait and ancestry
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
    kit = _Kit(block, variants, log_weight, near, None if main is None else main.first)
    used = {name for pair in wanted for name in pair}
    parts = _trait_pairs(traits, told, [pair for pair in wanted if pair[0] in traits], kit)
    genes = genes_with_signals(weights) if used - set(traits) else []
    units = [] if genes else _units("", None, told, used, kit)
    for gene in genes:
        own = gene_fit(locus, weights, gene)
        for pair in wanted:
            if pair[0] not in traits:
                parts += _own_pairs(gene, own, told, pair, pair[1] in traits, kit)
        units += _units(gene, own, told, used, kit)
    return replace(joined_pairs(parts), units=tuple(units))


class _Kit(NamedTuple):
    """What all pairs of a locus have in common; `share` of the variances of expression."""

    block: str
    variants: NDArray[np.str_]
    log_weight: Floats | None
    near: Near | None
    share: Floats | None


def _trait_pairs(
    traits: Mapping[str, TraitFit], told: Told, wanted: Sequence[tuple[str, str]], kit: _Kit
) -> list[Pairs]:
    """Two traits, without a gene."""
    parts = []
    for pair in wanted:
        for ancestry in _ancestries(traits[pair[0]].ancestries):
            one, two = (told.get((name, ancestry)) for name in pair)
            if one is not None and two is not None:
                found = signal_pairs(one, [pair[0]], two, kit.variants, kit.log_weight, kit.near)
                parts.append(_labelled(found, "", pair, ancestry, TRAIT_TRAIT, kit))
    return parts


def _own_pairs(
    gene: str, own: GeneFit, told: Told, pair: tuple[str, str], with_trait: bool, kit: _Kit
) -> list[Pairs]:
    """One context of a gene with a trait or with another context."""
    parts = []
    for ancestry in _ancestries(own.ancestries):
        side = own.in_context(pair[0], ancestry, kit.share)
        other = told.get((pair[1], ancestry)) if with_trait else own.in_context(pair[1], ancestry, kit.share)
        if side is None or other is None:
            continue
        if with_trait:
            found = gene_pairs(own, ancestry, other, kit.variants, kit.log_weight, kit.share, kit.near)
            parts.append(_labelled(_only(found, pair[0]), gene, pair, ancestry, f"context x {pair[1]}", kit))
        else:
            found = signal_pairs(side, [pair[0]], other, kit.variants, kit.log_weight, kit.near)
            parts.append(_labelled(found, gene, pair, ancestry, CONTEXT_CONTEXT, kit))
    return parts


def _labelled(found: Pairs, gene: str, pair: tuple[str, str], ancestry: str, kind: str, kit: _Kit) -> Pairs:
    if not len(found.table):
        return found
    table = found.table.assign(gene=gene, block=kit.block, other=pair[1], ancestry=ancestry, kind=kind)
    return replace(found, table=table.assign(learn=table["learn"] & (ancestry == ALL)))


def _ancestries(known: Sequence[str]) -> list[str]:
    return [ALL, *known] if len(known) > 1 else [ALL]


def _only(found: Pairs, context: str) -> Pairs:
    """The rows of one context."""
    rows = np.flatnonzero((found.table["context"] == context).to_numpy())
    sums = PairSums(found.sums.log_sum[rows], found.sums.log_mass[rows])
    table = found.table.iloc[rows].assign(learn=True).reset_index(drop=True)
    return replace(found, table=table, sums=sums, cluster=found.cluster[rows])


def _units(gene: str, own: GeneFit | None, told: Told, used: set[str], kit: _Kit) -> list[Units]:
    """The signals of a gene in every context, and of the traits, over the variants that all have."""
    sides = {name: told[name, ALL] for name in (TRAIT, *sorted(used)) if (name, ALL) in told}
    for context in own.contexts if own else ():
        found = own.in_context(context, ALL, kit.share) if own and context in used else None
        if found is not None:
            sides[context] = found
    labels = [(name, int(k)) for name, side in sides.items() for k in side.number]
    if len(sides) < 2:
        return []
    lbf = np.concatenate([side.lbf for side in sides.values()])
    kept = np.flatnonzero(np.isfinite(lbf).all(axis=0))
    if not len(kept):
        return []
    return [Units(gene, kit.block, tuple(labels), lbf[:, kept], kit.variants[kept])]
