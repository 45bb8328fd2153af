"""Questions that may take long: asked on a few threads of their own, given up after some seconds with words, and interrupted then."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TypeVar

import duckdb

from engage_pipelines.domain.errors import BusyError

Answer = TypeVar("Answer")

WITHIN_S = 30.0
_AT_ONCE = 2
_MOST_WAITING = 8


@dataclass(slots=True)
class Watch:
    """What a question that runs too long is interrupted by; it says which connection it works on."""

    over: bool = False
    _connection: duckdb.DuckDBPyConnection | None = None
    _lock: Lock = field(default_factory=Lock)

    def on(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Interrupt this connection when the time is over. Raises BusyError when it is."""
        with self._lock:
            self._connection = connection
            if self.over:
                raise _too_long(0)

    def end(self) -> None:
        with self._lock:
            self.over = True
            if self._connection is not None:
                self._connection.interrupt()


def within(ask: Callable[[Watch], Answer], *, seconds: float = WITHIN_S) -> Answer:
    """The answer. Raises BusyError when it takes longer than that, or when many others wait for theirs."""
    pool = _pool()
    if pool._work_queue.qsize() >= _MOST_WAITING:  # pyright: ignore[reportPrivateUsage]
        raise BusyError("Many previews are being worked out already.", "Try again in a moment.")
    watch = Watch()
    future = pool.submit(ask, watch)
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():
            raise
        future.cancel()
        watch.end()
        raise _too_long(seconds) from None


def _too_long(seconds: float) -> BusyError:
    return BusyError(
        f"It takes longer than {seconds:.0f} s, so it was given up.",
        "Ask on the command line, where it may take its time: engage audience preview",
    )


def close() -> None:
    """End the threads; whoever asks later gets new ones."""
    _pool().shutdown(cancel_futures=True)
    _pool.cache_clear()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="console-slow")
