"""Weights that are written are read back as they were, and read by R where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayestwas.data.weights import PER_ALLELE, PER_GENOTYPE_SD, FinishedWeights, GeneCovariance
from bayestwas.errors import InputError
from bayestwas.io.weights import read_fusion, read_predictdb
from bayestwas.io.write_weights import safe_name, write_fusion, write_predictdb

DATA = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
PREDICTDB = DATA / "predictdb_44_tissues"
FUSION = DATA / "fusion_weights_simulated"


def require(folder: Path) -> Path:
    if not folder.exists():
        pytest.skip(f"the real data are not at {folder}")
    return folder


def _weights(
    scale: str = PER_ALLELE, rsid: tuple[str, ...] = ("rs1", "rs2", "rs2", "rs3")
) -> FinishedWeights:
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "gene": ["g1", "g1", "g/2", "g/2"],
            "chromosome": "1",
            "position": [100, 200, 200, 300],
            "variant_id": [f"chr1_{p}_A_G_b38" for p in (100, 200, 200, 300)],
            "effect_allele": "G",
            "other_allele": "A",
            "weight": rng.normal(size=4),
            "rsid": list(rsid),
        }
    )
    known = {}
    for gene, part in table.groupby("gene"):
        x = rng.normal(size=(2, 20))
        known[str(gene)] = GeneCovariance(part["variant_id"].to_numpy(dtype=object), np.cov(x))
    genes = pd.DataFrame({"chromosome": "1", "tss": [150, 250]}, index=pd.Index(["g1", "g/2"], name="gene"))
    return FinishedWeights("two genes", table, scale, genes, known)


H2 = pd.Series({"g1": 0.1, "g/2": 0.2})


def same(one: FinishedWeights, two: FinishedWeights, columns: list[str]) -> None:
    pd.testing.assert_frame_equal(one.table[columns], two.table[columns], rtol=0, atol=0)
    assert one.scale == two.scale
    assert set(one.covariance) == set(two.covariance)
    for gene, known in one.covariance.items():
        other = two.covariance[gene]
        order = pd.Index(other.ids).get_indexer(pd.Index(known.ids))
        np.testing.assert_array_equal(known.matrix, other.matrix[np.ix_(order, order)])  # written in full


COLUMNS = ["gene", "chromosome", "position", "variant_id", "effect_allele", "other_allele", "weight"]


@pytest.mark.parametrize(
    "rsid", [("rs1", "rs2", "rs2", "rs3"), ("rs1", "rs2", "rs2", "rs1"), ("rs1", "", "", "1:300:A:G")]
)
def test_predictdb_round_trip(tmp_path: Path, rsid: tuple[str, ...]) -> None:
    """With rs numbers of their own, with one that stands for two variants, with names of other kinds."""
    weights = _weights(rsid=rsid)
    write_predictdb(weights, tmp_path / "w.db", tmp_path / "w.txt.gz", H2)
    back = read_predictdb(tmp_path / "w.db", tmp_path / "w.txt.gz")
    same(weights, back, COLUMNS)
    named = weights.table["rsid"] if rsid[3] == "rs3" else weights.table["variant_id"]
    assert back.table["rsid"].tolist() == named.tolist()


@pytest.mark.parametrize("tissue", ["TW_Liver", "TW_Whole_Blood"])
def test_real_predictdb_round_trip(tmp_path: Path, tissue: str) -> None:
    folder = require(PREDICTDB)
    (database,) = folder.glob(f"dbs_3/{tissue}*.db")
    weights = read_predictdb(database, folder / "cov_3" / f"{tissue}.txt.gz")
    write_predictdb(weights, tmp_path / "w.db", tmp_path / "w.txt.gz", pd.Series(dtype=float))
    back = read_predictdb(tmp_path / "w.db", tmp_path / "w.txt.gz")
    assert len(back.table) > 3
    same(weights, back, COLUMNS)


def test_fusion_round_trip(tmp_path: Path) -> None:
    weights = replace(_weights(PER_GENOTYPE_SD), covariance={})
    write_fusion(weights, tmp_path / "liver.EUR.pos", H2, 212)
    back = read_fusion(tmp_path / "liver.EUR.pos")
    expected = weights.table.assign(variant_id=weights.table["rsid"])  # FUSION knows variants by one name
    pd.testing.assert_frame_equal(expected[COLUMNS], back.table[COLUMNS], rtol=0, atol=0)
    pd.testing.assert_frame_equal(weights.genes, back.genes, check_names=False)
    assert sorted(f.name for f in (tmp_path / "liver.EUR").iterdir()) == ["g1.wgt.RDat", "g_2.wgt.RDat"]


def test_fusion_files_of_its_own_simulation_round_trip(tmp_path: Path) -> None:
    weights = read_fusion(require(FUSION) / "Tissue.pos")
    h2 = pd.Series(0.1, index=weights.genes.index)
    write_fusion(weights, tmp_path / "t.pos", h2, 100)
    back = read_fusion(tmp_path / "t.pos")
    assert len(back) == 20
    pd.testing.assert_frame_equal(weights.table[COLUMNS], back.table[COLUMNS], rtol=0, atol=0)


def test_r_reads_fusion_files_as_its_association_test_does(tmp_path: Path) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    weights = replace(_weights(PER_GENOTYPE_SD), covariance={})
    write_fusion(weights, tmp_path / "w.pos", H2, 212)
    code = (
        "l <- read.table('w.pos', header=T, as.is=T); "
        "for (i in seq_len(nrow(l))) { load(l$WGT[i]); best <- which.max(cv.performance['rsq',]); "
        "stopifnot(is.data.frame(snps), nrow(snps) == nrow(wgt.matrix), rownames(wgt.matrix) == snps[,2]); "
        "cat(l$ID[i], colnames(cv.performance)[best], snps[,1], snps[,4], snps[,5], "
        "sprintf('%.17g', wgt.matrix[,best]), '\\n') }"
    )
    run = subprocess.run(
        ["Rscript", "--vanilla", "-e", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    for line, (gene, part) in zip(
        run.stdout.splitlines(), weights.table.groupby("gene", sort=False), strict=True
    ):
        fields = line.split()
        assert fields[:8] == [gene, "bayestwas", "1", "1", *map(str, part["position"]), "G", "G"]
        np.testing.assert_array_equal(np.array(fields[8:], dtype=float), part["weight"].to_numpy())


def test_names_of_files() -> None:
    assert safe_name("../a b|c") == "_a_b_c"
    assert safe_name("..") == "_"


def test_scales_and_covariances_are_required(tmp_path: Path) -> None:
    files = (tmp_path / "w.db", tmp_path / "w.txt.gz")
    with pytest.raises(InputError, match="per genotype SD"):
        write_predictdb(_weights(PER_GENOTYPE_SD), *files, H2)
    with pytest.raises(InputError, match="g1 has no covariance"):
        write_predictdb(replace(_weights(), covariance={}), *files, H2)
    with pytest.raises(InputError, match="per allele"):
        write_fusion(_weights(), tmp_path / "w.pos", H2, 10)
    assert not any(tmp_path.iterdir())
