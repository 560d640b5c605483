"""Blocks together: learning, failing, and nothing depending on order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestwas.engine.gene_trait import DEFAULT_PRIORS
from bayestwas.engine.weights import WeightPriors
from bayestwas.errors import InputError
from bayestwas.fit import study
from bayestwas.fit.gene_trait import fit_genes
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import fit_loci, fit_study
from bayestwas.fit.weights import fit_weights

Build = Callable[..., xr.DataTree]


@pytest.fixture(scope="module")
def loci(build: Build) -> list[xr.DataTree]:
    """The block with its association, and the same block without, under names of their own."""
    quiet = build(
        name=lambda _: "quiet",
        gwas=lambda gwas: {a: (np.where(np.isfinite(z), 0.1, z), n) for a, (z, n) in gwas.items()},
    )
    return [build(), quiet]


@pytest.fixture(scope="module")
def fitted(loci: list[xr.DataTree], settings: Settings) -> list[xr.DataTree]:
    return fit_loci(loci, settings)


def pips(result: xr.DataTree) -> np.ndarray:
    return result["marginals"]["pip"].values


def test_few_blocks_are_fitted_under_the_defaults(
    loci: list[xr.DataTree], fitted: list[xr.DataTree], settings: Settings
) -> None:
    """The same as the two stages by hand."""
    for locus, result in zip(loci, fitted, strict=True):
        alone = fit_genes(locus, fit_weights(locus, settings=settings), settings=settings)
        xr.testing.assert_identical(alone["marginals"].to_dataset(), result["marginals"].to_dataset())
        assert result.attrs["priors_source"] == "documented defaults"
        assert json.loads(result.attrs["priors"]) == asdict(DEFAULT_PRIORS)


def test_results_come_in_the_order_of_the_blocks(
    loci: list[xr.DataTree], fitted: list[xr.DataTree], settings: Settings
) -> None:
    """And do not depend on it, nor on how they are computed."""

    class Backwards:
        def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            return reversed([function(item) for item in reversed(list(items))])

    swapped = fit_loci(loci[::-1], settings, mapper=Backwards())
    for one, two in zip(fitted, swapped[::-1], strict=True):
        assert one["blocks"]["block"].values.tolist() == two["blocks"]["block"].values.tolist()
        xr.testing.assert_identical(one["marginals"].to_dataset(), two["marginals"].to_dataset())


def test_priors_are_learned_where_there_are_enough_blocks(
    loci: list[xr.DataTree], fitted: list[xr.DataTree], settings: Settings
) -> None:
    learning = replace(settings, learn_blocks=2, weight_rounds=1, trait_rounds=1)
    results = fit_loci(loci, learning)
    for result in results:
        assert result.attrs["priors_source"] == "learned over 2 blocks"
        priors, weight_priors = (json.loads(result.attrs[name]) for name in ("priors", "weight_priors"))
        assert priors != asdict(DEFAULT_PRIORS)
        assert weight_priors["rate"] != WeightPriors().rate
        assert 0 < priors["gene"] < 1
        assert 0 < priors["direct"] < 1
    assert (pips(results[0]) != pips(fitted[0])).any()
    backwards = fit_loci(loci[::-1], learning)
    np.testing.assert_allclose(pips(backwards[1]), pips(results[0]), atol=1e-6)  # sums in another order


@pytest.mark.parametrize("learn", [False, True])
def test_a_block_that_fails_is_a_result_with_its_reason(
    loci: list[xr.DataTree], settings: Settings, monkeypatch: pytest.MonkeyPatch, learn: bool
) -> None:
    """The others go on, and their result is the one they have without it where nothing is learned."""

    def broken(locus: xr.DataTree, **options: Any) -> xr.DataTree:
        if locus.attrs["block"] == "quiet":
            raise FloatingPointError("the kernel diverged")
        return fit_weights(locus, **options)

    monkeypatch.setattr(study, "fit_weights", broken)
    some = replace(settings, learn=learn, learn_blocks=2, weight_rounds=1, trait_rounds=1)
    good, bad = fit_loci(loci, some)
    assert bad["blocks"]["block_status"].values.tolist() == ["failed"]
    reason = bad["blocks"]["block_reason"].values[0]
    assert "FloatingPointError" in reason
    assert "the kernel diverged" in reason
    assert "broken" in reason  # where it happened
    assert np.isnan(pips(bad)).all()
    assert set(bad["constant_data"]["status"].values) == {"failed"}
    assert good["blocks"]["block_status"].values.tolist() == ["ok"]
    assert pips(good)[1] > 0.9


def test_a_users_mistake_is_told_in_its_own_words(
    loci: list[xr.DataTree], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(locus: xr.DataTree, **options: Any) -> xr.DataTree:
        raise InputError("dosage 7", "A dosage is 0, 1 or 2", "Check the file")

    monkeypatch.setattr(study, "fit_weights", broken)
    (result,) = fit_loci(loci[:1], settings)
    assert result["blocks"]["block_reason"].values[0] == "dosage 7. A dosage is 0, 1 or 2. Check the file."


def test_a_block_that_cannot_be_read_is_blank(loci: list[xr.DataTree], settings: Settings) -> None:
    """A source that fails but can describe its block: a failed result, and the other block is fitted."""

    class Unreadable:
        def __call__(self) -> xr.DataTree:
            raise OSError("the file ends early")

        def blank(self, status: str, reason: str, n_draws: int) -> xr.DataTree:
            from bayestwas.data.results import blank_of_locus

            return blank_of_locus(loci[1], status=status, reason=reason, n_draws=n_draws)

    bad, good = fit_study([Unreadable(), lambda: loci[0]], settings)
    assert bad["blocks"]["block_status"].values.tolist() == ["failed"]
    assert "the file ends early" in bad["blocks"]["block_reason"].values[0]
    assert good["blocks"]["block_status"].values.tolist() == ["ok"]


def test_progress_is_told_every_stage(loci: list[xr.DataTree], settings: Settings) -> None:
    seen = []

    def watch(label: str, results: Iterable[Any], total: int) -> Iterable[Any]:
        done = list(results)
        seen.append((label.split(",")[0], len(done), total))
        return done

    learning = replace(settings, learn_blocks=1, weight_rounds=1, trait_rounds=1)
    fit_study([lambda: loci[0]], learning, progress=watch)
    assert [count for _, count, _ in seen] == [1, 1, 1, 1]
    assert [total for _, _, total in seen] == [1, 1, 1, 1]
    assert len({label for label, _, _ in seen}) == 4
