"""The figure of a null: genes that pass each threshold in the study and without gene effects, and both
rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from bayestwas.report.style import GENE, MEDIUM, PLUGIN, SMALL, WIDTH, new_figure, save_figure, write_title

LEFT = 1.6  # inches


def write_null(table: pd.DataFrame, folder: Path, kind: str, n: int, simulated: bool) -> Path:
    """Draw `assess.nulls.thresholds_table` into `folder`/null.png; returns its path."""
    height = 1.7 + 0.4 * len(table)
    figure = new_figure(height)
    write_title(figure, LEFT, f"Without gene effects: {n} replicates, {kind}", simulated)
    y = np.arange(len(table))[::-1]
    bottom, tall = 0.6 / height, 1 - 1.4 / height
    counts = figure.add_axes((LEFT / WIDTH, bottom, 0.36, tall))
    counts.hlines(y, 0, table["null_most"], color=PLUGIN, linewidth=1.0)
    counts.plot(table["null_mean"], y, "D", color=PLUGIN, fillstyle="none", label="null: mean, to its most")
    counts.plot(table["genes"], y, "o", color=GENE, label="study")
    counts.set_yticks(y, table["threshold"], fontsize=MEDIUM)
    counts.set_xlabel("genes that pass", fontsize=MEDIUM)
    rates = figure.add_axes((LEFT / WIDTH + 0.43, bottom, 0.36, tall))
    known = table["genes"].to_numpy() > 0
    low, high = (table[name].to_numpy()[known] for name in ("empirical_fdr", "empirical_fdr_high"))
    rates.hlines(y[known], low, high, color=PLUGIN, linewidth=1.0)
    rates.plot(low, y[known], "D", color=PLUGIN, fillstyle="none", label="empirical, to its 95% limit")
    rates.plot(table["bayesian_fdr"].to_numpy()[known], y[known], "o", color=GENE, label="Bayesian")
    rates.set_yticks(y, [""] * len(y))
    rates.set_xlabel("false discovery rate of the study", fontsize=MEDIUM)
    counts.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (counts, rates):
        for line in axes.lines:
            line.set_clip_on(False)  # marks at zero
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.set_xlim(left=0)
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    path = folder / "null.png"
    save_figure(figure, path)
    return path
