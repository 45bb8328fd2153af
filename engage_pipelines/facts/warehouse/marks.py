"""Marks of a warehouse: texts that are equal only when every mapped row is as it was; where none can be given, nothing counts as unmoved.

A mark is declared where every mapped table has a `watermark`: its owner says that whoever inserts or changes a row gives it a later value
there. So the number of rows, the last value and the sum of all values move together with every insert, change and deletion.
A mark is proven where every mapped table keeps its own rows in a primary server: no transaction that could write began or ended in all of
the server when it shows the same snapshot, and was not started again. A view or a foreign table may show other rows though nothing was
written here, row security may hide rows by the clock, an unlogged table forgets its rows in a crash, and a standby does not tell which
transactions are under way: with any of these nothing is proven.
Marks are read in the transaction whose rows they are of. Source: postgresql.org/docs, "Transaction ID and Snapshot Information Functions".
"""

import hashlib
from collections.abc import Sequence

from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.domain.warehouse_mapping import Kind, Table, WarehouseFacts, stored_facts
from engage_pipelines.facts.warehouse.catalog import shown
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reading import Reader

_SERVER = (
    "SELECT current_database(), current_user, pg_postmaster_start_time()::text, pg_is_in_recovery(),"
    " coalesce(inet_server_addr()::text, ''), coalesce(inet_server_port(), 0), txid_current_snapshot()::text"
)
_OWN_ROWS = """
    WITH RECURSIVE asked AS (SELECT to_regclass(name) AS oid FROM unnest(ARRAY[{names}]) AS n(name)),
    parts AS (SELECT a.oid FROM asked a UNION SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON i.inhparent = p.oid)
    SELECT string_agg(r.oid::text, ',' ORDER BY r.oid), count(*) FILTER (WHERE r.oid IS NULL OR r.relkind NOT IN ('r', 'p', 'm')
        OR r.relpersistence <> 'p' OR r.relrowsecurity) FROM parts p LEFT JOIN pg_class r ON r.oid = p.oid"""


def read_mark(reader: Reader, warehouse: Warehouse) -> str | None:
    """The mark of what the reader sees, None when there can be none. Raises StateError, or ConfigurationError for a mapping that errs."""
    tables = [table for _, table in warehouse.facts.tables.all]
    ((database, user, started, is_standby, host, port, snapshot),) = reader.rows(_SERVER)
    place = (database, user, host, port)
    if all(table.watermark is not None for table in tables):
        seen = [reader.rows(_watermark(warehouse, table)) for table in tables]
        # a row without a value could change unseen
        return None if any(rows[0][-1] for rows in seen) else _digest("declared", warehouse.facts, place, seen)
    oids = None if is_standby else _own_rows(reader, warehouse, tables)
    return None if oids is None else _digest("proven", warehouse.facts, place, [started, snapshot, oids])


def _digest(kind: str, facts: WarehouseFacts, place: Sequence[object], seen: Sequence[object]) -> str:
    return hashlib.sha256(repr((kind, stored_facts(facts), place, seen)).encode()).hexdigest()[:32]


def _own_rows(reader: Reader, warehouse: Warehouse, tables: Sequence[Table]) -> str | None:
    """The tables that the names mean, with their parts; None when any of them does not keep its own rows."""
    names = ", ".join(warehouse.dialect.text(warehouse.table(table)) for table in tables)
    ((oids, doubtful),) = reader.rows(_OWN_ROWS.format(names=names))
    return None if doubtful else str(oids)


def _watermark(warehouse: Warehouse, table: Table) -> str:
    assert table.watermark is not None
    if warehouse.catalog.instant_kind(table, table.watermark) is Kind.DATE:
        raise ConfigurationError(
            f"The watermark {table.watermark.column!r} of {shown(warehouse.facts, table)} is a day: two changes in it look like one.",
            "Map a column with the time of the last change, or none.",
        )
    value = warehouse.column(table.watermark)
    at = f"CAST({warehouse.instant(table, table.watermark)} AS numeric)"
    return f"SELECT count(*), max({value})::text, sum({at})::text, count(*) - count({at}) FROM {warehouse.table(table)} t"
