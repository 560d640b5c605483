"""The layouts of GWAS files: one table with one truth, written the way each program writes it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayestwas.data.reading import reading_of
from bayestwas.errors import InputError
from bayestwas.io.gwas import read_gwas, store_gwas
from bayestwas.io.gwas_layouts import LAYOUTS, SYNONYMS
from bayestwas.io.gwas_part import Asked
from bayestwas.io.gwas_values import z_of_neg_log10_p
from bayestwas.io.lift import open_chain

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared real data are not here")
P = 80


@pytest.fixture
def truth() -> pd.DataFrame:
    """Effects of 80 variants with exact numbers: written with repr, they are read back to the last bit."""
    rng = np.random.default_rng(5)
    pairs = np.array([("A", "G"), ("C", "T"), ("AT", "A"), ("G", "C")], dtype=object)[np.arange(P) % 4]
    table = pd.DataFrame({"position": 1000 + 10 * np.arange(P), "ea": pairs[:, 0], "oa": pairs[:, 1]})
    table["beta"], table["se"] = rng.normal(0, 0.3, P), rng.uniform(0.05, 0.1, P)
    table["z"] = table["beta"] / table["se"]
    table["logp"] = -(stats.norm.logsf(table["z"].abs()) + np.log(2)) / np.log(10)
    table["p"] = 2 * stats.norm.sf(table["z"].abs())
    table["eaf"], table["rsid"] = rng.uniform(0.05, 0.95, P), [f"rs{j}" for j in range(P)]
    return table.assign(chromosome="7", n=5000.0)


def _columns(**columns: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Their column name (spaces and signs as given) from our truth."""

    def made(t: pd.DataFrame) -> pd.DataFrame:
        extra = {"or": np.exp(t["beta"]), "add": "ADD", "cases": 2000, "controls": 3000, "unused": 0.5}
        extra |= {
            "id": "chr7:" + t["position"].astype(str) + ":" + t["oa"] + ":" + t["ea"],
            "lower": t["ea"].str.lower(),
        }
        extra |= {"lower_oa": t["oa"].str.lower(), "ratio_se": t["se"] * np.exp(t["beta"])}
        every = {name: t[name] for name in t} | extra
        return pd.DataFrame({theirs: every[ours] for theirs, ours in columns.items()}, index=t.index)

    return made


# name -> separator, columns (theirs -> ours), what is asked beside
WRITTEN: dict[str, tuple[str, dict[str, str], Asked]] = {
    "GWAS-SSF": (
        "\t",
        dict(
            zip(
                [
                    "chromosome",
                    "base_pair_location",
                    "effect_allele",
                    "other_allele",
                    "beta",
                    "standard_error",
                    "effect_allele_frequency",
                    "p_value",
                    "rsid",
                    "n",
                ],
                ["chromosome", "position", "ea", "oa", "beta", "se", "eaf", "p", "rsid", "n"],
                strict=True,
            )
        ),
        Asked(),
    ),
    "GWAS Catalog, harmonised (hm_ columns)": (
        "\t",
        {"hm_rsid": "rsid", "hm_chrom": "chromosome", "hm_pos": "position", "hm_other_allele": "oa"}
        | {"hm_effect_allele": "ea", "hm_beta": "beta", "standard_error": "se", "p_value": "p"}
        | {"hm_effect_allele_frequency": "eaf", "effect_allele": "oa", "beta": "unused"},
        Asked(n=5000),
    ),
    "PLINK 2 --glm": (
        "\t",
        {"#CHROM": "chromosome", "POS": "position", "ID": "rsid", "REF": "oa", "ALT": "ea", "A1": "ea"}
        | {"A1_FREQ": "eaf", "TEST": "add", "OBS_CT": "n", "OR": "or", "LOG(OR)_SE": "se", "P": "p"},
        Asked(),
    ),
    "REGENIE": (
        " ",
        {"CHROM": "chromosome", "GENPOS": "position", "ID": "rsid", "ALLELE0": "oa", "ALLELE1": "ea"}
        | {"A1FREQ": "eaf", "N": "n", "TEST": "add", "BETA": "beta", "SE": "se", "LOG10P": "logp"},
        Asked(),
    ),
    "SAIGE": (
        "\t",
        {"CHR": "chromosome", "POS": "position", "MarkerID": "rsid", "Allele1": "oa", "Allele2": "ea"}
        | {"AF_Allele2": "eaf", "BETA": "beta", "SE": "se", "p.value": "p", "N_case": "cases"}
        | {"N_ctrl": "controls"},
        Asked(),
    ),
    "BOLT-LMM": (
        "\t",
        {"SNP": "rsid", "CHR": "chromosome", "BP": "position", "GENPOS": "unused", "ALLELE1": "ea"}
        | {"ALLELE0": "oa", "A1FREQ": "eaf", "BETA": "beta", "SE": "se", "P_BOLT_LMM": "p"},
        Asked(n=5000),
    ),
    "METAL": (
        "\t",
        {"MarkerName": "id", "Allele1": "lower", "Allele2": "lower_oa", "Freq1": "eaf", "Effect": "beta"}
        | {"StdErr": "se", "P-value": "p", "Direction": "add"},
        Asked(n=5000),
    ),
    "fastGWA": (
        "\t",
        {
            "CHR": "chromosome",
            "SNP": "rsid",
            "POS": "position",
            "A1": "ea",
            "A2": "oa",
            "N": "n",
            "AF1": "eaf",
        }
        | {"BETA": "beta", "SE": "se", "P": "p"},
        Asked(),
    ),
    "FinnGen": (
        "\t",
        {"#chrom": "chromosome", "pos": "position", "ref": "oa", "alt": "ea", "rsids": "rsid", "pval": "p"}
        | {"mlogp": "logp", "beta": "beta", "sebeta": "se", "af_alt": "eaf"},
        Asked(n=5000),
    ),
    "UK Biobank (Neale laboratory)": (
        "\t",
        {"variant": "id", "minor_allele": "ea", "n_complete_samples": "n", "beta": "beta", "se": "se"}
        | {"tstat": "z"},
        Asked(),
    ),
    "GCTA-COJO": (
        " ",
        {"SNP": "id", "A1": "ea", "A2": "oa", "freq": "eaf", "b": "beta", "se": "se", "p": "p", "N": "n"},
        Asked(),
    ),
    "LDSC .sumstats": ("\t", {"SNP": "rsid", "A1": "ea", "A2": "oa", "N": "n", "Z": "z"}, Asked()),
}


def _agrees(gwas, truth: pd.DataFrame) -> None:
    """z by division of numbers written in full: rounding of one division, or of log and exp of a ratio."""
    np.testing.assert_allclose(gwas["z"], truth["z"], rtol=1e-9)
    assert gwas["effect_allele"].values.tolist() == truth["ea"].tolist()
    assert gwas["other_allele"].values.tolist() == truth["oa"].tolist()
    assert gwas["position"].values.tolist() == truth["position"].tolist()
    assert set(gwas["chromosome"].values) == {"7"}
    assert set(gwas["n"].values) == {5000.0}


def test_every_layout_is_written_here() -> None:
    assert {layout.name for layout in LAYOUTS} == {*WRITTEN, "GWAS-VCF"}


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.parametrize("ending", [".tsv.gz", ".parquet"])
def test_layouts(tmp_path: Path, truth: pd.DataFrame, layout: str, ending: str) -> None:
    separator, columns, asked = WRITTEN[layout]
    if layout == "LDSC .sumstats":  # identifiers alone: places come from the genotypes of the study
        known = truth.set_index("rsid")[["chromosome", "position"]].astype({"chromosome": object})
        asked = Asked(known=lambda: known)
    path = tmp_path / f"gwas{ending}"
    table = _columns(**columns)(truth)
    if ending == ".parquet":
        table.to_parquet(path, index=False, row_group_size=30)
    else:
        table.to_csv(path, sep=separator, index=False)
    gwas = read_gwas(path, asked=asked)
    _agrees(gwas, truth)
    reading = reading_of(gwas)
    assert reading.layout == layout
    assert reading.guessed == ()
    assert reading.notes == ()
    assert not gwas["conflict"].values.any()
    if "eaf" in columns.values():
        np.testing.assert_allclose(gwas["effect_allele_frequency"], truth["eaf"], rtol=1e-12)


def test_stored_is_read_back_by_range(tmp_path: Path, truth: pd.DataFrame) -> None:
    separator, columns, _ = WRITTEN["GWAS-SSF"]
    path, out = tmp_path / "gwas.tsv.gz", tmp_path / "gwas.parquet"
    table = _columns(**columns)(truth).astype({"beta": object})
    table.loc[3, "beta"] = "NA"
    table.to_csv(path, sep=separator, index=False)
    reading = store_gwas(path, out)
    assert reading.unused["source_id"].tolist() == ["rs3"]
    direct, stored = read_gwas(path), read_gwas(out)
    for name in direct:
        np.testing.assert_array_equal(direct[name].values, stored[name].values)
    blocks = pd.DataFrame({"block": ["b"], "chromosome": ["7"], "start": [1099], "end": [1200]})
    part = read_gwas(path, asked=Asked(blocks=blocks))
    np.testing.assert_array_equal(part["position"], np.arange(1100, 1201, 10))
    assert reading_of(part).outside == P - part.sizes["variant"]
    again = read_gwas(out, asked=Asked(blocks=blocks))
    np.testing.assert_array_equal(again["z"], part["z"])


def test_nothing_is_left_where_storing_fails(tmp_path: Path) -> None:
    path = tmp_path / "gwas.tsv"
    path.write_text("chr\tpos\ta1\ta2\tz\tn\n1\t10\tA\tG\t1\t9\n1\t20\tA\tG\tinf\t9\n")
    with pytest.raises(InputError, match="line 3"):
        store_gwas(path, tmp_path / "gwas.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["gwas.tsv"]


# ---- columns --------------------------------------------------------------------------------------------


def test_a_map_of_columns_goes_before_every_guess(tmp_path: Path, truth: pd.DataFrame) -> None:
    table = _columns(chr="chromosome", pos="position", A1="oa", A2="ea", strange="beta", se="se", n="n")(
        truth
    )
    path = tmp_path / "gwas.txt"
    table.to_csv(path, sep="\t", index=False)
    columns = {"effect_allele": "A2", "other_allele": "A1", "beta": "strange"}
    gwas = read_gwas(path, asked=Asked(columns=columns))
    _agrees(gwas, truth)
    (note,) = reading_of(gwas).notes
    assert "chromosome = 'chr'" in note
    assert "effect_allele" not in note  # named, not guessed


@pytest.mark.parametrize("key", ["standard_error", "ratio_standard_error"])
def test_odds_ratios_with_the_error_that_is_named(tmp_path: Path, truth: pd.DataFrame, key: str) -> None:
    error = {"standard_error": "se", "ratio_standard_error": "ratio_se"}[key]
    table = _columns(chr="chromosome", pos="position", ea="ea", oa="oa", OR="or", SE=error, n="n")(truth)
    path = tmp_path / "gwas.txt"
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError, match="of the ratio or of its logarithm"):
        read_gwas(path)
    _agrees(read_gwas(path, asked=Asked(columns={key: "SE"})), truth)


@pytest.mark.parametrize("name", ["OR", "HR"])
def test_ratios_with_p_values_need_no_error(tmp_path: Path, truth: pd.DataFrame, name: str) -> None:
    columns = {"chr": "chromosome", "pos": "position", "ea": "ea", "oa": "oa", name: "or", "SE": "unused"}
    path = tmp_path / "gwas.txt"
    _columns(**columns, mlogp="logp", n="n")(truth).to_csv(path, sep="\t", index=False)
    _agrees(read_gwas(path), truth)


def test_ratios_under_the_name_of_effects(tmp_path: Path, truth: pd.DataFrame) -> None:
    path = tmp_path / "gwas.txt"
    columns = {"chr": "chromosome", "pos": "position", "ea": "ea", "oa": "oa", "beta": "or", "se": "se"}
    _columns(**columns, n="n")(truth).to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError, match="Likely an odds ratio"):
        read_gwas(path)


@pytest.mark.parametrize(("factor", "refused"), [(0.1, True), (0.8, False), (10.0, True)])
def test_errors_that_disagree_with_p(
    tmp_path: Path, truth: pd.DataFrame, factor: float, refused: bool
) -> None:
    truth = pd.concat([truth] * 4, ignore_index=True)
    truth["se"] *= factor
    path = tmp_path / "gwas.txt"
    columns = {"chr": "chromosome", "pos": "position", "ea": "ea", "oa": "oa", "beta": "beta", "se": "se"}
    _columns(**columns, p="p", n="n")(truth).to_csv(path, sep="\t", index=False)
    if refused:
        with pytest.raises(InputError, match="times the z-score of the p-value"):
            read_gwas(path)
    else:
        assert any("1.25 times the z-score" in note for note in reading_of(read_gwas(path)).notes)


def test_p_values_below_double_precision(tmp_path: Path) -> None:
    """Against mpmath: -log10 p of up to a million; as text p = 1e-400, which a double holds as 0."""
    with mpmath.workdps(50):
        for logp in (0.0, 0.3, 5.0, 300.0, 400.0, 1e4, 1e6):
            z = mpmath.mpf(float(z_of_neg_log10_p(np.array([logp]))[0]))
            half = mpmath.erfc(z / mpmath.sqrt(2)) / 2
            # relative error of z of 1e-12 moves log10 p by about 1e-12 z^2
            assert abs(mpmath.log10(2 * half) + logp) <= 1e-9 + 1e-11 * logp
    path = tmp_path / "gwas.txt"
    rows = ["chr\tpos\tea\toa\tbeta\tp\tn", "1\t10\tA\tG\t-1\t1e-400\t9", "1\t20\tA\tG\t1\t0.05\t9"]
    path.write_text("\n".join(rows) + "\n")
    expected = [-z_of_neg_log10_p(np.array([400.0]))[0], stats.norm.isf(0.025)]
    np.testing.assert_allclose(read_gwas(path)["z"], expected, rtol=1e-12)


def test_rows_that_cannot_be_used_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "gwas.tsv"
    rows = ["chr\tpos\tsnp\tea\toa\tz\tn"] + [f"1\t{10 * j}\trs{j}\tA\tG\t1\t9" for j in range(1, 9)]
    rows += ["1\tNA\trs9\tA\tG\t1\t9", "1\t100\trs10\tA\tG\tNA\t9", "1\t110\trs11\t0\tG\t1\t9"]
    rows += ["1\t120\trs12\tA\tG\t1\tNA", "1\t130\trs13\tA\tA\t1\t9"]
    path.write_text("\n".join(rows) + "\n")
    gwas = read_gwas(path)
    assert gwas.sizes["variant"] == 8
    unused = reading_of(gwas).unused
    assert unused["source_id"].tolist() == ["rs9", "rs10", "rs11", "rs12", "rs13"]
    assert unused["variant"].tolist() == ["", "1:100", "1:110", "1:120", "1:130"]
    assert unused["reason"].str.contains("missing|unknown|same").all()


def test_only_additive_tests_are_read(tmp_path: Path, truth: pd.DataFrame) -> None:
    separator, columns, _ = WRITTEN["PLINK 2 --glm"]
    table = _columns(**columns)(truth)
    both = pd.concat([table, table.assign(TEST="DOMDEV", OR=1.0)]).sort_index(kind="stable")
    both.to_csv(tmp_path / "x.glm.logistic", sep=separator, index=False)
    _agrees(read_gwas(tmp_path / "x.glm.logistic"), truth)


def test_the_other_allele_of_plink_2(tmp_path: Path) -> None:
    rows = ["#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE"]
    rows += ["1\t10\ta\tA\tG\tG\tADD\t9\t1\t1", "1\t20\tb\tA\tG\tA\tADD\t9\t1\t1"]
    rows += ["1\t30\tc\tA\tG,T\tT\tADD\t9\t1\t1", "1\t40\td\tA\tG,T\tA\tADD\t9\t1\t1"]
    path = tmp_path / "x.glm.linear"
    path.write_text("\n".join(rows) + "\n")
    gwas = read_gwas(path)
    assert gwas["other_allele"].values.tolist() == [
        "A",
        "G",
        "A",
    ]  # against two alleles there is no other one
    assert reading_of(gwas).unused["source_id"].tolist() == ["d"]


# ---- beside the file ------------------------------------------------------------------------------------


def test_meta_yaml(tmp_path: Path, truth: pd.DataFrame) -> None:
    separator, columns, _ = WRITTEN["GWAS-SSF"]
    columns = {theirs: ours for theirs, ours in columns.items() if ours != "n"}
    _columns(**columns)(truth).to_csv(tmp_path / "gwas.tsv.gz", sep=separator, index=False)
    meta = "genome_assembly: GRCh37\ncoordinate_system: 0-based\nsamples:\n  - sample_size: 3000\n"
    (tmp_path / "gwas.tsv.gz-meta.yaml").write_text(
        meta + "    ancestry: x\n  - sample_size: 2000  # people\n"
    )
    gwas = read_gwas(tmp_path / "gwas.tsv.gz")
    _agrees(gwas.assign(position=gwas["position"] - 1), truth)
    assert reading_of(gwas).build == "GRCh37"
    assert any("positions count from 0" in note for note in reading_of(gwas).notes)


CHAIN = """chain 1000 chr7 159138663 + 900 1300 chr7 159345973 + 5900 6300 1
400

chain 900 chr7 159138663 + 1400 1500 chr8 145138636 - 1000 1100 2
100

"""


@pytest.mark.parametrize("zipped", [False, True])
def test_lifting(tmp_path: Path, truth: pd.DataFrame, zipped: bool) -> None:
    """By hand: 400 bases move by 5,000, 100 go to the other strand of chr8, the rest nowhere."""
    path = tmp_path / ("a.chain.gz" if zipped else "a.chain")
    path.write_bytes(gzip.compress(CHAIN.encode()) if zipped else CHAIN.encode())
    separator, columns, _ = WRITTEN["GWAS-SSF"]
    _columns(**columns)(truth).to_csv(tmp_path / "gwas.tsv", sep=separator, index=False)
    gwas = read_gwas(tmp_path / "gwas.tsv", asked=Asked(lift=open_chain(path)))
    position = truth["position"].to_numpy()
    moved, turned = (position > 900) & (position <= 1300), (position > 1400) & (position <= 1500)
    here = gwas["chromosome"].values == "7"
    np.testing.assert_array_equal(gwas["position"].values[here], position[moved] + 5000)
    # 0-based start of the block on the minus strand: base 1401 is base 145138636 - 1000 from the left
    np.testing.assert_array_equal(
        gwas["position"].values[~here], 145138636 - 1000 - (position[turned] - 1401)
    )
    opposite = {"A": "T", "C": "G", "G": "C", "AT": "AT"}
    assert gwas["effect_allele"].values[~here].tolist() == [opposite[a] for a in truth["ea"][turned]]
    np.testing.assert_array_equal(gwas["z"].values[here], read_gwas(tmp_path / "gwas.tsv")["z"].values[moved])
    assert len(reading_of(gwas).unused) == P - int((moved | turned).sum())


# ---- GWAS-VCF -------------------------------------------------------------------------------------------

VCF = """##fileformat=VCFv4.2
##contig=<ID=7,length=159138663,assembly=GRCh37>
##FORMAT=<ID=ES,Number=A,Type=Float,Description="e">
##FORMAT=<ID=SE,Number=A,Type=Float,Description="s">
##FORMAT=<ID=SS,Number=A,Type=Float,Description="n">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tone\ttwo
7\t10\trs1\tA\tG\t.\tPASS\t.\tES:SE:SS\t0.5:0.25:100\t1:1:50
7\t20\trs2\tA\tG,T\t.\tPASS\t.\tES:SE:SS\t0.5,-1:0.25,0.5:100,90\t1,2:1,1:50,50
7\t30\trs3\tA\tG\t.\tPASS\t.\tES:SE:SS\t.:0.25:100\t1:1:50
"""


def test_gwas_vcf_with_two_traits_and_two_alternates(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text(VCF)
    with pytest.raises(InputError, match="has 2 traits: one, two"):
        read_gwas(path)
    gwas = read_gwas(path, asked=Asked(sample="one"))
    assert gwas["z"].values.tolist() == [2, 2, -2]  # halves and quarters are exact in single precision
    assert gwas["n"].values.tolist() == [100, 100, 90]
    assert gwas["effect_allele"].values.tolist() == ["G", "G", "T"]
    assert reading_of(gwas).unused["source_id"].tolist() == ["rs3"]
    assert reading_of(gwas).build == "GRCh37"


@needs_data
def test_real_gwas_vcf() -> None:
    """Lymphocyte count: every record against the text of the file, and the same numbers by range."""
    path = DATA / "lymphocyte_rbms1_coloc" / "LC_GWAS_subset.GRCh38.sorted.vcf.gz"
    gwas = read_gwas(path)
    with gzip.open(path, "rt") as handle:
        lines = [line.rstrip("\n").split("\t") for line in handle if not line.startswith("#")]
    kept = gwas.sizes["variant"]
    assert kept + len(reading_of(gwas).unused) == len(lines) == 5771
    records = {(int(line[1]), line[4], line[3]): line for line in lines}
    keys = zip(
        gwas["position"].values, gwas["effect_allele"].values, gwas["other_allele"].values, strict=True
    )
    for row, key in enumerate(keys):
        line = records[key]
        own = dict(zip(line[8].split(":"), line[9].split(":"), strict=True))
        # fields are held in single precision
        assert gwas["z"].values[row] == pytest.approx(float(own["ES"]) / float(own["SE"]), rel=3e-7)
    assert set(gwas["n"].values) == {171643.0}  # TotalControls of the header: a continuous trait
    assert reading_of(gwas).build == "GRCh38"
    assert gwas["conflict"].values.mean() < 0.001
    block = pd.DataFrame({"chromosome": ["2"], "start": [160_200_000], "end": [160_300_000]})
    part = read_gwas(path, asked=Asked(blocks=block))
    inside = (gwas["position"].values > 160_200_000) & (gwas["position"].values <= 160_300_000)
    np.testing.assert_array_equal(part["z"].values, gwas["z"].values[inside])


@needs_data
def test_real_tables() -> None:
    """A meta-analysis with columns of its own (COPD), HDL in GWAS-SSF, and a Parquet table without places."""
    copd = DATA / "ld_mismatch_regions" / "slalom_copd" / "example.snp"
    columns = {"effect_allele": "allele2", "other_allele": "allele1", "n": "n_samples"}
    gwas = read_gwas(copd, asked=Asked(columns=columns))
    raw = pd.read_csv(copd, sep="\t")
    assert gwas.sizes["variant"] == len(raw) == 1093
    np.testing.assert_allclose(gwas["z"], raw["beta"] / raw["se"], rtol=1e-12)
    assert not gwas["conflict"].values.any()
    hdl = DATA / "pltp_hdl_two_ancestries" / "hdl.gwas.tsv.gz"
    np.testing.assert_array_equal(read_gwas(hdl)["z"], pd.read_csv(hdl, sep="\t")["z"])
    red = DATA / "red_cell_trait_annotations" / "sumstats.parquet"
    with pytest.raises(InputError, match="identifier has no position"):
        read_gwas(red)
    names = pd.read_parquet(red)["SNP"].drop_duplicates()
    known = pd.DataFrame({"chromosome": "1", "position": np.arange(1, len(names) + 1)}, index=pd.Index(names))
    assert read_gwas(red, asked=Asked(known=lambda: known)).sizes["variant"] == len(pd.read_parquet(red))


def test_every_key_of_a_layout_is_known() -> None:
    for layout in LAYOUTS:
        assert set(layout.columns) <= {*SYNONYMS, "ref", "alt"}
