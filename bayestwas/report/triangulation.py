"""Columns of genes.tsv that put the evidence on a gene side by side, and one label that says how it agrees.

Gene PIP, TWAS z, colocalization and direct effects come from the same GWAS: they are compared here, and never
multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import chi2

from bayestwas import names
from bayestwas.data.results import text
from bayestwas.engine.classical import benjamini_hochberg, bonferroni, q_values, two_sided_p
from bayestwas.engine.credible import bayesian_fdr

PROBABLE = 0.5  # from here on a PIP or a GRCP says yes
SIGNIFICANT = 0.05  # of the Bonferroni-corrected TWAS p
DIFFERENT = 0.01  # p of Cochran's Q under which signals disagree
SURE = 0.9  # posterior probability of a sign that is called

# label, what it means, when it holds: the first that holds is the label (docs/triangulation.md)
Row = Mapping[str, Any] | pd.Series
RULES: tuple[tuple[str, str, Callable[[Row], bool]], ...] = (
    ("not fitted", "the gene has no PIP", lambda row: np.isnan(row["pip"])),
    (
        "conflicting",
        "probable, but signals or ancestries disagree on the effect",
        lambda row: (
            row["pip"] >= PROBABLE and (row["heterogeneity_p"] < DIFFERENT or _opposed(row["direction"]))
        ),
    ),
    (
        "concordant",
        "probable, and a signal shares its variant with the trait",
        lambda row: row["pip"] >= PROBABLE and row["grcp"] >= PROBABLE,
    ),
    (
        "gene only",
        "probable, and no signal is likely to share its variant with the trait",
        lambda row: row["pip"] >= PROBABLE and row["grcp"] < PROBABLE,
    ),
    (
        "gene, colocalization unknown",
        "probable; signals of expression are not known",
        lambda row: row["pip"] >= PROBABLE,
    ),
    (
        "shared variant only",
        "not probable, though a signal shares its variant: another gene or the variant itself explains it",
        lambda row: row["grcp"] >= PROBABLE,
    ),
    (
        "association only",
        "the TWAS z is significant, and nothing else points to the gene",
        lambda row: row["twas_bonferroni"] <= SIGNIFICANT,
    ),
    ("none", "nothing points to the gene", lambda row: True),
)


def triangulated(table: pd.DataFrame, result: xr.DataTree) -> pd.DataFrame:
    """genes.tsv with its columns of triangulation; `table` has the others, one row per gene of the result."""
    observed = {
        name: result[names.OBSERVED].dataset[name].values
        for name in ("conditional_z", "conditional_z_lead", "permutation_p", "n_signals", "heterogeneity_q")
    }
    count = observed["n_signals"]
    twas_p = two_sided_p(table["twas_z"].to_numpy(dtype=float))
    direct = _direct(result)
    after_z = {
        "twas_p": twas_p,
        "twas_bonferroni": bonferroni(twas_p),
        "twas_bh": benjamini_hochberg(twas_p),
        "twas_q": q_values(twas_p),
        "conditional_z": observed["conditional_z"],
        "conditional_z_lead": observed["conditional_z_lead"],
        "permutation_p": observed["permutation_p"],
        "n_signals": pd.array(count, dtype="Int64"),
        "heterogeneity_p": chi2.sf(observed["heterogeneity_q"], np.where(count > 1, count - 1, np.nan)),
        **{name: _best(result, name) for name in ("h4", "grcp")},
        "direct_variant": direct[0],
        "direct_pip": direct[1],
        "direction": directions(result),
    }
    out = _inserted(table, "twas_z", after_z)
    out = _inserted(out, "pip_mcse", {"bayesian_fdr": _rate(table["pip"].to_numpy(dtype=float))})
    labels = [agreement(row) for _, row in out.iterrows()]
    return _inserted(out, "direction", {"agreement": labels})


def agreement(row: Row) -> str:
    """The label of one gene, from pip, grcp, twas_bonferroni, heterogeneity_p (NaN where not known) and
    direction."""
    return next(label for label, _, holds in RULES if holds(row))


def directions(result: xr.DataTree) -> list[str]:
    """Of every gene, ANCESTRY=+, - or ? for the effect in its best context; empty where it was not fitted."""
    marginals = result[names.MARGINALS].dataset
    probability = marginals["sign_probability"].transpose(names.GENE, names.CONTEXT, names.ANCESTRY).values
    contexts = [str(c) for c in marginals[names.CONTEXT].values]
    ancestries = text(marginals[names.ANCESTRY].values)
    told = []
    for row, best in zip(probability, text(marginals["best_context"].values), strict=True):
        known = row[contexts.index(best)] if best in contexts else np.full(len(ancestries), np.nan)
        told.append(",".join(f"{a}={_sign(p)}" for a, p in zip(ancestries, known, strict=True) if p == p))
    return told


def _best(result: xr.DataTree, name: str) -> np.ndarray:
    """A variable by gene and context, in the best context of every gene."""
    marginals = result[names.MARGINALS].dataset
    values = marginals[name].transpose(names.GENE, names.CONTEXT).values
    contexts = [str(c) for c in marginals[names.CONTEXT].values]
    best = text(marginals["best_context"].values)
    return np.array(
        [row[contexts.index(c)] if c in contexts else np.nan for row, c in zip(values, best, strict=True)]
    )


def _sign(probability: float) -> str:
    return "+" if probability >= SURE else "-" if probability <= 1 - SURE else "?"


def _opposed(direction: str) -> bool:
    return "=+" in direction and "=-" in direction


def _rate(pip: np.ndarray) -> np.ndarray:
    """Bayesian FDR of the genes that were fitted."""
    rate, fitted = np.full(len(pip), np.nan), np.isfinite(pip)
    rate[fitted] = bayesian_fdr(pip[fitted])
    return rate


def _direct(result: xr.DataTree) -> tuple[list[str], np.ndarray]:
    """The variant of the gene's block with the most probable direct effect, and its PIP."""
    pip = result[names.MARGINALS].dataset["pip_direct"].values
    constant = result[names.CONSTANT].dataset
    block = text(constant["variant_block"].values)
    known = np.flatnonzero(np.isfinite(pip))
    order = known[np.argsort(-pip[known], kind="stable")]
    first = dict(zip(block[order][::-1], order[::-1], strict=True))
    at = [first.get(own, -1) for own in text(constant["gene_block"].values)]
    variants = text(constant[names.VARIANT].values)
    fitted = np.isfinite(result[names.MARGINALS].dataset["pip"].values)
    shown = [i if ok else -1 for i, ok in zip(at, fitted, strict=True)]
    return (
        [str(variants[i]) if i >= 0 else "" for i in shown],
        np.array([pip[i] if i >= 0 else np.nan for i in shown], dtype=float),
    )


def _inserted(table: pd.DataFrame, after: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table with columns after one of its own, in order."""
    place = list(table.columns).index(after) + 1
    order = [*table.columns[:place], *columns, *table.columns[place:]]
    return table.assign(**columns)[order]
