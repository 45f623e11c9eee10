"""Jobs in threads, as many at once as memory allows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .._optional import require

__all__ = ["run_jobs"]

T = TypeVar("T")


def run_jobs(
    jobs: Sequence[Callable[[], T]],
    n_bytes: Sequence[int],
    *,
    n_jobs: int,
    memory: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[T]:
    """Return what each job returns, in their order.

    Jobs start in the order of their memory, the largest first, and only as long as the sum of `n_bytes` of
    those that run is at most `memory`; one that needs more runs alone. Each has one thread of BLAS and
    OpenMP, so that its result doesn't hang on how many run. The threads are daemons: Ctrl-C ends the wait at
    once. An error of a job ends it too, and is raised.
    """
    crew = _Crew(jobs, n_bytes, memory)
    limits = require("threadpoolctl", extra="deep").threadpool_limits
    results: list[Any] = [None] * len(jobs)
    with limits(limits=1):  # of the whole process, as BLAS has it; put back at the end
        threads = [threading.Thread(target=crew.work, daemon=True) for _ in range(min(n_jobs, len(jobs)))]
        for thread in threads:
            thread.start()
        try:
            for done in range(1, len(jobs) + 1):
                job, result, error = crew.next_done()
                if error is not None:
                    raise error
                results[job] = result
                if progress is not None:
                    progress(done, len(jobs))
        finally:
            crew.stop()
        for thread in threads:
            thread.join()
    return results


class _Crew:
    """The jobs that wait and the memory of those that run."""

    def __init__(self, jobs: Sequence[Callable[[], Any]], n_bytes: Sequence[int], memory: int) -> None:
        self._jobs, self._n_bytes, self._memory = jobs, n_bytes, memory
        self._waiting = sorted(range(len(jobs)), key=lambda job: -n_bytes[job])
        self._running: set[int] = set()
        self._change = threading.Condition()
        self._done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def work(self) -> None:
        """Do jobs until none waits. The body of a thread."""
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=1, user_api="openmp")  # a setting of each thread, which ends with it
        while (job := self._take()) is not None:
            answer: tuple[int, Any, BaseException | None]
            try:
                answer = (job, self._jobs[job](), None)
            except BaseException as error:  # for the thread that waits to raise
                answer = (job, None, error)
            if answer[2] is not None:
                self.stop()
            with self._change:
                self._running.discard(job)
                self._change.notify_all()
            self._done.put(answer)

    def _take(self) -> int | None:
        """Return the largest job that there is memory for, None at the end."""
        with self._change:
            while self._waiting:
                free = self._memory - sum(self._n_bytes[job] for job in self._running)
                for job in self._waiting:
                    if self._n_bytes[job] <= free or not self._running:
                        self._waiting.remove(job)
                        self._running.add(job)
                        return job
                self._change.wait()
        return None

    def next_done(self) -> tuple[int, Any, BaseException | None]:
        """Wait for a job to end. Wakes now and then, for Ctrl-C on systems where waiting keeps it out."""
        while True:
            try:
                return self._done.get(timeout=0.2)
            except queue.Empty:
                continue

    def stop(self) -> None:
        """Let no further job begin."""
        with self._change:
            self._waiting.clear()
            self._change.notify_all()
