"""Weights of a simulated locus: what must not matter does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.engine.weights import WeightPriors, moments
from bayestwas.fit.panels import read_panels
from bayestwas.fit.weights import fit_weights, gene_expression, gene_posterior, stored_priors, weight_sums

Build = Callable[..., xr.DataTree]


@pytest.fixture(scope="module")
def fitted(build: Build) -> xr.DataTree:
    return fit_weights(build())


def same(first: xr.DataTree, second: xr.DataTree, sign: np.ndarray | float = 1.0, atol: float = 1e-6) -> None:
    """Means up to `sign`, spreads, PIPs and empties; kept in single precision, hence 1e-6."""
    one, two = first["marginals"].dataset, second["marginals"].dataset
    np.testing.assert_allclose(two["weight_mean"], one["weight_mean"] * sign, atol=atol)
    for name in ("weight_sd", "pip", "empty"):
        np.testing.assert_allclose(two[name], one[name], atol=atol, err_msg=name)


def test_donors_in_another_order(build: Build, fitted: xr.DataTree) -> None:
    """Each panel in an order of its own: donors are matched by name between contexts."""

    def shuffle(panels: list[Any]) -> list[Any]:
        out = []
        for i, (context, ancestry, dosage, donors, frame, covariates) in enumerate(panels):
            order = np.random.default_rng(i).permutation(len(donors))
            names = [donors[j] for j in order]
            out.append((context, ancestry, dosage[:, order], names, frame[names], covariates))
        return out

    same(fitted, fit_weights(build(panels=shuffle)))


def test_alleles_flipped_in_every_panel(build: Build, fitted: xr.DataTree, block: Any) -> None:
    sign = np.random.default_rng(1).choice([-1.0, 1.0], len(block.variants))

    def flip(panels: list[Any]) -> list[Any]:
        return [
            (*p[:2], np.where((sign[:, None] < 0) & (p[2] >= 0), 2 - p[2], p[2]).astype(np.int8), *p[3:])
            for p in panels
        ]

    same(fitted, fit_weights(build(panels=flip)), sign)


def covariates(panels: list[Any], make: Callable[[Any], np.ndarray]) -> list[Any]:
    out = []
    for panel in panels:
        values = make(panel)
        frame = pd.DataFrame(values, index=[f"c{i}" for i in range(len(values))], columns=panel[3])
        out.append((*panel[:5], frame))
    return out


def test_a_multiple_of_a_covariate_changes_nothing(build: Build) -> None:
    def once(panel: Any) -> np.ndarray:
        return np.random.default_rng(len(panel[3])).standard_normal((1, len(panel[3])))

    def twice(panel: Any) -> np.ndarray:
        return np.concatenate([once(panel), -400 * once(panel), np.full((1, len(panel[3])), 3.0)])

    first, second = (fit_weights(build(panels=lambda p, f=f: covariates(p, f))) for f in (once, twice))
    same(first, second)


def test_expression_moved_by_a_covariate_is_as_if_it_were_not(build: Build) -> None:
    """A batch effect of any size is projected out: the same fit with and without it in the expression."""

    def batch(panel: Any) -> np.ndarray:
        return np.random.default_rng(len(panel[3])).integers(0, 2, (1, len(panel[3]))).astype(float)

    def moved(panels: list[Any]) -> list[Any]:
        return covariates([(*p[:4], p[4] + 50 * batch(p)[0], None) for p in panels], batch)

    same(
        fit_weights(build(panels=lambda p: covariates(p, batch))), fit_weights(build(panels=moved)), atol=1e-5
    )


def test_the_noise_as_a_covariate_leaves_the_genetic_part(build: Build, block: Any) -> None:
    """Expression is one variant plus noise that is measured: given it, the variant is certain, and its
    effect is all of it.
    """
    rng = np.random.default_rng(3)
    j = int(np.argmax(block.panel_dosage("blood", "EUR").std(axis=1)))

    def make(panels: list[Any], given: bool) -> list[Any]:
        context, ancestry, dosage, donors, frame, _ = panels[0]
        noise = 5 * rng.standard_normal(len(donors))
        frame = pd.DataFrame([0.3 * dosage[j] + noise], index=frame.index[:1], columns=donors)
        known = pd.DataFrame([noise], index=["noise"], columns=donors) if given else None
        return [(context, ancestry, dosage, donors, frame, known)]

    blind, told = (
        fit_weights(build(panels=lambda p, g=g: make(p, g)))["marginals"].dataset for g in (False, True)
    )
    assert float(blind["pip"].max()) < 0.5
    dosage = block.panel_dosage("blood", "EUR").astype(float)
    varies = np.flatnonzero(dosage.std(axis=1) > 0)
    r = [np.corrcoef(dosage[j], dosage[i])[0, 1] for i in varies]
    alike = varies[np.abs(r) > 1 - 1e-9]  # variants in perfect LD share it
    assert float(told["pip"][0, alike].sum()) > 0.95


def test_donors_in_common_are_counted(build: Build) -> None:
    """The 80 liver donors are among the 150 of blood: share 80 / sqrt(150 * 80), correlation over the 80
    times it.
    """
    locus = build()
    panels = read_panels(locus, 1)
    gene = str(locus["genes"]["gene"].values[1])
    _, one = gene_expression(locus, gene, panels, ["blood", "liver"], ["EUR", "AFR"])
    share = 80 / np.sqrt(150 * 80)
    both = np.intersect1d(panels["blood", "EUR"].donors, panels["liver", "EUR"].donors)
    assert len(both) == 80
    rows = [
        locus[f"expression/{c}/EUR"]["expression"].sel(gene=gene, donor=both.astype(str))
        for c in ("blood", "liver")
    ]
    expected = np.eye(4)
    expected[0, 2] = expected[2, 0] = share
    np.testing.assert_allclose(one.share, expected, rtol=1e-12)
    expected[0, 2] = expected[2, 0] = share * np.corrcoef(*rows)[0, 1]
    np.testing.assert_allclose(one.correlation, expected, rtol=1e-9)
    np.testing.assert_array_equal(one.n, [150, 80, 80, 0])


def test_a_context_given_twice_runs_and_agrees(build: Build, fitted: xr.DataTree) -> None:
    """The same panels under another name: perfectly correlated noise; the contexts get the same weights."""
    doubled = fit_weights(build(panels=lambda p: p + [("copy", *x[1:]) for x in p if x[0] == "blood"]))
    mean = doubled["marginals"]["weight_mean"]
    np.testing.assert_allclose(mean.sel(context="copy"), mean.sel(context="blood"), atol=1e-6)
    before = fitted["marginals"]["weight_mean"].sel(context="blood").values
    assert np.corrcoef(before.ravel(), mean.sel(context="blood").values.ravel())[0, 1] > 0.9


def test_the_stored_posterior_is_the_fitted_one(build: Build, fitted: xr.DataTree) -> None:
    """Rebuilt from scores in single precision: moments to 1e-5 of weights below 1."""
    locus = build()
    for gene in fitted["marginals"]["gene"].values:
        index, posterior = gene_posterior(locus, fitted, str(gene))
        mean, sd = moments(posterior)
        stored = fitted["marginals"].dataset.sel(gene=gene)
        p = locus.sizes["variant"]
        np.testing.assert_allclose(mean, stored["weight_mean"].values.reshape(-1, p)[:, index], atol=1e-5)
        np.testing.assert_allclose(sd, stored["weight_sd"].values.reshape(-1, p)[:, index], atol=1e-5)
        np.testing.assert_allclose(posterior.fit.pip, stored["pip"].values[index], atol=1e-5)
        np.testing.assert_allclose(posterior.fit.null, stored["empty"].values, atol=1e-5)


def test_priors_are_stored_with_the_weights(build: Build) -> None:
    priors = WeightPriors(rate=0.7, sizes=(0.02, 0.2), size_weights=(0.5, 0.5))
    stored = stored_priors(fit_weights(build(), priors=priors))
    assert stored == replace(priors, contexts=("blood", "liver"), ancestries=("EUR", "AFR"))


def test_only_the_cis_window_has_weights(build: Build, block: Any) -> None:
    locus = build()
    locus.attrs["cis_window"] = 30_000
    data = fit_weights(locus)["marginals"].dataset
    distance = np.abs(block.variants["position"].to_numpy()[None] - block.genes["tss"].to_numpy()[:, None])
    outside = distance > 30_000
    assert outside.any()
    assert (~outside).any(axis=1).all()
    assert not data["pip"].values[outside].any()
    assert not np.moveaxis(data["weight_mean"].values, 3, 1)[outside].any()


def test_a_gene_missing_from_a_context_borrows(build: Build, fitted: xr.DataTree) -> None:
    """Without the first gene in liver its liver weights come from blood; the other genes do not move."""

    def without(panels: list[Any]) -> list[Any]:
        return [(*p[:4], p[4].iloc[1:] if p[0] == "liver" else p[4], None) for p in panels]

    data = fit_weights(build(panels=without))
    np.testing.assert_array_equal(data["constant_data"]["n"].values[0, 2:], 0.0)
    before, after = (tree["marginals"]["weight_mean"].values for tree in (fitted, data))
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-7)
    assert np.abs(after[0, 1]).max() > 0.0


def test_all_variants_missing_in_one_ancestry(build: Build) -> None:
    """The AFR panels say nothing: the same weights as without them, borrowed for AFR."""

    def empty(panels: list[Any]) -> list[Any]:
        return [(*p[:2], np.full_like(p[2], -1) if p[1] == "AFR" else p[2], *p[3:]) for p in panels]

    shared = WeightPriors(shared=1.0, unstructured=0.0, context_specific=0.0, ancestry_specific=0.0)
    data = fit_weights(build(panels=empty), priors=shared)["marginals"].dataset
    without = build(panels=lambda p: [x for x in p if x[1] != "AFR"])
    without = fit_weights(without, priors=shared)["marginals"].dataset
    np.testing.assert_allclose(data["weight_mean"], without["weight_mean"], atol=1e-6)
    ratio = data["weight_mean"].sel(ancestry="AFR") / data["weight_mean"].sel(ancestry="EUR")
    strong = np.abs(data["weight_mean"].sel(ancestry="EUR")) > 1e-3
    np.testing.assert_allclose(ratio.values[strong.values], WeightPriors().ancestry_correlation, rtol=1e-4)


def test_genes_that_cannot_be_fitted_are_left_out(build: Build) -> None:
    genes = build(genes=lambda g: g.assign(status=["skipped", "ok", "ok", "ok"], reason=["x", "", "", ""]))
    assert list(fit_weights(genes)["marginals"]["gene"].values) == list(genes["genes"]["gene"].values[1:])


def test_no_expression_at_all(build: Build) -> None:
    tree = fit_weights(build(panels=lambda _: []))
    assert tree["marginals"].sizes["gene"] == 0


def test_a_gene_without_variants_is_left_out(build: Build) -> None:
    far = build(genes=lambda g: g.assign(tss=[int(g["tss"].iloc[0]) + 5_000_000, *g["tss"].iloc[1:]]))
    assert list(fit_weights(far)["marginals"]["gene"].values) == list(far["genes"]["gene"].values[1:])


def test_sums_are_those_of_the_genes(build: Build, settings: Any) -> None:
    (total,) = weight_sums(build(), WeightPriors(), settings).parts.values()
    assert total.genes == 4
    np.testing.assert_allclose(total.size.sum(), total.found, rtol=1e-9)
    np.testing.assert_allclose(total.mass.sum(), total.found, rtol=1e-9)
    assert 0 < total.effects.weight.sum() <= total.found
