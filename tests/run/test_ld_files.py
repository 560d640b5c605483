"""A study whose LD lies in files per region gives the results of the same LD as genotypes. Simulated."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import bed_reader
import numpy as np
import pytest
import rdata
from scipy import sparse

from bayestwas.errors import StudyFileError
from bayestwas.fit.panels import gwas_arrays
from bayestwas.harmonise.align import harmonise
from bayestwas.io.plink import read_bim
from bayestwas.run.check import check
from bayestwas.run.study import read_study


def _write(folder: Path, layout: str, edges: list[tuple[str, int, int]]) -> str:
    """The LD of the simulated EUR panel in one file per region; the value of `matrix`."""
    prefix = folder / "ld.EUR"
    variants = read_bim(folder / "ld.EUR.bim")
    dosage = bed_reader.open_bed(f"{prefix}.bed", num_threads=1).read(dtype="float64", num_threads=1)
    dosage = np.where(np.isnan(dosage), np.nanmean(dosage, axis=0), dosage)
    for chromosome, start, end in edges:
        inside = (variants["chromosome"].astype(str) == chromosome) & variants["position"].between(start, end)
        at = np.flatnonzero(inside)
        with np.errstate(invalid="ignore"):
            r = np.corrcoef(dosage[:, at].T)  # NaN throughout for variants that do not vary
        table = variants.iloc[at]
        stem = folder / f"chr{chromosome}_{start}_{end}"
        if layout == "polyfun":
            sparse.save_npz(f"{stem}.npz", sparse.csr_matrix(np.tril(r, -1) + np.diag(r.diagonal() / 2)))
            names = ["rsid", "chromosome", "position", "allele1", "allele2"]
            columns = ["variant_id", "chromosome", "position", "effect_allele", "other_allele"]
            table[columns].set_axis(names, axis=1).to_csv(f"{stem}.gz", sep="\t", index=False)
        else:
            rdata.write_rds(f"{stem}.RDS", np.asfortranarray(r))
            names = ["chrom", "id", "pos", "alt", "ref"]
            columns = ["chromosome", "variant_id", "position", "effect_allele", "other_allele"]
            table[columns].set_axis(names, axis=1).to_csv(f"{stem}.Rvar", sep="\t", index=False)
    return "chr*.npz" if layout == "polyfun" else "chr*.RDS"


@pytest.fixture
def study(tiny_study: Path, tmp_path: Path) -> tuple[Path, list[tuple[str, int, int]]]:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.parent, folder)
    blocks = harmonise(read_study(folder / "study.toml")).blocks
    edges = [(str(c), int(s) + 1, int(e)) for c, s, e in blocks[["chromosome", "start", "end"]].to_numpy()]
    return folder / "study.toml", edges


def _with_matrix(study: Path, matrix: str, people: int) -> Path:
    text = study.read_text()
    head, _, tail = text.partition("[[ld]]")
    entry, _, rest = tail.partition("\n\n")
    assert 'ancestry = "EUR"' in entry
    assert "genotypes" in entry
    lines = [line for line in entry.splitlines() if not line.startswith(("genotypes", "in_sample"))]
    entry = "\n".join([*lines, f'matrix = "{matrix}"', f"n = {people}"])
    out = study.with_name("files.toml")
    out.write_text(f"{head}[[ld]]{entry}\n\n{rest}")
    return out


@pytest.mark.parametrize("layout", ["polyfun", "ctwas"])
def test_the_ld_operators_and_the_results_are_those_of_the_genotypes(
    study: tuple[Path, list[tuple[str, int, int]]], layout: str, tmp_path: Path
) -> None:
    path, edges = study
    genotypes = harmonise(read_study(path))
    people = len(read_study(path).ld["EUR"].samples)  # type: ignore[union-attr]
    files = read_study(_with_matrix(path, _write(path.parent, layout, edges), people))
    matrices = harmonise(files)
    assert sum(file.suffix in (".npz", ".RDS") for file in files.files) == len(edges)
    assert matrices.variants.index.equals(genotypes.variants.index)
    for block in genotypes.blocks["block"]:
        ancestries, z, _, ours = gwas_arrays(matrices.locus(block))
        _, expected, _, theirs = gwas_arrays(genotypes.locus(block))
        np.testing.assert_array_equal(z, expected)
        at = ancestries.index("EUR")
        index = np.arange(z.shape[1])
        # both are correlations of the same dosages in double precision
        np.testing.assert_allclose(ours[at].gram(index), theirs[at].gram(index), rtol=0, atol=1e-12)
        assert ours[at].n_ref == theirs[at].n_ref


def test_the_task_of_a_block_travels_without_its_matrix(
    study: tuple[Path, list[tuple[str, int, int]]],
) -> None:
    path, edges = study
    h = harmonise(read_study(_with_matrix(path, _write(path.parent, "polyfun", edges), 500)))
    block = str(h.blocks["block"].iloc[0])
    sent = pickle.dumps(h.reader(block))
    p = h.locus(block).sizes["variant"]
    (path.parent / f"chr{edges[-1][0]}_{edges[-1][1]}_{edges[-1][2]}.npz").unlink()  # of another block
    got = pickle.loads(sent)()["ld/EUR"].dataset["correlation"].values
    assert got.shape == (p, p)


def test_a_block_over_a_seam_is_told(study: tuple[Path, list[tuple[str, int, int]]]) -> None:
    path, edges = study
    chromosome, start, end = edges[0]
    middle = (start + end) // 2
    split = [(chromosome, start, middle), (chromosome, middle + 1, end), *edges[1:]]
    toml = _with_matrix(path, _write(path.parent, "polyfun", split), 500)
    notes = [note for note in check(toml).notes if "count as 0" in note]
    assert len(notes) == 1
    assert notes[0].startswith(f"chr*.npz: 1 of {len(edges)} blocks lie in several LD files")


def test_wildcards_that_match_nothing(study: tuple[Path, list[tuple[str, int, int]]]) -> None:
    with pytest.raises(StudyFileError, match=r"there is no file .*none\*\.npz"):
        read_study(_with_matrix(study[0], "none*.npz", 500))
