"""Studies with a known answer: coalescent genotypes, then expression, then a trait, the truth attached.

Every block is drawn from its own random stream, so its content depends on the design, the seed and the
number of the block, and on no other block. Everything made here is simulated, and every container says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas.data.builds import LENGTHS
from bayestwas.data.coalescent import genotypes, moments, standardised
from bayestwas.data.design import PRESETS, Design, SimulatedAnnotation
from bayestwas.data.schema import locus
from bayestwas.errors import SettingsError
from bayestwas.names import OK

__all__ = ["PRESETS", "Design", "SimulatedBlock", "block_generator", "simulate_block", "simulate_study"]

MeanSD = tuple[np.ndarray, np.ndarray]  # of dosages over the population sample, each (p,)

BUILD = "GRCh38"
BLOCK_SPACING = 4_000_000  # base pairs between the starts of blocks of one chromosome
BLOCKS_PER_CHROMOSOME = 3  # before the next chromosome has its turn


@dataclass(frozen=True)
class SimulatedBlock:
    """One block with its truth. p variants, G genes, C contexts, A ancestries (order of the design).

    `weights` are effects of standardised genotypes on expression in SD (expression variance 1); `effect` is
    gamma, trait SD per SD of total expression, zero unless the gene is causal in that context; `direct` lists
    theta, trait SD per SD of genotype. Genotypes count the effect allele; standardised means by the mean and
    standard deviation of the population sample of the ancestry.
    """

    design: Design
    index: int
    name: str
    chromosome: str
    start: int  # 0-based
    end: int  # exclusive
    variants: pd.DataFrame  # index variant; chromosome, position, effect_allele, other_allele, source_id
    frequency: dict[str, np.ndarray]  # (p,) of the effect allele in the population sample
    donors: dict[str, np.ndarray]  # int8 (p, donors of the ancestry over all contexts)
    reference: dict[str, np.ndarray]  # int8 (p, people of the LD reference)
    expression: dict[tuple[str, str], pd.DataFrame]  # (context, ancestry) -> gene x donor
    z: dict[str, np.ndarray]  # (p,), NaN where the variant is rarer than design.maf
    n: dict[str, float]
    genes: pd.DataFrame  # gene, block, chromosome, tss, causal, causal_context
    direct: pd.DataFrame = field(repr=False)  # variant, ancestry, theta
    weights: np.ndarray = field(repr=False)  # (G, C, A, p)
    effect: np.ndarray = field(repr=False)  # (G, C, A)
    cis_h2: np.ndarray = field(repr=False)  # (G, C, A)
    annotations: pd.DataFrame | None = field(default=None, repr=False)  # variant x annotation, 0 or 1
    gene_annotations: pd.DataFrame | None = field(default=None, repr=False)  # gene x feature, 0 or 1

    def panel_dosage(self, context: str, ancestry: str) -> np.ndarray:
        """Genotypes of one expression panel, int8 (p, donors): the first donors of the ancestry."""
        return self.donors[ancestry][:, : self.expression[context, ancestry].shape[1]]

    def to_locus(self) -> xr.DataTree:
        """The block as a locus, as if it had been read from files and harmonised."""
        n_ref = math.inf if self.design.n_ref is None else self.design.n_ref
        return locus(
            name=self.name,
            variants=self.variants,
            gwas={a: (z, np.where(np.isfinite(z), self.n[a], np.nan)) for a, z in self.z.items()},
            ld={a: (self.reference[a], n_ref) for a in self.z},
            panels=[
                (context, ancestry, self.panel_dosage(context, ancestry), list(frame.columns), frame, None)
                for (context, ancestry), frame in self.expression.items()
            ],
            genes=self.genes.set_index("gene")[["chromosome", "tss"]].assign(status=OK, reason=""),
            build=BUILD,
            study=self.design.name,
            simulated=True,
            start=self.start,
            end=self.end,
            cis_window=self.design.cis_window,
            variant_annotation=self.annotations,
            gene_annotation=self.gene_annotations,
        )


def simulate_study(design: Design, seed: int, blocks: int | None = None) -> Iterator[SimulatedBlock]:
    """The blocks of a study, one after the other (`blocks` of them; default: as many as the design has)."""
    for index in range(design.blocks if blocks is None else blocks):
        yield simulate_block(design, block_generator(seed, index), index)


def block_generator(seed: int, block_index: int) -> np.random.Generator:
    """The random stream of one block: a function of the seed and the number of the block only."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block_index,)))


def _place(index: int, length: int) -> tuple[str, int]:
    """Chromosome and start of a block: a few on every autosome in turn, as long as they fit on it."""
    places = [
        (along // BLOCKS_PER_CHROMOSOME, int(chromosome), start)
        for chromosome, end in LENGTHS[BUILD].items()
        if chromosome.isdigit()
        for along, start in enumerate(range(BLOCK_SPACING, end - length, BLOCK_SPACING))
    ]
    if index >= len(places):
        raise SettingsError(
            f"block {index + 1} of a simulated study",
            f"Blocks of {length} base pairs have {len(places)} places on the autosomes",
            "Simulate fewer blocks, or several studies",
        )
    _, chromosome, start = sorted(places)[index]
    return str(chromosome), start


def simulate_block(design: Design, rng: np.random.Generator, block_index: int) -> SimulatedBlock:
    """Draw one block: genotypes, expression weights, expression, trait.

    The trait follows z_a = sqrt(N_a) R_a beta_a + X_a' e / sqrt(n), e ~ N(0, I), with X_a the standardised
    genotypes of the population sample (n people), R_a = X_a' X_a / n and beta_a = sum over genes of gamma w
    + theta_a. So z_a ~ N(sqrt(N_a) R_a beta_a, R_a), and R_a is never formed. Raises DependencyError where
    msprime is missing, SettingsError for more blocks than the genome has places.
    """
    name = f"block{block_index + 1:03d}"
    chromosome, start = _place(block_index, design.block_length)
    variants, dosage = genotypes(design, rng, chromosome, start)
    population = {a: d[:, : design.population] for a, d in dosage.items()}
    n_donors = {a: design.n_donors(a) for a in dosage}
    donors = {a: d[:, design.population :][:, : n_donors[a]] for a, d in dosage.items()}
    reference = {a: d[:, design.population + n_donors[a] :] for a, d in dosage.items()}
    if design.n_ref is None:
        reference = population
    mean_sd = {a: moments(d) for a, d in population.items()}
    present = np.array([np.minimum(m / 2, 1 - m / 2) >= design.maf for m, _ in mean_sd.values()])

    tss = (start + design.block_length * _spread(rng, design.genes_per_block)).astype(np.int64) + 1
    labels = pd.Index([f"{name}_gene{g + 1:02d}" for g in range(len(tss))], name="gene")
    annotations = _annotations(rng, design.annotations, variants.index)
    gene_annotations = _annotations(rng, design.gene_annotations, labels)
    prior = _prior(design.annotations, annotations)
    weights = _weights(design, rng, variants["position"].to_numpy(), tss, mean_sd, present, prior)
    cis_h2 = _scale_weights(design, rng, weights, population, mean_sd)
    genes = pd.DataFrame({"gene": list(labels)}).assign(block=name, chromosome=chromosome, tss=tss)
    expression = _expression(design, rng, genes["gene"].tolist(), weights, cis_h2, donors, mean_sd)
    effect = _gene_effects(design, rng, cis_h2, _prior(design.gene_annotations, gene_annotations))
    theta = _direct_effects(design, rng, weights, effect, present, prior)
    beta = np.einsum("gca,gcap->ap", effect, weights) + theta
    if design.background_h2:
        beta += _background(design, rng, present)
    z = {}
    for a, ancestry in enumerate(design.ancestries):
        if ancestry in design.gwas:
            size = design.gwas[ancestry] * design.score_scale**2
            drawn = _z(rng, population[ancestry], mean_sd[ancestry], beta[a], size)
            z[ancestry] = np.where(present[a], drawn, np.nan)

    acts = (effect != 0).any(axis=2)
    genes["causal"] = acts.any(axis=1)
    genes["causal_context"] = [design.contexts[int(np.argmax(row))] if row.any() else "" for row in acts]
    at = np.argwhere(theta.T != 0)
    direct = pd.DataFrame(
        {
            "variant": variants.index.to_numpy()[at[:, 0]],
            "ancestry": np.array(design.ancestries)[at[:, 1]],
            "theta": theta.T[theta.T != 0],
        }
    )
    return SimulatedBlock(
        design=design,
        index=block_index,
        name=name,
        chromosome=chromosome,
        start=start,
        end=start + design.block_length,
        variants=variants,
        frequency={a: mean / 2 for a, (mean, _) in mean_sd.items()},
        donors=donors,
        reference=reference,
        expression=expression,
        z=z,
        n={a: float(n) for a, n in design.gwas.items()},
        genes=genes,
        direct=direct,
        weights=weights,
        effect=effect,
        cis_h2=cis_h2,
        annotations=annotations,
        gene_annotations=gene_annotations,
    )


# ---- annotations ----------------------------------------------------------------------------------------


def _annotations(
    rng: np.random.Generator, given: tuple[SimulatedAnnotation, ...], index: pd.Index
) -> pd.DataFrame | None:
    """Independent annotations, 0 or 1, from a stream of their own; None where there are none."""
    if not given:
        return None
    (stream,) = rng.spawn(1)
    drawn = {name: (stream.random(len(index)) < share).astype(np.int8) for name, share, _ in given}
    return pd.DataFrame(drawn, index=index)


def _prior(given: tuple[SimulatedAnnotation, ...], values: pd.DataFrame | None) -> np.ndarray | None:
    """exp(values @ log enrichment), the weight of each variant or gene in draws; None without annotations."""
    if values is None:
        return None
    return np.exp(values.to_numpy(dtype=float) @ np.array([enrichment for _, _, enrichment in given]))


def _chance(prior: np.ndarray | None, index: np.ndarray) -> np.ndarray | None:
    """Probabilities of the items `index` under `prior`; None (all alike) without one."""
    return None if prior is None or not len(index) else prior[index] / prior[index].sum()


# ---- expression -----------------------------------------------------------------------------------------


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` points of (0, 1), one in each of `count` equal parts."""
    return (np.arange(count) + rng.random(count)) / count


def _correlated(rng: np.random.Generator, *axes: tuple[int, float]) -> np.ndarray:
    """Standard normals with equal correlation along each axis (size, correlation): Kronecker covariance."""
    draws = rng.standard_normal([size for size, _ in axes])
    for axis, (size, correlation) in enumerate(axes):
        if correlation == 0:
            continue
        covariance = np.full((size, size), correlation)
        np.fill_diagonal(covariance, 1.0)
        root = np.linalg.cholesky(covariance)
        draws = np.moveaxis(np.tensordot(root, draws, axes=(1, axis)), 0, axis)
    return draws


def _weights(
    design: Design,
    rng: np.random.Generator,
    position: np.ndarray,
    tss: np.ndarray,
    mean_sd: Mapping[str, MeanSD],
    present: np.ndarray,
    prior: np.ndarray | None = None,
) -> np.ndarray:
    """Unscaled weights (G, C, A, p): one to three eQTLs a gene, zero below design.maf.

    A variant is drawn by its distance to the TSS times its `prior` (p,).
    """
    n_contexts, n_ancestries = len(design.contexts), len(design.ancestries)
    weights = np.zeros((len(tss), n_contexts, n_ancestries, len(position)))
    common = np.zeros(len(position), dtype=bool)
    for mean, _ in mean_sd.values():
        common |= np.minimum(mean / 2, 1 - mean / 2) >= design.eqtl_maf
    for g, site in enumerate(tss):
        distance = np.abs(position - site)
        candidates = np.flatnonzero(common & (distance <= design.cis_window))
        count = min(design.eqtls or min(1 + int(rng.poisson(0.7)), 3), len(candidates))
        if count == 0:
            continue
        near = np.exp(-distance[candidates] / design.eqtl_distance)
        chance = (1 - design.eqtl_uniform) * near / max(near.sum(), 1e-300)
        chance += design.eqtl_uniform / len(candidates)
        if prior is not None:
            chance *= prior[candidates]
        for variant in rng.choice(candidates, count, replace=False, p=chance / chance.sum()):
            effect = _correlated(
                rng,
                (n_contexts, design.effect_correlation_contexts),
                (n_ancestries, design.effect_correlation_ancestries),
            )
            if n_contexts > 1 and rng.random() < design.context_specific:
                effect[np.arange(n_contexts) != rng.integers(n_contexts)] = 0.0
            weights[g, :, :, variant] = effect * present[:, variant]
    return weights


def _scale_weights(
    design: Design,
    rng: np.random.Generator,
    weights: np.ndarray,
    population: Mapping[str, np.ndarray],
    mean_sd: Mapping[str, MeanSD],
) -> np.ndarray:
    """Scale `weights` in place, by gene and context, to the drawn cis-h2. Returns w'Rw (G, C, A)."""
    h2 = np.zeros(weights.shape[:3])
    target = rng.uniform(*design.cis_h2, size=h2.shape[:2])
    for g in range(len(weights)):
        rows = np.flatnonzero(weights[g].any(axis=(0, 1)))
        for a, ancestry in enumerate(design.ancestries):
            genotypes = standardised(population[ancestry], mean_sd[ancestry], rows)
            h2[g, :, a] = np.square(weights[g, :, a][:, rows] @ genotypes).mean(axis=1)
    mean = h2.mean(axis=2)
    factor = np.divide(target, mean, out=np.zeros_like(mean), where=mean > 0)
    weights *= np.sqrt(factor)[:, :, None, None]
    return h2 * factor[:, :, None]


def _expression(
    design: Design,
    rng: np.random.Generator,
    genes: list[str],
    weights: np.ndarray,
    cis_h2: np.ndarray,
    donors: Mapping[str, np.ndarray],
    mean_sd: Mapping[str, MeanSD],
) -> dict[tuple[str, str], pd.DataFrame]:
    """Expression of the panels, variance 1: genetic part, and noise correlated over the contexts."""
    out = {}
    for a, ancestry in enumerate(design.ancestries):
        n = donors[ancestry].shape[1]
        labels = pd.Index([f"{ancestry}_donor{i + 1:04d}" for i in range(n)], name="donor")
        noise = _correlated(
            rng, (len(design.contexts), design.noise_correlation_contexts), (len(genes), 0), (n, 0)
        )
        rows = np.flatnonzero(weights[:, :, a].any(axis=(0, 1)))
        genotypes = standardised(donors[ancestry], mean_sd[ancestry], rows)
        for c, context in enumerate(design.contexts):
            size = design.donors[context].get(ancestry, 0)
            if size == 0:
                continue
            values = weights[:, c, a][:, rows] @ genotypes + np.sqrt(1 - cis_h2[:, c, a])[:, None] * noise[c]
            out[context, ancestry] = pd.DataFrame(
                values[:, :size], index=pd.Index(genes, name="gene"), columns=labels[:size]
            )
    return {(c, a): out[c, a] for c in design.contexts for a in design.ancestries if (c, a) in out}


# ---- trait ----------------------------------------------------------------------------------------------


def _gene_effects(
    design: Design, rng: np.random.Generator, cis_h2: np.ndarray, prior: np.ndarray | None
) -> np.ndarray:
    """gamma (G, C, A): each causal gene, drawn by its `prior` (G,), acts in one context in which it is
    heritable."""
    effect = np.zeros(cis_h2.shape)
    acting = np.isin(design.contexts, design.causal_contexts or design.contexts)
    able = np.flatnonzero((cis_h2[:, acting] > 0).any(axis=(1, 2)))
    count = min(int(rng.choice(len(design.causal_genes), p=design.causal_genes)), len(able))
    for g in rng.choice(able, count, replace=False, p=_chance(prior, able)):
        context = rng.choice(np.flatnonzero((cis_h2[g] > 0).any(axis=1) & acting))
        gamma = _correlated(rng, (len(design.ancestries), design.trait_correlation_ancestries))
        explained = np.mean(gamma**2 * cis_h2[g, context])
        effect[g, context] = gamma * math.sqrt(design.gene_h2 / explained)
    return effect


def _direct_effects(
    design: Design,
    rng: np.random.Generator,
    weights: np.ndarray,
    effect: np.ndarray,
    present: np.ndarray,
    prior: np.ndarray | None,
) -> np.ndarray:
    """theta (A, p): none, or one or two variants, drawn by their `prior` (p,), that are no eQTL of a causal
    gene."""
    theta = np.zeros((len(design.ancestries), weights.shape[3]))
    if rng.random() >= design.direct_blocks:
        return theta
    taken = weights[effect.any(axis=(1, 2))].any(axis=(0, 1, 2))
    free = np.flatnonzero(~taken)
    count = min(int(rng.integers(1, 3)), len(free))
    for variant in rng.choice(free, count, replace=False, p=_chance(prior, free)):
        draw = _correlated(rng, (len(theta), design.trait_correlation_ancestries)) * present[:, variant]
        theta[:, variant] = draw * math.sqrt(design.direct_h2 / np.mean(draw**2))
    return theta


def _background(design: Design, rng: np.random.Generator, present: np.ndarray) -> np.ndarray:
    """Effects (A, p) of every variant, with variance background_h2 / p: LD makes the share of one block vary
    around background_h2."""
    shape = (len(present), design.trait_correlation_ancestries), (present.shape[1], 0)
    draws = _correlated(rng, *shape) * present
    return draws * np.sqrt(design.background_h2 / np.maximum(present.sum(axis=1, keepdims=True), 1))


def _z(
    rng: np.random.Generator,
    dosage: np.ndarray,
    mean_sd: MeanSD,
    beta: np.ndarray,
    n_gwas: float,
) -> np.ndarray:
    """sqrt(N) R beta + X'e / sqrt(n), (p,), through products with the genotypes of the population sample."""
    n = dosage.shape[1]
    rows = np.flatnonzero(beta)
    score = beta[rows] @ standardised(dosage, mean_sd, rows)
    person = math.sqrt(n_gwas) * score / n + rng.standard_normal(n) / math.sqrt(n)
    mean, sd = mean_sd
    return (dosage @ person.astype(np.float64) - mean * person.sum()) / sd
