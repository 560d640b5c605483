"""Annotations of a study on the scale that priors are learned on, and the patterns they fall into.

Binary annotations stay 0 and 1; others are standardised over the study. A pattern rounds standardised values
to half standard deviations: sums over patterns are then few, and the collapse is exact for binary
annotations. Priors themselves use the exact values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names

Floats = NDArray[np.float64]
STEP = 0.5  # of a pattern, standard deviations
MOST = 4.0  # standard deviations; patterns end there
# name of the variable of a locus, and of its dim of annotations
KINDS = {"variant": ("variant_annotation", names.ANNOTATION), "gene": ("gene_annotation", names.FEATURE)}


@dataclass(frozen=True)
class Scale:
    """One annotation of a study: whether it is binary, its mean and its standard deviation."""

    name: str
    binary: bool
    mean: float
    sd: float


Scales = Mapping[str, tuple[Scale, ...]]  # kind -> its annotations, in the order of the study


@dataclass(frozen=True)
class Moments:
    """Counts, sums, sums of squares of the annotations of a block, by kind, and the range of what is neither
    0 nor 1."""

    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    count: dict[str, float] = field(default_factory=dict)
    total: dict[str, Floats] = field(default_factory=dict)
    square: dict[str, Floats] = field(default_factory=dict)
    between: dict[str, Floats] = field(default_factory=dict)  # (2, annotations) lowest and highest


def moments(locus: xr.DataTree) -> Moments:
    """Those of one locus; empty where it has no annotations."""
    out = Moments()
    for kind, (variable, dim) in KINDS.items():
        values = _values(locus, kind)
        if values is None:
            continue
        out.names[kind] = tuple(str(x) for x in locus[names.ANNOTATIONS].dataset[variable][dim].values)
        out.count[kind] = float(len(values))
        out.total[kind], out.square[kind] = values.sum(axis=0), (values**2).sum(axis=0)
        other = (values != 0) & (values != 1)
        out.between[kind] = np.array(
            [
                np.where(other, values, np.inf).min(axis=0, initial=np.inf),
                np.where(other, values, -np.inf).max(axis=0, initial=-np.inf),
            ]
        )
    return out


def scales(parts: Iterable[Moments]) -> Scales:
    """The scale of every annotation, from the moments of all blocks.

    An annotation that is one value everywhere is kept as it is: it cannot be learned from, and the priors say
    so.
    """
    found: dict[str, tuple[Scale, ...]] = {"variant": (), "gene": ()}
    parts = list(parts)
    for kind in found:
        mine = [part for part in parts if kind in part.names]
        if not mine:
            continue
        count = sum(part.count[kind] for part in mine)
        mean = np.sum([part.total[kind] for part in mine], axis=0) / max(count, 1.0)
        square = np.sum([part.square[kind] for part in mine], axis=0) / max(count, 1.0)
        variance = np.maximum(square - mean**2, 0.0)
        low = np.min([part.between[kind][0] for part in mine], axis=0)
        high = np.max([part.between[kind][1] for part in mine], axis=0)
        # unknown values stand at the mean of the study: a binary annotation then has a third value, just one
        binary = (low >= high) & ~((low == high) & ((low < 0) | (low > 1)))
        found[kind] = tuple(
            Scale(name, bool(binary[j]), float(mean[j]), float(np.sqrt(variance[j])))
            for j, name in enumerate(mine[0].names[kind])
        )
    return found


def scaled(locus: xr.DataTree, kind: str, scale: Scales) -> Floats:
    """(variant or gene, annotation) on the scale of learning; without columns where a study has none."""
    values, wanted = _values(locus, kind), scale[kind]
    if values is None or not wanted:
        size = locus.sizes[names.VARIANT] if kind == "variant" else locus[names.GENES].sizes[names.GENE]
        return np.zeros((size, len(wanted)))
    shift = np.array([0.0 if one.binary else one.mean for one in wanted])
    unit = np.array([1.0 if one.binary or one.sd <= 0 else one.sd for one in wanted])
    return np.asarray((values - shift) / unit)


def patterns(values: Floats, wanted: tuple[Scale, ...]) -> Floats:
    """The values rounded to what a class holds: exact for binary annotations."""
    rounded = np.clip(np.round(values / STEP) * STEP, -MOST, MOST)
    return np.where([one.binary for one in wanted], np.round(values, 3), rounded)


def _values(locus: xr.DataTree, kind: str) -> Floats | None:
    variable = KINDS[kind][0]
    if names.ANNOTATIONS not in locus.children or variable not in locus[names.ANNOTATIONS].dataset:
        return None
    return np.asarray(locus[names.ANNOTATIONS].dataset[variable].values, dtype=np.float64)
