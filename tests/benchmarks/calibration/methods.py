"""Methods of the calibration study: each makes a gene table of a study folder in the users' formats.

A table has the columns gene and pip (and credible_set where the method has such sets); or, where a method has
no probabilities, gene, score (for ranking) and called. A gene that is not in the table was left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).parents[1]))  # the adapters of the peers

import numpy as np
import pandas as pd
import peers
import xarray as xr
from focus_adapter import Region, focus_pips
from gene_inputs import correlation
from scipy.stats import norm

from bayestwas import names
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import fit_study
from bayestwas.harmonise.align import harmonise
from bayestwas.run.execute import executor
from bayestwas.run.pipeline import fitted_readers
from bayestwas.run.study import read_study

Method = Callable[[Path], pd.DataFrame]
WORKERS = 1
PIPS = (
    "pip", "pip_fixed_priors", "pip_plugin", "pip_weights", "pip_ld", "pip_without_finite_ld",
    "pip_without_mismatch", "pip_without_background", "pip_one_effect",
)  # fmt: skip
ELASTIC_NET, MEANS = "elastic_net.npz", "mean_weights.npz"  # point weights in the work folder
GRADES = "grades.tsv"  # of the blocks, in the work folder


def ours(folder: Path, variable: str) -> pd.DataFrame:
    """Our fit, every source of uncertainty on or one off; the fit is kept beside the study."""
    kept = folder.parent / "fit.tsv"
    if not kept.exists():
        readers = fitted_readers(harmonise(read_study(folder / "study.toml")))
        with executor(WORKERS) as mapper:
            results = fit_study(readers, Settings(), seed=1, mapper=mapper)
        parts = [
            result[names.MARGINALS].dataset[[*PIPS, "credible_set"]].to_dataframe() for result in results
        ]
        part = kept.with_suffix(".part")
        pd.concat(parts).to_csv(part, sep="\t")
        part.rename(kept)
        kept_together(folder.parent / MEANS, {str(i): _means(result) for i, result in enumerate(results)})
        graded = [result[names.BLOCKS].dataset["reliability"].to_series() for result in results]
        pd.concat(graded).rename("grade").to_csv(folder.parent / GRADES, sep="\t")
    table = pd.read_csv(kept, sep="\t", keep_default_na=False, na_values={name: [""] for name in PIPS})
    columns = ["gene", "pip", "credible_set"] if variable == "pip" else ["gene", "pip"]
    return table.drop(columns=["pip"] if variable != "pip" else []).rename(columns={variable: "pip"})[columns]


def _means(result: xr.DataTree) -> np.ndarray:
    """(ancestry, context, p, gene) posterior means of the weights, the GWAS not looked at."""
    marginals, kept = result[names.MARGINALS].dataset, result[names.MEAN_WEIGHTS].dataset
    dims = (names.ANCESTRY, names.CONTEXT, names.VARIANT, names.GENE)
    out = np.zeros([marginals.sizes[dim] for dim in dims])
    index = [kept[f"{dim}_index"].values for dim in dims]
    out[tuple(index)] = kept["weight"].values
    return out


def kept_together(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """All arrays in one file, or no file, should the run be stopped."""
    part = path.with_name("part.npz")
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.rename(path)


# ---- point weights --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PointBlock:
    """A block for methods that take weights as known. Targets are (gene, context) pairs.

    Per ancestry of the GWAS: `weights` (p, targets), `ld` (p, p), `z` (p,), `n` people.
    """

    targets: list[str]
    weights: list[np.ndarray]
    ld: list[np.ndarray]
    z: list[np.ndarray]
    n: list[float]


def point_blocks(folder: Path, weights_of: str) -> Iterator[PointBlock]:
    """The blocks of a study with weights that are taken as known: elastic-net weights, trained once, or the
    posterior means that our fit left (`MEANS`)."""
    readers = fitted_readers(harmonise(read_study(folder / "study.toml")))
    kept = folder.parent / weights_of
    loci = [reader() for reader in readers]
    if not kept.exists():
        if weights_of == MEANS:
            ours(folder, "pip")
        else:
            kept_together(kept, {str(i): _elastic_net(locus) for i, locus in enumerate(loci)})
    with np.load(kept) as trained:
        for i, locus in enumerate(loci):
            gwas = locus[names.GWAS].dataset
            ancestries = [str(a) for a in gwas[names.ANCESTRY].values]
            genes = [str(gene) for gene in locus[names.GENES].dataset[names.GENE].values]
            contexts = list(locus[names.EXPRESSION].children)
            weights = trained[f"{i}"]  # (ancestry, context, p, gene)
            flat = np.moveaxis(weights, 1, -1).reshape(len(ancestries), weights.shape[2], -1)
            yield PointBlock(
                [gene for gene in genes for _ in contexts],
                list(flat),
                [_ld(locus, a) for a in ancestries],
                [gwas["z"].sel(ancestry=a).values for a in ancestries],
                [float(np.nanmedian(gwas["n"].sel(ancestry=a).values)) for a in ancestries],
            )


def _ld(locus: xr.DataTree, ancestry: str) -> np.ndarray:
    return correlation(locus[f"{names.LD}/{ancestry}"].dataset["dosage"].transpose(names.VARIANT, ...).values)


def _elastic_net(locus: xr.DataTree) -> np.ndarray:
    """(ancestry, context, p, gene) weights, zero where a gene or a panel is absent."""
    genes = locus[names.GENES].dataset
    position, window = locus.dataset["position"].values, locus.attrs["cis_window"]
    ancestries = [str(a) for a in locus[names.GWAS].dataset[names.ANCESTRY].values]
    contexts = list(locus[names.EXPRESSION].children)
    out = np.zeros((len(ancestries), len(contexts), len(position), genes.sizes[names.GENE]))
    where, payloads = [], []
    for a, ancestry in enumerate(ancestries):
        for c, context in enumerate(contexts):
            group = locus[f"{names.EXPRESSION}/{context}"].children
            if ancestry not in group:
                continue
            panel = group[ancestry].dataset
            at = genes[names.GENE].to_index().get_indexer(panel[names.GENE].to_index())
            cis = np.abs(position - genes["tss"].values[at][:, None]) <= window
            dosage = panel["dosage"].transpose(names.VARIANT, names.DONOR).values
            expression = panel["expression"].transpose(names.GENE, names.DONOR).values
            payloads.append({"dosage": dosage, "expression": expression, "cis": cis})
            where.append((a, c, at))
    answers = peers.call("elastic_net_worker.py", payloads)
    for (a, c, at), answer in zip(where, answers, strict=True):
        out[a, c][:, at] = answer["weights"]
    return out


def focus(folder: Path, weights_of: str) -> pd.DataFrame:
    blocks = list(point_blocks(folder, weights_of))
    results = focus_pips([Region(block.weights, block.ld, block.z) for block in blocks])
    pips = np.concatenate([result.pip for result in results])
    table = pd.DataFrame({"gene": [gene for block in blocks for gene in block.targets], "pip": pips})
    return table.groupby("gene", as_index=False)["pip"].max().dropna()


def twas(folder: Path, weights_of: str) -> pd.DataFrame:
    """w'z / sqrt(w'Rw), ancestries weighted by sqrt(n); the best context; called at Bonferroni's 0.05."""
    genes: list[str] = []
    scores = []
    for block in point_blocks(folder, weights_of):
        top, people = np.zeros(len(block.targets)), np.zeros(len(block.targets))
        for w, z, ld, n in zip(block.weights, block.z, block.ld, block.n, strict=True):
            used = np.flatnonzero(np.isfinite(z) & np.isfinite(np.diag(ld)) & (w != 0).any(axis=1))
            variance = np.einsum("pg,pg->g", ld[np.ix_(used, used)] @ w[used], w[used])
            known = variance > 1e-12
            top[known] += np.sqrt(n) * (w[used].T @ z[used])[known] / np.sqrt(variance[known])
            people[known] += n
        genes += block.targets
        scores.append(np.abs(top) / np.sqrt(np.maximum(people, 1.0)))
    score = np.concatenate(scores)
    called = 2 * norm.sf(score) < 0.05 / len(score)
    table = pd.DataFrame({"gene": genes, "score": score, "called": called})
    return table.groupby("gene", as_index=False).max()


METHODS: dict[str, Method] = {
    "bayestwas": partial(ours, variable="pip"),
    "priors at their mean": partial(ours, variable="pip_fixed_priors"),
    "LD as exact": partial(ours, variable="pip_weights"),
    "LD without its finite size": partial(ours, variable="pip_without_finite_ld"),
    "LD without mismatch": partial(ours, variable="pip_without_mismatch"),
    "no background": partial(ours, variable="pip_without_background"),
    "weights as their mean": partial(ours, variable="pip_ld"),
    "plug-in": partial(ours, variable="pip_plugin"),
    "one effect, no LD": partial(ours, variable="pip_one_effect"),
    "TWAS, our means": partial(twas, weights_of=MEANS),
    "MA-FOCUS, our means": partial(focus, weights_of=MEANS),
    "MA-FOCUS, elastic net": partial(focus, weights_of=ELASTIC_NET),
    "TWAS, elastic net": partial(twas, weights_of=ELASTIC_NET),
}
NEED_PEERS = ("MA-FOCUS, our means", "MA-FOCUS, elastic net", "TWAS, elastic net")
