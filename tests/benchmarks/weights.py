"""Expression weights out of sample: ours with priors learned over the genes, elastic net, SuShiE.

    python tests/benchmarks/weights.py --scratch DIR --genes 60 --seed 1
    python tests/benchmarks/weights.py --annotations --genes 100 --seed 1

Simulated panels of four contexts and three ancestries; every method is trained on them, and predicts the
expression of the people of the population sample, none of whom is in a panel. `--scratch` is where the peers'
environment is made, on the first run. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peers
import xarray as xr

from bayestwas.data.coalescent import moments, standardised
from bayestwas.data.simulate import PRESETS, SimulatedBlock, simulate_study
from bayestwas.engine.credible import credible_set
from bayestwas.engine.draws import draw_weights
from bayestwas.engine.weights import WeightPriors, sharing
from bayestwas.fit.annotations import moments as annotation_moments
from bayestwas.fit.annotations import scales as annotation_scales
from bayestwas.fit.settings import Settings
from bayestwas.fit.weight_priors import learned_priors, total_sums
from bayestwas.fit.weights import fit_weights, gene_posterior, weight_sums

HERE = Path(__file__).parent
GENES_PER_BLOCK = 10
DESIGN = replace(
    PRESETS["demo"],
    name="weights",
    donors={
        "first": {"EUR": 400, "AFR": 100, "EAS": 60},
        "second": {"EUR": 250, "AFR": 80, "EAS": 50},
        "third": {"EUR": 150, "AFR": 60, "EAS": 40},
        "fourth": {"EUR": 80, "AFR": 40, "EAS": 30},
    },
    genes_per_block=GENES_PER_BLOCK,
    variants_per_block=500,
    cis_window=500_000,  # all variants of a block for all of its genes
    n_ref=None,
    population=2000,
)
ROUNDS = Settings().weight_rounds
PEOPLE = 40  # of the population, whose genetic values intervals are checked on
DRAWS = 256
VARIANTS = 10_000  # of a block, for credible sets: all there are
PANELS = {"all panels": DESIGN.donors, "one panel of 400": {"first": {"EUR": 400}}}  # for credible sets
Weights = list[np.ndarray]  # of every block, (G, C, A, p) of standardised genotypes in the panel


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="folder of the peers' environment; without: no peers")
    parser.add_argument("--annotations", action="store_true", help="the second part: informative annotations")
    parser.add_argument("--out", type=Path, help="one row per gene, cell and method, as tsv")
    args = parser.parse_args()
    blocks = -(-args.genes // GENES_PER_BLOCK)
    if args.annotations:
        annotation_part(blocks, args.seed)
        return
    simulated = list(simulate_study(DESIGN, args.seed, blocks))
    table = pd.concat([scores(name, simulated, made) for name, made in methods(simulated, args.scratch)])
    if args.out:
        table.to_csv(args.out, sep="\t", index=False)
    print("\nall genes")
    report(table)
    print("\ngenes whose eQTLs have a frequency of at least 1% in every ancestry")
    report(table[table["everywhere"]])


def methods(simulated: Sequence[SimulatedBlock], scratch: Path | None) -> list[tuple[str, Weights]]:
    """Weights of every method."""
    loci = [block.to_locus() for block in simulated]
    priors, seconds = timed(lambda: learned(loci))
    print(f"# learning: {seconds / len(loci) / GENES_PER_BLOCK / ROUNDS:.3f} CPU s a gene and round")
    told(priors)
    out = []
    for name, prior in (("ours", priors), ("ours, default priors", WeightPriors())):
        fits, seconds = timed(lambda prior=prior: [fit_weights(locus, priors=prior) for locus in loci])
        print(f"# {name}: {seconds / len(loci) / GENES_PER_BLOCK:.3f} CPU s a gene")
        out.append((name, [ours(block, fit) for block, fit in zip(simulated, fits, strict=True)]))
        coverage(name, simulated, loci, fits)
    if scratch is not None:
        python = environment(scratch)
        for name, run in (("elastic net", elastic_net), ("SuShiE", sushie)):
            begun = time.perf_counter()
            out.append((name, run(simulated, python)))
            print(f"# {name}: {time.perf_counter() - begun:.0f} s of wall clock", flush=True)
    return out


def told(priors: WeightPriors) -> None:
    """What was learned of sharing."""
    patterns = sharing(priors, len(priors.contexts), len(priors.ancestries))
    weight, last = patterns.weight, 2 + len(priors.contexts)
    print(
        f"# {priors.rate:.2f} eQTLs a gene, sizes {np.round(priors.size_weights, 2)}, shared {weight[0]:.2f} "
        f"unstructured {weight[1]:.2f}, one context {weight[2:last].sum():.2f}, one ancestry "
        f"{weight[last:].sum():.2f}"
    )
    for names, matrix in ((priors.contexts, patterns.contexts), (priors.ancestries, patterns.ancestries)):
        print("# " + pd.DataFrame(matrix, names, names).round(2).to_string().replace("\n", "\n# "))


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.process_time()
    return function(), time.process_time() - begun


def learned(loci: Sequence[xr.DataTree], annotations: bool = False, rounds: int = ROUNDS) -> WeightPriors:
    """Priors after the rounds of a run."""
    priors, settings = WeightPriors(), Settings()
    scales = annotation_scales([annotation_moments(locus) for locus in loci]) if annotations else None
    for _ in range(rounds):
        total = total_sums(weight_sums(locus, priors, settings, scales) for locus in loci)
        priors = learned_priors(total, priors, scales)
    return priors


def cells(block: SimulatedBlock) -> list[tuple[int, str, int, str]]:
    design = block.design
    return [(c, cn, a, an) for c, cn in enumerate(design.contexts) for a, an in enumerate(design.ancestries)]


def ours(block: SimulatedBlock, fit: xr.DataTree) -> np.ndarray:
    mean = fit["marginals"]["weight_mean"]
    order = {
        "gene": [*block.genes["gene"]],
        "context": [*block.design.contexts],
        "ancestry": [*block.design.ancestries],
    }
    return np.asarray(mean.sel(order).values, dtype=float)


# ---- peers ------------------------------------------------------------------------------------------------


def environment(scratch: Path) -> str:
    """The Python of the peers' environment, which is made where it is not there."""
    python = scratch / "env" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(scratch / "env")], check=True)
    wanted = ["-r", str(HERE / "weights_requirements.txt")]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return str(python)


def elastic_net(simulated: Sequence[SimulatedBlock], python: str) -> Weights:
    """Every context and ancestry on its own; genotypes of the panel."""
    payloads = [
        {
            "dosage": block.panel_dosage(context, ancestry),
            "expression": block.expression[context, ancestry].to_numpy(),
            "cis": np.ones((len(block.genes), len(block.variants)), dtype=bool),
        }
        for block in simulated
        for _, context, _, ancestry in cells(block)
    ]
    answers = peers.call("elastic_net_worker.py", payloads, python)
    out = []
    for block in simulated:
        weights = np.zeros_like(block.weights)
        for c, _, a, _ in cells(block):
            weights[:, c, a] = next(answers)["weights"].T
        out.append(weights)
    answers.close()
    return out


def sushie(simulated: Sequence[SimulatedBlock], python: str) -> Weights:
    """Every context on its own, over its ancestries."""
    payloads = []
    for block in simulated:
        for context in block.design.contexts:
            payload: dict[str, object] = {"ancestries": len(block.design.ancestries)}
            for a, ancestry in enumerate(block.design.ancestries):
                payload[f"dosage_{a}"] = block.panel_dosage(context, ancestry)
                payload[f"expression_{a}"] = block.expression[context, ancestry].to_numpy()
            payloads.append(payload)
    answers = peers.call("sushie_worker.py", payloads, python)
    out = []
    for block in simulated:
        made = [next(answers)["weights"] for _ in block.design.contexts]  # (A, p, G) each
        out.append(np.moveaxis(np.array(made), 3, 0))
    answers.close()
    return out


# ---- scores -----------------------------------------------------------------------------------------------


def scores(method: str, simulated: Sequence[SimulatedBlock], made: Weights) -> pd.DataFrame:
    """r2 with the expression of new people, of variance one, and correlation with the true weights, of every
    gene in every cell in which it has eQTLs. A prediction of the wrong sign, or none, has an r2 of zero."""
    rows = []
    for block, weights in zip(simulated, made, strict=True):
        rarest = np.min([np.minimum(f, 1 - f) for f in block.frequency.values()], axis=0)
        everywhere = ~block.weights[..., rarest < 0.01].any(axis=(1, 2, 3))
        for c, context, a, ancestry in cells(block):
            dosage = block.panel_dosage(context, ancestry)
            everyone = population(block, ancestry)
            truth = block.weights[:, c, a] @ everyone
            guess = per_genotype(weights[:, c, a], dosage, block, ancestry) @ everyone
            for g, gene in enumerate(block.genes["gene"]):
                if not truth[g].any():
                    continue
                both = float(np.mean(truth[g] * guess[g])), float(np.mean(guess[g] ** 2))
                r2 = max(both[0], 0.0) ** 2 / both[1] if both[1] > 1e-12 else 0.0
                mine = weights[g, c, a]
                alike = np.corrcoef(mine, block.weights[g, c, a])[0, 1] if mine.std() > 0 else 0.0
                told = dosage.shape[1], r2, alike, everywhere[g]
                rows.append((method, gene, context, ancestry, *told))
    names = ["method", "gene", "context", "ancestry", "n", "r2", "correlation", "everywhere"]
    return pd.DataFrame(rows, columns=names)


def population(block: SimulatedBlock, ancestry: str) -> np.ndarray:
    """(p, people) standardised genotypes of people who are in no panel."""
    dosage = block.reference[ancestry]
    return standardised(dosage, moments(dosage), np.arange(len(dosage)))


def per_genotype(weights: np.ndarray, dosage: np.ndarray, block: SimulatedBlock, ancestry: str) -> np.ndarray:
    """Weights of genotypes standardised in the panel as weights of those standardised in the population."""
    panel, whole = moments(dosage)[1], moments(block.reference[ancestry])[1]
    ratio = np.divide(whole, panel, out=np.ones_like(panel), where=np.isfinite(panel) & np.isfinite(whole))
    return weights * np.where(np.isfinite(whole), ratio, 0.0)


def coverage(
    name: str, simulated: Sequence[SimulatedBlock], loci: Sequence[xr.DataTree], fits: Sequence[xr.DataTree]
) -> None:
    """How often central 95% intervals over draws of the weights cover the genetic values of new people, and
    the cis-h2."""
    inside: dict[str, list[float]] = {}
    for block, locus, fit in zip(simulated, loci, fits, strict=True):
        stored = (
            [str(x) for x in fit["marginals"]["context"].values],
            [str(x) for x in fit["marginals"]["ancestry"].values],
        )
        new_people = {ancestry: population(block, ancestry) for ancestry in block.design.ancestries}
        for g, gene in enumerate(block.genes["gene"]):
            index, posterior = gene_posterior(locus, fit, gene)
            draws = draw_weights(posterior.fit, posterior.candidates, g, draws=DRAWS)
            share = np.exp(draws.log_weight)
            for c, context, a, ancestry in cells(block):
                study = stored[0].index(context) * len(stored[1]) + stored[1].index(ancestry)
                everyone = new_people[ancestry][index]
                values = draws.columns[study] @ everyone
                truth = block.weights[g, c, a][index] @ everyone
                some = slice(None, None, everyone.shape[1] // PEOPLE)
                hit = within(values[:, some], share, truth[some]).mean()
                inside.setdefault(f"{context} {ancestry}", []).append(hit)
                h2 = within((values**2).mean(axis=1)[:, None], share, np.array([np.mean(truth**2)]))
                inside.setdefault(f"{context} {ancestry} cis-h2", []).append(float(h2[0]))
    values = [np.mean(v) for k, v in inside.items() if not k.endswith("cis-h2")]
    h2s = [np.mean(v) for k, v in inside.items() if k.endswith("cis-h2")]
    error = np.std(
        [np.mean(v) for v in zip(*[inside[k] for k in inside if not k.endswith("cis-h2")], strict=True)]
    )
    genes = len(next(iter(inside.values())))
    print(
        f"# {name}: 95% intervals cover {np.mean(values):.3f} (s.e. {error / np.sqrt(genes):.3f}) of genetic "
        f"values of new people, {min(values):.3f} to {max(values):.3f} over cells; cis-h2 {np.mean(h2s):.3f}"
    )


def within(values: np.ndarray, share: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) whether weighted quantiles 2.5% and 97.5% of (D, N) values hold the truth."""
    below = share @ (values < truth - 1e-9)
    above = share @ (values > truth + 1e-9)
    return (below <= 0.975) & (above <= 0.975)


def report(table: pd.DataFrame) -> None:
    """Mean r2 with its standard error over genes per cell and method, and ours over each of the others."""
    order = ["context", "ancestry", "n"]
    wide = table.pivot_table(index=[*order, "gene"], columns="method", values="r2", sort=False)
    names = list(wide.columns)
    header = "| context | ancestry | people | genes | " + " | ".join(names) + " | "
    rivals = [name for name in names if not name.startswith("ours")]
    print(header + " | ".join(f"ours / {name}" for name in rivals) + " |")
    print("| --- " * (4 + len(names) + len(rivals)) + "|")
    for (context, ancestry, n), cell in wide.groupby(level=[0, 1, 2], sort=False):
        print(f"| {context} | {ancestry} | {n} | {len(cell)} | " + line(cell, names, rivals))
    print(f"| all | | | {wide.index.get_level_values('gene').nunique()} | " + line(wide, names, rivals))
    print("\ncorrelation with the true weights, mean over genes and cells")
    print(table.groupby("method", sort=False)["correlation"].agg(["mean", "sem"]).round(3).to_string())


def line(cell: pd.DataFrame, names: Sequence[str], rivals: Sequence[str]) -> str:
    of_gene = cell.groupby(level="gene").mean()
    mean, error = of_gene.mean(), of_gene.sem()
    rng = np.random.default_rng(0)
    parts = [f"{mean[name]:.4f} ({error[name]:.4f})" for name in names]
    again = of_gene.to_numpy()[rng.integers(len(of_gene), size=(500, len(of_gene)))].mean(axis=1)
    for name in rivals:
        ratios = again[:, names.index("ours")] / again[:, names.index(name)]
        parts.append(f"{mean['ours'] / mean[name]:.2f} ({ratios.std():.2f})")
    return " | ".join(parts) + " |"


# ---- annotations ------------------------------------------------------------------------------------------


def annotation_part(blocks: int, seed: int) -> None:
    """Credible sets of eQTLs with coefficients of annotations learned, and without annotations."""
    annotations = (("enriched", 0.05, 2.0), ("idle", 0.2, 0.0))
    print("| panels | prior | sets | mean size (s.e.) | median | cover (s.e.) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for panels, donors in PANELS.items():
        ancestries = {ancestry for sizes in donors.values() for ancestry in sizes}
        gwas = {ancestry: n for ancestry, n in DESIGN.gwas.items() if ancestry in ancestries}
        design = replace(
            DESIGN, donors=donors, gwas=gwas, variants_per_block=VARIANTS, annotations=annotations
        )  # fmt: skip
        simulated = list(simulate_study(design, seed, blocks))
        loci = [block.to_locus() for block in simulated]
        plain, known = learned(loci), learned(loci, annotations=True)
        truth = replace(plain, annotations=tuple((name, log_odds) for name, _, log_odds in annotations))
        table = {"without annotations": plain, "learned coefficients": known, "true coefficients": truth}
        for name, priors in table.items():
            print(f"# {np.mean([len(b.variants) for b in simulated]):.0f} variants; {priors.annotations}")
            fits = [fit_weights(locus, priors=priors) for locus in loci]
            sets = pd.DataFrame(credible_sets(simulated, loci, fits), columns=["gene", "size", "covers"])
            size, held = sets["size"], sets["covers"]
            print(
                f"| {panels} | {name} | {len(sets)} | {size.mean():.2f} ({size.sem():.2f}) "
                f"| {size.median():.0f} | {held.mean():.3f} ({held.sem():.3f}) |",
                flush=True,
            )


def credible_sets(
    simulated: Sequence[SimulatedBlock], loci: Sequence[xr.DataTree], fits: Sequence[xr.DataTree]
) -> list[tuple[str, int, float]]:
    """Gene, size, and whether it holds an eQTL, of the 95% set of every effect that is there (0.95)."""
    out = []
    for block, locus, fit in zip(simulated, loci, fits, strict=True):
        causal = block.weights.any(axis=(1, 2))
        for g, gene in enumerate(block.genes["gene"]):
            index, posterior = gene_posterior(locus, fit, gene)
            for effect in np.flatnonzero(posterior.fit.null < 0.05):
                alpha = posterior.fit.alpha[effect].sum(axis=1)
                chosen = credible_set(alpha / alpha.sum(), 0.95)
                out.append((gene, len(chosen), float(causal[g, index[chosen]].any())))
    return out


if __name__ == "__main__":
    main()
