"""Do the files belong to one study? Builds, shared variants, and the likely cause where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bayestwas.data.builds import beyond_chromosome
from bayestwas.data.reading import reading_of
from bayestwas.data.studies import Study
from bayestwas.data.variants import parse_variant_ids, standard_build
from bayestwas.errors import HarmonisationError
from bayestwas.harmonise.alleles import Alignment, VariantFile

# Two files of one build share most of their variants; two of different builds share positions by chance, with
# equal alleles about one time in a hundred.
LEAST_SHARED = 0.05
FEW_SHARED = 10  # variants from which it says something that alleles agree where positions do
_LOOK = 1000  # identifiers that are looked at for a build


def check_builds(study: Study, files: Sequence[VariantFile], sources: Mapping[str, str]) -> None:
    """Raise `HarmonisationError` where a file has another build than the study: by what its header or its
    -meta.yaml says, by positions beyond the ends of chromosomes, or by its identifiers. `sources`: ancestry
    -> name of its GWAS."""
    build = study.build
    for ancestry, gwas in study.gwas.items():
        reading, name = reading_of(gwas), sources[ancestry]
        told = standard_build(reading.build)
        if {told, standard_build(build)} == {"GRCh37", "GRCh38"}:
            raise _other_build(name, f"says that its build is {told}", build)
        beyond = beyond_chromosome(build, reading.furthest)
        if beyond:
            raise _other_build(name, beyond, build)
    for file in files:
        top = file.table.groupby("chromosome", sort=False)["position"].max()
        furthest = {str(label): int(position) for label, position in top.items()}
        beyond = beyond_chromosome(build, furthest)
        if beyond:
            raise _other_build(file.name, beyond, build)
        ids = file.table["variant_id"].to_numpy()[:_LOOK]
        named = parse_variant_ids(ids)["build"].dropna().map(standard_build)
        other = named[named != standard_build(build)]
        known = other.isin(("GRCh37", "GRCh38"))
        if standard_build(build) in ("GRCh37", "GRCh38") and 2 * int(known.sum()) > len(ids):
            raise HarmonisationError(
                f"{file.name}: identifiers such as {ids[other.index[0]]} say {other[known].iloc[0]}, the "
                "study says "
                f"{build}",
                "All files of a study have one build",
                "Correct build in the study file, or lift the file over to the build of the study",
            )


def _other_build(name: str, found: str, build: str) -> HarmonisationError:
    return HarmonisationError(
        f"{name} {found}; the study says {build}",
        "All files of a study have one build",
        "Correct build in the study file; or, for a GWAS, give its build and a chain file under [[gwas]]",
    )


def overlap_matrix(aligned: Alignment) -> pd.DataFrame:
    """Variants inside the blocks that each pair of files shares; the diagonal counts those of each file."""
    held = {name: rows >= 0 for name, rows in aligned.rows.items()}
    counts = [[int(np.count_nonzero(a & b)) for b in held.values()] for a in held.values()]
    return pd.DataFrame(counts, index=list(held), columns=list(held))


def check_overlap(
    files: Sequence[VariantFile],
    overlap: pd.DataFrame,
    sources: dict[str, str],
    references: dict[str, str],
    panels: Sequence[str],
) -> None:
    """Raise `HarmonisationError` where a GWAS and its LD, or a panel and every GWAS, share next to no
    variant."""
    by_name = {file.name: file for file in files}
    for ancestry, source in sources.items():
        _check_pair(by_name[source], by_name[references[ancestry]], overlap)
    for panel in panels:
        shares = {source: _shared(overlap, source, panel)[1] for source in sources.values()}
        best = max(shares, key=lambda source: shares[source])
        _check_pair(by_name[best], by_name[panel], overlap)


def _shared(overlap: pd.DataFrame, one: str, two: str) -> tuple[int, float]:
    """Variants that two files share, and their share of the smaller file."""
    row, column = (list(overlap.index).index(name) for name in (one, two))
    counts = overlap.to_numpy()
    smaller = min(counts[row, row], counts[column, column])
    return int(counts[row, column]), float(counts[row, column] / smaller) if smaller else 0.0


def _check_pair(one: VariantFile, two: VariantFile, overlap: pd.DataFrame) -> None:
    for file in (one, two):
        if not len(file.table):
            raise HarmonisationError(
                f"{file.name}: none of its {file.outside} variants lies inside the blocks of the study",
                "Every file holds variants of the blocks, at positions of the same build",
                "Likely another build (lift the file over) or other chromosomes; compare it with the "
                "blocks file and "
                "the TSS of the phenotypes",
            )
    shared, share = _shared(overlap, one.name, two.name)
    if share >= LEAST_SHARED:
        return
    cause, remedy = _likely_cause(one, two, shared)
    raise HarmonisationError(
        f"{one.name} ({len(one.table)} variants in the blocks) and {two.name} ({len(two.table)}) share "
        f"{shared} variants",
        f"Files of one study share at least {LEAST_SHARED:.0%} of the variants of the smaller one, by "
        "chromosome, "
        f"position and alleles; likely cause: {cause}",
        remedy,
    )


def _likely_cause(one: VariantFile, two: VariantFile, shared: int) -> tuple[str, str]:
    """What went wrong, and what to do, by what the two files do share; `shared`: variants."""
    smaller = min(len(one.table), len(two.table))
    places = [set(zip(f.table["chromosome"], f.table["position"], strict=True)) for f in (one, two)]
    ids = [set(f.table["variant_id"]) - {"", "."} for f in (one, two)]
    both = len(places[0] & places[1])
    # of positions that are shared by chance, about one in a hundred has the same alleles
    if shared >= FEW_SHARED and shared >= 0.5 * both:
        return (
            "other variants were measured (where positions agree, so do the alleles): another ancestry, "
            "array or imputation panel",
            f"Take LD and panels of the ancestry of {one.name}, with the variants of its imputation panel",
        )
    if both >= 0.5 * smaller:
        return (
            "the positions agree and the alleles do not",
            f"Check which columns hold the alleles in {one.name} and {two.name}, and duplicates and "
            "palindromic "
            "variants in the ledger",
        )
    if len(ids[0] & ids[1]) >= 0.2 * smaller:
        return (
            "another build: identifiers agree and positions do not (build mismatch)",
            f"Lift {one.name} or {two.name} over, so that both have the build of the study",
        )
    return (
        "another build (build mismatch): neither positions nor identifiers agree",
        f"Check the builds of {one.name} and {two.name}, and lift one of them over",
    )
