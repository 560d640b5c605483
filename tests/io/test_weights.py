"""Finished weights of others: real files where they are, small ones made here, and hostile ones."""

from __future__ import annotations

import gzip
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rdata

from bayestwas.data.weights import PER_ALLELE, PER_GENOTYPE_SD
from bayestwas.errors import InputError
from bayestwas.fit.gene_z import gene_z
from bayestwas.io.rfiles import read_r
from bayestwas.io.weights import read_ctwas_weights, read_fusion, read_predictdb, read_sushie, read_weights

DATA = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
LDL = DATA / "ldl_chr16_gtex_liver_adipose"
Z_TOLERANCE = 1e-9  # double precision over sums of a few dozen terms is below 1e-13

MODEL = [
    ("g1", "rs1", "chr1_100_A_G_b38", "A", "G", 0.5),
    ("g1", "rs2", "chr1_200_C_T_b38", "C", "T", -0.2),
    ("g2", "rs2", "chr1_200_C_T_b38", "C", "T", 1.0),
]
COVARIANCE = {("g1", 0, 0): 0.4, ("g1", 0, 1): 0.1, ("g1", 1, 1): 0.3, ("g2", 1, 1): 0.3}


def require(folder: Path) -> Path:
    if not folder.exists():
        pytest.skip(f"the real data are not at {folder}")
    return folder


def predictdb(folder: Path, mark: str = " ", var_id: bool = True) -> tuple[Path, Path]:
    """A database with two genes, and its covariances, separated by `mark`."""
    path = folder / "tiny.db"
    table = pd.DataFrame(MODEL, columns=["gene", "rsid", "varID", "ref_allele", "eff_allele", "weight"])
    with sqlite3.connect(path) as base:
        (table if var_id else table.drop(columns="varID")).to_sql("weights", base, index=False)
    base.close()
    names = [row[2 if var_id else 1] for row in MODEL]
    lines = ["GENE RSID1 RSID2 VALUE"] + [
        f"{gene} {names[i]} {names[j]} {value}" for (gene, i, j), value in COVARIANCE.items()
    ]
    beside = folder / "tiny.txt.gz"
    beside.write_bytes(gzip.compress("\n".join(line.replace(" ", mark) for line in lines).encode()))
    return path, beside


@pytest.mark.parametrize("mark", [" ", "\t"])
@pytest.mark.parametrize("var_id", [True, False])
def test_a_predictdb_database_is_read_with_its_covariances(tmp_path: Path, mark: str, var_id: bool) -> None:
    weights = read_weights(*predictdb(tmp_path, mark, var_id))
    assert weights.scale == PER_ALLELE
    assert list(weights.table["weight"]) == [row[-1] for row in MODEL]
    assert list(weights.table["effect_allele"]) == [row[4] for row in MODEL]
    np.testing.assert_array_equal(weights.covariance["g1"].matrix, [[0.4, 0.1], [0.1, 0.3]])
    if var_id:
        assert list(weights.table["position"]) == [100, 200, 200]
        assert weights.genes.loc["g1"].to_dict() == {"chromosome": "1", "tss": 150}


def test_gene_z_is_the_z_of_the_predicted_expression(tmp_path: Path) -> None:
    weights = read_weights(*predictdb(tmp_path))
    gwas = pd.DataFrame(
        {"z": [2.0, 3.0], "effect_allele": ["G", "C"], "other_allele": ["A", "T"]}, index=["rs1", "rs2"]
    )
    got = gene_z(weights, gwas).set_index("gene")["z"]
    # by hand: w = (0.5, -0.2), the second z turned; sum w sd z / sqrt(w' C w)
    by_hand = (0.5 * np.sqrt(0.4) * 2 + -0.2 * np.sqrt(0.3) * -3) / np.sqrt(
        0.5**2 * 0.4 + 2 * 0.5 * -0.2 * 0.1 + 0.2**2 * 0.3
    )
    assert got["g1"] == pytest.approx(by_hand, abs=1e-12)
    assert got["g2"] == pytest.approx(-3.0, abs=1e-12)  # one variant: its own z


def test_a_gene_without_z_has_a_reason(tmp_path: Path) -> None:
    weights = read_weights(*predictdb(tmp_path))
    others = pd.DataFrame({"z": [1.0], "effect_allele": ["C"], "other_allele": ["A"]}, index=["rs2"])
    got = gene_z(weights, others)
    assert got["z"].isna().all()
    assert got["reason"].str.contains("none of its variants").all()


def test_ldl_all_gene_z_from_weights_ld_and_z() -> None:
    require(LDL)
    weights = read_ctwas_weights(LDL / "LDL_example.preprocessed.weights.RDS")
    stored = read_r(LDL / "LDL_example.ctwas_sumstats_res.RDS")["z_gene"].set_index("id")["z"]
    snps = read_r(LDL / "LDL_example.preprocessed.z_snp.RDS").set_index("id")
    began = time.process_time()
    got = gene_z(weights, snps)
    assert time.process_time() - began < 10  # seconds; once the R files are read it takes 0.06
    label = got["gene"].str.replace(r"\|expression_(Liver|Adipose).*", r"|\1_expression", regex=True)
    key = label.str.replace("|Liver", "|liver").str.replace("|Adipose", "|adipose")
    assert len(got) == 894
    assert np.abs(got["z"].to_numpy() - stored[key].to_numpy()).max() < Z_TOLERANCE


def test_all_44_predictdb_tissues_are_read() -> None:
    folder = require(DATA / "predictdb_44_tissues")
    databases = sorted((folder / "dbs_3").glob("*.db"))
    assert len(databases) == 44
    for path in databases:
        weights = read_predictdb(path, folder / "cov_3" / f"{path.stem.removesuffix('_0.5')}.txt.gz")
        text = pd.read_csv(path.with_suffix(".weights"), sep="\t")
        merged = weights.table.merge(text, on=["gene", "rsid"], suffixes=("", "_text"))
        assert len(merged) == len(weights.table) == len(text)
        assert np.allclose(merged["weight"].astype(float), merged["weight_text"].astype(float))
        for gene, known in weights.covariance.items():
            mine = weights.table.loc[weights.table["gene"] == gene, "weight"].to_numpy()
            there = np.isfinite(known.matrix.diagonal())
            assert mine[there] @ known.matrix[np.ix_(there, there)] @ mine[there] > 0


def test_fusion_weights_take_the_model_with_the_best_cross_validation() -> None:
    folder = require(DATA / "fusion_weights_simulated")
    weights = read_fusion(folder / "Tissue.pos")
    assert weights.scale == PER_GENOTYPE_SD
    assert weights.table["gene"].nunique() == 20
    held = read_r(folder / "Tissue" / "Tissue.gene1.wgt.RDat")
    best = held["cv.performance"].loc["rsq"].idxmax()
    mine = weights.table[weights.table["gene"] == "gene1"].set_index("variant_id")["weight"]
    theirs = held["wgt.matrix"][best]
    assert mine.to_dict() == {k: v for k, v in theirs.to_dict().items() if v}
    top = read_fusion(folder / "Tissue.pos", model="top1").table
    assert (top.groupby("gene").size() == 1).all()


def fusion(folder: Path, wgt: str = "gene.wgt.RDat") -> Path:
    held: dict[str, Any] = {
        "wgt.matrix": np.array([[0.1], [0.0]]),
        "hsq": np.array([0.1, 0.02]),
    }
    rdata.write_rda(folder / "gene.wgt.RDat", held)
    path = folder / "list.pos"
    path.write_text(f"WGT\tID\tCHR\tP0\tP1\n{wgt}\tg1\t1\t1\t30\n")
    return path


@pytest.mark.parametrize("outside", ["../gene.wgt.RDat", "/etc/passwd"])
def test_a_list_names_no_file_outside_its_folder(tmp_path: Path, outside: str) -> None:
    with pytest.raises(InputError, match="lie in its folder"):
        read_fusion(fusion(tmp_path, outside))


def test_fusion_weights_without_names_are_an_error_that_says_what_is_held(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds wgt\.matrix, hsq"):
        read_fusion(fusion(tmp_path))


def test_a_sushie_table_is_read_by_ancestry(write: Callable[[str, str], Path]) -> None:
    path = write(
        "g.sushie.weights.tsv",
        "trait\tchrom\tsnp\tpos\ta0\ta1\tancestry1_sushie_weight\tancestry2_sushie_weight\n"
        "g1\t1\trs1\t100\tA\tG\t0.5\t0.4\ng1\t1\trs2\t300\tC\tT\t0.0\t0.1\n",
    )
    assert list(read_sushie(path).table["weight"]) == [0.5]
    second = read_weights(path, ancestry=2)
    assert list(second.table["weight"]) == [0.4, 0.1]
    assert second.genes.loc["g1", "tss"] == 200
    with pytest.raises(InputError, match="ancestry1_sushie_weight, ancestry2_sushie_weight"):
        read_sushie(path, ancestry=3)


def test_a_bomb_a_truncated_file_and_a_pickle_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.RDS"
    bomb.write_bytes(gzip.compress(b"X\n" + bytes(1 << 22)))
    with pytest.raises(InputError, match="unpacks to more than"):
        read_r(bomb, largest=1 << 20)
    whole = tmp_path / "whole.RDS"
    rdata.write_rds(whole, np.arange(1000.0))
    np.testing.assert_array_equal(read_r(whole), np.arange(1000.0))
    broken = tmp_path / "broken.RDS"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(InputError, match="breaks off"):
        read_r(broken)
    import pickle

    class Harm:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'harm'}",)

    hostile = tmp_path / "hostile.RDS"
    hostile.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(InputError, match="cannot be read as a file of R"):
        read_r(hostile)
    assert not (tmp_path / "harm").exists()


def test_a_file_that_is_no_database_and_one_without_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.db"
    path.write_bytes(b"this is no database, though it is long enough to look like one" * 20)
    with pytest.raises(InputError, match="cannot be read as a database"):
        read_predictdb(path)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as base:
        base.execute("CREATE TABLE extra (gene TEXT)")
    base.close()
    with pytest.raises(InputError, match="table weights"):
        read_predictdb(other)


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown format"):
        read_weights(tmp_path / "weights.xlsx")
