"""The real example: PLTP in two ancestries is read and kept whole."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bayestwas.data.schema import check_locus
from bayestwas.harmonise.align import harmonise
from bayestwas.io.tables import read_table
from bayestwas.run.study import read_study

SHARED = "../../../shared/data"
EXAMPLE = Path(__file__).parents[2] / "examples" / "pltp" / "study.toml"


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """The example, or a copy of it that points at the folder named by BAYESTWAS_DATA."""
    data = os.environ.get("BAYESTWAS_DATA")
    folder = Path(data) if data else EXAMPLE.parent / SHARED
    if not (folder / "pltp_hdl_two_ancestries").is_dir():
        pytest.skip(f"the real data are not at {folder}")
    if not data:
        return EXAMPLE
    path = tmp_path / "study.toml"
    path.write_text(EXAMPLE.read_text().replace(SHARED, str(folder.resolve())))
    return path


def test_pltp_is_kept_whole(study_file: Path) -> None:
    study = read_study(study_file)
    harmonised = harmonise(study)
    assert len(harmonised.variants) == 124
    assert (harmonised.overlap.to_numpy() == 124).all()
    assert harmonised.ledger["action"].tolist() == ["kept"] * 4
    assert harmonised.genes[["gene", "tss", "n_variants", "status"]].to_numpy().tolist() == [
        ["ENSG00000100979", 44540794, 124, "ok"]
    ]
    tree = harmonised.locus(harmonised.blocks["block"].iloc[0])
    check_locus(tree)
    assert tree["expression/LCL/EUR"].sizes["donor"] == 373
    assert tree["expression/LCL/YRI"].sizes["donor"] == 89
    assert tree["ld/EUR"].attrs["n_ref"] == 373
    assert not tree.attrs["simulated"]
    # the matrix was computed from the genotypes of the panel: 1e-6 is float32's rounding of r
    correlation = np.corrcoef(tree["expression/LCL/EUR/dosage"].values)
    np.testing.assert_allclose(tree["ld/EUR/correlation"], correlation, atol=1e-6)
    source = read_table(next(path for path in study.files if path.name == "hdl.gwas.tsv.gz")).set_index(
        "variant_id"
    )["z"]
    np.testing.assert_array_equal(tree["gwas/z"][0], source.loc[tree["source_id"].values])
