"""What people configured: destinations and their secrets, definitions, mappings, and connections that wait for someone.

A secret is resolved to see whether it is there, and is never shown.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.doctor.findings import Finding, fail, ok, warn
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.connection import State as ConnectionState
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.mapping import validate_mapping
from engage_pipelines.domain.query import parse
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.registry.types import find_action, find_type

Types = Mapping[str, DestinationType]


def secret_names(c: sa.Connection) -> set[str]:
    """The environment variables that settings refer to."""
    found: set[str] = set()
    for settings in c.execute(sa.select(t.destination.c.settings).where(t.destination.c.removed_at.is_(None))).scalars():
        found.update(_variables(settings))
    return found


def look_at_destinations(c: sa.Connection, types: Types, desk: SettingsDesk) -> Iterator[Finding]:
    """Every destination's type is installed, its settings fit, its secrets are there."""
    rows = c.execute(sa.select(t.destination).where(t.destination.c.removed_at.is_(None)).order_by(t.destination.c.key)).all()
    well = 0
    for row in rows:
        name = f"{'Configuration' if row.source_id else 'Destination'} {row.key!r}"
        try:
            desk.resolve(find_type(types, row.type), row.settings)
        except EngageError as error:
            # what lies on a source or is disabled is sent nothing, so nothing is broken yet
            say = fail if row.enabled and row.source_id is None else warn
            yield say("destinations", f"{name}: {error.what}", error.remedy)
        else:
            well += 1
    if well == len(rows):
        yield ok("destinations", f"{_number(well, 'destination')}: types installed, settings fit, secrets there")


def look_at_audiences(c: sa.Connection) -> Iterator[Finding]:
    """Every definition can be read, the last evaluation went well, and no version is held."""
    m = t.computation.c
    rows = c.execute(sa.select(t.computation).where(m.deleted_at.is_(None), m.kind == "audience").order_by(m.key)).all()
    well = 0
    for row in rows:
        try:
            parse(row.definition, level=Level(row.level))
        except EngageError as error:
            yield fail("audiences", f"Audience {row.key!r} cannot be read: {error.what}", error.remedy)
            continue
        if row.last_error and row.enabled:
            yield warn(
                "audiences", f"Audience {row.key!r} could not be computed: {row.last_error}", f"engage audience compute {row.key} --wait"
            )
            continue
        well += 1
    for key in _held(c):
        yield warn("audiences", f"A version of {key!r} is held: nothing of it is sent.", f"engage audience release {key}, or discard")
    if well == len(rows):
        yield ok("audiences", f"{_number(well, 'audience')}: every definition can be read")


def look_at_mappings(c: sa.Connection, types: Types) -> Iterator[Finding]:
    """Every mapping's trigger, fields and action can be used."""
    m, dst = t.mapping.c, t.destination.c
    query = (
        sa.select(t.mapping, dst.key, dst.type)
        .join(t.destination, dst.id == m.destination_id)
        .where(m.removed_at.is_(None), dst.removed_at.is_(None))
        .order_by(dst.key, m.name)
    )
    rows = c.execute(query).all()
    well = 0
    for row in rows:
        problem = _problem_of(row, types)
        if problem is None:
            well += 1
            continue
        say = fail if row.enabled else warn
        yield say("mappings", f"Mapping {row.name!r} of {row.key!r}: {problem}", "Change it, or switch it off: engage mapping disable")
    if well == len(rows):
        yield ok("mappings", f"{_number(well, 'mapping')}: triggers and fields can be used")


def look_at_connections(c: sa.Connection) -> Iterator[Finding]:
    """Connections that are stopped, await a mapping, or keep records that failed."""
    con, com, dst = t.connection.c, t.computation.c, t.destination.c
    query = (
        sa.select(con.id, con.state, con.error, con.remedy, com.key.label("audience"), dst.key.label("destination"))
        .join(t.computation, com.id == con.computation_id)
        .join(t.destination, dst.id == con.destination_id)
        .where(con.removed_at.is_(None))
        .order_by(com.key, dst.key)
    )
    rows, failed = c.execute(query).all(), _failed(c)
    for row in rows:
        name = f"{row.audience} -> {row.destination}"
        if row.state == ConnectionState.STOPPED:
            again = f"Then: engage sync {row.audience} {row.destination}"
            yield fail("connections", f"{name} is stopped: {row.error or 'no reason given'}", f"{row.remedy or ''} {again}".strip())
        if row.state == ConnectionState.AWAITING_MAPPING:
            yield warn(
                "connections", f"{name} awaits a mapping: nothing is delivered.", f"engage mapping list {row.destination}, then enable one"
            )
        if row.id in failed:
            words = f"engage deadletter list --audience {row.audience} --destination {row.destination}"
            yield warn("connections", f"{name} keeps {_number(failed[row.id], 'record')} that failed.", words)
    well = [row for row in rows if row.state in (ConnectionState.ACTIVE, ConnectionState.PAUSED) and row.id not in failed]
    if len(well) == len(rows):
        yield ok("connections", f"{_number(len(rows), 'connection')}: none is stopped, none awaits a mapping, no record failed")


def _problem_of(row: Any, types: Types) -> str | None:
    try:
        parse_trigger(row.trigger)
        find_action(find_type(types, row.type), row.action)
    except EngageError as error:
        return str(error)
    problems = validate_mapping(row.fields)
    return "; ".join(problems) if problems else None


def _held(c: sa.Connection) -> list[str]:
    v, m = t.version.c, t.computation.c
    query = (
        sa.select(m.key)
        .join(t.version, v.computation_id == m.id)
        .where(v.state == "held", m.deleted_at.is_(None), v.n > sa.func.coalesce(m.current_version, 0))
        .distinct()
        .order_by(m.key)
    )
    return list(c.execute(query).scalars())


def _failed(c: sa.Connection) -> dict[str, int]:
    e = t.exception.c
    query = sa.select(e.connection_id, sa.func.count()).where(e.kind.in_(["rejected", "retryable"])).group_by(e.connection_id)
    return {row[0]: row[1] for row in c.execute(query)}


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("env:"):
        yield value.removeprefix("env:")
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _variables(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _variables(inner)


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
