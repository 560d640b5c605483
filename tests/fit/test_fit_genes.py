"""Genes of a simulated locus: what must not matter does not, and holes in the data are no obstacle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import sparse

from bayestwas import names
from bayestwas.engine.gene_trait import twas_z
from bayestwas.engine.ld import MatrixLD
from bayestwas.fit.describe import LEFT_OUT
from bayestwas.fit.gene_trait import fit_genes
from bayestwas.fit.prepared import gene_seed, prepare
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import fit_weights
from bayestwas.report.tables import genes_table

Build = Callable[..., xr.DataTree]
PIPS = ("pip", "pip_mcse", "pip_plugin", "pip_weights", "pip_ld", "context_pip", "pip_direct")


def run(locus: xr.DataTree, settings: Settings, seed: int = 1) -> xr.DataTree:
    return fit_genes(locus, fit_weights(locus, settings=settings), settings=settings, seed=seed)


@pytest.fixture(scope="module")
def fitted(build: Build, settings: Settings) -> xr.DataTree:
    return run(build(), settings)


def status(result: xr.DataTree) -> list[str]:
    return result["constant_data"]["status"].values.tolist()


def check_sane(result: xr.DataTree, ancestries: int = 2) -> None:
    """Probabilities are probabilities, and fitted genes have everything."""
    data = result["marginals"].dataset
    ok = np.isin(status(result), ["ok", "warning"])
    for name in PIPS:
        values = data[name].values[ok] if "gene" in data[name].dims else data[name].values
        values = values[np.isfinite(values)] if name == "context_pip" else values
        assert ((values >= 0) & (values <= 1)).all(), name
    assert np.isnan(data["pip"].values[~ok]).all()
    gwas = data["effect"].values[ok][..., :ancestries]
    assert np.isfinite(gwas[np.isfinite(data["context_pip"].values[ok])]).all()
    assert bool(result["blocks"]["converged"].all())


def test_the_causal_gene_is_found(fitted: xr.DataTree, block: Any) -> None:
    data = fitted["marginals"].dataset
    check_sane(fitted)
    assert data["pip"].values[1] > 0.9
    assert data["pip"].values[[0, 2, 3]].max() < 0.2
    truth = block.effect[1].ravel()
    truth = truth[np.argmax(np.abs(truth))]
    estimate, sd = float(data["gene_effect"][1]), float(data["gene_effect_sd"][1])
    assert abs(estimate - truth) < 4 * sd
    assert (float(data["gene_sign_probability"][1]) > 0.5) == (truth > 0)


def test_the_seed_decides_and_nothing_else(build: Build, settings: Settings, fitted: xr.DataTree) -> None:
    again, other = run(build(), settings), run(build(), settings, seed=2)
    for group in ("marginals", "posterior", "weights"):
        one, two = fitted[group].to_dataset(), again[group].to_dataset()
        xr.testing.assert_identical(one, two)
    assert fitted["weights"]["weight"].sum() != other["weights"]["weight"].sum()
    # the exact parts do not hang on the seed
    for name in ("pip_plugin", "pip_ld"):
        np.testing.assert_array_equal(fitted["marginals"][name], other["marginals"][name])


def test_seed_of_a_gene_is_its_name_and_the_seed() -> None:
    states = {tuple(gene_seed(s, g).generate_state(2)) for s in (1, 2) for g in ("a", "b")}
    assert len(states) == 4
    assert gene_seed(3, "a").generate_state(1) == gene_seed(3, "a").generate_state(1)


def test_order_of_genes(build: Build, settings: Settings, fitted: xr.DataTree) -> None:
    """Genes and rows of expression reversed: the same numbers by name, to rounding of sums."""
    result = run(
        build(genes=lambda g: g.iloc[::-1], panels=lambda p: [(*x[:4], x[4].iloc[::-1], x[5]) for x in p]),
        settings,
    )
    one = fitted["marginals"].to_dataset()
    two = result["marginals"].to_dataset().sel(gene=one["gene"])
    for name in PIPS:
        np.testing.assert_allclose(two[name], one[name], atol=1e-6, err_msg=name)


def test_other_genes_do_not_change_the_draws_of_a_gene(build: Build, settings: Settings) -> None:
    whole = build()
    part = build(genes=lambda g: g.iloc[1:3], panels=lambda p: [(*x[:4], x[4].iloc[1:3], x[5]) for x in p])
    from bayestwas.engine.gene_trait import DEFAULT_PRIORS

    draws = {}
    for name, locus in (("whole", whole), ("part", part)):
        ready = prepare(locus, fit_weights(locus, settings=settings), DEFAULT_PRIORS, settings, 1, 8)
        draws[name] = {gene.gene: gene.draws for gene in ready.genes}
    for gene, drawn in draws["part"].items():
        for one, two in zip(drawn.columns, draws["whole"][gene].columns, strict=True):
            np.testing.assert_allclose(one.toarray(), two.toarray(), atol=1e-12)


def test_the_other_allele_everywhere(
    build: Build, settings: Settings, fitted: xr.DataTree, block: Any
) -> None:
    """Signs of z and weights change; every probability and every effect of a gene is the same, draws
    included.
    """
    sign = np.random.default_rng(3).choice([-1.0, 1.0], len(block.variants))

    def flip(dosage: np.ndarray) -> np.ndarray:
        return np.where((sign[:, None] < 0) & (dosage >= 0), 2 - dosage, dosage).astype(np.int8)

    result = run(
        build(
            gwas=lambda g: {a: (z * sign, n) for a, (z, n) in g.items()},
            ld=lambda ld: {a: (flip(x), n) for a, (x, n) in ld.items()},
            panels=lambda p: [(*x[:2], flip(x[2]), *x[3:]) for x in p],
        ),
        settings,
    )
    one, two = fitted["marginals"].dataset, result["marginals"].dataset
    for name in (*PIPS, "effect", "effect_sd", "sign_probability", "gene_effect", "cis_h2"):
        # scores are kept in single precision
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        result["observed_data"]["twas_z"], fitted["observed_data"]["twas_z"], rtol=1e-4
    )
    before, after = (tree["weights"].dataset for tree in (fitted, result))
    turned = before["weight"].values * sign[before["variant_index"].values]
    np.testing.assert_allclose(after["weight"], turned, atol=1e-5)


# ---- holes in the data -----------------------------------------------------------------------------------


def test_expression_in_an_ancestry_without_gwas(build: Build, settings: Settings, block: Any) -> None:
    result = run(build(gwas=lambda g: {"EUR": g["EUR"]}, ld=lambda ld: {"EUR": ld["EUR"]}), settings)
    check_sane(result, ancestries=1)
    assert result["marginals"]["effect"].sel(ancestry="EUR").notnull().any()
    assert result["marginals"]["pip"].values[1] > 0.5


def test_gwas_in_an_ancestry_without_expression(build: Build, settings: Settings) -> None:
    """AFR weights are borrowed from EUR, and both GWAS count."""
    result = run(build(panels=lambda p: [x for x in p if x[1] == "EUR"]), settings)
    check_sane(result)
    effects = result["marginals"]["effect"].values[1, 0]
    assert np.isfinite(effects).all()
    assert result["marginals"]["pip"].values[1] > 0.9


def test_gwas_and_expression_in_different_ancestries(build: Build, settings: Settings) -> None:
    result = run(
        build(
            gwas=lambda g: {"AFR": g["AFR"]}, ld=lambda ld: {"AFR": ld["AFR"]},
            panels=lambda p: [x for x in p if x[1] == "EUR"],
        ),
        settings,
    )  # fmt: skip
    check_sane(result, ancestries=1)


def test_a_gene_missing_from_one_context(build: Build, settings: Settings, fitted: xr.DataTree) -> None:
    result = run(
        build(
            panels=lambda p: [
                (*x[:4], x[4].drop(index=x[4].index[0]) if x[0] == "liver" else x[4], None) for x in p
            ]
        ),
        settings,
    )
    check_sane(result)
    context = result["marginals"]["context_pip"]
    assert np.isnan(context.sel(context="liver").values[0])
    assert np.isfinite(context.sel(context="blood").values).all()
    assert status(result) == ["ok"] * 4 or "warning" in status(result)


def test_a_gene_missing_everywhere_is_skipped(build: Build, settings: Settings) -> None:
    result = run(build(panels=lambda p: [(*x[:4], x[4].iloc[1:], None) for x in p]), settings)
    assert status(result)[0] == "skipped"
    assert "expression" in result["constant_data"]["reason"].values[0]
    check_sane(result)


def test_a_gene_far_from_all_variants_is_skipped(build: Build, settings: Settings) -> None:
    result = run(build(genes=lambda g: g.assign(tss=[9_999_999_99, *g["tss"].iloc[1:]])), settings)
    assert status(result)[0] == "skipped"
    assert "cis-window" in result["constant_data"]["reason"].values[0]
    check_sane(result)


@pytest.mark.parametrize("hole", ["z", "ld"])
def test_all_variants_missing_in_one_ancestry(
    build: Build, settings: Settings, block: Any, hole: str
) -> None:
    """An empty GWAS, or an LD reference without a genotype, is as if the ancestry had no GWAS."""
    nothing = np.full(len(block.variants), np.nan)
    change = {
        "z": {"gwas": lambda g: g | {"AFR": (nothing, nothing)}},
        "ld": {"ld": lambda ld: ld | {"AFR": (np.full_like(ld["AFR"][0], -1), 200.0)}},
    }[hole]
    result = run(build(**change), settings)
    check_sane(result)
    alone = run(build(gwas=lambda g: {"EUR": g["EUR"]}, ld=lambda ld: {"EUR": ld["EUR"]}), settings)
    np.testing.assert_allclose(
        result["marginals"]["pip_plugin"], alone["marginals"]["pip_plugin"], atol=1e-4
    )  # the kernel converges to 1e-4


@pytest.mark.parametrize("what", ["no panels", "constant"])
def test_a_block_without_any_gene_is_fine_mapped(build: Build, settings: Settings, what: str) -> None:
    def change(panels: list[Any]) -> list[Any]:
        return [] if what == "no panels" else [(*x[:4], 0 * x[4] + 1, None) for x in panels]

    result = run(build(panels=change), settings)
    assert status(result) == ["skipped"] * 4
    direct = result["marginals"]["pip_direct"].values
    assert np.isfinite(direct).all()
    assert direct.max() > 0.5  # the causal gene's eQTL, as a direct effect


def test_no_association_finds_nothing(build: Build, settings: Settings) -> None:
    result = run(build(gwas=lambda g: {a: (0 * z, n) for a, (z, n) in g.items()}), settings)
    check_sane(result)
    assert result["marginals"]["pip"].values.max() < 0.2
    np.testing.assert_array_equal(result["observed_data"]["twas_z"], 0.0)


def test_a_gwas_without_values_has_no_twas_z(build: Build, settings: Settings) -> None:
    """Nothing can be tested: the z is missing, not zero. The genes were measured, and have their context."""
    result = run(build(gwas=lambda g: {a: (np.full_like(z, np.nan), n) for a, (z, n) in g.items()}), settings)
    check_sane(result)
    assert status(result) == ["ok"] * 4
    assert np.isnan(result["observed_data"]["twas_z"].values).all()
    assert (result["marginals"]["best_context"].values != "").all()
    table = genes_table(result)
    assert table["twas_z"].isna().all()
    assert table["best_context"].isin(["blood", "liver"]).all()


def test_n_variants_counts_what_can_be_used(build: Build, settings: Settings, fitted: xr.DataTree) -> None:
    """Three variants: absent everywhere, from the GWAS only, and from the panels only. One is not used."""

    def gwas(given: dict[str, Any]) -> dict[str, Any]:
        return {a: (np.where(np.arange(len(z)) < 2, np.nan, z), n) for a, (z, n) in given.items()}

    def panels(given: list[Any]) -> list[Any]:
        lost = np.isin(np.arange(len(given[0][2])), [0, 2])[:, None]
        return [(*x[:2], np.where(lost, -1, x[2]).astype(np.int8), *x[3:]) for x in given]

    after = run(build(gwas=gwas, panels=panels), settings)
    locus = build()
    first, tss = locus.dataset["position"].values[0], locus["genes"]["tss"].values
    near = np.abs(first - tss) <= locus.attrs["cis_window"]
    assert near.any()
    lost = fitted["constant_data"]["n_variants"].values - after["constant_data"]["n_variants"].values
    np.testing.assert_array_equal(lost, near.astype(float))


def test_one_variant(build: Build, settings: Settings) -> None:
    result = run(
        build(
            variants=lambda v: v.iloc[:1],
            gwas=lambda g: {a: (z[:1], n[:1]) for a, (z, n) in g.items()},
            ld=lambda ld: {a: (x[:1], n) for a, (x, n) in ld.items()},
            panels=lambda p: [(*x[:2], x[2][:1], *x[3:]) for x in p],
        ),
        settings,
    )
    check_sane(result)


def test_six_donors(build: Build, settings: Settings) -> None:
    result = run(
        build(panels=lambda p: [(*x[:2], x[2][:, :6], x[3][:6], x[4].iloc[:, :6], None) for x in p]), settings
    )
    check_sane(result)


# ---- what is switched off, cut or combined ---------------------------------------------------------------


def test_ld_that_is_exact_moves_no_pip(build: Build, settings: Settings) -> None:
    """Infinite n_ref and no mismatch: with and without the noise of LD is the same."""
    settings = replace(settings, mismatch=False)
    result = run(build(ld=lambda ld: {a: (x, np.inf) for a, (x, _) in ld.items()}), settings)
    data = result["marginals"].dataset
    np.testing.assert_array_equal(data["pip"], data["pip_weights"])
    np.testing.assert_array_equal(data["pip_plugin"], data["pip_ld"])


def test_one_effect_and_exact_ld_is_what_pip_one_effect_says(build: Build, settings: Settings) -> None:
    """With one effect and nothing else on, the fit is the one beside it; with more effects it is not."""
    alone = replace(settings, trait_effects=1, mismatch=False, background=False)
    exact = build(ld=lambda ld: {a: (x, np.inf) for a, (x, _) in ld.items()})
    data = run(exact, alone)["marginals"]
    np.testing.assert_array_equal(data["pip_one_effect"], data["pip_fixed_priors"])
    assert float(data["pip_one_effect"].sum()) <= 1 + 1e-12
    several = run(exact, settings)["marginals"]
    assert float(abs(several["pip_one_effect"] - several["pip_fixed_priors"]).max()) > 1e-3


def test_ld_as_a_matrix_is_ld_from_genotypes(build: Build, settings: Settings, fitted: xr.DataTree) -> None:
    """The correlation of the same 200 people, absent where nothing varies."""

    def matrix(dosage: np.ndarray) -> np.ndarray:
        x = dosage - dosage.mean(axis=1, keepdims=True)
        norm = np.sqrt((x**2).sum(axis=1))
        x = np.where(norm[:, None] > 0, x / np.where(norm > 0, norm, 1.0)[:, None], np.nan)
        return x @ x.T

    result = run(build(ld=lambda ld: {a: (matrix(x.astype(float)), n) for a, (x, n) in ld.items()}), settings)
    for name in PIPS:
        np.testing.assert_allclose(
            result["marginals"][name], fitted["marginals"][name], atol=1e-4, err_msg=name
        )


def test_the_cut_posterior_runs_and_differs(build: Build, settings: Settings, fitted: xr.DataTree) -> None:
    cut = run(build(), replace(settings, feedback=False, cut_draws=6))
    check_sane(cut)
    difference = np.abs(cut["marginals"]["pip"].values - fitted["marginals"]["pip"].values)
    assert difference.max() > 1e-3
    assert (cut["marginals"]["pip_mcse"].values > 0).any()
    # what takes the weights as their mean does not know of the cut
    np.testing.assert_array_equal(cut["marginals"]["pip_plugin"], fitted["marginals"]["pip_plugin"])


def test_more_draws_are_taken_where_the_error_is_large(build: Build, settings: Settings) -> None:
    """Sixteen draws, up to 64: drawing stops at the target or at the most allowed, and the row says which."""
    result = run(build(), replace(settings, draws=16, max_draws=64, target_mcse=0.005))
    error = result["marginals"]["pip_mcse"].values
    drawn = int(result["weights"]["draw_index"].max()) + 1
    assert drawn in (16, 32, 64)
    for row, mcse in enumerate(error):
        if mcse > 0.005:
            assert drawn == 64
            assert status(result)[row] == "warning"
            assert "Monte Carlo" in result["constant_data"]["reason"].values[row]


def test_posterior_draws_match_the_marginals(build: Build, settings: Settings) -> None:
    """Share of draws with a non-zero effect against the PIP of the gene, four standard deviations."""
    count = 2000
    result = run(build(), replace(settings, posterior_draws=count))
    draws = result["posterior"]["gene_effect"].values[0]
    assert draws.shape[0] == count
    included = (np.nan_to_num(draws) != 0).any(axis=(2, 3)).mean(axis=0)
    pip = result["marginals"]["pip"].values
    assert (np.abs(included - pip) < 4 * np.sqrt(pip * (1 - pip) / count) + 1 / count).all()


def test_mean_weights_are_those_of_the_fit_but_for_a_hundredth(
    build: Build, settings: Settings, fitted: xr.DataTree
) -> None:
    """Exact posterior means; what is left out adds up to at most LEFT_OUT of their absolute sum."""
    exact = fit_weights(build(), settings=settings)[names.MARGINALS].dataset["weight_mean"]
    exact = exact.sel(gene=fitted["marginals"]["gene"].values)
    entries = fitted[names.MEAN_WEIGHTS].dataset
    stored = np.zeros(exact.shape)
    at = tuple(entries[f"{dim}_index"].values for dim in ("gene", "context", "ancestry", "variant"))
    stored[at] = entries["weight"].values
    apart = np.abs(stored - exact.values)
    # single precision, and mean_weights sets what is below 1e-6 to zero
    np.testing.assert_allclose(stored[at], exact.values[at], rtol=1e-5, atol=2e-6)
    total = np.abs(exact.values).sum(axis=-1)
    assert (apart.sum(axis=-1) <= LEFT_OUT * total + 1e-6 * exact.sizes["variant"]).all()
    assert (stored != 0).sum() < (exact.values != 0).sum()


def test_twas_z_is_the_textbook_formula() -> None:
    """w'z / sqrt(w'Rw) in one ancestry; weighted by sqrt(n) in two; variants the GWAS lacks are left out."""
    rng = np.random.default_rng(4)
    r = [np.corrcoef(rng.standard_normal((6, 40))) for _ in range(2)]
    z, n = rng.standard_normal((2, 6)), np.array([3e4, 1e4])
    w = np.array([[0.3, 0, -0.1, 0, 0.2, 0], [0.2, 0, 0, 0, 0.2, 0]])
    ld = [MatrixLD(one) for one in r]
    rows = [sparse.csr_array(one[None]) for one in w]
    single = [twas_z(z[[a]], n[[a]], ld[a : a + 1], rows[a : a + 1]) for a in range(2)]
    expected = [w[a] @ z[a] / np.sqrt(w[a] @ r[a] @ w[a]) for a in range(2)]
    np.testing.assert_allclose(single, expected, rtol=1e-12)
    score = sum(np.sqrt(n[a]) * w[a] @ z[a] for a in range(2))
    information = sum(n[a] * w[a] @ r[a] @ w[a] for a in range(2))
    np.testing.assert_allclose(twas_z(z, n, ld, rows), score / np.sqrt(information), rtol=1e-12)
    holes = z.copy()
    holes[0, 2] = np.nan
    kept = w[0] * [1, 1, 0, 1, 1, 1]
    np.testing.assert_allclose(
        twas_z(holes[:1], n[:1], ld[:1], rows[:1]), kept @ z[0] / np.sqrt(kept @ r[0] @ kept), rtol=1e-12
    )
    assert np.isnan(twas_z(np.full((1, 6), np.nan), n[:1], ld[:1], rows[:1]))


def test_twas_z_of_a_result_is_that_of_its_mean_weights(
    build: Build, fitted: xr.DataTree, settings: Settings
) -> None:
    """By hand from weight_mean, in the best context; sixty weights below 1e-6 are dropped."""
    locus = build()
    mean = fit_weights(locus, settings=settings)["marginals"]["weight_mean"]
    z = locus["gwas"]["z"].values
    for gene in mean["gene"].values:
        best = str(fitted["marginals"]["best_context"].sel(gene=gene).item())
        score = information = 0.0
        for a, ancestry in enumerate(["EUR", "AFR"]):
            dosage = locus[f"ld/{ancestry}"]["dosage"].values.astype(float)
            x = dosage - dosage.mean(axis=1, keepdims=True)
            norm = np.sqrt((x**2).sum(axis=1))
            x = x / np.where(norm > 0, norm, 1.0)[:, None]
            usable = np.isfinite(z[a]) & (norm > 0)
            w = np.where(usable, mean.sel(gene=gene, context=best, ancestry=ancestry).values, 0.0)
            n = float(np.nanmedian(locus["gwas"]["n"].values[a]))
            score += np.sqrt(n) * w @ np.nan_to_num(z[a])
            information += n * ((w @ x) ** 2).sum()
        np.testing.assert_allclose(
            float(fitted["observed_data"]["twas_z"].sel(gene=gene)), score / np.sqrt(information), rtol=2e-3
        )


def test_conditional_z_of_a_result_is_a_regression_on_all_genes(
    build: Build, fitted: xr.DataTree, settings: Settings
) -> None:
    """By hand from weight_mean and z: estimates I^-1 u of all genes at once, and of each with the lead
    variant."""
    locus = build()
    mean = fit_weights(locus, settings=settings)["marginals"]["weight_mean"]
    z, n = locus["gwas"]["z"].values, np.nanmedian(locus["gwas"]["n"].values, axis=1)
    genes = [str(gene) for gene in mean["gene"].values]
    best = [str(fitted["marginals"]["best_context"].sel(gene=gene).item()) for gene in genes]
    lead = np.zeros(z.shape[1])
    lead[np.nanargmax(np.nan_to_num(np.abs(z)).max(axis=0))] = 1
    u, information = np.zeros(len(genes) + 1), np.zeros((len(genes) + 1,) * 2)
    for a, ancestry in enumerate(["EUR", "AFR"]):
        dosage = locus[f"ld/{ancestry}"]["dosage"].values.astype(float)
        x = dosage - dosage.mean(axis=1, keepdims=True)
        norm = np.sqrt((x**2).sum(axis=1))
        x = x / np.where(norm > 0, norm, 1.0)[:, None]
        usable = np.isfinite(z[a]) & (norm > 0)
        rows = [
            mean.sel(gene=g, context=c, ancestry=ancestry).values for g, c in zip(genes, best, strict=True)
        ]
        columns = np.array([*rows, lead]) * usable
        u += np.sqrt(n[a]) * columns @ np.where(usable, z[a], 0.0)
        information += n[a] * (columns @ x) @ (columns @ x).T
    observed = fitted["observed_data"].dataset.sel(gene=genes)
    inverse = np.linalg.inv(information[:-1, :-1])
    expected = (inverse @ u[:-1]) / np.sqrt(np.diag(inverse))
    left = 1 / (np.diag(inverse) * np.diag(information)[:-1])  # share of each gene that the others leave
    assert (left > 0.05).any()
    # weights below 1e-6 are dropped, and single precision is stored
    found = observed["conditional_z"].values
    np.testing.assert_allclose(found[left > 0.05], expected[left > 0.05], rtol=5e-3, atol=5e-3)
    assert np.isnan(found[left < 0.05]).all()
    for g in range(len(genes)):
        pair = np.linalg.inv(information[np.ix_([g, -1], [g, -1])])
        expected_lead = (pair @ u[[g, -1]])[0] / np.sqrt(pair[0, 0])
        if pair[0, 0] * information[g, g] < 20:
            assert observed["conditional_z_lead"].values[g] == pytest.approx(
                expected_lead, rel=5e-3, abs=5e-3
            )
        else:
            assert np.isnan(observed["conditional_z_lead"].values[g])


def test_permutations_are_made_where_the_z_is_large(fitted: xr.DataTree) -> None:
    observed = fitted["observed_data"].dataset
    p = observed["permutation_p"].values
    large = np.abs(observed["twas_z"].values) > 1.959964
    assert large.any()
    np.testing.assert_array_equal(np.isfinite(p), large)
    assert ((p[large] >= 0.001) & (p[large] <= 1)).all()
    signals = observed["n_signals"].values
    assert np.isfinite(signals).all()
    np.testing.assert_array_equal(np.isfinite(observed["heterogeneity_q"].values), signals > 1)
