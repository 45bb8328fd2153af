"""Reading a PostgreSQL warehouse: one transaction that sees one state and can change nothing; rows come in chunks through a cursor.

Whatever goes wrong is a StateError that says what to do, without the login and without a value of the data.
"""

import itertools
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2 import errors, extensions
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from engage_pipelines.domain.errors import ConfigurationError, StateError
from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.catalog import TableName

CHUNK_ROWS = 20_000
CONNECT_TIMEOUT_S = 10
_WORDS: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": "engage_pipelines",
}
_NAMES_ONLY = ("28", "3D", "42", "53", "57", "25")
"""Classes of errors whose messages name logins, tables and columns, and never a value."""

_TYPES = {
    "text": Kind.TEXT,
    "character varying": Kind.TEXT,
    "character": Kind.TEXT,
    "uuid": Kind.TEXT,
    "name": Kind.TEXT,
    "smallint": Kind.NUMBER,
    "integer": Kind.NUMBER,
    "bigint": Kind.NUMBER,
    "numeric": Kind.NUMBER,
    "real": Kind.NUMBER,
    "double precision": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "timestamp with time zone": Kind.TIMESTAMP,
    "timestamp without time zone": Kind.DATETIME,
    "date": Kind.DATE,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
    "ARRAY": Kind.JSON,
}
_COLUMNS = """
    SELECT c.table_schema = current_schema(), c.table_schema, c.table_name, c.column_name, c.data_type, c.udt_name
    FROM information_schema.columns c WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema')"""
_VIEWS = """
    SELECT n.nspname = current_schema(), n.nspname, r.relname, a.attname, format_type(a.atttypid, NULL), ''
    FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE r.relkind = 'm' AND a.attnum > 0 AND NOT a.attisdropped"""


@dataclass(slots=True)
class Reader:
    """An open warehouse; to be used by one thread, and closed. After a lost connection every question raises the same error."""

    connection: Any
    timeout_s: int
    _names: Iterator[int] = field(default_factory=itertools.count)
    _lost: StateError | None = None

    def chunks(self, query: str) -> Generator[list[tuple[Any, ...]]]:
        """The rows of a query, in chunks, so that memory does not grow. Raises StateError."""
        if self._lost is not None:
            raise self._lost
        with self._explained():
            self._say("SAVEPOINT question")
            try:
                with self.connection.cursor(name=f"engage_{next(self._names)}") as cursor:
                    cursor.execute(query)
                    while rows := cursor.fetchmany(CHUNK_ROWS):
                        yield rows
            except psycopg2.Error:
                # what failed must not take the questions to come with it
                if not self.connection.closed:
                    self._say("ROLLBACK TO SAVEPOINT question")
                raise
            self._say("RELEASE SAVEPOINT question")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query that has few."""
        return [row for chunk in self.chunks(query) for row in chunk]

    def tables(self) -> Mapping[TableName, Mapping[str, Kind | None]]:
        """Every table that the login may see, with its columns; those of the usual schema without a schema too."""
        found: dict[TableName, dict[str, Kind | None]] = {}
        for is_usual, schema, table, column, kind, own in self.rows(f"{_COLUMNS} UNION ALL {_VIEWS}"):
            names = [(schema, table), (None, table)] if is_usual else [(schema, table)]
            for name in names:
                found.setdefault(name, {})[column] = Kind.TEXT if own == "citext" else _kind(kind)
        return found

    def is_read_only(self) -> bool:
        return self.rows(_IS_READ_ONLY) == [("on",)]

    def close(self) -> None:
        self.connection.close()

    def _say(self, words: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(words)

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except psycopg2.Error as error:
            explained = _explain(error, self.timeout_s)
            if self.connection.closed or isinstance(error, psycopg2.InterfaceError):
                self._lost = explained
            raise explained from None


_IS_READ_ONLY = "SELECT current_setting('transaction_read_only')"


def _kind(name: str) -> Kind | None:
    if name.endswith("[]"):
        return Kind.JSON
    if name == "USER-DEFINED":
        return Kind.TEXT
    return _TYPES.get(name)


def open_reader(url: str, *, timeout_s: int) -> Reader:
    """Connect for reading alone. Raises StateError when that fails, ConfigurationError for a URL that is not one of PostgreSQL."""
    words = _connection_words(url)
    try:
        connection: Any = psycopg2.connect(**{**_WORDS, **words})
    except psycopg2.Error as error:
        raise _unreachable(error, str(words.get("password") or "")) from None
    try:
        connection.set_session(isolation_level=extensions.ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        reader = Reader(connection, timeout_s)
        with reader._explained(), connection.cursor() as cursor:  # pyright: ignore[reportPrivateUsage] - the same module
            # local settings, so that a pool between us and the server keeps none of them
            cursor.execute(
                f"SET LOCAL default_transaction_read_only = on; SET LOCAL statement_timeout = '{timeout_s}s'; SET LOCAL jit = off;"
                " SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL standard_conforming_strings = on;"
                " SET LOCAL extra_float_digits = 1"
            )
    except BaseException:
        connection.close()
        raise
    return reader


def _connection_words(url: str) -> dict[str, Any]:
    try:
        made = make_url(url)
    except ArgumentError:
        raise ConfigurationError("The URL of the facts is no database URL.", "Write it like postgresql://user:password@host/db.") from None
    if made.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f"The URL of the facts is one of {made.get_backend_name()}, and facts are read from PostgreSQL alone.",
            "`engage audience sql KEY --dialect NAME` prints SQL for other warehouses.",
        )
    known = {"host": made.host, "port": made.port, "user": made.username, "password": made.password, "dbname": made.database}
    return {**{name: value for name, value in known.items() if value is not None}, **dict(made.query)}


def _unreachable(error: psycopg2.Error, password: str) -> StateError:
    words = " ".join(str(error).split())
    if password:
        words = words.replace(password, "...")
    return StateError(f"The warehouse of the facts cannot be reached: {words[:300]}", "Check its URL, its network and the login.")


def _explain(error: psycopg2.Error, timeout_s: int) -> StateError:
    """What happened in words; values of the data, which some messages hold, stay out."""
    code = error.pgcode or ""
    if isinstance(error, errors.QueryCanceled):
        return StateError(
            f"The warehouse did not answer within {timeout_s} seconds.",
            "Nothing was published. Raise timeout_s of the mapping, add an index, or ask for a shorter window.",
        )
    if isinstance(error, psycopg2.InterfaceError) or not code or code.startswith("08") or code in ("57P01", "57P02", "57P03"):
        return StateError(
            "The connection to the warehouse was lost while reading.", "Nothing was published; it is done again with the next evaluation."
        )
    if code in ("42P01", "42703"):
        words = _first_line(error)
        return StateError(f"The warehouse lacks something that is mapped: {words}", "Run `engage doctor`, and correct the mapping.")
    if code.startswith(_NAMES_ONLY):
        return StateError(f"The warehouse refuses the question: {_first_line(error)}", "Run `engage doctor`; it looks the mapping over.")
    return StateError(
        f"The warehouse could not answer: error {code} ({type(error).__name__}).",
        "PostgreSQL lists its error codes; run `engage doctor`.",
    )


def _first_line(error: psycopg2.Error) -> str:
    text = error.diag.message_primary or str(error)
    return " ".join(text.split())[:300]
