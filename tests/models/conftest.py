"""The cases of the models: small loci, independent densities, settings of their calibration."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pymc as pm
import pytest
from bayestwas.models import MODELS, Model, load

CASES = Path(__file__).parent / "cases"
MODE = "FAST_COMPILE"  # no C compiler at work: seconds, not minutes


@cache
def _case(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"case_{name}", CASES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def case_of() -> Callable[[str], ModuleType]:
    """Name of a model -> its case, tests/models/cases/<name>.py."""
    return _case


class Contract:
    """One model, its case, and the model built on one simulated locus at the point of the case."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.case = _case(name)
        self.model: Model = load(name)
        self.data = self.simulate(4)
        self.built: pm.Model = self.model.build(self.data, self.case.COORDS)

    def simulate(self, *seed: int) -> dict[str, Any]:
        """A locus at the fixed point, from a seed."""
        fixed = {**self.case.FIXED, **self.case.POINT}
        entropy = seed[0] if len(seed) == 1 else seed
        return self.model.simulate(np.random.default_rng(entropy), self.case.COORDS, fixed)

    def unconstrained(self, built: pm.Model | None = None) -> dict[str, np.ndarray]:
        """The point as values of the free variables that samplers see."""
        built, point = built or self.built, {}
        for rv in built.free_RVs:
            transform, value = built.rvs_to_transforms[rv], np.asarray(self.case.POINT[rv.name], float)
            if transform is not None:
                value = transform.forward(value, *rv.owner.inputs).eval(mode=MODE)
            point[built.rvs_to_values[rv].name] = value
        return point


@pytest.fixture(scope="session", params=list(MODELS))
def contract(request: pytest.FixtureRequest) -> Contract:
    return Contract(request.param)
