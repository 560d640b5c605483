"""The loop of the scripts that run in the peers' environment. Python 3.9, no bayestwas here."""

import sys

import numpy as np


def answer(function):
    """For every line of standard input, the path of an npz file, write `<path>.out.npz` and say done."""
    for line in sys.stdin:
        path = line.strip()
        with np.load(path) as data:
            np.savez(path + ".out.npz", **function(data))
        print("done", flush=True)
