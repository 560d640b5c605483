"""Which signals of several contexts and traits share one variant: clusters with their evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayestwas.engine.coloc import ColocPriors
from bayestwas.engine.partitions import partition
from bayestwas.fit.coloc_pairs import Units

COLUMNS = ("gene", "block", "cluster", "members", "n_members", "probability", "log_evidence", "log_gain",
           "shared_variant", "variant_probability", "n_signals", "n_variants", "exact")  # fmt: skip


def cluster_table(units: Sequence[Units], priors: ColocPriors) -> pd.DataFrame:
    """One row per cluster of the best partition of the signals of every gene; docs/formats.md says the
    columns. p1 is the geometric mean of p1 and p2, sharing has the odds p12 / p1."""
    p1 = float(np.sqrt(priors.p1 * priors.p2))
    rows = [row for one in units for row in _clusters(one, p1, float(priors.p12) / p1)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _clusters(units: Units, p1: float, share: float) -> list[dict[str, object]]:
    found = partition(units.lbf, p1, share)
    return [
        {
            "gene": units.gene,
            "block": units.block,
            "cluster": number,
            "members": ",".join(f"{units.names[t][0]}.{units.names[t][1]}" for t in members),
            "n_members": len(members),
            "probability": float(found.probability[number - 1]),
            "log_evidence": float(found.log_evidence[number - 1]),
            "log_gain": float(found.log_gain[number - 1]),
            "shared_variant": str(units.variants[found.variant[number - 1]]),
            "variant_probability": float(found.variant_probability[number - 1]),
            "n_signals": len(units.names),
            "n_variants": len(units.variants),
            "exact": found.exact,
        }
        for number, members in enumerate(found.clusters, start=1)
    ]
