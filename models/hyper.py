"""Priors of genes and variants, learned over the single effects of a genome, in PyMC. Its card is hyper.md.

    odds_c = exp(offset_c + intercept_kind(c) + context_effect_context(c) + pattern_c . coefficient)
    P(signal i is candidate k of class c) = odds_c / M_i, P(none) = 1 / M_i, M_i = 1 + sum_c count_ic odds_c
    P(data_i) / P(data_i | none) = (1 + S_i) / M_i
    S_i = sum_c odds_c sum_s size_weight_s exp(log_sum_ics + ratio_is)
    P(data of the rest) / P(... | none) = exp(sum_c odds_c (sum_s size_weight_s rest_cs - rest_count_c))

A class is a kind, a context, an annotation pattern; log_sum the log of the sum of its Bayes factors at size
s, computed at the correlation `reference` of effects between ancestries: `ratio` carries it to another one.
The rest are the candidates that no signal is about, each unlikely: a Poisson process of effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad

KINDS = ("gene", "variant")
CENTRE, WIDTH = np.log([1e-2, 1e-4]), 2.0  # log prior odds: of a gene in a context, of a variant
SLAB = 2.0  # standard deviation of a coefficient that the horseshoe leaves free
CONCENTRATION = 2.0  # of the weights of effect sizes
SHARED = 2.0  # Beta(2, 1): effects on a trait are usually alike, and may be unlike
ETA = 1.0  # of the LKJ prior of what is not shared: every correlation matrix is as likely

# name: (dims, unit, meaning)
DATA = {
    "log_sum": (("row", "class", "size"), "natural log", "sum of Bayes factors of a class; -inf if empty"),
    "count": (("row", "class"), "candidates", "of a class that only this signal is about"),
    "rest": (("class", "size"), "Bayes factors", "their sum over the candidates that no signal is about"),
    "rest_count": (("class",), "candidates", "that no signal is about"),
    "offset": (("class",), "natural log", "odds of a class that are known beforehand"),
    "in_kind": (("class", "kind"), "0 or 1", "one 1 per row: gene or variant"),
    "in_context": (("class", "context"), "0 or 1", "the context of a class of genes; zeros for variants"),
    "pattern": (("class", "annotation"), "as given", "annotations of a class"),
    "strong": (("signal",), "row", "rows that say something of the correlation"),
    "score": (("signal", "kind", "ancestry"), "per effect", "of the effect, were it of that kind"),
    "information": (("signal", "kind", "ancestry"), "per squared effect", "that goes with the score"),
    "variance": (("kind", "size"), "squared effect", "of the sizes of the grid"),
    "reference": (("kind", "ancestry", "ancestry_"), "correlation", "under which log_sum was computed"),
}
PARAMETERS = {
    "intercept": (("kind",), "natural log", "prior odds of a candidate without annotations"),
    "context_spread": ((), "natural log", "standard deviation of contexts"),
    "context_deviation": (("context",), "standard deviations", "of a context from the mean"),
    "global_scale": ((), "natural log", "scale of all coefficients"),
    "local_scale": (("annotation",), "ratio", "heavy-tailed scale of a coefficient"),
    "standard_coefficient": (("annotation",), "standard deviations", "coefficient in units of its scale"),
    "size_weight": (("kind", "size"), "probability", "of the effect sizes of the grid"),
    "shared": (("kind",), "correlation", "of an effect in all ancestries alike"),
    "partial": (("kind", "pair"), "0 to 1", "(1 + partial correlation) / 2 of what is left, by pair"),
}
# prior standard deviations, of three sizes and three ancestries; a posterior as wide was not informed
PRIOR_SD = {"intercept": WIDTH, "context_effect": 1.0, "coefficient": 0.785}
PRIOR_SD |= {"size_weight": np.sqrt(2 / 63), "correlation": np.sqrt(1 / 18 + 1 / 6 / 4)}
# and 95% prior intervals; those of `correlation`, of three ancestries, and of products by simulation
PRIOR_RANGE = {
    kind: (mid - 1.96 * WIDTH, mid + 1.96 * WIDTH) for kind, mid in zip(KINDS, CENTRE, strict=True)
}
PRIOR_RANGE |= {"context_effect": (-2.18, 2.18), "coefficient": (-1.81, 1.81), "correlation": (-0.15, 0.993)}
Coords, Values = Mapping[str, Sequence[Any]], Mapping[str, Any]


def beta_shape(ancestries: int) -> np.ndarray:
    """(pair,) of the partial correlations of an LKJ matrix (Lewandowski 2009), pairs as in `triu_indices`."""
    return ETA + 0.5 * (ancestries - 2 - np.triu_indices(ancestries, 1)[0])


def constants(data: Values) -> dict[str, np.ndarray]:
    """The design; `scaled_sum` is exp(log_sum) in units of exp(`offset_of_row`), so that nothing overflows;
    `z` and `root` the score and the root of the information, `reference_bf` what they say at `reference`."""
    given = {name: np.asarray(data[name], int if name == "strong" else float) for name in DATA}
    log_sum, reference, score = (given.pop(name) for name in ("log_sum", "reference", "score"))
    largest = np.maximum(log_sum.max(axis=(1, 2), initial=0.0), 0.0)
    root = np.sqrt(given.pop("information"))
    z = np.divide(score, root, out=np.zeros_like(score), where=root > 0)
    bf = np.asarray(log_bf(z, root, given["variance"], reference, np))
    scaled = np.ascontiguousarray(np.exp(log_sum - largest[:, None, None]).transpose(0, 2, 1))
    return {"scaled_sum": scaled, "offset_of_row": largest, "reference_bf": bf, "z": z, "root": root, **given}


def log_bf(z: Any, root: Any, variance: Any, omega: Any, xp: Any) -> Any:
    """(signal, kind, size) log Bayes factor of an effect against none, of NumPy arrays or PyTensor variables.

    `z` is Normal(0, B) against Normal(0, 1), B = 1 + variance root omega root, `root` the square root of the
    information; the Cholesky factor of B entry by entry, since ancestries are few and signals many.
    """
    ancestries = range(omega.shape[-1] if xp is np else omega.type.shape[-1])
    factor: list[list[Any]] = []
    value: Any = 0.0
    half: list[Any] = []
    for i in ancestries:
        row: list[Any] = []
        for j in range(i + 1):
            inner = root[:, :, i] * root[:, :, j] * omega[:, i, j]
            entry = variance * inner[:, :, None] + float(i == j)
            for k in range(j):
                entry = entry - row[k] * (row[k] if i == j else factor[j][k])
            row.append(xp.sqrt(entry) if i == j else entry / factor[j][j])
        factor.append(row)
        own = z[:, :, i][:, :, None]
        half.append((own - sum(row[j] * half[j] for j in range(i))) / row[i])
        value = value + 0.5 * (own**2 - half[i] ** 2) - xp.log(row[i])
    return value


def correlations(shared: Any, partial: Any, ancestries: int, xp: Any) -> Any:
    """(kind, ancestry, ancestry_): shared 1 1' + (1 - shared) C, C with these `partial` (kind, pair)."""
    value, pairs = 2 * partial - 1, list(zip(*np.triu_indices(ancestries, 1), strict=True))
    zero = shared * 0.0
    rows = []
    for i in range(ancestries):
        row, left = [], zero + 1.0
        for j in range(i):
            entry = value[:, pairs.index((j, i))]
            row.append(entry * xp.sqrt(left))
            left = left * (1 - entry**2)
        rows.append(xp.stack([*row, xp.sqrt(left), *[zero] * (ancestries - i - 1)], axis=1))
    factor = xp.stack(rows, axis=1)
    return shared[:, None, None] + (1 - shared[:, None, None]) * (factor @ factor.transpose((0, 2, 1)))


def build(data: Values, coords: Coords) -> pm.Model:
    """The model of all signals. `data` has the entries of DATA, `coords` their dims; the kinds are KINDS."""
    labels = {name: list(values) for name, values in coords.items()} | {"kind": list(KINDS)}
    ancestries = len(labels["ancestry"])
    dims = {name: row[0] for name, row in DATA.items()} | {"scaled_sum": ("row", "size", "class")}
    dims |= {"offset_of_row": ("row",), "reference_bf": ("signal", "kind", "size")}
    dims |= dict.fromkeys(("z", "root"), DATA["score"][0])
    with pm.Model(coords=labels) as model:
        given = {name: pm.Data(name, value, dims=dims[name]) for name, value in constants(data).items()}
        intercept = pm.Normal("intercept", mu=CENTRE, sigma=WIDTH, dims="kind")
        spread = pm.HalfNormal("context_spread", sigma=1.0)
        context = spread * pm.Normal("context_deviation", dims="context")
        free = pm.HalfNormal("global_scale", sigma=0.5) * pm.HalfCauchy("local_scale", 1.0, dims="annotation")
        scale = free / pt.sqrt(1 + (free / SLAB) ** 2)  # the regularised horseshoe
        coefficient = scale * pm.Normal("standard_coefficient", dims="annotation")
        sizes = np.full((len(KINDS), len(labels["size"])), CONCENTRATION)
        size_weight = pm.Dirichlet("size_weight", a=sizes, dims=("kind", "size"))
        shape = beta_shape(ancestries)
        partial = pm.Beta("partial", alpha=shape, beta=shape, dims=("kind", "pair"))
        shared = pm.Beta("shared", alpha=SHARED, beta=1.0, dims="kind")
        omega = correlations(shared, partial, ancestries, pt)
        omega = pt.specify_shape(omega, (len(KINDS), ancestries, ancestries))
        in_kind = given["in_kind"]
        eta = given["offset"] + in_kind @ intercept + given["in_context"] @ context
        odds = pt.exp(eta + given["pattern"] @ coefficient)
        weight = odds[:, None] * (in_kind @ size_weight)  # (class, size)
        # one product reads the sums once, for all signals and those that say something of the correlation
        rows, count = given["scaled_sum"].shape[0], len(labels["size"])
        by_kind = given["scaled_sum"].reshape((rows * count, odds.size)) @ (odds[:, None] * in_kind)
        by_kind = by_kind.reshape((rows, count, len(KINDS))).transpose((0, 2, 1))
        sums = (by_kind * size_weight).sum(axis=(1, 2))
        # rows that say something of the correlation: their Bayes factors at the correlation of now
        now = log_bf(given["z"], given["root"], given["variance"], omega, pt)
        ratio = now - given["reference_bf"]
        top = disconnected_grad(pt.max(ratio, axis=(1, 2)))  # taken out of the sum, and put back
        weighted = size_weight * pt.exp(ratio - top[:, None, None]) * by_kind[given["strong"]]
        log_s = pt.log(sums + 1e-300) + given["offset_of_row"]
        signals = pt.log(weighted.sum(axis=(1, 2)) + 1e-300) + top + given["offset_of_row"][given["strong"]]
        log_s = pt.set_subtensor(log_s[given["strong"]], signals)
        evidence = pt.sum(pt.softplus(log_s) - pt.log1p(given["count"] @ odds))
        pm.Potential(
            "evidence", evidence + pt.sum(weight * given["rest"]) - pt.sum(odds * given["rest_count"])
        )
        pm.Deterministic("baseline", pt.exp(intercept), dims="kind")
        pm.Deterministic("context_effect", context, dims="context")
        pm.Deterministic("context_prior", pt.exp(intercept[0] + context), dims="context")
        pm.Deterministic("coefficient", coefficient, dims="annotation")
        pm.Deterministic("enrichment", pt.exp(coefficient), dims="annotation")
        pm.Deterministic("correlation", omega, dims=("kind", "ancestry", "ancestry_"))
    return model


def simulate(rng: np.random.Generator, coords: Coords, fixed: Values | None = None) -> dict[str, Any]:
    """PARAMETERS, DATA, Deterministics of both, and `causal` (row, kind); entries of `fixed` are taken.

    Every signal has data of its own, in two parts: a z-score of every candidate, Normal(0, 1) or, for the
    causal one, Normal(`location`, 1); and of every kind a score with the given information on the ancestries.
    A candidate of the rest has a z-score only, Normal(`faint`, 1) if it is causal, whatever the size; the
    density is the limit of small odds, and exact where `faint` is 0 (the default: the rest says nothing).
    """
    dims = ("row", "class", "context", "annotation", "size", "ancestry", "kind")
    rows, c, contexts, annotations, s, ancestries, kinds = (len(coords[name]) for name in dims)
    genes = np.arange(c) % 2 == 0  # every other class
    shape = np.tile(beta_shape(ancestries), (kinds, 1))
    made_up = {
        "intercept": rng.normal(CENTRE, WIDTH), "context_spread": abs(rng.normal()),
        "context_deviation": rng.standard_normal(contexts), "global_scale": abs(rng.normal(0.0, 0.5)),
        "local_scale": np.abs(rng.standard_cauchy(annotations)),
        "standard_coefficient": rng.standard_normal(annotations),
        "size_weight": rng.dirichlet(np.full(s, CONCENTRATION), size=kinds),
        "partial": rng.beta(shape, shape), "shared": rng.beta(SHARED, 1.0, size=kinds),
        "in_kind": np.stack([genes, ~genes], axis=1).astype(float), "offset": np.zeros(c),
        "in_context": genes[:, None] * np.eye(contexts)[rng.integers(contexts, size=c)],
        "pattern": rng.integers(2, size=(c, annotations)).astype(float),
        "count": rng.poisson(np.where(genes, 3, 30), size=(rows, c)),
        "rest_count": rng.poisson(np.where(genes, 50, 500), size=c), "location": 3.0, "faint": 0.0,
        "variance": np.tile(4.0 ** np.arange(s), (kinds, 1)),
        "information": np.ones((rows, kinds, ancestries)),
        "reference": np.tile(0.1 * np.eye(ancestries) + 0.9, (kinds, 1, 1)),
    }  # fmt: skip
    out: dict[str, Any] = {**made_up, **(fixed or {})}
    out["strong"] = np.arange(rows)
    out["context_effect"] = out["context_spread"] * out["context_deviation"]
    free = out["global_scale"] * out["local_scale"]
    out["coefficient"] = free / np.sqrt(1 + (free / SLAB) ** 2) * out["standard_coefficient"]
    out |= {"baseline": np.exp(out["intercept"]), "enrichment": np.exp(out["coefficient"])}
    out["context_prior"] = np.exp(out["intercept"][0] + out["context_effect"])
    out["correlation"] = correlations(out["shared"], out["partial"], ancestries, np)
    eta = out["offset"] + out["in_kind"] @ out["intercept"] + out["in_context"] @ out["context_effect"]
    odds = np.exp(eta + out["pattern"] @ out["coefficient"])
    share = np.column_stack([out["count"] * odds, np.ones(rows)])  # (row, class and nothing)
    there = np.arange(out["count"].max(initial=1)) < out["count"][:, :, None]
    z = rng.standard_normal(there.shape)  # (row, class, candidate)
    score = np.sqrt(out["information"]) * rng.standard_normal((rows, kinds, ancestries))
    out["causal"] = np.zeros((rows, kinds))
    for row, weight in enumerate(share):
        chosen = rng.choice(c + 1, p=weight / weight.sum())
        if chosen == c:
            continue
        kind = int(out["in_kind"][chosen].argmax())
        sd = np.sqrt(rng.choice(out["variance"][kind], p=out["size_weight"][kind]))
        effect = sd * rng.multivariate_normal(np.zeros(ancestries), out["correlation"][kind])
        z[row, chosen, 0] += out["location"]
        score[row, kind] += out["information"][row, kind] * effect
        out["causal"][row, kind] = 1.0
    at = np.where(there, out["location"] * z - 0.5 * out["location"] ** 2, -np.inf)
    root = np.sqrt(out["information"])
    bf = log_bf(score / root, root, out["variance"], out["reference"], np)
    out["log_sum"] = np.logaddexp.reduce(at, axis=2)[:, :, None] + bf[:, out["in_kind"].argmax(axis=1)]
    faint = [rng.standard_normal(n) + out["faint"] * (rng.random(n) < o / (1 + o))
             for n, o in zip(out["rest_count"], odds, strict=True)]  # fmt: skip
    total = np.array([np.exp(out["faint"] * x - 0.5 * out["faint"] ** 2).sum() for x in faint])
    return {**out, "score": score, "rest": np.tile(total[:, None], (1, s))}
