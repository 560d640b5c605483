"""Do z-scores and LD belong together? Every z-score against its prediction from the others.

Under z ~ Normal(R lambda, R) a contrast c'z with c = e_j - b, b the ridge regression of variant j on the
others,

    Omega = (R + kappa I)^-1,   c = Omega_j / Omega_jj,   c'z = (Omega z)_j / Omega_jj,

has mean c'R lambda and variance c'R c: kriging, as in DENTIST (Chen et al. 2021,
doi:10.1038/s41467-021-27438-7) and in SuSiE-RSS (Zou et al. 2022, doi:10.1371/journal.pgen.1010299). Three
things make a correct variant look wrong, and all are in the variance here:

- b was fitted to n_ref people, and predicts others worse. c'R c is divided by (1 - df / n_ref)^2, generalised
  cross-validation (Golub, Heath and Wahba 1979, doi:10.1080/00401706.1979.10489751), and the disagreement of
  UNSEEN of the copies of the rarer allele is added, which a reference of n_ref people need not show;
- R lambda is known through n_ref people: c'R c grows by 1 + q / n_ref, q = lambda'R lambda;
- c'R lambda is zero only where lambda is: an effect of size |z_k| on variant k (j itself included) moves the
  contrast by |z_k (c'R)_k|, of which the largest is allowed for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from bayestwas.engine.ld import LD

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

RIDGE = 0.3  # of a reference of finitely many people: below it cross-validation is too hopeful
EXACT_RIDGE = 0.01  # rounding of in-sample LD
WINDOW = 600  # variants that predict one another; windows overlap by half
RARE = 10  # copies of the rarer allele in the reference under which a variant is not judged
UNSEEN = 2.0  # copies, of those, that may disagree with the variants around without being seen to
KNOWN_FREQUENCY = 0.05  # taken for the frequency of the rarer allele where the reference is a matrix
LIMIT = 5.45  # |t| of p = 5e-8, as DENTIST has it
FLIP_EVIDENCE = 9.0  # log likelihood ratio of the other sign from which a variant counts as flipped
FLIP_Z = 2.0  # |z| under which a sign says nothing
MOST = 0.05  # share of variants after which no more are looked for: then the LD is wrong and not the variants
CLUMP = 0.05  # r^2 above which two z-scores are the same signal, in the size of the signal
SIGNAL = 5.0  # |z| from which a z-score counts as signal
LEAD_LIMIT = 3.89  # |t| of p = 1e-4, as SLALOM has it

GOOD, DOUBTFUL, SUSPICIOUS = "good", "doubtful", "suspicious"
FEW = 0.01  # share of suspect variants up to which a block is doubtful, above it suspicious


@dataclass(frozen=True)
class Kriging:
    """Every z-score of one study against its prediction; all (p,), NaN where there is nothing to compare.

    `predicted`: from the other variants. `t`: (z - predicted) over its standard deviation. `suspect`: |t|
    above LIMIT or sign the wrong way round, found one after the other, the worst first, each without those
    found before. `flip`: suspect, and explained by the other sign. `ended`: the search ended at MOST of the
    variants, with others left.
    """

    predicted: Floats
    t: Floats
    suspect: NDArray[np.bool_]
    flip: NDArray[np.bool_]
    ended: bool


def krige(z: Floats, ld: LD, copies: Floats | None = None, window: int = WINDOW) -> Kriging:
    """Compare the z-scores of a study with their prediction from one another.

    Parameters
    ----------
    z : (p,) z-scores; NaN where absent. ld : LD of the same variants, in their order along the chromosome.
    copies : (p,) of the rarer allele in the reference; None: not known, as for a matrix. Not asked for where
        the LD is exact (`n_ref` infinite).
    window : variants that predict one another; a variant is judged where it stands most in the middle.
    """
    if copies is None or not np.isfinite(ld.n_ref):
        copies = np.full(len(z), max(2 * KNOWN_FREQUENCY * ld.n_ref, RARE))
    usable = np.flatnonzero(np.isfinite(z) & (ld.variance > 0) & (copies >= RARE))
    numbers, marks = np.full((2, len(z)), np.nan), np.zeros((2, len(z)), dtype=bool)
    out = Kriging(numbers[0], numbers[1], marks[0], marks[1], False)
    budget = int(MOST * len(usable)) + 1
    signal, reach = signal_size(z, ld), np.full(len(z), -1)
    starts = range(0, max(len(usable) - window // 2, 1), window // 2)
    for start in starts:
        held = usable[start : start + window]
        held = held[~out.suspect[held]]
        central = _centrality(len(held), start == starts[0], start == starts[-1])
        judge = _Window.build(z[held], ld.gram(held), ld.n_ref, signal, copies[held])
        while budget > 0 and (k := judge.worst()) is not None:
            out.suspect[held[k]], out.flip[held[k]] = True, judge.flips()[k]
            out.predicted[held[k]], out.t[held[k]] = (judge.z - judge.difference())[k], judge.t()[k]
            judge, held, central = judge.without(k), np.delete(held, k), np.delete(central, k)
            budget -= 1
        better = central > reach[held]
        reach[held[better]] = central[better]
        out.predicted[held[better]] = (judge.z - judge.difference())[better]
        out.t[held[better]] = judge.t()[better]
    left = np.abs(out.t[~out.suspect & np.isfinite(out.t)])
    return replace(out, ended=bool((left > LIMIT).any()))


def _centrality(size: int, first: bool, last: bool) -> Index:
    """How far each of `size` variants is from those ends of its window that are no ends of the block."""
    place = np.arange(size)
    left, right = place.copy(), place[::-1].copy()
    if first:
        left[:] = size
    if last:
        right[:] = size
    return np.minimum(left, right).astype(np.intp)


def grade(checked: int, suspects: int, ended: bool) -> str:
    """How far a block can be trusted with its LD, from the number of variants that were compared and of those
    that do not fit: good; doubtful (a few, which can be left out); suspicious."""
    if ended or suspects > max(FEW * checked, 1):
        return SUSPICIOUS
    return DOUBTFUL if suspects else GOOD


def signal_size(z: Floats, ld: LD) -> float:
    """q = lambda'R lambda, roughly: the sum of z^2 over independent z-scores above SIGNAL."""
    rest = np.where(np.isfinite(z) & (ld.variance > 0), np.abs(z), 0.0)
    total = 0.0
    while rest.max(initial=0.0) > SIGNAL:
        lead = int(np.argmax(rest))
        total += float(rest[lead] ** 2)
        rest = np.where(ld.columns(np.array([lead]))[:, 0] ** 2 > CLUMP, 0.0, rest)
        rest[lead] = 0.0
    return total


@dataclass(frozen=True)
class _Window:
    """Variants that predict one another: z (m,), Omega (m, m), its ridge, the factor of the variance for the
    reference, and the variance (m,) that the reference does not show."""

    z: Floats
    precision: Floats
    ridge: float
    inflation: float
    unseen: Floats

    @classmethod
    def build(cls, z: Floats, correlation: Floats, n_ref: float, signal: float, copies: Floats) -> _Window:
        ridge = RIDGE if np.isfinite(n_ref) else EXACT_RIDGE
        precision = _inverse(correlation + ridge * np.eye(len(z)))
        freedom = len(z) - ridge * float(np.trace(precision))
        worse = 1 / max(1 - freedom / n_ref, 0.05) ** 2
        return cls(z, precision, ridge, worse * (1 + signal / n_ref), UNSEEN / copies)

    def difference(self) -> Floats:
        return self.precision @ self.z / np.diag(self.precision)

    def variance(self) -> Floats:
        """Of the difference, with the largest effect that one variant could have."""
        own = np.diag(self.precision)
        moved = np.abs(np.eye(len(own)) - self.ridge * self.precision) / own[:, None]
        largest = (moved * np.abs(self.z)).max(axis=1, initial=0.0)
        return _residual(self.precision, self.ridge) * self.inflation + self.unseen + largest**2

    def t(self) -> Floats:
        return self.difference() / np.sqrt(self.variance())

    def flips(self) -> NDArray[np.bool_]:
        """Where -z, in place of z, fits its prediction z - difference, by the likelihood ratio of the two."""
        other = 2 * self.z - self.difference()
        evidence = (self.difference() ** 2 - other**2) / (2 * self.variance())
        return np.asarray((evidence > FLIP_EVIDENCE) & (np.abs(self.z) > FLIP_Z))

    def worst(self) -> int | None:
        """Of the suspects, the variant that fits worst."""
        size = np.abs(self.t())
        size[(size <= LIMIT) & ~self.flips()] = 0.0
        return int(np.argmax(size)) if size.any() else None

    def without(self, k: int) -> _Window:
        """The window without variant k: Omega of the others is Omega - Omega_k Omega_k' / Omega_kk."""
        row = self.precision[k]
        rest = np.delete(np.delete(self.precision - np.outer(row, row) / row[k], k, axis=0), k, axis=1)
        return _Window(np.delete(self.z, k), rest, self.ridge, self.inflation, np.delete(self.unseen, k))


def _residual(precision: Floats, ridge: float) -> Floats:
    """c_j'R c_j of every j: (Omega R Omega)_jj / Omega_jj^2 with Omega R Omega = Omega - ridge Omega^2."""
    own = np.diag(precision)
    return np.maximum(own - ridge * np.einsum("ij,ij->i", precision, precision), 0.0) / own**2


def _inverse(matrix: Floats) -> Floats:
    """Of a symmetric positive definite matrix. A correlation that is not (pairs computed apart) is lifted."""
    lift = 0.0
    while True:
        factor, failed = lapack.dpotrf(matrix + lift * np.eye(len(matrix)), lower=1)
        if not failed:
            break
        lift = max(10 * lift, 0.01)
    lower, _ = lapack.dpotri(factor, lower=1)
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)


def lead_outliers(z: Floats, r: Floats, n_ref: float, r2: float = 0.6) -> tuple[Index, Floats]:
    """Variants in high LD with the lead that do not follow it: what the LD to the lead alone can say.

    t_j = (z_j - r_j z_lead) / sqrt(1 - r_j^2 + ((1 - r_j^2) z_lead)^2 / n_ref): DENTIST-S of SLALOM (Kanai et
    al. 2022, doi:10.1016/j.xgen.2022.100210), with the sampling variance of r_j added. It holds where the
    lead is the only signal.

    Parameters
    ----------
    z : (p,) z-scores. r : (p,) correlation with the variant of the largest |z|. n_ref : people behind r.

    Returns
    -------
    The variants with r^2 above `r2`, the lead not among them, and their t. Above LEAD_LIMIT a variant is an
    outlier, and a locus with one of them is suspicious.
    """
    lead = int(np.nanargmax(np.abs(z)))
    near = np.flatnonzero((r**2 > r2) & np.isfinite(z) & (np.arange(len(z)) != lead))
    left = np.maximum(1 - r[near] ** 2, 1e-3)
    return near, (z[near] - r[near] * z[lead]) / np.sqrt(left + (left * z[lead]) ** 2 / n_ref)


def lead_grade(z: Floats, r: Floats, n_ref: float) -> str:
    """Suspicious where a variant in high LD with the lead does not follow it (`lead_outliers`), else good."""
    _, t = lead_outliers(z, r, n_ref)
    return SUSPICIOUS if (np.abs(t) > LEAD_LIMIT).any() else GOOD
