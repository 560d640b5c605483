"""People who are in a GWAS and in an expression panel: their noise is in both.

Let n_s of the n donors of a panel be among the N people of a GWAS, e a donor's expression less what the
weights predict, and r its correlation with the trait less what genotypes explain. With X = sqrt(n) U S V' the
donors' standardised genotypes, the coordinates of the z-scores and of the expression,

    a_k = V_k'z / S_k,   b_gk = U_k'e_g,   a = sum_g rho_g b_g + noise,   rho = n_s r / sqrt(n N),

tell rho_g: a regression of a on the residuals of all genes of a block at once. rho_g ~ Normal(0, (t c)^2)
with c = n_s / sqrt(n N), its largest size, and t learned over the blocks without a signal, uniform on (0, 1).
Given rho the expected noise is taken off: z - sum_g rho_g X'e_g / sqrt(n).

The eigenvalues S^2 of n donors are estimates of those of the GWAS: the variance of a_k is rho_k of
`mismatch`, by which coordinates are weighted. Those beyond n / 2 say too little and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayestwas.engine.mismatch import SMALLEST, Floats, true_share

SHARES = (np.arange(20) + 0.5) / 20  # values of t


@dataclass(frozen=True)
class Shared:
    """Coordinates of one GWAS and of the residual expression (of genes in contexts) of one ancestry in one
    block: `a` (K,), `b` (K, G), columns of b times c."""

    a: Floats
    b: Floats

    @property
    def noise(self) -> Floats:
        """Variance of a without overlap, (): an effect on the trait counts as noise."""
        return np.asarray(np.square(self.a).mean() if len(self.a) else 1.0)

    def log_evidence(self) -> Floats:
        """(T,) log density of a under each of SHARES, but for a constant; exact given the noise."""
        values, vectors = np.linalg.eigh(self.b.T @ self.b)
        seen = np.square(vectors.T @ (self.b.T @ self.a))
        ratio = SHARES[:, None] ** 2 / self.noise
        whole = 1 + ratio * np.maximum(values, 0.0)
        return np.asarray(
            0.5 * (ratio / whole * seen / self.noise).sum(axis=1) - 0.5 * np.log(whole).sum(axis=1)
        )

    def effects(self, probability: Floats) -> Floats:
        """(G,) posterior mean of rho_g / c, averaged over SHARES with `probability` (T,)."""
        gram, right = self.b.T @ self.b / self.noise, self.b.T @ self.a / self.noise
        values, vectors = np.linalg.eigh(gram)
        inverse = 1 / (np.maximum(values, 0.0) + 1 / SHARES[:, None] ** 2)
        return np.asarray(vectors @ ((probability @ inverse) * (vectors.T @ right)))


def shared_coordinates(factor: Floats, residual: Floats, z: Floats) -> tuple[Floats, Floats]:
    """a (K,) and b (K, G) of `factor` (n, p), genotypes with columns of norm 1 (or 0), `residual` (G, n) and
    `z` (p,), zero where absent, both over the root of the variance of a."""
    values, left = np.linalg.eigh(factor @ factor.T)
    order = np.argsort(-values)
    values, left = values[order], left[:, order]
    everything = values[values > 1e-10 * max(values[0], 1e-300)]
    count = int((everything[: len(factor) // 2] >= SMALLEST).sum())
    root = np.sqrt(true_share(everything, float(len(factor)), count))
    basis = left[:, :count]
    return basis.T @ (factor @ z) / values[:count] / root, basis.T @ residual.T / root[:, None]


def posterior(log_evidence: Floats) -> Floats:
    """(T,) probability of each of SHARES given evidence summed over blocks; uniform where it is zero."""
    weight = np.exp(log_evidence - log_evidence.max())
    return np.asarray(weight / weight.sum())
