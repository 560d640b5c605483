"""The command line: arguments reach their call, and the exit status and the one message are true."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import xarray as xr
from bayestwas.models import MODELS, card
from typer.testing import CliRunner

from bayestwas.cli import DEBUG, app
from bayestwas.data.results import STORE, save_results
from bayestwas.errors import InputError


@dataclass
class Summary:
    out: Path
    failed_blocks: int = 0
    failed_genes: int = 0
    top: pd.DataFrame = None  # type: ignore[assignment]
    warned_genes: int = 0
    unknown_genes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.top = pd.DataFrame({"gene": ["APOB"], "pip": [0.98765], "status": ["ok"]})


class Pipeline(ModuleType):
    """Stands in for bayestwas.run.pipeline: keeps its arguments, then returns or raises `outcome`."""

    def __init__(self) -> None:
        super().__init__("bayestwas.run.pipeline")
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.outcome: Any = Summary(Path("out"))

    def run_study(self, *args: Any, **kwargs: Any) -> Summary:
        self.calls.append((args, kwargs))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome  # type: ignore[no-any-return]


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    module = Pipeline()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_version_and_help() -> None:
    version = invoke("--version")
    assert version.exit_code == 0
    assert version.stdout.startswith("bayestwas 0.")
    top = invoke("--help")
    assert top.exit_code == 0
    for command in ("run", "check", "simulate", "models", "priors"):
        assert command in top.stdout
        one = invoke(command, "--help")
        assert one.exit_code == 0
        assert f"Example: bayestwas {command}" in one.stdout


def test_run_passes_its_arguments_on(pipeline: Pipeline) -> None:
    told = "run study.toml -o out --seed 7 -j 3 --overwrite --no-feedback -g A -g B -q"
    assert invoke(*told.split()).exit_code == 0
    expected = {
        "seed": 7,
        "workers": 3,
        "overwrite": True,
        "feedback": False,
        "genes": ("A", "B"),
        "progress": False,
    }
    assert pipeline.calls == [((Path("study.toml"), Path("out")), expected)]


def test_run_defaults(pipeline: Pipeline) -> None:
    assert invoke("run", "study.toml", "--out", "out").exit_code == 0
    expected = {
        "seed": 1,
        "workers": 2,
        "overwrite": False,
        "feedback": True,
        "genes": None,
        "progress": True,
    }
    assert pipeline.calls[0][1] == expected


def test_run_prints_the_top_genes_and_where_the_outputs_are(pipeline: Pipeline) -> None:
    told = invoke("run", "study.toml", "--out", "out").stdout
    assert "APOB" in told
    assert "0.988" in told
    assert "Results in out" in told
    assert "genes.tsv" in told


@pytest.mark.parametrize(("blocks", "genes", "status"), [(0, 0, 0), (1, 0, 1), (0, 2, 1)])
def test_exit_status_tells_of_failures(pipeline: Pipeline, blocks: int, genes: int, status: int) -> None:
    pipeline.outcome = Summary(Path("out"), failed_blocks=blocks, failed_genes=genes)
    done = invoke("run", "study.toml", "--out", "out")
    assert done.exit_code == status
    assert (f"Failed: {blocks} blocks, {genes} genes" in done.stderr) == (status == 1)
    assert "APOB" in done.stdout  # finished results are shown in any case


def test_warnings_and_unknown_genes_are_told(pipeline: Pipeline) -> None:
    assert "warning" not in invoke("run", "study.toml", "--out", "out").output
    pipeline.outcome = Summary(Path("out"), warned_genes=2, unknown_genes=("APOX",))
    done = invoke("run", "study.toml", "--out", "out", "--quiet")
    assert done.exit_code == 0
    assert "2 genes have the status warning" in done.stdout
    assert "in no phenotype file, and skipped: APOX" in done.stderr


def test_users_mistake_is_one_message_and_status_2(pipeline: Pipeline) -> None:
    pipeline.outcome = InputError("x.tsv has no column z", "A GWAS has effects", "Add the column [z]")
    done = invoke("run", "study.toml", "--out", "out")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Error: x.tsv has no column z",
        "  Rule: A GWAS has effects",
        "  Remedy: Add the column [z]",
    ]


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (PermissionError(13, "Permission denied", "/data/x"), 2, "Error: Permission denied: /data/x"),
        (OSError("disk gone"), 2, "Error: disk gone"),
        (ZeroDivisionError("division by zero"), 2, "Error: ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_nothing_ends_in_a_traceback(
    pipeline: Pipeline, outcome: BaseException, status: int, message: str
) -> None:
    pipeline.outcome = outcome
    done = invoke("run", "study.toml", "--out", "out")
    assert done.exit_code == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_debug_keeps_the_traceback(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG, "1")
    pipeline.outcome = ZeroDivisionError("division by zero")
    assert isinstance(invoke("run", "study.toml", "--out", "out").exception, ZeroDivisionError)


def test_check_renders_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bayestwas.run.check")
    module.check = lambda path: f"report of {path}"  # type: ignore[attr-defined]
    module.render = print  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    done = invoke("check", "study.toml")
    assert done.exit_code == 0
    assert done.stdout == "report of study.toml\n"


def test_simulate_writes_a_study(tmp_path: Path) -> None:
    pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
    out = tmp_path / "study"
    done = invoke("simulate", "--preset", "tiny", "--out", str(out), "--blocks", "1", "--quiet")
    assert done.exit_code == 0
    assert str(out / "study.toml") in done.stdout
    assert len((out / "blocks.bed").read_text().splitlines()) == 1
    assert "bayestwas simulate --preset tiny --seed 1 --blocks 1" in (out / "README.txt").read_text()
    again = invoke("simulate", "--preset", "tiny", "--out", str(out))
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert invoke("simulate", "--preset", "tiny", "--out", str(out), "--overwrite", "-q").exit_code == 0


def test_misspelt_preset_names_the_nearest(tmp_path: Path) -> None:
    done = invoke("simulate", "--preset", "tny", "--out", str(tmp_path / "study"))
    assert done.exit_code == 2
    assert "Did you mean 'tiny'?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_process_itself_exits_with_the_status(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bayestwas.cli",
        "simulate",
        "--preset",
        "none",
        "--out",
        str(tmp_path / "s"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert subprocess.run([*command[:3], "run"], capture_output=True).returncode == 2


def test_models_lists_the_question_of_every_model() -> None:
    listed = invoke("models")
    assert listed.exit_code == 0
    for name in MODELS:
        (line,) = [line for line in listed.stdout.splitlines() if line.startswith(f"{name} ")]
        assert line.split(maxsplit=1)[1] == card(name).splitlines()[0].removeprefix(f"# {name}: ")


@pytest.mark.parametrize(("there", "told"), [(True, "nutpie is installed"), (False, "pip install")])
def test_models_says_whether_nutpie_is_there(there: bool, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayestwas.cli.results.find_spec", lambda library: object() if there else None)
    assert told in invoke("models").stdout


def test_models_prints_a_card_as_it_is_when_piped() -> None:
    shown = invoke("models", "gene_trait")
    assert shown.exit_code == 0
    assert shown.stdout.strip() == card("gene_trait").strip()


def test_models_renders_a_card_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayestwas.cli.results._terminal", lambda: True)
    shown = invoke("models", "gene_trait")
    assert shown.exit_code == 0
    assert "which candidates of a locus act on a trait" in shown.stdout
    assert "## Question" not in shown.stdout
    assert "Question" in shown.stdout


def test_models_of_an_unknown_name() -> None:
    refused = invoke("models", "gene_trai")
    assert refused.exit_code == 2
    assert "Model 'gene_trai'" in refused.stderr
    assert "Did you mean 'gene_trait'?" in refused.stderr


def test_models_does_not_import_pymc() -> None:
    code = (
        "import sys; from bayestwas.cli import app; app(['models', 'gene_trait'], standalone_mode=False); "
        "sys.exit(bool({'pymc', 'pytensor', 'numba', 'nutpie'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_priors_are_printed_and_drawn(synthetic_result: xr.DataTree, tmp_path: Path) -> None:
    synthetic_result.attrs |= {"priors": '{"gene": 0.04321}', "priors_source": "documented defaults"}
    save_results(synthetic_result, tmp_path / STORE)
    done = invoke("priors", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert "documented defaults" in done.stdout
    assert "0.0432" in done.stdout
    assert f"Drawn: {tmp_path / 'priors.png'}" in done.stdout
    assert (tmp_path / "priors.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "is not a folder"),
        ("study.toml", "is not a folder"),
        ("empty", "holds no results.zarr"),
        ("broken", "cannot be read"),
    ],
)
def test_priors_of_what_is_no_result(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "study.toml").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / STORE).mkdir(parents=True)
    refused = invoke("priors", str(tmp_path / name))
    assert refused.exit_code == 2
    assert refused.stdout == ""
    lines = refused.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["Error", "Rule", "Remedy"]
    assert message in lines[0]


def test_priors_does_not_import_pymc(synthetic_result: xr.DataTree, tmp_path: Path) -> None:
    save_results(synthetic_result, tmp_path / STORE)
    code = (
        "import sys; from bayestwas.cli import app; app(['priors', sys.argv[1]], standalone_mode=False); "
        "sys.exit(bool({'pymc', 'pytensor', 'numba', 'nutpie'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
