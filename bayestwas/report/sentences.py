"""One sentence per gene: what its PIP rests on, which uncertainty moves it, and what competes with it.

The PIPs of a gene differ in what they carry: `pip` the uncertainty of expression weights, of the LD
reference and of the learned priors, `pip_fixed_priors` the first two, `pip_weights` and `pip_ld` one of the
two, `pip_plugin` neither. Weights or LD are said to move the result where the PIP with that source alone
covers at least half of the way from `pip_plugin` to `pip_fixed_priors`; priors where `pip` is far from the
latter. Then the one source without which the PIP would be most different is named, with that PIP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from bayestwas import names
from bayestwas.data.results import modality, symbols, text
from bayestwas.engine.diagnostics import SUSPICIOUS

MOVE = 0.1  # smallest change of a PIP that is called a change
COMPETITOR = 0.1  # smallest PIP of a competitor that is mentioned
CERTAIN = 0.9  # from this PIP on a competitor is not mentioned
SHARED = 1.05  # PIPs of two candidates for one signal add up to at most 1; the rest is Monte Carlo error


@dataclass(frozen=True)
class GeneEvidence:
    """What the sentence of one gene is made of: PIPs in [0, 1] (NaN where not known), people per LD
    reference.

    `variant` is the direct-effect variant of the block with the highest PIP, `rival` the other gene of the
    block with the highest PIP; empty where there is none. `modality`: of the best context. `suspicious`: the
    grade of the block.
    """

    gene: str
    pip: float = np.nan
    pip_mcse: float = 0.0
    pip_fixed_priors: float = np.nan
    pip_plugin: float = np.nan
    pip_weights: float = np.nan
    pip_ld: float = np.nan
    pip_without_finite_ld: float = np.nan
    pip_without_mismatch: float = np.nan
    pip_without_background: float = np.nan
    pip_one_effect: float = np.nan
    suspicious: bool = False
    n_ref: Mapping[str, float] = field(default_factory=dict)
    variant: str = ""
    variant_pip: float = np.nan
    rival: str = ""
    rival_pip: float = np.nan
    status: str = names.OK
    reason: str = ""
    symbol: str = ""
    rival_symbol: str = ""
    modality: str = names.MODALITY


# What carries the uncertainty, by whether (weights alone, LD alone) moves the PIP, in two moods: what is
# carried, and what further data would reduce.
SOURCES: dict[tuple[bool, bool], str] = {
    (True, False): "the uncertainty of the {modality} weights is carried ({weights} with that alone)",
    (False, True): "the sampling noise of {reference} is carried ({ld} with that alone)",
    (True, True): (
        "the uncertainty of the {modality} weights ({weights} with that alone) and the sampling noise of "
        "{reference}"
        " ({ld} with that alone) are carried"
    ),
    (False, False): (
        "the uncertainty of the {modality} weights and the sampling noise of {reference} are carried together"
        " (alone they give {weights} and {ld})"
    ),
}
REMEDIES: dict[tuple[bool, bool], str] = {
    (True, False): "more {modality} samples would help to decide",
    (False, True): "a larger LD reference would help to decide",
    (True, True): "more {modality} samples and a larger LD reference would help to decide",
    (False, False): "more {modality} samples and a larger LD reference would help to decide",
}
FALL = "the plug-in PIP is {plugin}, but {pip} once {source}"
RISE = "the plug-in PIP is {plugin}, and rises to {pip} once {source}"
STABLE = (
    "{the_pip} is {pip}, and {plugin} with weights and LD taken as exact: carrying their uncertainty"
    " changes it little"
)
OPPOSED = (
    "{the_pip} is {pip}, and {plugin} with weights and LD taken as exact, but {weights} with the uncertainty "
    "of the"
    " weights alone and {ld} with that of LD alone: the two offset each other"
)
ALONE = "the PIP is {pip}; how far the uncertainty of weights and LD moves it was not computed"
THE_PIP, THE_MEAN = "the PIP", "under the mean of the learned priors the PIP"
PRIORS = "{pip} once the uncertainty of the learned priors is carried as well"
# The PIP without each source, and what that source is called.
WITHOUT: dict[str, str] = {
    "pip_ld": "the uncertainty of the weights",
    "pip_without_finite_ld": "the finite size of the LD reference",
    "pip_without_mismatch": "the mismatch of the LD reference",
    "pip_without_background": "the polygenic background",
}
MATTERS = "{source} matters most: without it the PIP would be {without}"
PRIORS_MATTER = "the uncertainty of the learned priors matters most: at their mean the PIP would be {without}"
SUSPECT = "LD of the block is suspicious: with one effect in it, which needs no LD, the PIP would be {pip}"
NOT_FITTED = "{gene} was not fitted ({status}): {reason}."


def explain(evidence: GeneEvidence) -> str:
    """The sentence of one gene: a pure function of numbers and names, in the language of association."""
    e = evidence
    if e.status not in (names.OK, names.WARNING) or np.isnan(e.pip):
        return NOT_FITTED.format(
            gene=called(e.gene, e.symbol), status=e.status, reason=e.reason or "no reason was recorded"
        )
    before = _before_priors(e)
    moved = before != e.pip
    numbers = {
        "the_pip": THE_MEAN if moved else THE_PIP,
        "pip": _pip(before),
        "plugin": _pip(e.pip_plugin),
        "weights": _pip(e.pip_weights),
        "ld": _pip(e.pip_ld),
        "reference": reference_phrase(e.n_ref),
    }
    kind, sources = _movement(e)
    numbers["modality"] = e.modality
    source = SOURCES[sources].format(**numbers)
    sentence = {"alone": ALONE, "stable": STABLE, "opposed": OPPOSED, "fall": FALL, "rise": RISE}[kind]
    said = sentence.format(source=source, **numbers)
    if moved:
        said += (", and " if kind in ("fall", "rise") else "; it is ") + PRIORS.format(pip=_pip(e.pip))
    clauses = [f"{called(e.gene, e.symbol)}: {said}"]
    other_pip, other = _likeliest_other(e)
    clauses += [clause for clause in [_competition(e.pip, other_pip, other, kind)] if clause]
    clauses += [clause for clause in [_what_matters(e)] if clause]
    if kind == "fall" and not (e.pip < COMPETITOR and other_pip >= CERTAIN):
        clauses.append(REMEDIES[sources].format(modality=e.modality))
    if e.suspicious and not np.isnan(e.pip_one_effect):
        clauses.append(SUSPECT.format(pip=_pip(e.pip_one_effect)))
    return _joined(clauses, kind)


def called(gene: str, symbol: str) -> str:
    """A gene by its symbol, with its identifier; by the latter alone where there is no symbol."""
    return f"{symbol} ({gene})" if symbol else gene


def _joined(clauses: list[str], kind: str) -> str:
    """What competes explains a fall (colon) and is an addition elsewhere (semicolon)."""
    first, *rest = clauses
    return (
        first
        + "".join((": " if kind == "fall" and i == 0 else "; ") + clause for i, clause in enumerate(rest))
        + "."
    )


def _what_matters(e: GeneEvidence) -> str:
    """The source without which the PIP would be most different; nothing where none is, or not all are
    known."""
    without = {name: getattr(e, name) for name in WITHOUT}
    if np.isnan([e.pip_fixed_priors, *without.values()]).any():
        return ""
    moves = {name: abs(value - e.pip_fixed_priors) for name, value in without.items()}
    most = max(moves, key=lambda name: moves[name])
    by_priors = abs(e.pip - e.pip_fixed_priors)
    if max(by_priors, moves[most]) <= _least(e):
        return ""
    if by_priors > moves[most]:
        return PRIORS_MATTER.format(without=_pip(e.pip_fixed_priors))
    return MATTERS.format(source=WITHOUT[most], without=_pip(without[most]))


def _least(e: GeneEvidence) -> float:
    """Smallest change of the PIP that is called a change: not one within its Monte Carlo error."""
    return max(MOVE, 2 * e.pip_mcse if np.isfinite(e.pip_mcse) else 0.0)


def _before_priors(e: GeneEvidence) -> float:
    """The PIP without the uncertainty of the priors, where that moves it and what else does is known; else
    the PIP."""
    known = np.isfinite([e.pip_fixed_priors, e.pip_plugin, e.pip_weights, e.pip_ld]).all()
    return e.pip_fixed_priors if known and abs(e.pip - e.pip_fixed_priors) > _least(e) else e.pip


def _movement(e: GeneEvidence) -> tuple[str, tuple[bool, bool]]:
    """The kind of sentence, and whether the uncertainty of (weights, LD) alone moves the PIP."""
    nowhere = (False, False)
    if np.isnan([e.pip_plugin, e.pip_weights, e.pip_ld]).any():
        return "alone", nowhere
    least = _least(e)
    total, by_weights, by_ld = (
        value - e.pip_plugin for value in (_before_priors(e), e.pip_weights, e.pip_ld)
    )
    if abs(total) <= least:
        opposed = max(abs(by_weights), abs(by_ld)) > 2 * least
        return ("opposed" if opposed else "stable"), nowhere
    moves = (by_weights / total >= 0.5, by_ld / total >= 0.5)
    return ("fall" if total < 0 else "rise"), moves


def _likeliest_other(e: GeneEvidence) -> tuple[float, str]:
    """PIP and name of the likelier of the top direct variant and the top other gene; (0, "") where there is
    none."""
    choices = [
        (0.0, ""),
        (e.variant_pip, f"a direct effect of {e.variant} (PIP {_pip(e.variant_pip)})"),
        (e.rival_pip, f"the gene {called(e.rival, e.rival_symbol)} (PIP {_pip(e.rival_pip)})"),
    ]
    return max((choice for choice in choices if not np.isnan(choice[0])), key=lambda choice: choice[0])


def _competition(pip: float, other_pip: float, other: str, kind: str) -> str:
    """What else may explain the association, where there is such a thing to say."""
    if pip >= CERTAIN or (pip < COMPETITOR and kind != "fall"):  # decided, or never a candidate
        return ""
    if other_pip < COMPETITOR:
        return "no single variant or other gene takes its place" if kind == "fall" else ""
    if pip + other_pip > SHARED:  # more than one signal in the block: the two need not compete
        said = kind == "fall" and other_pip >= CERTAIN
        return f"{other} accounts for association in the same block" if said else ""
    then = "then " if kind == "fall" else ""
    if other_pip > pip:
        return f"{other} is {then}the more probable explanation of the association"
    return f"{other} {then}remains a possible explanation of the association"


def _pip(value: float) -> str:
    """Two digits, and never a certainty that was not computed."""
    if np.isnan(value):
        return "unknown"
    return "<0.01" if value < 0.005 else ">0.99" if value > 0.995 else f"{value:.2f}"


def reference_phrase(n_ref: Mapping[str, float]) -> str:
    """Names the LD references by their sizes; an infinite or unknown size is one that counts as exact."""
    sizes = {ancestry: int(n) for ancestry, n in n_ref.items() if np.isfinite(n)}
    if not sizes:
        return "the LD reference"
    if len(sizes) == 1:
        return f"the {next(iter(sizes.values()))}-person LD reference"
    *most, last = (f"{n} ({ancestry})" for ancestry, n in sizes.items())
    return f"the LD references of {', '.join(most)} and {last} people"


# ---- from a result --------------------------------------------------------------------------------------


def explanations(result: xr.DataTree) -> list[str]:
    """The sentence of every gene of a result, in the order of dim gene. Stored sentences are not read."""
    marginals = result[names.MARGINALS].dataset
    constant = result[names.CONSTANT].dataset
    blocks = result[names.BLOCKS].dataset
    pips, direct = marginals["pip"].values, marginals["pip_direct"].values
    genes, variants = marginals[names.GENE].values, marginals[names.VARIANT].values
    in_block = _positions(constant["gene_block"].values)
    variants_of = _positions(constant["variant_block"].values)
    n_ref = {
        str(block): dict(zip(map(str, blocks[names.ANCESTRY].values), row, strict=True))
        for block, row in zip(blocks[names.BLOCK].values, blocks["n_ref"].values, strict=True)
    }
    graded = text(blocks["reliability"].values) == SUSPICIOUS
    suspicious = set(text(blocks[names.BLOCK].values)[graded])
    sentences = [""] * len(genes)
    symbol = symbols(result)
    contexts = text(marginals["best_context"].values)
    for block, members in in_block.items():
        variant, variant_pip = _highest(variants_of.get(block, np.array([], dtype=int)), direct, variants)
        for i in members:
            rival, rival_pip = _highest(members[members != i], pips, genes)
            numbers = {name: float(marginals[name].values[i]) for name in _NUMBERS}
            evidence = GeneEvidence(
                gene=str(genes[i]),
                **numbers,
                n_ref=n_ref.get(block, {}),
                symbol=symbol.get(str(genes[i]), ""),
                rival_symbol=symbol.get(rival, ""),
                modality=modality(result, contexts[i]) or names.MODALITY,
                variant=variant,
                variant_pip=variant_pip,
                rival=rival,
                rival_pip=rival_pip,
                suspicious=block in suspicious,
                status=str(constant["status"].values[i]),
                reason=str(constant["reason"].values[i]),
            )
            sentences[i] = explain(evidence)
    return sentences


_NUMBERS = ("pip", "pip_mcse", "pip_fixed_priors", "pip_plugin", "pip_weights", "pip_one_effect", *WITHOUT)


def _positions(blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the members of each block."""
    labels, codes = np.unique(blocks.astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    bounds = np.cumsum(np.bincount(codes, minlength=len(labels)))[:-1]
    return dict(zip(map(str, labels), np.split(order, bounds), strict=True)) if len(labels) else {}


def _highest(members: np.ndarray, values: np.ndarray, labels: np.ndarray) -> tuple[str, float]:
    """Label and value of the member with the highest value; empty and NaN where no member has one."""
    known = members[~np.isnan(values[members])]
    if not len(known):
        return "", np.nan
    best = known[np.argmax(values[known])]
    return str(labels[best]), float(values[best])
