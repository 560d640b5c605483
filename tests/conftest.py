"""A synthetic result that several folders of tests read: nothing in it was estimated."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.results import blank_result, concat_results

ANCESTRIES = ("EUR", "AFR", "EAS")
CONTEXTS = ("liver", "blood")
REFERENCE_SIZES = (489.0, 639.0, 481.0)


def pytest_report_header() -> str:
    """Which generation of PyMC and ArviZ a run has exercised: the continuous integration runs both."""
    libraries = ("pymc", "arviz", "pytensor", "nutpie")
    return "models: " + ", ".join(f"{name} {version(name)}" for name in libraries)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard() -> Iterator[None]:
    """Processes in the background, those that run tests side by side among them, begin deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _association(position: np.ndarray, causal: int, peak: float, rng: np.random.Generator) -> tuple:
    """z-scores and r2 with the lead that fall off with the distance from a causal position."""
    decay = np.exp(-np.abs(position - causal) / 60_000) * rng.choice([1.0, 0.9, 0.3, -0.6], position.size)
    z = peak * decay + rng.standard_normal(position.size)
    lead = int(np.argmax(np.abs(z)))
    r2 = np.clip(decay * np.sign(decay[lead]) + 0.05 * rng.standard_normal(position.size), -1, 1) ** 2
    r2[lead] = 1.0
    return z, r2


def _fill_genes(result: xr.DataTree, rng: np.random.Generator, fitted: np.ndarray) -> None:
    marginals, observed = result["marginals"].dataset, result["observed_data"].dataset
    n = int(fitted.sum())
    pip = np.sort(rng.beta(0.15, 1.0, n))[::-1]
    pip[0] = 0.93
    shape = (n, marginals.sizes["context"], marginals.sizes["ancestry"])
    share = rng.dirichlet(np.ones(shape[1]), n)
    values = {
        "pip": pip,
        "pip_mcse": rng.uniform(0.001, 0.02, n),
        "pip_fixed_priors": np.clip(pip + 0.01, 0, 1),
        "pip_plugin": np.clip(pip + rng.normal(0, 0.2, n), 0, 1),
        "pip_weights": np.clip(pip + rng.normal(0, 0.1, n), 0, 1),
        "pip_ld": np.clip(pip + rng.normal(0, 0.1, n), 0, 1),
        "pip_without_finite_ld": np.clip(pip + 0.04, 0, 1),
        "pip_without_mismatch": np.clip(pip + 0.03, 0, 1),
        "pip_without_background": np.clip(pip + 0.02, 0, 1),
        "pip_one_effect": np.clip(pip - 0.02, 0, 1),
        "best_context": marginals["context"].values[np.argmax(share, axis=1)],
        "gene_effect": rng.normal(0, 0.05, n),
        "gene_effect_sd": rng.uniform(0.005, 0.02, n),
        "gene_sign_probability": rng.uniform(0, 1, n),
        "credible_set": np.array(["b:1"] + [""] * (n - 1), dtype=object),
        "context_pip": pip[:, None] * share,
        "h4": rng.uniform(0, 1, shape[:2]),
        "grcp": rng.uniform(0, 1, shape[:2]),
        "cis_h2": rng.uniform(0.02, 0.3, shape[:2]),
        "cis_h2_sd": rng.uniform(0.005, 0.05, shape[:2]),
        "effect": rng.normal(0, 0.05, shape),
        "effect_sd": rng.uniform(0.005, 0.02, shape),
        "sign_probability": rng.uniform(0, 1, shape),
    }
    for name, value in values.items():
        marginals[name].values[fitted] = value
    observed["twas_z"].values[fitted] = rng.normal(0, 4, n)
    for name in ("conditional_z", "conditional_z_lead"):
        observed[name].values[fitted] = rng.normal(0, 2, n)
    observed["permutation_p"].values[fitted] = rng.uniform(0.001, 1, n)
    observed["expression_excess"].values[fitted] = rng.normal(0, 0.1, shape)
    observed["n_signals"].values[fitted] = np.arange(n) % 3
    observed["heterogeneity_q"].values[fitted] = np.where(np.arange(n) % 3 > 1, rng.chisquare(1, n), np.nan)
    result["posterior"].dataset["gene_effect"].values[:, :, fitted] = rng.normal(0, 0.05, (1, 8, *shape))


def _fill_weights(result: xr.DataTree, rng: np.random.Generator, fitted: np.ndarray) -> xr.DataTree:
    sizes, n = result["marginals"].sizes, 12
    entries = {
        "gene_index": rng.choice(np.flatnonzero(fitted), n),
        "context_index": rng.integers(0, sizes["context"], n),
        "ancestry_index": rng.integers(0, sizes["ancestry"], n),
        "variant_index": rng.integers(0, sizes["variant"], n),
        "draw_index": rng.integers(0, 4, n),
        "probability": np.full(n, 0.25),
        "weight": rng.normal(0, 0.2, n),
    }
    groups = {name: node.to_dataset() for name, node in result.children.items()}
    groups["weights"] = xr.Dataset({name: ("entry", value) for name, value in entries.items()})
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=result.attrs), **groups})


def make_block_result(
    block: str,
    genes: int = 6,
    variants: int = 300,
    ancestries: tuple[str, ...] = ANCESTRIES,
    contexts: tuple[str, ...] = CONTEXTS,
    *,
    status: str = "ok",
    seed: int = 0,
    peak: float = 12.0,
    start: int = 40_000_000,
    simulated: bool = True,
) -> xr.DataTree:
    """A valid result of one block; its last gene is skipped and the one before failed."""
    rng = np.random.default_rng([seed, 20])
    position = np.sort(rng.choice(1_000_000, variants, replace=False)) + start
    table = pd.DataFrame({"variant": [f"20:{x}:C:T" for x in position], "position": position})
    table = table.assign(effect_allele="T", other_allele="C", source_id=[f"rs{x}" for x in position])
    statuses = ["ok"] * (genes - 2) + ["failed", "skipped"]
    gene_table = pd.DataFrame(
        {
            "gene": [f"{block.upper()}-G{i + 1}" for i in range(genes)],
            "chromosome": "20",
            "tss": rng.integers(start, start + 1_000_000, genes),
            "n_variants": rng.integers(20, 200, genes),
            "status": statuses,
            "reason": [{"ok": "", "failed": "the kernel diverged"}.get(s, "zero variance") for s in statuses],
        }
    )
    reason = "" if status == "ok" else "the LD matrix is not positive semidefinite"
    result = blank_result(
        *(block, "20", start, start + 1_000_000, gene_table, contexts, ancestries, table),
        status=status,
        reason=reason,
        n_draws=8,
        simulated=simulated,
    )
    blocks, constant = result["blocks"].dataset, result["constant_data"].dataset
    blocks["n_ref"].values[:] = [dict(zip(ANCESTRIES, REFERENCE_SIZES, strict=True))[a] for a in ancestries]
    causal = int(rng.integers(start + 300_000, start + 700_000))
    for i in range(len(ancestries)):
        z, r2 = _association(position, causal, peak * (1 - 0.25 * i), rng)
        result["observed_data"].dataset["z"].values[i] = z
        constant["r2_lead"].values[i] = r2
    if status in ("ok", "warning"):
        fitted = np.array([s == "ok" for s in statuses])
        direct = result["marginals"].dataset["pip_direct"].values
        direct[:] = rng.beta(0.01, 8.0, variants)
        direct[np.argsort(-np.abs(result["observed_data"].dataset["z"].values[0]))[:3]] = (0.55, 0.2, 0.12)
        for name, value in {"converged": True, "iterations": 12, "seconds": 0.5}.items():
            blocks[name].values[:] = value
        _fill_genes(result, rng, fitted)
        result = _fill_weights(result, rng, fitted)
    return result


@pytest.fixture
def block_results() -> list[xr.DataTree]:
    """Three blocks: a whole one, one with a single context and two ancestries, and one that failed."""
    return [
        make_block_result("b1", seed=1),
        make_block_result(
            "b2", genes=4, ancestries=("AFR", "EUR"), contexts=("blood",), seed=2, start=45_000_000
        ),
        make_block_result("b3", genes=3, status="failed", seed=3, start=50_000_000),
    ]


@pytest.fixture
def synthetic_result(block_results: list[xr.DataTree]) -> xr.DataTree:
    """The three blocks joined."""
    return concat_results(block_results)


@pytest.fixture
def build_block_result():
    """The builder of one block, for tests that need a special one."""
    return make_block_result
