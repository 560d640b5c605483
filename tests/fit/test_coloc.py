"""Colocalization of a locus: signals from the fit, contexts, ancestries, learned priors, tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import bayestwas
from bayestwas.engine.coloc import ColocPriors, hypotheses, pair_sums
from bayestwas.engine.likelihood import diagonal_terms
from bayestwas.errors import InputError, SettingsError
from bayestwas.fit.coloc import Colocalization, in_context
from bayestwas.fit.coloc_pairs import locus_pairs
from bayestwas.fit.coloc_priors import learn_priors
from bayestwas.fit.coloc_signals import fit_trait, gene_fit
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.settings import Settings
from bayestwas.report.coloc import COLUMNS, coloc_table, write_coloc

Build = Callable[..., xr.DataTree]
SHORT = Sampling(draws=400, tune=400, chains=1, cores=1, sampler="pymc", backend="c", target_accept=0.95)


@pytest.fixture(scope="module")
def fitted(build: Build, settings: Settings) -> tuple[xr.DataTree, xr.DataTree]:
    locus = build()
    return locus, bayestwas.fit_weights(locus, settings=settings)


@pytest.fixture(scope="module")
def found(fitted: tuple[xr.DataTree, xr.DataTree], settings: Settings) -> Colocalization:
    return bayestwas.colocalize(*fitted, priors="coloc-default", settings=settings)


def test_the_causal_gene_shares_its_variant_and_probabilities_are_probabilities(
    found: Colocalization, block: Any
) -> None:
    table = found.pairs
    assert found.simulated
    assert set(table["ancestry"]) == {"all", *block.z}
    assert set(table["context"]) == set(block.design.contexts)
    values = table[["h0", "h1", "h2", "h3", "h4"]].to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-9)
    for name in ("h0", "h1", "h2", "h3", "h4", "rcp", "lcp", "grcp", "glcp", "scp", "bayesian_fdr"):
        assert table[name].between(0, 1 + 1e-9).all(), name
    assert (table["lcp"] >= table["h4"] - 1e-9).all()
    assert (table["rcp"] <= table["grcp"] + 1e-9).all()
    causal = block.genes.loc[block.genes["causal"], "gene"].item()
    whole = table[table["ancestry"] == "all"]
    assert whole.loc[whole["grcp"].idxmax(), "gene"] == causal
    assert not table.duplicated(["gene", "context", "ancestry", "signal", "trait_signal"]).any()


def test_bayes_factors_of_the_signals_are_those_that_the_fit_saw(
    fitted: tuple[xr.DataTree, xr.DataTree], settings: Settings
) -> None:
    """alpha / null = prior odds x BF for the first effect of either; to 1e-6 of the logarithm."""
    locus, weights = fitted
    trait = fit_trait(locus, settings)
    signals = trait.signals()
    omega = trait.source.candidates.covariances[0]
    usable = np.isfinite(signals.lbf[0])
    direct = []
    for m in range(len(trait.source.candidates.covariances)):
        root = np.linalg.cholesky(omega)
        scale = trait.source.candidates.scale[:, m]
        prior = trait.source.candidates.log_prior[:, m] - np.logaddexp.reduce(
            trait.source.candidates.log_prior, axis=1
        )
        log_bf = diagonal_terms(
            trait.source.fit.score[0].T.copy(), trait.source.fit.information[0].T, scale, root
        )[0]
        direct.append(log_bf + prior)
    np.testing.assert_allclose(signals.lbf[0, usable], np.logaddexp.reduce(direct)[usable], atol=1e-9)
    own = gene_fit(locus, weights, str(weights["marginals"]["gene"].values[1]))
    first = own.signals()
    odds = np.log(own.source.fit.alpha[0].sum(axis=1)) - np.log(own.source.fit.null[0])
    expected = odds - np.logaddexp.reduce(own.source.candidates.log_prior, axis=1)
    np.testing.assert_allclose(first.lbf[0, own.index], expected, atol=1e-6)
    acts = first.acts[:, 0, own.index]
    assert ((acts >= 0) & (acts <= 1 + 1e-9)).all()
    assert (acts.sum(axis=0) >= 1 - 1e-9).all()  # it acts somewhere


def test_one_ancestry_alone_is_a_locus_with_that_ancestry_only(
    fitted: tuple[xr.DataTree, xr.DataTree], settings: Settings
) -> None:
    """Signals of an ancestry use its data only: scaling the others' scores changes nothing."""
    locus, weights = fitted
    own = gene_fit(locus, weights, str(weights["marginals"]["gene"].values[1]))
    before = own.signals("EUR").lbf
    others = [
        s for s in range(own.source.fit.score.shape[2]) if own.ancestries[s % len(own.ancestries)] != "EUR"
    ]
    own.source.fit.score[:, :, others] *= 3.0
    np.testing.assert_array_equal(own.signals("EUR").lbf, before)
    assert np.abs(own.signals().lbf).max() > np.abs(before[np.isfinite(before)]).max()


def test_an_effect_that_acts_elsewhere_is_no_effect_here() -> None:
    posterior = np.array([[0.1, 0.2, 0.1, 0.2, 0.4]])
    np.testing.assert_allclose(in_context(posterior, np.ones(1), np.ones(1)), posterior)
    none = in_context(posterior, np.zeros(1), np.zeros(1))
    np.testing.assert_allclose(none, [[0.3, 0.0, 0.7, 0.0, 0.0]])
    half = in_context(posterior, np.array([0.5]), np.array([0.25]))
    np.testing.assert_allclose(half, [[0.2, 0.1, 0.5, 0.1, 0.1]])


def test_genes_without_weights_are_told(build: Build, settings: Settings) -> None:
    def lost(genes: Any) -> Any:
        return genes.assign(status=["skipped", "ok", "ok", "ok"], reason=["not measured", "", "", ""])

    locus = build(genes=lost)
    pairs = locus_pairs(locus, bayestwas.fit_weights(locus, settings=settings), settings)
    assert pairs.skipped["reason"].tolist() == ["not measured"]
    gene = pairs.skipped["gene"].item()
    assert gene not in set(pairs.table["gene"])
    result = bayestwas.colocalize(locus, settings=settings, priors="coloc-default")
    table = coloc_table(result.pairs, result.skipped.assign(status="skipped"), True)
    assert tuple(table.columns) == COLUMNS
    row = table[table["gene"] == gene]
    assert row["status"].tolist() == ["skipped"]
    assert row[["h4", "signal"]].isna().all(axis=None)
    assert (row[["context", "lead"]] == "").all(axis=None)


def test_wrong_arguments_are_told(fitted: tuple[xr.DataTree, xr.DataTree]) -> None:
    locus, weights = fitted
    with pytest.raises(SettingsError, match="coloc-default"):
        bayestwas.colocalize(locus, weights, priors="coloc")
    with pytest.raises(SettingsError, match="between 0 and 1"):
        bayestwas.colocalize(locus, weights, priors=ColocPriors(1e-4, 1e-4, 0.0))
    with pytest.raises(InputError, match="own weights"):
        bayestwas.colocalize([locus, locus], weights)


def test_tables_and_the_figure_are_written(found: Colocalization, tmp_path: Any) -> None:
    table = coloc_table(found.pairs, found.skipped.assign(status="skipped"), True)
    paths = write_coloc(tmp_path, table, found.priors, found.sensitivity, True)
    assert [path.name for path in paths] == [
        "coloc.tsv", "coloc_priors.tsv", "coloc_sensitivity.tsv", "coloc_sensitivity.png",
    ]  # fmt: skip
    assert all(path.stat().st_size > 0 for path in paths)
    assert found.sensitivity.groupby(["gene", "context"])["used"].sum().eq(1).all()
    ratio = found.sensitivity.groupby(["gene", "context"])["p12"].agg(
        lambda values: values.max() / values.min()
    )
    np.testing.assert_allclose(ratio, 1e4)


P1, P2, P12, VARIANTS = 0.004, 0.006, 0.005, 200


def test_priors_are_learned_with_intervals_that_hold_the_truth() -> None:
    """300 pairs drawn from known p1, p2, p12 in two contexts: within 3.3 posterior standard deviations."""
    rng = np.random.default_rng(12)
    mass = np.array([1, P1 * VARIANTS, P2 * VARIANTS, P1 * P2 * VARIANTS * (VARIANTS - 1), P12 * VARIANTS])
    chosen = rng.choice(5, 300, p=mass / mass.sum())
    lbf = np.zeros((2, 300, VARIANTS))
    for row, hypothesis in enumerate(chosen):
        j, k = rng.choice(VARIANTS, 2, replace=False)
        place = {0: (-1, -1), 1: (j, -1), 2: (-1, k), 3: (j, k), 4: (j, j)}[int(hypothesis)]
        for t, at in enumerate(place):
            mean = np.zeros(VARIANTS)
            if at >= 0:
                mean[at] = rng.normal(0, 6)
            z = mean + rng.standard_normal(VARIANTS)
            lbf[t, row] = -0.5 * np.log(37.0) + 0.5 * (36 / 37) * z**2
    sums = pair_sums(*lbf)
    learned = learn_priors(sums, ["liver", "blood"] * 150, seed=3, sampling=SHORT)
    assert learned.contexts == ("blood", "liver")
    p1, p2, p12 = np.log(learned.draws)
    enriched = (p12 - p1 - p2, np.log(P12 / (P1 * P2)))
    for draws, truth in ((p1, np.log(P1)), (p2, np.log(P2)), (p12, np.log(P12)), enriched):
        assert (np.abs(draws.mean(axis=0) - truth) < 3.3 * draws.std(axis=0)).all()
        assert (draws.std(axis=0) < 0.6).all()  # the prior's is 1.6
    wide = learned.table[learned.table["quantity"] == "enrichment"]
    assert (wide["low"] < wide["value"]).all()
    assert (wide["value"] < wide["high"]).all()
    mean = hypotheses(sums, learned.typical("liver"))[:, 4].mean()
    assert mean == pytest.approx((chosen == 4).mean(), abs=4 * np.sqrt(0.25 / 300))


def test_columns_of_a_run_are_those_of_the_table(
    fitted: tuple[xr.DataTree, xr.DataTree], found: Colocalization, settings: Settings
) -> None:
    """H4 and GRCP from the sums by size are those of `colocalize` with the same priors."""
    locus, weights = fitted
    result = bayestwas.fit_genes(locus, weights, settings=settings)
    whole = found.pairs[found.pairs["ancestry"] == "all"].groupby(["gene", "context"])
    expected = whole.agg(h4=("h4", "max"), grcp=("grcp", "first"))
    assert len(expected) == 8
    for (gene, context), row in expected.iterrows():
        mine = result["marginals"].dataset.sel(gene=gene, context=context)
        assert float(mine["h4"]) == pytest.approx(row["h4"], rel=1e-6, abs=1e-12)
        assert float(mine["grcp"]) == pytest.approx(row["grcp"], rel=1e-6, abs=1e-12)


def test_signals_under_the_shares_of_the_fit_are_those_of_the_fit(
    fitted: tuple[xr.DataTree, xr.DataTree], settings: Settings
) -> None:
    """And the Bayes factors by size, mixed by these shares, are the same again."""
    locus, weights = fitted
    own = gene_fit(locus, weights, str(weights["marginals"]["gene"].values[1]))
    for source, plain, by_size in (
        (own.source, own.signals(), own.by_size()[0]),
        (fit_trait(locus, settings).source, fit_trait(locus, settings).signals(), None),
    ):
        share = source.shares().share
        assert share.sum() == pytest.approx(1)
        again = (
            own.signals(share=share)
            if by_size is not None
            else fit_trait(locus, settings).signals(share=share)
        )
        np.testing.assert_allclose(again.lbf, plain.lbf, atol=1e-9)
        np.testing.assert_allclose(again.acts, plain.acts, atol=1e-9)
        mixed = fit_trait(locus, settings).by_size() if by_size is None else by_size
        with np.errstate(divide="ignore"):
            total = np.logaddexp.reduce(mixed + np.log(share)[:, None, None], axis=0)
        np.testing.assert_allclose(total, plain.lbf, atol=1e-9)


def test_other_shares_are_another_mixture(
    fitted: tuple[xr.DataTree, xr.DataTree], found: Colocalization, settings: Settings
) -> None:
    locus, weights = fitted
    own = gene_fit(locus, weights, str(weights["marginals"]["gene"].values[1]))
    share = np.array([0.1, 0.2, 0.7])
    every = own.by_size()
    mixed = np.logaddexp.reduce(every + np.log(share)[:, None, None], axis=1)
    signals = own.signals(share=share)
    np.testing.assert_allclose(mixed[0], signals.lbf, atol=1e-9)
    usable = np.isfinite(signals.lbf)
    for c in range(len(own.contexts)):
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(
                np.exp(mixed[1 + c] - np.where(usable, signals.lbf, 0))[usable],
                signals.acts[c][usable],
                atol=1e-9,
            )
