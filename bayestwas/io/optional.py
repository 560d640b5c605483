"""Libraries that only some formats need."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from bayestwas.errors import DependencyError


def library(name: str, extra: str, path: Path) -> Any:
    """The module `name`. Raises `DependencyError`, which names the extra to install, where there is none."""
    try:
        return import_module(name)
    except ImportError as error:
        raise DependencyError(
            f"{path} cannot be read",
            f"It needs the library {name}, which is not installed",
            f"pip install 'bayestwas[{extra}]', or convert the file",
        ) from error
