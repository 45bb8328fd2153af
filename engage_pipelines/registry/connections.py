"""Connecting a computation to a destination, pausing, resuming and removing the connection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.connection import RequestKind, State, choose_calls, replicas_of
from engage_pipelines.domain.errors import ConflictError, NotFoundError, UsageError
from engage_pipelines.domain.id_sync import IdRule, parse_rules, stored
from engage_pipelines.registry import leaving
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import connected_destinations
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.enriching import enrichment_options, set_enrichment
from engage_pipelines.registry.list_settings import OPTION, check_list_settings
from engage_pipelines.registry.lookup import Row, find_computation
from engage_pipelines.registry.mappings import make_presets
from engage_pipelines.registry.matching import live_connections, refresh_state
from engage_pipelines.registry.mending import mend_connections, try_now
from engage_pipelines.registry.requests import compute_is_owed, owe_sync
from engage_pipelines.registry.requests import request_sync as ask_for_sync
from engage_pipelines.registry.spaces import ONE_PER_AUDIENCE
from engage_pipelines.registry.tables import base, computation, connection, destination, replica
from engage_pipelines.registry.targets import free_target
from engage_pipelines.registry.types import supported_calls


@dataclass(frozen=True, slots=True)
class NewConnection:
    """What to connect; no calls means the usual ones of the level, `backfill` None means what the audience says.

    `audience` is the key of an audience or of a trait.

    `ids` are rules of ID sync as texts (`email:last`); None keeps what there is, none at all means no strategy. `list_settings` are what
    the type wants to know of the connection's list; None keeps what there is.
    """

    audience: str
    destination: str
    calls: Sequence[str] = ()
    backfill: bool | None = None
    ids: Sequence[str] | None = None
    list_settings: Mapping[str, Any] | None = None
    on_disconnect: str | None = None
    """`exit_all` sends everyone's exit before the connection ends, `keep` sends nothing; None keeps what there is."""
    traits: Sequence[str] | None = None
    """Traits that ride along (`plan:plan_tier`); None keeps what there is."""


@dataclass(frozen=True, slots=True)
class Connected:
    """What connecting came to: `request_id` is the sync that is owed, None when nothing is; `mappings` are the presets made.

    `ids_changed`: the connection was there, and sends other identifiers from now on; `list_changed`: other settings of its list hold;
    `traits_changed`: other traits ride along.
    """

    connection: Row
    resumed: bool
    request_id: str | None
    mappings: tuple[Row, ...] = ()
    ids_changed: bool = False
    list_changed: bool = False
    traits_changed: bool = False


def list_connections(c: sa.Connection, space_id: str) -> list[Row]:
    """The connections of the space that are not removed, oldest first."""
    of_space = connection.c.computation_id.in_(sa.select(computation.c.id).where(computation.c.space_id == space_id))
    return live_connections(c, of_space)


def find_connection(c: sa.Connection, of: Row, to: Row) -> Row:
    """Raises NotFoundError when the audience or trait is not connected to the destination."""
    rows = live_connections(c, connection.c.computation_id == of.id, connection.c.destination_id == to.id)
    if not rows:
        raise NotFoundError(
            f"{of.kind.title()} {of.key!r} is not connected to {to.key!r}.", f"Connect it: engage connect {of.key} {to.key}"
        )
    return rows[0]


def connect(change: Change, space: Row, new: NewConnection) -> Connected:
    """Connect an audience or a trait to a destination, or resume the connection that is paused.

    Raises NotFoundError, UsageError for calls and destinations that do not fit, ConflictError when they are connected, when
    the audience has a destination of the type already, or when what the connection would own outside belongs to another.
    """
    of = find_computation(change.c, space.id, new.audience)
    to = find_destination(change.c, space.id, new.destination)
    # two connects of the same pair: the second waits here and then sees the first
    change.lock(computation, of.id)
    there = live_connections(change.c, connection.c.computation_id == of.id, connection.c.destination_id == to.id)
    if there:
        return _change(change, space, there[0], (of, to), new)
    _check_first_of_type(change, space, of, to)
    _check_takes_values(change, of, to)
    calls = choose_calls(level=Level(of.level), chosen=new.calls, supported=supported_calls(change.type_of(to.type)), destination=to.key)
    backfill = of.options.get("include_historical_data", True) if new.backfill is None else new.backfill
    said = check_list_settings(change.type_of(to.type), new.list_settings or {})
    values = {
        "computation_id": of.id,
        "destination_id": to.id,
        "calls": list(calls),
        "options": {
            **({} if backfill else {"backfill": False}),
            **_id_options(change, to, calls, new),
            **({OPTION: said} if said else {}),
            **enrichment_options(change, space, of, new.traits),
            **({leaving.OPTION: leaving.EXIT_ALL} if new.on_disconnect == leaving.EXIT_ALL else {}),
        },
        "state": str(State.ACTIVE),
        "external_target": free_target(change, space, of, to, list_settings=said),
    }
    row = change.insert(connection, "con", values)
    start_version = 0 if backfill else of.current_version or 0
    _make_replicas(change, row, start_version)
    presets = make_presets(change, of, to, row)
    row = refresh_state(change, row)
    after = {**values, "state": row.state, "mappings": [preset.name for preset in presets]}
    change.record("connect", _named(space, of, to), after=after)
    request_id = owe_sync(change.c, row.id, RequestKind.BACKFILL, change.stamp) if backfill else None
    wants_version = of.current_version is None or not of.options.get("compute_without_destinations", True)
    if of.enabled and wants_version and not compute_is_owed(change.c, space.id, of.id):
        change.compute_soon(space.id, [of.id])
    return Connected(row, resumed=False, request_id=request_id, mappings=tuple(presets))


def _change(change: Change, space: Row, row: Row, joined: tuple[Row, Row], new: NewConnection) -> Connected:
    """Have what is said of a connection that is there hold from now on, and resume it. Raises ConflictError where neither is to do."""
    if new.ids is not None:
        row = set_ids(change, space, row, joined, new.ids)
    if new.on_disconnect is not None:
        row = set_on_disconnect(change, space, row, joined, new.on_disconnect)
    if new.list_settings is not None:
        row = set_list(change, space, row, joined, new.list_settings)
    if new.traits is not None:
        row = set_traits(change, space, row, joined, new.traits)
    ids, listed, traits = (said is not None for said in (new.ids, new.list_settings, new.traits))
    if (ids or listed or traits or new.on_disconnect is not None) and row.state != State.PAUSED:
        return Connected(row, resumed=False, request_id=None, ids_changed=ids, list_changed=listed, traits_changed=traits)
    return _resume(change, space, row, new)


def set_traits(change: Change, space: Row, row: Row, joined: tuple[Row, Row], traits: Sequence[str]) -> Row:
    """Have other traits ride along from now on; nothing is sent for it."""
    return set_enrichment(change, space, row, joined[0], traits, named=_named(space, *joined))


def set_ids(change: Change, space: Row, row: Row, joined: tuple[Row, Row], ids: Sequence[str]) -> Row:
    """Have a connection enter other identifiers from now on; what was entered before leaves with its owner. Nothing is sent for it.

    `joined` are the audience and the destination. Raises UsageError for identifiers that the destination cannot match by.
    """
    of, to = joined
    rules = _rules(change, to, row.calls, NewConnection(of.key, to.key, ids=ids))
    before = row.options.get("id_sync", [])
    if before == stored(rules):
        return row
    change.check_editable(row, f"The connection of {of.key!r} to {to.key!r}")
    usual = change.type_of(to.type).user_address_kinds
    told = {*(row.options.get("id_kinds") or usual), *(rule.kind for rule in rules)}
    options = {**row.options, "id_sync": stored(rules), "id_kinds": sorted(told)}
    change.record("update", _named(space, of, to), before={"id_sync": before}, after={"id_sync": stored(rules)})
    return change.update(connection, row.id, {"options": options})


def set_list(change: Change, space: Row, row: Row, joined: tuple[Row, Row], given: Mapping[str, Any]) -> Row:
    """Have other settings of the connection's list hold from now on; the list itself stays the one that it is. Raises as `connect` does."""
    of, to = joined
    said = check_list_settings(change.type_of(to.type), given)
    before = row.options.get(OPTION, {})
    if before == said:
        return row
    change.check_editable(row, f"The connection of {of.key!r} to {to.key!r}")
    target = free_target(change, space, of, to, list_settings=said, own=row.id)
    change.record("update", _named(space, of, to), before={OPTION: before}, after={OPTION: said})
    return change.update(connection, row.id, {"options": {**row.options, OPTION: said}, "external_target": target})


def set_on_disconnect(change: Change, space: Row, row: Row, joined: tuple[Row, Row], how: str) -> Row:
    """Say what is sent when the connection is disconnected."""
    of, to = joined
    before = row.options.get(leaving.OPTION, leaving.KEEP)
    if before == how:
        return row
    change.check_editable(row, f"The connection of {of.key!r} to {to.key!r}")
    change.record("update", _named(space, of, to), before={leaving.OPTION: before}, after={leaving.OPTION: how})
    return change.update(connection, row.id, {"options": {**row.options, leaving.OPTION: how}})


def pause(change: Change, space: Row, of: Row, to: Row) -> Row:
    """Stop before the next request and keep everything; connecting again resumes. Nothing is written when it is paused."""
    row = find_connection(change.c, of, to)
    if row.state == State.PAUSED:
        return row
    if row.leaves_since is not None:
        raise ConflictError(
            f"The connection of {of.key!r} to {to.key!r} leaves: its exits are being sent.",
            f"To end it as it is: engage disconnect {of.key} {to.key} --remove",
        )
    change.record("pause", _named(space, of, to), before={"state": row.state}, after={"state": str(State.PAUSED)})
    return change.update(connection, row.id, {"state": str(State.PAUSED)})


def remove(change: Change, space: Row, of: Row, to: Row) -> bool:
    """End the connection: its presets and what it owes go with it, nothing is sent. Connecting again makes a new one.

    One that was told to send everyone's exit first begins with that, and is gone later (False); removed once more, it ends as it is.
    """
    row = find_connection(change.c, of, to)
    change.check_editable(row, f"The connection of {of.key!r} to {to.key!r}")
    if leaving.leaves_first(row) and leaving.sends_exits(change, row):
        return leaving.leave(change, row, _named(space, of, to)).removed_at is not None
    leaving.end(change, row, _named(space, of, to))
    return True


def leave(change: Change, space: Row, of: Row, to: Row) -> Connected:
    """Send everyone's exit, then end the connection. Raises ConflictError where no enabled mapping sends exits."""
    row = leaving.leave(change, find_connection(change.c, of, to), _named(space, of, to))
    return Connected(row, resumed=False, request_id=None)


def leave_where_said(change: Change, space: Row, of: Row) -> list[str]:
    """Have those connections of the audience leave that were told to when it ends; the keys of their destinations."""
    found: list[str] = []
    for key in connected_destinations(change.c, of.id):
        to = find_destination(change.c, space.id, key)
        row = find_connection(change.c, of, to)
        if leaving.leaves_first(row) and leaving.sends_exits(change, row):
            leaving.leave(change, row, _named(space, of, to))
            found.append(key)
    return found


def remove_all(change: Change, space: Row, of: Row) -> list[str]:
    """End every connection of the audience; gives the destinations to which exits are sent first."""
    keys = connected_destinations(change.c, of.id)
    return [key for key in keys if not remove(change, space, of, find_destination(change.c, space.id, key))]


def request_sync(change: Change, space: Row, of: Row, to: Row, *, kind: RequestKind) -> str:
    """Ask for a sync, or for every member again; a stopped connection is set going. Returns the request's id.

    Raises ConflictError for a paused connection.
    """
    row = find_connection(change.c, of, to)
    change.lock(connection, row.id)
    request_id = ask_for_sync(change.c, row, kind, change.stamp)
    mend_connections(change, connection.c.id == row.id)
    change.record(str(kind), _named(space, of, to), after={"request": request_id})
    return request_id


def _resume(change: Change, space: Row, row: Row, new: NewConnection) -> Connected:
    if row.leaves_since is not None:
        raise ConflictError(
            f"The connection of {new.audience!r} to {new.destination!r} leaves: its exits are being sent.",
            "Connect again once it is gone.",
        )
    if row.state != State.PAUSED:
        raise ConflictError(
            f"{new.audience!r} is connected to {new.destination!r} already.",
            f"To send everyone again: engage resync {new.audience} {new.destination}",
        )
    if new.calls and set(new.calls) != set(row.calls):
        raise ConflictError(
            f"The paused connection sends {', '.join(row.calls)}.",
            f"Resume it without naming calls, or end it first: engage disconnect {new.audience} {new.destination} --remove",
        )
    active = refresh_state(change, change.update(connection, row.id, {"state": str(State.ACTIVE), "error": None, "remedy": None}))
    request_id = owe_sync(change.c, row.id, RequestKind.SYNC, change.stamp)
    try_now(change, row.id)
    change.record(
        "resume", f"connection {space.key}/{new.audience} -> {new.destination}", before={"state": row.state}, after={"state": active.state}
    )
    return Connected(active, resumed=True, request_id=request_id)


def _id_options(change: Change, to: Row, calls: Sequence[str], new: NewConnection) -> dict[str, list[str]]:
    if not new.ids:
        return {}
    rules = _rules(change, to, calls, new)
    return {"id_sync": stored(rules), "id_kinds": sorted(rule.kind for rule in rules)}


def _rules(change: Change, to: Row, calls: Sequence[str], new: NewConnection) -> tuple[IdRule, ...]:
    if not any(plan.level is Level.USER for plan in replicas_of(calls)):
        raise UsageError("Identifiers are those of people, and the connection sends accounts alone.", "Leave them out, or add --identify.")
    possible = change.type_of(to.type).user_address_kinds
    return parse_rules(new.ids or (), possible=possible, audience=new.audience, destination=to.key)


def _make_replicas(change: Change, row: Row, version: int) -> None:
    for plan in replicas_of(row.calls):
        change.c.execute(replica.insert().values(connection_id=row.id, name=plan.name, level=str(plan.level), resync_no=0))
        change.c.execute(
            base.insert().values(connection_id=row.id, replica=plan.name, lo="", version=version, exits_version=version, resync_no=0)
        )


def _check_takes_values(change: Change, of: Row, to: Row) -> None:
    """A trait has values, and there are types that keep who is in and nothing else."""
    if of.kind != "trait":
        return
    type_ = change.type_of(to.type)
    if not type_.takes_values(change.registry.desk.describe(type_, to.settings)):
        raise UsageError(
            f"{of.key!r} is a trait, and {to.key!r} takes who is in and who is not, no values.",
            f"Use it in an audience, as trait('{of.key}') in its definition, and connect that.",
        )


def _check_first_of_type(change: Change, space: Row, of: Row, to: Row) -> None:
    if space.one_configuration_per_type != ONE_PER_AUDIENCE:
        return
    joined = connection.join(destination, destination.c.id == connection.c.destination_id)
    same = sa.and_(connection.c.computation_id == of.id, connection.c.removed_at.is_(None), destination.c.type == to.type)
    first = change.c.execute(sa.select(destination.c.key).select_from(joined).where(same)).scalars().first()
    if first is not None:
        raise ConflictError(
            f"{of.kind.title()} {of.key!r} is connected to {first!r}, which is of type {to.type!r} too.",
            f"End that connection first: engage disconnect {of.key} {first} --remove",
        )


def _named(space: Row, of: Row, to: Row) -> str:
    return f"connection {space.key}/{of.key} -> {to.key}"
