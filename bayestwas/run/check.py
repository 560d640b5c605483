"""Read and harmonise a study, say what fits together and what a run would cost; fit nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bayestwas import names
from bayestwas.data.studies import LDMatrix
from bayestwas.fit.settings import Settings
from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.harmonise.alleles import DROPPED, FLIPPED, STRAND
from bayestwas.run.study import read_study

_SHOWN = 20  # rows of a long table that are printed
_MATRIX_COPIES = 2  # the matrix of the block, and the one the kernel works on
_DOSAGE_BYTES = 1 + 8  # int8 as read, double while standardised
# Measured on simulated blocks of 60 to 2,000 variants, 1 to 15 genes, 2 to 60 genes in panels, 1 to 3
# ancestries.
_BASE_MEMORY = 150 * 2**20  # Python with numpy, scipy, pandas and xarray loaded
_KERNEL_BYTES = 85_000  # per variant and GWAS ancestry: columns of LD and of weight draws
_SECONDS_PER_BLOCK = 1.0
_SECONDS_PER_PAIR = 0.05  # per gene in a panel
_SECONDS_PER_VARIANT = 0.005  # per variant and GWAS ancestry
# The global model of the priors, in all its rounds: docs/benchmarks.md has 2,000 blocks, the demo 6.
_LEARNING_MINUTES, _LEARNING_MINUTES_PER_BLOCK = 0.6, 0.0025


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    `overlap`: variants shared by each pair of files. `files`: file, variants, kept, flipped, strand, dropped.
    `dropped`: file, action, reason, count. `genes`: one row per requested gene with status and reason.
    `blocks`: block, chromosome, start, end, n_variants, n_genes, memory_mb, seconds. `annotations`: one
    `AnnotationSummary` per row. `measured`: one row per expression panel. `notes`: sentences for the user.
    """

    study: str
    build: str
    simulated: bool
    overlap: pd.DataFrame
    files: pd.DataFrame
    dropped: pd.DataFrame
    genes: pd.DataFrame
    blocks: pd.DataFrame
    notes: tuple[str, ...]
    annotations: pd.DataFrame
    measured: pd.DataFrame

    @property
    def runnable(self) -> int:
        """Number of genes that can be fitted."""
        return int(self.genes["status"].isin((names.OK, names.WARNING)).sum())


def check(study_path: str | Path) -> CheckReport:
    """Read and harmonise a study. Raises the errors of `read_study` and `harmonise`."""
    study = read_study(study_path)
    harmonised = harmonise(study)
    ledger = harmonised.ledger
    changes = ledger[ledger["variant"] != ""]
    donors = ledger[(ledger["variant"] == "") & (ledger["action"] == DROPPED)]
    reasons = pd.concat([changes, donors])
    dropped = reasons.groupby(["file", "action", "reason"], sort=False).size().rename("count").reset_index()
    return CheckReport(
        study=study.name,
        build=study.build,
        simulated=study.simulated,
        overlap=harmonised.overlap,
        files=_files(harmonised, changes),
        dropped=dropped,
        genes=harmonised.genes,
        blocks=estimate(harmonised),
        notes=harmonised.notes,
        annotations=harmonised.annotations.summary,
        measured=harmonised.measured,
    )


def _files(harmonised: Harmonised, changes: pd.DataFrame) -> pd.DataFrame:
    """Variants of each file by what became of them; `variants` counts those that are used."""
    counts = changes.groupby(["file", "action"]).size()
    rows = []
    for name in harmonised.overlap.index:
        by_action = [int(counts.get((name, action), 0)) for action in (FLIPPED, STRAND, DROPPED)]
        rows.append((name, int((harmonised.rows[name] >= 0).sum()), *by_action))
    return pd.DataFrame(rows, columns=["file", "variants", FLIPPED, STRAND, DROPPED])


def estimate(harmonised: Harmonised) -> pd.DataFrame:
    """Blocks with the memory (MB, of one worker) and the time (seconds of one core) that fitting each takes,
    roughly.

    Memory: 150 MB for Python, 85 kB per variant and GWAS ancestry for the kernel, 9 bytes per variant and
    person for dosages, an LD matrix twice. Time: 1 s per block, 0.05 s per gene in a panel, 5 ms per variant
    and GWAS ancestry. Both are for planning, good to a factor of about three.
    """
    study = harmonised.study
    people, matrix_bytes = 0, 0
    for ancestry in study.gwas:
        ld = study.ld[ancestry]
        if isinstance(ld, LDMatrix):
            matrix_bytes += _MATRIX_COPIES * ld.correlation.itemsize
        else:
            people += len(ld.samples)
    people += sum(len(panel.sample_index) for panel in harmonised.panels)
    where = harmonised.genes.set_index("gene")["block"]
    measured = pd.Series(0, index=harmonised.blocks["block"])
    for panel in harmonised.panels:
        measured = measured.add(where.reindex(panel.expression.index).value_counts(), fill_value=0)
    blocks = harmonised.blocks.copy()
    p = blocks["n_variants"].to_numpy(dtype=float)
    pairs = measured.reindex(blocks["block"]).fillna(0).to_numpy(dtype=float)
    size = p * people * _DOSAGE_BYTES + p**2 * matrix_bytes + p * len(study.gwas) * _KERNEL_BYTES
    blocks["memory_mb"] = np.round((size + _BASE_MEMORY) / 2**20)
    seconds = _SECONDS_PER_BLOCK + pairs * _SECONDS_PER_PAIR + p * len(study.gwas) * _SECONDS_PER_VARIANT
    blocks["seconds"] = np.where(blocks["n_genes"] > 0, np.round(seconds, 1), 0.0)
    return blocks


def render(report: CheckReport, console: Console | None = None) -> None:
    """Print a report as tables."""
    console = console or Console()
    label = " (simulated)" if report.simulated else ""
    console.print(f"[bold]{escape(report.study)}[/bold]{label}, {escape(report.build)}")
    console.print(_overlap_table(report.overlap))
    console.print(_table(report.files, "Alleles and variants, by file"))
    if len(report.dropped):
        console.print(_table(report.dropped, "What was changed or dropped, and why"))
    if len(report.measured):
        console.print(_table(report.measured, "Expression panels"))
    total = len(report.genes)
    console.print(f"[bold]Genes[/bold]: {report.runnable} of {total} can run")
    told = report.genes[report.genes["reason"] != ""]
    if len(told):
        console.print(_table(told[["gene", "status", "reason"]], "Genes with a remark"))
    if len(report.annotations):
        shown = report.annotations[["annotation", "of", "known", "missing", "mean", "sd", "status"]].copy()
        for name in ("mean", "sd"):
            shown[name] = [f"{value:.3g}" if np.isfinite(value) else "" for value in shown[name]]
        console.print(_table(shown, "Annotations; where missing they stand at the mean"))
    blocks = report.blocks.sort_values("memory_mb", ascending=False, kind="stable")
    columns = ["block", "chromosome", "n_variants", "n_genes", "memory_mb", "seconds"]
    console.print(_table(blocks[columns], "Blocks, largest first"))
    if len(blocks):
        minutes = float(blocks["seconds"].sum()) / 60
        console.print(
            f"Estimate: {float(blocks['memory_mb'].max()):,.0f} MB per worker, "
            f"{minutes:,.1f} minutes of one core for the blocks (to a factor of about three)"
        )
        console.print(_told_learning(int((blocks["n_genes"] > 0).sum())))
    for note in report.notes:
        console.print(f"[yellow]Note[/yellow]: {escape(note)}")


def _told_learning(blocks: int) -> str:
    """What learning the priors costs besides, with the settings of a run that says nothing else."""
    least = Settings().learn_blocks
    if blocks < least:
        return f"The priors are the documented defaults: they are learned from {least} blocks with genes on"
    minutes = _LEARNING_MINUTES + _LEARNING_MINUTES_PER_BLOCK * blocks
    return f"Learning the priors over {blocks:,} blocks takes about {minutes:,.1f} minutes more, on two cores"


def told_overlap(overlap: pd.DataFrame) -> str:
    """The variants that each pair of files shares, as text: what a run prints before it fits anything."""
    lines = [
        f"  {number} {name}: " + ", ".join(f"{int(value):,}" for value in row)
        for number, (name, row) in enumerate(zip(overlap.index, overlap.to_numpy(), strict=True), start=1)
    ]
    return "\n".join(["variants inside the blocks that each file shares with files 1, 2 ...", *lines])


def _overlap_table(overlap: pd.DataFrame) -> Table:
    """Files as rows and, by number, as columns: names of files are too wide for columns."""
    table = Table(title="Variants shared by each pair of files", title_justify="left")
    table.add_column("file", overflow="fold")
    for number in range(1, len(overlap) + 1):
        table.add_column(str(number), justify="right")
    for number, (name, row) in enumerate(zip(overlap.index, overlap.to_numpy(), strict=True), start=1):
        table.add_row(f"{number} {escape(str(name))}", *(f"{int(value):,}" for value in row))
    return table


def _table(rows: pd.DataFrame, title: str) -> Table:
    more = f" (first {_SHOWN} of {len(rows)})" if len(rows) > _SHOWN else ""
    table = Table(title=title + more, title_justify="left")
    for name in rows.columns:
        number = rows[name].dtype.kind in "if"
        table.add_column(str(name), justify="right" if number else "left", overflow="fold")
    for row in rows.head(_SHOWN).itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:,}" if isinstance(value, int | np.integer) else escape(str(value))
