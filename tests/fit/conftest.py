"""One simulated block, and a way to build its locus with something about it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.schema import locus
from bayestwas.fit.settings import Settings

SMALL = Settings(trait_effects=4, expression_effects=3, draws=8, max_draws=8, cut_draws=4, posterior_draws=20)


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Few draws: what is tested here does not hang on their number."""
    return SMALL


@pytest.fixture(scope="session")
def block() -> Any:
    """Two ancestries, two contexts, four genes of which the second is causal; 60 variants."""
    pytest.importorskip("msprime", reason="needs the extra 'simulate': msprime is not installed")
    from bayestwas.data.simulate import PRESETS, block_generator, simulate_block

    made = simulate_block(PRESETS["tiny"], block_generator(5, 0), 0)
    assert made.genes["causal"].tolist() == [False, True, False, False]
    return made


Panel = tuple[str, str, np.ndarray, list[str], pd.DataFrame, pd.DataFrame | None]


def parts_of(block: Any) -> dict[str, Any]:
    """The arguments of `schema.locus` for a simulated block; panels are (context, ancestry, dosage, donors,
    ...).
    """
    genes = block.genes.set_index("gene")[["chromosome", "tss"]].assign(status="ok", reason="")
    return {
        "name": block.name,
        "variants": block.variants,
        "gwas": {a: (z, np.where(np.isfinite(z), block.n[a], np.nan)) for a, z in block.z.items()},
        "ld": {a: (dosage, 200.0) for a, dosage in block.reference.items()},
        "panels": [
            (c, a, block.panel_dosage(c, a), list(frame.columns), frame, None)
            for (c, a), frame in block.expression.items()
        ],
        "genes": genes,
        "build": "GRCh38",
        "study": "test",
        "simulated": True,
        "start": block.start,
        "end": block.end,
    }


@pytest.fixture(scope="session")
def build(block: Any) -> Callable[..., xr.DataTree]:
    """The locus; every keyword is a function of that argument of `schema.locus`."""

    def make(**change: Callable[[Any], Any]) -> xr.DataTree:
        parts = parts_of(block)
        return locus(**{key: change[key](value) if key in change else value for key, value in parts.items()})

    return make
