"""How wrong the LD of a block is, and how polygenic its background: learned from what a fit leaves over.

With R = V diag(e) V' the LD reference and lambda the fitted effects, the coordinates of the residual,

    y_k = (V'(z - R lambda))_k / sqrt(e_k) ~ Normal(0, rho_k (1 + s q + tau^2 (s m + rho_k e_k))) plus s b b',

    s = 1 / n_ref + delta,   q = lambda' R lambda,   b_k = sqrt(e_k) (V' lambda)_k,   m variants,

tell the two apart: LD of other people adds to all coordinates alike, in proportion to the signal q, a
background adds to those with large eigenvalues. s b b' is the part of the LD noise along the signal; both
parts are the Wishart variance of (R_gwas - R) lambda, the one that the kernel carries through v_k. s tau^2 m
is that of the background (`spectrum`).

The eigenvalues of a reference of n_ref people are themselves estimates: rho_k is V_k'R V_k in the population
over e_k, by the formula of Ledoit and Wolf (2020, doi:10.1214/19-AOS1921), see `true_share`. The k beyond
half of n_ref say too little and are left out.

sqrt(delta) and tau have half-Cauchy priors; their posterior is computed on a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayestwas.engine.ld import LD, Floats, MismatchedLD
from bayestwas.engine.likelihood import presence
from bayestwas.engine.single_effects import SingleEffects
from bayestwas.engine.spectrum import Spectrum, spectrum, with_background

# Scales of the half-Cauchy priors. Half of all references are thought to have less mismatch than the noise of
# 1,000 people, of 100,000 where they are said to be the people of the GWAS; half of all backgrounds less
# than h2 = 0.0001 in a block (1,000 variants, GWAS of 100,000).
DELTA_SCALE, IN_SAMPLE_SCALE, TAU_SCALE = 1e3**-0.5, 1e5**-0.5, 0.1
# Grids of sqrt(delta) and tau: equal steps of their logarithms, by a factor of 1.16 and 1.15.
POINTS = 48
LARGEST = (1.0, 3.0)  # sqrt(delta): LD of a single person; tau: nine times the noise at every variant
SMALLEST_SHARE = 1e-3  # of the largest; smaller values count as this
# Eigenvalues below this are below the rounding of z-scores and of matrices in files.
SMALLEST = 0.01
# What adds less than this to the variance of any coordinate of z is left out of fits.
NEGLIGIBLE = 0.05
ROUNDS = 6
# Relative change below which learning goes on.
SETTLED = 0.1


@dataclass(frozen=True)
class LDError:
    """What was learned of one ancestry in one block.

    delta, tau2 : posterior medians. power : q of the fit. largest : eigenvalue of the LD. spread : c of the
    background, by which the LD noise of small effects raises the variance of z.
    """

    delta: float = 0.0
    tau2: float = 0.0
    power: float = 0.0
    largest: float = 0.0
    spread: float = 0.0

    @property
    def mismatched(self) -> bool:
        """Whether delta is not negligible."""
        return self.delta * self.power > NEGLIGIBLE

    @property
    def polygenic(self) -> bool:
        """Whether tau^2 is not negligible."""
        return self.tau2 * self.largest > NEGLIGIBLE


NOTHING = LDError()


@dataclass(frozen=True)
class Residual:
    """What a fit leaves over in the coordinates of one LD reference: (k,) each.

    square : E[y_k^2] over the posterior of lambda, y : its mean, along : b, value : e, rho : its correction.
    size : m.
    """

    y: Floats
    square: Floats
    along: Floats
    value: Floats
    rho: Floats
    power: float
    inverse_ref: float
    size: int

    def log_likelihood(self, delta: Floats, tau2: Floats) -> Floats:
        """(D, T) log density of the residual at every pair of a delta (D,) and a tau2 (T,), exact but for a
        constant where lambda is known."""
        s = (self.inverse_ref + delta)[:, None, None]
        small = tau2[None, :, None]
        noise = self.rho * (1 + s * (self.power + small * self.size) + small * self.rho * self.value)
        inner = (self.along**2 / noise).sum(axis=2)
        cross = (self.along * self.y / noise).sum(axis=2)
        s = s[:, :, 0]
        quadratic = (self.square / noise).sum(axis=2) - s * cross**2 / (1 + s * inner)
        return np.asarray(-0.5 * (np.log(noise).sum(axis=2) + np.log1p(s * inner) + quadratic))


def true_share(values: Floats, n_ref: float, count: int) -> Floats:
    """rho of the first `count` of all eigenvalues of n_ref people, 1 / |1 - q|^2 with

        q_k = sum_j e_j / (e_j - e_k) / n_ref,

    the poles smoothed over relative distances of n_ref^(-1/3), as Ledoit and Wolf do (here by a Cauchy
    kernel)."""
    if np.isinf(n_ref):
        return np.ones(count)
    width = n_ref ** (-1 / 3)
    distance = values[None] * (1 - 1j * width) - values[:count, None]
    return np.asarray(1 / np.abs(1 - (values[None] / distance).sum(axis=1) / n_ref) ** 2)


def without_effects(z: Floats, parts: Spectrum, n_ref: float) -> Residual:
    """What no effects at all leave over."""
    count = int(((parts.values >= SMALLEST) & (np.arange(len(parts.values)) <= n_ref / 2)).sum())
    value = parts.values[:count]  # they fall
    y = parts.coordinates(z)[:count] / np.sqrt(value)
    rho = true_share(parts.values, n_ref, count)
    return Residual(y, y**2, np.zeros(count), value, rho, 0.0, 1 / n_ref, len(parts.index))


def residual(none: Residual, fit: SingleEffects, study: int, parts: Spectrum) -> Residual:
    """The residual of one study of a fit whose candidates are the variants alone; `none`: without effects."""
    value = none.value
    keep = slice(0, len(value))
    lam = fit.lam[:, study]
    turned = np.array([parts.coordinates(row) for row in lam])  # (L, k)
    total = turned.sum(axis=0)[keep]
    y = none.y - np.sqrt(value) * total
    # the posterior of lambda: each effect is one variant or nothing, independent of the others
    second = np.zeros(parts.size)
    for row, alpha, mean in zip(lam, fit.alpha, fit.mean, strict=True):
        weight, square = alpha[:, :, None], mean[:, :, [study]]
        first = (weight * square).sum(axis=(1, 2))[: parts.size]
        there = np.flatnonzero((np.abs(first) > 1e-12) & (row != 0))
        scale = np.divide(row[there], first[there])  # sqrt(n), damping and transformation included
        second[there] += scale**2 * (weight * square**2).sum(axis=(1, 2))[there]
    seen = np.square(parts.vectors[:, keep]).T @ second[parts.index]
    spread = np.maximum(seen - np.square(turned[:, keep]).sum(axis=0), 0.0)
    power = float((parts.values * turned.sum(axis=0) ** 2).sum())
    square = y**2 + value * spread
    return Residual(y, square, np.sqrt(value) * total, value, none.rho, power, none.inverse_ref, none.size)


def grid(scale: float, largest: float) -> tuple[Floats, Floats]:
    """Squares of POINTS values up to `largest`, and their log mass under a half-Cauchy prior of that scale:
    of all that is nearer to one, on the log scale, than to the others."""
    points = largest * SMALLEST_SHARE ** (1 - np.arange(POINTS) / (POINTS - 1))
    edges = np.concatenate([[0.0], np.sqrt(points[1:] * points[:-1]), [np.inf]])
    mass = np.diff(2 / np.pi * np.arctan(edges / scale))
    return points**2, np.log(mass)


def learn_error(left: Residual, mismatch: bool = True, background: bool = True) -> LDError:
    """Posterior medians of delta and tau^2 given what is left over; zero for what is not to be learned."""
    scale = DELTA_SCALE if left.inverse_ref > 0 else IN_SAMPLE_SCALE
    nothing = (np.zeros(1), np.zeros(1))
    deltas, of_delta = grid(scale, LARGEST[0]) if mismatch else nothing
    taus, of_tau = grid(TAU_SCALE, LARGEST[1]) if background else nothing
    log = left.log_likelihood(deltas, taus) + of_delta[:, None] + of_tau
    mass = np.exp(log - log.max())
    delta, tau2 = _median(deltas, mass.sum(axis=1)), _median(taus, mass.sum(axis=0))
    spread = (left.inverse_ref + delta) * tau2 * left.size
    return LDError(delta, tau2, left.power, float(left.value.max(initial=0.0)), spread)


def _median(values: Floats, mass: Floats) -> float:
    return float(values[np.searchsorted(np.cumsum(mass), 0.5 * mass.sum())])


@dataclass(frozen=True)
class LearnedLD:
    """z-scores and LD of a block with what was learned of their errors.

    Attributes
    ----------
    z, ld : (A, p) and A operators, as they came. errors : of every ancestry.
    background_z, background_ld : the same where a background is not negligible, after it (`spectrum`).
    """

    z: Floats
    ld: tuple[LD, ...]
    errors: tuple[LDError, ...]
    background_z: Floats
    background_ld: tuple[LD, ...]

    def seen(
        self, *, finite: bool = True, mismatch: bool = True, background: bool = True
    ) -> tuple[Floats, tuple[LD, ...]]:
        """z (A, p) and LD as the kernel is to see them, with what is switched on."""
        z, ld = (self.background_z, self.background_ld) if background else (self.z, self.ld)
        noisy = tuple(
            one if finite and not (mismatch and error.mismatched)
            else MismatchedLD(one, error.delta if mismatch and error.mismatched else 0.0, finite)
            for one, error in zip(ld, self.errors, strict=True)
        )  # fmt: skip
        return z, noisy

    @property
    def sources(self) -> frozenset[str]:
        """Which of the keywords of `seen` make a difference here."""
        there = {
            "finite": any(np.isfinite(one.n_ref) for one in self.ld),
            "mismatch": any(error.mismatched for error in self.errors),
            "background": any(error.polygenic for error in self.errors),
        }
        return frozenset(name for name, is_there in there.items() if is_there)


def with_errors(
    z: Floats, ld: Sequence[LD], spectra: Sequence[Spectrum], errors: Sequence[LDError]
) -> LearnedLD:
    """Put errors into z and LD; spectra of ancestries without a background are not looked at."""
    made = [
        with_background(row, one, parts, error.tau2, error.spread) if error.polygenic else (row, one)
        for row, one, parts, error in zip(z, ld, spectra, errors, strict=True)
    ]
    rows = np.array([row for row, _ in made]).reshape(z.shape)
    return LearnedLD(z, tuple(ld), tuple(errors), rows, tuple(one for _, one in made))


def exact(z: Floats, ld: Sequence[LD]) -> LearnedLD:
    """Nothing learned: the LD is that of the people of the GWAS, but for its finite size."""
    return LearnedLD(z, tuple(ld), (NOTHING,) * len(ld), z, tuple(ld))


def spectra_of(z: Floats, ld: Sequence[LD]) -> tuple[Spectrum, ...]:
    """The spectrum of every ancestry over the variants that it has."""
    return tuple(spectrum(one, row) for one, row in zip(ld, presence(z, ld), strict=True))


def learn_errors(
    z: Floats,
    ld: Sequence[LD],
    fit: Callable[[Floats, Sequence[LD]], SingleEffects],
    *,
    mismatch: bool = True,
    background: bool = True,
) -> tuple[LearnedLD, SingleEffects]:
    """Learn the errors of a block from fits of its direct effects, in turn until they settle, and the fit
    under them.

    `fit(z, ld)` fits direct effects. It begins from LD that is right, so that effects that explain
    the residual take precedence over mismatch. A background is not larger than it would be if there were
    no effects: where LD is wrong, effects and a background can call for more and more of each other.
    """
    learned = exact(z, ld)
    fitted = fit(*learned.seen())
    if not (mismatch or background):
        return learned, fitted
    spectra = spectra_of(z, ld)
    bare = [without_effects(row, parts, one.n_ref) for row, parts, one in zip(z, spectra, ld, strict=True)]
    most = [learn_error(none, mismatch, background).tau2 for none in bare]
    for _ in range(ROUNDS):
        errors = tuple(
            _at_most(learn_error(residual(none, fitted, s, parts), mismatch, background), most[s])
            for s, (none, parts) in enumerate(zip(bare, spectra, strict=True))
        )
        if all(_alike(old, new) for old, new in zip(learned.errors, errors, strict=True)):
            break
        learned = with_errors(z, ld, spectra, errors)
        fitted = fit(*learned.seen())
    return learned, fitted


def _at_most(error: LDError, tau2: float) -> LDError:
    """The error with a background of at most `tau2`."""
    share = min(1.0, tau2 / error.tau2) if error.tau2 > 0 else 1.0
    return replace(error, tau2=share * error.tau2, spread=share * error.spread)


def _alike(old: LDError, new: LDError) -> bool:
    """Whether both are the same to the kernel."""
    if (old.mismatched, old.polygenic) != (new.mismatched, new.polygenic):
        return False
    noise, before = (error.delta * max(old.power, new.power) for error in (new, old))
    sizes = ((noise, before, new.mismatched), (new.tau2 * new.largest, old.tau2 * new.largest, new.polygenic))
    return all(not there or abs(a - b) <= NEGLIGIBLE + SETTLED * b for a, b, there in sizes)
