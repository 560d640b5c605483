"""What every gene method starts from: simulated blocks with their truth, point weights, LD per ancestry.

Blocks and elastic-net weights are kept under .benchmarks/blocks, in a folder named by the design and by the
code that draws it, so that a rerun is cheap and a changed simulator never meets an old block.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import peers
import xarray as xr

from bayestwas.data import coalescent, simulate
from bayestwas.data import design as designs

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
        path = self.folder / f"elastic_net.{len(self.simulated)}.pkl"
        if not path.exists():
            with ThreadPoolExecutor(self.workers) as pool:
                weights = list(pool.map(_elastic_net, self.simulated))
            path.write_bytes(pickle.dumps(weights))
        return pickle.loads(path.read_bytes())


def load(preset: str, blocks: int, seed: int, workers: int) -> Blocks:
    """Draw the blocks of a preset, or read those that an earlier run drew."""
    design = simulate.PRESETS[preset]
    code = b"".join(Path(module.__file__ or "").read_bytes() for module in (coalescent, designs, simulate))
    recipe = repr(design).encode() + code
    folder = CACHE / f"{preset}-seed{seed}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        simulated = list(pool.map(partial(_block, design, folder, seed), range(blocks)))
    return Blocks(simulated, folder, seed, workers)


def _block(design: simulate.Design, folder: Path, seed: int, index: int) -> simulate.SimulatedBlock:
    path = folder / f"block{index:03d}.pkl"
    if not path.exists():
        block = simulate.simulate_block(design, simulate.block_generator(seed, index), index)
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(block))
        part.rename(path)
    return pickle.loads(path.read_bytes())


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


def _elastic_net(block: simulate.SimulatedBlock) -> list[np.ndarray]:
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
    raise NotImplementedError("waits for bayestwas.fit.study.fit_loci")


def posterior_mean_weights(locus: xr.DataTree) -> list[np.ndarray]:
    raise NotImplementedError("waits for bayestwas.fit.weights")
