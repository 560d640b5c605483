"""Runs in the peers' environment: elastic-net expression weights, as PrediXcan and FUSION train them.

In: dosage (p, n) int8, expression (G, n), cis (G, p) variants in the window of each gene. Out: weights (p,
G) of standardised genotypes on standardised expression, zero where nothing is selected. l1_ratio 0.5,
penalty by 5-fold cross-validation, missing genotypes as the mean.
"""

import warnings

import numpy as np
from peers_worker import answer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV

warnings.simplefilter("ignore", ConvergenceWarning)  # at the smallest penalties, which are not chosen


def standardise(rows):
    sd = rows.std(axis=1, keepdims=True)
    return (rows - rows.mean(axis=1, keepdims=True)) / np.where(sd > 0, sd, np.inf)


def fit(data):
    dosage = data["dosage"].astype(float)
    dosage[dosage < 0] = np.nan
    mean = np.nanmean(dosage, axis=1, keepdims=True)
    x = standardise(np.where(np.isnan(dosage), mean, dosage))
    expression = standardise(data["expression"].astype(float))
    weights = np.zeros((len(x), len(expression)))
    cis = data["cis"]
    for g, y in enumerate(expression):
        used = np.flatnonzero(cis[g] & x.any(axis=1))
        model = ElasticNetCV(l1_ratio=0.5, cv=5, n_alphas=30, eps=1e-2, tol=1e-3, random_state=0)
        weights[used, g] = model.fit(x[used].T, y).coef_
    return {"weights": weights}


if __name__ == "__main__":
    answer(fit)
