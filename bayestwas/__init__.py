"""Which gene, in which context, in which ancestry, drives a trait, and how sure are we.

The stages, each usable alone:

    study = bayestwas.read_study("study.toml")
    data = bayestwas.harmonise_study(study)
    locus = data.locus(block)
    weights = bayestwas.fit_weights(locus)
    result = bayestwas.fit_genes(locus, weights)

`bayestwas.run_study` does all of it over the blocks of a study. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "BayestwasError": "bayestwas.errors",
    "Design": "bayestwas.data.simulate",
    "PRESETS": "bayestwas.data.simulate",
    "SummaryTrait": "bayestwas.fit.coloc_summary",
    "check_study": "bayestwas.run.check",
    "colocalize": "bayestwas.fit.coloc",
    "colocalize_summaries": "bayestwas.fit.coloc_summary",
    "colocalize_tables": "bayestwas.fit.coloc_tables",
    "combine_finished": "bayestwas.engine.classical",
    "fit_genes": "bayestwas.fit.gene_trait",
    "fit_weights": "bayestwas.fit.weights",
    "harmonise_study": "bayestwas.harmonise.align",
    "open_results": "bayestwas.data.results",
    "read_study": "bayestwas.run.study",
    "run_study": "bayestwas.run.pipeline",
    "save_results": "bayestwas.data.results",
    "simulate_study": "bayestwas.data.simulate",
    "write_report": "bayestwas.report",
    "write_study": "bayestwas.io.write_study",
}
# where the name in its own module is shorter, because the module says the rest
_SPELLED = {"check_study": "check", "harmonise_study": "harmonise"}

__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bayestwas")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), _SPELLED.get(name, name))
    raise AttributeError(f"module 'bayestwas' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
