"""The locus container: build it from plain labelled arrays, and check one that a user built by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.studies import DEFAULT_CIS_WINDOW, check_dosage, check_label, compact_dosage
from bayestwas.errors import InputError
from bayestwas.names import Variable

ATTRIBUTES = ("block", "chromosome", "start", "end", "build", "study", "simulated")
OPTIONAL = ("covariates",)
GWAS_CHECKS = ("frequency", "conflict")  # what a GWAS may say beside z and n, for its diagnostics
ONE_OF = {names.LD: ("dosage", "correlation")}  # exactly one of these per group


class ReferenceDosages(NamedTuple):
    """Dosages (p, people) of an LD reference, whole or imputed, and how many people they count for; of a
    mixture (`data.mixtures`) the panel of every person."""

    dosage: np.ndarray
    n_ref: float
    panel: np.ndarray | None = None
    admixed: bool = False


def check_dataset(
    where: str, dataset: xr.Dataset, table: Mapping[str, Variable], optional: Iterable[str] = ()
) -> None:
    """Raise `InputError` unless `dataset` holds the variables of `table`, with their dims in any order.

    `where` names the place in messages; a variable of `optional` may be absent. Variables that the table does
    not list are left alone.
    """
    optional = set(optional)
    for name, variable in table.items():
        if name not in dataset.variables:
            if name in optional:
                continue
            found = ", ".join(str(key) for key in dataset.variables) or "nothing"
            raise InputError(
                f"{where} holds {found}, and no '{name}'",
                f"'{name}' is {variable.meaning or 'required'}, with dims {variable.dims}",
                f"Add '{name}' to {where}",
            )
        dims = dataset[name].dims
        if set(dims) != set(variable.dims):
            raise InputError(
                f"{where}: '{name}' has dims {dims}",
                f"'{name}' has dims {variable.dims}",
                f"Rename the dims of '{name}', or give the missing ones",
            )


def check_locus(tree: xr.DataTree) -> None:
    """Raise `InputError` unless `tree` is a locus: see `names.LOCUS_VARIABLES` for its groups and
    variables."""
    if not isinstance(tree, xr.DataTree):
        raise InputError(
            f"a {type(tree).__name__}",
            "A locus is an xarray DataTree",
            "Build it with bayestwas.data.schema.locus, or take it from harmonise(study).locus(block)",
        )
    lacking = [name for name in ATTRIBUTES if name not in tree.attrs]
    if lacking:
        raise InputError(
            f"a locus without the attributes {', '.join(lacking)}",
            f"The root of a locus has the attributes {', '.join(ATTRIBUTES)}",
            "Set them: tree.attrs['block'] = 'block1', for example",
        )
    root = tree.to_dataset(inherit=False)
    check_dataset("the root of the locus", root, names.LOCUS_VARIABLES[""])
    _check_variants(root)
    for group in (names.GWAS, names.GENES):
        check_dataset(group, _group(tree, group), names.LOCUS_VARIABLES[group], optional=GWAS_CHECKS)
    gwas = _group(tree, names.GWAS)
    _check_gwas(gwas)
    _check_ld(tree, [str(a) for a in gwas[names.ANCESTRY].values])
    statuses = set(np.unique(_group(tree, names.GENES)["status"].values.astype(str))) - set(names.STATUSES)
    if statuses:
        raise InputError(
            f"genes: status '{sorted(statuses)[0]}'",
            f"A status is one of {', '.join(names.STATUSES)}",
            "Set the status of every gene that can be fitted to 'ok'",
        )
    for context, ancestry, node in expression_groups(tree):
        _check_panel(f"{names.EXPRESSION}/{context}/{ancestry}", node, tree)
    for context, ancestry, node in finished_groups(tree):
        where = f"{names.FINISHED}/{context}/{ancestry}"
        check_dataset(where, node, names.LOCUS_VARIABLES[names.FINISHED])
        if not np.isfinite(node["weight"].values).all():
            raise InputError(
                f"{where}: weights hold NaN or infinite values",
                "Finished weights are finite, and zero where a model has none",
                "Drop the gene, or set the weight to zero",
            )
    for context, ancestry, node in eqtl_groups(tree):
        where = f"{names.EQTL}/{context}/{ancestry}"
        check_dataset(where, node, names.LOCUS_VARIABLES[names.EQTL])
        if not (np.isnan(node["correlation"].values) | (np.abs(node["correlation"].values) <= 1)).all():
            raise InputError(
                f"{where}: a correlation is beyond 1",
                "Marginal associations of a locus are correlations of genotype and expression",
                "Compute them as t / sqrt(t^2 + df)",
            )
    if names.ANNOTATIONS in tree.children:
        _check_annotations(tree)


def expression_groups(tree: xr.DataTree) -> list[tuple[str, str, xr.Dataset]]:
    """(context, ancestry, Dataset) of every expression panel of a locus, in the order they are stored."""
    return _by_context(tree, names.EXPRESSION)


def finished_groups(tree: xr.DataTree) -> list[tuple[str, str, xr.Dataset]]:
    """(context, ancestry, Dataset) of the finished weights of a locus, in the order they are stored."""
    return _by_context(tree, names.FINISHED)


def eqtl_groups(tree: xr.DataTree) -> list[tuple[str, str, xr.Dataset]]:
    """(context, ancestry, Dataset) of the eQTL summary statistics of a locus, in the order they are stored;
    the attribute n of each Dataset is the number of people."""
    return _by_context(tree, names.EQTL)


def _by_context(tree: xr.DataTree, group: str) -> list[tuple[str, str, xr.Dataset]]:
    if group not in tree.children:
        return []
    return [
        (str(context), str(ancestry), node.to_dataset())
        for context, by_ancestry in tree[group].children.items()
        for ancestry, node in by_ancestry.children.items()
    ]


def _group(tree: xr.DataTree, group: str) -> xr.Dataset:
    if group not in tree.children:
        found = ", ".join(tree.children) or "none"
        raise InputError(
            f"a locus with the groups {found}, and no '{group}'",
            f"A locus has the groups {names.GWAS}, {names.LD} and {names.GENES}; {names.EXPRESSION} where "
            "there is any",
            f"Add the group '{group}', or build the locus with bayestwas.data.schema.locus",
        )
    return tree[group].to_dataset()


def _check_variants(root: xr.Dataset) -> None:
    if names.VARIANT not in root.coords:
        raise InputError(
            "a locus without the coordinate 'variant' at its root",
            "Variants are labelled chromosome:position:other_allele:effect_allele",
            "Assign the coordinate 'variant'",
        )
    labels = root[names.VARIANT].to_index()
    if not labels.is_unique:
        raise InputError(
            f"variant {labels[labels.duplicated()][0]} occurs more than once",
            "Every variant of a locus is listed once",
            "Drop the copies",
        )


def _check_gwas(gwas: xr.Dataset) -> None:
    z = gwas["z"].transpose(names.ANCESTRY, names.VARIANT).values
    n = gwas["n"].transpose(names.ANCESTRY, names.VARIANT).values
    bad = np.isinf(z) | (np.isfinite(z) & ~(n > 0))
    if bad.any():
        ancestry, variant = (int(i[0]) for i in np.nonzero(bad))
        raise InputError(
            f"gwas: z = {z[ancestry, variant]}, n = {n[ancestry, variant]} at "
            f"{gwas[names.VARIANT].values[variant]} in {gwas[names.ANCESTRY].values[ancestry]}",
            "A z-score is finite, or NaN where the GWAS lacks the variant, and has a sample size above zero",
            "Correct the values, or set z and n to NaN",
        )


def _check_ld(tree: xr.DataTree, ancestries: Sequence[str]) -> None:
    ld = tree[names.LD].children if names.LD in tree.children else {}
    for ancestry in ancestries:
        if ancestry not in ld:
            raise InputError(
                f"a GWAS in {ancestry} without the group ld/{ancestry}",
                "Every ancestry with a GWAS has an LD reference",
                f"Add ld/{ancestry} with a dosage or a correlation, or drop the GWAS",
            )
    for ancestry, node in ld.items():
        where, dataset = f"{names.LD}/{ancestry}", node.to_dataset()
        given = [name for name in ONE_OF[names.LD] if name in dataset.variables]
        if len(given) != 1:
            raise InputError(
                f"{where} holds {' and '.join(given) or 'neither dosage nor correlation'}",
                "An LD reference is either dosage or correlation",
                f"Give one of them in {where}",
            )
        check_dataset(where, dataset, {given[0]: names.LOCUS_VARIABLES[names.LD][given[0]]})
        if given[0] == "dosage":
            check_dosage(where, dataset["dosage"].values)
        else:
            _check_correlation(where, dataset)
        if not float(node.attrs.get("n_ref", 0)) > 1:
            raise InputError(
                f"{where} has n_ref = {node.attrs.get('n_ref')}",
                "n_ref is the number of people behind the LD reference",
                f"Set tree['{where}'].attrs['n_ref']",
            )


def _check_correlation(where: str, dataset: xr.Dataset) -> None:
    """Variants that are there (a diagonal above zero) have a finite correlation with one another."""
    matrix = dataset["correlation"].transpose(names.VARIANT, ...).values
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(
            f"{where}: correlation has shape {matrix.shape}",
            "A correlation has one row and one column per variant",
            "Give the correlations of all variants of the locus, in their order",
        )
    there = np.flatnonzero(np.diag(matrix) > 0)
    bad = np.argwhere(~np.isfinite(matrix[np.ix_(there, there)]))
    if len(bad):
        i, j = there[bad[0]]
        labels = dataset[names.VARIANT].values
        raise InputError(
            f"{where}: the correlation of {labels[i]} and {labels[j]} is {matrix[i, j]}",
            "Correlations of variants with LD are finite; a variant without LD is NaN throughout",
            "Compute the pair again, or set the row and the column of one of the two to NaN",
        )


def _check_panel(where: str, dataset: xr.Dataset, tree: xr.DataTree) -> None:
    check_dataset(where, dataset, names.LOCUS_VARIABLES[names.EXPRESSION], optional=OPTIONAL)
    check_dosage(where, dataset["dosage"].values)
    values = [dataset["expression"].values] + (
        [dataset["covariates"].values] if "covariates" in dataset else []
    )
    if not all(np.isfinite(value).all() for value in values):
        raise InputError(
            f"{where}: expression or covariates hold NaN or infinite values",
            "Expression and covariates are finite for every donor",
            "Drop the donors or the genes without a measurement",
        )
    unknown = _labels(dataset) - _labels(tree[names.GENES].to_dataset())
    if unknown:
        raise InputError(
            f"{where}: gene {sorted(unknown)[0]} is not in the group genes",
            "Every gene with expression has a row in the group genes, with its TSS",
            "Add it to genes, or drop it here",
        )


def _check_annotations(tree: xr.DataTree) -> None:
    dataset, table = _group(tree, names.ANNOTATIONS), names.LOCUS_VARIABLES[names.ANNOTATIONS]
    check_dataset(names.ANNOTATIONS, dataset, table, optional=table)
    for name in table:
        if name in dataset and not np.isfinite(dataset[name].values).all():
            raise InputError(
                f"{names.ANNOTATIONS}: '{name}' holds NaN or infinite values",
                "Annotations of a locus are finite: an unknown value stands at the mean of the study",
                "Fill them in, or leave the annotation out",
            )
    genes = _group(tree, names.GENES)[names.GENE].values.astype(str)
    if "gene_annotation" in dataset and not np.array_equal(dataset[names.GENE].values.astype(str), genes):
        raise InputError(
            f"{names.ANNOTATIONS}: gene_annotation and the group {names.GENES} are of different genes, or in "
            "another order",
            "Every gene of a locus has a row of gene annotations",
            f"Give one row per gene of the group {names.GENES}, in its order",
        )


def _labels(dataset: xr.Dataset) -> set[str]:
    return {str(gene) for gene in dataset[names.GENE].values}


def _text(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=object).astype(str)


def locus(
    name: str,
    variants: pd.DataFrame,
    gwas: Mapping[str, tuple[Any, Any]],
    ld: Mapping[str, Any],
    panels: Sequence[tuple[str, str, np.ndarray, Any, pd.DataFrame, pd.DataFrame | None]],
    genes: pd.DataFrame,
    build: str,
    study: str,
    simulated: bool,
    *,
    start: int | None = None,
    end: int | None = None,
    cis_window: int = DEFAULT_CIS_WINDOW,
    variant_annotation: pd.DataFrame | None = None,
    gene_annotation: pd.DataFrame | None = None,
    finished: Sequence[tuple[str, str, pd.DataFrame]] = (),
    gene_level: bool = False,
    gwas_checks: Mapping[str, Mapping[str, Any]] | None = None,
    eqtl: Sequence[tuple[str, str, pd.DataFrame, float]] = (),
) -> xr.DataTree:
    """Build a locus from plain labelled arrays.

    `variants`: DataFrame indexed by variant (chromosome:position:other:effect) with chromosome, position,
    effect_allele, other_allele, source_id. `gwas`: ancestry -> (z, n), each (p,), NaN where absent; n may be
    a scalar. `ld`: ancestry -> dosage (p, n_ref), (dosage int8, n_ref), `ReferenceDosages`, or (correlation
    float (p, p), n_ref); n_ref is infinite where the LD is that of the GWAS itself. Imputed dosages are
    floats. `panels`: (context, ancestry, dosage (p, donors), donors, expression DataFrame gene x donor,
    covariates DataFrame covariate x donor or None).
    `genes`: DataFrame indexed by gene with chromosome, tss, status, reason. `start`, `end`: the block,
    0-based half-open; by default the span of the variants. `cis_window`: base pairs on either side of a TSS
    whose variants may act on the gene. `variant_annotation`: DataFrame variant x annotation;
    `gene_annotation`: DataFrame gene x feature. `finished`:
    (context, ancestry, DataFrame gene x variant) of finished weights, per SD of genotype. `gene_level`: LD is
    known within models only, so that variants have no direct effects. `gwas_checks`: ancestry ->
    frequency (p,) and conflict (p,), each where it is known. `eqtl`: (context, ancestry, DataFrame gene x
    variant of marginal correlations, people). Raises `InputError`.
    """
    if variants.empty:
        raise InputError(
            f"block {name} holds no variant",
            "A locus has at least one variant",
            "Leave the block out of the run",
        )
    position = variants["position"].to_numpy(dtype=np.int64)
    root = xr.Dataset(
        {
            "position": (names.VARIANT, position),
            **{
                key: (names.VARIANT, _text(variants[key]))
                for key in ("effect_allele", "other_allele", "source_id")
            },
        },
        coords={names.VARIANT: _text(variants.index)},
        attrs={
            "block": name,
            "chromosome": str(variants["chromosome"].iloc[0]),
            "start": int(position.min() - 1 if start is None else start),
            "end": int(position.max() if end is None else end),
            "build": build,
            "study": study,
            "simulated": bool(simulated),
            "cis_window": int(cis_window),
        },
    )
    groups: dict[str, xr.Dataset] = {
        "/": root,
        names.GWAS: _gwas_group(gwas, gwas_checks or {}, len(position)),
    }
    for ancestry, reference in ld.items():
        check_label("ancestry", ancestry)
        groups[f"{names.LD}/{ancestry}"] = _ld_group(reference)
    for context, ancestry, dosage, donors, expression, covariates in panels:
        check_label("context", context)
        groups[f"{names.EXPRESSION}/{context}/{ancestry}"] = _panel_group(
            dosage, donors, expression, covariates
        )
    groups[names.GENES] = xr.Dataset(
        {
            "chromosome": (names.GENE, _text(genes["chromosome"])),
            "tss": (names.GENE, genes["tss"].to_numpy(dtype=np.int64)),
            "status": (names.GENE, _text(genes["status"])),
            "reason": (names.GENE, _text(genes["reason"])),
        },
        coords={names.GENE: _text(genes.index)},
    )
    for context, ancestry, weight in finished:
        check_label("context", context)
        groups[f"{names.FINISHED}/{context}/{ancestry}"] = xr.Dataset(
            {"weight": ((names.GENE, names.VARIANT), weight.to_numpy(dtype=float))},
            coords={names.GENE: _text(weight.index)},
        )
    for context, ancestry, marginal, people in eqtl:
        check_label("context", context)
        groups[f"{names.EQTL}/{context}/{ancestry}"] = xr.Dataset(
            {"correlation": ((names.GENE, names.VARIANT), marginal.to_numpy(dtype=float))},
            coords={names.GENE: _text(marginal.index)},
            attrs={"n": float(people)},
        )
    if gene_level:
        root.attrs["gene_level"] = True
    if variant_annotation is not None or gene_annotation is not None:
        groups[names.ANNOTATIONS] = _annotation_group(variant_annotation, gene_annotation)
    try:
        tree = xr.DataTree.from_dict(groups)
    except ValueError as error:
        sizes = {group: dict(dataset.sizes) for group, dataset in groups.items()}
        raise InputError(
            f"arrays that do not fit together: {sizes}",
            f"Every array over variants has the {len(position)} variants of the table, in its order",
            f"Correct the array xarray points to ({str(error).splitlines()[0]})",
        ) from error
    check_locus(tree)
    return tree


def _gwas_group(
    gwas: Mapping[str, tuple[Any, Any]], checks: Mapping[str, Mapping[str, Any]], p: int
) -> xr.Dataset:
    z = np.array([np.broadcast_to(np.asarray(z, dtype=float), p) for z, _ in gwas.values()]).reshape(
        len(gwas), p
    )
    n = np.array([np.broadcast_to(np.asarray(n, dtype=float), p) for _, n in gwas.values()]).reshape(
        len(gwas), p
    )
    values = {"z": z, "n": np.where(np.isnan(z), np.nan, n)}
    for name, empty in zip(GWAS_CHECKS, (np.nan, False), strict=True):
        if any(name in one for one in checks.values()):
            rows = [checks.get(ancestry, {}).get(name, empty) for ancestry in gwas]
            values[name] = np.array([np.broadcast_to(np.asarray(row), p) for row in rows])
    dims = (names.ANCESTRY, names.VARIANT)
    return xr.Dataset(
        {name: (dims, value) for name, value in values.items()}, coords={names.ANCESTRY: _text(list(gwas))}
    )


def _ld_group(reference: Any) -> xr.Dataset:
    array, n_ref = reference[:2] if isinstance(reference, tuple) else (reference, None)
    array = np.asarray(array)
    genotypes = isinstance(reference, ReferenceDosages) or n_ref is None
    if array.dtype.kind == "f" and not genotypes:
        return xr.Dataset(
            {"correlation": ((names.VARIANT, "variant_"), array)}, attrs={"n_ref": float(n_ref)}
        )
    check_dosage(names.LD, array)
    made = xr.Dataset(
        {"dosage": ((names.VARIANT, names.SAMPLE), compact_dosage(array))},
        attrs={"n_ref": float(array.shape[1] if n_ref is None else n_ref)},
    )
    if isinstance(reference, ReferenceDosages) and reference.panel is not None:
        made = made.assign_coords(panel=(names.SAMPLE, _text(reference.panel)))
        made.attrs["admixed"] = reference.admixed
    return made


def _panel_group(
    dosage: np.ndarray, donors: Any, expression: pd.DataFrame, covariates: pd.DataFrame | None
) -> xr.Dataset:
    dosage = np.asarray(dosage)
    check_dosage(names.EXPRESSION, dosage)
    labels = _text(donors)
    variables: dict[str, Any] = {
        "dosage": ((names.VARIANT, names.DONOR), compact_dosage(dosage)),
        "expression": ((names.GENE, names.DONOR), expression[list(labels)].to_numpy(dtype=float)),
    }
    coords: dict[str, Any] = {names.GENE: _text(expression.index), names.DONOR: labels}
    if covariates is not None:
        variables["covariates"] = (
            (names.COVARIATE, names.DONOR),
            covariates[list(labels)].to_numpy(dtype=float),
        )
        coords[names.COVARIATE] = _text(covariates.index)
    return xr.Dataset(variables, coords=coords)


def _annotation_group(variants: pd.DataFrame | None, genes: pd.DataFrame | None) -> xr.Dataset:
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    if variants is not None:
        variables["variant_annotation"] = ((names.VARIANT, names.ANNOTATION), variants.to_numpy(np.float32))
        coords |= {names.VARIANT: _text(variants.index), names.ANNOTATION: _text(variants.columns)}
    if genes is not None:
        variables["gene_annotation"] = ((names.GENE, names.FEATURE), genes.to_numpy(np.float32))
        coords |= {names.GENE: _text(genes.index), names.FEATURE: _text(genes.columns)}
    return xr.Dataset(variables, coords=coords)
