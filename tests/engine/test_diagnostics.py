"""z-scores against their prediction from the others: exact twins, well-specified data, known mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bayestwas.engine import diagnostics
from bayestwas.engine.diagnostics import DOUBTFUL, GOOD, SUSPICIOUS, grade, krige, lead_outliers
from bayestwas.engine.ld import GenotypeLD, MatrixLD
from bayestwas.io.rfiles import read_r

Floats = NDArray[np.float64]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REGIONS = Path(os.environ.get("BAYESTWAS_DATA", SHARED)) / "ld_mismatch_regions"


def people(rng: np.random.Generator, count: int, p: int, carry: float = 0.95) -> NDArray[np.int8]:
    """Dosages (p, count) of haplotypes that are Markov chains along the variants."""
    switch = rng.random((2 * count, p)) > carry
    fresh = rng.random((2 * count, p)) < np.linspace(0.1, 0.5, p)
    haplotypes = fresh.copy()
    for j in range(1, p):
        haplotypes[:, j] = np.where(switch[:, j], fresh[:, j], haplotypes[:, j - 1])
    return (haplotypes[:count] + haplotypes[count:].astype(np.int8)).T.astype(np.int8)


def observed(rng: np.random.Generator, population: NDArray[np.int8], causal: int, size: float) -> Floats:
    """z ~ Normal(R lambda, R) with one effect, R that of the population."""
    x = population - population.mean(axis=1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=1, keepdims=True))
    n = x.shape[1]
    return np.asarray(x @ (size * x[causal] / n + rng.standard_normal(n) / np.sqrt(n)))


def copies(dosage: NDArray[np.int8]) -> Floats:
    total = dosage.sum(axis=1)
    return np.minimum(total, 2 * dosage.shape[1] - total).astype(float)


def test_prediction_is_a_ridge_regression_on_the_others() -> None:
    """In one window without suspects; and without a variant that is left out. To rounding, 1e-9."""
    rng = np.random.default_rng(1)
    dosage = people(rng, 400, 30)
    z, ld = observed(rng, dosage, 7, 4.0), GenotypeLD(dosage)
    fit = krige(z, ld, copies(dosage))
    r = ld.gram(np.arange(30))
    for j in range(30):
        others = np.delete(np.arange(30), j)
        b = np.linalg.solve(r[np.ix_(others, others)] + diagnostics.RIDGE * np.eye(29), r[others, j])
        np.testing.assert_allclose(fit.predicted[j], b @ z[others], atol=1e-9)
    window = diagnostics._Window.build(z, r, 400, 0.0, copies(dosage))
    rest = np.delete(np.arange(30), 11)
    shorter = diagnostics._Window.build(z[rest], r[np.ix_(rest, rest)], 400, 0.0, copies(dosage)[rest])
    np.testing.assert_allclose(window.without(11).difference(), shorter.difference(), atol=1e-9)


def test_variance_is_that_of_the_contrast_under_exact_ld() -> None:
    """Without signal the differences over their sd are standard normal: mean square 1 within four sigma, the
    correlation between variants counted by repeating over independent draws."""
    rng = np.random.default_rng(2)
    dosage = people(rng, 600, 80)
    ld = GenotypeLD(dosage, np.inf)
    squares = [np.mean(krige(observed(rng, dosage, 0, 0.0), ld).t ** 2) for _ in range(200)]
    # own effects of the size of z are allowed for, hence a little below one
    error = np.std(squares) / np.sqrt(len(squares))
    assert 0.75 < np.mean(squares) < 1 + 4 * error


def test_well_specified_variants_are_not_suspect() -> None:
    """100 loci of 120 variants, z up to 15, references of 200 people: p < 5e-8 each, so none is expected."""
    found, checked = 0, 0
    for seed in range(100):
        rng = np.random.default_rng([3, seed])
        population, reference = people(rng, 1500, 120), people(rng, 200, 120)
        z = observed(rng, population, int(rng.integers(120)), rng.uniform(0, 15))
        fit = krige(z, GenotypeLD(reference), copies(reference))
        found += int(fit.suspect.sum())
        checked += int(np.isfinite(fit.t).sum())
    assert checked > 10_000
    assert found <= 1  # of 12,000


@pytest.mark.parametrize("n_ref", [200, np.inf])
def test_a_flipped_allele_is_found_and_nothing_else(n_ref: float) -> None:
    """Twenty loci, each with the sign of one well-tagged variant of |z| > 5 turned: found in at least 16."""
    hits, others = 0, 0
    for seed in range(20):
        rng = np.random.default_rng([4, seed])
        population = people(rng, 1500, 100, carry=0.98)
        reference = population if np.isinf(n_ref) else people(rng, int(n_ref), 100, carry=0.98)
        z = observed(rng, population, 50, 12.0)
        tagged = np.flatnonzero((np.abs(z) > 5) & (np.arange(100) != 50))
        turned = int(tagged[np.argmin(np.abs(tagged - 50))])
        z[turned] = -z[turned]
        fit = krige(z, GenotypeLD(reference, n_ref), copies(reference))
        hits += bool(fit.suspect[turned] and fit.flip[turned])
        others += int(fit.suspect.sum() - fit.suspect[turned])
    assert hits >= 16
    assert others <= 2


def test_windows_agree_with_one_window() -> None:
    """A block cut into windows flags the variant that the whole block flags; predictions are close where LD
    does not reach across a window."""
    rng = np.random.default_rng(5)
    dosage = people(rng, 4000, 240, carry=0.9)
    z = observed(rng, dosage, 120, 10.0)
    z[118] = -z[118]
    whole, cut = krige(z, GenotypeLD(dosage, np.inf)), krige(z, GenotypeLD(dosage, np.inf), window=80)
    assert whole.suspect[118]
    np.testing.assert_array_equal(whole.suspect, cut.suspect)
    assert np.sqrt(np.mean((cut.predicted - whole.predicted) ** 2)) < 0.1  # of z-scores, with an sd of 1


def test_ld_of_other_people_is_suspicious() -> None:
    rng = np.random.default_rng(6)
    population = people(rng, 1000, 150)
    z = observed(rng, population, 70, 14.0)
    shuffled = rng.permutation(150)
    fit = krige(z, GenotypeLD(population[shuffled], np.inf))
    assert fit.ended or fit.suspect.mean() > 0.01
    assert grade(150, int(fit.suspect.sum()), fit.ended) == SUSPICIOUS


def test_absent_and_rare_variants_are_not_judged() -> None:
    rng = np.random.default_rng(7)
    dosage = people(rng, 300, 40)
    dosage[5] = 0
    dosage[6] = 0
    dosage[6, :3] = 1
    z = rng.standard_normal(40)
    z[9] = np.nan
    fit = krige(z, GenotypeLD(dosage), copies(dosage))
    assert np.isnan(fit.t[[5, 6, 9]]).all()
    assert np.isfinite(np.delete(fit.t, [5, 6, 9])).all()
    nothing = krige(np.full(40, np.nan), GenotypeLD(dosage), copies(dosage))
    assert np.isnan(nothing.t).all()
    assert not nothing.ended


def test_a_matrix_that_is_no_correlation_is_judged_all_the_same() -> None:
    """Correlations of pairs computed apart may have negative eigenvalues."""
    bad = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    assert np.linalg.eigvalsh(bad)[0] < -0.5
    assert np.isfinite(krige(np.array([1.0, 2.0, -1.0]), MatrixLD(bad, 1000)).t).all()


@pytest.mark.parametrize(
    ("suspects", "ended", "expected"),
    [
        (0, False, GOOD),
        (1, False, DOUBTFUL),
        (3, False, DOUBTFUL),
        (4, False, SUSPICIOUS),
        (0, True, SUSPICIOUS),
    ],
)
def test_grades(suspects: int, ended: bool, expected: str) -> None:
    assert grade(300, suspects, ended) == expected


# ---- known answers --------------------------------------------------------------------------------------


def load(name: str) -> dict[str, Floats]:
    """Fields of the list in an .RData file of the region data."""
    path = REGIONS / "susie_rss" / f"{name}.RData"
    if not path.is_file():
        pytest.skip(f"the LD mismatch regions are not at {REGIONS}")
    return {field: np.asarray(values) for field, values in read_r(path)[name].items()}


def test_summary_consistency_finds_the_flipped_snp() -> None:
    """SNP 158 (1-based) was flipped by hand, the signal is SNP 51; the reference has some hundred people."""
    data = load("SummaryConsistency")
    for n_ref in (300, 500, 1000):
        fit = krige(data["z"], MatrixLD(data["ldref"], n_ref))
        assert (np.flatnonzero(fit.flip) + 1).tolist() == [int(data["flip_id"][0])]
        assert (np.flatnonzero(fit.suspect) + 1).tolist() == [int(data["flip_id"][0])]
        assert grade(200, 1, fit.ended) == DOUBTFUL


def test_rss_mismatch_example_is_suspicious() -> None:
    data = load("rss_mismatch_example")
    fit = krige(data["z"], MatrixLD(data["R"], 500))
    assert grade(500, int(fit.suspect.sum()), fit.ended) == SUSPICIOUS


def test_slalom_copd_is_suspicious() -> None:
    """Three of the eight variants with r^2 > 0.6 (the lead counted) are outliers in the published run."""
    path = REGIONS / "slalom_copd" / "example.slalom.txt"
    if not path.is_file():
        pytest.skip(f"the LD mismatch regions are not at {REGIONS}")
    with path.open() as lines:
        header = next(lines).rstrip("\n").split("\t")
        rows = [dict(zip(header, line.rstrip("\n").split("\t"), strict=True)) for line in lines]
    z = np.array([float(row["beta"]) / float(row["se"]) for row in rows])
    r = np.array([np.nan if row["r"] == "NA" else float(row["r"]) for row in rows])
    near, t = lead_outliers(z, r, 30_000)  # gnomAD's largest group has about 34,000 people
    assert len(near) == 7
    assert (np.abs(t) > diagnostics.LEAD_LIMIT).sum() == 3
    assert diagnostics.lead_grade(z, r, 30_000) == SUSPICIOUS


def test_a_lead_that_is_followed_is_good() -> None:
    rng = np.random.default_rng(8)
    population = people(rng, 3000, 60, carry=0.99)
    z = observed(rng, population, 30, 20.0)
    lead = int(np.argmax(np.abs(z)))
    r = GenotypeLD(population).columns(np.array([lead]))[:, 0]
    assert diagnostics.lead_grade(z, r, np.inf) == GOOD
