"""When time alone can change who is in, of rows in a warehouse: one question for everything, each row looked at once per window."""

from collections.abc import Collection, Iterator

from engage_pipelines.domain.warehouse_mapping import MappedColumn, Table
from engage_pipelines.facts.next_change import NEVER
from engage_pipelines.facts.warehouse.people import Warehouse, all_of
from engage_pipelines.facts.warehouse.reading import Reader
from engage_pipelines.facts.warehouse.rows import event_rows
from engage_pipelines.facts.warehouse.values import Readings

_TIMES = ("timestamp", "created_at", "started_at", "ended_at")


def first_change(reader: Reader, warehouse: Warehouse, at_us: int, ages: Collection[tuple[str, int]]) -> int:
    """The first instant after `at_us` at which a row of an event is older than one of the ages (event, microseconds), or a row that lies
    in the future comes to count or ceases to; NEVER when there is none. Raises StateError."""
    parts = [f"SELECT {instant} AS ts FROM {warehouse.table(table)} t WHERE {instant} > {at_us}" for table, instant in _instants(warehouse)]
    parts += [
        f"SELECT ts + {age + 1} AS ts FROM ({event_rows(warehouse, event, Readings(), at_us - age)}) e WHERE ts >= {at_us - age}"
        for event, age in sorted(ages)
    ]
    if not parts:
        return NEVER
    shared = ", ".join(f"{name} AS ({query})" for name, query in warehouse.shared)
    with_ = f"WITH {shared} " if shared else ""
    ((found,),) = reader.rows(f"{with_}SELECT min(ts) FROM ({all_of(parts)}) m")
    return NEVER if found is None else int(found)


def _instants(warehouse: Warehouse) -> Iterator[tuple[Table, str]]:
    """Every column by which rows come to count or cease to."""
    for _, table in warehouse.facts.tables.all:
        for name in _TIMES:
            column = getattr(table, name, None)
            if isinstance(column, MappedColumn):
                yield table, warehouse.instant(table, column)
