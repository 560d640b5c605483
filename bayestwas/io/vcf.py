"""VCF and BCF files: opened without noise, by their index where they have one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bayestwas.errors import InputError
from bayestwas.io.tables import require_file

ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")


def is_vcf(path: Path) -> bool:
    """Whether the ending of a name says VCF or BCF."""
    return path.name.lower().endswith(ENDINGS)


@contextmanager
def opened_vcf(path: Path) -> Iterator[Any]:
    """The cyvcf2.VCF of a file, closed afterwards. Raises `InputError` where it is none."""
    from cyvcf2 import VCF

    require_file(path)
    try:
        with _quiet():
            file = VCF(str(path), gts012=False)
    except Exception as error:  # cyvcf2 raises bare exceptions
        raise damaged_vcf(path, error) from error
    try:
        yield file
    finally:
        file.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """htslib writes to stderr what the error says as well."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def damaged_vcf(path: Path, error: Exception) -> InputError:
    """What to say where htslib cannot go on."""
    return InputError(
        f"{path} breaks off or is no VCF ({str(error).strip() or type(error).__name__})",
        "A file with the ending .vcf, .vcf.gz or .bcf is a whole VCF or BCF file",
        "Copy or download the file again, or correct its ending",
    )


def indexed(path: Path) -> bool:
    """Whether a tabix or CSI index lies beside the file."""
    return any(Path(f"{path}{ending}").is_file() for ending in (".tbi", ".csi"))
