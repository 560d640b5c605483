"""A whole study: read, harmonise, fit every block, write tables, figures and the store."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.results import (
    STORE,
    blank_result,
    concat_results,
    provenance,
    save_results,
)
from bayestwas.errors import SettingsError
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import Lost, Mapper, fit_study
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.harmonise.genes import UNKNOWN
from bayestwas.harmonise.locus import LocusReader
from bayestwas.report.sentences import explanations
from bayestwas.report.tables import REAL, SIMULATED, genes_table, write_table
from bayestwas.report.write import write_report
from bayestwas.run.check import told_overlap
from bayestwas.run.execute import executor
from bayestwas.run.notes import result_notes
from bayestwas.run.output import check_out, replacing_folder
from bayestwas.run.progress import Watch, watching
from bayestwas.run.study import file_hashes, read_study

TOLD = ("priors", "weight_priors", "priors_source", "mixtures", "mixture_doubts", "overlap")
TOP = 10  # genes in the summary
TOP_COLUMNS = ("gene", "pip", "best_context", "effect", "effect_sd", "twas_z", "pip_plugin", "explanation")
NOTHING_TO_FIT = "none of its genes can be fitted; the reasons stand beside the genes"


@dataclass(frozen=True)
class RunSummary:
    """What a run has done.

    `result`: the DataTree that is stored in results.zarr. `out`: the folder of the outputs. `failed_blocks`,
    `failed_genes`: how many have the status failed. `top`: the genes with the highest PIPs (gene, pip,
    best_context, effect, effect_sd, twas_z, pip_plugin, explanation). `warned_genes`: how many have the
    status warning. `unknown_genes`: requested genes that no phenotype file holds.
    """

    result: xr.DataTree
    out: Path
    failed_blocks: int
    failed_genes: int
    top: pd.DataFrame
    warned_genes: int = 0
    unknown_genes: tuple[str, ...] = ()


def run_study(
    study_path: Path | str,
    out: Path | str,
    *,
    seed: int = 1,
    workers: int = 2,
    overwrite: bool = False,
    feedback: bool = True,
    genes: tuple[str, ...] | None = None,
    progress: bool = True,
) -> RunSummary:
    """Fit every block of a study and write tables, figures and results.zarr into `out`.

    Parameters
    ----------
    study_path : the study file. out : a folder that does not exist, or, with `overwrite`, an earlier result.
    seed : of all random draws. workers : processes; neither their number nor their order changes a result.
    feedback : let the GWAS reweigh the expression weights (full Bayes); False: the cut posterior.
    genes : fit only the blocks that hold one of these genes, with all genes of those blocks, because they
        compete; in place of the genes that the study file names. Every one has a row in genes.tsv.
    progress : show how far the run is, on stderr.

    The folder appears whole or not at all. A block that fails has the status failed and the run goes on; what
    keeps the whole run from starting raises a `BayestwasError` (see `check_study` to look without fitting).
    """
    out = Path(out)
    check_out(out, overwrite)
    if seed < 0:
        raise SettingsError(f"seed = {seed}", "A seed is a whole number from 0", "Give seed=1, for example")
    settings = Settings(feedback=feedback)
    with watching(progress) as watch:
        study = read_study(study_path)
        if genes is not None:
            study = replace(study, genes=tuple(dict.fromkeys(genes)))
        if study.gene_level:  # what is known of LD is neither complete enough to judge z nor to learn from
            settings = replace(settings, screen=False, learn=False)
        harmonised = harmonise(study)
        watch.note(told_overlap(harmonised.overlap))
        for note in harmonised.notes:
            watch.note(note)
        with replacing_folder(out) as folder, executor(workers) as mapper:
            blocks = fit_blocks(harmonised, settings, seed, mapper, watch)
            result = concat_results([*blocks, *_homeless(harmonised, settings)])
            result.attrs |= _provenance(harmonised, settings, seed, blocks)
            notes = result_notes(result)
            result.attrs["notes"] = json.dumps(notes)
            for note in notes:
                watch.note(note)
            result[names.MARGINALS].dataset["explanation"].values[:] = explanations(result)
            _write(folder, result, harmonised, blocks, mapper, watch)
    constant, fates = result[names.CONSTANT].dataset, result[names.BLOCKS].dataset
    return RunSummary(
        result,
        out,
        int((fates["block_status"].values == names.FAILED).sum()),
        int((constant["status"].values == names.FAILED).sum()),
        top_genes(result),
        int((constant["status"].values == names.WARNING).sum()),
        tuple(harmonised.genes.loc[harmonised.genes["reason"] == UNKNOWN, "gene"]),
    )


def fitted_readers(harmonised: Harmonised) -> list[LocusReader]:
    """The tasks of all blocks that hold a requested gene that can be fitted, in order."""
    held = harmonised.blocks[harmonised.blocks["block"].isin(set(harmonised.genes["block"]))]
    return [harmonised.reader(block) for block in held.loc[held["n_genes"] > 0, "block"]]


def fit_blocks(
    harmonised: Harmonised, settings: Settings, seed: int, mapper: Mapper, watch: Watch
) -> list[xr.DataTree]:
    """A result for every block that holds a requested gene, in order; skipped where no gene can be fitted."""
    held = harmonised.blocks[harmonised.blocks["block"].isin(set(harmonised.genes["block"]))]
    readers = [harmonised.reader(block) for block in held["block"]]
    runs = held["n_genes"].to_numpy() > 0
    sources = [reader for reader, run in zip(readers, runs, strict=True) if run]
    done = fit_study(sources, settings, seed, mapper, watch)
    fitted = iter([_warned(result, reader) for result, reader in zip(done, sources, strict=True)])
    return [
        next(fitted) if run else reader.blank(names.SKIPPED, NOTHING_TO_FIT, settings.posterior_draws)
        for reader, run in zip(readers, runs, strict=True)
    ]


def _warned(result: xr.DataTree, reader: LocusReader) -> xr.DataTree:
    """The status of a block says where a GWAS has no usable variant in it."""
    without = [ancestry for ancestry, (z, _) in reader.gwas.items() if not np.isfinite(z).any()]
    fates = result[names.BLOCKS].dataset
    status, reason = fates["block_status"].values, fates["block_reason"].values
    if without and status[0] in (names.OK, names.WARNING):
        told = f"no usable variant of the GWAS in {', '.join(without)}"
        status[0], reason[0] = names.WARNING, f"{reason[0]}; {told}" if reason[0] else told
    return result


def _homeless(harmonised: Harmonised, settings: Settings) -> list[xr.DataTree]:
    """Requested genes that lie in no block have their row as well: a result with genes and without a
    block."""
    genes = harmonised.genes[harmonised.genes["block"] == ""]
    if genes.empty:
        return []
    table = genes.assign(tss=genes["tss"].where(genes["tss"] > 0).astype(float))
    simulated = harmonised.study.simulated
    blank = blank_result(
        "", "", 0, 0, table, (), (), n_draws=settings.posterior_draws, simulated=simulated
    ).map_over_datasets(lambda data: data.isel({names.BLOCK: []}) if names.BLOCK in data.dims else data)
    blank.attrs["simulated"] = simulated
    return [blank]


def _provenance(
    harmonised: Harmonised, settings: Settings, seed: int, blocks: list[xr.DataTree]
) -> dict[str, object]:
    """Root attributes: what was read, with what the run was told, and the priors its blocks were fitted
    under."""
    study = harmonised.study
    hashes = {path: str(entry["sha256"]) for path, entry in file_hashes(study).items()}
    told = provenance(seed, asdict(settings) | {"cis_window": study.cis_window}, hashes)
    told |= {"study": study.name, "build": study.build, "simulated": study.simulated}
    held = harmonised.genes["gene"]
    told["symbols"] = json.dumps({gene: study.symbols[gene] for gene in held if gene in study.symbols})
    told["modalities"] = json.dumps(study.modalities)
    fitted = [block.attrs for block in blocks if "priors_source" in block.attrs]
    for attrs in fitted[:1]:
        told |= {key: attrs[key] for key in TOLD}
    return told


def _write(
    folder: Path,
    result: xr.DataTree,
    harmonised: Harmonised,
    blocks: list[xr.DataTree],
    mapper: Mapper,
    watch: Watch,
) -> None:
    """Everything that `out` holds."""
    label = SIMULATED if harmonised.study.simulated else REAL
    write_table(harmonised.ledger.assign(data=label), folder / "harmonisation.tsv")
    save_results(result, folder / STORE)
    write_report(result, folder, figures=False)
    tasks = [("genes", result), ("triangulation", result), ("priors", _priors_alone(result))]
    tasks += [(f"block {_name(block)}", block) for block in blocks]
    drawn = mapper.map(partial(_draw, folder=folder), tasks)
    for (name, _), problem in zip(tasks, watch("Figures", drawn, len(tasks)), strict=True):
        if problem:  # numbers that took hours are not given up for a picture
            reason = problem.reason if isinstance(problem, Lost) else problem
            watch.note(f"the figure of {name} could not be drawn: {reason}")


def _priors_alone(result: xr.DataTree) -> xr.DataTree:
    """The priors of a result, without what is large."""
    groups = (names.HYPERPARAMETERS, names.BLOCKS)
    kept = {name: result[name].to_dataset() for name in groups if name in result.children}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=result.attrs), **kept})


def _name(block: xr.DataTree) -> str:
    return str(block[names.BLOCKS].dataset[names.BLOCK].values[0])


def _draw(item: tuple[str, xr.DataTree], folder: Path) -> str:
    """Draw the top genes of all blocks, the priors, or one block; returns what went wrong, or nothing."""
    # imported here: drawing comes last, and processes that only fit should not carry matplotlib
    from bayestwas.report.figures import write_locus_figures, write_top_genes
    from bayestwas.report.forest import write_priors
    from bayestwas.report.triangulation_figure import write_triangulation

    name, result = item
    drawn = {"genes": write_top_genes, "triangulation": write_triangulation, "priors": write_priors}
    try:
        write = drawn.get(name)
        write(result, folder) if write else write_locus_figures(result, folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def top_genes(result: xr.DataTree, most: int = TOP) -> pd.DataFrame:
    """The `most` genes with the highest PIPs and the columns TOP_COLUMNS; fewer where fewer were fitted."""
    table = genes_table(result)
    fitted = table[np.isfinite(table["pip"])].sort_values("pip", ascending=False, kind="stable")
    return fitted.head(most)[list(TOP_COLUMNS)].reset_index(drop=True)
