"""Local, global, local: rounds of sums over blocks and of the global model, until the priors have settled.

Part of the main process only: the global model is sampled with PyMC, which workers do not import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayestwas import names
from bayestwas.data.results import to_json
from bayestwas.engine.gene_trait import DEFAULT_PRIORS
from bayestwas.engine.likelihood import Floats
from bayestwas.fit.annotations import Scales
from bayestwas.fit.settings import Settings
from bayestwas.fit.trait_priors import GENE, GRIDS, VARIANT, BlockSums, TraitPriors

Progress = Callable[[str, Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Learned:
    """Priors of a study: those that blocks are fitted under, the posterior they are drawn from, and in words.

    `told`: numbers for the attributes of results. `source`: one line on where they are from.
    """

    priors: TraitPriors
    hyper: xr.Dataset | None
    told: dict[str, Any]
    source: str


NOT_LEARNED = Learned(TraitPriors(), None, DEFAULT_PRIORS.told(), "documented defaults")


def learn_priors(
    collect: Callable[[TraitPriors, int], Sequence[BlockSums]],
    scales: Scales,
    settings: Settings,
    seed: int,
    watch: Progress,
) -> Learned:
    """Priors of genes and variants learned over blocks.

    Parameters
    ----------
    collect : the sums of all blocks fitted under the mean of the given priors, in round 1, 2, ...
    scales : annotations of the study. seed : of the sampler.

    At most `settings.trait_rounds` rounds; fewer where the priors settle (`fit.hyper.settled`).
    """
    # imported where it samples: the other half of this package does without PyMC
    from bayestwas.fit import hyper
    from bayestwas.models.hyper import PRIOR_RANGE, PRIOR_SD

    priors = TraitPriors(scales=scales)
    labels = [one.name for kind in (VARIANT, GENE) for one in scales[kind]]
    number, done = 0, False
    while number < settings.trait_rounds and not done:
        number += 1
        blocks = [block for block in collect(priors, number) if block.finite]
        if not blocks:
            return Learned(
                TraitPriors(), None, NOT_LEARNED.told, "documented defaults: no block could be learned from"
            )
        at = _reference(priors, hyper.gwas_ancestries(blocks))
        data, coords = hyper.model_data(blocks, labels, GRIDS, at)
        steps = (hyper.first_draws(data, coords, seed + number) for _ in range(1))
        [(compiled, fit)] = watch(f"Sampling the global model, round {number}", steps, 1)
        now = hyper.trait_priors(fit[names.POSTERIOR].dataset, scales)
        done, priors = hyper.settled(now, priors), now
    steps = (compiled.sample(data, seed, sampling=hyper.all_draws(coords)) for _ in range(1))
    [fit] = watch("Sampling the global model, all draws", steps, 1)
    priors = hyper.trait_priors(fit[names.POSTERIOR].dataset, scales)
    posterior = fit[names.POSTERIOR].to_dataset()
    posterior.attrs |= {
        "rounds": number, "settled": done, "blocks": len(blocks), "status": fit.attrs["status"],
        "reason": fit.attrs["reason"], "sampler": fit.attrs["sampler"], "prior_sd": to_json(PRIOR_SD),
        "prior_range": to_json(PRIOR_RANGE),
        "annotation_kinds": to_json([kind for kind in (VARIANT, GENE) for _ in scales[kind]]),
    }  # fmt: skip
    ended = "settled" if done else "not settled, the most rounds allowed"
    source = f"learned over {len(blocks)} blocks in {number} rounds ({ended})"
    return Learned(priors, posterior, _told(priors), source)


def _reference(priors: TraitPriors, ancestries: Sequence[str]) -> Floats:
    """(2, A, A) correlations of effects under which blocks were fitted."""
    if priors.learned:
        keep = np.ix_([0, 1], *[[priors.ancestries.index(name) for name in ancestries]] * 2)
        return np.asarray(priors.correlation.mean(axis=0)[keep])
    kinds = (DEFAULT_PRIORS.gene_sizes, DEFAULT_PRIORS.direct_sizes)
    return np.array([kind.covariance(len(ancestries)) for kind in kinds])


def _told(priors: TraitPriors) -> dict[str, Any]:
    """The mean of the priors, in numbers that a reader knows."""
    mean = priors.mean()
    odds = np.exp(mean.intercept[0])
    scales = [one.name for kind in (VARIANT, GENE) for one in priors.scales[kind]]
    return {
        "gene": float(odds[0]), "direct": float(odds[1]),
        "context": dict(zip(priors.contexts, map(float, np.exp(mean.context[0])), strict=True)),
        "enrichment": dict(zip(scales, map(float, np.exp(mean.coefficient[0])), strict=True)),
        "variances": dict(zip((GENE, VARIANT), GRIDS.tolist(), strict=True)),
        "size_weights": dict(zip((GENE, VARIANT), mean.size_weight[0].tolist(), strict=True)),
        "correlation": dict(zip((GENE, VARIANT), mean.correlation[0].tolist(), strict=True)),
        "ancestries": list(priors.ancestries),
    }  # fmt: skip
