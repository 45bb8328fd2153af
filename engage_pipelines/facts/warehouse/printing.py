"""The SELECT of an audience for people to read and run: in the words of any dialect, with its columns as the mapping says them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from engage_pipelines.domain.computation import Audience
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.warehouse_mapping import Kind, WarehouseFacts
from engage_pipelines.facts.audience_order import Readable, in_order
from engage_pipelines.facts.warehouse.catalog import Catalog, TableName
from engage_pipelines.facts.warehouse.dialects import find_dialect
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.select import select_members

Found = Mapping[TableName, Mapping[str, Kind | None]]


def print_select(
    facts: WarehouseFacts, audience: Audience, context: Sequence[Audience], *, dialect: str, at_us: int, found: Found | None = None
) -> str:
    """The SELECT as of an instant. `found` are the columns that there are; without them every mapped value needs a type.

    Raises UsageError for an unknown dialect, DefinitionError or ConfigurationError for what cannot be said.
    """
    plan = in_order([audience], context)
    readable = {
        key: replace(each, definition=count_events_since(each.definition, each.audience.events_since_us, at_us=at_us))
        for key, each in plan.items()
        if isinstance(each, Readable)
    }
    asked = plan[audience.key]
    if isinstance(asked, EngageError):
        raise asked
    warehouse = Warehouse(facts, find_dialect(dialect), Catalog(facts, found), at_us)
    return select_members(warehouse, readable[audience.key], readable)
