"""The forest plot of the learned priors: one row per quantity, its mean, its 95% interval."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayestwas.report.point_priors import EXPRESSION, TRAIT
from bayestwas.report.priors import DEFAULT, POSTERIOR, priors_table, told_of_priors
from bayestwas.report.style import (
    DIRECT,
    GREY,
    MEDIUM,
    PLUGIN,
    SMALL,
    WIDTH,
    Style,
    new_figure,
    save_figure,
    write_title,
)

LEFT, RIGHT, TOP, BOTTOM = 2.9, 1.75, 0.7, 0.1  # inches; numbers stand in the right margin
LINE, ACROSS, MOST_LINES = 0.17, 150, 5  # of what is told on top: inches of a line, characters, lines
ROW, HEAD, FOOT = 0.19, 0.3, 0.5  # inches: of a row, above the rows of a panel, below them
MOST = 150  # rows of a panel: those furthest from no effect, in standard deviations
HEAD_OF, TAIL_OF = 26, 18  # characters of a longer label that are kept
PRIOR_BAND = "#ececec"
PALE = "#9cc4dd"  # DIRECT, lighter: rows that the data did not inform


class Panel(NamedTuple):
    """Rows of one parameter. `null`: where the line of no effect stands; NaN: nowhere."""

    title: str
    stage: str
    parameter: str
    prefix: str
    axis: str
    null: float = 0.0
    log: bool = False
    ranked: bool = False


LOG_RATIO = "natural log of the odds ratio"
PANELS = (
    Panel("Enrichment of variant annotations", TRAIT, "enrichment", "variant: ", LOG_RATIO, ranked=True),
    Panel("Enrichment of gene annotations", TRAIT, "enrichment", "gene: ", LOG_RATIO, ranked=True),
    Panel("Enrichment of annotations", TRAIT, "enrichment", "", LOG_RATIO, ranked=True),
    Panel("Contexts, against their mean", TRAIT, "context_effect", "", LOG_RATIO, ranked=True),
    Panel("Prior odds of a candidate", TRAIT, "odds", "", "odds", np.nan, log=True),
    Panel("Effects on the trait: correlation between ancestries", TRAIT, "correlation", "", "correlation",
          np.nan),
    Panel("Enrichment of annotations in eQTLs", EXPRESSION, "enrichment", "", LOG_RATIO,
          ranked=True),
    Panel("Effects on expression: how they are shared", EXPRESSION, "pattern_weight", "", "probability",
          np.nan),
    Panel("Effects on expression: correlation between contexts", EXPRESSION, "context_correlation", "",
          "correlation", np.nan),
    Panel("Effects on expression: correlation between ancestries", EXPRESSION, "ancestry_correlation", "",
          "correlation", np.nan),
)  # fmt: skip


def priors_figure(result: xr.DataTree) -> Figure:
    """The learned priors of a result, panel by panel; the documented defaults where nothing was learned."""
    table = priors_table(result)
    parts: list[tuple[Panel, pd.DataFrame, int]] = []
    free = pd.Series(True, index=table.index)
    for panel in PANELS:
        mine = free & (table["stage"] == panel.stage) & (table["parameter"] == panel.parameter)
        mine &= table["of"].str.startswith(panel.prefix) & np.isfinite(table["mean"])
        free &= ~mine
        if mine.any():
            rows = table[mine].assign(of=table.loc[mine, "of"].str.removeprefix(panel.prefix))
            parts.append((panel, _shown(rows, panel), len(rows)))
    return _drawn(parts, told_of_priors(result), bool(result.attrs["simulated"]))


def write_priors(result: xr.DataTree, directory: Path | str) -> Path:
    """Write priors.png; returns its path."""
    path = Path(directory) / "priors.png"
    save_figure(priors_figure(result), path)
    return path


def _shown(rows: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """At most MOST rows, the largest on top where they are ranked."""
    if len(rows) > MOST:
        away = (rows["mean"] - np.nan_to_num(panel.null)).abs() / rows["sd"].fillna(1.0)
        rows = rows.loc[away.sort_values(ascending=False, kind="stable").index[:MOST].sort_values()]
    return rows.sort_values("mean", ascending=False, kind="stable") if panel.ranked else rows


def _drawn(parts: list[tuple[Panel, pd.DataFrame, int]], told: list[str], simulated: bool) -> Figure:
    heights = [HEAD + ROW * len(rows) + FOOT for _, rows, _ in parts]
    lines = [part for line in told for part in wrap(line, ACROSS)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "... the rest is in results.zarr, group hyperparameters"]
    top = TOP + LINE * len(lines)
    total = top + sum(heights or [1.0]) + BOTTOM
    figure = new_figure(total)
    learned = any((rows["source"] != DEFAULT).any() for _, rows, _ in parts)
    write_title(figure, 0.2, "Learned priors" if learned else "Priors", simulated)
    for i, line in enumerate(lines):
        y = 1 - (0.43 + LINE * i) / total
        figure.text(0.2 / WIDTH, y, line, fontsize=MEDIUM, va="center", color="#444444")
    edge = total - top
    for (panel, rows, number), height in zip(parts, heights, strict=True):
        body = ROW * len(rows)
        box = (LEFT / WIDTH, (edge - HEAD - body) / total, 1 - (LEFT + RIGHT) / WIDTH, body / total)
        _draw_panel(figure.add_axes(box), panel, rows, number)
        edge -= height
    if parts:
        _legend(figure, pd.concat([rows for _, rows, _ in parts]), top)
    else:
        figure.text(0.5, 0.5 / total, "no priors are recorded in this result", ha="center", color=GREY)
    return figure


def _draw_panel(ax: Axes, panel: Panel, rows: pd.DataFrame, number: int) -> None:
    y = np.arange(len(rows))
    if panel.log:
        ax.set_xscale("log")
    for at, low, high in zip(y, rows["prior_low"], rows["prior_high"], strict=True):
        band: Style = {"color": PRIOR_BAND, "linewidth": 0, "zorder": 0}
        ax.fill_betweenx([at - 0.5, at + 0.5], float(low), float(high), **band)
    if np.isfinite(panel.null):
        ax.axvline(panel.null, color=GREY, linewidth=0.8, zorder=1)
    for at, row in zip(y, rows.itertuples(index=False), strict=True):
        _draw_row(ax, float(at), row, panel.log)
    more = "" if number == len(rows) else f" ({len(rows)} of {number}: those furthest from no effect)"
    ax.set_title(panel.title + more, fontsize=MEDIUM, weight="bold", loc="left", pad=4)
    ax.set_yticks(y, [_label(label) for label in rows["of"]])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(panel.axis, fontsize=SMALL, labelpad=1.5)
    _limits(ax, panel, rows)
    ax.tick_params(labelsize=SMALL, length=2.5)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="x", color="#e0e0e0", linewidth=0.5, which="major")
    ax.set_axisbelow(True)


def _label(label: str) -> str:
    """Names of annotations differ at their ends as often as at their beginnings."""
    whole = len(label) <= HEAD_OF + TAIL_OF + 3
    return label if whole else f"{label[:HEAD_OF]}...{label[-TAIL_OF:]}"


def _draw_row(ax: Axes, y: float, row: Any, log: bool) -> None:
    """Mean, interval, and the same in numbers on the right; a hollow mark where there is no interval."""
    point = row.source != POSTERIOR
    colour = PLUGIN if point else PALE if row.informed == "no" else DIRECT
    numbers = (row.mean, row.low, row.high)
    mean, low, high = (f"{x:.2g}" if log else f"{round(x, 2) + 0.0:.2f}" for x in numbers)
    said = mean
    if np.isfinite([row.low, row.high]).all():
        ax.plot([row.low, row.high], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt", zorder=3)
        said += f"  [{low}, {high}]"
    fill = "none" if point else "full"
    ax.plot(row.mean, y, marker="o", color=colour, fillstyle=fill, markersize=4, zorder=4)
    ink = GREY if row.informed == "no" else "black"
    ax.annotate(
        said, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL, color=ink,
        annotation_clip=False,
    )  # fmt: skip


def _limits(ax: Axes, panel: Panel, rows: pd.DataFrame) -> None:
    """Room for every interval; for the line of no effect; and for a whole unit of the logarithm."""
    ends = rows[["mean", "low", "high", "prior_low", "prior_high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    if panel.log:
        ax.set_xlim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
        return
    if np.isfinite(panel.null):
        low, high = min(low, panel.null - 0.5), max(high, panel.null + 0.5)
        margin = 0.04 * (high - low)
        ax.set_xlim(low - margin, high + margin)
        return
    ax.set_xlim(min(low - 0.03, 0.0), 1.02)


def _legend(figure: Figure, rows: pd.DataFrame, top: float) -> None:
    """What the marks mean, above the panels, which begin `top` inches below the edge."""
    mark: Style = {"marker": "o", "markersize": 4, "linewidth": 1.5}
    drawn = rows["source"] == POSTERIOR
    handles: list[Line2D | Patch] = []
    if (drawn & (rows["informed"] != "no")).any():
        handles.append(Line2D([], [], color=DIRECT, label="mean and 95% interval", **mark))
    if (drawn & (rows["informed"] == "no")).any():
        handles.append(Line2D([], [], color=PALE, label="not informed by the data", **mark))
    if (~drawn).any():
        hollow: Style = {"marker": "o", "markersize": 4, "linestyle": "none", "fillstyle": "none"}
        handles.append(
            Line2D([], [], color=PLUGIN, label="no interval (point estimate or default)", **hollow)
        )
    if np.isfinite(rows["prior_low"]).any():
        handles.append(Patch(color=PRIOR_BAND, label="95% interval of the prior"))
    place: Style = {
        "loc": "center right",
        "bbox_to_anchor": (0.985, 1 - (top - 0.21) / figure.get_figheight()),
    }
    figure.legend(
        handles=handles, ncols=len(handles), frameon=False, fontsize=SMALL, borderaxespad=0.0, **place
    )
