"""Priors of weights over a study whose blocks do not all have the same contexts and ancestries."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestwas.engine.weights import WeightPriors, sharing
from bayestwas.fit.weight_priors import StudySums, from_json, learned_priors, local, total_sums
from bayestwas.fit.weights import weight_sums

Build = Callable[..., xr.DataTree]


@pytest.fixture(scope="module")
def parts(build: Build, settings: Any) -> list[StudySums]:
    """All panels, and a block without liver."""
    some = build(panels=lambda panels: [panel for panel in panels if panel[0] == "blood"])
    return [weight_sums(locus, WeightPriors(), settings) for locus in (build(), some)]


def test_blocks_with_other_contexts_add_up(parts: list[StudySums]) -> None:
    """In any order; each stays with the contexts that it had until the priors are learned."""
    forward, backward = total_sums(parts), total_sums(parts[::-1])
    assert set(forward.parts) == {(("blood", "liver"), ("EUR", "AFR")), (("blood",), ("EUR", "AFR"))}
    twice = forward + backward
    assert sum(part.genes for part in twice.parts.values()) == 16
    one, other = (learned_priors(sums, WeightPriors()) for sums in (forward, backward))
    assert one.contexts == other.contexts == ("blood", "liver")
    assert one.ancestries == other.ancestries == ("AFR", "EUR")
    np.testing.assert_allclose(one.context_correlation, other.context_correlation, atol=1e-9)
    assert one.rate != WeightPriors().rate


def test_nothing_learned_is_what_was(parts: list[StudySums]) -> None:
    assert learned_priors(StudySums(), WeightPriors(rate=0.3)) == WeightPriors(rate=0.3)


def test_learned_priors_survive_being_written(parts: list[StudySums]) -> None:
    learned = replace(learned_priors(total_sums(parts), WeightPriors()), annotations=(("coding", 1.5),))
    assert from_json(json.dumps(asdict(learned))) == learned


def test_the_part_of_a_study_that_a_block_has() -> None:
    """Rows and columns follow the names, whatever their order; a context that nothing was learned of is like
    the mean of the others."""
    matrix = ((1.0, 0.8, 0.2), (0.8, 1.0, 0.4), (0.2, 0.4, 1.0))
    priors = WeightPriors(
        contexts=("blood", "brain", "liver"), ancestries=("EUR",), context_correlation=matrix,
        ancestry_correlation=((1.0,),), context_specific=(0.1, 0.2, 0.3), ancestry_specific=(0.0,),
        unstructured_covariance=tuple(tuple(10.0 * i + j for j in range(3)) for i in range(3)),
    )  # fmt: skip
    some = local(priors, ["liver", "blood"], ["EUR"])
    assert some.context_correlation == ((1.0, 0.2), (0.2, 1.0))
    assert some.context_specific == (0.3, 0.1)
    assert some.unstructured_covariance == ((22.0, 20.0), (2.0, 0.0))
    new = sharing(local(priors, ["blood", "skin"], ["EUR", "AFR"]), 2, 2)
    np.testing.assert_allclose(new.contexts[0, 1], (0.8 + 0.2 + 0.4) / 3)
    assert np.linalg.eigvalsh(new.contexts).min() > 0
    assert np.linalg.eigvalsh(new.ancestries).min() > 0
    np.testing.assert_allclose(new.weight[3] / new.weight[2], 0.2 / 0.1)
    assert local(WeightPriors(), ["liver"], ["EUR"]).context_correlation == 0.8
