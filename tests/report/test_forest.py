"""The forest plot: a panel per kind of quantity, labels that keep apart, shades that mean something."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from bayestwas.report.forest import MOST, PALE, priors_figure, write_priors
from bayestwas.report.style import DIRECT

Learned = Callable[..., xr.DataTree]
FIFTY = {
    f"Conserved_LindbladToh_common_{i}_flanking.500.with.a.long.end_{i:02d}": (0.1 * (i - 25), 0.2 + 0.01 * i)
    for i in range(50)
}
ONE = {"coding": (1.0, 0.2)}


def texts(figure: Figure) -> list[str]:
    return [item.get_text() for item in figure.findobj(Text) if item.get_text()]


def panel(figure: Figure, title: str) -> Axes:
    [ax] = [ax for ax in figure.axes if ax.get_title(loc="left").startswith(title)]
    return ax


@pytest.mark.parametrize("coefficients", [ONE, FIFTY, {}], ids=["one", "fifty", "none"])
def test_nothing_overlaps_and_everything_is_on_the_page(
    learned: Learned, coefficients: dict[str, tuple[float, float]]
) -> None:
    result = learned(coefficients)
    result["hyperparameters"].attrs |= {"status": "warning", "reason": "few independent draws: " + 50 * "x "}
    figure = priors_figure(result)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        rows = [item.get_window_extent(renderer) for item in [*ax.get_yticklabels(), *ax.texts]]
        assert not any(a.overlaps(b) for a, b in combinations(rows, 2)), ax.get_title(loc="left")
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in rows)
    whole = [ax.get_tightbbox(renderer) for ax in figure.axes]
    assert not any(a.overlaps(b) for a, b in combinations(whole, 2))
    [legend] = figure.legends
    lines = [item.get_window_extent(renderer) for item in figure.texts]
    assert not any(a.overlaps(b) for a, b in combinations([*lines, legend.get_window_extent(renderer)], 2))
    assert not any(legend.get_window_extent(renderer).overlaps(box) for box in whole)


def test_annotations_keep_apart_in_their_shortened_names(learned: Learned) -> None:
    ax = panel(priors_figure(learned(FIFTY)), "Enrichment of variant annotations")
    labels = [item.get_text() for item in ax.get_yticklabels()]
    assert len(set(labels)) == 50
    assert labels[0].endswith("_49")  # the largest on top
    assert labels[-1].endswith("_00")


def test_more_than_fit_are_counted(learned: Learned) -> None:
    many = {f"a{i}": (float(i == MOST), 0.2) for i in range(MOST + 5)}
    ax = panel(priors_figure(learned(many)), "Enrichment of variant annotations")
    assert f"({MOST} of {MOST + 5}" in ax.get_title(loc="left")
    assert ax.get_yticklabels()[0].get_text() == f"a{MOST}"


def test_the_uninformed_are_pale_and_named_so(learned: Learned) -> None:
    figure = priors_figure(learned({"seen": (1.0, 0.2), "blind": (0.0, 0.79)}))
    ax = panel(figure, "Enrichment of variant annotations")
    drawn = {to_hex(line.get_color()).lower() for line in ax.lines if line.get_marker() == "o"}
    assert drawn == {DIRECT.lower(), PALE.lower()}
    assert "not informed by the data" in texts(figure)
    assert "not informed by the data" not in texts(priors_figure(learned(ONE)))


def test_intervals_are_those_of_the_draws(learned: Learned) -> None:
    ax = panel(priors_figure(learned(ONE)), "Enrichment of variant annotations")
    [interval] = [
        line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_zorder() == 3
    ]
    assert interval == pytest.approx(1.0 + 0.2 * np.sqrt(3) * np.array([-0.95, 0.95]))
    low, high = ax.get_xlim()
    assert low < 0 < interval[1] < high


def test_the_prior_has_the_interval_that_its_rows_have(learned: Learned) -> None:
    ax = panel(priors_figure(learned(ONE)), "Enrichment of variant annotations")
    [band] = ax.collections
    assert band.get_datalim(ax.transData).intervalx == pytest.approx([-1.6, 1.6])


def test_a_long_status_is_told_in_full(learned: Learned) -> None:
    result = learned(ONE)
    reason = " ".join(f"word{i}" for i in range(60))
    result["hyperparameters"].attrs |= {"status": "warning", "reason": reason}
    assert reason in " ".join(texts(priors_figure(result)))


def test_panels_are_those_that_have_rows(learned: Learned) -> None:
    everything = [ax.get_title(loc="left") for ax in priors_figure(learned(ONE)).axes]
    assert len(everything) == len(set(everything)) == 7
    assert "Effects on the trait: correlation between ancestries" in everything
    alone = priors_figure(learned({}, contexts=["none"], ancestries=["all"]))
    shown = [ax.get_title(loc="left") for ax in alone.axes]
    assert "Contexts, against their mean" not in shown
    assert not any(title.startswith("Enrichment of variant") for title in shown)


def test_simulated_and_real(learned: Learned) -> None:
    result = learned(ONE)
    assert "SIMULATED DATA" in texts(priors_figure(result))
    result.attrs["simulated"] = False
    assert "SIMULATED DATA" not in texts(priors_figure(result))


def test_results_without_learned_priors_have_a_picture_too(
    build_block_result: Callable[..., xr.DataTree], tmp_path: Path
) -> None:
    result = build_block_result("b1")
    assert "no priors are recorded in this result" in texts(priors_figure(result))
    result.attrs |= {"priors": '{"gene": 0.05, "direct": 0.001}', "priors_source": "documented defaults"}
    figure = priors_figure(result)
    assert {"Prior odds of a candidate", "no interval (point estimate or default)"} <= set(texts(figure))
    assert write_priors(result, tmp_path).read_bytes().startswith(b"\x89PNG")
