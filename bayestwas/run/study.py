"""The study file: one TOML file that names everything a run reads. Paths are relative to the file."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bayestwas import names
from bayestwas.data.annotations import Annotations
from bayestwas.data.mixtures import MOST_PANELS, stacked
from bayestwas.data.preparation import AS_GIVEN, AUTOMATIC, NORMALISATIONS, preparation
from bayestwas.data.studies import (
    DEFAULT_CIS_WINDOW,
    DEFAULT_MIN_INFO,
    Genotypes,
    LDMatrix,
    Panel,
    Study,
    check_label,
)
from bayestwas.errors import InputError, StudyFileError, nearest
from bayestwas.io.annotations import annotation_files, read_gene_annotations, read_variant_annotations
from bayestwas.io.blocks import read_blocks
from bayestwas.io.expression import read_covariates, read_expression
from bayestwas.io.fasta import open_genome
from bayestwas.io.genotypes import genotype_ending, genotype_files, open_genotypes
from bayestwas.io.ld_files import find_ld_files, read_ld
from bayestwas.io.tables import open_text
from bayestwas.run.gwas_files import gwas_of_study
from bayestwas.run.study_genes import gene_models_of, modalities_of, model_placed, named_genes
from bayestwas.run.study_weights import (
    EQTL_KEYS,
    MODALITY_KEY,
    WEIGHT_KEYS,
    Key,
    check_weights,
    model_references,
    placed,
    read_eqtl_panels,
    read_weight_panels,
    windows,
)

GENOTYPES = "PLINK prefix, .bed, .pgen, .vcf.gz, .vcf, .bcf or .bgen file"
_TEXT, _NUMBER = (str,), (int, float)
KEYS: dict[str, dict[str, Key]] = {
    "": {
        "name": Key(_TEXT, True, "name of the study"),
        "build": Key(_TEXT, True, "genome build of every file, such as GRCh37"),
        "simulated": Key((bool,), False, "true where the data are simulated"),
        "genes": Key(
            _TEXT,
            False,
            "file of genes, one per line: only the blocks that hold one are fitted; left out: all",
        ),
        "genome": Key(_TEXT, False, "FASTA of the reference: insertions and deletions are left-aligned"),
        "gene_models": Key(_TEXT, False, "GTF or GFF3: symbols, and the TSS of genes"),
        "blocks": Key((dict,), False, "table [blocks]; left out: blocks are made from the gene windows"),
        "settings": Key((dict,), False, "table [settings]"),
        "annotations": Key((dict,), False, "table [annotations]: functional annotations"),
        "gwas": Key((list,), True, "tables [[gwas]], one per ancestry"),
        "ld": Key((list,), False, "tables [[ld]], one per ancestry with a GWAS"),
        "expression": Key((list,), False, "tables [[expression]], one per context and ancestry"),
        "eqtl": Key((list,), False, "tables [[eqtl]], eQTL summary statistics, per context and ancestry"),
        "weights": Key((list,), False, "tables [[weights]], finished weights, one per context and ancestry"),
    },
    "blocks": {"path": Key(_TEXT, True, "BED file of blocks")},
    "settings": {
        "cis_window": Key((int,), False, f"base pairs on either side of a TSS; default {DEFAULT_CIS_WINDOW}"),
        "min_info": Key(
            _NUMBER,
            False,
            f"imputed variants of lower INFO are left out; default {DEFAULT_MIN_INFO}; 0: none",
        ),
    },
    "annotations": {
        "variants": Key(
            (list,), False, "BED intervals, .annot files or tables with a row per variant; @: the chromosome"
        ),
        "genes": Key(_TEXT, False, "table of genes and their features"),
    },
    "gwas": {
        "ancestry": Key(_TEXT, True, "ancestry of the GWAS"),
        "path": Key(_TEXT, True, "summary statistics"),
        "n": Key(_NUMBER, False, "sample size, where the file has no such column"),
        "columns": Key((dict,), False, 'which column holds what, such as { effect_allele = "A1" }'),
        "build": Key(_TEXT, False, "build of this file, where it is not that of the study; needs chain"),
        "chain": Key(_TEXT, False, "chain file from the build of this file to that of the study"),
        "sample": Key(_TEXT, False, "the trait of a GWAS-VCF that holds several"),
    },
    "ld": {
        "ancestry": Key(_TEXT, True, "ancestry of the reference"),
        "genotypes": Key(_TEXT, False, GENOTYPES),
        "panels": Key(
            (dict,), False, "genotypes of several populations by name, for a GWAS of a mixture of them"
        ),
        "admixed": Key(
            (bool,),
            False,
            "true where the people have ancestors in several of the panels; left out: a meta-analysis",
        ),
        "matrix": Key(
            _TEXT,
            False,
            "correlations: .npz, .npy, .RDS or .ld, with the table of variants beside it; * for many files",
        ),
        "n": Key(_NUMBER, False, "people behind the matrix"),
        "in_sample": Key(
            (bool,), False, "true where the LD is that of the GWAS sample itself, so that it is exact"
        ),
    },
    "expression": {
        "context": Key(_TEXT, True, "tissue, cell type or condition"),
        "ancestry": Key(_TEXT, True, "ancestry of the donors"),
        "genotypes": Key(_TEXT, True, GENOTYPES),
        "phenotypes": Key(_TEXT, True, "FastQTL/tensorQTL BED"),
        "covariates": Key(_TEXT, False, "covariates, FastQTL layout"),
        "overlap": Key(
            _NUMBER, False, "donors who are in the GWAS of their ancestry too; left out: not known"
        ),
        "normalise": Key(_TEXT, False, f"{', '.join(NORMALISATIONS)}; default {AS_GIVEN}"),
        "hidden_factors": Key((int, str), False, f"factors to project out, or '{AUTOMATIC}'; default 0"),
        "modality": MODALITY_KEY,
        "swap_check": Key(
            (bool,), False, "true: donors are compared with the genotypes of others; default false"
        ),
    },
    "weights": WEIGHT_KEYS,
    "eqtl": EQTL_KEYS,
}
_PREPARED: dict[str, Any] = {"normalise": AS_GIVEN, "hidden_factors": 0, "swap_check": False}
_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "tables",
}


@dataclass(frozen=True)
class _Place:
    """Where in a study file a value stands, for messages."""

    file: Path
    table: str

    def say(self, rest: str) -> str:
        return f"{self.file}: {self.table} {rest}" if self.table else f"{self.file} {rest}"


def read_study(path: str | Path) -> Study:
    """Read a study file and every file it names; genotypes are opened and read later, a block at a time.

    Raises `StudyFileError` for the study file itself (unknown or missing keys, values of the wrong kind,
    files that do not exist, a GWAS without LD) and `InputError` for what is wrong inside the files it names.
    """
    path = Path(path)
    tree = _parse(path)
    _check_lists(path, tree)
    folder = path.parent
    files = _files(path, tree)
    labels = _labels(folder, [group[0] for group in files.values()])
    blocks = _blocks(folder, tree)
    models = gene_models_of(folder, tree)
    cis_window = int(tree.get("settings", {}).get("cis_window", DEFAULT_CIS_WINDOW))
    expression = [
        read_expression(folder / e["phenotypes"], labels[folder / e["phenotypes"]], models)
        for e in tree["expression"]
    ]
    weights = read_weight_panels(folder, tree["weights"], labels)
    eqtl = read_eqtl_panels(folder, tree["eqtl"], labels, blocks)
    weights = tuple(model_placed(panel, models) for panel in weights)
    eqtl = tuple(model_placed(panel, models) for panel in eqtl)
    inside = windows(blocks, expression, (*weights, *eqtl), cis_window)
    opened: dict[Path, Genotypes] = {}

    def genotypes(name: str) -> Genotypes:
        path = folder / name
        file = genotype_files(path)[0]
        if file not in opened:
            opened[file] = open_genotypes(path, labels[file].removesuffix(genotype_ending(path)), inside)
        return opened[file]

    panels = []
    for entry, measured in zip(tree["expression"], expression, strict=True):
        covariates = folder / entry["covariates"] if "covariates" in entry else None
        panels.append(
            Panel(
                entry["context"],
                entry["ancestry"],
                genotypes(entry["genotypes"]),
                measured,
                None if covariates is None else read_covariates(covariates, labels[covariates]),
                preparation(*(entry.get(key, value) for key, value in _PREPARED.items())),
            )
        )
    ld: dict[str, Genotypes | LDMatrix] = {}
    for number, entry in enumerate(tree["ld"], start=1):
        if "matrix" in entry:
            key = f"[[ld]] number {number} matrix {entry['matrix']}"
            label = _relative(folder, folder / entry["matrix"])
            matrices = files[key]
            name = labels[matrices[0]] if len(matrices) == 1 else label
            ld[entry["ancestry"]], files[key] = read_ld(matrices, entry.get("n", math.inf), name, inside)
        elif "panels" in entry:
            panels_of = {label: genotypes(name) for label, name in entry["panels"].items()}
            name = f"mixture {entry['ancestry']}"
            ld[entry["ancestry"]] = stacked(name, panels_of, entry.get("admixed", False))
        else:
            ld[entry["ancestry"]] = genotypes(entry["genotypes"])
    gwas = gwas_of_study(path, tree, labels, inside, ld, panels)
    weights = tuple(placed(panel, gwas[panel.ancestry]) for panel in weights)
    gene_level = not tree["ld"]
    if gene_level:
        ld = dict(model_references(weights, tree["weights"]))
    return Study(
        name=tree["name"],
        build=tree["build"],
        blocks=blocks,
        gwas=gwas,
        ld=ld,
        panels=tuple(panels),
        files=(path, *dict.fromkeys(file for group in files.values() for file in group)),
        overlap=_overlaps(path, tree, panels),
        genes=_genes(path, tree),
        cis_window=cis_window,
        simulated=bool(tree.get("simulated", False)),
        n_ref={entry["ancestry"]: math.inf for entry in tree["ld"] if entry.get("in_sample")},
        annotations=_annotations(folder, tree.get("annotations", {})),
        weights=weights,
        eqtl=eqtl,
        gene_level=gene_level,
        **named_genes(models, expression, (*weights, *eqtl)),
        modalities=modalities_of(path, tree),
        genome=open_genome(folder / tree["genome"]) if "genome" in tree else None,
        min_info=float(tree.get("settings", {}).get("min_info", DEFAULT_MIN_INFO)),
    )


def file_hashes(study: Study) -> dict[str, dict[str, str | int]]:
    """sha256 and size in bytes of every file of a study, by path. Reads the files whole."""
    out: dict[str, dict[str, str | int]] = {}
    for path in study.files:
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        out[str(path)] = {"sha256": digest, "bytes": path.stat().st_size}
    return out


# ---- the file as TOML
# -------------------------------------------------------------------------------------------


def _parse(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise StudyFileError(
            f"study file {path} does not exist", "A study is described by a TOML file", "Correct the path"
        ) from None
    except IsADirectoryError:
        raise StudyFileError(
            f"{path} is a folder", "A study is described by a TOML file", "Name the file in it"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyFileError(
            f"{path} is not a TOML file ({error})",
            "A study file is TOML: key = value, text in quotes, [[gwas]] before each GWAS",
            "Correct the place that is named",
        ) from None
    _check_keys(_Place(path, ""), tree, KEYS[""])
    _check_annotations(_Place(path, "[annotations]"), tree.get("annotations", {}))
    for table in ("blocks", "settings", "annotations"):
        if table in tree:
            _check_keys(_Place(path, f"[{table}]"), tree[table], KEYS[table])
    for table in ("gwas", "ld", "expression", "eqtl", "weights"):
        for number, entry in enumerate(tree.setdefault(table, []), start=1):
            place = _Place(path, f"[[{table}]] number {number}")
            if not isinstance(entry, dict):
                raise StudyFileError(
                    place.say(f"is {entry!r}"),
                    f"[[{table}]] holds tables",
                    f"Write [[{table}]] and its keys below",
                )
            _check_keys(place, entry, KEYS[table])
    return tree


def _check_keys(place: _Place, table: dict[str, Any], keys: dict[str, Key]) -> None:
    for name, value in table.items():
        if name not in keys:
            raise StudyFileError(
                place.say(f"has the unknown key '{name}'"),
                "Every key of a study file is known",
                nearest(name, keys),
            )
        kinds = keys[name].kinds
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise StudyFileError(
                place.say(f"{name} = {value!r}"),
                f"{name} is {_KINDS[kinds[-1]]}: {keys[name].meaning}",
                f"Give {name} as {_KINDS[kinds[-1]]}"
                + (f": write [[{name}]] before its keys" if kinds == (list,) else "")
                + (f', in quotes: {name} = "..."' if kinds == (str,) else ""),
            )
    for name, key in keys.items():
        if key.required and not table.get(name):
            raise StudyFileError(
                place.say(f"lacks {name}"),
                f"{name} is required: {key.meaning}",
                f"Add [[{name}]]" if key.kinds == (list,) else f"Add {name} = ...",
            )


def _check_annotations(place: _Place, table: Any) -> None:
    """`variants` is a list of files, each named once; other keys are checked as in the other tables."""
    given = table.get("variants", []) if isinstance(table, dict) else []
    if not isinstance(given, list) or not all(isinstance(name, str) and name for name in given):
        raise StudyFileError(
            place.say(f"variants = {given!r}"),
            f"variants is a list of names: {KEYS['annotations']['variants'].meaning}",
            'Write variants = ["coding.bed", "baseline.annot.parquet"], for example',
        )
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise StudyFileError(
            place.say(f"names {repeated[0]} more than once"), "A file is named once", "Remove the copies"
        )


def _check_lists(path: Path, tree: dict[str, Any]) -> None:
    """Rules that concern several entries: no pair twice, LD for every GWAS, one kind of LD per reference."""
    for table, keys in (
        ("gwas", ("ancestry",)),
        ("ld", ("ancestry",)),
        ("expression", ("context", "ancestry")),
        ("eqtl", ("context", "ancestry")),
        ("weights", ("context", "ancestry")),
    ):
        seen: dict[tuple[str, ...], int] = {}
        for number, entry in enumerate(tree[table], start=1):
            label = tuple(entry[key] for key in keys)
            if label in seen:
                raise StudyFileError(
                    f"{path}: [[{table}]] numbers {seen[label]} and {number} are both {' '.join(label)}",
                    f"There is one [[{table}]] per {' and '.join(keys)}",
                    "Remove one, or give it its own name",
                )
            seen[label] = number
    check_weights(path, tree)
    references = {entry["ancestry"] for entry in (tree["ld"] or tree["weights"])}
    for number, entry in enumerate(tree["gwas"], start=1):
        if entry["ancestry"] not in references:
            raise StudyFileError(
                f"{path}: [[gwas]] number {number} is of {entry['ancestry']}; there is LD for "
                f"{', '.join(sorted(references))}",
                "Every ancestry with a GWAS has an LD reference",
                f'Add [[ld]] with ancestry = "{entry["ancestry"]}" and genotypes or a matrix',
            )
    for number, entry in enumerate(tree["ld"], start=1):
        place = _Place(path, f"[[ld]] number {number} ({entry['ancestry']})")
        given = [key for key in ("genotypes", "panels", "matrix") if key in entry]
        if len(given) != 1:
            raise StudyFileError(
                place.say(f"has {' and '.join(given) or 'no genotypes, no panels and no matrix'}"),
                "An LD reference is genotypes, panels of genotypes or a matrix (.npz, .npy, .RDS, .ld)",
                "Give one of the three",
            )
        _check_panels(place, entry)
        if "matrix" in entry and "n" not in entry and not entry.get("in_sample"):
            raise StudyFileError(
                place.say("has a matrix and no n"),
                "The noise of an LD matrix depends on how many people it was computed from",
                "Add n = <people behind the matrix>, or in_sample = true where they are those of the GWAS",
            )
        if "n" in entry and not entry["n"] > 1:
            raise StudyFileError(
                place.say(f"has n = {entry['n']}"),
                "n is the number of people behind the matrix, two or more",
                "Correct n",
            )
        if "matrix" not in entry and "n" in entry:
            raise StudyFileError(
                place.say(f"has {given[0]} and n"),
                "n goes with a matrix; genotypes count their people themselves",
                "Remove n",
            )


def _check_panels(place: _Place, entry: dict[str, Any]) -> None:
    """`panels` names two files or more; `admixed` goes with them, `in_sample` does not."""
    panels = entry.get("panels", {})
    wrong = [label for label, name in panels.items() if not (isinstance(name, str) and name)]
    if wrong or ("panels" in entry and not 2 <= len(panels) <= MOST_PANELS):
        raise StudyFileError(
            place.say(f"panels = {panels!r}"),
            f"panels names the genotypes of two to {MOST_PANELS} populations: each a {GENOTYPES}",
            'Write panels = { EUR = "eur.bed", AFR = "afr.bed" }, for example',
        )
    if "admixed" in entry and "panels" not in entry:
        raise StudyFileError(
            place.say("has admixed and no panels"),
            "admixed says how the panels of a mixture go together",
            "Remove admixed, or give panels",
        )
    if "panels" in entry and entry.get("in_sample"):
        raise StudyFileError(
            place.say("has panels and in_sample"),
            "LD of a mixture of panels is never that of the people of the GWAS",
            "Remove in_sample",
        )
    for label in panels:
        try:
            check_label("panel", label)
        except InputError as error:
            raise StudyFileError(place.say(error.given), error.rule, error.remedy) from None
    if len(set(panels.values())) < len(panels):
        raise StudyFileError(
            place.say(f"panels = {panels!r}"),
            "The panels of a mixture are different files: shares of the same people cannot be told apart",
            "Name each file once, or give it as genotypes",
        )


# ---- the files it names
# -----------------------------------------------------------------------------------------


def _files(path: Path, tree: dict[str, Any]) -> dict[str, tuple[Path, ...]]:
    """The files behind every key that names one. Raises `StudyFileError` for the first that does not
    exist."""
    folder = path.parent
    named: list[tuple[str, str, str]] = []  # table, key, value
    if "genes" in tree:
        named.append(("", "genes", tree["genes"]))
    named += [("", key, tree[key]) for key in ("gene_models", "genome") if key in tree]
    if "blocks" in tree:
        named.append(("[blocks]", "path", tree["blocks"]["path"]))
    for table, keys in (
        ("gwas", ("path", "chain")),
        ("ld", ("genotypes", "matrix")),
        ("expression", ("genotypes", "phenotypes", "covariates")),
        ("eqtl", ("path",)),
        ("weights", ("path", "covariances")),
    ):
        for number, entry in enumerate(tree[table], start=1):
            named += [(f"[[{table}]] number {number}", key, entry[key]) for key in keys if key in entry]
            panels = entry.get("panels", {}).values()
            named += [(f"[[{table}]] number {number}", "genotypes", name) for name in panels]
    for name in tree.get("annotations", {}).get("variants", []):
        named.append(("[annotations]", "variants", name))
    if "genes" in tree.get("annotations", {}):
        named.append(("[annotations]", "genes", tree["annotations"]["genes"]))
    files: dict[str, tuple[Path, ...]] = {}
    for table, key, value in named:
        group = _behind(folder / value, key)
        for file in group:
            if not file.is_file():
                missing = f"{file} is a folder" if file.is_dir() else f"there is no file {file}"
                raise StudyFileError(
                    _Place(path, table).say(f"{key} = '{value}': {missing}"),
                    "Paths in a study file are relative to its folder" + _PREFIXES.get(key, ""),
                    f"Correct {key}, or put the file there",
                )
        files[f"{table} {key} {value}"] = group
    return files


_PREFIXES = {
    "genotypes": f"; genotypes is a {GENOTYPES}",
    "variants": "; @ stands for the chromosome, where there is one file of each",
}


def _behind(path: Path, key: str) -> tuple[Path, ...]:
    """The files that one name stands for; a name that stands for none is given back as it is."""
    if key == "genotypes":
        return genotype_files(path)
    if key == "matrix":
        return find_ld_files(path) or (path,)
    return (tuple(annotation_files(path).values()) if key == "variants" else ()) or (path,)


def _labels(folder: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """What each file is called in tables: its name where that is unique, else its path from the study
    file."""
    unique = list(dict.fromkeys(paths))
    count = pd.Series([path.name for path in unique]).value_counts()
    return {path: path.name if count[path.name] == 1 else _relative(folder, path) for path in unique}


def _relative(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _blocks(folder: Path, tree: dict[str, Any]) -> pd.DataFrame | None:
    return read_blocks(folder / tree["blocks"]["path"]) if "blocks" in tree else None


def _annotations(folder: Path, table: dict[str, Any]) -> Annotations:
    genes = table.get("genes")
    return Annotations(
        tuple(read_variant_annotations(folder / name, name) for name in table.get("variants", [])),
        None if genes is None else read_gene_annotations(folder / genes, genes),
    )


def _overlaps(path: Path, tree: dict[str, Any], panels: Sequence[Panel]) -> dict[tuple[str, str], float]:
    out = {}
    for number, (entry, panel) in enumerate(zip(tree["expression"], panels, strict=True), start=1):
        shared, donors = entry.get("overlap"), panel.expression.sizes[names.DONOR]
        if shared is not None and not (0 <= shared <= donors and shared == int(shared)):
            raise StudyFileError(
                f"{path}: [[expression]] number {number} has overlap = {shared}, and {donors} donors",
                "overlap is how many donors (not which share) are in the GWAS of their ancestry as well",
                "Give a whole number from 0 to all donors, or leave it out where it is not known",
            )
        if shared is not None:
            out[entry["context"], entry["ancestry"]] = float(shared)
    return out


def _genes(path: Path, tree: dict[str, Any]) -> tuple[str, ...] | None:
    """The requested genes, each once, in the order of the file; blank lines and comments (#) are skipped."""
    if "genes" not in tree:
        return None
    with open_text(path.parent / tree["genes"]) as handle:
        lines = [line.split("#", 1)[0].split() for line in handle]
    genes = tuple(dict.fromkeys(parts[0] for parts in lines if parts))
    if not genes:
        raise StudyFileError(
            f"{path}: genes = '{tree['genes']}' is an empty file",
            "A file of requested genes has one gene per line",
            "Add genes, or leave the key out to request all genes of the phenotype files",
        )
    return genes
