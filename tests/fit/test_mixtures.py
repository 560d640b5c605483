"""Weights of a mixture of LD panels, from a simulated study in the users' formats to the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayestwas.data.mixtures import stacked
from bayestwas.data.simulate import PRESETS, simulate_study
from bayestwas.data.studies import Genotypes
from bayestwas.engine.mixture import mixture_people
from bayestwas.errors import InputError
from bayestwas.fit.mixtures import Mixture, learned_mixtures
from bayestwas.fit.panels import gwas_arrays
from bayestwas.fit.study import Serial
from bayestwas.harmonise.align import harmonise
from bayestwas.harmonise.inputs import reference_distance
from bayestwas.io.plink import open_plink
from bayestwas.io.write_study import write_study
from bayestwas.run.pipeline import fitted_readers
from bayestwas.run.study import read_study

pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
GWAS = {"EUR": 90_000, "AFR": 30_000}
TRUTH = np.array([0.75, 0.25])
Source = Callable[[], xr.DataTree]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    design = replace(PRESETS["tiny"], gwas=GWAS, meta_analysis=True, variants_per_block=150, blocks=5)
    out = tmp_path_factory.mktemp("mixture") / "study"
    write_study(simulate_study(design, seed=4, blocks=5), out)
    return out


@pytest.fixture(scope="module")
def learned(folder: Path) -> tuple[list[Source], list[Mixture]]:
    readers = fitted_readers(harmonise(read_study(folder / "study.toml")))
    return learned_mixtures(readers, Serial(), lambda _, items, __: items)


def test_the_shares_of_the_studies_are_found(learned: tuple[list[Source], list[Mixture]]) -> None:
    _, (mixture,) = learned
    assert mixture.panels == ("EUR", "AFR")
    assert not mixture.doubt
    off = np.abs(mixture.learned.weight - TRUTH)
    assert (off < 3.5 * mixture.learned.error).all()
    assert (mixture.learned.error < 0.03).all()
    rows = mixture.rows()
    assert [row["panel"] for row in rows] == ["EUR", "AFR"]
    assert sum(float(str(row["weight"])) for row in rows) == pytest.approx(1.0)


def test_the_fit_sees_the_ld_of_the_mixture(learned: tuple[list[Source], list[Mixture]]) -> None:
    sources, (mixture,) = learned
    locus = sources[0]()
    ancestries, _, _, (ld,) = gwas_arrays(locus)
    assert ancestries == ["META"]
    data = locus["ld/META"].dataset
    dosage = data["dosage"].transpose("variant", ...).values.astype(float)
    label = data["panel"].values
    weight = mixture.learned.weight
    covariance = sum(
        w * np.cov(dosage[:, label == name], bias=True)
        for w, name in zip(weight, ("EUR", "AFR"), strict=True)
    )
    sd = np.sqrt(np.diag(covariance))
    there = np.flatnonzero(sd > 0)
    exact = covariance[np.ix_(there, there)] / np.outer(sd[there], sd[there])
    np.testing.assert_allclose(ld.gram(there), exact, atol=1e-9)
    assert ld.n_ref == pytest.approx(mixture_people(np.full(2, 200.0), weight))
    # frequencies of the GWAS are those of the mixture, and of neither panel
    assert reference_distance(locus, "META") < 0.003
    alone = locus.copy()
    alone["ld/META"] = xr.DataTree(data.assign_attrs(weights=[1.0, 0.0]))
    assert reference_distance(alone, "META") > 0.003
    # what has its weights is not learned again
    again, none = learned_mixtures([lambda: locus], Serial(), lambda _, items, __: items)
    assert not none
    assert len(again) == 1


def test_panels_are_put_together_by_alleles(folder: Path) -> None:
    panels = {name: open_plink(folder / f"ld.{name}.bed") for name in GWAS}
    other = panels["AFR"]
    table = other.variants.copy()
    table.loc[3, ["effect_allele", "other_allele"]] = table.loc[
        3, ["other_allele", "effect_allele"]
    ].to_numpy()
    turned = Genotypes("turned", table.drop(index=5), other.samples, _Turned(other, 3, 5))
    plain, mixed = stacked("m", panels), stacked("m", {"EUR": panels["EUR"], "AFR": turned})
    assert len(mixed.variants) == len(plain.variants) - 1
    rows = np.array([0, 3, 5, 6])
    np.testing.assert_array_equal(mixed.load(rows), plain.load(np.array([0, 3, 6, 7])))
    assert list(dict.fromkeys(plain.panel)) == ["EUR", "AFR"]
    far = Genotypes("far", table.assign(position=table["position"] + 10**8), other.samples, other.load)
    with pytest.raises(InputError, match="none in common"):
        stacked("m", {"EUR": panels["EUR"], "AFR": far})


class _Turned:
    """Dosages with one variant counted by its other allele and one row missing."""

    def __init__(self, genotypes: Genotypes, flipped: int, gone: int) -> None:
        self.genotypes, self.flipped, self.gone = genotypes, flipped, gone

    def __call__(self, index: np.ndarray) -> np.ndarray:
        rows = index + (index >= self.gone)
        dosage = self.genotypes.load(rows)
        dosage[rows == self.flipped] = 2 - dosage[rows == self.flipped]
        return dosage
