"""The learned priors as a table: one row per quantity, and in words what the data say of it.

Priors of genes and variants have a posterior (`names.HYPERPARAMETERS`, models/hyper.md); those of expression
are point estimates. Where nothing was learned the table holds the documented defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.report.point_priors import EXPRESSION, TRAIT, point_values

Floats = NDArray[np.float64]


class Spread(NamedTuple):
    """Of a prior: its standard deviation and its 95% interval; NaN where not known."""

    sd: float = np.nan
    low: float = np.nan
    high: float = np.nan

    def widened(self, factor: float) -> Spread:
        """The same about its middle, `factor` times as wide."""
        middle, half = (self.low + self.high) / 2, factor * (self.high - self.low) / 2
        return Spread(factor * self.sd, middle - half, middle + half)


Known = dict[str, Spread]
NO_SPREAD = Spread()
LOW, HIGH = 0.025, 0.975
# A posterior with a standard deviation above this share of the prior's was not informed by the data.
UNINFORMED = 0.9
NONE = "none"  # the label of an empty dim of the model: a study without annotations, or without contexts
POSTERIOR, POINT, DEFAULT, PIPS = "posterior", "point estimate", "default", "sum of PIPs"
LOG_ODDS, LOG_RATIO = "natural log of odds", "natural log of an odds ratio"
NOT_INFORMED = "the data did not inform this: the posterior is as wide as the prior"
BY_EM = "a point estimate by EM over the genes of the study: it has no interval"
WITHOUT_DRAWS = "the mean of what was learned: its draws were not stored"


class Prior(NamedTuple):
    """One row. `of`: the gene, variant, context, annotation, pair or size that it is of. `mean` of odds and
    odds ratios is geometric. `informed`: yes, no, or empty where that cannot be said."""

    stage: str
    parameter: str
    of: str
    unit: str
    mean: float
    sd: float = np.nan
    low: float = np.nan
    high: float = np.nan
    prior_sd: float = np.nan
    prior_low: float = np.nan
    prior_high: float = np.nan
    informed: str = ""
    source: str = POSTERIOR
    statement: str = ""


def priors_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per quantity that blocks were fitted under, with the columns of `Prior`.

    Reads root attributes, the group `hyperparameters` and, where it is there, the PIPs. Without any of these
    the table is empty.
    """
    rows = [*_trait_rows(result), *_expected(result), *_point_rows(result, EXPRESSION, "weight_priors")]
    return pd.DataFrame(rows, columns=list(Prior._fields))


def _trait_rows(result: xr.DataTree) -> list[Prior]:
    if names.HYPERPARAMETERS not in result.children:
        return _point_rows(result, TRAIT, "priors")
    hyper = result[names.HYPERPARAMETERS].to_dataset()
    told, known = _json(result, "priors"), prior_spreads(hyper)
    makers = (_odds, _contexts, _enrichments, _sizes, _correlations)
    return [row for make in makers for row in make(hyper, known, told)]


def _json(result: xr.DataTree, attribute: str) -> dict[str, Any]:
    told = json.loads(str(result.attrs.get(attribute, "{}")))
    return told if isinstance(told, dict) else {}


def prior_spreads(hyper: xr.Dataset) -> Known:
    """Spreads of the priors, by variable, of odds by kind: those stored with the draws, else those of the
    model.

    Entries that are no single number, or no interval, are NaN.
    """
    if "prior_sd" in hyper.attrs:
        sds = json.loads(str(hyper.attrs["prior_sd"]))
        ranges = json.loads(str(hyper.attrs.get("prior_range", "{}")))
    else:
        # imported here: it brings PyMC, which tables do without
        from bayestwas.models.hyper import PRIOR_RANGE, PRIOR_SD

        sds, ranges = PRIOR_SD, PRIOR_RANGE
    sds = {name: float(sd) for name, sd in sds.items() if np.ndim(sd) == 0}
    ends = {name: tuple(map(float, both)) for name, both in ranges.items() if np.shape(both) == (2,)}
    odds = {kind: sds["intercept"] for kind in (names.GENE, names.VARIANT) if "intercept" in sds}
    sds |= odds
    return {name: Spread(sds.get(name, np.nan), *ends.get(name, ())) for name in {**sds, **ends}}


# ---- what has draws -------------------------------------------------------------------------------------


def _draws(hyper: xr.Dataset, name: str, *dims: str) -> Floats:
    """(draw of any chain, *dims)."""
    values = hyper[name].transpose("chain", "draw", *dims).values
    return np.asarray(values.reshape(-1, *values.shape[2:]), dtype=np.float64)


def _labels(hyper: xr.Dataset, dim: str) -> list[str]:
    """The labels of a dim; none where the model had to invent one."""
    labels = [str(label) for label in hyper[dim].values]
    return [] if labels == [NONE] else labels


def _row(
    parameter: str,
    of: str,
    unit: str,
    draws: Floats,
    prior: Spread = NO_SPREAD,
    statement: str = "",
    moved: bool = False,
) -> Prior:
    """Summary of draws; `moved`: they lie away from the centre of the prior, which is news however wide."""
    low, high = np.quantile(draws, [LOW, HIGH])
    sd = float(draws.std(ddof=1)) if len(draws) > 1 else np.nan
    told = np.isfinite([sd, prior.sd]).all()
    informed = ("yes" if moved or sd < UNINFORMED * prior.sd else "no") if told else ""
    said = NOT_INFORMED if informed == "no" else statement
    row = Prior(TRAIT, parameter, of, unit, float(draws.mean()), sd, float(low), float(high))
    return row._replace(
        prior_sd=prior.sd, prior_low=prior.low, prior_high=prior.high, informed=informed, statement=said
    )


def _exponential(row: Prior, parameter: str, unit: str, statement: str = "") -> Prior:
    """The same on the scale of odds: the geometric mean, the interval, and no standard deviation."""
    mean, low, high, prior_low, prior_high = np.exp(
        [row.mean, row.low, row.high, row.prior_low, row.prior_high]
    ).tolist()
    said = row.statement if row.informed == "no" else statement
    out = row._replace(mean=mean, low=low, high=high, prior_low=prior_low, prior_high=prior_high)
    return out._replace(parameter=parameter, unit=unit, statement=said, sd=np.nan, prior_sd=np.nan)


def _odds(hyper: xr.Dataset, known: Known, told: dict[str, Any]) -> Iterator[Prior]:
    """Of a variant, of a gene in every context, and of a gene in the (geometric) mean of contexts."""
    intercept = _draws(hyper, "intercept", "kind")
    context = known.get("context_effect", NO_SPREAD).sd
    contexts = _labels(hyper, "context")
    parts: list[tuple[str, Floats, Spread]] = []
    for i, kind in enumerate(_labels(hyper, "kind")):
        prior = known.get(kind, NO_SPREAD)
        if kind != names.GENE or not contexts:
            parts.append((kind, intercept[:, i], prior))
            continue
        logs = np.log(_draws(hyper, "context_prior", "context"))
        # the intercept and, independent of it, the deviation of a context or the mean of the deviations
        each, mean = (
            prior.widened(np.hypot(1.0, x / prior.sd)) for x in (context, context / len(contexts) ** 0.5)
        )
        parts.append((kind, logs.mean(axis=1), mean))
        parts += [(f"{kind} in {context}", logs[:, c], each) for c, context in enumerate(contexts)]
    rows = [_row("log_odds", of, LOG_ODDS, logs, prior) for of, logs, prior in parts]
    yield from rows
    yield from (_exponential(row, "odds", "odds") for row in rows)
    for row, (of, logs, _) in zip(rows, parts, strict=True):
        # effects are Poisson: a candidate with odds r has at least one with probability 1 - exp(-r)
        probability = _row("probability", of, names.PROBABILITY, -np.expm1(-np.exp(logs)))
        yield probability._replace(informed=row.informed, statement=row.statement)


def _contexts(hyper: xr.Dataset, known: Known, told: dict[str, Any]) -> Iterator[Prior]:
    """Of each context against the mean of all, which is better known than the effects themselves."""
    contexts = _labels(hyper, "context")
    if len(contexts) < 2:
        return
    draws = _draws(hyper, "context_effect", "context")
    draws = draws - draws.mean(axis=1, keepdims=True)
    prior = known.get("context_effect", NO_SPREAD).widened(np.sqrt(1 - 1 / len(contexts)))
    words = ("genes are associated with the trait {} often in this context than in the mean of contexts",
             "not told apart from the mean of contexts")  # fmt: skip
    yield from _ratios("context_effect", contexts, draws, prior, [words] * len(contexts))


def _enrichments(hyper: xr.Dataset, known: Known, told: dict[str, Any]) -> Iterator[Prior]:
    """Of each annotation: the log odds ratio, and the odds ratio, of one unit of it."""
    annotations = _labels(hyper, "annotation")
    kinds = _kinds(hyper, len(annotations))
    words = [
        (
            f"effects on the trait are found {{}} often in {kind or 'candidate'}s with more of this"
            " annotation, an association that other annotations may share",
            "neither enrichment nor depletion is established",
        )
        for kind in kinds
    ]
    of = [f"{kind}: {name}" if kind else name for kind, name in zip(kinds, annotations, strict=True)]
    draws = _draws(hyper, "coefficient", "annotation")[:, : len(of)]
    yield from _ratios("enrichment", of, draws, known.get("coefficient", NO_SPREAD), words)


def _kinds(hyper: xr.Dataset, number: int) -> list[str]:
    """Of each annotation, whether it is one of variants or of genes; empty where that was not stored."""
    kinds = json.loads(str(hyper.attrs.get("annotation_kinds", "[]")))
    return kinds if len(kinds) == number else [""] * number


def _ratios(
    parameter: str, of: list[str], draws: Floats, prior: Spread, words: list[tuple[str, str]]
) -> Iterator[Prior]:
    """Log odds ratios, then odds ratios; in `words`, what is said of an interval on one side, and of one
    across."""
    for suffix, boundary in (("", "zero"), ("_odds_ratio", "one")):
        for j, (label, (beside, across)) in enumerate(zip(of, words, strict=True)):
            low, high = np.quantile(draws[:, j], [LOW, HIGH])
            moved = bool(low > 0 or high < 0)
            if moved:
                side, more = ("above", "more") if low > 0 else ("below", "less")
                said = f"the 95% interval lies {side} {boundary}: {beside.format(more)}"
            else:
                said = f"the 95% interval includes {boundary}: {across}"
            row = _row(parameter, label, LOG_RATIO, draws[:, j], prior, said, moved)
            yield _exponential(row, parameter + suffix, "odds ratio", said) if suffix else row


def _sizes(hyper: xr.Dataset, known: Known, told: dict[str, Any]) -> Iterator[Prior]:
    draws = _draws(hyper, "size_weight", "kind", "size")
    grid = told.get("variances", {})
    for i, kind in enumerate(_labels(hyper, "kind")):
        for s, label in enumerate(hyper["size"].values):
            variances = grid.get(kind, [])
            size = f"variance {variances[s]:g}" if s < len(variances) else f"size {label}"
            prior = known.get("size_weight", NO_SPREAD)
            yield _row("size_weight", f"{kind}: {size}", names.PROBABILITY, draws[:, i, s], prior)


def _correlations(hyper: xr.Dataset, known: Known, told: dict[str, Any]) -> Iterator[Prior]:
    draws = _draws(hyper, "correlation", "kind", "ancestry", "ancestry_")
    ancestries = [str(label) for label in hyper["ancestry"].values]
    for i, kind in enumerate(_labels(hyper, "kind")):
        for a, b in combinations(range(len(ancestries)), 2):
            of = f"{kind}: {ancestries[a]}, {ancestries[b]}"
            prior = known.get("correlation", NO_SPREAD)
            yield _row("correlation", of, "correlation", draws[:, i, a, b], prior)


# ---- what has none --------------------------------------------------------------------------------------


def _expected(result: xr.DataTree) -> Iterator[Prior]:
    """Genes and variants with an effect that the data make one expect: the sums of their PIPs."""
    if names.MARGINALS not in result.children:
        return
    marginals = result[names.MARGINALS].dataset
    for kind, pip in ((names.GENE, "pip"), (names.VARIANT, "pip_direct")):
        values = marginals[pip].values
        fitted = int(np.isfinite(values).sum())
        if fitted:
            said = f"the PIPs of {fitted} fitted {kind}s add up to this: given the data, and not a prior"
            total = float(np.nansum(values))
            yield Prior(TRAIT, "expected_number", kind, f"{kind}s", total, source=PIPS, statement=said)


def _point_rows(result: xr.DataTree, stage: str, attribute: str) -> list[Prior]:
    """Rows of a JSON attribute, whatever its fields."""
    told = _json(result, attribute)
    source, said = POINT, BY_EM if stage == EXPRESSION else WITHOUT_DRAWS
    if not _learned(told):
        source, said = DEFAULT, f"nothing was learned, and the default stands: {why_not_learned(result)}"
    return [
        Prior(
            stage,
            *one[:4],
            sd=one.sd,
            low=one.low,
            high=one.high,
            source=POSTERIOR if np.isfinite(one.low) else source,
            statement=one.statement or said,
        )
        for one in point_values(told, stage)
    ]


def _learned(told: dict[str, Any]) -> bool:
    """Whether the numbers of an attribute were learned: then they are over named contexts and ancestries."""
    return bool(told.get("contexts") or told.get("ancestries"))


def why_not_learned(result: xr.DataTree) -> str:
    """Why a run stayed with the documented defaults, from what its attributes say."""
    source = str(result.attrs.get("priors_source", ""))
    _, found, reason = source.partition(": ")
    if found:
        return reason
    settings = _json(result, "settings")
    if settings.get("learn") is False:
        return "learning was switched off"
    if "learn_blocks" in settings and names.BLOCKS in result.children:
        status = result[names.BLOCKS].dataset["block_status"].values
        blocks, least = int((status != names.SKIPPED).sum()), int(settings["learn_blocks"])
        if blocks < least:
            return f"a run of {blocks} block{'s' * (blocks != 1)}, and learning needs {least}"
    return source or "no reason was recorded"


# ---- in words -------------------------------------------------------------------------------------------


def told_of_priors(result: xr.DataTree) -> list[str]:
    """Lines on where the priors come from, and on what the data did not inform."""
    source = str(result.attrs.get("priors_source", "")) or "their source was not recorded"
    lines = [f"Priors of genes and variants: {source}."]
    if names.HYPERPARAMETERS not in result.children:
        why = why_not_learned(result)
        told = _learned(_json(result, "priors")) or why in source
        return lines if told else [f"{lines[0][:-1]}: {why}."]
    attrs = result[names.HYPERPARAMETERS].attrs
    if attrs.get("status", names.OK) != names.OK:
        lines.append(f"The global model has the status {attrs['status']}: {attrs.get('reason', '')}.")
    return lines


# On a terminal these are left out, as another scale of what is shown or as too many: priors.tsv has them.
IN_FILE_ONLY = ("log_odds", "probability", "context_effect_odds_ratio", "unstructured_covariance")


def print_priors(result: xr.DataTree) -> None:
    """Print where the priors come from, a table per stage, and what the data did not inform."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, table = Console(), priors_table(result)
    for line in told_of_priors(result):
        console.print(line, markup=False, highlight=False)
    for stage, rows in table[~table["parameter"].isin(IN_FILE_ONLY)].groupby("stage", sort=False):
        title = f"Priors of {stage}{' (simulated data)' * bool(result.attrs['simulated'])}"
        drawn = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        for name in ("parameter", "of", "mean", "95% interval", "informed"):
            drawn.add_column(name, justify="right" if name == "mean" else "left", overflow="fold")
        for row in (Prior(*values) for values in rows.itertuples(index=False, name=None)):
            interval = f"{row.low:.3g} to {row.high:.3g}" if np.isfinite(row.low) else f"({row.source})"
            number = f"{row.mean:.3g}" if np.isfinite(row.mean) else ""
            drawn.add_row(*map(escape, (row.parameter, row.of, number, interval, row.informed)))
        console.print(drawn)
    blind = table.loc[table["informed"] == "no", "of"].unique()
    if len(blind):
        said = f"Not informed by the data, the posterior is as wide as the prior: {'; '.join(blind)}."
        console.print(said, markup=False, highlight=False)
