"""Tables and the figure of colocalization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bayestwas import names
from bayestwas.report.tables import REAL, SIMULATED, write_table

COLUMNS = (
    "gene", "block", "context", "other", "ancestry", "signal", "trait_signal", "lead", "trait_lead",
    "n_variants", "h0", "h1", "h2", "h3", "h4", "rcp", "lcp", "grcp", "glcp", "bayesian_fdr",
    "shared_variant", "scp", "p12_needed", "status", "reason", "data",
)  # fmt: skip
COUNTS = ("signal", "trait_signal", "n_variants")
PROBABILITIES = ("h0", "h1", "h2", "h3", "h4", "rcp", "lcp", "grcp", "glcp", "bayesian_fdr", "scp")
NUMBERS = (*COUNTS, *PROBABILITIES, "p12_needed")
DRAWN = 12  # gene-contexts in the figure


def coloc_table(pairs: pd.DataFrame, unfitted: pd.DataFrame, simulated: bool) -> pd.DataFrame:
    """All rows of coloc.tsv: pairs, then genes without any (gene, block, status, reason), their numbers
    empty."""
    whole = pairs.assign(status=names.OK, reason="")
    if len(unfitted):
        rest = pd.DataFrame(
            {name: np.nan if name in NUMBERS else "" for name in whole.columns}, index=range(len(unfitted))
        )
        for name in ("gene", "block", "status", "reason"):
            rest[name] = unfitted[name].to_numpy()
        whole = pd.concat([whole, rest], ignore_index=True) if len(whole) else rest
    table = whole.astype(dict.fromkeys(NUMBERS, "float64")).astype(dict.fromkeys(COUNTS, "Int64"))
    return table.assign(data=SIMULATED if simulated else REAL)[list(COLUMNS)]


def write_coloc(
    folder: Path,
    table: pd.DataFrame,
    priors: pd.DataFrame,
    sensitivity: pd.DataFrame,
    simulated: bool,
    clusters: pd.DataFrame | None = None,
) -> list[Path]:
    """Write coloc.tsv, coloc_priors.tsv, coloc_sensitivity.tsv, coloc_clusters.tsv where there are any, and,
    where there is something to draw, the figure of the sensitivity."""
    label = SIMULATED if simulated else REAL
    tables = {
        "coloc.tsv": table,
        "coloc_priors.tsv": priors.assign(data=label),
        "coloc_sensitivity.tsv": sensitivity.assign(data=label),
    }
    if clusters is not None and len(clusters):
        tables["coloc_clusters.tsv"] = clusters.assign(data=label)
    paths = []
    for name, values in tables.items():
        write_table(values, folder / name)
        paths.append(folder / name)
    if len(sensitivity):
        paths.append(draw_sensitivity(sensitivity, simulated, folder / "coloc_sensitivity.png"))
    return paths


def draw_sensitivity(sensitivity: pd.DataFrame, simulated: bool, path: Path) -> Path:
    """GRCP along p12, one panel per pair with the highest GRCP; shaded where it is on the same side of 0.5 as
    at the p12 of the result."""
    from bayestwas.report.style import (
        DIRECT,
        GENE,
        GREY,
        MEDIUM,
        SMALL,
        THRESHOLD_LINE,
        new_figure,
        save_figure,
        write_title,
    )  # fmt: skip

    keys = ["gene", "block", "context", "other"]
    used = sensitivity[sensitivity["used"]].sort_values("grcp", ascending=False, kind="stable").head(DRAWN)
    columns, rows = 4, -(-len(used) // 4)
    figure = new_figure(0.9 + 1.75 * rows)
    height = figure.get_figheight()
    write_title(figure, 0.45, "How colocalization hangs on p12", simulated)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    figure.subplots_adjust(
        left=0.06, right=0.985, bottom=0.5 / height, top=1 - 0.72 / height, hspace=0.6, wspace=0.12
    )
    for axis in axes.ravel()[len(used) :]:
        axis.set_visible(False)
    for axis, (_, one) in zip(axes.ravel(), used.iterrows(), strict=False):
        curve = sensitivity[(sensitivity[keys] == one[keys]).all(axis=1)]
        holds = curve["holds"].to_numpy(dtype=bool)
        axis.fill_between(curve["p12"], 0, 1, where=holds, color=GENE, alpha=0.18, linewidth=0)
        axis.plot(curve["p12"], curve["grcp"], color=DIRECT, linewidth=1.4)
        axis.plot([one["p12"]], [one["grcp"]], "o", color="black", markersize=4)
        if "pip" in curve and curve["pip"].notna().any():
            axis.plot(curve["p12"], curve["pip"], color=GENE, linewidth=1.4, linestyle="--")
            axis.plot([one["p12"]], [one["pip"]], "o", color=GENE, markersize=4)
        axis.axhline(0.5, **THRESHOLD_LINE)
        axis.set_xscale("log")
        axis.set_ylim(-0.03, 1.03)
        axis.set_title(_title(one), fontsize=SMALL, loc="left")
        axis.tick_params(labelsize=SMALL)
        for side in ("top", "right"):
            axis.spines[side].set_color(GREY)
    for row in axes:
        row[0].set_ylabel("probability", fontsize=MEDIUM)
    figure.text(
        0.5, 0.12 / height, "p12, prior odds of acting on both; line: GRCP; dashed: gene PIP; points: as "
        "used; shaded: GRCP on the same side of 0.5",
        ha="center", fontsize=MEDIUM,
    )  # fmt: skip
    save_figure(figure, path)
    return path


def _title(row: pd.Series) -> str:
    """Gene and context, and what it is paired with unless that is the trait of the study."""
    return f"{row['gene'] or row['block']}, {_paired(row)}"


def _paired(row: pd.Series) -> str:
    return str(row["context"]) if row["other"] == "trait" else f"{row['context']} x {row['other']}"


def top_pairs(table: pd.DataFrame, most: int = 10) -> list[tuple[str, str, float]]:
    """Gene, context (x other) and GRCP of the pairs with the highest GRCP, all ancestries together."""
    fitted = table[(table["status"] == names.OK) & (table["ancestry"] == "all")]
    best = fitted.drop_duplicates(["gene", "block", "context", "other"]).sort_values(
        "grcp", ascending=False, kind="stable"
    )
    rows = [row for _, row in best.head(most).iterrows()]
    told = [(row["gene"] or row["block"], _paired(row), float(row["grcp"])) for row in rows]
    return [(str(gene), paired, grcp) for gene, paired, grcp in told]
