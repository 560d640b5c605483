"""Expression weights of the genes of a locus: labelled in, labelled out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayestwas import names
from bayestwas.data.studies import DEFAULT_CIS_WINDOW
from bayestwas.engine import weights as engine
from bayestwas.engine.ld import LD, FactorLD
from bayestwas.engine.single_effects import from_score
from bayestwas.engine.weights import Expression, WeightPosterior, WeightPriors
from bayestwas.errors import SettingsError, nearest
from bayestwas.fit.annotations import Scales, scaled
from bayestwas.fit.finished import read_points
from bayestwas.fit.panels import Panel, Summary, contexts_and_ancestries, read_panels, window_ld
from bayestwas.fit.settings import Settings
from bayestwas.fit.weight_annotations import enrichment, gene_evidence, thinned
from bayestwas.fit.weight_priors import StudySums, local, stored_priors

Floats = NDArray[np.float64]
STUDY = "study"  # context x ancestry, context-major
METHODS = ("engine", "pymc")


def fit_weights(
    locus: xr.DataTree,
    *,
    method: str = "engine",
    priors: WeightPriors | None = None,
    settings: Settings | None = None,
    **sampled: Any,
) -> xr.DataTree:
    """Posterior of the expression weights of every gene of a locus.

    Parameters
    ----------
    locus : see docs/architecture.md; made by `harmonise_study(...).locus(block)` or
        `bayestwas.data.schema.locus`.
    method : "engine", or "pymc" to sample a generative model.
    priors : shared prior of the effects, for the engine; None: the documented defaults.
    sampled : for "pymc": model, sampling, seed; see `bayestwas.fit.weights_pymc.sample_weights`.

    Returns
    -------
    With "pymc", see `sample_weights`. With "engine", a DataTree with, in `marginals`: weight_mean, weight_sd
    (gene, context, ancestry, variant; expression SD per SD of genotype), pip (gene, variant; an eQTL in any
    study) and empty (gene, effect); finished weights are their own mean, with an SD of zero;
    in `constant_data`,
    what is needed to draw from the posterior again. Genes that cannot be fitted are left out;
    `locus["genes"]` says why.

    Raises SettingsError for an unknown method, and for arguments of the other method.
    """
    if chosen_method(method, sampled, priors) == "pymc":
        from bayestwas.fit.weights_pymc import sample_weights

        return sample_weights(locus, settings=settings, **sampled)
    settings = settings or Settings()
    contexts, ancestries = contexts_and_ancestries(locus)
    priors = local(priors or WeightPriors(), contexts, ancestries)
    panels = read_panels(locus, settings.min_allele_count)
    points = read_points(locus, contexts, ancestries).by_gene
    fitted_here = fittable_genes(locus, panels)
    either = {*fitted_here, *points}
    genes = [str(g) for g in locus[names.GENES].dataset[names.GENE].values if str(g) in either]
    known = enrichment(locus, priors)
    p, s = locus.sizes[names.VARIANT], len(contexts) * len(ancestries)
    g, effects = len(genes), settings.expression_effects
    score = np.zeros((g, effects, p, s), dtype=np.float32)
    noise, n = np.zeros((g, s, s)), np.zeros((g, s))
    present = np.zeros((g, s, p), dtype=bool)
    window = np.zeros((g, p), dtype=bool)
    mean, sd = np.zeros((2, g, s, p), dtype=np.float32)
    pip, empty, converged = (
        np.zeros((g, p), dtype=np.float32),
        np.zeros((g, effects)),
        np.zeros(g, dtype=bool),
    )
    finished, excess = np.zeros((g, s), dtype=bool), np.full((g, s), np.nan)
    for i, gene in enumerate(genes):
        for study, row in points.get(gene, {}).items():
            mean[i, study], finished[i, study], n[i, study] = row, True, 1.0
        if gene not in fitted_here:
            converged[i] = True  # nothing to fit
            continue
        index, expression = gene_expression(locus, gene, panels, contexts, ancestries, known)
        fitted = engine.fit_expression(expression, priors, effects=effects)
        score[i][:, index] = fitted.fit.score
        noise[i], window[i, index] = fitted.noise, True
        excess[i] = np.where(finished[i], np.nan, engine.excess(expression, fitted))
        n[i] = np.where(finished[i], n[i], expression.n)
        present[i][:, index] = fitted.present
        empty[i], converged[i] = fitted.fit.null, fitted.fit.converged
        pip[i, index] = fitted.fit.pip
        own = np.ix_(~finished[i], index)
        means, deviations = engine.moments(fitted)
        mean[i][own], sd[i][own] = means[~finished[i]], deviations[~finished[i]]
    shape = (g, len(contexts), len(ancestries), p)
    dims = (names.GENE, names.CONTEXT, names.ANCESTRY, names.VARIANT)
    coords = {
        names.GENE: np.array(genes, dtype=object), names.CONTEXT: np.array(contexts, dtype=object),
        names.ANCESTRY: np.array(ancestries, dtype=object), names.VARIANT: locus[names.VARIANT].values,
    }  # fmt: skip
    marginals = xr.Dataset(
        {
            "weight_mean": (dims, mean.reshape(shape), {"units": names.EXPRESSION_PER_GENOTYPE}),
            "weight_sd": (dims, sd.reshape(shape), {"units": names.EXPRESSION_PER_GENOTYPE}),
            "pip": ((names.GENE, names.VARIANT), pip),
            "empty": ((names.GENE, "effect"), empty),
            "converged": ((names.GENE,), converged),
        },
        coords=coords,
    )
    constant = xr.Dataset(
        {
            "score": ((names.GENE, "effect", names.VARIANT, STUDY), score),
            "noise": ((names.GENE, STUDY, "study_"), noise),
            "n": ((names.GENE, STUDY), n),
            "finished": ((names.GENE, STUDY), finished),
            "excess": ((names.GENE, STUDY), excess),
            "present": ((names.GENE, STUDY, names.VARIANT), present),
            "window": ((names.GENE, names.VARIANT), window),
        },
        coords={key: coords[key] for key in (names.GENE, names.VARIANT)},
    )
    attrs = {
        "block": locus.attrs["block"],
        "priors": json.dumps(asdict(priors)),
        "simulated": locus.attrs["simulated"],
    }
    return xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs=attrs), names.MARGINALS: marginals, names.CONSTANT: constant}
    )


def chosen_method(method: str, sampled: Mapping[str, Any], priors: object) -> str:
    """The method, once it and the arguments that go with it are known to be right."""
    if method not in METHODS:
        raise SettingsError(f"method='{method}'", "A fit has one of two methods", nearest(method, METHODS))
    wrong = [*sampled] if method == "engine" else ["priors"] * (priors is not None)
    if wrong:
        raise SettingsError(
            f"{', '.join(wrong)} with method='{method}'",
            "method='engine' takes priors; method='pymc' takes model, sampling and other options of its own",
            "Leave it out, or give the other method",
        )
    return method


def gene_posterior(
    locus: xr.DataTree, weights: xr.DataTree, gene: str
) -> tuple[NDArray[np.intp], WeightPosterior]:
    """Variants of the cis-window and the posterior of one gene, rebuilt from what `fit_weights` kept."""
    data = weights[names.CONSTANT].to_dataset().sel({names.GENE: gene})
    marginals = weights[names.MARGINALS]
    priors = stored_priors(weights)
    index = np.flatnonzero(data["window"].values)
    present = data["present"].values[:, index]
    known = enrichment(locus, priors)
    candidates = engine.weight_candidates(
        _distance(locus, gene)[index],
        np.logical_or.reduce(present),
        marginals.sizes[names.CONTEXT],
        marginals.sizes[names.ANCESTRY],
        priors,
        None if known is None else known[index],
    )
    score = data["score"].transpose("effect", names.VARIANT, STUDY).values[:, index].astype(np.float64)
    noise = data["noise"].values
    fit = from_score(score, present, data["n"].values, candidates, noise)
    return index, WeightPosterior(fit, candidates, noise, present)


def weight_sums(
    locus: xr.DataTree, priors: WeightPriors, settings: Settings, scales: Scales | None = None
) -> StudySums:
    """What the genes of one locus say about the priors of the weights; of annotations with these `scales`."""
    contexts, ancestries = contexts_and_ancestries(locus)
    priors = local(priors, contexts, ancestries)
    panels = read_panels(locus, settings.min_allele_count)
    known = enrichment(locus, priors)
    values = scaled(locus, "variant", scales) if scales is not None and scales["variant"] else None
    parts, genes = [], []
    for gene in fittable_genes(locus, panels):
        index, expression = gene_expression(locus, gene, panels, contexts, ancestries, known)
        fitted = engine.fit_expression(expression, priors, effects=settings.expression_effects, rounds=1)
        parts.append(engine.sums(fitted, expression, priors))
        if values is not None and scales is not None:
            genes.append(gene_evidence(fitted, expression, values[index], scales, priors))
    if not parts:
        return StudySums()
    total = sum(parts[1:], start=parts[0])
    return StudySums({(tuple(contexts), tuple(ancestries)): total}, thinned(genes))


def fittable_genes(locus: xr.DataTree, panels: dict[tuple[str, str], Panel | Summary]) -> list[str]:
    """Genes whose status allows a fit, with expression that varies somewhere and variants in the cis-
    window.
    """
    genes = locus[names.GENES].dataset
    keep = np.isin(genes["status"].values.astype(str), [names.OK, names.WARNING])
    measured = {gene for panel in panels.values() for gene in panel.genes}
    return [
        str(gene)
        for gene in genes[names.GENE].values[keep]
        if gene in measured and len(cis_window(locus, str(gene)))
    ]


def cis_window(locus: xr.DataTree, gene: str) -> NDArray[np.intp]:
    """Positions along `variant` of the variants within the window around the TSS of a gene."""
    window = float(locus.attrs.get("cis_window", DEFAULT_CIS_WINDOW))
    return np.flatnonzero(np.abs(_distance(locus, gene)) <= window)


def gene_expression(
    locus: xr.DataTree,
    gene: str,
    panels: dict[tuple[str, str], Panel | Summary],
    contexts: list[str],
    ancestries: list[str],
    known: Floats | None = None,
) -> tuple[NDArray[np.intp], Expression]:
    """The variants of the cis-window and the summary of one gene over all contexts and ancestries; `known`
    (p,) is the `enrichment` of the variants of the locus."""
    index, distance = cis_window(locus, gene), _distance(locus, gene)
    studies = [(context, ancestry) for context in contexts for ancestry in ancestries]
    z, n = np.full((len(studies), len(index)), np.nan), np.zeros(len(studies))
    factors: list[LD] = []
    rows: dict[int, tuple[Panel, Floats]] = {}
    references: dict[str, LD] = {}  # of this window, by ancestry
    for s, study in enumerate(studies):
        panel = panels.get(study)
        if isinstance(panel, Summary):
            if panel.ancestry not in references:
                references[panel.ancestry] = window_ld(panel.ld, index)
            factors.append(references[panel.ancestry])
            if gene in panel.genes:
                z[s] = np.sqrt(panel.n) * panel.correlation[panel.genes[gene], index]
                n[s] = panel.n
            continue
        factor = np.zeros((1, len(index))) if panel is None else panel.ld.factor[:, index]
        factors.append(FactorLD(factor))
        if panel is not None and gene in panel.genes:
            row = panel.expression[panel.genes[gene]]
            z[s] = np.sqrt(panel.n) * (row / np.sqrt(len(row))) @ factor
            n[s], rows[s] = panel.n, (panel, row)
    correlation, share = np.eye(len(studies)), np.eye(len(studies))
    for s, (one, first) in rows.items():
        for t, (two, second) in rows.items():
            if s < t and studies[s][1] == studies[t][1]:
                r, share[s, t] = _shared(one, two, first, second)
                share[t, s] = share[s, t]
                correlation[s, t] = correlation[t, s] = r * share[s, t]
    return index, Expression(
        z, n, tuple(factors), correlation, share, distance[index], len(contexts), len(ancestries),
        None if known is None else known[index],
    )  # fmt: skip


def _shared(first: Panel, second: Panel, row: Floats, other: Floats) -> tuple[float, float]:
    """Correlation of expression over shared donors, and their share n_shared / sqrt(n_first n_second)."""
    _, left, right = np.intersect1d(first.donors.astype(str), second.donors.astype(str), return_indices=True)
    if len(left) < 10:
        return 0.0, 0.0
    share = len(left) / np.sqrt(len(row) * len(other))
    return float(np.corrcoef(row[left], other[right])[0, 1]), float(share)


def _distance(locus: xr.DataTree, gene: str) -> Floats:
    tss = float(locus[names.GENES].dataset["tss"].sel({names.GENE: gene}).item())
    return locus.dataset["position"].values.astype(np.float64) - tss
