"""The kernel against susieR's susie_rss on the same z and R: inclusion probabilities, CPU time, memory.

    python tests/benchmarks/kernel_vs_susie.py --p 1000 3000 5000

Needs Rscript with susieR (Debian: r-cran-susier, libopenblas0-pthread) and msprime. Both sides run on one
thread, each in its own process. Work files go to .benchmarks/susie, which git ignores, and are kept, so
that a rerun is cheap.

The model is the same on both sides, from the source of susieR 0.12.35 (susie_rss, susie_suff_stat,
init_setup):

- with n given, susie_rss replaces z by zt = z sqrt((n - 1) / (z^2 + n - 2)) and sets X'X = (n - 1) R,
  X'y = sqrt(n - 1) zt, var(y) = 1. With the residual variance held at its start, var(y) = 1, this is
  zt ~ Normal(sqrt(n - 1) R b, R). The kernel is therefore given zt and n - 1.
- an effect is Normal(0, scaled_prior_variance) on b: the kernel's scale, per SD of genotype.
- prior weights 1/p, no null column (null_weight = 0), L effects, PIPs over all effects (prune_by_cs = FALSE).
- the LD is exact: n_ref infinite.

susie_rss stops when its ELBO gains less than 1e-3 in a sweep, so the PIPs are also compared with a fit that
ran to a gain of 1e-9 ("run to the end").
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.update(THREADS)  # before numpy is imported

import time  # noqa: E402

import numpy as np  # noqa: E402

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".benchmarks" / "susie"
PEOPLE = 5000  # whose genotypes give R
N_GWAS = 50_000
SCALED_PRIOR_VARIANCE = 1e-3  # times N_GWAS this is 50, the prior variance of z that susie_rss uses without n
L = 10
CAUSAL = 3
SUSIE_TOL = 1e-3  # the default of susie_rss


# ---- the problem ---------------------------------------------------------------------------------------


def genotypes(p: int, seed: int) -> np.ndarray:
    """The first p variants with minor allele frequency >= 1% of a simulated region, int8 (p, PEOPLE)."""
    import msprime

    trees = msprime.sim_ancestry(
        samples=PEOPLE,
        population_size=10_000,
        sequence_length=600 * p,
        recombination_rate=1e-8,
        random_seed=seed,
    )
    trees = msprime.sim_mutations(
        trees, rate=1.25e-8, random_seed=seed + 1, model=msprime.BinaryMutationModel()
    )
    haplotypes = trees.genotype_matrix()
    dosage = (haplotypes[:, 0::2] + haplotypes[:, 1::2]).astype(np.int8)
    frequency = dosage.mean(axis=1) / 2
    kept = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= 0.01)
    if len(kept) < p:
        raise SystemExit(f"the simulated region has {len(kept)} common variants, {p} are needed")
    return np.ascontiguousarray(dosage[kept[:p]])


def standardised(dosage: np.ndarray) -> np.ndarray:
    x = dosage - dosage.mean(axis=1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True))


def draw_z(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """z ~ Normal(R lambda, R), R = x x' / people, with three common causal variants of |lambda| 6 to 12."""
    people = x.shape[1]
    frequent = np.flatnonzero(np.abs(x).max(axis=1) < 6)  # rare alleles give large standardised genotypes
    causal = rng.choice(frequent, CAUSAL, replace=False)
    score = (rng.choice([-1, 1], CAUSAL) * rng.uniform(6, 12, CAUSAL)) @ x[causal]
    return x @ (score / people + rng.standard_normal(people) / np.sqrt(people))


def adjusted(z: np.ndarray) -> np.ndarray:
    """zt, the z-scores that susie_rss works on when n is given."""
    return z * np.sqrt((N_GWAS - 1) / (z**2 + N_GWAS - 2))


def prepare(folder: Path, p: int, problems: int, seed: int) -> None:
    """Write R.f64, dosage.npy and z.<k>.f64 unless an earlier run with these settings did."""
    recipe = {"p": p, "problems": problems, "seed": seed, "people": PEOPLE, "n": N_GWAS}
    stamp = folder / "recipe.json"
    if stamp.exists() and json.loads(stamp.read_text()) == recipe:
        return
    folder.mkdir(parents=True, exist_ok=True)
    dosage = genotypes(p, seed)
    np.save(folder / "dosage.npy", dosage)
    x = standardised(dosage)
    correlation = x @ x.T / PEOPLE
    np.fill_diagonal(correlation, 1.0)
    ((correlation + correlation.T) / 2).tofile(folder / "R.f64")
    rng = np.random.default_rng(seed)
    for k in range(problems):
        draw_z(x, rng).tofile(folder / f"z.{k}.f64")
    stamp.write_text(json.dumps(recipe))


# ---- the two sides -------------------------------------------------------------------------------------


def kernel_pip(ld: Any, z: np.ndarray) -> np.ndarray:
    """The kernel under the model in the head of this file: (p,) inclusion probabilities."""
    from bayestwas.engine.likelihood import Candidates
    from bayestwas.engine.single_effects import fit_single_effects

    p = len(z)
    candidates = Candidates(
        units=p,
        columns=(),
        log_prior=np.full((p, 1), -np.log(p)),
        scale=np.full((p, 1), SCALED_PRIOR_VARIANCE),
        covariances=np.ones((1, 1, 1)),
        log_null=-np.inf,
    )
    return fit_single_effects(z[None], np.array([N_GWAS - 1.0]), [ld], candidates, effects=L).pip


def make_ld(mode: str, folder: Path, p: int) -> Any:
    """A function that builds the LD operator from data in memory, as susie_rss is given R in memory."""
    from bayestwas.engine.ld import GenotypeLD, MatrixLD

    if mode == "matrix":
        correlation = np.fromfile(folder / "R.f64").reshape(p, p)
        return lambda: MatrixLD(correlation, n_ref=np.inf)
    dosage = np.load(folder / "dosage.npy")
    return lambda: GenotypeLD(dosage, n_ref=np.inf)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def worker(mode: str, folder: Path, p: int, repeats: int) -> None:
    """Our side, in its own process: writes kernel.<mode>.json and kernel.<mode>.<k>.f64."""
    build = make_ld(mode, folder, p)
    paths = sorted(folder.glob("z.*.f64"))
    kernel_pip(build(), adjusted(np.fromfile(paths[0])))  # imports and first-call costs are no part of a fit
    loaded = peak_mb()
    fits = []
    for path in paths:
        z = adjusted(np.fromfile(path))
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            pip = kernel_pip(build(), z)
            seconds.append(time.process_time() - start)
        k = path.name.split(".")[1]
        pip.tofile(folder / f"kernel.{mode}.{k}.f64")
        fits.append({"k": int(k), "cpu": min(seconds)})
    report = {"loaded_mb": loaded, "peak_mb": peak_mb(), "fits": fits}
    (folder / f"kernel.{mode}.json").write_text(json.dumps(report))


def run_susie(folder: Path, p: int, repeats: int) -> dict[str, Any]:
    arguments = [folder, p, N_GWAS, SCALED_PRIOR_VARIANCE, L, repeats, SUSIE_TOL]
    command = ["Rscript", str(HERE / "susie_rss.R"), *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | THREADS)
    return json.loads((folder / "susie.json").read_text())


def run_kernel(mode: str, folder: Path, p: int, repeats: int) -> dict[str, Any]:
    arguments = ["--worker", mode, "--folder", folder, "--p", p, "--repeats", repeats]
    command = [sys.executable, __file__, *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | THREADS)
    return json.loads((folder / f"kernel.{mode}.json").read_text())


# ---- the table -----------------------------------------------------------------------------------------


def mean_cpu(report: dict[str, Any], key: str = "cpu") -> float:
    return float(np.mean([fit[key] for fit in report["fits"]]))


def difference(folder: Path, mode: str, theirs: str) -> float:
    """Largest |PIP difference| over variants and problems."""
    paths = sorted(folder.glob(f"kernel.{mode}.*.f64"))
    return max(
        float(
            np.abs(np.fromfile(path) - np.fromfile(folder / f"{theirs}.{path.name.split('.')[2]}.f64")).max()
        )
        for path in paths
    )


def compare(p: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    folder = WORK / f"p{p}"
    prepare(folder, p, args.problems, args.seed)
    if not args.reuse_susie or not (folder / "susie.json").exists():
        run_susie(folder, p, args.repeats)
    susie = json.loads((folder / "susie.json").read_text())
    theirs = {
        "p": p,
        "method": f"susie_rss {susie['susieR']} ({susie['blas']})",
        "cpu_s": mean_cpu(susie),
        "cpu_s_without_sets": mean_cpu(susie, "cpu_without_sets"),
        "peak_mb": susie["peak_mb"],
    }
    rows = [theirs]
    for mode in () if args.susie_only else ("matrix", "genotypes"):
        ours = run_kernel(mode, folder, p, args.repeats)
        cpu = mean_cpu(ours)
        rows.append(
            {
                "p": p,
                "method": f"kernel, LD from {mode}",
                "cpu_s": cpu,
                "peak_mb": ours["peak_mb"],
                "ratio": theirs["cpu_s"] / cpu,
                "ratio_without_sets": theirs["cpu_s_without_sets"] / cpu,
                "max_pip_difference": difference(folder, mode, "pip"),
                "run_to_the_end": difference(folder, mode, "tight"),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--p", type=int, nargs="+", default=[1000, 3000, 5000])
    parser.add_argument("--problems", type=int, default=3, help="z vectors for each p")
    parser.add_argument("--repeats", type=int, default=3, help="fits of each z; the fastest counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--susie-only", action="store_true", help="do not run the kernel")
    parser.add_argument("--reuse-susie", action="store_true", help="keep an earlier run of susie_rss")
    parser.add_argument("--worker", choices=["matrix", "genotypes"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.folder, args.p[0], args.repeats)
        return
    import pandas as pd

    table = pd.DataFrame([row for p in args.p for row in compare(p, args)])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-"))


if __name__ == "__main__":
    main()
