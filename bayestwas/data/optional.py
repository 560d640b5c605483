"""Libraries that only some inputs need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bayestwas.errors import DependencyError


def library(name: str, extra: str, what: object) -> Any:
    """The module `name`, which `what` needs. Raises `DependencyError`, which names the extra to install."""
    try:
        return import_module(name)
    except ImportError as error:
        raise DependencyError(
            f"{what} needs the library {name}, which is not installed",
            "Libraries that only some inputs need are optional",
            f"pip install 'bayestwas[{extra}]', or convert the file",
        ) from error
