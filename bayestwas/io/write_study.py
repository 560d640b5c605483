"""Write a simulated study as the files a user would bring, with the truth beside them.

The folder holds study.toml (simulated = true), blocks.bed, and per ancestry a GWAS-SSF table, PLINK 1
genotypes of the LD reference and of the donors, expression BED files and covariates; truth.tsv,
truth.effects.tsv, truth.weights.tsv and direct.tsv hold the answer; a design with annotations adds
annotations.tsv.gz, gene_annotations.tsv and, with their log enrichment, truth.annotations.tsv. The same
blocks give the same bytes.
"""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd
from scipy import special

from bayestwas.data.simulate import BUILD, Design, SimulatedBlock
from bayestwas.errors import InputError, OutputError

META = "META"  # ancestry of a GWAS over all of them

README = """Simulated study '{name}': no person, no measurement and no trait in this folder is real.
{recipe}
Genotypes: msprime, out-of-Africa model of Gutenkunst et al. 2009. The rest: bayestwas.data.simulate.
Answers: truth.tsv (causal genes), truth.effects.tsv (effects of expression on the trait, cis-heritability),
truth.weights.tsv (effects of genotypes on expression), direct.tsv (variants with effects of their own).
{annotated}Covariates are drawn at random and have no effect.
"""


def write_study(
    blocks: Iterable[SimulatedBlock], out: Path | str, *, recipe: str = "", overwrite: bool = False
) -> Path:
    """Write the blocks of one design as a study folder `out`; returns the path of its study.toml.

    Blocks are taken one at a time, so memory is that of one block. `recipe` (how the blocks were made) goes
    to README.txt. The folder appears whole or not at all. Raises OutputError where `out` exists, unless
    `overwrite`, which replaces simulated studies only; InputError for no blocks.
    """
    out = Path(out)
    check_study_folder(out, overwrite)
    part = out.parent / f".{out.name}.{os.getpid()}.part"
    part.mkdir(parents=True)
    try:
        _write(blocks, part, recipe)
        if out.exists():
            old = out.parent / f".{out.name}.{os.getpid()}.old"
            out.rename(old)
            part.rename(out)
            shutil.rmtree(old)
        else:
            part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return out / "study.toml"


def check_study_folder(out: Path, overwrite: bool) -> None:
    """Raise OutputError where `write_study` could not use `out`."""
    if not out.exists():
        return
    if not overwrite:
        raise OutputError(
            f"{out} exists",
            "A simulated study is written to a new folder",
            "Choose another, or give --overwrite",
        )
    try:
        simulated = tomllib.loads((out / "study.toml").read_text()).get("simulated", False)
    except (OSError, tomllib.TOMLDecodeError):
        simulated = False
    if not simulated:
        raise OutputError(
            f"{out} exists and does not hold a simulated study",
            "--overwrite replaces simulated studies only",
            "Choose another folder, or remove this one yourself",
        )


def _write(blocks: Iterable[SimulatedBlock], folder: Path, recipe: str) -> None:
    stream = iter(blocks)
    first = next(stream, None)
    if first is None:
        raise InputError("No blocks to write", "A study has at least one block", "Simulate one or more")
    design = first.design
    tables: dict[str, list[pd.DataFrame]] = {}
    for block in itertools.chain([first], stream):
        for ancestry in design.gwas:
            _append_genotypes(
                folder, f"ld.{ancestry}", block, block.reference[ancestry], _people(block, ancestry)
            )
        for ancestry in _with_donors(design):
            dosage = block.donors[ancestry]
            _append_genotypes(folder, f"donors.{ancestry}", block, dosage, _donors(ancestry, dosage.shape[1]))
        for name, table in _block_tables(block).items():
            tables.setdefault(name, []).append(table)
    for name, parts in tables.items():
        _write_table(folder / name, pd.concat(parts, ignore_index=True), header=name != "blocks.bed")
    rng = np.random.default_rng(0)
    for ancestry in _with_donors(design):
        _write_table(
            folder / f"covariates.{ancestry}.tsv", _covariates(rng, ancestry, design.n_donors(ancestry))
        )
    (folder / "study.toml").write_text(_study_toml(design, recipe))
    truth = _annotation_truth(design)
    if len(truth):
        _write_table(folder / "truth.annotations.tsv", truth)
    told = "truth.annotations.tsv (by how much annotations raise the log weight of an effect).\n"
    (folder / "README.txt").write_text(
        README.format(name=design.name, recipe=recipe, annotated=told if len(truth) else "")
    )


def _with_donors(design: Design) -> list[str]:
    return [a for a in design.ancestries if design.n_donors(a)]


def _donors(ancestry: str, count: int) -> list[str]:
    return [f"{ancestry}_donor{i + 1:04d}" for i in range(count)]


def _people(block: SimulatedBlock, ancestry: str) -> list[str]:
    return [f"{ancestry}_person{i + 1:04d}" for i in range(block.reference[ancestry].shape[1])]


def _study_toml(design: Design, recipe: str) -> str:
    lines = [
        f"# Simulated. {recipe}".rstrip(),
        f'name = "simulated-{design.name}"',
        f'build = "{BUILD}"',
        "simulated = true",
        "",
        "[blocks]",
        'path = "blocks.bed"',
    ]
    for ancestry in [META] if design.meta_analysis else design.gwas:
        lines += ["", "[[gwas]]", f'ancestry = "{ancestry}"', f'path = "gwas.{ancestry}.tsv.gz"']
    if design.meta_analysis:
        panels = ", ".join(f'{ancestry} = "ld.{ancestry}"' for ancestry in design.gwas)
        lines += ["", "[[ld]]", f'ancestry = "{META}"', f"panels = {{ {panels} }}"]
    for ancestry in () if design.meta_analysis else design.gwas:
        lines += ["", "[[ld]]", f'ancestry = "{ancestry}"', f'genotypes = "ld.{ancestry}"']
        if design.n_ref is None:
            lines += ["in_sample = true"]
    for context, panel in design.donors.items():
        for ancestry in panel:
            lines += [
                "",
                "[[expression]]",
                f'context = "{context}"',
                f'ancestry = "{ancestry}"',
                f'genotypes = "donors.{ancestry}"',
                f'phenotypes = "expression.{context}.{ancestry}.bed.gz"',
                f'covariates = "covariates.{ancestry}.tsv"',
            ]
    if design.annotations or design.gene_annotations:
        lines += ["", "[annotations]"]
    if design.annotations:
        lines += ['variants = ["annotations.tsv.gz"]']
    if design.gene_annotations:
        lines += ['genes = "gene_annotations.tsv"']
    return "\n".join(lines) + "\n"


def _annotation_truth(design: Design) -> pd.DataFrame:
    given = {"variants": design.annotations, "genes": design.gene_annotations}
    rows = [(name, of, share, log) for of, entries in given.items() for name, share, log in entries]
    return pd.DataFrame(rows, columns=["annotation", "of", "share", "log_enrichment"])


def _append_genotypes(
    folder: Path, prefix: str, block: SimulatedBlock, dosage: np.ndarray, people: list[str]
) -> None:
    """Append the variants of a block to PLINK 1 files: .bed is SNP-major, so blocks follow one another."""
    part = folder / f"{prefix}.block.bed"
    variants = block.variants
    bed_reader.to_bed(
        part,
        np.ascontiguousarray(dosage.T),
        properties={
            "fid": people,
            "iid": people,
            "chromosome": variants["chromosome"].tolist(),
            "sid": variants["source_id"].tolist(),
            "bp_position": variants["position"].tolist(),
            "allele_1": variants["effect_allele"].tolist(),
            "allele_2": variants["other_allele"].tolist(),
        },
        num_threads=1,
    )
    bed = folder / f"{prefix}.bed"
    with bed.open("ab") as whole:
        whole.write(part.read_bytes()[3 if bed.stat().st_size else 0 :])  # three bytes say what it is
    with (folder / f"{prefix}.bim").open("ab") as whole:
        whole.write(part.with_suffix(".bim").read_bytes())
    part.with_suffix(".fam").replace(folder / f"{prefix}.fam")
    part.with_suffix(".bim").unlink()
    part.unlink()


def _block_tables(block: SimulatedBlock) -> dict[str, pd.DataFrame]:
    """Every table to which a block adds rows, by file name."""
    tables = {
        "blocks.bed": pd.DataFrame([[block.chromosome, block.start, block.end, block.name]]),
        "truth.tsv": block.genes[["gene", "block", "causal", "causal_context"]],
        "truth.effects.tsv": _effects(block),
        "truth.weights.tsv": _weights(block),
        "direct.tsv": block.direct.assign(block=block.name)[["variant", "block", "ancestry", "theta"]],
    }
    if block.annotations is not None:
        place = block.variants[["chromosome", "position", "effect_allele", "other_allele"]]
        tables["annotations.tsv.gz"] = pd.concat([place, block.annotations], axis=1)
    if block.gene_annotations is not None:
        tables["gene_annotations.tsv"] = block.gene_annotations.reset_index()
    if block.design.meta_analysis:
        tables[f"gwas.{META}.tsv.gz"] = _meta_analysis(block)
    for ancestry in () if block.design.meta_analysis else block.z:
        tables[f"gwas.{ancestry}.tsv.gz"] = _gwas(
            block,
            block.z[ancestry],
            np.full(len(block.variants), block.n[ancestry]),
            block.frequency[ancestry],
        )
    for (context, ancestry), expression in block.expression.items():
        tss = block.genes["tss"]
        place = pd.DataFrame(
            {"#chr": block.chromosome, "start": tss - 1, "end": tss, "gene_id": block.genes["gene"]}
        )
        values = expression.reset_index(drop=True)
        tables[f"expression.{context}.{ancestry}.bed.gz"] = pd.concat([place, values], axis=1)
    return tables


def _meta_analysis(block: SimulatedBlock) -> pd.DataFrame:
    """One GWAS of all ancestries: effects per allele weighted by the inverse of their variance, n over the
    ancestries that have the variant, frequencies over all people."""
    z = np.array(list(block.z.values()))
    people = np.array(list(block.n.values()))[:, None]
    frequency = np.array([block.frequency[ancestry] for ancestry in block.z])
    held = np.isfinite(z)
    information = np.where(held, people * 2 * frequency * (1 - frequency), 0.0)
    total = information.sum(axis=0)
    together = (np.sqrt(information) * np.where(held, z, 0.0)).sum(axis=0)
    mean = np.divide(together, np.sqrt(total), out=np.full(len(total), np.nan), where=total > 0)
    n, everyone = (held * people).sum(axis=0), (people * frequency).sum(axis=0) / people.sum()
    return _gwas(block, mean, n, everyone)


def _gwas(block: SimulatedBlock, z: np.ndarray, n: np.ndarray, frequency: np.ndarray) -> pd.DataFrame:
    """GWAS-SSF rows, per allele: beta = z s with s = 1 / sqrt(2f(1-f)(n + z^2)) for a trait of variance 1;
    for a case-control trait, log odds ratios with s = 1 / sqrt(2f(1-f) n v(1-v)), v the share of cases."""
    kept = np.isfinite(z)
    z, n, frequency = z[kept], n[kept], frequency[kept]
    share = block.design.case_share
    informative = n + z**2 if block.design.prevalence is None else n * share * (1 - share)
    error = 1 / np.sqrt(2 * frequency * (1 - frequency) * informative)
    variants = block.variants[kept]
    return pd.DataFrame(
        {
            "chromosome": variants["chromosome"].to_numpy(),
            "base_pair_location": variants["position"].to_numpy(),
            "effect_allele": variants["effect_allele"].to_numpy(),
            "other_allele": variants["other_allele"].to_numpy(),
            "beta": z * error,
            "standard_error": error,
            "effect_allele_frequency": frequency,
            "p_value": 2 * special.ndtr(-np.abs(z)),
            "variant_id": variants["source_id"].to_numpy(),
            "n": n.astype(int),
        }
    )


def _effects(block: SimulatedBlock) -> pd.DataFrame:
    design = block.design
    index = pd.MultiIndex.from_product(
        [block.genes["gene"], design.contexts, design.ancestries], names=["gene", "context", "ancestry"]
    )
    table = pd.DataFrame({"effect": block.effect.ravel(), "cis_h2": block.cis_h2.ravel()}, index=index)
    return table.reset_index()


def _weights(block: SimulatedBlock) -> pd.DataFrame:
    design = block.design
    gene, context, ancestry, variant = np.nonzero(block.weights)
    return pd.DataFrame(
        {
            "gene": block.genes["gene"].to_numpy()[gene],
            "context": np.array(design.contexts)[context],
            "ancestry": np.array(design.ancestries)[ancestry],
            "variant": block.variants.index.to_numpy()[variant],
            "weight": block.weights[gene, context, ancestry, variant],
        }
    )


def _covariates(rng: np.random.Generator, ancestry: str, count: int) -> pd.DataFrame:
    values = np.vstack([rng.integers(0, 2, count), rng.integers(20, 80, count)])
    table = pd.DataFrame(values, columns=_donors(ancestry, count))
    table.insert(0, "id", ["sex", "age"])
    return table


def _write_table(path: Path, table: pd.DataFrame, header: bool = True) -> None:
    text = table.to_csv(
        sep="\t", index=False, header=header, float_format="%.8g", lineterminator="\n"
    ).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
