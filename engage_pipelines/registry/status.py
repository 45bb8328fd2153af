"""Status: one row per connection, in the words that people read. It reads tables only, so it starts fast."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.connection import SyncFacts, status_word, sync_status_word
from engage_pipelines.registry.tables import computation, connection, destination, exception, sync_request, version

_DEAD = ("rejected", "retryable")


@dataclass(frozen=True, slots=True)
class StatusRow:
    """How a connection is; `members` is the size of the current version, None before the first; `last_sync_at` is in UTC microseconds."""

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


def list_status(c: sa.Connection, space_id: str, *, audience: str | None = None) -> list[StatusRow]:
    """Every connection of the space that is not removed, or those of one audience, by audience and destination."""
    current = sa.and_(version.c.computation_id == computation.c.id, version.c.n == computation.c.current_version)
    joined = (
        connection.join(computation, computation.c.id == connection.c.computation_id)
        .join(destination, destination.c.id == connection.c.destination_id)
        .outerjoin(version, current)
    )
    columns = (
        connection,
        computation.c.key.label("audience"),
        computation.c.enabled.label("computation_enabled"),
        computation.c.current_version,
        destination.c.key.label("destination"),
        destination.c.enabled.label("destination_enabled"),
        version.c.size,
    )
    wanted = [computation.c.space_id == space_id, connection.c.removed_at.is_(None)]
    if audience is not None:
        wanted.append(computation.c.key == audience)
    rows = c.execute(sa.select(*columns).select_from(joined).where(*wanted).order_by(computation.c.key, destination.c.key)).all()
    requests, dead, held = _requests(c), _dead(c), _held(c)
    return [_status(row, requests.get(row.id, []), dead.get(row.id, 0), held=held.get(row.computation_id, 0)) for row in rows]


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


def _dead(c: sa.Connection) -> dict[str, int]:
    query = sa.select(exception.c.connection_id, sa.func.count()).where(exception.c.kind.in_(_DEAD)).group_by(exception.c.connection_id)
    return {row[0]: row[1] for row in c.execute(query)}


def _held(c: sa.Connection) -> dict[str, int]:
    query = (
        sa.select(version.c.computation_id, sa.func.max(version.c.n)).where(version.c.state == "held").group_by(version.c.computation_id)
    )
    return {row[0]: row[1] for row in c.execute(query)}
