"""From hyperparameters to the prior of a block, and from the fit of a block to sums over classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from scipy import special

from bayestwas.engine.evidence import evidence
from bayestwas.engine.gene_trait import DEFAULT_PRIORS, GeneTraitPosterior
from bayestwas.fit.annotations import Scale
from bayestwas.fit.gene_trait import fit_block
from bayestwas.fit.prepared import Prepared, prepare, targets
from bayestwas.fit.settings import Settings
from bayestwas.fit.trait_priors import (
    GRIDS,
    Annotated,
    BlockSums,
    Class,
    TraitPriors,
    annotated,
    block_priors,
    block_sums,
)
from bayestwas.fit.weights import fit_weights

Build = Callable[..., xr.DataTree]
SCALES = {
    "variant": (Scale("coding", True, 0.2, 0.4), Scale("score", False, 0.0, 1.0)),
    "gene": (Scale("constraint", False, 0.5, 0.2),),
}


class Fitted(NamedTuple):
    prepared: Prepared
    posterior: GeneTraitPosterior
    known: Annotated


@pytest.fixture(scope="module")
def fitted(build: Build, settings: Settings) -> Fitted:
    """The block of the fixtures, fitted under the defaults, with annotations made up."""
    locus = build()
    prepared = prepare(
        locus, fit_weights(locus, settings=settings), DEFAULT_PRIORS, settings, 1, settings.draws
    )
    rng, p = np.random.default_rng(1), prepared.z.shape[1]
    variant = np.column_stack([rng.random(p) < 0.3, rng.standard_normal(p)]).astype(float)
    known = Annotated(variant, rng.standard_normal((len(prepared.genes), 1)))
    return Fitted(prepared, fit_block(prepared, DEFAULT_PRIORS, settings), known)


@pytest.fixture(scope="module")
def learned(fitted: Fitted) -> TraitPriors:
    """Two draws; the first context of the block has no learned prior; more ancestries than the block."""
    rng = np.random.default_rng(2)
    ancestries = ("AAA", *sorted(fitted.prepared.ancestries))
    size = len(ancestries)
    parts = rng.standard_normal((2, 2, size, 30))
    return TraitPriors(
        ("elsewhere", fitted.prepared.contexts[1]), ancestries, SCALES,
        intercept=np.log([[0.05, 1e-3], [0.02, 2e-3]]), context=np.array([[9.0, 0.7], [9.0, -0.3]]),
        coefficient=np.array([[1.5, -0.4, 0.8], [1.0, 0.2, -0.6]]),
        size_weight=rng.dirichlet(np.ones(3), size=(2, 2)),
        correlation=np.array([[np.corrcoef(one) for one in draw] for draw in parts]),
    )  # fmt: skip


def test_priors_of_a_block_are_the_odds_of_its_candidates(fitted: Fitted, learned: TraitPriors) -> None:
    prepared, known = fitted.prepared, fitted.known
    draws = list(block_priors(learned, prepared, known))
    assert len(draws) == 2
    owners = targets(prepared)
    assert {t.context for t in owners} == {0, 1}
    for h, prior in enumerate(draws):
        for t, odds in zip(owners, np.asarray(prior.gene), strict=True):
            context = learned.context[h, 1] if t.context == 1 else 0.0
            log_odds = learned.intercept[h, 0] + context + known.gene[t.gene, 0] * learned.coefficient[h, 2]
            assert odds == pytest.approx(np.exp(log_odds), rel=1e-12)
        log_direct = learned.intercept[h, 1] + known.variant @ learned.coefficient[h, :2]
        np.testing.assert_allclose(prior.direct, np.exp(log_direct), rtol=1e-12)
        gwas = [learned.ancestries.index(a) for a in prepared.ancestries[: len(prepared.z)]]
        for kind, sizes in enumerate((prior.gene_sizes, prior.direct_sizes)):
            np.testing.assert_array_equal(sizes.variances, GRIDS[kind])
            np.testing.assert_array_equal(sizes.weights, learned.size_weight[h, kind])
            np.testing.assert_array_equal(
                sizes.covariance(len(gwas)), learned.correlation[h, kind][np.ix_(gwas, gwas)]
            )


def test_an_ancestry_that_no_block_was_learned_from_has_the_default_correlation(
    fitted: Fitted, learned: TraitPriors
) -> None:
    keep = [i for i, name in enumerate(learned.ancestries) if name != fitted.prepared.ancestries[0]]
    fewer = replace(
        learned,
        ancestries=tuple(learned.ancestries[i] for i in keep),
        correlation=learned.correlation[:, :, keep][:, :, :, keep],
    )
    for h, prior in enumerate(block_priors(fewer, fitted.prepared, fitted.known)):
        assert prior.gene_sizes.correlation == DEFAULT_PRIORS.gene_sizes.correlation
        assert prior.direct_sizes.correlation == DEFAULT_PRIORS.direct_sizes.correlation
        np.testing.assert_array_equal(prior.gene_sizes.weights, learned.size_weight[h, 0])


def test_the_mean_of_priors_is_that_of_log_odds(fitted: Fitted, learned: TraitPriors) -> None:
    mean = learned.mean()
    assert mean.learned
    [prior] = block_priors(mean, fitted.prepared, fitted.known)
    one, two = block_priors(learned, fitted.prepared, fitted.known)
    np.testing.assert_allclose(prior.gene, np.sqrt(np.multiply(one.gene, two.gene)), rtol=1e-12)
    np.testing.assert_allclose(prior.direct, np.sqrt(np.multiply(one.direct, two.direct)), rtol=1e-12)
    np.testing.assert_allclose(prior.gene_sizes.weights, learned.size_weight[:, 0].mean(axis=0))


def test_without_learned_priors_the_defaults_stand(fitted: Fitted) -> None:
    assert not TraitPriors().learned
    assert list(block_priors(TraitPriors(), fitted.prepared, fitted.known)) == [DEFAULT_PRIORS]


def test_block_sums_count_and_add_up_the_candidates_of_a_class(fitted: Fitted) -> None:
    """Class by class: who is in it, and all Bayes factors of its members in signals and rest."""
    prepared, known = fitted.prepared, fitted.known
    sums = block_sums(fitted.posterior, prepared, known, DEFAULT_PRIORS, SCALES)
    assert isinstance(sums, BlockSums)
    assert len(set(sums.classes)) == len(sums.classes) == len(sums.count)
    assert sums.ancestries == prepared.ancestries[: len(prepared.z)]
    owners = targets(prepared)
    seen = evidence(fitted.posterior, owners, DEFAULT_PRIORS)
    rows = len(seen.variant)
    assert sums.log_sum.shape == (rows, len(sums.classes), 3)
    assert sums.score.shape == sums.information.shape == (rows, 2, len(prepared.z))
    usable = (np.isfinite(prepared.z) & np.array([one.variance > 0 for one in prepared.ld])).any(axis=0)
    assert sums.count.sum() == usable.sum() + len(owners)
    last = np.concatenate([seen.gene[-1], seen.variant[-1]])
    mine: dict[Class, list[int]] = {one: [] for one in sums.classes}
    for number, t in enumerate(owners):
        value = float(np.round(known.gene[t.gene, 0] * 2) / 2)
        mine[Class("gene", prepared.contexts[t.context], (0.0, 0.0, value))].append(number)
    for j, (coding, score) in enumerate(known.variant):
        mine[Class("variant", "", (coding, float(np.round(score * 2) / 2), 0.0))].append(len(owners) + j)
    for c, one in enumerate(sums.classes):
        members = np.array(mine[one])
        known_count = members < len(owners)
        known_count |= usable[np.maximum(members - len(owners), 0)]
        assert sums.count[c] == known_count.sum()
        # the last row has all Bayes factors of its own, and those that do not stand out are the rest
        expected = special.logsumexp(last[members], axis=0)
        found = np.logaddexp(sums.log_sum[-1, c], np.log(np.maximum(sums.rest[c], 1e-300)))
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=str(one))


def test_without_annotations_a_class_is_a_kind_and_a_context(fitted: Fitted) -> None:
    none = Annotated(np.zeros((fitted.prepared.z.shape[1], 0)), np.zeros((len(fitted.prepared.genes), 0)))
    sums = block_sums(fitted.posterior, fitted.prepared, none, DEFAULT_PRIORS, {"variant": (), "gene": ()})
    assert set(sums.classes) == {
        *(Class("gene", context, ()) for context in fitted.prepared.contexts), Class("variant", "", ())
    }  # fmt: skip
    # the causal gene is a signal: the first rows are about it, and say so in the class of its context
    strongest = sums.log_sum.max(axis=(0, 2))
    assert sums.classes[int(strongest.argmax())].kind == "gene"
    assert strongest.max() > 10
    assert sums.information[:-1].any()


def test_annotations_of_a_block_are_those_of_its_genes(build: Build, fitted: Fitted) -> None:
    """In the order of the prepared genes, whatever that of the locus is."""
    locus = build()
    order = [str(g) for g in locus["genes"]["gene"].values]
    number = np.arange(len(order), dtype=np.float32)[:, None]
    values = xr.Dataset(
        {
            "gene_annotation": (("gene", "feature"), number),
            "variant_annotation": (("variant", "annotation"), np.ones((locus.sizes["variant"], 2))),
        },
        coords={"feature": ["constraint"], "annotation": ["coding", "score"]},
    )
    locus["annotations"] = xr.DataTree(values)
    known = annotated(locus, fitted.prepared, SCALES)
    expected = [(order.index(one.gene) - 0.5) / 0.2 for one in fitted.prepared.genes]
    np.testing.assert_allclose(known.gene[:, 0], expected)
    np.testing.assert_array_equal(known.variant, 1.0)
