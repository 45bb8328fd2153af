"""What one entry of a configuration file comes to: the thing is made, or brought to what the entry says and owned by its file from then on.

The functions take an open change whose `managed_by` is the file. They raise what the registry raises.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConfigurationError, ConflictError
from engage_pipelines.domain.warehouse_mapping import stored_facts
from engage_pipelines.registry.audiences import NewAudience, create_audience, update_audience
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.configuration import (
    AudienceEntry,
    ConnectionEntry,
    DestinationEntry,
    Entry,
    MappingEntry,
    PresetEntry,
    SourceDestinationEntry,
    SourceEntry,
    SpaceEntry,
    TraitEntry,
    settings_of,
)
from engage_pipelines.registry.connections import NewConnection, connect, pause, set_ids, set_list, set_on_disconnect, set_traits
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.destinations import (
    NewDestination,
    create_destination,
    find_destination,
    import_configuration,
    list_destinations,
    update_destination,
)
from engage_pipelines.registry.lookup import Row, audience_or_none, find_computation, trait_or_none
from engage_pipelines.registry.mappings import (
    NewMapping,
    add_mapping,
    disable_mapping,
    enable_mapping,
    find_mapping,
    list_mappings,
    update_mapping,
)
from engage_pipelines.registry.matching import live_connections
from engage_pipelines.registry.sources import create_source, find_source, list_sources, rename_source
from engage_pipelines.registry.spaces import NewSpace, create_space, find_space, list_spaces, update_space
from engage_pipelines.registry.tables import computation, connection, destination, mapping, source, space
from engage_pipelines.registry.traits import NewTrait, create_trait, update_trait, usual_cadence
from engage_pipelines.registry.types import find_action


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of the audit log: what was done to which thing, values as people may see them."""

    verb: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one entry: `created`, `imported`, `changed`, `adopted` (only its owner is new), `unchanged`, or `removed`."""

    kind: str
    name: str
    verb: str
    space: str = ""
    edits: tuple[Edit, ...] = ()
    note: str = ""
    """What people should know of it before it is done."""


def apply_entry(change: Change, of: Row, entry: Entry) -> Applied:
    """Make or change what an entry of a list says, in the space `of`; a source without the configurations on it."""
    match entry:
        case SourceEntry():
            return _source(change, of, entry)
        case DestinationEntry():
            return _destination(change, of, entry)
        case TraitEntry():
            return _trait(change, of, entry)
        case AudienceEntry():
            return _audience(change, of, entry)
        case MappingEntry():
            return _mapping(change, of, entry)
        case ConnectionEntry():
            return _connection(change, of, entry)
        case _:
            raise TypeError(f"{type(entry).__name__} stands in no list")


def apply_on_source(change: Change, of: Row, source_key: str, entry: SourceDestinationEntry) -> Applied:
    """A configuration on a source."""
    return _source_destination(change, of, find_source(change.c, of.id, source_key), entry)


def apply_space(change: Change, entry: SpaceEntry | str) -> tuple[Row, Applied | None]:
    """The space as it is then; named alone it is only looked up, or made."""
    known = {row.key for row in list_spaces(change.c)}
    if isinstance(entry, str):
        row = find_space(change.c, entry) if entry in known else create_space(change, NewSpace(key=entry))
        return row, None if entry in known else Applied("space", entry, "created")
    facts = None if entry.facts is None else stored_facts(entry.facts)
    if entry.key not in known:
        new = NewSpace(entry.key, entry.name, entry.evaluate_at, entry.one_configuration_per_type, facts)
        return create_space(change, new), Applied("space", entry.key, "created")
    before = find_space(change.c, entry.key)
    update_space(
        change,
        entry.key,
        name=entry.name or entry.key,
        evaluate_at=entry.evaluate_at,
        one_configuration_per_type=entry.one_configuration_per_type,
        facts=facts,
    )
    row, verb = _own(change, space, before)
    return row, Applied("space", entry.key, verb)


def _source(change: Change, of: Row, entry: SourceEntry) -> Applied:
    if entry.key not in {row.key for row in list_sources(change.c, of.id)}:
        create_source(change, of, entry.key, name=entry.name)
        return Applied("source", entry.key, "created")
    before = find_source(change.c, of.id, entry.key)
    rename_source(change, of, entry.key, entry.name or entry.key)
    return Applied("source", entry.key, _own(change, source, before)[1])


def _source_destination(change: Change, of: Row, owner: Row, entry: SourceDestinationEntry) -> Applied:
    name = f"{owner.key}/{entry.key}"
    there = {row.key: row for row in list_destinations(change.c, of.id, source_id=owner.id)}
    if entry.key in there:
        return Applied("destination", name, _update_destination(change, of, there[entry.key], entry))
    create_destination(change, of, NewDestination(entry.key, entry.type, settings_of(entry), entry.name), on=owner)
    return Applied("destination", name, "created")


def _destination(change: Change, of: Row, entry: DestinationEntry) -> Applied:
    if (entry.type is None) == (entry.import_from is None):
        raise ConfigurationError(f"Destination {entry.key!r} needs either `type` or `import_from`.", "Write one of the two.")
    there = {row.key: row for row in list_destinations(change.c, of.id)}
    if entry.key in there:
        return Applied("destination", entry.key, _update_destination(change, of, there[entry.key], entry))
    if entry.import_from is None:
        new = NewDestination(entry.key, entry.type or "", settings_of(entry), entry.name, entry.enabled, entry.max_requests_per_s)
        create_destination(change, of, new)
        return Applied("destination", entry.key, "created")
    row = import_configuration(change, of, entry.import_from, key=entry.key, name=entry.name)
    rate = row.max_requests_per_s if entry.max_requests_per_s is None else entry.max_requests_per_s
    settings = {**row.settings, **settings_of(entry)}
    update_destination(change, of, row, settings=settings, enabled=entry.enabled, max_requests_per_s=rate)
    return Applied("destination", entry.key, "imported")


def _update_destination(change: Change, of: Row, row: Row, entry: DestinationEntry | SourceDestinationEntry) -> str:
    if entry.type is not None and entry.type != row.type:
        raise ConflictError(f"Destination {entry.key!r} is of type {row.type!r}; its type never changes.", "Use another key.")
    imported = isinstance(entry, DestinationEntry) and entry.import_from is not None
    settings = {**row.settings, **settings_of(entry)} if imported else settings_of(entry)
    name = entry.name or (row.name if imported else entry.key)
    enabled = entry.enabled if isinstance(entry, DestinationEntry) else True
    rate = entry.max_requests_per_s if isinstance(entry, DestinationEntry) else row.max_requests_per_s
    if imported and rate is None:
        rate = row.max_requests_per_s
    update_destination(change, of, row, name=name, settings=settings, enabled=enabled, max_requests_per_s=rate)
    return _own(change, destination, row)[1]


def _trait(change: Change, of: Row, entry: TraitEntry) -> Applied:
    before = trait_or_none(change.c, of.id, entry.key)
    new = NewTrait(**dict(entry))
    if before is None:
        create_trait(change, of, new)
        return Applied("trait", entry.key, "created")
    for what, was, now in (("level", before.level, entry.level), ("type", type_of_trait(before), entry.type)):
        if was != now:
            raise ConflictError(f"Trait {entry.key!r} is of {what} {was!s}; its {what} never changes.", "Use another key.")
    update_trait(
        change,
        of,
        entry.key,
        name=entry.name or entry.key,
        description=entry.description,
        definition=entry.definition,
        cadence=usual_cadence(new),
        enabled=entry.enabled,
        account_trait_conflict=entry.account_trait_conflict,
    )
    return Applied("trait", entry.key, _own(change, computation, before)[1])


def _audience(change: Change, of: Row, entry: AudienceEntry) -> Applied:
    before = audience_or_none(change.c, of.id, entry.key)
    if before is None:
        create_audience(change, of, NewAudience(**dict(entry)))
        return Applied("audience", entry.key, "created")
    if before.level != entry.level:
        raise ConflictError(f"Audience {entry.key!r} is of level {before.level!r}; its level never changes.", "Use another key.")
    update_audience(
        change,
        of,
        entry.key,
        name=entry.name or entry.key,
        description=entry.description,
        definition=entry.definition,
        cadence=entry.cadence,
        options=entry.options,
        enabled=entry.enabled,
    )
    return Applied("audience", entry.key, _own(change, computation, before)[1])


def _mapping(change: Change, of: Row, entry: MappingEntry) -> Applied:
    to = find_destination(change.c, of.id, entry.destination)
    name = f"{entry.destination}: {entry.name}"
    before = next((row for row in list_mappings(change.c, to.id) if row.name == entry.name), None)
    if before is None:
        add_mapping(change, to, NewMapping(entry.name, entry.trigger, entry.action, entry.fields, entry.enabled))
        return Applied("mapping", name, "created")
    if before.connection_id is not None:
        raise ConflictError(
            f"{entry.name!r} is a mapping that connecting made.", "Write what is to be other under `presets` of that connection."
        )
    # a file says all: without fields they are the action's own again
    fields = dict(find_action(change.type_of(to.type), entry.action).fields) if entry.fields is None else entry.fields
    row = update_mapping(change, to, before, trigger=entry.trigger, action=entry.action, fields=fields)
    _switch_mapping(change, to, row, entry)
    return Applied("mapping", name, _own(change, mapping, before)[1])


def _switch_mapping(change: Change, to: Row, row: Row, entry: MappingEntry) -> None:
    if entry.enabled:
        enable_mapping(change, to, row, backfill=entry.backfill)
    else:
        disable_mapping(change, to, row)


def _connection(change: Change, of: Row, entry: ConnectionEntry) -> Applied:
    audience, to = find_computation(change.c, of.id, entry.audience), find_destination(change.c, of.id, entry.destination)
    name = f"{entry.audience} -> {entry.destination}"
    there = live_connections(change.c, connection.c.computation_id == audience.id, connection.c.destination_id == to.id)
    if not there:
        new = NewConnection(entry.audience, entry.destination, entry.calls, entry.backfill, entry.ids, entry.list_settings)
        connect(change, of, replace(new, on_disconnect=entry.on_disconnect, traits=entry.traits))
        if entry.paused:
            pause(change, of, audience, to)
        _presets(change, to, entry.presets)
        return Applied("connection", name, "created")
    before = there[0]
    if entry.calls and set(entry.calls) != set(before.calls):
        raise ConflictError(
            f"The connection sends {', '.join(before.calls)}; its calls never change.",
            f"End it first: engage disconnect {entry.audience} {entry.destination} --remove",
        )
    if entry.ids is not None:
        before = set_ids(change, of, before, (audience, to), entry.ids)
    if entry.list_settings is not None:
        before = set_list(change, of, before, (audience, to), entry.list_settings)
    if entry.traits is not None:
        before = set_traits(change, of, before, (audience, to), entry.traits)
    if entry.on_disconnect is not None:
        set_on_disconnect(change, of, before, (audience, to), entry.on_disconnect)
    if entry.paused:
        pause(change, of, audience, to)
    elif entry.paused is False and before.state == "paused":
        connect(change, of, NewConnection(entry.audience, entry.destination))
    edited = _presets(change, to, entry.presets)
    verb = _own(change, connection, before)[1]
    return Applied("connection", name, "changed" if edited else verb)


def _presets(change: Change, to: Row, entries: Sequence[PresetEntry]) -> bool:
    """Bring mappings that connecting made to what is said of them; they stay the connection's, and people may switch them."""
    edited = False
    for entry in entries:
        before = find_mapping(change.c, to, entry.name)
        given = {name: getattr(entry, name) for name in ("trigger", "action", "fields") if getattr(entry, name) is not None}
        row = update_mapping(change, to, before, **given)
        if entry.enabled is not None:
            row = (enable_mapping if entry.enabled else disable_mapping)(change, to, row)
        edited |= row != before
    return edited


def _own(change: Change, table: sa.Table, before: Row) -> tuple[Row, str]:
    """The row as it is now, owned by this file from here on, and what happened to it."""
    row = change.row(table, before.id)
    verb = "unchanged" if row == before else "changed"
    if before.managed_by != change.managed_by:
        row = change.update(table, before.id, {"managed_by": change.managed_by})
        verb = "adopted" if verb == "unchanged" else verb
    return row, verb
