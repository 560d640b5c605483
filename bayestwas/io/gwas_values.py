"""Numbers of one piece of a GWAS file: z-scores from whatever effects there are, sample sizes, alleles."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri_exp

from bayestwas.data.variants import chromosome_labels, shared_text
from bayestwas.errors import InputError
from bayestwas.io.gwas_layouts import RATIOS, Found, ratio_scale
from bayestwas.io.pieces import line_of

_REMOVE = "Remove these rows, or correct them"
_LOG10 = np.log(10.0)
# Difference of two z-scores of one variant, at least and as a share of z, that no rounding of the columns
# explains.
CONFLICT, CONFLICT_SHARE = 1.0, 0.2
ENOUGH = 50  # rows from which the scale of effects and standard errors is judged
_TELLS = 1.0  # |z| of rows that tell a scale: p-values near one are rounded
MOST_DIFFERENT = 3.0  # ratio of two z-scores of the same rows beyond which a column is not what it says


class Context(NamedTuple):
    """What all pieces of a file share: path, columns, n where the file has none, how z is made."""

    path: Path
    found: Found
    n: float | None
    recipe: str = ""


def refuse(path: Path, piece: pd.DataFrame, bad: np.ndarray, column: str, rule: str, remedy: str) -> None:
    """Raise `InputError` with the number of bad rows, their first lines and the first value."""
    bad = np.asarray(bad)
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    lines = ", ".join(line_of(path, int(piece.index[row])) for row in rows[:3])
    value = piece[column].iloc[int(rows[0])]
    shown = "missing" if pd.isna(value) else f"'{value}'"
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    raise InputError(
        f"{path}: {column} is {shown} in {count}, line {lines}{' ...' if len(rows) > 3 else ''}", rule, remedy
    )


def numbers(context: Context, piece: pd.DataFrame, key: str, rule: str) -> np.ndarray:
    """A column as float64, NaN where missing. Raises `InputError` for text and for infinite values."""
    column = context.found.columns[key]
    values = piece[column]
    if pd.api.types.is_numeric_dtype(values.dtype):
        out = values.to_numpy(dtype=float, na_value=np.nan)
        refuse(context.path, piece, np.isinf(out), column, rule, _REMOVE)
        return out
    out = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    text = np.isnan(out) & values.notna().to_numpy()
    refuse(context.path, piece, text | np.isinf(out), column, rule, _REMOVE)
    return out


def texts(piece: pd.DataFrame, column: str, spell: Callable[[str], str] = str) -> np.ndarray:
    """A column as text, '' where missing."""
    values = piece[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        spelled = np.array([*(spell(str(value)) for value in values.cat.categories), ""], dtype=object)
        return spelled[values.cat.codes.to_numpy()]
    missing = values.isna().to_numpy()
    out = values.astype(object).to_numpy().copy()
    out[missing] = ""
    return shared_text(out, spell) if spell is not str else out


def places(context: Context, piece: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Chromosome ('' where missing) and position (0 where missing) of each row."""
    columns = context.found.columns
    chromosome = chromosome_labels(texts(piece, columns["chromosome"]))
    chromosome[piece[columns["chromosome"]].isna().to_numpy()] = ""
    rule = "A position is a whole number of base pairs above zero"
    position = numbers(context, piece, "position", rule)
    whole = np.isnan(position) | ((position > 0) & (position % 1 == 0) & (position < 2**29))
    refuse(context.path, piece, ~whole, columns["position"], rule, _REMOVE)
    return chromosome, np.nan_to_num(position).astype(np.int64)


def sizes(context: Context, piece: pd.DataFrame) -> np.ndarray:
    """Sample sizes; where missing, that of the whole file, NaN where that is not known either."""
    columns, rule = context.found.columns, "Every sample size is a number above zero"
    n = context.n
    if n is not None and not (np.isfinite(n) and n > 0):
        given = f"{context.path}: n = {n}"
        raise InputError(given, "A sample size is above zero", "Correct n in the study file")
    if "n" not in columns and not {"n_cases", "n_controls"} <= set(columns):
        return np.full(len(piece), np.nan if n is None else float(n))
    keys = ("n",) if "n" in columns else ("n_cases", "n_controls")
    total = np.zeros(len(piece))
    for key in keys:
        part = numbers(context, piece, key, rule)
        refuse(context.path, piece, part <= 0, columns[key], rule, "Remove these rows, or fill n in")
        total += part
    return total if context.n is None else np.where(np.isnan(total), context.n, total)


def frequencies(context: Context, piece: pd.DataFrame) -> np.ndarray:
    """Frequencies of the effect allele, NaN where missing."""
    column, rule = context.found.columns["effect_allele_frequency"], "A frequency lies between 0 and 1"
    out = numbers(context, piece, "effect_allele_frequency", rule)
    bad = (out < 0) | (out > 1)
    refuse(context.path, piece, bad, column, rule, "Correct it, or leave it missing")
    return out


# ---- z-scores -------------------------------------------------------------------------------------------


def z_of_neg_log10_p(neg_log10_p: np.ndarray) -> np.ndarray:
    """|z| of two-sided p-values given as -log10 p, exact where p is far below what a double can hold.

    |z| = -Phi^-1(p / 2), from log p by the inverse of the logarithm of the normal distribution function.
    """
    return np.asarray(-ndtri_exp(-np.asarray(neg_log10_p, dtype=float) * _LOG10 - np.log(2.0)))


def _neg_log10_p(context: Context, piece: pd.DataFrame) -> np.ndarray:
    """-log10 p of each row, NaN where missing."""
    columns = context.found.columns
    if "neg_log_10_p_value" in columns:
        rule = "Every -log10 p is a number of at least 0"
        out = numbers(context, piece, "neg_log_10_p_value", rule)
        refuse(context.path, piece, out < 0, columns["neg_log_10_p_value"], rule, _REMOVE)
        return np.abs(out)
    column = columns["p_value"]
    rule = "Every p-value is above 0 and at most 1"
    p = numbers(context, piece, "p_value", rule)
    out = np.full(len(p), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = p > 1e-290
        out[plain] = np.abs(np.log10(p[plain]))
    for row in np.flatnonzero(p <= 1e-290):  # 1e-400 is 0 as a double; as text it is not
        try:
            small = Decimal(str(piece[column].iloc[row]).strip())
            out[row] = float(-small.log10()) if small > 0 else np.inf
        except InvalidOperation:
            out[row] = np.inf
    refuse(
        context.path,
        piece,
        (p < 0) | (p > 1) | np.isinf(out),
        column,
        rule,
        "Add a column standard_error, or z: a p-value that was rounded to zero has lost its size",
    )
    return out


def _effects(context: Context, piece: pd.DataFrame) -> np.ndarray:
    """Effects on the scale of beta; ratios as their logarithm."""
    columns = context.found.columns
    if "beta" in columns:
        return numbers(context, piece, "beta", "Every effect is a finite number")
    key = next(key for key in RATIOS if key in columns)
    rule = "Odds and hazard ratios are finite and above zero"
    ratio = numbers(context, piece, key, rule)
    refuse(context.path, piece, ratio <= 0, columns[key], rule, _REMOVE)
    return np.log(ratio)


def _errors(context: Context, piece: pd.DataFrame, key: str) -> np.ndarray:
    rule = "Every standard error is finite and above zero"
    error = numbers(context, piece, key, rule)
    refuse(context.path, piece, error <= 0, context.found.columns[key], rule, _REMOVE)
    return error


def z_scores(context: Context, piece: pd.DataFrame) -> np.ndarray:
    """z-scores by `context.recipe` (see `choose_recipe`), NaN where a number is missing."""
    recipe = context.recipe
    if recipe == "z":
        return numbers(context, piece, "z", "Every z-score is a finite number")
    effect = _effects(context, piece)
    if recipe == "p":
        return np.sign(effect) * z_of_neg_log10_p(_neg_log10_p(context, piece))
    error = _errors(context, piece, recipe)
    if recipe == "ratio_standard_error":  # of the logarithm, to first order: that of the ratio over the ratio
        error = error / np.exp(effect)
    return effect / error


def choose_recipe(found: Found) -> str:
    """How z is made: "z", "standard_error", "ratio_standard_error" (of a ratio) or "p" (size from p, sign
    from the effect)."""
    columns = found.columns
    if "z" in columns:
        return "z"
    if "beta" in columns:
        return "standard_error" if "standard_error" in columns else "p"
    return ratio_scale(found) or "p"


def needed(found: Found, recipe: str) -> list[str]:
    """Our names of the columns that z is made of."""
    if recipe == "z":
        return ["z"]
    effect = "beta" if "beta" in found.columns else next(key for key in RATIOS if key in found.columns)
    if recipe != "p":
        return [effect, recipe]
    return [effect, "neg_log_10_p_value" if "neg_log_10_p_value" in found.columns else "p_value"]


def check_scale(context: Context, piece: pd.DataFrame) -> list[str]:
    """Notes on whether effects, standard errors and p-values of one piece tell the same z.

    Raises `InputError` where they do not by far, and where a column of effects looks like ratios.
    """
    columns, recipe = context.found.columns, context.recipe
    if "beta" in columns and recipe != "z" and len(piece) >= ENOUGH:
        beta = _effects(context, piece)
        if (beta > 0).all() and 0.5 < np.median(beta) < 2:
            raise InputError(
                f"{context.path}: every {columns['beta']} is above zero, around {np.median(beta):.2g}",
                "An effect is negative for about half of the variants; ratios lie around 1",
                f'Likely an odds ratio: give columns = {{ odds_ratio = "{columns["beta"]}" }} under [[gwas]]',
            )
    if recipe in ("z", "p") or not {"p_value", "neg_log_10_p_value"} & set(columns):
        return []
    z = np.abs(z_scores(context, piece))
    by_p = z_of_neg_log10_p(_neg_log10_p_or_nan(context, piece))
    told = (by_p > _TELLS) & np.isfinite(by_p) & np.isfinite(z)
    if told.sum() < ENOUGH:
        return []
    ratio = float(np.median(z[told] / by_p[told]))
    name = context.path.name
    if not 1 / MOST_DIFFERENT < ratio < MOST_DIFFERENT:
        raise InputError(
            f"{context.path}: effect / {columns[recipe]} is {ratio:.2g} times the z-score of the p-value",
            "The effect over its standard error has the size that its p-value says",
            f"Check that {columns[recipe]} is the standard error of the effect (of log(ratio)), "
            "and which columns were taken; columns = { ... } under [[gwas]] names others",
        )
    if abs(ratio - 1) > 0.1:
        return [f"{name}: effect / standard error is {ratio:.2f} times the z-score of the p-value"]
    return []


def conflicts(context: Context, piece: pd.DataFrame, z: np.ndarray) -> np.ndarray:
    """Where z is further from beta / standard_error, or |z| from the two-sided p-value, than rounding
    takes it."""
    columns = context.found.columns
    allowed = np.maximum(CONFLICT, CONFLICT_SHARE * np.abs(z))
    bad = np.zeros(len(z), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):  # what is missing or zero is no conflict
        if context.recipe == "z" and {"beta", "standard_error"} <= set(columns):
            beta, error = (_or_nan(piece[columns[key]]) for key in ("beta", "standard_error"))
            bad |= np.isfinite(beta / error) & (np.abs(z - beta / error) > allowed)
        if context.recipe != "p" and {"p_value", "neg_log_10_p_value"} & set(columns):
            _possible_p(context, piece)
            size = z_of_neg_log10_p(_neg_log10_p_or_nan(context, piece))
            bad |= np.isfinite(size) & (np.abs(np.abs(z) - size) > allowed)
    return bad


def _possible_p(context: Context, piece: pd.DataFrame) -> None:
    """Raise `InputError` for p-values that cannot be, 0 aside: rounding leads there."""
    columns = context.found.columns
    for key, most, rule in (
        ("p_value", 1.0, "A p-value lies between 0 and 1"),
        ("neg_log_10_p_value", np.inf, "-log10 p is at least 0"),
    ):
        if key in columns:
            value = _or_nan(piece[columns[key]])
            bad = (value < 0) | (value > most)
            refuse(context.path, piece, bad, columns[key], rule, "Correct it, or leave it missing")


def _or_nan(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _neg_log10_p_or_nan(context: Context, piece: pd.DataFrame) -> np.ndarray:
    """-log10 p where a double holds it: good enough to see a scale."""
    columns = context.found.columns
    if "neg_log_10_p_value" in columns:
        return np.abs(_or_nan(piece[columns["neg_log_10_p_value"]]))
    p = _or_nan(piece[columns["p_value"]])
    return -np.log10(np.where((p > 1e-290) & (p <= 1), p, np.nan))
