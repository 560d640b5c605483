"""Expression weights of the genes of a locus by sampling a generative model (method="pymc")."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from bayestwas import names
from bayestwas.engine.weights import Expression
from bayestwas.errors import SamplingError, SettingsError
from bayestwas.fit.model_data import thin
from bayestwas.fit.panels import contexts_and_ancestries, read_panels
from bayestwas.fit.prepared import gene_seed
from bayestwas.fit.sampling import Sampling, compile_model, find_model
from bayestwas.fit.settings import Settings
from bayestwas.fit.weights import cis_window, fittable_genes, gene_expression
from bayestwas.models import Model

ANNOTATION = "tss_proximity"  # minus the decimal logarithm of the distance to the TSS in kb, plus one
PADDING = "padding"  # variants without information, so that all genes of a locus have the same sizes


def sample_weights(
    locus: xr.DataTree,
    *,
    model: str | Model = "weights",
    sampling: Sampling | None = None,
    settings: Settings | None = None,
    seed: int = 1,
) -> xr.DataTree:
    """Posterior draws of the expression weights of every gene of a locus, under a generative model.

    Parameters
    ----------
    locus : see docs/architecture.md.
    model : name of a built-in model, or a `bayestwas.models.Model` of one's own that takes the data of
        `weights` and has a variable `weight` (context, ancestry, variant).
    sampling : how to sample; None: the defaults. seed : with the name of a gene, of its chains.

    Returns
    -------
    DataTree with, in `posterior`: weight (chain, draw, gene, context, ancestry, variant; expression SD per SD
    of genotype; `settings.max_draws` of the draws at most, chains one after the other) and all other
    variables that have no dim of variants; in `marginals`: weight_mean, weight_sd, converged; in
    `diagnostics`: status, reason and seconds of every gene. It goes where the tree of `fit_weights` goes.

    Raises SettingsError for an unknown model, or one without `weight`, and SamplingError, with the name of
    the gene, where a sampler cannot start.
    """
    settings, sampling = settings or Settings(), sampling or Sampling()
    chosen = find_model(model)
    contexts, ancestries = contexts_and_ancestries(locus)
    panels = read_panels(locus, settings.min_allele_count)
    genes = fittable_genes(locus, panels)
    size = max((len(cis_window(locus, gene)) for gene in genes), default=0)
    coords = {
        names.CONTEXT: contexts, "context_": contexts, names.ANCESTRY: ancestries, "ancestry_": ancestries,
        names.VARIANT: [f"{PADDING}{j}" for j in range(size)], "variant_": range(size),
        "annotation": [ANNOTATION],
    }  # fmt: skip
    keep = min(settings.max_draws, sampling.draws * sampling.chains)
    shape = (1, keep, len(genes), len(contexts), len(ancestries), locus.sizes[names.VARIANT])
    weight = np.zeros(shape, dtype=np.float32)
    measured = np.zeros((len(genes), len(contexts) * len(ancestries)))
    others, rows, compiled = [], [], None
    for i, gene in enumerate(genes):
        index, expression = gene_expression(locus, gene, panels, contexts, ancestries)
        data = model_data(expression, size)
        if compiled is None:
            compiled = compile_model(chosen, data, coords, replace(sampling, loci=len(genes)))
        try:
            fit = compiled.sample(data, seed=int(gene_seed(seed, gene).generate_state(1)[0]))
        except SamplingError as error:
            raise SamplingError(f"Gene {gene}: {error.given}", error.rule, error.remedy) from error
        posterior = fit[names.POSTERIOR].dataset
        weight[0, :, i, :, :, index] = np.moveaxis(_weights(posterior, keep)[..., : len(index)], -1, 0)
        measured[i] = expression.n
        others.append(posterior.drop_dims([names.VARIANT, "variant_"], errors="ignore"))
        rows.append((fit.attrs["status"], fit.attrs["reason"], fit.attrs["sampling_seconds"]))
    dims = (names.GENE, names.CONTEXT, names.ANCESTRY, names.VARIANT)
    labels: dict[str, Any] = {
        names.GENE: np.array(genes, dtype=object), names.CONTEXT: np.array(contexts, dtype=object),
        names.ANCESTRY: np.array(ancestries, dtype=object), names.VARIANT: locus[names.VARIANT].values,
    }  # fmt: skip
    units = {"units": names.EXPRESSION_PER_GENOTYPE}
    statuses = [row[0] for row in rows]
    groups = {
        "/": xr.Dataset(
            attrs={
                "block": locus.attrs["block"], "simulated": locus.attrs["simulated"], "method": "pymc",
                "model": chosen.name, "seed": seed, "priors": "",
            }
        ),
        names.POSTERIOR: xr.Dataset({"weight": (("chain", "draw", *dims), weight, units)}, coords=labels),
        "hyperparameters": xr.concat(
            others, dim=xr.IndexVariable(names.GENE, labels[names.GENE])
        ).transpose("chain", "draw", ...)
        if others
        else xr.Dataset(),
        names.MARGINALS: xr.Dataset(
            {
                "weight_mean": (dims, weight[0].mean(axis=0), units),
                "weight_sd": (dims, weight[0].std(axis=0), units),
                "converged": ((names.GENE,), np.array([status == names.OK for status in statuses])),
            },
            coords=labels,
        ),
        names.CONSTANT: xr.Dataset(
            {"n": ((names.GENE, "study"), measured)}, coords={names.GENE: labels[names.GENE]}
        ),
        "diagnostics": xr.Dataset(
            {
                "status": ((names.GENE,), np.array(statuses, dtype=object)),
                "reason": ((names.GENE,), np.array([row[1] for row in rows], dtype=object)),
                "seconds": ((names.GENE,), np.array([row[2] for row in rows], dtype=float)),
            },
            coords={names.GENE: labels[names.GENE]},
        ),
    }  # fmt: skip
    return xr.DataTree.from_dict(groups)


def model_data(expression: Expression, size: int) -> dict[str, Any]:
    """The data of the model `weights` for one gene, padded to `size` variants that say nothing."""
    c, a, p = expression.contexts, expression.ancestries, len(expression.distance)
    z = np.full((c, a, size), np.nan)
    z[:, :, :p] = expression.z.reshape(c, a, p)
    ld = np.zeros((c, a, size, size))
    for s, one in enumerate(expression.ld):
        ld[s // a, s % a, :p, :p] = one.gram(np.arange(p))
    proximity = np.zeros(size)
    proximity[:p] = -np.log10(1 + np.abs(expression.distance) / 1000)
    proximity[:p] -= proximity[:p].mean()
    return {
        "z": z,
        "n": expression.n.reshape(c, a),
        "ld": ld,
        "noise": expression.correlation.reshape(c, a, c, a),
        "annotations": proximity[:, None],
    }


def _weights(posterior: xr.Dataset, keep: int) -> np.ndarray:
    """`keep` evenly spaced draws of the weights: (draw, context, ancestry, variant)."""
    dims = (names.CONTEXT, names.ANCESTRY, names.VARIANT)
    if "weight" not in posterior or set(posterior["weight"].dims) != {"chain", "draw", *dims}:
        raise SettingsError(
            f"The model's posterior holds {', '.join(map(str, posterior.data_vars))}",
            f"A model of expression weights has a variable 'weight' over {', '.join(dims)}",
            "Add pm.Deterministic('weight', ..., dims=('context', 'ancestry', 'variant'))",
        )
    return thin(posterior["weight"].transpose("chain", "draw", *dims).values, keep)
