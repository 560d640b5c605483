"""Results: joined over blocks, stored on disk, with the provenance that says where they come from."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.result_schema import (
    INDICES,
    SPARSE,
    blank_of_locus,
    blank_result,
    broken,
    check_result,
    text,
    variable,
)
from bayestwas.errors import InputError, OutputError

__all__ = [
    "blank_of_locus",
    "blank_result",
    "check_result",
    "concat_results",
    "modality",
    "open_priors",
    "open_results",
    "provenance",
    "save_results",
    "symbols",
    "to_json",
]

STACKED = (
    names.GENE,
    names.VARIANT,
    names.BLOCK,
    names.ENTRY,
    names.SIGNAL,
    names.SUSPECT,
)  # one block after the other
UNITED = (names.CONTEXT, names.ANCESTRY)  # the union of the labels of all blocks
PACKAGES = ("bayestwas", "numpy", "scipy", "pandas", "xarray", "zarr", "bed-reader", "pymc", "matplotlib")
STORE = "results.zarr"


# ---- joining the blocks ---------------------------------------------------------------------------------


def concat_results(results: Sequence[xr.DataTree]) -> xr.DataTree:
    """One result from those of several blocks, in the given order.

    Genes, variants, blocks and sparse entries follow one another; contexts and ancestries are the union in
    order of first appearance, with NaN (or empty text) where a block does not have them; draws are padded
    with NaN to the longest block; the indices of sparse weights are moved to the joined labels. Root
    attributes on which all blocks agree are kept, and so is the group `hyperparameters` where all blocks
    that have it agree. Raises InputError for an empty sequence, for a gene or
    block that is present twice, and where simulated and real blocks are mixed.
    """
    if not results:
        raise InputError(
            "No result was given to join", "There is at least one block", "Pass the results of blocks"
        )
    for result in results:
        check_result(result)
    if len({bool(result.attrs["simulated"]) for result in results}) > 1:
        raise broken("Simulated and real blocks are mixed", "A result is of simulated data or of real data")
    united = {dim: _union(results, dim) for dim in UNITED}
    parts = [
        {group: result[group].to_dataset() for group in names.RESULT_VARIABLES}
        | {group: _moved_weights(result, group, offsets, united) for group in SPARSE}
        for result, offsets in zip(results, _offsets(results), strict=True)
    ]
    groups = {group: _join([part[group] for part in parts], united) for group in names.RESULT_VARIABLES}
    first, *others = (result.attrs for result in results)
    shared = {
        key: value for key, value in first.items() if all(_agree(other, key, value) for other in others)
    }
    groups |= _agreed_hyperparameters(results)
    joined = xr.DataTree.from_dict({"/": xr.Dataset(attrs=shared), **groups}, name="result")
    check_result(joined)
    return joined


def _agreed_hyperparameters(results: Sequence[xr.DataTree]) -> dict[str, xr.Dataset]:
    """The draws of the learned priors, which belong to a run and not to a block; blocks that were not fitted
    lack them."""
    held = [
        result[names.HYPERPARAMETERS].to_dataset()
        for result in results
        if names.HYPERPARAMETERS in result.children
    ]
    agreed = held and all(one.identical(held[0]) for one in held[1:])
    return {names.HYPERPARAMETERS: held[0]} if agreed else {}


def _agree(attrs: Mapping[Hashable, Any], key: Hashable, value: Any) -> bool:
    return key in attrs and to_json(attrs[key]) == to_json(value)


def _labels(result: xr.DataTree, dim: str) -> np.ndarray:
    """Labels of gene, variant, context or ancestry of one result."""
    holder = (names.MARGINALS, "pip_direct") if dim == names.VARIANT else (names.MARGINALS, "effect")
    return text(variable(result, *holder)[dim].values)


def _union(results: Sequence[xr.DataTree], dim: str) -> np.ndarray:
    return text(list(dict.fromkeys(label for result in results for label in _labels(result, dim))))


def _offsets(results: Sequence[xr.DataTree]) -> list[dict[str, int]]:
    """Position of each block's first gene and first variant along the joined dims."""
    dims = (names.GENE, names.VARIANT)
    sizes = np.array([[len(_labels(result, dim)) for dim in dims] for result in results])
    starts = np.cumsum(sizes, axis=0) - sizes
    return [dict(zip(dims, map(int, row), strict=True)) for row in starts]


def _moved_weights(
    result: xr.DataTree, group: str, offsets: Mapping[str, int], united: Mapping[str, np.ndarray]
) -> xr.Dataset:
    """The sparse weights with indices that point into the joined labels."""
    moved: dict[str, Any] = {}
    for name, dim in INDICES.items():
        index = variable(result, group, name).values.astype(np.int64)
        if dim in united:
            target = pd.Index(united[dim]).get_indexer(pd.Index(_labels(result, dim)))
            moved[name] = (names.ENTRY, target[index].astype(np.int64))
        else:
            moved[name] = (names.ENTRY, index + offsets[dim])
    return result[group].to_dataset().assign(moved)


def _join(parts: Sequence[xr.Dataset], united: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Place every part of one group at its position in arrays of the joined size."""
    places: list[dict[str, np.ndarray]] = [{} for _ in parts]
    sizes: dict[str, int] = {}
    coords: dict[str, np.ndarray] = {}
    for dim in dict.fromkeys(str(dim) for part in parts for dim in part.dims):
        held = [i for i, part in enumerate(parts) if dim in part.dims]
        lengths = [parts[i].sizes[dim] for i in held]
        labelled = all(dim in parts[i].coords for i in held)
        if dim in united:
            coords[dim], sizes[dim] = united[dim], len(united[dim])
            index = pd.Index(united[dim])
            for i in held:
                places[i][dim] = index.get_indexer(pd.Index(text(parts[i][dim].values)))
            continue
        starts = np.cumsum([0, *lengths[:-1]]) if dim in STACKED else np.zeros(len(held), dtype=int)
        sizes[dim] = sum(lengths) if dim in STACKED else max(lengths)
        for i, start, length in zip(held, starts, lengths, strict=True):
            places[i][dim] = np.arange(length) + start
        if labelled:
            whole = [parts[i][dim].values for i in held]
            coords[dim] = np.concatenate(whole) if dim in STACKED else max(whole, key=len)
    variables = dict.fromkeys(str(name) for part in parts for name in part.data_vars)
    arrays = {name: _place([part.get(name) for part in parts], places, sizes) for name in variables}
    return xr.Dataset(arrays, coords=coords)


def _place(
    parts: Sequence[xr.DataArray | None], places: Sequence[Mapping[str, np.ndarray]], sizes: Mapping[str, int]
) -> tuple[tuple[str, ...], np.ndarray]:
    """One variable of the joined size: dims and values."""
    present = [(part, place) for part, place in zip(parts, places, strict=True) if part is not None]
    dims = tuple(str(dim) for dim in present[0][0].dims)
    shape = tuple(sizes[dim] for dim in dims)
    complete = sum(part.size for part, _ in present) == int(np.prod(shape))
    textual = any(part.dtype.kind in "OUT" for part, _ in present)
    if textual:
        whole = np.full(shape, "", dtype=object)
    else:
        dtype = np.result_type(*(part.dtype for part, _ in present))
        # whole numbers and truth values have no "absent": with gaps they become floats with NaN
        whole = (
            np.zeros(shape, dtype) if complete else np.full(shape, np.nan, np.result_type(dtype, np.float32))
        )
    for part, place in present:
        values = part.transpose(*dims).values
        whole[np.ix_(*(place[dim] for dim in dims))] = text(values) if textual else values
    return dims, whole


# ---- what things are called --------------------------------------------------------------------------------


def symbols(result: xr.DataTree) -> dict[str, str]:
    """Gene symbols by identifier, of the genes that have one."""
    return dict(json.loads(str(result.attrs.get("symbols", "{}"))))


def modality(result: xr.DataTree, context: str) -> str:
    """What is measured in a context: expression, protein, splicing ...; '' for no context."""
    told = json.loads(str(result.attrs.get("modalities", "{}")))
    return str(told.get(context, names.MODALITY)) if context else ""


# ---- provenance -----------------------------------------------------------------------------------------


def provenance(seed: int, settings: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Root attributes that say where a result comes from: created_at, seed, versions, settings, files.

    `settings` is any nested structure of plain values, `files` maps each path that was read to its hash.
    Nested parts are JSON text (read them with `json.loads`), because a store keeps plain attributes only.
    """
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": int(seed),
        "versions": to_json(versions),
        "settings": to_json(dict(settings)),
        "files": to_json(dict(files)),
    }


def to_json(value: Any) -> str:
    """JSON text of nested plain values, numpy scalars and arrays; anything else by its text; keys sorted."""

    def plain(item: Any) -> Any:
        return item.tolist() if isinstance(item, (np.generic, np.ndarray)) else str(item)

    return json.dumps(value, sort_keys=True, default=plain)


# ---- the store ------------------------------------------------------------------------------------------


def save_results(tree: xr.DataTree, path: Path | str, *, overwrite: bool = False) -> Path:
    """Check `tree` and write it as a Zarr store at `path`, which appears whole or not at all.

    Text is stored as variable-length strings; root attributes that are not plain values become JSON text.
    Raises InputError for a broken result and OutputError where `path` exists (unless `overwrite`) or its
    folder does not.
    """
    path = Path(path)
    check_result(tree)
    if path.exists() and not overwrite:
        raise OutputError(
            f"'{path}' exists", "Results are not replaced unasked", "Choose another place, or overwrite"
        )
    if not path.parent.is_dir():
        raise OutputError(
            f"'{path.parent}' is not a folder", "Results go into an existing folder", "Create it"
        )
    stored = tree.map_over_datasets(_as_stored)
    stored.attrs = {str(key): _plain(value) for key, value in tree.attrs.items()}
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        stored.to_zarr(scratch / "new", mode="w", zarr_format=3, consolidated=False)
        if path.exists():
            os.rename(path, scratch / "old")
        os.rename(scratch / "new", path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return path


def open_results(path: Path | str) -> xr.DataTree:
    """Read a store of `save_results` into memory and check it. Raises InputError where it is not one."""
    loaded = _read(Path(path))
    try:
        check_result(loaded)
    except InputError as error:
        raise InputError(f"'{path}': {error.given}", error.rule, error.remedy) from error
    return loaded


def open_priors(path: Path | str) -> xr.DataTree:
    """The priors that a stored result was fitted under, without its weights and draws: root attributes, and
    the groups `hyperparameters` (where priors were learned), `marginals` and `blocks`.

    Reads little of a large store and does not check it. Raises InputError where `path` is not a store.
    """
    return _read(Path(path), (names.HYPERPARAMETERS, names.MARGINALS, names.BLOCKS))


def _read(path: Path, groups: tuple[str, ...] | None = None) -> xr.DataTree:
    """A store in memory; of its groups all, or those named that are there."""
    rule = f"A result is the folder '{STORE}' that a run writes"
    if not path.is_dir():
        raise InputError(f"'{path}' is not a folder", rule, "Give the path of that folder")
    try:
        # version 3 only, which is what a run writes: version 2 knows codecs that unpickle
        tree = xr.open_datatree(path, engine="zarr", consolidated=False, zarr_format=3)
        for name in set(tree.children) - set(groups or tree.children):
            del tree[name]
        _require_memory(path, tree.nbytes)
        tree = tree.load()
    except InputError:
        raise
    except Exception as error:  # zarr and its codecs raise many kinds for a damaged store
        given = f"'{path}' cannot be read as a Zarr store ({type(error).__name__}: {error})"
        raise InputError(given, rule, "Run the analysis again, or restore the folder from a copy") from error
    loaded = tree.map_over_datasets(_as_loaded)
    loaded.attrs, loaded.name = dict(tree.attrs), "result"
    return loaded


def _require_memory(path: Path, size: int, held: int | None = None) -> None:
    """Raise `InputError` where arrays of `size` bytes are more than the memory of this computer (`held`): a
    small store can claim any size."""
    held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if held is None else held
    if size > held:
        raise InputError(
            f"'{path}' unpacks to {size:,} bytes, and this computer has {held:,} bytes of memory",
            "A result is read into memory",
            "Read it on a larger computer, or the groups that are wanted with xarray.open_zarr",
        )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, float, bool)) else to_json(value)


def _as_stored(dataset: xr.Dataset) -> xr.Dataset:
    # numpy's fixed-length strings have no Zarr 3 specification and take the room of the longest for each
    return _convert_text(dataset, lambda values: text(values).astype(np.dtypes.StringDType()))


def _as_loaded(dataset: xr.Dataset) -> xr.Dataset:
    return _convert_text(dataset, text)


def _convert_text(dataset: xr.Dataset, convert: Callable[[np.ndarray], np.ndarray]) -> xr.Dataset:
    bare = dataset.drop_encoding()
    new = {
        str(name): (array.dims, convert(array.values))
        for name, array in bare.variables.items()
        if array.dtype.kind in "OUT"
    }
    return bare.assign_coords({n: v for n, v in new.items() if n in bare.coords}).assign(
        {n: v for n, v in new.items() if n in bare.data_vars}
    )
