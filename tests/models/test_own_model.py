"""The worked example of docs/own-model.md runs, and its posterior is that of the prior it states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bayestwas.models.weights import CONTEXT_OF_REST, SHARING, SLAB, _tau, constants

PAGE = Path(__file__).parents[2] / "docs" / "own-model.md"
PRIOR_DRAWS = 200_000


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the code of the page defines, run from top to bottom."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(code) == 2
    defined: dict[str, Any] = {}
    for block in code:
        exec(compile(block, str(PAGE), "exec"), defined)
    return defined


def laplace_scales(rng: np.random.Generator) -> np.ndarray:
    overall = np.abs(rng.normal(0.0, 0.05, size=(PRIOR_DRAWS, 1)))
    return overall * np.sqrt(2 * rng.exponential(size=(PRIOR_DRAWS, 4)))


def horseshoe_scales(rng: np.random.Generator) -> np.ndarray:
    tau = np.abs(_tau(4) * rng.standard_cauchy((PRIOR_DRAWS, 1)))
    free = tau * np.abs(rng.standard_cauchy((PRIOR_DRAWS, 4)))
    slab = SLAB[1] / rng.gamma(SLAB[0], size=(PRIOR_DRAWS, 1))
    return free * np.sqrt(slab / (slab + free**2))


def posterior_mean(data: dict[str, Any], scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the weights (context, variant) and its Monte Carlo error: the prior, given the scales of the
    variants, weighted by the likelihood."""
    rng = np.random.default_rng(3)
    sharing, rest = (rng.beta(*shape, size=PRIOR_DRAWS) for shape in (SHARING, CONTEXT_OF_REST))
    root = np.sqrt([sharing, (1 - sharing) * rest, (1 - sharing) * (1 - rest)])[:, :, None, None]
    parts = [rng.normal(size=(PRIOR_DRAWS, size, 4)) for size in (1, 2, 1)]
    weight = scale[:, None, :] * sum(r * part for r, part in zip(root, parts, strict=True))
    given = constants(data)
    mean = given["root_n"][:, None] * np.einsum("spq,dsq->dsp", given["ld_root"], weight)
    left = given["whitened"] - np.einsum("st,dtp->dsp", given["mix"], mean)
    log_likelihood = -0.5 * np.sum(left**2, axis=(1, 2))
    share = np.exp(log_likelihood - log_likelihood.max())
    share /= share.sum()
    assert 1 / np.sum(share**2) > 200  # effective draws: the error can be trusted
    expected = np.einsum("d,dcp->cp", share, weight)
    return expected, np.sqrt(np.einsum("d,dcp->cp", share**2, (weight - expected) ** 2))


def test_the_free_variables_are_those_of_the_table(page: dict[str, Any]) -> None:
    built = page["mine"].build(page["data"], page["coords"])
    assert {rv.name for rv in built.free_RVs} == set(page["mine"].parameters)
    assert page["fit"].attrs["model"] == "weights-laplace"


def test_its_posterior_is_the_prior_weighted_by_the_likelihood(page: dict[str, Any]) -> None:
    """NUTS against importance sampling from the prior, an independent way to the same posterior means."""
    mean, error = posterior_mean(page["data"], laplace_scales(np.random.default_rng(4)))
    draws = page["fit"]["posterior"]["weight"].values[:, :, :, 0]
    sampled = draws.std(axis=(0, 1)) / np.sqrt(200)  # the status asks for 100 effective draws of a chain
    assert np.abs((draws.mean(axis=(0, 1)) - mean) / np.hypot(error, sampled)).max() < 4.5
    # and it is not that of the horseshoe
    theirs, spread = posterior_mean(page["data"], horseshoe_scales(np.random.default_rng(5)))
    assert np.abs((theirs - mean) / np.hypot(error, spread)).max() > 4.5
