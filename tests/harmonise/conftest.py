"""A small study in memory whose tables a test may change before it is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.studies import (
    Genotypes,
    LDMatrix,
    Panel,
    Study,
    expression_dataset,
    genotypes_from_array,
    gwas_dataset,
)

P, PEOPLE, DONORS = 40, 60, 25
SPACING = 1000  # base pairs between variants
START = 1_000_000


@dataclass
class Draft:
    """Tables of a study: two ancestries with GWAS and LD (genotypes, a matrix), one panel in each."""

    tables: dict[str, pd.DataFrame]  # variant table by file, with z in those of a GWAS
    dosage: dict[str, np.ndarray]
    expression: dict[str, np.ndarray]
    genes: pd.DataFrame
    donors: dict[str, np.ndarray]
    samples: dict[str, np.ndarray]
    covariates: dict[str, xr.DataArray | None] = field(default_factory=dict)
    frequencies: bool = False

    def genotypes(self, name: str) -> Genotypes:
        return genotypes_from_array(name, self.tables[name], self.samples[name], self.dosage[name])

    def build(self, **changes: Any) -> Study:
        gwas = {}
        for ancestry in ("EUR", "AFR"):
            table = self.tables[f"gwas.{ancestry}"].assign(n=1000)
            gwas[ancestry] = gwas_dataset(f"gwas.{ancestry}", table)
        matrix = np.corrcoef(self.dosage["ld.AFR"])
        given: dict[str, Any] = {
            "name": "small",
            "build": "GRCh37",
            "blocks": None,
            "gwas": gwas,
            "ld": {
                "EUR": self.genotypes("ld.EUR"),
                "AFR": LDMatrix("ld.AFR", self.tables["ld.AFR"], matrix, PEOPLE),
            },
            "panels": tuple(
                Panel(
                    "LCL",
                    ancestry,
                    self.genotypes(f"donors.{ancestry}"),
                    expression_dataset(
                        f"lcl.{ancestry}.bed", self.genes, self.donors[ancestry], self.expression[ancestry]
                    ),
                    self.covariates.get(ancestry),
                )
                for ancestry in ("EUR", "AFR")
            ),
        }
        return Study(**given | changes)


@pytest.fixture
def draft() -> Draft:
    """40 variants, none palindromic, in four files a piece; two genes."""
    rng = np.random.default_rng(11)
    pairs = [("A", "G"), ("C", "A"), ("G", "T"), ("T", "C"), ("AT", "A")]
    chosen = [pairs[j % len(pairs)] for j in range(P)]
    base = pd.DataFrame(
        {
            "chromosome": "7",
            "position": START + SPACING * np.arange(P),
            "variant_id": [f"rs{j}" for j in range(P)],
            "effect_allele": [pair[0] for pair in chosen],
            "other_allele": [pair[1] for pair in chosen],
        }
    )
    frequency = rng.uniform(0.1, 0.3, P)
    tables, dosage, samples, expression, donors = {}, {}, {}, {}, {}
    genes = pd.DataFrame({"gene": ["G1", "G2"], "chromosome": "chr7", "tss": [START + 5000, START + 20_000]})
    for ancestry in ("EUR", "AFR"):
        tables[f"gwas.{ancestry}"] = base.assign(z=rng.standard_normal(P), chromosome="chr7")
        for kind, count in (("ld", PEOPLE), ("donors", DONORS)):
            name = f"{kind}.{ancestry}"
            tables[name] = base.copy()
            dosage[name] = rng.binomial(2, frequency[:, None], (P, count)).astype(np.int8)
            dosage[name][5, 0] = -1
            samples[name] = np.array([f"{name}.{i}" for i in range(count)])
        donors[ancestry] = samples[f"donors.{ancestry}"].copy()
        expression[ancestry] = rng.standard_normal((2, DONORS))
    return Draft(tables, dosage, expression, genes, donors, samples)
