"""Genes against variants: plug-in limits, the classical TWAS, and the average over weights by quadrature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from bayestwas.engine.draws import draw_weights
from bayestwas.engine.gene_trait import (
    EffectSizes,
    GeneColumns,
    GeneTraitPriors,
    average,
    fit_direct,
    fit_gene_trait,
)
from bayestwas.engine.ld import LD, MatrixLD
from bayestwas.engine.likelihood import Candidates, correlation
from bayestwas.engine.single_effects import component_posterior, fit_single_effects

P = 8
R = [0.7 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P))).astype(float) for _ in range(2)]
R[1] = R[1] ** 1.4
N = np.array([4e4, 2e4])
PRIORS = GeneTraitPriors(0.1, 0.01, EffectSizes((0.01,)), EffectSizes((9e-4,)))


def columns(
    gene: int, rows: Sequence[np.ndarray], context: int = 0, weight: np.ndarray | None = None
) -> GeneColumns:
    """A target with draws `rows`, one (D, P) array per ancestry; every eighth draw in the same set."""
    count = len(rows[0])
    weight = np.full(count, 1 / count) if weight is None else weight
    return GeneColumns(
        gene,
        context,
        tuple(sparse.csr_array(one) for one in rows),
        np.log(weight),
        np.arange(count) % min(count, 8),
    )


def simulated(rng: np.random.Generator, gamma: float, weights: np.ndarray, direct: float = 0.0) -> np.ndarray:
    """z (2, P) from a gene with the given weights (P,), and a direct effect of the last variant."""
    beta = gamma * weights + direct * np.eye(P)[-1]
    return np.array(
        [
            np.sqrt(n) * r @ beta + np.linalg.cholesky(r) @ rng.standard_normal(P)
            for n, r in zip(N, R, strict=True)
        ]
    )


def references(n_ref: float) -> list[LD]:
    return [MatrixLD(r, n_ref) for r in R]


@pytest.fixture(scope="module")
def two_genes() -> tuple[np.ndarray, list[np.ndarray]]:
    """z from the first of two genes, and their weights."""
    rng = np.random.default_rng(1)
    weights = [np.array([0.0, 0.4, 0, 0, 0.2, 0, 0, 0]), np.array([0, 0.3, 0.1, 0, 0, 0, 0, 0])]
    return simulated(rng, 0.06, weights[0], direct=0.03), weights


@pytest.mark.parametrize("n_ref", [300.0, np.inf])
def test_without_spread_draws_are_the_plug_in(
    two_genes: tuple[np.ndarray, list[np.ndarray]], n_ref: float
) -> None:
    """Sixteen equal draws, with unequal importance weights, against one: only the rounding of sums over
    draws is between.
    """
    z, weights = two_genes
    share = np.random.default_rng(0).dirichlet(np.ones(16))
    drawn = [columns(g, [np.tile(w, (16, 1))] * 2, weight=share) for g, w in enumerate(weights)]
    plug = [columns(g, [w[None]] * 2) for g, w in enumerate(weights)]
    first, second = (
        fit_gene_trait(z, N, references(n_ref), t, PRIORS, effects=5, tolerance=1e-10) for t in (drawn, plug)
    )
    for name in ("alpha", "pip", "gene_pip", "effect", "effect_covariance", "positive", "pip_direct", "null"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-8, err_msg=name)
    np.testing.assert_array_equal(second.mcse, 0.0)


def test_an_infinite_reference_is_exact_ld(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    z, weights = two_genes
    targets = [columns(g, [w[None]] * 2) for g, w in enumerate(weights)]
    carried = fit_gene_trait(z, N, references(np.inf), targets, PRIORS, effects=5)
    off = fit_gene_trait(z, N, references(100.0), targets, PRIORS, effects=5, ld_noise=False)
    np.testing.assert_array_equal(carried.gene_pip, off.gene_pip)
    np.testing.assert_array_equal(carried.pip_direct, off.pip_direct)
    noisy = fit_gene_trait(z, N, references(100.0), targets, PRIORS, effects=5)
    assert np.abs(noisy.gene_pip - off.gene_pip).max() > 1e-3  # the noise is not nothing here


def test_known_weights_and_exact_ld_are_the_classical_twas(
    two_genes: tuple[np.ndarray, list[np.ndarray]],
) -> None:
    """Score over the root of the information is w'z / sqrt(w'Rw), whatever n and whatever the scale of w."""
    z, weights = two_genes
    for scale in (1.0, 7.0):
        target = columns(0, [scale * weights[0][None]])
        fit = fit_gene_trait(z[:1], N[:1], [MatrixLD(R[0])], [target], PRIORS, effects=1).fit
        score, information = fit.score[0, P, 0], fit.information[0, P, 0]
        twas = weights[0] @ z[0] / np.sqrt(weights[0] @ R[0] @ weights[0])
        np.testing.assert_allclose(score / np.sqrt(information), twas, rtol=1e-12)


def test_the_effect_is_per_sd_of_total_expression(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """Strong data: the estimate is z regressed on what the gene predicts, (w'z / sqrt(n)) / (w'Rw)."""
    weights = two_genes[1][0]
    z = np.array([np.sqrt(1e8) * r @ (0.06 * weights) for r in R])
    targets = [columns(0, [weights[None]] * 2)]
    fit = fit_gene_trait(z, np.array([1e8, 1e8]), references(np.inf), targets, PRIORS, effects=2)
    np.testing.assert_allclose(fit.effect[0], 0.06, rtol=1e-3)
    np.testing.assert_allclose(fit.positive[0], 1.0, atol=1e-6)  # the second effect, empty, is counted in


# ---- uncertain weights: the average over them by quadrature -----------------------------------------------


@pytest.fixture(scope="module")
def uncertain() -> tuple[np.ndarray, float, Candidates, object]:
    """z of one ancestry; the weights of its gene as one single effect fitted to a small panel."""
    rng = np.random.default_rng(3)
    w = np.array([0, 0, 0.35, 0, 0, 0, 0, 0])
    panel = np.sqrt(80) * R[0] @ w + np.linalg.cholesky(R[0]) @ rng.standard_normal(P)
    candidates = Candidates(P, (), np.full((P, 1), np.log(0.02)), np.full((P, 1), 0.05), np.ones((1, 1, 1)))
    fit = fit_single_effects(panel[None], np.array([80.0]), [MatrixLD(R[0])], candidates, effects=1)
    z = 200 * R[0] @ (0.05 * w) + np.linalg.cholesky(R[0]) @ rng.standard_normal(P)
    return z, 4e4, candidates, fit


def exact_pip(z: np.ndarray, n: float, candidates: Candidates, fit: object) -> float:
    """PIP of the gene with one effect on the trait.

    BF_gene = sum_j alpha_j int N(c; mu_j, s_j) BF(c) dc + null, with log BF(c) = s u^2 c^2 / 2(1 + s tau
    c^2) - log(1 + s tau c^2) / 2 for weights c on variant j alone; on a grid fine against s_j and against 1
    / sqrt(s tau).
    """
    s, tau, u = PRIORS.gene_sizes.mean_variance, n, np.sqrt(n) * z
    evidence = fit.null[0]
    for j in range(P):
        mean, covariance = component_posterior(fit, candidates, 0, j, 0)
        sd = np.sqrt(covariance[0, 0])
        grid = mean[0] + sd * np.linspace(-8, 8, 4001)
        density = np.exp(-0.5 * ((grid - mean[0]) / sd) ** 2)
        inner = 1 + s * tau * grid**2
        bf = np.exp(0.5 * s * (u[j] * grid) ** 2 / inner) / np.sqrt(inner)
        evidence += fit.alpha[0, j, 0] * (density @ bf) / density.sum()
    sd2 = PRIORS.direct_sizes.mean_variance
    direct = PRIORS.direct * np.exp(0.5 * sd2 * u**2 / (1 + sd2 * tau)) / np.sqrt(1 + sd2 * tau)
    return float(PRIORS.gene * evidence / (1 + PRIORS.gene * evidence + direct.sum()))


@pytest.mark.parametrize("tilted", [False, True])
def test_draws_average_to_the_exact_pip(uncertain: tuple, tilted: bool) -> None:
    """40 seeds: the mean within four standard errors, plus 0.002 for the curvature of the PIP in its
    evidence.

    And the reported Monte Carlo error is that of the spread over seeds, within a factor of two.
    """
    z, n, candidates, weights = uncertain
    exact = exact_pip(z, n, candidates, weights)
    assert 0.2 < exact < 0.9
    tilt = np.full(P, 1e-4)
    tilt[2] = 0.5
    pips, errors = [], []
    for seed in range(40):
        draws = draw_weights(weights, candidates, seed, draws=128, tilt=tilt if tilted else None)
        target = GeneColumns(0, 0, draws.columns, draws.log_weight, draws.replicate)
        fit = fit_gene_trait(z[None], np.array([n]), [MatrixLD(R[0])], [target], PRIORS, effects=1)
        pips.append(fit.gene_pip[0])
        errors.append(fit.gene_mcse[0])
    spread = np.std(pips, ddof=1)
    assert abs(np.mean(pips) - exact) < 4 * spread / np.sqrt(40) + 0.002
    assert 0.5 < np.mean(errors) / spread < 2


def test_the_monte_carlo_error_is_honest_with_many_effects(
    two_genes: tuple[np.ndarray, list[np.ndarray]],
) -> None:
    """Two genes of one panel, two contexts for the first, three effects on the trait: mean mcse against the
    spread, 40 seeds.
    """
    z, weights = two_genes
    rng = np.random.default_rng(4)
    panel = np.array([100.0, 60.0])
    candidates = Candidates(
        P, (), np.full((P, 1), np.log(0.1)), np.full((P, 1), 0.05), correlation(0.9, 2)[None]
    )
    fits = []
    for w in weights:
        panel_z = [
            np.sqrt(n) * r @ w + np.linalg.cholesky(r) @ rng.standard_normal(P)
            for n, r in zip(panel, R, strict=True)
        ]
        fits.append(
            fit_single_effects(
                np.array(panel_z), panel, references(np.inf), candidates, effects=3, ld_noise=False
            )
        )
    pips, errors = [], []
    for seed in range(40):
        targets = []
        for g, fit in enumerate(fits):
            draws = draw_weights(fit, candidates, 100 * seed + g, draws=64)
            targets += [
                GeneColumns(g, c, draws.columns, draws.log_weight, draws.replicate) for c in range(2 - g)
            ]
        result = fit_gene_trait(z, N, references(np.inf), targets, PRIORS, effects=3)
        pips.append(result.gene_pip)
        errors.append(result.gene_mcse)
    spread = np.std(pips, axis=0, ddof=1)
    assert (spread > 0.003).all()  # there is an error to report
    ratio = np.mean(errors, axis=0) / spread
    assert (ratio > 0.5).all(), ratio
    assert (ratio < 2).all(), ratio


def test_contexts_of_a_gene_add_up(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """One column in two contexts, which share the prior: each has half, and the gene what it had."""
    z, weights = two_genes
    single = fit_gene_trait(z, N, references(np.inf), [columns(0, [weights[0][None]] * 2)], PRIORS, effects=4)
    targets = [columns(0, [weights[0][None]] * 2, context=c) for c in range(2)]
    double = fit_gene_trait(z, N, references(np.inf), targets, PRIORS, effects=4)
    np.testing.assert_allclose(double.gene_pip, single.gene_pip, atol=1e-9)
    np.testing.assert_allclose(double.alpha[:, 0], double.alpha[:, 1], atol=1e-12)
    np.testing.assert_allclose(double.gene_alpha[:, 0], single.alpha[:, 0], atol=1e-9)


def test_moments_of_the_effects_by_hand(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """One effect, two draws: mean, covariance and sign mixed over the draws by their posterior
    probabilities.
    """
    from scipy.stats import norm

    z, weights = 0.15 * two_genes[0], two_genes[1]  # weak, so that the signs are not certain
    rows = np.array([weights[0], 0.5 * weights[1]])
    target = columns(0, [rows, rows], weight=np.array([0.3, 0.7]))
    fit = fit_gene_trait(z, N, references(np.inf), [target], PRIORS, effects=1)
    omega = 0.01 * correlation(0.9, 2)
    weight, moments = [], []
    for share, w in zip((0.3, 0.7), rows, strict=True):
        u = np.array([np.sqrt(n) * w @ one for n, one in zip(N, z, strict=True)])
        tau = np.diag([n * w @ r @ w for n, r in zip(N, R, strict=True)])
        covariance = np.linalg.inv(tau + np.linalg.inv(omega))
        mean = covariance @ u
        log_bf = 0.5 * u @ mean - 0.5 * np.linalg.slogdet(np.eye(2) + omega @ tau)[1]
        weight.append(share * np.exp(log_bf))
        moments.append((mean, covariance))
    weight = np.array(weight) / np.sum(weight)
    mean = sum(w * m for w, (m, _) in zip(weight, moments, strict=True))
    second = sum(w * (v + np.outer(m, m)) for w, (m, v) in zip(weight, moments, strict=True))
    positive = sum(w * norm.cdf(m / np.sqrt(np.diag(v))) for w, (m, v) in zip(weight, moments, strict=True))
    both = sum(w * norm.cdf(m.mean() / np.sqrt(v.mean())) for w, (m, v) in zip(weight, moments, strict=True))
    np.testing.assert_allclose(fit.effect[0], mean, rtol=1e-9)
    np.testing.assert_allclose(fit.effect_covariance[0], second - np.outer(mean, mean), rtol=1e-7)
    np.testing.assert_allclose(fit.positive[0], positive, rtol=1e-9)
    np.testing.assert_allclose(fit.positive_mean[0], both, rtol=1e-9)
    assert 0.5 < both < 0.99


def test_a_gene_without_weights_in_reach_keeps_its_prior(
    two_genes: tuple[np.ndarray, list[np.ndarray]],
) -> None:
    """Nothing drawn, or only at variants that the GWAS lacks: a Bayes factor of one, and the prior effect."""
    z, weights = two_genes
    holes = z.copy()
    holes[:, 3] = np.nan
    elsewhere = np.eye(P)[[3]]
    targets = [
        columns(0, [np.zeros((1, P))] * 2),
        columns(1, [elsewhere] * 2),
        columns(2, [weights[0][None]] * 2),
    ]
    fit = fit_gene_trait(holes, N, references(300.0), targets, PRIORS, effects=1)
    np.testing.assert_allclose(fit.alpha[0, :2] / fit.null[0], PRIORS.gene, rtol=1e-9)
    np.testing.assert_allclose(fit.effect[:2], 0.0, atol=1e-12)
    np.testing.assert_allclose(
        fit.effect_covariance[:2],
        np.tile(PRIORS.gene_sizes.mean_variance * correlation(0.9, 2), (2, 1, 1)),
        rtol=1e-9,
    )
    np.testing.assert_allclose(fit.positive[:2], 0.5)
    assert fit.pip_direct[3] == 0.0  # absent everywhere


def test_no_genes_at_all(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """A block without expression is the trait fine-mapped."""
    z = two_genes[0]
    fit = fit_gene_trait(z, N, references(np.inf), [], PRIORS, effects=4)
    assert fit.pip.shape == fit.gene_pip.shape == (0,)
    unit = Candidates(P, (), np.full((P, 1), np.log(0.01)), np.full((P, 1), 9e-4), correlation(0.9, 2)[None])
    alone = fit_single_effects(z, N, references(np.inf), unit, effects=4)
    # the starts differ, the tolerance is 1e-4
    np.testing.assert_allclose(fit.pip_direct, alone.pip, atol=1e-3)


def test_direct_start_is_a_fit_without_genes(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    z, weights = two_genes
    targets = [columns(0, [weights[0][None]] * 2)]
    start = fit_direct(z, N, references(300.0), PRIORS, effects=4).lam
    given = fit_gene_trait(z, N, references(300.0), targets, PRIORS, effects=4, direct_start=start)
    computed = fit_gene_trait(z, N, references(300.0), targets, PRIORS, effects=4)
    np.testing.assert_array_equal(given.alpha, computed.alpha)


def test_the_cut_posterior_is_the_mean_over_fits(two_genes: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """Two fits, each with one draw as known, and a gene that is effect one in the first and effect two in
    the second.
    """
    z, weights = two_genes
    fits = []
    for scale in (1.0, 0.4):
        targets = [columns(g, [scale * w[None]] * 2) for g, w in enumerate(weights)]
        fits.append(fit_gene_trait(z, N, references(np.inf), targets, PRIORS, effects=3))
    swapped = replace(fits[1], alpha=fits[1].alpha[::-1], gene_alpha=fits[1].gene_alpha[::-1])
    cut = average([fits[0], swapped])
    pips = np.array([fit.gene_pip for fit in fits])
    np.testing.assert_allclose(cut.gene_pip, pips.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        cut.gene_mcse, np.abs(pips[0] - pips[1]) / 2, atol=1e-12
    )  # sd / sqrt(2) of two
    np.testing.assert_allclose(cut.pip_direct, (fits[0].pip_direct + fits[1].pip_direct) / 2, rtol=1e-12)
    share = np.array([fit.pip for fit in fits]) / np.sum([fit.pip for fit in fits], axis=0)
    effect = sum(s[:, None] * fit.effect for s, fit in zip(share, fits, strict=True))
    np.testing.assert_allclose(cut.effect, effect, rtol=1e-12)


def test_contexts_share_the_prior_of_their_gene() -> None:
    """A gene without any signal is as improbable in ten contexts as in one: prior odds over one plus odds."""
    p, draws = 8, 16
    rng = np.random.default_rng(3)
    column = sparse.csr_array(np.eye(p)[rng.integers(0, p, draws)] * 0.3)
    pips = []
    for contexts in (1, 10):
        flat = (np.full(draws, -np.log(draws)), np.repeat(np.arange(8), 2))
        targets = [GeneColumns(0, c, (column,), *flat) for c in range(contexts)]
        priors = GeneTraitPriors(0.05, 1e-4, EffectSizes((0.01,)), EffectSizes((0.001,)))
        fit = fit_gene_trait(np.zeros((1, p)), np.array([1e4]), [MatrixLD(np.eye(p))], targets, priors)
        pips.append(fit.gene_pip[0])
    np.testing.assert_allclose(pips[1], pips[0], rtol=1e-6)
    assert 0 < pips[0] < 0.05
