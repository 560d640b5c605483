"""The rank plot: one histogram and one curve per quantity, labelled simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayestwas.report.ranks import plot_ranks


def test_two_panels_per_quantity_and_a_label() -> None:
    levels = np.arange(10)
    part = pd.DataFrame({"rank": levels, "count": 4, "difference": 0.0, "lower": -0.1, "upper": 0.1})
    curves = pd.concat([part.assign(quantity=name) for name in ("a", "b", "c", "d", "e")])
    figure = plot_ranks(curves, "ranks")
    assert len(figure.axes) == 10
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == ["a", "b", "c", "d", "e"]
    assert any("SIMULATED" in text.get_text() for text in figure.texts)


def test_many_quantities_are_thinned_by_array() -> None:
    part = pd.DataFrame({"rank": [0, 1], "count": 4, "difference": 0.0, "lower": -0.1, "upper": 0.1})
    names = ["tau", *(f"effect[{i}]" for i in range(20)), *(f"mean[{i}]" for i in range(20))]
    figure = plot_ranks(pd.concat([part.assign(quantity=name) for name in names]), "ranks")
    shown = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert len(shown) == 12
    assert shown[:3] == ["tau", "effect[0]", "effect[1]"]
    assert {"mean[0]", "mean[4]"} <= set(shown)
