"""What audiences and traits have in common in the registry: how they are kept, changed and deleted, and which of them are computed.

Keys are one space for both and are never given out twice. Definitions are checked before they are kept: syntax and types by the query
language, and no definition may lead back to itself.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.computation import Computation, check_key
from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.definitions import check_definition, users_of
from engage_pipelines.registry.live import check_live
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import computation, compute_request, connection, destination


def check_new(change: Change, space: Row, new: Computation, kind: str) -> None:
    """Raises ConfigurationError for its key, ConflictError when the key was ever used, DefinitionError for what it says."""
    check_key(new.key, f"{kind} key")
    _check_key_is_free(change.c, space, new.key)
    check_definition(change.c, space.id, new)


def add_computation(change: Change, space: Row, kind: str, values: Mapping[str, Any], *, meant: Computation) -> Row:
    """Keep what was checked, and ask for its first evaluation if it is computed. Raises ConfigurationError where it cannot be live."""
    check_live(change.c, space, values["cadence"], meant)
    row = change.insert(computation, _PREFIXES[kind], {**values, "space_id": space.id, "kind": kind})
    change.record("create", f"{kind} {space.key}/{row.key}", after=values)
    if is_computing(change.c, row):
        change.compute_soon(space.id, [row.id])
    return row


def change_computation(change: Change, space: Row, row: Row, wanted: Mapping[str, Any], *, meant: Callable[[str], Computation]) -> Row:
    """The row with these values, each checked by itself already; `meant` is what it would be with a definition.

    Another definition, options or being enabled has it evaluated again. Nothing is written when nothing differs.
    """
    new = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    if not new:
        return row
    if "definition" in new:
        check_definition(change.c, space.id, meant(new["definition"]))
    if new.keys() & {"definition", "cadence"}:
        check_live(change.c, space, new.get("cadence", row.cadence), meant(new.get("definition", row.definition)))
    change.record("update", f"{row.kind} {space.key}/{row.key}", before={name: getattr(row, name) for name in new}, after=new)
    updated = change.update(computation, row.id, new)
    if new.keys() & {"definition", "options", "enabled"} and is_computing(change.c, updated):
        change.compute_soon(space.id, [row.id])
    return updated


def end_computation(change: Change, space: Row, row: Row) -> None:
    """Delete it; its key stays used. Raises ConflictError while destinations are connected or definitions refer to it."""
    what = f"{row.kind.capitalize()} {row.key!r}"
    change.check_editable(row, what)
    connected = connected_destinations(change.c, row.id)
    if connected:
        raise ConflictError(
            f"{what} is connected to {', '.join(connected)}.", f"First: engage disconnect {row.key} {connected[0]} --remove"
        )
    users = users_of(change.c, space.id, row.key)
    if users:
        raise ConflictError(f"{what} is used by {', '.join(users)}.", "Change their definitions first.")
    change.update(computation, row.id, {"deleted_at": change.now, "enabled": False})
    _cancel_computing(change, row)
    change.record("delete", f"{row.kind} {space.key}/{row.key}", before={"name": row.name, "definition": row.definition})


def is_computing(c: sa.Connection, row: Row) -> bool:
    """True when it is evaluated at all: it is enabled, and connected if it is to be computed for destinations alone."""
    return row.enabled and row.id not in waiting_for_destinations(c, [row])


def waiting_for_destinations(c: sa.Connection, rows: Iterable[Row]) -> set[str]:
    """Ids of those that are computed for destinations alone and have none."""
    asking = {row.id for row in rows if not row.options.get("compute_without_destinations", True)}
    if not asking:
        return asking
    live = sa.and_(connection.c.computation_id.in_(asking), connection.c.removed_at.is_(None))
    return asking - set(c.execute(sa.select(connection.c.computation_id).where(live)).scalars())


def connected_destinations(c: sa.Connection, computation_id: str) -> list[str]:
    """Keys of the destinations that the computation is connected to, paused ones too."""
    joined = connection.join(destination, destination.c.id == connection.c.destination_id)
    live = sa.and_(connection.c.computation_id == computation_id, connection.c.removed_at.is_(None))
    return list(c.execute(sa.select(destination.c.key).select_from(joined).where(live).order_by(destination.c.key)).scalars())


_PREFIXES = {"audience": "aud", "trait": "trt"}


def _check_key_is_free(c: sa.Connection, space: Row, key: str) -> None:
    taken = c.execute(sa.select(computation).where(computation.c.space_id == space.id, computation.c.key == key)).first()
    if taken is None:
        return
    if taken.deleted_at is not None:
        raise ConflictError(
            f"Key {key!r} belonged to a deleted {taken.kind}; destinations may still hold its members, so keys are never used again.",
            "Choose another key.",
        )
    raise ConflictError(f"Space {space.key!r} has {taken.kind} {key!r} ({taken.name}) already.", "Choose another key, or update that one.")


def _cancel_computing(change: Change, row: Row) -> None:
    """Owed requests for this computation alone are cancelled; shared ones simply find it gone."""
    owed = sa.and_(compute_request.c.space_id == row.space_id, compute_request.c.state == "owed")
    for request in change.c.execute(sa.select(compute_request.c.id, compute_request.c.computation_ids).where(owed)).all():
        if request.computation_ids == [row.id]:
            change.update(compute_request, request.id, {"state": "cancelled", "settled_at": change.now})
