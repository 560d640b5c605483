"""A simulated block, written to files, read and harmonised, is the locus it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import bayestwas
from bayestwas.data.simulate import PRESETS, simulate_study
from bayestwas.io.write_study import write_study

pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")


@pytest.mark.parametrize("n_ref", [200, None], ids=["reference", "in-sample"])
def test_written_study_reads_back_as_its_loci(tmp_path: Path, n_ref: int | None) -> None:
    design = dataclasses.replace(PRESETS["tiny"], n_ref=n_ref)
    blocks = list(simulate_study(design, seed=21))
    path = write_study(blocks, tmp_path / "study")
    harmonised = bayestwas.harmonise_study(bayestwas.read_study(path))
    assert harmonised.blocks["block"].tolist() == [block.name for block in blocks]
    for block in blocks:
        expected, read = block.to_locus(), harmonised.locus(block.name)
        for name, value in expected.attrs.items():
            assert read.attrs[name] == ("simulated-tiny" if name == "study" else value), name
        groups = {node.path for node in expected.subtree}
        assert groups == {node.path for node in read.subtree}
        for group in groups:
            if group.startswith("/ld/"):
                assert read[group].attrs["n_ref"] == expected[group].attrs["n_ref"]
            for name, variable in expected[group].data_vars.items():
                found = read[group][name]
                if variable.dtype.kind == "f":  # eight digits are written
                    np.testing.assert_allclose(found, variable, rtol=1e-6, err_msg=f"{group} {name}")
                else:
                    np.testing.assert_array_equal(found, variable, err_msg=f"{group} {name}")
