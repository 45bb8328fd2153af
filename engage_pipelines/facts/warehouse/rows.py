"""Rows of events and of traits from the mapped tables, each with its member and the readings that conditions need.

A property or trait that a table does not map is missing in its rows. Where the history and a table of the present both know a trait, the
present counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.warehouse_mapping import (
    ALL,
    AccountTable,
    EventTable,
    GroupTable,
    IdentifyTable,
    Kind,
    MappedColumn,
    Table,
    UserTable,
)
from engage_pipelines.facts.warehouse.people import Warehouse, all_of
from engage_pipelines.facts.warehouse.values import Reading, Readings, column_reading, missing

TraitTable = IdentifyTable | GroupTable | UserTable | AccountTable


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a value is: a column, what it holds, and the names that lead further into it."""

    column: MappedColumn
    kind: Kind
    rest: tuple[str, ...]


def event_rows(warehouse: Warehouse, name: str, readings: Readings, since_us: int | None = None) -> str:
    """member, ts, message_id, source, and the readings, of the rows of one event."""
    listed = "".join(f", s.{column}" for column in readings.columns.values())
    held = [
        (table, condition)
        for table, event in warehouse.facts.tables.event_tables
        if (condition := _is_event(warehouse, table, event, name)) is not None
    ]
    if not held:
        return _no_rows(warehouse, readings)
    parts = [_event_part(warehouse, table, condition, readings, since_us) for table, condition in held]
    visitors = any(table.anonymous_id for table, _ in held)
    return warehouse.of_member(all_of(parts), f", s.ts, s.message_id, s.source{listed}", visitors=visitors)


def _is_event(warehouse: Warehouse, table: EventTable, event: str | None, name: str) -> str | None:
    if table.event_column is None:
        return "1 = 1" if event == name else None
    return f"{warehouse.dialect.as_text(warehouse.column(table.event_column))} = {warehouse.dialect.text(name)}"


def _event_part(warehouse: Warehouse, table: EventTable, condition: str, readings: Readings, since_us: int | None) -> str:
    read = "".join(f", {_event_reading(warehouse, table, each)} AS {column}" for each, column in readings.columns.items())
    return (
        f"SELECT {warehouse.id(table.user_id)} AS user_key, {warehouse.id(table.anonymous_id)} AS anonymous_key,"
        f" {warehouse.instant(table, table.timestamp)} AS ts, {warehouse.id(table.message_id)} AS message_id,"
        f" {warehouse.id(table.source)} AS source{read} FROM {warehouse.table(table)} t"
        f" WHERE {condition} AND {warehouse.visible(table, table.timestamp, since_us)}"
    )


def _no_rows(warehouse: Warehouse, readings: Readings) -> str:
    dialect = warehouse.dialect
    read = "".join(f", {missing(dialect, each.way)} AS {column}" for each, column in readings.columns.items())
    text = dialect.as_text(dialect.null(dialect.text_type))
    return (
        f"SELECT {text} AS member, {dialect.null(dialect.bigint)} AS ts, {text} AS message_id, {text} AS source{read}"
        " FROM (SELECT 1 AS one) o WHERE 1 = 0"
    )


def _event_reading(warehouse: Warehouse, table: EventTable, reading: Reading) -> str:
    is_context = reading.document == "context"
    columns, document = (table.context, table.context_json) if is_context else (table.properties, table.properties_json)
    return _reading(warehouse, _find(warehouse, table, columns, document, reading.path), reading.way)


def _reading(warehouse: Warehouse, found: _Found | None, way: str) -> str:
    if found is None:
        return missing(warehouse.dialect, way)
    return column_reading(warehouse.dialect, warehouse.column(found.column), found.kind, found.rest, way)


def _find(
    warehouse: Warehouse, table: Table, columns: Mapping[str, MappedColumn] | str, document: MappedColumn | None, path: Sequence[str]
) -> _Found | None:
    """The column of the longest part of the path that has one, dots between the names; else the column of JSON."""
    if columns == ALL:
        there = warehouse.catalog.columns(table)
        columns = {name: MappedColumn(column=name) for name, kind in there.items() if kind is not None}
    assert not isinstance(columns, str)
    for length in range(len(path), 0, -1):
        column = columns.get(".".join(path[:length]))
        if column is not None:
            return _Found(column, warehouse.catalog.kind(table, column), tuple(path[length:]))
    if document is None:
        return None
    warehouse.catalog.kind(table, document, otherwise=Kind.JSON)
    return _Found(document, Kind.JSON, tuple(path))


# ---- traits


def trait_rows(warehouse: Warehouse, level: Level, key: str, readings: Readings) -> str:
    """member, ts, message_id and the readings, of each value that a trait had; the last row by ts and message_id is the present one."""
    tables = warehouse.facts.tables
    present = tables.users if level is Level.USER else tables.accounts
    history = tables.identifies if level is Level.USER else tables.groups
    known = [table for table in present if _knows(warehouse, table, key)] or [table for table in history if _knows(warehouse, table, key)]
    parts = [_trait_part(warehouse, table, key, readings) for table in known]
    listed = "".join(f", s.{column}" for column in readings.columns.values())
    if not parts:
        return f"SELECT member, ts, message_id{listed} FROM ({_no_rows(warehouse, readings)}) s"
    if level is Level.USER:
        visitors = any(isinstance(table, IdentifyTable) and table.anonymous_id for table in known)
        return warehouse.of_member(all_of(parts), f", s.ts, s.message_id{listed}", visitors=visitors)
    return f"SELECT concat('g:', s.group_key) AS member, s.ts, s.message_id{listed} FROM ({all_of(parts)}) s WHERE s.group_key IS NOT NULL"


def knows_trait(warehouse: Warehouse, level: Level, key: str) -> bool:
    """Whether any table may hold the trait."""
    tables = warehouse.facts.tables
    both = (*tables.users, *tables.identifies) if level is Level.USER else (*tables.accounts, *tables.groups)
    return any(_knows(warehouse, table, key) for table in both)


def _knows(warehouse: Warehouse, table: TraitTable, key: str) -> bool:
    if table.traits_json is not None:
        return True
    if table.traits == ALL:
        return key in warehouse.catalog.columns(table)
    return any(name == key or name.startswith(f"{key}.") for name in table.traits)


def _trait_part(warehouse: Warehouse, table: TraitTable, key: str, readings: Readings) -> str:
    found = {each: _find(warehouse, table, table.traits, table.traits_json, (key, *each.path)) for each in readings.columns}
    read = "".join(f", {_reading(warehouse, found[each], each.way)} AS {column}" for each, column in readings.columns.items())
    at = table.timestamp if isinstance(table, IdentifyTable | GroupTable) else table.created_at
    history = isinstance(table, IdentifyTable | GroupTable)
    who = (
        f"{warehouse.id(table.group_id)} AS group_key"
        if isinstance(table, GroupTable | AccountTable)
        else f"{warehouse.id(table.user_id)} AS user_key,"
        f" {warehouse.id(table.anonymous_id if isinstance(table, IdentifyTable) else None)} AS anonymous_key"
    )
    given = f" AND {_is_given(warehouse, table, key)}" if history else ""
    ts = warehouse.instant(table, at) if history else warehouse.dialect.to_bigint("0")
    message_id = warehouse.id(table.message_id if isinstance(table, IdentifyTable | GroupTable) else None)
    return (
        f"SELECT {who}, {ts} AS ts, {message_id} AS message_id{read} FROM {warehouse.table(table)} t"
        f" WHERE {warehouse.visible(table, at)}{given}"
    )


def _is_given(warehouse: Warehouse, table: TraitTable, key: str) -> str:
    """Whether a row of the history says something of the trait at all; null in JSON does, an empty column does not."""
    columns = table.traits
    if columns == ALL:
        return f"{warehouse.column(MappedColumn(column=key))} IS NOT NULL"
    assert not isinstance(columns, str)
    named = [column for name, column in columns.items() if name == key or name.startswith(f"{key}.")]
    if named:
        return "(" + " OR ".join(f"{warehouse.column(column)} IS NOT NULL" for column in named) + ")"
    assert table.traits_json is not None
    dialect = warehouse.dialect
    return f"{dialect.json_at(dialect.json_column(warehouse.column(table.traits_json)), (key,))} IS NOT NULL"


# ---- users and identifiers


def _emails(warehouse: Warehouse) -> str:
    """member, ts, message_id, text, kind of each e-mail address that somebody had."""
    readings = Readings()
    text, kind = (readings.column(Reading("trait", (), way)) for way in ("text", "kind"))
    rows = trait_rows(warehouse, Level.USER, "email", readings)
    return f"SELECT member, ts, message_id, {text} AS text, {kind} AS kind FROM ({rows}) m"


_IS_EMAIL = "kind = 'string' AND text <> '' AND member IS NOT NULL"


def users(warehouse: Warehouse) -> str:
    """member: everyone with a user id or an e-mail address, each once."""
    known = warehouse.of_member(warehouse.user_ids(), "", visitors=False)
    if not _visitors_have_emails(warehouse):
        return f"SELECT DISTINCT member FROM ({known}) k"
    mailed = f"SELECT member FROM ({_emails(warehouse)}) e WHERE {_IS_EMAIL}"
    return f"SELECT DISTINCT member FROM (SELECT member FROM ({known}) k UNION ALL {mailed}) b"


def visitors(warehouse: Warehouse) -> str:
    """member, ts of the rows of those whom an anonymous id alone tells."""
    parts = [
        f"SELECT {warehouse.id(each.user_id)} AS user_key, {warehouse.id(each.anonymous_id)} AS anonymous_key,"
        f" {warehouse.instant(each, each.timestamp)} AS ts FROM {warehouse.table(each)} t WHERE {warehouse.visible(each, each.timestamp)}"
        for each in warehouse.facts.tables.with_visitors
    ]
    return f"SELECT member, ts FROM ({warehouse.of_member(all_of(parts), ', s.ts')}) v WHERE substr(member, 1, 2) = 'a:'"


def _visitors_have_emails(warehouse: Warehouse) -> bool:
    """Whether somebody without a user id may have an e-mail address: a row of identifies without one."""
    tables = warehouse.facts.tables
    if any(_knows(warehouse, table, "email") for table in tables.users):
        return False
    return any(table.anonymous_id is not None and _knows(warehouse, table, "email") for table in tables.identifies)


def identifiers(warehouse: Warehouse, *, with_visitors: bool = False) -> str:
    """member, kind, id, is_current, first_at, last_at: what a destination may match somebody by.

    With visitors also of those whom events alone tell of.
    """
    parts = [
        warehouse.of_member(warehouse.user_ids(), ", 'user_id' AS kind, s.user_key AS id, s.ts", visitors=False),
        f"SELECT member, 'group_id' AS kind, substr(member, 3) AS id, first_at AS ts FROM ({warehouse.accounts()}) a",
    ]
    if warehouse.has_merges:
        unknown = warehouse.dialect.null(warehouse.dialect.bigint)
        parts.append(f"SELECT concat('u:', into_id) AS member, 'user_id' AS kind, user_id AS id, {unknown} AS ts FROM merges")
    if warehouse.has_links:
        parts.append("SELECT concat('u:', user_id) AS member, 'anonymous_id' AS kind, anonymous_id AS id, first_at AS ts FROM links")
    seen = [
        f"SELECT {warehouse.id(None)} AS user_key, {warehouse.id(each.anonymous_id)} AS anonymous_key,"
        f" {warehouse.instant(each, each.timestamp)} AS ts FROM {warehouse.table(each)} t WHERE {warehouse.visible(each, each.timestamp)}"
        for each in warehouse.facts.tables.identifies
        if each.anonymous_id
    ]
    if seen:
        parts.append(warehouse.of_member(all_of(seen), ", 'anonymous_id' AS kind, s.anonymous_key AS id, s.ts"))
    if with_visitors and warehouse.facts.tables.with_visitors:
        parts.append(f"SELECT member, 'anonymous_id' AS kind, substr(member, 3) AS id, ts FROM ({visitors(warehouse)}) v")
    always = (
        "SELECT member, kind, id, true AS is_current, coalesce(min(ts), 0) AS first_at, coalesce(max(ts), 0) AS last_at"
        f" FROM ({all_of(parts)}) i WHERE member IS NOT NULL AND id IS NOT NULL GROUP BY member, kind, id"
    )
    if not knows_trait(warehouse, Level.USER, "email"):
        return always
    last = (
        "first_value(CASE WHEN kind = 'string' THEN text END) OVER (PARTITION BY member ORDER BY ts DESC, message_id DESC"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS present"
    )
    emails = (
        "SELECT member, 'email' AS kind, text AS id, coalesce(text = max(present), false) AS is_current,"
        " min(ts) AS first_at, max(ts) AS last_at"
        f" FROM (SELECT e.*, {last} FROM ({_emails(warehouse)}) e) e WHERE {_IS_EMAIL} GROUP BY member, text"
    )
    return f"{always} UNION ALL {emails}"
