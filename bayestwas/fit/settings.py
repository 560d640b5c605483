"""Settings of a fit: one frozen table, written into the provenance of every result."""

from __future__ import annotations

from dataclasses import dataclass

from bayestwas.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """How to fit. The defaults are those of the documentation.

    Attributes
    ----------
    trait_effects : most single effects on the trait in a block.
    expression_effects : most single effects on the expression of a gene.
    draws : draws of the weights of a gene to begin with; doubled until pip_mcse is small, up to `max_draws`.
    refinements : times the draws are renewed around those that the GWAS keeps.
    target_mcse : largest Monte Carlo standard error of a gene's PIP that is accepted without more draws.
    feedback : let the GWAS reweigh the weights (full Bayes); False keeps the expression posterior (cut
        posterior).
    mismatch : learn how wrong the LD reference of a block is; False carries its finite size only.
    background : learn a polygenic background in every block; False: there is none.
    learn : learn the priors over the blocks of the run, where there are at least `learn_blocks`.
    weight_rounds, trait_rounds : rounds of learning, at most.
    min_allele_count : a variant with fewer copies of its rarer allele among the donors of a panel is not used
        there.
    cut_draws : draws of the cut posterior, one fit of the block each.
    posterior_draws : draws of the gene effects kept in the result.
    level : of the credible gene sets.
    screen : leave out the variants of a GWAS that do not fit, and flag a block of suspicious LD.
    """

    trait_effects: int = 10
    expression_effects: int = 5
    draws: int = 128
    max_draws: int = 1024
    refinements: int = 2
    target_mcse: float = 0.02
    feedback: bool = True
    mismatch: bool = True
    background: bool = True
    learn: bool = True
    learn_blocks: int = 5
    weight_rounds: int = 2
    trait_rounds: int = 3
    min_allele_count: int = 1
    cut_draws: int = 32
    posterior_draws: int = 200
    level: float = 0.9
    screen: bool = True

    def __post_init__(self) -> None:
        counts = ("trait_effects", "expression_effects", "draws", "max_draws", "cut_draws")
        for name in (*counts, "trait_rounds"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    f"{name} = {getattr(self, name)}",
                    f"{name} is a whole number above zero",
                    f"Leave {name} out, or raise it",
                )
        if self.draws % 8 or self.max_draws % 8:
            raise SettingsError(
                f"draws = {self.draws}, max_draws = {self.max_draws}",
                "Draws come in 8 independent sets, from which their Monte Carlo error is estimated",
                "Give multiples of 8; powers of two stratify best",
            )
        if not 0 < self.level < 1:
            raise SettingsError(
                f"level = {self.level}", "A credible level lies between 0 and 1", "Give 0.9, for example"
            )
