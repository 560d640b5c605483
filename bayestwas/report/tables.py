"""The tables of a result: tab-separated, one header line, up to six significant digits, empty where not
known."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.results import modality, symbols, text
from bayestwas.report.priors import priors_table
from bayestwas.report.sentences import explanations
from bayestwas.report.triangulation import triangulated

SIMULATED, REAL = "simulated", "real"


def genes_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per requested gene, fitted or not; numbers of a gene that was not fitted are empty."""
    marginals, constant = result[names.MARGINALS].dataset, result[names.CONSTANT].dataset
    stored = text(marginals["explanation"].values) if "explanation" in marginals else None
    known = stored is not None and (stored != "").all()
    columns = {
        "gene": marginals[names.GENE],
        "symbol": xr.DataArray(_symbols(result), dims=names.GENE),
        "block": constant["gene_block"],
        "chromosome": constant["chromosome"],
        "tss": constant["tss"],
        "pip": marginals["pip"],
        "pip_mcse": marginals["pip_mcse"],
        "best_context": marginals["best_context"],
        "modality": xr.DataArray(
            _modalities(result, marginals["best_context"].values), dims=marginals["best_context"].dims
        ),
        "effect": marginals["gene_effect"],
        "effect_sd": marginals["gene_effect_sd"],
        "sign_probability": marginals["gene_sign_probability"],
        "twas_z": result[names.OBSERVED].dataset["twas_z"],
        "n_variants": constant["n_variants"],
        "pip_fixed_priors": marginals["pip_fixed_priors"],
        "pip_plugin": marginals["pip_plugin"],
        "pip_weights": marginals["pip_weights"],
        "pip_ld": marginals["pip_ld"],
        "pip_without_finite_ld": marginals["pip_without_finite_ld"],
        "pip_without_mismatch": marginals["pip_without_mismatch"],
        "pip_without_background": marginals["pip_without_background"],
        "pip_one_effect": marginals["pip_one_effect"],
        "credible_set": marginals["credible_set"],
        "status": constant["status"],
        "reason": constant["reason"],
    }
    table = triangulated(_table(columns, whole=("tss", "n_variants")), result)
    return _labelled(table.assign(explanation=stored if known else explanations(result)), result)


def contexts_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per gene and context in which the gene was fitted."""
    marginals = result[names.MARGINALS].dataset
    columns = {
        "pip": marginals["context_pip"],
        "h4": marginals["h4"],
        "grcp": marginals["grcp"],
        "cis_h2": marginals["cis_h2"],
        "cis_h2_sd": marginals["cis_h2_sd"],
    }
    table = _long(columns, (names.GENE, names.CONTEXT))
    table.insert(2, "modality", _modalities(result, table["context"].to_numpy(dtype=object)))
    return _labelled(table, result)


def _modalities(result: xr.DataTree, contexts: np.ndarray) -> np.ndarray:
    known = {str(context): modality(result, str(context)) for context in np.unique(text(contexts))}
    return np.array([known[str(context)] for context in text(contexts)], dtype=object)


def _symbols(result: xr.DataTree) -> np.ndarray:
    known = symbols(result)
    return np.array([known.get(str(gene), "") for gene in _genes(result)], dtype=object)


def _genes(result: xr.DataTree) -> np.ndarray:
    return text(result[names.MARGINALS].dataset[names.GENE].values)


def effects_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per gene, context and ancestry for which there is an effect."""
    marginals = result[names.MARGINALS].dataset
    columns = {name: marginals[name] for name in ("effect", "effect_sd", "sign_probability")}
    left = {"expression_excess": result[names.OBSERVED].dataset["expression_excess"]}
    table = _long(columns | left, (names.GENE, names.CONTEXT, names.ANCESTRY))
    return _labelled(table.dropna(how="all", subset=list(columns), ignore_index=True), result)


def variants_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per variant and ancestry; `pip_direct` is one per variant, because ancestries share the effect.

    A variant that the GWAS of an ancestry lacks has an empty z there.
    """
    constant, observed = result[names.CONSTANT].dataset, result[names.OBSERVED].dataset
    z = observed["z"].transpose(names.VARIANT, names.ANCESTRY)
    n_variants, n_ancestries = z.shape
    per_variant = {
        "variant": constant[names.VARIANT],
        "block": constant["variant_block"],
        "position": constant["position"],
        "effect_allele": constant["effect_allele"],
        "other_allele": constant["other_allele"],
        "pip_direct": result[names.MARGINALS].dataset["pip_direct"],
    }
    table = _table(per_variant, whole=("position",))
    table = table.loc[np.repeat(np.arange(n_variants), n_ancestries)].reset_index(drop=True)
    table["ancestry"] = np.tile(text(z[names.ANCESTRY].values), n_variants)
    return _labelled(table.assign(z=z.values.ravel()), result)


def blocks_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per block; what there is of every ancestry is listed as EUR=373,AFR=661: the people behind its
    LD reference, the learned mismatch and background."""
    blocks = result[names.BLOCKS].dataset
    columns = {
        "block": blocks[names.BLOCK],
        "variants": blocks["variants"],
        "genes": blocks["genes"],
        **{name: _by_ancestry(blocks[name]) for name in ("n_ref", "mismatch", "background")},
        "converged": blocks["converged"],
        "iterations": blocks["iterations"],
        "seconds": blocks["seconds"],
        "status": blocks["block_status"],
        "reason": blocks["block_reason"],
        "reliability": blocks["reliability"],
        "suspects": blocks["suspects"],
        "reliability_reason": blocks["reliability_reason"],
    }
    return _labelled(_table(columns, whole=("variants", "genes", "iterations", "suspects")), result)


def suspects_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per variant and GWAS that it is left out of, because it does not fit; no rows where all fit."""
    suspects = result[names.SUSPECTS].dataset
    return _labelled(
        _table(
            {name.removeprefix("suspect_"): suspects[name] for name in names.RESULT_VARIABLES[names.SUSPECTS]}
        ),
        result,
    )


def mixtures_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per GWAS of a mixture and panel: its weight, with a standard error, and by what was seen; no
    rows where no GWAS is one."""
    rows = json.loads(str(result.attrs.get("mixtures", "[]")))
    return _labelled(pd.DataFrame(rows), result)


def notes_table(result: xr.DataTree) -> pd.DataFrame:
    """One row per sentence on the result as a whole; no rows where nothing stands out."""
    notes = json.loads(str(result.attrs.get("notes", "[]")))
    return _labelled(pd.DataFrame({"note": pd.Series(notes, dtype=object)}), result)


def _by_ancestry(values: xr.DataArray) -> xr.DataArray:
    """(block,) text, ANCESTRY=number for each that is known."""
    ancestries = text(values[names.ANCESTRY].values)
    listed = [
        ",".join(
            f"{ancestry}={n:.6g}" for ancestry, n in zip(ancestries, row, strict=True) if not np.isnan(n)
        )
        for row in values.transpose(names.BLOCK, names.ANCESTRY).values.astype(float)
    ]
    return xr.DataArray(np.array(listed, dtype=object), dims=names.BLOCK)


TABLES: dict[str, Callable[[xr.DataTree], pd.DataFrame]] = {
    "genes.tsv": genes_table,
    "contexts.tsv": contexts_table,
    "effects.tsv": effects_table,
    "variants.tsv": variants_table,
    "blocks.tsv": blocks_table,
    "suspects.tsv": suspects_table,
    "priors.tsv": lambda result: _labelled(priors_table(result), result),
    "notes.tsv": notes_table,
}


def write_tables(result: xr.DataTree, directory: Path | str) -> list[Path]:
    """Write every table of TABLES, and mixtures.tsv where a GWAS is one, into an existing folder, each whole
    or not at all; returns their paths."""
    paths = []
    mixed = {"mixtures.tsv": mixtures_table} if len(mixtures_table(result)) else {}
    for name, make in (TABLES | mixed).items():
        path = Path(directory) / name
        write_table(make(result), path)
        paths.append(path)
    return paths


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Tab-separated text without quotes: tabs, line ends and double quotes within a value become blanks or
    '."""
    clean = table.copy()
    for name in clean.columns:
        if not pd.api.types.is_numeric_dtype(clean[name].dtype):
            values = (
                clean[name].astype(object).map(lambda value: " ".join(str(value).replace('"', "'").split()))
            )
            clean[name] = values
    with replacing(path) as scratch:
        clean.to_csv(
            scratch, sep="\t", index=False, float_format="%.6g", lineterminator="\n", quoting=csv.QUOTE_NONE
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch path beside `path` that takes its place when the block ends well, and vanishes otherwise."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        os.chmod(scratch, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _table(columns: dict[str, xr.DataArray], whole: tuple[str, ...] = ()) -> pd.DataFrame:
    """Columns over one dim; those named in `whole` are whole numbers, empty where not known."""
    table = pd.DataFrame({name: _column(array.values) for name, array in columns.items()})
    return table.astype(dict.fromkeys(whole, "Int64"))


def _column(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind in "fiub" else text(values)


def _long(columns: dict[str, xr.DataArray], dims: tuple[str, ...]) -> pd.DataFrame:
    """One row per combination of labels that has at least one number."""
    values = {name: array.transpose(*dims).values.ravel() for name, array in columns.items()}
    first = next(iter(columns.values()))
    labels = pd.MultiIndex.from_product([text(first[dim].values) for dim in dims], names=dims)
    table = pd.DataFrame(values, index=labels).dropna(how="all")
    return table.reset_index()


def _labelled(table: pd.DataFrame, result: xr.DataTree) -> pd.DataFrame:
    """The last column of every table says whether the data are simulated, so that no row can lose that
    fact."""
    for name in table.columns:
        if table[name].dtype.kind == "f":
            table[name] = table[name] + 0.0  # -0.0, which would be written as -0, becomes 0.0
    return table.assign(data=SIMULATED if result.attrs["simulated"] else REAL)
