"""The global step: blocks laid out for the model, priors learned, and what is told of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from bayestwas.models.hyper import PRIOR_SD

from bayestwas.engine.evidence import Evidence, bayes_factors, class_sums
from bayestwas.engine.gene_trait import EffectSizes
from bayestwas.fit import hyper
from bayestwas.fit.annotations import Scale
from bayestwas.fit.hyper import learn, model_data, settled, trait_priors
from bayestwas.fit.learn import learn_priors
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.settings import Settings
from bayestwas.fit.trait_priors import DRAWS, GRIDS, BlockSums, Class, TraitPriors
from bayestwas.report.priors import priors_table

SHORT = Sampling(draws=200, tune=200, chains=1, cores=1, sampler="pymc", backend="c")
LIVER, BLOOD = (Class("gene", context, (0.0,)) for context in ("liver", "blood"))
PLAIN, CODING = (Class("variant", "", (value,)) for value in (0.0, 1.0))
SCALES = {"variant": (Scale("coding", True, 0.2, 0.4),), "gene": ()}


def sums(
    rng: np.random.Generator, classes: tuple[Class, ...], rows: int, ancestries: tuple[str, ...]
) -> BlockSums:
    seen = rng.uniform(1, 2, (2, rows, 2, len(ancestries)))
    seen[:, -1] = 0.0  # the effect that is not there
    shape = (len(classes), 3)
    return BlockSums(
        classes, rng.poisson(9.0, len(classes)).astype(float), rng.standard_normal((rows, *shape)),
        rng.uniform(0, 9, shape), *seen, ancestries,
    )  # fmt: skip


@pytest.fixture(scope="module")
def blocks() -> list[BlockSums]:
    """Blocks of other classes, in other orders, of other ancestries."""
    rng = np.random.default_rng(1)
    return [
        sums(rng, (LIVER, PLAIN), 2, ("EUR",)),
        sums(rng, (PLAIN, BLOOD, CODING), 3, ("EUR", "AFR")),
        sums(rng, (CODING,), 1, ("AFR",)),
    ]


def laid_out(blocks: list[BlockSums]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    ancestries = len({a for block in blocks for a in block.ancestries})
    reference = np.tile(0.9 + 0.1 * np.eye(ancestries), (2, 1, 1))
    return model_data(blocks, ["coding"], GRIDS, reference)


def test_every_number_of_a_block_is_where_its_class_is(blocks: list[BlockSums]) -> None:
    data, coords = laid_out(blocks)
    classes = sorted([LIVER, BLOOD, PLAIN, CODING])
    assert coords["ancestry"] == ["AFR", "EUR"]
    assert coords["pair"] == ["AFR-EUR"]
    assert coords["context"] == ["blood", "liver"]
    assert coords["annotation"] == ["coding"]
    assert data["log_sum"].shape == (6, 4, 3)
    row, filled, strong = 0, 0, list(data["strong"])
    for block in blocks:
        for own in range(len(block.log_sum)):
            for c, one in enumerate(block.classes):
                np.testing.assert_array_equal(data["log_sum"][row, classes.index(one)], block.log_sum[own, c])
                filled += 3
            assert (row in strong) == bool(block.information[own].any())
            if row in strong:
                for a, ancestry in enumerate(coords["ancestry"]):
                    told = ancestry in block.ancestries
                    for name in ("score", "information"):
                        seen = getattr(block, name)[own, :, block.ancestries.index(ancestry)] if told else 0.0
                        np.testing.assert_array_equal(data[name][strong.index(row), :, a], seen)
            row += 1
    assert np.isfinite(data["log_sum"]).sum() == filled
    for c, one in enumerate(classes):
        mine = [(block, block.classes.index(one)) for block in blocks if one in block.classes]
        assert data["rest_count"][c] == sum(block.count[at] for block, at in mine)
        np.testing.assert_allclose(data["rest"][c], sum(block.rest[at] for block, at in mine))
        assert data["in_kind"][c].tolist() == [one.kind == "gene", one.kind == "variant"]
        context = [one.context == name for name in coords["context"]]
        assert data["in_context"][c].tolist() == context
        assert data["pattern"][c].tolist() == list(one.pattern)
    assert not data["count"].any()
    assert {dim: len(coords[dim]) for dim in ("row", "class", "size", "signal")} == {
        "row": 6, "class": 4, "size": 3, "signal": len(strong)
    }  # fmt: skip


def test_candidates_of_a_block_with_one_effect_are_those_of_its_row(blocks: list[BlockSums]) -> None:
    single = replace(blocks[2], at_most_one=True, rest=np.zeros((1, 3)))
    data, _ = laid_out([*blocks[:2], single])
    assert data["count"].sum() == data["count"][-1].sum() == single.count[0]
    assert data["rest_count"].sum() == sum(block.count.sum() for block in blocks[:2])


def test_a_study_without_annotations_or_contexts(blocks: list[BlockSums]) -> None:
    bare = replace(blocks[2], classes=(Class("variant", "", ()),))
    data, coords = model_data([bare], [], GRIDS, np.ones((2, 1, 1)))
    assert coords["annotation"] == coords["context"] == ["none"]
    assert data["pattern"].tolist() == [[0.0]]
    assert data["in_context"].tolist() == [[0.0]]


# ---- learning -------------------------------------------------------------------------------------------


TRUTH = {"gene": np.log(0.04), "variant": np.log(0.004), "liver": 0.8, "coding": 1.5}
N, HERITABILITY = 50_000.0, 0.1
WEIGHTS = np.array([0.25, 0.5, 0.25])


def simulated(rng: np.random.Generator) -> BlockSums:
    """A block without LD: three genes in two contexts each, 100 variants of which a fifth is coding. z-scores
    of all candidates are simulated; those that stand out are signals, all others the rest."""
    classes = (LIVER, BLOOD, PLAIN, CODING)
    owner = np.repeat(np.arange(4), (3, 3, 80, 20))
    gene = owner < 2
    log_odds = np.where(gene, TRUTH["gene"], TRUTH["variant"])
    log_odds = log_odds + TRUTH["liver"] * np.select([owner == 0, owner == 1], [1.0, -1.0], 0.0)
    log_odds = log_odds + TRUTH["coding"] * (owner == 3)
    causal = rng.random(len(owner)) < np.exp(log_odds) / (1 + np.exp(log_odds))
    variance = GRIDS[np.where(gene, 0, 1), rng.choice(3, len(owner), p=WEIGHTS)]
    tau = N * np.where(gene, HERITABILITY, 1.0)
    z = np.sqrt(tau * variance) * rng.standard_normal(len(owner)) * causal + rng.standard_normal(len(owner))

    def log_bf(z: np.ndarray) -> np.ndarray:
        u = (np.sqrt(tau) * z)[None]
        both = [bayes_factors(u, tau[None], EffectSizes(tuple(grid), tuple(WEIGHTS), 0.9)) for grid in GRIDS]
        return np.where(gene[:, None], *both)

    signals = np.flatnonzero(np.logaddexp.reduce(log_bf(z) + np.log(WEIGHTS), axis=1) + log_odds > -1.0)
    rest = log_bf(np.where(np.isin(np.arange(len(owner)), signals), 0.0, z))  # a signal leaves nothing
    rows = np.tile(rest, (len(signals) + 1, 1, 1))
    for row, signal in enumerate(signals):
        rows[row, signal] = log_bf(z)[signal]
    blank = np.zeros((len(rows), 2, 1))
    sizes = tuple(EffectSizes(tuple(grid)) for grid in GRIDS)
    seen = Evidence(rows[:, gene], rows[:, ~gene], blank, blank, (sizes[0], sizes[1]))
    log_sum, faint = class_sums(seen, owner[gene], owner[~gene])
    return BlockSums(classes, np.bincount(owner).astype(float), log_sum, faint, blank, blank)


@pytest.fixture(scope="module")
def posterior() -> xr.Dataset:
    """Learned from 150 simulated blocks; one feature of genes was never seen."""
    rng = np.random.default_rng(5)
    data, coords = model_data([simulated(rng) for _ in range(150)], ["coding"], GRIDS, np.ones((2, 1, 1)))
    fit = learn(data, coords, 1, SHORT)
    return fit["posterior"].to_dataset()


def test_odds_contexts_and_enrichments_are_found(posterior: xr.Dataset) -> None:
    """Within four posterior standard deviations: simulated without LD, where the sums are what they say."""
    found = {
        "gene": posterior["intercept"].sel(kind="gene") + posterior["context_effect"].mean("context"),
        "variant": posterior["intercept"].sel(kind="variant"),
        "liver": posterior["context_effect"].sel(context="liver") / 2
        - posterior["context_effect"].sel(context="blood") / 2,
        "coding": posterior["coefficient"].sel(annotation="coding"),
    }
    for name, draws in found.items():
        sd = float(draws.std())
        assert abs(float(draws.mean()) - TRUTH[name]) < 4 * sd, name
        assert sd < 0.5, name  # and the data told
    weight = posterior["size_weight"]
    spread = weight.std(("chain", "draw"))
    assert (np.abs(weight.mean(("chain", "draw")) - WEIGHTS) < 4 * spread).all()
    np.testing.assert_allclose(posterior["correlation"], 1.0, rtol=1e-12)  # of one ancestry


def test_what_is_learned_is_what_the_report_reads(posterior: xr.Dataset) -> None:
    result = xr.DataTree.from_dict({"/": xr.Dataset(), "hyperparameters": posterior})
    rows = priors_table(result)
    assert rows["parameter"].value_counts().to_dict() == {
        "log_odds": 4, "odds": 4, "probability": 4, "context_effect": 2, "context_effect_odds_ratio": 2,
        "enrichment": 1, "enrichment_odds_ratio": 1, "size_weight": 6,
    }  # fmt: skip
    one = rows.set_index(["parameter", "of"]).loc[("enrichment", "coding")]
    draws = posterior["coefficient"].values.ravel()
    assert one["mean"] == pytest.approx(draws.mean())
    assert one["low"] == pytest.approx(np.quantile(draws, 0.025))
    assert one["prior_sd"] == PRIOR_SD["coefficient"]
    assert one["informed"] == "yes"


def test_draws_of_the_priors_run_along_the_chains(posterior: xr.Dataset) -> None:
    priors = trait_priors(posterior, SCALES)
    assert priors.learned
    assert priors.contexts == ("blood", "liver")
    assert priors.coefficient.shape == (DRAWS, 1)
    assert priors.correlation.shape == (DRAWS, 2, 1, 1)
    draws = posterior["intercept"].values.reshape(-1, 2)
    np.testing.assert_array_equal(priors.intercept[[0, -1]], draws[[0, -1]])
    where = [int(np.flatnonzero((draws == one).all(axis=1))[0]) for one in priors.intercept]
    assert np.diff(where).min() >= len(draws) // DRAWS - 1
    few = trait_priors(posterior.isel(draw=slice(0, 5)), {"variant": (), "gene": ()})
    assert few.intercept.shape == (5, 2)
    assert few.coefficient.shape == (5, 0)


def test_draws_of_priors_are_stored_with_what_their_annotations_are_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(7)
    monkeypatch.setattr(hyper, "SAMPLING", SHORT)
    monkeypatch.setattr(hyper, "FIRST", replace(SHORT, draws=40, tune=100))

    def watch(label: str, results: Iterable[Any], total: int) -> Iterable[Any]:
        return results

    made = [simulated(rng) for _ in range(30)]
    found = learn_priors(lambda priors, number: made, SCALES, replace(Settings(), trait_rounds=1), 1, watch)
    assert found.hyper is not None
    assert json.loads(found.hyper.attrs["annotation_kinds"]) == ["variant"]
    assert json.loads(found.hyper.attrs["prior_sd"]) == pytest.approx(PRIOR_SD)
    assert found.hyper.attrs["rounds"] == 1
    assert set(found.told["enrichment"]) == {"coding"}


def test_settled_means_that_nothing_moved(posterior: xr.Dataset) -> None:
    now = trait_priors(posterior, SCALES)
    sd = now.coefficient.std(axis=0)
    assert settled(now, now)
    assert not settled(now, TraitPriors())
    assert settled(now, replace(now, coefficient=now.coefficient + 0.2 * sd))
    assert not settled(now, replace(now, coefficient=now.coefficient + 0.3 * sd))
    assert not settled(now, replace(now, context=now.context[:, ::-1], contexts=now.contexts[::-1]))
    fewer = replace(now, scales={"variant": (), "gene": ()}, coefficient=now.coefficient[:, :0])
    assert settled(fewer, fewer)


def test_a_study_without_any_signal_lowers_the_odds() -> None:
    """No rows: the rest alone. The posterior is near nothing, and finite."""
    rng = np.random.default_rng(6)
    quiet = []
    for _ in range(60):
        block = simulated(rng)
        quiet.append(
            replace(
                block, log_sum=block.log_sum[:0], score=block.score[:0], information=block.information[:0],
                rest=0.3 * block.count[:, None] * np.ones(3),
            )
        )  # fmt: skip
    data, coords = model_data(quiet, ["coding"], GRIDS, np.ones((2, 1, 1)))
    assert data["log_sum"].shape == (0, 4, 3)
    found = learn(data, coords, 1, replace(SHORT, draws=100, tune=150))["posterior"]["intercept"]
    assert np.isfinite(found).all()
    gene, variant = found.mean(("chain", "draw")).values
    assert gene < np.log(0.01)  # the centre of the prior; 360 gene-contexts say less
    assert variant < np.log(1e-4)
