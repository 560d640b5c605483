"""Rank plots of simulation-based calibration."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom

from bayestwas.report.style import DIRECT, GREY, MEDIUM, SMALL, WIDTH, new_figure, write_title

ACROSS = 4  # quantities in a row
MOST = 12  # quantities in a figure
CELL, TOP, BOTTOM = 2.7, 0.75, 0.55  # inches: height of a row of quantities, above the first, below the last
BINS = 20
BAND = "#d9e6f2"


def plot_ranks(curves: pd.DataFrame, title: str) -> Figure:
    """Per quantity, the histogram of its ranks and below it their ECDF minus that of uniform ranks.

    Parameters
    ----------
    curves : quantity, rank, count, difference, lower, upper; from `bayestwas.assess.sbc.curves`.
    title : of the figure.

    The bands hold 95% of histogram bars each, and 95% of whole ECDF curves, of a posterior that is right. Of
    more than MOST quantities the first elements of each array are shown.
    """
    names = _shown(list(dict.fromkeys(curves["quantity"])))
    rows = math.ceil(len(names) / ACROSS)
    height = rows * CELL + TOP + BOTTOM
    figure = new_figure(height)
    write_title(figure, 0.6, title, simulated=True)
    figure.text(
        0.6 / WIDTH,
        1 - 0.47 / height,
        "Bars and curves of a posterior that is right stay within the bands (bars: 95% each; curves: 95% as a"
        " whole)",
        fontsize=MEDIUM,
        va="center",
    )
    grid = figure.add_gridspec(
        3 * rows, ACROSS, height_ratios=[1, 1, 0.42] * rows, left=0.6 / WIDTH, right=0.985,
        top=1 - (TOP + 0.15) / height, bottom=(BOTTOM - 0.42) / height, hspace=0.12, wspace=0.32,
    )  # fmt: skip
    for number, name in enumerate(names):
        row, column = divmod(number, ACROSS)
        upper = figure.add_subplot(grid[3 * row, column])
        lower = figure.add_subplot(grid[3 * row + 1, column])
        part = curves[curves["quantity"] == name]
        _histogram(upper, part)
        _difference(lower, part)
        upper.set_title(name, fontsize=MEDIUM, loc="left")
        upper.tick_params(labelbottom=False)
        if column == 0:
            upper.set_ylabel("simulations", fontsize=SMALL)
            lower.set_ylabel("ECDF - uniform", fontsize=SMALL)
        lower.set_xlabel("rank of the truth", fontsize=SMALL)
        for axes in (upper, lower):
            axes.tick_params(labelsize=SMALL)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlim(0, 1)
    return figure


def _shown(names: list[str]) -> list[str]:
    """At most MOST quantities in their order: the first elements of all arrays before the second ones."""
    seen: dict[str, int] = {}
    place = {}
    for name in names:
        array = name.split("[")[0]
        place[name] = seen[array] = seen.get(array, -1) + 1
    kept = set(sorted(names, key=lambda name: place[name])[:MOST])
    return [name for name in names if name in kept]


def _histogram(axes: Axes, part: pd.DataFrame) -> None:
    counts, total = part["count"].to_numpy(), int(part["count"].sum())
    edges = np.linspace(0, len(counts), min(BINS, len(counts)) + 1).round().astype(int)
    bars = np.add.reduceat(counts, edges[:-1])
    share = np.diff(edges) / len(counts)
    low, high = binom.ppf(0.025, total, share), binom.ppf(0.975, total, share)
    x = edges / len(counts)
    axes.stairs(high, x, baseline=low, fill=True, color=BAND)
    axes.stairs(bars, x, color=DIRECT, linewidth=1.1)
    axes.set_ylim(0, max(high.max(), bars.max()) * 1.15)


def _difference(axes: Axes, part: pd.DataFrame) -> None:
    x = (part["rank"].to_numpy() + 1) / len(part)
    axes.fill_between(x, part["lower"], part["upper"], color=BAND, step="post", linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.step(x, part["difference"], where="post", color=DIRECT, linewidth=1.1)
