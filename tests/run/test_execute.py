"""Processes keep order, survive the death of a worker, and use one thread of linear algebra each."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bayestwas.errors import SettingsError
from bayestwas.fit.study import Lost, Serial
from bayestwas.run.execute import Processes, executor


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as processes:
        yield processes


def test_results_keep_the_order_of_the_items(pool: Processes) -> None:
    waits = [0.3, 0.0, 0.1, 0.0, 0.0]
    tasks = [partial(eval, f"__import__('time').sleep({wait}) or {i}") for i, wait in enumerate(waits)]
    assert list(pool.map(operator.call, tasks)) == [0, 1, 2, 3, 4]


def test_map_takes_only_a_few_items_ahead(pool: Processes) -> None:
    items = count()
    results = pool.map(abs, items)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert next(items) <= 3 + 2 * 2


def test_an_error_of_a_task_is_raised_here(pool: Processes) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(pool.map(int, ["1", "x", "3"]))
    assert list(pool.map(int, ["4"])) == [4]


def test_linear_algebra_has_one_thread(pool: Processes) -> None:
    asked = (
        "__import__('numpy') and [p['num_threads'] for p in __import__('threadpoolctl').threadpool_info()]"
    )
    (threads,) = pool.map(eval, [asked])
    assert set(threads) == {1}


def test_a_worker_that_dies_takes_its_own_task_only() -> None:
    tasks = [partial(abs, -1), partial(os._exit, 3), partial(abs, -2), partial(abs, -3)]
    with Processes(2) as processes:
        results = list(processes.map(operator.call, tasks))
        assert [results[i] for i in (0, 2, 3)] == [1, 2, 3]
        assert isinstance(results[1], Lost)
        assert "memory" in results[1].reason
        assert list(processes.map(abs, [-4])) == [4]


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_pool_that_breaks_while_tasks_are_handed_out(
    forgotten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task is computed again whether it is refused with closed pipes or taken and never finished."""
    submit = ProcessPoolExecutor.submit
    calls = count(1)

    def breaks(pool: ProcessPoolExecutor, /, *task: Any) -> Future[Any]:
        if next(calls) != 2:
            return submit(pool, *task)
        if not forgotten:
            raise OSError("handle is closed")
        pool._broken = "a child process ended"
        return Future()

    with Processes(2) as processes:
        monkeypatch.setattr(ProcessPoolExecutor, "submit", breaks)
        assert list(processes.map(abs, [-1, -2, -3, -4, -5, -6])) == [1, 2, 3, 4, 5, 6]
    assert next(calls) > 7


def test_one_worker_is_this_process() -> None:
    with executor(1) as mapper:
        assert isinstance(mapper, Serial)
        assert list(mapper.map(lambda _: os.getpid(), [0])) == [os.getpid()]
    with executor(2) as mapper:
        assert list(mapper.map(operator.call, [os.getpid])) != [os.getpid()]


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers(workers: int) -> None:
    with pytest.raises(SettingsError, match="workers"), executor(workers):
        pass


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from bayestwas.run.execute import Processes\nwith Processes(2):\n    pass\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "WorkerError" in done.stderr
    assert "if __name__ == '__main__'" in done.stderr.splitlines()[-1]
