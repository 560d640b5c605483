"""Figures of the calibration study, from what study.py wrote.

python tests/benchmarks/calibration/figures.py --scores calibration --out docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayestwas.report.style import GENE, MEDIUM, PLUGIN, SMALL, new_figure, save_figure, write_title

ACROSS = 4
PEER = "#56b4e9"  # sky blue of Okabe and Ito
NEAR = 0.06  # bins nearer than this have their numbers at two heights


def panel(axes: Axes, bins: pd.DataFrame, title: str) -> None:
    """Observed frequency with its interval by mean PIP; the line is calibration. Bins without genes are left
    out, and the number of genes stands beside each."""
    held = bins[bins["total"] > 0]
    axes.plot([0, 1], [0, 1], color="#8a8a8a", linewidth=0.8, linestyle=(0, (4, 3)))
    off = np.array([held["frequency"] - held["low"], held["high"] - held["frequency"]]).clip(0)
    axes.errorbar(
        held["mean_pip"], held["frequency"], yerr=off, fmt="o", color=GENE, ecolor="black", markersize=4,
        elinewidth=0.8, capsize=2,
    )  # fmt: skip
    before, above = -1.0, False
    for _, row in held.iterrows():
        above = row["mean_pip"] - before < NEAR and not above
        before = row["mean_pip"]
        place, up = (before, row["high"]), (0, 9 if above else 2)
        axes.annotate(f"{int(row['total'])}", place, up, textcoords="offset points", fontsize=6, ha="center")
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.15)
    axes.set_title(title, fontsize=MEDIUM)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def reliability(bins: pd.DataFrame, out: Path) -> None:
    mine = bins[bins["method"] == "bayestwas"]
    settings = list(dict.fromkeys(mine["setting"]))
    rows = -(-len(settings) // ACROSS)
    height = 1.0 + 2.4 * rows
    figure = new_figure(height)
    write_title(figure, 0.7, "Observed frequency of causal genes by PIP, 95% intervals", True)
    for i, setting in enumerate(settings):
        row, column = divmod(i, ACROSS)
        left, bottom = 0.07 + 0.235 * column, 1 - (0.75 + 2.4 * (row + 1) - 0.55) / height
        axes = figure.add_axes((left, bottom, 0.19, 1.7 / height))
        panel(axes, mine[mine["setting"] == setting], setting)
    label = "share of causal genes"
    figure.text(0.012, 0.5, label, rotation=90, ha="center", va="center", fontsize=MEDIUM)
    figure.text(
        0.5, 0.12 / height, "mean PIP of the bin (number of genes above it)", ha="center", fontsize=MEDIUM
    )
    save_figure(figure, out / "calibration-reliability.png")


def false_and_power(scores: pd.DataFrame, out: Path) -> None:
    """False proportion among the calls at PIP >= 0.8 of every setting: ours, plug-in and MA-FOCUS."""
    shown = {
        "bayestwas": (GENE, 0.2, "o"), "plug-in": (PLUGIN, 0.0, "D"), "MA-FOCUS, our means": (PEER, -0.2, "s")
    }  # fmt: skip
    settings = list(dict.fromkeys(scores["setting"]))
    height = 1.5 + 0.42 * len(settings)
    figure = new_figure(height)
    write_title(figure, 1.7, "False genes among those called, and power, at PIP 0.8", True)
    y = pd.Series(np.arange(len(settings))[::-1], index=settings)
    places = ((0.17, "false proportion, 95% interval"), (0.6, "power"))
    for (left, label), name in zip(places, ("false", "power"), strict=True):
        axes = figure.add_axes((left, 0.5 / height, 0.37, 1 - 1.3 / height))
        for method, (colour, shift, mark) in shown.items():
            mine = scores[(scores["method"] == method) & scores[name].notna()]
            at = y[mine["setting"]].to_numpy() + shift
            if name == "false":
                axes.hlines(at, mine["false_low"], mine["false_high"], color=colour, linewidth=1.0)
            axes.plot(mine[name], at, mark, color=colour, markersize=5, label=method)
        if name == "false":
            axes.axvline(0.05, color="#8a8a8a", linewidth=0.8, linestyle=(0, (4, 3)))
            axes.set_yticks(y, settings, fontsize=MEDIUM)
            axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        else:
            axes.set_yticks(y, [""] * len(y))
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.6, len(settings) - 0.4)
        axes.set_xlabel(label, fontsize=MEDIUM)
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, out / "calibration-calls.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=Path, required=True, help="folder that study.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    reliability(pd.read_csv(args.scores / "reliability.tsv", sep="\t"), args.out)
    false_and_power(pd.read_csv(args.scores / "scores.tsv", sep="\t"), args.out)


if __name__ == "__main__":
    main()
