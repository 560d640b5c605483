"""The notebook runs, shows what its script says, and was stored without an error."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebook"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebook", FOLDER / "make_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_notebook_is_that_of_the_script(maker: ModuleType) -> None:
    stored = json.loads((FOLDER / "walkthrough.ipynb").read_text())["cells"]
    expected = maker.cells((FOLDER / "walkthrough.py").read_text())
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in stored]
    assert found == expected, "run `make notebook`"
    outputs = [output for cell in stored for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result"}
    assert all(output.get("name") != "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_every_cell_runs(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {}
    for kind, source in maker.cells((FOLDER / "walkthrough.py").read_text()):
        if kind == "code":
            exec(source, names)
    told = capsys.readouterr().out
    assert "block001_gene01: the " in told
    assert "documented defaults" in told
