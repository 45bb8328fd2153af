"""Batches made ahead: cut, and their bodies joined, by a thread of its own while others are sent.

Few are ready at a time, so memory does not follow the size of a generation, and what is sent next still lies in a processor's cache. Bodies
are joined ahead once a type asked for them so: one that looks at its records asks for none.
"""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Self

from engage_pipelines.delivery.rows import Batch

MOST_READY = 3
_LOOK_EVERY_S = 0.5


class Ahead:
    """Batches in their order, as a context manager; what goes wrong with making them comes out of `batches`."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._source = batches
        self._join_with: tuple[bytes, bytes, bytes] | None = None
        self._ready: Queue[Batch | BaseException | None] = Queue(MOST_READY)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._make, name="ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def join_with(self, asked: tuple[bytes, bytes, bytes] | None) -> None:
        """From here on join the bodies ahead, with this between, before and after them."""
        self._join_with = asked

    def batches(self) -> Iterator[Batch]:
        """The batches. A signal is noticed while they are waited for."""
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

    def _make(self) -> None:
        try:
            for batch in self._source:
                if self._join_with is not None:
                    batch.prepare(self._join_with)
                self._put(batch)
                if self._over.is_set():
                    return
            self._put(None)
        except BaseException as problem:  # noqa: BLE001, RUF100 (it is raised where the batches are taken)
            self._put(problem)

    def _put(self, found: Batch | BaseException | None) -> None:
        while not self._over.is_set():
            try:
                self._ready.put(found, timeout=_LOOK_EVERY_S)
            except Full:
                continue
            return
