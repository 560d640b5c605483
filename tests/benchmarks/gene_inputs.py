"""What every gene method starts from: simulated blocks with their truth, point weights, LD per ancestry.

Blocks and elastic-net weights are kept under .benchmarks/blocks, in a folder named by the design and by what
the simulator draws from it today, so that a rerun is cheap and a changed simulator never meets an old block.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import peers
import xarray as xr

from bayestwas.data import simulate

CACHE = Path(__file__).parents[2] / ".benchmarks" / "blocks"


@dataclass(frozen=True)
class BlockArrays:
    """One block as plain arrays per ancestry of the GWAS. Targets are (gene, context) pairs.

    `z` (p,) NaN where absent; `ld` (p, p) correlation of the LD reference, NaN where monomorphic; `n` GWAS
    people.
    """

    genes: list[str]
    z: list[np.ndarray]
    ld: list[np.ndarray]
    n: list[float]


@dataclass(frozen=True)
class Blocks:
    """The simulated blocks of one setting, what is computed from them once, and how much machine to use."""

    simulated: Sequence[simulate.SimulatedBlock]
    folder: Path
    seed: int
    workers: int

    @cached_property
    def loci(self) -> list[xr.DataTree]:
        return [block.to_locus() for block in self.simulated]

    @cached_property
    def truth(self) -> pd.DataFrame:
        """block, gene, causal."""
        return pd.concat(
            [block.genes[["block", "gene", "causal"]] for block in self.simulated], ignore_index=True
        )

    @cached_property
    def results(self) -> list[xr.DataTree]:
        """Our own fit of every block, under priors learned over all of them."""
        return fit(self)

    @cached_property
    def mean_weights(self) -> list[list[np.ndarray]]:
        """Per block and ancestry (p, G): posterior mean of the expression weights, the GWAS not looked at."""
        return [posterior_mean_weights(locus) for locus in self.loci]

    @cached_property
    def elastic_net_weights(self) -> list[list[np.ndarray]]:
        """Per block and ancestry (p, G): elastic net on that ancestry's own panel."""
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(partial(_elastic_net, self.folder), self.simulated))


def load(preset: str, blocks: int, seed: int, workers: int) -> Blocks:
    """Draw the blocks of a preset, or read those that an earlier run drew."""
    design = simulate.PRESETS[preset]
    first = simulate.simulate_block(design, simulate.block_generator(seed, 0), 0)
    recipe = repr((design, [field.name for field in fields(first)])).encode()
    drawn = b"".join(z.tobytes() for z in first.z.values())
    folder = CACHE / f"{preset}-seed{seed}-{hashlib.sha256(recipe + drawn).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    from bayestwas.run.execute import executor

    with executor(workers) as mapper:
        simulated = list(mapper.map(partial(_block, design, folder, seed), range(blocks)))
    return Blocks(simulated, folder, seed, workers)


def _block(design: simulate.Design, folder: Path, seed: int, index: int) -> simulate.SimulatedBlock:
    path = folder / f"block{index:03d}.pkl"
    if not path.exists():
        block = simulate.simulate_block(design, simulate.block_generator(seed, index), index)
        _keep(path, block)
    return pickle.loads(path.read_bytes())


def _keep(path: Path, value: object) -> None:
    """All of the file or none of it, should the run be stopped."""
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(value))
    part.rename(path)


def arrays(block: simulate.SimulatedBlock) -> BlockArrays:
    ancestries = list(block.z)
    return BlockArrays(
        genes=block.genes["gene"].tolist(),
        z=[block.z[a] for a in ancestries],
        ld=[correlation(block.reference[a]) for a in ancestries],
        n=[block.n[a] for a in ancestries],
    )


def correlation(dosage: np.ndarray) -> np.ndarray:
    """(p, p) from dosages without missing values; NaN rows and columns where a variant is monomorphic."""
    x = dosage - dosage.mean(axis=1, keepdims=True)
    norm = np.sqrt((x**2).sum(axis=1))
    x = (x / np.where(norm > 0, norm, np.nan)[:, None]).astype(np.float32)
    return (x @ x.T).astype(np.float64)


# ---- weights ----------------------------------------------------------------------------------------------


def _context(block: simulate.SimulatedBlock) -> str:
    (context,) = block.design.contexts  # the two settings have one tissue; the peers' gene PIP is per tissue
    return context


def _elastic_net(folder: Path, block: simulate.SimulatedBlock) -> list[np.ndarray]:
    path = folder / f"elastic_net{block.index:03d}.pkl"
    if not path.exists():
        _keep(path, _train_elastic_net(block))
    return pickle.loads(path.read_bytes())


def _train_elastic_net(block: simulate.SimulatedBlock) -> list[np.ndarray]:
    position = block.variants["position"].to_numpy()
    cis = np.abs(position - block.genes["tss"].to_numpy()[:, None]) <= block.design.cis_window
    context = _context(block)
    payloads = [
        {
            "dosage": block.panel_dosage(context, ancestry),
            "expression": block.expression[context, ancestry].loc[block.genes["gene"]].to_numpy(),
            "cis": cis,
        }
        for ancestry in block.z
    ]
    return [out["weights"] for out in peers.call("elastic_net_worker.py", payloads)]


def fit(blocks: Blocks) -> list[xr.DataTree]:
    """Our fit, as a run would do it: priors learned over all blocks, then a result for each."""
    from bayestwas.fit.study import fit_study
    from bayestwas.run.execute import executor

    sources = [partial(_locus, blocks.folder / f"block{b.index:03d}.pkl") for b in blocks.simulated]
    with executor(blocks.workers) as mapper:
        return fit_study(sources, seed=blocks.seed, mapper=mapper)


def _locus(path: Path) -> xr.DataTree:
    return pickle.loads(path.read_bytes()).to_locus()


def posterior_mean_weights(locus: xr.DataTree) -> list[np.ndarray]:
    """Posterior mean under default priors, per ancestry of the GWAS (p, G); zero for a gene without a fit."""
    from bayestwas.fit.weights import fit_weights

    mean = fit_weights(locus)["marginals"]["weight_mean"]
    mean = mean.reindex(gene=locus["genes"]["gene"].values, fill_value=0.0).squeeze("context")
    mean = mean.transpose("ancestry", "variant", "gene")
    return [mean.sel(ancestry=ancestry).values.astype(float) for ancestry in locus["gwas"]["ancestry"].values]
