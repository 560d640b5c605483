"""Priors of colocalization: learned over loci and contexts (models/coloc.md), or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.engine.coloc import COLOC_DEFAULT, ColocPriors, PairSums, enrichment
from bayestwas.engine.coloc_sizes import Sizes, joined, learn_sizes
from bayestwas.errors import SettingsError, nearest
from bayestwas.fit.coloc_signals import LocusSizes
from bayestwas.fit.model_data import thin

if TYPE_CHECKING:
    from bayestwas.fit.sampling import Sampling  # workers do without it

Floats = NDArray[np.float64]
LEARNED, DEFAULT = "learned", "coloc-default"
MOST_PAIRS = 4_000  # that the model is given; more only narrow intervals that are narrow by then
SAMPLING: dict[str, Any] = {"draws": 1000, "tune": 1000, "chains": 2, "cores": 2, "target_accept": 0.97}
DRAWS = 100  # of the priors, over which probabilities are averaged
ALL_CONTEXTS = "any"  # where priors are given: one set for all
QUANTITIES = ("p1", "p2", "p12", "share", "enrichment")


@dataclass(frozen=True)
class PriorDraws:
    """Draws (3, D, contexts) of p1, p2 and p12; one draw where they are given. `table` says them in
    numbers."""

    contexts: tuple[str, ...]
    draws: Floats
    source: str
    table: pd.DataFrame

    def of(self, context: str) -> ColocPriors:
        """(D, 1) draws for the pairs of one context; of one that was not learned from, the mean over
        contexts."""
        if context in self.contexts:
            at = self.contexts.index(context)
            return ColocPriors(*self.draws[:, :, [at]])
        return ColocPriors(*np.exp(np.log(self.draws).mean(axis=2, keepdims=True)))

    def typical(self, context: str) -> ColocPriors:
        """Geometric means of the draws."""
        return ColocPriors(*(float(np.exp(np.log(p).mean())) for p in self.of(context)))

    def overall(self) -> ColocPriors:
        """Geometric means over draws and contexts."""
        return ColocPriors(*(float(np.exp(np.log(p).mean())) for p in self.draws))


def given_priors(priors: str | ColocPriors) -> PriorDraws:
    """Priors that are not learned: numbers, or those of coloc. Raises SettingsError for others."""
    if isinstance(priors, str) and priors != DEFAULT:
        raise SettingsError(
            f"priors='{priors}'",
            "Priors of colocalization are learned, those of coloc, or ColocPriors(p1, p2, p12)",
            nearest(priors, (LEARNED, DEFAULT)),
        )
    chosen = COLOC_DEFAULT if isinstance(priors, str) else priors
    if not all(0 < float(p) < 1 for p in chosen):
        raise SettingsError(
            f"priors={tuple(chosen)}", "p1, p2 and p12 lie between 0 and 1", "Give 1e-4, 1e-4, 1e-5, say"
        )
    arrays = np.array([[[float(p)]] for p in chosen])
    source = DEFAULT if isinstance(priors, str) else "given"
    return PriorDraws((ALL_CONTEXTS,), arrays, source, _table((ALL_CONTEXTS,), arrays, source))


def joined_draws(parts: Sequence[PriorDraws]) -> PriorDraws:
    """Priors that were learned apart, as one."""
    fewest = min(part.draws.shape[1] for part in parts)
    return PriorDraws(
        tuple(name for part in parts for name in part.contexts),
        np.concatenate([part.draws[:, :fewest] for part in parts], axis=2),
        parts[0].source,
        pd.concat([part.table for part in parts], ignore_index=True),
    )


def learn_priors(
    sums: PairSums, context: Sequence[str], seed: int, sampling: Sampling | None = None
) -> PriorDraws:
    """The posterior of p1, p2 and p12 in every context, given the pairs of a run.

    Parameters
    ----------
    sums : of n pairs, each once. context : (n,) of each pair. seed : of the sampler, and of the choice of
        `MOST_PAIRS` where there are more. sampling : None: `SAMPLING`.
    """
    # imported where it samples: the other half of this package does without PyMC
    from bayestwas.fit.sampling import Sampling, compile_model
    from bayestwas.models import load
    from bayestwas.models.coloc import HYPOTHESES, SUMS

    labels = np.asarray(context, dtype=str)
    contexts = tuple(sorted(set(labels.tolist())))
    n = len(labels)
    kept = np.sort(np.random.default_rng(seed).permutation(n)[:MOST_PAIRS])
    data = {
        "log_sum": sums.log_sum[kept],
        "log_mass": sums.log_mass[kept],
        "in_context": (labels[kept, None] == np.array(contexts)[None, :]).astype(np.float64),
    }
    coords = {"pair": [*range(len(kept))], "context": [*contexts], "hypothesis": [*HYPOTHESES]}
    model = replace(load("coloc"), data=SUMS)
    fit = compile_model(
        model, data, coords, sampling or Sampling(**SAMPLING), posterior_of_pairs=False
    ).sample(data, seed)
    posterior = fit[names.POSTERIOR].dataset
    full = [posterior[name].transpose("chain", "draw", "context").values for name in ("p1", "p2", "p12")]
    keep = min(DRAWS, full[0].shape[0] * full[0].shape[1])
    source = f"learned over {n} pairs" + (f" ({len(kept)} of them drawn)" if n > len(kept) else "")
    if fit.attrs["status"] != names.OK:
        source += f"; {fit.attrs['status']}: {fit.attrs['reason']}"
    every = np.array([values.reshape(-1, len(contexts)) for values in full])
    kept_draws = np.array([thin(one, keep) for one in full])
    return PriorDraws(contexts, kept_draws, source, _table(contexts, every, source))


def learned_sizes(parts: Sequence[LocusSizes]) -> Sizes | None:
    """The shares of the variances of effects over all loci; None where there is no pair of signals."""
    held = [part for part in parts if len(part.sums.first)]
    if not held:
        return None
    first, second = held[0].expression, held[0].trait
    found = learn_sizes(joined([part.sums for part in held]), first.share, second.share)
    return replace(found, variances=(first.variances, second.variances))


def sizes_table(sizes: Sizes) -> pd.DataFrame:
    """Rows beside those of p1, p2 and p12: the share of every prior variance, and the weight on distinct
    variants in LD, in all contexts."""
    rows = [
        {"context": "", "quantity": f"{kind} variance {variance:g}", "value": float(share),
         "low": np.nan, "high": np.nan, "source": "learned (most probable)"}
        for kind, variances, shares in zip(
            ("expression", "trait"), sizes.variances, (sizes.first, sizes.second), strict=True
        )
        for variance, share in zip(variances, shares, strict=True)
    ]  # fmt: skip
    rows.append(
        {"context": "", "quantity": "log weight of distinct variants in LD", "value": sizes.near,
         "low": np.nan, "high": np.nan, "source": "learned (most probable)"}
    )  # fmt: skip
    return pd.DataFrame(rows)


def _table(contexts: Sequence[str], draws: Floats, source: str) -> pd.DataFrame:
    """One row per context and quantity: median and 95% interval (empty where the priors are given)."""
    rows = []
    for c, context in enumerate(contexts):
        p1, p2, p12 = (one[:, c] for one in draws)
        odds = p12 / np.sqrt(p1 * p2)
        values = (p1, p2, p12, odds / (1 + odds), enrichment(ColocPriors(p1, p2, p12)))
        for name, value in zip(QUANTITIES, values, strict=True):
            low, high = np.quantile(value, [0.025, 0.975]) if len(value) > 1 else (np.nan, np.nan)
            rows.append(
                {"context": context, "quantity": name, "value": float(np.median(value)), "low": float(low),
                 "high": float(high), "source": source}
            )  # fmt: skip
    return pd.DataFrame(rows)
