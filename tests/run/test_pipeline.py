"""A study from files to files: what is written, that it does not depend on workers, and what failures do."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.results import open_results
from bayestwas.errors import InputError, OutputError
from bayestwas.fit import study as fit_study_module
from bayestwas.run import pipeline
from bayestwas.run.pipeline import RunSummary, run_study

# The contract with the user; the last column of every table says whether the data are simulated.
COLUMNS = {
    "genes.tsv": "gene symbol block chromosome tss pip pip_mcse bayesian_fdr best_context modality effect "
    "effect_sd sign_probability "
    "twas_z twas_p twas_bonferroni twas_bh twas_q conditional_z conditional_z_lead permutation_p n_signals"
    " heterogeneity_p h4 grcp direct_variant direct_pip direction agreement n_variants"
    " pip_fixed_priors pip_plugin pip_weights pip_ld "
    "pip_without_finite_ld pip_without_mismatch pip_without_background pip_one_effect "
    "credible_set status reason explanation "
    "data",
    "contexts.tsv": "gene context modality pip h4 grcp cis_h2 cis_h2_sd data",
    "effects.tsv": "gene context ancestry effect effect_sd sign_probability expression_excess data",
    "variants.tsv": "variant block position effect_allele other_allele pip_direct ancestry z data",
    "blocks.tsv": "block variants genes n_ref mismatch background converged iterations seconds status reason "
    "reliability suspects reliability_reason data",
    "suspects.tsv": "variant block ancestry z predicted t reason data",
    "priors.tsv": "stage parameter of unit mean sd low high prior_sd prior_low prior_high informed"
    " source statement data",
    "notes.tsv": "note data",
    "harmonisation.tsv": "file variant source_id action reason data",
}
FIGURES = ("genes.png", "triangulation.png", "priors.png", "locus-block001.png", "locus-block002.png")


def table(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / name, sep="\t", keep_default_na=False, na_values={"pip": [""]})


def test_every_output_is_there(tiny_run: RunSummary) -> None:
    written = sorted(path.name for path in tiny_run.out.iterdir())
    assert written == sorted([*COLUMNS, *FIGURES, "results.zarr"])
    for name, columns in COLUMNS.items():
        rows = table(tiny_run.out, name)
        assert rows.columns.tolist() == columns.split(), name
        assert set(rows["data"]) <= {"simulated"}, name  # a good study has no suspects
        assert len(rows) or name == "suspects.tsv"
    for name in FIGURES:
        assert (tiny_run.out / name).read_bytes().startswith(b"\x89PNG")


def test_tables_hold_every_gene_context_and_variant(tiny_run: RunSummary) -> None:
    genes = table(tiny_run.out, "genes.tsv")
    assert pd.to_numeric(genes["grcp"]).between(0, 1).all()
    assert genes["gene"].tolist() == [f"block00{b}_gene0{g}" for b in (1, 2) for g in (1, 2, 3, 4)]
    assert genes["status"].isin(("ok", "warning")).all()
    assert genes["pip"].between(0, 1).all()
    assert len(table(tiny_run.out, "contexts.tsv")) == 8 * 2
    assert len(table(tiny_run.out, "effects.tsv")) == 8 * 2 * 2
    blocks = table(tiny_run.out, "blocks.tsv")
    assert blocks["n_ref"].tolist() == ["EUR=200,AFR=200"] * 2
    assert len(table(tiny_run.out, "variants.tsv")) == 2 * blocks["variants"].sum()


def test_summary_has_the_top_genes(tiny_run: RunSummary) -> None:
    assert (tiny_run.failed_blocks, tiny_run.failed_genes) == (0, 0)
    top = tiny_run.top
    assert top.columns.tolist() == list(pipeline.TOP_COLUMNS)
    assert (top["pip"].diff().dropna() <= 0).all()
    assert all(
        sentence.startswith(gene) for gene, sentence in zip(top["gene"], top["explanation"], strict=True)
    )


def test_simulated_truth_is_found(tiny_run: RunSummary, tiny_study: Path) -> None:
    truth = pd.read_csv(tiny_study.parent / "truth.tsv", sep="\t").set_index("gene")["causal"]
    pip = table(tiny_run.out, "genes.tsv").set_index("gene")["pip"]
    assert truth.sum() == 2
    # one causal gene has 150 donors to itself and 0.2% of the trait, the other competes with its neighbours
    assert truth[pip.idxmax()]
    assert pip[truth].sum() > 1.2
    assert pip[~truth].max() < 0.8


def test_provenance(tiny_run: RunSummary, tiny_study: Path) -> None:
    stored = open_results(tiny_run.out / "results.zarr")
    attrs = stored.attrs
    assert (attrs["study"], attrs["build"], attrs["seed"], attrs["simulated"]) == (
        "simulated-tiny",
        "GRCh38",
        1,
        True,
    )
    assert {"bayestwas", "numpy", "python"} <= set(json.loads(attrs["versions"]))
    assert json.loads(attrs["settings"])["feedback"] is True
    files = json.loads(attrs["files"])
    assert {Path(name).name for name in files} >= {
        "study.toml",
        "gwas.EUR.tsv.gz",
        "ld.AFR.bed",
        "blocks.bed",
    }
    assert all(len(digest) == 64 for digest in files.values())
    assert attrs["priors_source"] == "documented defaults"  # two blocks are too few to learn from
    assert json.loads(attrs["priors"])["gene"] > 0
    assert json.loads(attrs["weight_priors"])
    assert (stored["marginals"]["explanation"].values != "").all()


def test_priors_that_were_not_learned_are_told_as_defaults(tiny_run: RunSummary) -> None:
    told = table(tiny_run.out, "priors.tsv")
    priors = told[told["source"] != "sum of PIPs"]
    assert set(priors["stage"]) == {"genes and variants", "expression"}
    assert set(priors["source"]) == {"default"}
    assert priors["statement"].str.contains("a run of 2 blocks, and learning needs 5").all()


def test_same_seed_gives_the_same_result_whatever_the_workers(
    tiny_run: RunSummary, tiny_study: Path, tmp_path: Path
) -> None:
    again = run_study(tiny_study, tmp_path / "again", workers=1, progress=False)
    for name in COLUMNS:
        one, two = (
            table(run.out, name).drop(columns="seconds", errors="ignore") for run in (tiny_run, again)
        )
        pd.testing.assert_frame_equal(one, two, check_exact=True, obj=name)
    for group in tiny_run.result.children:
        one, two = (
            run.result[group].to_dataset().drop_vars("seconds", errors="ignore") for run in (tiny_run, again)
        )
        xr.testing.assert_identical(one, two)
    other = run_study(tiny_study, tmp_path / "other", seed=2, workers=1, progress=False)
    assert not np.array_equal(
        other.result["weights"]["weight"].values, tiny_run.result["weights"]["weight"].values
    )


def test_every_requested_gene_has_a_row(tiny_study: Path, tiny_run: RunSummary, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_study.parent, tmp_path / "study")
    blocks = (folder / "blocks.bed").read_text().splitlines()
    (folder / "blocks.bed").write_text(blocks[0] + "\n")  # the genes of the second block lie in none
    genes = ("block002_gene01", "block001_gene02", "ENSG404")
    summary = run_study(folder / "study.toml", tmp_path / "out", workers=1, genes=genes, progress=False)
    rows = table(summary.out, "genes.tsv").set_index("gene")
    assert rows.index.tolist() == [
        *(f"block001_gene0{g}" for g in (1, 2, 3, 4)),
        "block002_gene01",
        "ENSG404",
    ]
    assert summary.unknown_genes == ("ENSG404",)
    assert rows.loc["ENSG404", ["block", "chromosome", "status", "reason"]].tolist() == [
        "",
        "",
        "skipped",
        "in no phenotype file",
    ]
    lost = rows.loc["block002_gene01"]
    assert (lost["block"], lost["status"]) == ("", "skipped")
    assert "lies in no block" in lost["reason"]
    assert table(summary.out, "blocks.tsv")["block"].tolist() == ["block001"]
    assert (summary.failed_blocks, summary.failed_genes) == (0, 0)
    full = table(tiny_run.out, "genes.tsv").set_index("gene")
    fitted = [gene for gene in rows.index if gene.startswith("block001")]
    for column in ("pip", "status"):  # its competitors stay in the block
        assert rows.loc[fitted, column].tolist() == full.loc[fitted, column].tolist()


def test_a_block_without_a_gene_to_fit_is_skipped(tiny_study: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_study.parent, tmp_path / "study")
    wide = (folder / "blocks.bed").read_text() + "2\t0\t1000\tempty\n"
    (folder / "blocks.bed").write_text(wide)
    for path in folder.glob("expression.*.bed.gz"):
        rows = pd.read_csv(path, sep="\t")
        genes = rows["gene_id"].str.startswith("block002")
        rows.loc[genes, rows.columns[4:]] = 1.5
        rows.to_csv(path, sep="\t", index=False)
    summary = run_study(folder / "study.toml", tmp_path / "out", workers=1, progress=False)
    blocks = table(summary.out, "blocks.tsv")
    assert blocks[["block", "status"]].to_numpy().tolist() == [["block001", "ok"], ["block002", "skipped"]]
    rows = table(summary.out, "genes.tsv")
    assert rows["status"].tolist()[4:] == ["skipped"] * 4
    assert rows["reason"].str.contains("zero-variance").tolist() == [False] * 4 + [True] * 4
    assert summary.failed_genes == 0


def test_a_block_without_usable_variants_of_a_gwas_says_so(tiny_study: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_study.parent, tmp_path / "study")
    path = folder / "gwas.AFR.tsv.gz"
    rows = pd.read_csv(path, sep="\t")
    rows[rows["base_pair_location"] < 6_000_000].to_csv(path, sep="\t", index=False)  # the first block
    summary = run_study(folder / "study.toml", tmp_path / "out", workers=1, progress=False)
    blocks = table(summary.out, "blocks.tsv")
    assert blocks["status"].tolist()[1] == "warning"
    assert blocks["reason"].tolist() == ["", "no usable variant of the GWAS in AFR"]


@pytest.fixture
def failing_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit of the weights of block001 raises."""
    fit = fit_study_module.fit_weights

    def broken(locus: xr.DataTree, **options: Any) -> xr.DataTree:
        if locus.attrs["block"] == "block001":
            raise FloatingPointError("no such number")
        return fit(locus, **options)

    monkeypatch.setattr(fit_study_module, "fit_weights", broken)


@pytest.mark.usefixtures("failing_block")
def test_a_failed_block_does_not_stop_the_run(
    tiny_study: Path, tmp_path: Path, tiny_run: RunSummary, command: Any
) -> None:
    out = tmp_path / "out"
    done = command("run", tiny_study, "--out", out, "-j", 1, "--quiet")
    assert done.exit_code == 1
    assert "Failed: 1 blocks, 4 genes" in done.stderr
    blocks = table(out, "blocks.tsv").set_index("block")
    assert blocks["status"].to_dict() == {"block001": "failed", "block002": "ok"}
    assert blocks.loc["block001", "reason"].startswith("FloatingPointError in ")
    assert "no such number" in blocks.loc["block001", "reason"]
    genes, before = table(out, "genes.tsv"), table(tiny_run.out, "genes.tsv")
    assert genes["status"].tolist()[:4] == ["failed"] * 4
    assert genes["pip"].isna().tolist() == [True] * 4 + [False] * 4
    assert genes["pip"].tolist()[4:] == before["pip"].tolist()[4:]
    variants = table(out, "variants.tsv")
    assert (variants.loc[variants["block"] == "block001", "z"] != "").any()  # what was read is still shown
    assert (out / "locus-block001.png").exists()


def test_a_block_that_cannot_be_read_fails_alone(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bayestwas.harmonise.locus import LocusReader

    read = LocusReader.__call__

    def broken(self: LocusReader) -> xr.DataTree:
        if self.block == "block002":
            raise InputError("ld.EUR.bed was cut short meanwhile", "Files stay as they are", "Restore it")
        return read(self)

    monkeypatch.setattr(LocusReader, "__call__", broken)
    summary = run_study(tiny_study, tmp_path / "out", workers=1, progress=False)
    blocks = table(summary.out, "blocks.tsv").set_index("block")
    assert blocks["status"].to_dict() == {"block001": "ok", "block002": "failed"}
    assert blocks.loc["block002", "reason"] == (
        "ld.EUR.bed was cut short meanwhile. Files stay as they are. Restore it."
    )
    assert (summary.failed_blocks, summary.failed_genes) == (1, 4)


def test_the_cut_posterior(tiny_study: Path, tmp_path: Path) -> None:
    genes = ("block002_gene03", "block002_gene04")
    cut = run_study(tiny_study, tmp_path / "o", workers=1, feedback=False, genes=genes, progress=False)
    assert json.loads(cut.result.attrs["settings"])["feedback"] is False
    assert table(cut.out, "genes.tsv")["pip"].between(0, 1).all()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_runs_leave_nothing(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any, number: int
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(pipeline, "write_report", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    done = command(
        "run", tiny_study, "--out", tmp_path / "new" / "out", "-j", 1, "-q", "-g", "block001_gene04"
    )
    assert done.exit_code == 128 + number
    assert "nothing half-written" in done.stderr
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_the_earlier_result(
    tiny_study: Path, tiny_run: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(tiny_run.out, tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(pipeline, "save_results", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run_study(tiny_study, out, workers=1, overwrite=True, genes=("block001_gene04",), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_progress_is_lines_where_there_is_no_terminal(
    tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(tiny_study, tmp_path / "out", workers=1, genes=("block001_gene04",))
    told = capsys.readouterr()
    assert told.out == ""
    lines = [line.split(":")[0] for line in told.err.splitlines()]
    stages = ["Checking LD", "Expression weights", "Genes and variants", "Figures"]
    assert lines[-len(stages) :] == stages
    # before anything is fitted: what the files share
    assert lines[0] == "Note"
    assert "each file shares" in told.err.splitlines()[0]


# ---- the place of the output ----------------------------------------------------------------------------


def test_an_existing_result_is_replaced_only_when_asked(
    tiny_study: Path, tiny_run: RunSummary, tmp_path: Path
) -> None:
    out = shutil.copytree(tiny_run.out, tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        run_study(tiny_study, out, progress=False)
    run_study(tiny_study, out, workers=1, overwrite=True, genes=("block001_gene04",), progress=False)
    assert table(out, "genes.tsv")["gene"].tolist() == [f"block001_gene0{g}" for g in (1, 2, 3, 4)]
    assert not (out / "locus-block002.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_folders_are_never_replaced(tiny_study: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_study.parent, tmp_path / "study")
    for out in (folder, tmp_path):  # the study itself, and the folder that holds it
        with pytest.raises(OutputError, match="that no run has written"):
            run_study(folder / "study.toml", out, overwrite=True, progress=False)
    file = folder / "study.toml"
    with pytest.raises(OutputError, match="not a folder"):
        run_study(folder / "study.toml", file, overwrite=True, progress=False)
    assert file.read_text() == tiny_study.read_text()


def test_the_place_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "genes.tsv").write_text("")
    with pytest.raises(OutputError):
        run_study(tmp_path / "no-such-study.toml", tmp_path / "out", progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        run_study(tmp_path / "no-such-study.toml", tmp_path / "file" / "out", progress=False)
