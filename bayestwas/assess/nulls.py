"""Studies without gene effects, made from a study: expression permuted among donors, or z-scores drawn from
the LD. Whatever a run calls in them is false."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import chi2

from bayestwas import names
from bayestwas.data.results import blank_of_locus
from bayestwas.engine.credible import bayesian_fdr
from bayestwas.engine.ld import LD, FactorLD
from bayestwas.fit.panels import gwas_arrays

Kind = Literal["permutation", "parametric"]
KINDS: tuple[str, ...] = get_args(Kind)
PIPS = (0.5, 0.8, 0.9, 0.95)  # thresholds that are counted
RATES = (0.05, 0.1)  # of Bayesian false discovery


@dataclass(frozen=True)
class NullSource:
    """The source of a block as one replicate of a null has it: a function of seed, replicate and block."""

    source: Callable[[], xr.DataTree]
    kind: str
    seed: int
    replicate: int

    def __call__(self) -> xr.DataTree:
        locus = self.source()
        block = zlib.crc32(str(locus.attrs["block"]).encode())
        rng = np.random.default_rng([self.seed, self.replicate, block])
        return permuted(locus, rng) if self.kind == "permutation" else drawn(locus, rng)

    def blank(self, status: str, reason: str, n_draws: int = 0) -> xr.DataTree:
        """The result of the block where nothing is fitted."""
        made: Callable[..., xr.DataTree] | None = getattr(self.source, "blank", None)
        if made is not None:
            return made(status, reason, n_draws)
        return blank_of_locus(self.source(), status=status, reason=reason, n_draws=n_draws)


def permuted(locus: xr.DataTree, rng: np.random.Generator) -> xr.DataTree:
    """The genotypes of the donors exchanged, so that expression (of all genes and contexts, with its
    covariates) belongs to other people. Donors are exchanged with those of the same panels, so that a person
    keeps one genotype in all of them."""
    out = locus.copy()
    if names.EXPRESSION not in locus.children:
        return out
    panels: dict[str, dict[str, xr.Dataset]] = {}
    for context, group in locus[names.EXPRESSION].children.items():
        for ancestry, node in group.children.items():
            panels.setdefault(str(ancestry), {})[str(context)] = node.to_dataset(inherit=False)
    for ancestry, by_context in panels.items():
        partner = _partners({c: data[names.DONOR].values.astype(str) for c, data in by_context.items()}, rng)
        for context, data in by_context.items():
            donors = data[names.DONOR].to_index().astype(str)
            taken = donors.get_indexer(pd.Index([partner[donor] for donor in donors]))
            dosage = data["dosage"].transpose(names.VARIANT, names.DONOR)
            changed = data.assign(dosage=(dosage.dims, dosage.values[:, taken]))
            out[f"{names.EXPRESSION}/{context}/{ancestry}"] = xr.DataTree(changed)
    return out


def _partners(donors: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, str]:
    """Donor -> the donor whose genotypes it is given, of the same set of contexts."""
    held: dict[str, list[str]] = {}
    for context, people in donors.items():
        for donor in people:
            held.setdefault(str(donor), []).append(context)
    alike: dict[tuple[str, ...], list[str]] = {}
    for donor, contexts in held.items():
        alike.setdefault(tuple(contexts), []).append(donor)
    partner: dict[str, str] = {}
    for same in alike.values():
        partner |= dict(zip(same, map(str, rng.permutation(same)), strict=True))
    return partner


def drawn(locus: xr.DataTree, rng: np.random.Generator) -> xr.DataTree:
    """z ~ Normal(0, R) in every GWAS, R the LD reference: no gene and no variant has an effect. A z-score
    that is absent stays so."""
    ancestries, z, _, ld = gwas_arrays(locus)
    new = np.array([
        np.where(np.isfinite(row), _noise(locus[f"{names.LD}/{ancestry}"].dataset, one, rng), np.nan)
        for ancestry, row, one in zip(ancestries, z, ld, strict=True)
    ]).reshape(z.shape)  # fmt: skip
    gwas = locus.children[names.GWAS].to_dataset(inherit=False)
    out = locus.copy()
    out[names.GWAS] = xr.DataTree(gwas.assign(z=((names.ANCESTRY, names.VARIANT), new)))
    return out


def _noise(reference: xr.Dataset, ld: LD, rng: np.random.Generator) -> np.ndarray:
    """(p,) of covariance R; standard normal where the reference lacks the variant."""
    if "panel" in reference.coords and isinstance(ld, FactorLD):
        noise = ld.factor.T @ rng.standard_normal(len(ld.factor))
        return np.where(ld.variance > 0, noise, rng.standard_normal(len(noise)))
    if "correlation" in reference:
        matrix = np.array(reference["correlation"].values, dtype=np.float64)
        there = np.flatnonzero(np.diag(matrix) > 0)
        value, vector = np.linalg.eigh(matrix[np.ix_(there, there)])
        out = rng.standard_normal(len(matrix))
        out[there] = vector @ (np.sqrt(np.maximum(value, 0.0)) * rng.standard_normal(len(there)))
        return out
    dosage = reference["dosage"].transpose(names.VARIANT, ...).values
    seen = dosage >= 0
    mean = np.where(seen, dosage, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    x = np.where(seen, dosage - mean[:, None], 0.0)
    norm = np.sqrt((x**2).sum(axis=1))
    noise = x @ rng.standard_normal(x.shape[1]) / np.where(norm > 0, norm, 1.0)
    return np.where(norm > 0, noise, rng.standard_normal(len(norm)))


# ---- what is counted ------------------------------------------------------------------------------------


def thresholds_table(observed: np.ndarray, nulls: list[np.ndarray]) -> pd.DataFrame:
    """A row per threshold: how many genes pass it in the study, and in each replicate of the null.

    `observed`, and each of `nulls`: PIPs of the genes that were fitted. Columns: threshold, genes (that pass
    in the study), null_mean, null_most (largest of the replicates), empirical_fdr (null_mean / genes, at most
    1), empirical_fdr_high (with the upper 95% limit of a Poisson mean in place of null_mean), bayesian_fdr
    (mean of 1 - PIP of those that pass). Rates are NaN where nothing passes.
    """
    rows = []
    for label, passing in _thresholds():
        mine = observed[passing(observed)]
        counts = np.array([int(passing(null).sum()) for null in nulls])
        share = len(mine) or np.nan
        mean, high = counts.mean(), _poisson_high(int(counts.sum())) / len(counts)
        rate = float(np.mean(1 - mine)) if len(mine) else np.nan
        rows.append((label, len(mine), mean, counts.max(), min(mean / share, 1.0) if len(mine) else np.nan,
                     min(high / share, 1.0) if len(mine) else np.nan, rate))  # fmt: skip
    columns = ("threshold", "genes", "null_mean", "null_most", "empirical_fdr", "empirical_fdr_high")
    return pd.DataFrame(rows, columns=[*columns, "bayesian_fdr"])


def _thresholds() -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    by_pip = [(f"PIP >= {pip:g}", lambda values, pip=pip: values >= pip) for pip in PIPS]
    by_rate = [
        (f"Bayesian FDR <= {rate:g}", lambda values, rate=rate: bayesian_fdr(values) <= rate)
        for rate in RATES
    ]
    return [*by_pip, *by_rate]


def _poisson_high(count: int) -> float:
    """Upper limit of the two-sided 95% interval of a Poisson mean (Garwood 1936,
    doi:10.1093/biomet/28.3-4.437)."""
    return float(chi2.ppf(0.975, 2 * (count + 1)) / 2)


def genes_table(observed: pd.DataFrame, nulls: list[np.ndarray]) -> pd.DataFrame:
    """gene, pip, bayesian_fdr and empirical_fdr of every fitted gene, by PIP: the mean number of null genes
    of at least its PIP over the number of genes of at least its PIP, not rising with the PIP."""
    table = observed.sort_values("pip", ascending=False, kind="stable").reset_index(drop=True)
    pip = table["pip"].to_numpy()
    pooled = np.sort(np.concatenate(nulls))
    above = (len(pooled) - np.searchsorted(pooled, pip, side="left")) / len(nulls)
    own = np.array([(pip >= value).sum() for value in pip])
    rate = np.minimum.accumulate(np.minimum(above / own, 1.0)[::-1])[::-1] if len(pip) else above
    return table.assign(bayesian_fdr=bayesian_fdr(pip), empirical_fdr=rate)
