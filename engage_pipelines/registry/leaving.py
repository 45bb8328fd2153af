"""Leaving: a connection whose exits are all sent before it is gone.

From then on it aims at an empty version of its own, so that planning, sending, retries and replays are those of any sync. Its mappings stay
until it is gone, which the run that finds nothing left to tell decides; `end` is the way out for who does not want to wait.
"""

import sqlalchemy as sa

from engage_pipelines.domain.connection import RequestKind, State
from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import remove_presets
from engage_pipelines.registry.matching import matches_of
from engage_pipelines.registry.mending import try_now
from engage_pipelines.registry.requests import owe_sync, told_replicas
from engage_pipelines.registry.tables import connection, sync_request

OPTION = "on_disconnect"
KEEP, EXIT_ALL = "keep", "exit_all"


def leaves_first(row: Row) -> bool:
    """Whether people said that its exits are to be sent when it is disconnected, and that has not begun."""
    return row.options.get(OPTION) == EXIT_ALL and row.leaves_since is None


def sends_exits(change: Change, row: Row) -> bool:
    """Whether some enabled mapping of the connection would."""
    return any(match.mapping.enabled and match.sends(entered=False) for match in matches_of(change.c, row))


def leave(change: Change, row: Row, named: str) -> Row:
    """Owe an exit of everyone whom the connection was told of; `named` is what the audit calls it. Nothing is written where it leaves.

    A connection that was told of nobody ends at once. Raises ConflictError where no enabled mapping sends exits.
    """
    change.check_editable(row, named)
    row = change.lock(connection, row.id)
    if row.leaves_since is not None:
        return row
    if not told_replicas(change.c, row.id):
        end(change, row, named)
        return change.row(connection, row.id)
    if not sends_exits(change, row):
        raise ConflictError(
            "No enabled mapping of the connection sends exits, so none can be sent.",
            "Enable one, or end the connection as it is with --remove.",
        )
    values = {"state": str(State.LEAVING), "leaves_since": change.now, "error": None, "remedy": None, "rest_until": 0}
    left = change.update(connection, row.id, values)
    owe_sync(change.c, row.id, RequestKind.SYNC, change.stamp)
    try_now(change, row.id)
    change.record("leave", named, before={"state": row.state}, after={"state": left.state})
    return left


def end(change: Change, row: Row, named: str) -> None:
    """End the connection as it is; a run that works on it has done its work, what waits is cancelled."""
    change.update(connection, row.id, {"state": str(State.GONE), "removed_at": change.now})
    owed = sa.and_(sync_request.c.connection_id == row.id, sync_request.c.state == "owed")
    is_done = sa.and_(sync_request.c.started_at.is_not(None), sa.literal(row.leaves_since is not None))
    state = sa.case((is_done, "done"), else_="cancelled")
    change.c.execute(sync_request.update().where(owed).values(state=state, settled_at=change.now, started_at=None))
    remove_presets(change, row)
    change.record("disconnect", named, before={"state": row.state, "calls": row.calls})
