"""Refined draws: the same answer, with less Monte Carlo error, and an error that is what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from bayestwas.data.simulate import PRESETS, simulate_study
from bayestwas.engine.gene_trait import DEFAULT_PRIORS
from bayestwas.fit.gene_trait import fit_block
from bayestwas.fit.prepared import Prepared, prepare
from bayestwas.fit.refine import refined
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import fit_weights

# A background would take up some of the evidence: the first draws would nearly do.
SETTINGS = Settings(background=False)
SEEDS = range(12)
Fitted = tuple[np.ndarray, np.ndarray]  # PIPs and their errors, a row per seed


@pytest.fixture(scope="module")
def block() -> tuple[xr.DataTree, xr.DataTree]:
    """A block of small panels and a strong GWAS: few of the first draws agree with it."""
    locus = next(iter(simulate_study(PRESETS["tiny"], 1))).to_locus()
    return locus, fit_weights(locus)


@pytest.fixture(scope="module")
def runs(block: tuple[xr.DataTree, xr.DataTree]) -> tuple[Fitted, Fitted]:
    """First draws and refined ones over seeds."""
    locus, weights = block
    first, last = [], []
    for seed in SEEDS:
        ready = prepare(locus, weights, DEFAULT_PRIORS, SETTINGS, seed, 128)
        now, full = ready, fit_block(ready, DEFAULT_PRIORS, SETTINGS)
        first.append((full.gene_pip, full.gene_mcse))
        for _ in range(2):
            now = refined(locus, weights, ready, now, full, seed)
            full = fit_block(now, DEFAULT_PRIORS, SETTINGS)
        last.append((full.gene_pip, full.gene_mcse))
    (a, b), (c, d) = (map(np.array, zip(*runs, strict=True)) for runs in (first, last))
    return (a, b), (c, d)


def test_refinement_reduces_the_spread_over_seeds(runs: tuple[Fitted, Fitted]) -> None:
    """Twice the draws alone would give a factor of sqrt(2)."""
    (first, _), (last, _) = runs
    spread = [np.sqrt(np.mean(pips.var(axis=0, ddof=1))) for pips in (first, last)]
    assert spread[1] < spread[0] / np.sqrt(2)


def test_refinement_keeps_the_answer(runs: tuple[Fitted, Fitted]) -> None:
    """Means over seeds agree within four of their standard errors."""
    (first, _), (last, _) = runs
    error = np.sqrt((first.var(axis=0, ddof=1) + last.var(axis=0, ddof=1)) / len(SEEDS))
    assert (np.abs(first.mean(axis=0) - last.mean(axis=0)) < 4 * error + 0.005).all()


def test_the_reported_error_is_the_spread(runs: tuple[Fitted, Fitted]) -> None:
    """Root mean square over genes and seeds, within a factor of two: both rest on twelve seeds."""
    _, (last, error) = runs
    spread = np.sqrt(np.mean(last.var(axis=0, ddof=1)))
    assert spread / 2 < np.sqrt(np.mean(error**2)) < 2 * spread


def test_refined_draws_average_to_the_expression_posterior(block: tuple[xr.DataTree, xr.DataTree]) -> None:
    """Refined draws are proposed near the GWAS; importance weights give the panel's posterior mean back.

    Five standard errors over seeds, because some sixty variants are looked at, plus the entries that the mean
    leaves out.
    """
    locus, weights = block
    gene, means = 1, []
    for seed in SEEDS:
        ready = prepare(locus, weights, DEFAULT_PRIORS, SETTINGS, seed, 128)
        full = fit_block(ready, DEFAULT_PRIORS, SETTINGS)
        draws = refined(locus, weights, ready, ready, full, seed).genes[gene].draws
        assert len(draws.log_weight) == 256
        means.append(np.exp(draws.log_weight) @ draws.columns[0].toarray())
    exact = ready.genes[gene].mean[0].toarray().ravel()
    error = np.std(means, axis=0, ddof=1) / np.sqrt(len(SEEDS))
    assert (np.abs(np.mean(means, axis=0) - exact) < 5 * error + 1e-3).all()


def test_a_block_without_a_gene_worth_it_is_left_alone(block: tuple[xr.DataTree, xr.DataTree]) -> None:
    locus, weights = block
    ready: Prepared = prepare(locus, weights, DEFAULT_PRIORS, SETTINGS, 1, 128)
    quiet = replace(ready, z=np.zeros_like(ready.z))
    full = fit_block(quiet, replace(DEFAULT_PRIORS, gene=1e-6), SETTINGS)
    now = refined(locus, weights, quiet, quiet, full, 1)
    assert all(a is b for a, b in zip(now.genes, quiet.genes, strict=True))


def test_a_posterior_spread_over_many_draws_is_left_alone(
    block: tuple[xr.DataTree, xr.DataTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no draw holds the smallest share there is no centre of new ones."""
    locus, weights = block
    ready = prepare(locus, weights, DEFAULT_PRIORS, SETTINGS, 1, 128)
    full = fit_block(ready, DEFAULT_PRIORS, SETTINGS)
    monkeypatch.setattr("bayestwas.fit.refine.SMALLEST", 1.0)
    now = refined(locus, weights, ready, ready, full, 1)
    assert all(a is b for a, b in zip(now.genes, ready.genes, strict=True))
