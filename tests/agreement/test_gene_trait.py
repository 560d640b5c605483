"""The kernel against the model in PyMC on the same loci, hyperparameters fixed: the error that the card
quotes, which `python tests/agreement/test_gene_trait.py` prints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytensor
from bayestwas.models import gene_trait
from scipy import sparse

from bayestwas.engine.ld import MatrixLD
from bayestwas.engine.likelihood import Candidates
from bayestwas.engine.single_effects import fit_single_effects, inclusion

K, ANCESTRIES, P = 6, 2, 30
COORDS = {
    "ancestry": ["EUR", "AFR"],
    "variant": range(P),
    "variant_": range(P),
    "candidate": [f"candidate{k}" for k in range(K)],
    "weight_draw": [0],
}
SD, CORRELATION = 0.1, 0.8
LOCI = 60
GENES, DRAWS = 2, 4  # with uncertain weights, and draws of each; the model takes all their combinations
Locus = dict[str, Any]


@cache
def compiled(draws: int) -> tuple[Any, Any, Any]:
    """The PyMC model for loci of this many draws, its inclusion rate, and PIPs and effects given that."""
    coords = {**COORDS, "weight_draw": range(draws)}
    model = gene_trait.build(gene_trait.simulate(np.random.default_rng(0), coords), coords)
    rate = pytensor.shared(0.1)
    given = {model["inclusion_rate"]: rate, model["effect_sd"]: SD, model["correlation"]: CORRELATION}
    outputs = [model["pip"], model["effect"]]
    return model, rate, pytensor.function([], outputs, givens=given, mode="FAST_COMPILE")


def exact(locus: Locus, inclusion_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """PIPs (K,) and effects (K, A) of the PyMC model."""
    model, rate, function = compiled(len(locus["log_weight"]))
    for name, value in gene_trait.constants(locus).items():
        model[name].set_value(value)
    rate.set_value(inclusion_rate)
    pip, effect = function()
    return pip, effect


def kernel(locus: Locus, rate: float, effects: int) -> tuple[np.ndarray, np.ndarray]:
    """PIPs (K,) and effects (K, A) of the kernel, in which every candidate has its prior odds against none.

    A gene with uncertain weights is one candidate per draw, `locus["own_columns"]` (K, draws, A, p), or
    every draw of the locus where there is one only.
    """
    own = locus.get("own_columns", np.moveaxis(locus["columns"], 3, 0))
    owner = np.repeat(np.arange(K), own.shape[1])
    odds = locus["log_odds"] + np.log(rate / (1 - rate)) - np.log(own.shape[1])
    omega = np.full((ANCESTRIES, ANCESTRIES), CORRELATION) + (1 - CORRELATION) * np.eye(ANCESTRIES)
    rows = own.reshape(-1, ANCESTRIES, P)
    candidates = Candidates(
        units=0,
        columns=tuple(sparse.csr_array(rows[:, a]) for a in range(ANCESTRIES)),
        log_prior=odds[owner][:, None],
        scale=((SD * locus["scale"]) ** 2)[owner][:, None],
        covariances=omega[None],
    )
    ld = [MatrixLD(correlation) for correlation in locus["ld"]]
    fit = fit_single_effects(locus["z"], locus["n"], ld, candidates, effects=effects)
    alpha, member = fit.alpha[:, :, 0], np.eye(K)[owner]
    return inclusion(alpha @ member), member.T @ np.einsum("lk,lka->ka", alpha, fit.mean[:, :, 0])


def simulated(index: int, **fixed: Any) -> Locus:
    told = {"effect_sd": SD, "correlation": CORRELATION, **fixed}
    return gene_trait.simulate(np.random.default_rng([5, index]), COORDS, told)


def uncertain(index: int, rate: float) -> Locus:
    """Two genes with four equally likely weights each, a gene with known weights and three direct variants.

    Draws differ from their mean by as much as the mean from zero: the weights of a panel with a cis
    heritability that it can just see. A variant has a third of the effect and of the prior odds.
    """
    rng = np.random.default_rng([6, index])
    own = np.zeros((K, DRAWS, ANCESTRIES, P))
    for k in range(GENES + 1):
        where = rng.choice(P, 3, replace=False)
        own[k][:, :, where] = rng.normal(0.0, 0.2, (ANCESTRIES, 3))
        own[k][:, :, where] += (k < GENES) * rng.normal(0.0, 0.2, (DRAWS, 1, 3))
    for k, variant in enumerate(rng.choice(P, K - GENES - 1, replace=False), start=GENES + 1):
        own[k][:, :, variant] = 1.0
    pairs = np.array(list(product(range(DRAWS), repeat=GENES)))
    picks = np.concatenate([pairs, np.zeros((len(pairs), K - GENES), int)], axis=1)
    columns = np.array([[own[k, pick] for k, pick in enumerate(row)] for row in picks])  # (D, K, A, p)
    coords = {**COORDS, "weight_draw": range(len(picks))}
    kind = np.repeat([1.0, 1 / 3], [GENES + 1, K - GENES - 1])
    told = {"columns": np.moveaxis(columns, 1, 3), "scale": kind, "log_odds": np.log(kind)}
    told |= {"effect_sd": SD, "correlation": CORRELATION, "inclusion_rate": rate, "n": np.array([4e4, 2e4])}
    return gene_trait.simulate(rng, coords, told) | {"own_columns": own}


def differences(loci: Iterator[Locus], rate: float, effects: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest absolute difference of each locus: of PIPs, and of effects in prior standard deviations."""
    found = []
    for locus in loci:
        pairs = zip(kernel(locus, rate, effects), exact(locus, rate), strict=True)
        pip, effect = (np.abs(one - other) for one, other in pairs)
        found.append((pip.max(), (effect / (SD * locus["scale"][:, None])).max()))
    pips, moments = np.array(found).T
    return pips, moments


def test_one_effect_is_exact_where_two_are_all_but_excluded() -> None:
    """With one causal candidate and a prior of 1e-6 the model has no room for two: the same posterior."""
    rate = 1e-6
    loci = (
        simulated(i, inclusion_rate=rate, inclusion=np.arange(K) == i % K, n=np.array([4e4, 2e4]))
        for i in range(LOCI)
    )
    pips, _ = differences(loci, rate, effects=1)
    assert pips.max() < 1e-3  # what configurations of two still weigh


def test_several_effects_keep_to_the_measured_error() -> None:
    """The numbers of the card, models/gene_trait.md, over these loci with L = 6: half as much again for other
    versions of the libraries."""
    rate = 0.05
    loci = (simulated(index, inclusion_rate=rate) for index in range(LOCI))
    pips, effects = differences(loci, rate, K)
    assert pips.max() < 0.12
    assert np.median(pips) < 0.001
    assert effects.max() < 0.12


def test_uncertain_weights_and_direct_variants_keep_to_the_measured_error() -> None:
    rate = 0.1
    pips, effects = differences((uncertain(index, rate) for index in range(LOCI)), rate, K)
    assert pips.max() < 0.3
    assert np.median(pips) < 0.0015
    assert effects.max() < 0.15


def report() -> None:
    """The paragraph of the card."""
    settings = {
        "known weights, rate 0.05": (simulated(i, inclusion_rate=0.05) for i in range(LOCI)),
        "two uncertain genes and three variants, rate 0.1": (uncertain(i, 0.1) for i in range(LOCI)),
    }
    for (name, loci), rate in zip(settings.items(), (0.05, 0.1), strict=True):
        for quantity, values in zip(("PIP", "effect"), differences(loci, rate, K), strict=True):
            print(f"{name}: {quantity} median {np.median(values):.2g}, mean {values.mean():.2g}, ", end="")
            print(f"95% {np.quantile(values, 0.95):.2g}, worst {values.max():.2g}")


if __name__ == "__main__":
    report()
