"""The contract of a result, from names.RESULT_VARIABLES: a blank one to fill in, the check of a full one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.schema import eqtl_groups, expression_groups, finished_groups
from bayestwas.errors import InputError

LABELLED = (names.GENE, names.VARIANT, names.BLOCK, names.CONTEXT, names.ANCESTRY)
UNIQUE = (
    names.GENE,
    names.BLOCK,
    names.CONTEXT,
    names.ANCESTRY,
)  # blocks may overlap, so a variant may recur
FITTED = (names.OK, names.WARNING)
OPTIONAL = {(names.MARGINALS, "explanation")}

# names of the sparse indices and the dim that each points into
INDICES = {
    "gene_index": names.GENE,
    "context_index": names.CONTEXT,
    "ancestry_index": names.ANCESTRY,
    "variant_index": names.VARIANT,
}
SPARSE = (names.WEIGHTS, names.MEAN_WEIGHTS)  # groups that have them
INTEGER_VARIABLES = (*INDICES, "draw_index")
BOOLEAN_VARIABLES = ("converged",)
NON_NEGATIVE = ("pip_mcse", "gene_effect_sd", "effect_sd", "cis_h2_sd")
UNIT_INTERVAL = (names.PROBABILITY, "share of expression variance", "squared correlation")
ROUNDING = 1e-9  # sums of float64 probabilities may pass 1 by a few units in the last place

GENE_COLUMNS = ("chromosome", "tss", "n_variants", "status", "reason")
VARIANT_COLUMNS = ("position", "effect_allele", "other_allele", "source_id")


def text(values: Any) -> np.ndarray:
    """Any array or sequence of strings as an object array of `str`, missing values as empty strings."""
    array = np.asarray(values, dtype=object)
    plain = ["" if value is None or value != value else str(value) for value in array.ravel()]
    return np.array(plain, dtype=object).reshape(array.shape)


def variable(tree: xr.DataTree, group: str, name: str) -> xr.DataArray:
    """One variable of one group."""
    return tree[group].dataset[name]


# ---- a blank result -------------------------------------------------------------------------------------


def blank_result(
    block: str,
    chromosome: str,
    start: int,
    end: int,
    genes: pd.DataFrame,
    contexts: Sequence[str],
    ancestries: Sequence[str],
    variants: pd.DataFrame | None = None,
    *,
    status: str = names.OK,
    reason: str = "",
    n_draws: int = 0,
    simulated: bool = False,
) -> xr.DataTree:
    """A result of one block with nothing estimated: every variable of the contract, numbers NaN, text empty.

    `genes` has the columns gene, chromosome, tss and, where known, n_variants, status, reason; `variants`
    has variant, position and, where known, effect_allele, other_allele, source_id. `n_draws` is the size of
    the draw dim. Where the block itself is skipped or failed, so are those of its genes that would have
    been fitted, for the same reason: such a result is complete as it is.
    """
    variants = pd.DataFrame(columns=["variant", "position"]) if variants is None else variants
    labels = {
        names.GENE: text(genes["gene"]),
        names.VARIANT: text(variants["variant"]),
        names.BLOCK: text([block]),
        names.CONTEXT: text(contexts),
        names.ANCESTRY: text(ancestries),
    }
    sizes = {dim: len(label) for dim, label in labels.items()}
    sizes |= {names.ENTRY: 0, names.SUSPECT: 0, "chain": 1, "draw": n_draws}
    groups: dict[str, xr.Dataset] = {}
    for group, specs in names.RESULT_VARIABLES.items():
        arrays = {name: (spec.dims, _blank(name, spec, sizes)) for name, spec in specs.items()}
        used = {dim for spec in specs.values() for dim in spec.dims}
        groups[group] = xr.Dataset(arrays, coords={dim: labels[dim] for dim in LABELLED if dim in used})
    constant, blocks = groups[names.CONSTANT], groups[names.BLOCKS]
    for table, columns in ((genes, GENE_COLUMNS), (variants, VARIANT_COLUMNS)):
        for name in set(columns).intersection(table.columns):
            values = table[name].to_numpy()
            constant[name].values[:] = (
                text(values) if constant[name].dtype == object else values.astype(float)
            )
    gene_status, gene_reason = constant["status"].values, constant["reason"].values
    gene_status[gene_status == ""] = names.OK
    if status not in FITTED:
        hit = np.isin(gene_status, FITTED)
        gene_status[hit], gene_reason[hit] = status, reason
    constant["gene_block"].values[:] = block
    constant["variant_block"].values[:] = block
    given: dict[str, Any] = {"block_chromosome": chromosome, "block_start": start, "block_end": end}
    given |= {"variants": len(variants), "genes": len(genes), "block_status": status, "block_reason": reason}
    for name, value in given.items():
        blocks[name].values[:] = value
    root = xr.Dataset(attrs={"simulated": bool(simulated)})
    return xr.DataTree.from_dict({"/": root, **groups}, name="result")


def blank_of_locus(
    locus: xr.DataTree, *, status: str = names.OK, reason: str = "", n_draws: int = 0
) -> xr.DataTree:
    """`blank_result` with all that a locus already says: genes, variants, contexts, ancestries, z, n_ref,
    block.

    Contexts are those with expression, eQTLs or finished weights; ancestries those with a GWAS, then
    those with expression only. Root attributes of the locus that name the study and the build are kept.
    """
    root = locus.to_dataset(inherit=False)
    gwas = locus[names.GWAS].to_dataset()
    held = [*expression_groups(locus), *eqtl_groups(locus), *finished_groups(locus)]
    panels = [(context, ancestry) for context, ancestry, _ in held]
    contexts = list(dict.fromkeys(context for context, _ in panels))
    gwas_ancestries = [str(ancestry) for ancestry in gwas[names.ANCESTRY].values]
    ancestries = list(dict.fromkeys(gwas_ancestries + [ancestry for _, ancestry in panels]))
    attrs = locus.attrs
    result = blank_result(
        *(attrs["block"], attrs["chromosome"], attrs["start"], attrs["end"]),
        genes=locus.children[names.GENES].to_dataset(inherit=False).to_dataframe().reset_index(),
        contexts=contexts,
        ancestries=ancestries,
        variants=root.to_dataframe().reset_index(),
        status=status,
        reason=reason,
        n_draws=n_draws,
        simulated=attrs["simulated"],
    )
    z = gwas["z"].transpose(names.ANCESTRY, names.VARIANT).values
    variable(result, names.OBSERVED, "z").values[: len(gwas_ancestries)] = z
    for ancestry, node in locus[names.LD].children.items() if names.LD in locus.children else ():
        if ancestry in ancestries:
            variable(result, names.BLOCKS, "n_ref").values[0, ancestries.index(ancestry)] = node.attrs[
                "n_ref"
            ]
    result.attrs |= {key: attrs[key] for key in ("study", "build") if key in attrs}
    return result


def _blank(name: str, spec: names.Variable, sizes: Mapping[str, int]) -> np.ndarray:
    shape = tuple(sizes[dim] for dim in spec.dims)
    if name in INTEGER_VARIABLES:
        return np.zeros(shape, dtype=np.int64)
    if name in BOOLEAN_VARIABLES:
        return np.zeros(shape, dtype=bool)
    return np.full(shape, "", dtype=object) if spec.unit == "" else np.full(shape, np.nan)


# ---- the check ------------------------------------------------------------------------------------------


def check_result(tree: xr.DataTree) -> None:
    """Raise InputError where `tree` breaks the contract; variables beyond the contract are allowed.

    Checked: groups, variables, dims and their order, one labelling per dim in all groups, statuses (and a
    reason for each that is not ok), probabilities within [0, 1], pip present for exactly the genes that
    were fitted, sparse indices within range, blocks of genes and variants known.
    """
    for group, specs in names.RESULT_VARIABLES.items():
        if group not in tree.children:
            raise broken(f"The result has no group '{group}'", f"Groups: {', '.join(names.RESULT_VARIABLES)}")
        dataset = tree[group].dataset
        for name, spec in specs.items():
            if name in dataset.data_vars:
                _check_variable(f"{group}/{name}", name, dataset[name], spec)
            elif (group, name) not in OPTIONAL:
                raise broken(f"The result has no variable '{group}/{name}'", f"It holds the {spec.meaning}")
    if not isinstance(tree.attrs.get("simulated"), (bool, np.bool_)):
        raise broken(
            "The result does not say whether its data are simulated", "Root attribute simulated: bool"
        )
    labels = _check_labels(tree)
    constant, blocks = tree[names.CONSTANT].dataset, tree[names.BLOCKS].dataset
    _check_statuses("Gene", labels[names.GENE], constant["status"].values, constant["reason"].values)
    _check_statuses(
        "Block", labels[names.BLOCK], blocks["block_status"].values, blocks["block_reason"].values
    )
    _check_fitted(
        labels[names.GENE], constant["status"].values, variable(tree, names.MARGINALS, "pip").values
    )
    # a requested gene that lies in no block has no block; a variant is only ever read with its block
    outside: dict[str, set[str]] = {"gene_block": {""}, "variant_block": set()}
    for name in outside:
        unknown = sorted(set(text(constant[name].values)) - set(labels[names.BLOCK]) - outside[name])
        if unknown:
            raise broken(f"'{names.CONSTANT}/{name}' holds '{unknown[0]}'", "It is a label of dim 'block'")
    for group, (name, dim) in product(SPARSE, INDICES.items()):
        index = variable(tree, group, name).values
        if index.size and (index.min() < 0 or index.max() >= len(labels[dim])):
            given = f"'{group}/{name}' spans {index.min()} to {index.max()}"
            raise broken(given, f"It points into the {len(labels[dim])} labels of dim '{dim}', from 0")


def broken(given: str, rule: str) -> InputError:
    """The error for a result that breaks its contract: no input file of the user can mend it."""
    return InputError(
        given, rule, "Run the analysis again; if that gives the same, report it with this message"
    )


def _check_variable(path: str, name: str, array: xr.DataArray, spec: names.Variable) -> None:
    if array.dims != spec.dims:
        raise broken(f"'{path}' has dims {array.dims}", f"Its dims are {spec.dims}, in that order")
    special = {**dict.fromkeys(INTEGER_VARIABLES, "iu"), **dict.fromkeys(BOOLEAN_VARIABLES, "b")}
    kind = array.dtype.kind
    if kind not in special.get(name, "OUT" if spec.unit == "" else "fiu"):
        raise broken(f"'{path}' has values of type {array.dtype}", f"It holds the {spec.meaning}")
    bounded = spec.unit in UNIT_INTERVAL
    if kind != "f" or not (bounded or name in NON_NEGATIVE):
        return
    high = 1.0 if bounded else np.inf
    outside = np.argwhere((array.values < -ROUNDING) | (array.values > high + ROUNDING))
    if len(outside):
        where = dict(zip(spec.dims, map(int, outside[0]), strict=True))
        value = float(array.isel(where))
        place = ", ".join(
            f"{dim} {array[dim].values[i] if dim in array.coords else i}" for dim, i in where.items()
        )
        raise broken(f"'{path}' is {value:g} at {place}", f"The {spec.meaning} lies between 0 and {high:g}")


def _check_labels(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """Labels of each dim, after checking that all groups agree on them and that they are unique."""
    labels: dict[str, np.ndarray] = {}
    for group in names.RESULT_VARIABLES:
        dataset = tree[group].dataset
        for dim in set(LABELLED).intersection(map(str, dataset.dims)):
            if dim not in dataset.coords:
                raise broken(
                    f"Dim '{dim}' has no labels in group '{group}'", "Every group carries its labels"
                )
            here = text(dataset[dim].values)
            if not np.array_equal(here, labels.setdefault(dim, here)):
                given = f"Dim '{dim}' has other labels in group '{group}' than elsewhere"
                raise broken(given, "All groups have the same labels in the same order")
    for dim in UNIQUE:
        index = pd.Index(labels[dim])
        if index.has_duplicates:
            twice = index[index.duplicated()][0]
            raise broken(f"The {dim} '{twice}' is present twice", f"Labels of dim '{dim}' are unique")
    return labels


def _check_statuses(what: str, labels: np.ndarray, statuses: np.ndarray, reasons: np.ndarray) -> None:
    for label, status, reason in zip(labels, statuses, reasons, strict=True):
        if status not in names.STATUSES:
            given = f"{what} '{label}' has status '{status}'"
            raise broken(given, f"A status is one of {', '.join(names.STATUSES)}")
        if status != names.OK and not reason:
            raise broken(f"{what} '{label}' is '{status}' without a reason", "Only status ok needs no reason")


def _check_fitted(genes: np.ndarray, statuses: np.ndarray, pips: np.ndarray) -> None:
    wrong = np.isin(text(statuses), FITTED) == np.isnan(pips)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        has = "no pip" if np.isnan(pips[i]) else "a pip"
        given = f"Gene '{genes[i]}' has status '{statuses[i]}' and {has}"
        raise broken(given, "Exactly the genes that were fitted (ok or warning) have a pip")
