"""Status: one row per connection, in the words that people read. It reads tables only, so it starts fast."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.connection import SyncFacts, status_word, sync_status_word
from engage_pipelines.domain.pacing import SECOND_US, pace_words
from engage_pipelines.registry.paces import PACE_COLUMNS, pace_in
from engage_pipelines.registry.tables import (
    computation,
    connection,
    destination,
    exception,
    generation,
    ledger,
    pace,
    sync_request,
    version,
)

_DEAD = ("rejected", "retryable")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the generation under way is: records answered and in all; `per_s` since it was planned, None in its first second.

    What a long backfill owes beyond this generation, a million changes at most, is not planned yet and not counted.
    """

    generation: int
    done: int
    total: int
    per_s: float | None
    left_s: float | None


@dataclass(frozen=True, slots=True)
class StatusRow:
    """How a connection is; `members` is the size of the current version, None before the first; `last_sync_at` is in UTC microseconds.

    `pace` says why the destination is not sent to as usual: paused, slowed down, or left alone. `note` is what people should know though
    nothing is wrong with the last try. `id` is the connection's own, `calls` what it sends.
    """

    audience: str
    destination: str
    status: str
    sync_status: str
    members: int | None
    sent: int
    dead: int
    last_sync_at: int | None
    run_id: str | None
    error: str | None
    remedy: str | None
    progress: Progress | None = None
    pace: tuple[str, ...] = ()
    note: str | None = None
    id: str = ""
    calls: tuple[str, ...] = ()


def list_status(c: sa.Connection, space_id: str, *, audience: str | None = None, now_us: int | None = None) -> list[StatusRow]:
    """Every connection of the space that is not removed, or those of one audience, by audience and destination.

    Pauses that are over and rates of progress need `now_us`; without it they are left out.
    """
    asked = {"space": space_id, "audience": audience}
    one = audience is not None
    rows = c.execute(_connections(one=one), asked).all()
    requests = _requests(c.execute(_owed(one=one), asked))
    dead: dict[str, int] = {row[0]: row[1] for row in c.execute(_dead(one=one), asked)}
    held: dict[str, int] = {row[0]: row[1] for row in c.execute(_held(one=one), asked)}
    progress = _progress(c.execute(_under_way(one=one), asked), now_us)
    found: list[StatusRow] = []
    for row in rows:
        status = _status(row, requests.get(row.id, []), dead.get(row.id, 0), held=held.get(row.computation_id, 0))
        words = () if now_us is None else tuple(pace_words(pace_in(row), paused_until_us=row.paused_until, now_us=now_us))
        found.append(replace(status, progress=progress.get(row.id), pace=words) if words or row.id in progress else status)
    return found


# ---- the questions, each made once: building one takes longer than the database needs to answer it


@cache
def _connections(*, one: bool) -> sa.Select[*tuple[Any, ...]]:
    """With what their status is read from; of the space, or with `one` of the audience alone."""
    current = sa.and_(version.c.computation_id == computation.c.id, version.c.n == computation.c.current_version)
    joined = (
        connection.join(computation, computation.c.id == connection.c.computation_id)
        .join(destination, destination.c.id == connection.c.destination_id)
        .outerjoin(version, current)
        .outerjoin(pace, pace.c.destination_id == destination.c.id)
    )
    con = connection.c
    columns = (
        *(con.id, con.computation_id, con.state, con.calls, con.sent, con.last_sync_at, con.last_run_id, con.error, con.remedy),
        *(con.note, con.leaves_since),
        computation.c.key.label("audience"),
        computation.c.enabled.label("computation_enabled"),
        computation.c.current_version,
        destination.c.key.label("destination"),
        destination.c.enabled.label("destination_enabled"),
        destination.c.paused_until,
        version.c.size,
        *PACE_COLUMNS,
    )
    query = sa.select(*columns).select_from(joined).where(*_wanted(one=one))
    return query.order_by(computation.c.key, destination.c.key)


def _wanted(*, one: bool) -> list[sa.ColumnElement[bool]]:
    wanted = [computation.c.space_id == sa.bindparam("space", type_=sa.String), connection.c.removed_at.is_(None)]
    return [*wanted, computation.c.key == sa.bindparam("audience", type_=sa.String)] if one else wanted


def _ids(*, one: bool) -> sa.Select[*tuple[Any, ...]]:
    """Of the connections that are asked about."""
    joined = connection.join(computation, computation.c.id == connection.c.computation_id)
    return sa.select(connection.c.id).select_from(joined).where(*_wanted(one=one))


@cache
def _owed(*, one: bool) -> sa.Select[*tuple[Any, ...]]:
    r = sync_request.c
    query = sa.select(r.connection_id, r.kind, r.started_at, r.failures, r.run_id).where(
        r.state == "owed", r.connection_id.in_(_ids(one=one))
    )
    return query.order_by(r.created_at)


@cache
def _under_way(*, one: bool) -> sa.Select[*tuple[Any, ...]]:
    """The generations that are open and have records, with how many of these are answered."""
    g = generation.c
    answered = sa.func.coalesce(sa.func.sum(ledger.c.hi - ledger.c.lo + 1), 0).label("answered")
    return (
        sa.select(g.id, g.connection_id, g.records, g.planned_at, answered)
        .select_from(generation.outerjoin(ledger, ledger.c.generation == g.id))
        .where(g.state == "open", g.records > 0, g.connection_id.in_(_ids(one=one)))
        .group_by(g.id, g.connection_id, g.records, g.planned_at)
    )


@cache
def _dead(*, one: bool) -> sa.Select[*tuple[Any, ...]]:
    e = exception.c
    query = sa.select(e.connection_id, sa.func.count()).where(e.kind.in_(_DEAD), e.connection_id.in_(_ids(one=one)))
    return query.group_by(e.connection_id)


@cache
def _held(*, one: bool) -> sa.Select[*tuple[Any, ...]]:
    joined = version.join(computation, computation.c.id == version.c.computation_id)
    wanted = [version.c.state == "held", computation.c.space_id == sa.bindparam("space", type_=sa.String)]
    if one:
        wanted.append(computation.c.key == sa.bindparam("audience", type_=sa.String))
    query = sa.select(version.c.computation_id, sa.func.max(version.c.n)).select_from(joined).where(*wanted)
    return query.group_by(version.c.computation_id)


# ---- the answers


def _status(row: Any, requests: list[Any], dead: int, *, held: int) -> StatusRow:
    facts = SyncFacts(
        state=row.state,
        has_version=row.current_version is not None,
        owed=bool(requests),
        failures=max((request.failures for request in requests), default=0),
        working=next((request.kind for request in requests if request.started_at is not None), None),
        held=held > (row.current_version or 0),
    )
    return StatusRow(
        audience=row.audience,
        destination=row.destination,
        status=status_word(
            row.state,
            destination_enabled=row.destination_enabled,
            computation_enabled=row.computation_enabled,
            leaves=row.leaves_since is not None,
        ),
        sync_status=sync_status_word(facts),
        members=row.size,
        sent=row.sent,
        dead=dead,
        last_sync_at=row.last_sync_at,
        run_id=next((request.run_id for request in requests if request.started_at is not None), row.last_run_id),
        error=row.error,
        remedy=row.remedy,
        note=row.note,
        id=row.id,
        calls=tuple(row.calls),
    )


def _requests(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """By connection, the oldest first."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.connection_id, []).append(row)
    return found


def _progress(rows: Iterable[Any], now_us: int | None) -> dict[str, Progress]:
    """By connection."""
    found: dict[str, Progress] = {}
    for row in rows:
        done, age_s = int(row.answered), ((now_us or 0) - row.planned_at) / SECOND_US
        per_s = done / age_s if age_s >= 1 else None
        found[row.connection_id] = Progress(row.id, done, row.records, per_s, (row.records - done) / per_s if per_s else None)
    return found
