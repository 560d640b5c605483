"""Annotations find their variants and genes by place and alleles, whatever the order of the rows."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayestwas.data.annotations import (
    AnnotationRows,
    Annotations,
    GeneAnnotations,
    IntervalAnnotation,
    VariantTable,
    variant_table,
)
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.annotations import MatchedAnnotations, match_annotations

BLOCKS = pd.DataFrame({"block": ["b1", "b2"], "chromosome": ["7", "8"], "start": [0, 0], "end": [10**6] * 2})
GENES = pd.DataFrame({"gene": ["G1", "G2", "G3", "out"], "block": ["b1", "b1", "b2", ""]})
PLACE = [
    ("7", 100, "A", "G"),
    ("7", 200, "C", "T"),
    ("7", 200, "C", "G"),
    ("8", 100, "AT", "A"),
    ("8", 300, "A", "T"),
]
VARIANTS = pd.DataFrame(PLACE, columns=["chromosome", "position", "effect_allele", "other_allele"]).assign(
    source_id=[f"rs{number}" for number in range(5)]
)


def table(rows: list[tuple[Any, ...]], *names: str) -> VariantTable:
    columns = ["chromosome", "position", "effect_allele", "other_allele", *(names or ("a",))]
    return variant_table("t.tsv", pd.DataFrame(rows, columns=columns))


def match(*sources: Any, genes: pd.DataFrame | None = None) -> MatchedAnnotations:
    features = None if genes is None else GeneAnnotations("g.tsv", genes)
    return match_annotations(Annotations(sources, features), VARIANTS, GENES, BLOCKS)


def values(matched: MatchedAnnotations) -> list[Any]:
    assert matched.values is not None
    return matched.values[:, 0].tolist()


# ---- variants ---------------------------------------------------------------------------------------------


def test_rows_find_their_variants_in_either_orientation_and_on_either_strand() -> None:
    rows = [
        ("chr7", 100, "G", "A", 1.5),  # swapped
        ("7", 200, "G", "A", 2.5),  # the other strand
        ("07", 200, "C", "G", 3.5),
        ("8", 100, "A", "AT", 4.5),
        ("8", 300, "A", "T", 5.5),
        ("9", 300, "A", "T", 99.0),
    ]
    matched = match(table(rows))
    assert values(matched) == [1.5, 2.5, 3.5, 4.5, 5.5]
    row = matched.summary.iloc[0]
    assert row[["known", "missing", "nonzero", "status", "reason"]].tolist() == [5, 0, 5, "ok", ""]
    assert row["mean"] == 3.5
    assert row["sd"] == pytest.approx(np.sqrt(2), rel=1e-12)
    assert matched.notes == ()


def test_without_alleles_a_row_is_of_every_variant_at_its_position() -> None:
    rows = [("7", 100, "", "", 1), ("7", 200, "", "", 2), ("8", 100, "", "", 3), ("8", 300, "", "", 4)]
    assert values(match(table(rows))) == [1, 2, 2, 3, 4]


def test_a_row_with_other_alleles_is_not_of_the_variant() -> None:
    rows = [("7", 100, "A", "C", 9.0), ("7", 200, "C", "T", 1.0), ("7", 200, "C", "G", 2.0)]
    matched = match(table([*rows, ("8", 100, "AT", "A", 3.0), ("8", 300, "T", "A", 6.0)]))
    assert values(matched) == [3, 1, 2, 3, 6]  # the first stands at the mean of the others
    row = matched.summary.iloc[0]
    assert row[["known", "missing", "mean", "status"]].tolist() == [4, 1, 3, "warning"]
    assert row["reason"] == "1 of 5 variants have no value and stand at the mean"
    assert matched.notes == (f"t.tsv: a: {row['reason']}",)


def test_copies_that_agree_count_once_and_others_are_unknown() -> None:
    rows = [("7", 100, "A", "G", 1, 5), ("7", 100, "G", "A", 1, 7), ("7", 100, "", "", np.nan, 6)]
    rest = [(*place, 2 + number, number) for number, place in enumerate(PLACE[1:])]
    matched = match(table([*rows, *rest], "agree", "differ"))
    agree, differ = matched.values.T.tolist()  # type: ignore[union-attr]
    assert agree == [1, 2, 3, 4, 5]
    assert differ == [1.5, 0, 1, 2, 3]
    assert matched.summary["status"].tolist() == ["ok", "warning"]
    assert matched.summary["reason"].iloc[1].startswith("rows of the file disagree on 1 variants")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=5, max_size=25), st.data())
def test_neither_the_order_of_the_rows_nor_the_pieces_matter(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Rows with copies, some of which disagree, against a loop over the variants."""
    rows = [(*PLACE[where], float(value)) for where, value in drawn]
    expected = []
    for place in PLACE:
        held = {row[4] for row in rows if row[:4] == place}
        expected.append(held.pop() if len(held) == 1 else np.nan)
    known = np.array(expected)[np.isfinite(expected)]
    filled = np.where(np.isfinite(expected), expected, known.mean() if len(known) else np.nan)
    shuffled = data.draw(st.permutations(rows))
    edges = [0, data.draw(st.integers(0, len(rows))), len(rows)]
    parts = [table(shuffled[a:b]) for a, b in pairwise(edges)]

    def pieces(regions: Any) -> Any:
        for part in parts:
            yield from part.rows(regions)

    for source in (table(rows), VariantTable("t.tsv", ("a",), pieces)):
        matched = match(source)
        np.testing.assert_allclose(values(matched), filled, rtol=1e-7)
        assert matched.summary["known"].iloc[0] == len(known)


def test_intervals_know_every_variant() -> None:
    bed = pd.DataFrame({"chromosome": ["7", "8"], "start": [99, 100], "end": [199, 299]})
    matched = match(IntervalAnnotation("c.bed", "coding", bed))
    assert values(matched) == [1, 0, 0, 0, 0]
    assert matched.summary[["known", "missing", "nonzero"]].iloc[0].tolist() == [5, 0, 1]


def test_a_name_is_of_variants_or_of_genes() -> None:
    features = pd.DataFrame({"a": [1.0]}, index=["g1"])
    with pytest.raises(HarmonisationError, match="'a' in the annotations of variants and in those of genes"):
        match(table([("7", 100, "A", "G", 1.0)]), genes=features)


def test_constant_annotations_are_left_out_and_said_so() -> None:
    empty = IntervalAnnotation(
        "e.bed", "e", pd.DataFrame({"chromosome": ["7"], "start": [500], "end": [600]})
    )
    other = IntervalAnnotation(
        "o.bed", "o", pd.DataFrame({"chromosome": ["20"], "start": [0], "end": [10**6]})
    )
    rows = [(*place, 1, 1 if number else np.nan, np.nan, number) for number, place in enumerate(PLACE)]
    matched = match(table(rows, "base", "list", "blank", "real"), empty, other)
    assert matched.used == (3,)
    assert matched.summary["status"].tolist() == ["skipped", "skipped", "skipped", "ok", "skipped", "skipped"]
    reasons = matched.summary["reason"].tolist()
    assert reasons[0] == "1 for all 5 variants of the study"
    assert reasons[1].endswith("that have a value; the 1 without are unknown, not 0")
    assert reasons[2] == "no value for any of the variants of the study"
    assert (
        "none of its 1 intervals holds a variant of the study, as if they were of another build" in reasons[4]
    )
    assert "they are on chromosomes 20, the study on 7, 8; give" in reasons[5]
    assert len(matched.notes) == 5
    assert "t.tsv: base left out: 1 for all" in matched.notes[0]
    part = matched.of_variants(slice(1, 3), pd.Index(["x", "y"]))
    assert part is not None
    assert part.to_dict("list") == {"real": [1, 2]}


@pytest.mark.parametrize(
    ("rows", "given", "rule"),
    [
        ([("9", 100, "", "", 1)], "none of its rows lies inside the blocks", "read: 9; the study: 7, 8"),
        (
            [("7", 2 * 10**6, "", "", 1)],
            "none of its rows lies inside the blocks",
            "another build (build mismatch): the",
        ),
        ([], "has no row on the chromosomes of the study (7, 8)", "has a row for the variants"),
        ([("7", 101, "", "", 1)], "0 of 5 variants", "another build (build mismatch): 1 of its rows"),
        ([("7", 100, "A", "C", 1)], "0 of 5 variants", "the positions agree (1 variants) and the alleles"),
    ],
)
def test_a_table_that_does_not_belong_to_the_study(rows: list[Any], given: str, rule: str) -> None:
    with pytest.raises(HarmonisationError) as caught:
        match(table(rows))
    assert given in caught.value.given
    assert rule in caught.value.rule
    assert "leave " in caught.value.remedy


def test_chromosomes_without_rows_or_intervals_are_named() -> None:
    rows = [(*place, number) for number, place in enumerate(PLACE) if place[0] == "7"]
    interval = IntervalAnnotation(
        "i.bed", "i", pd.DataFrame({"chromosome": ["7"], "start": [PLACE[0][1] - 1], "end": [PLACE[0][1]]})
    )
    notes = match(table(rows, "a"), interval).notes
    assert any(note.startswith("t.tsv: chromosomes 8 of the study have no row") for note in notes)
    assert any(note.startswith("i.bed: chromosomes 8 of the study have no interval") for note in notes)


def test_identifiers_tell_another_build() -> None:
    frame = VARIANTS.assign(position=VARIANTS["position"] + 7, variant_id=VARIANTS["source_id"], a=1.0)
    with pytest.raises(HarmonisationError, match="identifiers agree and positions do not"):
        match(variant_table("t.tsv", frame.drop(columns="source_id")))


def test_a_sparse_table_of_the_right_build_is_taken() -> None:
    """One variant of five, and all the rows the table has inside the blocks: a warning, no error."""
    matched = match(table([("8", 300, "A", "T", 1), ("1", 5, "", "", 0)]))
    assert matched.summary[["known", "missing", "status"]].iloc[0].tolist() == [1, 4, "skipped"]


def test_files_are_read_once_and_only_where_the_study_is() -> None:
    asked = []

    def rows(regions: Any) -> Any:
        asked.append(dict(regions))
        yield AnnotationRows(
            VARIANTS["chromosome"].to_numpy(),
            VARIANTS["position"].to_numpy(),
            (np.full(5, "", dtype=object),) * 2,
            np.full(5, "", dtype=object),
            np.arange(10, dtype=np.float32).reshape(5, 2),
        )

    match(VariantTable("t", ("a", "b"), rows))
    assert asked == [{"7": (100, 200), "8": (100, 300)}]


# ---- genes ------------------------------------------------------------------------------------------------


def test_genes_of_the_blocks_have_features() -> None:
    features = pd.DataFrame({"pLI": [0.5, 1.5], "same": [1, 1]}, index=["G3", "G1"])
    matched = match(genes=features)
    part = matched.of_genes(pd.Index(["G2", "G1"]))
    assert part is not None
    assert part.to_dict("list") == {"pLI": [1, 1.5]}  # G2 at the mean
    assert matched.summary["of"].tolist() == ["genes", "genes"]
    assert matched.summary[["known", "missing", "status"]].to_numpy().tolist() == [
        [2, 1, "warning"],
        [2, 1, "skipped"],
    ]
    assert any("1 of 3 genes of the study have no row" in note for note in matched.notes)


def test_genes_that_are_not_in_the_study_are_counted() -> None:
    features = pd.DataFrame({"a": [0, 1, 2, 3, 4]}, index=["G1", "G2", "G3", "out", "G9"])
    matched = match(genes=features)
    assert matched.notes == ("g.tsv: 2 of its 5 genes are not in the study and are passed over",)
    assert matched.summary["mean"].tolist() == [1]


@pytest.mark.parametrize(("label", "said"), [("G1.4", "without versions"), ("X1", "identifiers of the")])
def test_a_table_of_other_genes(label: str, said: str) -> None:
    with pytest.raises(HarmonisationError, match=r"none of its 1 genes") as caught:
        match(genes=pd.DataFrame({"a": [1]}, index=[label]))
    assert said in caught.value.rule


# ---- in the locus -----------------------------------------------------------------------------------------


def test_the_locus_holds_annotations_in_the_order_of_its_variants_and_genes(draft: Any) -> None:
    frame = draft.tables["ld.EUR"][["chromosome", "position", "effect_allele", "other_allele"]].copy()
    frame["place"] = np.arange(len(frame), dtype=float)
    frame["base"] = 1.0
    source = variant_table("t.tsv", frame.sample(frac=1, random_state=3))
    features = GeneAnnotations("g.tsv", pd.DataFrame({"pLI": [0.25, 0.75]}, index=["G2", "G1"]))
    harmonised = harmonise(draft.build(annotations=Annotations((source,), features)))
    reader = pickle.loads(pickle.dumps(harmonised.reader(harmonised.blocks["block"].iloc[0])))
    locus = reader()
    group = locus["annotations"]
    assert group["variant_annotation"].dims == ("variant", "annotation")
    assert group["variant_annotation"].dtype == np.float32
    assert group["annotation"].values.tolist() == ["place"]
    position = (locus["position"].values - frame["position"].min()) / 1000
    np.testing.assert_array_equal(group["variant_annotation"].values[:, 0], position)
    assert group["variant"].values.tolist() == locus["variant"].values.tolist()
    assert dict(zip(group["gene"].values, group["gene_annotation"].values[:, 0], strict=True)) == {
        "G1": 0.75,
        "G2": 0.25,
    }


def test_a_locus_without_annotations_has_no_such_group(draft: Any) -> None:
    harmonised = harmonise(draft.build())
    assert harmonised.annotations.summary.empty
    assert "annotations" not in harmonised.locus(harmonised.blocks["block"].iloc[0]).children
