"""Tables of random facts in a real PostgreSQL."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.testing.warehouse_tables import TableOf

_TYPES = {
    Kind.TEXT: "text",
    Kind.NUMBER: "numeric",
    Kind.BOOLEAN: "boolean",
    Kind.TIMESTAMP: "timestamptz",
    Kind.DATETIME: "timestamp",
    Kind.JSON: "json",
    Kind.EPOCH_MS: "bigint",
}
_READ = {
    Kind.TIMESTAMP: "timestamptz '1970-01-01 00:00:00+00' + %s * interval '1 microsecond'",
    Kind.DATETIME: "timestamp '1970-01-01 00:00:00' + %s * interval '1 microsecond'",
}


def create_tables(cursor: Any, tables: Mapping[str, TableOf]) -> None:
    """Make the tables anew, without rows."""
    for name, table in tables.items():
        columns = ", ".join(f'"{column}" {_TYPES[kind]}' for column, kind in table.columns.items())
        cursor.execute(f'DROP TABLE IF EXISTS "{name}"; CREATE TABLE "{name}" ({columns})')


def fill_tables(cursor: Any, tables: Mapping[str, TableOf]) -> None:
    """Put the rows of these facts in place of whatever is there."""
    for name, table in tables.items():
        cursor.execute(f'DELETE FROM "{name}"')
        if table.rows:
            one = ", ".join(_READ.get(kind, "%s") for kind in table.columns.values())
            values = ", ".join([f"({one})"] * len(table.rows))
            cursor.execute(f'INSERT INTO "{name}" VALUES {values}', [value for row in table.rows for value in row])
