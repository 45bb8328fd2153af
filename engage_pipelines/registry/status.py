"""Status: one row per connection, in the words that people read. It reads tables only, so it starts fast."""

from dataclasses import dataclass, replace
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

    `pace` says why the destination is not sent to as usual: paused, slowed down, or left alone.
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


def list_status(c: sa.Connection, space_id: str, *, audience: str | None = None, now_us: int | None = None) -> list[StatusRow]:
    """Every connection of the space that is not removed, or those of one audience, by audience and destination.

    Pauses that are over and rates of progress need `now_us`; without it they are left out.
    """
    current = sa.and_(version.c.computation_id == computation.c.id, version.c.n == computation.c.current_version)
    joined = (
        connection.join(computation, computation.c.id == connection.c.computation_id)
        .join(destination, destination.c.id == connection.c.destination_id)
        .outerjoin(version, current)
        .outerjoin(pace, pace.c.destination_id == destination.c.id)
    )
    columns = (
        connection,
        computation.c.key.label("audience"),
        computation.c.enabled.label("computation_enabled"),
        computation.c.current_version,
        destination.c.key.label("destination"),
        destination.c.enabled.label("destination_enabled"),
        destination.c.paused_until,
        version.c.size,
        *PACE_COLUMNS,
    )
    wanted = [computation.c.space_id == space_id, connection.c.removed_at.is_(None)]
    if audience is not None:
        wanted.append(computation.c.key == audience)
    rows = c.execute(sa.select(*columns).select_from(joined).where(*wanted).order_by(computation.c.key, destination.c.key)).all()
    requests, dead, held, progress = _requests(c), _dead(c), _held(c), _progress(c, now_us)
    found = [_status(row, requests.get(row.id, []), dead.get(row.id, 0), held=held.get(row.computation_id, 0)) for row in rows]
    paces = [() if now_us is None else tuple(pace_words(pace_in(row), paused_until_us=row.paused_until, now_us=now_us)) for row in rows]
    return [replace(one, progress=progress.get(row.id), pace=words) for one, row, words in zip(found, rows, paces, strict=True)]


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
        status=status_word(row.state, destination_enabled=row.destination_enabled, computation_enabled=row.computation_enabled),
        sync_status=sync_status_word(facts),
        members=row.size,
        sent=row.sent,
        dead=dead,
        last_sync_at=row.last_sync_at,
        run_id=next((request.run_id for request in requests if request.started_at is not None), row.last_run_id),
        error=row.error,
        remedy=row.remedy,
    )


def _requests(c: sa.Connection) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in c.execute(sa.select(sync_request).where(sync_request.c.state == "owed").order_by(sync_request.c.created_at)):
        found.setdefault(row.connection_id, []).append(row)
    return found


def _progress(c: sa.Connection, now_us: int | None) -> dict[str, Progress]:
    """By connection, of the generations that are open and have records."""
    answered = sa.func.coalesce(sa.func.sum(ledger.c.hi - ledger.c.lo + 1), 0).label("answered")
    query = (
        sa.select(generation.c.id, generation.c.connection_id, generation.c.records, generation.c.planned_at, answered)
        .select_from(generation.outerjoin(ledger, ledger.c.generation == generation.c.id))
        .where(generation.c.state == "open", generation.c.records > 0)
        .group_by(generation.c.id, generation.c.connection_id, generation.c.records, generation.c.planned_at)
    )
    found: dict[str, Progress] = {}
    for row in c.execute(query):
        done, age_s = int(row.answered), ((now_us or 0) - row.planned_at) / SECOND_US
        per_s = done / age_s if age_s >= 1 else None
        found[row.connection_id] = Progress(row.id, done, row.records, per_s, (row.records - done) / per_s if per_s else None)
    return found


def _dead(c: sa.Connection) -> dict[str, int]:
    query = sa.select(exception.c.connection_id, sa.func.count()).where(exception.c.kind.in_(_DEAD)).group_by(exception.c.connection_id)
    return {row[0]: row[1] for row in c.execute(query)}


def _held(c: sa.Connection) -> dict[str, int]:
    query = (
        sa.select(version.c.computation_id, sa.func.max(version.c.n)).where(version.c.state == "held").group_by(version.c.computation_id)
    )
    return {row[0]: row[1] for row in c.execute(query)}
