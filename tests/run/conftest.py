"""The smallest simulated study on disk, and its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bayestwas.cli import app
from bayestwas.data.simulate import PRESETS, simulate_study
from bayestwas.io.write_study import write_study
from bayestwas.run.pipeline import RunSummary, run_study


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """study.toml of the preset tiny: two blocks, eight genes. Tests copy the folder before they change it."""
    pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
    folder = tmp_path_factory.mktemp("simulated") / "study"
    return write_study(simulate_study(PRESETS["tiny"], seed=1), folder)


@pytest.fixture(scope="session")
def tiny_run(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """Its run by two processes."""
    return run_study(tiny_study, tmp_path_factory.mktemp("run") / "out", workers=2, progress=False)


@pytest.fixture
def command():
    """Run one command of the command line in this process."""

    def run(*arguments: Any) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120", "NO_COLOR": "1"})

    return run
