"""Watching a database: a mark that stays the same as long as whoever reads would read the same.

A mark is taken before something is read; when a later mark equals it, nothing was committed since, by this process or another, and what was
read still holds. Nothing is said the other way round: marks may differ though nothing changed.
Source: sqlite.org/pragma.html#pragma_data_version; postgresql.org/docs, "Transaction ID and Snapshot Information Functions".
"""

import sqlite3
from collections.abc import Hashable
from threading import Lock

from engage_pipelines.registry.database import Database


class Watch:
    """The watch over one database, shared by the threads of a process that does not fork."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    def mark(self) -> Hashable:
        """Where the database is now."""
        return self._of_sqlite() if self._database.is_sqlite else self._of_postgres()

    def own(self) -> int:
        """How much this process has committed: it grows with each commit of its own, and with no other's."""
        return self._database.commits

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _of_sqlite(self) -> Hashable:
        try:
            with self._lock:
                if self._connection is None:
                    # a connection of its own that never writes: the number does not count the commits of the one that asks
                    self._connection = sqlite3.connect(self._database.file, isolation_level=None, check_same_thread=False)
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            # equal to no other; whoever reads next is told what is wrong
            return object()

    def _of_postgres(self) -> Hashable:
        """The snapshot itself: which transactions it sees. It differs as soon as any has ended since."""
        with self._database.read() as c:
            return str(c.exec_driver_sql("SELECT txid_current_snapshot()::text").scalar_one())
