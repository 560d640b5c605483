"""The posteriors, stated in PyMC, independent of the engine: a module and a card of the same name each.

A model has `DATA` and `PARAMETERS` (name: dims, unit, meaning), `constants(data)` (what the density needs of
the data, as arrays), `build(data, coords)` (a pm.Model; samples nothing, reads nothing) and
`simulate(rng, coords, fixed)` (the same story forward, in NumPy). `build` accepts what `simulate` returns.

`Model` holds these five; one of your own goes wherever the name of a built-in one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

Table = Mapping[str, tuple[tuple[str, ...], str, str]]

MODELS = {
    "weights": "bayestwas.models.weights",
    "gene_trait": "bayestwas.models.gene_trait",
    "hyper": "bayestwas.models.hyper",
    "coloc": "bayestwas.models.coloc",
    "ancestry": "bayestwas.models.ancestry",
    "dynamic": "bayestwas.models.dynamic",
    "joint": "bayestwas.models.joint",
}


@dataclass(frozen=True)
class Model:
    """A generative model: what it takes, what it has free, how it is built and how it simulates.

    Attributes
    ----------
    name : in messages and results.
    data, parameters : name -> (dims, unit, meaning) of what is given and of the free random variables.
    constants : data -> the arrays of the pm.Data containers, by container name.
    build : (data, coords) -> pm.Model; has one pm.Data for each entry of `constants(data)`.
    simulate : (rng, coords, fixed) -> all of parameters and data.
    card : text (Markdown) that explains it.
    """

    name: str
    data: Table
    parameters: Table
    constants: Callable[..., dict[str, Any]]
    build: Callable[..., Any]
    simulate: Callable[..., dict[str, Any]]
    card: str = ""


def load(model: str | Model) -> Model:
    """A built-in model by its name, or the given one. Imports PyMC.

    Raises KeyError for a name that is not in MODELS.
    """
    if isinstance(model, Model):
        return model
    module = import_module(MODELS[model])
    return Model(
        model,
        module.DATA,
        module.PARAMETERS,
        module.constants,
        module.build,
        module.simulate,
        card(model),
    )


def card(name: str) -> str:
    """The card of a built-in model (Markdown), without importing PyMC. KeyError for an unknown name."""
    MODELS[name]
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")
