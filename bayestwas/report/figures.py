"""The figure of one block: association by ancestry, direct-variant PIPs, gene PIPs, genes, over one position
axis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from bayestwas import names
from bayestwas.engine.diagnostics import DOUBTFUL
from bayestwas.report.layout import flags, minus_log10_p, shortened, spread, stack, within_unit
from bayestwas.report.locus_view import LocusView, blocks_with_variants, view_locus
from bayestwas.report.style import (
    DIRECT,
    DPI,
    GENE,
    GENE_BARS,
    GENE_DOT,
    GREY,
    LEAD_MARK,
    MEDIUM,
    PLUGIN,
    PLUGIN_MARK,
    R2_COLOURS,
    R2_EDGES,
    R2_NAMES,
    R2_UNKNOWN,
    SMALL,
    SUSPECT_MARK,
    THRESHOLD_LINE,
    WIDTH,
    Style,
    new_figure,
    save_figure,
    write_title,
)
from bayestwas.report.top_genes import top_genes_figure, write_top_genes

__all__ = ["locus_figure", "top_genes_figure", "write_locus_figures", "write_top_genes"]

LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 0.85, 1.65, 0.55, 0.5, 0.1  # inches; legends stand in the right margin
ASSOCIATION_HEIGHTS = {1: 2.4, 2: 1.7, 3: 1.4}  # inches, by the number of ancestries
GENE_ROW = 0.19  # inches
EMPTY = 0.4  # inches, of a panel with nothing to draw
GENOME_WIDE = -np.log10(5e-8)
LABEL_FROM = 0.1  # smallest PIP that is written out
DOT_FROM = 0.005  # smallest direct PIP that is drawn as a dot
MOST_VARIANT_LABELS = 3
LONGEST_NOTE = 130  # characters


def locus_figure(result: xr.DataTree, block: str) -> Figure:
    """Association by ancestry (coloured by r2 with the lead variant), direct-variant PIPs, gene PIPs, genes.

    All panels share the position. Genes closer than 1% of the axis are drawn side by side. Raises InputError
    for a block that the result does not hold or that has no variants.
    """
    view = view_locus(result, block)
    marks = spread(view.tss, 0.01 * (view.span[1] - view.span[0]))
    labels, left, rows = _place_genes(view, marks)
    n_rows = int(rows.max()) + 1 if len(rows) else 1
    n = len(view.ancestries)
    direct_height = 1.25 if np.isfinite(view.direct).any() else EMPTY
    gene_height = 1.35 if np.isfinite(view.pip).any() else EMPTY
    track_height = GENE_ROW * n_rows + 0.1
    heights = [ASSOCIATION_HEIGHTS.get(n, 1.2)] * n + [direct_height, gene_height, track_height]
    figure, axes = _panels(heights, view)
    for i in range(n):
        _draw_association(axes[i], view, i)
    _draw_direct(axes[-3], view)
    _draw_gene_pips(axes[-2], view, marks)
    _draw_genes(axes[-1], view, marks, labels, left, rows)
    if n:
        _association_legend(axes[0], view)
    return figure


def write_locus_figures(
    result: xr.DataTree, directory: Path | str, blocks: Sequence[str] | None = None
) -> list[Path]:
    """Write locus-<block>.png for the given blocks (by default all that have variants); returns the paths.

    Characters of a block's name that a file name may not have on some system become '_'; should two names
    become one, the later file is called locus-<block>~2.png and so on.
    """
    paths: list[Path] = []
    count: dict[str, int] = {}
    for block in blocks_with_variants(result) if blocks is None else blocks:
        stem = "locus-" + re.sub(r"[^A-Za-z0-9._-]", "_", block)
        count[stem] = count.get(stem, 0) + 1
        paths.append(Path(directory) / (stem + (f"~{count[stem]}" if count[stem] > 1 else "") + ".png"))
        save_figure(locus_figure(result, block), paths[-1])
    return paths


# ---- the frame ------------------------------------------------------------------------------------------


def _panels(heights: Sequence[float], view: LocusView) -> tuple[Figure, list[Axes]]:
    """Axes of the given heights in inches, from top to bottom, with the title and the shared position
    axis."""
    total = sum(heights) + BETWEEN * (len(heights) - 1) + TOP + BOTTOM
    figure = new_figure(total)
    axes: list[Axes] = []
    edge = total - TOP
    for height in heights:
        box = (LEFT / WIDTH, (edge - height) / total, (WIDTH - LEFT - RIGHT) / WIDTH, height / total)
        axes.append(figure.add_axes(box, sharex=axes[0] if axes else None))
        edge -= height + BETWEEN
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=MEDIUM, labelbottom=ax is axes[-1])
    axes[0].set_xlim(*view.span)
    axes[-1].ticklabel_format(axis="x", useOffset=False, style="plain")
    axes[-1].set_xlabel(f"position on chromosome {view.chromosome} (Mb)", fontsize=MEDIUM)
    start, end = view.bounds
    where = f"chr{view.chromosome.removeprefix('chr')}:{start:.2f}-{end:.2f} Mb"
    write_title(figure, LEFT, f"Block {shortened(view.block, 40)} · {where}", view.simulated)
    note = f"{view.status}: {view.reason}" if view.status != names.OK else ""
    if not note and view.grade == DOUBTFUL:
        note = f"LD or GWAS {view.grade}: {view.grade_reason}"
    if note:
        note = note if len(note) <= LONGEST_NOTE else note[: LONGEST_NOTE - 3] + "..."
        figure.text(LEFT / WIDTH, 1 - 0.42 / total, note, fontsize=MEDIUM, color=PLUGIN, va="center")
    return figure, axes


def _per_pixel(view: LocusView) -> float:
    """Megabases per pixel of the position axis."""
    return (view.span[1] - view.span[0]) / ((WIDTH - LEFT - RIGHT) * DPI)


def _widths(labels: Sequence[str], bold: Sequence[bool], view: LocusView) -> np.ndarray:
    """Widths of labels in megabases, known before anything is drawn."""
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
    fonts = [FontProperties(size=SMALL, weight="bold" if heavy else "normal") for heavy in bold]
    pixels = [
        renderer.get_text_width_height_descent(label, font, False)[0]
        for label, font in zip(labels, fonts, strict=True)
    ]
    return np.array(pixels, dtype=float) * _per_pixel(view)


# ---- the panels -----------------------------------------------------------------------------------------


def _draw_association(ax: Axes, view: LocusView, i: int) -> None:
    height = minus_log10_p(view.z[i])
    unknown = np.isnan(view.r2[i])
    colours = np.array([*R2_COLOURS, R2_UNKNOWN])
    bins = np.where(unknown, len(R2_COLOURS), np.digitize(view.r2[i], R2_EDGES))
    order = np.argsort(np.where(unknown, -1.0, view.r2[i]), kind="stable")  # high r2 on top
    edge: Style = {"edgecolors": "#555555", "linewidths": 0.25}
    ax.scatter(view.x[order], height[order], s=11, c=colours[bins[order]], zorder=2, **edge)
    ax.axhline(GENOME_WIDE, zorder=1, **THRESHOLD_LINE)
    if view.lead >= 0 and np.isfinite(height[view.lead]):
        ax.plot(view.x[view.lead], height[view.lead], zorder=3, **LEAD_MARK)
    out = view.suspects[view.suspects[:, 0] == i]
    left_out = minus_log10_p(out[:, 2])
    ax.plot(out[:, 1], left_out, zorder=3, **SUSPECT_MARK)
    top = max(float(np.nanmax(height)), GENOME_WIDE, *left_out[np.isfinite(left_out)])
    ax.set_ylim(-0.04 * top, 1.3 * top)  # room for the panel's name
    ax.set_ylabel("-log10 p", fontsize=MEDIUM)
    n_ref = view.n_ref[i]
    size = f"   LD reference: {n_ref:,.0f} people" if np.isfinite(n_ref) else ""
    name = ax.annotate(
        view.ancestries[i], (0.008, 0.97), xycoords="axes fraction", va="top", weight="bold", fontsize=9
    )
    ax.annotate(size, (1, 0.5), xycoords=name, va="center", fontsize=SMALL, color="#444444")


def _draw_direct(ax: Axes, view: LocusView) -> None:
    known = np.flatnonzero(np.isfinite(view.direct))
    if not len(known):
        _draw_nothing(ax, "no direct effect was fitted")
        return
    ax.vlines(view.x[known], 0, view.direct[known], color=DIRECT, linewidth=1.0)
    dots = known[view.direct[known] >= DOT_FROM]
    ax.plot(view.x[dots], view.direct[dots], "o", color=DIRECT, markersize=3.5)
    if not len(dots):
        ax.annotate(
            f"no variant has a direct PIP of {DOT_FROM:g} or more", (0.5, 0.45),
            xycoords="axes fraction", ha="center", va="center", color=GREY, fontsize=MEDIUM,
        )  # fmt: skip
    top = known[np.argsort(-view.direct[known], kind="stable")][:MOST_VARIANT_LABELS]
    top = top[view.direct[top] >= LABEL_FROM]
    labels = [f"{shortened(view.variants[j])} ({view.direct[j]:.2f})" for j in top]
    air = 5 * _per_pixel(view)
    rows = flags(view.x[top], _widths(labels, [False] * len(top), view), 2 * air)
    for j, label, row in zip(top, labels, rows, strict=True):
        y = 1.2 + 0.24 * row
        ax.plot([view.x[j]] * 2, [view.direct[j], y + 0.08], color=GREY, linewidth=0.6, zorder=0)
        ax.text(view.x[j] + air, y, label, fontsize=SMALL, va="center")
    n_rows = int(rows.max()) + 1 if len(rows) else 0
    _probability_axis(ax, "direct PIP", 1.08 + 0.24 * n_rows)


def _draw_gene_pips(ax: Axes, view: LocusView, marks: np.ndarray) -> None:
    fitted = np.isfinite(view.pip)
    if not fitted.any():
        _draw_nothing(ax, "no gene was fitted")
        return
    ax.vlines(marks[fitted], 0, view.pip[fitted], color=GENE, linewidth=1.6, alpha=0.5)
    ax.plot(marks[fitted], view.plugin[fitted], **PLUGIN_MARK)
    ax.errorbar(
        marks[fitted], view.pip[fitted], yerr=within_unit(view.pip[fitted], view.mcse[fitted]), **GENE_BARS
    )
    _probability_axis(ax, "gene PIP", 1.1)
    handles = [
        Line2D([], [], label="PIP ± MC error", **GENE_DOT),
        Line2D([], [], label="plug-in PIP\n(weights, LD as exact)", **PLUGIN_MARK),
    ]
    ax.legend(handles=handles, **_LEGEND)


def _place_genes(view: LocusView, marks: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels, the left end of each, and its row: to the right of the mark, where the margin holds it."""
    labels = [
        shortened(gene) + (f" {pip:.2f}" if pip >= LABEL_FROM else "" if np.isfinite(pip) else f" ({status})")
        for gene, pip, status in zip(view.genes, view.pip, view.gene_status, strict=True)
    ]
    widths = _widths(labels, [pip >= 0.5 for pip in view.pip], view)
    air = 9 * _per_pixel(view)  # half a mark and a little more
    edge = view.span[1] + 0.95 * RIGHT * DPI * _per_pixel(view)
    left = np.where(marks + air + widths > edge, marks - air - widths, marks + air)
    rows = stack(np.minimum(left, marks - air), np.maximum(left + widths, marks + air), air)
    return labels, left, rows


def _draw_genes(
    ax: Axes, view: LocusView, marks: np.ndarray, labels: Sequence[str], left: np.ndarray, rows: np.ndarray
) -> None:
    halo: Style = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for mark, label, x, row, pip in zip(marks, labels, left, rows, view.pip, strict=True):
        colour = GENE if np.isfinite(pip) else GREY
        ax.plot([mark, mark], [row, -0.8], color=colour, linewidth=0.6, alpha=0.4, zorder=0)
        ax.plot(mark, row, marker="v", color=colour, markersize=5, linestyle="none", zorder=3)
        font: Style = {"fontsize": SMALL, "weight": "bold" if pip >= 0.5 else "normal"}
        ink = "black" if np.isfinite(pip) else GREY
        ax.text(x, row, label, va="center", color=ink, bbox=halo, zorder=2, **font)
    ax.set_ylim((rows.max() if len(rows) else 0) + 0.7, -0.8)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_ylabel("genes\n(TSS)", fontsize=MEDIUM, rotation=0, ha="right", va="center")
    if not len(marks):
        _draw_nothing(ax, "no gene in this block")


def _draw_nothing(ax: Axes, message: str) -> None:
    ax.annotate(
        message, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=GREY, fontsize=MEDIUM
    )
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _probability_axis(ax: Axes, label: str, top: float) -> None:
    ax.set_ylabel(label, fontsize=MEDIUM)
    ax.set_ylim(-0.05, top)
    ax.set_yticks([0, 0.5, 1])
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)


_LEGEND: Style = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1.02),
    "frameon": False,
    "fontsize": SMALL,
    "title_fontsize": SMALL,
    "alignment": "left",
    "borderaxespad": 0.0,
    "handletextpad": 0.4,
}


def _association_legend(ax: Axes, view: LocusView) -> None:
    dot: Style = {"marker": "o", "linestyle": "none", "markersize": 4.5, "markeredgecolor": "#555555"}
    dot["markeredgewidth"] = 0.3
    handles = [Line2D([], [], label="lead variant", **LEAD_MARK)] if view.lead >= 0 else []
    for colour, name in list(zip(R2_COLOURS, R2_NAMES, strict=True))[::-1]:
        handles.append(Line2D([], [], color=colour, label=name, **dot))
    if (np.isnan(view.r2) & np.isfinite(view.z)).any():
        handles.append(Line2D([], [], color=R2_UNKNOWN, label="unknown", **dot))
    if len(view.suspects):
        handles.append(Line2D([], [], label="left out: does not fit", **SUSPECT_MARK))
    handles.append(Line2D([], [], label="p = 5e-8", **THRESHOLD_LINE))
    ax.legend(handles=handles, title="r² with the lead", **_LEGEND)
