"""Annotations as users bring them: BED, .annot, tables, Parquet, genes; and what each reader refuses."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayestwas.io.annotation_tables as tables
from bayestwas.data.annotations import AnnotationRows, IntervalAnnotation, VariantTable
from bayestwas.errors import InputError
from bayestwas.io.annotations import annotation_files, read_gene_annotations, read_variant_annotations

Write = Callable[[str, str], Path]
EVERYWHERE = {**{str(number): (1, 10**9) for number in range(1, 23)}, "X": (1, 10**9)}
RED_CELLS = Path(__file__).parent / "../../../shared/data/red_cell_trait_annotations"
ANNOT = (
    "CHR\tBP\tSNP\tCM\tbase\tConserved\tGERP\n"
    "22\t100\trs1\t0.0\t1\t0\t-1.5\n"
    "22\t200\trs2\t0.1\t1\t1\tNA\n"
    "X\t300\trs3\t0.1\t1\tNA\t2.25\n"
)


def rows_of(path: Path, regions: dict[str, tuple[int, int]] | None = None) -> AnnotationRows:
    """All rows of a table of variants, joined."""
    opened = read_variant_annotations(path)
    assert isinstance(opened, VariantTable)
    pieces = list(opened.rows(EVERYWHERE if regions is None else regions))
    one, two = (np.concatenate([piece.alleles[side] for piece in pieces]) for side in (0, 1))
    chromosome, position, ids = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("chromosome", "position", "variant_id")
    )
    return AnnotationRows(
        chromosome, position, (one, two), ids, np.concatenate([piece.values for piece in pieces])
    )


# ---- intervals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coding.hg38.bed", "coding.hg38.bed.gz"])
def test_bed_is_one_annotation_named_after_its_file(write: Write, name: str) -> None:
    text = 'track name="x"\n#a comment\nchr1\t99\t100\tpeak1\t5\nchrX 10 20\n\n01\t99\t150\n'
    opened = read_variant_annotations(write(name, text))
    assert isinstance(opened, IntervalAnnotation)
    assert opened.annotations == ("coding.hg38",)
    assert opened.intervals.to_numpy().tolist() == [["1", 99, 100], ["X", 10, 20], ["1", 99, 150]]


def test_bed_edges_are_zero_based_and_half_open(write: Write) -> None:
    """Base 100 alone is 99 100; the end of one interval is not in it; overlaps count once."""
    opened = read_variant_annotations(write("a.bed", "chr1\t99\t100\nchr1\t200\t300\nchr1\t250\t260\n"))
    assert isinstance(opened, IntervalAnnotation)
    position = np.array([99, 100, 101, 200, 201, 255, 300, 301, 100])
    chromosome = np.array(["1"] * 8 + ["2"], dtype=object)
    inside = opened.covers(chromosome, position)
    assert inside.tolist() == [False, True, False, False, True, True, True, False, False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_intervals_in_any_order_cover_what_a_loop_covers(edges: list[tuple[int, int]], shuffle) -> None:
    intervals = pd.DataFrame(
        {"chromosome": "1", "start": [a for a, _ in edges], "end": [a + b for a, b in edges]}
    )
    position = np.arange(1, 90)
    expected = [any(a < p <= a + b for a, b in edges) for p in position]
    order = list(range(len(edges)))
    shuffle.shuffle(order)
    for table in (intervals, intervals.iloc[order]):
        covered = IntervalAnnotation("s", "a", table).covers(np.full(89, "1", dtype=object), position)
        assert covered.tolist() == expected


def test_bed_files_per_chromosome_are_one_annotation(write: Write, tmp_path: Path) -> None:
    write("dhs.chr1.bed", "1\t0\t10\n")
    write("dhs.chrX.bed", "X\t0\t10\n")
    opened = read_variant_annotations(tmp_path / "dhs.chr@.bed")
    assert isinstance(opened, IntervalAnnotation)
    assert opened.annotations == ("dhs",)
    assert opened.intervals["chromosome"].tolist() == ["1", "X"]


# ---- tables of variants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.annot", "b.annot.gz", "b.annot.parquet"])
def test_ldsc_annot_as_text_and_parquet(write: Write, tmp_path: Path, name: str) -> None:
    path = write("b.annot.gz" if name.endswith(".parquet") else name, ANNOT)
    if name.endswith(".parquet"):
        pd.read_csv(path, sep="\t").to_parquet(tmp_path / name)
        path = tmp_path / name
    assert read_variant_annotations(path).annotations == ("base", "Conserved", "GERP")
    rows = rows_of(path)
    assert rows.chromosome.tolist() == ["22", "22", "X"]
    assert rows.position.tolist() == [100, 200, 300]
    assert rows.variant_id.tolist() == ["rs1", "rs2", "rs3"]
    assert [side.tolist() for side in rows.alleles] == [[""] * 3] * 2
    assert rows.values.dtype == np.float32
    np.testing.assert_array_equal(rows.values, [[1, 0, -1.5], [1, 1, np.nan], [1, np.nan, 2.25]])


@pytest.mark.parametrize(
    ("text", "alleles"),
    [
        ("chr,pos,ref,alt,score\nchr1,5,a,G,1\n1,6,,T,2\n", [["G", ""], ["A", ""]]),
        ("CHR BP A1 A2 score\n1 5 A G 1\n1 6 C T 2\n", [["A", "C"], ["G", "T"]]),
        ("CHR BP A1 A2 score\n1 5 A 0 1\n1 6 C . 2\n", [["", ""], ["", ""]]),
        # identifiers that spell out their alleles stand for columns, where they name the same place
        (
            "chromosome\tposition\tvariant_id\tscore\n1\t5\t1:5:A:G\t1\n1\t6\t1_7_A_G\t2\n",
            [["G", ""], ["A", ""]],
        ),
    ],
)
def test_alleles_in_columns_or_identifiers(write: Write, text: str, alleles: list[list[str]]) -> None:
    rows = rows_of(write("t.tsv", text))
    assert rows.chromosome.tolist() == ["1", "1"]
    assert [side.tolist() for side in rows.alleles] == alleles
    assert rows.values.ravel().tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_booleans_are_zero_and_one(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"chr": [1, 1, 1], "pos": [1, 2, 3], "a": [True, False, True]})
    frame["b"] = pd.array([True, None, False], dtype="boolean")
    path = tmp_path / ("t.parquet" if kind == "parquet" else "t.csv")
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    np.testing.assert_array_equal(rows_of(path).values, [[1, 1], [0, np.nan], [1, 0]])


@pytest.mark.parametrize("name", ["t.tsv", "t.parquet"])
def test_pieces_join_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"chr": "chr3", "pos": 10 * (1 + np.arange(23)), "a": rng.standard_normal(23)})
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, sep="\t", index=False)
    whole = rows_of(path)
    monkeypatch.setattr(tables, "PIECE", 5)
    opened = read_variant_annotations(path)
    assert isinstance(opened, VariantTable)
    assert [len(piece.position) for piece in opened.rows(EVERYWHERE)] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(rows_of(path).values, whole.values)
    np.testing.assert_allclose(whole.values.ravel(), frame["a"], rtol=1e-7)  # single precision


@pytest.mark.parametrize("spelled", [int, float, str, "chr{}".format])
def test_row_groups_of_other_places_are_not_read(tmp_path: Path, spelled) -> None:
    """Four groups: chromosome 1 near and far, chromosome 2, a mixture of both."""
    chromosome = [spelled(label) for label in [1, 1, 1, 1, 2, 2, 1, 2]]
    position = [1, 2, 1001, 1002, 1, 2, 3, 3]
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"CHR": chromosome, "BP": position, "a": np.arange(8)})
    frame.to_parquet(path, row_group_size=2)
    near = rows_of(path, {"1": (1, 10)})
    assert set(near.values.ravel()) == {0, 1, 6, 7}  # whole groups: rows outside are sorted out later
    assert near.chromosome.tolist() == ["1", "1", "1", "2"]
    assert set(rows_of(path, {"2": (2, 2)}).values.ravel()) >= {4, 5}
    opened = read_variant_annotations(path)
    assert isinstance(opened, VariantTable)
    elsewhere = list(opened.rows({"7": (1, 9)}))
    mixture = [] if spelled in (int, float) else [[6, 7]]  # between two labels of text may lie any other
    assert [piece.values.ravel().tolist() for piece in elsewhere] == mixture


def test_a_file_per_chromosome_reads_the_chromosomes_that_are_wanted(write: Write, tmp_path: Path) -> None:
    for label in ("1", "2", "X"):
        write(f"base.{label}.annot.gz", f"CHR BP a b\n{label} 7 1 0\n")
    write("base.3.annot.gz", "CHR BP b a\n3 7 0.25 0.5\n")  # other order of the columns
    pattern = tmp_path / "base.@.annot.gz"
    assert list(annotation_files(pattern)) == ["1", "2", "3", "X"]
    rows = rows_of(pattern, {"3": (1, 10), "X": (1, 10)})
    assert rows.chromosome.tolist() == ["3", "X"]
    assert rows.values.tolist() == [[0.5, 0.25], [1, 0]]
    write("base.4.annot.gz", "CHR BP a\n4 7 1\n")
    with pytest.raises(
        InputError, match=r"'b' is in one of base\.1\.annot\.gz and base\.4\.annot\.gz"
    ) as caught:
        read_variant_annotations(pattern)
    assert "same columns" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text", "given", "rule", "remedy"),
    [
        ("a.bed", "chr1\t5\n", "a.bed line 1: 'chr1 5'", "chromosome, start, end", "another ending"),
        ("a.bed", "1\t5\t6\n1\t7\t7\n", "line 2: start 7, end 7", "half-open", "Correct the line"),
        ("a.bed", "track x\n", "a.bed holds no interval", "one line per interval", "Add intervals"),
        ("t.tsv", "snp\ta\nrs1\t1\n", "no column for the chromosome; it has snp, a", "#chrom", "thin .annot"),
        ("t.tsv", "chr\tpos\n1\t2\n", "holds no annotation", "is one annotation", "Add columns"),
        ("t.tsv", "chr\tpos\ta\ta\n", "column 'a' occurs more than once", "own name", "Rename"),
        ("t.tsv", "chr\tpos\ta\n1\t5\tyes\n", "t.tsv line 2: a is 'yes'", "numbers", "0 and 1"),
        ("t.tsv", "chr\tpos\ta\n1\t5\t1\n1\t6\tinf\n", "line 3: a is 'inf'", "finite", "write NA"),
        ("t.tsv", "chr\tpos\ta\n1\t5\t1e60\n", "line 2: a is '1e+60'", "finite, in single", "logarithm"),
        (
            "t.tsv",
            "chr\tpos\ta\n1\t5\t1\nNA\t6\t1\n",
            "line 3: chr is missing",
            "above zero",
            "Remove the row",
        ),
        (
            "t.tsv",
            "chr\tpos\ta1\ta2\tb\n1\t5\t0\t1\t1\n",
            "line 2: a2 is '1', no allele",
            "letters",
            "Rename",
        ),
        ("t.tsv", "chr\tpos\ta\n1\t5.5\t1\n", "line 2: pos is '5.5'", "whole number", "Remove the row"),
        ("t.tsv", "chr\tpos\ta\n1\t0\t1\n", "line 2: pos is '0'", "above zero", "correct it"),
        ("t.tsv", "chr\tpos\ta\n1\t5\t1\t9\n", "rows of unequal length", "3 columns", "Correct the rows"),
        ("t.tsv", "", "is empty", "header line", "again"),
        ("t.parquet", "no parquet", "is no Parquet file", "Parquet file", "ending"),
    ],
)
def test_refused(write: Write, name: str, text: str, given: str, rule: str, remedy: str) -> None:
    path = write(name, text)
    with pytest.raises(InputError) as caught:
        rows_of(path)
    assert given in caught.value.given
    assert rule in caught.value.rule
    assert remedy in caught.value.remedy


def test_a_plink_file_is_no_bed_of_intervals(tmp_path: Path) -> None:
    (tmp_path / "g.bed").write_bytes(b"\x6c\x1b\x01\x00")
    with pytest.raises(InputError, match=r"holds genotypes \(PLINK 1\)\. .*text of intervals.*Name the file"):
        read_variant_annotations(tmp_path / "g.bed")


def test_text_in_parquet_is_refused_before_it_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"CHR": [1], "BP": [5], "nearest": ["G1"], "a": [1.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"column nearest is .*string.*are numbers.*no annotations"):
        read_variant_annotations(tmp_path / "t.parquet")


def test_a_value_in_parquet_is_named_by_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"CHR": 1, "BP": np.arange(1, 10), "a": 1.0})
    frame.loc[7, "a"] = np.inf
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=4)
    monkeypatch.setattr(tables, "PIECE", 3)
    with pytest.raises(InputError, match=r"t\.parquet row 8: a is 'inf'"):
        rows_of(tmp_path / "t.parquet")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_variant_annotations, read_gene_annotations):
        with pytest.raises(InputError, match="does not exist"):
            read(tmp_path / "none.annot.gz")


@pytest.mark.skipif(not RED_CELLS.is_dir(), reason=f"{RED_CELLS} is absent")
def test_real_annotations_of_a_red_cell_trait() -> None:
    """Seven binary annotations, 182,298 variants; the sums are those of the columns."""
    pattern = RED_CELLS / "annotations.@.annot.parquet"
    opened = read_variant_annotations(pattern)
    assert isinstance(opened, VariantTable)
    assert opened.annotations[::2] == (
        "Coding_UCSC_common",
        "Conserved_LindbladToh_common",
        "Repressed_Hoffman_common",
        "base",
    )
    assert len(annotation_files(pattern)) == 22
    rows = rows_of(pattern)
    assert rows.values.shape == (182_298, 7)
    assert set(np.unique(rows.values)) == {0, 1}
    assert (rows.values[:, 6] == 1).all()
    last = rows_of(pattern, {"22": (1, 10**9)})
    frame = pd.read_parquet(RED_CELLS / "annotations.22.annot.parquet")
    assert last.position.tolist() == frame["BP"].tolist()
    assert last.alleles[0].tolist() == frame["A1"].tolist()
    np.testing.assert_array_equal(last.values, frame[list(opened.annotations)])
    np.testing.assert_array_equal(rows.values[-len(frame) :], last.values)


# ---- genes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["g.tsv", "g.tsv.gz", "g.parquet", "indexed.parquet"])
def test_gene_features(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"gene_id": ["G2", "007"], "gene_name": ["B", None], "pLI": [0.25, np.nan]})
    frame["housekeeping"] = [1, 0]
    path = tmp_path / name
    if name.endswith(".parquet"):
        (frame.set_index("gene_id") if name.startswith("indexed") else frame).to_parquet(path)
    else:
        text = frame.to_csv(sep="\t", index=False, na_rep="NA")
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    genes = read_gene_annotations(path)
    assert genes.source == name
    assert genes.table.index.tolist() == ["G2", "007"]
    assert genes.table.columns.tolist() == ["pLI", "housekeeping"]
    np.testing.assert_array_equal(genes.table, [[0.25, 1], [np.nan, 0]])


@pytest.mark.parametrize(
    ("text", "given", "rule", "remedy"),
    [
        ("transcript\tpLI\nT1\t1\n", "no column of genes; it has transcript, pLI", "ensembl_id", "to gene"),
        ("gene\tpLI\nG1\t1\nG1\t1\n", "gene 'G1' has more than one row", "one row per gene", "mean"),
        ("gene\tpLI\nG1\thigh\n", "line 2: pLI is 'high'", "numbers", "0 and 1"),
        ("gene\tpLI\nNA\t1\n", "line 2: gene is missing", "names its gene", "Remove the row"),
        ("gene\nG1\n", "holds no feature", "is one feature", "Add columns"),
    ],
)
def test_refused_gene_features(write: Write, text: str, given: str, rule: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        read_gene_annotations(write("g.tsv", text))
    assert given in caught.value.given
    assert rule in caught.value.rule
    assert remedy in caught.value.remedy


# ---- TORUS ----------------------------------------------------------------------------------------------


def test_torus_takes_places_from_identifiers(write: Write) -> None:
    """The same rows as a table with columns of positions and alleles."""
    torus = "SNP\tcoding_d\tdistance_c\nchr1:100:A:G\t1\t-2.5\nX_300_C_T_b38\t0\tNA\n2.400\t1\t0\n"
    rows = ("chr pos ref alt coding_d distance_c", "1 100 A G 1 -2.5", "X 300 C T 0 NA", "2 400 0 0 1 0")
    plain = "\n".join(rows).replace(" ", "\t") + "\n"
    one, two = rows_of(write("x.annot.gz", torus)), rows_of(write("y.tsv", plain))
    assert one.chromosome.tolist() == two.chromosome.tolist() == ["1", "X", "2"]
    assert one.position.tolist() == two.position.tolist() == [100, 300, 400]
    np.testing.assert_array_equal(one.values, two.values)
    pairs = [{frozenset(pair) for pair in zip(*rows.alleles, strict=True)} for rows in (one, two)]
    assert pairs[0] == pairs[1] == {frozenset("AG"), frozenset("CT"), frozenset([""])}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SNP\tcoding_d\nchr1:100:A:G\t1\nrs7\t0\n", "line 3: SNP is 'rs7'"),
        ("SNP\tstate_d\nchr1:100:A:G\t0\nchr1:200:A:G\t2\n", "state_d has values other than 0 and 1"),
        ("SNP\tcoding\nchr1:100:A:G\t0\n", "no column for the chromosome"),
    ],
)
def test_torus_that_cannot_be_matched(write: Write, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows_of(write("torus.tsv", text))
