"""Tables, figures and sentences out of a result; nothing here computes evidence."""

from __future__ import annotations

from bayestwas.report.sentences import explanations
from bayestwas.report.tables import write_tables
from bayestwas.report.write import write_report

__all__ = ["explanations", "write_report", "write_tables"]
