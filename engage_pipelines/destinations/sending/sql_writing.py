"""The SQL behind `sql_table`: one transaction that brings a table to what a batch says, and what a database's refusals mean.

Statements are few and plain (delete, insert, update by lists of keys), so that every dialect of SQLAlchemy takes them.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, Stop, Verdict
from engage_pipelines.destinations.sending.redaction import redact
from engage_pipelines.destinations.sql_table import MemberRows, SqlTableSettings

LONGEST_KEY = 512
CONNECT_TIMEOUT_S = 10

_LOGIN = re.compile(r"authentication failed|no password supplied|access denied|permission denied|role .* does not exist", re.IGNORECASE)
_WHERE = re.compile(r"database .* does not exist|unknown database|unable to open database file|not a database", re.IGNORECASE)
_TABLE = re.compile(r"no such (table|column)|has no column|readonly|read-only|syntax error", re.IGNORECASE)


class _TableDoesNotFitError(Exception):
    """The table that is there cannot take the rows."""


def write(rows: MemberRows, settings: SqlTableSettings, *, truth_column: str | None, deadline_s: float) -> Verdict:
    """Bring the rows to the table, all or none. `Bisect` when the database refuses a value, whose text may then be in the reason."""
    try:
        engine = _engine(settings.url.get_secret_value())
        connection = engine.connect()
    except (exc.SQLAlchemyError, ImportError, ValueError) as error:
        return _no_connection(error, settings)
    try:
        with connection, connection.begin():
            _limit_time(connection, deadline_s)
            table = _table(connection, settings, truth_column)
            if truth_column is None:
                _write_list(connection, table, rows)
            else:
                _write_truth(connection, table, rows)
    except _TableDoesNotFitError as error:
        return Stop(f"table {settings.table} does not fit: {error}.", "Change the table, or the settings of the destination.")
    except (exc.IntegrityError, exc.DataError, ValueError) as error:
        return Bisect(f"the database refuses the row: {_words(error, settings)}")
    except exc.SQLAlchemyError as error:
        return _refused(error, settings)
    return Accepted()


def try_connection(settings: SqlTableSettings) -> Verdict:
    """`Accepted` when the database can be reached with this login."""
    try:
        with _engine(settings.url.get_secret_value()).connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except (exc.SQLAlchemyError, ImportError, ValueError) as error:
        return _no_connection(error, settings)
    return Accepted()


@lru_cache(maxsize=32)
def _engine(url: str) -> sa.Engine:
    """No pool: a batch is worth a connection, and none stays open between syncs."""
    parsed = sa.make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg2")  # the driver that comes with us
    arguments: dict[str, dict[str, Any]] = {
        "sqlite": {"timeout": CONNECT_TIMEOUT_S},
        "postgresql": {"connect_timeout": CONNECT_TIMEOUT_S},
        "mysql": {"connect_timeout": CONNECT_TIMEOUT_S},
        "mariadb": {"connect_timeout": CONNECT_TIMEOUT_S},
    }
    return sa.create_engine(parsed, poolclass=sa.NullPool, hide_parameters=True, connect_args=arguments.get(parsed.get_backend_name(), {}))


def _limit_time(connection: sa.Connection, deadline_s: float) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {max(int(deadline_s * 1000), 1)}"))


def _table(connection: sa.Connection, settings: SqlTableSettings, truth_column: str | None) -> sa.Table:
    """The table as the settings say, made or given its truth column when that is missing. Key first, then the others."""
    schema, _, name = settings.table.rpartition(".")
    others = [sa.Column(truth_column, sa.Boolean)] if truth_column else [sa.Column(column, sa.Text) for column in settings.columns]
    names = [settings.key_column, *(column.name for column in others)]
    if len({name.lower() for name in names}) < len(names):
        raise _TableDoesNotFitError(f"two columns would have one name, of {', '.join(names)}")
    table = sa.Table(
        name, sa.MetaData(), sa.Column(settings.key_column, sa.String(LONGEST_KEY), primary_key=True), *others, schema=schema or None
    )
    inspector = sa.inspect(connection)
    if not inspector.has_table(name, schema=schema or None):
        table.create(connection)
        return table
    there = {column["name"] for column in inspector.get_columns(name, schema=schema or None)}
    if truth_column and truth_column not in there and settings.key_column in there:
        _add_column(connection, table, table.c[truth_column])
        there.add(truth_column)
    missing = [name for name in names if name not in there]
    if missing:
        raise _TableDoesNotFitError(f"it has no column {missing[0]}")
    return table


def _add_column(connection: sa.Connection, table: sa.Table, column: sa.Column[Any]) -> None:
    quoted = connection.dialect.identifier_preparer
    kind = column.type.compile(connection.dialect)
    connection.execute(sa.text(f"ALTER TABLE {quoted.format_table(table)} ADD COLUMN {quoted.format_column(column)} {kind}"))


def _write_list(connection: sa.Connection, table: sa.Table, rows: MemberRows) -> None:
    key, *_ = table.c
    connection.execute(sa.delete(table).where(key.in_(list(rows))))
    members = [{key.name: name, **columns} for name, (entered, columns) in rows.items() if entered]
    if members:
        connection.execute(sa.insert(table), members)


def _write_truth(connection: sa.Connection, table: sa.Table, rows: MemberRows) -> None:
    key, truth = table.c
    known = set(connection.scalars(sa.select(key).where(key.in_(list(rows)))))
    for value in (True, False):
        keys = [name for name, (entered, _) in rows.items() if entered is value and name in known]
        if keys:
            connection.execute(sa.update(table).where(key.in_(keys)).values({truth: value}))
    new = [{key.name: name, truth.name: entered} for name, (entered, _) in rows.items() if name not in known]
    if new:
        connection.execute(sa.insert(table), new)


def _no_connection(error: Exception, settings: SqlTableSettings) -> Verdict:
    if not isinstance(error, exc.DBAPIError):
        return Stop(
            f"the URL of the database cannot be used ({type(error).__name__}).",
            "Write dialect+driver://user:password@host/database, and see that the driver is installed.",
        )
    words = _words(error, settings)
    if _LOGIN.search(words):
        return Stop(f"the database refuses the login: {words}.", "Set a URL with a login that is good.")
    if _WHERE.search(words):
        return Stop(f"there is no such database: {words}.", "Set the URL of one that there is.")
    return Backoff(f"the database cannot be reached: {words}")


def _refused(error: exc.SQLAlchemyError, settings: SqlTableSettings) -> Verdict:
    words = _words(error, settings)
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or "already exists" in words or not (isinstance(error, exc.ProgrammingError | exc.NotSupportedError) or _is_ours(error, words)):
        return Backoff(f"the database did not write the batch: {words}")
    return Stop(f"the database refuses to write table {settings.table}: {words}.", "Check the table and what the login may do with it.")


def _is_ours(error: exc.SQLAlchemyError, words: str) -> bool:
    """True when people must act: the statement cannot be right, or may not be run."""
    return not isinstance(error, exc.DBAPIError) or bool(_TABLE.search(words) or _LOGIN.search(words))


def _words(error: Exception, settings: SqlTableSettings) -> str:
    """The first line of what the driver says, without the login."""
    said: Any = error.orig if isinstance(error, exc.DBAPIError) else error
    line: Sequence[str] = str(said).strip().splitlines() or [type(error).__name__]
    url = settings.url.get_secret_value()
    try:
        password = sa.make_url(url).password
    except exc.ArgumentError:
        password = None
    return redact(line[0], [url, *([password] if isinstance(password, str) else [])]).rstrip(".")
