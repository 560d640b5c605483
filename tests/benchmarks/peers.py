"""Calls into the peers' environment: arrays out as npz, arrays back as npz, one process for many calls.

pyfocus needs old libraries, so it has its own Python: `.benchmarks/peers`, made as docs/benchmarks.md says,
or the Python named by BAYESTWAS_PEERS_PYTHON.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PYTHON = os.environ.get(
    "BAYESTWAS_PEERS_PYTHON", str(HERE.parents[1] / ".benchmarks" / "peers" / "bin" / "python")
)


def available() -> bool:
    return Path(PYTHON).exists()


def call(
    script: str, payloads: Iterable[Mapping[str, object]], python: str = PYTHON
) -> Generator[dict[str, np.ndarray], None, None]:
    """For every payload, what `script` (see `answer` in peers_worker.py) makes of it, in order.

    `python` : of the environment to run in, that of pyfocus by default."""
    if not Path(python).exists():
        raise SystemExit(f"no Python at {python}: make the peers' environment as docs/benchmarks.md says")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [python, str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        path = Path(folder) / "payload.npz"
        for payload in payloads:
            np.savez(path, **payload)  # type: ignore[arg-type]
            print(path, file=worker.stdin, flush=True)
            if not worker.stdout.readline().startswith("done"):
                raise RuntimeError(f"{script} stopped with status {worker.wait()}")
            with np.load(f"{path}.out.npz") as out:
                yield dict(out)
