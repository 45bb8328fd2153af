"""What was delivered, by connection and call, since an instant: created, delivered, left out, failed, waiting. Reads tables alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from engage_pipelines.registry import tables as t
from engage_pipelines.registry.lookup import Row

_TOLD = ("entered", "exited")
_LEFT_OUT = ("left_out", "overtaken")


@dataclass(slots=True)
class Figures:
    """One connection; `created` are records, `left_out` those that left before they were sent, `skipped` members who cannot be matched.

    `by_call` has the records that were delivered. `failed` and `retrying` are those of now, whenever they were created.
    """

    connection_id: str
    audience: str
    destination: str
    state: str
    skipped: int
    created: int = 0
    delivered: int = 0
    left_out: int = 0
    failed: int = 0
    retrying: int = 0
    by_call: Counter[str] = field(default_factory=Counter[str])


def delivery_figures(c: sa.Connection, space_id: str, *, since_us: int, audience_id: str | None = None) -> list[Figures]:
    """Of every connection that is not removed, by audience and destination."""
    con, com, dst = t.connection.c, t.computation.c, t.destination.c
    wanted = [com.space_id == space_id, con.removed_at.is_(None), *([] if audience_id is None else [com.id == audience_id])]
    query = (
        sa.select(con.id, con.state, con.skipped, com.key.label("audience"), dst.key.label("destination"))
        .join(t.computation, com.id == con.computation_id)
        .join(t.destination, dst.id == con.destination_id)
        .where(*wanted)
        .order_by(com.key, dst.key)
    )
    found = {row.id: Figures(row.id, row.audience, row.destination, row.state, row.skipped) for row in c.execute(query)}
    _add_settled(c, found, since_us)
    _add_open(c, found)
    return list(found.values())


def list_generations(c: sa.Connection, connection_ids: Sequence[str], *, offset: int, limit: int) -> tuple[list[Row], int]:
    """The generations of these connections that were not given up, the newest first, and how many there are."""
    g = t.generation.c
    mine = sa.and_(g.connection_id.in_(connection_ids), g.state != "abandoned")
    total = c.execute(sa.select(sa.func.count()).select_from(t.generation).where(mine)).scalar_one()
    rows = c.execute(sa.select(t.generation).where(mine).order_by(g.id.desc()).offset(offset).limit(limit)).all()
    return list(rows), total


def _add_settled(c: sa.Connection, found: dict[str, Figures], since_us: int) -> None:
    g = t.generation.c
    settled = sa.and_(g.connection_id.in_(found), g.state == "settled", g.settled_at >= since_us)
    for row in c.execute(sa.select(g.connection_id, g.counts).where(settled)):
        figures = found[row.connection_id]
        for call, fates in (row.counts or {}).items():
            told = sum(fates.get(fate, 0) for fate in _TOLD)
            figures.created += sum(fates.values())
            figures.delivered += told
            figures.by_call[call] += told
            figures.left_out += sum(fates.get(fate, 0) for fate in _LEFT_OUT)


def _add_open(c: sa.Connection, found: dict[str, Figures]) -> None:
    e = t.exception.c
    counted = sa.select(e.connection_id, e.kind, sa.func.count().label("n")).where(e.connection_id.in_(found))
    for row in c.execute(counted.group_by(e.connection_id, e.kind)):
        if row.kind == "rejected":
            found[row.connection_id].failed = row.n
        elif row.kind == "retryable":
            found[row.connection_id].retrying = row.n
