"""The first thing a worker process does. Loads no library of arrays: what is set here must precede them."""

from __future__ import annotations

import os
import signal

from threadpoolctl import threadpool_limits

# Read by the libraries of linear algebra when they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def begin() -> None:
    """One thread of linear algebra for this process; Ctrl-C is left to the parent, which gets it as well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    threadpool_limits(limits=1)  # where the script that started the run has loaded a library already
