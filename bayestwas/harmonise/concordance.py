"""Do donors have their own genotypes? Expression against what cis-eQTLs predict from those of everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp, ndtri

from bayestwas.data.studies import Genotypes, Study
from bayestwas.engine.projection import projection, residual, unit_variance
from bayestwas.harmonise.alleles import VariantFile
from bayestwas.harmonise.expression import inverse_normal
from bayestwas.harmonise.files import FileNames
from bayestwas.harmonise.genes import HIDDEN, PreparedPanel

Floats = NDArray[np.float64]

NEAR = 100_000  # base pairs around a TSS in which the eQTL of a gene is looked for
MOST_GENES, ENOUGH = 200, 100  # genes that are tried, evenly spaced; eQTLs after which no more are
FEWEST = 20  # eQTLs without which nothing is said
EQTL_P = 1e-5  # of the best variant of a gene
SWAPPED = 0.01  # prior share of donors that are not themselves, half of them someone else in the file
NAMED = 0.95  # posterior probability of not being itself from which a donor is named


@dataclass(frozen=True)
class Concordance:
    """`eqtls`: genes that were used. `suspects`: donor, resembles (a person of the genotype file, '' for none
    of them) and probability that the donor is not itself."""

    eqtls: int
    suspects: pd.DataFrame

    @property
    def told(self) -> str:
        """A few words for a table."""
        if self.eqtls < FEWEST:
            return f"{self.eqtls} eQTLs: too few to tell"
        pairs = [f"{donor} fits {other or 'nobody'}" for donor, other, _ in self._rows()]
        return f"{self.eqtls} eQTLs: {'; '.join(pairs) or 'every donor fits'}"

    @property
    def sentences(self) -> list[str]:
        """One per suspect."""
        out = []
        for donor, other, probability in self._rows():
            whose = f"those of {other}" if other else "those of nobody in the file"
            out.append(
                f"the expression of {donor} does not fit its genotypes (probability {probability:.3f}, "
                f"{self.eqtls} eQTLs), most likely {whose}: samples may be swapped"
            )
        return out

    def _rows(self) -> list[tuple[str, str, float]]:
        columns = (self.suspects[name].tolist() for name in ("donor", "resembles", "probability"))
        return [(str(a), str(b), float(c)) for a, b, c in zip(*columns, strict=True)]


def log_likelihood(expression: Floats, predicted: Floats, own: NDArray[np.intp]) -> Floats:
    """(donors, people + 1) log density of expression (genes, donors) as Normal(predicted (genes, people), S),
    and, last, as Normal(0, R): that of nobody with genotypes here.

    S and R are the covariances between genes of the residuals of the donors from their `own` prediction, and
    of their expression: genes that go together count less than as many that do not.
    """
    columns = []
    for covariance, mean in (
        (shrunk_covariance(expression - predicted[:, own]), predicted),
        (shrunk_covariance(expression), np.zeros((len(expression), 1))),
    ):
        root = np.linalg.cholesky(covariance)
        y, x = (solve_triangular(root, rows, lower=True) for rows in (expression, mean))
        square = (y**2).sum(axis=0)[:, None] - 2 * y.T @ x + (x**2).sum(axis=0)
        columns.append(-square / 2 - np.log(root.diagonal()).sum())
    return np.concatenate(columns, axis=1) - len(expression) * np.log(2 * np.pi) / 2


def shrunk_covariance(rows: Floats) -> Floats:
    """Covariance (genes, genes) of rows (genes, n) of mean zero, the correlations shrunk towards zero by the
    share of Ledoit & Wolf (2004, doi:10.1016/S0047-259X(03)00096-4) for the identity as target."""
    p, n = rows.shape
    scale = np.sqrt((rows**2).mean(axis=1))
    x = rows / scale[:, None]
    sample = x @ x.T / n
    apart = float(((sample - np.eye(p)) ** 2).sum())
    noise = float(((x**2).sum(axis=0) ** 2).sum() / n - (sample**2).sum()) / n
    share = min(noise / apart, 1.0) if apart > 0 else 1.0
    return (share * np.eye(p) + (1 - share) * sample) * np.outer(scale, scale)


def identity(score: Floats, own: NDArray[np.intp]) -> Floats:
    """(donors, people + 1) posterior probability that the expression of a donor is that of each person of the
    genotype file, and, last, of nobody there. `score`: `log_likelihood`.

    A donor is itself with prior probability 0.99, one of the others with 0.005 in all, nobody with 0.005.
    MixupMapper (Westra et al. 2011, doi:10.1093/bioinformatics/btr323) ranks people by the like residuals,
    without a probability.
    """
    donors, people = score.shape[0], score.shape[1] - 1
    log_prior = np.full(score.shape, np.log(SWAPPED / 2 / max(people - 1, 1)))
    log_prior[:, -1] = np.log(SWAPPED / 2)
    log_prior[np.arange(donors), own] = np.log1p(-SWAPPED)
    posterior = score + log_prior
    return np.asarray(np.exp(posterior - logsumexp(posterior, axis=1, keepdims=True)))


def suspected_swaps(posterior: Floats, own: NDArray[np.intp]) -> pd.DataFrame:
    """Donors that by `identity` are not themselves with a probability above 0.95: numbers donor and resembles
    (the most probable other, that of the last column for nobody), and that probability."""
    donors = np.arange(len(posterior))
    others = posterior.copy()
    others[donors, own] = 0.0
    not_itself = others.sum(axis=1)
    found = np.flatnonzero(not_itself > NAMED)
    best = np.argmax(others, axis=1)
    return pd.DataFrame({"donor": found, "resembles": best[found], "probability": not_itself[found]})


def check_panels(
    study: Study,
    prepared: Sequence[PreparedPanel],
    named: FileNames,
    files: Sequence[VariantFile],
    places: pd.DataFrame,
) -> tuple[pd.DataFrame, list[str]]:
    """What every panel has, one row each, and a sentence per donor that seems to be another person.

    `places`: chromosome and tss by gene. Columns: context, ancestry, donors, genes, covariates,
    hidden_factors, sample_swaps.
    """
    near = {file.name: _Near(file) for file in files}
    rows, notes = [], []
    for panel, ready in zip(study.panels, prepared, strict=True):
        told = "not looked for"
        if panel.preparation.swap_check:
            found = concordance(ready, places, near[ready.genotypes], named.genotypes[ready.genotypes])
            source = panel.expression.attrs.get("source", ready.label)
            told = found.told
            notes += [f"{source}: {line}" for line in found.sentences]
        labels = [] if ready.covariates is None else [str(label) for label in ready.covariates.index]
        hidden = sum(label.startswith(HIDDEN) for label in labels)
        sizes = (len(ready.sample_index), len(ready.expression), len(labels) - hidden, hidden)
        rows.append((ready.context, ready.ancestry, *sizes, told))
    columns = ["context", "ancestry", "donors", "genes", "covariates", "hidden_factors", "sample_swaps"]
    return pd.DataFrame(rows, columns=columns), notes


def concordance(panel: PreparedPanel, places: pd.DataFrame, near: _Near, genotypes: Genotypes) -> Concordance:
    """Compare the donors of a panel with all people of its genotype file; reads the genotypes near at most
    200 genes."""
    none = pd.DataFrame(columns=["donor", "resembles", "probability"])
    if len(panel.expression) < FEWEST:
        return Concordance(0, none)
    covariates = np.empty((0, len(panel.sample_index)))
    if panel.covariates is not None:
        covariates = panel.covariates.to_numpy(dtype=np.float64)
    basis = projection(covariates, len(panel.sample_index))
    found: list[tuple[Floats, Floats]] = []
    every = max(1, -(-len(panel.expression) // MOST_GENES))
    for gene in panel.expression.index[::every]:
        rows = near(str(places.loc[gene, "chromosome"]), int(places.loc[gene, "tss"]))
        if len(rows) and len(found) < ENOUGH:
            y = residual(panel.expression.loc[[gene]].to_numpy(dtype=np.float64), basis)
            y = unit_variance(inverse_normal(y))  # an outlier is nobody else
            eqtl = _eqtl(genotypes.load(rows), y[0], basis, panel.sample_index)
            found += [] if eqtl is None else [(y[0], eqtl)]
    if len(found) < FEWEST:
        return Concordance(len(found), none)
    expression, predicted = (np.array([one[i] for one in found]) for i in (0, 1))
    donors = unit_variance((expression - expression.mean(axis=0)).T).T  # none is extreme throughout
    score = log_likelihood(donors, predicted, panel.sample_index)
    suspects = suspected_swaps(identity(score, panel.sample_index), panel.sample_index)
    suspects["donor"] = panel.expression.columns.to_numpy()[suspects["donor"]]
    suspects["resembles"] = np.array([*genotypes.samples, ""], dtype=object)[suspects["resembles"]]
    return Concordance(len(found), suspects)


class _Near:
    """The usable rows of a file around a position, by chromosome; sorted when first asked."""

    def __init__(self, file: VariantFile) -> None:
        self.file = file
        self.sorted: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, chromosome: str, position: int) -> NDArray[np.intp]:
        if chromosome not in self.sorted:
            usable = self.file.usable()
            here = usable[(self.file.table["chromosome"].to_numpy()[usable] == chromosome)]
            where = self.file.table["position"].to_numpy()[here]
            order = np.argsort(where, kind="stable")
            self.sorted[chromosome] = where[order], self.file.row[here[order]]
        where, row = self.sorted[chromosome]
        first, last = np.searchsorted(where, [position - NEAR, position + NEAR + 1])
        return np.asarray(row[first:last], dtype=np.intp)


def _eqtl(dosage: np.ndarray, y: Floats, basis: Floats, own: NDArray[np.intp]) -> Floats | None:
    """(people,) expression as the variant predicts it that is most correlated with it among the donors; None
    where it may be chance."""
    seen = dosage >= 0
    mean = np.where(seen, dosage, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    x = np.where(seen, dosage - mean[:, None], 0.0)
    r = (unit_variance(residual(x[:, own], basis)) @ y) / len(y)
    top = int(np.argmax(np.abs(r)))
    size = min(abs(float(r[top])), 1 - 1e-9)
    free = max(len(y) - basis.shape[1] - 2, 0)
    spread = x[top, own].std()
    if np.arctanh(size) * np.sqrt(free) < -ndtri(EQTL_P / 2) or spread == 0:
        return None
    return np.asarray(r[top] * (x[top] - x[top, own].mean()) / spread)
