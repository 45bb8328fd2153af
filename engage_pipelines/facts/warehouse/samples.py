"""One row of a mapped table, read as evaluation reads it: to see that it can be."""

from engage_pipelines.domain.warehouse_mapping import INSTANTS, Kind, Table
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.values import WAYS, column_reading

_TIMES = ("timestamp", "created_at", "started_at", "ended_at", "watermark")


def sample_query(warehouse: Warehouse, table: Table) -> str:
    """A query for one row, with every mapped column in every way that conditions may read it."""
    read: list[str] = []
    for name, column in table.columns:
        if name in _TIMES and warehouse.catalog.instant_kind(table, column) in INSTANTS:
            read.append(warehouse.instant(table, column))
        elif name.endswith("_id") or name in ("into", "source"):
            read.append(warehouse.id(column))
        else:
            kind = warehouse.catalog.kind(table, column)
            ways = [way for way in WAYS if way != "json" or kind is Kind.JSON]
            read += [column_reading(warehouse.dialect, warehouse.column(column), kind, (), way) for way in ways]
    return f"SELECT {', '.join(read) or '1'} FROM {warehouse.table(table)} t LIMIT 1"
