"""How far a sync is: of the generation under way, how many of its records were answered. Reads tables alone."""

from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.registry import tables as t


@dataclass(frozen=True, slots=True)
class Progress:
    """`kind` is backfill, resync or sync, `level` user or account; `total` is None while the records are being planned."""

    kind: str
    level: str
    done: int
    total: int | None

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0


def progress_of(c: sa.Connection, connection_id: str) -> Progress | None:
    """None when no generation is under way."""
    g, r, led = t.generation.c, t.replica.c, t.ledger.c
    is_under_way = sa.and_(g.connection_id == connection_id, g.state.in_(["planning", "open"]))
    joined = t.generation.join(t.replica, sa.and_(r.connection_id == g.connection_id, r.name == g.replica))
    row = c.execute(sa.select(g.id, g.kind, g.records, g.state, r.level).select_from(joined).where(is_under_way).order_by(g.id)).first()
    if row is None:
        return None
    answered = c.execute(sa.select(sa.func.coalesce(sa.func.sum(led.hi - led.lo + 1), 0)).where(led.generation == row.id)).scalar_one()
    return Progress(row.kind, row.level, int(answered), row.records if row.state == "open" else None)
