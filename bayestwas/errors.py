"""Errors that carry their data: what was given, the rule it breaks, what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BayestwasError(Exception):
    """A mistake the user can mend: `given` (what was found), `rule` (what is expected), `remedy` (what to
    do)."""

    def __init__(self, given: str, rule: str, remedy: str) -> None:
        super().__init__(given, rule, remedy)
        self.given = given
        self.rule = rule
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.given}. {self.rule}. {self.remedy}."


class StudyFileError(BayestwasError):
    """The study file itself is wrong: an unknown key, a missing path, a value of the wrong kind."""


class InputError(BayestwasError):
    """A data file, or an array given in its place, does not hold what its format promises."""


class HarmonisationError(BayestwasError):
    """Files that are each readable do not fit together: builds, identifiers, alleles, samples."""


class OutputError(BayestwasError):
    """The place for the results cannot be used."""


class SettingsError(BayestwasError):
    """A setting lies outside its range."""


class SamplingError(BayestwasError):
    """A sampler could not start, or stopped before its last draw."""


class WorkerError(BayestwasError):
    """Worker processes cannot be started."""


class DependencyError(BayestwasError):
    """An optional library is needed and not installed."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """The closest of the `valid` words, quoted, followed by the whole list: the remedy for a misspelling."""
    choices = sorted(valid)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    listed = ", ".join(choices)
    return f"Did you mean '{close[0]}'? Valid: {listed}" if close else f"Valid: {listed}"
