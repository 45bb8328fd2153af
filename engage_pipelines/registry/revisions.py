"""Revisions of what configuration is about: a short digest of each thing as the registry has it, so that a plan can tell what moved since.

What running changes (leases, counts, instants of syncs, the current version) is no part of it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from engage_pipelines.registry.connections import list_connections
from engage_pipelines.registry.destinations import list_destinations
from engage_pipelines.registry.lookup import Row, list_audiences, list_spaces, list_traits
from engage_pipelines.registry.mappings import list_mappings
from engage_pipelines.registry.sources import list_sources

Revisions = Mapping[str, str]
"""`audience b2b/vips` -> digest; what is not there has none."""

_OF_SPACE = ("key", "name", "evaluate_at", "one_configuration_per_type", "facts", "managed_by")
_OF_SOURCE = ("key", "name", "managed_by")
_OF_DESTINATION = ("id", "type", "name", "settings", "enabled", "managed_by")
_OF_COMPUTATION = ("id", "name", "description", "level", "definition", "options", "cadence", "enabled", "managed_by")
_OF_MAPPING = ("id", "trigger", "action", "fields", "enabled", "managed_by")
_OF_CONNECTION = ("id", "calls", "options", "state", "managed_by")


def revision_name(kind: str, space: str, name: str) -> str:
    """How a thing is called in `Revisions`."""
    return f"{kind} {space}" if kind == "space" else f"{kind} {space}/{name}"


def revisions(c: sa.Connection) -> dict[str, str]:
    """Everything that files may hold, presets with their connections."""
    return {name: _digest(values) for space in list_spaces(c) for name, values in _of(c, space)}


def _of(c: sa.Connection, space: Row) -> Iterator[tuple[str, Any]]:
    yield revision_name("space", space.key, ""), _values(space, _OF_SPACE)
    for owner in list_sources(c, space.id):
        yield revision_name("source", space.key, owner.key), _values(owner, _OF_SOURCE)
        for row in list_destinations(c, space.id, source_id=owner.id):
            yield revision_name("destination", space.key, f"{owner.key}/{row.key}"), _values(row, _OF_DESTINATION)
    computations = {row.id: row for row in [*list_audiences(c, space.id), *list_traits(c, space.id)]}
    for row in computations.values():
        yield revision_name(row.kind, space.key, row.key), _values(row, _OF_COMPUTATION)
    presets: dict[str, list[Any]] = {}
    destinations = {row.id: row for row in list_destinations(c, space.id)}
    for to in destinations.values():
        yield revision_name("destination", space.key, to.key), _values(to, _OF_DESTINATION)
        for row in list_mappings(c, to.id):
            if row.connection_id is None:
                yield revision_name("mapping", space.key, f"{to.key}: {row.name}"), _values(row, _OF_MAPPING)
            else:
                presets.setdefault(row.connection_id, []).append(_values(row, ("name", *_OF_MAPPING)))
    for row in list_connections(c, space.id):
        if row.computation_id in computations and row.destination_id in destinations:
            name = f"{computations[row.computation_id].key} -> {destinations[row.destination_id].key}"
            yield revision_name("connection", space.key, name), (_values(row, _OF_CONNECTION), presets.get(row.id, []))


def _values(row: Row, names: tuple[str, ...]) -> list[Any]:
    return [getattr(row, name) for name in names]


def _digest(values: Any) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]
