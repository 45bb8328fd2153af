"""Setting stopped connections going again, after someone mended what stopped them."""

import sqlalchemy as sa

from engage_pipelines.domain.connection import State
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.matching import live_connections, refresh_state
from engage_pipelines.registry.tables import connection, sync_request


def mend_connections(change: Change, *where: sa.ColumnElement[bool]) -> None:
    """Stopped connections become active, and what they owe is tried at once, as if it had never failed."""
    for row in live_connections(change.c, connection.c.state == State.STOPPED, *where):
        active = change.update(connection, row.id, {"state": str(State.ACTIVE), "error": None, "remedy": None})
        refresh_state(change, active)
    for row in live_connections(change.c, *where):
        try_now(change, row.id)


def try_now(change: Change, connection_id: str) -> None:
    """Whatever the connection owes waits no longer; an attempt that runs is left alone."""
    waiting = sa.and_(sync_request.c.connection_id == connection_id, sync_request.c.state == "owed", sync_request.c.started_at.is_(None))
    change.c.execute(sync_request.update().where(waiting).values(not_before=0, failures=0))
