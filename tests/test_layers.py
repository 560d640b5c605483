"""The house: every import goes downhill, and each outside library has its room."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEIGHTS = {
    "errors": 0,
    "names": 0,
    "engine": 1,
    "models": 1,
    "data": 2,
    "io": 3,
    "harmonise": 3,
    "report": 3,
    "fit": 4,
    "assess": 5,
    "run": 6,
    "cli": 7,
}
# Rooms that may use these libraries and no others beside the standard library; None of bayestwas for models.
LIBRARIES = {"engine": {"numpy", "scipy"}, "models": {"numpy", "pymc", "pytensor"}}
# Libraries that live in one place.
HOMES = {
    "matplotlib": {"report"},
    "msprime": {"data"},
    "pymc": {"models", "fit"},
    "typer": {"cli"},
}


def modules() -> dict[str, tuple[str, Path]]:
    """Dotted name -> (room, file) of every module of the package but its __init__, which imports lazily by
    name."""
    found = {}
    for path in sorted((ROOT / "bayestwas").rglob("*.py")):
        parts = path.relative_to(ROOT / "bayestwas").with_suffix("").parts
        if parts != ("__init__",):
            found[".".join(["bayestwas", *parts])] = (parts[0], path)
    for path in sorted((ROOT / "models").glob("*.py")):
        found[f"bayestwas.models.{path.stem}"] = ("models", path)
    return found


def imports(source: str) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it; of `from a import b` the longest known part,
    a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def complaints(room: str, source: str) -> list[str]:
    """What is wrong with the imports of a module of `room`."""
    wrong = []
    for name in imports(source):
        library, _, rest = name.partition(".")
        if library != "bayestwas":
            outside = library not in sys.stdlib_module_names
            if outside and library not in LIBRARIES.get(room, {library}):
                wrong.append(f"{name}: {room}/ uses {sorted(LIBRARIES[room])} only")
            if room not in HOMES.get(library, {room}):
                wrong.append(f"{name}: {library} lives in {sorted(HOMES[library])}")
            continue
        target = rest.partition(".")[0]
        if target not in HEIGHTS:
            wrong.append(f"{name}: import from the room, not from the top")
        elif room == "models":
            wrong.append(f"{name}: models/ imports nothing of bayestwas")
        elif target != room and HEIGHTS[target] >= HEIGHTS[room]:
            wrong.append(f"{name}: {room} ({HEIGHTS[room]}) imports {target} ({HEIGHTS[target]})")
    return wrong


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_downhill(name: str) -> None:
    room, path = modules()[name]
    assert complaints(room, path.read_text()) == []


def test_every_room_has_a_height() -> None:
    assert {room for room, _ in modules().values()} <= set(HEIGHTS)


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("engine", "from bayestwas.data import studies", "engine (1) imports data (2)"),
        ("io", "def f():\n    import bayestwas.harmonise.align", "io (3) imports harmonise (3)"),
        ("fit", "from bayestwas import run_study", "import from the room"),
        ("engine", "import pandas as pd", "engine/ uses"),
        ("models", "from bayestwas.names import GENE", "imports nothing of bayestwas"),
        ("run", "from matplotlib import pyplot", "matplotlib lives in"),
    ],
)
def test_a_wrong_import_is_seen(room: str, source: str, expected: str) -> None:
    assert any(expected in complaint for complaint in complaints(room, source))


def test_a_right_import_is_not_seen() -> None:
    assert (
        complaints("fit", "import numpy\nfrom bayestwas.engine.ld import x\nfrom bayestwas import names")
        == []
    )
