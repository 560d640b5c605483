"""The columns that put evidence side by side, and the one label."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayestwas.report.tables import genes_table
from bayestwas.report.triangulation import RULES, agreement, directions

CLEAR = {
    "pip": 0.9, "grcp": 0.9, "twas_bonferroni": 1e-6, "heterogeneity_p": np.nan, "direction": "EUR=+,AFR=?"
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "concordant"),
        ({"pip": np.nan}, "not fitted"),
        ({"heterogeneity_p": 0.001}, "conflicting"),
        ({"heterogeneity_p": 0.02}, "concordant"),
        ({"direction": "EUR=+,AFR=-"}, "conflicting"),
        ({"grcp": 0.49}, "gene only"),
        ({"grcp": np.nan}, "gene, colocalization unknown"),
        ({"pip": 0.4}, "shared variant only"),
        ({"pip": 0.4, "heterogeneity_p": 0.001}, "shared variant only"),
        ({"pip": 0.4, "grcp": np.nan}, "association only"),
        ({"pip": 0.4, "grcp": 0.1, "twas_bonferroni": 0.06}, "none"),
    ],
)
def test_the_first_rule_that_holds_is_the_label(change: dict[str, object], label: str) -> None:
    assert agreement(CLEAR | change) == label


def test_every_label_is_documented() -> None:
    from pathlib import Path

    told = (Path(__file__).parents[2] / "docs" / "triangulation.md").read_text()
    for label, meaning, _ in RULES:
        assert f"| `{label}` | {meaning} |" in told


def test_columns_of_a_result(synthetic_result: xr.DataTree) -> None:
    table = genes_table(synthetic_result).set_index("gene")
    marginals, constant = (synthetic_result[g].dataset for g in ("marginals", "constant_data"))
    fitted = table["pip"].notna()
    for block in np.unique(constant["gene_block"].values):
        mine = constant["variant_block"].values == block
        pips = marginals["pip_direct"].values[mine]
        rows = table[(table["block"] == block) & fitted]
        if len(rows):
            assert (rows["direct_pip"] == np.nanmax(pips)).all()
            assert (rows["direct_variant"] == constant["variant"].values[mine][np.nanargmax(pips)]).all()
    assert table.loc[~fitted, "agreement"].eq("not fitted").all()
    assert table.loc[~fitted, ["direct_variant", "direction"]].eq("").all(axis=None)
    # p of Q, by the closed form for one degree of freedom
    two = table["n_signals"] == 2
    q = synthetic_result["observed_data"].dataset["heterogeneity_q"].to_series()[two]
    from scipy.special import erfc

    np.testing.assert_allclose(table.loc[two, "heterogeneity_p"], erfc(np.sqrt(q / 2)), rtol=1e-9)
    assert table.loc[table["n_signals"].fillna(0) < 2, "heterogeneity_p"].isna().all()


def test_directions_are_those_of_the_best_context(synthetic_result: xr.DataTree) -> None:
    marginals = synthetic_result["marginals"].dataset
    told = dict(zip(marginals["gene"].values, directions(synthetic_result), strict=True))
    for gene in marginals["gene"].values[marginals["best_context"].values != ""]:
        best = marginals["best_context"].sel(gene=gene).item()
        for part in told[gene].split(","):
            ancestry, sign = part.split("=")
            probability = float(marginals["sign_probability"].sel(gene=gene, context=best, ancestry=ancestry))
            assert sign == {True: "+", False: "?"}[probability >= 0.9] or (sign, probability <= 0.1) == (
                "-",
                True,
            )


def test_the_figure_says_label_and_direction_of_every_gene(synthetic_result: xr.DataTree) -> None:
    from bayestwas.report.triangulation_figure import triangulation_figure

    table = genes_table(synthetic_result)
    fitted = table[np.isfinite(table["pip"])]
    figure = triangulation_figure(synthetic_result, most=3)
    words = [text.get_text() for text in figure.axes[2].texts]
    shown = fitted.sort_values("pip", ascending=False, kind="stable").head(3)
    assert [word for word in words if word in set(table["agreement"])] == shown["agreement"].tolist()
    points = figure.axes[1].lines[0].get_xdata()
    np.testing.assert_allclose(points, shown["pip"])
    none = synthetic_result.copy()
    none["marginals"]["pip"] = none["marginals"]["pip"] * np.nan
    assert triangulation_figure(none).axes[0].texts[0].get_text() == "no gene was fitted"
