"""Gene-trait posteriors of a locus by sampling a generative model (method="pymc").

The candidates are genes, and signals that act directly. Which weights a gene has, in which of its contexts it
acts, and which variant carries a direct signal is picked by the joint draws of the model; a draw is proposed
half from its prior and half from where the GWAS supports it, and weighted back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from bayestwas import names
from bayestwas.engine import gene_trait as engine
from bayestwas.engine.gene_trait import EffectSizes, GeneTraitPosterior, GeneTraitPriors
from bayestwas.engine.likelihood import Candidates, covariance_root, diagonal_terms, quadratic_forms
from bayestwas.engine.single_effects import SingleEffects
from bayestwas.errors import SettingsError
from bayestwas.fit.describe import NOT_FITTED, describe
from bayestwas.fit.gene_trait import sufficient
from bayestwas.fit.prepared import SETS, Prepared, gene_seed, targets
from bayestwas.fit.sampling import Sampling, compile_model, find_model
from bayestwas.fit.settings import Settings
from bayestwas.fit.triangulation import triangulate
from bayestwas.models import Model

Floats = NDArray[np.float64]
MOST_CANDIDATES = 8  # of the 12 that a model can enumerate: a few minutes instead of an hour
MOST_DIRECT = 3
CREDIBLE = 0.99  # of a direct signal: its variants up to this share
JOINT_DRAWS = 64


@dataclass(frozen=True)
class Candidate:
    """What competes for the trait: a gene, or a signal that acts directly.

    Attributes
    ----------
    label : of the candidate. columns : per ancestry, (B, p) sparse alternatives of which one is true.
    prior : (B,) their probabilities. log_bf : (B,) log Bayes factor of each alone against nothing.
    log_odds, scale : prior odds relative to a gene's, and prior SD relative to a gene's.
    owner : (B,) the gene-context among the targets, or the variant.
    """

    label: str
    columns: tuple[sparse.csr_array, ...]
    prior: Floats
    log_bf: Floats
    log_odds: float
    scale: float
    owner: NDArray[np.intp]


def sample_genes(
    locus: xr.DataTree,
    weights: xr.DataTree,
    *,
    model: str | Model = "gene_trait",
    sampling: Sampling | None = None,
    settings: Settings | None = None,
    joint_draws: int = JOINT_DRAWS,
    most_candidates: int = MOST_CANDIDATES,
    seed: int = 1,
) -> xr.DataTree:
    """Posterior of the genes of a locus under a generative model; the noise of a finite LD reference enters
    as a common inflation of the noise of z.

    Parameters
    ----------
    locus, weights : as `fit_genes` takes them; weights of either method.
    model : name of a built-in model, or a `bayestwas.models.Model` of one's own with the data and
        deterministics of `gene_trait`.
    sampling, seed : how to sample. joint_draws : D, draws of all weights that the model averages over.
    most_candidates : genes and direct signals that compete, those with the highest evidence; the others are
        skipped, with that reason. At most 12; the time doubles with each.

    Returns
    -------
    The DataTree of `fit_genes`, and in `sampling` the draws of the model's parameters. PIPs with a source of
    uncertainty switched off are not computed (NaN).
    """
    for name, value, low, high in (
        ("most_candidates", most_candidates, 1, 12), ("joint_draws", joint_draws, SETS, 4096),
    ):  # fmt: skip
        if not low <= value <= high:
            raise SettingsError(
                f"{name} = {value}", f"{name} is a whole number from {low} to {high}", f"Leave {name} out"
            )
    # the models of `models/` have no background
    settings, priors = replace(settings or Settings(), background=False), engine.DEFAULT_PRIORS
    began = time.process_time()
    chosen = find_model(model)
    prepared, first = sufficient(locus, weights, priors, settings, seed)  # draws where the GWAS supports them
    seen = _with_ld_noise(prepared, first.fit)
    genes = _gene_candidates(seen, priors)
    signals = engine.fit_direct(prepared.z, prepared.n, prepared.ld, priors, effects=settings.trait_effects)
    direct = _direct_candidates(seen, priors, signals)[: max(most_candidates - 1, 0)]
    order = np.argsort([-_evidence(one) for one in genes], kind="stable")
    kept = np.sort(order[: most_candidates - len(direct)])
    prepared, seen = (replace(one, genes=tuple(prepared.genes[i] for i in kept)) for one in (prepared, seen))
    candidates = [*_gene_candidates(seen, priors), *direct]
    if not candidates:
        return describe(locus, prepared, {"pip": first}, priors, settings, seed, began)
    rng = np.random.default_rng(gene_seed(seed, locus.attrs["block"]))
    data, picks = _joint(seen, candidates, joint_draws, rng)
    coords = {
        names.ANCESTRY: list(prepared.ancestries[: len(prepared.z)]),
        names.VARIANT: range(data["ld"].shape[1]), "variant_": range(data["ld"].shape[1]),
        "candidate": [one.label for one in candidates], "weight_draw": range(joint_draws),
    }  # fmt: skip
    fit = compile_model(chosen, data, coords, sampling).sample(data, seed=seed)
    converged = replace(signals, converged=fit.attrs["status"] == names.OK)
    full = _posterior(fit[names.POSTERIOR].dataset, prepared, candidates, picks, converged)
    tree = describe(locus, prepared, {"pip": full}, priors, settings, seed, began)
    triangulate(tree, locus, weights, prepared, seed)
    _say(tree, fit, {gene.gene for gene in prepared.genes}, most_candidates)
    scalars = [str(name) for name, one in fit[names.POSTERIOR].data_vars.items() if one.ndim == 2]
    tree["sampling"] = xr.DataTree(fit[names.POSTERIOR].dataset[[*scalars, "pip"]])
    tree.attrs |= {"method": "pymc", "model": chosen.name, "sampler": fit.attrs["sampler"]}
    return tree


def _with_ld_noise(prepared: Prepared, fit: SingleEffects) -> Prepared:
    """The block as if z had the noise that a finite or mismatched LD reference adds, z / sqrt(v) and n / v;
    the model itself takes LD as known.
    """
    inflation = engine.common_inflation([fit], prepared.learned.seen()[1])
    return replace(prepared, z=prepared.z / np.sqrt(inflation)[:, None], n=prepared.n / inflation)


def _gene_candidates(prepared: Prepared, priors: GeneTraitPriors) -> list[Candidate]:
    """The genes of a block; the alternatives of each are its contexts and draws."""
    out = []
    owners = list(enumerate(targets(prepared)))
    for g, gene in enumerate(prepared.genes):
        mine = [(t, one) for t, one in owners if one.gene == g]
        columns = tuple(
            sparse.csr_array(sparse.vstack([one.columns[a] for _, one in mine]))
            for a in range(len(prepared.z))
        )
        out.append(
            Candidate(
                gene.gene,
                columns,
                np.concatenate([np.exp(one.log_weight) / len(mine) for _, one in mine]),
                _log_bf(prepared, columns, priors.gene_sizes),
                0.0,
                1.0,
                np.concatenate([np.full(len(one.log_weight), t) for t, one in mine]).astype(np.intp),
            )
        )
    return out


def _direct_candidates(prepared: Prepared, priors: GeneTraitPriors, fit: SingleEffects) -> list[Candidate]:
    """Signals of the trait that one variant each could carry without a gene: the most likely ones."""
    out: list[Candidate] = []
    taken: set[int] = set()
    for effect in np.flatnonzero(fit.null < 0.5)[:MOST_DIRECT]:
        alpha = fit.alpha[effect].sum(axis=1)
        order = np.argsort(-alpha, kind="stable")
        size = int(np.searchsorted(np.cumsum(alpha[order]), CREDIBLE * alpha.sum())) + 1
        variants = np.array([j for j in order[:size] if j not in taken], dtype=np.intp)
        if not len(variants):
            continue
        taken |= set(variants.tolist())
        unit = sparse.csr_array(
            (np.ones(len(variants)), (np.arange(len(variants)), variants)),
            shape=(len(variants), prepared.z.shape[1]),
        )
        columns = (unit,) * len(prepared.z)
        out.append(
            Candidate(
                f"direct{len(out) + 1}",
                columns,
                np.full(len(variants), 1 / len(variants)),
                _log_bf(prepared, columns, priors.direct_sizes),
                float(np.log(len(variants) * priors.direct / priors.gene)),
                float(np.sqrt(priors.direct_sizes.mean_variance / priors.gene_sizes.mean_variance)),
                variants,
            )
        )
    return out


def _log_bf(prepared: Prepared, columns: Sequence[sparse.csr_array], sizes: EffectSizes) -> Floats:
    """Log Bayes factor of every column alone, LD as known, averaged over the sizes of its effect."""
    z, present = np.nan_to_num(prepared.z), np.isfinite(prepared.z)
    part = [sparse.csr_array(one.multiply(present[a][None])) for a, one in enumerate(columns)]
    u = np.array([np.sqrt(prepared.n[a]) * (one @ z[a]) for a, one in enumerate(part)])
    information = np.array(
        [prepared.n[a] * quadratic_forms(one, prepared.ld[a]) for a, one in enumerate(part)]
    )
    root = covariance_root(sizes.covariance(len(z)))
    each = [
        np.log(weight) + diagonal_terms(u, information, np.full(u.shape[1], variance), root)[0]
        for variance, weight in zip(sizes.variances, sizes.weights, strict=True)
    ]
    return np.asarray(np.logaddexp.reduce(each, axis=0))


def _evidence(candidate: Candidate) -> float:
    """Log Bayes factor of a candidate alone, averaged over its alternatives."""
    with np.errstate(divide="ignore"):
        return float(np.logaddexp.reduce(np.log(candidate.prior) + candidate.log_bf))


def _joint(
    prepared: Prepared, candidates: Sequence[Candidate], draws: int, rng: np.random.Generator
) -> tuple[dict[str, Any], NDArray[np.intp]]:
    """Data of the model from joint draws of all alternatives, and which each draw picked, (D, K).

    Half of the draws of a candidate follow its prior and half the posterior it has alone; the weight of a
    joint draw is the product of prior over proposal, which is at most two for each candidate.
    """
    picks = np.empty((draws, len(candidates)), dtype=np.intp)
    log_weight = np.zeros(draws)
    for k, one in enumerate(candidates):
        tilted = one.prior * np.exp(one.log_bf - one.log_bf.max())
        proposal = 0.5 * one.prior + 0.5 * tilted / tilted.sum()
        points = (rng.permutation(draws) + rng.random()) / draws  # one in each stratum, in random order
        cumulative = np.cumsum(proposal) / proposal.sum()
        picks[:, k] = np.minimum(np.searchsorted(cumulative, points), len(proposal) - 1)
        log_weight += np.log(one.prior[picks[:, k]] / proposal[picks[:, k]])
    used = np.unique(
        np.concatenate(
            [column.indices for k, one in enumerate(candidates) for column in _picked(one, picks[:, k])]
            + [np.empty(0, dtype=np.intp)]
        )
    ).astype(np.intp)
    columns = np.stack(
        [
            np.stack([column[:, used].toarray() for column in _picked(one, picks[:, k])], axis=1)
            for k, one in enumerate(candidates)
        ],
        axis=-1,
    )
    data = {
        "z": prepared.z[:, used],
        "n": prepared.n,
        "ld": np.array([one.gram(used) for one in prepared.ld]),
        "columns": columns,
        "log_weight": log_weight,
        "log_odds": np.array([one.log_odds for one in candidates]),
        "scale": np.array([one.scale for one in candidates]),
    }
    return data, picks


def _picked(candidate: Candidate, picks: NDArray[np.intp]) -> list[sparse.csr_array]:
    return [sparse.csr_array(column[picks]) for column in candidate.columns]


def _posterior(
    draws: xr.Dataset,
    prepared: Prepared,
    candidates: Sequence[Candidate],
    picks: NDArray[np.intp],
    direct: SingleEffects,
) -> GeneTraitPosterior:
    """What `describe` tells of a block, from the model's draws; `direct` is what proposed the signals."""
    joint, first, second = (
        draws[name].transpose("chain", "draw", "weight_draw", "candidate", ...).values
        for name in ("draw_pip", "draw_effect", "draw_square")
    )
    genes, owner_of = len(prepared.genes), targets(prepared)
    share = joint.mean(axis=(0, 1))  # (D, K)
    at = np.maximum(share, 1e-300)[:, :, None]
    mean = first.mean(axis=(0, 1)) / at  # (D, K, A + 1), the last that of the mean over ancestries
    square = second.mean(axis=(0, 1)) / at
    positive = ndtr(mean / np.sqrt(np.maximum(square - mean**2, 1e-300)))
    rows = len(owner_of), mean.shape[2]
    pip, effect, spread, sign = np.zeros(rows[0]), np.zeros(rows), np.zeros(rows), np.full(rows, 0.5)
    error = np.zeros(rows[0])
    for k in range(genes):
        owner = candidates[k].owner[picks[:, k]]
        for t in np.unique(candidates[k].owner):
            weight = np.where(owner == t, share[:, k], 0.0)
            pip[t] = weight.sum()
            error[t] = _error(weight, draws, picks)
            weight = weight / max(pip[t], 1e-300)
            effect[t] = weight @ mean[:, k]
            spread[t] = np.maximum(weight @ square[:, k] - effect[t] ** 2, 0.0)
            sign[t] = weight @ positive[:, k]
    gene_pip = np.minimum(share[:, :genes].sum(axis=0), 1.0)
    pip_direct = np.zeros(prepared.z.shape[1])
    for k in range(genes, len(candidates)):
        np.add.at(pip_direct, candidates[k].owner[picks[:, k]], share[:, k])
    return GeneTraitPosterior(
        alpha=np.diag(np.minimum(pip, 1.0)),
        pip=np.minimum(pip, 1.0),
        mcse=error,
        gene_alpha=np.zeros((1, genes)),
        gene_pip=gene_pip,
        gene_mcse=np.array([_error(share[:, k], draws, picks) for k in range(genes)]),
        effect=effect[:, :-1],
        effect_covariance=_covariance(spread),
        positive=sign[:, :-1],
        positive_mean=sign[:, -1],
        pip_direct=np.minimum(pip_direct, 1.0),
        alpha_direct=np.minimum(pip_direct, 1.0)[None],
        null=np.zeros(1),
        fit=direct,
        candidates=Candidates(0, (), np.empty((0, 1)), np.empty((0, 1)), np.eye(mean.shape[2] - 1)[None]),
    )


def _error(weight: Floats, draws: xr.Dataset, picks: NDArray[np.intp]) -> float:
    """Monte Carlo error of sum(weight), from sets of the joint draws: that of a ratio of two means."""
    probability = draws["draw_probability"].mean(("chain", "draw")).values
    sets = np.arange(len(picks)) % SETS
    top, bottom = np.bincount(sets, weight, minlength=SETS), np.bincount(sets, probability, minlength=SETS)
    residual = top - top.sum() * bottom
    return float(np.sqrt(SETS / (SETS - 1) * (residual**2).sum()))


def _covariance(variance: Floats) -> Floats:
    """(T, A, A) with the given variances (T, A + 1), the last that of the mean over the ancestries."""
    own, mean = variance[:, :-1], variance[:, -1]
    ancestries = own.shape[1]
    root = np.sqrt(own[:, :, None] * own[:, None, :])
    apart = root.sum(axis=(1, 2)) - own.sum(axis=1)
    shared = np.clip((mean * ancestries**2 - own.sum(axis=1)) / np.maximum(apart, 1e-300), -1, 1)
    eye = np.eye(ancestries)[None]
    return np.asarray(root * (eye + (1 - eye) * shared[:, None, None]))


def _say(tree: xr.DataTree, fit: xr.DataTree, genes: set[str], most: int) -> None:
    """Why a gene was left out, and what the sampler says of its draws."""
    constant, blocks = tree[names.CONSTANT].dataset, tree[names.BLOCKS].dataset
    status, reason = constant["status"].values, constant["reason"].values
    for row, gene in enumerate(constant[names.GENE].values.astype(str)):
        if gene not in genes and status[row] == names.SKIPPED and reason[row] in NOT_FITTED:
            reason[row] = (
                f"not among the {most} candidates with the most evidence that method='pymc' enumerates"
            )
    said = str(fit.attrs["reason"])
    blocks["block_status"].values[0] = fit.attrs["status"]
    if fit.attrs["status"] == names.FAILED:
        fitted = np.isin(constant[names.GENE].values.astype(str), list(genes))
        status[fitted], reason[fitted] = names.WARNING, "the chains cannot be trusted: see block_reason"
    blocks["block_reason"].values[0] = said
    blocks["iterations"].values[0] = fit.attrs["draws"] * fit.attrs["chains"]
