"""Several LD panels as the reference of one GWAS: one set of variants and alleles, people by panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayestwas.data.studies import Genotypes
from bayestwas.data.variants import chromosome_labels
from bayestwas.errors import InputError

LEAST_SHARED = 0.1  # of the variants of the smallest panel
MOST_PANELS = 6  # weights are found by trying which of them are zero


@dataclass(frozen=True)
class StackedDosages:
    """Rows of several genotype files beside one another, in the alleles of the first; picklable."""

    parts: tuple[Genotypes, ...]
    rows: np.ndarray  # (parts, variants)
    turned: np.ndarray  # (parts, variants), whether the file counts the other allele

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """(variants, people of all panels) dosages, -1 where missing."""
        loaded = []
        for part, rows, turned in zip(self.parts, self.rows, self.turned, strict=True):
            wanted, back = np.unique(rows[index], return_inverse=True)  # files are read in their order
            dosage = part.load(wanted)[back]
            flip = turned[index][:, None] & (dosage >= 0)
            loaded.append(np.where(flip, 2 - dosage, dosage).astype(dosage.dtype))
        return np.concatenate(loaded, axis=1)


def stacked(name: str, panels: Mapping[str, Genotypes], admixed: bool = False) -> Genotypes:
    """One reference of several panels, over the variants that all of them hold once, with the same two
    alleles.

    People are labelled by their panel. Raises `InputError` for fewer than two panels or more than
    `MOST_PANELS`, and where they share few variants.
    """
    if not 2 <= len(panels) <= MOST_PANELS:
        raise InputError(
            f"{name}: {len(panels)} panels",
            f"A mixture of LD has two to {MOST_PANELS} panels",
            "Give the panel of every population that is a good part of the GWAS",
        )
    tables = [_keyed(panel.variants) for panel in panels.values()]
    first = tables[0]
    for table in tables[1:]:
        first = first[first.index.isin(table.index)]
    smallest = min(len(table) for table in tables)
    if len(first) <= LEAST_SHARED * smallest:
        sizes = ", ".join(f"{len(panel.variants)} ({label})" for label, panel in panels.items())
        raise InputError(
            f"{name}: the panels hold {sizes} variants, and {len(first) or 'none'} in common",
            "Panels of a mixture share variants: the same chromosome, position and two alleles",
            "Check that all have the build of the study and alleles of the same strand",
        )
    rows = np.array([table.loc[first.index, "row"].to_numpy() for table in tables])
    effect = np.array([table.loc[first.index, "effect"].to_numpy(dtype=object) for table in tables])
    variants = next(iter(panels.values())).variants.iloc[rows[0]].reset_index(drop=True)
    samples = [f"{label}:{sample}" for label, panel in panels.items() for sample in panel.samples]
    parts = tuple(panels.values())
    return Genotypes(
        name,
        variants,
        np.array(samples, dtype=object),
        StackedDosages(parts, rows, effect != effect[0]),
        any(part.imputed for part in parts),
        panel=np.repeat(np.array(list(panels), dtype=object), [len(part.samples) for part in parts]),
        admixed=admixed,
    )


def _keyed(variants: pd.DataFrame) -> pd.DataFrame:
    """row and effect of every variant by chromosome, position and alleles; without those that occur again."""
    alleles = variants[["effect_allele", "other_allele"]].astype(str)
    pair = np.sort(alleles.to_numpy(dtype=str), axis=1)
    chromosome = chromosome_labels(variants["chromosome"]).astype(str)
    key = pd.Series(chromosome) + ":" + pd.Series(variants["position"].astype(str).to_numpy(dtype=object))
    key = key + ":" + pd.Series(pair[:, 0]) + ":" + pd.Series(pair[:, 1])
    effect = alleles["effect_allele"].to_numpy(dtype=object)
    table = pd.DataFrame({"row": np.arange(len(variants)), "effect": effect}, index=pd.Index(key))
    return table[~table.index.duplicated(keep=False)]
