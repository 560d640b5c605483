"""Imputation quality as genotype files write it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

# the names minimac and TOPMed, Beagle, IMPUTE and PLINK 2 give it in INFO, first found first
FIELDS = ("R2", "DR2", "INFO", "IMP_INFO", "MACH_R2")


def parse_info(texts: pd.Series) -> np.ndarray | None:
    """(rows,) imputation quality in INFO columns such as `AF=0.1;R2=0.9`; None where no row has any."""
    out = np.full(len(texts), np.nan)
    for field in FIELDS:
        found = texts.str.extract(rf"(?:^|;){field}=([^;,]+)", expand=False)
        values = pd.to_numeric(found, errors="coerce").to_numpy(dtype=float)
        out = np.where(np.isnan(out), values, out)
    return out if np.isfinite(out).any() else None


def info_of(record: Any) -> float:
    """The same of one record of cyvcf2; NaN where it has none."""
    for field in FIELDS:
        value = record.INFO.get(field)
        if value is not None:
            return float(value[0] if isinstance(value, tuple) else value)
    return np.nan
