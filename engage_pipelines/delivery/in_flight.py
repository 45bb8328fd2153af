"""Requests under way at once: several batches are worked on by threads as long as no two of them can be about the same address.

Threads pay where a destination takes its time. One that answers at once is sent to faster from a single thread, since Python lets one at a
time run: which it is, is found by trying both.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from engage_pipelines.delivery.rows import Batch

_LOOK_EVERY_S = 1.0
_TRIAL = 24
"""Batches by which one way is measured; the first so many are not, since connections are opened in them."""
_STAY, _LONGEST_STAY = 256, 8_192
"""Batches for which the faster way is kept before the other is tried again; longer from time to time."""
_WORTH_IT = 1.05
"""Several at once have to be so many times as fast: they cost more."""


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
        self._ways = Ways()

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
        if self._pool is None or not self._ways.is_several:
            self.wait_for_all()
            work(batch)
            done(batch)
            self._ways.count(len(batch))
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
        self._ways.count(len(batch))


class Ways:
    """Whether several batches at once are faster than one after the other, told by what either way came to lately."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.is_several = True
        self._monotonic = monotonic
        self._per_s: dict[bool, float] = {}
        self._is_warm = False
        self._stay = _STAY
        self._begin(_TRIAL)

    def count(self, records: int) -> None:
        """A batch is done."""
        self._batches += 1
        self._records += records
        elapsed = max(self._monotonic() - self._began, 1e-6)
        per_s, other = self._records / elapsed, self._per_s.get(not self.is_several)
        is_hopeless = not self.is_several and self._batches > 1 and other is not None and per_s < other / 2
        if self._batches < self._until and not is_hopeless:
            return
        if not self._is_warm:
            self._is_warm = True
            self._begin(_TRIAL)
            return
        self._per_s[self.is_several] = per_s
        if self._until != _TRIAL or other is None:
            # the other way has its turn
            self.is_several = not self.is_several
            self._begin(_TRIAL)
            return
        self.is_several = self._per_s[True] > _WORTH_IT * self._per_s[False]
        self._begin(self._stay)
        self._stay = min(2 * self._stay, _LONGEST_STAY)

    def _begin(self, until: int) -> None:
        self._batches, self._records, self._until = 0, 0, until
        self._began = self._monotonic()
