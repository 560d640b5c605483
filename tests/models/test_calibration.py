"""Simulation-based calibration in small: ranks of a few simulations of every model, gated at k sigma.

The full runs, with figures on the cards, are tests/benchmarks/sbc.py; this one finds what is plainly wrong: a
sign, a missing term, a scale.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bayestwas.models import MODELS

from bayestwas.assess import sbc
from bayestwas.fit.sampling import Sampling

RUNNER = Path(__file__).parents[1] / "benchmarks" / "sbc.py"
SIMULATIONS = dict.fromkeys(("joint", "hyper", "weights"), 12)  # the slow ones
MANY = 24
KEEP = 19
# Of some two hundred z-scores. 12 simulations whose truth is always at one end have 5.7, 24 have 8.1.
LARGEST_Z = 4.5
QUICK = Sampling(draws=60, tune=200, chains=1, cores=1, sampler="pymc", progress=False)


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbc_runner", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MODELS)
def test_the_truth_is_anywhere_among_the_draws(name: str, runner: ModuleType) -> None:
    simulations = SIMULATIONS.get(name, MANY)
    rows = runner.run_part(name, list(range(simulations)), 11, KEEP, QUICK)
    table, _, _ = runner.report(name, rows, KEEP)
    assert len(table) >= 1
    assert (table["simulations"] == simulations).all()
    z = table[["mean_z", "spread_z"]].to_numpy()
    assert np.isfinite(z).all()
    assert np.abs(z).max() < LARGEST_Z, table[np.abs(z).max(axis=1) >= LARGEST_Z]
    for number in range(len(rows[0]["probabilities"])):
        pairs = [row["probabilities"][number] for row in rows]
        p, true = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        # as if independent: probabilities that share an unknown spread more, hence half as much again
        assert abs((true - p).sum()) < 1.5 * LARGEST_Z * np.sqrt((p * (1 - p)).sum()) + 1e-6 * len(p)


def test_the_gate_closes() -> None:
    """A posterior with the wrong sign, far from zero, puts every truth at one end."""
    for simulations in (12, MANY):
        table = sbc.uniformity({"x": np.zeros(simulations, dtype=int)}, KEEP)
        assert abs(table["mean_z"].item()) > LARGEST_Z
