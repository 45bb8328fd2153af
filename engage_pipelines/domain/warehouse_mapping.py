"""Mapping of people's own tables: which of them hold events, traits, accounts and links, under which names; see docs/warehouse.md.

Written once per space in YAML. Names are those of the warehouse, letter by letter. A column is written as its name, or with a type where
the warehouse does not tell it: a number that is an instant, or any column when SQL is printed for a warehouse that we do not connect to.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from engage_pipelines.domain.computation import ANONYMOUS_ID, EXTERNAL_IDS
from engage_pipelines.domain.errors import ConfigurationError

ALL = "*"
PAGE_VIEWED, SCREEN_VIEWED = "Page Viewed", "Screen Viewed"
NAME_LIMIT = 255


class Kind(StrEnum):
    """What a column holds. `datetime` is a time without a zone, read as UTC; the last three are instants as numbers since 1970."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATETIME = "datetime"
    DATE = "date"
    JSON = "json"
    EPOCH_S = "epoch_s"
    EPOCH_MS = "epoch_ms"
    EPOCH_US = "epoch_us"


EPOCH_UNITS_US = {Kind.EPOCH_S: 1_000_000, Kind.EPOCH_MS: 1_000, Kind.EPOCH_US: 1}
INSTANTS = (Kind.TIMESTAMP, Kind.DATETIME, Kind.DATE, Kind.TEXT, *EPOCH_UNITS_US)

Name = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT, pattern=r"^[^\x00]+$")]


def _kind(value: object) -> Kind | None:
    if value is None or isinstance(value, Kind):
        return value
    if value not in {each.value for each in Kind}:
        raise ValueError(f"it is no type; write one of {', '.join(Kind)}")
    return Kind(str(value))


def _column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class MappedColumn(_Strict):
    """A column, and what it holds where that has to be said."""

    column: Name
    type: Annotated[Kind | None, BeforeValidator(_kind)] = None


_COLUMN_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"column": {"type": "string"}, "type": {"enum": list(Kind)}},
            "required": ["column"],
            "additionalProperties": False,
        },
    ]
}
Column = Annotated[MappedColumn, BeforeValidator(_column), WithJsonSchema(_COLUMN_SCHEMA)]
Values = dict[Name, Column] | Literal["*"]


class Table(_Strict):
    """A table of the warehouse; its schema is that of the whole mapping unless it says another."""

    table: Name
    schema_name: Name | None = Field(None, alias="schema")
    watermark: Column | None = None
    """An instant that every insert and every change of a row raises above all others."""

    @property
    def columns(self) -> Iterator[tuple[str, MappedColumn]]:
        """Every column that is mapped, and the place in the mapping where it stands."""
        for name in type(self).model_fields:
            value: Any = getattr(self, name)
            if isinstance(value, MappedColumn):
                yield name, value
            elif isinstance(value, dict):
                for key, column in value.items():  # pyright: ignore[reportUnknownVariableType]
                    yield f"{name}.{key}", column


class _Person(Table):
    """Rows of which each is somebody's."""

    user_id: Column = MappedColumn(column="user_id")
    anonymous_id: Column | None = None
    timestamp: Column = MappedColumn(column="timestamp")
    message_id: Column | None = None


class EventTable(_Person):
    """Rows of one event, or of many with their names in a column."""

    event: Annotated[str, Field(min_length=1)] | None = None
    event_column: Column | None = None
    source: Column | None = None
    properties: Values = Field(default_factory=dict)
    properties_json: Column | None = None
    context: dict[Name, Column] = Field(default_factory=dict)
    context_json: Column | None = None

    @model_validator(mode="after")
    def _names_its_event(self) -> Self:
        if self.event is not None and self.event_column is not None:
            raise ValueError("it has both event and event_column; write one of them")
        return self


class IdentifyTable(_Person):
    """The history of traits: one row per Identify call. A column that is NULL says nothing of its trait."""

    traits: Values = Field(default_factory=dict)
    traits_json: Column | None = None


class GroupTable(_Person):
    """The history of who belongs to which account, with traits of the accounts: one row per Group call."""

    group_id: Column = MappedColumn(column="group_id")
    left: Column | None = None
    traits: Values = Field(default_factory=dict)
    traits_json: Column | None = None


class UserTable(Table):
    """Users as they are now, one row each; there is no history in it."""

    user_id: Column = MappedColumn(column="id")
    created_at: Column | None = None
    traits: Values = Field(default_factory=dict)
    traits_json: Column | None = None


class AccountTable(Table):
    """Accounts as they are now, one row each."""

    group_id: Column = MappedColumn(column="id")
    created_at: Column | None = None
    traits: Values = Field(default_factory=dict)
    traits_json: Column | None = None


class MembershipTable(Table):
    """Who belongs to which account. Somebody left when their row is gone, `left` is true, or `ended_at` lies behind."""

    user_id: Column = MappedColumn(column="user_id")
    group_id: Column = MappedColumn(column="group_id")
    left: Column | None = None
    started_at: Column | None = None
    ended_at: Column | None = None


class LinkTable(Table):
    """Which user an anonymous id belongs to; of several the first by `timestamp`."""

    anonymous_id: Column = MappedColumn(column="anonymous_id")
    user_id: Column = MappedColumn(column="user_id")
    timestamp: Column | None = None


class MergeTable(Table):
    """User ids that became others: `into` is the id that stays, not one more step on the way."""

    user_id: Column = MappedColumn(column="previous_id")
    into: Column = MappedColumn(column="user_id")


class Tables(_Strict):
    """Which tables there are; each name takes one table or a list."""

    events: Annotated[list[EventTable], BeforeValidator(_listed)] = Field(default_factory=list[EventTable])
    pages: Annotated[list[EventTable], BeforeValidator(_listed)] = Field(default_factory=list[EventTable])
    screens: Annotated[list[EventTable], BeforeValidator(_listed)] = Field(default_factory=list[EventTable])
    identifies: Annotated[list[IdentifyTable], BeforeValidator(_listed)] = Field(default_factory=list[IdentifyTable])
    users: Annotated[list[UserTable], BeforeValidator(_listed)] = Field(default_factory=list[UserTable])
    groups: Annotated[list[GroupTable], BeforeValidator(_listed)] = Field(default_factory=list[GroupTable])
    accounts: Annotated[list[AccountTable], BeforeValidator(_listed)] = Field(default_factory=list[AccountTable])
    memberships: Annotated[list[MembershipTable], BeforeValidator(_listed)] = Field(default_factory=list[MembershipTable])
    links: Annotated[list[LinkTable], BeforeValidator(_listed)] = Field(default_factory=list[LinkTable])
    merges: Annotated[list[MergeTable], BeforeValidator(_listed)] = Field(default_factory=list[MergeTable])

    @model_validator(mode="after")
    def _is_about_somebody(self) -> Self:
        for index, each in enumerate(self.events):
            if each.event is None and each.event_column is None:
                raise ValueError(f"events[{index}] says neither event nor event_column")
        if not (self.events or self.pages or self.screens or self.identifies or self.users or self.accounts):
            raise ValueError("no table is mapped; map users, identifies or events at least")
        return self

    @property
    def all(self) -> Iterator[tuple[str, Table]]:
        """Every table, and its place in the mapping."""
        for name in type(self).model_fields:
            for index, table in enumerate(getattr(self, name)):
                yield f"{name}[{index}]", table

    @property
    def with_visitors(self) -> "list[_Person]":
        """Tables whose rows may be about somebody that an anonymous id alone tells."""
        rows = (*(table for table, _ in self.event_tables), *self.identifies, *self.groups)
        return [each for each in rows if each.anonymous_id is not None]

    @property
    def event_tables(self) -> list[tuple[EventTable, str | None]]:
        """Tables of events, each with the one event that it holds, None when a column says it."""
        pages = [(each, None if each.event_column else each.event or PAGE_VIEWED) for each in self.pages]
        screens = [(each, None if each.event_column else each.event or SCREEN_VIEWED) for each in self.screens]
        return [*((each, each.event) for each in self.events), *pages, *screens]


class WarehouseFacts(_Strict):
    """Where the facts of a space are; `url` is a reference to a secret."""

    url: Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$")]
    schema_name: Name | None = Field(None, alias="schema")
    timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    tables: Tables

    def schema_of(self, table: Table) -> str | None:
        return table.schema_name or self.schema_name


def check_admission(facts: WarehouseFacts, external_ids: Sequence[str]) -> None:
    """Raises ConfigurationError when the tables can tell of nobody by the identifiers that an audience asks its members for."""
    if ANONYMOUS_ID in external_ids and not facts.tables.with_visitors:
        raise ConfigurationError(
            "The audience admits visitors that nobody has identified, and no mapped table has their anonymous_id.",
            "Map anonymous_id of a table of events or identifies, or leave include_anonymous out.",
        )
    told = {"user_id", *((ANONYMOUS_ID,) if facts.tables.with_visitors else ()), *(("email",) if _has_emails(facts.tables) else ())}
    if tuple(external_ids) != EXTERNAL_IDS and not told & set(external_ids):
        raise ConfigurationError(
            f"The audience asks for {' or '.join(external_ids)}, which no mapped table tells.",
            f"The tables tell {', '.join(sorted(told))}.",
        )


def _has_emails(tables: Tables) -> bool:
    known = [(each.traits, each.traits_json) for each in (*tables.users, *tables.identifies)]
    return any(traits == ALL or "email" in traits or document is not None for traits, document in known)


def fields_at(names: Sequence[str]) -> list[str]:
    """The fields that there are at a place below `facts`, for messages; places in lists left out."""
    models: dict[str, type[BaseModel]] = {
        "tables": Tables,
        **dict.fromkeys(("events", "pages", "screens"), EventTable),
        "identifies": IdentifyTable,
        "users": UserTable,
        "groups": GroupTable,
        "accounts": AccountTable,
        "memberships": MembershipTable,
        "links": LinkTable,
        "merges": MergeTable,
    }
    model = WarehouseFacts if not names else models.get(names[-1], MappedColumn)
    return [field.alias or name for name, field in model.model_fields.items()]


def read_facts(stored: object) -> WarehouseFacts:
    """The mapping as the registry keeps it."""
    return WarehouseFacts.model_validate(stored)


def stored_facts(facts: WarehouseFacts) -> dict[str, Any]:
    """The mapping as the registry keeps it, without what nobody wrote."""
    return facts.model_dump(mode="json", by_alias=True, exclude_unset=True)
