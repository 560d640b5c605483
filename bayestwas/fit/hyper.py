"""The global step: sums over classes of all blocks -> posterior of the hyperparameters (models/hyper.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from bayestwas.engine.likelihood import Floats
from bayestwas.fit.annotations import Scales
from bayestwas.fit.model_data import thin
from bayestwas.fit.sampling import MANY_LOCI, Compiled, Sampling, compile_model
from bayestwas.fit.trait_priors import DRAWS, GENE, VARIANT, BlockSums, TraitPriors

SAMPLING = Sampling(draws=400, tune=300, chains=2, cores=2, target_accept=0.9)
# few rows leave wide, bent posteriors, and are cheap: smaller steps, more draws
SMALL = replace(SAMPLING, draws=1000, tune=500, target_accept=0.99)
FIRST = replace(SAMPLING, draws=150)  # of a round: enough to see whether the priors have settled
KINDS = (GENE, VARIANT)
NONE = "none"  # stands where a study has no annotation, or no context
SETTLED = 0.25  # posterior standard deviations
MANY_ROWS = 1_000  # nutpie, where it is installed, has made up for its compilation (docs/benchmarks.md)


def model_data(
    blocks: Sequence[BlockSums], annotations: Sequence[str], variance: Floats, reference: Floats
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """DATA and coords of models/hyper.py.

    Parameters
    ----------
    blocks : their sums. annotations : their names, in the order of the patterns.
    variance : (2, S). reference : (2, A, A), under which the sums were made, over the ancestries of all
        blocks sorted by name.

    Annotations that are 0 for all classes stay, and the posterior of their coefficients is the prior.
    """
    classes = sorted({one for block in blocks for one in block.classes})
    number = {one: i for i, one in enumerate(classes)}
    ancestries = gwas_ancestries(blocks)
    rows, sizes = sum(len(block.log_sum) for block in blocks), variance.shape[1]
    log_sum = np.full((rows, len(classes), sizes), -np.inf)
    count = np.zeros((rows, len(classes)))
    rest, rest_count = np.zeros((len(classes), sizes)), np.zeros(len(classes))
    score, information = np.zeros((2, rows, len(KINDS), len(ancestries)))
    row = 0
    for block in blocks:
        mine = [number[one] for one in block.classes]
        here = slice(row, row + len(block.log_sum))
        log_sum[here, mine] = block.log_sum
        rest[mine] += block.rest
        if block.at_most_one:
            count[here, mine] = block.count
        else:
            rest_count[mine] += block.count
        place = [ancestries.index(name) for name in block.ancestries]
        score[here, :, place], information[here, :, place] = block.score, block.information
        row = here.stop
    strong = np.flatnonzero(information.any(axis=(1, 2)))
    contexts = sorted({one.context for one in classes} - {""}) or [NONE]
    data = {
        "log_sum": log_sum, "count": count, "rest": rest, "rest_count": rest_count,
        "offset": np.array([one.offset for one in classes]),
        "in_kind": np.array([[one.kind == kind for kind in KINDS] for one in classes], dtype=float),
        "in_context": np.array([[one.context == c for c in contexts] for one in classes], dtype=float),
        "pattern": np.array([one.pattern or (0.0,) for one in classes], dtype=float),
        "strong": strong, "score": score[strong], "information": information[strong],
        "variance": variance, "reference": reference,
    }  # fmt: skip
    coords: dict[str, list[Any]] = {
        "row": [*range(rows)], "class": [*range(len(classes))], "size": [*range(sizes)],
        "signal": [*range(len(strong))], "kind": [*KINDS], "context": contexts,
        "annotation": [*annotations] or [NONE], "ancestry": ancestries, "ancestry_": ancestries,
        "pair": [f"{a}-{b}" for a, b in combinations(ancestries, 2)],
    }  # fmt: skip
    return data, coords


def gwas_ancestries(blocks: Sequence[BlockSums]) -> list[str]:
    """The ancestries of all blocks, sorted by name."""
    return sorted({name for block in blocks for name in block.ancestries})


def learn(
    data: dict[str, Any], coords: dict[str, list[Any]], seed: int, sampling: Sampling | None = None
) -> xr.DataTree:
    """Posterior of the hyperparameters by NUTS: the DataTree of `Compiled.sample`.

    Source: the model of models/hyper.md. Raises what `compile_model` and `Compiled.sample` raise.
    """
    return compiled(data, coords, sampling or all_draws(coords)).sample(data, seed)


def all_draws(coords: dict[str, list[Any]]) -> Sampling:
    """How the draws that are kept are made, of a study of this size."""
    return SAMPLING if len(coords["row"]) >= MANY_ROWS else SMALL


def compiled(data: dict[str, Any], coords: dict[str, list[Any]], sampling: Sampling) -> Compiled:
    """The compiled model; one of many rows counts as many loci when the sampler is chosen."""
    loci = MANY_LOCI if len(coords["row"]) >= MANY_ROWS else 1
    return compile_model("hyper", data, coords, replace(sampling, loci=loci))


def first_draws(
    data: dict[str, Any], coords: dict[str, list[Any]], seed: int
) -> tuple[Compiled, xr.DataTree]:
    """The compiled model, from which more can be drawn, and a few draws."""
    model = compiled(data, coords, FIRST)
    return model, model.sample(data, seed)


def trait_priors(posterior: xr.Dataset, scales: Scales) -> TraitPriors:
    """Draws of the hyperparameters, at most DRAWS of them, evenly along the chains."""

    keep = min(DRAWS, posterior.sizes["chain"] * posterior.sizes["draw"])

    def thinned(name: str, *dims: str) -> Floats:
        return thin(posterior[name].transpose("chain", "draw", *dims).values, keep)

    return TraitPriors(
        tuple(map(str, posterior["context"].values)), tuple(map(str, posterior["ancestry"].values)), scales,
        thinned("intercept", "kind"), thinned("context_effect", "context"),
        thinned("coefficient", "annotation")[:, : sum(map(len, scales.values()))],
        thinned("size_weight", "kind", "size"), thinned("correlation", "kind", "ancestry", "ancestry_"),
    )  # fmt: skip


def settled(now: TraitPriors, before: TraitPriors) -> bool:
    """Whether another round would change nothing that matters: no log odds, context or coefficient has moved
    by more than a quarter of its posterior standard deviation."""
    if not before.learned or now.contexts != before.contexts:
        return False
    for name in ("intercept", "context", "coefficient"):
        one, two = getattr(now, name), getattr(before, name)
        if (np.abs(one.mean(axis=0) - two.mean(axis=0)) > SETTLED * one.std(axis=0) + 1e-12).any():
            return False
    return True
