"""Genotypes written in every format that is read, from one table and one array of dosages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bed_reader
import numpy as np
import pandas as pd

PEOPLE = tuple(f"P{i}" for i in range(12))
People = Sequence[str]
HEADER = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")


def variants(count: int) -> pd.DataFrame:
    """`count` variants on two chromosomes."""
    return pd.DataFrame(
        {
            "chromosome": ["20" if j < count // 2 else "21" for j in range(count)],
            "position": 1000 * (1 + np.arange(count)),
            "variant_id": [f"rs{j}" for j in range(count)],
            "effect_allele": ["A", "AT"] * (count // 2),
            "other_allele": ["G", "A"] * (count // 2),
        }
    )


def write_bed(folder: Path, table: pd.DataFrame, dosage: np.ndarray, people: People = PEOPLE) -> Path:
    properties = {
        "fid": list(people),
        "iid": list(people),
        "chromosome": table["chromosome"],
        "sid": table["variant_id"],
        "bp_position": table["position"],
        "allele_1": table["effect_allele"],
        "allele_2": table["other_allele"],
    }
    path = folder / "x.bed"
    values = np.where(dosage < 0, -127, dosage).astype(np.int8)
    bed_reader.to_bed(path, values.T, properties=properties, num_threads=1)
    return path


def write_pgen(
    folder: Path,
    table: pd.DataFrame,
    dosage: np.ndarray,
    info: list[str] | None = None,
    people: People = PEOPLE,
) -> Path:
    import pgenlib

    path = folder / "x.pgen"
    imputed = dosage.dtype.kind == "f"
    with pgenlib.PgenWriter(
        str(path).encode(), len(people), variant_ct=len(table), nonref_flags=False, dosage_present=imputed
    ) as file:
        for row in dosage:
            values = np.where(row < 0, -9, row)
            if imputed:
                file.append_dosages(values.astype(np.float32))
            else:
                file.append_biallelic(values.astype(np.int8))
    head = "##source=test\n#CHROM\tPOS\tID\tREF\tALT" + ("\tINFO" if info else "") + "\n"
    columns = ["chromosome", "position", "variant_id", "other_allele", "effect_allele"]
    rows = ["\t".join(map(str, row)) for row in table[columns].to_numpy()]
    rows = [f"{row}\t{text}" for row, text in zip(rows, info, strict=True)] if info else rows
    (folder / "x.pvar").write_text(head + "\n".join(rows) + "\n")
    (folder / "x.psam").write_text("#IID\tSEX\n" + "".join(f"{one}\tNA\n" for one in people))
    return path


def write_vcf(
    folder: Path,
    table: pd.DataFrame,
    dosage: np.ndarray,
    info: list[str] | None = None,
    people: People = PEOPLE,
) -> Path:
    """Plain text: DS where dosages are floats, else GT."""
    imputed = dosage.dtype.kind == "f"
    field = '##FORMAT=<ID=DS,Number=A,Type=Float,Description="d">'
    field = field if imputed else '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">'
    quality = '##INFO=<ID=R2,Number=1,Type=Float,Description="q">'
    contigs = "".join(f"##contig=<ID={label}>\n" for label in dict.fromkeys(table["chromosome"]))
    text = f"##fileformat=VCFv4.2\n{contigs}{field}\n{quality}\n"
    text += "\t".join((*HEADER, *people)) + "\n"
    calls = {-1: "./.", 0: "0|0", 1: "1|0", 2: "1|1"}
    for number, (row, values) in enumerate(zip(table.itertuples(), dosage, strict=True)):
        shown = [("." if v < 0 else f"{v:.6f}") if imputed else calls[int(v)] for v in values]
        site = (row.chromosome, row.position, row.variant_id, row.other_allele, row.effect_allele)
        text += "\t".join(
            map(str, (*site, ".", ".", info[number] if info else ".", "DS" if imputed else "GT"))
        )
        text += "\t" + "\t".join(shown) + "\n"
    path = folder / "x.vcf"
    path.write_text(text)
    return path


def write_indexed(
    folder: Path,
    table: pd.DataFrame,
    dosage: np.ndarray,
    info: list[str] | None = None,
    people: People = PEOPLE,
) -> Path:
    """The same, bgzipped, with a tabix index."""
    import pysam

    plain = write_vcf(folder, table, dosage, info, people)
    pysam.tabix_index(str(plain), preset="vcf", force=True)
    return folder / "x.vcf.gz"


def write_bgen(
    folder: Path, table: pd.DataFrame, dosage: np.ndarray, index: bool = True, people: People = PEOPLE
) -> Path:
    """With probabilities of the two genotypes next to each dosage."""
    from bgen import BgenWriter

    path = folder / "x.bgen"
    with BgenWriter(str(path), len(people), samples=list(people)) as file:
        for row, values in zip(table.itertuples(), dosage.astype(float), strict=True):
            low = np.minimum(np.floor(np.maximum(values, 0)), 1).astype(int)
            part = values - low
            probability = np.zeros((len(values), 3))
            probability[np.arange(len(values)), low] = 1 - part
            probability[np.arange(len(values)), low + 1] = part
            probability[values < 0] = np.nan
            file.add_variant(
                row.variant_id, row.variant_id, row.chromosome, row.position,
                [row.other_allele, row.effect_allele], probability, bit_depth=16,
            )  # fmt: skip
    if not index:
        Path(f"{path}.bgi").unlink()
    return path
