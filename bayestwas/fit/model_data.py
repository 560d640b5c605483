"""Data that go into a generative model, checked; draws that come out of it, labelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayestwas import names
from bayestwas.errors import InputError
from bayestwas.models import MODELS, Model

Arrays = dict[str, np.ndarray]


def thin(values: ArrayLike, keep: int) -> np.ndarray:
    """`keep` evenly spaced of all draws: (chain, draw, ...) -> (keep, ...). InputError if there are fewer."""
    array = np.asarray(values, float)
    flat = array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
    if keep > len(flat):
        raise InputError(
            f"{keep} of {len(flat)} draws",
            "There are no more draws than were sampled",
            "Sample longer or keep fewer",
        )
    return np.asarray(flat[np.linspace(0, len(flat) - 1, keep).round().astype(int)])


def check_data(model: Model, data: Mapping[str, Any], coords: Mapping[str, Sequence[Any]]) -> None:
    """Every entry of DATA is there, with the sizes of its dims."""
    missing = [name for name in model.data if name not in data]
    if missing:
        raise InputError(
            f"data without {', '.join(missing)}",
            f"Model '{model.name}' takes {', '.join(model.data)}",
            "Add what is missing; the model's card says what each entry is",
        )
    lacking = sorted({dim for dims, _, _ in model.data.values() for dim in dims if dim not in coords})
    if lacking:
        raise InputError(
            f"coords without {', '.join(lacking)}",
            f"Every dim of the data of model '{model.name}' has labels",
            "Add a list of labels for each",
        )
    for name, (dims, _, _) in model.data.items():
        expected = tuple(len(coords[dim]) for dim in dims)
        if np.shape(data[name]) != expected:
            raise InputError(
                f"'{name}' has shape {np.shape(data[name])}",
                f"Its dims ({', '.join(dims)}) have sizes {expected}",
                "Give data and labels of the same sizes; a compiled model takes loci of one size, so compile "
                "again for another, or pad with entries that say nothing",
            )


def constants_of(model: Model, data: Mapping[str, Any]) -> Arrays:
    with as_input_error(model):
        return {name: np.asarray(value) for name, value in model.constants(data).items()}


def check_build(model: Model, built: Any, constants: Arrays) -> None:
    containers = {variable.name for variable in built.data_vars}
    if containers != set(constants):
        raise InputError(
            f"Model '{model.name}': containers {sorted(containers)}, constants {sorted(constants)}",
            "build makes one pm.Data for each entry of constants(data), so that data can be swapped",
            "Rename, add or remove containers until the two agree",
        )
    if built.discrete_value_vars:
        found = ", ".join(variable.name for variable in built.discrete_value_vars)
        raise InputError(
            f"Model '{model.name}' has discrete free variables: {found}",
            "NUTS samples continuous variables only",
            "Sum the discrete ones out of the density (logsumexp), and report their probabilities",
        )


def check_containers(model: Model, constants: Arrays, expected: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if constants[name].shape != shape:
            raise InputError(
                f"'{name}' of model '{model.name}' has shape {constants[name].shape}",
                f"The compiled model has {shape}: data are swapped, sizes are not",
                "Compile again for loci of another size, or pad with entries that say nothing",
            )


def label_draws(
    model: Model,
    built: Any,
    posterior: Arrays,
    statistics: Arrays,
    data: Mapping[str, Any],
    constants: Arrays,
    labels: Mapping[str, Sequence[Any]],
) -> xr.DataTree:
    """The draws and what they are conditional on, labelled."""
    from pymc.pytensorf import extract_obs_data

    table = model.data
    dims = {name: tuple(given) for name, given in built.named_vars_to_dims.items()}
    coords = {
        name: np.asarray(labels.get(name, values))
        for name, values in built.coords.items()
        if values is not None
    }

    def group(values: Mapping[str, Any], lead: tuple[str, ...] = ()) -> xr.Dataset:
        variables = {}
        for name, value in values.items():
            rest = np.ndim(value) - len(lead)
            own = dims.get(name) or (table[name][0] if name in table else None)
            own = own if own and len(own) == rest else tuple(f"{name}_dim_{i}" for i in range(rest))
            variables[name] = ((*lead, *own), np.asarray(value))
        used = {dim for variable in variables.values() for dim in variable[0]}
        known = {dim: coords[dim] for dim in coords if dim in used}
        if lead:
            sizes = next(iter(values.values())).shape
            known |= {dim: np.arange(size) for dim, size in zip(lead, sizes, strict=False)}
        return xr.Dataset(variables, coords=known)

    observed = {rv.name: extract_obs_data(built.rvs_to_values[rv]) for rv in built.observed_RVs}
    given = {name: data[name] for name in table if name not in observed and name not in constants}
    return xr.DataTree.from_dict(
        {
            names.POSTERIOR: group(posterior, ("chain", "draw")),
            "sample_stats": group(statistics, ("chain", "draw")),
            names.OBSERVED: group(observed),
            names.CONSTANT: group(constants | given),
        }
    )


@contextmanager
def as_input_error(model: Model) -> Iterator[None]:
    """Models know nothing of bayestwas: what they refuse with ValueError becomes an InputError."""
    try:
        yield
    except ValueError as error:
        raise InputError(
            f"Model '{model.name}' refuses: {first_line(error)}",
            "The data must be what the model's card says",
            f"See `bayestwas models {model.name}`" if model.name in MODELS else "See the card of the model",
        ) from error


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
