"""The real case: PLTP and HDL cholesterol, a GWAS of 94,294 people whose LD reference has 373.

An analysis with weights and LD as exact calls PLTP nearly certain; the sampling noise of the LD reference
takes most of that away and leaves the association to 20_44554015_C_T. Prototypes of the model gave PIPs of
0.97-0.99 and 0.14-0.28; the bounds below leave room for other priors and for Monte Carlo error.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest

import bayestwas
from bayestwas.run.pipeline import RunSummary, run_study

SHARED = "../../../shared/data"
EXAMPLE = Path(__file__).parents[2] / "examples" / "pltp" / "study.toml"
GENE, EQTL, DIRECT = "ENSG00000100979", "20:44539492:G:C", "20:44554015:C:T"
PLUGIN_AT_LEAST, CARRIED_AT_MOST, DIRECT_AT_LEAST = 0.9, 0.5, 0.9


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example that points at the data, wherever they are."""
    data = os.environ.get("BAYESTWAS_DATA")
    folder = Path(data) if data else EXAMPLE.parent / SHARED
    if not (folder / "pltp_hdl_two_ancestries").is_dir():
        pytest.skip(f"the real data are not at {folder}")
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(EXAMPLE.read_text().replace(SHARED, str(folder.resolve())))
    return path


@pytest.fixture(scope="module")
def run(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    return run_study(study_file, tmp_path_factory.mktemp("pltp") / "out", workers=1, progress=False)


def test_the_known_eqtl_is_found_in_both_ancestries(study_file: Path) -> None:
    harmonised = bayestwas.harmonise_study(bayestwas.read_study(study_file))
    (block,) = harmonised.blocks["block"]
    weights = bayestwas.fit_weights(harmonised.locus(block))["marginals"].to_dataset().sel(gene=GENE)
    assert str(weights["pip"].idxmax().item()) == EQTL
    assert float(weights["pip"].max()) > 0.9
    mean = weights["weight_mean"].sel(context="LCL", variant=EQTL)
    assert set(mean["ancestry"].values) == {"EUR", "YRI"}
    for ancestry in ("EUR", "YRI"):
        profile = abs(weights["weight_mean"].sel(context="LCL", ancestry=ancestry))
        assert str(profile.idxmax().item()) == EQTL, ancestry
    assert mean.sel(ancestry="EUR") * mean.sel(ancestry="YRI") > 0


def test_the_plug_in_answer_falls_once_ld_noise_is_carried(run: RunSummary) -> None:
    (gene,) = pd.read_csv(run.out / "genes.tsv", sep="\t").itertuples()
    assert gene.gene == GENE
    assert gene.pip_plugin > PLUGIN_AT_LEAST
    assert gene.pip_weights > PLUGIN_AT_LEAST  # it is not the uncertainty of the weights
    assert gene.pip < CARRIED_AT_MOST
    assert gene.pip_ld < CARRIED_AT_MOST  # it is that of LD
    assert gene.pip_mcse < 0.02
    assert gene.data == "real"


def test_the_signal_is_a_direct_effect(run: RunSummary) -> None:
    variants = pd.read_csv(run.out / "variants.tsv", sep="\t").set_index("variant")["pip_direct"]
    assert variants.idxmax() == DIRECT
    assert variants.max() > DIRECT_AT_LEAST


def test_the_sentence_says_why_the_numbers_differ(run: RunSummary) -> None:
    sentence = run.top["explanation"].item()
    plugin, pip = run.top[["pip_plugin", "pip"]].iloc[0]
    shown = [">0.99" if value > 0.995 else f"{value:.2f}" for value in (plugin, pip)]
    assert re.search(f"plug-in PIP is {shown[0]}, but {shown[1]} once", sentence)
    assert "the sampling noise of the 373-person LD reference is carried" in sentence
    assert f"a direct effect of {DIRECT}" in sentence
