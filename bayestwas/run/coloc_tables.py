"""Colocalization from files of summary statistics alone: eQTL and GWAS tables in, tables and a figure out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayestwas.data.studies import EqtlPanel
from bayestwas.data.variants import chromosome_labels
from bayestwas.engine.coloc import COLOC_DEFAULT, ColocPriors
from bayestwas.errors import InputError, SettingsError
from bayestwas.fit.coloc_priors import LEARNED, given_priors
from bayestwas.fit.coloc_summary import SummaryTrait
from bayestwas.fit.coloc_tables import colocalize_tables
from bayestwas.io.eqtl import read_eqtl
from bayestwas.io.gwas import read_gwas
from bayestwas.io.gwas_part import Asked
from bayestwas.report.coloc import coloc_table, top_pairs, write_coloc
from bayestwas.run.coloc import ColocSummary
from bayestwas.run.output import check_out, replacing_folder
from bayestwas.run.progress import watching

REGION = re.compile(r"(?:chr)?([0-9A-Za-z]+):(\d+)-(\d+)")


@dataclass(frozen=True)
class Files:
    """Files by name of the context or trait, and what they do not say, by the same names.

    `n`: people; `covariates`: how many were regressed out of expression; `cases`: share of cases of a
    case-control trait; `region`: chromosome:start-end.
    """

    eqtl: Mapping[str, Path | str] = field(default_factory=dict)
    gwas: Mapping[str, Path | str] = field(default_factory=dict)
    n: Mapping[str, float] = field(default_factory=dict)
    covariates: Mapping[str, int] = field(default_factory=dict)
    cases: Mapping[str, float] = field(default_factory=dict)
    region: str = ""


def colocalize_files(
    files: Files,
    out: Path | str,
    *,
    priors: str | ColocPriors = COLOC_DEFAULT,
    seed: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> ColocSummary:
    """Colocalization of every two of the files, per gene of the eQTL tables; tables go into `out`.

    Effects are put on the scale of a standardised trait, with the allele frequencies of the file or, where it
    has none, of the others; variants without any are left out. Raises `BayestwasError`.
    """
    out = Path(out)
    check_out(out, overwrite)
    _check(files)
    if priors != LEARNED:
        given_priors(priors)
    with watching(progress) as watch, replacing_folder(out) as folder:
        traits, notes = _read(files)
        for note in notes:
            watch.note(note)
        result = colocalize_tables(traits, priors=priors, seed=seed)
        table = coloc_table(result.pairs, result.skipped.assign(status="skipped"), False)
        written = write_coloc(
            folder, table, result.priors, result.sensitivity, False, clusters=result.clusters
        )
    return ColocSummary(
        result, table, out, tuple(out / path.name for path in written), tuple(top_pairs(table)), 0
    )


def _check(files: Files) -> None:
    """What can be said before anything is read."""
    every = [*files.eqtl, *files.gwas]
    if len(every) < 2 or len(set(every)) < len(every):
        raise SettingsError(
            f"tables {', '.join(every) or 'none'}",
            "Colocalization is of two tables or more, every one under a name of its own",
            "Give --eqtl NAME=FILE and --gwas NAME=FILE",
        )
    for option, given in (("n", files.n), ("covariates", files.covariates), ("cases", files.cases)):
        unknown = sorted(set(given) - set(every))
        if unknown:
            raise SettingsError(
                f"--{option} for '{unknown[0]}'",
                f"Names of tables are {', '.join(every)}",
                "Correct the name",
            )
    without = [name for name in files.eqtl if name not in files.n]
    if without:
        raise SettingsError(
            f"eQTL table '{without[0]}' without n",
            "eQTL tables do not say how many people they are of",
            f"Give --n {without[0]}=PEOPLE",
        )
    if not files.eqtl and not files.region:
        raise SettingsError(
            "GWAS tables without a region",
            "One signal per trait is assumed, so that two GWAS are compared at one locus",
            "Give --region chromosome:start-end",
        )


def _region(text: str) -> pd.DataFrame | None:
    if not text:
        return None
    found = REGION.fullmatch(text.replace(",", ""))
    if found is None or int(found[2]) >= int(found[3]):
        raise SettingsError(
            f"region '{text}'", "A region is chromosome:start-end", "Give 2:160100000-160700000, say"
        )
    [chromosome] = chromosome_labels([found[1]])
    return pd.DataFrame({"chromosome": [chromosome], "start": [int(found[2]) - 1], "end": [int(found[3])]})


def _read(files: Files) -> tuple[dict[str, SummaryTrait], list[str]]:
    """The tables on a common scale, and what is told about them."""
    region = _region(files.region)
    tables: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    for name, path in files.eqtl.items():
        panel = read_eqtl(
            path,
            name,
            "any",
            files.n[name],
            covariates=files.covariates.get(name, 0),
            blocks=region,
            name=name,
        )
        notes += panel.weights.notes
        tables[name] = _of_eqtl(panel)
    if region is None:
        region = _spans(tables)
    for name, path in files.gwas.items():
        asked = Asked(n=files.n.get(name), source=name, blocks=region)
        tables[name] = _of_gwas(read_gwas(path, asked=asked))
    frequency = pd.concat([one[["variant", "maf"]].dropna() for one in tables.values()])
    known = frequency.drop_duplicates("variant").set_index("variant")["maf"]
    traits = {}
    for name, table in tables.items():
        table = table.assign(maf=table["maf"].fillna(table["variant"].map(known)))
        usable = table["maf"].notna()
        if not usable.any():
            raise InputError(
                f"{name}: no variant has an allele frequency, here or in the other tables",
                "Effects per allele need the frequency of the allele",
                "Add a column of frequencies to one of the tables",
            )
        if not usable.all():
            notes.append(f"{name}: {int((~usable).sum())} rows without an allele frequency are left out")
        traits[name] = _trait(table[usable], name in files.eqtl, files.cases.get(name))
    return traits, notes


def _trait(table: pd.DataFrame, expression: bool, cases: float | None) -> SummaryTrait:
    """Expression per allele in SD, from correlations; a GWAS by z, n and frequency."""
    if not expression:
        return SummaryTrait(table, cases=cases)
    spread = np.sqrt(2 * table["maf"] * (1 - table["maf"]))
    r, df = table["r"], table["n"] - 2
    scaled = table.assign(beta=r / spread, se=np.sqrt((1 - r**2) / df) / spread)
    return SummaryTrait(scaled, cases=cases, sd=1.0)


def _of_eqtl(panel: EqtlPanel) -> pd.DataFrame:
    """gene, variant, chromosome, position, r, n, maf."""
    table = panel.weights.table
    out = _keyed(table, ["gene"]).assign(r=table["weight"].to_numpy(), gene=table["gene"].to_numpy())
    return _clean(out.assign(n=panel.n, maf=table["frequency"].to_numpy()), ["gene", "variant"])


def _of_gwas(gwas: xr.Dataset) -> pd.DataFrame:
    """variant, chromosome, position, z, n, maf."""
    table = gwas.to_dataframe().reset_index()
    name = "effect_allele_frequency"
    frequency = table[name].to_numpy(dtype=float) if name in table else np.nan
    out = _keyed(table, []).assign(z=table["z"].to_numpy(), n=table["n"].to_numpy(), maf=frequency)
    return _clean(out, ["variant"])


def _keyed(table: pd.DataFrame, more: list[str]) -> pd.DataFrame:
    """Variants by a key that does not depend on which allele is the effect allele."""
    one, two = (table[name].astype(str).to_numpy() for name in ("effect_allele", "other_allele"))
    first, second = np.where(one < two, one, two), np.where(one < two, two, one)
    place = [table["chromosome"].astype(str).to_numpy(), table["position"].astype(str).to_numpy()]
    key = [":".join(parts) for parts in zip(*place, first, second, strict=True)]
    return table[["chromosome", "position", *more]].reset_index(drop=True).assign(variant=key)


def _clean(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A frequency between 0 and 1 or none; a variant that a file has twice, with alleles exchanged, once."""
    inside = table["maf"].where((table["maf"] > 0) & (table["maf"] < 1))
    return table.assign(maf=inside).drop_duplicates(keys).reset_index(drop=True)


def _spans(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The stretches that the eQTL tables cover, apart from one another."""
    places = pd.concat([one[["chromosome", "position"]] for one in tables.values()])
    ends = places.groupby("chromosome", sort=False)["position"].agg(["min", "max"]).reset_index()
    return pd.DataFrame({"chromosome": ends["chromosome"], "start": ends["min"] - 1, "end": ends["max"]})
