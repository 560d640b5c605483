"""Variant tables: chromosome labels, alleles and identifiers that spell out their alleles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayestwas.errors import InputError

COLUMNS = ("chromosome", "position", "variant_id", "effect_allele", "other_allele")

# chr_pos_other_effect[_build], with "_" or ":" between the parts
_ID = r"^(?:chr)?([0-9A-Za-z]+)[_:](\d+)[_:]([ACGTacgt]+)[_:]([ACGTacgt]+)(?:[_:]([A-Za-z]+\d+))?$"
_SEX_LABELS = {"23": "X", "24": "Y", "25": "X", "26": "MT", "M": "MT"}
_BUILDS = {
    "grch37": "GRCh37",
    "hg19": "GRCh37",
    "b37": "GRCh37",
    "grch38": "GRCh38",
    "hg38": "GRCh38",
    "b38": "GRCh38",
}


def chromosome_labels(labels: Any) -> np.ndarray:
    """Chromosome labels in one spelling: no `chr`, no leading zeros, X, Y and MT by letter.

    `labels` is any sequence of strings or integers; the result is an object array of str of the same length.
    """
    return shared_text(labels, _chromosome_label)


def _chromosome_label(label: str) -> str:
    text = label.strip()
    text = text[3:] if text.lower().startswith("chr") else text
    text = text.lstrip("0") or "0"
    text = text.upper() if text.upper() in ("X", "Y", "M", "MT") else text
    return _SEX_LABELS.get(text, text)


def shared_text(values: Any, spell: Callable[[str], str] = str) -> np.ndarray:
    """Object array of `spell(value)`, one str in memory per distinct value: columns of alleles repeat a
    few."""
    code, unique = pd.factorize(np.asarray(values, dtype=object))
    return np.array([spell(str(value)) for value in unique], dtype=object)[code]


def chromosome_order(label: str) -> tuple[int, str]:
    """Sort key: numbered chromosomes by number, then the lettered ones by name."""
    return (int(label), "") if label.isdigit() else (1000, label)


def block_number(blocks: pd.DataFrame, chromosome: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Number of the block that holds each 1-based position, -1 where none does."""
    number = np.full(len(position), -1)
    for label, part in blocks.groupby("chromosome", sort=False):
        here = np.flatnonzero(chromosome == label)
        order = np.argsort(part["start"].to_numpy())
        start, end = part["start"].to_numpy()[order], part["end"].to_numpy()[order]
        which = np.searchsorted(start, position[here] - 1, side="right") - 1
        inside = (which >= 0) & (position[here] - 1 < end[which])
        original = np.flatnonzero((blocks["chromosome"] == label).to_numpy())[order]
        number[here[inside]] = original[which[inside]]
    return number


def standard_build(build: str) -> str:
    """GRCh37 or GRCh38 for their synonyms (hg19, b37, hg38, b38); any other name as it is."""
    return _BUILDS.get(build.lower(), build)


def parse_variant_ids(ids: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """Read identifiers of the form chr_pos_other_effect[_build] or chr:pos:other:effect[:build].

    Returns a DataFrame with the columns chromosome, position (Int64), other_allele, effect_allele, build;
    every entry of a row is missing where the identifier has another form (an rs number, for example).
    """
    parts = pd.Series(np.asarray(ids, dtype=object)).astype(str).str.extract(_ID)
    parts.columns = ["chromosome", "position", "other_allele", "effect_allele", "build"]
    parsed = parts["position"].notna()
    parts.loc[parsed, "chromosome"] = chromosome_labels(parts.loc[parsed, "chromosome"])
    parts["position"] = pd.to_numeric(parts["position"]).astype("Int64")
    for name in ("other_allele", "effect_allele"):
        parts[name] = parts[name].str.upper()
    return parts


def check_variants(source: str, variants: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> None:
    """Raise `InputError` unless `variants` has the columns, whole positions above zero, and alleles that
    differ."""
    lacking = [name for name in columns if name not in variants.columns]
    if lacking:
        raise InputError(
            f"{source}: the variant table lacks {', '.join(lacking)}",
            f"A variant table has the columns {', '.join(columns)}",
            "Add the columns, or rename those that hold them",
        )
    position = variants["position"]
    if len(variants) and (not pd.api.types.is_integer_dtype(position.dtype) or int(position.min()) < 0):
        raise InputError(
            f"{source}: positions are {position.dtype}, smallest {position.min()}",
            "Positions are whole numbers of base pairs, 1-based",
            "Convert the column position to integers",
        )
    alleles = variants[["effect_allele", "other_allele"]]
    same = (alleles["effect_allele"].astype(str) == alleles["other_allele"].astype(str)).to_numpy()
    if same.any():
        row = int(np.argmax(same))
        label = (
            str(variants["variant_id"].iloc[row]) if "variant_id" in variants.columns else f"row {row + 1}"
        )
        raise InputError(
            f"{source}: {int(same.sum())} variants have the same effect_allele and other_allele, first "
            f"{label}",
            "The two alleles of a variant differ",
            "Correct or remove these variants",
        )
