"""What the effects of a block say whatever the priors: against closed forms, and averages over priors by
hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse, special, stats

from bayestwas.engine.evidence import FAINT, Evidence, averaged, bayes_factors, class_sums, evidence, split
from bayestwas.engine.gene_trait import (
    EffectSizes,
    GeneColumns,
    GeneTraitPosterior,
    GeneTraitPriors,
    fit_gene_trait,
    gene_odds,
)
from bayestwas.engine.ld import MatrixLD

P = 8
R = [0.7 ** np.abs(np.subtract.outer(np.arange(P), np.arange(P))).astype(float) for _ in range(2)]
R[1] = R[1] ** 1.4
N = np.array([4e4, 2e4])
PRIORS = GeneTraitPriors(
    0.2, 0.02, EffectSizes((0.001, 0.01), (0.3, 0.7), 0.8), EffectSizes((1e-4, 1e-3), (0.6, 0.4), 0.5)
)
# another draw of everything that is learned
OTHER = GeneTraitPriors(
    np.array([0.02, 0.3, 0.1]), np.linspace(0.001, 0.2, P),
    EffectSizes((0.001, 0.01), (0.8, 0.2), 0.3), EffectSizes((1e-4, 1e-3), (0.1, 0.9), 0.95),
)  # fmt: skip
TIGHT = 1e-9  # total variation at which fits stop


def target(gene: int, context: int, rows: np.ndarray, weight: np.ndarray) -> GeneColumns:
    """A gene in a context with draws `rows` (D, P), the same in both ancestries."""
    return GeneColumns(
        gene, context, (sparse.csr_array(rows),) * 2, np.log(weight), np.zeros(len(rows), dtype=np.intp)
    )


@pytest.fixture(scope="module")
def targets() -> list[GeneColumns]:
    """Two genes, one of them in two contexts, with three draws each."""
    rng = np.random.default_rng(1)
    made = []
    for gene, context in ((0, 0), (0, 1), (1, 0)):
        rows = 0.3 * rng.standard_normal((3, P)) * (rng.random(P) < 0.4)
        rows[:, gene] += 0.3
        made.append(target(gene, context, rows, rng.dirichlet(np.ones(3))))
    return made


@pytest.fixture(scope="module")
def z(targets: list[GeneColumns]) -> np.ndarray:
    """From the first gene, moderately strong, and a weak direct effect."""
    rng = np.random.default_rng(2)
    beta = 0.05 * targets[0].columns[0].toarray()[0] + 0.015 * np.eye(P)[-1]
    noise = [np.linalg.cholesky(r) @ rng.standard_normal(P) for r in R]
    return np.array([np.sqrt(n) * r @ beta + e for n, r, e in zip(N, R, noise, strict=True)])


def fit(
    z: np.ndarray, targets: Sequence[GeneColumns], priors: GeneTraitPriors = PRIORS, effects: int = 4
) -> GeneTraitPosterior:
    return fit_gene_trait(
        z, N, [MatrixLD(r) for r in R], targets, priors, effects=effects, tolerance=TIGHT, max_sweeps=2000
    )


def closed_form(column: np.ndarray, z: np.ndarray, variance: float, correlation: float) -> float:
    """log Bayes factor of the effect of one column (P,), from the covariance of w'z over the ancestries."""
    seen = np.isfinite(z).all(axis=1)
    u = np.array([np.sqrt(n) * column @ one for n, one in zip(N, z, strict=True)])[seen]
    j = np.diag([n * column @ r @ column for n, r in zip(N, R, strict=True)])[np.ix_(seen, seen)]
    omega = (correlation * np.ones((2, 2)) + (1 - correlation) * np.eye(2))[np.ix_(seen, seen)]
    normal = stats.multivariate_normal
    return float(normal.logpdf(u, cov=j + variance * j @ omega @ j) - normal.logpdf(u, cov=j))


def exact(z: np.ndarray, targets: Sequence[GeneColumns]) -> tuple[np.ndarray, np.ndarray]:
    """(T, S) and (P, S) log Bayes factors of one effect alone, column by column."""
    gene = np.empty((len(targets), 2))
    for t, s in np.ndindex(gene.shape):
        rows, variance = targets[t].columns[0].toarray(), PRIORS.gene_sizes.variances[s]
        log_bf = [closed_form(row, z, variance, 0.8) for row in rows]
        gene[t, s] = special.logsumexp(log_bf, b=np.exp(targets[t].log_weight))
    variant = np.array(
        [[closed_form(e, z, v, 0.5) for v in PRIORS.direct_sizes.variances] for e in np.eye(P)]
    )
    return gene, variant


def test_the_first_effect_alone_has_the_bayes_factors_of_the_closed_form(
    z: np.ndarray, targets: list[GeneColumns]
) -> None:
    posterior = fit(z, targets, effects=1)
    seen = evidence(posterior, targets, PRIORS)
    gene, variant = exact(z, targets)
    assert seen.gene.shape == (1, 3, 2)
    np.testing.assert_allclose(seen.gene[0], gene, rtol=1e-9)
    np.testing.assert_allclose(seen.variant[0], variant, rtol=1e-9)
    # score and information of a kind: means over its candidates, as probable as they are
    for kind, part in enumerate((slice(P, None), slice(0, P))):
        alpha = posterior.fit.alpha[0, part].sum(axis=1)
        expected = alpha @ posterior.fit.score[0, part] / alpha.sum()
        np.testing.assert_allclose(seen.score[0, kind], expected if alpha.sum() > 0.05 else 0.0, rtol=1e-12)
    assert seen.score.any()


def test_rows_are_the_effects_that_are_there_and_one_more(z: np.ndarray, targets: list[GeneColumns]) -> None:
    quiet = fit(0.01 * z, targets, replace(PRIORS, gene=0.01, direct=1e-3))
    assert (quiet.null > 0.95).all()
    assert len(evidence(quiet, targets, PRIORS).variant) == 1
    loud = fit(z, targets)
    last = int(np.flatnonzero(loud.null < 0.95)[-1])  # an empty effect may come before one that is there
    assert last < 3
    assert len(evidence(loud, targets, PRIORS).variant) == last + 2


@pytest.fixture(scope="module")
def made_up() -> Evidence:
    """Two signals, of gene 1 (overwhelming) and of variants 0 and 1, and the effect that is not there."""
    rng = np.random.default_rng(3)
    gene, variant = rng.normal(-1, 0.5, (4, 2)), rng.normal(-1, 0.5, (6, 2))
    variant[2], variant[4] = -np.inf, (3.0, 0.2)  # not usable; stands out, at one of the sizes
    genes, variants = np.tile(gene, (3, 1, 1)), np.tile(variant, (3, 1, 1))
    genes[0, 1] += 900.0
    variants[1, :2] += 20.0
    sizes = (PRIORS.gene_sizes, PRIORS.direct_sizes)
    return Evidence(genes, variants, np.zeros((3, 2, 1)), np.zeros((3, 2, 1)), sizes)


def test_class_sums_tell_the_signals_from_the_rest(made_up: Evidence) -> None:
    """A row of a signal has what its Bayes factors exceed the last row's by; the last row what stands out
    there; the rest all others of the last row."""
    gene_class, variant_class = np.array([0, 2, 0, 0]), np.array([3, 3, 5, 3, 6, 3])
    found, rest = class_sums(made_up, gene_class, variant_class)
    assert found.shape == (3, 7, 2)
    assert rest.shape == (7, 2)
    last = np.concatenate([made_up.gene[2], made_up.variant[2]])
    owner = np.concatenate([gene_class, variant_class])
    stands_out = last > FAINT
    assert stands_out.sum() == 1
    for c in range(7):
        mine = owner == c
        faint, own = (np.where(one, np.exp(last), 0.0)[mine].sum(axis=0) for one in (~stands_out, stands_out))
        np.testing.assert_allclose(rest[c], faint, rtol=1e-12)
        np.testing.assert_allclose(np.exp(found[2, c]), own, rtol=1e-12)
    expected = np.full((2, 7, 2), -np.inf)
    expected[0, 2] = made_up.gene[0, 1]  # what the last row has is 1 in e^900
    signal = np.exp(made_up.variant[1, :2]) - np.exp(made_up.variant[2, :2])
    expected[1, 3] = np.log(signal.sum(axis=0))
    np.testing.assert_allclose(found[:2], expected, rtol=1e-10)


def test_class_sums_without_genes_and_of_one_row(made_up: Evidence) -> None:
    variant_class = np.array([1, 1, 2, 1, 3, 1])
    none, empty = np.empty((3, 0, 2)), np.empty(0, dtype=np.intp)
    found, rest = class_sums(replace(made_up, gene=none), empty, variant_class)
    assert (found[:, 0] == -np.inf).all()
    assert not rest[[0, 2]].any()  # without candidates, or usable ones
    one = replace(made_up, gene=none[2:], variant=made_up.variant[2:])
    alone, same = class_sums(one, empty, variant_class)
    np.testing.assert_array_equal(alone[0], found[2])
    np.testing.assert_array_equal(same, rest)


@pytest.mark.parametrize("effects", [1, 3])
def test_signals_and_rest_leave_no_evidence_out(
    z: np.ndarray, targets: list[GeneColumns], effects: int
) -> None:
    """Over signals and rest a candidate has all of its Bayes factor: that of one effect where that is all
    there is, and at least the largest of any effect."""
    seen = evidence(fit(z, targets, effects=effects), targets, PRIORS)
    for log_bf in (seen.gene, seen.variant):
        own, top, rest = split(log_bf)
        total = (own * np.exp(top)[:, None]).sum(axis=0) + rest
        if effects == 1:
            np.testing.assert_allclose(total, np.exp(log_bf[0]), rtol=1e-10)
        else:
            assert (total >= np.exp(log_bf).max(axis=0) * (1 - 1e-10)).all()


def summaries(posterior: GeneTraitPosterior) -> dict[str, np.ndarray]:
    names = ("alpha", "pip", "gene_alpha", "gene_pip", "alpha_direct", "pip_direct", "null")
    return {name: getattr(posterior, name) for name in names}


def test_averaged_over_its_own_prior_is_the_fit(z: np.ndarray, targets: list[GeneColumns]) -> None:
    """To the convergence of the fit: effects are updated one after the other, and end consistent. The effects
    that are not kept as rows stay those of the fit; they are empty."""
    posterior = fit(z, targets)
    assert posterior.fit.converged
    seen = evidence(posterior, targets, PRIORS)
    again = averaged(posterior, seen, targets, [PRIORS])
    rows = len(seen.variant)
    for name in ("alpha", "gene_alpha", "alpha_direct", "null"):
        np.testing.assert_allclose(
            summaries(again)[name], summaries(posterior)[name], atol=1e-6, err_msg=name
        )
    # PIPs are of the rows that are kept: without the effects beyond, which hold at most this much
    beyond = float((1 - posterior.null[rows:]).sum())
    for name in ("pip", "gene_pip", "pip_direct"):
        assert np.abs(summaries(again)[name] - summaries(posterior)[name]).max() <= beyond + 1e-6
    np.testing.assert_array_equal(again.effect, posterior.effect)


def test_averaged_over_two_priors_is_the_mean_of_both(z: np.ndarray, targets: list[GeneColumns]) -> None:
    posterior = fit(z, targets)
    seen = evidence(posterior, targets, PRIORS)

    def over(*priors: GeneTraitPriors) -> dict[str, np.ndarray]:
        return summaries(averaged(posterior, seen, targets, priors))

    one, two, both = over(PRIORS), over(OTHER), over(PRIORS, OTHER)
    for name in one:
        np.testing.assert_allclose(both[name], (one[name] + two[name]) / 2, rtol=1e-12, err_msg=name)
    assert np.abs(one["pip"] - two["pip"]).max() > 0.01


def by_hand(
    gene: np.ndarray, variant: np.ndarray, targets: Sequence[GeneColumns], prior: GeneTraitPriors
) -> np.ndarray:
    """(T + P + 1) probabilities of one effect: gene-contexts, variants, nothing."""
    kinds = (
        (gene, gene_odds(targets, prior), prior.gene_sizes),
        (variant, prior.direct * np.ones(P), prior.direct_sizes),
    )
    odds = [o * (np.exp(log_bf) @ np.array(sizes.weights)) for log_bf, o, sizes in kinds]
    weight = np.concatenate([*odds, [1.0]])
    return np.asarray(weight / weight.sum())


def test_one_effect_is_averaged_over_posterior_odds_not_at_the_mean_prior(
    z: np.ndarray, targets: list[GeneColumns]
) -> None:
    """Exact enumeration with one effect, at the correlation of the fit: the mean of the probabilities under
    each prior, which is not the probability under the mean prior."""
    z = 0.35 * z  # so weak that the prior decides
    posterior = fit(z, targets, effects=1)
    seen = evidence(posterior, targets, PRIORS)
    wide = replace(PRIORS, gene=2.0, direct=0.5)
    narrow = replace(PRIORS, gene=0.002, direct=5e-4)
    gene, variant = exact(z, targets)
    draws = [by_hand(gene, variant, targets, prior) for prior in (wide, narrow)]
    expected = np.mean(draws, axis=0)
    found = averaged(posterior, seen, targets, iter([wide, narrow]))
    got = np.concatenate([found.alpha[0], found.alpha_direct[0], found.null])
    np.testing.assert_allclose(got, expected, rtol=1e-8)
    np.testing.assert_allclose(found.gene_pip, [expected[:2].sum(), expected[2]], rtol=1e-8)
    mean = replace(PRIORS, gene=np.sqrt(2.0 * 0.002), direct=np.sqrt(0.5 * 5e-4))
    plugged = by_hand(gene, variant, targets, mean)
    assert np.abs(plugged - expected).max() > 0.05


def test_another_correlation_is_exact_for_a_kind_of_one_candidate(z: np.ndarray) -> None:
    """The correction moves all candidates of a kind by what their mean score says: exact where there is one,
    and variants are as good as impossible."""
    rows = np.zeros((1, P))
    rows[0, :2] = 0.3, 0.4
    targets = [target(0, 0, rows, np.ones(1))]
    rare = replace(PRIORS, gene=1.0, direct=1e-250)
    moved = replace(rare, gene_sizes=replace(rare.gene_sizes, correlation=-0.2))
    posterior = fit(z, targets, rare, effects=1)
    assert posterior.null[0] < 0.95
    found = averaged(posterior, evidence(posterior, targets, rare), targets, [moved])
    log_bf = [closed_form(rows[0], z, v, -0.2) for v in rare.gene_sizes.variances]
    odds = np.exp(log_bf) @ np.array(rare.gene_sizes.weights)
    assert found.pip[0] == pytest.approx(odds / (1 + odds), rel=1e-8)
    again = fit(z, targets, moved, effects=1)
    assert found.pip[0] == pytest.approx(again.pip[0], rel=1e-8)


def test_an_ancestry_without_a_gwas_says_nothing(z: np.ndarray, targets: list[GeneColumns]) -> None:
    one = np.where([[True], [False]], z, np.nan)
    posterior = fit(one, targets, effects=1)
    seen = evidence(posterior, targets, PRIORS)
    gene, variant = exact(one, targets)
    np.testing.assert_allclose(seen.gene[0], gene, rtol=1e-9)
    np.testing.assert_allclose(seen.variant[0], variant, rtol=1e-9)
    assert not seen.information[:, :, 1].any()
    # and the correlation does not matter
    elsewhere = replace(PRIORS, gene_sizes=replace(PRIORS.gene_sizes, correlation=0.0))
    moved = averaged(posterior, seen, targets, [elsewhere])
    np.testing.assert_allclose(moved.pip, posterior.pip, rtol=1e-9)


def test_a_block_without_genes(z: np.ndarray) -> None:
    posterior = fit(z, [])
    seen = evidence(posterior, [], PRIORS)
    assert seen.gene.shape[1:] == (0, 2)
    assert not seen.score[:, 0].any()
    again = averaged(posterior, seen, [], [PRIORS, PRIORS])
    np.testing.assert_allclose(again.alpha_direct, posterior.alpha_direct, atol=1e-6)
    assert again.gene_pip.shape == (0,)


def test_a_block_without_usable_variants(targets: list[GeneColumns]) -> None:
    """Nothing is known: variants are impossible, and genes are as probable as their priors say."""
    posterior = fit(np.full((2, P), np.nan), targets, effects=1)
    seen = evidence(posterior, targets, PRIORS)
    assert (seen.variant == -np.inf).all()
    np.testing.assert_allclose(seen.gene, 0.0, atol=1e-12)
    again = averaged(posterior, seen, targets, [PRIORS])
    np.testing.assert_allclose(again.gene_pip, 0.2 / 1.4, rtol=1e-9)
    np.testing.assert_array_equal(again.pip_direct, 0.0)


def test_bayes_factors_at_every_size(z: np.ndarray) -> None:
    """Of unit vectors, z itself is the score in units of the root of n."""
    root = np.sqrt(N)[:, None]
    found = bayes_factors(z * root, np.tile(root**2, P), PRIORS.direct_sizes)
    expected = [[closed_form(e, z, v, 0.5) for v in PRIORS.direct_sizes.variances] for e in np.eye(P)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
