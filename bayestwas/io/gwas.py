"""GWAS summary statistics: GWAS-SSF and plain tables, with z or with an effect and its standard error."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from bayestwas.data.studies import gwas_dataset
from bayestwas.data.variants import shared_text
from bayestwas.errors import InputError
from bayestwas.io.tables import read_table

# What each column may be called, in lower case; the first name is that of GWAS-SSF where it has one. Left out
# on purpose: allele2 (the effect allele for some programs, the other for others) and the hm_ columns of
# harmonised files (mixing them with the plain ones would pair an effect with the wrong allele).
SYNONYMS: dict[str, tuple[str, ...]] = {
    "chromosome": ("chromosome", "chr", "chrom", "#chrom", "#chr"),
    "position": ("base_pair_location", "position", "pos", "bp", "base_pair", "genpos"),
    "effect_allele": ("effect_allele", "ea", "a1", "allele1", "alt", "tested_allele"),
    "other_allele": (
        "other_allele",
        "oa",
        "nea",
        "non_effect_allele",
        "a2",
        "allele0",
        "omitted",
        "ref",
    ),
    "z": ("z", "z_score", "zscore", "z_stat", "zstat", "z-score"),
    "beta": ("beta", "effect", "b", "effect_size", "log_odds", "log_or"),
    "standard_error": ("standard_error", "se", "stderr", "std_err", "sebeta", "beta_se"),
    "p_value": ("p_value", "p", "pval", "pvalue", "p-value", "p_val", "p.value"),
    "neg_log_10_p_value": ("neg_log_10_p_value", "log10p", "mlog10p", "neg_log10_p", "logp"),
    "odds_ratio": ("odds_ratio", "or"),
    "n": ("n", "sample_size", "samplesize", "n_total", "n_samples", "totalsamplesize", "neff", "n_eff"),
    "effect_allele_frequency": (
        "effect_allele_frequency",
        "eaf",
        "freq",
        "freq1",
        "a1freq",
        "a1_freq",
        "alt_freq",
    ),
    "variant_id": (
        "variant_id",
        "rsid",
        "rs_id",
        "snp",
        "snpid",
        "id",
        "markername",
    ),
}
# Difference of two z-scores of one variant, at least and as a share of z, that no rounding of the columns
# explains.
CONFLICT, CONFLICT_SHARE = 1.0, 0.2
REQUIRED = ("chromosome", "position", "effect_allele", "other_allele")
_TEXT = ("variant_id",)
_FEW = ("chromosome", "effect_allele", "other_allele")


def read_gwas(path: str | Path, n: float | None = None, source: str | None = None) -> xr.Dataset:
    """Read GWAS summary statistics into a Dataset over `variant` (see `data.studies.gwas_dataset`).

    The z-score is taken from a column z; otherwise it is beta / standard_error; otherwise it has the sign of
    beta and the size of the two-sided p_value. `n` is the sample size where the file has no such column (a
    column wins). `source` stands for the file in later messages. Column names are read in any case, see
    `SYNONYMS`. Raises `InputError` naming file, line and remedy: missing columns, p-values without effects, n
    absent, values that are missing, infinite or out of range.
    """
    path = Path(path)
    text, few = ({name for key in keys for name in SYNONYMS[key]} for keys in (_TEXT, _FEW))
    table = read_table(path, text_columns=_in_any_case(text), few_values=_in_any_case(few))
    columns = _columns(table)
    _check_columns(path, table, columns, n)
    if table.empty:
        raise InputError(
            f"{path} holds no variants, only a header",
            "A GWAS file has one row per variant",
            "Write or download the file again",
        )
    out = pd.DataFrame(
        {
            "chromosome": _text(path, table, columns["chromosome"]),
            "position": _positions(path, table, columns["position"]),
            "effect_allele": _text(path, table, columns["effect_allele"], str.upper),
            "other_allele": _text(path, table, columns["other_allele"], str.upper),
            "z": _z(path, table, columns),
            "n": _n(path, table, columns, n),
        }
    )
    if "variant_id" in columns:
        out["variant_id"] = table[columns["variant_id"]].fillna("").to_numpy(dtype=object)
    else:
        # Not made from the alleles: an identifier that spells them would be taken as evidence of the strand.
        out["variant_id"] = ""
    if "effect_allele_frequency" in columns:
        frequency = _numbers(table, columns["effect_allele_frequency"])
        bad = ~((frequency >= 0) & (frequency <= 1)) & ~np.isnan(frequency)
        _refuse(
            path,
            table,
            bad,
            columns["effect_allele_frequency"],
            "A frequency lies between 0 and 1",
            "Correct it, or leave it missing",
        )
        out["effect_allele_frequency"] = frequency
    out["conflict"] = _conflicts(table, columns, out["z"].to_numpy())
    return gwas_dataset(source or path.name, out)


def _in_any_case(spellings: set[str]) -> tuple[str, ...]:
    return tuple(
        sorted({form for name in spellings for form in (name, name.upper(), name.capitalize(), name.title())})
    )


def _columns(table: pd.DataFrame) -> dict[str, str]:
    """Our name -> the column of the file that holds it; earlier synonyms win."""
    lower = {str(name).lower(): str(name) for name in table.columns}
    found = {}
    for key, spellings in SYNONYMS.items():
        match = next((lower[name] for name in spellings if name in lower), None)
        if match is not None:
            found[key] = match
    return found


def _check_columns(path: Path, table: pd.DataFrame, columns: dict[str, str], n: float | None) -> None:
    listed = ", ".join(str(name) for name in table.columns)
    free = [str(name) for name in table.columns if name not in columns.values()]
    for key in REQUIRED:
        if key not in columns:
            raise InputError(
                f"{path} has no column for the {key.replace('_', ' ')}; it has {listed}",
                f"A GWAS file has one of the columns {', '.join(SYNONYMS[key])}",
                f"Rename the column that holds it to {SYNONYMS[key][0]}. {_closest(key, free)}".strip(),
            )
    direct = (
        "z" in columns or {"beta", "standard_error"} <= set(columns) or {"beta", "p_value"} <= set(columns)
    )
    if not direct and "odds_ratio" in columns:
        raise InputError(
            f"{path} has odds ratios ('{columns['odds_ratio']}') and no beta",
            "Whether a standard error is of the odds ratio or of its logarithm cannot be told from a file",
            "Add a column z, or beta = log(odds_ratio) with its standard_error",
        )
    if not direct and ("p_value" in columns or "neg_log_10_p_value" in columns):
        name = columns.get("p_value", columns.get("neg_log_10_p_value"))
        raise InputError(
            f"{path} has p-values ('{name}') without effects; it has {listed}",
            "A p-value has no sign, so it does not say which allele raises the trait, and a z-score cannot "
            "be made",
            f"Add a column z, or beta and standard_error. {_misspelt(columns, free)}".strip(),
        )
    if not direct:
        raise InputError(
            f"{path} has neither z nor beta with standard_error; it has {listed}",
            f"A GWAS file has a column z ({', '.join(SYNONYMS['z'])}), or beta "
            f"({', '.join(SYNONYMS['beta'])}) and standard_error ({', '.join(SYNONYMS['standard_error'])})",
            f"Rename the columns that hold them. {_misspelt(columns, free)}".strip(),
        )
    if "n" not in columns and n is None:
        raise InputError(
            f"{path} has no sample size; it has {listed}",
            f"The sample size is a column ({', '.join(SYNONYMS['n'])}) or is given",
            "Add n = <people> under [[gwas]] in the study file, or a column n to the file",
        )


def _misspelt(columns: dict[str, str], free: list[str]) -> str:
    """A question for each of beta, standard_error and z that is absent while a column looks like it."""
    asked = (
        f"{_closest(key, free)[:-1]}, for {key}?"
        for key in ("beta", "standard_error", "z")
        if key not in columns and _closest(key, free)
    )
    return " ".join(asked)


def _closest(key: str, columns: list[str]) -> str:
    """A question that names the column which looks most like one for `key`, or nothing."""
    for name in SYNONYMS[key]:
        close = difflib.get_close_matches(name, columns, n=1, cutoff=0.7)
        if close:
            return f"Is it '{close[0]}'?"
    return ""


def _refuse(path: Path, table: pd.DataFrame, bad: np.ndarray, column: str, rule: str, remedy: str) -> None:
    """Raise `InputError` with the number of bad rows, their first lines and the first value."""
    bad = np.asarray(bad)
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    lines = ", ".join(str(int(table.index[row]) + table.attrs["first_line"]) for row in rows[:3])
    value = table[column].iloc[int(rows[0])]
    shown = "missing" if pd.isna(value) else f"'{value}'"
    plural = "row" if len(rows) == 1 else "rows"
    raise InputError(
        f"{path}: {column} is {shown} in {len(rows)} {plural}, line {lines}{' ...' if len(rows) > 3 else ''}",
        rule,
        remedy,
    )


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    return pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _text(path: Path, table: pd.DataFrame, column: str, spell: Callable[[str], str] = str) -> np.ndarray:
    missing = table[column].isna().to_numpy()
    _refuse(path, table, missing, column, f"Every row has a {column}", "Remove these rows, or fill them in")
    return shared_text(table[column], spell)


def _positions(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    position = _numbers(table, column)
    bad = ~(np.isfinite(position) & (position > 0) & (position % 1 == 0))
    _refuse(
        path,
        table,
        bad,
        column,
        "A position is a whole number of base pairs above zero",
        "Remove these rows, or correct them",
    )
    return position.astype(np.int64)


def _z(path: Path, table: pd.DataFrame, columns: dict[str, str]) -> np.ndarray:
    """z-scores, from the best columns there are."""
    remedy = "Remove these rows, or correct them"
    if "z" in columns:
        z = _numbers(table, columns["z"])
        _refuse(path, table, ~np.isfinite(z), columns["z"], "Every z-score is a finite number", remedy)
        return z
    beta = _numbers(table, columns["beta"])
    _refuse(path, table, ~np.isfinite(beta), columns["beta"], "Every effect is a finite number", remedy)
    if "standard_error" in columns:
        se = _numbers(table, columns["standard_error"])
        bad = ~(np.isfinite(se) & (se > 0))
        _refuse(
            path,
            table,
            bad,
            columns["standard_error"],
            "Every standard error is finite and above zero",
            remedy,
        )
        return beta / se
    p = _numbers(table, columns["p_value"])
    bad = ~((p > 0) & (p <= 1))
    _refuse(
        path,
        table,
        bad,
        columns["p_value"],
        "Every p-value is above 0 and at most 1",
        "Add a column standard_error, or z: a p-value that was rounded to zero has lost its size",
    )
    return np.asarray(-np.sign(beta) * ndtri(p / 2))


def _conflicts(table: pd.DataFrame, columns: dict[str, str], z: np.ndarray) -> np.ndarray:
    """Where z is further from beta / standard_error, or |z| from the two-sided p-value, than rounding
    takes it."""
    allowed = np.maximum(CONFLICT, CONFLICT_SHARE * np.abs(z))
    bad = np.zeros(len(z), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):  # what is missing or zero is no conflict
        if {"beta", "standard_error"} <= set(columns):
            other = _numbers(table, columns["beta"]) / _numbers(table, columns["standard_error"])
            bad |= np.isfinite(other) & (np.abs(z - other) > allowed)
        if "p_value" in columns:
            size = -ndtri(_numbers(table, columns["p_value"]) / 2)
            bad |= np.isfinite(size) & (np.abs(np.abs(z) - size) > allowed)
    return bad


def _n(path: Path, table: pd.DataFrame, columns: dict[str, str], n: float | None) -> np.ndarray:
    if "n" not in columns:
        assert n is not None  # _check_columns
        if not (np.isfinite(n) and n > 0):
            raise InputError(f"{path}: n = {n}", "A sample size is above zero", "Correct n in the study file")
        return np.full(len(table), float(n))
    sizes = _numbers(table, columns["n"])
    bad = ~(np.isfinite(sizes) & (sizes > 0))
    _refuse(
        path,
        table,
        bad,
        columns["n"],
        "Every sample size is a number above zero",
        "Remove these rows, or fill n in",
    )
    return sizes
