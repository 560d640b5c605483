"""Alleles: which rows of which files are the same variant, in which orientation and on which strand.

The first file that holds a variant sets its effect allele. A later row of the same variant is kept, flipped
(alleles swapped) or turned to the other strand. Palindromic pairs (A/T, C/G), whose labels read the same on
both strands, are settled by frequencies, then by identifiers that spell out the alleles, and dropped where
neither can. Identifiers are evidence only between files that are on one strand everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayestwas.data.variants import parse_variant_ids

LEDGER_COLUMNS = ("file", "variant", "source_id", "action", "reason")
KEPT, FLIPPED, STRAND, DROPPED = "kept", "flipped", "strand", "dropped"
REWRITTEN = "rewritten"  # beside one of the others

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
_TELLING = ("A/C", "A/G")  # pairs of single bases whose labels tell the strand


def _no_frequency(rows: np.ndarray) -> np.ndarray:
    return np.full(len(rows), np.nan)


@dataclass(frozen=True)
class VariantFile:
    """The variants of one file that lie inside the blocks.

    `table`: chromosome, position, variant_id, effect_allele, other_allele. `row`: their numbers in the file.
    `unusable`: reason per row, '' where there is none. `outside`: rows of the file outside all blocks.
    `frequency(rows)`: frequency of the effect allele of rows of the file, NaN where unknown. `how`: in what
    way the alleles of a row were written anew, '' where they were not; None: nowhere.
    """

    name: str
    ancestry: str
    table: pd.DataFrame
    row: np.ndarray
    unusable: np.ndarray
    outside: int
    frequency: Callable[[np.ndarray], np.ndarray] = _no_frequency
    how: np.ndarray | None = None

    def usable(self) -> np.ndarray:
        """Rows of the table with known alleles and no reason against them."""
        known = [
            ~self.table[allele].isin(_UNKNOWN).to_numpy() for allele in ("effect_allele", "other_allele")
        ]
        return np.flatnonzero((self.unusable == "") & known[0] & known[1])


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
        turned = np.zeros(len(table), dtype=bool)
        action[old], reason[old], sign[old], turned[old] = _orient(
            file, old, index[old], labels[old], reference, seen
        )
        action[reason != ""] = np.where(action[reason != ""] == KEPT, DROPPED, action[reason != ""])
        index[new] = reference.add(keys[new], table[new], labels[new])
        held = action != DROPPED
        ids = table["variant_id"].to_numpy(dtype=object)[held]
        reference.held[file.name] = _Held(index[held], file.row[held], sign[held], turned[held], ids)
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


class _Held(NamedTuple):
    """What one file holds: numbers of variants, rows of the file, signs, whether on the other strand,
    identifiers."""

    number: np.ndarray
    row: np.ndarray
    sign: np.ndarray
    turned: np.ndarray
    ids: np.ndarray


class _Reference:
    """The variants found so far, in the orientation of the first file that held each."""

    def __init__(self) -> None:
        self.keys = np.zeros(0, dtype=np.int64)
        self.tables: list[pd.DataFrame] = []
        self.effect, self.other = (np.zeros(0, dtype=object) for _ in range(2))
        self.telling = np.zeros(0, dtype=bool)
        self.held: dict[str, _Held] = {}

    def find(self, keys: np.ndarray) -> np.ndarray:
        return pd.Index(self.keys).get_indexer(pd.Index(keys))

    def add(self, keys: np.ndarray, table: pd.DataFrame, labels: np.ndarray) -> np.ndarray:
        first = len(self.keys)
        self.keys = np.concatenate([self.keys, keys])
        self.tables.append(table)
        self.effect = np.concatenate([self.effect, table["effect_allele"].to_numpy(dtype=object)])
        self.other = np.concatenate([self.other, table["other_allele"].to_numpy(dtype=object)])
        self.telling = np.concatenate([self.telling, np.isin(labels, _TELLING)])
        return np.arange(first, len(self.keys))

    def spread(self, name: str, what: str, absent: object) -> np.ndarray:
        """One field of what a file holds along the variants found so far, `absent` where it lacks them."""
        held = self.held[name]
        values = getattr(held, what)
        out = np.full(len(self.keys), absent, dtype=values.dtype)
        out[held.number] = values
        return out

    def alignment(self, ledgers: list[pd.DataFrame]) -> Alignment:
        variants = pd.concat(self.tables, ignore_index=True).rename(columns={"variant_id": "source_id"})
        unnamed = (variants["source_id"] == "").to_numpy()
        variants.loc[unnamed, "source_id"] = canonical_ids(variants[unnamed])
        rows = {name: self.spread(name, "row", -1).astype(np.int64) for name in self.held}
        return Alignment(variants, rows, {name: self.spread(name, "sign", 1) for name in self.held}, ledgers)


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Action, reason, sign and whether on the other strand, of the rows `old` of a file, which are the
    variants `index` of the reference."""
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
    if len(doubtful):
        unsure = _Doubtful(
            index[doubtful],
            file.row[old][doubtful],
            sign[doubtful],
            table["variant_id"].to_numpy(dtype=object)[doubtful],
        )
        verdict, why = _settle(file, unsure, _strands(index, turned, reference, seen), reference, seen)
        other_strand = doubtful[verdict == STRAND]
        action[other_strand], reason[other_strand] = STRAND, why[verdict == STRAND]
        sign[other_strand] *= -1
        turned[other_strand] = True
        lost = doubtful[verdict == DROPPED]
        action[lost], reason[lost] = DROPPED, why[verdict == DROPPED]
    return action, reason, sign, turned


# ---- palindromic variants -------------------------------------------------------------------------------

NO_FREQUENCY = "palindromic, no frequency"
_REASONS = {
    "none": NO_FREQUENCY,
    "half": "palindromic, frequencies near one half do not tell the strand",
    "ancestries": "palindromic, frequencies differ between ancestries",
    "strands": f"{NO_FREQUENCY}, and its identifier says nothing: other variants are on the other strand",
}


class _Doubtful(NamedTuple):
    """Palindromic rows of a file: numbers of variants, rows of the file, signs by their labels,
    identifiers."""

    number: np.ndarray
    row: np.ndarray
    sign: np.ndarray
    ids: np.ndarray


def _strands(
    index: np.ndarray, turned: np.ndarray, reference: _Reference, seen: list[VariantFile]
) -> dict[str, str]:
    """Earlier file -> "same", "other" or "mixed": the strand of a file against it, by variants whose labels
    tell."""
    told = reference.telling[index]
    strands = {}
    for earlier in seen:
        shared = told & (reference.spread(earlier.name, "row", -1)[index] >= 0)
        differ = (turned != reference.spread(earlier.name, "turned", False)[index])[shared]
        strands[earlier.name] = "same" if not differ.any() else "other" if differ.all() else "mixed"
    return strands


def _settle(
    file: VariantFile,
    unsure: _Doubtful,
    strands: dict[str, str],
    reference: _Reference,
    seen: list[VariantFile],
) -> tuple[np.ndarray, np.ndarray]:
    """kept, strand or dropped, and the reason, per palindromic variant: by frequency, then by identifier."""
    nearest_first = sorted(seen, key=lambda other: other.ancestry != file.ancestry)
    verdict = _by_frequency(file, unsure, strands, reference, nearest_first)
    why = np.full(len(verdict), "palindromic, on the other strand by its frequency", dtype=object)
    for earlier in nearest_first:
        open_ = ~np.isin(verdict, (KEPT, STRAND)) & (unsure.ids != "")
        spelled = np.zeros(len(verdict), dtype=bool)
        ids = reference.spread(earlier.name, "ids", "")[unsure.number]
        spelled[open_] = _same_spelling(unsure.ids[open_], ids[open_])
        if strands[earlier.name] == "same":
            there = reference.spread(earlier.name, "turned", False)[unsure.number]
            verdict[spelled] = np.where(there[spelled], STRAND, KEPT)
            why[spelled] = f"palindromic, named as in {earlier.name}, which is on the other strand here"
        else:
            verdict[spelled & (verdict == "none")] = "strands"
    for code, reason in _REASONS.items():
        why[verdict == code] = reason
    verdict[np.isin(verdict, list(_REASONS))] = DROPPED
    return verdict, why


def _same_spelling(ids: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether two identifiers spell out the same position and the same alleles in the same order."""
    columns = ["chromosome", "position", "other_allele", "effect_allele"]
    one, two = (parse_variant_ids(values)[columns] for values in (ids, reference))
    equal = (one == two).all(axis=1)  # what is missing (an identifier of another form) equals nothing
    return equal.fillna(False).to_numpy(dtype=bool)


def _by_frequency(
    file: VariantFile,
    unsure: _Doubtful,
    strands: dict[str, str],
    reference: _Reference,
    earlier_files: list[VariantFile],
) -> np.ndarray:
    """kept, strand, or the key of the reason to drop, per palindromic variant.

    The frequency in an earlier file of the same ancestry decides either way. One of another ancestry can only
    confirm the strand that the other variants of the two files suggest: frequencies on the wrong sides may as
    well be a difference between the ancestries.
    """
    own = file.frequency(unsure.row)
    own = np.where(unsure.sign > 0, own, 1 - own)
    verdict = np.full(len(own), "none", dtype=object)
    for earlier in earlier_files:
        rows = reference.spread(earlier.name, "row", -1)[unsure.number]
        open_ = (verdict == "none") & np.isfinite(own) & (rows >= 0)
        if not open_.any():
            continue
        at = unsure.number[open_]
        known = earlier.frequency(rows[open_])
        known = np.where(reference.spread(earlier.name, "sign", 1)[at] > 0, known, 1 - known)
        mine = own[open_]
        agree = ((mine < RARE) & (known < RARE)) | ((mine > COMMON) & (known > COMMON))
        opposite = ((mine < RARE) & (known > COMMON)) | ((mine > COMMON) & (known < RARE))
        found = np.where(agree, KEPT, np.where(opposite, STRAND, "half")).astype(object)
        if earlier.ancestry != file.ancestry:
            expected = reference.spread(earlier.name, "turned", False)[at] ^ (
                strands[earlier.name] == "other"
            )
            unlike = (agree & expected) | (opposite & ~expected)
            if strands[earlier.name] == "mixed":
                unlike = agree | opposite
            found[unlike] = "ancestries"
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
    return pd.concat([pd.DataFrame(rows, columns=list(LEDGER_COLUMNS)), _rewritten(file)], ignore_index=True)


def _rewritten(file: VariantFile) -> pd.DataFrame:
    how = np.full(len(file.table), "", dtype=object) if file.how is None else file.how
    table = file.table[how != ""]
    ids = table["variant_id"].to_numpy(dtype=object)
    columns = (file.name, canonical_ids(table), ids, REWRITTEN, how[how != ""])
    return pd.DataFrame(dict(zip(LEDGER_COLUMNS, columns, strict=True)), columns=list(LEDGER_COLUMNS))
