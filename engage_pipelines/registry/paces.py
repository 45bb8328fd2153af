"""Paces: the one row per destination through which its connections, in all processes, agree when to send.

Taking permissions is one atomic statement. The rest is written seldom, by a rule of `domain.pacing` under the row's lock. Instants come
from the clock that all processes share.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.pacing import BURST_S, FAILURES_THAT_OPEN, SECOND_US, Pace, ahead_us, interval_us, pace_words
from engage_pipelines.registry.database import Database, insert_if_new
from engage_pipelines.registry.tables import connection, destination, pace

_COLUMNS = {
    "next_at_us": pace.c.next_at,
    "slowed_to": pace.c.slowed_to,
    "usual_rate": pace.c.usual_rate,
    "slowed_at_us": pace.c.slowed_at,
    "raised_at_us": pace.c.raised_at,
    "failures": pace.c.failures,
    "failed_at_us": pace.c.failed_at,
    "rests": pace.c.rests,
    "rest_until_us": pace.c.rest_until,
    "tried_by": pace.c.tried_by,
    "tried_until_us": pace.c.tried_until,
}
PACE_COLUMNS = tuple(_COLUMNS.values())
"""What `pace_in` needs of a row that joins the table, from the outside where a destination has none yet."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a connection may send, read in one statement; `most_per_s` is the operator's own limit."""

    state: str
    token: int
    paused_until_us: int
    most_per_s: float | None
    pace: Pace
    now_us: int


def pace_in(row: Any) -> Pace:
    """The pace that a row with PACE_COLUMNS holds; the one of a destination that nothing happened to when it has none."""
    if row._mapping[pace.c.next_at] is None:
        return Pace()
    return Pace(**{name: row._mapping[column] for name, column in _COLUMNS.items()})


def read_allowance(database: Database, connection_id: str) -> Allowance:
    """How it stands with the connection, its destination and the pace there."""
    joined = connection.join(destination, destination.c.id == connection.c.destination_id).outerjoin(
        pace, pace.c.destination_id == destination.c.id
    )
    columns = (connection.c.state, connection.c.token, destination.c.paused_until, destination.c.max_requests_per_s, *PACE_COLUMNS)
    query = sa.select(*columns).select_from(joined).where(connection.c.id == connection_id)
    row, now = database.ask(lambda c: (c.execute(query).one(), database.now_us(c)))
    return Allowance(row.state, row.token, row.paused_until or 0, row.max_requests_per_s, pace_in(row), now)


def read_paces(c: sa.Connection, destination_ids: Sequence[str] | None = None) -> dict[str, Pace]:
    """The paces of these destinations, or of all, by id; one that nothing happened to may be missing."""
    query = sa.select(pace)
    if destination_ids is not None:
        query = query.where(pace.c.destination_id.in_(destination_ids))
    return {row.destination_id: pace_in(row) for row in c.execute(query)}


def destinations_unwell(c: sa.Connection, now_us: int) -> dict[str, list[str]]:
    """The destinations, by key, that are not sent to as usual, with the words for it."""
    joined = destination.outerjoin(pace, pace.c.destination_id == destination.c.id)
    unusual = sa.or_(destination.c.paused_until > now_us, pace.c.slowed_to.is_not(None), pace.c.failures >= FAILURES_THAT_OPEN)
    query = sa.select(destination.c.key, destination.c.paused_until, *PACE_COLUMNS).select_from(joined)
    rows = c.execute(query.where(unusual, destination.c.removed_at.is_(None), destination.c.source_id.is_(None)))
    return {row.key: pace_words(pace_in(row), paused_until_us=row.paused_until, now_us=now_us) for row in rows}


def take_permissions(database: Database, destination_id: str, *, rate: float, count: int) -> int | None:
    """The instant from which the first of `count` permissions holds, the others an interval apart; None when too many are given out.

    One statement, which the database carries out for one process after the other: `domain.pacing.grant` in SQL. Where its answer is lost
    permissions may go unused.
    """

    def body(c: sa.Connection) -> int | None:
        # on SQLite the write lock is held from here on, so that the clock is read in turn too
        now: Any = database.now_us(c) if database.is_sqlite else _POSTGRES_NOW
        greatest = sa.func.max if database.is_sqlite else sa.func.greatest
        begins = greatest(pace.c.next_at, now - round(BURST_S * SECOND_US))
        statement = (
            sa.update(pace)
            .where(pace.c.destination_id == destination_id, begins <= now + ahead_us(rate))
            .values(next_at=begins + count * interval_us(rate))
            .returning(pace.c.next_at)
        )
        return c.execute(statement).scalar()

    after = database.tell(body)
    return None if after is None else after - count * interval_us(rate)


def change_pace(c: sa.Connection, destination_id: str, rule: Callable[[Pace], Pace]) -> Pace:
    """Write what the rule makes of the row, under its lock; returns it."""
    ensure_pace(c, destination_id)
    before = pace_in(c.execute(sa.select(pace).where(pace.c.destination_id == destination_id).with_for_update()).one())
    after = rule(before)
    if after != before:
        old, new = asdict(before), asdict(after)
        changed = {_COLUMNS[name].name: value for name, value in new.items() if value != old[name]}
        c.execute(sa.update(pace).where(pace.c.destination_id == destination_id).values(**changed))
    return after


def ensure_pace(c: sa.Connection, destination_id: str) -> None:
    """See to it that the destination has a row."""
    c.execute(insert_if_new(c, pace).values(destination_id=destination_id))


def try_again_at_once(c: sa.Connection, destination_id: str) -> None:
    """Somebody mended something or wants it tried: no rest is kept, whoever asks first may try."""
    mine = sa.and_(pace.c.destination_id == destination_id, pace.c.failures >= FAILURES_THAT_OPEN)
    c.execute(sa.update(pace).where(mine).values(rest_until=0, rests=0))


def owners_at_work(c: sa.Connection, destination_id: str, now_us: int) -> int:
    """How many connections of the destination a run works on."""
    live = sa.and_(connection.c.destination_id == destination_id, connection.c.lease_until > now_us, connection.c.lease_owner.is_not(None))
    return int(c.execute(sa.select(sa.func.count()).select_from(connection).where(live)).scalar_one())


_POSTGRES_NOW = sa.literal_column("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", sa.BigInteger)
