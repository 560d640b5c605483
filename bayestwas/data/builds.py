"""Lengths of the chromosomes of the human genome: positions beyond them belong to another build."""

from __future__ import annotations

from collections.abc import Mapping

from bayestwas.data.variants import standard_build

_CHROMOSOMES = (*(str(number) for number in range(1, 23)), "X", "Y")
# Base pairs, Genome Reference Consortium, primary assemblies GCA_000001405.1 and GCA_000001405.15.
_GRCH37 = (
    *(249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431),
    *(135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248),
    *(59128983, 63025520, 48129895, 51304566, 155270560, 59373566),
)
_GRCH38 = (
    *(248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717),
    *(133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285),
    *(58617616, 64444167, 46709983, 50818468, 156040895, 57227415),
)
LENGTHS = {
    "GRCh37": dict(zip(_CHROMOSOMES, _GRCH37, strict=True)),
    "GRCh38": dict(zip(_CHROMOSOMES, _GRCH38, strict=True)),
}


def beyond_chromosome(build: str, furthest: Mapping[str, int]) -> str:
    """A sentence on the first position that lies beyond its chromosome in `build`, '' where none does or the
    build is not known. `furthest`: chromosome -> largest position, 1-based."""
    lengths = LENGTHS.get(standard_build(build), {})
    for chromosome, position in furthest.items():
        length = lengths.get(chromosome)
        if length is not None and position > length:
            fits = [name for name, known in LENGTHS.items() if known[chromosome] >= position]
            likely = f", and {fits[0]} has it" if fits else ", nor in any other known build"
            return f"has position {position} on chromosome {chromosome}, which ends at {length}{likely}"
    return ""
