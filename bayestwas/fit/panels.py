"""Expression panels of a locus as arrays: covariates projected out, genotypes standardised, donors
matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.data.schema import eqtl_groups, expression_groups, finished_groups
from bayestwas.engine.ld import LD, FactorLD, GenotypeLD, MatrixLD, standardised
from bayestwas.engine.mixture import mixture_factor, mixture_people
from bayestwas.engine.projection import projection, residual

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One context in one ancestry.

    `expression` (genes, n) has covariates projected out and variance 1; `factor` (n, p) likewise, so that
    z = sqrt(n_effective) factor' y / |factor| |y|. `n` is the number of donors less the covariates.
    """

    context: str
    ancestry: str
    genes: dict[str, int]
    donors: NDArray[np.object_]
    expression: Floats
    ld: FactorLD
    n: float


@dataclass(frozen=True)
class Summary:
    """eQTL summary statistics of one context in one ancestry: `correlation` (genes, p) of genotype and
    expression, NaN where absent, of `n` people; `ld` that of the reference of the ancestry (p,)."""

    context: str
    ancestry: str
    genes: dict[str, int]
    correlation: Floats
    ld: LD
    n: float


def contexts_and_ancestries(locus: xr.DataTree) -> tuple[list[str], list[str]]:
    """Contexts in the order of the locus; ancestries of the GWAS first, then those with expression only."""
    held = [*expression_groups(locus), *eqtl_groups(locus), *finished_groups(locus)]
    gwas = [str(a) for a in locus[names.GWAS].dataset[names.ANCESTRY].values]
    contexts = dict.fromkeys(context for context, _, _ in held)
    return list(contexts), list(dict.fromkeys([*gwas, *(ancestry for _, ancestry, _ in held)]))


def read_panels(locus: xr.DataTree, min_allele_count: int) -> dict[tuple[str, str], Panel | Summary]:
    """The panels and the eQTL summary statistics of a locus by (context, ancestry)."""
    held = eqtl_groups(locus)
    ld = {ancestry: _ld(locus[f"{names.LD}/{ancestry}"].dataset) for _, ancestry, _ in held}
    panels: dict[tuple[str, str], Panel | Summary] = {
        (context, ancestry): _panel(context, ancestry, data, min_allele_count)
        for context, ancestry, data in expression_groups(locus)
    }
    for context, ancestry, data in held:
        genes = {str(gene): i for i, gene in enumerate(data[names.GENE].values)}
        values = data["correlation"].transpose(names.GENE, names.VARIANT).values.astype(np.float64)
        panels[context, ancestry] = Summary(
            context, ancestry, genes, values, ld[ancestry], float(data.attrs["n"])
        )
    return panels


def window_ld(ld: LD, index: NDArray[np.intp]) -> LD:
    """The LD of the variants `index` alone, taken as exact: genotypes where they are smaller than R."""
    factor = standardised(ld, index)
    if factor is not None:
        return FactorLD(factor)
    there = ld.variance[index] > 0
    return MatrixLD(np.where(np.outer(there, there), ld.gram(index), np.nan))


def _panel(context: str, ancestry: str, data: xr.Dataset, min_allele_count: int) -> Panel:
    dosage = data["dosage"].transpose(names.VARIANT, names.DONOR).values
    expression = data["expression"].transpose(names.GENE, names.DONOR).values.astype(np.float64)
    donors = data[names.DONOR].values.astype(object)
    covariates = (
        data["covariates"].transpose(names.COVARIATE, names.DONOR).values
        if "covariates" in data
        else np.empty((0, len(donors)))
    )
    basis = projection(covariates.astype(np.float64), len(donors))
    mean = np.nanmean(expression, axis=1, keepdims=True) if len(expression) else expression
    expression = residual(np.where(np.isfinite(expression), expression, mean), basis)
    spread = np.sqrt((expression**2).mean(axis=1, keepdims=True))
    expression = np.where(spread > 1e-8, expression / np.where(spread > 1e-8, spread, 1.0), np.nan)
    genes = {
        str(gene): i for i, gene in enumerate(data[names.GENE].values) if np.isfinite(expression[i]).all()
    }
    factor = residual(_imputed(dosage, min_allele_count), basis)
    factor[(factor**2).mean(axis=1) < 1e-6] = 0.0
    return Panel(
        context,
        ancestry,
        genes,
        donors,
        expression,
        FactorLD(factor.T),
        float(len(donors) - basis.shape[1] + 1),
    )


def _imputed(dosage: NDArray[np.number], min_allele_count: int) -> Floats:
    """(p, n) dosages with the mean where missing; all zero where too few copies are seen."""
    missing = dosage < 0
    x = np.where(missing, 0, dosage).astype(np.float64)
    seen = np.maximum((~missing).sum(axis=1), 1)
    total = x.sum(axis=1)
    x = np.where(missing, (total / seen)[:, None], x)
    rare = np.minimum(total, 2 * seen - total) < min_allele_count
    x[rare] = 0.0
    return x


def mixed_panels(data: xr.Dataset) -> dict[str, Floats]:
    """Genotypes (people, p) of every panel of the reference of a mixture, the mean of the panel where
    missing."""
    dosage = data["dosage"].transpose(names.VARIANT, ...).values
    label = data["panel"].values.astype(str)
    return {str(name): _imputed(dosage[:, label == name], 0).T for name in dict.fromkeys(label)}


def gwas_arrays(locus: xr.DataTree) -> tuple[list[str], Floats, Floats, list[LD]]:
    """Ancestries, z (A, p) with NaN where absent, n (A,) medians over variants, and the LD operators."""
    data = locus[names.GWAS].to_dataset().transpose(names.ANCESTRY, names.VARIANT)
    ancestries = [str(a) for a in data[names.ANCESTRY].values]
    z = data["z"].values.astype(np.float64)
    n = np.array([np.nanmedian(row) if np.isfinite(row).any() else 0.0 for row in data["n"].values])
    return ancestries, z, n, [_ld(locus[f"{names.LD}/{ancestry}"].dataset) for ancestry in ancestries]


def _ld(data: xr.Dataset) -> LD:
    n_ref = float(data.attrs["n_ref"])
    if "correlation" in data:
        return MatrixLD(data["correlation"].values, n_ref)
    dosage = data["dosage"].transpose(names.VARIANT, ...).values
    if "panel" in data.coords:
        panels = mixed_panels(data)
        people = np.array([len(x) for x in panels.values()], dtype=float)
        weight = np.array(data.attrs.get("weights", people / people.sum()), dtype=float)
        factor = mixture_factor(list(panels.values()), weight, bool(data.attrs["admixed"]))
        factor[:, (factor**2).sum(axis=0) < 1e-9] = 0.0
        return FactorLD(factor, mixture_people(people, weight) if np.isfinite(n_ref) else n_ref)
    if dosage.dtype.kind != "f":
        return GenotypeLD(dosage, n_ref)
    factor = _imputed(dosage, 0)  # bits cannot hold parts of a copy
    factor -= factor.mean(axis=1, keepdims=True)
    factor[(factor**2).mean(axis=1) < 1e-9] = 0.0
    return FactorLD(factor.T, n_ref)
