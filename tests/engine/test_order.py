"""The price of ordered effects, as docs/method.md states it: a moderate signal beside certain ones."""

from __future__ import annotations

import numpy as np
import pytest

from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates
from bayestwas.engine.single_effects import fit_single_effects

ODDS, N, SCALE = 0.01, 1e4, 0.01


@pytest.mark.parametrize(("certain", "expected"), [(0, 1 / 2), (1, 1 / 3), (2, 1 / 4)])
def test_odds_of_a_moderate_signal_are_divided_by_its_rank(certain: int, expected: float) -> None:
    """Unlinked variants: exactly 0.5 whatever the others do; the kernel gives 1 / (1 + rank).

    Tolerance 0.02: the effect left over keeps a little of what the moderate one does not take.
    """
    information = N * SCALE
    moderate = np.sqrt(2 * (1 + 1 / information) * (np.log(1 / ODDS) + 0.5 * np.log1p(information)))
    z = np.array([[moderate, 30.0, 25.0][: certain + 1]])  # no ties: equal z-scores can share two effects
    p = z.shape[1]
    candidates = Candidates(p, (), np.full((p, 1), np.log(ODDS)), np.full((p, 1), SCALE), np.ones((1, 1, 1)))
    fit = fit_single_effects(z, np.array([N]), [MatrixLD(np.eye(p))], candidates, effects=5)
    np.testing.assert_allclose(fit.pip[0], expected, atol=0.02)
    np.testing.assert_allclose(fit.pip[1:], 1, atol=1e-6)
