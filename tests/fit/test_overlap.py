"""Donors who are in the GWAS: found over blocks, taken off the z-scores, left alone where they are not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas.data.schema import locus
from bayestwas.engine.overlap import SHARES
from bayestwas.fit.gene_trait import fit_genes
from bayestwas.fit.overlap import largest, learned_overlap, overlap_evidence, without_overlap
from bayestwas.fit.settings import Settings
from bayestwas.fit.study import fit_study
from bayestwas.fit.weights import fit_weights

PEOPLE, DONORS, VARIANTS, GENES, R = 2000, 200, 60, 3, 0.5
MOST = np.sqrt(DONORS / PEOPLE)


def block(number: int, shared: int) -> tuple[xr.DataTree, np.ndarray, np.ndarray]:
    """A locus of genes without genetics, the noise of their expression (G, donors), and the sign of its
    correlation R with the noise of a trait whose GWAS holds the last `shared` donors."""
    rng = np.random.default_rng([2, number, shared])
    total = PEOPLE + DONORS
    haplotypes = rng.random((2, VARIANTS, total)) < rng.uniform(0.1, 0.5, VARIANTS)[:, None]
    for j in range(1, VARIANTS):
        copied = rng.random((2, total)) < 0.7
        haplotypes[:, j] = np.where(copied, haplotypes[:, j - 1], haplotypes[:, j])
    dosage = haplotypes.sum(axis=0).astype(np.int8)
    noise, sign = rng.standard_normal((GENES, total)), rng.choice([-1, 1], GENES)
    trait = R * sign @ noise + np.sqrt(1 - GENES * R**2) * rng.standard_normal(total)
    gwas = np.arange(DONORS - shared, DONORS - shared + PEOPLE)
    x = dosage[:, gwas] - dosage[:, gwas].mean(axis=1, keepdims=True)
    z = x @ trait[gwas] / np.sqrt((x.astype(float) ** 2).sum(axis=1))
    position = 10_000 * (1 + np.arange(VARIANTS))
    ids = [f"1:{p}:A:G" for p in position]
    variants = pd.DataFrame(
        {
            "chromosome": "1",
            "position": position,
            "effect_allele": "G",
            "other_allele": "A",
            "source_id": ids,
        },
        index=pd.Index(ids, name="variant"),
    )
    labels = [f"b{number}g{g}" for g in range(GENES)]
    genes = pd.DataFrame(
        {"chromosome": "1", "tss": [100_000, 300_000, 500_000], "status": "ok", "reason": ""},
        index=pd.Index(labels, name="gene"),
    )
    donors = [f"d{i}" for i in range(DONORS)]
    expression = pd.DataFrame(noise[:, :DONORS], index=labels, columns=donors)
    made = locus(
        f"b{number}", variants, {"EUR": (z, float(PEOPLE))}, {"EUR": (dosage[:, gwas], np.inf)},
        [("blood", "EUR", dosage[:, :DONORS], donors, expression, None)], genes, "GRCh38", "overlap", True,
    )  # fmt: skip
    return made, noise[:, :DONORS], sign


@pytest.mark.parametrize("shared", [0, DONORS])
def test_shared_noise_is_found_and_taken_off(shared: int) -> None:
    """24 blocks: z against the noise of expression in the donors, sign r x'e z / n summed over variants; with
    shared donors the correction takes off more than half of it, without it changes it little."""
    settings = Settings()
    blocks = [block(number, shared) for number in range(24)]
    weights = [fit_weights(one) for one, _, _ in blocks]
    parts = [overlap_evidence(one, w, settings) for (one, _, _), w in zip(blocks, weights, strict=True)]
    overlap, (told,) = learned_overlap(parts)
    assert told.most == pytest.approx(MOST)
    assert told.sentence.startswith("EUR: donors")
    before, after = [], []
    for (one, noise, sign), w in zip(blocks, weights, strict=True):
        new = without_overlap(one, w, overlap, settings)
        dosage = one["expression/blood/EUR"].dataset["dosage"].transpose("variant", "donor").values
        x = dosage - dosage.mean(axis=1, keepdims=True)
        own = x @ noise.T / np.sqrt((x**2).sum(axis=1))[:, None]  # (p, G) noise of the eQTL z-scores
        for seen, tree in ((before, one), (after, new)):
            z = tree["gwas"].dataset["z"].values[0]
            seen.append(sign * (own.T @ z) / (own**2).sum(axis=0))
    error = np.std(before, ddof=1) / np.sqrt(np.size(before))
    if shared:
        assert abs(np.mean(before) - R * MOST) < 4 * error
        assert abs(np.mean(after)) < 0.5 * R * MOST
        assert told.share > 0.3
    else:
        assert abs(np.mean(before)) < 4 * error
        assert abs(np.mean(after)) < 4 * error
        assert told.share < 0.3


def test_nothing_is_done_where_it_cannot_matter() -> None:
    one, _, _ = block(0, 0)
    assert largest(one) == {"EUR": {"blood": pytest.approx(MOST)}}
    few = one.copy()
    few["expression/blood/EUR"].attrs["overlap"] = 10
    assert largest(few) == {}
    weights = fit_weights(few)
    overlap, told = learned_overlap([overlap_evidence(few, weights, Settings())])
    assert not told
    assert without_overlap(few, weights, overlap, Settings()) is few
    many = one.copy()
    many["expression/blood/EUR"].attrs["overlap"] = 100
    assert largest(many) == {"EUR": {"blood": pytest.approx(MOST / 2)}}


def test_every_block_is_asked_whether_it_can_matter() -> None:
    """The GWAS is so large at the first block that sharing donors does not matter there."""
    first, second = block(2, DONORS)[0], block(3, DONORS)[0]
    gwas = first["gwas"].to_dataset()
    first["gwas"] = xr.DataTree(gwas.assign(n=100 * gwas["n"]))
    assert not largest(first)
    small = Settings(trait_effects=2, expression_effects=2, draws=8, max_draws=8, posterior_draws=8)
    results = fit_study([lambda: first, lambda: second], small)
    [told] = json.loads(results[0].attrs["overlap"])
    assert told.startswith("EUR: donors")


def test_a_gene_is_fitted_with_what_is_left() -> None:
    one, _, _ = block(1, DONORS)
    weights = fit_weights(one)
    overlap = {"EUR": np.full(len(SHARES), 1 / len(SHARES))}
    evidence = overlap_evidence(one, weights, Settings())
    learned, _ = learned_overlap([evidence])
    assert learned["EUR"].sum() == pytest.approx(1.0)
    z = without_overlap(one, weights, overlap, Settings())["gwas"].dataset["z"].values
    assert 0.001 < np.abs(z - one["gwas"].dataset["z"].values).max() < 2.0
    result = fit_genes(one, weights)
    assert np.isfinite(result["marginals"].dataset["pip"].values).all()
