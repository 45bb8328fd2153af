"""Reading ahead: the rows of a generation's file are read, and made into bodies, by a thread of their own while others are sent.

What is read ahead is bounded by bytes, so memory does not follow the size of records. Bodies are made ahead once somebody asked for them in
one piece: a type that looks at its records asks for none.
"""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Self

import numpy as np

from engage_pipelines.delivery.rows import Numbers, Rows

STRETCH_BYTES = 2_000_000
"""Bytes of the bodies that are made at once: few enough to stay in a processor's cache until they are sent."""

MOST_READY = 2
_LOOK_EVERY_S = 0.5


class Ahead:
    """Rows in their order, as a context manager; what goes wrong with reading them comes out of `rows`."""

    def __init__(self, rows: Iterable[Rows]) -> None:
        self._source = rows
        self._separator: bytes | None = None
        self._ready: Queue[Rows | BaseException | None] = Queue(MOST_READY)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def fill(self, separator: bytes | None) -> None:
        """From here on make bodies in one piece, with this between them."""
        self._separator = separator

    def rows(self) -> Iterator[Rows]:
        """The rows, in stretches. A signal is noticed while they are waited for."""
        while True:
            try:
                found = self._ready.get(timeout=_LOOK_EVERY_S)
            except Empty:
                continue
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found

    def _read(self) -> None:
        try:
            for rows in self._source:
                for stretch in _stretches(rows):
                    if self._separator is not None:
                        stretch.fill(self._separator)
                    self._put(stretch)
                    if self._over.is_set():
                        return
            self._put(None)
        except BaseException as problem:  # noqa: BLE001, RUF100 (it is raised where the rows are taken)
            self._put(problem)

    def _put(self, found: Rows | BaseException | None) -> None:
        while not self._over.is_set():
            try:
                self._ready.put(found, timeout=_LOOK_EVERY_S)
            except Full:
                continue
            return


def _stretches(rows: Rows) -> Iterator[Rows]:
    """The rows in pieces of about STRETCH_BYTES, each of at least one."""
    rows.prepare()
    ends: Numbers = np.cumsum(rows.sizes)
    at, taken = 0, 0
    while at < len(rows):
        end = max(at + 1, int(np.searchsorted(ends, taken + STRETCH_BYTES, side="right")))
        yield rows.cut(at, end)
        at, taken = end, int(ends[end - 1])
