"""eQTL summary statistics: eQTL Catalogue, GTEx, tensorQTL and FastQTL tables, as text or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from bayestwas.data.studies import EqtlPanel
from bayestwas.data.variants import COLUMNS, block_number, chromosome_labels, parse_variant_ids
from bayestwas.data.weights import PER_GENOTYPE_SD, WEIGHT_COLUMNS, FinishedWeights
from bayestwas.errors import InputError
from bayestwas.io.eqtl_layouts import FASTQTL, EqtlLayout, find_eqtl_layout
from bayestwas.io.parquet import is_parquet
from bayestwas.io.pieces import PIECE, NotNumbersError, Wanted, header, pieces
from bayestwas.io.tables import MISSING, open_text, require_file

UNUSED = "no row of it in the table can be used inside the blocks"
_SAME_TSS = 3.0  # base pairs: indels are placed by one end or the other


def read_eqtl(
    path: str | Path,
    context: str,
    ancestry: str,
    n: float,
    *,
    covariates: int = 0,
    blocks: pd.DataFrame | None = None,
    name: str | None = None,
) -> EqtlPanel:
    """Read eQTL summary statistics as correlations of genotype and expression, r = t / sqrt(t^2 + df).

    `n`: people; `covariates`: how many were regressed out, which leaves df = n - covariates - 2. t is the
    effect over its standard error, or, where there is none, comes from the p-value and the sign of the
    effect. Effects are of the allele alt. `blocks`: DataFrame with chromosome, start, end (0-based,
    half-open, apart); variants elsewhere are passed over. The TSS of a gene is the position less its distance
    where the file has one, else the middle of its variants. Raises `InputError`.
    """
    path = require_file(Path(path), "eQTL summary statistics")
    df = float(n) - covariates - 2
    if not df > 0:
        raise InputError(
            f"{path}: n = {n:g} and {covariates} covariates",
            "There are more people than covariates",
            "Correct n and covariates under [[eqtl]]",
        )
    layout, parts, spans, lost = None, [], [], 0
    seen: dict[str, str] = {}  # gene -> chromosome, '' while none of its rows could be read
    for layout, piece in _pieces(path):
        table, unread = _rows(path, layout, piece, df)
        lost += unread
        seen |= {str(gene): "" for gene in piece[layout.gene].dropna().unique() if str(gene) not in seen}
        first = table.groupby("gene")["chromosome"].first()
        seen |= {str(gene): str(label) for gene, label in first.items()}
        spans.append(table.groupby("gene")[["position", "tss"]].agg(["min", "max"]))
        if blocks is not None and len(table):
            held = block_number(blocks, table["chromosome"].to_numpy(), table["position"].to_numpy()) >= 0
            table = table[held]
        parts.append(table)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if layout is None or table.empty:
        raise InputError(
            f"{path} has no usable row inside the blocks of the study ({lost} could not be read)",
            "A table of eQTL summary statistics holds variants of the blocks, at positions of their build",
            "Likely another build, or identifiers without position and alleles: give chr_pos_ref_alt",
        )
    # the same association under several rs numbers
    table = table.drop_duplicates(
        ["gene", "chromosome", "position", "effect_allele", "other_allele", "weight"]
    )
    label = name or path.name
    notes = []
    if lost:
        notes.append(f"{label}: {lost} rows without estimate, or without position and alleles, are left out")
    if layout.selected:
        notes.append(f"{label}: holds significant pairs only, which makes effects look larger than they are")
    genes = _genes(table, spans, seen)
    table = table[[*WEIGHT_COLUMNS, "frequency"]].reset_index(drop=True)
    weights = FinishedWeights(label, table, PER_GENOTYPE_SD, genes, notes=tuple(notes))
    return EqtlPanel(context, ancestry, weights, float(n) - covariates)


def _genes(table: pd.DataFrame, spans: list[pd.DataFrame], seen: dict[str, str]) -> pd.DataFrame:
    """Chromosome and TSS of every gene that was `seen`, with a reason where no row of it is left in `table`;
    of one without a row that could be read, a TSS of 0."""
    ends = pd.concat(spans)
    low, high = ends.groupby(level=0).min(), ends.groupby(level=0).max()
    tss = (low["tss"]["min"] + high["tss"]["max"]) / 2
    agreed = (high["tss"]["max"] - low["tss"]["min"]) <= _SAME_TSS
    middle = (low["position"]["min"] + high["position"]["max"]) // 2
    place = tss.where(agreed, middle).astype(np.int64)
    held = pd.unique(table["gene"])
    names = pd.Index([*held, *(gene for gene in seen if gene not in set(held))], name="gene")
    told = {"chromosome": pd.Series(seen).reindex(names), "tss": place.reindex(names, fill_value=0)}
    out = pd.DataFrame(told)
    return out.assign(reason=np.where(names.isin(held), "", UNUSED)) if len(held) < len(names) else out


# ---- rows ------------------------------------------------------------------------------------------------


def _pieces(path: Path) -> Iterator[tuple[EqtlLayout, pd.DataFrame]]:
    columns = header(path)
    if not is_parquet(path) and _is_fastqtl(columns):
        names = list(FASTQTL[: len(columns)])
        layout = find_eqtl_layout(path, names)
        with open_text(path) as handle:
            reader = pd.read_csv(
                handle, sep=r"\s+", header=None, names=names, na_values=list(MISSING), chunksize=PIECE,
                dtype={"gene_id": str, "variant_id": str},
            )  # fmt: skip
            for piece in reader:
                yield layout, piece
        return
    layout = find_eqtl_layout(path, columns)
    spelled = {name.lower(): name for name in columns}
    numeric = [layout.beta, layout.standard_error, layout.p_value, *layout.distance, *layout.places[1:2]]
    numeric += [name for name in (layout.frequency, *layout.counts) if name]
    texts = [layout.gene, layout.variant, *layout.places[:1], *layout.places[2:]]
    held = [spelled[name] for name in (*texts, *numeric) if name in spelled]
    place = {key: spelled[name] for key, name in zip(("chromosome", "position"), layout.places, strict=False)}
    wanted = Wanted(tuple(held), tuple(spelled[t] for t in texts if t in spelled), (), place)
    try:
        for piece in pieces(path, wanted):
            yield layout, piece.rename(columns=str.lower)
    except NotNumbersError as error:
        raise InputError(
            f"{path}: a column of numbers holds text ({str(error)[:120]})",
            f"{', '.join(name for name in numeric if name in spelled)} are numbers, NA where missing",
            "Correct these rows",
        ) from error


def _is_fastqtl(first: list[str]) -> bool:
    """Whether a first line is data: gene, variant, distance, p-value, slope and, perhaps, its error."""
    if len(first) not in (5, 6):
        return False
    try:
        [float(value) for value in first[2:]]
    except ValueError:
        return False
    return True


def _rows(path: Path, layout: EqtlLayout, piece: pd.DataFrame, df: float) -> tuple[pd.DataFrame, int]:
    """One piece as gene, place, alleles, weight and tss (NaN where not told); and how many rows were lost."""
    if layout.places:
        chromosome, position, ref, alt = (piece[name] for name in layout.places)
        variants = pd.DataFrame(
            {
                "chromosome": chromosome_labels(chromosome),
                "position": position,
                "effect_allele": alt.astype(object).str.upper(),
                "other_allele": ref.astype(object).str.upper(),
            }
        )
    else:
        variants = parse_variant_ids(piece[layout.variant].to_numpy())
    out = pd.DataFrame({name: np.asarray(variants[name]) for name in COLUMNS if name in variants})
    out["position"] = pd.to_numeric(out["position"], errors="coerce").astype(float)
    out["gene"] = piece[layout.gene].to_numpy(dtype=object)
    t = _t(path, layout, piece, df)
    out["weight"] = t / np.sqrt(t**2 + df)
    known = next((name for name in layout.distance if name in piece.columns), None)
    out["tss"] = np.nan if known is None else out["position"] - piece[known].to_numpy(dtype=float)
    out["frequency"] = _frequency(layout, piece)
    alleles = out[["effect_allele", "other_allele"]].notna().all(axis=1)
    whole = (out["position"] > 0) & (out["position"] % 1 == 0)
    good = whole & np.isfinite(out["weight"]) & alleles & out["gene"].notna()
    good &= out["effect_allele"] != out["other_allele"]
    lost = int((~good).sum())
    out = out[good].astype({"position": np.int64})
    text = out["chromosome"].astype(str) + ":" + out["position"].astype(str)
    out["variant_id"] = text + ":" + out["other_allele"] + ":" + out["effect_allele"]
    return out, lost


def _t(path: Path, layout: EqtlLayout, piece: pd.DataFrame, df: float) -> np.ndarray:
    """t statistics, NaN where there is no estimate."""
    beta = piece[layout.beta].to_numpy(dtype=float)
    if layout.standard_error in piece.columns:
        error = piece[layout.standard_error].to_numpy(dtype=float)
        bad, what, value = error <= 0, layout.standard_error, error
    else:
        p = piece[layout.p_value].to_numpy(dtype=float)
        bad, what, value = (p <= 0) | (p > 1), layout.p_value, p
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path} row {int(piece.index[row]) + 1}: {what} is {value[row]:g}",
            "Standard errors are above zero, and p-values between 0 and 1",
            "Correct these rows, or leave the value missing",
        )
    if layout.standard_error in piece.columns:
        return np.asarray(beta / error)
    return np.asarray(np.sign(beta) * stats.t.isf(p / 2, df))


def _frequency(layout: EqtlLayout, piece: pd.DataFrame) -> np.ndarray:
    """Frequency of alt, by which the strand of palindromic variants is known; NaN where not told."""
    if layout.frequency in piece.columns:
        out = piece[layout.frequency].to_numpy(dtype=float)
    elif layout.counts and set(layout.counts) <= set(piece.columns):
        counts = piece[list(layout.counts)].to_numpy(dtype=float)
        high = counts.max(axis=1)
        out = np.divide(counts.min(axis=1), high, out=np.full(len(piece), np.nan), where=high > 0)
    else:
        return np.full(len(piece), np.nan)
    return np.where((out > 0) & (out < 1), out, np.nan)
