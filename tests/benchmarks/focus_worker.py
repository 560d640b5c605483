"""Runs in the peers' environment: calls pyfocus 0.802 with arrays. Python 3.9, no bayestwas here.

In: n_pop, prior_prob, max_genes, ridge, and for every population i: weights_i (p_i, G), ld_i (p_i, p_i),
z_i (p_i,). Out: kept (G,) genes that entered, twas_z (n_pop, G), pips (n_pop, G), pips_me (G,), null; NaN
for genes left out.

The order of calls is that of pyfocus.finemap.fine_map with its defaults (no intercept, no heterogeneity): the
ridge that LDRefPanel.estimate_ld adds to the correlation, assoc_test for every gene and population,
calculate_pips for all.
"""

import logging

import numpy as np
import pandas as pd
from peers_worker import answer
from pyfocus import finemap

logging.disable(logging.CRITICAL)


def region(data):
    n_pop = int(data["n_pop"])
    weights = [np.asarray(data[f"weights_{i}"], dtype=float) for i in range(n_pop)]
    z = [pd.DataFrame({"Z": np.asarray(data[f"z_{i}"], dtype=float)}) for i in range(n_pop)]
    total = weights[0].shape[1]
    # align_data skips a gene whose weights are all zero; fine_map keeps the genes that every population has
    kept = np.array(
        [all(not np.isclose(w[:, g], 0).all() for w in weights) for g in range(total)], dtype=bool
    )
    out = {
        "kept": kept,
        "twas_z": np.full((n_pop, total), np.nan),
        "pips": np.full((n_pop, total), np.nan),
        "pips_me": np.full(total, np.nan),
        "null": np.full(n_pop + 1, np.nan),
    }
    if not kept.any():
        return out
    wmat, ldmat, meta = [], [], []
    for i in range(n_pop):
        chosen = weights[i][:, kept]
        used = ~np.isclose(chosen, 0).all(axis=1)  # only variants that carry a weight reach pyfocus
        ld = np.asarray(data[f"ld_{i}"], dtype=float)[np.ix_(used, used)]
        ld = ld + np.eye(len(ld)) * float(data["ridge"])
        gwas = z[i].loc[used]
        scores = []
        for column in chosen[used].T:
            beta, se = finemap.assoc_test(column, gwas, ld, False)
            scores.append(beta / se)
        wmat.append(chosen[used])
        ldmat.append(ld)
        meta.append(pd.DataFrame({"twas_z": scores}))
    meta, null, _ = finemap.calculate_pips(
        meta, wmat, ldmat, int(data["max_genes"]), float(data["prior_prob"]), False
    )
    for i in range(n_pop):
        out["twas_z"][i, kept] = meta[i]["twas_z"]
        out["pips"][i, kept] = meta[i]["pips"]
    out["pips_me"][kept] = meta[0]["pips_me" if n_pop > 1 else "pips"]
    out["null"][: len(null)] = null
    return out


if __name__ == "__main__":
    answer(region)
