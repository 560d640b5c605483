"""Credible sets of genes and of variants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# 0.7 + 0.2 reaches 0.9
ROUNDING = 1e-12


def credible_set(probability: Floats, level: float = 0.9) -> NDArray[np.intp]:
    """The fewest candidates, most probable first, whose probabilities add up to `level`; empty where they
    never do.

    `probability` (K,) are the posterior probabilities that one single effect is each candidate; with a null,
    or with candidates of another kind, they add up to less than one.
    """
    order = np.argsort(-probability, kind="stable")
    total = np.cumsum(probability[order])
    reached = np.flatnonzero(total >= level - ROUNDING)
    return order[: reached[0] + 1] if len(reached) else np.empty(0, dtype=np.intp)


def bayesian_fdr(pip: Floats) -> Floats:
    """(G,) expected share of false discoveries if everything at least as probable as each candidate is
    called."""
    order = np.argsort(-pip, kind="stable")
    rate = np.cumsum(1 - pip[order]) / np.arange(1, len(pip) + 1)
    out = np.empty_like(rate)
    out[order] = rate
    _, tie = np.unique(pip, return_inverse=True)
    together = np.zeros(len(pip))
    np.maximum.at(together, tie, out)
    return together[tie]
