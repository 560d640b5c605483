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

from bayestwas.fit.sampling import Sampling

RUNNER = Path(__file__).parents[1] / "benchmarks" / "sbc.py"
SIMULATIONS = {"joint": 4, "hyper": 4, "weights": 4}  # the slow ones
FEW = 8
KEEP = 19
LARGEST_Z = 5.0  # of some two hundred z-scores
QUICK = Sampling(draws=100, tune=200, chains=1, cores=1, sampler="pymc", progress=False)


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
    simulations = SIMULATIONS.get(name, FEW)
    rows = runner.run_part(name, list(range(simulations)), 11, KEEP, QUICK)
    table, _, _ = runner.report(name, rows, KEEP)
    assert len(table) >= 1
    assert (table["simulations"] == simulations).all()
    z = table[["mean_z", "spread_z"]].to_numpy()
    assert np.isfinite(z).all()
    assert np.abs(z).max() < LARGEST_Z, table[np.abs(z).max(axis=1) >= LARGEST_Z]
