"""Alleles: which rows of which files are the same variant, in which orientation and on which strand.

The first file that holds a variant sets its effect allele. A later row of the same variant is kept, flipped
(alleles swapped) or turned to the other strand; palindromic pairs (A/T, C/G), whose labels read the same on
both strands, are settled by identifiers that spell out the alleles or by frequencies, and dropped where
neither can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bayestwas.data.variants import parse_variant_ids

LEDGER_COLUMNS = ("file", "variant", "source_id", "action", "reason")
KEPT, FLIPPED, STRAND, DROPPED = "kept", "flipped", "strand", "dropped"

# Frequencies on the same side of both limits name the strand of a palindromic variant; between them they do
# not.
RARE, COMMON = 0.4, 0.6

_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
_UNKNOWN = ("", "0", ".", "N", "?")
_SNP_PAIRS = {
    (a, b): min("/".join(sorted((a, b))), "/".join(sorted((_COMPLEMENT[a], _COMPLEMENT[b]))))
    for a in _COMPLEMENT
    for b in _COMPLEMENT
}
_PALINDROMIC = ("A/T", "C/G")


def _no_frequency(rows: np.ndarray) -> np.ndarray:
    return np.full(len(rows), np.nan)


@dataclass(frozen=True)
class VariantFile:
    """The variants of one file that lie inside the blocks.

    `table`: chromosome, position, variant_id, effect_allele, other_allele. `row`: their numbers in the file.
    `unusable`: reason per row, '' where there is none. `outside`: rows of the file outside all blocks.
    `frequency(rows)`: frequency of the effect allele of rows of the file, NaN where unknown.
    """

    name: str
    ancestry: str
    table: pd.DataFrame
    row: np.ndarray
    unusable: np.ndarray
    outside: int
    frequency: Callable[[np.ndarray], np.ndarray] = _no_frequency


@dataclass(frozen=True)
class Alignment:
    """Every variant once, and where each file holds it.

    `variants`: DataFrame with chromosome, position, effect_allele, other_allele, source_id. By file: `rows`
    (number of the row in the file, -1 where absent) and `signs` (+1, or -1 where the file counts the other
    allele).
    """

    variants: pd.DataFrame
    rows: dict[str, np.ndarray]
    signs: dict[str, np.ndarray]
    ledger: list[pd.DataFrame] = field(default_factory=list)


def complement(alleles: np.ndarray) -> np.ndarray:
    """Single bases on the other strand; longer alleles as they are."""
    return np.array([_COMPLEMENT.get(allele, allele) for allele in alleles], dtype=object)


def pair_labels(effect: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A label per variant that does not depend on the order of its alleles nor, for single bases, on the
    strand."""
    e_code, e_unique = pd.factorize(effect)
    o_code, o_unique = pd.factorize(other)
    code, pairs = pd.factorize(e_code * max(len(o_unique), 1) + o_code)
    alleles = [(str(e_unique[pair // len(o_unique)]), str(o_unique[pair % len(o_unique)])) for pair in pairs]
    labels = [_SNP_PAIRS.get(pair) or "/".join(sorted(pair)) for pair in alleles]
    return np.array(labels, dtype=object)[code] if labels else np.zeros(0, dtype=object)


def canonical_ids(table: pd.DataFrame) -> np.ndarray:
    """chromosome:position:other_allele:effect_allele."""
    if not len(table):
        return np.zeros(0, dtype=object)
    position = table["position"].astype(str)
    joined = table["chromosome"] + ":" + position + ":" + table["other_allele"] + ":" + table["effect_allele"]
    return joined.to_numpy(dtype=object)


def align(files: Sequence[VariantFile]) -> Alignment:
    """Match the variants of the files by chromosome, position and alleles; the order of `files` sets
    orientation."""
    codes = _Codes()
    reference = _Reference()
    ledgers = []
    seen: list[VariantFile] = []
    for file in files:
        table = file.table
        labels = pair_labels(table["effect_allele"].to_numpy(), table["other_allele"].to_numpy())
        keys = codes.keys(table["chromosome"].to_numpy(), table["position"].to_numpy(), labels)
        reason = _unusable(file, keys)
        usable = reason == ""
        index = np.full(len(table), -1)
        index[usable] = reference.find(keys[usable])
        new = usable & (index < 0)
        old = usable & ~new
        action = np.full(len(table), KEPT, dtype=object)
        sign = np.ones(len(table), dtype=np.int8)
        action[old], reason[old], sign[old] = _orient(file, old, index[old], labels[old], reference, seen)
        action[reason != ""] = np.where(action[reason != ""] == KEPT, DROPPED, action[reason != ""])
        index[new] = reference.add(keys[new], table[new])
        held = action != DROPPED
        reference.hold(file.name, index[held], file.row[held], sign[held])
        ledgers.append(_ledger(file, table, index, action, reason, reference))
        seen.append(file)
    return reference.alignment(ledgers)


class _Codes:
    """Whole numbers for (chromosome, position, pair of alleles): 7, 29 and 27 bits."""

    def __init__(self) -> None:
        self.chromosome: dict[str, int] = {}
        self.pair: dict[str, int] = {}

    def keys(self, chromosome: np.ndarray, position: np.ndarray, pair: np.ndarray) -> np.ndarray:
        parts = []
        for values, known in ((chromosome, self.chromosome), (pair, self.pair)):
            code, unique = pd.factorize(values)
            number = np.array([known.setdefault(value, len(known)) for value in unique], dtype=np.int64)
            parts.append(number[code] if len(unique) else np.zeros(0, dtype=np.int64))
        return (parts[0] << 56) | (position.astype(np.int64) << 27) | parts[1]


class _Reference:
    """The variants found so far, in the orientation of the first file that held each."""

    def __init__(self) -> None:
        self.keys = np.zeros(0, dtype=np.int64)
        self.tables: list[pd.DataFrame] = []
        self.effect, self.other, self.ids = (np.zeros(0, dtype=object) for _ in range(3))
        self.held: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def find(self, keys: np.ndarray) -> np.ndarray:
        return pd.Index(self.keys).get_indexer(pd.Index(keys))

    def add(self, keys: np.ndarray, table: pd.DataFrame) -> np.ndarray:
        first = len(self.keys)
        self.keys = np.concatenate([self.keys, keys])
        self.tables.append(table)
        self.effect = np.concatenate([self.effect, table["effect_allele"].to_numpy(dtype=object)])
        self.other = np.concatenate([self.other, table["other_allele"].to_numpy(dtype=object)])
        self.ids = np.concatenate([self.ids, table["variant_id"].to_numpy(dtype=object)])
        return np.arange(first, len(self.keys))

    def hold(self, name: str, index: np.ndarray, row: np.ndarray, sign: np.ndarray) -> None:
        self.held[name] = (index, row, sign)

    def spread(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows and signs of a file along the variants found so far."""
        rows = np.full(len(self.keys), -1, dtype=np.int64)
        signs = np.ones(len(self.keys), dtype=np.int8)
        index, row, sign = self.held[name]
        rows[index], signs[index] = row, sign
        return rows, signs

    def alignment(self, ledgers: list[pd.DataFrame]) -> Alignment:
        variants = pd.concat(self.tables, ignore_index=True).rename(columns={"variant_id": "source_id"})
        spread = {name: self.spread(name) for name in self.held}
        rows = {name: rows for name, (rows, _) in spread.items()}
        return Alignment(variants, rows, {name: signs for name, (_, signs) in spread.items()}, ledgers)


def _unusable(file: VariantFile, keys: np.ndarray) -> np.ndarray:
    """Why a row cannot be used whatever the other files hold; '' where it can."""
    reason = file.unusable.copy()
    for allele in ("effect_allele", "other_allele"):
        unknown = file.table[allele].isin(_UNKNOWN).to_numpy()
        reason[unknown & (reason == "")] = "an allele is unknown"
    twice = pd.Series(keys).duplicated(keep=False).to_numpy() & (reason == "")
    reason[twice] = "duplicate: the file holds this position and these alleles more than once"
    return reason


def _orient(
    file: VariantFile,
    old: np.ndarray,
    index: np.ndarray,
    labels: np.ndarray,
    reference: _Reference,
    seen: list[VariantFile],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Action, reason and sign of the rows `old` of a file, which are the variants `index` of the
    reference."""
    table = file.table[old]
    effect, other = table["effect_allele"].to_numpy(), table["other_allele"].to_numpy()
    ref_effect, ref_other = reference.effect[index], reference.other[index]
    same = (effect == ref_effect) & (other == ref_other)
    swapped = (effect == ref_other) & (other == ref_effect)
    turned = ~same & ~swapped
    action = np.where(same, KEPT, np.where(swapped, FLIPPED, STRAND)).astype(object)
    reason = np.where(same, "", np.where(swapped, "alleles swapped", "other strand")).astype(object)
    sign = np.where(swapped, -1, 1).astype(np.int8)
    turned_swapped = turned.copy()
    turned_swapped[turned] = complement(effect[turned]) == ref_other[turned]
    sign[turned_swapped] = -1
    reason[turned_swapped] = "other strand, alleles swapped"
    doubtful = np.flatnonzero(np.isin(labels, _PALINDROMIC))
    doubtful = doubtful[
        ~_same_spelling(table["variant_id"].to_numpy()[doubtful], reference.ids[index[doubtful]])
    ]
    if len(doubtful):
        verdict = _strand_by_frequency(
            file, file.row[old][doubtful], sign[doubtful], index[doubtful], reference, seen
        )
        other_strand = doubtful[verdict == STRAND]
        action[other_strand], reason[other_strand] = (
            STRAND,
            "palindromic, on the other strand by its frequency",
        )
        sign[other_strand] *= -1
        for code, why in _PALINDROMIC_REASONS.items():
            action[doubtful[verdict == code]], reason[doubtful[verdict == code]] = DROPPED, why
    return action, reason, sign


_PALINDROMIC_REASONS = {
    "none": "palindromic, no frequency",
    "half": "palindromic, frequencies near one half do not tell the strand",
    "ancestries": "palindromic, frequencies differ between ancestries",
}


def _same_spelling(ids: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether two identifiers spell out the same position and the same alleles in the same order."""
    columns = ["chromosome", "position", "other_allele", "effect_allele"]
    one, two = (parse_variant_ids(values)[columns] for values in (ids, reference))
    equal = (one == two).all(axis=1)  # what is missing (an identifier of another form) equals nothing
    return equal.fillna(False).to_numpy(dtype=bool)


def _strand_by_frequency(
    file: VariantFile,
    row: np.ndarray,
    sign: np.ndarray,
    index: np.ndarray,
    reference: _Reference,
    seen: list[VariantFile],
) -> np.ndarray:
    """kept, strand, or the key of the reason to drop, per palindromic variant.

    The frequency in an earlier file of the same ancestry decides either way. One of another ancestry can only
    confirm the strand: frequencies on opposite sides may as well be a difference between the ancestries.
    """
    own = file.frequency(row)
    own = np.where(sign > 0, own, 1 - own)
    verdict = np.full(len(row), "none", dtype=object)
    for earlier in sorted(seen, key=lambda other: other.ancestry != file.ancestry):
        rows, signs = reference.spread(earlier.name)
        open_ = (verdict == "none") & np.isfinite(own) & (rows[index] >= 0)
        if not open_.any():
            continue
        known = earlier.frequency(rows[index[open_]])
        known = np.where(signs[index[open_]] > 0, known, 1 - known)
        mine = own[open_]
        agree = ((mine < RARE) & (known < RARE)) | ((mine > COMMON) & (known > COMMON))
        opposite = ((mine < RARE) & (known > COMMON)) | ((mine > COMMON) & (known < RARE))
        against = STRAND if earlier.ancestry == file.ancestry else "ancestries"
        found = np.where(agree, KEPT, np.where(opposite, against, "half")).astype(object)
        verdict[open_] = np.where(np.isfinite(known), found, "none")
    return verdict


def _ledger(
    file: VariantFile,
    table: pd.DataFrame,
    index: np.ndarray,
    action: np.ndarray,
    reason: np.ndarray,
    reference: _Reference,
) -> pd.DataFrame:
    """One row per variant that was changed or dropped, after one row that counts them."""
    touched = np.flatnonzero(action != KEPT)
    own = table.iloc[touched].reset_index(drop=True)
    found = index[touched] >= 0
    own.loc[found, "effect_allele"] = reference.effect[index[touched][found]]
    own.loc[found, "other_allele"] = reference.other[index[touched][found]]
    counts = {name: int((action == name).sum()) for name in (FLIPPED, STRAND, DROPPED)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    kept = len(action) - sum(counts.values())
    summary = (
        f"{len(action)} variants in the blocks: {kept} as they are, {told}; {file.outside} outside the blocks"
    )
    rows = {
        "file": file.name,
        "variant": ["", *canonical_ids(own)],
        "source_id": ["", *own["variant_id"]],
        "action": [KEPT, *action[touched]],
        "reason": [summary, *reason[touched]],
    }
    return pd.DataFrame(rows, columns=list(LEDGER_COLUMNS))
