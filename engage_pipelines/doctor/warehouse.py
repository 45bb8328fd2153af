"""Facts in a warehouse: it can be reached, changes nothing, and has every mapped table and column, of types that can be read.

A row of each table is read as evaluation reads it, and never shown.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from engage_pipelines.doctor.findings import Finding, fail, ok
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.warehouse_mapping import Table, WarehouseFacts, read_facts
from engage_pipelines.facts.warehouse.catalog import Catalog
from engage_pipelines.facts.warehouse.dialects.postgres import PostgreSQL
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reading import Reader
from engage_pipelines.facts.warehouse.samples import sample_query
from engage_pipelines.facts.warehouse.session import Home, check_merges
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.settings import Settings

_CHECK = "warehouse"


def look_at_warehouses(c: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """What there is to say about the warehouse of each space that has one."""
    rows = c.execute(sa.select(t.space.c.key, t.space.c.facts).where(t.space.c.facts.is_not(None)).order_by(t.space.c.key)).all()
    for row in rows:
        facts = read_facts(row.facts)
        try:
            home = Home(facts, Vault(settings.keys).resolve(facts.url, field="The URL of the facts"))
            reader = home.open_reader()
        except EngageError as error:
            yield fail(_CHECK, f"Space {row.key!r}: {error.what}", error.remedy)
            continue
        try:
            yield from _look(row.key, facts, reader)
        finally:
            reader.close()


def _look(space: str, facts: WarehouseFacts, reader: Reader) -> Iterator[Finding]:
    now_us = int(reader.rows("SELECT CAST(extract(epoch FROM now()) * 1000000 AS bigint)")[0][0])
    warehouse = Warehouse(facts, PostgreSQL(), Catalog(facts, reader.tables()), now_us)
    problems = 0
    for place, table in facts.tables.all:
        for problem in _table(warehouse, reader, table):
            problems += 1
            yield fail(_CHECK, f"Space {space!r}, facts.tables.{place}: {problem.what}", problem.remedy)
    if not problems:
        try:
            check_merges(reader, warehouse)
        except EngageError as error:
            problems += 1
            yield fail(_CHECK, f"Space {space!r}: {error.what}", error.remedy)
    if not reader.is_read_only():
        yield fail(_CHECK, f"Space {space!r}: the connection is not read only.", "Give engage a login that may only SELECT.")
    elif not problems:
        count = sum(1 for _ in facts.tables.all)
        yield ok(_CHECK, f"space {space}: reached and read only; {count} mapped tables are there, and a row of each can be read")


def _table(warehouse: Warehouse, reader: Reader, table: Table) -> Iterator[EngageError]:
    """Every column that is missing or cannot be read; when all are well, whether a row can."""
    try:
        warehouse.catalog.columns(table)
    except EngageError as error:
        yield error
        return
    well = True
    for name, column in table.columns:
        try:
            if name in ("timestamp", "created_at", "started_at", "ended_at"):
                warehouse.catalog.instant_kind(table, column)
            else:
                warehouse.catalog.kind(table, column)
        except EngageError as error:
            well = False
            yield error
    if well:
        try:
            reader.rows(sample_query(warehouse, table))
        except EngageError as error:
            yield error
