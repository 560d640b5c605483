"""GWAS summary statistics in the layouts of the field, read in pieces, checked, and stored as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas.data.reading import READING, Reading, nothing_unused
from bayestwas.data.studies import gwas_dataset
from bayestwas.errors import InputError
from bayestwas.io.gwas_layouts import FEW, SYNONYMS, TEXTS, Found, check_columns, find_layout
from bayestwas.io.gwas_meta import Meta, read_meta
from bayestwas.io.gwas_part import Asked, Part, additive, check_part
from bayestwas.io.gwas_values import Context, check_scale, choose_recipe, needed
from bayestwas.io.gwas_vcf import vcf_header, vcf_pieces
from bayestwas.io.pieces import NotNumbersError, Wanted, header, pieces
from bayestwas.io.tables import atomic, require_file
from bayestwas.io.vcf import is_vcf

MOST_UNUSED = 0.5  # of the rows inside the regions


def read_gwas(
    path: str | Path, n: float | None = None, source: str | None = None, *, asked: Asked | None = None
) -> xr.Dataset:
    """Read GWAS summary statistics into a Dataset over `variant` (see `data.studies.gwas_dataset`).

    Layouts (`io.gwas_layouts.LAYOUTS`) are recognised by their columns, others read by the names of theirs.
    The z-score is a column z; otherwise effect / standard error; otherwise it has the sign of the effect and
    the size of the two-sided p-value. Rows without a number that is needed are left out and listed in
    `attrs["reading"]` (a `data.reading.Reading`). `n` and `source` are short for those of `asked`. Raises
    `InputError` naming file, line and remedy: missing columns, p-values without effects, n absent, values
    that are infinite or out of range.
    """
    asked = asked or Asked(n, source)
    path = require_file(Path(path))
    for as_text in (False, True):  # numbers first; as text where a message has to quote what stands there
        try:
            return _collect(path, asked, *_parts(path, asked, as_text))
        except (NotNumbersError, InputError):
            if as_text:
                raise
    raise AssertionError


def store_gwas(path: str | Path, out: str | Path, *, asked: Asked | None = None) -> Reading:
    """Read and check a GWAS file a piece at a time and store it as Parquet, which `read_gwas` reads by range.

    Memory does not grow with the file. `out` appears whole or not at all. Raises what `read_gwas` raises.
    """
    path, out, asked = require_file(Path(path)), Path(out), asked or Asked()
    for as_text in (False, True):
        try:
            with atomic(out) as temporary:
                return _write(temporary, path, asked, *_parts(path, asked, as_text))
        except (NotNumbersError, InputError):
            if as_text:
                raise
    raise AssertionError


# ---- a file, piece by piece
# ------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    """What is known of a file before its parts are read."""

    found: Found
    meta: Meta
    notes: list[str]


def _parts(path: Path, asked: Asked, as_text: bool) -> tuple[_Opened, Iterator[Part]]:
    """The checked pieces of a file, and what is told about it."""
    vcf = is_vcf(path)
    names, meta = vcf_header(path, asked.sample) if vcf else (header(path), read_meta(path))
    found = find_layout(path, names, asked.columns)
    n = asked.n if asked.n is not None else meta.n
    check_columns(path, names, found, n)
    recipe = choose_recipe(found)
    context = Context(path, found, n, recipe)
    wanted = _wanted(context, asked, as_text)
    stream = vcf_pieces(path, wanted, asked.sample) if vcf else pieces(path, wanted)
    first = next((piece for piece in stream if len(piece)), None)
    if first is None and not (vcf and asked.blocks is not None):
        raise InputError(
            f"{path} holds no variants, only a header",
            "A GWAS file has one row per variant",
            "Write or download the file again",
        )
    notes = [] if first is None else check_scale(context, additive(context, first))
    opened = _Opened(found, meta, [*_told(path, found), *notes, *meta.notes])
    rest = stream if first is None else chain([first], stream)
    return opened, (check_part(context, asked, meta, piece) for piece in rest)


def _wanted(context: Context, asked: Asked, as_text: bool) -> Wanted:
    found, recipe = context.found, context.recipe
    keys = [*("chromosome", "position", *FEW, *TEXTS, "n", "n_cases", "n_controls"), *needed(found, recipe)]
    keys += ["effect_allele_frequency", "beta", "standard_error", "p_value", "neg_log_10_p_value"]
    columns = {key: found.columns[key] for key in keys if key in found.columns}
    texts_ = [columns[key] for key in TEXTS if key in columns]
    if recipe == "p" and "p_value" in needed(found, recipe):
        texts_.append(columns["p_value"])
    few = [columns[key] for key in FEW if key in columns]
    place: dict[str, str] = {key: columns[key] for key in ("chromosome", "position") if key in columns}
    regions = None
    if asked.blocks is not None and asked.lift is None:
        spans = asked.blocks.groupby("chromosome").agg(first=("start", "min"), last=("end", "max"))
        regions = {str(label): (int(a) + 1, int(b)) for label, a, b in spans.itertuples()}
    unique = tuple(dict.fromkeys(columns.values()))
    return Wanted(unique, tuple(texts_), tuple(few), place, regions, as_text)


def _told(path: Path, found: Found) -> list[str]:
    if not found.guessed:
        return []
    shown = [f"{key} = '{found.columns[key]}'" for key in found.guessed if key in SYNONYMS]
    return [
        f"{path.name}: no known layout; columns were taken by their names: {', '.join(shown)}. Where that is "
        "wrong, give columns = { ... } under [[gwas]]"
    ]


# ---- all pieces
# ------------------------------------------------------------------------------------------------


def _collect(path: Path, asked: Asked, opened: _Opened, parts: Iterator[Part]) -> xr.Dataset:
    tables, tally = [], _Tally()
    for part in parts:
        tally.add(part)
        tables.append(part.rows)
    out = pd.concat(tables, ignore_index=True) if tables else _no_rows()
    reading = tally.reading(path, asked, opened, len(out))
    gwas = gwas_dataset(asked.source or path.name, out)
    gwas.attrs[READING] = reading
    return gwas


def _no_rows() -> pd.DataFrame:
    kinds = {"chromosome": object, "position": np.int64, "variant_id": object, "effect_allele": object}
    kinds |= {"other_allele": object, "z": float, "n": float}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


class _Tally:
    """Counts over the pieces of one file."""

    def __init__(self) -> None:
        self.unused: list[pd.DataFrame] = []
        self.outside = 0
        self.furthest: dict[str, int] = {}

    def add(self, part: Part) -> None:
        if len(part.unused):
            self.unused.append(part.unused)
        self.outside += part.outside
        for label, top in part.furthest.items():
            self.furthest[label] = max(top, self.furthest.get(label, 0))

    def reading(self, path: Path, asked: Asked, opened: _Opened, used: int) -> Reading:
        unused = pd.concat(self.unused, ignore_index=True) if self.unused else nothing_unused()
        name, found = asked.source or path.name, opened.found
        notes = list(opened.notes)
        if len(unused):
            reasons = unused["reason"].value_counts()
            told = "; ".join(f"{count:,} {reason}" for reason, count in reasons.items())
            if len(unused) > MOST_UNUSED * (len(unused) + used):
                raise InputError(
                    f"{path}: {len(unused):,} of {len(unused) + used:,} rows cannot be used ({told})",
                    f"More than {1 - MOST_UNUSED:.0%} of the rows of a GWAS file have what is needed",
                    _remedy(found),
                )
            notes.append(f"{name}: {len(unused):,} rows are not used ({told})")
        build = "" if asked.lift is not None else opened.meta.build
        far = {} if asked.lift is not None else self.furthest
        return Reading(
            found.layout, found.columns, found.guessed, build, unused, self.outside, far, tuple(notes)
        )


def _remedy(found: Found) -> str:
    if "chromosome" not in found.columns:
        return (
            "Add columns chromosome and position, or give LD or genotypes whose identifiers are those of the "
            "file"
        )
    return "Check which columns were taken, and give columns = { ... } under [[gwas]]; or fill the rows in"


_STORED = {  # our name -> column of the stored file, those of GWAS-SSF
    "chromosome": "chromosome",
    "position": "base_pair_location",
    "effect_allele": "effect_allele",
    "other_allele": "other_allele",
    "variant_id": "variant_id",
    "z": "z_score",
    "n": "n",
    "effect_allele_frequency": "effect_allele_frequency",
}


def _write(temporary: Path, path: Path, asked: Asked, opened: _Opened, parts: Iterator[Part]) -> Reading:
    import pyarrow
    import pyarrow.parquet

    few = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    kinds = dict.fromkeys(("chromosome", "effect_allele", "other_allele"), few)
    kinds |= {"variant_id": pyarrow.string(), "position": pyarrow.int32()}
    keys = [key for key in _STORED if key != "effect_allele_frequency" or key in opened.found.columns]
    kinds = {key: kinds.get(key, pyarrow.float64()) for key in keys}
    schema: Any = pyarrow.schema([(_STORED[key], kind) for key, kind in kinds.items()])
    tally, used = _Tally(), 0
    with pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd", compression_level=1) as writer:
        for part in parts:
            tally.add(part)
            used += len(part.rows)
            arrays = [pyarrow.array(part.rows[key], from_pandas=True).cast(kinds[key]) for key in keys]
            writer.write_table(pyarrow.table(arrays, schema=schema))
    return tally.reading(path, asked, opened, used)
