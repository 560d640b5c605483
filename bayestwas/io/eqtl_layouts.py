"""The layouts of tables of eQTL summary statistics: what they are known by, and which column says what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bayestwas.errors import InputError


class EqtlLayout(NamedTuple):
    """`known_by`: columns (lower case) that all have to be there. The other fields name columns, several in
    the order of preference; effects are of the allele alt, spelled in `variant` where there are no `places`.
    """

    name: str
    known_by: frozenset[str]
    gene: str
    variant: str
    beta: str
    standard_error: str
    p_value: str
    distance: tuple[str, ...] = ()
    places: tuple[str, ...] = ()  # chromosome, position, ref, alt
    selected: bool = False  # holds significant pairs only
    frequency: str = ""  # of alt
    counts: tuple[str, ...] = ()  # of alt and of all alleles; some releases have their names exchanged


def _columns(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The first that fits is taken. Sources: eQTL Catalogue, doi:10.1038/s41588-021-00924-w; GTEx v8 READMEs;
# tensorQTL docs/outputs.md, doi:10.1186/s13059-019-1836-7; FastQTL, doi:10.1093/bioinformatics/btv722.
LAYOUTS = (
    EqtlLayout(
        "eQTL Catalogue",
        _columns("molecular_trait_id chromosome position ref alt pvalue beta se"),
        gene="molecular_trait_id",
        variant="variant",
        beta="beta",
        standard_error="se",
        p_value="pvalue",
        places=("chromosome", "position", "ref", "alt"),
        counts=("ac", "an"),
    ),
    EqtlLayout(
        "GTEx significant pairs",
        _columns("variant_id gene_id tss_distance pval_nominal slope slope_se pval_nominal_threshold"),
        gene="gene_id",
        variant="variant_id",
        beta="slope",
        standard_error="slope_se",
        p_value="pval_nominal",
        distance=("tss_distance",),
        selected=True,
    ),
    EqtlLayout(
        "tensorQTL significant pairs",
        _columns("phenotype_id variant_id pval_nominal slope slope_se pval_nominal_threshold"),
        gene="phenotype_id",
        variant="variant_id",
        beta="slope",
        standard_error="slope_se",
        p_value="pval_nominal",
        distance=("start_distance", "tss_distance"),
        frequency="af",
        selected=True,
    ),
    EqtlLayout(
        "GTEx all pairs",
        _columns("gene_id variant_id tss_distance pval_nominal slope slope_se"),
        gene="gene_id",
        variant="variant_id",
        beta="slope",
        standard_error="slope_se",
        p_value="pval_nominal",
        distance=("tss_distance",),
    ),
    EqtlLayout(
        "tensorQTL cis_nominal",
        _columns("phenotype_id variant_id pval_nominal slope slope_se"),
        gene="phenotype_id",
        variant="variant_id",
        beta="slope",
        standard_error="slope_se",
        p_value="pval_nominal",
        distance=("start_distance", "tss_distance"),
        frequency="af",
    ),
    EqtlLayout(
        "FastQTL nominal",
        _columns("gene_id variant_id tss_distance pval_nominal slope"),
        gene="gene_id",
        variant="variant_id",
        beta="slope",
        standard_error="slope_se",
        p_value="pval_nominal",
        distance=("tss_distance",),
    ),
)
FASTQTL = (
    "gene_id",
    "variant_id",
    "tss_distance",
    "pval_nominal",
    "slope",
    "slope_se",
)  # it writes no header
_CREDIBLE = ("cs_id", "pip")
_BAYES = "lbf_variable1"


def find_eqtl_layout(path: Path, columns: Sequence[str]) -> EqtlLayout:
    """The layout of a table by its columns. Raises `InputError` where it has none of those that are known."""
    lower = {name.lower() for name in columns}
    for layout in LAYOUTS:
        if layout.known_by <= lower:
            return layout
    if set(_CREDIBLE) <= lower or _BAYES in lower:
        raise InputError(
            f"{path} holds credible sets, or Bayes factors of a finished fine-mapping",
            "Weights are fitted to the marginal association of every variant of the cis-window, with LD",
            "Give the table of nominal associations of the same data set (eQTL Catalogue: *.all.tsv.gz)",
        )
    known = "; ".join(f"{layout.name}: {' '.join(sorted(layout.known_by))}" for layout in LAYOUTS)
    raise InputError(
        f"{path} has the columns {', '.join(columns)}",
        f"A table of eQTL summary statistics has the columns of one of the layouts {known}",
        "Rename its columns to those of one of them",
    )
