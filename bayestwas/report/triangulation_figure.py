"""The figure that puts the evidence on the genes with the highest PIPs side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayestwas.data.results import symbols
from bayestwas.report.layout import shortened
from bayestwas.report.style import (
    DIRECT,
    GENE,
    GREY,
    MEDIUM,
    SMALL,
    THRESHOLD_LINE,
    Style,
    new_figure,
    save_figure,
    write_title,
)
from bayestwas.report.tables import genes_table
from bayestwas.report.triangulation import PROBABLE

LEFT = 1.75  # inches, for the names of genes and contexts
ROW = 0.3  # inches
OPEN: Style = {"markerfacecolor": "white"}
# column, label, marker; what a column lacks is not drawn
Mark = tuple[str, str, Style]
ZS: tuple[Mark, ...] = (
    ("twas_z", "TWAS", {"marker": "o", "color": "black", "markersize": 5}),
    ("conditional_z", "given the other genes", {"marker": "s", "color": DIRECT, "markersize": 4.5, **OPEN}),
    ("conditional_z_lead", "given the lead variant", {"marker": "^", "color": GREY, "markersize": 5, **OPEN}),
)
PROBABILITIES: tuple[Mark, ...] = (
    ("pip", "gene PIP", {"marker": "o", "color": GENE, "markersize": 6}),
    ("grcp", "GRCP", {"marker": "D", "color": DIRECT, "markersize": 5}),
    ("h4", "H4", {"marker": "D", "color": DIRECT, "markersize": 5, **OPEN}),
    ("direct_pip", "direct variant PIP", {"marker": "x", "color": "black", "markersize": 5}),
)


def triangulation_figure(result: xr.DataTree, most: int = 12) -> Figure:
    """The `most` genes with the highest PIPs: z-scores, probabilities, and in words the direction of the
    effect in every ancestry and how the evidence agrees (docs/triangulation.md)."""
    table = genes_table(result)
    fitted = table[np.isfinite(table["pip"])].sort_values("pip", ascending=False, kind="stable").head(most)
    figure = new_figure(ROW * max(len(fitted), 1) + 1.7)
    height, width = figure.get_figheight(), figure.get_figwidth()
    frame = {"left": LEFT / width, "right": 0.985, "bottom": 0.68 / height, "top": 1 - 0.95 / height}
    grid = figure.add_gridspec(1, 3, wspace=0.06, width_ratios=[1.0, 1.0, 0.95], **frame)
    left = figure.add_subplot(grid[0, 0])
    middle, right = (figure.add_subplot(grid[0, i], sharey=left) for i in (1, 2))
    _draw(left, fitted, ZS, "z")
    left.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    _draw(middle, fitted, PROBABILITIES, "probability")
    middle.axvline(PROBABLE, **THRESHOLD_LINE, zorder=0)
    middle.set_xlim(-0.04, 1.04)
    _words(right, fitted)
    symbol = symbols(result)
    labels = [
        shortened(f"{symbol.get(gene, gene)} ({context})", 30)
        for gene, context in zip(fitted["gene"].astype(str), fitted["best_context"].astype(str), strict=True)
    ]
    left.set_yticks(np.arange(len(fitted)), labels)
    left.set_ylim(max(len(fitted), 1) - 0.4, -0.6)
    for ax in (middle, right):
        ax.tick_params(labelleft=False, left=False)
    if not len(fitted):
        left.text(0.5, 0.5, "no gene was fitted", transform=left.transAxes, ha="center", color=GREY)
    write_title(figure, 0.2, "The genes from several sides", bool(result.attrs["simulated"]))
    figure.text(
        0.5, 0.1 / height, "All of it comes from one GWAS and the same panels: agreement is no second "
        "witness", ha="center", fontsize=SMALL, color="black",
    )  # fmt: skip
    return figure


def write_triangulation(result: xr.DataTree, directory: Path | str) -> Path:
    """Write triangulation.png; returns its path."""
    path = Path(directory) / "triangulation.png"
    save_figure(triangulation_figure(result), path)
    return path


def _draw(ax: Axes, table: pd.DataFrame, marks: tuple[Mark, ...], label: str) -> None:
    y = np.arange(len(table))
    offsets = np.linspace(-0.2, 0.2, len(marks))
    for (column, name, style), offset in zip(marks, offsets, strict=True):
        values = table[column].to_numpy(dtype=float)
        ax.plot(values, y + offset, linestyle="none", label=name, **style)
    for row in y[1:]:
        ax.axhline(row - 0.5, color=GREY, linewidth=0.4, alpha=0.4, zorder=0)
    ax.set_xlabel(label, fontsize=MEDIUM)
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=SMALL,
        handletextpad=0.2, columnspacing=0.8,
    )  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=MEDIUM)


def _words(ax: Axes, table: pd.DataFrame) -> None:
    told = zip(table["direction"].astype(str), table["agreement"].astype(str), strict=True)
    for row, (direction, agreement) in enumerate(told):
        ax.text(0.02, row - 0.17, agreement, fontsize=MEDIUM, va="center", weight="bold")
        signs = direction.replace(",", "  ").replace("=", " ")
        ax.text(0.02, row + 0.2, signs, fontsize=SMALL, va="center", color="black")
    for row in range(1, len(table)):
        ax.axhline(row - 0.5, color=GREY, linewidth=0.4, alpha=0.4, zorder=0)
    ax.text(0.02, 1.02, "agreement, direction by ancestry", transform=ax.transAxes, fontsize=SMALL)
    ax.set_xlim(0, 1)
    ax.tick_params(bottom=False, labelbottom=False)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
