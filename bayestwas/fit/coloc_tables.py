"""Colocalization of many traits and contexts from summary statistics alone: one signal each, no LD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from bayestwas.engine.coloc import COLOC_DEFAULT, ColocPriors
from bayestwas.errors import InputError
from bayestwas.fit.coloc import Colocalization, concluded
from bayestwas.fit.coloc_pairs import Pairs, Units, joined_pairs, signal_pairs
from bayestwas.fit.coloc_signals import ALL, Signals
from bayestwas.fit.coloc_summary import SummaryTrait, log_bayes_factors, once

GENE = "gene"
NOTHING_SHARED = "no usable variant in two of the tables"


def colocalize_tables(
    traits: Mapping[str, SummaryTrait],
    *,
    priors: str | ColocPriors = COLOC_DEFAULT,
    seed: int = 1,
    simulated: bool = False,
) -> Colocalization:
    """H0 to H4 of every two of the traits and contexts, and the clusters of all.

    Parameters
    ----------
    traits : by name. A table with a column gene is of expression, and every gene a locus of its own; others
        enter each of these. Without any such table all variants are one locus.
    priors : "learned" over all pairs, "coloc-default", or `ColocPriors`. seed : of the sampler.

    The result has the columns of colocalization with LD, `context` and `other` being the names of a pair, and
    one signal each. Several causal variants of one trait at a locus make H3 and H4 unreliable. Raises
    InputError for fewer than two tables, and as `colocalize_summaries`.
    """
    if len(traits) < 2:
        raise InputError(f"{len(traits)} tables", "Colocalization is of two or more", "Give another table")
    whole = {name: _factors(name, one) for name, one in traits.items() if GENE not in one.table}
    split = {
        name: {
            str(gene): _factors(f"{name}, {gene}", replace(one, table=table))
            for gene, table in one.table.groupby(GENE, sort=False)
        }
        for name, one in traits.items()
        if GENE in one.table
    }
    genes = dict.fromkeys(sorted({gene for held in split.values() for gene in held})) if split else {"": None}
    parts, skipped = [], []
    for gene in genes:
        own = {name: held[gene] for name, held in split.items() if gene in held}
        found = _locus(gene, {name: own[name] if name in own else whole[name] for name in traits
                              if name in own or name in whole}, set(own))  # fmt: skip
        parts.append(found)
        if not len(found.table):
            skipped.append((gene, NOTHING_SHARED, ""))
    joined = replace(joined_pairs(parts), skipped=pd.DataFrame(skipped, columns=["gene", "reason", "block"]))
    return concluded([joined], priors, seed, simulated)


def _factors(name: str, trait: SummaryTrait) -> pd.Series:
    """Log Bayes factors by variant, those that can be used."""
    table = once(trait.table, name)
    lbf = pd.Series(log_bayes_factors(replace(trait, table=table)), index=table["variant"].astype(str))
    lbf = lbf[~lbf.index.duplicated()]
    return lbf[np.isfinite(lbf)]


def _locus(gene: str, lbf: Mapping[str, pd.Series], own: set[str]) -> Pairs:
    """All pairs at one locus, and its units; the variants are those of its expression, where it has any."""
    base = [one for name, one in lbf.items() if name in own] or list(lbf.values())
    variants = np.unique(np.concatenate([one.index.to_numpy(dtype=str) for one in base]))
    held = {
        name: one.reindex(variants).fillna(-np.inf).to_numpy(dtype=np.float64) for name, one in lbf.items()
    }
    sides = {
        name: Signals(np.array([1]), row[None], np.isfinite(row)[None, None].astype(np.float64))
        for name, row in held.items()
        if np.isfinite(row).any()
    }
    parts = []
    for one, two in combinations(sides, 2):
        found = signal_pairs(sides[one], [one], sides[two], variants, None, None)
        if len(found.table):
            kinds = " x ".join("context" if name in own else "trait" for name in (one, two))
            table = found.table.assign(gene=gene, block="", other=two, ancestry=ALL, kind=kinds)
            parts.append(replace(found, table=table))
    rows = np.array([side.lbf[0] for side in sides.values()]) if sides else np.empty((0, len(variants)))
    kept = np.flatnonzero(np.isfinite(rows).all(axis=0))
    units = (Units(gene, "", tuple((name, 1) for name in sides), rows[:, kept], variants[kept]),)
    return replace(joined_pairs(parts), units=units if len(sides) > 2 and len(kept) else ())
