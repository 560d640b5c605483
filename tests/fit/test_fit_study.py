"""Blocks together: learning, failing, and nothing depending on order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestwas.engine.gene_trait import DEFAULT_PRIORS
from bayestwas.engine.weights import WeightPriors
from bayestwas.errors import InputError
from bayestwas.fit import hyper, study
from bayestwas.fit.gene_trait import fit_genes
from bayestwas.fit.learn import Learned
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import fit_loci, fit_study
from bayestwas.fit.trait_priors import TraitPriors
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


class Backwards:
    """Computes the last block first."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return reversed([function(item) for item in reversed(list(items))])


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
        told = json.loads(result.attrs["priors"])
        assert (told["gene"], told["direct"]) == (DEFAULT_PRIORS.gene, DEFAULT_PRIORS.direct)
        assert told["gene_sizes"]["variances"] == list(DEFAULT_PRIORS.gene_sizes.variances)
        assert "hyperparameters" not in result.children


def test_results_come_in_the_order_of_the_blocks(
    loci: list[xr.DataTree], fitted: list[xr.DataTree], settings: Settings
) -> None:
    """And do not depend on it, nor on how they are computed."""
    swapped = fit_loci(loci[::-1], settings, mapper=Backwards())
    for one, two in zip(fitted, swapped[::-1], strict=True):
        assert one["blocks"]["block"].values.tolist() == two["blocks"]["block"].values.tolist()
        xr.testing.assert_identical(one["marginals"].to_dataset(), two["marginals"].to_dataset())


@pytest.fixture(scope="module")
def learning(settings: Settings) -> Settings:
    """One round of everything, from two blocks on."""
    return replace(settings, learn_blocks=2, weight_rounds=1, trait_rounds=1)


@pytest.fixture(scope="module", autouse=True)
def short_chains() -> Iterator[None]:
    """What is tested here is where draws go, not how good they are."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FIRST", "SAMPLING"):
            patch.setattr(hyper, name, Sampling(draws=60, tune=100, chains=1, cores=1, sampler="pymc"))
        yield


@pytest.fixture(scope="module")
def learned(loci: list[xr.DataTree], learning: Settings) -> list[xr.DataTree]:
    return fit_loci(loci, learning)


def test_priors_are_learned_where_there_are_enough_blocks(
    loci: list[xr.DataTree], fitted: list[xr.DataTree], learned: list[xr.DataTree], learning: Settings
) -> None:
    for result in learned:
        source = result.attrs["priors_source"]
        assert source == "learned over 2 blocks in 1 rounds (not settled, the most rounds allowed)"
        priors, weight_priors = (json.loads(result.attrs[name]) for name in ("priors", "weight_priors"))
        assert weight_priors["rate"] != WeightPriors().rate
        assert 0 < priors["gene"] < 1
        assert 0 < priors["direct"] < 1
        assert set(priors["context"]) == {"blood", "liver"}
        assert priors["enrichment"] == {}
        assert np.sum(priors["size_weights"]["gene"]) == pytest.approx(1.0)
        draws = result["hyperparameters"]["intercept"]
        odds = np.exp(draws.mean(("chain", "draw")))
        # the mean of the draws that blocks are averaged over, of which there are fewer
        assert np.log(priors["gene"] / float(odds.sel(kind="gene"))) == pytest.approx(
            0.0, abs=float(draws.std())
        )
    assert (pips(learned[0]) != pips(fitted[0])).any()
    backwards = fit_loci(loci, learning, mapper=Backwards())
    for one, two in zip(learned, backwards, strict=True):  # whoever computes, chains included
        xr.testing.assert_identical(one["marginals"].to_dataset(), two["marginals"].to_dataset())
        assert one.attrs["priors"] == two.attrs["priors"]


def test_annotations_of_a_locus_move_its_priors(
    loci: list[xr.DataTree], learning: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An annotation of the causal gene and of all variants but the first ten, with given enrichments: odds go
    up where the annotation is, by as much as is stated, and the PIPs follow."""
    annotated = []
    for locus in loci:
        one = locus.copy()
        p, genes = one.sizes["variant"], one["genes"].sizes["gene"]
        group = {
            "variant_annotation": (("variant", "annotation"), (np.arange(p) >= 10)[:, None] * 1.0),
            "gene_annotation": (("gene", "feature"), np.eye(genes, dtype=np.float32)[:, [1]]),
        }  # fmt: skip
        labels = {"annotation": ["conserved"], "feature": ["constrained"]}
        one["annotations"] = xr.DataTree(xr.Dataset(group, coords=labels))
        annotated.append(one)
    seen: list[Any] = []

    def told(enrichment: float) -> Callable[..., Any]:
        def priors(collect: Any, scales: Any, *rest: Any) -> Learned:
            [binary] = [one.binary for one in scales["gene"]]
            assert binary
            ancestries = tuple(sorted(sums_of(collect(TraitPriors(scales=scales), 1)).ancestries))
            own = TraitPriors(
                (), ancestries, scales, intercept=np.log([[0.01, 1e-3]]), context=np.empty((1, 0)),
                coefficient=np.array([[-1.0, enrichment]]), size_weight=np.full((1, 2, 3), 1 / 3),
                correlation=np.tile(0.9 + 0.1 * np.eye(len(ancestries)), (1, 2, 1, 1)),
            )  # fmt: skip
            return Learned(own, None, {}, "given")

        return priors

    def sums_of(blocks: list[Any]) -> Any:
        seen.extend(blocks)
        return blocks[0]

    results = []
    for enrichment in (-2.0, 2.0):
        monkeypatch.setattr(study, "learn_priors", told(enrichment))
        results.append(fit_loci(annotated, replace(learning, weight_rounds=0)))
    # classes of candidates are told apart by their annotation: variants first
    assert {one.pattern for one in seen[0].classes if one.kind == "gene"} == {(0.0, 0.0), (0.0, 1.0)}
    assert {one.pattern for one in seen[0].classes if one.kind == "variant"} == {(0.0, 0.0), (1.0, 0.0)}
    down, up = (pips(each[1]) for each in results)  # the block without association: priors are what there is
    assert up[1] / down[1] == pytest.approx(np.exp(4.0), rel=0.1)  # odds are nearly probabilities here
    np.testing.assert_allclose(np.delete(up, 1), np.delete(down, 1), rtol=0.1)


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
    assert ("hyperparameters" in good.children) == learn
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
        seen.append((label, len(done), total))
        return done

    learning = replace(settings, learn_blocks=1, weight_rounds=1, trait_rounds=1)
    fit_study([lambda: loci[0]], learning, progress=watch)
    # LD, learning weights, weights, sums of blocks, first draws, all draws, results
    assert [count for _, count, _ in seen] == [1] * 7
    assert [total for _, _, total in seen] == [1] * 7
    assert len({label for label, _, _ in seen}) == 7
