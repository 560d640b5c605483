"""Priors without draws, as they stand in the attributes of a result: any nesting of numbers, to rows.

A field that is not known here is told under its own name, with positions for labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp
from typing import Any, NamedTuple

from bayestwas import names
from bayestwas.engine.weights import DISTANCE_EDGES

TRAIT, EXPRESSION = "genes and variants", "expression"
MOST = 300  # numbers of one field; more are left to the attribute
CORRELATION, LOG_RATIO, RATIO = "correlation", "natural log of an odds ratio", "odds ratio"


class PointValue(NamedTuple):
    """One number: `of` names its place in its field; `statement`, where there is one, says what it is; sd and
    the ends of its 95% interval, where they were stored."""

    parameter: str
    of: str
    unit: str
    value: float
    statement: str = ""
    sd: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")


class Field(NamedTuple):
    """How a field is told: `axes` name the labels of its dims (see `_axes`), `of` stands before them.

    `one` is the label where the field is a single number. A symmetric matrix is told above its diagonal.
    """

    parameter: str
    unit: str
    axes: tuple[str, ...] = ()
    of: str = ""
    one: str = ""
    statement: str = ""


PER_UNIT = "posterior mean, per unit of the annotation as in its file"
INTERVALS = "annotation_intervals"  # of the field "annotations": name, sd, ends of the 95% interval
PATTERN = ("pattern_weight", names.PROBABILITY)
FIELDS: dict[str, dict[str, Field]] = {
    TRAIT: {
        "gene": Field("odds", "odds", one="gene"),
        "direct": Field("odds", "odds", one="variant"),
        "context": Field("context_effect_odds_ratio", RATIO),
        "enrichment": Field("enrichment_odds_ratio", RATIO),
        "size_weights gene": Field("size_weight", names.PROBABILITY, ("variances gene",), "gene:"),
        "size_weights variant": Field("size_weight", names.PROBABILITY, ("variances variant",), "variant:"),
        "correlation gene": Field("correlation", CORRELATION, ("ancestries",) * 2, "gene:"),
        "correlation variant": Field("correlation", CORRELATION, ("ancestries",) * 2, "variant:"),
        "gene_sizes weights": Field("size_weight", names.PROBABILITY, ("gene_sizes variances",), "gene:"),
        "direct_sizes weights": Field(
            "size_weight", names.PROBABILITY, ("direct_sizes variances",), "variant:"
        ),
        "gene_sizes correlation": Field("correlation", CORRELATION, one="gene: every pair of ancestries"),
        "direct_sizes correlation": Field(
            "correlation", CORRELATION, one="variant: every pair of ancestries"
        ),
    },
    EXPRESSION: {
        "rate": Field("expected_number", "eQTLs of a gene", one="eQTL"),
        "size_weights": Field("size_weight", names.PROBABILITY, ("sizes",)),
        "shared": Field(*PATTERN, one="shared"),
        "unstructured": Field(*PATTERN, one="unstructured"),
        "context_specific": Field(*PATTERN, ("contexts",), "only in", "only in one context"),
        "ancestry_specific": Field(*PATTERN, ("ancestries",), "only in", "only in one ancestry"),
        "context_correlation": Field(
            "context_correlation", CORRELATION, ("contexts", "contexts"), one="every pair of contexts"
        ),
        "ancestry_correlation": Field(
            "ancestry_correlation", CORRELATION, ("ancestries", "ancestries"), one="every pair of ancestries"
        ),
        "unstructured_covariance": Field(
            "unstructured_covariance", "relative to the variance", ("studies", "studies")
        ),
        "density": Field("distance_density", "relative prior density", ("distance",)),
        "annotations": Field("enrichment", LOG_RATIO, statement=PER_UNIT),
    },
}
LABELS_ONLY = ("sizes", "contexts", "ancestries", "variances")  # of what other fields are over


def point_values(told: dict[str, Any], stage: str) -> Iterator[PointValue]:
    """Every number of `told`, field by field; see FIELDS."""
    fields = dict(_opened(told))
    intervals = {name: spread for name, *spread in fields.pop(INTERVALS, ())}
    axes = _axes(fields)
    for name, value in fields.items():
        if set(name.split()) & set(LABELS_ONLY):
            continue
        field = FIELDS[stage].get(name, Field(name.replace(" ", "_"), ""))
        numbers = _above_diagonal(list(_numbers(value, [axes.get(axis, []) for axis in field.axes])), field)
        if len(numbers) > MOST:
            said = f"{len(numbers)} numbers, which are in the attributes of results.zarr"
            yield PointValue(field.parameter, "all", field.unit, float("nan"), said)
            continue
        for labels, number in numbers:
            of = f"{field.of} {', '.join(labels)}".strip() if labels else field.one
            spread = intervals.get(of, ()) if name == "annotations" else ()
            yield PointValue(field.parameter, of, field.unit, number, field.statement, *spread)
            if field.unit == LOG_RATIO:
                ends = (float("nan"), *map(exp, spread[1:])) if spread else ()
                ratio = f"{field.parameter}_odds_ratio"
                yield PointValue(ratio, of, RATIO, exp(number), field.statement, *ends)


def _opened(told: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by their path; a table of numbers by their names is one field."""
    for name, value in told.items():
        if isinstance(value, dict) and not all(isinstance(part, (int, float)) for part in value.values()):
            yield from _opened(value, f"{before}{name} ")
        else:
            yield before + name, value


def _axes(fields: dict[str, Any]) -> dict[str, list[str]]:
    """Labels by position of what the lists of a table are over."""
    labels = {
        name: [f"variance {one:g}" if isinstance(one, (int, float)) else str(one) for one in value]
        for name, value in fields.items()
        if set(name.split()) & set(LABELS_ONLY) and isinstance(value, (list, tuple))
    }
    ends = [f"{low / 1e3:g}-{high / 1e3:g} kb" for low, high in pairwise(DISTANCE_EDGES)]
    labels["distance"] = [*ends, f"over {DISTANCE_EDGES[-1] / 1e3:g} kb"]
    labels["studies"] = [f"{c} {a}" for c in labels.get("contexts", []) for a in labels.get("ancestries", [])]
    return labels


Numbers = list[tuple[tuple[str, ...], float]]


def _numbers(
    value: Any, axes: Sequence[list[str]], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Labels and value of every number within a nesting; text and what is absent are passed over."""
    if isinstance(value, (int, float)):
        yield at, float(value)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, axes[1:], (*at, str(name)))
    elif isinstance(value, (list, tuple)):
        if len(value) == 2 and isinstance(value[0], str):  # a name and its number
            yield from _numbers(value[1], axes[1:], (*at[:-1], value[0]))
            return
        labels = axes[0] if axes and len(axes[0]) == len(value) else [str(i + 1) for i in range(len(value))]
        for label, part in zip(labels, value, strict=True):
            yield from _numbers(part, axes[1:], (*at, label))


def _above_diagonal(numbers: Numbers, field: Field) -> Numbers:
    """Of a symmetric matrix each pair once, and the diagonal where it is not one by definition."""
    if len(field.axes) != 2 or len(set(field.axes)) != 1:
        return numbers
    order = {label: i for i, label in enumerate(dict.fromkeys(labels[0] for labels, _ in numbers if labels))}
    diagonal = field.unit != CORRELATION
    return [
        (labels, number)
        for labels, number in numbers
        if len(labels) != 2 or order[labels[0]] < order[labels[1]] + diagonal
    ]
