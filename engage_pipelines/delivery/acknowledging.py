"""Writing the ledger: the answers of several batches in one transaction, a moment after they came."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from engage_pipelines.delivery.state import LedgerRow

GATHER_S = 0.05
"""How long an answer waits for others. A process that dies meanwhile leaves these records to be sent again, under the same ids."""

MOST_WAITING = 16
"""Answers that wait at most; then who sends waits too, so that a slow database does not let the records grow that would be sent again."""


class Acknowledger:
    """Takes answers and writes them from a thread of its own, as a context manager; at the end of the block everything is written.

    A fault of the database comes out of the next `add`, or at the end.
    """

    def __init__(self, write: Callable[[Sequence[LedgerRow]], None]) -> None:
        self._write = write
        self._rows: list[LedgerRow] = []
        self._problem: BaseException | None = None
        self._over = threading.Event()
        self._some = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        with self._some:
            self._some.notify_all()
        self._thread.join()
        if self._problem is not None and error is None:
            raise self._problem

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Note answers that came. Raises what went wrong with earlier ones."""
        with self._some:
            self._some.wait_for(lambda: self._problem is not None or len(self._rows) < MOST_WAITING)
            if self._problem is not None:
                raise self._problem
            self._rows += rows
            self._some.notify_all()

    def _work(self) -> None:
        try:
            while self._wait():
                with self._some:
                    self._some.wait_for(lambda: self._over.is_set() or len(self._rows) >= MOST_WAITING, GATHER_S)
                    rows, self._rows = self._rows, []
                    self._some.notify_all()
                self._write(joined(rows))
        except BaseException as problem:  # noqa: BLE001, RUF100 (it is raised where the answers come from)
            with self._some:
                self._problem = problem
                self._some.notify_all()

    def _wait(self) -> bool:
        """Whether there is something to write; False at the end."""
        with self._some:
            self._some.wait_for(lambda: self._rows or self._over.is_set())
            return bool(self._rows)


def joined(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The same answers in order, neighbours that say the same as one row."""
    found: list[LedgerRow] = []
    for row in sorted(rows, key=lambda row: row.lo):
        if found and replace(found[-1], lo=row.lo, hi=row.hi) == row and found[-1].hi + 1 == row.lo:
            found[-1] = replace(found[-1], hi=row.hi)
        else:
            found.append(row)
    return found
