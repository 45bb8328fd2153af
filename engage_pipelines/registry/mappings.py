"""Mappings in the registry: a trigger, an action and fields on a destination, by revision, since records rendered under one outlive it.

Presets are made for one connection, enabled, and go with it; mappings made by hand or imported concern every connection of the destination
and are disabled at first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.connection import RequestKind, replicas_of
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, NotFoundError
from engage_pipelines.domain.mapping import validate_mapping
from engage_pipelines.domain.records import TRAIT_COMPUTED
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.matching import Match, live_connections, matches_of, refresh_state
from engage_pipelines.registry.mending import owe_refused
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.requests import owe_sync, raise_resync
from engage_pipelines.registry.tables import connection, destination, mapping, mapping_revision
from engage_pipelines.registry.types import find_action

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import Preset

MAX_PER_DESTINATION = 50
"""Mappings made by hand; presets do not count, they grow with the connections."""


@dataclass(frozen=True, slots=True)
class NewMapping:
    """A mapping to be made; without `fields` the action's own default mapping is taken."""

    name: str
    trigger: str
    action: str
    fields: Mapping[str, Any] | None = None
    enabled: bool = False


class MappingFields(TypedDict, total=False):
    """What may be changed of a mapping; a field that is not given stays."""

    name: str
    trigger: str
    action: str
    fields: Mapping[str, Any]


def list_mappings(c: sa.Connection, destination_id: str) -> list[Row]:
    """Presets and hand-made ones, oldest first."""
    wanted = sa.and_(mapping.c.destination_id == destination_id, mapping.c.removed_at.is_(None))
    return list(c.execute(sa.select(mapping).where(wanted).order_by(mapping.c.created_at, mapping.c.id)))


def find_mapping(c: sa.Connection, to: Row, name: str) -> Row:
    """The mapping of the destination `to` with that name or id. Raises NotFoundError with the nearest name."""
    rows = list_mappings(c, to.id)
    row = next((one for one in rows if name in {one.id, one.name}), None)
    if row is None:
        other = f"See `engage mapping list {to.key}`."
        raise NotFoundError(
            f"Destination {to.key!r} has no mapping {name!r}.", did_you_mean(name, [one.name for one in rows], otherwise=other)
        )
    return row


def add_mapping(change: Change, to: Row, new: NewMapping) -> Row:
    """Make a mapping by hand.

    Raises DefinitionError or ConfigurationError with every problem, ConflictError for a taken name or a full destination.
    """
    _check_name_is_free(change, to, new.name)
    rows = list_mappings(change.c, to.id)
    if sum(row.connection_id is None for row in rows) >= MAX_PER_DESTINATION:
        raise ConflictError(f"Destination {to.key!r} has {MAX_PER_DESTINATION} mappings.", "Remove one first.")
    row = write_mapping(change, to, new)
    return enable_mapping(change, to, row) if new.enabled else row


def _check_name_is_free(change: Change, to: Row, name: str) -> None:
    """Under the lock of the destination, so that of two who take a name at once one does."""
    change.lock(destination, to.id)
    if any(row.name == name for row in list_mappings(change.c, to.id)):
        raise ConflictError(f"Destination {to.key!r} has a mapping {name!r} already.", "Choose another name.")


def write_mapping(change: Change, to: Row, new: NewMapping, *, preset_of: Row | None = None) -> Row:
    """Check and write a mapping with its first revision; a preset is enabled at once."""
    action = find_action(change.type_of(to.type), new.action)
    fields = dict(action.fields if new.fields is None else new.fields)
    _check(new.name, new.trigger, fields)
    change.lock(destination, to.id)
    content = {"name": new.name, "trigger": new.trigger, "action": new.action, "fields": fields, "enabled": preset_of is not None}
    # a preset belongs to its connection, also when configuration made that: people may switch it
    owner = {} if preset_of is None else {"connection_id": preset_of.id, "managed_by": None}
    row = change.insert(mapping, "map", {**content, **owner, "destination_id": to.id, "revision": 1, "number": _next_number(change, to)})
    _write_revision(change, row)
    if preset_of is None:
        change.record("create", f"mapping {to.key}/{new.name}", after=content)
    return row


def update_mapping(change: Change, to: Row, row: Row, **fields: Unpack[MappingFields]) -> Row:
    """Change a mapping: a new revision, valid for records planned from now on. Nothing is written when nothing differs."""
    change.check_editable(row, f"Mapping {row.name!r}")
    new: dict[str, Any] = {name: value for name, value in fields.items() if getattr(row, name) != value}
    if not new:
        return row
    after = {"name": row.name, "trigger": row.trigger, "action": row.action, "fields": row.fields, **new}
    if "name" in new:
        _check_name_is_free(change, to, new["name"])
    find_action(change.type_of(to.type), after["action"])
    _check(after["name"], after["trigger"], after["fields"])
    updated = change.update(mapping, row.id, {**new, "revision": row.revision + 1})
    _write_revision(change, updated)
    change.record("update", f"mapping {to.key}/{row.name}", before={name: getattr(row, name) for name in new}, after=new)
    for one in live_connections(change.c, connection.c.destination_id == to.id):
        refresh_state(change, one)
    owe_refused(change, connection.c.destination_id == to.id)
    return updated


def enable_mapping(change: Change, to: Row, row: Row, *, backfill: bool = True) -> Row:
    """Switch a mapping on; every connection it matches sends what it owes.

    An entry mapping has the replicas that were told something resynced, unless `backfill` is False: then only later changes are sent.
    """
    change.check_editable(row, f"Mapping {row.name!r}")
    if row.enabled:
        return row
    updated = _switch(change, to, row, enabled=True)
    for one in _connections_of(change, updated):
        match = next((match for match in matches_of(change.c, one) if match.mapping.id == row.id), None)
        refreshed = refresh_state(change, one)
        if match is not None:
            _join(change, refreshed, match, backfill=backfill)
    return updated


def disable_mapping(change: Change, to: Row, row: Row) -> Row:
    """Switch a mapping off; a connection without another enabled match awaits one."""
    change.check_editable(row, f"Mapping {row.name!r}")
    if not row.enabled:
        return row
    updated = _switch(change, to, row, enabled=False)
    for one in _connections_of(change, updated):
        refresh_state(change, one)
    return updated


def remove_mapping(change: Change, to: Row, row: Row) -> None:
    """Take a mapping away; a connection without another enabled match awaits one. What it told outside stays as told."""
    change.check_editable(row, f"Mapping {row.name!r}")
    removed = change.update(mapping, row.id, {"removed_at": change.now, "enabled": False})
    before = {"trigger": row.trigger, "action": row.action, "fields": row.fields, "enabled": row.enabled}
    change.record("remove", f"mapping {to.key}/{row.name}", before=before)
    for one in _connections_of(change, removed):
        refresh_state(change, one)


def make_presets(change: Change, of: Row, to: Row, connected: Row) -> list[Row]:
    """The type's preset mappings for the calls of the new connection, enabled."""
    presets = [preset for preset in change.type_of(to.type).presets if preset.call in connected.calls]
    if of.kind == "trait":
        presets = [replace(preset, name=_of_values(preset)) for preset in presets]
    living = sa.and_(mapping.c.destination_id == to.id, mapping.c.removed_at.is_(None))
    taken = set(change.c.execute(sa.select(mapping.c.name).where(living)).scalars())
    made: list[Row] = []
    for preset in presets:
        name = _free_name(f"{preset.name}: {of.key}", taken)
        taken.add(name)
        new = NewMapping(name=name, trigger=preset.trigger.replace("{key}", of.key), action=preset.action, fields=preset.fields)
        made.append(write_mapping(change, to, new, preset_of=connected))
    return made


def _of_values(preset: "Preset") -> str:
    """What a preset is called that sends values of a trait."""
    name = preset.name.replace("Membership and traits", "Value").replace("Membership", "Value")
    return TRAIT_COMPUTED if preset.call == "track" else name


def remove_presets(change: Change, connected: Row) -> None:
    own = sa.and_(mapping.c.connection_id == connected.id, mapping.c.removed_at.is_(None))
    change.c.execute(mapping.update().where(own).values(removed_at=change.now, enabled=False, updated_at=change.now))


def _join(change: Change, row: Row, match: Match, *, backfill: bool) -> None:
    raised: set[str] = set()
    if match.sends(entered=True) and backfill:
        raised = raise_resync(change.c, row.id, [plan.name for plan in replicas_of(match.calls)])
    owe_sync(change.c, row.id, RequestKind.RESYNC if raised else RequestKind.SYNC, change.stamp)


def _connections_of(change: Change, row: Row) -> list[Row]:
    where = connection.c.destination_id == row.destination_id if row.connection_id is None else connection.c.id == row.connection_id
    return live_connections(change.c, where)


def _switch(change: Change, to: Row, row: Row, *, enabled: bool) -> Row:
    updated = change.update(mapping, row.id, {"enabled": enabled})
    verb = "enable" if enabled else "disable"
    change.record(verb, f"mapping {to.key}/{row.name}", before={"enabled": row.enabled}, after={"enabled": enabled})
    return updated


def _next_number(change: Change, to: Row) -> int:
    """The number of a new mapping, under the destination's lock; those of removed ones stay theirs, exceptions may name them."""
    last = change.c.execute(sa.select(sa.func.max(mapping.c.number)).where(mapping.c.destination_id == to.id)).scalar()
    return 0 if last is None else last + 1


def _write_revision(change: Change, row: Row) -> None:
    values = {"mapping_id": row.id, "revision": row.revision, "created_at": change.now}
    change.c.execute(mapping_revision.insert().values(trigger=row.trigger, action=row.action, fields=row.fields, **values))


def _check(name: str, trigger: str, fields: Mapping[str, Any]) -> None:
    if not name.strip() or len(name) > 300:
        raise ConfigurationError(f"{name[:80]!r} is no name for a mapping.", "Use 1 to 300 characters.")
    parse_trigger(trigger)
    problems = validate_mapping(fields)
    if problems:
        raise ConfigurationError(f"The fields of mapping {name!r} cannot be used: {' '.join(problems)}", "Correct them and try again.")


def _free_name(name: str, taken: set[str]) -> str:
    numbered = (f"{name} ({n})" for n in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)
