"""LD matrices: what is read, and what a matrix must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayestwas.errors import InputError
from bayestwas.io.ld import read_ld_matrix

P = 30


@pytest.fixture
def correlation(rng: np.random.Generator) -> np.ndarray:
    """LD of 200 simulated people: neighbours correlated, of both signs."""
    walk = rng.standard_normal((P, 200))
    for j in range(1, P):
        walk[j] += 0.8 * walk[j - 1]
    sign = rng.choice([-1, 1], P)
    return np.corrcoef(walk) * np.outer(sign, sign)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def _ids(p: int = P) -> np.ndarray:
    return np.array([f"20_{100 + j}_A_G_b37" for j in range(p)])


def _save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "ld.EUR.npz"
    np.savez(path, **arrays)
    return path


def test_alleles_from_identifiers(tmp_path: Path, correlation: np.ndarray) -> None:
    ld = read_ld_matrix(_save(tmp_path, ld=correlation.astype(np.float32), variant_id=_ids()), 200)
    assert (ld.name, ld.n_ref) == ("ld.EUR.npz", 200)
    assert ld.correlation.dtype == np.float32
    first = ld.variants.iloc[0].to_dict()
    assert first == {
        "chromosome": "20",
        "position": 100,
        "variant_id": "20_100_A_G_b37",
        "effect_allele": "G",
        "other_allele": "A",
    }


def test_alleles_given_win_over_identifiers(tmp_path: Path, correlation: np.ndarray) -> None:
    alleles = {"effect_allele": np.full(P, "a"), "other_allele": np.full(P, "g")}
    ids = np.array([f"chr20:{j + 1}:A:G" for j in range(P)])
    ld = read_ld_matrix(_save(tmp_path, ld=correlation, variant_id=ids, **alleles), 200)
    assert set(ld.variants["effect_allele"]) == {"A"}
    assert set(ld.variants["chromosome"]) == {"20"}


def test_monomorphic_variants_may_be_nan(tmp_path: Path, correlation: np.ndarray) -> None:
    correlation[3], correlation[:, 3] = np.nan, np.nan
    assert np.isnan(
        read_ld_matrix(_save(tmp_path, ld=correlation, variant_id=_ids()), 200).correlation[3]
    ).all()


@pytest.mark.parametrize("decimals", [4, 5, 6])
def test_rounding_to_four_decimals_passes(tmp_path: Path, rng: np.random.Generator, decimals: int) -> None:
    singular = np.corrcoef(rng.standard_normal((300, 40)))  # rank 39: eigenvalues at zero
    ids = _ids(300)
    read_ld_matrix(_save(tmp_path, ld=singular.round(decimals), variant_id=ids), 40)


def _broken(name: str, r: np.ndarray) -> dict[str, Any]:
    whole: dict[str, Any] = {"ld": r, "variant_id": _ids()}
    edited = r.copy()
    if name == "another size":
        return whole | {"variant_id": _ids(P - 1)}
    if name == "not square":
        return whole | {"ld": r[:-1]}
    if name == "r2":
        return whole | {"ld": r**2}
    if name == "diagonal":
        edited[2, 2] = 0.9
    if name == "covariance":
        edited *= 4
    if name == "half":
        edited = np.tril(edited)
    if name == "one NaN":
        edited[1, 2] = np.nan
    if name == "not PSD":
        edited[0, 1] = edited[1, 0] = -edited[0, 1]  # one flipped pair
    if name == "rs numbers":
        return whole | {"variant_id": np.array([f"rs{j}" for j in range(P)])}
    if name == "no ids":
        return {"ld": r}
    if name == "objects":
        return whole | {"variant_id": np.array([{"id": 1}] * P, dtype=object)}
    if name == "text":
        return whole | {"ld": r.astype(str)}
    if name == "alleles of another length":
        return whole | {"effect_allele": np.full(3, "A")}
    return whole | {"ld": edited}


BAD = {
    "another size": ("ld has shape (30, 30) for 29 identifiers", "one row and one column per identifier"),
    "not square": ("ld has shape (29, 30) for 30 identifiers", "one row and one column per identifier"),
    "r2": ("this looks like r2", "not r2"),
    "diagonal": ("ld[20_102_A_G_b37, 20_102_A_G_b37] = 0.9 on the diagonal", "correlations"),
    "covariance": ("= 4", "between -1 and 1"),
    "half": ("the other way round", "symmetric"),
    "one NaN": ("ld[20_101_A_G_b37, 20_102_A_G_b37] is nan", "finite"),
    "not PSD": ("not positive semidefinite", "no negative eigenvalue"),
    "rs numbers": (
        "30 of 30 identifiers do not give chromosome, position and alleles, first 'rs0'",
        "chr_pos_other_effect",
    ),
    "no ids": ("lacks variant_id; it holds ld", "variant_id"),
    "objects": ("cannot be read", "no Python objects"),
    "text": ("ld is of type <U", "numbers"),
    "alleles of another length": ("effect_allele has shape (3,)", "every variant"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tmp_path: Path, correlation: np.ndarray, case: str) -> None:
    given, rule = BAD[case]
    with pytest.raises(InputError) as error:
        read_ld_matrix(_save(tmp_path, **_broken(case, correlation)), 200)
    assert "ld.EUR.npz" in error.value.given
    assert given in error.value.given
    assert rule in error.value.rule
    assert error.value.remedy


def test_a_tight_block_of_positive_correlations_is_not_taken_for_r2(tmp_path: Path) -> None:
    tight = np.full((P, P), 0.9)
    np.fill_diagonal(tight, 1)
    read_ld_matrix(_save(tmp_path, ld=tight, variant_id=_ids()), 200)


def test_no_file_and_no_npz(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz does not exist"):
        read_ld_matrix(tmp_path / "none.npz", 200)
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(InputError, match=r"text\.npz cannot be read as an \.npz file") as error:
        read_ld_matrix(tmp_path / "text.npz", 200)
    assert "allow_pickle" not in str(error.value)


def test_n_ref_is_more_than_one(tmp_path: Path, correlation: np.ndarray) -> None:
    with pytest.raises(InputError, match="n_ref = 1"):
        read_ld_matrix(_save(tmp_path, ld=correlation, variant_id=_ids()), 1)
