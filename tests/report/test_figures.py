"""The figures: what they show, that labels keep apart, and that drawing leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bayestwas.data.results import concat_results
from bayestwas.engine.diagnostics import DOUBTFUL
from bayestwas.errors import InputError, OutputError
from bayestwas.fit.screen import COLUMNS, FLIP, Screen, with_screen
from bayestwas.report import write_report
from bayestwas.report.figures import locus_figure, top_genes_figure, write_locus_figures
from bayestwas.report.locus_view import lead_variant, view_locus


def texts(figure: Figure) -> list[str]:
    return [item.get_text() for item in figure.findobj(Text) if item.get_text()]


def label_boxes(figure: Figure, axes: int) -> list[Bbox]:
    renderer = figure.canvas.get_renderer()
    figure.canvas.draw()
    return [item.get_window_extent(renderer) for item in figure.axes[axes].texts]


def disjoint(boxes: list[Bbox]) -> bool:
    return not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.fixture
def crowded(build_block_result: Callable[..., xr.DataTree]) -> xr.DataTree:
    """25 genes, several at one TSS, three direct variants side by side, z up to 100."""
    result = build_block_result("b1", genes=25, variants=800, peak=100.0)
    tss = result["constant_data"].dataset["tss"].values
    tss[3:9] = tss[3]
    tss[-1] = 41_000_000
    return result


def test_a_panel_per_ancestry_then_direct_then_genes(synthetic_result: xr.DataTree) -> None:
    figure = locus_figure(synthetic_result, "b2")
    assert len(figure.axes) == 2 + 3
    shown = texts(figure)
    assert {"EUR", "AFR", "SIMULATED DATA", "direct PIP", "gene PIP"} <= set(shown)
    assert "EAS" not in shown
    assert any("LD reference: 639 people" in item for item in shown)
    assert "Block b2 · chr20:45.00-46.00 Mb" in shown
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_what_was_left_out_is_drawn_in_the_panel_of_its_gwas(
    build_block_result: Callable[..., xr.DataTree],
) -> None:
    result = build_block_result("b1")
    variant, position = (result["constant_data"].dataset[name].values[7] for name in ("variant", "position"))
    row = ("AFR", 7, variant, -9.0, 8.0, -12.0, FLIP)
    with_screen(result, Screen(DOUBTFUL, "AFR: one variant", pd.DataFrame([row], columns=list(COLUMNS))))
    figure = locus_figure(result, "b1")
    assert "LD or GWAS doubtful: AFR: one variant" in texts(figure)
    panels = {ax.texts[0].get_text(): ax for ax in figure.axes[:2]}
    crosses = {
        name: [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "x"]
        for name, ax in panels.items()
    }
    assert crosses == {"EUR": [[]], "AFR": [[position / 1e6]]}


def test_genes_and_their_pips_are_drawn(synthetic_result: xr.DataTree) -> None:
    figure = locus_figure(synthetic_result, "b1")
    assert {"B1-G1 0.93", "B1-G5 (failed)", "B1-G6 (skipped)"} <= set(texts(figure))
    pips = synthetic_result["marginals"].dataset["pip"].values[:4]
    drawn = [line.get_ydata() for line in figure.axes[-2].lines]
    assert any(np.array_equal(np.asarray(y), pips) for y in drawn)


def test_labels_do_not_overlap(crowded: xr.DataTree) -> None:
    figure = locus_figure(crowded, "b1")
    assert len(label_boxes(figure, -1)) == 25
    assert disjoint(label_boxes(figure, -1))
    assert len(label_boxes(figure, -3)) == 3
    assert disjoint(label_boxes(figure, -3))
    page = figure.bbox
    for boxes in (label_boxes(figure, -1), label_boxes(figure, -3)):
        assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box in boxes)


def test_p_values_of_z_100_are_on_the_page(crowded: xr.DataTree) -> None:
    assert 1000 < locus_figure(crowded, "b1").axes[0].get_ylim()[1] < 10_000


def test_a_failed_block_says_why(synthetic_result: xr.DataTree) -> None:
    shown = texts(locus_figure(synthetic_result, "b3"))
    assert "failed: the LD matrix is not positive semidefinite" in shown
    assert {"no gene was fitted", "no direct effect was fitted"} <= set(shown)


def test_real_data_carry_no_banner(build_block_result: Callable[..., xr.DataTree]) -> None:
    real = build_block_result("b1", simulated=False)
    assert "SIMULATED DATA" not in texts(locus_figure(real, "b1")) + texts(top_genes_figure(real))


@pytest.mark.parametrize(("genes", "variants"), [(2, 1), (2, 40)])
def test_small_blocks(build_block_result: Callable[..., xr.DataTree], genes: int, variants: int) -> None:
    result = build_block_result("b1", genes=genes, variants=variants, status="failed", ancestries=("EUR",))
    result["observed_data"].dataset["z"].values[:] = np.nan
    figure = locus_figure(result, "b1")
    figure.canvas.draw()
    assert len(figure.axes) == 3  # no GWAS panel, because there is no z-score


def test_unknown_r2_is_shown_as_unknown(build_block_result: Callable[..., xr.DataTree]) -> None:
    result = build_block_result("b1")
    assert "unknown" not in texts(locus_figure(result, "b1"))
    result["constant_data"].dataset["r2_lead"].values[:] = np.nan
    assert "unknown" in texts(locus_figure(result, "b1"))


def test_the_lead_is_the_variant_r2_refers_to() -> None:
    z = np.array([[3.0, -9.0, 8.0, np.nan], [1.0, 1.0, 1.0, np.nan]])
    r2 = np.array([[0.1, 0.9, 1.0, np.nan], [0.1, 0.5, 1.0, np.nan]])
    assert lead_variant(z, r2) == 2
    assert lead_variant(z, np.full_like(r2, np.nan)) == 1
    assert lead_variant(np.full_like(z, np.nan), r2) == -1
    assert lead_variant(np.zeros((0, 3)), np.zeros((0, 3))) == -1


def test_an_unknown_block_lists_the_valid_ones(synthetic_result: xr.DataTree) -> None:
    with pytest.raises(InputError, match="Blocks: b1, b2, b3"):
        view_locus(synthetic_result, "b9")


def test_top_genes_are_ranked(synthetic_result: xr.DataTree) -> None:
    figure = top_genes_figure(synthetic_result, most=4)
    labels = [tick.get_text().split(" ")[0] for tick in figure.axes[0].get_yticklabels()]
    marginals = synthetic_result["marginals"].dataset
    pip = marginals["pip"].values
    assert labels == list(
        marginals["gene"].values[np.argsort(-np.nan_to_num(pip, nan=-1), kind="stable")[:4]]
    )
    assert "Genes with the highest PIPs (4 of 13)" in texts(figure)


def test_nothing_fitted_gives_an_empty_ranking(build_block_result: Callable[..., xr.DataTree]) -> None:
    assert "no gene was fitted" in texts(top_genes_figure(build_block_result("b1", status="failed")))


def test_the_report_is_tables_and_figures(synthetic_result: xr.DataTree, tmp_path: Path) -> None:
    paths = write_report(synthetic_result, tmp_path / "new" / "out")
    tables = {
        "genes.tsv",
        "contexts.tsv",
        "effects.tsv",
        "variants.tsv",
        "blocks.tsv",
        "suspects.tsv",
        "priors.tsv",
        "notes.tsv",
    }
    pictures = {
        "genes.png",
        "triangulation.png",
        "priors.png",
        "locus-b1.png",
        "locus-b2.png",
        "locus-b3.png",
    }
    assert {path.name for path in paths} == tables | pictures
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == tables | pictures
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
    again = write_report(synthetic_result, tmp_path / "again", blocks=["b2"])
    assert [path.name for path in again if path.name.startswith("locus")] == ["locus-b2.png"]
    same = [path.name for path in again]
    assert all(
        (tmp_path / "again" / n).read_bytes() == (tmp_path / "new" / "out" / n).read_bytes() for n in same
    )
    without = write_report(synthetic_result, tmp_path / "tables", figures=False)
    assert {path.name for path in without} == tables


def test_a_file_in_the_place_of_the_folder_is_refused(synthetic_result: xr.DataTree, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        write_report(synthetic_result, tmp_path / "out")


def test_block_names_become_file_names(
    build_block_result: Callable[..., xr.DataTree], tmp_path: Path
) -> None:
    blocks = ["20:1/2", "20:1|2"]
    result = concat_results([build_block_result(b, start=i * 10**6) for i, b in enumerate(blocks, 1)])
    paths = write_locus_figures(result, tmp_path)
    assert [path.name for path in paths] == ["locus-20_1_2.png", "locus-20_1_2~2.png"]
    assert all(path.exists() for path in paths)


def test_importing_the_reports_does_not_import_matplotlib() -> None:
    code = "import sys, bayestwas.report; assert 'matplotlib' not in sys.modules, 'matplotlib was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_does_not_touch_pyplot() -> None:
    code = "import sys, bayestwas.report.figures; assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'"
    subprocess.run([sys.executable, "-c", code], check=True)
