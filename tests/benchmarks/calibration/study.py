"""The calibration study: settings x seeds x methods, kept as they come, scored together.

    python tests/benchmarks/calibration/study.py --blocks 60 --seeds 1 2 3 4 5 --out calibration

What is there already is not made again, so that a stopped run continues: the study folder and the table of a
method under .benchmarks/, and in --out genes/SETTING-seedK-blocksN.tsv.gz, every gene with what every method
says of it. Scores are made of the latter alone, so that --score-only needs nothing else. Writes scores.tsv
(and scores.md), reliability.tsv (observed frequency by bin of PIP) and grades.tsv into --out. A method whose
program is not installed is not run, and said so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from methods import GRADES, METHODS, NEED_PEERS, Method, peers

from bayestwas.assess import calibration
from bayestwas.data.simulate import PRESETS, simulate_study
from bayestwas.engine.credible import bayesian_fdr
from bayestwas.io.write_study import write_study

SETTINGS = (
    "friendly", "hard", "admixed-reference", "neighbour-reference", "polygenic", "direct-only",
    "missing-tissue", "unshared", "four-tissues", "many-eqtls", "case-control",
)  # fmt: skip
WORK = Path(__file__).parents[3] / ".benchmarks" / "calibration"
RESAMPLES = 400  # of blocks, for the standard errors
RATES = (0.05, 0.1)


# ---- one setting, one seed ------------------------------------------------------------------------------


def made(setting: str, seed: int, blocks: int) -> Path:
    """The study folder, simulated where it is not there."""
    folder = WORK / setting / f"seed{seed}-blocks{blocks}" / "study"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_study(simulate_study(PRESETS[setting], seed, blocks), folder)
    return folder


def table_path(folder: Path, name: str) -> Path:
    return folder.parent / f"{name.replace(',', '').replace(' ', '_')}.genes.tsv"


def run_method(name: str, method: Method, folder: Path) -> None:
    """Keep the gene table of one method, and the seconds that it took."""
    path = table_path(folder, name)
    if path.exists():
        return
    began = time.perf_counter()
    table = method(folder).assign(seconds=time.perf_counter() - began)
    part = path.with_suffix(".part")
    table.to_csv(part, sep="\t", index=False)
    part.rename(path)
    print(f"  {name}: {time.perf_counter() - began:.0f} s", flush=True)


def record_path(out: Path, setting: str, seed: int, blocks: int) -> Path:
    return out / "genes" / f"{setting}-seed{seed}-blocks{blocks}.tsv.gz"


def record(folder: Path, methods: Sequence[str], path: Path) -> None:
    """Every gene of the truth, the grade of its block, and METHOD|COLUMN for what every method says of it."""
    table = pd.read_csv(folder / "truth.tsv", sep="\t", keep_default_na=False)[["gene", "block", "causal"]]
    if (folder.parent / GRADES).exists():
        table = table.merge(pd.read_csv(folder.parent / GRADES, sep="\t"), on="block", how="left")
    for name in methods:
        found = pd.read_csv(table_path(folder, name), sep="\t").set_index("gene").add_prefix(f"{name}|")
        table = table.merge(found, on="gene", how="left", validate="one_to_one")
    path.parent.mkdir(parents=True, exist_ok=True)
    same = {"method": "gzip", "mtime": 0}
    table.to_csv(path, sep="\t", index=False, compression=same)  # all digits: PIPs near 1 are ranked too


def recorded(out: Path, setting: str, seed: int, blocks: int) -> pd.DataFrame | None:
    path = record_path(out, setting, seed, blocks)
    if not path.exists():
        return None
    return pd.read_csv(path, sep="\t").assign(seed=seed, setting=setting)


def done(out: Path, setting: str, seed: int, blocks: int, methods: Sequence[str]) -> bool:
    table = recorded(out, setting, seed, blocks)
    return table is not None and all(f"{name}|seconds" in table for name in methods)


def gathered(records: Sequence[pd.DataFrame], name: str) -> pd.DataFrame | None:
    """Every gene with what one method says of it, over seeds; None where it has not been run."""
    parts = []
    for table in records:
        mine = [column for column in table if column.startswith(f"{name}|")]
        if not mine:
            return None
        part = table[["gene", "block", "causal", "seed", "setting", *mine]]
        part = part.rename(columns=lambda column: column.removeprefix(f"{name}|"))
        value = part["pip"] if "pip" in part else part["score"]
        part = part.assign(left_out=value.isna(), score=value.fillna(0.0), method=name)
        part["unit"] = part["seed"].astype(str) + ":" + part["block"]
        if "pip" in part:
            part["pip"] = part["pip"].fillna(0.0)
            part["called"] = part["pip"] >= calibration.THRESHOLD
            for rate in RATES:
                part[f"called_fdr{rate:g}"] = bayesian_fdr(part["pip"].to_numpy()) <= rate
        else:
            part["called"] = part["called"].astype(str).eq("True")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


# ---- scores ---------------------------------------------------------------------------------------------


def scored(table: pd.DataFrame) -> dict[str, object]:
    truth = table["causal"].astype(bool)
    row: dict[str, object] = {"setting": table["setting"].iloc[0], "method": table["method"].iloc[0]}
    row |= {"seeds": table["seed"].nunique(), "blocks": table["unit"].nunique()}
    row |= {"genes": len(table), "causal": int(truth.sum())}
    row["auprc"] = calibration.average_precision(truth, table["score"])
    row["auprc_se"] = resampled(
        table, lambda part: calibration.average_precision(part["causal"], part["score"])
    )
    row |= _called(truth, table["called"], "")
    if "pip" in table:
        for rate in RATES:
            row |= _called(truth, table[f"called_fdr{rate:g}"], f"_fdr{rate:g}")
        row["ece"] = calibration.expected_calibration_error(truth, table["pip"])
        row["ece_se"] = resampled(
            table, lambda part: calibration.expected_calibration_error(part["causal"], part["pip"])
        )
        row["log_score"] = calibration.mean_log_score(truth, table["pip"])
    if "credible_set" in table:
        row |= credible(table)
    row |= {"left_out": int(table["left_out"].sum())}
    row["seconds_per_block"] = table.groupby("seed")["seconds"].max().sum() / table["unit"].nunique()
    return row


def _called(truth: pd.Series, called: pd.Series, suffix: str) -> dict[str, object]:
    power, false = calibration.calls(truth, called)
    return {
        f"power{suffix}": power.estimate,
        f"false{suffix}": false.estimate,
        f"false{suffix}_low": false.low,
        f"false{suffix}_high": false.high,
        f"called{suffix}": false.trials,
    }


def credible(table: pd.DataFrame) -> dict[str, object]:
    """Coverage and mean size of the 90% credible gene sets."""
    rows = table.assign(set=table["credible_set"].astype(object).fillna("").str.split(",")).explode("set")
    rows = rows[rows["set"] != ""]
    held = rows.groupby(["unit", "set"])["causal"].agg(["any", "size"])
    share = calibration.wilson(int(held["any"].sum()), len(held))
    return {
        "sets": share.trials, "coverage": share.estimate, "coverage_low": share.low,
        "coverage_high": share.high, "set_size": held["size"].mean(),
    }  # fmt: skip


def resampled(table: pd.DataFrame, score: object, seed: int = 0) -> float:
    """Standard error of a score over resampled blocks; NaN where the truth is empty."""
    assert callable(score)
    rng = np.random.default_rng(seed)
    rows = list(table.groupby("unit").indices.values())
    values = []
    for _ in range(RESAMPLES):
        sample = table.iloc[np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])]
        values.append(score(sample))
    known = np.array(values)[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else np.nan


def grades(setting: str, records: Sequence[pd.DataFrame]) -> dict[str, object]:
    """How many blocks of a setting were graded good, doubtful and suspicious."""
    words = [word for table in records for word in table.groupby("block")["grade"].first()]
    return {"setting": setting, **{g: words.count(g) for g in ("good", "doubtful", "suspicious")}}


def markdown(scores: pd.DataFrame) -> str:
    """The scores as the table of docs/calibration.md."""
    head = (
        "setting", "method", "seeds", "causal", "AUPRC (s.e.)", "power", "false at 0.8 (95%)",
        "false at Bayesian FDR 5% (95%)", "calibration error (s.e.)", "log score",
        "sets: coverage (95%), size",
    )  # fmt: skip
    sets = "{coverage:.2f} of {sets:.0f} ({coverage_low:.2f}-{coverage_high:.2f}), {set_size:.1f}"
    lines = [head, ("---",) * len(head)]
    for row in scores.to_dict("records"):
        lines.append((
            row["setting"], row["method"], str(row["seeds"]), str(row["causal"]),
            _number(row, "{auprc:.3f} ({auprc_se:.3f})"),
            _number(row, "{power:.2f}"), _share(row, ""), _share(row, "_fdr0.05"),
            _number(row, "{ece:.3f} ({ece_se:.3f})"), _number(row, "{log_score:.3f}"),
            _number(row, sets),
        ))  # fmt: skip
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(row: dict[str, object], form: str) -> str:
    """Nothing where a number is not known."""
    text = form.format_map({key: np.nan if value is None else value for key, value in row.items()})
    return "" if "nan" in text else text


def _share(row: dict[str, object], suffix: str) -> str:
    called, false = row.get(f"called{suffix}", np.nan), row.get(f"false{suffix}", np.nan)
    if not np.isfinite(float(str(false))):
        return "none called" if called == 0 else ""
    total = float(str(called))
    low, high = row[f"false{suffix}_low"], row[f"false{suffix}_high"]
    return f"{round(float(str(false)) * total)} of {total:.0f} ({low:.2f}-{high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--score-only", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    methods = [n for n in args.methods if args.score_only or n not in NEED_PEERS or peers.available()]
    for name in set(args.methods) - set(methods):
        print(f"{name} is not run: there is no Python at {peers.PYTHON}", flush=True)
    for seed in [] if args.score_only else args.seeds:
        for setting in args.settings:
            if done(args.out, setting, seed, args.blocks, methods):
                continue
            print(f"{setting}, seed {seed}", flush=True)
            folder = made(setting, seed, args.blocks)
            for name in methods:
                run_method(name, METHODS[name], folder)
            record(folder, methods, record_path(args.out, setting, seed, args.blocks))
    held = {
        setting: [r for k in args.seeds if (r := recorded(args.out, setting, k, args.blocks)) is not None]
        for setting in args.settings
    }
    held = {setting: records for setting, records in held.items() if records}
    if not held:
        raise SystemExit(f"{args.out / 'genes'} holds none of these settings, seeds and {args.blocks} blocks")
    tables = [gathered(records, name) for records in held.values() for name in args.methods]
    known = [table for table in tables if table is not None]
    form = {"sep": "\t", "index": False, "float_format": "%.6g"}
    scores = pd.DataFrame([scored(table) for table in known])
    scores.to_csv(args.out / "scores.tsv", **form)
    (args.out / "scores.md").write_text(markdown(scores))
    bins = [
        calibration.calibration_bins(table["causal"], table["pip"]).assign(
            setting=table["setting"].iloc[0], method=table["method"].iloc[0]
        )
        for table in known
        if "pip" in table
    ]
    pd.concat(bins).to_csv(args.out / "reliability.tsv", **form)
    pd.DataFrame([grades(*item) for item in held.items()]).to_csv(args.out / "grades.tsv", **form)
    shown = [
        "setting",
        "method",
        "causal",
        "auprc",
        "power",
        "false",
        "called",
        "ece",
        "log_score",
        "coverage",
    ]
    print(scores[[c for c in shown if c in scores]].to_string(index=False, float_format=lambda v: f"{v:.3f}"))


if __name__ == "__main__":
    main()
