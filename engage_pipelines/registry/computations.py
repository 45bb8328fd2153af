"""Audiences in the registry: made, changed, deleted, and read for evaluation.

Keys share one space for audiences and traits and are never given out twice. Definitions are checked before they are kept: syntax and types
by the query language, and no definition may lead back to its own audience.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level, check_key
from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.audience_options import check_admitted, check_options, check_same_admission, events_since_us, external_ids
from engage_pipelines.registry.cadence import DEFAULT_CADENCE, check_cadence
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.definitions import check_definition, users_of
from engage_pipelines.registry.live import check_live
from engage_pipelines.registry.lookup import Row, find_audience, list_audiences
from engage_pipelines.registry.tables import computation, compute_request, connection, destination


@dataclass(frozen=True, slots=True)
class NewAudience:
    """An audience to be made; `definition` is text in the query language, `options` are those of `audience_options`."""

    key: str
    level: Level
    definition: str
    name: str = ""
    description: str = ""
    cadence: str = DEFAULT_CADENCE
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    enabled: bool = True


class AudienceFields(TypedDict, total=False):
    """What may be changed of an audience; a field that is not given stays. Key and level never change."""

    name: str
    description: str
    definition: str
    cadence: str
    options: Mapping[str, Any]
    enabled: bool


def as_audience(row: Row) -> Audience:
    """What it takes to evaluate it."""
    empty = EmptyAccounts(row.options.get("empty_accounts", EmptyAccounts.DEFAULT))
    return Audience(
        id=row.id,
        key=row.key,
        level=Level(row.level),
        definition=row.definition,
        empty_accounts=empty,
        external_ids=external_ids(row.options),
        events_since_us=events_since_us(row.options, created_at_us=row.created_at),
    )


def audiences_of(c: sa.Connection, space_id: str) -> tuple[Audience, ...]:
    """Every audience of the space, disabled ones too: definitions may refer to them."""
    return tuple(as_audience(row) for row in list_audiences(c, space_id))


def create_audience(change: Change, space: Row, new: NewAudience) -> Row:
    """Make an audience and, if it is enabled, ask for its first evaluation.

    Raises ConfigurationError, DefinitionError, or ConflictError when the key was ever used.
    """
    check_key(new.key, "audience key")
    check_key_is_free(change.c, space, new.key)
    check_definition(change.c, space.id, Audience("", new.key, new.level, new.definition))
    values = {
        **asdict(new),
        "level": str(new.level),
        "name": new.name or new.key,
        "cadence": check_cadence(new.cadence),
        "options": check_options(new.options, new.level),
    }
    check_admitted(space.facts, new.options, new.level)
    check_live(change.c, space, check_cadence(new.cadence), Audience("", new.key, new.level, new.definition))
    row = change.insert(computation, "aud", {**values, "space_id": space.id, "kind": "audience"})
    change.record("create", f"audience {space.key}/{new.key}", after=values)
    if is_computing(change.c, row):
        change.compute_soon(space.id, [row.id])
    return row


def update_audience(change: Change, space: Row, key: str, **fields: Unpack[AudienceFields]) -> Row:
    """Change an audience; another definition, options or being enabled has it evaluated again. Nothing is written when nothing differs."""
    row = find_audience(change.c, space.id, key)
    change.check_editable(row, f"Audience {key!r}")
    wanted: dict[str, Any] = dict(fields)
    if "cadence" in wanted:
        wanted["cadence"] = check_cadence(wanted["cadence"])
    if "options" in wanted:
        wanted["options"] = check_options(wanted["options"], Level(row.level))
        check_same_admission(row.options, wanted["options"], key)
        check_admitted(space.facts, wanted["options"], Level(row.level))
    new = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    if not new:
        return row
    if "definition" in new:
        check_definition(change.c, space.id, Audience(row.id, key, Level(row.level), new["definition"]))
    if new.keys() & {"definition", "cadence"}:
        meant = Audience(row.id, key, Level(row.level), new.get("definition", row.definition))
        check_live(change.c, space, new.get("cadence", row.cadence), meant)
    change.record("update", f"audience {space.key}/{key}", before={name: getattr(row, name) for name in new}, after=new)
    updated = change.update(computation, row.id, new)
    if new.keys() & {"definition", "options", "enabled"} and is_computing(change.c, updated):
        change.compute_soon(space.id, [row.id])
    return updated


def clone_audience(change: Change, space: Row, key: str, new_key: str, *, name: str = "", options: Mapping[str, Any]) -> Row:
    """Make an audience of the same level, definition, cadence and options, but for those given; connections are not copied."""
    row = find_audience(change.c, space.id, key)
    new = NewAudience(
        key=new_key,
        level=Level(row.level),
        definition=row.definition,
        name=name or f"{row.name} (copy)",
        description=row.description,
        cadence=row.cadence,
        options={**row.options, **options},
    )
    return create_audience(change, space, new)


def delete_audience(change: Change, space: Row, key: str) -> None:
    """Delete an audience; its key stays used. Raises ConflictError while destinations are connected or definitions refer to it."""
    row = find_audience(change.c, space.id, key)
    change.check_editable(row, f"Audience {key!r}")
    connected = connected_destinations(change.c, row.id)
    if connected:
        raise ConflictError(
            f"Audience {key!r} is connected to {', '.join(connected)}.", f"First: engage disconnect {key} {connected[0]} --remove"
        )
    users = used_by(change.c, space.id, key)
    if users:
        raise ConflictError(f"Audience {key!r} is used by {', '.join(users)}.", "Change their definitions first.")
    change.update(computation, row.id, {"deleted_at": change.now, "enabled": False})
    cancel_computing(change, row)
    change.record("delete", f"audience {space.key}/{key}", before={"name": row.name, "definition": row.definition})


def is_computing(c: sa.Connection, row: Row) -> bool:
    """True when the audience is evaluated at all: it is enabled, and connected if it is to be computed for destinations alone."""
    return row.enabled and row.id not in waiting_for_destinations(c, [row])


def waiting_for_destinations(c: sa.Connection, rows: Iterable[Row]) -> set[str]:
    """Ids of those that are computed for destinations alone and have none."""
    asking = {row.id for row in rows if not row.options.get("compute_without_destinations", True)}
    if not asking:
        return asking
    live = sa.and_(connection.c.computation_id.in_(asking), connection.c.removed_at.is_(None))
    return asking - set(c.execute(sa.select(connection.c.computation_id).where(live)).scalars())


def used_by(c: sa.Connection, space_id: str, key: str) -> list[str]:
    """Keys of the audiences and traits whose definitions refer to this one."""
    return users_of(c, space_id, key)


def check_key_is_free(c: sa.Connection, space: Row, key: str) -> None:
    taken = c.execute(sa.select(computation).where(computation.c.space_id == space.id, computation.c.key == key)).first()
    if taken is None:
        return
    if taken.deleted_at is not None:
        raise ConflictError(
            f"Key {key!r} belonged to a deleted {taken.kind}; destinations may still hold its members, so keys are never used again.",
            "Choose another key.",
        )
    raise ConflictError(f"Space {space.key!r} has {taken.kind} {key!r} ({taken.name}) already.", "Choose another key, or update that one.")


def connected_destinations(c: sa.Connection, computation_id: str) -> list[str]:
    """Keys of the destinations that the computation is connected to, paused ones too."""
    joined = connection.join(destination, destination.c.id == connection.c.destination_id)
    live = sa.and_(connection.c.computation_id == computation_id, connection.c.removed_at.is_(None))
    return list(c.execute(sa.select(destination.c.key).select_from(joined).where(live).order_by(destination.c.key)).scalars())


def cancel_computing(change: Change, row: Row) -> None:
    """Owed requests for this computation alone are cancelled; shared ones simply find it gone."""
    owed = sa.and_(compute_request.c.space_id == row.space_id, compute_request.c.state == "owed")
    for request in change.c.execute(sa.select(compute_request.c.id, compute_request.c.computation_ids).where(owed)).all():
        if request.computation_ids == [row.id]:
            change.update(compute_request, request.id, {"state": "cancelled", "settled_at": change.now})
