"""From posteriors to the labelled result of one block."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.data.results import blank_of_locus, check_result
from bayestwas.data.studies import DEFAULT_CIS_WINDOW
from bayestwas.engine.credible import credible_set
from bayestwas.engine.gene_trait import GeneTraitPosterior, GeneTraitPriors, twas_z
from bayestwas.engine.likelihood import covariance_root, presence
from bayestwas.fit.panels import read_panels
from bayestwas.fit.prepared import Prepared, gene_seed, targets
from bayestwas.fit.settings import Settings

LEFT_OUT = 0.01  # of the sum of absolute mean weights of a gene in one context and ancestry
# why a gene that was measured has no fit: without, and with variants in its cis-window
NOT_FITTED = ("no usable variant in its cis-window", "no expression that varies, in any context")


def describe(
    locus: xr.DataTree,
    prepared: Prepared,
    posteriors: Mapping[str, GeneTraitPosterior],
    priors: GeneTraitPriors,
    settings: Settings,
    seed: int,
    began: float,
) -> xr.DataTree:
    """The result of one block.

    `posteriors` holds, under "pip", the one with everything carried and, under the names of their PIPs, those
    with a source switched off. `began`: the processor time at which the block was begun.
    """
    full = posteriors["pip"]
    result = blank_of_locus(locus, n_draws=settings.posterior_draws)
    fills = {group: result[group].to_dataset() for group in names.RESULT_VARIABLES}
    gene_labels = [str(g) for g in fills[names.MARGINALS][names.GENE].values]
    at = np.array([gene_labels.index(gene.gene) for gene in prepared.genes], dtype=np.intp)
    owner = targets(prepared)
    gene_of = np.array([t.gene for t in owner], dtype=np.intp)
    context_of = np.array([t.context for t in owner], dtype=np.intp)
    marginals = fills[names.MARGINALS]
    for name, posterior in posteriors.items():
        marginals[name].values[at] = posterior.gene_pip
    marginals["pip_mcse"].values[at] = full.gene_mcse
    where = (at[gene_of], context_of)
    marginals["context_pip"].values[where] = full.pip
    gwas = len(prepared.z)
    spread = np.sqrt(np.maximum(np.einsum("taa->ta", full.effect_covariance), 0.0))
    for name, values in (("effect", full.effect), ("effect_sd", spread), ("sign_probability", full.positive)):
        marginals[name].values[*where, :gwas] = values
    for gene, row in zip(prepared.genes, at, strict=True):
        kept = list(gene.contexts)
        marginals["cis_h2"].values[row, kept] = gene.h2[kept]
        marginals["cis_h2_sd"].values[row, kept] = gene.h2_sd[kept]
    marginals["pip_direct"].values[:] = full.pip_direct
    _best_context(fills, prepared, full, at, gene_of, context_of)
    _credible_sets(marginals, full, locus.attrs["block"], at, settings.level)
    _draws(
        fills[names.POSTERIOR], full, where, settings.posterior_draws, gene_seed(seed, locus.attrs["block"])
    )
    fills[names.WEIGHTS] = _sparse_weights(prepared, at)
    fills[names.MEAN_WEIGHTS] = _mean_weights(prepared, at)
    _constants(fills, locus, prepared, full, at, settings, began)
    fills = {group: _missing_where_skipped(data, at) for group, data in fills.items()}
    attrs = result.attrs | {
        "priors": json.dumps(priors.told()), "settings": json.dumps(asdict(settings)), "seed": seed,
    }  # fmt: skip
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **fills}, name="result")
    check_result(tree)
    return tree


def _best_context(
    fills: dict[str, xr.Dataset],
    prepared: Prepared,
    full: GeneTraitPosterior,
    at: NDArray[np.intp],
    gene_of: NDArray[np.intp],
    context_of: NDArray[np.intp],
) -> None:
    """The context with the highest PIP, the gene's effect there over ancestries, and the classical TWAS z."""
    marginals, observed = fills[names.MARGINALS], fills[names.OBSERVED]
    studies = len(prepared.ancestries)
    for g, row in enumerate(at):
        mine = np.flatnonzero(gene_of == g)
        best = mine[np.argmax(full.pip[mine])]
        context = int(context_of[best])
        marginals["best_context"].values[row] = prepared.contexts[context]
        marginals["gene_effect"].values[row] = full.effect[best].mean()
        marginals["gene_effect_sd"].values[row] = np.sqrt(max(full.effect_covariance[best].mean(), 0.0))
        marginals["gene_sign_probability"].values[row] = full.positive_mean[best]
        part = slice(context * studies, context * studies + len(prepared.z))
        observed["twas_z"].values[row] = twas_z(
            prepared.z, prepared.n, prepared.ld, prepared.genes[g].mean[part]
        )


def _credible_sets(
    marginals: xr.Dataset, full: GeneTraitPosterior, block: str, at: NDArray[np.intp], level: float
) -> None:
    """Name each single effect whose genes reach the level beside the genes of its credible set."""
    held: list[list[str]] = [[] for _ in at]
    number = 0
    for alpha in full.gene_alpha:
        members = credible_set(alpha, level)
        if len(members):
            number += 1
            for g in members:
                held[g].append(f"{block}:{number}")
    for g, row in enumerate(at):
        marginals["credible_set"].values[row] = ",".join(held[g])


def _draws(
    posterior: xr.Dataset,
    full: GeneTraitPosterior,
    where: tuple[NDArray[np.intp], NDArray[np.intp]],
    count: int,
    seed: np.random.SeedSequence,
) -> None:
    """Draws of the gene effects: every single effect picks a gene-context or something else, then a Gaussian
    effect."""
    rng = np.random.default_rng(seed)
    values = posterior["gene_effect"].values
    gwas = full.effect.shape[1]
    genes, contexts = where
    roots = np.array([covariance_root(covariance) for covariance in full.effect_covariance]).reshape(
        -1, gwas, gwas
    )
    values[:, :, genes, contexts, :gwas] = 0.0
    for alpha in full.alpha:
        cumulative = np.cumsum(alpha)
        pick = np.searchsorted(cumulative, rng.random(count), side="right")
        draw = np.flatnonzero(pick < len(alpha))
        t = pick[draw]
        noise = rng.standard_normal((len(draw), gwas))
        values[0, draw, genes[t], contexts[t], :gwas] += full.effect[t] + np.einsum(
            "dab,db->da", roots[t], noise
        )


def _sparse_weights(prepared: Prepared, at: NDArray[np.intp]) -> xr.Dataset:
    """The draws of the weights as (gene, context, ancestry, variant, draw) entries with their
    probabilities."""
    studies = len(prepared.ancestries)
    parts: dict[str, list[NDArray[np.generic]]] = {name: [] for name in names.RESULT_VARIABLES[names.WEIGHTS]}
    for g, row in enumerate(at):
        gene = prepared.genes[g]
        for c in gene.contexts:
            for a in range(studies):
                entries = gene.draws.columns[c * studies + a].tocoo()
                count = len(entries.data)
                for name, value in (("gene_index", row), ("context_index", c), ("ancestry_index", a)):
                    parts[name].append(np.full(count, value, dtype=np.int64))
                parts["variant_index"].append(entries.coords[1].astype(np.int64))
                parts["draw_index"].append(entries.coords[0].astype(np.int64))
                parts["probability"].append(np.exp(gene.draws.log_weight)[entries.coords[0]])
                parts["weight"].append(entries.data)
    return _entries(parts)


def _mean_weights(prepared: Prepared, at: NDArray[np.intp]) -> xr.Dataset:
    """The posterior means of the weights: of each gene, context and ancestry the largest, single precision.

    What is left out adds up to at most `LEFT_OUT` of all absolute weights, which bounds its effect on a
    predicted expression in SD, whatever the LD.
    """
    studies = len(prepared.ancestries)
    indices = ("gene_index", "context_index", "ancestry_index", "variant_index")
    parts: dict[str, list[NDArray[np.generic]]] = {name: [] for name in (*indices, "weight")}
    for g, row in enumerate(at):
        for c in prepared.genes[g].contexts:
            for a in range(studies):
                mean = prepared.genes[g].mean[c * studies + a].tocoo()
                order = np.argsort(-np.abs(mean.data), kind="stable")
                held = np.cumsum(np.abs(mean.data[order]))
                count = int(np.searchsorted(held, (1 - LEFT_OUT) * held[-1]) + 1) if len(held) else 0
                kept = np.sort(order[:count])
                for name, value in (("gene_index", row), ("context_index", c), ("ancestry_index", a)):
                    parts[name].append(np.full(len(kept), value, dtype=np.int64))
                parts["variant_index"].append(mean.coords[1][kept].astype(np.int64))
                parts["weight"].append(mean.data[kept].astype(np.float32))
    return _entries(parts)


def _entries(parts: Mapping[str, list[NDArray[np.generic]]]) -> xr.Dataset:
    empty = {name: np.empty(0, dtype=np.int64 if name.endswith("index") else np.float64) for name in parts}
    return xr.Dataset(
        {name: (names.ENTRY, np.concatenate(part) if part else empty[name]) for name, part in parts.items()}
    )


def _constants(
    fills: dict[str, xr.Dataset],
    locus: xr.DataTree,
    prepared: Prepared,
    full: GeneTraitPosterior,
    at: NDArray[np.intp],
    settings: Settings,
    began: float,
) -> None:
    """Statuses, LD with the lead variant, the size of each cis-window, and how the fit went."""
    constant, blocks = fills[names.CONSTANT], fills[names.BLOCKS]
    strongest = np.nan_to_num(np.abs(prepared.z)).max(axis=0)
    if len(strongest):
        lead = np.array([int(np.argmax(strongest))])
        for a, one in enumerate(prepared.ld):
            constant["r2_lead"].values[a] = np.where(one.variance > 0, one.columns(lead)[:, 0] ** 2, np.nan)
    position, tss = locus.dataset["position"].values, constant["tss"].values
    window = float(locus.attrs.get("cis_window", DEFAULT_CIS_WINDOW))
    near = np.abs(position[None] - tss[:, None]) <= window
    constant["n_variants"].values[:] = (near & _usable(locus, prepared, settings)).sum(axis=1)
    marginals = fills[names.MARGINALS]
    for row in at:
        error = float(marginals["pip_mcse"].values[row])
        if error > settings.target_mcse:
            constant["status"].values[row] = names.WARNING
            limit = f"above {settings.target_mcse:g}, after the most draws allowed"
            reason = f"Monte Carlo error of the PIP is {error:.3f}, {limit}"
            before = constant["reason"].values[row]
            constant["reason"].values[row] = f"{before}; {reason}" if before else reason
    for a, found in enumerate(prepared.learned.errors):
        blocks["mismatch"].values[0, a] = found.delta if found.mismatched else 0.0
        blocks["background"].values[0, a] = found.tau2 if found.polygenic else 0.0
    blocks["converged"].values[0] = full.fit.converged
    blocks["iterations"].values[0] = full.fit.sweeps
    blocks["seconds"].values[0] = time.process_time() - began
    if not full.fit.converged:
        blocks["block_status"].values[0] = names.WARNING
        blocks["block_reason"].values[0] = (
            f"did not converge in {full.fit.sweeps} sweeps: read its PIPs with care"
        )


def _usable(locus: xr.DataTree, prepared: Prepared, settings: Settings) -> NDArray[np.bool_]:
    """(p,) whether a variant can be used in at least one GWAS or expression panel."""
    panels = read_panels(locus, settings.min_allele_count).values()
    seen = [panel.ld.variance > 0 for panel in panels]
    return np.asarray(np.any([*presence(prepared.z, prepared.ld), *seen], axis=0))


def _missing_where_skipped(data: xr.Dataset, at: NDArray[np.intp]) -> xr.Dataset:
    """A gene that was measured somewhere and still has no fit is skipped, with the reason."""
    if "status" not in data:
        return data
    status, reason = data["status"].values, data["reason"].values
    for row in set(range(len(status))) - {int(i) for i in at}:
        if status[row] in (names.OK, names.WARNING):
            status[row] = names.SKIPPED
            reason[row] = reason[row] or NOT_FITTED[int(data["n_variants"].values[row] > 0)]
    return data
