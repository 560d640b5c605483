# %% [markdown]
# # From files to gene posteriors, one stage at a time
#
# `bayestwas run study.toml --out DIR` does all of this in one command. Here every stage is called by
# itself, which is how to look at what lies between, to put in data that are not in files, or to try
# another prior.
#
# The data are **simulated**: two blocks, eight genes, two tissues, GWAS in two ancestries.
#
# This notebook is made from `walkthrough.py` by `make notebook`.

# %%
import json
import tempfile
from pathlib import Path

import pandas as pd

import bayestwas

folder = Path(tempfile.mkdtemp())
design = bayestwas.PRESETS["tiny"]
study_file = bayestwas.write_study(bayestwas.simulate_study(design, seed=1), folder / "study")
print(study_file.read_text())

# %% [markdown]
# ## Read and harmonise
#
# `read_study` reads every file that the study file names; genotypes are only opened. `harmonise_study`
# puts them together: one set of variants and alleles, donors matched with genotypes, genes put into
# blocks. Everything it changed or dropped is in a ledger.

# %%
study = bayestwas.read_study(study_file)
harmonised = bayestwas.harmonise_study(study)
print(harmonised.blocks.to_string(index=False))
print()
print(harmonised.overlap.to_string())

# %%
print(harmonised.genes.to_string(index=False))

# %% [markdown]
# ## One block
#
# A *locus* is a tree of labelled arrays: the z-scores, the LD references, the expression panels, the
# genes. It can also be made from arrays with `bayestwas.data.schema.locus`.

# %%
block = harmonised.blocks["block"][0]
locus = harmonised.locus(block)
locus

# %% [markdown]
# ## Expression weights
#
# The posterior of the effects of variants on expression, over all tissues and ancestries at once: a tissue
# with few donors borrows from one with many. Below, the variants that are probably eQTLs of the first
# gene, and their effects (SD of expression per SD of genotype).

# %%
weights = bayestwas.fit_weights(locus)
first = weights["marginals"].to_dataset().isel(gene=0)
likely = first.sel(variant=first["pip"] > 0.1)
print(first["gene"].item())
print(likely["pip"].to_series().round(3).to_string())
print(likely["weight_mean"].to_series().unstack("variant").round(3).to_string())

# %% [markdown]
# ## Genes and variants compete for the trait
#
# Every gene in every tissue enters through draws of its weights, every variant as a direct effect, and the
# sampling noise of the LD references is carried. The result is a tree of labelled arrays again.

# %%
result = bayestwas.fit_genes(locus, weights)
result

# %%
marginals = result["marginals"].to_dataset()
columns = ["pip", "pip_mcse", "pip_plugin", "pip_weights", "pip_ld", "best_context", "gene_effect"]
genes = marginals[columns].to_dataframe()
truth = pd.read_csv(folder / "study" / "truth.tsv", sep="\t").set_index("gene")
print(genes.join(truth["causal"]).round(3).to_string())

# %% [markdown]
# One sentence per gene says what its PIP rests on: how far it moves when the uncertainty of the weights or
# of LD is not carried, and what competes with it.

# %%
from bayestwas.report import explanations

for sentence in explanations(result):
    print("-", sentence)

# %% [markdown]
# ## A picture
#
# Association by ancestry, direct effects of variants, genes: above one another.

# %%
from bayestwas.report.figures import locus_figure

locus_figure(result, block)

# %% [markdown]
# ## Another prior
#
# The defaults are documented in `bayestwas.engine.gene_trait`; a run of five blocks or more learns them.
# How much do the answers depend on the prior probability of a gene?

# %%
from dataclasses import replace

from bayestwas.engine.gene_trait import DEFAULT_PRIORS

table = {
    prior: bayestwas.fit_genes(locus, weights, priors=replace(DEFAULT_PRIORS, gene=prior))["marginals"]
    .to_dataset()["pip"]
    .to_series()
    for prior in (0.01, 0.05)
}
print(pd.DataFrame(table).rename_axis(columns="prior of a gene-context").round(3).to_string())

# %% [markdown]
# ## All blocks, and files
#
# `run_study` does the same for every block, in processes, and writes tables, figures and a Zarr store,
# which `open_results` reads without the data.

# %%
summary = bayestwas.run_study(study_file, folder / "results", workers=1, progress=False)
print(summary.top.drop(columns="explanation").round(3).to_string(index=False))
print()
print(*sorted(path.name for path in summary.out.iterdir()), sep="\n")

# %%
stored = bayestwas.open_results(summary.out / "results.zarr")
print("study", stored.attrs["study"], "| seed", stored.attrs["seed"], "|", stored.attrs["priors_source"])
print(json.loads(stored.attrs["priors"]))
