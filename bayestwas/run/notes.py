"""What a run tells of its result as a whole: how LD was mixed, and where PIPs are not what they say.

Each is a sentence beside the progress of a run and a row of notes.tsv; docs/calibration.md has what the
warnings rest on.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas import names
from bayestwas.engine.diagnostics import DOUBTFUL, SUSPICIOUS
from bayestwas.report.tables import mixtures_table
from bayestwas.report.triangulation import PROBABLE

STRONG_BACKGROUND = 0.1  # tau2 that doubles the variance of z of a variant whose r2 with all add up to 10
EXCESS, MANY_GENES = 0.1, 20  # squared z beyond the noise of expression, on average over so many genes
# genes that share their variant with the trait in a block without a probable gene: this many, and this share
# of them and the probable ones
MANY_ALONE, SHARE_ALONE = 5, 0.1


def result_notes(result: xr.DataTree) -> list[str]:
    """All that there is to tell; nothing where nothing stands out."""
    kinds = (
        mixture_notes,
        reliability_notes,
        background_notes,
        expression_notes,
        tissue_notes,
        overlap_notes,
        prior_notes,
    )
    return [note for kind in kinds for note in kind(result)]


def mixture_notes(result: xr.DataTree) -> list[str]:
    """A sentence per GWAS of a mixture of panels, and what is doubtful about its weights."""
    told: dict[str, list[str]] = {}
    for row in mixtures_table(result).to_dict("records"):
        weight = f"{row['panel']} {row['weight']:.2f} (s.e. {row['weight_se']:.2f})"
        told.setdefault(str(row["ancestry"]), []).append(weight)
    learned = [f"LD of {ancestry} is a mixture: {', '.join(parts)}" for ancestry, parts in told.items()]
    return [*learned, *json.loads(str(result.attrs.get("mixture_doubts", "[]")))]


def overlap_notes(result: xr.DataTree) -> list[str]:
    """What was learned of the noise that expression panels and GWAS share."""
    return list(json.loads(str(result.attrs.get("overlap", "[]"))))


def prior_notes(result: xr.DataTree) -> list[str]:
    """Whether the sampler of the learned priors did what it should."""
    if names.HYPERPARAMETERS not in result.children:
        return []
    learned = result[names.HYPERPARAMETERS].attrs
    if learned["status"] == names.OK:
        return []
    return [f"learned priors have the status {learned['status']} ({learned['reason']}): see priors.tsv"]


def reliability_notes(result: xr.DataTree) -> list[str]:
    """How many blocks are not good, where some are not."""
    grades = result[names.BLOCKS].dataset["reliability"].values.astype(str)
    count = {grade: int((grades == grade).sum()) for grade in (SUSPICIOUS, DOUBTFUL)}
    if not any(count.values()):
        return []
    told = f"the LD or the GWAS of {count[SUSPICIOUS]} of {len(grades)} blocks is suspicious"
    return [f"{told}, of {count[DOUBTFUL]} doubtful: reliability_reason in blocks.tsv says why"]


def background_notes(result: xr.DataTree) -> list[str]:
    """A sentence where the polygenic background is so large that small PIPs were too high in simulations."""
    found = result[names.BLOCKS].dataset["background"].transpose(names.BLOCK, ...).values
    strong = int((np.nan_to_num(found) > STRONG_BACKGROUND).any(axis=1).sum())
    if not strong:
        return []
    return [
        f"{strong} of {len(found)} blocks have a strong polygenic background (tau2 above "
        f"{STRONG_BACKGROUND:g}): PIPs below 0.2 were too high in simulations of that kind, those "
        "above 0.8 were not (docs/calibration.md)"
    ]


def expression_notes(result: xr.DataTree) -> list[str]:
    """A sentence per panel whose expression keeps association beyond the weights: many small eQTLs."""
    left = result[names.OBSERVED].dataset["expression_excess"]
    told = []
    for context in left[names.CONTEXT].values:
        for ancestry in left[names.ANCESTRY].values:
            values = left.sel({names.CONTEXT: context, names.ANCESTRY: ancestry}).values
            known = values[np.isfinite(values)]
            if len(known) < MANY_GENES:
                continue
            mean, error = known.mean(), known.std() / len(known) ** 0.5
            if mean > max(EXCESS, 3 * error):
                told.append(
                    f"expression in {context}, {ancestry} keeps association beyond the fitted eQTLs (mean "
                    f"squared z {mean:.2f} above its noise over {len(known)} genes): many small eQTLs a gene "
                    "are outside the model; in simulations of that kind more of the genes with a PIP of 0.8 "
                    "or more were false than their PIPs say (docs/calibration.md)"
                )
    return told


def tissue_notes(result: xr.DataTree) -> list[str]:
    """A sentence where many signals share their variant with the trait in blocks without a probable gene."""
    marginals = result[names.MARGINALS].dataset
    pip = np.nan_to_num(marginals["pip"].values)
    shared = np.nan_to_num(marginals["grcp"].transpose(names.GENE, ...).values).max(axis=1) >= PROBABLE
    blocks = result[names.CONSTANT].dataset["gene_block"].values.astype(str)
    alone = int((shared & (pd.Series(pip).groupby(blocks).transform("max") < PROBABLE)).sum())
    probable = int((pip >= PROBABLE).sum())
    if alone < MANY_ALONE or alone < SHARE_ALONE * (alone + probable):
        return []
    return [
        f"{alone} genes share a causal variant with the trait (GRCP at least {PROBABLE:g}) in blocks where "
        f"no gene is probable, beside {probable} genes that are: their variants act otherwise than the "
        "weights have it, as where the tissue or the molecular trait that matters is not in the study; in "
        "simulations of that kind PIPs were too low (docs/calibration.md)"
    ]
