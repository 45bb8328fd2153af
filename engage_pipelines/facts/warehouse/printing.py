"""The SELECT of an audience or a trait for people to read and run: in any dialect, with its columns as the mapping says them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from engage_pipelines.domain.computation import Computation
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.warehouse_mapping import Kind, WarehouseFacts
from engage_pipelines.facts.audience_order import Readable, all_in_order
from engage_pipelines.facts.warehouse.catalog import Catalog, TableName
from engage_pipelines.facts.warehouse.dialects import find_dialect
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.select import select_members, select_values

Found = Mapping[TableName, Mapping[str, Kind | None]]


def print_select(
    facts: WarehouseFacts,
    computation: Computation,
    context: Sequence[Computation],
    *,
    dialect: str,
    at_us: int,
    found: Found | None = None,
) -> str:
    """The SELECT as of an instant. `found` are the columns that there are; without them every mapped value needs a type.

    Raises UsageError for an unknown dialect, DefinitionError or ConfigurationError for what cannot be said.
    """
    plan = all_in_order([computation], context)
    readable = {
        key: replace(each, definition=count_events_since(each.definition, each.audience.events_since_us, at_us=at_us))
        if isinstance(each, Readable)
        else each
        for key, each in plan.items()
        if not isinstance(each, EngageError)
    }
    asked = plan[computation.key]
    if isinstance(asked, EngageError):
        raise asked
    warehouse = Warehouse(facts, find_dialect(dialect), Catalog(facts, found), at_us)
    each = readable[computation.key]
    return select_members(warehouse, each, readable) if isinstance(each, Readable) else select_values(warehouse, each, readable)
