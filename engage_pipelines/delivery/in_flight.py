"""Requests under way at once: several batches are worked on by threads as long as no two of them can be about the same address."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from engage_pipelines.delivery.rows import Batch

_LOOK_EVERY_S = 1.0


class AbandonedError(Exception):
    """Another batch ended the run; this one is not begun again. It never leaves this module."""


class InFlight:
    """Up to `most` batches at once, as a context manager; with one each is worked on where it is asked for.

    The first failure ends the run: no request is begun any more, those under way get their answers, and it is raised.
    """

    def __init__(self, most: int) -> None:
        self._most = max(most, 1)
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="send") if most > 1 else None
        self._under_way: dict[Future[None], tuple[Batch, Callable[[Batch], None]]] = {}
        self._over: SimpleQueue[Future[None]] = SimpleQueue()
        self._kind: tuple[str, str] | None = None
        self._abandoned = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            if error is not None:
                self._abandoned.set()
            self._pool.shutdown(wait=True)
            # who ended the run may have been faster than answers that came all the same: they count in what is said of where it stands
            for future, (batch, done) in self._under_way.items():
                if future.exception() is None:
                    done(batch)

    def check(self) -> None:
        """Raises AbandonedError when the run has ended: asked before every request and every wait."""
        if self._abandoned.is_set():
            raise AbandonedError

    def run(self, work: Callable[[Batch], None], batch: Batch, done: Callable[[Batch], None], *, most: int | None = None) -> None:
        """Work on the batch, now or in a thread, with at most so many of its action under way; `done` is called here.

        Raises what some batch before it failed with.
        """
        if self._pool is None:
            work(batch)
            done(batch)
            return
        kind = None if batch.part is None else (batch.lane, batch.part)
        if kind is None or kind != self._kind:
            self.wait_for_all()
        while len(self._under_way) >= min(most or self._most, self._most):
            self._collect()
        self._kind = kind
        future = self._pool.submit(work, batch)
        self._under_way[future] = (batch, done)
        future.add_done_callback(self._over.put)

    def wait_for_all(self) -> None:
        """Until every batch has its fate. Raises what the first one failed with."""
        while self._under_way:
            self._collect()

    def _collect(self) -> None:
        """Wait for some batch; in stretches, so that a signal is noticed."""
        try:
            future = self._over.get(timeout=_LOOK_EVERY_S)
        except Empty:
            return
        batch, done = self._under_way.pop(future)
        error = future.exception()
        if error is not None:
            self._abandoned.set()
            raise error
        done(batch)
