"""The sentence of a gene: every branch, in the words that are printed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from bayestwas.report.sentences import GeneEvidence, explain, explanations, reference_phrase
from bayestwas.report.tables import contexts_table, genes_table

ONE = {"EUR": 373.0}
SNP = {"variant": "20:44554015:C:T", "variant_pip": 0.7}

# A gene whose PIP of 0.3 no source moves, but for those that a case changes.
_SOURCES = ("fixed_priors", "ld", "without_finite_ld", "without_mismatch", "without_background")
KNOWN = {f"pip_{name}": 0.3 for name in _SOURCES}
CASES = {
    "LD lowers it, a direct effect takes over": (
        {"pip": 0.21, "pip_plugin": 0.98, "pip_weights": 0.97, "pip_ld": 0.19, "n_ref": ONE, **SNP},
        "G: the plug-in PIP is 0.98, but 0.21 once the sampling noise of the 373-person LD reference is"
        " carried (0.19 with that alone): a direct effect of 20:44554015:C:T (PIP 0.70) is then the more"
        " probable explanation of the association; a larger LD reference would help to decide.",
    ),
    "weights lower it, another gene remains possible": (
        {"pip": 0.5, "pip_plugin": 0.9, "pip_weights": 0.55, "pip_ld": 0.88, "rival": "H", "rival_pip": 0.4},
        "G: the plug-in PIP is 0.90, but 0.50 once the uncertainty of the expression weights is carried"
        " (0.55 with that alone): the gene H (PIP 0.40) then remains a possible explanation of the"
        " association; more expression samples would help to decide.",
    ),
    "each of the two lowers it, nothing takes over": (
        {"pip": 0.3, "pip_plugin": 0.9, "pip_weights": 0.5, "pip_ld": 0.4, "n_ref": {"EUR": 300, "AFR": 200}},
        "G: the plug-in PIP is 0.90, but 0.30 once the uncertainty of the expression weights (0.50 with"
        " that alone) and the sampling noise of the LD references of 300 (EUR) and 200 (AFR) people (0.40"
        " with that alone) are carried: no single variant or other gene takes its place; more expression"
        " samples and a larger LD reference would help to decide.",
    ),
    "only the two together lower it": (
        {"pip": 0.3, "pip_plugin": 0.9, "pip_weights": 0.8, "pip_ld": 0.85, "n_ref": ONE, **SNP},
        "G: the plug-in PIP is 0.90, but 0.30 once the uncertainty of the expression weights and the"
        " sampling noise of the 373-person LD reference are carried together (alone they give 0.80 and"
        " 0.85): a direct effect of 20:44554015:C:T (PIP 0.70) is then the more probable explanation of"
        " the association; more expression samples and a larger LD reference would help to decide.",
    ),
    "lowered to nothing beside a certain competitor needs no more data": (
        {"pip": 0.02, "pip_plugin": 0.9, "pip_weights": 0.03, "pip_ld": 0.9, "rival": "H", "rival_pip": 0.97},
        "G: the plug-in PIP is 0.90, but 0.02 once the uncertainty of the expression weights is carried"
        " (0.03 with that alone): the gene H (PIP 0.97) is then the more probable explanation of the"
        " association.",
    ),
    "weights raise it": (
        {"pip": 0.85, "pip_plugin": 0.3, "pip_weights": 0.8, "pip_ld": 0.2},
        "G: the plug-in PIP is 0.30, and rises to 0.85 once the uncertainty of the expression weights is"
        " carried (0.80 with that alone).",
    ),
    "raised, a competitor remains": (
        {
            "pip": 0.7,
            "pip_plugin": 0.3,
            "pip_weights": 0.35,
            "pip_ld": 0.75,
            "n_ref": ONE,
            **SNP,
            "variant_pip": 0.25,
        },
        "G: the plug-in PIP is 0.30, and rises to 0.70 once the sampling noise of the 373-person LD"
        " reference is carried (0.75 with that alone); a direct effect of 20:44554015:C:T (PIP 0.25)"
        " remains a possible explanation of the association.",
    ),
    "stable and certain": (
        {"pip": 0.999, "pip_plugin": 0.97, "pip_weights": 0.98, "pip_ld": 0.96, **SNP},
        "G: the PIP is >0.99, and 0.97 with weights and LD taken as exact: carrying their uncertainty"
        " changes it little.",
    ),
    "stable and low": (
        {"pip": 0.001, "pip_plugin": 0.004, "pip_weights": 0.001, "pip_ld": 0.02, **SNP},
        "G: the PIP is <0.01, and <0.01 with weights and LD taken as exact: carrying their uncertainty"
        " changes it little.",
    ),
    "a change within the Monte Carlo error is none": (
        {"pip": 0.5, "pip_plugin": 0.7, "pip_weights": 0.5, "pip_ld": 0.5, "pip_mcse": 0.11},
        "G: the PIP is 0.50, and 0.70 with weights and LD taken as exact: carrying their uncertainty"
        " changes it little.",
    ),
    "the two offset each other": (
        {"pip": 0.82, "pip_plugin": 0.8, "pip_weights": 0.3, "pip_ld": 0.99},
        "G: the PIP is 0.82, and 0.80 with weights and LD taken as exact, but 0.30 with the uncertainty"
        " of the weights alone and 0.99 with that of LD alone: the two offset each other.",
    ),
    "candidates whose PIPs exceed one do not compete for one signal": (
        {"pip": 0.6, "pip_plugin": 0.62, "pip_weights": 0.6, "pip_ld": 0.6, **SNP},
        "G: the PIP is 0.60, and 0.62 with weights and LD taken as exact: carrying their uncertainty"
        " changes it little.",
    ),
    "a fall beside a certain direct effect": (
        {
            "pip": 0.2,
            "pip_plugin": 0.99,
            "pip_weights": 0.98,
            "pip_ld": 0.22,
            "variant": "20:44554015:C:T",
            "variant_pip": 0.9998,
        },
        "G: the plug-in PIP is 0.99, but 0.20 once the sampling noise of the LD reference is carried"
        " (0.22 with that alone): a direct effect of 20:44554015:C:T (PIP >0.99) accounts for association"
        " in the same block; a larger LD reference would help to decide.",
    ),
    "LD lowers it, and the priors lower it further": (
        {
            "pip": 0.21,
            "pip_fixed_priors": 0.4,
            "pip_plugin": 0.98,
            "pip_weights": 0.97,
            "pip_ld": 0.38,
            **SNP,
        },
        "G: the plug-in PIP is 0.98, but 0.40 once the sampling noise of the LD reference is carried (0.38"
        " with that alone), and 0.21 once the uncertainty of the learned priors is carried as well: a direct"
        " effect of 20:44554015:C:T (PIP 0.70) is then the more probable explanation of the association; a"
        " larger LD reference would help to decide.",
    ),
    "the priors alone move it": (
        {"pip": 0.45, "pip_fixed_priors": 0.6, "pip_plugin": 0.62, "pip_weights": 0.6, "pip_ld": 0.6},
        "G: under the mean of the learned priors the PIP is 0.60, and 0.62 with weights and LD taken as"
        " exact: carrying their uncertainty changes it little; it is 0.45 once the uncertainty of the learned"
        " priors is carried as well.",
    ),
    "priors that move it less than the threshold are not mentioned": (
        {"pip": 0.6, "pip_fixed_priors": 0.69, "pip_plugin": 0.62, "pip_weights": 0.6, "pip_ld": 0.6},
        "G: the PIP is 0.60, and 0.62 with weights and LD taken as exact: carrying their uncertainty"
        " changes it little.",
    ),
    "the background matters most": (
        {"pip": 0.3, "pip_plugin": 0.32, "pip_weights": 0.3, **KNOWN, "pip_without_background": 0.91},
        "G: the PIP is 0.30, and 0.32 with weights and LD taken as exact: carrying their uncertainty changes"
        " it little; the polygenic background matters most: without it the PIP would be 0.91.",
    ),
    "mismatch matters more than the finite size": (
        {
            "pip": 0.3,
            "pip_plugin": 0.9,
            "pip_weights": 0.9,
            **KNOWN,
            "n_ref": ONE,
            "pip_without_mismatch": 0.75,
            "pip_without_finite_ld": 0.5,
        },
        "G: the plug-in PIP is 0.90, but 0.30 once the sampling noise of the 373-person LD reference is"
        " carried (0.30 with that alone): no single variant or other gene takes its place; the mismatch of"
        " the LD reference matters most: without it the PIP would be 0.75; a larger LD reference would help"
        " to decide.",
    ),
    "the priors matter most": (
        {"pip": 0.6, "pip_plugin": 0.3, "pip_weights": 0.3, **KNOWN, "pip_without_mismatch": 0.45},
        "G: under the mean of the learned priors the PIP is 0.30, and 0.30 with weights and LD taken as"
        " exact: carrying their uncertainty changes it little; it is 0.60 once the uncertainty of the learned"
        " priors is carried as well; the uncertainty of the learned priors matters most: at their mean the"
        " PIP would be 0.30.",
    ),
    "no source matters": (
        {"pip": 0.3, "pip_plugin": 0.32, "pip_weights": 0.3, **KNOWN, "pip_without_background": 0.39},
        "G: the PIP is 0.30, and 0.32 with weights and LD taken as exact: carrying their uncertainty changes"
        " it little.",
    ),
    "LD is suspicious": (
        {
            "pip": 0.3,
            "pip_plugin": 0.32,
            "pip_weights": 0.3,
            **KNOWN,
            "suspicious": True,
            "pip_one_effect": 0.8,
        },
        "G: the PIP is 0.30, and 0.32 with weights and LD taken as exact: carrying their uncertainty changes"
        " it little; LD of the block is suspicious: with one effect in it, which needs no LD, the PIP would"
        " be 0.80.",
    ),
    "no comparison": (
        {"pip": 0.6},
        "G: the PIP is 0.60; how far the uncertainty of weights and LD moves it was not computed.",
    ),
    "skipped": (
        {"status": "skipped", "reason": "no variants in its window"},
        "G was not fitted (skipped): no variants in its window.",
    ),
    "failed without a recorded reason": (
        {"status": "failed"},
        "G was not fitted (failed): no reason was recorded.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_branch(case: str) -> None:
    given, sentence = CASES[case]
    assert explain(GeneEvidence(gene="G", **given)) == sentence


def test_only_the_language_of_association() -> None:
    for given, _ in CASES.values():
        sentence = explain(GeneEvidence(gene="G", **given)).lower()
        assert not any(word in sentence for word in ("cause", "causal", "drives", "proves", "because of"))


@pytest.mark.parametrize(
    ("sizes", "phrase"),
    [
        ({}, "the LD reference"),
        ({"EUR": np.inf}, "the LD reference"),
        ({"EUR": 373.0, "AFR": np.nan}, "the 373-person LD reference"),
        ({"EUR": 1.0, "AFR": 2.0, "EAS": 3.0}, "the LD references of 1 (EUR), 2 (AFR) and 3 (EAS) people"),
    ],
)
def test_references_are_named_by_their_size(sizes: dict[str, float], phrase: str) -> None:
    assert reference_phrase(sizes) == phrase


def test_a_result_gives_one_sentence_per_gene_of_its_own_block(synthetic_result: xr.DataTree) -> None:
    marginals, constant = synthetic_result["marginals"].dataset, synthetic_result["constant_data"].dataset
    genes, blocks = list(marginals["gene"].values), constant["gene_block"].values
    for name in ("pip_plugin", "pip_weights"):
        marginals[name].values[genes.index("B2-G1")] = 0.95
    for name in ("pip", "pip_fixed_priors"):
        marginals[name].values[genes.index("B2-G1")] = 0.3
    marginals["pip_ld"].values[genes.index("B2-G1")] = 0.25
    marginals["pip"].values[genes.index("B2-G2")] = 0.02
    inside = np.flatnonzero(constant["variant_block"].values == "b2")
    marginals["pip_direct"].values[inside] = 0.0
    marginals["pip_direct"].values[inside[7]] = 0.625
    sentences = explanations(synthetic_result)
    assert len(sentences) == len(genes)
    assert all(sentence.startswith(gene) for sentence, gene in zip(sentences, genes, strict=True))
    variant = marginals["variant"].values[inside[7]]
    mine = sentences[genes.index("B2-G1")]
    assert f"a direct effect of {variant} (PIP 0.62) is then the more probable" in mine
    assert "the LD references of 489 (EUR) and 639 (AFR) people" in mine  # the block has no EAS reference
    first_of_b3 = sentences[int(np.flatnonzero(blocks == "b3")[0])]
    assert first_of_b3 == "B3-G1 was not fitted (failed): the LD matrix is not positive semidefinite."


def test_symbols_and_modalities_are_said(synthetic_result: xr.DataTree) -> None:
    """The gene and its rival by their symbols, weights and samples by what the best context measures."""
    given = {
        "pip": 0.5,
        "pip_plugin": 0.9,
        "pip_weights": 0.55,
        "pip_ld": 0.88,
        "rival": "H",
        "rival_pip": 0.4,
    }
    said = explain(GeneEvidence(gene="G", symbol="PLTP", rival_symbol="ZNF1", modality="protein", **given))
    assert said == (
        "PLTP (G): the plug-in PIP is 0.90, but 0.50 once the uncertainty of the protein weights is carried"
        " (0.55 with that alone): the gene ZNF1 (H) (PIP 0.40) then remains a possible explanation of the"
        " association; more protein samples would help to decide."
    )
    marginals = synthetic_result["marginals"].dataset
    genes, best = (marginals[name].values.astype(str) for name in ("gene", "best_context"))
    fitted = int(np.argmax(best != ""))
    synthetic_result.attrs |= {
        "symbols": json.dumps({str(genes[fitted]): "PLTP"}),
        "modalities": json.dumps({str(best[fitted]): "protein"}),
    }
    assert explanations(synthetic_result)[fitted].startswith(f"PLTP ({genes[fitted]}): ")
    table = genes_table(synthetic_result)
    assert table["symbol"].tolist() == ["PLTP" if i == fitted else "" for i in range(len(genes))]
    expected = ["" if not b else "protein" if b == best[fitted] else "expression" for b in best]
    assert table["modality"].tolist() == expected
    contexts = contexts_table(synthetic_result)
    assert set(contexts.loc[contexts["context"] == best[fitted], "modality"]) == {"protein"}
