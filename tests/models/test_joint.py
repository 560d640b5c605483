"""`joint`: its probabilities against enumeration, and the decompositions behind its free variables."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bayestwas.models import joint
from scipy import special, stats

MODE = "FAST_COMPILE"
SIGMA = 5.0
LOCI = 4_000  # of a few microseconds each


@pytest.fixture(scope="module")
def case(case_of: Callable[[str], ModuleType]) -> ModuleType:
    return case_of("joint")


def test_probabilities_and_effects_are_those_of_enumeration(case: ModuleType) -> None:
    """Inclusion, eQTL and direct effect of every configuration written out, at fixed free variables."""
    told = {**case.FIXED, "n": 3e5, **case.POINT}
    data = joint.simulate(np.random.default_rng(12), case.COORDS, told)
    p, genes = len(case.COORDS["variant"]), len(case.COORDS["gene"])
    states, log_joint, effects = zip(*case.configurations(data, case.POINT), strict=True)
    weight = special.softmax(log_joint)
    expected = {
        "pip": [sum(w for w, s in zip(weight, states, strict=True) if s[g][1]) for g in range(genes)],
        "pip_direct": [sum(w for w, s in zip(weight, states, strict=True) if s[-1] == j) for j in range(p)],
        "pip_eqtl": [
            [sum(w for w, s in zip(weight, states, strict=True) if s[g][0] == j) for j in range(p)]
            for g in range(genes)
        ],
        "effect": weight @ np.array(effects),
        "correlation": case.correlation_matrix(data, case.POINT)[np.tril_indices(p, -1)],
    }
    model = joint.build(data, case.COORDS)
    seen = model.compile_fn(
        [model[name] for name in expected], inputs=model.free_RVs, mode=MODE, point_fn=False
    )(*(case.POINT[rv.name] for rv in model.free_RVs))
    for (name, value), computed in zip(expected.items(), seen, strict=True):
        # elimination in double precision, condition number below 1e4
        np.testing.assert_allclose(computed, value, rtol=1e-9, atol=1e-12, err_msg=name)
    assert 0.05 < min(expected["pip"]) < max(expected["pip"]) < 0.999  # a case in which something is decided


def forward(rng: np.random.Generator, n_ref: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Sigma from its prior and the sample covariance of people from Sigma: the story as it is told."""
    half = rng.standard_normal((p + 1, p))
    sigma = np.linalg.inv(half.T @ half)
    people = rng.standard_normal((n_ref, p)) @ np.linalg.cholesky(sigma).T
    return sigma, people.T @ people / n_ref


def test_ld_given_the_reference_is_bartletts_decomposition() -> None:
    """Draws of Sigma and S as told, decomposed: chi-squares and normals, independent of S."""
    rng, n_ref, p = np.random.default_rng(3), 12, 3
    chi_square, normal, diagonal = [], [], []
    for _ in range(LOCI):
        sigma, sample = forward(rng, n_ref, p)
        outer = np.linalg.cholesky(np.linalg.inv(np.eye(p) + n_ref * sample))
        half = np.linalg.solve(outer, np.linalg.cholesky(np.linalg.inv(sigma)))
        factor = np.linalg.cholesky(half @ half.T)
        chi_square.append(np.diag(factor) ** 2)
        normal.append(factor[np.tril_indices(p, -1)])
        diagonal.append(np.log(np.diag(sample)))
    degrees = n_ref + p + 1 - np.arange(p)
    for k in range(p):
        assert stats.kstest(np.array(chi_square)[:, k], stats.chi2(degrees[k]).cdf).pvalue > 1e-6
        assert stats.kstest(np.array(normal)[:, k], stats.norm.cdf).pvalue > 1e-6
    drawn = np.concatenate([chi_square, normal], axis=1)
    correlations = np.corrcoef(drawn.T, np.array(diagonal).T)[: drawn.shape[1], drawn.shape[1] :]
    assert np.abs(correlations).max() < SIGMA / np.sqrt(LOCI)


def test_xi_is_standard_normal_as_told(case: ModuleType) -> None:
    """b from its prior, z-scores given b: b less its posterior mean, over its standard deviation."""
    rng, p, n = np.random.default_rng(5), 3, 80.0
    ld = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
    b = joint.SD["eqtl"] * rng.standard_normal(LOCI)
    noise = rng.standard_normal((LOCI, p)) @ np.linalg.cholesky(ld).T
    z = np.sqrt(n) * b[:, None] * ld[1] + noise
    data: dict[str, Any] = {"z": np.zeros(p), "n": 1e5, "ld": ld, "n_ref": 100.0}
    given = joint.constants({**data, "z_expression": z, "n_expression": np.full(LOCI, n)})
    xi = (b - given["b_mean"][:, 1]) / given["b_sd"]
    assert stats.kstest(xi, stats.norm.cdf).pvalue > 1e-6
    assert abs(np.corrcoef(xi, z[:, 1])[0, 1]) < SIGMA / np.sqrt(LOCI)


def test_too_many_configurations_are_refused(case: ModuleType) -> None:
    coords = {**case.COORDS, "variant": range(17), "variant_": range(17), "pair": range(136)}
    data = joint.simulate(np.random.default_rng(1), coords)
    with pytest.raises(ValueError, match="5832 configurations; at most 5000"):
        joint.build(data, coords)
