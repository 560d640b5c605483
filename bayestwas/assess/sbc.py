"""Simulation-based calibration: where the truth of a simulation falls among the draws of its posterior.

If parameters are drawn from the prior, data from the parameters, and the posterior is right, the rank of the
true value among L independent posterior draws is uniform on 0..L (Talts et al. 2018, arXiv:1804.06788; Modrak
et al. 2023, doi:10.1214/23-BA1404). Ties are broken at random, so that 0/1 quantities can be ranked too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayestwas.errors import InputError
from bayestwas.fit.model_data import thin

__all__ = ["curves", "ecdf_difference", "envelope", "probability_z", "rank", "thin", "uniformity"]

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


def rank(draws: ArrayLike, truth: ArrayLike, rng: np.random.Generator) -> Ints:
    """Ranks (...) in 0..L of `truth` (...) among `draws` (L, ...), ties broken at random.

    Raises InputError where the shapes differ or a value is not finite.
    """
    values, true = np.asarray(draws, float), np.asarray(truth, float)
    if values.shape[1:] != true.shape:
        raise InputError(
            f"Draws of shape {values.shape} and a truth of shape {true.shape}",
            "Draws have one leading dimension more than the truth",
            "Stack the chains and draws into the first dimension",
        )
    if not (np.isfinite(values).all() and np.isfinite(true).all()):
        raise InputError(
            "A draw or the truth is not finite", "Ranks are of numbers", "Look at the fit that made it"
        )
    below, equal = (values < true).sum(axis=0), (values == true).sum(axis=0)
    return np.asarray(below + rng.integers(0, equal + 1), dtype=np.intp)


def uniformity(ranks: Mapping[str, ArrayLike], draws: int) -> pd.DataFrame:
    """How far the ranks of each quantity are from uniform.

    Parameters
    ----------
    ranks : name -> (simulations,) ranks in 0..L. draws : L.

    Returns
    -------
    One row per name: simulations; mean_z, that of the mean rank in standard errors (beyond 0: the posterior
    is too low, below 0: too high); spread_z, that of the squared distance from the middle (beyond 0: too
    narrow, below 0: too wide); sup, the largest difference of the ECDF from uniform.
    """
    levels = (np.arange(draws + 1) + 0.5) / (draws + 1)  # equally likely values of u
    square = (levels - 0.5) ** 2
    rows = []
    for name, values in ranks.items():
        u = (np.asarray(values, float) + 0.5) / (draws + 1)
        count = len(u)
        rows.append(
            {
                "quantity": name,
                "simulations": count,
                "mean_z": float((u.mean() - 0.5) / np.sqrt(square.mean() / count)),
                "spread_z": float((((u - 0.5) ** 2).mean() - square.mean()) / np.sqrt(square.var() / count)),
                "sup": float(np.abs(ecdf_difference(values, draws)).max()),
            }
        )
    return pd.DataFrame(rows)


def ecdf_difference(ranks: ArrayLike, draws: int) -> Floats:
    """ECDF of the ranks minus that of uniform ranks, at 0..L: (L + 1,)."""
    counts = np.bincount(np.asarray(ranks, dtype=np.intp), minlength=draws + 1)
    steps = np.arange(1, draws + 2) / (draws + 1)
    return np.asarray(np.cumsum(counts) / counts.sum() - steps)


def curves(ranks: Mapping[str, ArrayLike], draws: int, level: float = 0.95) -> pd.DataFrame:
    """What a figure of ranks needs: per quantity and rank 0..L its count, the difference of the ECDF from
    uniform, and the simultaneous band of that difference.
    """
    parts = []
    bands = {count: envelope(count, draws, level) for count in {np.size(values) for values in ranks.values()}}
    for name, values in ranks.items():
        integers = np.asarray(values, dtype=np.intp)
        lower, upper = bands[len(integers)]
        parts.append(
            pd.DataFrame(
                {
                    "quantity": name,
                    "rank": np.arange(draws + 1),
                    "count": np.bincount(integers, minlength=draws + 1),
                    "difference": ecdf_difference(integers, draws),
                    "lower": lower,
                    "upper": upper,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def envelope(
    simulations: int, draws: int, level: float = 0.95, *, seed: int = 0, repeats: int = 4000
) -> tuple[Floats, Floats]:
    """Simultaneous band of `ecdf_difference` under uniform ranks: lower and upper, (L + 1,) each.

    Pointwise binomial quantiles whose coverage is adjusted, by simulation, so that the whole curve lies
    within with probability `level` (Saeilynoja, Buerkner & Vehtari 2022, doi:10.1007/s11222-022-10090-6).
    """
    rng = np.random.default_rng(seed)
    steps = np.arange(1, draws + 2) / (draws + 1)
    counts = rng.multinomial(simulations, np.full(draws + 1, 1 / (draws + 1)), size=repeats)
    curves = np.cumsum(counts, axis=1)
    # smallest two-sided tail probability along each curve; its quantile is the pointwise level to use
    order = np.sort(curves, axis=0)
    tail = np.ones(repeats)
    for column, ordered in zip(curves.T[:-1], order.T[:-1], strict=True):  # the last is always one
        below = np.searchsorted(ordered, column, side="right") / repeats
        above = 1 - np.searchsorted(ordered, column, side="left") / repeats
        tail = np.minimum(tail, np.minimum(below, above))
    cut = np.quantile(tail, 1 - level)
    lower, upper = np.quantile(curves, [cut, 1 - cut], axis=0) / simulations
    return np.asarray(lower - steps), np.asarray(upper - steps)


def probability_z(simulations: Sequence[tuple[ArrayLike, ArrayLike]]) -> float:
    """(number true - sum of probabilities) in standard errors, over (probabilities, truth) of simulations.

    Probabilities of one simulation share what it did not know, so the error is that between simulations. NaN
    where no probability leaves room for one.
    """
    differences = np.array([np.sum(np.asarray(true, float) - np.asarray(p)) for p, true in simulations])
    spread = np.sqrt((differences**2).sum())
    return float(differences.sum() / spread) if spread > 0 else np.nan
