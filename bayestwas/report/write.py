"""Everything that is written of a result for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from bayestwas.data.results import check_result
from bayestwas.errors import OutputError
from bayestwas.report.tables import write_tables


def write_report(
    result: xr.DataTree, out_dir: Path | str, *, figures: bool = True, blocks: Sequence[str] | None = None
) -> list[Path]:
    """Write the tables and figures of a result into the folder `out_dir` (made if absent); returns their
    paths.

    Tables: genes.tsv, contexts.tsv, effects.tsv, variants.tsv, blocks.tsv, suspects.tsv, priors.tsv,
    notes.tsv. Figures: genes.png, triangulation.png, priors.png, and locus-<block>.png for `blocks` (by
    default all that have variants); `figures=False` leaves them out. Each file appears whole or not at all;
    files of the same name are replaced. Raises InputError for a broken result or an unknown block,
    OutputError where `out_dir` is not a folder.
    """
    check_result(result)
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise OutputError(
            f"'{folder}' is a file", "Tables and figures go into a folder", "Choose another place"
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_tables(result, folder)
    if not figures:
        return paths
    # imported here, because those who only read tables or fit blocks should not wait for matplotlib
    from bayestwas.report.figures import write_locus_figures, write_top_genes
    from bayestwas.report.forest import write_priors
    from bayestwas.report.triangulation_figure import write_triangulation

    drawn = [write(result, folder) for write in (write_top_genes, write_triangulation, write_priors)]
    return [*paths, *drawn, *write_locus_figures(result, folder, blocks)]
