"""Sizes of effects learned over pairs: exact sums, exact gradient, and the truth of simulated pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from bayestwas.engine.coloc import ColocPriors, approximate_bayes_factor, hypotheses, pair_sums
from bayestwas.engine.coloc_sizes import (
    CENTRE,
    MIX,
    SCALE,
    STRENGTH,
    _loss,
    collapsed,
    joined,
    learn_sizes,
    no_pairs,
    size_sums,
)

VARIANCES = (4.0, 30.0, 200.0)


def by_size(rng: np.random.Generator, pairs: int = 7, m: int = 9) -> tuple[np.ndarray, np.ndarray]:
    lbf = rng.normal(0, 3, (2, 3, pairs, m))
    lbf[0, :, 2, 4] = -np.inf  # a variant that one trait lacks
    return lbf[0], lbf[1][:2]


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_under_shares_are_those_of_the_mixture(weighted: bool) -> None:
    rng = np.random.default_rng(1)
    first, second = by_size(rng)
    weight = rng.normal(0, 1, first.shape[2]) if weighted else None
    share1, share2 = rng.dirichlet(np.ones(3)), np.array([0.0, 1.0])
    with np.errstate(divide="ignore"):
        mixed = [
            logsumexp(lbf + np.log(share)[:, None, None], axis=0)
            for lbf, share in ((first, share1), (second, share2))
        ]
    expected = pair_sums(*mixed, weight)
    found = collapsed(size_sums(first, second, weight), share1, share2)
    np.testing.assert_allclose(found.log_sum, expected.log_sum, atol=1e-9)
    np.testing.assert_array_equal(found.log_mass, expected.log_mass)


def test_the_loss_is_the_evidence_and_its_gradient_is_exact() -> None:
    rng = np.random.default_rng(2)
    near = np.triu(rng.random((9, 9)) < 0.4, 1)
    sums = size_sums(*by_size(rng), near=near | near.T)
    base = [np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.4])]
    x = rng.normal(0, 1, 9)
    value, slope = _loss(x, sums, base)
    shares = [np.exp(part - logsumexp(part)) for part in (x[3:6], x[6:8])]
    log_p = MIX @ x[:3]
    pairs = collapsed(sums, *shares, float(x[8]))
    log_prior = ColocPriors(*np.exp(log_p[[1, 2, 4]])).log()
    evidence = logsumexp(pairs.log_sum + log_prior, axis=1) - logsumexp(pairs.log_mass + log_prior, axis=1)
    expected = evidence.sum() - 0.5 * (((x[:3] - CENTRE) / SCALE) ** 2).sum() - 0.5 * (x[8] / SCALE) ** 2
    expected += STRENGTH * sum(own @ np.log(share) for own, share in zip(base, shares, strict=True))
    assert value == pytest.approx(-expected, rel=1e-12)
    step = 1e-6 * np.eye(9)
    numeric = [(_loss(x + s, sums, base)[0] - _loss(x - s, sums, base)[0]) / 2e-6 for s in step]
    np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-6)


def test_nothing_to_learn_from_leaves_the_shares() -> None:
    first, second = np.array([0.2, 0.0, 0.8]), np.array([0.5, 0.5])
    found = learn_sizes(no_pairs(3, 2), first, second)
    np.testing.assert_allclose(found.first, first, atol=1e-4)
    np.testing.assert_allclose(found.second, second, atol=1e-4)
    np.testing.assert_allclose(np.log(found.priors), MIX[[1, 2, 4]] @ CENTRE, atol=1e-3)


def test_effects_of_one_size_and_calibrated_sharing() -> None:
    """600 pairs whose effects all have the middle variance: it gets most of the share, and H4 adds up to
    the number of shared variants within 4 standard deviations."""
    rng = np.random.default_rng(3)
    pairs, m = 600, 60
    truth = rng.choice(5, pairs, p=np.array([3, 2, 2, 3, 2]) / 12)
    effect = np.zeros((2, pairs, m))
    for i, h in enumerate(truth):
        j, k = rng.choice(m, 2, replace=False)
        effect[0, i, j] = rng.normal(0, np.sqrt(VARIANCES[1])) * (h in (1, 3, 4))
        effect[1, i, j if h == 4 else k] = rng.normal(0, np.sqrt(VARIANCES[1])) * (h > 1)
    z = effect + rng.standard_normal(effect.shape)
    lbf = np.array(
        [[approximate_bayes_factor(one, np.ones_like(one), np.sqrt(v)) for v in VARIANCES] for one in z]
    )
    sums = joined([size_sums(part[0], part[1]) for part in np.split(lbf, 6, axis=2)])
    equal = np.full(3, 1 / 3)
    found = learn_sizes(sums, equal, equal)
    assert found.first[1] > 0.7
    assert found.second[1] > 0.7
    h4 = hypotheses(collapsed(sums, found.first, found.second), found.priors)[:, 4]
    deviation = np.sqrt((h4 * (1 - h4)).sum())
    assert abs(h4.sum() - (truth == 4).sum()) < 4 * deviation
