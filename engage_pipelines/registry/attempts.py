"""Attempts: what is owed and may be launched now, and what became of each launch.

The sensor launches what is owed under the run key `<request id>:<attempt>`, so that an attempt runs once however often it is asked for.
The run says `start_attempt`, then it or the sensor says `finish_attempt`, with the attempt's number: a word about an attempt that is over
changes nothing.

    owed --done--> done             owed --failed--> owed, the next attempt after 1, 5, 15, then 60 minutes
    owed --waits--> owed, at the time that the destination named; no failure
    owed --yielded--> owed, at once owed --fatal--> owed, and the connection is stopped until someone mends it; a compute request: failed
    owed --connection removed--> cancelled
Of several requests that one connection owes, the oldest goes first, and none goes while one of them is worked on or has to wait.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from engage_pipelines.domain.connection import State, retry_delay_s
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.domain.pacing import may_try
from engage_pipelines.registry.paces import PACE_COLUMNS, pace_in
from engage_pipelines.registry.requests import Stamp, owe_sync
from engage_pipelines.registry.tables import computation, compute_request, connection, destination, pace, space, sync_request

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class OwedSync:
    """A sync request that may be launched."""

    id: str
    attempt: int
    kind: str
    connection_id: str
    computation_id: str
    space: str
    audience: str
    destination: str
    destination_id: str
    is_doubtful: bool = False
    """Whether the destination gave no usable answer the last times; such a run may take long and come to nothing."""


@dataclass(frozen=True, slots=True)
class OwedCompute:
    """A compute request that may be launched; `keys` are its audiences that still exist and are enabled, it may have none."""

    id: str
    attempt: int
    space: str
    computation_ids: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt that some run said to have started and nobody finished."""

    id: str
    attempt: int
    run_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended; `retry_after_s` is what the destination asked for, `fatal` is what waiting cannot mend."""

    how: Literal["done", "yielded", "waits", "failed", "fatal"]
    error: str | None = None
    remedy: str | None = None
    retry_after_s: float | None = None


def owed_sync_requests(c: sa.Connection, now: int) -> list[OwedSync]:
    """At most one request per connection: active, its destination and audience enabled, a version published, the waiting time over.

    Of a destination that is left alone, since it gave no usable answer, at most one: when it is time for somebody to try again.
    """
    joined = (
        sync_request.join(connection, connection.c.id == sync_request.c.connection_id)
        .join(destination, destination.c.id == connection.c.destination_id)
        .join(computation, computation.c.id == connection.c.computation_id)
        .join(space, space.c.id == computation.c.space_id)
        .outerjoin(pace, pace.c.destination_id == destination.c.id)
    )
    may_send = sa.and_(
        sync_request.c.state == "owed",
        connection.c.state.in_([str(State.ACTIVE), str(State.LEAVING)]),
        connection.c.removed_at.is_(None),
        destination.c.enabled,
        sa.func.coalesce(destination.c.paused_until, 0) <= now,
        connection.c.rest_until <= now,
        sa.or_(computation.c.enabled, connection.c.leaves_since.is_not(None)),
        computation.c.current_version.is_not(None),
    )
    columns = (
        sync_request,
        connection.c.computation_id,
        connection.c.destination_id,
        space.c.key.label("space_key"),
        computation.c.key.label("audience_key"),
        destination.c.key.label("destination_key"),
        *PACE_COLUMNS,
    )
    query = sa.select(*columns).select_from(joined).where(may_send).order_by(sync_request.c.created_at, sync_request.c.id)
    of_connection: dict[str, list[Any]] = {}
    for row in c.execute(query):
        of_connection.setdefault(row.connection_id, []).append(row)
    due = [rows[0] for rows in of_connection.values() if all(row.started_at is None and row.not_before <= now for row in rows)]
    return [_owed_sync(row) for row in _may_try(due, now)]


def _may_try(rows: Iterable[Any], now: int) -> Iterator[Any]:
    """The requests but those whose destination is left alone; the oldest of it is let through when it is time to try."""
    tried: set[str] = set()
    for row in rows:
        found = pace_in(row)
        if found.is_left_alone:
            if row.destination_id in tried or not may_try(found, row.connection_id, now):
                continue
            tried.add(row.destination_id)
        yield row


def owed_compute_requests(c: sa.Connection, now: int) -> list[OwedCompute]:
    """Every compute request whose waiting time is over, oldest first."""
    joined = compute_request.join(space, space.c.id == compute_request.c.space_id)
    due = sa.and_(compute_request.c.state == "owed", compute_request.c.started_at.is_(None), compute_request.c.not_before <= now)
    query = sa.select(compute_request, space.c.key.label("space_key")).select_from(joined).where(due)
    rows = c.execute(query.order_by(compute_request.c.created_at, compute_request.c.id)).all()
    if not rows:
        return []
    wanted = {one for row in rows for one in row.computation_ids}
    there = sa.and_(computation.c.id.in_(wanted), computation.c.enabled, computation.c.deleted_at.is_(None))
    keys = {row.id: row.key for row in c.execute(sa.select(computation.c.id, computation.c.key).where(there))}
    return [
        OwedCompute(
            id=row.id,
            attempt=row.attempt,
            space=row.space_key,
            computation_ids=tuple(one for one in row.computation_ids if one in keys),
            keys=tuple(keys[one] for one in row.computation_ids if one in keys),
        )
        for row in rows
    ]


def started_attempts(c: sa.Connection) -> list[Started]:
    """The attempts of both kinds that a run works on, or worked on when it died; whoever knows the runs finishes those."""
    found: list[Started] = []
    for table in (sync_request, compute_request):
        live = sa.and_(table.c.state == "owed", table.c.started_at.is_not(None))
        found.extend(Started(row.id, row.attempt, row.run_id) for row in c.execute(sa.select(table).where(live)))
    return found


def start_attempt(c: sa.Connection, request_id: str, *, attempt: int, run_id: str, now: int) -> bool:
    """A run begins to work on the attempt; False when the attempt is over or another run has it, and there is nothing to do."""
    table = _table_of(request_id)
    if table is sync_request:
        _wait_for_publishers(c, sa.select(sync_request.c.connection_id).where(sync_request.c.id == request_id).scalar_subquery())
    free = sa.and_(
        table.c.id == request_id,
        table.c.state == "owed",
        table.c.attempt == attempt,
        sa.or_(table.c.started_at.is_(None), table.c.run_id == run_id),
    )
    return c.execute(table.update().where(free).values(started_at=now, run_id=run_id)).rowcount == 1


def adopt_sync(c: sa.Connection, connection_id: str, *, run_id: str, stamp: Stamp) -> Started:
    """What a run that people started by hand works on: the request that is owed, or a new one; it counts as started."""
    _wait_for_publishers(c, connection_id)
    request_id = owe_sync(c, connection_id, "sync", stamp)
    attempt = c.execute(sa.select(sync_request.c.attempt).where(sync_request.c.id == request_id)).scalar_one()
    start_attempt(c, request_id, attempt=attempt, run_id=run_id, now=stamp.now)
    return Started(request_id, attempt, run_id)


def finish_attempt(c: sa.Connection, request_id: str, *, attempt: int, ended: Ended, now: int) -> bool:
    """Say how an attempt ended, started or not; False when the request is settled or on a later attempt, and nothing was changed."""
    table = _table_of(request_id)
    mine = sa.and_(table.c.id == request_id, table.c.state == "owed", table.c.attempt == attempt)
    row = c.execute(sa.select(table).where(mine).with_for_update()).first()
    if row is None:
        return False
    c.execute(table.update().where(table.c.id == request_id).values(**_outcome(row, ended, now, settles=table is compute_request)))
    if table is sync_request:
        _tell_connection(c, row, ended, now)
    return True


def _wait_for_publishers(c: sa.Connection, connection_id: str | sa.ScalarSelect[str]) -> None:
    """Let whoever publishes a version finish first: it counts on a request that has not started to see the version."""
    c.execute(sa.select(connection.c.id).where(connection.c.id == connection_id).with_for_update()).all()


def _outcome(row: Any, ended: Ended, now: int, *, settles: bool) -> dict[str, Any]:
    if ended.how == "done":
        return {"state": "done", "started_at": None, "failures": 0, "error": None, "settled_at": now}
    again: dict[str, Any] = {"started_at": None, "attempt": row.attempt + 1, "error": ended.error}
    if ended.how == "yielded":
        return {**again, "failures": 0, "not_before": now}
    if ended.how == "fatal" and settles:
        return {**again, "state": "failed", "settled_at": now}
    if ended.how == "waits":
        return {**again, "not_before": now + int((ended.retry_after_s or 0) * MICROSECONDS)}
    failures = row.failures + 1
    wait_s = max(retry_delay_s(failures), ended.retry_after_s or 0)
    return {**again, "failures": failures, "not_before": now + int(wait_s * MICROSECONDS)}


def _tell_connection(c: sa.Connection, row: Any, ended: Ended, now: int) -> None:
    values: dict[str, Any] = {"error": ended.error, "remedy": ended.remedy, "updated_at": now}
    if row.run_id is not None:
        values["last_run_id"] = row.run_id
    if ended.how == "done":
        values["last_sync_at"] = now
    if ended.how == "fatal":
        values["state"] = str(State.STOPPED)
    mine = sa.and_(connection.c.id == row.connection_id, connection.c.removed_at.is_(None))
    c.execute(connection.update().where(mine).values(values))


def _owed_sync(row: Any) -> OwedSync:
    return OwedSync(
        id=row.id,
        attempt=row.attempt,
        kind=row.kind,
        connection_id=row.connection_id,
        computation_id=row.computation_id,
        space=row.space_key,
        audience=row.audience_key,
        destination=row.destination_key,
        destination_id=row.destination_id,
        is_doubtful=pace_in(row).is_left_alone or row._mapping[sync_request.c.failures] > 0,
    )


def _table_of(request_id: str) -> sa.Table:
    for prefix, table in (("req_", sync_request), ("cmp_", compute_request)):
        if request_id.startswith(prefix):
            return table
    raise NotFoundError(f"{request_id!r} is no request.", "Requests begin with req_ or cmp_.")
