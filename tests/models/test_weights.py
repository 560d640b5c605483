"""`weights`: summary statistics say what the people say; the prior is the one that is stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from bayestwas.models import load
from bayestwas.models.weights import EXPECTED, NOTICEABLE, _tau, constants

MODE = "FAST_COMPILE"
CONTEXTS, ANCESTRIES, VARIANTS = 2, 2, 8
COORDS = {
    "context": ["blood", "liver"],
    "context_": ["blood", "liver"],
    "ancestry": ["EUR", "AFR"],
    "ancestry_": ["EUR", "AFR"],
    "variant": list(range(VARIANTS)),
    "variant_": list(range(VARIANTS)),
    "annotation": ["none"],
}
RESIDUAL = np.array([[[0.8, 0.3], [0.3, 0.6]], [[0.9, -0.2], [-0.2, 0.7]]])  # of each ancestry, contexts


def standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def people(rng: np.random.Generator, donors: int) -> np.ndarray:
    """Standardised genotypes (donor, variant) in LD, which is singular for fewer donors than variants."""
    return standardised(rng.binomial(2, 0.4, size=(donors, VARIANTS)) + rng.normal(size=(donors, 1)))


def individual(
    genotypes: dict[tuple[int, int], np.ndarray],
    expression: dict[tuple[int, int], np.ndarray],
    weight: np.ndarray,
    residual: np.ndarray,
) -> float:
    """Log likelihood of every donor's expression: all contexts of one donor are one normal vector."""
    total = 0.0
    for a in range(ANCESTRIES):
        left = [expression[c, a] - genotypes[c, a] @ weight[c, a] for c in range(CONTEXTS)]
        if all(len(part) == len(left[0]) for part in left):
            total -= 0.5 * np.sum(np.stack(left) * np.linalg.solve(residual[a], np.stack(left)))
        else:
            total -= sum(0.5 * np.sum(part**2) / residual[a, c, c] for c, part in enumerate(left))
    return float(total)


def point(data: dict[str, Any], model: pm.Model) -> dict[str, np.ndarray]:
    """A draw of `simulate` as values of the free variables that samplers see."""
    out = {}
    for rv in model.free_RVs:
        transform, value = model.rvs_to_transforms[rv], np.asarray(data[rv.name], float)
        if transform is not None:
            value = transform.forward(value, *rv.owner.inputs).eval(mode=MODE)
        out[model.rvs_to_values[rv].name] = value
    return out


@pytest.mark.parametrize("donors", [(60, 40), (60, 5)], ids=["full rank", "fewer donors than variants"])
@pytest.mark.parametrize("shared", [True, False], ids=["same donors", "other donors"])
def test_summary_statistics_have_the_likelihood_of_the_people(donors: tuple[int, int], shared: bool) -> None:
    """Differences of the log likelihood between weights, from expression of people and from z, n and LD."""
    rng = np.random.default_rng(11)
    load_weights = load("weights")
    genotypes, expression = {}, {}
    for a, count in enumerate(donors):
        x = people(rng, count)
        noise = rng.multivariate_normal(np.zeros(CONTEXTS), RESIDUAL[a], size=count)
        for c in range(CONTEXTS):
            rows = x if shared else people(rng, count + c)
            error = noise[:, c] if shared else rng.normal(0, np.sqrt(RESIDUAL[a, c, c]), count + c)
            genotypes[c, a] = rows
            expression[c, a] = standardised(rows @ rng.normal(0, 0.2, VARIANTS) + error)
    noise_of = np.zeros((CONTEXTS, ANCESTRIES, CONTEXTS, ANCESTRIES))
    for a in range(ANCESTRIES):
        noise_of[:, a, :, a] = RESIDUAL[a] if shared else np.diag(np.diag(RESIDUAL[a]))
    grid = [[(c, a) for a in range(ANCESTRIES)] for c in range(CONTEXTS)]
    data = {
        "n": np.array([[float(len(expression[s])) for s in row] for row in grid]),
        "z": np.array(
            [[genotypes[s].T @ expression[s] / np.sqrt(len(expression[s])) for s in row] for row in grid]
        ),
        "ld": np.array([[genotypes[s].T @ genotypes[s] / len(expression[s]) for s in row] for row in grid]),
        "noise": noise_of,
        "annotations": np.zeros((VARIANTS, 1)),
    }
    model = load_weights.build(data, COORDS)
    density = model.compile_logp(vars=model.observed_RVs, jacobian=False, mode=MODE)
    seen = []
    for seed in range(4):
        fixed = {"global_scale": 0.2, "slab_variance": 0.1}  # weights that matter
        truth = load_weights.simulate(np.random.default_rng(seed), COORDS, data | fixed)
        told = individual(genotypes, expression, truth["weight"], RESIDUAL)
        seen.append((float(density(point(truth, model))), told))
    summary, whole = np.array(seen).T
    assert np.ptp(whole) > 1  # the weights differ in what the data say of them
    np.testing.assert_allclose(np.diff(summary), np.diff(whole), rtol=1e-8, atol=1e-8)


def test_a_study_without_donors_and_an_absent_variant_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    data = load("weights").simulate(rng, COORDS)
    data["n"] = np.array([[200.0, 0.0], [200.0, 100.0]])
    data["ld"][1, 1, 2, :] = data["ld"][1, 1, :, 2] = np.nan
    data["z"][0, 1], data["z"][1, 1, 2] = np.nan, np.nan
    found = constants(data)
    other = data | {"noise": data["noise"].copy()}
    other["noise"][0, 1], other["noise"][:, :, 0, 1] = 0.3, 0.3
    for name, value in constants(other).items():
        np.testing.assert_array_equal(value, found[name])
    study = COORDS["context"].index("blood") * ANCESTRIES + COORDS["ancestry"].index("AFR")
    assert not found["whitened"][study].any()
    assert found["root_n"][study] == 0
    assert not found["mix"][study, :study].any()
    # nothing of the absent variant: neither its root, nor its z
    last = CONTEXTS * ANCESTRIES - 1
    np.testing.assert_allclose(found["ld_root"][last, 2], 0, atol=1e-12)
    assert all(np.isfinite(value).all() for value in found.values())


def test_partition_is_the_correlation_of_effects_between_studies() -> None:
    """Given scales, effects correlate by phi_1 + phi_3 between contexts, phi_1 + phi_2 between ancestries."""
    module, draws = load("weights"), 500
    data = module.simulate(np.random.default_rng(6), COORDS)
    scales = {"global_scale": 0.01, "local_scale": np.linspace(0.5, 9.0, VARIANTS), "slab_variance": 0.1}
    given = scales | {"annotation_effect": np.zeros(1), "sharing": 0.5, "context_of_rest": 0.6}
    model = pm.do(module.build(data, COORDS), given)
    weight = pm.draw(model["weight"], draws=draws, random_seed=7, mode=MODE)
    free = scales["global_scale"] * scales["local_scale"]
    scale = free / np.sqrt(1 + free**2 / scales["slab_variance"])
    unit = np.moveaxis(weight / scale, -1, 1).reshape(draws * VARIANTS, CONTEXTS * ANCESTRIES)
    expected = np.array([[1, 0.8, 0.7, 0.5], [0.8, 1, 0.5, 0.7], [0.7, 0.5, 1, 0.8], [0.5, 0.7, 0.8, 1]])
    # a covariance of n unit normals has variance (1 + r^2) / n
    z = (unit.T @ unit / len(unit) - expected) / np.sqrt((1 + expected**2) / len(unit))
    assert np.abs(z).max() < 4.5


def test_median_of_the_global_scale_leaves_the_stated_number_of_noticeable_effects() -> None:
    """P(local scale > x) = 1 - 2 atan(x) / pi, times the number of variants."""
    for variants in (50, 300):
        tail = 1 - 2 / np.pi * np.arctan(NOTICEABLE / _tau(variants))
        assert variants * tail == pytest.approx(EXPECTED * 2 / np.pi, rel=0.05)


def test_variants_that_pad_a_gene_change_nothing_but_their_own_prior() -> None:
    """Genes of a locus share one compilation, padded to the largest: no gene may depend on its neighbours."""
    module, extra = load("weights"), 3
    data = module.simulate(np.random.default_rng(10), COORDS)
    wider = {**COORDS, "variant": range(VARIANTS + extra), "variant_": range(VARIANTS + extra)}
    padded = {
        **data,
        "z": np.pad(data["z"], ((0, 0), (0, 0), (0, extra)), constant_values=np.nan),
        "ld": np.pad(data["ld"], ((0, 0), (0, 0), (0, extra), (0, extra))),
        "annotations": np.pad(data["annotations"], ((0, extra), (0, 0))),
    }

    def density(given: Any, coords: Any, pad: int) -> float:
        model = module.build(given, coords)
        terms = [*model.observed_RVs, model["global_scale"]]
        compiled = model.compile_logp(vars=terms, jacobian=False, mode=MODE)
        point = {}
        for rv in model.free_RVs:
            value = np.asarray(data[rv.name], float)
            if "variant" in module.parameters[rv.name][0]:
                value = np.pad(value, [*[(0, 0)] * (value.ndim - 1), (0, pad)], constant_values=1.0)
            transform = model.rvs_to_transforms[rv]
            if transform is not None:
                value = transform.forward(value, *rv.owner.inputs).eval(mode=MODE)
            point[model.rvs_to_values[rv].name] = value
        return float(compiled(point))

    # a padded variant is observed as 0 with unit noise in every study, whatever its weight
    blank = extra * CONTEXTS * ANCESTRIES * -0.5 * np.log(2 * np.pi)
    expected = density(data, COORDS, 0) + blank
    assert density(padded, wider, extra) == pytest.approx(expected, rel=1e-8)


def test_weights_heritability_and_partition_are_those_of_the_simulation() -> None:
    module = load("weights")
    data = module.simulate(np.random.default_rng(9), COORDS)
    model = module.build(data, COORDS)
    names, given = ("weight", "h2", "partition"), list(model.free_RVs)
    values = model.compile_fn([model[name] for name in names], inputs=given, mode=MODE, point_fn=False)
    found = values(*(np.asarray(data[rv.name], float) for rv in given))
    for name, value in zip(names, found, strict=True):
        np.testing.assert_allclose(value, data[name], rtol=1e-8, atol=1e-12)
