"""Random facts as tables that people have in a warehouse, and the mapping onto them; for holding SQL against the reference meaning.

Two shapes: documents (one table of events with JSON, a history of traits with JSON) and columns (one table per event, one column per
property, users and accounts as they are now). The second holds values of one type per column, so the facts are cut to fit it first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engage_pipelines.domain.query.meaning import Row
from engage_pipelines.domain.warehouse_mapping import Kind, WarehouseFacts
from engage_pipelines.testing.plain_facts import Facts, Member, TraitRow, as_text

Rows = Sequence[tuple[Any, ...]]
URL = "env:WAREHOUSE_URL"


@dataclass(frozen=True, slots=True)
class TableOf:
    """One table: what its columns hold, and its rows. Instants are UTC microseconds, JSON is text."""

    columns: Mapping[str, Kind]
    rows: Rows


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to keep facts in tables; `fit` cuts facts to what the tables can hold."""

    facts: WarehouseFacts
    fit: Callable[[Facts], Facts]
    tables: Callable[[Facts], Mapping[str, TableOf]]


def _mapping(tables: Mapping[str, object]) -> WarehouseFacts:
    return WarehouseFacts.model_validate({"url": URL, "tables": tables})


def _user_rows(facts: Facts) -> Rows:
    return [(str(each.member),) for each in facts.users]


def _who(member: Member, facts: Facts) -> tuple[str | None, str | None]:
    """A user id, or for a stranger an anonymous id."""
    return (None, f"stranger {member.member}") if member in facts.strangers else (str(member.member), None)


def _memberships(facts: Facts) -> TableOf:
    """Present links, one that was left, and one that ended."""
    rows = [(str(user), str(account.member), None, None) for account in facts.accounts for user in account.users]
    others = [
        (str(user.member), str(account.member)) for account in facts.accounts for user in facts.users if user.member not in account.users
    ]
    gone = [(user, account, True, None) for user, account in others[:2]] + [(user, account, False, 1) for user, account in others[2:4]]
    columns = {"person": Kind.TEXT, "company": Kind.TEXT, "has left": Kind.BOOLEAN, "ended": Kind.TIMESTAMP}
    return TableOf(columns, [*rows, *gone])


_MEMBERSHIPS = {"table": "seats", "user_id": "person", "group_id": "company", "left": "has left", "ended_at": "ended"}


# ---- documents


def _documents(facts: Facts) -> Mapping[str, TableOf]:
    events = [
        (*_who(each, facts), row.event, row.ts, row.message_id, row.source, as_text(row.properties), as_text(row.context))
        for each in facts.everyone()
        for row in each.rows
    ]
    people = [*facts.users, *facts.strangers]
    traits = [(*_who(each, facts), row.ts, row.message_id, as_text({row.key: row.value})) for each in people for row in each.traits]
    groups = [
        (None, str(each.member), row.ts, row.message_id, as_text({row.key: row.value})) for each in facts.accounts for row in each.traits
    ]
    text, json = Kind.TEXT, Kind.JSON
    return {
        "Event Log": TableOf(
            {"who": text, "visitor": text, "what": text, "at": Kind.TIMESTAMP, "mid": text, "src": text, "props": json, "ctx": json}, events
        ),
        "calls": TableOf({"who": text, "visitor": text, "at": Kind.TIMESTAMP, "mid": text, "traits": json}, traits),
        "company calls": TableOf({"who": text, "company": text, "at": Kind.DATETIME, "mid": text, "traits": json}, groups),
        "people": TableOf({"id": text}, _user_rows(facts)),
        "companies": TableOf({"id": text}, [(str(each.member),) for each in facts.accounts]),
        "seats": _memberships(facts),
    }


DOCUMENTS = Shape(
    _mapping(
        {
            "events": {
                "table": "Event Log",
                "event_column": "what",
                "user_id": "who",
                "anonymous_id": "visitor",
                "timestamp": "at",
                "message_id": "mid",
                "source": "src",
                "properties_json": {"column": "props", "type": "json"},
                "context_json": {"column": "ctx", "type": "json"},
            },
            "identifies": {
                "table": "calls",
                "user_id": "who",
                "anonymous_id": "visitor",
                "timestamp": "at",
                "message_id": "mid",
                "traits_json": {"column": "traits", "type": "json"},
            },
            "groups": {
                "table": "company calls",
                "user_id": "who",
                "group_id": "company",
                "timestamp": {"column": "at", "type": "datetime"},
                "message_id": "mid",
                "traits_json": {"column": "traits", "type": "json"},
            },
            "users": {"table": "people"},
            "accounts": {"table": "companies"},
            "memberships": _MEMBERSHIPS,
        }
    ),
    lambda facts: facts,
    _documents,
)


# ---- columns

_LIMIT = 10**18


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LIMIT


def _whole(value: Any) -> Any:
    """A number as a column of numbers tells it: 5.0 is 5."""
    return int(value) if value == int(value) else value


def _fitted(row: Row) -> Row:
    held = row.properties
    kept: dict[str, Any] = {}
    if _is_number(held.get("p")):
        kept["p"] = _whole(held["p"])
    if isinstance(held.get("q"), str):
        kept["q"] = held["q"]
    inner = held.get("n")
    if isinstance(inner, Mapping) and isinstance(inner.get("x"), bool):
        kept["n"] = {"x": inner["x"]}
    if isinstance(held.get("l"), list):
        kept["l"] = held["l"]
    return replace(row, properties=kept)


def _fitted_traits(member: Member) -> list[TraitRow]:
    """The present traits, of one type each: t a number, u a text."""
    kept: dict[str, TraitRow] = {}
    for row in member.traits:
        if (row.key == "t" and _is_number(row.value)) or (row.key == "u" and isinstance(row.value, str)):
            value = _whole(row.value) if row.key == "t" else row.value
            kept[row.key] = TraitRow(row.key, 0, row.message_id, value)
    return list(kept.values())


def _fit_columns(facts: Facts) -> Facts:
    def fit(member: Member) -> Member:
        return replace(member, rows=[_fitted(row) for row in member.rows], traits=_fitted_traits(member))

    return Facts([fit(each) for each in facts.users], [fit(each) for each in facts.accounts], [fit(each) for each in facts.strangers])


def _event_columns(facts: Facts, event: str) -> Rows:
    def value(row: Row) -> tuple[Any, ...]:
        inner: Any = row.properties.get("n") or {}
        listed = row.properties.get("l")
        url: Any = row.context["page"]
        return (
            row.properties.get("p"),
            row.properties.get("q"),
            inner.get("x"),
            None if listed is None else as_text(listed),
            as_text(url),
        )

    return [
        (*_who(each, facts), row.ts // 1_000 if event == "A" else row.ts, row.message_id, row.source, *value(row))
        for each in facts.everyone()
        for row in each.rows
        if row.event == event
    ]


def _rounded(facts: Facts) -> Facts:
    """Rows of the event A at whole milliseconds, as its table holds them."""

    def fit(member: Member) -> Member:
        return replace(member, rows=[replace(row, ts=row.ts // 1_000 * 1_000) if row.event == "A" else row for row in member.rows])

    return Facts([fit(each) for each in facts.users], list(facts.accounts), [fit(each) for each in facts.strangers])


def _columns(facts: Facts) -> Mapping[str, TableOf]:
    text, number, json = Kind.TEXT, Kind.NUMBER, Kind.JSON

    def held(at: Kind) -> dict[str, Kind]:
        own = {"p": number, "a text": text, "n_x": Kind.BOOLEAN, "l": json, "context_page": json}
        return {"user_id": text, "anonymous_id": text, "timestamp": at, "id": text, "source": text, **own}

    def traits(member: Member) -> tuple[Any, ...]:
        present = {row.key: row.value for row in member.traits}
        return (str(member.member), present.get("t"), present.get("u"))

    return {
        "a": TableOf(held(Kind.EPOCH_MS), _event_columns(facts, "A")),
        "b": TableOf(held(Kind.DATETIME), _event_columns(facts, "B")),
        "people": TableOf({"id": text, "T": number, "u": text}, [traits(each) for each in facts.users]),
        "companies": TableOf({"id": text, "T": number, "u": text}, [traits(each) for each in facts.accounts]),
        "seats": _memberships(facts),
    }


def _event_table(table: str, event: str, at: str) -> dict[str, object]:
    return {
        "table": table,
        "event": event,
        "anonymous_id": "anonymous_id",
        "timestamp": {"column": "timestamp", "type": at},
        "message_id": "id",
        "source": "source",
        "properties": {
            "p": {"column": "p", "type": "number"},
            "q": {"column": "a text", "type": "text"},
            "n.x": {"column": "n_x", "type": "boolean"},
            "l": {"column": "l", "type": "json"},
        },
        "context": {"page": {"column": "context_page", "type": "json"}},
    }


_TRAITS = {"t": {"column": "T", "type": "number"}, "u": {"column": "u", "type": "text"}}

COLUMNS = Shape(
    _mapping(
        {
            "events": [_event_table("a", "A", "epoch_ms"), _event_table("b", "B", "datetime")],
            "users": {"table": "people", "traits": _TRAITS},
            "accounts": {"table": "companies", "traits": _TRAITS},
            "memberships": _MEMBERSHIPS,
        }
    ),
    lambda facts: _rounded(_fit_columns(facts)),
    _columns,
)
SHAPES = {"documents": DOCUMENTS, "columns": COLUMNS}
