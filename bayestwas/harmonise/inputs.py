"""Do the numbers of a GWAS belong together, and to the people of its LD reference? One locus at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names

Floats = NDArray[np.float64]

DIFFERENT = 0.2  # of an allele frequency in the GWAS and in the reference
ERRORS = 5.0  # standard errors of the frequency in the reference that the difference must exceed too
SMALL_N, LARGE_N = 0.5, 2.0  # share of the median sample size of the block
OTHER_PEOPLE = 0.005  # Fst; Finland and Spain are about 0.01 apart
COMMON = 0.05  # frequency from which a variant enters Fst
FEWEST = 50  # variants of which Fst is told
MOST = 0.1  # share of the variants above which the column is doubted, and not the variants

CONFLICT = "z disagrees with beta, standard error or p-value of its file"
FREQUENCY = "allele frequency in the GWAS and in the LD reference differ"
SWAPPED = "allele frequency in the GWAS is that of the other allele in the LD reference"
PEOPLE = "allele frequencies say that the LD reference is of other people"
SIZE = "sample size far from that of the other variants"


@dataclass(frozen=True)
class InputCheck:
    """`reason` (p,) why a variant of a GWAS is suspect, empty where it is not; `doubts`: sentences on whole
    columns, of which no variant is then suspect; `people`: one on whose LD the reference is, or nothing."""

    reason: NDArray[np.object_]
    doubts: tuple[str, ...]
    people: str = ""


def check_inputs(locus: xr.DataTree, ancestry: str) -> InputCheck:
    """The GWAS of one ancestry of a locus against its own columns and the frequencies of its reference."""
    gwas = locus[names.GWAS].dataset.sel({names.ANCESTRY: ancestry})
    held = np.isfinite(gwas["z"].values)
    different, swapped = _different(locus, ancestry, gwas)
    found = {
        CONFLICT: gwas["conflict"].values.astype(bool) & held if "conflict" in gwas else np.zeros_like(held),
        SWAPPED: swapped & held,
        FREQUENCY: different & ~swapped & held,
        # studies of a mixture have variants of their own, and so sizes
        SIZE: _odd_sizes(gwas["n"].values) & held & ~np.array(_is_mixture(locus, ancestry)),
    }
    reason = np.full(len(held), "", dtype=object)
    doubts = []
    for why, where in found.items():
        share = where.sum() / max(held.sum(), 1)
        if share > MOST:
            doubts.append(f"{ancestry}: {why}, at {share:.0%} of the variants")
        else:
            reason[where & (reason == "")] = why
    told = any(why in doubt for doubt in doubts for why in (SWAPPED, FREQUENCY))
    apart = 0.0 if told else reference_distance(locus, ancestry)
    people = f"{ancestry}: {PEOPLE} (Fst {apart:.3f})" if apart > OTHER_PEOPLE else ""
    return InputCheck(reason, tuple(doubts), people)


def reference_distance(locus: xr.DataTree, ancestry: str) -> float:
    """Fst between the people of a GWAS and of its LD reference: Hudson's ratio of averages with the sampling
    variance of the reference taken off (Bhatia et al. 2013, doi:10.1101/gr.154831.113), in one locus; 0 where
    frequencies are not known or few."""
    gwas, counted = locus[names.GWAS].dataset.sel({names.ANCESTRY: ancestry}), _count(locus, ancestry)
    if counted is None or "frequency" not in gwas:
        return 0.0
    given, (copies, total) = gwas["frequency"].values, counted
    common = np.isfinite(given) & (np.minimum(given, 1 - given) > COMMON) & (total > 2)
    if common.sum() < FEWEST:
        return 0.0
    p, q, m = given[common], copies[common] / total[common], total[common]
    apart = (p - q) ** 2 - q * (1 - q) / (m - 1)
    return float(apart.mean() / (p * (1 - q) + q * (1 - p)).mean())


def minor_copies(locus: xr.DataTree, ancestry: str) -> Floats | None:
    """(p,) copies of the rarer allele in the LD reference; None where that is a matrix."""
    counted = _count(locus, ancestry)
    return None if counted is None else np.minimum(counted[0], counted[1] - counted[0])


def _count(locus: xr.DataTree, ancestry: str) -> tuple[Floats, Floats] | None:
    """Copies of the effect allele and of both alleles in the LD reference; of a mixture, as many as tell the
    frequency as precisely as the weighted panels do."""
    data = locus[f"{names.LD}/{ancestry}"].dataset
    if "dosage" not in data:
        return None
    dosage = data["dosage"].transpose(names.VARIANT, ...).values
    if "panel" not in data.coords:
        return _copies(dosage)
    label = data["panel"].values.astype(str)
    panels = [_copies(dosage[:, label == name]) for name in dict.fromkeys(label)]
    people = np.array([total.max() for _, total in panels])
    weight = np.array(data.attrs.get("weights", people / people.sum()))
    seen = np.array([total for _, total in panels])
    share = np.array([copies / np.maximum(total, 1) for copies, total in panels])
    total = np.where((seen > 0).all(axis=0), 1 / (weight[:, None] ** 2 / np.maximum(seen, 1)).sum(axis=0), 0)
    return weight @ share * total, total


def _is_mixture(locus: xr.DataTree, ancestry: str) -> bool:
    return "panel" in locus[f"{names.LD}/{ancestry}"].dataset.coords


def _copies(dosage: NDArray[np.number]) -> tuple[Floats, Floats]:
    seen = dosage >= 0
    return np.where(seen, dosage, 0).sum(axis=1).astype(float), 2.0 * seen.sum(axis=1)


def _different(
    locus: xr.DataTree, ancestry: str, gwas: xr.Dataset
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the frequencies differ, and where they would not had the alleles changed places."""
    counted = _count(locus, ancestry)
    if counted is None or "frequency" not in gwas:
        nowhere = np.zeros(gwas.sizes[names.VARIANT], dtype=bool)
        return nowhere, nowhere
    copies, total = counted
    with np.errstate(invalid="ignore", divide="ignore"):  # absent from the reference, or not known: NaN
        reference, given = copies / total, gwas["frequency"].values
        apart = np.abs(given - reference)
        error = np.sqrt(np.maximum(given * (1 - given), 0.0) / total)
        different = (apart > DIFFERENT) & (apart > ERRORS * error)
        other = np.abs(1 - given - reference)
        return different, different & ~((other > DIFFERENT) & (other > ERRORS * error))


def _odd_sizes(n: Floats) -> NDArray[np.bool_]:
    if not np.isfinite(n).any():
        return np.zeros(len(n), dtype=bool)
    middle = np.nanmedian(n)
    return np.asarray((n < SMALL_N * middle) | (n > LARGE_N * middle))
