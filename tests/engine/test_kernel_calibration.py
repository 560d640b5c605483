"""Problems drawn from the prior: a PIP of 0.3 is right three times in ten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bayestwas.engine.single_effects import fit_single_effects

REPLICATES, VARIANTS, SIGMA = 400, 15, 4
EDGES = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 1.01])


def replicate(locus: Callable[..., Any], n: tuple[float, ...], decay: float, odds: float) -> tuple[Any, Any]:
    """PIPs and truths over many loci, (replicates * variants,) each."""
    pips, truths = [], []
    for seed in range(REPLICATES):
        rng = np.random.default_rng([seed, 21, len(n)])
        problem = locus(rng, VARIANTS, n, decay=decay, odds=odds)
        pips.append(fit_single_effects(*problem.arguments(), effects=5, ld_noise=False).pip)
        truths.append(problem.included)
    return np.concatenate(pips), np.concatenate(truths).astype(float)


def bins(pip: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Per bin: expected hits, hits, standard deviation of the hits were the PIPs right."""
    at = np.digitize(pip, EDGES) - 1
    size = len(EDGES) - 1
    expected, hits = np.bincount(at, pip, size), np.bincount(at, truth, size)
    return np.array([expected, hits, np.sqrt(np.bincount(at, pip * (1 - pip), size))])


@pytest.mark.parametrize("n", [(4e4,), (4e4, 2e4)])
@pytest.mark.parametrize("decay", [0.5, 0.8])
def test_calibrated(locus: Callable[..., Any], n: tuple[float, ...], decay: float) -> None:
    """One causal variant in three loci: every bin within four sigma."""
    expected, hits, sd = bins(*replicate(locus, n, decay, odds=0.02))
    assert (np.abs(hits - expected) <= SIGMA * sd + 1e-9).all(), (hits - expected) / sd


@pytest.mark.parametrize("n", [(4e4,), (4e4, 2e4)])
def test_many_causal_variants_are_understated_never_overstated(
    locus: Callable[..., Any], n: tuple[float, ...]
) -> None:
    """1.4 causal variants a locus, where single effects are an approximation: no bin has too few hits.

    PIPs above 0.6 are calibrated; smaller ones are too small, the more so the smaller: over 2,000 loci 1.1
    to 1.6 times between 0.1 and 0.6, 1.6 to 2.4 between 0.01 and 0.1, 3.5 below.
    """
    expected, hits, sd = bins(*replicate(locus, n, 0.8, odds=0.1))
    assert (hits >= expected - SIGMA * sd).all()
    high = EDGES[:-1] >= 0.6
    assert (np.abs(hits - expected) <= SIGMA * sd)[high].all()
    assert (hits <= 4 * expected + SIGMA * sd)[~high].all()
