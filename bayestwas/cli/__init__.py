"""The command line: arguments to one call, and a true exit status.

0: all good. 1: finished, and some blocks or genes failed. 2: could not run; one message says what was given,
the rule it breaks and the remedy. Skipped genes (no variant in the window, say) are facts of the data and
leave the status at 0.
"""

from __future__ import annotations

from bayestwas.cli import study, coloc, results  # isort: skip  # in the order of --help
from bayestwas.cli.entry import DEBUG, app

__all__ = ["DEBUG", "app", "coloc", "main", "results", "study"]


def main() -> None:
    """Entry point of the command `bayestwas`."""
    app()
