"""Setting stopped connections going again, after someone mended what stopped them."""

import sqlalchemy as sa

from engage_pipelines.domain.connection import RequestKind, State
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.matching import live_connections, refresh_state
from engage_pipelines.registry.requests import owe_sync
from engage_pipelines.registry.tables import connection, exception, sync_request


def mend_connections(change: Change, *where: sa.ColumnElement[bool]) -> None:
    """Stopped connections become active, and what they owe is tried at once, as if it had never failed."""
    for row in live_connections(change.c, connection.c.state == State.STOPPED, *where):
        state = State.ACTIVE if row.leaves_since is None else State.LEAVING
        active = change.update(connection, row.id, {"state": str(state), "error": None, "remedy": None})
        refresh_state(change, active)
    owe_refused(change, *where)
    for row in live_connections(change.c, *where):
        try_now(change, row.id)


def owe_refused(change: Change, *where: sa.ColumnElement[bool]) -> None:
    """Have active connections that keep refused records synced: what made or took them was mended, the run finds which go again."""
    refused = sa.select(exception.c.connection_id).where(exception.c.kind == "rejected")
    active = sa.and_(connection.c.state == State.ACTIVE, connection.c.id.in_(refused))
    for row in live_connections(change.c, active, *where):
        owe_sync(change.c, row.id, RequestKind.SYNC, change.stamp)


def try_now(change: Change, connection_id: str) -> None:
    """Whatever the connection owes waits no longer; an attempt that runs is left alone."""
    waiting = sa.and_(sync_request.c.connection_id == connection_id, sync_request.c.state == "owed", sync_request.c.started_at.is_(None))
    change.c.execute(sync_request.update().where(waiting).values(not_before=0, failures=0))
