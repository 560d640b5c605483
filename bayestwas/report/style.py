"""What all figures share: sizes, colours, marks, the title, and how a figure is saved.

Figures are made without pyplot, so that nothing is shared between them: they can be drawn in any process or
thread.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayestwas.report.tables import replacing

DPI = 150
WIDTH = 10.0  # inches
SMALL, MEDIUM, LARGE = 7.0, 8.0, 11.0  # points

# colours that can be told apart with any colour vision: Okabe and Ito, and a ramp of rising darkness for r2
GENE, PLUGIN, DIRECT, LEAD, GREY = "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#8a8a8a"
R2_EDGES = (0.2, 0.4, 0.6, 0.8)
R2_NAMES = ("0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1")
R2_COLOURS = ("#c9ccd1", "#7fb8d6", "#3f8fc4", "#3b4fa0", "#2a0a4a")
R2_UNKNOWN = "#ffffff"

Style = dict[str, Any]
GENE_DOT: Style = {"marker": "o", "color": GENE, "markersize": 5.5, "linestyle": "none"}
GENE_BARS: Style = {**GENE_DOT, "ecolor": "black", "elinewidth": 1.0, "capsize": 2.5}
PLUGIN_MARK: Style = {
    "marker": "D",
    "color": PLUGIN,
    "markersize": 5.5,
    "linestyle": "none",
    "fillstyle": "none",
}
LEAD_MARK: Style = {
    "marker": "D",
    "color": LEAD,
    "markersize": 6,
    "linestyle": "none",
    "markeredgecolor": "black",
}
SUSPECT_MARK: Style = {
    "color": "black",
    "marker": "x",
    "linestyle": "none",
    "markersize": 5,
    "markeredgewidth": 1.0,
}
THRESHOLD_LINE: Style = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 3))}

SIMULATED_BANNER = "SIMULATED DATA"


class ShownFigure(Figure):
    """A figure that notebooks show by themselves, without a backend being chosen."""

    def _repr_png_(self) -> bytes:
        out = BytesIO()
        self.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
        return out.getvalue()


def new_figure(height: float) -> Figure:
    """An empty figure of the common width; `height` in inches."""
    figure = ShownFigure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_title(figure: Figure, left: float, title: str, simulated: bool) -> None:
    """The title in the first line, and on its right whether the data are simulated; `left` in inches."""
    y = 1 - 0.2 / figure.get_figheight()
    figure.text(left / WIDTH, y, title, fontsize=LARGE, weight="bold", va="center")
    if simulated:
        banner: Style = {"fontsize": LARGE, "weight": "bold", "color": PLUGIN}
        figure.text(0.985, y, SIMULATED_BANNER, ha="right", va="center", **banner)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all, without a software version: one result gives one picture."""
    with replacing(path) as scratch:
        figure.savefig(scratch, format="png", dpi=DPI, metadata={"Software": None})
