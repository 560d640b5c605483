"""Reading one locus: a small task that holds the rows of one block and reads its genotypes when called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.result_schema import blank_result
from bayestwas.data.schema import ReferenceDosages, locus
from bayestwas.harmonise.finished import EqtlRows, WeightRows


@dataclass(frozen=True)
class Rows:
    """Where one genotype file holds the variants of a block: `rows` (-1 where absent) and `signs`."""

    load: Callable[[np.ndarray], np.ndarray]
    n_samples: int
    rows: np.ndarray
    signs: np.ndarray

    def dosage(self) -> np.ndarray:
        """(variants, samples) of the effect allele, -1 where missing or absent: int8, or float32 where some
        are imputed."""
        present = self.rows >= 0
        loaded = self.load(self.rows[present])
        out = np.full((len(self.rows), self.n_samples), -1, dtype=loaded.dtype)
        out[present] = loaded
        flipped = present & (self.signs < 0)
        turned = out[flipped]
        out[flipped] = np.where(turned >= 0, 2 - turned, turned)
        return out


@dataclass(frozen=True)
class MatrixRows:
    """The part of an LD matrix that one block needs, in the orientation of the file; read when asked for."""

    correlation: Callable[[], np.ndarray]
    rows: np.ndarray
    signs: np.ndarray

    def oriented(self) -> np.ndarray:
        """(variants, variants) correlations of the effect alleles; NaN rows and columns where absent."""
        present = np.flatnonzero(self.rows >= 0)
        correlation = self.correlation()
        sign = self.signs[present].astype(correlation.dtype)
        out = np.full((len(self.rows), len(self.rows)), np.nan, dtype=correlation.dtype)
        out[np.ix_(present, present)] = correlation * np.outer(sign, sign)
        return out


@dataclass(frozen=True)
class PanelRows:
    """One panel in one block."""

    context: str
    ancestry: str
    genotypes: str
    sample_index: np.ndarray
    expression: pd.DataFrame
    covariates: pd.DataFrame | None


@dataclass(frozen=True)
class LocusReader:
    """A task of one block: picklable, as large as the tables of the block; genotypes are read when it is
    called."""

    block: str
    start: int
    end: int
    build: str
    study: str
    simulated: bool
    cis_window: int
    variants: pd.DataFrame
    genes: pd.DataFrame
    gwas: dict[str, tuple[np.ndarray, np.ndarray]]
    ld: dict[str, tuple[str | MatrixRows, float]]  # name of a genotype file or a matrix; people behind it
    panels: tuple[PanelRows, ...]
    genotypes: dict[str, Rows]
    variant_annotation: pd.DataFrame | None = None
    gene_annotation: pd.DataFrame | None = None
    weights: tuple[WeightRows, ...] = ()
    gene_level: bool = False
    gwas_checks: dict[str, dict[str, np.ndarray]] | None = None  # see `data.schema.locus`
    eqtl: tuple[EqtlRows, ...] = ()
    overlap: dict[tuple[str, str], float] = field(default_factory=dict)  # (context, ancestry) -> donors
    mixtures: dict[str, tuple[np.ndarray, bool]] = field(
        default_factory=dict
    )  # panel of every person; admixed

    def __call__(self) -> xr.DataTree:
        """Read the genotypes of the block and build the locus (see docs/architecture.md)."""
        dosages = {name: rows.dosage() for name, rows in self.genotypes.items()}
        ld = {
            ancestry: (given.oriented(), n_ref)
            if isinstance(given, MatrixRows)
            else ReferenceDosages(dosages[given], n_ref, *self.mixtures.get(ancestry, ()))
            for ancestry, (given, n_ref) in self.ld.items()
        }
        panels = [
            (
                panel.context,
                panel.ancestry,
                dosages[panel.genotypes][:, panel.sample_index],
                panel.expression.columns,
                panel.expression,
                panel.covariates,
            )
            for panel in self.panels
        ]
        made = locus(
            self.block,
            self.variants,
            self.gwas,
            ld,
            panels,
            self.genes,
            self.build,
            self.study,
            self.simulated,
            start=self.start,
            end=self.end,
            cis_window=self.cis_window,
            variant_annotation=self.variant_annotation,
            gene_annotation=self.gene_annotation,
            gwas_checks=self.gwas_checks,
            finished=[rows.scaled(dosages) for rows in self.weights],
            gene_level=self.gene_level,
            eqtl=[(rows.context, rows.ancestry, rows.correlation, rows.n) for rows in self.eqtl],
        )
        for panel in self.panels:
            shared = self.overlap.get((panel.context, panel.ancestry))
            if shared is not None:
                made[f"{names.EXPRESSION}/{panel.context}/{panel.ancestry}"].attrs["overlap"] = shared
        return made

    def blank(self, status: str, reason: str, n_draws: int = 0) -> xr.DataTree:
        """The result of this block where nothing is fitted: names and z-scores, without reading genotypes."""
        held: list[PanelRows | EqtlRows | WeightRows] = [*self.panels, *self.eqtl, *self.weights]
        everyone = [*self.gwas, *(panel.ancestry for panel in held)]
        ancestries = list(dict.fromkeys(everyone))
        place = self.genes if self.variants.empty else self.variants
        result = blank_result(
            self.block,
            str(place["chromosome"].iloc[0]),
            self.start,
            self.end,
            self.genes.rename_axis(names.GENE).reset_index(),
            list(dict.fromkeys(panel.context for panel in held)),
            ancestries,
            self.variants.reset_index(),
            status=status,
            reason=reason,
            n_draws=n_draws,
            simulated=self.simulated,
        )
        z = result[names.OBSERVED].dataset["z"].values
        n_ref = result[names.BLOCKS].dataset["n_ref"].values
        for ancestry, (values, _) in self.gwas.items():
            z[ancestries.index(ancestry)] = values
            n_ref[0, ancestries.index(ancestry)] = self.ld[ancestry][1]
        result.attrs |= {"study": self.study, "build": self.build}
        return result
