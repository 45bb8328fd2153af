"""The database of the control plane and the ledger: SQLite or PostgreSQL behind two verbs, read and write.

Inside `read` nothing changes under one's eyes and nothing can be written. `write` is one transaction: on SQLite it holds the only write
lock from its first statement on (BEGIN IMMEDIATE: a transaction that reads first and writes later could otherwise fail half way), it
commits at the end and rolls back on any exception. Faults of the database come out as StateError, BusyError or ConflictError with a remedy.
Source: docs.sqlalchemy.org, "SQLite: Enabling Non-Legacy SQLite Transactional Modes"; sqlite.org/pragma.html.
"""

import os
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from engage_pipelines.domain.errors import BusyError, ConfigurationError, StateError
from engage_pipelines.registry import schema
from engage_pipelines.registry.database_errors import DatabaseAwayError, in_words

Clock = Callable[[], int]
"""UTC microseconds since 1970."""

T = TypeVar("T")

_BUSY_TIMEOUT_S = 20
_POSTGRES_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def system_clock_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a database may be away, or locked, before work on it fails; `sleep` may raise to end the waiting sooner."""

    longest_s: float
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Count:
    """Shared by the copies of a database; two threads at once may count as one, which is a growth all the same."""

    n: int = 0


def _waits() -> Iterator[float]:
    """Seconds between one try and the next."""
    wait_s = 0.1
    while True:
        yield wait_s
        wait_s = min(wait_s * 2, 2.0)


class Database:
    """One database; share it between threads, a forked child gets connections of its own."""

    def __init__(self, url: str, *, clock: Clock = system_clock_us, check_schema: bool = True) -> None:
        """Open, and see to it that the schema fits: SQLite is upgraded on the spot, PostgreSQL by `engage db upgrade` alone.

        Raises ConfigurationError for a URL that cannot be used, StateError for a database that cannot, or has another schema.
        """
        self._url = _parse_url(url)
        self._clock = clock
        self._patience: Patience | None = None
        self._written = _Count()
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.name = (
            f"The database {self._url.database}" if self.is_sqlite else f"The database {self._url.render_as_string(hide_password=True)}"
        )
        self._engine = _sqlite_engine(self._url) if self.is_sqlite else _postgres_engine(self._url)
        _forget_in_children(self._engine)
        if check_schema:
            self._check_schema()

    def patient(self, patience: Patience | None) -> "Database":
        """The same database for work that had better wait than fail: a transaction begins when the database is there again.

        None gives the one that fails at once. A transaction that was begun is not repeated by itself; `again` does that.
        """
        found = copy(self)
        found._patience = patience
        return found

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """A transaction that sees one state of the database and writes nothing."""
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._transaction(options) as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """A transaction that commits at the end and rolls back on any exception."""
        with self._transaction({"engage_write": True}) as connection:
            yield connection
        self._written.n += 1

    @property
    def commits(self) -> int:
        """How many transactions that write this process has committed with this database: it grows after each, by one or by more."""
        return self._written.n

    def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """What the question gives in one reading transaction; patience has it asked again where the database goes away in the middle."""

        def once() -> T:
            with self.read() as connection:
                return question(connection)

        return self.again(once)

    def tell(self, body: Callable[[sa.Connection], T]) -> T:
        """The same in a writing transaction: a body that comes to the same when it is repeated, as `again` says."""

        def once() -> T:
            with self.write() as connection:
                return body(connection)

        return self.again(once)

    def again(self, body: Callable[[], T]) -> T:
        """What the body gives, which is called again while the database goes away in the middle of it, as long as patience lasts.

        A commit whose answer was lost may have happened: the body must come to the same when it is repeated.
        """
        patience = self._patience
        if patience is None:
            return body()
        until = patience.monotonic() + patience.longest_s
        for wait_s in _waits():
            try:
                return body()
            except (DatabaseAwayError, BusyError):
                if patience.monotonic() + wait_s > until:
                    raise
            patience.sleep(wait_s)
        raise AssertionError("waits never end")

    @contextmanager
    def _transaction(self, options: Mapping[str, Any]) -> Generator[sa.Connection]:
        connection = self.again(lambda: self._begin(options))
        transaction = connection.get_transaction()
        assert transaction is not None
        with in_words(self.name), connection, transaction:
            yield connection

    def _begin(self, options: Mapping[str, Any]) -> sa.Connection:
        """A connection that answers, in a transaction."""
        with in_words(self.name):
            connection = self._engine.connect()
            try:
                connection.execution_options(**options)
                connection.begin()
            except BaseException:
                connection.close()
                raise
            return connection

    def now_us(self, connection: sa.Connection) -> int:
        """The clock that all processes share: the server's on PostgreSQL, the machine's on SQLite."""
        if self.is_sqlite:
            return self._clock()
        return int(connection.exec_driver_sql(_POSTGRES_NOW).scalar_one())

    def look_at_clock_us(self) -> int:
        """The same clock outside a transaction, which it costs on PostgreSQL alone."""
        return self._clock() if self.is_sqlite else self.ask(self.now_us)

    @property
    def file(self) -> str:
        """Where the SQLite database lies."""
        return str(self._url.database)

    def upgrade(self) -> bool:
        """Bring the schema to this version's revision; False when it was there already."""
        if self.is_sqlite:
            from filelock import FileLock  # noqa: PLC0415 - brings asyncio, and is needed once in a database's life

            with FileLock(f"{self._url.database}.upgrade.lock"):
                return self._upgrade()
        return self._upgrade()

    def forget_deleted(self) -> None:
        """Have nothing of deleted rows left in the files; on PostgreSQL its own vacuum does that in time. Raises BusyError."""
        if not self.is_sqlite:
            return
        with in_words(self.name), self._engine.connect() as connection:
            cursor = connection.connection.cursor()
            for statement in ("PRAGMA query_only = OFF", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                cursor.execute(statement)
            cursor.close()

    def close(self) -> None:
        self._engine.dispose()

    def _upgrade(self) -> bool:
        if schema.is_current(self._revision(), self.name):
            return False
        with self.write() as connection:
            schema.upgrade(connection)
        return True

    def _check_schema(self) -> None:
        # an SQLite file that is being made by another process is looked at only under the lock
        if self.is_sqlite and not _has_content(Path(str(self._url.database))):
            self.upgrade()
            return
        revision = self._revision()
        if schema.is_current(revision, self.name):
            return
        if self.is_sqlite:
            self.upgrade()
            return
        have = "no tables yet" if revision is None else f"schema revision {revision!r}, this version needs {schema.HEAD!r}"
        raise StateError(f"{self.name} has {have}.", "Run `engage db upgrade`.")

    def _revision(self) -> str | None:
        with self.read() as connection:
            return schema.revision_of(connection)


def insert_if_new(c: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that leaves the rows alone that are there already."""
    if c.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415 - commands that only look need neither
    else:
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415
    return insert(table).on_conflict_do_nothing()


def _parse_url(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "ENGAGE_DATABASE_URL is not a database URL.", "Write it like postgresql://user:password@host:5432/name."
        ) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ConfigurationError(f"ENGAGE_DATABASE_URL names {parsed.get_backend_name()!r}.", "Use SQLite or PostgreSQL.")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            "The database must be a file: several processes share it.", "Write it like sqlite:////var/lib/engage/engage.db."
        )
    return parsed


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"The folder {folder} cannot be made: {error.strerror}.", "Check ENGAGE_HOME and the permissions there."
        ) from error
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    # None: the driver begins nothing by itself, `_begin_sqlite` does
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL: a commit survives a power cut. With NORMAL the last commits may vanish, a generation's number would be given out again,
    # and other bytes would travel under message ids that were already sent.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("engage_write", False)
    if writes:
        connection.exec_driver_sql("PRAGMA query_only = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    # neither touches the file; every page reads some times, and by way of SQLAlchemy they take longer than most questions
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.execute("BEGIN")
    cursor.close()


def _postgres_engine(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url,
        pool_size=2,
        max_overflow=8,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": "-c lock_timeout=60000 -c timezone=UTC"},
    )


_inherited: list[object] = []


def _forget_in_children(engine: sa.Engine) -> None:
    """A forked child must neither use nor close its parent's connections: it starts with an empty pool and keeps the old one untouched."""
    reference = weakref.ref(engine)

    def in_child() -> None:
        parent = reference()
        if parent is not None:
            _inherited.append(parent.pool)
            parent.dispose(close=False)

    os.register_at_fork(after_in_child=in_child)
