"""Gene models: what every gene is called and where its transcription starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

COLUMNS = ("symbol", "chromosome", "tss", "strand")


@dataclass(frozen=True)
class GeneModels:
    """`table`: DataFrame indexed by gene (identifiers without version) with symbol ('' where there is none),
    chromosome, tss (1-based) and strand."""

    source: str
    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))

    def find(self, genes: np.ndarray) -> np.ndarray:
        """(genes,) row of the table of each identifier, with or without version; -1 where there is none."""
        known = self.table.index
        exact = known.get_indexer(pd.Index(genes.astype(str).astype(object)))
        bare = known.get_indexer(pd.Index([without_version(str(gene)) for gene in genes], dtype=object))
        return np.where(exact >= 0, exact, bare)

    def placed(self, genes: pd.DataFrame) -> pd.DataFrame:
        """`genes` (gene, chromosome, tss) with chromosome and tss of the models where these hold the gene."""
        row = self.find(genes["gene"].to_numpy(dtype=object))
        out, held = genes.copy(), row >= 0
        for column in ("chromosome", "tss"):
            values = out[column].to_numpy(dtype=object)
            values[held] = self.table[column].to_numpy(dtype=object)[row[held]]
            out[column] = values
        return out.astype({"tss": np.int64})

    def symbols(self, genes: np.ndarray) -> dict[str, str]:
        """Symbols of those genes that have one other than their identifier."""
        names = self.table["symbol"].to_numpy(dtype=object)
        found = zip(genes, self.find(genes), strict=True)
        return {str(g): str(names[i]) for g, i in found if i >= 0 and names[i] not in ("", str(g))}


def without_version(gene: str) -> str:
    """ENSG00000100979.10 as ENSG00000100979; other identifiers as they are."""
    head, dot, tail = gene.partition(".")
    return head if dot and tail.isdigit() and head[:3] == "ENS" else gene


def identifiers(wanted: tuple[str, ...], known: pd.Index, symbols: Mapping[str, str]) -> list[str]:
    """Requested genes as identifiers: a symbol that is one of one gene only stands for it."""
    owners: dict[str, list[str]] = {}
    for gene, symbol in symbols.items():
        owners.setdefault(symbol, []).append(gene)
    held = set(known)
    named = [owners.get(gene, [gene]) if gene not in held else [gene] for gene in wanted]
    return list(
        dict.fromkeys(group[0] if len(group) == 1 else w for w, group in zip(wanted, named, strict=True))
    )
