"""The simulation against what it says of itself: moments, truth, random streams."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from bayestwas.data.builds import LENGTHS
from bayestwas.data.simulate import (
    BUILD,
    PRESETS,
    Design,
    SimulatedBlock,
    _place,
    block_generator,
    simulate_block,
    simulate_study,
)
from bayestwas.errors import DependencyError, SettingsError

pytest.importorskip("msprime", reason="msprime is the optional extra [simulate]")
TINY = PRESETS["tiny"]
IN_SAMPLE = dataclasses.replace(TINY, n_ref=None, causal_genes=(0.0, 0.0, 1.0), direct_blocks=1.0)


@pytest.fixture(scope="module")
def block() -> SimulatedBlock:
    return simulate_block(IN_SAMPLE, block_generator(5, 0), 0)


def correlation(dosage: np.ndarray) -> np.ndarray:
    """LD of polymorphic variants, zero elsewhere: the independent way, with the p x p matrix formed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.corrcoef(dosage.astype(float)))


def test_block_has_the_stated_shapes(block: SimulatedBlock) -> None:
    p, genes = len(block.variants), len(block.genes)
    assert p == TINY.variants_per_block
    assert genes == TINY.genes_per_block
    assert block.weights.shape == (genes, 2, 2, p)
    assert block.donors["EUR"].shape == (p, 150)
    assert block.reference["AFR"].shape == (p, IN_SAMPLE.population)
    assert block.reference["AFR"].dtype == np.int8
    assert set(block.expression) == {("blood", "EUR"), ("blood", "AFR"), ("liver", "EUR")}
    assert block.variants["position"].is_monotonic_increasing
    assert block.variants["position"].between(block.start + 1, block.end).all()
    first = block.variants.iloc[0]
    assert block.variants.index[0] == f"1:{first.position}:{first.other_allele}:{first.effect_allele}"


def test_sites_are_common_in_one_ancestry_and_absent_ones_have_no_z(block: SimulatedBlock) -> None:
    minor = {a: np.minimum(d.mean(axis=1) / 2, 1 - d.mean(axis=1) / 2) for a, d in block.reference.items()}
    assert (np.max(list(minor.values()), axis=0) >= TINY.maf).all()
    for ancestry, z in block.z.items():
        np.testing.assert_array_equal(np.isfinite(z), minor[ancestry] >= TINY.maf)


def test_cis_h2_is_the_variance_that_the_weights_explain(block: SimulatedBlock) -> None:
    for a, ancestry in enumerate(IN_SAMPLE.ancestries):
        r = correlation(block.reference[ancestry])
        explained = np.einsum("gcp,pq,gcq->gc", block.weights[:, :, a], r, block.weights[:, :, a])
        np.testing.assert_allclose(block.cis_h2[:, :, a], explained, rtol=1e-9, atol=1e-12)
    mean = block.cis_h2.mean(axis=2)
    low, high = IN_SAMPLE.cis_h2
    assert ((mean == 0) | ((mean >= low) & (mean <= high))).all()


def test_causal_genes_and_direct_effects_explain_the_stated_share(block: SimulatedBlock) -> None:
    causal = block.genes["causal"].to_numpy()
    assert causal.sum() == 2
    explained = (block.effect**2 * block.cis_h2).mean(axis=2)
    np.testing.assert_allclose(explained[causal].sum(axis=1), IN_SAMPLE.gene_h2, rtol=1e-9)
    assert (np.count_nonzero(explained[causal], axis=1) == 1).all()
    assert not block.effect[~causal].any()
    shares = (block.direct.assign(share=block.direct["theta"] ** 2).groupby("variant")["share"].sum()) / 2
    assert 1 <= len(shares) <= 2
    np.testing.assert_allclose(shares, IN_SAMPLE.direct_h2, rtol=1e-9)
    eqtls = block.variants.index[block.weights[causal].any(axis=(0, 1, 2))]
    assert not set(eqtls) & set(shares.index)


def test_z_is_normal_around_r_beta_with_covariance_r() -> None:
    """Whitened residuals of z, (U'r)^2 / eigenvalue, have mean 1; sd of a mean of m such squares is sqrt(2 /
    m)."""
    squares = []
    for index in range(12):
        block = simulate_block(IN_SAMPLE, block_generator(7, index), index)
        for a, ancestry in enumerate(IN_SAMPLE.ancestries):
            r = correlation(block.reference[ancestry])
            beta = np.einsum("gc,gcp->p", block.effect[:, :, a], block.weights[:, :, a])
            theta = block.direct[block.direct["ancestry"] == ancestry].set_index("variant")["theta"]
            beta[block.variants.index.get_indexer(theta.index)] += theta
            seen = np.isfinite(block.z[ancestry])
            residual = (block.z[ancestry] - np.sqrt(block.n[ancestry]) * r @ beta)[seen]
            values, vectors = np.linalg.eigh(r[np.ix_(seen, seen)])
            large = values > 0.05
            squares.append((vectors.T @ residual)[large] ** 2 / values[large])
    pooled = np.concatenate(squares)
    assert len(pooled) > 300
    assert abs(pooled.mean() - 1) < 4 * np.sqrt(2 / len(pooled))


def test_expression_has_variance_one_and_contexts_share_noise() -> None:
    """Over 40 genes x 150 donors the sd of the mean variance is about sqrt(2 / 6000) = 0.018; 0.08 is 4
    sd."""
    blocks = [simulate_block(TINY, block_generator(3, i), i) for i in range(10)]
    variance = np.mean([b.expression["blood", "EUR"].to_numpy().var(axis=1).mean() for b in blocks])
    assert abs(variance - 1) < 0.08
    products = []
    for b in blocks:
        x = b.donors["EUR"].astype(float)
        mean = 2 * b.frequency["EUR"]
        sd = np.sqrt(np.maximum(x.var(axis=1), 1e-9))
        for g in range(len(b.genes)):
            rows = np.flatnonzero(b.weights[g, :, 0].any(axis=0))
            scaled = (x[rows, :80] - mean[rows, None]) / sd[rows, None]
            design = np.column_stack([np.ones(80), scaled.T])
            residuals = []
            for context in ("blood", "liver"):
                y = b.expression[context, "EUR"].iloc[g].to_numpy()[:80]
                residuals.append(y - design @ np.linalg.lstsq(design, y, rcond=None)[0])
            products.append(np.corrcoef(*residuals)[0, 1])
    error = np.std(products) / np.sqrt(len(products))
    assert abs(np.mean(products) - TINY.noise_correlation_contexts) < 4 * error


def test_smaller_panel_is_a_subset_of_the_larger(block: SimulatedBlock) -> None:
    blood, liver = block.expression["blood", "EUR"].columns, block.expression["liver", "EUR"].columns
    assert list(liver) == list(blood[:80])
    np.testing.assert_array_equal(
        block.panel_dosage("liver", "EUR"), block.panel_dosage("blood", "EUR")[:, :80]
    )


def test_a_block_depends_on_the_seed_and_its_number_only() -> None:
    alone = simulate_block(TINY, block_generator(1, 1), 1)
    among = list(simulate_study(TINY, seed=1))[1]
    np.testing.assert_array_equal(alone.z["EUR"], among.z["EUR"])
    np.testing.assert_array_equal(alone.reference["AFR"], among.reference["AFR"])
    assert alone.expression["blood", "AFR"].equals(among.expression["blood", "AFR"])
    assert alone.genes.equals(among.genes)
    other = simulate_block(TINY, block_generator(2, 1), 1)
    assert not np.array_equal(alone.variants["position"], other.variants["position"])


def test_every_block_has_its_own_place_on_a_chromosome_of_the_build() -> None:
    length = 1_000_000
    places = [_place(index, length) for index in range(600)]
    assert len(set(places)) == 600
    assert all(start + length < LENGTHS[BUILD][chromosome] for chromosome, start in places)
    assert {chromosome for chromosome, _ in places[:66]} == {str(number) for number in range(1, 23)}
    with pytest.raises(SettingsError, match="places on the autosomes"):
        _place(100_000, length)


def test_blocks_do_not_overlap_and_names_are_unique() -> None:
    """Numbers that go once around the chromosomes come to new places."""
    small = dataclasses.replace(TINY, population=60, n_ref=20, variants_per_block=10)
    blocks = [simulate_block(small, block_generator(1, i), i) for i in (0, 1, 2, 3, 66)]
    assert len({(b.chromosome, b.start) for b in blocks}) == len(blocks)
    assert len({b.name for b in blocks}) == len(blocks)


def test_people_of_the_reference_are_not_those_of_the_population() -> None:
    block = simulate_block(TINY, block_generator(1, 0), 0)
    assert block.reference["EUR"].shape[1] == TINY.n_ref
    people = {tuple(person) for person in block.donors["EUR"].T.tolist()}
    twins = sum(tuple(person) in people for person in block.reference["EUR"].T.tolist())
    assert twins < TINY.n_ref  # a copy of the donors would give all


def test_locus_holds_what_the_block_holds(block: SimulatedBlock) -> None:
    tree = block.to_locus()
    np.testing.assert_array_equal(tree["gwas"]["z"].sel(ancestry="AFR"), block.z["AFR"])
    assert tree["ld/EUR"].attrs["n_ref"] == np.inf  # in-sample
    np.testing.assert_array_equal(tree["ld/EUR"]["dosage"], block.reference["EUR"])
    np.testing.assert_array_equal(tree["expression/liver/EUR"]["dosage"], block.donors["EUR"][:, :80])
    assert tree.attrs["simulated"]
    assert (tree.attrs["start"], tree.attrs["end"]) == (block.start, block.end)
    outside = simulate_block(TINY, block_generator(1, 0), 0).to_locus()
    assert outside["ld/EUR"].attrs["n_ref"] == TINY.n_ref


def test_presets_are_what_they_say() -> None:
    settings = (
        "admixed-reference neighbour-reference polygenic direct-only missing-tissue unshared four-tissues "
    )
    settings += "many-eqtls case-control meta-analysis"
    assert set(PRESETS) == {"demo", "friendly", "hard", "tiny", *settings.split()}
    assert all(PRESETS[name].blocks * PRESETS[name].genes_per_block >= 600 for name in settings.split())
    assert all(name == preset.name for name, preset in PRESETS.items())
    assert PRESETS["friendly"].n_ref is None
    assert PRESETS["hard"].n_ref == 300
    demo = PRESETS["demo"]
    assert demo.ancestries == ("EUR", "AFR", "EAS")
    assert demo.blocks * demo.genes_per_block == 60


def test_missing_msprime_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(DependencyError, match=r"pip install 'bayestwas\[simulate\]'"):
        simulate_block(TINY, block_generator(1, 0), 0)


def test_unknown_ancestry_names_the_valid_ones() -> None:
    with pytest.raises(SettingsError, match="Valid: AFR, EAS, EUR"):
        dataclasses.replace(TINY, gwas={"XYZ": 1000})


def test_causal_gene_probabilities_sum_to_one() -> None:
    with pytest.raises(SettingsError, match=r"sums to 0\.5"):
        dataclasses.replace(TINY, causal_genes=(0.5,))


def test_gene_without_candidates_has_no_weights() -> None:
    lonely: Design = dataclasses.replace(TINY, cis_window=0)
    block = simulate_block(lonely, block_generator(1, 0), 0)
    assert not block.weights.any()
    assert not block.genes["causal"].any()


# ---- the settings of the calibration study --------------------------------------------------------------


def test_case_control_scores_are_those_of_a_liability_threshold() -> None:
    """Cases and controls drawn from a liability with one variant: sqrt(N v (1 - v)) times the difference of
    their mean genotypes, over 40 draws, is score_scale sqrt(N) beta within four sigma of 1 / sqrt(40)."""
    rng, beta, n = np.random.default_rng(3), 0.05, 4000
    design = dataclasses.replace(TINY, prevalence=0.1, case_share=0.3)
    z = []
    for _ in range(40):
        x = rng.standard_normal(80_000)
        liability = beta * x + np.sqrt(1 - beta**2) * rng.standard_normal(len(x))
        case = liability > np.quantile(liability, 0.9)
        chosen = x[case][: int(0.3 * n)], x[~case][: int(0.7 * n)]
        z.append(np.sqrt(n * 0.3 * 0.7) * (chosen[0].mean() - chosen[1].mean()))
    assert abs(np.mean(z) - design.score_scale * np.sqrt(n) * beta) < 4 / np.sqrt(40)
    assert TINY.score_scale == 1


def test_a_wrong_reference_is_of_other_people() -> None:
    """Fst of 300 people: that of the GWAS under 0.001, the others above."""
    right = {
        "gwas": {"EUR": 50_000},
        "donors": {"blood": {"EUR": 50}},
        "n_ref": 300,
        "variants_per_block": 300,
    }
    distance = {}
    for population in ("", "ADMIXED", "NEIGHBOUR"):
        wrong = {"reference_of": {"EUR": population} if population else {}}
        block = simulate_block(dataclasses.replace(TINY, **right, **wrong), block_generator(4, 0), 0)
        assert block.reference["EUR"].shape[1] == 300
        p, q = block.frequency["EUR"], block.reference["EUR"].mean(axis=1) / 2
        noise = (q * (1 - q) / 600).mean()
        distance[population] = (((p - q) ** 2).mean() - noise) / (p * (1 - q) + q * (1 - p)).mean()
    assert abs(distance[""]) < 0.001
    assert distance["ADMIXED"] > 0.002
    assert distance["NEIGHBOUR"] > 0.002


def test_a_background_is_of_its_size_and_gives_every_variant_an_effect() -> None:
    """Nothing but background: the mean of z^2 - 1 over variants is N R^2 h2 / p summed, within four sigma of
    its spread over blocks."""
    design = dataclasses.replace(
        IN_SAMPLE, causal_genes=(1.0,), direct_blocks=0.0, background_h2=0.01, gwas={"EUR": 100_000}
    )
    ratio = []
    for index in range(12):
        block = simulate_block(design, block_generator(9, index), index)
        seen = np.isfinite(block.z["EUR"])
        r = correlation(block.reference["EUR"])[np.ix_(seen, seen)]
        expected = 100_000 * 0.01 * (r**2).sum(axis=1).mean() / seen.sum()
        ratio.append((np.mean(block.z["EUR"][seen] ** 2) - 1) / expected)
    assert abs(np.mean(ratio) - 1) < 4 * np.std(ratio, ddof=1) / np.sqrt(len(ratio))


def test_many_eqtls_and_an_absent_context() -> None:
    design = dataclasses.replace(
        TINY,
        eqtls=20,
        donors={"blood": {"EUR": 40}, "absent": {}},
        causal_contexts=("absent",),
        causal_genes=(0, 1),
    )
    block = simulate_block(design, block_generator(6, 0), 0)
    counts = block.weights.any(axis=(1, 2)).sum(axis=1)
    assert (counts == 20).all()
    assert set(block.expression) == {("blood", "EUR")}
    assert block.genes.loc[block.genes["causal"], "causal_context"].tolist() == ["absent"]
    assert not block.effect[:, 0].any()
    assert list(block.to_locus()["expression"].children) == ["blood"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference_of": {"EUR": "MARS"}},
        {"reference_of": {"EUR": "ADMIXED"}, "n_ref": None},
        {"causal_contexts": ("nowhere",)},
        {"prevalence": 1.5},
    ],
)
def test_impossible_designs_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        dataclasses.replace(TINY, **wrong)
