"""The folder of a result: refused where it cannot be used, and there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from bayestwas.data.results import STORE
from bayestwas.errors import OutputError

# Everything that a run writes; a folder that holds anything else is never replaced.
WRITTEN = (
    "genes.tsv",
    "contexts.tsv",
    "effects.tsv",
    "variants.tsv",
    "blocks.tsv",
    "suspects.tsv",
    "harmonisation.tsv",
    "priors.tsv",
    "mixtures.tsv",
    "notes.tsv",
    "genes.png",
    "triangulation.png",
    "priors.png",
    "locus-*.png",
    "coloc.tsv",
    "coloc_priors.tsv",
    "coloc_clusters.tsv",
    "coloc_sensitivity.tsv",
    "coloc_sensitivity.png",
    STORE,
)


def check_out(out: Path | str, overwrite: bool) -> None:
    """Raise OutputError where a result cannot be written to `out`; touches nothing.

    An existing folder that is not empty is refused without `overwrite`, and with it where it holds anything
    that a run does not write.
    """
    out = Path(out)
    if os.path.lexists(out):
        _check_existing(out, overwrite)
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise OutputError(
            f"{out} cannot be made in {above}",
            "Results go into a new folder, in a folder that can be written to",
            "Choose another place",
        )


def _check_existing(out: Path, overwrite: bool) -> None:
    if not out.is_dir() or out.is_symlink():
        raise OutputError(
            f"{out} is there, and not a folder", "Results go into a new folder", "Choose another place"
        )
    if not any(out.iterdir()):
        return  # made beforehand, as batch scripts do
    if not overwrite:
        raise OutputError(
            f"{out} exists",
            "Results go into a new folder",
            "Choose another, or replace this one with --overwrite (in Python: overwrite=True)",
        )
    present = sorted(path.name for path in out.iterdir())
    strange = [name for name in present if not any(fnmatch(name, pattern) for pattern in WRITTEN)]
    if strange:
        raise OutputError(
            f"{out} holds '{strange[0]}'"
            + (f" and {len(strange) - 1} more files" if len(strange) > 1 else "")
            + " that no run has written",
            "Only a folder that holds nothing but a result is replaced",
            "Choose another place, or move these files away",
        )


@contextmanager
def replacing_folder(out: Path | str) -> Iterator[Path]:
    """A scratch folder beside `out` that takes its place when the block ends well, and vanishes otherwise."""
    out = Path(out)
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise OutputError(
            f"{out} cannot be made ({error.strerror})",
            "Results go into a new folder, in a folder that can be written to",
            "Choose another place",
        ) from error
    done = False
    try:
        new = scratch / "new"
        new.mkdir()  # mkdtemp makes folders that only their owner can read
        yield new
        if out.exists():
            out.rename(scratch / "old")
        new.rename(out)
        done = True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in () if done else missing:
            folder.rmdir()
