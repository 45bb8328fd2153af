"""What the commands on audiences and on traits do alike: list, switch, evaluate now, delete."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import sqlalchemy as sa

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import instant_text, note
from engage_pipelines.cli.waiting import wait_for_compute
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import connected_destinations, is_computing
from engage_pipelines.registry.connections import leave_where_said, remove_all
from engage_pipelines.registry.lookup import Row, find_space
from engage_pipelines.registry.runs import request_compute
from engage_pipelines.registry.tables import version


@dataclass(frozen=True, slots=True)
class Kind:
    """What is called `noun`, and how the registry finds, lists, changes and deletes it."""

    noun: str
    find: Callable[[sa.Connection, str, str], Row]
    listed: Callable[[sa.Connection, str], list[Row]]
    update: Callable[..., Row]
    delete: Callable[[Change, Row, str], None]


def sizes_of(c: sa.Connection, rows: Sequence[Row]) -> dict[str, int]:
    """By id, the size of the current version of those that have one."""
    query = sa.select(version.c.computation_id, version.c.n, version.c.size).where(version.c.computation_id.in_([row.id for row in rows]))
    sizes = {(row.computation_id, row.n): row.size for row in c.execute(query)}
    current = {row.id: row.current_version for row in rows}
    return {one: sizes[one, n] for one, n in current.items() if n is not None and (one, n) in sizes}


def summary(row: Row, size: int | None) -> dict[str, Any]:
    """One line of a list; `size` is that of the current version."""
    return {
        "key": row.key,
        "name": row.name,
        "level": row.level,
        "enabled": row.enabled,
        "size": size,
        "version": row.current_version,
        "checked_at": instant_text(row.checked_at),
    }


def switch(kind: Kind, key: str, *, enabled: bool) -> None:
    """Enable or disable it; connections that were told to send exits when it ends do so."""
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        before = kind.find(change.c, space.id, key).enabled
        row = kind.update(change, space, key, enabled=enabled)
        leaving = [] if enabled else leave_where_said(change, space, row)
    if leaving:
        note(f"Exits are sent to {', '.join(leaving)}, as was said when they were connected; these connections end then.")
    word = "enabled" if enabled else "disabled"
    click.echo(f"{kind.noun.capitalize()} {key} is {word}{' already' if before is enabled else ''}.")


def compute_now(kind: Kind, keys: Sequence[str], *, everything: bool, wait: bool) -> None:
    """Ask for those of these keys, or for all that are computed."""
    if everything == bool(keys):
        raise UsageError(f"Compute takes the keys of {kind.noun}s, or --all.", "Give one of the two.")
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        rows = _all_enabled(kind, change.c, space) if everything else [kind.find(change.c, space.id, key) for key in dict.fromkeys(keys)]
        request_id = request_compute(change, space, rows)
    click.echo(f"Asked for {', '.join(row.key for row in rows)} to be computed.")
    if wait:
        wait_for_compute(registry.database, request_id)
        click.echo("Computed.")


def _all_enabled(kind: Kind, c: sa.Connection, space: Row) -> list[Row]:
    rows = [row for row in kind.listed(c, space.id) if is_computing(c, row)]
    if not rows:
        raise UsageError(f"There is no enabled {kind.noun}.", f"Make one with: engage {kind.noun} create KEY --query QUERY")
    return rows


def delete_for_good(kind: Kind, key: str, *, unasked: bool) -> None:
    """Delete it with its connections, once somebody said yes; exits that were to be sent first are sent first."""
    registry = open_registry()
    with registry.database.read() as c:
        connected = connected_destinations(c, kind.find(c, find_space(c, registry.space).id, key).id)
    if not unasked:
        _ask_to_delete(key, connected)
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        leaving = remove_all(change, space, kind.find(change.c, space.id, key))
        if not leaving:
            kind.delete(change, space, key)
    if leaving:
        click.echo(f"Exits are sent to {', '.join(leaving)} first. Delete {key} again when that is done: engage status")
        return
    click.echo(f"{kind.noun.capitalize()} {key} is deleted." + (f" Disconnected: {', '.join(connected)}." if connected else ""))


def _ask_to_delete(key: str, connected: Sequence[str]) -> None:
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on.", "Add --yes to delete without being asked.")
    if connected:
        note(f"It is connected to {', '.join(connected)}; these connections end too, and no exit is sent.")
    click.confirm(f"The key {key} can never be used again, and what destinations hold stays there. Delete it?", abort=True)
