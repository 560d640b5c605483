"""Dims, variables, units and signs: the only place that spells them.

Every container in `data/` is checked against these tables, and every table that is written takes its columns
from here.
Signs: every effect and every z-score is of the effect allele, which is also the allele that genotypes count.
"""

from __future__ import annotations

from typing import NamedTuple

# ---- dims ----------------------------------------------------------------------------------------------
VARIANT = "variant"  # canonical identifier chromosome:position:other_allele:effect_allele
GENE = "gene"
CONTEXT = "context"  # tissue, cell type, condition, time point or modality
ANCESTRY = "ancestry"
BLOCK = "block"
SAMPLE = "sample"  # a person of an LD reference
DONOR = "donor"  # a person of an expression panel
COVARIATE = "covariate"
ENTRY = "entry"  # one non-zero of a sparse array
SIGNAL = "signal"  # one single effect on the trait
SUSPECT = "suspect"  # one variant of one GWAS that does not fit
ANNOTATION = "annotation"  # a functional annotation of variants
FEATURE = "feature"  # an annotation of genes

# ---- groups of a locus (the container that `fit_weights` and `fit_genes` take) -------------------------
GWAS = "gwas"
LD = "ld"  # ld/<ancestry>
MODALITY = "expression"  # what a context measures where the study does not say
EXPRESSION = "expression"  # expression/<context>/<ancestry>
FINISHED = "finished_weights"  # finished_weights/<context>/<ancestry>; absent where there are none
EQTL = "eqtl"  # eqtl/<context>/<ancestry>; absent where there are no eQTL summary statistics
GENES = "genes"
ANNOTATIONS = "annotations"  # absent where the study has none

# ---- groups of a result (ArviZ's names where ArviZ has one) --------------------------------------------
POSTERIOR = "posterior"  # draws: (chain, draw, ...)
MARGINALS = "marginals"  # exact marginal summaries of the posterior; no draws
WEIGHTS = "weights"  # sparse weighted draws of expression weights
MEAN_WEIGHTS = "mean_weights"  # sparse posterior means of expression weights, before the GWAS is seen
OBSERVED = "observed_data"
CONSTANT = "constant_data"
BLOCKS = "blocks"
SUSPECTS = "suspects"  # variants of a GWAS that do not fit their LD or their files, and are left out
HYPERPARAMETERS = "hyperparameters"  # draws of the learned priors; absent where none were learned

# ---- statuses of a gene or a block ---------------------------------------------------------------------
OK = "ok"  # fitted, nothing to add
WARNING = "warning"  # fitted, and the reason says what to keep in mind
SKIPPED = "skipped"  # cannot be fitted with these data; the reason says why
FAILED = "failed"  # should have been fitted and was not; the reason says why
STATUSES = (OK, WARNING, SKIPPED, FAILED)


class Variable(NamedTuple):
    """One variable: its dims, its unit, its meaning."""

    dims: tuple[str, ...]
    unit: str
    meaning: str


PROBABILITY = "probability"
TRAIT_PER_EXPRESSION = "trait SD per SD of total expression"
DOSAGE = "int8, or float32 where some are imputed; -1 where missing"
EXPRESSION_PER_GENOTYPE = "expression SD per SD of genotype"

LOCUS_VARIABLES: dict[str, dict[str, Variable]] = {
    "": {
        "position": Variable((VARIANT,), "base pairs, 1-based", "position on the chromosome"),
        "effect_allele": Variable((VARIANT,), "", "the counted allele, of which every effect and z-score is"),
        "other_allele": Variable((VARIANT,), "", "the other allele"),
        "source_id": Variable((VARIANT,), "", "identifier in the first file that holds the variant"),
    },
    GWAS: {
        "z": Variable(
            (ANCESTRY, VARIANT), "z-score", "marginal association with the trait; NaN where absent"
        ),
        "n": Variable((ANCESTRY, VARIANT), "people", "GWAS sample size; NaN where absent"),
        "frequency": Variable(
            (ANCESTRY, VARIANT), "share", "of the effect allele in the GWAS; NaN: not known"
        ),
        "conflict": Variable(
            (ANCESTRY, VARIANT), "", "z disagrees with beta, standard error or p of its file"
        ),
    },
    LD: {
        "dosage": Variable((VARIANT, SAMPLE), "copies of the effect allele", DOSAGE),
        "correlation": Variable((VARIANT, "variant_"), "correlation", "NaN rows and columns where absent"),
    },
    EXPRESSION: {
        "dosage": Variable((VARIANT, DONOR), "copies of the effect allele", DOSAGE),
        "expression": Variable((GENE, DONOR), "normalised expression", "one row per gene measured here"),
        "covariates": Variable((COVARIATE, DONOR), "", "projected out of expression and genotypes"),
    },
    FINISHED: {
        "weight": Variable((GENE, VARIANT), EXPRESSION_PER_GENOTYPE, "finished weights; zero elsewhere"),
    },
    EQTL: {
        "correlation": Variable(
            (GENE, VARIANT),
            "correlation",
            "of genotype and expression, one variant at a time; NaN where absent",
        ),
    },
    GENES: {
        "chromosome": Variable((GENE,), "", "chromosome"),
        "tss": Variable((GENE,), "base pairs, 1-based", "transcription start site"),
        "status": Variable((GENE,), "", "ok, warning, skipped or failed"),
        "reason": Variable((GENE,), "", "why the status is not ok"),
    },
    ANNOTATIONS: {
        "variant_annotation": Variable(
            (VARIANT, ANNOTATION), "that of its file", "float32; the mean of the study where unknown"
        ),
        "gene_annotation": Variable(
            (GENE, FEATURE), "that of its file", "float32; the mean of the study where unknown"
        ),
    },
}

_GCA = (GENE, CONTEXT, ANCESTRY)

RESULT_VARIABLES: dict[str, dict[str, Variable]] = {
    POSTERIOR: {
        "gene_effect": Variable(
            ("chain", "draw", *_GCA), TRAIT_PER_EXPRESSION, "effect of expression, zero where excluded"
        ),
    },
    MARGINALS: {
        "pip": Variable((GENE,), PROBABILITY, "posterior inclusion probability, any context"),
        "pip_mcse": Variable((GENE,), PROBABILITY, "Monte Carlo standard error of pip (weight draws)"),
        "pip_fixed_priors": Variable((GENE,), PROBABILITY, "pip with the learned priors as their mean"),
        "pip_plugin": Variable((GENE,), PROBABILITY, "pip with weights as their mean and LD as exact"),
        "pip_weights": Variable((GENE,), PROBABILITY, "pip with weight uncertainty only (LD as exact)"),
        "pip_ld": Variable((GENE,), PROBABILITY, "pip with LD uncertainty only (weights as their mean)"),
        "pip_without_finite_ld": Variable(
            (GENE,), PROBABILITY, "pip_fixed_priors, but the LD reference as if infinitely large"
        ),
        "pip_without_mismatch": Variable(
            (GENE,), PROBABILITY, "pip_fixed_priors, but the LD reference as if from the people of the GWAS"
        ),
        "pip_without_background": Variable(
            (GENE,), PROBABILITY, "pip_fixed_priors, but without the polygenic background"
        ),
        "pip_one_effect": Variable(
            (GENE,), PROBABILITY, "pip_fixed_priors, but with one effect in the block, which needs no LD"
        ),
        "best_context": Variable((GENE,), "", "context with the highest pip"),
        "gene_effect": Variable(
            (GENE,), TRAIT_PER_EXPRESSION, "effect given inclusion, best context, mean of ancestries"
        ),
        "gene_effect_sd": Variable((GENE,), TRAIT_PER_EXPRESSION, "its posterior standard deviation"),
        "gene_sign_probability": Variable((GENE,), PROBABILITY, "probability that this effect is positive"),
        "credible_set": Variable((GENE,), "", "identifiers of the 90% credible gene sets that hold the gene"),
        "explanation": Variable((GENE,), "", "one sentence on what the result rests on"),
        "context_pip": Variable((GENE, CONTEXT), PROBABILITY, "pip of the gene in one context"),
        "h4": Variable((GENE, CONTEXT), PROBABILITY, "largest H4 of its pairs of signals with the trait"),
        "grcp": Variable((GENE, CONTEXT), PROBABILITY, "that any signal shares a variant with the trait"),
        "cis_h2": Variable(
            (GENE, CONTEXT), "share of expression variance", "variance explained by the cis-window"
        ),
        "cis_h2_sd": Variable(
            (GENE, CONTEXT), "share of expression variance", "its posterior standard deviation"
        ),
        "effect": Variable(_GCA, TRAIT_PER_EXPRESSION, "effect given inclusion"),
        "effect_sd": Variable(_GCA, TRAIT_PER_EXPRESSION, "its posterior standard deviation"),
        "sign_probability": Variable(_GCA, PROBABILITY, "probability that the effect is positive"),
        "pip_direct": Variable((VARIANT,), PROBABILITY, "posterior inclusion probability of a direct effect"),
    },
    WEIGHTS: {
        "gene_index": Variable((ENTRY,), "", "position along gene"),
        "context_index": Variable((ENTRY,), "", "position along context"),
        "ancestry_index": Variable((ENTRY,), "", "position along ancestry"),
        "variant_index": Variable((ENTRY,), "", "position along variant"),
        "draw_index": Variable((ENTRY,), "", "number of the draw within its gene"),
        "probability": Variable((ENTRY,), PROBABILITY, "weight of the draw among the draws of its gene"),
        "weight": Variable((ENTRY,), EXPRESSION_PER_GENOTYPE, "effect of the variant on expression"),
    },
    MEAN_WEIGHTS: {
        "gene_index": Variable((ENTRY,), "", "position along gene"),
        "context_index": Variable((ENTRY,), "", "position along context"),
        "ancestry_index": Variable((ENTRY,), "", "position along ancestry"),
        "variant_index": Variable((ENTRY,), "", "position along variant"),
        "weight": Variable((ENTRY,), EXPRESSION_PER_GENOTYPE, "posterior mean of the effect"),
    },
    OBSERVED: {
        "z": Variable((ANCESTRY, VARIANT), "z-score", "marginal association with the trait"),
        "twas_z": Variable(
            (GENE,), "z-score", "classical TWAS z of the mean weights, best context, ancestries combined"
        ),
        "conditional_z": Variable((GENE,), "z-score", "twas_z given the other genes of the block"),
        "conditional_z_lead": Variable((GENE,), "z-score", "twas_z given the lead variant of the block"),
        "permutation_p": Variable(
            (GENE,), PROBABILITY, "of twas_z with weights that change places; NaN unless its p is below 0.05"
        ),
        "expression_excess": Variable(
            _GCA,
            "squared z",
            "mean squared z of expression beyond weights and noise; 0 where the model holds",
        ),
        "n_signals": Variable((GENE,), "signals", "signals of expression in the best context"),
        "heterogeneity_q": Variable((GENE,), "chi-squared", "Cochran's Q of the effect over these signals"),
    },
    CONSTANT: {
        "position": Variable((VARIANT,), "base pairs, 1-based", "position of the variant"),
        "effect_allele": Variable((VARIANT,), "", "effect allele"),
        "other_allele": Variable((VARIANT,), "", "other allele"),
        "source_id": Variable((VARIANT,), "", "identifier in the first file that holds the variant"),
        "variant_block": Variable((VARIANT,), "", "block of the variant"),
        "r2_lead": Variable(
            (ANCESTRY, VARIANT), "squared correlation", "LD with the lead variant of the block"
        ),
        "gene_block": Variable((GENE,), "", "block of the gene"),
        "chromosome": Variable((GENE,), "", "chromosome of the gene"),
        "tss": Variable((GENE,), "base pairs, 1-based", "transcription start site"),
        "n_variants": Variable(
            (GENE,), "variants", "variants of the cis-window that a GWAS or a panel can use"
        ),
        "status": Variable((GENE,), "", "ok, warning, skipped or failed"),
        "reason": Variable((GENE,), "", "why the status is not ok"),
    },
    BLOCKS: {
        "block_chromosome": Variable((BLOCK,), "", "chromosome"),
        "block_start": Variable((BLOCK,), "base pairs, 0-based", "start of the block"),
        "block_end": Variable((BLOCK,), "base pairs", "end of the block, exclusive"),
        "variants": Variable((BLOCK,), "variants", "number of variants"),
        "genes": Variable((BLOCK,), "genes", "number of genes"),
        "n_ref": Variable((BLOCK, ANCESTRY), "people", "size of the LD reference"),
        "mismatch": Variable(
            (BLOCK, ANCESTRY), "1 / people", "learned noise of LD beyond 1 / n_ref, delta; 0: negligible"
        ),
        "background": Variable(
            (BLOCK, ANCESTRY),
            "variance of z",
            "learned polygenic background of a variant, tau^2; 0: negligible",
        ),
        "converged": Variable((BLOCK,), "", "whether the kernel met its criterion"),
        "iterations": Variable((BLOCK,), "sweeps", "sweeps over the single effects"),
        "seconds": Variable((BLOCK,), "seconds", "processor time"),
        "block_status": Variable((BLOCK,), "", "ok, warning, skipped or failed"),
        "block_reason": Variable((BLOCK,), "", "why the status is not ok"),
        "reliability": Variable((BLOCK,), "", "z-scores and LD: good, doubtful or suspicious"),
        "reliability_reason": Variable((BLOCK,), "", "why the reliability is not good"),
        "suspects": Variable((BLOCK,), "variants", "variants left out of a GWAS because they do not fit"),
    },
    SUSPECTS: {
        "suspect_variant": Variable((SUSPECT,), "", "variant"),
        "suspect_block": Variable((SUSPECT,), "", "block of the variant"),
        "suspect_ancestry": Variable((SUSPECT,), "", "GWAS that it is left out of"),
        "suspect_z": Variable((SUSPECT,), "z-score", "observed"),
        "suspect_predicted": Variable((SUSPECT,), "z-score", "predicted from the variants around it"),
        "suspect_t": Variable((SUSPECT,), "standard deviations", "how far the two are apart"),
        "suspect_reason": Variable((SUSPECT,), "", "why it is left out"),
    },
}
