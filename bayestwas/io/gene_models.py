"""Gene models as GTF or GFF3: identifiers, symbols, and the transcription start by strand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bayestwas.data.gene_models import COLUMNS, GeneModels, without_version
from bayestwas.data.variants import chromosome_labels, standard_build
from bayestwas.errors import InputError
from bayestwas.io.tables import open_text

_GENES = ("gene", "ncrna_gene", "pseudogene")
_PARTS = ("transcript", "mrna", "exon")  # of a GTF without lines of genes: the outermost 5' end
_GTF = re.compile(r'(\w+) "([^"]*)"')
_BUILD = re.compile(r"(GRCh3[78]|hg19|hg38)", re.IGNORECASE)


def read_gene_models(path: str | Path, build: str = "", source: str | None = None) -> GeneModels:
    """Read a GTF (Ensembl, GENCODE, collapsed ones of GTEx) or GFF3, plain or gzipped.

    The TSS is the start of a gene on the strand +, its end on -. Of identifiers that occur twice (the
    pseudoautosomal genes on X and Y) the first counts. Raises `InputError` for broken lines, a file without
    genes and a header that names another build than `build`.
    """
    path = Path(path)
    source = source or path.name
    genes: dict[str, list[tuple[str, str, int, str]]] = {}
    whole: set[str] = set()
    with open_text(path) as handle:
        for number, line in enumerate(handle, start=1):
            if line.startswith("#"):
                _check_build(path, line, build)
                continue
            if not line.strip():
                continue
            kind, place, gene, symbol = _parsed(path, number, line)
            if not gene or gene.endswith("_PAR_Y"):
                continue
            if kind in _GENES and gene not in whole:
                whole.add(gene)
                genes[gene] = [(symbol, *place)]
            elif kind in _PARTS and gene not in whole:
                genes.setdefault(gene, []).append((symbol, *place))
    if not genes:
        raise InputError(
            f"{path} holds no gene",
            "Gene models have lines of the kind gene (or transcript, exon) with gene_id, or ID=gene:...",
            "Give a GTF or GFF3 file of genes",
        )
    table = pd.DataFrame(list(_rows(genes)), columns=["gene", *COLUMNS]).set_index("gene")
    table["chromosome"] = chromosome_labels(table["chromosome"])
    return GeneModels(source, table)


def _rows(genes: dict[str, list[tuple[str, str, int, str]]]) -> Iterator[tuple[str, str, str, int, str]]:
    seen: set[str] = set()
    for gene, parts in genes.items():
        bare = without_version(gene)
        symbol, chromosome, _, strand = parts[0]
        here = [tss for _, other, tss, _ in parts if other == chromosome]
        if bare not in seen:
            seen.add(bare)
            yield bare, symbol, chromosome, min(here) if strand == "+" else max(here), strand


def _parsed(path: Path, number: int, line: str) -> tuple[str, tuple[str, int, str], str, str]:
    """Kind, (chromosome, TSS, strand), gene and symbol of one line."""
    fields = line.rstrip("\r\n").split("\t")
    try:
        chromosome, _, kind, start, end, _, strand, _, attributes = fields
        first, last = int(start), int(end)
    except ValueError:
        raise InputError(
            f"{path} line {number}: '{line.strip()[:60]}'",
            "A line of a GTF or GFF3 file has nine columns with tabs between them; start and end are whole "
            "numbers",
            "Correct the line, or download the file again",
        ) from None
    kind = kind.lower()
    if kind not in (*_GENES, *_PARTS):
        return kind, ("", 0, ""), "", ""
    if strand not in ("+", "-") or not 1 <= first <= last:
        raise InputError(
            f"{path} line {number}: {start} to {end} on strand '{strand}'",
            "A gene has a strand, + or -, and 1-based positions with start <= end",
            "Correct the line",
        )
    gene, symbol = _names(attributes, kind in _GENES)
    return kind, (chromosome, first if strand == "+" else last, strand), gene, symbol


def _names(attributes: str, whole: bool) -> tuple[str, str]:
    told = dict(_GTF.findall(attributes))
    if not told:  # GFF3
        pairs = (part.split("=", 1) for part in attributes.split(";") if "=" in part)
        told = {key.strip(): value.strip() for key, value in pairs}
    gene = told.get("gene_id") or (told.get("ID", "") if whole else "")  # the ID of a part is its own
    gene = gene.removeprefix("gene:").removeprefix("gene-")
    return gene, told.get("gene_name") or told.get("Name") or told.get("gene") or ""


def _check_build(path: Path, line: str, build: str) -> None:
    found = _BUILD.search(line)
    if build and found and standard_build(found.group(1).lower()) != standard_build(build):
        raise InputError(
            f"{path} is of {standard_build(found.group(1).lower())}: '{line.strip()[:60]}'",
            f"All files of a study are in one build, here {build}",
            f"Give gene models of {build}",
        )
