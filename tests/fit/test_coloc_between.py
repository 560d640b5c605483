"""Any two contexts and traits of a locus: copies of a trait, clusters, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

import bayestwas
from bayestwas.errors import InputError, SettingsError
from bayestwas.fit.coloc import Colocalization, with_pips
from bayestwas.fit.coloc_between import moved, variant_keys, wanted_pairs
from bayestwas.fit.coloc_signals import fit_trait
from bayestwas.fit.settings import Settings

Build = Callable[..., xr.DataTree]
KEYS = ["gene", "context", "ancestry", "signal", "trait_signal"]


@pytest.fixture(scope="module")
def locus(build: Build) -> xr.DataTree:
    return build()


@pytest.fixture(scope="module")
def found(locus: xr.DataTree, settings: Settings) -> Colocalization:
    """The trait of the locus under a second name."""
    return bayestwas.colocalize(
        locus, between="all", others={"again": [locus]}, priors="coloc-default", settings=settings
    )


def test_a_trait_under_another_name_has_the_same_rows(found: Colocalization) -> None:
    table = found.pairs
    numbers = ["h0", "h1", "h2", "h3", "h4", "rcp", "lcp", "grcp", "glcp", "scp"]
    mine, other = (
        table[(table["other"] == name) & (table["context"] != "trait")].set_index(KEYS)[numbers].sort_index()
        for name in ("trait", "again")
    )
    assert len(mine) > 10
    np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_a_trait_colocalizes_with_itself_and_contexts_with_one_another(found: Colocalization) -> None:
    whole = found.pairs[found.pairs["ancestry"] == "all"]
    itself = whole[(whole["context"] == "trait") & (whole["other"] == "again")]
    assert (itself["gene"] == "").all()
    assert itself.loc[itself["signal"] == itself["trait_signal"], "h4"].iloc[0] > 0.9
    contexts = [*dict.fromkeys(whole.loc[whole["other"] == "trait", "context"])]
    if len(contexts) > 1:
        pairs = set(zip(whole["context"], whole["other"], strict=True))
        assert (contexts[0], contexts[1]) in pairs
    values = found.pairs[["h0", "h1", "h2", "h3", "h4"]].to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-9)


def test_clusters_hold_a_trait_and_its_copy_together(found: Colocalization) -> None:
    table = found.clusters
    assert table["exact"].all()
    assert table["probability"].between(0, 1 + 1e-9).all()
    together = table[table["members"].str.contains("trait.1")]
    assert len(together)
    assert together["members"].str.contains("again.1").all()
    assert (together["log_gain"] > 0).all()


def test_the_trait_of_another_study_is_found_by_its_alleles(locus: xr.DataTree, settings: Settings) -> None:
    """Half of the variants in reverse order and with alleles exchanged: the same Bayes factors, absent ones
    out."""
    fit, keys = fit_trait(locus, settings), variant_keys(locus["variant"])
    assert len(set(keys)) == len(keys)
    here = keys[::-2]
    there = moved(fit, keys, np.append(here, "1:1:A:G"), fit.near)
    expected = fit.signals().lbf[:, ::-2]
    np.testing.assert_array_equal(there.signals().lbf[:, :-1], expected)
    assert np.isneginf(there.signals().lbf[:, -1]).all()
    assert np.isneginf(there.by_size()[..., -1]).all()
    swapped = [":".join((*name.split(":")[:2], *name.split(":")[:1:-1])) for name in locus["variant"].values]
    assert swapped != locus["variant"].values.tolist()
    np.testing.assert_array_equal(variant_keys(np.array(swapped)), keys)


def test_which_pairs_are_meant_and_what_is_refused(locus: xr.DataTree) -> None:
    contexts = ["liver", "blood"]
    assert wanted_pairs(None, contexts, []) == ()
    assert wanted_pairs("trait", contexts, ["ldl"]) == ()
    assert wanted_pairs("all", contexts, []) == (("liver", "blood"),)
    assert wanted_pairs(None, contexts, ["ldl"]) == (
        ("liver", "blood"), ("liver", "ldl"), ("blood", "ldl"), ("trait", "ldl"),
    )  # fmt: skip
    assert wanted_pairs([("ldl", "liver"), ("liver", "ldl"), ("trait", "liver")], contexts, ["ldl"]) == (
        ("liver", "ldl"),
    )
    with pytest.raises(SettingsError, match="liver"):
        wanted_pairs([("liever", "trait")], contexts, [])
    with pytest.raises(SettingsError, match="different names"):
        wanted_pairs(None, contexts, ["blood"])
    with pytest.raises(SettingsError, match="between='every'"):
        wanted_pairs("every", contexts, [])
    with pytest.raises(InputError, match="no locus of the block"):
        bayestwas.colocalize(locus, others={"ldl": []})


def test_the_pip_goes_along_with_p12_and_holds_on_one_side(found: Colocalization) -> None:
    own = found.sensitivity[found.sensitivity["other"] == "trait"]
    gene = str(own["gene"].iloc[0])
    table = with_pips(found.sensitivity, {gene: 0.9})
    mine = table[(table["gene"] == gene) & (table["other"] == "trait")]
    assert len(mine)
    odds = mine["pip"] / (1 - mine["pip"])
    np.testing.assert_allclose(odds / 9, mine["factor"], rtol=1e-9)
    np.testing.assert_allclose(mine.loc[mine["used"], "pip"], 0.9)
    np.testing.assert_array_equal(mine["pip_holds"], mine["pip"] >= 0.5)
    assert not mine["pip_holds"].all()  # from 1/100 of the prior odds on
    rest = table.drop(mine.index)
    assert rest["pip"].isna().all()
    assert not rest["pip_holds"].any()
