"""The weights of a finished run for other programs: PredictDB and FUSION files of the posterior means,
Parquet of the draws."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.results import STORE, open_results
from bayestwas.data.variants import standard_build
from bayestwas.data.weights import (
    PER_ALLELE,
    PER_GENOTYPE_SD,
    WEIGHT_COLUMNS,
    FinishedWeights,
    GeneCovariance,
)
from bayestwas.engine.ld import LD, GenotypeLD
from bayestwas.errors import InputError, OutputError, SettingsError, nearest
from bayestwas.fit.panels import gwas_arrays
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.io.tables import atomic, write_table
from bayestwas.io.write_weights import safe_name, write_fusion, write_predictdb
from bayestwas.run.study import read_study

# share of the variance of the prediction by all weights that the exported ones reproduce
AGREEMENT = 0.99
FORMATS = ("predictdb", "fusion", "parquet")
_BUILDS = {"GRCh37": "b37", "GRCh38": "b38"}


@dataclass(frozen=True)
class Reference:
    """The genotypes of one ancestry in one block: their correlations, and their SD (p,), NaN where not
    known."""

    ld: LD
    sd: np.ndarray


def export(
    results: Path | str,
    to: Path | str,
    *,
    format: str,
    study: Path | str | None = None,
    agreement: float = AGREEMENT,
) -> list[Path]:
    """Write the expression weights of the run in the folder `results` to the folder `to`; returns the files.

    `format`: "predictdb" (a .db and covariances, weights per allele), "fusion" (a .pos and .wgt.RDat files,
    weights per SD of genotype), one set per context and ancestry, of the posterior means; or "parquet" (draws
    and means of everything). The first two take the LD of the study that was run: `study`, or where None the
    study file that the result names. Of each gene they hold its largest weights, as many as predict
    expression with a squared correlation of `agreement` with the prediction by all of them, in that LD.
    exported.tsv has a row per gene, context and ancestry. Raises `SettingsError`, `InputError` and
    `OutputError`.
    """
    if format not in FORMATS:
        raise SettingsError(
            f"format '{format}'", "Weights are exported in one of these", nearest(format, FORMATS)
        )
    if not 0 < agreement <= 1:
        raise SettingsError(f"agreement = {agreement}", "A share lies between 0 and 1", "Give 0.99, say")
    folder = Path(results)
    result = open_results(folder / STORE if (folder / STORE).is_dir() else folder)
    to = Path(to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise OutputError(f"'{to}' exists", "Nothing is replaced unasked", "Choose a new folder")
    to.mkdir(parents=True, exist_ok=True)
    if format == "parquet":
        return _parquet(result, to)
    harmonised = harmonise(read_study(_study_file(result, study)))
    models, told = _collect(result, harmonised, format == "predictdb", agreement)
    h2 = result[names.MARGINALS].dataset["cis_h2"]
    written = []
    for (context, ancestry), weights in models.items():
        explained = h2.sel({names.CONTEXT: context}).to_series()
        if format == "predictdb":
            files = [to / f"{weights.name}.db", to / f"{weights.name}.txt.gz"]
            write_predictdb(weights, files[0], files[1], explained)
        else:
            files = [to / f"{weights.name}.pos"]
            write_fusion(weights, files[0], explained, _people(harmonised, context, ancestry))
        written += files
    write_table(told, to / "exported.tsv")
    return [*written, to / "exported.tsv"]


def _people(harmonised: Harmonised, context: str, ancestry: str) -> float:
    """Donors of a panel; NaN where weights were borrowed, or finished by others."""
    here = [p for p in harmonised.panels if (p.context, p.ancestry) == (context, ancestry)]
    return float(len(here[0].sample_index)) if here else np.nan


def _study_file(result: xr.DataTree, given: Path | str | None) -> Path:
    if given is not None:
        return Path(given)
    files = [Path(name) for name in json.loads(result.attrs.get("files", "{}")) if name.endswith(".toml")]
    if len(files) == 1 and files[0].is_file():
        return files[0]
    raise InputError(
        f"the result was made from {files[0] if files else 'a study'}, which is not there",
        "Covariances and standard deviations of genotypes come from the LD of the study that was run",
        "Give --study study.toml",
    )


# ---- what is exported ------------------------------------------------------------------------------------


def _entries(result: xr.DataTree, group: str) -> pd.DataFrame:
    """The sparse entries of a group with their labels."""
    data, marginals, constant = (result[g].dataset for g in (group, names.MARGINALS, names.CONSTANT))
    at = {
        dim: data[f"{dim}_index"].values for dim in (names.GENE, names.CONTEXT, names.ANCESTRY, names.VARIANT)
    }
    variant = at.pop(names.VARIANT)
    out = {dim: marginals[dim].values[index] for dim, index in at.items()}
    out["variant"] = marginals[names.VARIANT].values[variant]
    out |= {
        "chromosome": constant["chromosome"].values[at[names.GENE]],
        "position": constant["position"].values[variant].astype(np.int64),
        "effect_allele": constant["effect_allele"].values[variant],
        "other_allele": constant["other_allele"].values[variant],
        "source_id": constant["source_id"].values[variant],
        "block": constant["gene_block"].values[at[names.GENE]],
    }
    out |= {str(name): data[name].values for name in data.data_vars if not str(name).endswith("_index")}
    if "draw_index" in data:
        out["draw"] = data["draw_index"].values
    return pd.DataFrame(out)


def _means(result: xr.DataTree) -> pd.DataFrame:
    means = _entries(result, names.MEAN_WEIGHTS)
    if means.empty:
        raise InputError(
            "the result holds no weights",
            "A gene that was fitted has weights",
            "Export a run with fitted genes",
        )
    return means


def _collect(
    result: xr.DataTree, harmonised: Harmonised, per_allele: bool, agreement: float
) -> tuple[dict[tuple[str, str], FinishedWeights], pd.DataFrame]:
    """The models of every context and ancestry, and what became of each gene; one block at a time."""
    parts: dict[tuple[str, str], list[pd.DataFrame]] = {}
    covariance: dict[tuple[str, str], dict[str, GeneCovariance]] = {}
    told = []
    for block, rows in _means(result).groupby("block", sort=False):
        locus = harmonised.locus(str(block))
        references = {str(name): _reference(locus, str(name)) for name in pd.unique(rows["ancestry"])}
        index = pd.Index(np.asarray(locus[names.VARIANT]).astype(str))
        for labels, part in rows.groupby(["context", "ancestry", "gene"], sort=False):
            context, ancestry, gene = map(str, labels)
            model, known, row = _model(part, index, references[ancestry], per_allele, agreement)
            told.append(row)
            if len(model):
                ids = _identifiers(model, harmonised.study.build)
                parts.setdefault((context, ancestry), []).append(model.assign(variant_id=ids))
                covariance.setdefault((context, ancestry), {})[gene] = GeneCovariance(ids, known)
    constant = result[names.CONSTANT].dataset
    places = constant[["chromosome", "tss"]].to_dataframe()[["chromosome", "tss"]]
    columns = [*WEIGHT_COLUMNS, "rsid"]
    out = {}
    for (context, ancestry), models in parts.items():
        table = pd.concat(models, ignore_index=True).rename(columns={"source_id": "rsid"})[columns]
        genes = places.loc[list(pd.unique(table["gene"]))].astype({"tss": np.int64})
        scale = PER_ALLELE if per_allele else PER_GENOTYPE_SD
        name = f"{safe_name(context)}.{safe_name(ancestry)}"
        out[context, ancestry] = FinishedWeights(name, table, scale, genes, covariance[context, ancestry])
    return out, pd.DataFrame(told)


def _model(
    part: pd.DataFrame, index: pd.Index, reference: Reference, per_allele: bool, agreement: float
) -> tuple[pd.DataFrame, np.ndarray, dict[str, object]]:
    """The rows of one gene that are exported, their covariance, and a row that says so."""
    at = index.get_indexer(pd.Index(part["variant"]))
    first = part.iloc[0]
    if (at < 0).any():
        raise InputError(
            f"variant {part['variant'].iloc[int(np.argmax(at < 0))]} of {first['gene']} is not in the study",
            "Weights are exported with the LD of the study they come from",
            "Give --study, the study file of that run, with its files unchanged",
        )
    kept, share = strongest(part["weight"].to_numpy(dtype=float), reference.ld, at, agreement)
    row = {name: first[name] for name in ("gene", "context", "ancestry")} | {"variants": len(kept)}
    row |= {"agreement": share, "reason": "" if len(kept) else "none of its variants has LD"}
    part, at = part.iloc[kept], at[kept]
    sd = reference.sd[at] if per_allele else np.ones(len(at))
    if np.isnan(sd).any():
        raise InputError(
            f"the allele frequency of {part['variant'].iloc[int(np.argmax(np.isnan(sd)))]} is not known",
            "Weights per allele need the SD of the genotypes: from these, or from frequencies in the GWAS",
            "Use --format fusion, whose weights are per SD of genotype",
        )
    weight = part["weight"].to_numpy(dtype=float) / sd
    return part.assign(weight=weight), reference.ld.gram(at) * np.outer(sd, sd), row


def strongest(weight: np.ndarray, ld: LD, at: np.ndarray, agreement: float) -> tuple[np.ndarray, float]:
    """The fewest of the largest weights (k,) whose prediction has a squared correlation of `agreement` with
    that by all, and that correlation; of variants `at` in `ld`, those without LD left out.

    Of sorted weights w and their correlations R, the prediction by the first m has the covariance
    (w_1..m)' R w with that by all, and the variance (w_1..m)' R w_1..m: sums over M = R * ww'.
    """
    usable = np.flatnonzero(ld.variance[at] > 0)
    order = usable[np.argsort(-np.abs(weight[usable]), kind="stable")]
    if not len(order):
        return order, np.nan
    product = ld.gram(at[order]) * np.outer(weight[order], weight[order])
    both = np.cumsum(product.sum(axis=1))
    own = np.cumsum(2 * np.tril(product, -1).sum(axis=1) + product.diagonal())
    with np.errstate(invalid="ignore", divide="ignore"):
        share = both**2 / (own * product.sum())
    share[-1] = 1.0
    first = int(np.argmax(share >= min(agreement, 1.0)))
    return np.sort(order[: first + 1]), float(share[first])


def _identifiers(table: pd.DataFrame, build: str) -> np.ndarray:
    """chr1_1000_A_G_b38, as GTEx names variants: other allele before the effect allele."""
    ending = _BUILDS.get(standard_build(build), "")
    text = "chr" + table["chromosome"].astype(str) + "_" + table["position"].astype(str) + "_"
    text = text + table["other_allele"].astype(str) + "_" + table["effect_allele"].astype(str)
    return (text + (f"_{ending}" if ending else "")).to_numpy(dtype=object)


def _reference(locus: xr.DataTree, ancestry: str) -> Reference:
    """LD and SD of the genotypes of one block: of the LD reference, else of an expression panel."""
    ancestries, _, _, operators = gwas_arrays(locus)
    dosage = _dosage(locus, ancestry)
    ld: LD | None = dict(zip(ancestries, operators, strict=True)).get(ancestry)
    if ld is None and dosage is not None:
        ld = GenotypeLD(dosage)
    if ld is None:
        raise InputError(
            f"{ancestry} has neither LD nor genotypes", "Models are written with LD", "Add [[ld]]"
        )
    if dosage is not None:
        missing = dosage < 0
        seen = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
        mean = np.where(missing, 0, dosage).sum(axis=1, keepdims=True) / seen
        return Reference(ld, np.where(missing, mean, dosage).std(axis=1, ddof=1))
    gwas = locus[names.GWAS].dataset.sel({names.ANCESTRY: ancestry})
    absent = np.full(locus.sizes[names.VARIANT], np.nan)
    frequency = gwas["frequency"].values if "frequency" in gwas else absent
    return Reference(ld, np.sqrt(2 * frequency * (1 - frequency)))


def _dosage(locus: xr.DataTree, ancestry: str) -> np.ndarray | None:
    """Genotypes of an ancestry: of its LD reference, else of an expression panel."""
    groups = [f"{names.LD}/{ancestry}"]
    if names.EXPRESSION in locus.children:
        groups += [f"{names.EXPRESSION}/{context}/{ancestry}" for context in locus[names.EXPRESSION].children]
    for path in groups:
        if path in {node.path.lstrip("/") for node in locus.subtree} and "dosage" in locus[path].dataset:
            return np.asarray(locus[path].dataset["dosage"].transpose(names.VARIANT, ...).values)
    return None


# ---- the formats -----------------------------------------------------------------------------------------


def _parquet(result: xr.DataTree, to: Path) -> list[Path]:
    """weight_draws.parquet, a row per gene, context, ancestry, draw and variant with an effect; and
    weight_means.parquet."""
    files = []
    for name, group in (("weight_draws", names.WEIGHTS), ("weight_means", names.MEAN_WEIGHTS)):
        table = _entries(result, group).assign(data="simulated" if result.attrs["simulated"] else "real")
        path = to / f"{name}.parquet"
        with atomic(path) as temporary:
            table.to_parquet(temporary, index=False)
        files.append(path)
    return files
