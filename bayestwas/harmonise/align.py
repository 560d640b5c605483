"""From a study to loci: one set of variants, alleles and donors for all files, with a ledger of every
change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.data.gene_models import identifiers
from bayestwas.data.reading import reading_of
from bayestwas.data.studies import Genotypes, LDMatrix, Study
from bayestwas.data.variants import block_number, chromosome_labels, chromosome_order
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.alleles import (
    DROPPED,
    LEDGER_COLUMNS,
    NO_FREQUENCY,
    Alignment,
    VariantFile,
    align,
    canonical_ids,
)
from bayestwas.harmonise.annotations import MatchedAnnotations, match_annotations
from bayestwas.harmonise.concordance import check_panels
from bayestwas.harmonise.files import FileNames, name_files, seam_notes, variant_files
from bayestwas.harmonise.finished import as_prepared, eqtl_rows, marked, weight_genes, weight_rows
from bayestwas.harmonise.fit_together import check_builds, check_overlap, overlap_matrix
from bayestwas.harmonise.genes import (
    MOST_MISSING,
    WIDE_BLOCK,
    PreparedPanel,
    gene_table,
    merged_windows,
    panel_genes,
    prepare_panel,
    with_neighbours,
)
from bayestwas.harmonise.locus import LocusReader, MatrixRows, PanelRows, Rows
from bayestwas.harmonise.variation import require_variation

MOST_DUPLICATES = 0.1  # of the rows of a file


@dataclass(frozen=True)
class Harmonised:
    """A study whose files have been put together.

    `variants`: DataFrame indexed by variant (chromosome:position:other:effect) with chromosome, position,
    effect_allele, other_allele, source_id, block, sorted by position within blocks. `ledger`: file, variant,
    source_id, action, reason. `overlap`: variants shared by each pair of files. `blocks`: block, chromosome,
    start, end, n_variants, n_genes. `genes`: gene, block, chromosome, tss, n_variants, status, reason, one
    row per requested gene and per gene of their blocks, by chromosome and TSS; unknown ones last. `notes`:
    sentences for the user. By file name: `rows` and `signs` along `variants`. `annotations`: those of the
    study, along `variants` and `genes`. `measured`: what every expression panel has (`check_panels`).
    """

    study: Study
    variants: pd.DataFrame
    ledger: pd.DataFrame
    overlap: pd.DataFrame
    blocks: pd.DataFrame
    genes: pd.DataFrame
    notes: tuple[str, ...]
    rows: dict[str, np.ndarray]
    signs: dict[str, np.ndarray]
    panels: tuple[PreparedPanel, ...]
    named: FileNames
    spans: dict[str, tuple[int, int]]  # block -> its rows among variants
    annotations: MatchedAnnotations
    measured: pd.DataFrame

    def locus(self, block: str) -> xr.DataTree:
        """Read the genotypes of one block and build its locus. Raises `HarmonisationError` for an unknown
        block."""
        return self.reader(block)()

    def reader(self, block: str) -> LocusReader:
        """The small picklable task that builds `locus(block)` when called, in any process."""
        if block not in set(self.blocks["block"]):
            raise HarmonisationError(
                f"block '{block}'",
                f"The blocks of this study are {', '.join(self.blocks['block'].iloc[:5])} ...",
                "Take a name from harmonised.blocks",
            )
        return _reader(self, block)


def harmonise(study: Study) -> Harmonised:
    """Put the files of a study together: variants, alleles, donors, genes and blocks.

    Variants are matched by chromosome, position and alleles. The effect allele of a variant is that of the
    first GWAS that holds it, otherwise of the first LD reference, otherwise of the first panel. A variant
    enters where a GWAS holds it together with the LD of that ancestry, or where a panel holds it. Reads few
    genotypes: of palindromic variants, whose strand may depend on a frequency, of the first variants of each
    block of an LD reference, to see that something varies, and near some genes, to see that donors have their
    own genotypes; of imputed ones all inside the blocks, where the file does not say how well. Raises
    `HarmonisationError` where files do not fit together.
    """
    known = _all_genes(study)
    wanted = study.genes
    requested = list(known.index) if wanted is None else identifiers(wanted, known.index, study.symbols)
    if not known.index.isin(requested).any():
        raise HarmonisationError(
            f"none of the {len(requested)} requested genes is in a phenotype file; first "
            f"{', '.join(requested[:3])}",
            "Requested genes carry the identifiers of the phenotype files, such as "
            f"{', '.join(known.index[:3])}",
            "Correct the list of genes (versions such as .12 are part of an identifier)",
        )
    blocks = merged_windows(known, study.cis_window) if study.blocks is None else study.blocks.copy()
    blocks["chromosome"] = chromosome_labels(blocks["chromosome"])
    present = with_neighbours(known, requested, blocks)
    requested = [*present.index, *(gene for gene in requested if gene not in known.index)]
    named = name_files(study)
    prepared, donor_ledger, notes = _prepare_panels(study, named, set(present.index))
    files = variant_files(study, blocks, named)
    check_builds(study, files, named.gwas)
    aligned = align(files)
    duplicates = _duplicates(files, aligned.ledger)
    measured, swaps = check_panels(study, prepared, named, files, present)
    overlap = overlap_matrix(aligned)
    check_overlap(files, overlap, named.gwas, named.ld, (*named.panels, *named.weights, *named.eqtl))
    unread = _unread(study, named)
    read = [note for gwas in study.gwas.values() for note in reading_of(gwas).notes]
    unlinked = _require_ld(aligned, named)
    still, standing = require_variation(study, aligned, named, blocks)
    ledger = pd.concat([*aligned.ledger, *unread, *unlinked, *still, *donor_ledger], ignore_index=True)
    holding = {*named.gwas.values(), *named.panels, *named.weights, *named.eqtl}
    variants, rows, signs = _order(aligned, blocks, holding)
    spans = _spans(variants)
    sources = list(named.gwas.values())
    finished = [
        as_prepared(panel, name, set(present.index))
        for panel, name in zip(study.weights, named.weights, strict=True)
    ]
    marginal = [
        as_prepared(panel, name, set(present.index))
        for panel, name in zip(study.eqtl, named.eqtl, strict=True)
    ]
    everything = [*prepared, *finished, *marginal]
    genes = gene_table(
        requested, present, blocks, variants, rows, everything, sources, spans, study.cis_window
    )
    genes = marked(genes, finished, study.gene_level)
    counted = _count(blocks, variants, genes)
    matched = match_annotations(study.annotations, variants, genes, blocks, study.genome)
    left_out = [note for panel in (*study.weights, *study.eqtl) for note in panel.weights.notes]
    told = (
        *study.notes,
        *read,
        *notes,
        *swaps,
        *left_out,
        *duplicates,
        *standing,
        *_palindromes(ledger),
        *_notes(study, counted),
        *seam_notes(study, named, rows, spans),
        *matched.notes,
    )
    parts = (rows, signs, tuple(prepared), named, spans, matched, measured)
    return Harmonised(study, variants, ledger, overlap, counted, genes, told, *parts)


def _all_genes(study: Study) -> pd.DataFrame:
    """Chromosome and TSS of every gene; where a gene has expression and other tables, from the former."""
    others = (*study.eqtl, *study.weights)
    tables = [panel_genes(study), *(weight_genes(panel).set_index("gene") for panel in others)]
    known = pd.concat([table for table in tables if len(table)] or tables[:1])
    known = pd.concat([known[known["tss"] > 0], known[known["tss"] <= 0]])  # a table that knows the place
    return known[~known.index.duplicated()]


# ---- variants
# -----------------------------------------------------------------------------------------------


def _unread(study: Study, named: FileNames) -> list[pd.DataFrame]:
    """Ledger of the rows of GWAS files that could not be used when they were read."""
    ledgers = []
    for ancestry, source in named.gwas.items():
        unused = reading_of(study.gwas[ancestry]).unused
        columns = (source, unused["variant"], unused["source_id"], DROPPED, unused["reason"])
        ledgers.append(pd.DataFrame(dict(zip(LEDGER_COLUMNS, columns, strict=True))))
    return [ledger for ledger in ledgers if len(ledger)]


def _require_ld(aligned: Alignment, named: FileNames) -> list[pd.DataFrame]:
    """Ledger of GWAS variants without LD in their ancestry; their rows become absent in place of a z without
    LD."""
    ledgers = []
    for ancestry, source in named.gwas.items():
        rows = aligned.rows[source]
        lost = np.flatnonzero((rows >= 0) & (aligned.rows[named.ld[ancestry]] < 0))
        rows[lost] = -1
        table = aligned.variants.iloc[lost]
        reason = f"not in the LD reference of {ancestry} ({named.ld[ancestry]})"
        columns = (source, canonical_ids(table), table["source_id"].to_numpy(), DROPPED, reason)
        ledgers.append(pd.DataFrame(dict(zip(LEDGER_COLUMNS, columns, strict=True))))
    return [ledger for ledger in ledgers if len(ledger)]


def _order(
    aligned: Alignment, blocks: pd.DataFrame, holding: set[str]
) -> tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The variants that a file of `holding` (GWAS, panels) has, sorted by block and position."""
    table = aligned.variants
    used = np.zeros(len(table), dtype=bool)
    for name in holding:
        used |= aligned.rows[name] >= 0
    number = block_number(blocks, table["chromosome"].to_numpy(), table["position"].to_numpy())
    alleles = (table["effect_allele"].astype(str), table["other_allele"].astype(str))
    order = np.lexsort((*(a.to_numpy(dtype=object) for a in alleles), table["position"].to_numpy(), number))
    order = order[used[order]]
    variants = table.iloc[order].copy()
    variants["block"] = blocks["block"].to_numpy(dtype=object)[number[order]]
    variants.index = pd.Index(canonical_ids(variants), name=names.VARIANT)
    rows = {name: values[order] for name, values in aligned.rows.items()}
    return variants, rows, {name: values[order] for name, values in aligned.signs.items()}


# ---- donors and genes
# ---------------------------------------------------------------------------------------


def _prepare_panels(
    study: Study, named: FileNames, wanted: set[str]
) -> tuple[list[PreparedPanel], list[pd.DataFrame], list[str]]:
    prepared, ledger, notes = [], [], []
    for panel, genotypes in zip(study.panels, named.panels, strict=True):
        ready, dropped = prepare_panel(panel, genotypes, wanted)
        prepared.append(ready)
        if ready.filled:
            notes.append(
                f"{panel.expression.attrs.get('source', ready.label)}: {ready.filled} genes lack values in "
                f"up to {MOST_MISSING:.0%} of the donors, filled with the mean of the gene"
            )
        if dropped:
            source = panel.expression.attrs.get("source", ready.label)
            reason = f"donor without genotypes in {genotypes}"
            rows = [(source, "", donor, DROPPED, reason) for donor in dropped]
            ledger.append(pd.DataFrame(rows, columns=list(LEDGER_COLUMNS)))
            notes.append(
                f"{source}: {len(dropped)} of {len(dropped) + len(ready.sample_index)} donors have no "
                "genotypes in "
                f"{genotypes} and are left out ({', '.join(dropped[:3])}{' ...' if len(dropped) > 3 else ''})"
            )
    return prepared, ledger, notes


def _spans(variants: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """block -> first and last row among the sorted variants."""
    labels = variants["block"].to_numpy(dtype=object)
    change = np.flatnonzero(labels[1:] != labels[:-1]) + 1 if len(labels) else np.zeros(0, dtype=int)
    edges = [0, *change.tolist(), len(labels)]
    return {str(labels[a]): (a, b) for a, b in pairwise(edges) if b > a}


def _count(blocks: pd.DataFrame, variants: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    ordered = blocks[["block", "chromosome", "start", "end"]].copy()
    ordered["n_variants"] = ordered["block"].map(variants["block"].value_counts()).fillna(0).astype(int)
    runs = genes.loc[genes["status"].isin((names.OK, names.WARNING)), "block"]
    ordered["n_genes"] = ordered["block"].map(runs.value_counts()).fillna(0).astype(int)
    key = [(chromosome_order(c), s) for c, s in zip(ordered["chromosome"], ordered["start"], strict=True)]
    return ordered.iloc[sorted(range(len(key)), key=key.__getitem__)].reset_index(drop=True)


def _duplicates(files: Sequence[VariantFile], ledgers: Sequence[pd.DataFrame]) -> list[str]:
    """A sentence per file with duplicates; raises `HarmonisationError` where they are not the exception."""
    notes = []
    for file, ledger in zip(files, ledgers, strict=True):
        count = int(ledger["reason"].str.startswith("duplicate").sum())
        if count > MOST_DUPLICATES * len(file.table):
            raise HarmonisationError(
                f"{file.name}: {count} of {len(file.table)} rows inside the blocks are duplicate variants",
                "A file holds one row per variant; a few duplicates are dropped, all copies of each",
                "Keep one row per variant; a file with several traits, tissues or studies must be split",
            )
        if count:
            notes.append(
                f"{file.name}: {count} rows are duplicate variants and are dropped, all copies of each"
            )
    return notes


def _palindromes(ledger: pd.DataFrame) -> list[str]:
    """A sentence where palindromic variants are dropped for want of a frequency."""
    lost = ledger.loc[ledger["reason"].str.startswith(NO_FREQUENCY), "variant"].nunique()
    if not lost:
        return []
    these = "palindromic variant (A/T or C/G) is" if lost == 1 else "palindromic variants (A/T or C/G) are"
    return [
        f"{lost} {these} dropped from a file or more: without frequencies their strand is not known. A "
        "column effect_allele_frequency in the GWAS keeps most of them"
    ]


def _notes(study: Study, blocks: pd.DataFrame) -> list[str]:
    notes = []
    wide = blocks[(blocks["end"] - blocks["start"]) > WIDE_BLOCK]
    if study.blocks is None and len(wide):
        widest = wide.assign(length=wide["end"] - wide["start"]).sort_values("length").iloc[-1]
        notes.append(
            f"{len(wide)} blocks made of merged gene windows are wider than {WIDE_BLOCK // 1_000_000} Mb, "
            "the widest "
            f"{widest['block']} ({widest['length'] / 1e6:.0f} Mb): give [blocks] path = a BED file of LD "
            "blocks"
        )
    unused = sorted(set(study.ld) - set(study.gwas))
    if unused:
        notes.append(f"LD in {', '.join(unused)} is not used: there is no GWAS in that ancestry")
    return notes


# ---- one block
# ----------------------------------------------------------------------------------------------


def _reader(h: Harmonised, block: str) -> LocusReader:
    study = h.study
    place = int(np.argmax((h.blocks["block"] == block).to_numpy()))
    start, end = (int(h.blocks[edge].to_numpy()[place]) for edge in ("start", "end"))
    here = slice(*h.spans.get(block, (0, 0)))
    genes = h.genes[h.genes["block"] == block].set_index("gene")
    fitted = genes.index[genes["status"].isin((names.OK, names.WARNING))]
    panels = []
    for panel in h.panels:
        expression = panel.expression.loc[panel.expression.index.isin(fitted)]
        if len(expression):
            head = (panel.context, panel.ancestry, panel.genotypes, panel.sample_index)
            panels.append(PanelRows(*head, expression, panel.covariates))
    gwas, ld, wanted = {}, {}, {panel.genotypes for panel in panels}
    for ancestry, source in h.named.gwas.items():
        at = h.rows[source][here]
        sign = h.signs[source][here]
        z = np.where(at >= 0, study.gwas[ancestry]["z"].values[at] * sign, np.nan)
        n = np.where(at >= 0, study.gwas[ancestry]["n"].values[at], np.nan)
        gwas[ancestry] = (z, n)
        ld[ancestry] = _ld_rows(h, ancestry, here)
        if not isinstance(study.ld[ancestry], LDMatrix):
            wanted.add(h.named.ld[ancestry])
    return LocusReader(
        block=block,
        start=start,
        end=end,
        build=study.build,
        study=study.name,
        simulated=study.simulated,
        cis_window=study.cis_window,
        variants=h.variants.iloc[here],
        genes=genes[["chromosome", "tss", "status", "reason"]],
        gwas=gwas,
        ld=ld,
        panels=tuple(panels),
        genotypes={name: _genotype_rows(h, name, here) for name in sorted(wanted)},
        variant_annotation=h.annotations.of_variants(here, h.variants.index[here]),
        gene_annotation=h.annotations.of_genes(genes.index),
        weights=weight_rows(
            study.weights, h.named.weights, h.rows, h.signs, here, h.variants.index[here], fitted, h.named.ld
        ),
        overlap={pair: n for pair, n in study.overlap.items() if pair[1] in study.gwas},
        eqtl=eqtl_rows(study.eqtl, h.named.eqtl, h.rows, h.signs, here, h.variants.index[here], fitted),
        gene_level=study.gene_level,
        mixtures={
            ancestry: (ld.panel, ld.admixed)
            for ancestry, ld in study.ld.items()
            if ancestry in study.gwas and isinstance(ld, Genotypes) and ld.panel is not None
        },
        gwas_checks={ancestry: _gwas_checks(h, ancestry, here) for ancestry in h.named.gwas},
    )


def _gwas_checks(h: Harmonised, ancestry: str, here: slice) -> dict[str, np.ndarray]:
    """What the GWAS of one ancestry says beside z and n, of the effect allele of the study."""
    gwas, source = h.study.gwas[ancestry], h.named.gwas[ancestry]
    at, sign = h.rows[source][here], h.signs[source][here]
    out = {}
    if "effect_allele_frequency" in gwas:
        frequency = gwas["effect_allele_frequency"].values[at]
        out["frequency"] = np.where(at >= 0, np.where(sign < 0, 1 - frequency, frequency), np.nan)
    if "conflict" in gwas:
        out["conflict"] = (at >= 0) & gwas["conflict"].values[at]
    return out


def _ld_rows(h: Harmonised, ancestry: str, here: slice) -> tuple[str | MatrixRows, float]:
    name, ld = h.named.ld[ancestry], h.study.ld[ancestry]
    if isinstance(ld, Genotypes):
        return name, float(h.study.n_ref.get(ancestry, len(ld.samples)))
    rows = h.rows[name][here]
    held = rows[rows >= 0]
    part = MatrixRows(ld.part(held), rows, h.signs[name][here])
    return part, float(h.study.n_ref.get(ancestry, ld.n_ref))


def _genotype_rows(h: Harmonised, name: str, here: slice) -> Rows:
    genotypes = h.named.genotypes[name]
    return Rows(genotypes.load, len(genotypes.samples), h.rows[name][here], h.signs[name][here])
