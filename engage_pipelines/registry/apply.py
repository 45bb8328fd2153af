"""Applying configuration: files into the registry, all or nothing, and nothing twice.

What a file holds is made or brought to what the file says, and is kept in configuration from then on: an edit elsewhere is refused. What no
file holds any more stays. Order: spaces, sources, destinations, audiences, mappings, connections, over all files.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConfigurationError, ConflictError, EngageError, UsageError
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.computations import NewAudience, create_audience, update_audience
from engage_pipelines.registry.configuration import (
    AudienceEntry,
    ConfigurationFile,
    ConnectionEntry,
    DestinationEntry,
    MappingEntry,
    SourceDestinationEntry,
    SourceEntry,
    SpaceEntry,
    settings_of,
)
from engage_pipelines.registry.connections import NewConnection, connect, pause, set_ids
from engage_pipelines.registry.destinations import (
    NewDestination,
    create_destination,
    find_destination,
    import_configuration,
    list_destinations,
    update_destination,
)
from engage_pipelines.registry.lookup import Row, audience_or_none, find_audience
from engage_pipelines.registry.mappings import NewMapping, add_mapping, disable_mapping, enable_mapping, list_mappings, update_mapping
from engage_pipelines.registry.matching import live_connections
from engage_pipelines.registry.sources import create_source, find_source, list_sources, rename_source
from engage_pipelines.registry.spaces import NewSpace, create_space, ensure_space, find_space, list_spaces, update_space
from engage_pipelines.registry.tables import computation, connection, destination, mapping, source, space
from engage_pipelines.registry.yaml_marks import Place


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one entry: `created`, `changed` or `unchanged`."""

    kind: str
    name: str
    verb: str


_Step = Callable[[Change, Row, Any], Applied]


def apply_configuration(registry: Registry, files: Sequence[ConfigurationFile]) -> list[Applied]:
    """Apply the files in one transaction. Raises ConfigurationError with file, line and path; then nothing was changed."""
    with registry.change() as change:
        spaces = _spaces(change, files)
        done = [applied for _, applied in spaces.values() if applied is not None]
        seen: dict[tuple[str, str], str] = {}
        for kind, step in _STEPS.items():
            for file in files:
                done.extend(_apply_kind(replace(change, managed_by=file.owner), file, spaces[file.owner][0], (kind, step, seen)))
        return done


def _apply_kind(change: Change, file: ConfigurationFile, of: Row, what: tuple[str, _Step, dict[tuple[str, str], str]]) -> list[Applied]:
    kind, step, seen = what
    done: list[Applied] = []
    for index, entry in enumerate(getattr(file.document, kind)):
        place: Place = (kind, index)
        with _located(file, place):
            name = _name_of(entry)
            first = seen.setdefault((kind, f"{of.key}/{name}"), file.marked.where(place))
            if first != file.marked.where(place):
                raise ConflictError(f"{name!r} is there twice, first at {first}.", "Keep one of them.")
            done.append(step(change, of, entry))
            if isinstance(entry, SourceEntry):
                done.extend(_source_destinations(change, of, file, (entry, place)))
    return done


@contextmanager
def _located(file: ConfigurationFile, place: Place) -> Generator[None]:
    """Errors of the body say which entry of which file they are about."""
    try:
        yield
    except EngageError as error:
        raise ConfigurationError(f"{file.marked.where(place)}: {error.what}", error.remedy) from error


def _spaces(change: Change, files: Sequence[ConfigurationFile]) -> dict[str, tuple[Row, Applied | None]]:
    """The space of each file: the one it names, else the only one that the others name, else the one that commands mean."""
    found: dict[str, tuple[Row, Applied | None]] = {}
    for file in files:
        if file.document.space is not None:
            with _located(file, ("space",)):
                found[file.owner] = _space(replace(change, managed_by=file.owner), file.document.space)
    named = {row.id: row for row, _ in found.values()}
    for file in files:
        if file.owner not in found:
            if len(named) > 1:
                keys = ", ".join(row.key for row in named.values())
                raise UsageError(f"{file.marked.file} names no space, and the other files name several: {keys}.", "Add `space: KEY` to it.")
            found[file.owner] = (next(iter(named.values())) if named else ensure_space(change), None)
    return found


def _space(change: Change, entry: SpaceEntry | str) -> tuple[Row, Applied | None]:
    known = {row.key for row in list_spaces(change.c)}
    if isinstance(entry, str):
        row = find_space(change.c, entry) if entry in known else create_space(change, NewSpace(key=entry))
        return row, None if entry in known else Applied("space", entry, "created")
    if entry.key not in known:
        new = NewSpace(entry.key, entry.name, entry.evaluate_at, entry.one_configuration_per_type)
        return create_space(change, new), Applied("space", entry.key, "created")
    before = find_space(change.c, entry.key)
    update_space(
        change,
        entry.key,
        name=entry.name or entry.key,
        evaluate_at=entry.evaluate_at,
        one_configuration_per_type=entry.one_configuration_per_type,
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


def _source_destinations(change: Change, of: Row, file: ConfigurationFile, at: tuple[SourceEntry, Place]) -> list[Applied]:
    entry, place = at
    owner = find_source(change.c, of.id, entry.key)
    done: list[Applied] = []
    for index, one in enumerate(entry.destinations):
        with _located(file, (*place, "destinations", index)):
            name = f"{entry.key}/{one.key}"
            there = {row.key: row for row in list_destinations(change.c, of.id, source_id=owner.id)}
            if one.key not in there:
                create_destination(change, of, NewDestination(one.key, one.type, settings_of(one), one.name), on=owner)
                done.append(Applied("destination", name, "created"))
            else:
                done.append(Applied("destination", name, _update_destination(change, of, there[one.key], one)))
    return done


def _destination(change: Change, of: Row, entry: DestinationEntry) -> Applied:
    if (entry.type is None) == (entry.import_from is None):
        raise ConfigurationError(f"Destination {entry.key!r} needs either `type` or `import_from`.", "Write one of the two.")
    there = {row.key: row for row in list_destinations(change.c, of.id)}
    if entry.key in there:
        return Applied("destination", entry.key, _update_destination(change, of, there[entry.key], entry))
    if entry.import_from is None:
        new = NewDestination(entry.key, entry.type or "", settings_of(entry), entry.name, entry.enabled)
        create_destination(change, of, new)
        return Applied("destination", entry.key, "created")
    row = import_configuration(change, of, entry.import_from, key=entry.key, name=entry.name)
    update_destination(change, of, row, settings={**row.settings, **settings_of(entry)}, enabled=entry.enabled)
    return Applied("destination", entry.key, "imported")


def _update_destination(change: Change, of: Row, row: Row, entry: DestinationEntry | SourceDestinationEntry) -> str:
    if entry.type is not None and entry.type != row.type:
        raise ConflictError(f"Destination {entry.key!r} is of type {row.type!r}; its type never changes.", "Use another key.")
    imported = isinstance(entry, DestinationEntry) and entry.import_from is not None
    settings = {**row.settings, **settings_of(entry)} if imported else settings_of(entry)
    name = entry.name or (row.name if imported else entry.key)
    enabled = entry.enabled if isinstance(entry, DestinationEntry) else True
    update_destination(change, of, row, name=name, settings=settings, enabled=enabled)
    return _own(change, destination, row)[1]


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
    fields = before.fields if entry.fields is None else entry.fields
    row = update_mapping(change, to, before, trigger=entry.trigger, action=entry.action, fields=fields)
    switch = enable_mapping if entry.enabled else disable_mapping
    switch(change, to, row)
    return Applied("mapping", name, _own(change, mapping, before)[1])


def _connection(change: Change, of: Row, entry: ConnectionEntry) -> Applied:
    audience, to = find_audience(change.c, of.id, entry.audience), find_destination(change.c, of.id, entry.destination)
    name = f"{entry.audience} -> {entry.destination}"
    there = live_connections(change.c, connection.c.computation_id == audience.id, connection.c.destination_id == to.id)
    if not there:
        connect(change, of, NewConnection(entry.audience, entry.destination, entry.calls, entry.backfill, entry.ids))
        if entry.paused:
            pause(change, of, audience, to)
        return Applied("connection", name, "created")
    before = there[0]
    if entry.calls and set(entry.calls) != set(before.calls):
        raise ConflictError(
            f"The connection sends {', '.join(before.calls)}; its calls never change.",
            f"End it first: engage disconnect {entry.audience} {entry.destination} --remove",
        )
    if entry.ids is not None:
        set_ids(change, of, before, (audience, to), entry.ids)
    if entry.paused:
        pause(change, of, audience, to)
    elif entry.paused is False and before.state == "paused":
        connect(change, of, NewConnection(entry.audience, entry.destination))
    return Applied("connection", name, _own(change, connection, before)[1])


def _own(change: Change, table: sa.Table, before: Row) -> tuple[Row, str]:
    """The row as it is now, kept in this file from here on, and whether anything about it changed."""
    if before.managed_by != change.managed_by:
        change.update(table, before.id, {"managed_by": change.managed_by})
    row = change.row(table, before.id)
    return row, "unchanged" if row == before else "changed"


def _name_of(entry: Any) -> str:
    if isinstance(entry, MappingEntry):
        return f"{entry.destination}: {entry.name}"
    if isinstance(entry, ConnectionEntry):
        return f"{entry.audience} -> {entry.destination}"
    return entry.key


_STEPS: dict[str, _Step] = {
    "sources": _source,
    "destinations": _destination,
    "audiences": _audience,
    "mappings": _mapping,
    "connections": _connection,
}
