"""The command: a study in, tables out, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bayestwas.cli import app


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("msprime", reason="needs the extra 'simulate': msprime is not installed")
    folder = tmp_path_factory.mktemp("coloc") / "study"
    made = CliRunner().invoke(
        app, ["simulate", "--preset", "tiny", "--seed", "5", "--blocks", "1", "--out", str(folder), "-q"]
    )
    assert made.exit_code == 0, made.output
    return folder / "study.toml"


def test_a_study_in_and_tables_out(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["coloc", str(study), "--out", str(out), "--priors", "coloc-default", "-q", "-j", "1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "GRCP" in done.output
    table = pd.read_csv(out / "coloc.tsv", sep="\t")
    truth = pd.read_csv(study.parent / "truth.tsv", sep="\t")
    assert set(table["gene"]) == set(truth["gene"])
    assert set(table["data"]) == {"simulated"}
    whole = table[table["ancestry"] == "all"]
    assert whole.loc[whole["grcp"].idxmax(), "gene"] in set(truth.loc[truth["causal"], "gene"])
    priors = pd.read_csv(out / "coloc_priors.tsv", sep="\t").set_index("quantity")["value"]
    assert priors[["p1", "p2", "p12"]].tolist() == [1e-4, 1e-4, 1e-5]
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2  # the folder is there
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0


def test_contexts_and_traits_with_one_another(study: Path, tmp_path: Path) -> None:
    """The study as another trait of itself: the rows of the two traits agree, and a table of clusters."""
    out = tmp_path / "out"
    command = ["coloc", str(study), "--out", str(out), "--priors", "coloc-default", "-q", "-j", "1"]
    done = CliRunner().invoke(app, [*command, "--with", f"again={study}"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "coloc.tsv", sep="\t", keep_default_na=False)
    keys = ["gene", "context", "ancestry", "signal", "trait_signal"]
    one, two = (
        table[(table["other"] == name) & (table["gene"] != "")]
        .set_index(keys)["grcp"]
        .astype(float)
        .sort_index()
        for name in ("trait", "again")
    )
    assert len(one)
    pd.testing.assert_series_equal(one, two)
    assert ((table["context"] == "trait") & (table["other"] == "again")).any()
    clusters = pd.read_csv(out / "coloc_clusters.tsv", sep="\t")
    assert clusters["members"].str.contains("again.1").any()
    wrong = CliRunner().invoke(app, [*command, "--overwrite", "--between", "trait,nowhere"])
    assert wrong.exit_code == 2
    assert "nowhere" in wrong.output


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--priors", "flat"], "coloc-default"),
        (["--with", "height"], "NAME=VALUE"),
        (["--between", "a,b,c"], "two names"),
        (["--results", "."], "results.zarr"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_read(
    extra: list[str], told: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["coloc", "nowhere.toml", "--out", str(tmp_path / "out"), *extra])
    assert done.exit_code == 2
    assert told in done.output
