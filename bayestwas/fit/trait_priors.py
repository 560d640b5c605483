"""Priors of genes and variants, learned over the blocks of a study: classes of candidates, and from a
posterior of hyperparameters to the prior of one block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.evidence import class_sums, evidence
from bayestwas.engine.gene_trait import (
    DEFAULT_PRIORS,
    DIRECT_GRID,
    GENE_GRID,
    EffectSizes,
    GeneTraitPosterior,
    GeneTraitPriors,
)
from bayestwas.fit.annotations import Scales, patterns, scaled
from bayestwas.fit.prepared import Prepared, targets

Floats = NDArray[np.float64]
DRAWS = 32  # of the hyperparameters, over which probabilities are averaged
GENE, VARIANT = "gene", "variant"
GRIDS = np.array([GENE_GRID, DIRECT_GRID])


class Class(NamedTuple):
    """Candidates that have the same prior: their kind, their context, their annotations, and log odds that
    are known beforehand."""

    kind: str
    context: str
    pattern: tuple[float, ...]
    offset: float = 0.0


@dataclass(frozen=True)
class BlockSums:
    """What the single effects of one block say of classes; R signals, C classes, S sizes, A ancestries.

    Attributes
    ----------
    classes : C of them. count : (C,) candidates. log_sum : (R, C, S), and rest : (C, S), see
        `engine.evidence.class_sums`.
    score, information : (R, 2, A), see `engine.evidence`. ancestries : A of them.
    at_most_one : the block was fitted with one effect: R is one, its candidates are those of the block.
    """

    classes: tuple[Class, ...]
    count: Floats
    log_sum: Floats
    rest: Floats
    score: Floats
    information: Floats
    ancestries: tuple[str, ...] = ("all",)
    at_most_one: bool = False

    @property
    def finite(self) -> bool:
        """Whether the fit stayed with finite numbers; one that has not is not learned from."""
        parts = (self.rest, self.score, self.information, np.exp(np.minimum(self.log_sum, 0.0)))
        return bool((self.log_sum < np.inf).all() and all(np.isfinite(part).all() for part in parts))


@dataclass(frozen=True)
class TraitPriors:
    """Draws from the posterior of the hyperparameters: H draws, C contexts, J annotations, S sizes, A
    ancestries. The defaults where nothing was learned (H = 0).

    Attributes
    ----------
    contexts, ancestries : names. scales : annotations of variants and of genes, in this order in
        `coefficient`.
    intercept : (H, 2) log odds of a gene in a context, of a variant. context : (H, C). coefficient : (H, J).
    size_weight : (H, 2, S). correlation : (H, 2, A, A).
    """

    contexts: tuple[str, ...] = ()
    ancestries: tuple[str, ...] = ()
    scales: Scales = field(default_factory=lambda: {VARIANT: (), GENE: ()})
    intercept: Floats = field(default_factory=lambda: np.empty((0, 2)))
    context: Floats = field(default_factory=lambda: np.empty((0, 0)))
    coefficient: Floats = field(default_factory=lambda: np.empty((0, 0)))
    size_weight: Floats = field(default_factory=lambda: np.empty((0, 2, 0)))
    correlation: Floats = field(default_factory=lambda: np.empty((0, 2, 0, 0)))

    @property
    def learned(self) -> bool:
        return len(self.intercept) > 0

    def mean(self) -> TraitPriors:
        """One draw, the mean of all: of log odds, so that its odds are their geometric mean."""
        parts = ("intercept", "context", "coefficient", "size_weight", "correlation")
        return TraitPriors(
            self.contexts, self.ancestries, self.scales,
            **{name: getattr(self, name).mean(axis=0, keepdims=True) for name in parts},
        )  # fmt: skip


class Annotated(NamedTuple):
    """Annotations of a block on the scale of learning: (p, J) of its variants, (G, F) of the genes of
    `Prepared`."""

    variant: Floats
    gene: Floats


def annotated(locus: xr.DataTree, prepared: Prepared, scales: Scales) -> Annotated:
    """The annotations of a block; without columns where the study has none."""
    order = {str(gene): i for i, gene in enumerate(locus[names.GENES].dataset[names.GENE].values)}
    rows = np.array([order[one.gene] for one in prepared.genes], dtype=np.intp)
    return Annotated(scaled(locus, VARIANT, scales), scaled(locus, GENE, scales)[rows])


def block_priors(priors: TraitPriors, prepared: Prepared, known: Annotated) -> Iterator[GeneTraitPriors]:
    """The prior of a block under every draw of the hyperparameters; the documented default where there is
    none."""
    if not priors.learned:
        yield DEFAULT_PRIORS
        return
    owners = targets(prepared)
    at = [priors.contexts.index(c) if c in priors.contexts else -1 for c in prepared.contexts]
    place = np.array([at[t.context] for t in owners], dtype=np.intp)
    rows = np.array([t.gene for t in owners], dtype=np.intp)
    gwas = prepared.ancestries[: len(prepared.z)]
    # an ancestry that no block was learned from: the default correlation
    known_here = all(a in priors.ancestries for a in gwas)
    keep = np.ix_(*[[priors.ancestries.index(a) for a in gwas]] * 2) if known_here else None
    split = len(priors.scales[VARIANT])
    for h, intercept in enumerate(priors.intercept):
        context = np.append(priors.context[h], 0.0)  # -1: a context without a learned prior has the mean one
        gene = intercept[0] + context[place] + known.gene[rows] @ priors.coefficient[h, split:]
        direct = intercept[1] + known.variant @ priors.coefficient[h, :split]
        sizes = [
            EffectSizes(
                tuple(grid),
                tuple(weight),
                default.correlation if keep is None else tuple(map(tuple, matrix[keep])),
            )
            for grid, weight, matrix, default in zip(
                GRIDS,
                priors.size_weight[h],
                priors.correlation[h],
                (DEFAULT_PRIORS.gene_sizes, DEFAULT_PRIORS.direct_sizes),
                strict=True,
            )
        ]
        yield GeneTraitPriors(np.exp(gene), np.exp(direct), *sizes)


def block_sums(
    posterior: GeneTraitPosterior,
    prepared: Prepared,
    known: Annotated,
    priors: GeneTraitPriors,
    scales: Scales,
) -> BlockSums:
    """What a fit of one block, under `priors`, says of the classes of its candidates."""
    owners = targets(prepared)
    seen = evidence(posterior, owners, priors)
    blank = {kind: (0.0,) * len(scales[kind]) for kind in (VARIANT, GENE)}
    of_gene = patterns(known.gene, scales[GENE])
    genes = [
        Class(GENE, prepared.contexts[t.context], (*blank[VARIANT], *map(float, of_gene[t.gene])))
        for t in owners
    ]
    unique, own = np.unique(patterns(known.variant, scales[VARIANT]), axis=0, return_inverse=True)
    variants = tuple(Class(VARIANT, "", (*map(float, row), *blank[GENE])) for row in unique)
    classes = tuple(dict.fromkeys(genes))
    gene_class = np.array([classes.index(one) for one in genes], dtype=np.intp)
    variant_class = own.ravel().astype(np.intp) + len(classes)
    usable = np.isfinite(seen.variant[0]).any(axis=1)
    count = np.bincount(gene_class, minlength=len(classes) + len(variants)).astype(np.float64)
    count += np.bincount(variant_class[usable], minlength=len(count))
    log_sum, rest = class_sums(seen, gene_class, variant_class)
    gwas = tuple(prepared.ancestries[: len(prepared.z)])
    every = (*classes, *variants)
    return BlockSums(every, count, log_sum, rest, seen.score, seen.information, gwas)
