"""Designs of simulated studies: every size and rate in one frozen object, and the named presets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from bayestwas.data.studies import DEFAULT_CIS_WINDOW
from bayestwas.errors import SettingsError, nearest

POPULATIONS = ("AFR", "EUR", "EAS")  # of the demographic model in `coalescent.py`
OTHERS = ("ADMIXED", "NEIGHBOUR")  # populations of that model that are references only


# Name, share of the variants (or genes) that have it, and by how much it raises the logarithm of the weight
# with which one of them is drawn to have an effect.
SimulatedAnnotation = tuple[str, float, float]


@dataclass(frozen=True)
class Design:
    """All sizes and rates of a simulated study. People are counted per ancestry and are all distinct.

    `donors[context][ancestry]` is the size of an expression panel (a missing pair: no panel). Panels of one
    ancestry share donors: the smaller is a subset of the larger. `n_ref` is the size of the LD references;
    None means in-sample LD: the reference is the population sample through which the GWAS noise is drawn,
    hence exact.
    """

    name: str
    gwas: Mapping[str, int]  # ancestry -> GWAS sample size
    donors: Mapping[str, Mapping[str, int]]
    blocks: int
    genes_per_block: int
    variants_per_block: int  # at most; thinned at random
    block_length: int  # base pairs
    n_ref: int | None = None
    population: int = 4000  # people whose LD is the true LD of an ancestry
    maf: float = (
        0.01  # a site is kept if it reaches this in one ancestry; below it, it has no effect and no z there
    )
    eqtl_maf: float = 0.05  # reached by an eQTL in at least one ancestry
    cis_window: int = DEFAULT_CIS_WINDOW  # base pairs on each side of the TSS
    eqtl_distance: float = 50_000.0  # scale of the Laplace preference for variants near the TSS, base pairs
    eqtl_uniform: float = 0.2  # share of eQTLs placed without regard to distance
    cis_h2: tuple[float, float] = (0.05, 0.25)  # uniform; mean over ancestries of a gene in a context
    effect_correlation_ancestries: float = 0.9
    effect_correlation_contexts: float = 0.7
    context_specific: float = 0.3  # probability that an eQTL acts in one context only
    noise_correlation_contexts: float = 0.3  # residual expression of one donor in two contexts
    eqtls: int | None = None  # per gene; None: one to three
    causal_contexts: tuple[str, ...] = ()  # in which causal genes act; none given: in any
    causal_genes: tuple[float, ...] = (0.2, 0.6, 0.2)  # probability of 0, 1, 2 ... causal genes in a block
    gene_h2: float = 0.001  # share of trait variance of a causal gene, mean over ancestries
    direct_blocks: float = 0.5  # probability that a block has direct effects (one or two)
    direct_h2: float = 0.001  # share of trait variance of a direct effect, mean over ancestries
    trait_correlation_ancestries: float = 0.95
    background_h2: float = 0.0  # share of trait variance of all variants of a block, each a little
    reference_of: Mapping[str, str] = field(default_factory=dict)  # ancestry -> population of its reference
    meta_analysis: bool = False  # the GWAS are given as one, over all ancestries
    prevalence: float | None = None  # of a case-control trait, with liability effects; None: quantitative
    case_share: float = 0.5  # cases among the people of a case-control GWAS
    annotations: tuple[SimulatedAnnotation, ...] = ()  # of variants: eQTLs and direct effects follow them
    gene_annotations: tuple[SimulatedAnnotation, ...] = ()  # of genes: causal genes follow them

    def __post_init__(self) -> None:
        for ancestry in self.ancestries:
            if ancestry not in POPULATIONS:
                raise SettingsError(
                    f"Ancestry '{ancestry}' in a simulation design",
                    "Ancestries are populations of the demographic model",
                    nearest(ancestry, POPULATIONS),
                )
        self._check_references()
        if not set(self.causal_contexts) <= set(self.donors):
            raise SettingsError(
                f"causal_contexts = {self.causal_contexts}",
                "Causal genes act in contexts of the design; one without panels is {name: {}} in donors",
                f"Choose among {', '.join(self.donors)}",
            )
        if self.prevalence is not None and not (0 < self.prevalence < 1 and 0 < self.case_share < 1):
            raise SettingsError(
                f"prevalence = {self.prevalence}, case_share = {self.case_share}",
                "Both are shares of people",
                "Give numbers between 0 and 1",
            )
        if self.meta_analysis and (self.n_ref is None or self.prevalence is not None):
            raise SettingsError(
                f"meta_analysis with n_ref = {self.n_ref}, prevalence = {self.prevalence}",
                "A meta-analysis is of a quantitative trait, and its LD is a mixture of reference panels",
                "Give n_ref, and no prevalence",
            )
        if not math.isclose(sum(self.causal_genes), 1.0):
            raise SettingsError(
                f"causal_genes = {self.causal_genes} sums to {sum(self.causal_genes):g}",
                "These are the probabilities of 0, 1, 2 ... causal genes",
                "Make them sum to 1",
            )
        for given in ("annotations", "gene_annotations"):
            _check_annotations(given, getattr(self, given))

    def _check_references(self) -> None:
        for ancestry, population in self.reference_of.items():
            if ancestry not in self.gwas or population not in OTHERS or self.n_ref is None:
                raise SettingsError(
                    f"reference_of = {dict(self.reference_of)}, n_ref = {self.n_ref}",
                    f"The reference of an ancestry with a GWAS may be n_ref people of {' or '.join(OTHERS)}",
                    "Correct the names, and give n_ref",
                )

    @property
    def score_scale(self) -> float:
        """By how much the z-scores of an effect of the design shrink, or grow, where the trait is binary.

        Of a liability threshold t, an allele effect beta on the liability sets cases and controls beta
        phi(t) / (K (1 - K)) apart in mean genotype (Lee et al. 2011, doi:10.1016/j.ajhg.2011.02.002), and z
        has the mean sqrt(N v (1 - v)) times that, with v the share of cases.
        """
        if self.prevalence is None:
            return 1.0
        normal = NormalDist()
        apart = normal.pdf(normal.inv_cdf(self.prevalence)) / (self.prevalence * (1 - self.prevalence))
        return apart * math.sqrt(self.case_share * (1 - self.case_share))

    @property
    def ancestries(self) -> tuple[str, ...]:
        """Ancestries in order: those of the GWAS first, then those with expression only."""
        return tuple(dict.fromkeys([*self.gwas, *(a for panel in self.donors.values() for a in panel)]))

    @property
    def contexts(self) -> tuple[str, ...]:
        return tuple(self.donors)

    def n_donors(self, ancestry: str) -> int:
        """Distinct donors of an ancestry over all contexts."""
        return max((panel.get(ancestry, 0) for panel in self.donors.values()), default=0)


def _check_annotations(given: str, annotations: tuple[SimulatedAnnotation, ...]) -> None:
    seen: set[str] = set()
    for entry in annotations:
        name, share, enrichment = entry
        if not name.isidentifier() or name in seen or not 0 < share < 1 or not math.isfinite(enrichment):
            raise SettingsError(
                f"{given} of a simulation design: {entry}",
                "An annotation is its name (letters, digits, underscores; each once), the share of variants "
                "or genes that have it (between 0 and 1) and its log enrichment",
                'Write ("coding", 0.05, 2.0), for example',
            )
        seen.add(name)


_GWAS = {"EUR": 150_000, "AFR": 30_000, "EAS": 30_000}
PRESETS: dict[str, Design] = {
    "demo": Design(
        name="demo",
        gwas=_GWAS,
        donors={"blood": {"EUR": 300, "AFR": 120, "EAS": 100}, "liver": {"EUR": 150, "AFR": 60, "EAS": 50}},
        blocks=6,
        genes_per_block=10,
        variants_per_block=700,
        block_length=500_000,
        n_ref=500,
    ),
    "friendly": Design(
        name="friendly",
        gwas=_GWAS,
        donors={"tissue": {"EUR": 400, "AFR": 400, "EAS": 400}},
        blocks=40,
        genes_per_block=15,
        variants_per_block=2000,
        block_length=1_000_000,
    ),
    "hard": Design(
        name="hard",
        gwas=_GWAS,
        donors={"tissue": {"EUR": 100, "AFR": 60, "EAS": 60}},
        blocks=40,
        genes_per_block=15,
        variants_per_block=2000,
        block_length=1_000_000,
        n_ref=300,
    ),
    "tiny": Design(
        name="tiny",
        gwas={"EUR": 100_000, "AFR": 50_000},
        donors={"blood": {"EUR": 150, "AFR": 80}, "liver": {"EUR": 80}},
        blocks=2,
        genes_per_block=4,
        variants_per_block=60,
        block_length=200_000,
        n_ref=200,
        population=500,
        maf=0.05,
        eqtl_maf=0.1,
        gene_h2=0.002,
    ),
}

# ---- the settings of the calibration study (docs/calibration.md) ----------------------------------------

_STUDY = Design(
    name="study",
    gwas=_GWAS,
    donors={"tissue": {"EUR": 300, "AFR": 150, "EAS": 150}},
    blocks=60,
    genes_per_block=10,
    variants_per_block=700,
    block_length=500_000,
    n_ref=500,
)
_EACH = {"EUR": 300, "AFR": 100, "EAS": 80}
_SETTINGS = (
    replace(_STUDY, name="admixed-reference", reference_of={"EUR": "ADMIXED"}),
    replace(_STUDY, name="neighbour-reference", reference_of={"EUR": "NEIGHBOUR"}),
    replace(
        _STUDY,
        name="polygenic",
        gwas={"EUR": 200_000, "AFR": 50_000, "EAS": 50_000},
        background_h2=0.002,
    ),
    replace(
        _STUDY,
        name="meta-analysis",
        gwas={"EUR": 150_000, "AFR": 60_000, "EAS": 40_000},
        meta_analysis=True,
    ),
    replace(_STUDY, name="direct-only", causal_genes=(1.0,), direct_blocks=1.0),
    replace(
        _STUDY,
        name="missing-tissue",
        donors={"tissue": _STUDY.donors["tissue"], "absent": {}},
        causal_contexts=("absent",),
    ),
    replace(_STUDY, name="unshared", effect_correlation_ancestries=0.2, trait_correlation_ancestries=0.2),
    replace(_STUDY, name="four-tissues", donors={f"tissue{i}": _EACH for i in range(1, 5)}),
    replace(_STUDY, name="many-eqtls", eqtls=20),
    replace(_STUDY, name="case-control", prevalence=0.1),
)
PRESETS |= {design.name: design for design in _SETTINGS}
