"""The destinations of an audience: the table on its overview, the side panel of one, and what can be done to a connection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from engage_pipelines.delivery.dead_letters import Wanted, list_dead_letters
from engage_pipelines.delivery.progress import Progress, progress_of
from engage_pipelines.delivery.rehearsal import Rehearsal, rehearse_act
from engage_pipelines.domain.connection import RequestKind, State
from engage_pipelines.domain.enrichment import OPTION as TRAITS
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry import connections, leaving
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.connections import Connected, NewConnection, find_connection
from engage_pipelines.registry.destinations import find_destination, list_destinations
from engage_pipelines.registry.list_settings import OPTION as LIST
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.matching import Match, count_matches, live_connections, matches_of
from engage_pipelines.registry.requests import told_replicas
from engage_pipelines.registry.spaces import find_space
from engage_pipelines.registry.status import StatusRow, list_status
from engage_pipelines.registry.tables import connection, destination
from engage_pipelines.registry.type_settings import masked_settings, secret_fields
from engage_pipelines.server.console import words
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.slow import within
from engage_pipelines.server.console.visit import Visit

MOVING = ("Backfilling", "Syncing", "Waiting")


@dataclass(frozen=True, slots=True)
class ConnectionLine:
    """One row of the table; `on` and `off` count matching mappings, both None for a type that has none."""

    status: StatusRow
    to: Row
    type_name: str
    on: int | None
    off: int | None
    progress: Progress | None

    @property
    def is_moving(self) -> bool:
        return self.status.sync_status in MOVING and self.status.status in {"Connected", "Disconnecting"}


@dataclass(frozen=True, slots=True)
class Place:
    """A connection that a path names, with what it joins."""

    of: Row
    to: Row
    row: Row


def connection_rows(c: sa.Connection, visit: Visit, of: Row) -> dict[str, Any]:
    """The destinations table of an audience, those whose name or key contains what is searched for."""
    search = visit.query("d")
    by_key = {row.key: row for row in list_destinations(c, visit.space.id)}
    every = [(status, by_key[status.destination]) for status in list_status(c, visit.space.id, audience=of.key)]
    wanted = [(status, to) for status, to in every if search.casefold() in f"{to.name} {to.key} {to.type}".casefold()]
    lines = _lines(c, visit, of, wanted)
    return {"lines": lines, "connected": len(every), "d": search, "moving": any(line.is_moving for line in lines)}


def _lines(c: sa.Connection, visit: Visit, of: Row, joined: Sequence[tuple[StatusRow, Row]]) -> list[ConnectionLine]:
    matching = count_matches(c, of, joined)
    lines: list[ConnectionLine] = []
    for status, to in joined:
        type_ = visit.registry.types.get(to.type)
        on, off = matching[status.id] if type_ is not None and type_.actions else (None, None)
        progress = progress_of(c, status.id) if status.sync_status in MOVING else None
        lines.append(ConnectionLine(status, to, type_.name if type_ else to.type, on, off, progress))
    return lines


def _line(c: sa.Connection, visit: Visit, of: Row, to: Row, status: StatusRow) -> ConnectionLine:
    (line,) = _lines(c, visit, of, [(status, to)])
    return line


def table(visit: Visit) -> Response:
    """The table alone, as it asks for itself while something moves."""
    with visit.database.read() as c:
        of = visit.computation(c)
        context = connection_rows(c, visit, of)
    return render(visit, "connections.html", audience=of, **context)


def place_of(c: sa.Connection, visit: Visit) -> Place:
    """Raises NotFoundError for an audience, a destination or a connection that there is not."""
    of = visit.computation(c)
    to = find_destination(c, visit.space.id, visit.param("to"))
    return Place(of, to, find_connection(c, of, to))


def panel(visit: Visit) -> Response:
    """Everything about one connection."""
    return render_panel(visit)


def render_panel(visit: Visit, *, said: str = "") -> Response:
    with visit.database.read() as c:
        place = place_of(c, visit)
        context = _panel_context(c, visit, place)
    response = render(visit, "connection.html", said=said, section=visit.section, **context)
    if said and visit.is_partial:
        response.headers["HX-Trigger"] = "connections-changed"
    return response


def _panel_context(c: sa.Connection, visit: Visit, place: Place) -> dict[str, Any]:
    (status,) = [row for row in list_status(c, visit.space.id, audience=place.of.key) if row.destination == place.to.key]
    type_ = visit.registry.types.get(place.to.type)
    matches: Sequence[Match] = matches_of(c, place.row) if type_ is not None else ()
    settings = masked_settings(type_, place.to.settings) if type_ is not None else {}
    secret = secret_fields(type_) if type_ is not None else frozenset[str]()
    rules = place.row.options.get("id_sync", [])
    return {
        "place": place,
        "line": _line(c, visit, place.of, place.to, status),
        "type": type_,
        "matches": matches,
        "credentials": {name: value for name, value in settings.items() if name in secret},
        "settings": {name: value for name, value in settings.items() if name not in secret},
        "rules": rules,
        "usual_ids": type_.user_address_kinds if type_ is not None else (),
        "list_settings": place.row.options.get(LIST, {}),
        "traits": place.row.options.get(TRAITS, []),
        "exits_first": place.row.options.get(leaving.OPTION) == leaving.EXIT_ALL,
        "imported_from": imported_from(c, place.to),
        "dagster": visit.dagster("sync", place.of.key, view="partitions", partition=place.to.key),
        "nothing_matches": status.status in {"Connected", "Awaiting mapping"} and not any(match.mapping.enabled for match in matches),
        "dead": len(list_dead_letters(c, visit.space.id, Wanted(audience_id=place.of.id, destination_id=place.to.id))),
    }


def imported_from(c: sa.Connection, to: Row) -> str | None:
    """The source that a destination's configuration was copied from."""
    from engage_pipelines.registry.tables import source  # noqa: PLC0415

    joined = destination.join(source, source.c.id == destination.c.source_id)
    found = c.execute(
        sa.select(source.c.key, destination.c.key.label("of")).select_from(joined).where(destination.c.id == to.imported_from)
    ).first()
    return f"{found.key}/{found.of}" if found else None


def progress_part(visit: Visit) -> Response:
    """How far the sync is; asks again while it moves."""
    with visit.database.read() as c:
        place = place_of(c, visit)
        (status,) = [row for row in list_status(c, visit.space.id, audience=place.of.key) if row.destination == place.to.key]
        line = _line(c, visit, place.of, place.to, status)
    response = render(visit, "progress.html", place=place, line=line)
    if not line.is_moving:
        response.headers["HX-Trigger"] = "connections-changed"
    return response


# ---- what can be done


def rehearse(visit: Visit, act: Callable[[Change, Place], str | None]) -> Rehearsal:
    """What would be sent if that was done to the connection of the path; nothing is written."""

    def acted(change: Change) -> Connected:
        place = place_of(change.c, visit)
        request_id = act(change, place)
        return Connected(find_connection(change.c, place.of, place.to), resumed=False, request_id=request_id)

    return within(lambda _watch: rehearse_act(visit.runtime(), acted))


def _space(visit: Visit, change: Change) -> Row:
    return find_space(change.c, visit.space.key)


def ask(visit: Visit) -> Response:
    """The question before an action, with what it would send."""
    verb = _verb(visit)
    if verb == "remove":
        return _ask_remove(visit)
    with visit.database.read() as c:
        place = place_of(c, visit)
    found = None
    if verb in {"resync", "resume"}:
        found = rehearse(visit, lambda change, there: _do(visit, change, there, verb))
    return render(visit, "connection_ask.html", section=visit.section, place=place, verb=verb, found=found, words=words)


def _ask_remove(visit: Visit) -> Response:
    """Ending it as it is, or with everyone's exit: how many exits that would be, or why there can be none."""
    with visit.database.read() as c:
        place = place_of(c, visit)
        is_told = bool(told_replicas(c, place.row.id))
        can_tell = any(match.mapping.enabled and match.sends(entered=False) for match in matches_of(c, place.row))
    is_leaving = place.row.leaves_since is not None
    found = None
    if is_told and can_tell and not is_leaving:
        found = rehearse(visit, lambda change, there: _leave(visit, change, there))
    return render(
        visit,
        "connection_remove.html",
        section=visit.section,
        place=place,
        found=found,
        is_told=is_told,
        is_leaving=is_leaving,
        exits_first=place.row.options.get(leaving.OPTION) == leaving.EXIT_ALL,
        words=words,
    )


def exits_first(c: sa.Connection, space_id: str, of: Row) -> list[str]:
    """Names of the destinations to which everyone's exit is sent when `of` is disabled or deleted, as people said."""
    names = {row.id: row.name for row in list_destinations(c, space_id)}
    rows = live_connections(c, connection.c.computation_id == of.id)
    told = [row for row in rows if leaving.leaves_first(row) and told_replicas(c, row.id)]
    sending = [row for row in told if any(match.mapping.enabled and match.sends(entered=False) for match in matches_of(c, row))]
    return [names[row.destination_id] for row in sending]


def _leave(visit: Visit, change: Change, place: Place) -> str | None:
    return connections.leave(change, _space(visit, change), place.of, place.to).request_id


def act(visit: Visit) -> Response:
    """Pause, resume, resync, sync or remove."""
    verb = _verb(visit)
    with visit.registry.change() as change:
        place = place_of(change.c, visit)
        _do(visit, change, place, verb)
        leaves = verb == "remove" and bool(live_connections(change.c, connection.c.id == place.row.id))
    said = (_LEAVES if leaves else _SAID[verb]).format(to=place.to.name, of=place.of.kind)
    if verb == "remove" or visit.request.headers.get("hx-target") != "panel":
        return go(visit, visit.at(place.of) if verb == "remove" else visit.at(place.of, "destinations", place.to.key), said)
    return render_panel(visit, said=said)


_SAID = {
    "pause": "{to} is disconnected: nothing more is sent, the set-up is kept.",
    "resume": "{to} is connected again; what changed meanwhile is sent.",
    "sync": "Asked for a sync of {to}.",
    "resync": "Asked for a resync: every member is sent to {to} again.",
    "remove": "{to} is removed from this {of}.",
}
_LEAVES = "Everyone's exit is sent to {to}; then it is gone."


def _verb(visit: Visit) -> str:
    verb = visit.param("verb")
    if verb not in _SAID:
        raise NotFoundError(f"{verb[:40]!r} cannot be done to a connection.", f"What can be is {words.listed(_SAID)}.")
    return verb


def _do(visit: Visit, change: Change, place: Place, verb: str) -> str | None:
    space = _space(visit, change)
    if verb == "pause":
        connections.pause(change, space, place.of, place.to)
    elif verb == "remove":
        _remove(visit, change, space, place)
    elif verb == "resume":
        return (
            connections.connect(change, space, NewConnection(place.of.key, place.to.key)).request_id
            if place.row.state == State.PAUSED
            else None
        )
    else:
        return connections.request_sync(change, space, place.of, place.to, kind=RequestKind(verb))
    return None


def _remove(visit: Visit, change: Change, space: Row, place: Place) -> None:
    """As the form says, whatever was said when connecting; a connection that leaves already ends as it is."""
    exits = visit.form.get("exits", "as_said")
    if exits not in {"yes", "no", "as_said"}:
        raise UsageError(f"{exits[:40]!r} is neither yes nor no.", "Open the question again.")
    if exits == "yes":
        connections.leave(change, space, place.of, place.to)
        return
    if exits == "no" and place.row.leaves_since is None:
        connections.set_on_disconnect(change, space, place.row, (place.of, place.to), leaving.KEEP)
    connections.remove(change, space, place.of, place.to)
