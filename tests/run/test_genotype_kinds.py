"""One simulated study with its genotypes in every format: the same loci. Simulated."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayestwas.harmonise.align import Harmonised, harmonise
from bayestwas.io.genotypes import open_genotypes
from bayestwas.run.check import check
from bayestwas.run.study import read_study

_SPEC = importlib.util.spec_from_file_location(
    "genotype_files", Path(__file__).parents[1] / "io" / "genotype_files.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(files)

WRITERS = {
    ".pgen": files.write_pgen,
    ".vcf.gz": files.write_indexed,
    ".vcf": files.write_vcf,
    ".bgen": files.write_bgen,
}


@pytest.fixture(scope="module")
def plink(tiny_study: Path) -> Harmonised:
    return harmonise(read_study(tiny_study))


@pytest.mark.parametrize("ending", WRITERS)
def test_the_same_loci_from_every_format(
    tiny_study: Path, tmp_path: Path, plink: Harmonised, ending: str
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.parent, folder)
    for bed in sorted(folder.rglob("*.fam")):
        prefix = bed.with_suffix("")
        genotypes = open_genotypes(prefix)
        dosage = genotypes.load(np.arange(len(genotypes.variants)))
        made = WRITERS[ending](
            tmp_path, genotypes.variants, dosage, people=[str(s) for s in genotypes.samples]
        )
        for written in tmp_path.glob("x.*"):
            shutil.move(written, f"{prefix}{written.name[1:]}")
        for old in (".bed", ".bim", ".fam"):
            Path(f"{prefix}{old}").unlink()
        assert Path(f"{prefix}{made.name[1:]}").is_file()
    harmonised = harmonise(read_study(folder / "study.toml"))  # the study names prefixes
    assert harmonised.blocks.equals(plink.blocks)
    for block in plink.blocks["block"]:
        mine, theirs = harmonised.locus(block), plink.locus(block)
        assert mine.groups == theirs.groups
        for group in theirs.groups:
            xr.testing.assert_identical(mine[group].to_dataset(), theirs[group].to_dataset())


def test_the_least_quality_is_a_setting(tiny_study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.parent, folder)
    text = (folder / "study.toml").read_text()
    assert "[settings]" not in text
    (folder / "study.toml").write_text(text + "\n[settings]\nmin_info = 0.9\n")
    assert read_study(folder / "study.toml").min_info == 0.9
    assert read_study(tiny_study).min_info == 0.3
    assert check(folder / "study.toml").runnable == check(tiny_study).runnable  # calls are not imputed
