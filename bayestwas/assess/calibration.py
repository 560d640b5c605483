"""Posterior probabilities against a known truth: ranking, power, false calls, calibration, log score.

Every function takes `truth` (n,), True where the gene (or variant) is causal, and `pip` (n,), its
probability or score, and returns numbers. Intervals are Wilson's for a binomial proportion (Wilson 1927,
doi:10.1080/01621459.1927.10502953): they treat genes as independent, which genes of one block are not
quite, so read them as the least that chance does.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayestwas.errors import InputError

THRESHOLD = 0.8  # a gene is called at this PIP
CLIP = (
    1e-6  # the log score moves probabilities into [CLIP, 1 - CLIP]: the worst score of an item is log(CLIP)
)
EDGES = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)  # finer where calls are made
NORMAL_95 = 1.959963984540054  # 97.5% quantile of the standard normal


class Proportion(NamedTuple):
    """`successes` among `trials`, their ratio (NaN without trials) and its 95% Wilson interval."""

    successes: int
    trials: int
    estimate: float
    low: float
    high: float


class Calls(NamedTuple):
    """What a set of calls gives: `power` among the true items, `false` among the called."""

    power: Proportion
    false: Proportion


def wilson(successes: int, trials: int, quantile: float = NORMAL_95) -> Proportion:
    """Proportion with Wilson's score interval; no trials give an estimate of NaN within [0, 1]."""
    if not 0 <= successes <= trials:
        raise InputError(
            f"{successes} successes among {trials}",
            "A proportion needs 0 <= successes <= trials",
            "Check the order of the two counts",
        )
    if trials == 0:
        return Proportion(0, 0, math.nan, 0.0, 1.0)
    estimate = successes / trials
    square = quantile**2
    centre = (estimate + square / (2 * trials)) / (1 + square / trials)
    half = (
        quantile
        / (1 + square / trials)
        * math.sqrt(estimate * (1 - estimate) / trials + square / (4 * trials**2))
    )
    low = 0.0 if successes == 0 else centre - half  # exact ends, not 1e-17 beside them
    high = 1.0 if successes == trials else centre + half
    return Proportion(int(successes), int(trials), estimate, low, high)


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of gains in recall x precision.

    The sum is over distinct thresholds: sum_t (recall_t - recall_(t-1)) precision_t. `score` is any finite
    ranking (PIP, absolute z). Items with the same score enter together, so the value does not depend on
    their order. NaN where nothing is true.
    """
    true, score = _pair(truth, score)
    if not true.any():
        return math.nan
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    hits = np.cumsum(true[order])[last_of_tie]
    called = np.flatnonzero(last_of_tie) + 1
    return float(np.sum(np.diff(hits, prepend=0) * (hits / called)) / true.sum())


def calls(truth: ArrayLike, called: ArrayLike) -> Calls:
    """Power and false proportion of a set of calls: `called` (n,) is boolean."""
    true, score = _pair(truth, np.asarray(called, dtype=bool))
    chosen = score > 0
    right = int((true & chosen).sum())
    return Calls(wilson(right, int(true.sum())), wilson(int(chosen.sum()) - right, int(chosen.sum())))


def calls_at(truth: ArrayLike, pip: ArrayLike, threshold: float = THRESHOLD) -> Calls:
    """Power and false proportion of calling every pip >= threshold."""
    true, pip = _probabilities(truth, pip)
    return calls(true, pip >= threshold)


def calibration_bins(truth: ArrayLike, pip: ArrayLike, edges: ArrayLike = EDGES) -> pd.DataFrame:
    """Observed frequency by bin of PIP: one row a bin [lower, upper), the last closed.

    Columns: lower, upper, total, count (the true among them), mean_pip, frequency, low, high (Wilson, 95%).
    A bin without items has NaN means and the interval [0, 1]. In a calibrated method mean_pip lies within
    the interval of its bin in 95% of bins.
    """
    true, pip = _probabilities(truth, pip)
    edges = np.asarray(edges, dtype=float)
    if edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) <= 0).any():
        raise InputError(
            f"Bin edges {edges.tolist()}", "Edges rise from 0 to 1", "Give edges such as 0, 0.5, 1"
        )
    bins = np.minimum(np.searchsorted(edges, pip, side="right") - 1, len(edges) - 2)
    rows = []
    for i, (lower, upper) in enumerate(itertools.pairwise(edges)):
        inside = bins == i
        share = wilson(int(true[inside].sum()), int(inside.sum()))
        mean = float(pip[inside].mean()) if inside.any() else math.nan
        rows.append(
            (lower, upper, share.trials, share.successes, mean, share.estimate, share.low, share.high)
        )
    return pd.DataFrame(
        rows, columns=["lower", "upper", "total", "count", "mean_pip", "frequency", "low", "high"]
    )


def expected_calibration_error(truth: ArrayLike, pip: ArrayLike, edges: ArrayLike = EDGES) -> float:
    """Mean over items of |frequency - mean_pip| of their bin; 0 is perfect. It grows as bins get emptier."""
    table = calibration_bins(truth, pip, edges)
    filled = table[table["total"] > 0]
    gap = (filled["frequency"] - filled["mean_pip"]).abs()
    return float(np.average(gap, weights=filled["total"]))


def mean_log_score(truth: ArrayLike, pip: ArrayLike, clip: float = CLIP) -> float:
    """Mean of log pip over the true and log(1 - pip) over the rest; 0 is perfect.

    A proper score: its expectation is greatest at the true probability. `pip` is first moved into [clip, 1
    - clip], which bounds what one wrong certainty costs at log(clip).
    """
    true, pip = _probabilities(truth, pip)
    inside = np.clip(pip, clip, 1 - clip)
    return float(np.where(true, np.log(inside), np.log1p(-inside)).mean())


def _pair(truth: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    true = np.asarray(truth, dtype=bool)
    values = np.asarray(score, dtype=np.float64)
    if true.shape != values.shape or true.ndim != 1 or len(true) == 0:
        raise InputError(
            f"Truth of shape {true.shape} and scores of shape {values.shape}",
            "Both are one-dimensional, of one length, and not empty",
            "Give one entry per gene to each",
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{int((~np.isfinite(values)).sum())} scores are not finite",
            "A gene without a result cannot be scored",
            "Leave such genes out, or score them 0 and say so",
        )
    return true, values


def _probabilities(truth: ArrayLike, pip: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    true, values = _pair(truth, pip)
    if ((values < 0) | (values > 1)).any():
        raise InputError(
            f"Probabilities between {values.min():g} and {values.max():g}",
            "A probability lies in [0, 1]",
            "Give probabilities; only average_precision ranks other scores",
        )
    return true, values
