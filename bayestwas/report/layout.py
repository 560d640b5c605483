"""Where things go in a figure: pure functions of numbers, so that they are tested without drawing."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr


def minus_log10_p(z: np.ndarray) -> np.ndarray:
    """-log10 of the two-sided p-value of z-scores: -(log 2 + log Phi(-|z|)) / log 10, finite for any finite
    z."""
    return -(np.log(2.0) + log_ndtr(-np.abs(z))) / np.log(10.0)


def spread(x: np.ndarray, gap: float) -> np.ndarray:
    """The positions nearest to `x` (least squares, order kept) that are at least `gap` apart.

    With y_i = x_i - i gap in sorted order, the constraint is that y does not decrease: isotonic regression by
    pooling adjacent violators.
    """
    order = np.argsort(x, kind="stable")
    steps = gap * np.arange(len(x))
    pools: list[tuple[float, int]] = []  # sum and size of each pool
    for value in x[order] - steps:
        total, size = float(value), 1
        while pools and pools[-1][0] * size > total * pools[-1][1]:
            before, count = pools.pop()
            total, size = total + before, size + count
        pools.append((total, size))
    level = np.repeat([total / size for total, size in pools], [size for _, size in pools])
    placed = np.empty(len(x))
    placed[order] = level + steps
    return placed


def stack(left: np.ndarray, right: np.ndarray, gap: float) -> np.ndarray:
    """The row of each interval [left, right], from 0: intervals of one row are at least `gap` apart.

    First fit from left to right: no assignment needs fewer rows.
    """
    rows = np.zeros(len(left), dtype=int)
    ends: list[float] = []
    for i in np.argsort(left, kind="stable"):
        row = next((row for row, end in enumerate(ends) if left[i] >= end + gap), len(ends))
        ends[row : row + 1] = [float(right[i])]
        rows[i] = row
    return rows


def flags(pole: np.ndarray, width: np.ndarray, gap: float) -> np.ndarray:
    """The row of each flag, from 0 at the bottom: flags fly to the right, and no pole crosses the cloth of
    another.

    A flag therefore stands higher than all poles that its cloth spans.
    """
    rows = np.zeros(len(pole), dtype=int)
    done: list[int] = []
    for i in np.argsort(-pole, kind="stable"):
        spanned = [rows[j] for j in done if pole[j] <= pole[i] + width[i] + gap]
        rows[i] = max(spanned, default=-1) + 1
        done.append(int(i))
    return rows


def shortened(label: str, most: int = 26) -> str:
    """The label, its middle left out where it is longer than `most` characters (alleles of long
    insertions)."""
    return label if len(label) <= most else f"{label[: most - 9]}...{label[-6:]}"


def within_unit(value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """(2, n) lengths of error bars below and above probabilities: they end at 0 and at 1."""
    return np.maximum(np.minimum([error, error], [value, 1 - value]), 0.0)
