"""The weights of a run for other programs. Simulated."""

from __future__ import annotations

import shutil
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
import pytest

from bayestwas.data.results import save_results
from bayestwas.data.weights import standardised
from bayestwas.engine.ld import MatrixLD
from bayestwas.errors import BayestwasError
from bayestwas.io.plink import read_bim
from bayestwas.io.weights import read_fusion, read_predictdb
from bayestwas.run.export import export, strongest
from bayestwas.run.pipeline import RunSummary

KEY = ["gene", "chromosome", "position", "effect_allele", "other_allele"]


@pytest.fixture(scope="module")
def parquet(tiny_run: RunSummary, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    files = export(tiny_run.out, tmp_path_factory.mktemp("parquet") / "out", format="parquet")
    return {file.stem: pd.read_parquet(file) for file in files}


def test_parquet_holds_every_draw_and_mean(tiny_run: RunSummary, parquet: dict[str, pd.DataFrame]) -> None:
    draws, means = parquet["weight_draws"], parquet["weight_means"]
    stored = tiny_run.result["weights"].dataset
    np.testing.assert_array_equal(draws["weight"], stored["weight"].values)
    np.testing.assert_array_equal(draws["draw"], stored["draw_index"].values)
    labels = tiny_run.result["marginals"].dataset
    np.testing.assert_array_equal(draws["gene"], labels["gene"].values[stored["gene_index"].values])
    np.testing.assert_array_equal(draws["context"], labels["context"].values[stored["context_index"].values])
    named = means["variant"].str.split(":", expand=True)
    assert (named[0] == means["chromosome"]).all()
    assert (named[1].astype(int) == means["position"]).all()
    assert (named[3] == means["effect_allele"]).all()
    assert set(means["data"]) == {"simulated"}


def test_draws_average_to_the_means(parquet: dict[str, pd.DataFrame]) -> None:
    """The predictor of a gene from its draws is that from its means: |difference| is small beside the spread
    of its draws over the square root of their number."""
    group = ["gene", "context", "ancestry", "variant"]
    draws, means = parquet["weight_draws"], parquet["weight_means"]
    draws = draws.assign(first=draws["weight"] * draws["probability"])
    draws = draws.assign(second=draws["weight"] * draws["first"], square=draws["probability"] ** 2)
    total = draws.groupby(group)[["first", "second"]].sum()
    effective = 1 / draws.groupby("gene")["square"].max()
    both = total.join(means.set_index(group)["weight"], how="inner")
    spread = np.sqrt(np.maximum(both["second"] - both["first"] ** 2, 0))
    at = both.index.get_level_values("gene")
    error = spread / np.sqrt(np.minimum(effective[at].to_numpy() ** 0.5, 64))
    large = both["weight"].abs() > 0.05
    assert large.sum() > 10
    # five standard errors, for which a quarter of the draws (and fewer where few carry all) count
    assert (np.abs(both["first"] - both["weight"])[large] <= 5 * error[large] + 1e-3).all()


@pytest.mark.parametrize("ancestry", ["EUR", "AFR"])
def test_predictdb(
    tiny_run: RunSummary, tiny_study: Path, parquet: dict[str, pd.DataFrame], ancestry: str, tmp_path: Path
) -> None:
    """Per allele; times the SD of the genotypes the means of the run, with their covariance."""
    files = export(tiny_run.out, tmp_path / "w", format="predictdb", study=tiny_study)
    database = tmp_path / "w" / f"blood.{ancestry}.db"
    assert database in files
    weights = read_predictdb(database, database.with_suffix(".txt.gz"))
    means = parquet["weight_means"]
    means = means[(means["context"] == "blood") & (means["ancestry"] == ancestry)].set_index(KEY)["weight"]
    scaled = standardised(weights).table.set_index(KEY)["weight"]
    assert set(weights.table["gene"]) == set(means.index.get_level_values("gene"))
    # two square roots of the same variance
    np.testing.assert_allclose(scaled, means.loc[scaled.index], rtol=1e-12, atol=0)
    variants = read_bim(tiny_study.with_name(f"ld.{ancestry}.bim"))
    bed = bed_reader.open_bed(tiny_study.with_name(f"ld.{ancestry}.bed"), num_threads=1)
    dosage = bed.read(dtype="float64", num_threads=1)
    place = pd.Series(np.arange(len(variants)), index=variants["position"])
    for gene, part in weights.table.groupby("gene"):
        at = place.loc[part["position"]].to_numpy()
        sign = np.where(variants["effect_allele"].to_numpy()[at] == part["effect_allele"].to_numpy(), 1, -1)
        covariance = np.atleast_2d(np.cov(dosage[:, at].T)) * np.outer(sign, sign)
        np.testing.assert_allclose(weights.covariance[str(gene)].matrix, covariance, rtol=0, atol=1e-12)


def test_fusion_and_what_was_exported(
    tiny_run: RunSummary, tiny_study: Path, parquet: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    export(tiny_run.out, tmp_path / "all", format="fusion", study=tiny_study, agreement=1)
    means = parquet["weight_means"]
    for pos in sorted((tmp_path / "all").glob("*.pos")):
        context, ancestry = pos.stem.split(".")
        back = read_fusion(pos).table.set_index(KEY)["weight"]
        mine = means[(means["context"] == context) & (means["ancestry"] == ancestry)].set_index(KEY)["weight"]
        np.testing.assert_array_equal(back, mine.loc[back.index])
        assert len(back) > 0
    told = pd.read_csv(tmp_path / "all" / "exported.tsv", sep="\t")
    # all that adds to the prediction: a variant without LD, or in full LD with others, may not
    np.testing.assert_allclose(told["agreement"], 1, rtol=0, atol=1e-6)
    expected = means[["gene", "context", "ancestry"]].drop_duplicates()
    assert len(told.merge(expected)) == len(told) == len(expected)


def test_the_strongest_weights_are_the_fewest_that_predict_as_well() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 12))
    x[:, 1:] += 0.8 * x[:, :-1]
    weight = rng.normal(size=12) * np.array([1, 0.01, 1, 0.1, 0.01, 0.5] * 2)
    r = np.corrcoef(x.T)
    scaled = x / x.std(axis=0)
    kept, share = strongest(weight, MatrixLD(r), np.arange(12), 0.97)
    order = np.argsort(-np.abs(weight))
    every = [
        np.corrcoef(scaled[:, order[:k]] @ weight[order[:k]], scaled @ weight)[0, 1] ** 2
        for k in range(1, 13)
    ]
    count = next(k for k, one in enumerate(every, start=1) if one >= 0.97)
    assert 1 < count < 12
    assert sorted(kept) == sorted(order[:count])
    assert share == pytest.approx(every[count - 1], abs=1e-12)


def test_variants_without_ld_are_left_out() -> None:
    r = np.eye(3)
    r[1], r[:, 1] = np.nan, np.nan
    kept, share = strongest(np.array([0.1, 5.0, 0.2]), MatrixLD(r), np.arange(3), 1.0)
    assert (kept.tolist(), share) == ([0, 2], 1.0)
    none, share = strongest(np.array([1.0]), MatrixLD(np.full((1, 1), np.nan)), np.arange(1), 1.0)
    assert len(none) == 0
    assert np.isnan(share)


BAD = {
    "format": ({"format": "predixcan"}, "predictdb"),
    "agreement": ({"agreement": 0.0}, "between 0 and 1"),
    "a full folder": ({}, "Nothing is replaced unasked"),
    "another study": ({"study": "other"}, "is not in the study"),
    "no study": ({"study": None}, "--study"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tiny_run: RunSummary, tiny_study: Path, case: str, tmp_path: Path) -> None:
    given, message = BAD[case]
    arguments = {"format": "fusion", "study": tiny_study} | given
    to, results = tmp_path / "to", tiny_run.out
    if case == "a full folder":
        to.mkdir()
        (to / "mine").touch()
    if case == "no study":  # as where a result has moved to another machine
        moved = tiny_run.result.copy()
        moved.attrs["files"] = '{"elsewhere/study.toml": ""}'
        results = save_results(moved, tmp_path / "results.zarr")
    if arguments["study"] == "other":
        shutil.copytree(tiny_study.parent, tmp_path / "other")
        bim = tmp_path / "other" / "gwas.EUR.tsv.gz"
        table = pd.read_csv(bim, sep="\t")
        table.iloc[: len(table) // 2].to_csv(bim, sep="\t", index=False)
        for name in ("ld.EUR", "ld.AFR", "donors.EUR", "donors.AFR"):
            lines = (tmp_path / "other" / f"{name}.bim").read_text().splitlines()
            shifted = [line.split() for line in lines]
            for line in shifted[1::2]:
                line[3] = str(int(line[3]) + 1)
            (tmp_path / "other" / f"{name}.bim").write_text("\n".join("\t".join(x) for x in shifted) + "\n")
        arguments["study"] = tmp_path / "other" / "study.toml"
    with pytest.raises(BayestwasError) as error:
        export(results, to, **arguments)
    assert message in str(error.value)


def test_the_command(tiny_run: RunSummary, tmp_path: Path, command) -> None:
    done = command("export", tiny_run.out, "--format", "parquet", "--to", tmp_path / "p")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p" / "weight_draws.parquet").is_file()
    refused = command("export", tiny_run.out, "--format", "predixcan", "--to", tmp_path / "q")
    assert refused.exit_code == 2
    assert not (tmp_path / "q").exists()
