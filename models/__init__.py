"""The posteriors, stated in PyMC, independent of the engine: a module and a card of the same name each.

A model has `DATA` and `PARAMETERS` (name: dims, unit, meaning), `build(data, coords)` (a pm.Model; samples
nothing, reads nothing) and `simulate(rng, coords, fixed)` (the same story forward, in NumPy). `build` accepts
what `simulate` returns.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

MODELS = {
    "gene_trait": "bayestwas.models.gene_trait",
}


def load(name: str) -> ModuleType:
    """The module of a model; imports PyMC. Raises KeyError for a name that is not in MODELS."""
    return import_module(MODELS[name])
