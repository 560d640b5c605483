"""One piece of a GWAS file, checked: places, alleles, z-scores, and why rows cannot be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayestwas.data.reading import UNUSED_COLUMNS, nothing_unused
from bayestwas.data.variants import block_number, chromosome_labels
from bayestwas.io.gwas_meta import Meta
from bayestwas.io.gwas_values import Context, conflicts, frequencies, needed, places, sizes, texts, z_scores
from bayestwas.io.lift import Lift

ADDITIVE = ("ADD", "ADD-INT_SNP", "")  # values of a column test whose effects are those of one more allele
UNKNOWN_ALLELES = ("0", ".", "N", "?")
_PLACE = re.compile(r"^(?:chr)?([0-9]{1,2}|[XYM]|MT)[:_](\d+)(?:[:_]([ACGT]+)[:_]([ACGT]+))?", re.IGNORECASE)
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class Asked:
    """How a GWAS file is to be read.

    `n`: sample size where the file has no such column. `source`: what stands for the file in messages.
    `columns`: our name -> column of the file, before any guess. `blocks`: DataFrame with chromosome, start,
    end (0-based, half-open); rows elsewhere are counted and passed over. `known()`: DataFrame indexed
    by identifier with chromosome and position, for files without positions. `lift`: to the build of the
    study. `sample`: the trait of a GWAS-VCF that holds several.
    """

    n: float | None = None
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    blocks: pd.DataFrame | None = None
    known: Callable[[], pd.DataFrame] | None = None
    lift: Lift | None = None
    sample: str | None = None


class Part(NamedTuple):
    """One piece, checked: rows with a z-score, rows that cannot be used, and what lies outside."""

    rows: pd.DataFrame  # chromosome, position, variant_id, effect_allele, other_allele, z, n, frequency
    unused: pd.DataFrame
    outside: int
    furthest: dict[str, int]


def additive(context: Context, piece: pd.DataFrame) -> pd.DataFrame:
    if "test" not in context.found.columns:
        return piece
    return piece[np.isin(texts(piece, context.found.columns["test"]), ADDITIVE)]


def check_part(context: Context, asked: Asked, meta: Meta, piece: pd.DataFrame) -> Part:
    """Check one piece."""
    piece = additive(context, piece)
    names = _texts_of(context, piece, "variant_id")
    chromosome, position, spelled = _places(context, asked, meta, piece, names)
    furthest = _furthest(chromosome, position)
    reverse = np.zeros(len(piece), dtype=bool)
    reason = np.where((chromosome == "") | (position == 0), _no_place(context), "").astype(object)
    if asked.lift is not None:
        placed = reason == ""
        lifted = asked.lift(chromosome[placed], position[placed])
        chromosome[placed], position[placed], reverse[placed] = lifted
        lost = placed & (chromosome == "")
        reason[lost] = "has no single position in the build of the study"
    outside = 0
    if asked.blocks is not None:
        inside = (reason != "") | (block_number(asked.blocks, chromosome, position) >= 0)
        outside = int(np.count_nonzero(~inside))
        piece, names, chromosome, position = (
            piece[inside],
            names[inside],
            chromosome[inside],
            position[inside],
        )
        reason, reverse, spelled = reason[inside], reverse[inside], spelled[inside]
    effect, other = _alleles(context, piece, spelled)
    if reverse.any():
        for alleles in (effect, other):
            alleles[reverse] = [_turned(allele) for allele in alleles[reverse]]
    rows = pd.DataFrame({"chromosome": chromosome, "position": position, "variant_id": names})
    rows["effect_allele"], rows["other_allele"] = effect, other
    rows["z"], rows["n"] = z_scores(context, piece), sizes(context, piece)
    rows["conflict"] = conflicts(context, piece, rows["z"].to_numpy())
    if "effect_allele_frequency" in context.found.columns:
        rows["effect_allele_frequency"] = frequencies(context, piece)
    blank = (reason == "") & ~np.isfinite(rows["z"].to_numpy())
    reason[blank] = "no estimate: " + " or ".join(needed(context.found, context.recipe)) + " is missing"
    reason[(reason == "") & ~np.isfinite(rows["n"].to_numpy())] = "n is missing"
    reason[(reason == "") & ((effect == "") | (other == ""))] = "an allele is unknown"
    alike = (reason == "") & (effect == other)
    reason[alike] = "both alleles are the same"
    bad = reason != ""
    return Part(rows[~bad].reset_index(drop=True), _unused(rows[bad], reason[bad]), outside, furthest)


def _unused(rows: pd.DataFrame, reason: np.ndarray) -> pd.DataFrame:
    if not len(rows):
        return nothing_unused()
    place = rows["chromosome"].astype(str) + ":" + rows["position"].astype(str)
    place = place.where((rows["chromosome"] != "") & (rows["position"] > 0), "")
    return pd.DataFrame(dict(zip(UNUSED_COLUMNS, (place, rows["variant_id"], reason), strict=True)))


def _no_place(context: Context) -> str:
    if "chromosome" in context.found.columns:
        return "chromosome or position is missing"
    return "its identifier has no position: it is in none of the genotype files of the study"


def _texts_of(
    context: Context, piece: pd.DataFrame, key: str, spell: Callable[[str], str] = str
) -> np.ndarray:
    """A column of text, '' throughout where there is none. Identifiers are never made up of alleles: one
    that spells them would be taken as evidence of the strand."""
    column = context.found.columns.get(key)
    return np.full(len(piece), "", dtype=object) if column is None else texts(piece, column, spell)


def _places(
    context: Context, asked: Asked, meta: Meta, piece: pd.DataFrame, names: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chromosome, position, and the alleles that identifiers spell ("REF ALT", '' where not read)."""
    none = np.full(len(piece), "", dtype=object)
    if {"chromosome", "position"} <= set(context.found.columns):
        chromosome, position = places(context, piece)
        return chromosome, position + (meta.zero_based & (position > 0)), none
    chromosome, position, spelled = none.copy(), np.zeros(len(piece), dtype=np.int64), none
    for row, name in enumerate(names.tolist()):
        match = _PLACE.match(name)
        if match:
            chromosome[row], position[row] = match[1], int(match[2])
            spelled[row] = f"{match[3]} {match[4]}".upper() if match[3] else ""
    chromosome[position > 0] = chromosome_labels(chromosome[position > 0])
    if asked.known is not None and (position == 0).any():
        known = asked.known()
        at = known.index.get_indexer(pd.Index(names))
        use = (position == 0) & (at >= 0) & (names != "")
        chromosome[use] = known["chromosome"].to_numpy(dtype=object)[at[use]]
        position[use] = known["position"].to_numpy()[at[use]]
    return chromosome, position, spelled


def _alleles(context: Context, piece: pd.DataFrame, spelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Effect and other allele in capitals, '' where unknown."""
    columns = context.found.columns

    def read(key: str) -> np.ndarray:
        values = _texts_of(context, piece, key, str.upper)
        values[np.isin(values, UNKNOWN_ALLELES)] = ""
        return values

    if "effect_allele" not in columns:  # identifiers chr:pos:ref:alt; the effect is of alt
        pairs = [pair.split(" ") if pair else ["", ""] for pair in spelled.tolist()]
        both = np.array(pairs, dtype=object).reshape(-1, 2)
        return both[:, 1].copy(), both[:, 0].copy()
    effect = read("effect_allele")
    if "other_allele" in columns:
        return effect, read("other_allele")
    ref, alt = read("ref"), read("alt")  # PLINK 2 without the column omitted
    return effect, np.where(effect == alt, ref, np.where(effect == ref, np.where(_single(alt), alt, ""), ref))


def _single(alt: np.ndarray) -> np.ndarray:
    return np.array(["," not in value for value in alt], dtype=bool)


def _turned(allele: str) -> str:
    return allele.translate(_COMPLEMENT)[::-1]


def _furthest(chromosome: np.ndarray, position: np.ndarray) -> dict[str, int]:
    code, labels = pd.factorize(chromosome)
    largest = np.zeros(len(labels), dtype=np.int64)
    np.maximum.at(largest, code, position)
    return {str(label): int(top) for label, top in zip(labels, largest, strict=True) if label}
