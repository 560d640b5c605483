"""Real data with known answers: enrichments of a red-cell trait of the UK Biobank, one effect per LD block.

The annotations are those of common and of low-frequency variants, and the files do not say which a variant
without any of them is. Low-frequency variants have hardly any signal, so that an unannotated variant, which
may be one, would make every annotation of common variants look enriched. An unannotated variant is therefore
taken as common with the probability that a repressed one is. The trait is polygenic: the background of z is
its genomic inflation. Even so one effect a block leaves the depletion of repressed common variants just short
of a 95% interval below zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from bayestwas.fit.hyper import learn, model_data
from bayestwas.fit.one_effect import one_effect_sums
from bayestwas.fit.sampling import Sampling
from bayestwas.fit.trait_priors import GRIDS

DATA = Path(__file__).parents[3] / "shared" / "data"
FOLDER, BLOCKS = DATA / "red_cell_trait_annotations", DATA / "ld_blocks" / "ldetect" / "EUR.b37.bed"
SAMPLING = Sampling(draws=300, tune=300, chains=2, cores=2, sampler="pymc", progress=False)
ABOVE = ("Conserved_LindbladToh_common", "Coding_UCSC_common")


def read() -> tuple[pd.DataFrame, list[str]]:
    """Variants with z, n, annotations and the number of their block."""
    parts = [pd.read_parquet(FOLDER / f"annotations.{c}.annot.parquet") for c in range(1, 23)]
    table = pd.concat(parts, ignore_index=True)
    known = ["SNP", "CHR", "BP", "A1", "A2"]
    names = [name for name in table.columns if name not in {*known, "base"}]
    sums = pd.read_parquet(FOLDER / "sumstats.parquet")[["SNP", "Z", "N"]].drop_duplicates("SNP")
    table = table.drop_duplicates("SNP").merge(sums, on="SNP")
    blocks = pd.read_csv(BLOCKS, sep=r"\s+")
    table["block"] = -1
    for chromosome, part in blocks.groupby("chr"):
        mine = table["CHR"] == int(str(chromosome).removeprefix("chr"))
        edges = part["start"].sort_values()
        table.loc[mine, "block"] = edges.index.to_numpy()[
            np.clip(np.searchsorted(edges.to_numpy(), table.loc[mine, "BP"], side="right") - 1, 0, None)
        ]
    return table, names


@pytest.mark.skipif(
    not FOLDER.exists(), reason=f"no {FOLDER.name} beside the project: it is not ours to copy"
)
def test_enrichments_of_a_red_cell_trait() -> None:
    table, names = read()
    assert len(table) > 150_000
    values = table[names].to_numpy(float)
    assert set(np.unique(values)) == {0.0, 1.0}
    common = table[[name for name in names if name.endswith("_common")]].any(axis=1).to_numpy()
    rare = table[[name for name in names if name.endswith("_lowfreq")]].any(axis=1).to_numpy()
    repressed = [table[name].sum() for name in ("Repressed_Hoffman_common", "Repressed_Hoffman_lowfreq")]
    assert not (common & rare).any()
    share = repressed[0] / sum(repressed)
    z = table["Z"].to_numpy(float)
    rows, weight, low = [], [], []
    for value, certain, excluded, probability in ((0, common, rare, share), (1, rare, common, 1 - share)):
        mine = np.flatnonzero(~excluded)
        rows.append(mine)
        weight.append(np.where(certain[mine], 1.0, probability))
        low.append(np.full(len(mine), float(value)))
    row = np.concatenate(rows)
    sums = one_effect_sums(
        z[row], table["N"].to_numpy(float)[row], np.column_stack([values[row], np.concatenate(low)]),
        table["block"].to_numpy()[row], np.concatenate(weight), float(np.median(z**2) / chi2(1).median()),
    )  # fmt: skip
    names = [*names, "low_frequency"]
    data, coords = model_data(sums, names, GRIDS, np.ones((2, 1, 1)))
    fit = learn(data, coords, 1, SAMPLING)
    assert fit.attrs["status"] != "failed", fit.attrs["reason"]
    coefficient = fit["posterior"]["coefficient"]
    names_of = ("low", "high", "below")
    ends = [coefficient.quantile(q, ("chain", "draw")).values for q in (0.025, 0.975)]
    below = (coefficient < 0).mean(("chain", "draw")).values
    told = pd.DataFrame(dict(zip(names_of, (*ends, below), strict=True)), index=names)
    print(told)
    assert (told.loc[list(ABOVE), "low"] > 0).all(), told
    assert told.loc["Repressed_Hoffman_lowfreq", "high"] < 0, told
    assert told.loc["Repressed_Hoffman_common", "below"] > 0.9, told
