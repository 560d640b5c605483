"""The figure of the genes with the highest PIPs, over all blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayestwas import names
from bayestwas.data.results import symbols, text
from bayestwas.report.layout import shortened, within_unit
from bayestwas.report.style import (
    GENE,
    GENE_BARS,
    GENE_DOT,
    GREY,
    MEDIUM,
    PLUGIN_MARK,
    Style,
    new_figure,
    save_figure,
    write_title,
)

LEFT = 2.0  # inches, for the names of genes and contexts
INTERVAL = 1.96  # standard deviations on either side hold 95% of a Gaussian


def top_genes_figure(result: xr.DataTree, most: int = 15) -> Figure:
    """The `most` genes with the highest PIPs, their plug-in PIPs beside them, their effects with 95%
    intervals."""
    marginals = result.children[names.MARGINALS].to_dataset()
    pip = marginals["pip"].values
    fitted = np.flatnonzero(np.isfinite(pip))
    shown = fitted[np.argsort(-pip[fitted], kind="stable")][:most]
    figure = new_figure(0.27 * max(len(shown), 1) + 1.45)
    height, width = figure.get_figheight(), figure.get_figwidth()
    frame = {"left": LEFT / width, "right": 0.985, "bottom": 0.62 / height, "top": 1 - 0.66 / height}
    grid = figure.add_gridspec(1, 2, wspace=0.05, width_ratios=[1.25, 1], **frame)
    left = figure.add_subplot(grid[0, 0])
    right = figure.add_subplot(grid[0, 1], sharey=left)
    _draw_pips(left, marginals.isel({names.GENE: shown}), symbols(result))
    _draw_effects(right, marginals.isel({names.GENE: shown}))
    if not len(shown):
        left.text(0.5, 0.5, "no gene was fitted", transform=left.transAxes, ha="center", color=GREY)
    title = f"Genes with the highest PIPs ({len(shown)} of {len(pip)})"
    write_title(figure, LEFT, title, bool(result.attrs["simulated"]))
    handles = [Line2D([], [], label="PIP ± Monte Carlo error", **GENE_DOT)]
    handles.append(Line2D([], [], label="plug-in PIP (weights and LD as exact)", **PLUGIN_MARK))
    place: Style = {"loc": "upper left", "bbox_to_anchor": (LEFT / width, 1 - 0.38 / height)}
    figure.legend(handles=handles, ncols=2, frameon=False, fontsize=MEDIUM, borderaxespad=0.0, **place)
    return figure


def write_top_genes(result: xr.DataTree, directory: Path | str) -> Path:
    """Write genes.png; returns its path."""
    path = Path(directory) / "genes.png"
    save_figure(top_genes_figure(result), path)
    return path


def _draw_pips(ax: Axes, marginals: xr.Dataset, symbol: dict[str, str]) -> None:
    pip = marginals["pip"].values
    y = np.arange(len(pip))
    ax.hlines(y, 0, pip, color=GENE, linewidth=1.4, alpha=0.5)
    ax.plot(marginals["pip_plugin"].values, y, **PLUGIN_MARK)
    ax.errorbar(pip, y, xerr=within_unit(pip, marginals["pip_mcse"].values), **GENE_BARS)
    genes, contexts = text(marginals[names.GENE].values), text(marginals["best_context"].values)
    labels = [
        f"{symbol.get(g, g)} ({c})" if c else symbol.get(g, g) for g, c in zip(genes, contexts, strict=True)
    ]
    ax.set_yticks(y, [shortened(label, 34) for label in labels])
    ax.set_ylim(max(len(pip), 1) - 0.4, -0.6)
    ax.set_xlim(-0.02, 1.04)
    ax.set_xlabel("PIP (any context)", fontsize=MEDIUM)
    _plain(ax)


def _draw_effects(ax: Axes, marginals: xr.Dataset) -> None:
    effect, sd = marginals["gene_effect"].values, marginals["gene_effect_sd"].values
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    style: Style = {"fmt": "o", "color": "black", "markersize": 4, "elinewidth": 1.2, "capsize": 2.5}
    ax.errorbar(effect, np.arange(len(effect)), xerr=INTERVAL * sd, **style)
    ax.set_xlabel(f"effect if included, 95% interval\n({names.TRAIT_PER_EXPRESSION})", fontsize=MEDIUM)
    _plain(ax)
    ax.tick_params(labelleft=False, left=False)
    ax.spines["left"].set_visible(False)


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=MEDIUM)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
