"""The wheel works away from the checkout: models and their cards are in it, and importing is light."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bayestwas

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, unpacked; the copy keeps build/ out of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for name in names:
        if name.startswith(("bayestwas/", "models/")) or "/" not in name:
            copy = folder / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                copy.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "source"]
    made = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def python(code: str, path: Path) -> str:
    """Output of `code` run away from the checkout, with `path` before every installed package."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{code}"],
        cwd=path.parent,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_wheel_holds_every_room_model_and_card(unpacked: Path) -> None:
    packed = {
        p.relative_to(unpacked / "bayestwas").as_posix() for p in (unpacked / "bayestwas").rglob("*.py")
    }
    sources = {p.relative_to(ROOT / "bayestwas").as_posix() for p in (ROOT / "bayestwas").rglob("*.py")}
    models = {f"models/{p.name}" for p in (ROOT / "models").glob("*.py")}
    assert packed == sources | models
    cards = {p.name for p in (ROOT / "models").glob("*.md")}
    assert cards
    assert {p.name for p in (unpacked / "bayestwas" / "models").glob("*.md")} == cards
    assert (unpacked / "bayestwas" / "py.typed").is_file()


def test_unpacked_wheel_imports_away_from_the_checkout(unpacked: Path) -> None:
    where = python(
        "import bayestwas, bayestwas.models; print(bayestwas.__file__, bayestwas.models.__file__)", unpacked
    )
    assert where.split() == [
        str(unpacked / "bayestwas" / "__init__.py"),
        str(unpacked / "bayestwas" / "models" / "__init__.py"),
    ]


def test_import_and_help_load_nothing_heavy() -> None:
    heavy = python(
        "import bayestwas, bayestwas.cli\n"
        "print([m for m in ('pymc', 'arviz', 'matplotlib', 'xarray', 'pandas', 'scipy', 'numpy') if m in "
        "sys.modules])",
        ROOT,
    )
    assert heavy.strip() == "[]"


@pytest.mark.parametrize("name", bayestwas.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(bayestwas, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        bayestwas.fit_everything  # noqa: B018
