"""Colocalization from summary statistics alone: one signal per trait, no LD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayestwas.engine.coloc import (
    CASE_CONTROL_SD,
    COLOC_DEFAULT,
    HYPOTHESES,
    QUANTITATIVE_SD,
    ColocPriors,
    approximate_bayes_factor,
    cluster_sums,
    effect_variance,
    hypotheses,
    locus_level,
    p12_at,
    pair_sums,
    shared_variant,
    trait_sd,
)
from bayestwas.errors import InputError, SettingsError

Floats = NDArray[np.float64]
LEVEL = 0.5  # of H4, for which p12_needed is told


@dataclass(frozen=True)
class SummaryTrait:
    """Summary statistics of one trait, or of many genes, and what kind of trait it is.

    Attributes
    ----------
    table : columns variant (the same identifiers in both traits, alleles oriented alike or not: signs do not
        matter), and beta and se, or z, n and maf. For a quantitative trait whose sd is not given beta and se
        need n and maf as well. Other columns are ignored.
    cases : share of cases among n people of a case-control trait (beta: log odds ratio); None: quantitative.
    sd : standard deviation of a quantitative trait in the units of beta; None: estimated from se, n and maf.
    """

    table: pd.DataFrame
    cases: float | None = None
    sd: float | None = None


def colocalize_summaries(
    first: SummaryTrait,
    second: SummaryTrait,
    *,
    by: str | None = None,
    priors: ColocPriors = COLOC_DEFAULT,
    level: float = LEVEL,
) -> pd.DataFrame:
    """H0 to H4 of one signal per trait, from summary statistics alone.

    Parameters
    ----------
    first, second : the traits. by : column of the first table, such as the gene: one row each; None: one row.
    priors : prior odds of one variant. level : of H4, for `p12_needed`.

    Returns
    -------
    One row per group: n_variants in common, h0 to h4, lcp, the most probable shared variant and its
    probability given H4, p12_needed (H4 is `level` there) and status and reason (skipped: no variant in
    common).

    Source: Giambartolomei et al. 2014 (doi:10.1371/journal.pgen.1004383), Wakefield 2009
    (doi:10.1002/gepi.20359). At most one causal variant per trait is assumed: several make H4 and H3
    unreliable. Raises InputError for missing columns and rows of one variant that disagree, SettingsError for
    a share of cases outside 0 to 1.
    """
    trait = once(second.table, "the second trait")
    groups = [("", first.table)] if by is None else list(_grouped(first.table, by))
    rows = [
        _one(str(name), SummaryTrait(once(table, str(name) or "the first trait"), first.cases, first.sd),
             SummaryTrait(trait, second.cases, second.sd), priors, level)
        for name, table in groups
    ]  # fmt: skip
    out = pd.DataFrame(rows)
    return out.drop(columns="group") if by is None else out.rename(columns={"group": by})


def _grouped(table: pd.DataFrame, by: str) -> Sequence[tuple[object, pd.DataFrame]]:
    _require(table, [by], "the first trait")
    return list(table.groupby(by, sort=True))


def _one(
    name: str, first: SummaryTrait, second: SummaryTrait, priors: ColocPriors, level: float
) -> dict[str, object]:
    common, left, right = np.intersect1d(
        first.table["variant"].astype(str), second.table["variant"].astype(str), return_indices=True
    )
    row: dict[str, object] = {"group": name, "n_variants": len(common)}
    pair = [
        log_bayes_factors(SummaryTrait(one.table.iloc[index], one.cases, one.sd))
        for one, index in ((first, left), (second, right))
    ]
    usable = np.isfinite(pair[0]) & np.isfinite(pair[1])
    row["n_variants"] = int(usable.sum())
    if not usable.any():
        nothing = {h.lower(): np.nan for h in HYPOTHESES}
        row |= nothing | {"lcp": np.nan, "variant": "", "scp_given_h4": np.nan, "p12_needed": np.nan}
        return row | {"status": "skipped", "reason": "no usable variant in common"}
    lbf1, lbf2 = (values[None, usable] for values in pair)
    sums = pair_sums(lbf1, lbf2)
    [posterior] = hypotheses(sums, priors)
    [lcp] = locus_level(sums, cluster_sums(lbf1, lbf2), priors)
    [given] = shared_variant(lbf1, lbf2)
    best = int(given.argmax())
    row |= {h.lower(): float(p) for h, p in zip(HYPOTHESES, posterior, strict=True)}
    row |= {"lcp": float(lcp), "variant": str(common[usable][best]), "scp_given_h4": float(given[best])}
    return row | {"p12_needed": float(p12_at(sums, priors, level)[0]), "status": "ok", "reason": ""}


def log_bayes_factors(trait: SummaryTrait) -> Floats:
    """(p,) log Bayes factors of the rows of a table; -inf where numbers are missing."""
    table, cases = trait.table, trait.cases
    if cases is not None and not 0 < cases < 1:
        raise SettingsError(
            f"cases = {cases}", "The share of cases lies between 0 and 1", "Give cases / (cases + controls)"
        )
    if {"beta", "se"} <= set(table):
        beta, variance = _numbers(table, "beta"), _numbers(table, "se") ** 2
        if cases is not None:
            return approximate_bayes_factor(beta, variance, CASE_CONTROL_SD)
        sd = trait.sd
        if sd is None:
            _require(table, ["n", "maf"], "a quantitative trait whose sd is not given")
            sd = trait_sd(variance, _numbers(table, "n"), _numbers(table, "maf"))
        return approximate_bayes_factor(beta, variance, QUANTITATIVE_SD * sd)
    _require(table, ["z", "n", "maf"], "a trait without beta and se")
    variance = effect_variance(_numbers(table, "n"), _numbers(table, "maf"), cases)
    beta = _numbers(table, "z") * np.sqrt(variance)
    return approximate_bayes_factor(beta, variance, QUANTITATIVE_SD if cases is None else CASE_CONTROL_SD)


def _numbers(table: pd.DataFrame, name: str) -> Floats:
    return pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)


def once(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """The table with one row per variant; rows that are repeated (under several rsIDs, say) must agree."""
    _require(table, ["variant"], what)
    known = [name for name in ("beta", "se", "z") if name in table]
    distinct = table.drop_duplicates(["variant", *known])
    twice = distinct["variant"].duplicated()
    if twice.any():
        raise InputError(
            f"{what}: variant {distinct.loc[twice, 'variant'].iloc[0]} has rows that disagree",
            "A variant has one estimate per trait and gene",
            "Write both alleles into the identifier, or give `by` where there are several genes",
        )
    return distinct


def _require(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(
            f"{what}: no column {', '.join(missing)}",
            "A table has variant, and beta and se, or z, n and maf; without sd also n and maf",
            "Rename or add the columns",
        )
