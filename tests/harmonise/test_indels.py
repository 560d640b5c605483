"""Insertions and deletions: every way to write one is read as the same variant. Simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayestwas.errors import HarmonisationError, InputError
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.indels import SHIFTED, TRIMMED, shifted, trimmed, written_once
from bayestwas.io.fasta import open_genome

BASES = st.text("AC", min_size=30, max_size=40)  # two bases: repeats everywhere


def _spellings(genome: str, haplotype: str) -> list[tuple[int, str, str]]:
    """Every (position, reference, alternate) of up to 12 bases that turns the genome into the haplotype."""
    found = []
    for start in range(len(genome)):
        for length in range(1, 13):
            end = start + length
            size = len(haplotype) - len(genome) + length
            if end > len(genome) or size < 1 or size > 12:
                continue
            alternate = haplotype[start : start + size]
            if genome[:start] + alternate + genome[end:] == haplotype and alternate != genome[start:end]:
                found.append((start + 1, genome[start:end], alternate))
    return found


def _reader(genome: str) -> Any:
    return lambda chromosome, start, end: genome[start:end] if chromosome == "7" else ""


@settings(max_examples=40, deadline=None)
@given(BASES, st.integers(8, 20), st.integers(1, 4), st.text("AC", min_size=1, max_size=4), st.booleans())
def test_all_spellings_become_the_leftmost_and_shortest(
    genome: str, place: int, length: int, inserted: str, deletion: bool
) -> None:
    """Of all spellings, found by trying every one: the shortest alleles, and of those the smallest position,
    in whichever order the alleles stand."""
    haplotype = genome[:place] + ("" if deletion else inserted) + genome[place + length * deletion :]
    spellings = _spellings(genome, haplotype)
    shortest = min(len(a) + len(b) for _, a, b in spellings)
    expected = min(s for s in spellings if len(s[1]) + len(s[2]) == shortest)
    position, one, two = (np.array(column, dtype=object) for column in zip(*spellings, strict=True))
    for pair in ((one, two), (two, one)):
        new = written_once(np.full(len(one), "7"), position.astype(np.int64), *pair, _reader(genome))
        assert not new.foreign.any()
        assert set(
            zip(new.position.tolist(), map(frozenset, zip(new.one, new.two, strict=True)), strict=True)
        ) == {(expected[0], frozenset(expected[1:]))}


@given(
    st.integers(100, 200), st.text("ACGT", min_size=1, max_size=5), st.text("ACGT", min_size=1, max_size=5),
    st.text("ACGT", max_size=5), st.text("ACGT", max_size=5),
)  # fmt: skip
def test_trimming_needs_no_genome(position: int, one: str, two: str, before: str, after: str) -> None:
    """Bases that both alleles share at their ends make no difference, but for the place of a repeat: those
    after are cut first."""
    if one == two:
        return
    assert trimmed(position, one + after, two + after) == trimmed(position, one, two)
    again = trimmed(position - len(before), before + one, before + two)
    if one[-1] != two[-1]:
        assert again == trimmed(position, one, two)
    assert trimmed(*again) == again
    assert min(len(again[1]), len(again[2])) >= 1
    assert again[1][-1] != again[2][-1] or min(len(again[1]), len(again[2])) == 1


def test_what_cannot_be_moved_stays() -> None:
    genome = "CCAAAAAACG"
    chromosome = np.array(["7", "7", "7", "8", "7", "7"])
    position = np.array([6, 6, 3, 6, 4, 5])
    one = np.array(["AA", "A", "GT", "AA", "<DEL>", "T"], dtype=object)
    two = np.array(["A", "G", "G", "A", "A", "C"], dtype=object)
    new = written_once(chromosome, position, one, two, _reader(genome))
    assert new.position.tolist() == [2, 6, 3, 6, 4, 5]
    assert new.one.tolist() == ["CA", "A", "GT", "AA", "<DEL>", "T"]
    assert new.how.tolist() == [SHIFTED, "", "", "", "", ""]
    assert new.foreign.tolist() == [False, False, True, True, False, False]
    # the start of a chromosome
    assert shifted(2, "AA", "A", lambda p: "A" if p > 0 else "") == (1, "AA", "A")


def test_files_that_write_a_variant_differently_share_it(draft: Any, tmp_path: Path) -> None:
    """Padded alleles in one file, a deletion at the other end of its repeat in another: with a genome all
    variants are shared, and the ledger says what was written anew; without, those that were padded."""
    whole = harmonise(draft.build()).variants
    rng = np.random.default_rng(1)
    bases = rng.choice(list("CG"), 1_050_000)
    indels = np.flatnonzero(draft.tables["ld.EUR"]["effect_allele"] == "AT")
    start = draft.tables["ld.EUR"]["position"].to_numpy()[indels]
    for at in start:
        bases[at - 1 : at + 4] = list("ATTTC")
    gwas, ld = draft.tables["gwas.EUR"], draft.tables["ld.EUR"]
    gwas.loc[indels, ["effect_allele", "other_allele"]] = ["ATTT", "ATT"]
    ld.loc[indels, "position"] += 2
    ld.loc[indels, ["effect_allele", "other_allele"]] = ["TT", "T"]
    fasta = tmp_path / "genome.fa"
    fasta.write_text(">chr7\n" + "".join(bases) + "\n")
    found = harmonise(draft.build(genome=open_genome(fasta)))
    assert found.variants.index.tolist() == whole.index.tolist()
    assert (found.rows["ld.EUR"] >= 0).all()
    anew = found.ledger[found.ledger["action"] == "rewritten"]
    assert anew.groupby(["file", "reason"]).size().to_dict() == {
        ("gwas.EUR", TRIMMED): len(indels),
        ("ld.EUR", SHIFTED): len(indels),
    }
    without = harmonise(draft.build())
    assert without.variants.index.isin(whole.index).all()
    assert (without.rows["gwas.EUR"] >= 0).sum() == len(whole) - len(indels)  # no LD there
    ids = set(anew["variant"])
    lost = without.ledger[(without.ledger["file"] == "gwas.EUR") & (without.ledger["action"] == "dropped")]
    assert set(lost["variant"]) == ids


def test_a_genome_of_another_build_is_refused(draft: Any, tmp_path: Path) -> None:
    for table in draft.tables.values():
        table["effect_allele"], table["other_allele"] = "AT", "A"
    fasta = tmp_path / "genome.fa"
    fasta.write_text(">7\n" + "C" * 1_050_000 + "\n")
    with pytest.raises(HarmonisationError, match="neither allele of 40 of 40 insertions and deletions"):
        harmonise(draft.build(genome=open_genome(fasta)))


def test_a_genome_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    path.write_bytes(b"\x00\x01 no genome")
    with pytest.raises(InputError, match=r"genome\.fa cannot be read as a genome"):
        open_genome(path)
    with pytest.raises(InputError, match="does not exist"):
        open_genome(tmp_path / "absent.fa")
