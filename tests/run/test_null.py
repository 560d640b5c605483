"""The null of a study: continued, extended, refused, and told by the command."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from bayestwas.errors import InputError, OutputError, SettingsError
from bayestwas.fit.settings import Settings
from bayestwas.run import null
from bayestwas.run.null import run_null


@pytest.fixture(scope="module")
def found(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> null.NullSummary:
    out = tmp_path_factory.mktemp("null") / "out"
    return run_null(tiny_study, out, kind="parametric", n=1, workers=1, progress=False)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """What is tested here does not hang on their number."""
    small = Settings(trait_effects=3, expression_effects=2, draws=8, max_draws=8, posterior_draws=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(null, "Settings", lambda: small)
        yield


def test_tables_and_figure_are_written(found: null.NullSummary) -> None:
    table = pd.read_csv(found.out / "null.tsv", sep="\t")
    assert table.columns.tolist() == [*found.thresholds.columns, "kind", "replicates", "data"]
    assert set(table["data"]) == {"simulated"}
    genes = pd.read_csv(found.out / "null.genes.tsv", sep="\t")
    assert len(genes) == len(pd.read_csv(found.out / "replicates" / "study.tsv", sep="\t")) == 8
    assert genes["empirical_fdr"].between(0, 1).all()
    assert (found.out / "null.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_call_is_continued_and_a_larger_one_adds(
    found: null.NullSummary, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(found.out, tmp_path / "out")
    fits: list[int] = []
    fit = null.fit_study
    monkeypatch.setattr(null, "fit_study", lambda *a, **k: fits.append(1) or fit(*a, **k))
    again = run_null(tiny_study, out, kind="parametric", n=1, workers=1, progress=False)
    assert fits == []
    pd.testing.assert_frame_equal(again.thresholds, found.thresholds)
    more = run_null(tiny_study, out, kind="parametric", n=2, workers=1, progress=False)
    assert (fits, more.done) == ([1], 2)
    fewer = run_null(tiny_study, out, kind="parametric", n=1, workers=1, progress=False)
    assert (fits, fewer.done) == ([1], 2)


@pytest.mark.parametrize(
    ("name", "error"), [("null.json", OutputError), ("replicates/0001.tsv", InputError)], ids=str
)
def test_damaged_files_are_named(
    found: null.NullSummary, tiny_study: Path, tmp_path: Path, name: str, error: type[Exception]
) -> None:
    out = shutil.copytree(found.out, tmp_path / "out")
    (out / name).write_text("not what it was\n")
    with pytest.raises(error, match=r"(?i)remove"):
        run_null(tiny_study, out, kind="parametric", n=1, workers=1, progress=False)


def test_another_null_in_the_same_folder_is_refused(found: null.NullSummary, tiny_study: Path) -> None:
    for other in ({"kind": "permutation"}, {"kind": "parametric", "seed": 2}):
        with pytest.raises(OutputError):
            run_null(tiny_study, found.out, n=1, workers=1, progress=False, **other)


@pytest.mark.parametrize("wrong", [{"kind": "permutations"}, {"n": 0}, {"seed": -1}])
def test_wrong_settings_are_refused(tiny_study: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        run_null(tiny_study, tmp_path / "out", progress=False, **wrong)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_passes(
    found: null.NullSummary, tiny_study: Path, command: Callable[..., object], tmp_path: Path
) -> None:
    out = shutil.copytree(found.out, tmp_path / "out")
    told = command("null", tiny_study, "--kind", "parametric", "--n", 1, "--out", out, "-j", 1, "-q")
    assert told.exit_code == 0, told.output
    assert all(row in told.output for row in found.thresholds["threshold"])
    assert command("null", tiny_study, "--kind", "other", "--out", tmp_path / "x").exit_code == 2
