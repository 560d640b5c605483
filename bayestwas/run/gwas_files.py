"""The GWAS of a study: read inside its blocks, in its build, with positions from its genotypes where a file
has none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from bayestwas.data.studies import Genotypes, LDMatrix, Panel
from bayestwas.data.variants import chromosome_labels, standard_build
from bayestwas.errors import StudyFileError
from bayestwas.io.gwas import read_gwas
from bayestwas.io.gwas_part import Asked
from bayestwas.io.lift import Lift, open_chain


def gwas_of_study(
    path: Path,
    tree: Mapping[str, Any],
    labels: Mapping[Path, str],
    inside: pd.DataFrame,
    ld: Mapping[str, Genotypes | LDMatrix],
    panels: Sequence[Panel],
) -> dict[str, xr.Dataset]:
    """The GWAS of every ancestry; rows outside `inside` (`study_weights.windows`) are counted and passed
    over. Raises `StudyFileError` and `InputError`."""
    tables = [*(reference.variants for reference in ld.values())]
    tables += [panel.genotypes.variants for panel in panels]
    out = {}
    for number, entry in enumerate(tree["gwas"], start=1):
        file = path.parent / entry["path"]
        asked = Asked(
            n=entry.get("n"),
            source=labels[file],
            columns=_column_map(path, number, entry),
            blocks=inside,
            known=_known(tables),
            lift=_lift(path, number, entry, str(tree["build"])),
            sample=entry.get("sample"),
        )
        out[entry["ancestry"]] = read_gwas(file, asked=asked)
    return out


def _column_map(path: Path, number: int, entry: Mapping[str, Any]) -> dict[str, str]:
    columns = entry.get("columns", {})
    for key, value in columns.items():
        if not isinstance(value, str):
            raise StudyFileError(
                f"{path}: [[gwas]] number {number} columns has {key} = {value!r}",
                "A map of columns has the name of a column, as text, for each key",
                f'Write columns = {{ {key} = "<name of the column>" }}',
            )
    return dict(columns)


def _lift(path: Path, number: int, entry: Mapping[str, Any], build: str) -> Lift | None:
    """What lifts the positions of one file, None where it has the build of the study."""
    own, chain = entry.get("build", build), entry.get("chain")
    other = standard_build(own) != standard_build(build)
    if other and chain is None:
        raise StudyFileError(
            f"{path}: [[gwas]] number {number} has build {own}, the study {build}",
            "All files of a study have one build; a GWAS of another is lifted with a chain file",
            'Add chain = "hg38ToHg19.over.chain.gz", say, under [[gwas]]',
        )
    if chain is not None and not other:
        raise StudyFileError(
            f"{path}: [[gwas]] number {number} has a chain file and the build of the study, {build}",
            "A chain file goes from the build of the GWAS to that of the study",
            "Add build = the build of the GWAS under [[gwas]], or remove chain",
        )
    return None if chain is None else open_chain(path.parent / chain)


def _known(tables: Sequence[pd.DataFrame]) -> Callable[[], pd.DataFrame]:
    """Places by identifier, made when first asked for: most files have positions."""

    @functools.cache
    def known() -> pd.DataFrame:
        columns = ["variant_id", "chromosome", "position"]
        table = pd.concat([table[columns] for table in tables], ignore_index=True)
        table["chromosome"] = chromosome_labels(table["chromosome"])
        table = table[table["variant_id"] != ""].drop_duplicates()
        # an identifier in two places names neither
        return table.drop_duplicates("variant_id", keep=False).set_index("variant_id")

    return known
