"""Destinations: configured accounts of a destination type, on a source or in a space, and copying the one into the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import ConflictError, NotFoundError, UsageError
from engage_pipelines.domain.pacing import SLOWEST_RATE
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import NewMapping, add_mapping
from engage_pipelines.registry.mending import mend_connections
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.paces import try_again_at_once
from engage_pipelines.registry.sources import find_source
from engage_pipelines.registry.spaces import ONE_PER_SPACE
from engage_pipelines.registry.tables import computation, connection, destination, mapping, source, space
from engage_pipelines.registry.targets import claim_targets
from engage_pipelines.registry.type_settings import masked_settings


@dataclass(frozen=True, slots=True)
class NewDestination:
    """A destination to be made; secrets in `settings` are references, or values that the vault may encrypt.

    `max_requests_per_s` is the operator's own limit, below the type's; None leaves it at that one.
    """

    key: str
    type: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    name: str = ""
    enabled: bool = True
    max_requests_per_s: float | None = None


class DestinationFields(TypedDict, total=False):
    """What may be changed of a destination; `settings` replaces all of them, and bullets in a secret keep the old one."""

    name: str
    settings: Mapping[str, Any]
    enabled: bool
    max_requests_per_s: float | None


def list_destinations(c: sa.Connection, space_id: str, *, source_id: str | None = None) -> list[Row]:
    """The destinations of the space, or with `source_id` those on that source, by key."""
    of_source = destination.c.source_id.is_(None) if source_id is None else destination.c.source_id == source_id
    wanted = sa.and_(destination.c.space_id == space_id, destination.c.removed_at.is_(None), of_source)
    return list(c.execute(sa.select(destination).where(wanted).order_by(destination.c.key)))


def find_destination(c: sa.Connection, space_id: str, key: str) -> Row:
    """The destination of the space called `key`. Raises NotFoundError with the nearest key."""
    rows = {row.key: row for row in list_destinations(c, space_id)}
    if key not in rows:
        raise NotFoundError(f"There is no destination {key!r}.", did_you_mean(key, rows, otherwise="See `engage destination list`."))
    return rows[key]


def find_on_source(c: sa.Connection, space_id: str, path: str) -> Row:
    """The configuration at `source/destination`. Raises UsageError or NotFoundError with the nearest key."""
    source_key, slash, key = path.partition("/")
    if not slash or not source_key or not key:
        raise UsageError(f"{path!r} does not name a configuration on a source.", "Write it as source/destination.")
    owner = find_source(c, space_id, source_key)
    rows = {row.key: row for row in list_destinations(c, space_id, source_id=owner.id)}
    if key not in rows:
        other = f"It has {', '.join(rows) or 'none'}."
        raise NotFoundError(f"Source {source_key!r} has no destination {key!r}.", did_you_mean(key, rows, otherwise=other))
    return rows[key]


def create_destination(
    change: Change, space_row: Row, new: NewDestination, *, on: Row | None = None, imported_from: Row | None = None
) -> Row:
    """Make a destination of the space, or a configuration on the source `on`.

    Raises NotFoundError for an unknown type, ConfigurationError for settings that do not fit, ConflictError for a taken key or the second
    configuration of a type in a space.
    """
    check_key(new.key, "destination key")
    info = change.type_of(new.type)
    change.lock(space, space_row.id)
    _check_key_is_free(change.c, space_row, new.key, on)
    if on is None:
        _check_first_of_type(change.c, space_row, new.type)
    values = {
        "key": new.key,
        "name": new.name or new.key,
        "type": new.type,
        "settings": change.registry.desk.keep(info, new.settings),
        "enabled": new.enabled,
        "max_requests_per_s": check_rate(new.max_requests_per_s),
    }
    row = change.insert(
        destination,
        "dst",
        {
            **values,
            "space_id": space_row.id,
            "source_id": on.id if on else None,
            "imported_from": imported_from.id if imported_from else None,
        },
    )
    shown = {**values, "settings": masked_settings(info, row.settings)}
    change.record("import" if imported_from else "create", _named(space_row, row, on), after=shown)
    return row


def import_configuration(change: Change, space_row: Row, path: str, *, key: str = "", name: str = "") -> Row:
    """Copy the configuration at `source/destination` into the space: settings, secrets as they are kept, hand-made mappings disabled.

    Raises ConflictError when the space has a destination of that type.
    """
    original = find_on_source(change.c, space_row.id, path)
    new = NewDestination(
        key=key or original.key,
        name=name or original.name,
        type=original.type,
        settings=original.settings,
        max_requests_per_s=original.max_requests_per_s,
    )
    row = create_destination(change, space_row, new, imported_from=original)
    _copy_mappings(change, original, row)
    return row


def update_destination(change: Change, space_row: Row, row: Row, **fields: Unpack[DestinationFields]) -> Row:
    """Change a destination; new settings set its stopped connections going again. Nothing is written when nothing differs."""
    change.check_editable(row, f"Destination {row.key!r}")
    info = change.type_of(row.type)
    wanted: dict[str, Any] = dict(fields)
    check_rate(fields.get("max_requests_per_s"))
    if "settings" in wanted:
        wanted["settings"] = change.registry.desk.keep(info, wanted["settings"], old=row.settings)
    new = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    if not new:
        return row
    updated = change.update(destination, row.id, new)
    before = {name: getattr(row, name) for name in new}
    if "settings" in new:
        claim_targets(change, space_row, updated)
        before["settings"], new["settings"] = masked_settings(info, row.settings), masked_settings(info, updated.settings)
        mend_connections(change, connection.c.destination_id == row.id)
        try_again_at_once(change.c, row.id)
    change.record("update", _named(space_row, row, None), before=before, after=new)
    return updated


def check_rate(rate: float | None) -> float | None:
    """The limit, if it is one. Raises UsageError."""
    if rate is not None and not SLOWEST_RATE / 100 <= rate <= 1_000_000:
        raise UsageError(f"{rate:g} requests a second is no pace.", "Name a number above 0, such as 5 or 0.5.")
    return rate


def remove_destination(change: Change, space_row: Row, row: Row) -> None:
    """Remove a destination and its mappings. Raises ConflictError while audiences are connected."""
    change.check_editable(row, f"Destination {row.key!r}")
    live = sa.and_(connection.c.destination_id == row.id, connection.c.removed_at.is_(None))
    joined = connection.join(computation, computation.c.id == connection.c.computation_id)
    keys = list(change.c.execute(sa.select(computation.c.key).select_from(joined).where(live).order_by(computation.c.key)).scalars())
    if keys:
        raise ConflictError(
            f"Destination {row.key!r} is connected to {', '.join(keys)}.", f"First: engage disconnect {keys[0]} {row.key} --remove"
        )
    change.update(destination, row.id, {"removed_at": change.now})
    gone = sa.and_(mapping.c.destination_id == row.id, mapping.c.removed_at.is_(None))
    change.c.execute(mapping.update().where(gone).values(removed_at=change.now, enabled=False, updated_at=change.now))
    change.record("remove", _named(space_row, row, None), before={"type": row.type, "name": row.name})


def _named(space_row: Row, row: Row, on: Row | None) -> str:
    return f"destination {space_row.key}/{f'{on.key}/' if on else ''}{row.key}"


def _check_key_is_free(c: sa.Connection, space_row: Row, key: str, on: Row | None) -> None:
    if any(row.key == key for row in list_destinations(c, space_row.id, source_id=on.id if on else None)):
        where = f"Source {on.key!r}" if on else f"Space {space_row.key!r}"
        raise ConflictError(f"{where} has a destination {key!r} already.", "Choose another key, or update that one.")


def _check_first_of_type(c: sa.Connection, space_row: Row, type_key: str) -> None:
    if space_row.one_configuration_per_type != ONE_PER_SPACE:
        return
    first = next((row for row in list_destinations(c, space_row.id) if row.type == type_key), None)
    if first is None:
        return
    origin = c.execute(
        sa.select(source.c.key, destination.c.key.label("of"))
        .select_from(destination.join(source, source.c.id == destination.c.source_id))
        .where(destination.c.id == first.imported_from)
    ).first()
    where = f" (imported from {origin.key}/{origin.of})" if origin else ""
    raise ConflictError(
        f"Space {space_row.key!r} has a destination of type {type_key!r} already: {first.key!r}{where}.",
        "Use that one, or allow one per audience with `engage space set --one-configuration-per-type audience`.",
    )


def _copy_mappings(change: Change, original: Row, copy: Row) -> None:
    wanted = sa.and_(mapping.c.destination_id == original.id, mapping.c.connection_id.is_(None), mapping.c.removed_at.is_(None))
    for row in change.c.execute(sa.select(mapping).where(wanted).order_by(mapping.c.created_at)).all():
        add_mapping(change, copy, NewMapping(name=row.name, trigger=row.trigger, action=row.action, fields=row.fields))
