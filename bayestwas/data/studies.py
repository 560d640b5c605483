"""Containers of what a study holds: genotypes, LD matrices, GWAS, expression panels, the study itself.

Small frozen dataclasses and constructors that check their arguments; no files and no inference. Every effect
is of the effect allele, which is also the allele that genotypes count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.annotations import NO_ANNOTATIONS, Annotations
from bayestwas.data.ld_regions import ArrayPart, RegionalCorrelation
from bayestwas.data.preparation import AS_IT_IS, Preparation
from bayestwas.data.variants import COLUMNS, check_variants
from bayestwas.data.weights import FinishedWeights
from bayestwas.errors import InputError

DEFAULT_CIS_WINDOW = 500_000  # base pairs on either side of the TSS
DEFAULT_MIN_INFO = 0.3  # imputation quality below which a variant is left out of a file, the field's custom


def _first_duplicate(values: np.ndarray) -> str | None:
    """The first value that occurs again, or None."""
    duplicated = pd.Series(np.asarray(values, dtype=object)).duplicated().to_numpy()
    return str(np.asarray(values)[int(np.argmax(duplicated))]) if duplicated.any() else None


def _unique(source: str, what: str, values: np.ndarray) -> None:
    repeated = _first_duplicate(values)
    if repeated is not None:
        raise InputError(
            f"{source}: {what} '{repeated}' occurs more than once",
            f"Every {what} is unique within a file",
            "Rename or remove the copies",
        )


@dataclass(frozen=True, eq=False)
class ArrayDosages:
    """Dosages held in memory, behind the same call as those read from a file."""

    dosage: np.ndarray

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """The rows `index` of the dosages, variants x samples."""
        return self.dosage[index]


@dataclass(frozen=True)
class Genotypes:
    """Genotypes of a set of people, read on demand.

    `variants`: DataFrame with chromosome (str), position (int, 1-based), variant_id, effect_allele (the
    counted allele), other_allele. `samples`: identifiers of the people. `load(index)`: dosages (len(index),
    samples) of the counted allele with -1 where missing, int8 where all are whole, else float32; picklable.
    `imputed`: dosages may be expected copies, between the whole ones. `info`: (variants,) imputation quality
    as the file gives it, NaN where it does not; None: nowhere. `panel`: (samples,) the population of every
    person, where the reference is a mixture of several (`data.mixtures`); `admixed`: of people whose
    ancestors are of these populations, not of studies in each. Raises `InputError`.
    """

    name: str
    variants: pd.DataFrame
    samples: np.ndarray
    load: Callable[[np.ndarray], np.ndarray]
    imputed: bool = False
    info: np.ndarray | None = None
    panel: np.ndarray | None = None
    admixed: bool = False

    def __post_init__(self) -> None:
        check_variants(self.name, self.variants)
        _unique(self.name, "sample", self.samples)
        if len(self.samples) < 2:
            raise InputError(
                f"{self.name}: {len(self.samples)} samples",
                "Genotypes hold two people or more",
                "Give the genotypes of the whole panel",
            )


def genotypes_from_array(
    name: str, variants: pd.DataFrame, samples: np.ndarray, dosage: np.ndarray
) -> Genotypes:
    """`Genotypes` over an array already in memory: `dosage` (variants, samples), whole or imputed, -1 where
    missing.

    Raises `InputError` where shapes differ or a dosage is neither -1 nor between 0 and 2.
    """
    dosage = np.asarray(dosage)
    if dosage.shape != (len(variants), len(samples)):
        raise InputError(
            f"{name}: dosages of shape {dosage.shape} for {len(variants)} variants and {len(samples)} "
            "samples",
            "Dosages are variants x samples",
            "Transpose the array, or give the matching tables",
        )
    check_dosage(name, dosage)
    held = compact_dosage(dosage)
    return Genotypes(name, variants, np.asarray(samples), ArrayDosages(held), held.dtype.kind == "f")


def check_dosage(source: str, dosage: np.ndarray) -> None:
    """Raise `InputError` unless every dosage is -1 (missing) or between 0 and 2."""
    whole = dosage.dtype.kind != "f"
    if dosage.size and not (
        dosage.min() >= -1 and dosage.max() <= 2 and (whole or bool(((dosage == -1) | (dosage >= 0)).all()))
    ):
        raise InputError(
            f"{source}: dosages between {dosage.min()} and {dosage.max()}",
            "A dosage is 0 to 2 copies of the effect allele, -1 where missing",
            "Write expected copies, which imputation gives as dosages (DS)",
        )


def compact_dosage(dosage: np.ndarray) -> np.ndarray:
    """The same dosages as int8 where all are whole, as float32 where some are imputed."""
    if dosage.dtype.kind != "f":
        return dosage.astype(np.int8, copy=False)
    whole = dosage.astype(np.int8)
    return whole if np.array_equal(whole, dosage) else dosage.astype(np.float32, copy=False)


@dataclass(frozen=True)
class LDMatrix:
    """An LD reference given as a matrix of correlations.

    `correlation`: (p, p) of the effect alleles of `variants`, or what stands for it where it lies in several
    files; rows and columns that are NaN throughout belong to variants without LD. `n_ref`: people behind it.
    Raises `InputError`.
    """

    name: str
    variants: pd.DataFrame
    correlation: np.ndarray | RegionalCorrelation
    n_ref: float

    def __post_init__(self) -> None:
        check_variants(self.name, self.variants)
        p = len(self.variants)
        if self.correlation.shape != (p, p):
            raise InputError(
                f"{self.name}: a matrix of shape {self.correlation.shape} for {p} variants",
                "An LD matrix has one row and one column per variant",
                "Write the matrix and the identifiers of the same variants, in the same order",
            )
        if not self.n_ref > 1:
            raise InputError(
                f"{self.name}: n_ref = {self.n_ref}",
                "n_ref is the number of people the correlations were computed from",
                "Give the size of the reference panel",
            )

    def part(self, rows: np.ndarray) -> Callable[[], np.ndarray]:
        """What gives the correlations of the variants `rows` when called: picklable, and files are read
        then."""
        if isinstance(self.correlation, RegionalCorrelation):
            return self.correlation.part(rows)
        return ArrayPart(self.correlation[np.ix_(rows, rows)])


def gwas_dataset(source: str, table: pd.DataFrame) -> xr.Dataset:
    """GWAS summary statistics as a Dataset over `variant`.

    `table`: chromosome, position, variant_id, effect_allele, other_allele, z, n and, optionally,
    effect_allele_frequency and conflict (bool: z disagrees with the other columns of its file). `source`
    names the file in messages. Raises `InputError`.
    """
    check_variants(source, table, (*COLUMNS, "z", "n"))
    z = table["z"].to_numpy(dtype=float)
    n = table["n"].to_numpy(dtype=float)
    for label, bad, rule in (
        ("z", ~np.isfinite(z), "Every z-score is a finite number"),
        ("n", ~(np.isfinite(n) & (n > 0)), "Every sample size is above zero"),
    ):
        if bad.any():
            first = table["variant_id"].iloc[int(np.argmax(bad))]
            raise InputError(
                f"{source}: {int(bad.sum())} variants with an unusable {label}, first {first}",
                rule,
                "Remove these variants, or correct them",
            )
    variables: dict[str, tuple[str, np.ndarray]] = {
        "chromosome": (names.VARIANT, table["chromosome"].astype(str).to_numpy(dtype=object)),
        "position": (names.VARIANT, table["position"].to_numpy(dtype=np.int64)),
        "variant_id": (names.VARIANT, table["variant_id"].astype(str).to_numpy(dtype=object)),
        "effect_allele": (names.VARIANT, table["effect_allele"].astype(str).to_numpy(dtype=object)),
        "other_allele": (names.VARIANT, table["other_allele"].astype(str).to_numpy(dtype=object)),
        "z": (names.VARIANT, z),
        "n": (names.VARIANT, n),
    }
    if "effect_allele_frequency" in table.columns:
        frequency = table["effect_allele_frequency"].to_numpy(dtype=float)
        variables["effect_allele_frequency"] = (names.VARIANT, frequency)
    if "conflict" in table.columns:
        variables["conflict"] = (names.VARIANT, table["conflict"].to_numpy(dtype=bool))
    return xr.Dataset(variables, attrs={"source": source})


def expression_dataset(
    source: str, genes: pd.DataFrame, donors: np.ndarray, values: np.ndarray
) -> xr.Dataset:
    """Expression as a Dataset (gene x donor) with chromosome and tss along gene.

    `genes`: DataFrame with gene, chromosome, tss (1-based). `values`: (genes, donors), NaN where missing.
    Raises `InputError`.
    """
    _unique(source, "gene", genes["gene"].to_numpy())
    _unique(source, "donor", donors)
    values = np.asarray(values, dtype=float)
    if values.shape != (len(genes), len(donors)):
        raise InputError(
            f"{source}: expression of shape {values.shape} for {len(genes)} genes and {len(donors)} donors",
            "Expression is genes x donors",
            "Transpose the array, or give the matching tables",
        )
    if np.isinf(values).any():
        gene = genes["gene"].iloc[int(np.argmax(np.isinf(values).any(axis=1)))]
        raise InputError(
            f"{source}: gene {gene} has an infinite value",
            "Expression is finite, or missing",
            "Write NA where there is no measurement (up to a tenth of the donors of a gene)",
        )
    return xr.Dataset(
        {
            "expression": ((names.GENE, names.DONOR), values),
            "chromosome": (names.GENE, genes["chromosome"].astype(str).to_numpy(dtype=object)),
            "tss": (names.GENE, genes["tss"].to_numpy(dtype=np.int64)),
        },
        coords={
            names.GENE: genes["gene"].astype(str).to_numpy(dtype=object),
            names.DONOR: np.asarray(donors).astype(str).astype(object),
        },
        attrs={"source": source},
    )


@dataclass(frozen=True)
class Panel:
    """Expression of one context in one ancestry, with the genotypes of its donors.

    `expression`: Dataset of `expression_dataset`. `covariates`: DataArray (covariate x donor), or None.
    `preparation`: what is done to the expression before it is fitted.
    """

    context: str
    ancestry: str
    genotypes: Genotypes
    expression: xr.Dataset
    covariates: xr.DataArray | None = None
    preparation: Preparation = AS_IT_IS

    def __post_init__(self) -> None:
        for what, value in (("context", self.context), ("ancestry", self.ancestry)):
            check_label(what, value)


def check_label(what: str, value: str) -> None:
    """Raise `InputError` unless `value` can name a group of a DataTree and a file: not empty, no slash, no
    dot alone."""
    if not value or "/" in value or "\\" in value or value in (".", ".."):
        raise InputError(
            f"{what} = '{value}'",
            f"The name of a {what} is not empty and holds no slash",
            "Use letters, digits, dots, hyphens or underscores",
        )


@dataclass(frozen=True)
class WeightPanel:
    """Finished weights of one context in one ancestry: point predictors, without uncertainty."""

    context: str
    ancestry: str
    weights: FinishedWeights

    def __post_init__(self) -> None:
        for what, value in (("context", self.context), ("ancestry", self.ancestry)):
            check_label(what, value)


@dataclass(frozen=True)
class EqtlPanel(WeightPanel):
    """eQTL summary statistics of one context in one ancestry.

    `weights` are marginal: the effect of one variant at a time, per SD of genotype, which is the correlation
    of genotype and expression. `n`: people, less the covariates.
    """

    n: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.n > 2:
            raise InputError(
                f"{self.weights.name}: n = {self.n:g} people after covariates",
                "eQTL summary statistics come from more than two people",
                "Correct n and covariates under [[eqtl]]",
            )


@dataclass(frozen=True)
class Study:
    """Everything a study file names, read but not yet put together.

    `gwas` and `ld` by ancestry; `blocks` a DataFrame (block, chromosome, start, end; 0-based half-open) or
    None; `files` the paths that were read; `genes` the requested genes, or None for all; `cis_window` in base
    pairs on either side of a TSS; `annotations` of variants and genes, not yet matched; `weights` finished
    ones, `eqtl` summary statistics; `gene_level` where the only LD is that of the covariances of models;
    `overlap` by (context, ancestry) the donors who are in the GWAS too, where known;
    `min_info` imputation quality below which a variant of imputed genotypes is left out; `symbols` by gene,
    from the gene models; `modalities` by context, where it is not expression; `notes` on what was read;
    `genome(chromosome, start, end)` the bases of the reference genome, or None.
    """

    name: str
    build: str
    blocks: pd.DataFrame | None
    gwas: dict[str, xr.Dataset]
    ld: dict[str, Genotypes | LDMatrix]
    panels: tuple[Panel, ...]
    files: tuple[Path, ...] = ()
    genes: tuple[str, ...] | None = None
    cis_window: int = DEFAULT_CIS_WINDOW
    simulated: bool = False
    n_ref: dict[str, float] = field(default_factory=dict)
    overlap: dict[tuple[str, str], float] = field(default_factory=dict)
    annotations: Annotations = NO_ANNOTATIONS
    weights: tuple[WeightPanel, ...] = ()
    gene_level: bool = False
    eqtl: tuple[EqtlPanel, ...] = ()
    min_info: float = DEFAULT_MIN_INFO
    symbols: dict[str, str] = field(default_factory=dict)
    modalities: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    genome: Callable[[str, int, int], str] | None = None

    def __post_init__(self) -> None:
        without = sorted(set(self.gwas) - set(self.ld))
        if without:
            raise InputError(
                f"study {self.name}: GWAS in {', '.join(without)} without an LD reference",
                "Every ancestry with a GWAS has an LD reference",
                f"Add LD for {', '.join(without)}, or leave its GWAS out",
            )
        if self.cis_window <= 0:
            raise InputError(
                f"study {self.name}: cis_window = {self.cis_window}",
                "The cis-window is a number of base pairs above zero, on either side of the TSS",
                f"Give cis_window = {DEFAULT_CIS_WINDOW}, for example",
            )
        if not 0 <= self.min_info <= 1:
            raise InputError(
                f"study {self.name}: min_info = {self.min_info}",
                "The least imputation quality (INFO) is between 0, which keeps every variant, and 1",
                f"Give min_info = {DEFAULT_MIN_INFO}, for example",
            )
