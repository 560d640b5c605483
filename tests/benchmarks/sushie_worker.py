"""Runs in the environment of SuShiE: its weights of one gene in one context, over ancestries.

In: ancestries, and per ancestry a `dosage_<a>` (p, n_a) int8, `expression_<a>` (G, n_a). Out: weights
(A, p, G) of standardised genotypes on standardised expression: the posterior mean, as `sushie finemap`
writes it. All settings are its defaults; as there, a variant takes part where its minor allele frequency is
1% in every ancestry.
"""

import jax
import numpy as np
from peers_worker import answer

jax.config.update("jax_enable_x64", True)

from sushie.infer import infer_sushie  # noqa: E402  jax is set up before


def fit(data):
    ancestries = int(data["ancestries"])
    dosage = [data[f"dosage_{a}"].astype(float) for a in range(ancestries)]
    frequency = [rows.mean(axis=1) / 2 for rows in dosage]
    used = np.flatnonzero(np.min([np.minimum(f, 1 - f) for f in frequency], axis=0) >= 0.01)
    genes = len(data["expression_0"])
    weights = np.zeros((ancestries, len(dosage[0]), genes))
    for g in range(genes):
        result = infer_sushie(
            [rows[used].T for rows in dosage], [data[f"expression_{a}"][g] for a in range(ancestries)]
        )
        weights[:, used, g] = np.asarray(result.posteriors.post_mean).sum(axis=0).T
    return {"weights": weights}


if __name__ == "__main__":
    answer(fit)
