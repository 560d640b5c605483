"""Where blocks are computed: here, or in processes of this machine, with one thread of linear algebra each.

The answer does not depend on the choice: a task is a function of its item alone, and results keep the order
of the items.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Any

from threadpoolctl import threadpool_limits

from bayestwas.errors import SettingsError, WorkerError
from bayestwas.fit.study import Lost, Serial
from bayestwas.run.worker import begin

AHEAD = 2  # tasks per worker that are handed out before their turn
LOST = (
    "the process that computed it was ended from outside, most often for want of memory: "
    "run again with fewer workers, or with smaller blocks"
)


class Processes:
    """A pool of processes behind a lazy `map` that keeps order; use it as a context manager.

    A process that dies takes only its own task with it: the tasks that were under way are computed again, one
    at a time, and `map` yields `Lost` for the one that kills its process again. Raises `WorkerError` on entry
    where processes cannot be started at all.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise SettingsError(
                f"workers = {workers}", "Work is done by one process or more", "Give workers = 1 or more"
            )
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(now=kind is not None)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """`function` of every item, in order; a few items are taken ahead of the results asked for."""
        waiting = iter(items)
        flying: deque[tuple[Any, Future[Any]]] = deque()
        try:
            while True:
                for item in islice(waiting, AHEAD * self.workers - len(flying)):
                    flying.append((item, self._submit(function, item)))
                if not flying:
                    return
                try:
                    result = flying[0][1].result()
                except BrokenProcessPool:
                    yield from self._one_by_one(function, list(flying))
                    flying.clear()
                else:
                    flying.popleft()
                    yield result
        finally:
            for _, future in flying:
                future.cancel()

    def _one_by_one(
        self, function: Callable[[Any], Any], hit: list[tuple[Any, Future[Any]]]
    ) -> Iterator[Any]:
        """Results of the tasks under way when a process died: those that were not finished, again and
        alone."""
        self._start()
        for item, future in hit:
            if not future.cancelled() and not isinstance(future.exception(), BrokenProcessPool):
                yield future.result()
                continue
            try:
                result = self._submit(function, item).result()
            except BrokenProcessPool:
                result = Lost(LOST)
                self._start()
            yield result

    def _submit(self, function: Callable[[Any], Any], item: Any) -> Future[Any]:
        assert self._pool is not None, "use Processes as a context manager"
        pool = self._pool
        try:
            future = pool.submit(function, item)
        except (BrokenProcessPool, OSError) as error:  # a process died before, or the pipes close meanwhile
            return _died(error)
        # Python 3.11 may forget a task that is handed over while the pool breaks: it would never be done
        return _died() if pool._broken else future

    def _start(self) -> None:
        """A new pool in place of the old one, and proof that its processes live."""
        self._stop(now=True)
        # spawn: a forked copy of a process with threads may hang, and children must load their own libraries
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=begin)
        try:
            self._pool.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "the worker processes ended as soon as they were started",
                "Every worker imports the script that started it, and must find nothing to do there",
                "Put what your script does under `if __name__ == '__main__':`, or give workers=1",
            ) from error

    def _stop(self, now: bool) -> None:
        """End the processes, after their tasks or at once."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if now:
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _died(error: Exception | None = None) -> Future[Any]:
    """What a task has to show whose process is gone: to be computed again."""
    failed: Future[Any] = Future()
    again = BrokenProcessPool("a process died while tasks were handed out")
    again.__cause__ = error
    failed.set_exception(again)
    return failed


@contextmanager
def executor(workers: int) -> Iterator[Serial | Processes]:
    """What computes the blocks of a run: this process for one worker, `Processes` for more.

    Raises `SettingsError` for fewer than one worker.
    """
    if workers == 1:
        with threadpool_limits(limits=1):
            yield Serial()
    else:
        with Processes(workers) as processes:
            yield processes
