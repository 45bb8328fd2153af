"""The transactions that move a connection: reserve, open, acknowledge, settle, under its lease.

Each comes to the same when it is repeated, so that a database which goes away in the middle of one, or just after its commit, is waited
for and asked again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from engage_pipelines.delivery.lease import Lease
from engage_pipelines.delivery.state import ExceptionRow, GenerationRow, LedgerRow, Settlement, load_base
from engage_pipelines.domain.protocol import BaseRow, Settled, Step, move
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import insert_if_new


def abandon(lease: Lease, generation_id: int) -> None:
    """Give up a generation that was never opened: nothing of it was sent, its number is not used again."""
    mine = t.generation.c.id == generation_id
    lease.tell(lambda c: c.execute(sa.update(t.generation).where(mine).values(state="abandoned")))


def reserve(lease: Lease, step: Step, settled: Settled, *, current: int, made_with: Mapping[str, Any], now_us: int) -> GenerationRow:
    """Reserve the number of a new generation; `made_with` says by mapping which revision its records are made with.

    A number whose commit went through, but whose answer was lost, is given up for another one: nothing was planned under it.
    """
    values = {
        "connection_id": lease.connection_id,
        "replica": step.replica,
        "kind": step.kind.value,
        "lo": settled.range.lo,
        "hi": settled.range.hi,
        "target": settled.target,
        "current_when_planned": current,
        "sends_exits": settled.sends_exits,
        "resync_no": settled.resync_no,
    }
    g = t.generation.c
    unplanned = sa.and_(g.connection_id == lease.connection_id, g.state == "planning")

    def insert(c: sa.Connection) -> int:
        c.execute(sa.update(t.generation).where(unplanned).values(state="abandoned"))
        row = sa.insert(t.generation).values(**values, mapping_revisions=dict(made_with), state="planning", planned_at=now_us)
        key = c.execute(row).inserted_primary_key
        assert key is not None
        return int(key[0])

    return GenerationRow(
        lease.tell(insert), step.replica, step.kind.value, settled.range.lo, settled.range.hi, settled.target, current, settled.sends_exits,
        settled.resync_no, "planning",
    )  # fmt: skip


def open_generation(lease: Lease, generation_id: int, records: int, unsent: Sequence[LedgerRow]) -> None:
    """Open a planned generation whose file is in place; `unsent` are the records of it that are not to be sent."""

    def body(c: sa.Connection) -> None:
        c.execute(
            sa.update(t.generation)
            .where(t.generation.c.id == generation_id, t.generation.c.state == "planning")
            .values(state="open", records=records)
        )
        if unsent:
            c.execute(insert_if_new(c, t.ledger), _ledger_values(generation_id, unsent))

    lease.tell(body)


def acknowledge(lease: Lease, generation_id: int, rows: Sequence[LedgerRow]) -> None:
    """Write answers, after they came, in one transaction; those that a commit wrote whose own answer was lost are there already."""
    if not rows:
        return
    lease.tell(lambda c: c.execute(insert_if_new(c, t.ledger), _ledger_values(generation_id, rows)))


def _ledger_values(generation_id: int, rows: Sequence[LedgerRow]) -> list[dict[str, Any]]:
    return [
        {"generation": generation_id, "lo": r.lo, "hi": r.hi, "answer": r.answer, "reason": r.reason, "attempts": r.attempts} for r in rows
    ]


def move_base(
    lease: Lease, replica: str, settled: Settled, *, stale: Sequence[tuple[str, str]], idle: Sequence[tuple[str, str]], retry_at_us: int
) -> bool:
    """Move the base where nothing is owed; False when it says so already.

    `stale` are exceptions that have nothing to say at the target, `idle` those that were due and that no enabled mapping would send: they
    wait until `retry_at_us`.
    """
    e = t.exception.c

    def body(c: sa.Connection) -> bool:
        _clear_exceptions(c, lease.connection_id, replica, stale)
        for address, part in idle:
            mine = sa.and_(e.connection_id == lease.connection_id, e.replica == replica, e.address == address, e.part == part)
            c.execute(sa.update(t.exception).where(mine).values(retry_at=retry_at_us))
        before = load_base(c, lease.connection_id, replica)
        after = move(before, settled)
        if before != after:
            _replace_base(c, lease.connection_id, replica, after)
        return before != after

    return lease.tell(body)


def settle(lease: Lease, generation: GenerationRow, settled: Settled, outcome: Settlement, *, now_us: int) -> None:
    """Close a generation in one transaction: exceptions, base, counters; the ledger's rows have done their work.

    One that is closed already was closed by a commit whose answer was lost.
    """
    con, mine = lease.connection_id, t.generation.c.id == generation.id

    def body(c: sa.Connection) -> None:
        if c.execute(sa.select(t.generation.c.state).where(mine)).scalar_one() == "settled":
            return
        _clear_exceptions(c, con, generation.replica, [*outcome.clear, *((row.address, row.part) for row in outcome.keep)])
        for row in outcome.keep:
            _keep_exception(c, con, generation.replica, row, now_us)
        _replace_base(c, con, generation.replica, move(load_base(c, con, generation.replica), settled))
        c.execute(sa.delete(t.ledger).where(t.ledger.c.generation == generation.id))
        c.execute(sa.update(t.generation).where(mine).values(state="settled", settled_at=now_us, counts=outcome.counts))
        c.execute(
            sa.update(t.connection)
            .where(t.connection.c.id == con)
            .values(sent=t.connection.c.sent + outcome.delivered, last_sync_at=now_us)
        )

    lease.tell(body)


def _keep_exception(c: sa.Connection, connection_id: str, replica: str, row: ExceptionRow, now_us: int) -> None:
    c.execute(
        sa.insert(t.exception).values(
            connection_id=connection_id, replica=replica, address=row.address, part=row.part, kind=row.kind.value, value=row.value,
            message_id=row.message_id, generation=row.generation, seq=row.seq, reason=row.reason, attempts=row.attempts,
            retry_at=row.retry_at, created_at=now_us, digest=row.digest,
        )
    )  # fmt: skip


def _clear_exceptions(c: sa.Connection, connection_id: str, replica: str, parts: Iterable[tuple[str, str]]) -> None:
    e = t.exception.c
    for address, part in parts:
        c.execute(
            sa.delete(t.exception).where(e.connection_id == connection_id, e.replica == replica, e.address == address, e.part == part)
        )


def _replace_base(c: sa.Connection, connection_id: str, replica: str, rows: Sequence[BaseRow]) -> None:
    c.execute(sa.delete(t.base).where(t.base.c.connection_id == connection_id, t.base.c.replica == replica))
    c.execute(
        sa.insert(t.base),
        [
            {"connection_id": connection_id, "replica": replica, "lo": r.lo, "version": r.version, "exits_version": r.exits_version,
             "resync_no": r.resync_no}
            for r in rows
        ],
    )  # fmt: skip
