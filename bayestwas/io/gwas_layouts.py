"""The layouts of GWAS files: one row each, which columns they are known by, and which of them says what."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bayestwas.errors import InputError, nearest

# What each column may be called where no layout is recognised, in lower case; the first name is that of
# GWAS-SSF where it has one. Left out on purpose: allele2 (the effect allele for some programs, the other for
# others) and the hm_ columns of harmonised files (mixing them with the plain ones would pair an effect with
# the wrong allele).
SYNONYMS: dict[str, tuple[str, ...]] = {
    "chromosome": ("chromosome", "chr", "chrom", "#chrom", "#chr"),
    "position": ("base_pair_location", "position", "pos", "bp", "base_pair", "genpos"),
    "effect_allele": ("effect_allele", "ea", "a1", "allele1", "alt", "tested_allele"),
    "other_allele": ("other_allele", "oa", "nea", "non_effect_allele", "a2", "allele0", "omitted", "ref"),
    "z": ("z", "z_score", "zscore", "z_stat", "zstat", "z-score"),
    "beta": ("beta", "effect", "b", "effect_size", "log_odds", "log_or"),
    "odds_ratio": ("odds_ratio", "or"),
    "hazard_ratio": ("hazard_ratio", "hr"),
    "standard_error": ("standard_error", "se", "stderr", "std_err", "sebeta", "beta_se"),
    "ratio_standard_error": ("ratio_standard_error",),
    "p_value": ("p_value", "p", "pval", "pvalue", "p-value", "p_val", "p.value"),
    "neg_log_10_p_value": (
        *("neg_log_10_p_value", "log10p", "mlog10p", "neg_log10_p", "logp", "mlogp", "neglog10p"),
        *("neg_log10_pval", "nlog10p", "-log10(p)", "neg_log_pvalue", "nlp"),
    ),
    "n": ("n", "sample_size", "samplesize", "n_total", "n_samples", "totalsamplesize", "neff", "n_eff"),
    "n_cases": ("n_cases", "ncases", "n_case", "ncase"),
    "n_controls": ("n_controls", "ncontrols", "n_ctrl", "n_control", "ncontrol"),
    "effect_allele_frequency": (
        *("effect_allele_frequency", "eaf", "freq", "freq1", "a1freq", "a1_freq", "alt_freq"),
    ),
    "variant_id": ("variant_id", "rsid", "rs_id", "snp", "snpid", "id", "markername"),
    "test": ("test",),
}
TEXTS = ("variant_id",)  # columns of text; nearly every value differs
FEW = ("chromosome", "effect_allele", "other_allele", "ref", "alt", "test")  # text with few values
RATIOS = ("odds_ratio", "hazard_ratio")
ALLELES = ("effect_allele", "other_allele")


class Layout(NamedTuple):
    """One layout: `known_by`, columns (lower case) that all have to be there; `columns`, our name -> theirs,
    the first that is there."""

    name: str
    known_by: frozenset[str]
    columns: dict[str, tuple[str, ...]]


def _layout(name: str, known_by: str, **columns: str) -> Layout:
    return Layout(name, frozenset(known_by.split()), {key: tuple(v.split()) for key, v in columns.items()})


# The first that fits is taken. Sources: the manuals of the programs named; GWAS-SSF,
# doi:10.1016/j.xgen.2022.100168; GWAS-VCF, doi:10.1186/s13059-020-02248-0.
LAYOUTS = (
    _layout(
        "GWAS-VCF",
        "#chrom pos es se",
        chromosome="#chrom",
        position="pos",
        effect_allele="alt",
        other_allele="ref",
        variant_id="id",
        beta="es",
        standard_error="se",
        neg_log_10_p_value="lp",
        n="ss ns",
        effect_allele_frequency="af",
    ),
    _layout(
        "GWAS Catalog, harmonised (hm_ columns)",
        "hm_chrom hm_pos hm_other_allele hm_effect_allele",
        chromosome="hm_chrom",
        position="hm_pos",
        effect_allele="hm_effect_allele",
        other_allele="hm_other_allele",
        variant_id="hm_rsid hm_variant_id",
        beta="hm_beta",
        odds_ratio="hm_odds_ratio",
        standard_error="standard_error",
        p_value="p_value",
        neg_log_10_p_value="neg_log_10_p_value",
        n="n",
        effect_allele_frequency="hm_effect_allele_frequency",
    ),
    _layout(
        "GWAS-SSF",
        "chromosome base_pair_location effect_allele other_allele",
        chromosome="chromosome",
        position="base_pair_location",
        effect_allele="effect_allele",
        other_allele="other_allele",
        variant_id="variant_id rsid rs_id",
        z="z z_score zscore",
        beta="beta",
        odds_ratio="odds_ratio",
        hazard_ratio="hazard_ratio",
        standard_error="standard_error",
        p_value="p_value",
        neg_log_10_p_value="neg_log_10_p_value",
        n="n sample_size n_total",
        n_cases="n_cases num_cases",
        n_controls="n_controls num_controls",
        effect_allele_frequency="effect_allele_frequency",
    ),
    _layout(
        "PLINK 2 --glm",
        "#chrom pos id ref alt a1 test",
        chromosome="#chrom",
        position="pos",
        effect_allele="a1",
        other_allele="omitted ax",
        ref="ref",
        alt="alt",
        variant_id="id",
        beta="beta",
        odds_ratio="or",
        hazard_ratio="hr",
        standard_error="log(or)_se log(hr)_se se",
        z="z_stat t_stat z_or_f_stat t_or_f_stat",
        p_value="p",
        neg_log_10_p_value="log10_p neg_log10_p",
        n="obs_ct",
        effect_allele_frequency="a1_freq",
        test="test",
    ),
    _layout(
        "REGENIE",
        "chrom genpos id allele0 allele1 beta se log10p",
        chromosome="chrom",
        position="genpos",
        effect_allele="allele1",
        other_allele="allele0",
        variant_id="id",
        beta="beta",
        standard_error="se",
        neg_log_10_p_value="log10p",
        n="n",
        effect_allele_frequency="a1freq",
        test="test",
    ),
    _layout(
        "SAIGE",
        "chr pos allele1 allele2 beta se p.value",
        chromosome="chr",
        position="pos",
        effect_allele="allele2",
        other_allele="allele1",
        variant_id="rsid markerid snpid",
        beta="beta",
        standard_error="se",
        p_value="p.value",
        n="n",
        n_cases="n_case n.cases num_cases",
        n_controls="n_ctrl n.controls num_controls",
        effect_allele_frequency="af_allele2",
    ),
    _layout(
        "BOLT-LMM",
        "snp chr bp genpos allele1 allele0 beta se",
        chromosome="chr",
        position="bp",
        effect_allele="allele1",
        other_allele="allele0",
        variant_id="snp",
        beta="beta",
        standard_error="se",
        n="n",
        effect_allele_frequency="a1freq",
    ),
    _layout(
        "METAL",
        "markername allele1 allele2 p-value direction",
        variant_id="markername",
        effect_allele="allele1",
        other_allele="allele2",
        beta="effect",
        standard_error="stderr",
        z="zscore",
        p_value="p-value",
        n="n totalsamplesize weight",
        effect_allele_frequency="freq1",
        chromosome="chromosome",  # both with TRACKPOSITIONS only
        position="position",
    ),
    _layout(
        "fastGWA",
        "chr snp pos a1 a2 n af1 beta se p",
        chromosome="chr",
        position="pos",
        effect_allele="a1",
        other_allele="a2",
        variant_id="snp",
        beta="beta",
        standard_error="se",
        p_value="p",
        n="n",
        effect_allele_frequency="af1",
    ),
    _layout(
        "FinnGen",
        "#chrom pos ref alt rsids beta sebeta",
        chromosome="#chrom",
        position="pos",
        effect_allele="alt",
        other_allele="ref",
        variant_id="rsids",
        beta="beta",
        standard_error="sebeta",
        neg_log_10_p_value="mlogp",
        p_value="pval",
        n="n",
        effect_allele_frequency="af_alt",
    ),
    _layout(
        "UK Biobank (Neale laboratory)",
        "variant minor_allele n_complete_samples beta se tstat",
        variant_id="variant",
        beta="beta",
        standard_error="se",
        n="n_complete_samples",
    ),
    _layout(
        "GCTA-COJO",
        "snp a1 a2 freq b se p n",
        variant_id="snp",
        effect_allele="a1",
        other_allele="a2",
        effect_allele_frequency="freq",
        beta="b",
        standard_error="se",
        p_value="p",
        n="n",
        chromosome="chr",
        position="bp",
    ),
    _layout(
        "LDSC .sumstats",
        "snp a1 a2 z n",
        variant_id="snp",
        effect_allele="a1",
        other_allele="a2",
        z="z",
        n="n",
        effect_allele_frequency="frq",
        chromosome="chr",
        position="bp",
    ),
)
BY_NAME = "columns by their names"
_LOG_RATIO = ("PLINK 2 --glm",)  # layouts whose standard errors are of the logarithm of a ratio, and say so


class Found(NamedTuple):
    """The columns of one file: the layout's name, our name -> their column, which of them are guesses, and
    which the user has named."""

    layout: str
    columns: dict[str, str]
    guessed: tuple[str, ...]
    given: tuple[str, ...] = ()


def find_layout(path: Path, header: Sequence[str], given: Mapping[str, str] | None = None) -> Found:
    """The layout of a file by its header; `given` (our name -> their column) goes before everything.

    Raises `InputError` where `given` names what is not there.
    """
    lower = {name.lower(): name for name in reversed(header)}
    given = _given(path, header, given or {})
    layout = next((known for known in LAYOUTS if known.known_by <= set(lower)), None)
    spellings = SYNONYMS if layout is None else layout.columns
    columns = {}
    for key, names in spellings.items():
        match = next((lower[name] for name in names if name in lower), None)
        if match is not None and match not in given.values():
            columns[key] = match
    if set(given) & {"z", "beta", *RATIOS}:  # an effect that is named is the one that is wanted
        columns = {key: name for key, name in columns.items() if key not in ("z", "beta", *RATIOS)}
    guessed = tuple(columns) if layout is None else ()
    return Found(BY_NAME if layout is None else layout.name, columns | given, guessed, tuple(given))


def _given(path: Path, header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    for key, name in given.items():
        if key not in SYNONYMS:
            raise InputError(
                f"columns of {path.name} name '{key}'",
                "A map of columns says which column holds what: chromosome, position, effect_allele ...",
                nearest(key, SYNONYMS),
            )
        if name not in header:
            raise InputError(
                f"{path} has no column '{name}', which the map of columns gives for {key}",
                "Every column that is mapped is in the file, spelled as there",
                nearest(str(name), header),
            )
    return dict(given)


def closest(key: str, columns: Sequence[str]) -> str:
    """A question that names the column which looks most like one for `key`, or nothing."""
    for name in SYNONYMS[key]:
        close = difflib.get_close_matches(name, columns, n=1, cutoff=0.7)
        if close:
            return f"Is it '{close[0]}'?"
    return ""


def check_columns(path: Path, header: Sequence[str], found: Found, n: float | None) -> None:
    """Raise `InputError` where a column that is needed is not there: place, alleles, effect, sample size."""
    columns, listed = found.columns, ", ".join(header)
    free = [name for name in header if name not in columns.values()]
    named = "variant_id" in columns
    for key in ("chromosome", "position", *ALLELES):
        spelled = named and (key not in ALLELES or found.layout.startswith("UK Biobank"))
        made = key == "other_allele" and {"ref", "alt"} <= set(columns)
        # one of the two without the other is a column that was not found, and not an identifier's matter
        lone = key in ("chromosome", "position") and bool({"chromosome", "position"} & set(columns))
        if key not in columns and not made and (not spelled or lone):
            raise InputError(
                f"{path} has no column for the {key.replace('_', ' ')}; it has {listed}",
                f"A GWAS file has one of the columns {', '.join(SYNONYMS[key])}",
                f"Rename the column that holds it to {SYNONYMS[key][0]}, or give columns = "
                f'{{ {key} = "..." }} under [[gwas]]. {closest(key, free)}'.strip(),
            )
    _check_effect(path, found, listed, free)
    if "n" not in columns and not {"n_cases", "n_controls"} <= set(columns) and n is None:
        raise InputError(
            f"{path} has no sample size; it has {listed}",
            f"The sample size is a column ({', '.join(SYNONYMS['n'])}; n_cases and n_controls) or is given",
            "Add n = <people> under [[gwas]] in the study file, or a column n to the file",
        )


def _check_effect(path: Path, found: Found, listed: str, free: list[str]) -> None:
    have = set(found.columns)
    p = have & {"p_value", "neg_log_10_p_value"}
    error = have & {"standard_error", "ratio_standard_error"}
    if "z" in have or ("beta" in have and ("standard_error" in have or p)) or (have & set(RATIOS) and p):
        return
    ratio = next((key for key in RATIOS if key in have), None)
    if ratio and not (error and ratio_scale(found)):
        raise InputError(
            f"{path} has {ratio.replace('_', ' ')}s ('{found.columns[ratio]}') and no p-values",
            "Whether a standard error is of the ratio or of its logarithm cannot be told from the file",
            'Say it under [[gwas]]: columns = { standard_error = "..." } for that of the logarithm, '
            '{ ratio_standard_error = "..." } for that of the ratio; or add p-values',
        )
    if ratio:
        return
    if p:
        name = found.columns[min(p)]
        raise InputError(
            f"{path} has p-values ('{name}') without effects; it has {listed}",
            "A p-value has no sign, so it does not say which allele raises the trait, and a z-score cannot "
            "be made",
            f"Add a column z, or beta and standard_error. {_misspelt(have, free)}".strip(),
        )
    raise InputError(
        f"{path} has neither z nor beta with standard_error; it has {listed}",
        f"A GWAS file has a column z ({', '.join(SYNONYMS['z'])}), or beta "
        f"({', '.join(SYNONYMS['beta'])}) and standard_error ({', '.join(SYNONYMS['standard_error'])})",
        f"Rename the columns that hold them. {_misspelt(have, free)}".strip(),
    )


def ratio_scale(found: Found) -> str:
    """The column with the standard error of a ratio ("ratio_standard_error") or of its logarithm
    ("standard_error"), or '' where the file does not say which it is."""
    if "ratio_standard_error" in found.columns:
        return "ratio_standard_error"
    known = found.layout in _LOG_RATIO or "standard_error" in found.given
    return "standard_error" if known and "standard_error" in found.columns else ""


def _misspelt(have: set[str], free: list[str]) -> str:
    """A question for each of beta, standard_error and z that is absent while a column looks like it."""
    asked = (
        f"{closest(key, free)[:-1]}, for {key}?"
        for key in ("beta", "standard_error", "z")
        if key not in have and closest(key, free)
    )
    return " ".join(asked)
