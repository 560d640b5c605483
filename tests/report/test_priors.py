"""priors.tsv: every quantity has its row, numbers follow from the draws, words from the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.engine.gene_trait import DEFAULT_PRIORS
from bayestwas.engine.weights import WeightPriors
from bayestwas.report.priors import (
    NOT_INFORMED,
    print_priors,
    prior_spreads,
    priors_table,
    told_of_priors,
    why_not_learned,
)

Learned = Callable[..., xr.DataTree]
SOME = {"coding": (1.5, 0.2), "repressed": (-1.0, 0.2), "neutral": (0.0, 0.2), "blind": (0.1, 0.79)}


def rows(table: pd.DataFrame, parameter: str, stage: str = "genes and variants") -> pd.DataFrame:
    mine = table[(table["parameter"] == parameter) & (table["stage"] == stage)]
    assert len(mine) > 0, parameter
    return mine.set_index("of")


@pytest.fixture
def table(learned: Learned) -> pd.DataFrame:
    return priors_table(learned(SOME))


def test_rows_summarise_the_draws(table: pd.DataFrame) -> None:
    coding = rows(table, "enrichment").loc["variant: coding"]
    # 400 equidistant values over sqrt(3) standard deviations on either side; their ends are 1 / 400 coarse
    assert coding["mean"] == pytest.approx(1.5)
    assert coding["sd"] == pytest.approx(0.2, rel=0.01)
    assert [coding["low"], coding["high"]] == pytest.approx(1.5 + 0.2 * np.sqrt(3) * np.array([-0.95, 0.95]))
    assert coding["prior_sd"] == 0.8
    ratio = rows(table, "enrichment_odds_ratio").loc["variant: coding"]
    expected = np.exp(coding[["mean", "low", "high"]].astype(float))
    assert ratio[["mean", "low", "high"]].tolist() == pytest.approx(expected.tolist())
    assert np.isnan([ratio["sd"], ratio["prior_sd"]]).all()  # of another scale
    assert [coding["prior_low"], coding["prior_high"]] == [-1.6, 1.6]
    assert [ratio["prior_low"], ratio["prior_high"]] == pytest.approx(np.exp([-1.6, 1.6]))


def test_what_the_data_say_is_in_words(table: pd.DataFrame) -> None:
    for parameter, boundary in (("enrichment", "zero"), ("enrichment_odds_ratio", "one")):
        mine = rows(table, parameter)
        said = mine["statement"]
        assert said["variant: coding"].startswith(f"the 95% interval lies above {boundary}: ")
        assert "more often in variants" in said["variant: coding"]
        assert said["variant: repressed"].startswith(f"the 95% interval lies below {boundary}: ")
        assert "less often in variants" in said["variant: repressed"]
        assert said["variant: neutral"].startswith(f"the 95% interval includes {boundary}: ")
        assert said["variant: blind"] == NOT_INFORMED
        assert mine["informed"].to_dict() == {
            "variant: coding": "yes",
            "variant: repressed": "yes",
            "variant: neutral": "yes",
            "variant: blind": "no",
        }
    everything = " ".join(table["statement"]).lower()
    assert not any(word in everything for word in ("cause", "causal", "drives", "proves", "because of"))


def test_a_wide_posterior_away_from_zero_is_informed(learned: Learned) -> None:
    row = rows(priors_table(learned({"coding": (3.0, 0.9)})), "enrichment").loc["variant: coding"]
    assert row["sd"] > row["prior_sd"]
    assert (row["informed"], "above zero" in row["statement"]) == ("yes", True)


def test_genes_have_odds_and_a_probability_in_every_context(table: pd.DataFrame) -> None:
    odds, chance = rows(table, "odds"), rows(table, "probability")
    assert odds.index.tolist() == ["gene", "gene in liver", "gene in blood", "variant"]
    assert odds.loc["gene in liver", "mean"] == pytest.approx(0.03)  # geometric means
    assert odds.loc["gene in blood", "mean"] == pytest.approx(0.03 * np.exp(-1))
    assert odds.loc["gene", "mean"] == pytest.approx(0.03 * np.exp(-0.5))
    # the prior of a context is as much wider as its two parts, of sd 2 and 1, are than the first alone
    assert odds.loc["gene in liver", "prior_high"] == pytest.approx(np.exp(-4 + 4 * np.sqrt(5) / 2))
    assert odds.loc["gene", "prior_low"] == pytest.approx(np.exp(-4 - 4 * np.sqrt(4.5) / 2))
    assert odds.loc["variant", "prior_low"] == pytest.approx(np.exp(-13))
    assert (chance["mean"] < chance["high"]).all()
    np.testing.assert_allclose(chance["high"], -np.expm1(-odds["high"]), rtol=1e-3)  # monotone, as is exp
    assert (chance["informed"] == "yes").all()


def test_contexts_are_told_against_their_mean(table: pd.DataFrame) -> None:
    effects = rows(table, "context_effect")
    assert effects["mean"].to_dict() == pytest.approx({"liver": 0.5, "blood": -0.5})
    assert effects["prior_sd"].tolist() == pytest.approx([np.sqrt(0.5)] * 2)
    assert effects["prior_high"].tolist() == pytest.approx([2 * np.sqrt(0.5)] * 2)
    assert "more often in this context" in effects.loc["liver", "statement"]
    assert "less often in this context" in effects.loc["blood", "statement"]


def test_sizes_are_named_by_their_variance_and_pairs_by_their_ancestries(table: pd.DataFrame) -> None:
    assert rows(table, "size_weight").index.tolist() == [
        "gene: variance 0.0005", "gene: variance 0.05", "variant: variance 5e-05", "variant: variance 0.005"
    ]  # fmt: skip
    assert rows(table, "correlation").index.tolist() == ["gene: EUR, AFR", "variant: EUR, AFR"]


def test_every_pair_of_ancestries_is_told_once(learned: Learned) -> None:
    result = learned({}, ancestries=["AFR", "EAS", "EUR"])
    hyper = result["hyperparameters"].to_dataset()
    hyper["correlation"].values[:] = [[1, 0.5, 0.4], [0.5, 1, 0.3], [0.4, 0.3, 1]]
    result["hyperparameters"] = xr.DataTree(hyper)
    told = rows(priors_table(result), "correlation")["mean"].to_dict()
    pairs = {"AFR, EAS": 0.5, "AFR, EUR": 0.4, "EAS, EUR": 0.3}
    assert told == pytest.approx(
        {f"{kind}: {pair}": value for kind in ("gene", "variant") for pair, value in pairs.items()}
    )


def test_a_study_with_one_of_everything_has_no_row_without_meaning(learned: Learned) -> None:
    table = priors_table(learned({}, contexts=["none"], ancestries=["all"]))
    table = table[table["stage"] == "genes and variants"]
    assert set(table["parameter"]) == {"log_odds", "odds", "probability", "size_weight", "expected_number"}
    assert not table["of"].str.contains("none").any()
    single = priors_table(learned({}, contexts=["liver"], ancestries=["EUR"]))
    assert "gene in liver" in rows(single, "odds").index
    assert "context_effect" not in set(single["parameter"])


def test_kinds_of_annotations_that_were_not_stored_are_left_open(learned: Learned) -> None:
    result = learned(SOME)
    del result["hyperparameters"].attrs["annotation_kinds"]
    assert rows(priors_table(result), "enrichment").index.tolist() == list(SOME)


def test_an_unknown_prior_leaves_open_whether_the_data_informed(learned: Learned) -> None:
    result = learned(SOME)
    result["hyperparameters"].attrs["prior_sd"] = json.dumps({"coefficient": 0.8, "intercept": [2.0, 3.0]})
    table = priors_table(result)
    assert set(rows(table, "log_odds")["informed"]) == {""}
    assert set(rows(table, "enrichment")["informed"]) == {"yes", "no"}


def test_priors_that_were_not_stored_are_those_of_the_model(build_hyper: Callable[..., xr.Dataset]) -> None:
    from bayestwas.models.hyper import PRIOR_SD

    hyper = build_hyper({"coding": (1.0, 0.1)})
    del hyper.attrs["prior_sd"]
    assert prior_spreads(hyper)["coefficient"].sd == PRIOR_SD["coefficient"]


def test_expected_numbers_are_sums_of_pips(table: pd.DataFrame, synthetic_result: xr.DataTree) -> None:
    expected = rows(table, "expected_number")
    marginals = synthetic_result["marginals"].dataset
    assert expected.loc["gene", "mean"] == pytest.approx(float(marginals["pip"].sum()))
    assert expected.loc["variant", "mean"] == pytest.approx(float(marginals["pip_direct"].sum()))


# ---- priors of expression -------------------------------------------------------------------------------


def test_priors_of_expression_are_point_estimates(table: pd.DataFrame) -> None:
    mine = table[table["stage"] == "expression"]
    assert set(mine["source"]) == {"point estimate"}
    assert mine[["sd", "low", "high", "prior_sd"]].isna().all().all()
    values = mine.set_index(["parameter", "of"])["mean"].to_dict()
    assert values["expected_number", "eQTL"] == 1.4
    assert values["size_weight", "variance 0.04"] == 0.25
    assert values["pattern_weight", "shared"] == 0.7
    assert values["pattern_weight", "only in blood"] == 0.2
    assert values["context_correlation", "liver, blood"] == 0.6
    assert values["distance_density", "0-5 kb"] == 8.0
    assert values["distance_density", "over 500 kb"] == 0.5
    assert values["enrichment", "repressed"] == -1.0
    assert values["enrichment_odds_ratio", "coding"] == pytest.approx(np.exp(1.5))
    # of a covariance the diagonal as well, of a correlation not
    pairs = mine[mine["parameter"] == "unstructured_covariance"]["of"].tolist()
    assert pairs == ["liver EUR, liver EUR", "liver EUR, blood EUR", "blood EUR, blood EUR"]
    assert ("context_correlation", "liver, liver") not in values
    said = mine.set_index("parameter")["statement"]
    assert "point estimate by EM" in said["expected_number"]
    assert "posterior mean" in said["enrichment"].iloc[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, {"": 0.5}),
        ([0.1, 0.2, 0.3], {"1": 0.1, "2": 0.2, "3": 0.3}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}),
        ([["x", 1.0], ["y", 2.0]], {"x": 1.0, "y": 2.0}),
        ([[1.0, 0.2], [0.3, 1.0]], {"1, 1": 1.0, "1, 2": 0.2, "2, 1": 0.3, "2, 2": 1.0}),
        (None, {}),
        ("text", {}),
        ([], {}),
    ],
)
def test_fields_that_are_new_are_told_under_their_own_name(
    learned: Learned, value: object, expected: dict[str, float]
) -> None:
    result = learned({})
    told = json.loads(result.attrs["weight_priors"]) | {"a_new_field": value}
    result.attrs["weight_priors"] = json.dumps(told)
    table = priors_table(result)
    assert table[table["parameter"] == "a_new_field"].set_index("of")["mean"].to_dict() == expected


def test_sampled_enrichments_of_eqtls_have_intervals(learned: Learned) -> None:
    result = learned({})
    told = {
        "contexts": ["liver"], "annotations": [["coding", 1.5], ["score", 0.1]],
        "annotation_intervals": [["coding", 0.5, 0.6, 2.4], ["score", 0.2, -0.3, 0.5]],
    }  # fmt: skip
    result.attrs["weight_priors"] = json.dumps(told)
    mine = priors_table(result).query("stage == 'expression'").set_index(["parameter", "of"])
    assert set(mine["source"]) == {"posterior"}
    assert mine.loc[("enrichment", "coding"), ["mean", "sd", "low", "high"]].tolist() == [1.5, 0.5, 0.6, 2.4]
    ratio = mine.loc[("enrichment_odds_ratio", "score"), ["mean", "low", "high"]].astype(float)
    np.testing.assert_allclose(ratio, np.exp([0.1, -0.3, 0.5]))
    assert len(mine) == 4


def test_tables_of_tables_are_told_by_their_path(learned: Learned) -> None:
    result = learned({})
    result.attrs["weight_priors"] = json.dumps({"new": {"b": {"c": 1.0}, "d": [2.0]}, "contexts": ["liver"]})
    mine = priors_table(result)
    mine = mine[mine["stage"] == "expression"]
    assert mine.set_index(["parameter", "of"])["mean"].to_dict() == {("new_b", "c"): 1.0, ("new_d", "1"): 2.0}


def test_a_matrix_of_many_contexts_is_one_row(learned: Learned) -> None:
    result = learned({})
    result.attrs["weight_priors"] = json.dumps(
        {"unstructured_covariance": np.eye(60).tolist(), "contexts": [f"c{i}" for i in range(60)]}
    )
    [row] = priors_table(result).query("parameter == 'unstructured_covariance'").itertuples()
    assert np.isnan(row.mean)
    assert f"{60 * 61 // 2} numbers" in row.statement


# ---- nothing learned ------------------------------------------------------------------------------------


@pytest.fixture
def defaults(synthetic_result: xr.DataTree) -> xr.DataTree:
    """What a run of three blocks writes."""
    synthetic_result.attrs |= {
        "priors": json.dumps(DEFAULT_PRIORS.told()),
        "weight_priors": json.dumps(asdict(WeightPriors())),
        "priors_source": "documented defaults",
        "settings": json.dumps({"learn": True, "learn_blocks": 5}),
    }
    return synthetic_result


def test_defaults_say_that_and_why_nothing_was_learned(defaults: xr.DataTree) -> None:
    table = priors_table(defaults)
    assert set(table["source"]) == {"default", "sum of PIPs"}
    mine = table[table["source"] == "default"]
    assert mine["statement"].str.contains("nothing was learned").all()
    assert mine["statement"].str.contains("a run of 3 blocks, and learning needs 5").all()
    assert set(mine["informed"]) == {""}
    odds = rows(table, "odds")["mean"]
    assert odds.to_dict() == {"gene": DEFAULT_PRIORS.gene, "variant": DEFAULT_PRIORS.direct}
    patterns = rows(table, "pattern_weight", "expression")["mean"]
    assert patterns.sum() == pytest.approx(1)
    assert "only in one context" in patterns.index


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"priors_source": "documented defaults: no block could be learned from"}, "no block could"),
        ({"settings": json.dumps({"learn": False})}, "learning was switched off"),
        ({"settings": "{}"}, "documented defaults"),
        ({"settings": "{}", "priors_source": ""}, "no reason was recorded"),
    ],
)
def test_reasons(defaults: xr.DataTree, attrs: dict[str, str], reason: str) -> None:
    defaults.attrs |= attrs
    assert reason in why_not_learned(defaults)
    [line] = told_of_priors(defaults)
    assert line.count(reason) == 1


def test_a_result_without_any_word_on_priors_has_an_empty_table(build_block_result) -> None:
    result = build_block_result("b1", status="failed")
    assert priors_table(result).empty
    print_priors(result)


# ---- in words -------------------------------------------------------------------------------------------


def test_the_source_is_told_and_so_is_a_sampler_in_trouble(learned: Learned) -> None:
    result = learned(SOME)
    [line] = told_of_priors(result)
    assert "learned over 7 blocks in 2 rounds (settled)" in line
    result["hyperparameters"].attrs |= {"status": "warning", "reason": "3 divergences"}
    assert told_of_priors(result)[1] == "The global model has the status warning: 3 divergences."


def test_what_is_printed(
    learned: Learned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_priors(learned(SOME))
    told = capsys.readouterr().out
    assert "Priors of genes and variants (simulated data)" in told
    assert "Priors of expression (simulated data)" in told
    assert "(point estimate)" in told
    assert "variant: coding" in told
    assert told.rstrip().endswith("variant: blind.")
