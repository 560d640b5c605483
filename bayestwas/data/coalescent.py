"""Genotypes of several populations from msprime, and their moments.

Demography: the three-population out-of-Africa model of Gutenkunst et al. 2009 (PLoS Genetics 5:e1000695,
doi:10.1371/journal.pgen.1000695) with their point estimates and 25 years a generation: ancestral size
7,300; African size 12,300 from 220 thousand years ago; Eurasian bottleneck 2,100 from 140 thousand years
ago; Europe 1,000 growing by 0.4% and East Asia 510 growing by 0.55% a generation from 21.2 thousand years
ago; migration per generation 25e-5 (Africa, bottleneck), 3e-5 (Africa, Europe), 1.9e-5 (Africa, East Asia),
9.6e-5 (Europe, East Asia).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from bayestwas.data.design import Design
from bayestwas.errors import DependencyError

RECOMBINATION_RATE = 1e-8  # per base and generation
MUTATION_RATE = 1.25e-8  # per base and generation; sites are thinned afterwards, so it sets the cost, no more
ADMIXED_SINCE, APART_SINCE = 10, 200  # generations
TRANSITION_BIAS = 4.0  # HKY kappa: one substitution in six is palindromic, as in human SNPs


def _msprime() -> Any:
    try:
        import msprime
    except ImportError as missing:
        raise DependencyError(
            "msprime is not installed",
            "Simulation draws genotypes with msprime, which is optional because its licence is the GPL",
            "Install it with: pip install 'bayestwas[simulate]'",
        ) from missing
    return msprime


def _demography(others: Collection[str] = ()) -> Any:
    """Out-of-Africa model of Gutenkunst et al. 2009; times in generations, sizes in diploid people.

    `others`: ADMIXED, 80% EUR and 20% AFR since ADMIXED_SINCE; NEIGHBOUR, apart from EUR since APART_SINCE.
    """
    msprime = _msprime()
    split, bottleneck, ancient = 21.2e3 / 25, 140e3 / 25, 220e3 / 25
    growth = {"EUR": 0.004, "EAS": 0.0055}
    model = msprime.Demography()
    model.add_population(name="AFR", initial_size=12_300)
    model.add_population(
        name="EUR", initial_size=1000 * math.exp(growth["EUR"] * split), growth_rate=growth["EUR"]
    )
    model.add_population(
        name="EAS", initial_size=510 * math.exp(growth["EAS"] * split), growth_rate=growth["EAS"]
    )
    model.add_population(name="OOA", initial_size=2_100)
    model.add_population(name="AMH", initial_size=12_300)
    model.add_population(name="ANC", initial_size=7_300)
    model.set_symmetric_migration_rate(["AFR", "EUR"], 3e-5)
    model.set_symmetric_migration_rate(["AFR", "EAS"], 1.9e-5)
    model.set_symmetric_migration_rate(["EUR", "EAS"], 9.6e-5)
    if "ADMIXED" in others:
        model.add_population(name="ADMIXED", initial_size=10_000)
        model.add_admixture(
            time=ADMIXED_SINCE, derived="ADMIXED", ancestral=["EUR", "AFR"], proportions=[0.8, 0.2]
        )
    if "NEIGHBOUR" in others:
        model.add_population(name="NEIGHBOUR", initial_size=10_000)
        model.add_mass_migration(time=APART_SINCE, source="NEIGHBOUR", dest="EUR", proportion=1.0)
    model.add_population_split(time=split, derived=["EUR", "EAS"], ancestral="OOA")
    model.add_symmetric_migration_rate_change(time=split, populations=["AFR", "OOA"], rate=25e-5)
    model.add_population_split(time=bottleneck, derived=["AFR", "OOA"], ancestral="AMH")
    model.add_population_split(time=ancient, derived=["AMH"], ancestral="ANC")
    return model


def genotypes(
    design: Design, rng: np.random.Generator, chromosome: str, start: int
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Variants (p) and, per ancestry, int8 dosages (p, people): population sample, donors, reference.

    Sites are biallelic, reach `design.maf` in the population sample of an ancestry, and are thinned at random
    to `design.variants_per_block`. The derived allele is the effect allele, which dosages count.
    """
    msprime = _msprime()
    own = {a: 0 if a in design.reference_of else design.n_ref or 0 for a in design.ancestries}
    people = {a: design.population + design.n_donors(a) + own[a] for a in design.ancestries}
    people |= dict.fromkeys(sorted(set(design.reference_of.values())), design.n_ref or 0)
    trees = msprime.sim_ancestry(
        samples=people,
        demography=_demography(design.reference_of.values()),
        sequence_length=design.block_length,
        recombination_rate=RECOMBINATION_RATE,
        random_seed=int(rng.integers(1, 2**31)),
    )
    trees = msprime.sim_mutations(
        trees,
        rate=MUTATION_RATE,
        model=msprime.HKY(kappa=TRANSITION_BIAS),
        random_seed=int(rng.integers(1, 2**31)),
    )
    nodes = trees.individuals_nodes  # (people of all ancestries, 2), in the order of `people`
    bounds = np.cumsum([0, *people.values()])
    groups = [nodes[lo : lo + design.population].ravel() for lo in bounds[: len(design.ancestries)]]
    counts = trees.sample_count_stat(
        groups,
        lambda carriers: carriers,
        output_dim=len(groups),
        windows="sites",
        mode="site",
        polarised=True,
        span_normalise=False,
        strict=False,
    )
    derived = counts / (2 * design.population)
    biallelic = np.bincount(trees.mutations_site, minlength=trees.num_sites) == 1
    common = (np.minimum(derived, 1 - derived) >= design.maf).any(axis=1)
    kept = np.flatnonzero(biallelic & common)
    if len(kept) > design.variants_per_block:
        kept = np.sort(rng.choice(kept, design.variants_per_block, replace=False))
    trees = trees.delete_sites(np.setdiff1d(np.arange(trees.num_sites), kept), record_provenance=False)

    haplotypes = trees.genotype_matrix(samples=nodes.ravel())
    dosage = (haplotypes[:, 0::2] + haplotypes[:, 1::2]).astype(np.int8)
    sites = list(trees.sites())
    position = np.array([int(site.position) for site in sites], dtype=np.int64) + start + 1
    variants = pd.DataFrame(
        {
            "chromosome": chromosome,
            "position": position,
            "effect_allele": [site.mutations[0].derived_state for site in sites],
            "other_allele": [site.ancestral_state for site in sites],
        }
    )
    alleles = variants["other_allele"] + ":" + variants["effect_allele"]
    names = chromosome + ":" + variants["position"].astype(str) + ":" + alleles
    variants["source_id"] = names.str.replace(":", "_")
    variants.index = pd.Index(names, name="variant")
    parts = {
        a: np.ascontiguousarray(dosage[:, lo:hi])
        for a, lo, hi in zip(people, bounds[:-1], bounds[1:], strict=True)
    }
    for a, population in design.reference_of.items():
        parts[a] = np.concatenate([parts[a], parts[population]], axis=1)
    return variants, {a: parts[a] for a in design.ancestries}


def moments(dosage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, each (p,): infinite where monomorphic, where standardised is then zero."""
    n = dosage.shape[1]
    mean = dosage.sum(axis=1, dtype=np.int64) / n
    heterozygotes = (dosage == 1).sum(axis=1)
    squares = heterozygotes + 4 * (dosage == 2).sum(axis=1)
    sd = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
    return mean, np.where(sd > 0, sd, np.inf)


def standardised(dosage: np.ndarray, mean_sd: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Genotypes of the variants `rows` (len(rows), people), centred and scaled by `mean_sd`."""
    mean, sd = mean_sd
    return (dosage[rows] - mean[rows, None]) / sd[rows, None]
