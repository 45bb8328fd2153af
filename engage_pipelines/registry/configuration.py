"""Configuration files: what may stand in them (see docs/configuration.md), as models that also make the JSON Schema for editors."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from engage_pipelines.domain.computation import LEVELS, AccountTraitConflict, Level, TraitType
from engage_pipelines.domain.query.instants import instant_us
from engage_pipelines.domain.warehouse_mapping import WarehouseFacts
from engage_pipelines.registry.cadence import DEFAULT_CADENCE


def _instant(value: object) -> int | None:
    if value is None:
        return None
    at_us = instant_us(value) if isinstance(value, str) else None
    if at_us is None:
        raise ValueError("it is not an instant; write it like 2008-01-01T00:00:00Z")
    return at_us


def _level(value: object) -> Level:
    if value not in LEVELS:
        raise ValueError("it is no level; write user or account")
    return LEVELS[str(value)]


def _trait_type(value: object) -> TraitType:
    if value not in list(TraitType):
        raise ValueError("it is no type of trait; write computed or sql")
    return TraitType(str(value))


_Instant = Annotated[int | None, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
_Level = Annotated[Level, BeforeValidator(_level), WithJsonSchema({"enum": ["user", "account"]})]
_TraitType = Annotated[TraitType, BeforeValidator(_trait_type), WithJsonSchema({"enum": ["computed", "sql"]})]
Call = Literal["group", "identify", "track"]


class Entry(BaseModel):
    """One thing in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class SpaceEntry(Entry):
    """The partition of profiles that the things of the files belong to."""

    key: str = Field(description="Never changes.")
    name: str = Field("", description="What people read; the key unless said.")
    evaluate_at: _Instant = Field(None, description="Evaluate as of this instant, like 2008-01-01T00:00:00Z; left out: as of now.")
    one_configuration_per_type: Literal["space", "audience"] = Field(
        "space", description="Whether a destination type may be there once per space or once per audience."
    )
    facts: WarehouseFacts | None = Field(None, description="Tables of a warehouse that hold the facts; left out: those that are ingested.")


class SourceDestinationEntry(Entry):
    """A configuration of a destination on a source, which the space may import."""

    key: str
    type: str = Field(description="See `engage destination catalog`.")
    name: str = ""
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="A secret is env:NAME or file:/path.")


class SourceEntry(Entry):
    """Where calls come from; here the owner of configurations."""

    key: str
    name: str = ""
    destinations: list[SourceDestinationEntry] = Field(default_factory=list[SourceDestinationEntry])


class DestinationEntry(Entry):
    """A destination type with its settings: `type`, or `import_from` a source."""

    key: str
    type: str | None = Field(None, description="See `engage destination catalog`.")
    import_from: str | None = Field(None, description="SOURCE/DESTINATION: its settings are copied, its mappings come switched off.")
    name: str = Field("", description="What people read, and what records are routed by; the key unless said.")
    settings: dict[str, JsonValue] | None = Field(
        None, description="A secret is env:NAME or file:/path. With import_from: what differs from it."
    )
    enabled: bool = Field(True, description="false: nothing is sent, what is owed stays owed.")
    max_requests_per_s: float | None = Field(
        None, gt=0, description="Send no faster than this, all its connections together; the type's own limit unless said."
    )


class AudienceEntry(Entry):
    """A rule set."""

    key: str = Field(description="Never changes and is never used again: it is the name of the trait that goes out.")
    level: _Level = Field(Level.USER, description="Whose set it is; never changes.")
    definition: str = Field(description="In the query language, like: event('Signed In').within(14 days).count() >= 3")
    name: str = Field("", description="What people read; the key unless said.")
    description: str = ""
    cadence: str = Field(DEFAULT_CADENCE, description="A cron line in UTC, or hourly, daily, manual, live.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="See docs/configuration.md, options of audiences.")
    enabled: bool = Field(True, description="false: not computed, nothing enters or leaves.")


class TraitEntry(Entry):
    """A value computed for people or accounts."""

    key: str = Field(description="Never changes and is never used again; one key space with audiences.")
    level: _Level = Field(Level.USER, description="Whose value it is; never changes.")
    type: _TraitType = Field(TraitType.COMPUTED, description="computed: in the query language; sql: one SELECT. Never changes.")
    definition: str = Field(description="Like: event('Order Completed').within(90 days).sum(property('total'))")
    name: str = Field("", description="What people read; the key unless said.")
    description: str = ""
    cadence: str = Field("", description="A cron line in UTC, hourly, daily, manual, live; hourly, of a SELECT twice a day, unless said.")
    enabled: bool = Field(True, description="false: not computed.")
    account_trait_conflict: AccountTraitConflict = Field(
        AccountTraitConflict.LATEST,
        description="What a user of several accounts has: the value of the latest Group call's account, a list of all, or with skip none.",
    )


class MappingEntry(Entry):
    """When and what a destination is sent, beside the presets that connecting makes."""

    destination: str
    name: str = Field(description="Once per destination.")
    trigger: str = Field(description='When, in FQL, like: type = "track" and event = "Audience Entered"')
    action: str = Field(description="What the destination does with it; see `engage destination catalog`.")
    fields: dict[str, JsonValue] | None = Field(
        None, description="What is sent, in the mapping kit's language; the action's own unless said."
    )
    enabled: bool = False
    backfill: bool = Field(True, description="When it is switched on: false sends later changes alone.")


class PresetEntry(Entry):
    """What is other than the type has it, in a mapping that connecting made."""

    name: str = Field(description="As `engage mapping list` shows it.")
    enabled: bool | None = None
    trigger: str | None = None
    action: str | None = None
    fields: dict[str, JsonValue] | None = None


class ConnectionEntry(Entry):
    """An audience or a trait joined to a destination."""

    audience: str = Field(description="The key of an audience or a trait.")
    destination: str
    calls: list[Call] = Field(default_factory=list[Call], description="The usual ones of the audience's level unless said; never change.")
    backfill: bool | None = Field(None, description="false: only those who come and go from now on. Said when it is made.")
    ids: list[str] | None = Field(None, description="Identifiers that people are entered by, like email:last.")
    traits: list[str] | None = Field(None, description="Traits that ride along in the records, like plan or plan:plan_tier.")
    list_settings: dict[str, JsonValue] | None = Field(None, description="What the type wants to know of the connection's list.")
    on_disconnect: Literal["keep", "exit_all"] | None = Field(None, description="exit_all: everyone's exit is sent before it ends.")
    paused: bool | None = Field(None, description="Left out: whoever operates it decides.")
    presets: list[PresetEntry] = Field(default_factory=list[PresetEntry], description="Changes to the mappings that connecting makes.")


class Document(Entry):
    """A configuration file of engage_pipelines."""

    space: SpaceEntry | str | None = Field(None, description="The space of what is in the file: its key, or what it is like.")
    sources: list[SourceEntry] = Field(default_factory=list[SourceEntry])
    destinations: list[DestinationEntry] = Field(default_factory=list[DestinationEntry])
    traits: list[TraitEntry] = Field(default_factory=list[TraitEntry])
    audiences: list[AudienceEntry] = Field(default_factory=list[AudienceEntry])
    mappings: list[MappingEntry] = Field(default_factory=list[MappingEntry])
    connections: list[ConnectionEntry] = Field(default_factory=list[ConnectionEntry])

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, data: Any) -> Any:
        # `audiences:` with everything below it commented out
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


LISTS: dict[str, type[Entry]] = {
    "sources": SourceEntry,
    "destinations": DestinationEntry,
    "traits": TraitEntry,
    "audiences": AudienceEntry,
    "mappings": MappingEntry,
    "connections": ConnectionEntry,
}
"""The lists of a document, in the order in which they are applied."""


def settings_of(entry: DestinationEntry | SourceDestinationEntry) -> dict[str, Any]:
    return dict(entry.settings or {})
