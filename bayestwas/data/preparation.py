"""How the expression of a panel is prepared before it is fitted: what a user can ask for."""

from __future__ import annotations

from dataclasses import dataclass

from bayestwas.errors import InputError, nearest

AS_GIVEN, INVERSE_NORMAL, TMM = "none", "inverse-normal", "tmm"
NORMALISATIONS = {
    AS_GIVEN: "values as they are",
    INVERSE_NORMAL: "ranks of the donors, gene by gene, as normal quantiles",
    TMM: "read counts: trimmed mean of M-values over donors, then as inverse-normal",
}
AUTOMATIC = "auto"


@dataclass(frozen=True)
class Preparation:
    """`normalise`: one of NORMALISATIONS. `hidden_factors`: how many principal axes of the expression are
    projected out beside the covariates; None: as many as parallel analysis tells from noise. `swap_check`:
    whether donors are compared with the genotypes of all people. Raises `InputError`."""

    normalise: str = AS_GIVEN
    hidden_factors: int | None = 0
    swap_check: bool = False

    def __post_init__(self) -> None:
        if self.normalise not in NORMALISATIONS:
            raise InputError(
                f"normalise = '{self.normalise}'",
                "Expression is used as it is, or normalised in one of the known ways",
                nearest(self.normalise, NORMALISATIONS),
            )
        if self.hidden_factors is not None and self.hidden_factors < 0:
            raise InputError(
                f"hidden_factors = {self.hidden_factors}",
                f"The number of hidden factors is 0 or more, or '{AUTOMATIC}'",
                "Correct hidden_factors",
            )


AS_IT_IS = Preparation()


def preparation(normalise: str, hidden_factors: int | str, swap_check: bool) -> Preparation:
    """The same from the values of a study file. Raises `InputError`."""
    if isinstance(hidden_factors, str) and hidden_factors != AUTOMATIC:
        raise InputError(
            f"hidden_factors = '{hidden_factors}'",
            f"The number of hidden factors is 0 or more, or '{AUTOMATIC}'",
            f"Write hidden_factors = 10, or '{AUTOMATIC}'",
        )
    return Preparation(normalise, None if isinstance(hidden_factors, str) else hidden_factors, swap_check)
