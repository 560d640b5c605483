"""Genes, blocks and donors: where each gene belongs, and who is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayestwas import names
from bayestwas.data.studies import Panel, Study
from bayestwas.data.variants import block_number, chromosome_labels, chromosome_order
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.expression import hidden_factors, normalised

FEWEST_DONORS = 10
MOST_MISSING = 0.1  # of the donors of a gene: so few are filled with its mean
_CONSTANT = 1e-10  # standard deviation relative to the size of the values: below it a row is constant
HIDDEN = "hidden factor"  # how the covariates are called that come from the expression itself
UNKNOWN = "in no phenotype file"
NO_PLACE = "no TSS: neither its table nor the gene models have one"
WIDE_BLOCK = 10_000_000  # base pairs: more than any LD block of a human population


@dataclass(frozen=True)
class PreparedPanel:
    """A panel whose donors have genotypes, expression and covariates.

    `sample_index`: positions of the donors among the samples of the genotypes. `expression`: DataFrame gene x
    donor, only genes that can be fitted here. `unusable`: gene -> why it cannot. `filled`: genes whose few
    missing values stand at their mean.
    """

    context: str
    ancestry: str
    genotypes: str
    sample_index: np.ndarray
    expression: pd.DataFrame
    covariates: pd.DataFrame | None
    unusable: dict[str, str]
    filled: int = 0

    @property
    def label(self) -> str:
        """context/ancestry, as the locus spells it."""
        return f"{self.context}/{self.ancestry}"


def panel_genes(study: Study) -> pd.DataFrame:
    """Chromosome and TSS of every gene of the panels, indexed by gene in order of appearance.

    Raises `HarmonisationError` where two panels place a gene on different chromosomes or TSS.
    """
    tables = []
    for panel in study.panels:
        expression = panel.expression
        tables.append(
            pd.DataFrame(
                {
                    "gene": expression[names.GENE].values.astype(str).astype(object),
                    "chromosome": chromosome_labels(expression["chromosome"].values),
                    "tss": expression["tss"].values,
                    "source": expression.attrs.get("source", f"{panel.context}/{panel.ancestry}"),
                }
            )
        )
    if not tables:
        return pd.DataFrame({"chromosome": [], "tss": []}, index=pd.Index([], name="gene"))
    genes = pd.concat(tables, ignore_index=True)
    first = genes.drop_duplicates("gene").set_index("gene")
    there = first.loc[genes["gene"]]
    differ = (genes["chromosome"].to_numpy() != there["chromosome"].to_numpy()) | (
        genes["tss"].to_numpy() != there["tss"].to_numpy()
    )
    if differ.any():
        row = int(np.argmax(differ))
        one, two = there.iloc[row], genes.iloc[row]
        raise HarmonisationError(
            f"gene {two['gene']} starts at {one['chromosome']}:{one['tss']} in {one['source']} and at "
            f"{two['chromosome']}:{two['tss']} in {two['source']} ({int(differ.sum())} genes differ)",
            "A gene has one TSS in all panels of a study",
            "Use one build and one gene annotation for all phenotype files",
        )
    return first[["chromosome", "tss"]]


def merged_windows(genes: pd.DataFrame, cis_window: int) -> pd.DataFrame:
    """Blocks made of the cis-windows of the genes, overlapping windows merged."""
    blocks: list[tuple[str, int, int]] = []
    order = sorted(
        (place for place in zip(genes["chromosome"], genes["tss"], strict=True) if place[1] > 0),
        key=lambda g: (chromosome_order(g[0]), g[1]),
    )
    for chromosome, tss in order:
        start, end = max(0, int(tss) - 1 - cis_window), int(tss) + cis_window
        if blocks and blocks[-1][0] == chromosome and start < blocks[-1][2]:
            blocks[-1] = (chromosome, blocks[-1][1], end)
        else:
            blocks.append((chromosome, start, end))
    named = [(f"{chromosome}_{start}_{end}", chromosome, start, end) for chromosome, start, end in blocks]
    return pd.DataFrame(named, columns=["block", "chromosome", "start", "end"])


def with_neighbours(known: pd.DataFrame, requested: Sequence[str], blocks: pd.DataFrame) -> pd.DataFrame:
    """The requested genes of `known` and all that share a block with them, by chromosome and TSS.

    The genes of a block compete for its association; fitted without its neighbours, a gene gets their share.
    """
    number = block_number(blocks, known["chromosome"].to_numpy(), known["tss"].to_numpy(dtype=np.int64))
    asked = known.index.isin(list(requested))
    chosen = known[asked | ((number >= 0) & np.isin(number, number[asked]))]
    places = zip(chosen["chromosome"], chosen["tss"], chosen.index, strict=True)
    key = [(tss <= 0, chromosome_order(chromosome), tss, str(gene)) for chromosome, tss, gene in places]
    return chosen.iloc[sorted(range(len(key)), key=key.__getitem__)]


def prepare_panel(panel: Panel, genotypes: str, wanted: set[str]) -> tuple[PreparedPanel, list[str]]:
    """Match donors to genotypes and covariates; returns the panel and the donors that were dropped.

    Raises `HarmonisationError` where fewer than 10 donors remain or covariates lack a donor.
    """
    source = panel.expression.attrs.get("source", f"{panel.context}/{panel.ancestry}")
    donors = panel.expression[names.DONOR].values.astype(str)
    samples = pd.Index(np.asarray(panel.genotypes.samples).astype(str))
    index = samples.get_indexer(pd.Index(donors))
    dropped = [str(donor) for donor in donors[index < 0]]
    kept, index = donors[index >= 0], index[index >= 0]
    if len(kept) < FEWEST_DONORS:
        raise HarmonisationError(
            f"{source}: {len(kept)} of {len(donors)} donors have genotypes in {genotypes}"
            + (
                f"; {', '.join(dropped[:3])} are not there, which has {', '.join(samples[:3])}"
                if dropped
                else ""
            ),
            f"A panel has at least {FEWEST_DONORS} donors with expression and genotypes, under the same "
            "identifiers",
            "Name the donors in the phenotype file by the individual identifiers (column 2) of the .fam file",
        )
    genes = panel.expression[names.GENE].values.astype(str)
    use = np.flatnonzero(np.isin(genes, sorted(wanted)))
    column = np.flatnonzero(np.isin(donors, kept))
    everything = panel.expression["expression"].transpose(names.GENE, names.DONOR).values[:, column]
    everything = normalised(everything, panel.preparation, source)
    expression = pd.DataFrame(everything[use], index=genes[use].astype(object), columns=kept.astype(object))
    unusable = _unusable_rows(expression)
    usable = expression.drop(index=list(unusable))
    prepared = PreparedPanel(
        panel.context,
        panel.ancestry,
        genotypes,
        index,
        _filled(usable),
        _covariates(panel, source, kept, everything),
        unusable,
        int(usable.isna().any(axis=1).sum()),
    )
    return prepared, dropped


def _unusable_rows(expression: pd.DataFrame) -> dict[str, str]:
    """gene -> why its expression cannot be used; one with few missing values can."""
    values = expression.to_numpy(dtype=float)
    known = np.isfinite(values)
    lacking = (~known).sum(axis=1)
    reasons = {}
    for gene, row, there, absent in zip(expression.index, values, known, lacking, strict=True):
        if absent > MOST_MISSING * len(row):
            reasons[gene] = (
                f"expression missing in {absent} of {len(row)} donors (more than {MOST_MISSING:.0%})"
            )
        elif row[there].std() <= _CONSTANT * max(np.abs(row[there]).max(), 1e-300):
            reasons[gene] = "zero-variance expression"
    return reasons


def _filled(expression: pd.DataFrame) -> pd.DataFrame:
    """The mean of a gene where a donor lacks it, which adds nothing to a covariance with genotypes."""
    return expression.T.fillna(expression.mean(axis=1)).T


def _covariates(panel: Panel, source: str, donors: np.ndarray, expression: np.ndarray) -> pd.DataFrame | None:
    """Those of the file, and the hidden factors of the expression (genes, donors) of all genes."""
    name = "no covariates"
    table = pd.DataFrame(index=[], columns=donors, dtype=float)
    if panel.covariates is not None:
        given = panel.covariates.transpose(names.COVARIATE, names.DONOR).to_pandas()
        assert isinstance(given, pd.DataFrame)
        table, name = given, str(panel.covariates.attrs.get("source", "covariates"))
    lacking = [str(donor) for donor in donors if donor not in table.columns]
    if lacking:
        raise HarmonisationError(
            f"{name} lacks {len(lacking)} of the {len(donors)} donors of {source}: {', '.join(lacking[:3])}",
            "Covariates are known for every donor that has expression and genotypes",
            "Add the donors to the covariates, or remove them from the phenotypes",
        )
    number = panel.preparation.hidden_factors
    if len(table) + (number or 0) + 2 >= len(donors):
        hidden = f" and {number} hidden factors" if number else ""
        raise HarmonisationError(
            f"{name} has {len(table)} covariates{hidden} for {len(donors)} donors of {source}",
            "Covariates leave room for a genotype: fewer than donors minus two",
            "Use fewer covariates (principal components, PEER factors)",
        )
    table = table[list(donors)]
    factors = hidden_factors(expression, table.to_numpy(dtype=float), number, source)
    labels = [f"{HIDDEN} {i + 1}" for i in range(len(factors))]
    table = pd.concat([table, pd.DataFrame(factors, index=labels, columns=table.columns)])
    return table if len(table) else None


def gene_table(
    requested: list[str],
    present: pd.DataFrame,
    blocks: pd.DataFrame,
    variants: pd.DataFrame,
    rows: dict[str, np.ndarray],
    panels: list[PreparedPanel],
    sources: Sequence[str],
    spans: dict[str, tuple[int, int]],
    cis_window: int,
) -> pd.DataFrame:
    """One row per gene of `requested`: where it belongs, its number of variants, whether it can be fitted."""
    tss = present["tss"].to_numpy(dtype=np.int64)
    number = dict(
        zip(present.index, block_number(blocks, present["chromosome"].to_numpy(), tss), strict=True)
    )
    places = dict(zip(present.index, zip(present["chromosome"], tss.tolist(), strict=True), strict=True))
    names_of = blocks["block"].to_numpy(dtype=object)
    measured = {name: values >= 0 for name, values in rows.items()}
    tested = np.zeros(len(variants), dtype=bool)
    for source in sources:
        tested |= measured[source]
    usable_in = {gene: [p for p in panels if gene in p.expression.index] for gene in present.index}
    unusable_in = {
        gene: {p.label: p.unusable[gene] for p in panels if gene in p.unusable} for gene in present.index
    }
    table = []
    for gene in requested:
        if gene not in present.index:
            table.append((gene, "", "", -1, 0, names.SKIPPED, UNKNOWN))
            continue
        chromosome, position = places[gene]
        if position <= 0:
            table.append((gene, "", "", -1, 0, names.SKIPPED, NO_PLACE))
            continue
        block = str(names_of[number[gene]]) if number[gene] >= 0 else ""
        first, last = spans.get(block, (0, 0))
        where = variants["position"].to_numpy()[first:last]
        window = slice(
            first + int(np.searchsorted(where, position - cis_window)),
            first + int(np.searchsorted(where, position + cis_window, side="right")),
        )
        held = np.zeros(window.stop - window.start, dtype=bool)
        for panel in usable_in[gene]:
            held |= measured[panel.genotypes][window]
        status, reason = _status(
            block, chromosome, position, usable_in[gene], unusable_in[gene], held, tested[window], cis_window
        )
        table.append((gene, block, chromosome, position, int(held.sum()), status, reason))
    columns = ["gene", "block", "chromosome", "tss", "n_variants", "status", "reason"]
    return pd.DataFrame(table, columns=columns)


def _status(
    block: str,
    chromosome: str,
    tss: int,
    usable: list[PreparedPanel],
    unusable: dict[str, str],
    held: np.ndarray,
    tested: np.ndarray,
    cis_window: int,
) -> tuple[str, str]:
    told = "; ".join(f"{reason} in {label}" for label, reason in unusable.items())
    if not block:
        return names.SKIPPED, f"its TSS {chromosome}:{tss} lies in no block"
    if not usable:
        return names.SKIPPED, told
    if not held.any():
        return names.SKIPPED, f"no variant within {cis_window:,} bp of its TSS in the genotypes of its panels"
    if not (held & tested).any():
        return names.SKIPPED, f"no variant within {cis_window:,} bp of its TSS is in both a panel and a GWAS"
    return (names.WARNING, f"left out: {told}") if told else (names.OK, "")
