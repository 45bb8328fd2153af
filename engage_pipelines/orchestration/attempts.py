"""Attempts of a request whose run ended without a word: the next attempt, later each time it fails again."""

import sqlalchemy as sa

from engage_pipelines.orchestration.owed import OwedCompute, OwedSync
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database

BACK_OFF_US = tuple(minutes * 60_000_000 for minutes in (1, 5, 15, 60))


def give_up_attempt(database: Database, request: OwedSync | OwedCompute) -> None:
    """Count the attempt as failed, if the request is still at it; nothing otherwise, so that it may be said twice."""
    table = t.sync_request if isinstance(request, OwedSync) else t.compute_request
    still = sa.and_(table.c.id == request.id, table.c.state == "owed", table.c.attempt == request.attempt)
    with database.write() as connection:
        failures = connection.execute(sa.select(table.c.failures).where(still)).scalar()
        if failures is None:
            return
        not_before = database.now_us(connection) + BACK_OFF_US[min(failures, len(BACK_OFF_US) - 1)]
        connection.execute(
            sa.update(table)
            .where(still)
            .values(
                attempt=request.attempt + 1,
                failures=failures + 1,
                not_before=not_before,
                started_at=None,
                error="The run that worked on it ended without a word; it is tried again.",
            )
        )
