"""Colocalization from files alone: a real locus with a known answer, three tables, case-control, refusals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bayestwas import SummaryTrait, colocalize_summaries, colocalize_tables
from bayestwas.cli import app
from bayestwas.engine.coloc import ColocPriors
from bayestwas.errors import InputError

FOLDER = Path(os.environ.get("BAYESTWAS_DATA", Path(__file__).parents[3] / "shared" / "data"))
LOCUS = FOLDER / "lymphocyte_rbms1_coloc"
CASES = 0.3


def test_a_real_locus_by_the_command_alone(tmp_path: Path) -> None:
    """RBMS1 shares its variant with lymphocyte count (0.98 by coloc.abf with default priors, to 0.02);
    ENSG00000241399 has another one."""
    if not LOCUS.is_dir():
        pytest.skip(f"the lymphocyte locus is not at {LOCUS}")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [
        "coloc-tables", "--out", str(out), "-q", "--n", "T=167", "--n", "count=171643",
        "--eqtl", f"T={LOCUS / 'BLUEPRINT_PE.T-cell_ge.nominal.sorted.tsv.gz'}",
        "--gwas", f"count={LOCUS / 'LC_GWAS_subset.GRCh38.sorted.vcf.gz'}",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "coloc.tsv", sep="\t").set_index("gene")
    assert len(table) >= 12
    assert table.loc["ENSG00000153250", "h4"] == pytest.approx(0.98, abs=0.02)
    assert table.loc["ENSG00000241399", "h3"] > 0.9
    along = pd.read_csv(out / "coloc_sensitivity.tsv", sep="\t").set_index("gene").loc["ENSG00000153250"]
    kept = along.loc[along["holds"], "p12"]
    assert kept.min() == pytest.approx(table.loc["ENSG00000153250", "p12_needed"], rel=0.3)  # a step is 0.26


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two eQTL tables of one gene in the layouts of GTEx and tensorQTL, without frequencies or with them, a
    quantitative GWAS and one of cases: all but the second eQTL table have their effect at variant 12."""
    rng = np.random.default_rng(8)
    folder, m = tmp_path_factory.mktemp("tables"), 60
    maf = rng.uniform(0.1, 0.5, m)
    ids = [f"chr3_{1_000_000 + 1000 * i}_A_G_b38" for i in range(m)]
    z = {name: rng.normal(0, 1, m) for name in ("liver", "blood", "ldl", "disease")}
    for name, peak in (("liver", 12), ("blood", 40), ("ldl", 12), ("disease", 12)):
        z[name][peak] += 9
    per_allele = 1 / np.sqrt(2 * maf * (1 - maf))
    paths = {name: folder / f"{name}.tsv" for name in z}
    written = {}
    for name, people in (("liver", 300), ("blood", 500)):
        error = per_allele / np.sqrt(people)
        written[name] = pd.DataFrame(
            {"variant_id": ids, "pval_nominal": 0.5, "slope": z[name] * error, "slope_se": error}
        )
    written["liver"] = written["liver"].assign(gene_id="G", tss_distance=0)
    written["blood"] = written["blood"].assign(
        phenotype_id="G", start_distance=0, af=maf, ma_samples=1, ma_count=1
    )
    place = {"chromosome": 3, "base_pair_location": [1_000_000 + 1000 * i for i in range(m)]}
    for name, people in (("ldl", 50_000), ("disease", 20_000)):
        error = per_allele / np.sqrt(people * (CASES * (1 - CASES) if name == "disease" else 1))
        numbers = {
            "beta": z[name] * error,
            "standard_error": error,
            "effect_allele_frequency": maf,
            "n": people,
        }
        written[name] = pd.DataFrame({**place, "effect_allele": "A", "other_allele": "G", **numbers})
    for name, table in written.items():
        table.to_csv(paths[name], sep="\t", index=False)
    return paths


def arguments(files: dict[str, Path]) -> list[str]:
    kinds = {"liver": "--eqtl", "blood": "--eqtl", "ldl": "--gwas", "disease": "--gwas"}
    out = [part for name, kind in kinds.items() for part in (kind, f"{name}={files[name]}")]
    return ["coloc-tables", *out, "--n", "liver=302", "--n", "blood=502", "--cases", f"disease={CASES}", "-q"]


def test_contexts_and_traits_and_what_they_share(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [*arguments(files), "--out", str(out)])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "coloc.tsv", sep="\t").set_index(["context", "other"])
    together = [("liver", "ldl"), ("liver", "disease"), ("ldl", "disease")]
    for pair in table.index:
        assert (table.loc[pair, "h4"] > 0.9) == (pair in together), pair
        assert (table.loc[pair, "h3"] > 0.9) == (pair not in together), pair
    assert len(table) == 6
    clusters = pd.read_csv(out / "coloc_clusters.tsv", sep="\t")
    assert set(clusters["members"]) == {"liver.1,ldl.1,disease.1", "blood.1"}
    assert set(clusters["shared_variant"]) == {"3:1012000:A:G", "3:1040000:A:G"}
    assert clusters["exact"].all()


def test_a_pair_of_files_is_that_of_two_tables(files: dict[str, Path], tmp_path: Path) -> None:
    """Case-control from z and the share of cases, against the tables by hand."""
    region = ["--region", "chr3:1,000,000-1,060,000", "--priors", "1e-4,1e-4,1e-6"]
    command = ["coloc-tables", "--gwas", f"a={files['ldl']}", "--gwas", f"b={files['disease']}", "-q"]
    done = CliRunner().invoke(
        app, [*command, "--cases", f"b={CASES}", *region, "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    row = pd.read_csv(tmp_path / "out" / "coloc.tsv", sep="\t").iloc[0]
    ldl, disease = (pd.read_csv(files[name], sep="\t") for name in ("ldl", "disease"))
    hand = [one.assign(variant=one["base_pair_location"].astype(str), maf=one["effect_allele_frequency"])
            for one in (ldl, disease)]  # fmt: skip
    hand = [one.assign(z=one["beta"] / one["standard_error"])[["variant", "z", "n", "maf"]] for one in hand]
    expected = colocalize_summaries(
        SummaryTrait(hand[0]), SummaryTrait(hand[1], cases=CASES), priors=ColocPriors(1e-4, 1e-4, 1e-6)
    )
    assert row["h4"] == pytest.approx(expected["h4"].item(), rel=1e-5)
    assert row["p12_needed"] == pytest.approx(expected["p12_needed"].item(), rel=1e-5)


def test_tables_in_python_and_genes_without_variants() -> None:
    base = pd.DataFrame({"variant": [f"1:{i}:A:G" for i in range(5)], "beta": 0.1, "se": 0.05})
    both = pd.concat([base.assign(gene="A"), base.assign(gene="B", variant="2:1:A:G").iloc[:1]])
    found = colocalize_tables({"liver": SummaryTrait(both, sd=1.0), "ldl": SummaryTrait(base, sd=1.0)})
    assert found.pairs["gene"].tolist() == ["A"]
    assert found.skipped["gene"].tolist() == ["B"]
    with pytest.raises(InputError, match="two or more"):
        colocalize_tables({"ldl": SummaryTrait(base, sd=1.0)})


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--gwas", "a=x"], "two tables"),
        (["--gwas", "a=x", "--gwas", "b=y"], "--region"),
        (["--gwas", "a=x", "--eqtl", "b=y"], "--n b="),
        (["--gwas", "a=x", "--eqtl", "b=y", "--n", "b=many"], "NAME=NUMBER"),
        (["--gwas", "a=x", "--gwas", "b=y", "--n", "c=5"], "Names of tables"),
        (["--gwas", "a=x", "--gwas", "b=y", "--region", "3:5"], "start-end"),
        (["--gwas", "a=x", "--gwas", "b=y", "--priors", "1,b,3"], "three numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(extra: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["coloc-tables", "--out", str(tmp_path / "out"), *extra])
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
