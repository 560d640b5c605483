"""LD references in which nothing varies: a GWAS beside one has no LD, though every variant is there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from bayestwas.data.studies import Genotypes, Study
from bayestwas.data.variants import block_number
from bayestwas.harmonise.alleles import DROPPED, LEDGER_COLUMNS, Alignment, canonical_ids
from bayestwas.harmonise.files import FileNames

_CHUNK = 64  # variants read at once; one that varies is enough, and nearly always among the first


def require_variation(
    study: Study, aligned: Alignment, named: FileNames, blocks: pd.DataFrame
) -> tuple[list[pd.DataFrame], list[str]]:
    """Ledger and notes of the blocks where no variant of an LD reference varies; there the rows of the GWAS
    of that ancestry become absent.

    Reads a few genotypes per block and ancestry, all only where nothing varies.
    """
    table = aligned.variants
    number = block_number(blocks, table["chromosome"].to_numpy(), table["position"].to_numpy())
    ledgers, notes = [], []
    for ancestry, source in named.gwas.items():
        ld, name = study.ld[ancestry], named.ld[ancestry]
        if not isinstance(ld, Genotypes):
            continue  # a matrix says NaN where a variant does not vary
        rows, references = aligned.rows[source], aligned.rows[name]
        shared = np.flatnonzero((rows >= 0) & (references >= 0))
        parts = [shared[number[shared] == block] for block in np.unique(number[shared])]
        still = [part for part in parts if not _varies(ld.load, references[part])]
        if not still:
            continue
        lost = np.concatenate(still)
        rows[lost] = -1
        reason = f"no variant of this block varies in the LD reference of {ancestry} ({name})"
        gone = table.iloc[lost]
        columns = (source, canonical_ids(gone), gone["source_id"].to_numpy(), DROPPED, reason)
        ledgers.append(pd.DataFrame(dict(zip(LEDGER_COLUMNS, columns, strict=True))))
        labels = [str(blocks["block"].iloc[int(number[part[0]])]) for part in still]
        listed = ", ".join(labels[:3]) + (" ..." if len(labels) > 3 else "")
        notes.append(
            f"{name}: no variant varies in {len(still)} of {len(parts)} blocks ({listed}), so {source} is "
            "not used there"
        )
    return ledgers, notes


def _varies(load: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> bool:
    """Whether any of these variants has two different genotypes."""
    for first in range(0, len(rows), _CHUNK):
        dosage = load(np.sort(rows[first : first + _CHUNK]))
        low = np.where(dosage < 0, 2, dosage).min(axis=1)
        if (dosage.max(axis=1) > low).any():
            return True
    return False
