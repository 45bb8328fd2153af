"""What the database knows of a connection; `ledger` has the transactions that move it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.protocol import EMPTIED, BaseRow, ExceptionKind, ReplicaState
from engage_pipelines.registry import tables as t


@dataclass(frozen=True, slots=True)
class MappingRow:
    """An enabled mapping as a generation freezes it."""

    id: str
    name: str
    trigger: str
    action: str
    fields: Mapping[str, Any]
    revision: int
    number: int = 0
    """Its own among the mappings of the destination, and nobody else's after it is gone."""


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection with what it joins; `settings` are as stored, secrets unresolved."""

    id: str
    state: str
    calls: tuple[str, ...]
    options: Mapping[str, Any]
    computation_id: str
    computation_key: str
    level: str
    current: int
    space_id: str
    space_key: str
    destination_id: str
    destination_key: str
    destination_name: str
    destination_type: str
    destination_enabled: bool
    settings: Mapping[str, Any]
    paused_until: int
    computation_name: str = ""
    external_id: str | None = None
    list_seen_at: int = 0
    rest_until: int = 0
    leaves: bool = False
    note: str | None = None
    skipped: "Skipped | None" = None
    kind: str = "audience"
    is_sql: bool = False
    """A trait that a SELECT computes: its columns are traits."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """How many members have no identifier to be matched by, and which version and rules they were counted for."""

    members: int
    of: str


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """One row of the exceptions table."""

    address: str
    part: str
    kind: ExceptionKind
    value: bool
    message_id: str
    generation: int
    seq: int
    reason: str
    attempts: int
    retry_at: int | None
    digest: str | None = None
    """Of the value of a trait that was tried, None where that it has none was."""


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """One generation; `hi` None is the end of all addresses."""

    id: int
    replica: str
    kind: str
    lo: str
    hi: str | None
    target: int
    current_when_planned: int
    sends_exits: bool
    resync_no: int
    state: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a generation leaves behind: exceptions to keep, addresses and parts that are no exception any more, and counts for people."""

    keep: Sequence[ExceptionRow]
    clear: Sequence[tuple[str, str]]
    delivered: int
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


def load_connection(c: sa.Connection, connection_id: str) -> ConnectionRow:
    """The connection with the computation, space and destination it joins."""
    con, com, dst, spa = t.connection.c, t.computation.c, t.destination.c, t.space.c
    row = c.execute(
        sa.select(
            con.id, con.state, con.calls, con.options, con.computation_id, com.key.label("computation_key"), com.level,
            com.current_version, com.space_id, spa.key.label("space_key"), con.destination_id, dst.key.label("destination_key"),
            dst.name.label("destination_name"), dst.type, dst.enabled, dst.settings, dst.paused_until,
            com.name.label("computation_name"), com.kind, com.options.label("computation_options"),
            con.external_id, con.list_seen_at, con.rest_until, con.leaves_since, con.note,
            con.skipped, con.skipped_of,
        )
        .select_from(t.connection.join(t.computation).join(t.destination, con.destination_id == dst.id))
        .join(t.space, com.space_id == spa.id)
        .where(con.id == connection_id)
    ).one()  # fmt: skip
    aim = (row.current_version or 0) if row.leaves_since is None else EMPTIED
    return ConnectionRow(
        row.id, row.state, tuple(row.calls), row.options or {}, row.computation_id, row.computation_key, row.level,
        aim, row.space_id, row.space_key, row.destination_id, row.destination_key, row.destination_name,
        row.type, row.enabled, row.settings, row.paused_until or 0, row.computation_name, row.external_id, row.list_seen_at or 0,
        row.rest_until, row.leaves_since is not None, row.note,
        Skipped(row.skipped, row.skipped_of) if row.skipped_of else None, row.kind, row.computation_options.get("type") == "sql",
    )  # fmt: skip


def load_mappings(c: sa.Connection, connection: ConnectionRow) -> tuple[MappingRow, ...]:
    """The enabled mappings that may fire for the connection: those of the destination, and presets made for it; oldest first."""
    m = t.mapping.c
    rows = c.execute(
        sa.select(m.id, m.name, m.trigger, m.action, m.fields, m.revision, m.number)
        .where(
            m.destination_id == connection.destination_id,
            m.enabled.is_(sa.true()),
            m.removed_at.is_(None),
            sa.or_(m.connection_id.is_(None), m.connection_id == connection.id),
        )
        .order_by(m.created_at, m.id)
    )
    return tuple(MappingRow(r.id, r.name, r.trigger, r.action, r.fields, r.revision, r.number) for r in rows)


def evaluated_at(c: sa.Connection, computation_id: str, n: int) -> int:
    """The instant that the version is as of."""
    v = t.version.c
    return int(c.execute(sa.select(v.evaluated_at).where(v.computation_id == computation_id, v.n == n)).scalar_one())


def load_replicas(c: sa.Connection, connection_id: str, directions: Mapping[str, frozenset[bool]], now_us: int) -> list[ReplicaState]:
    """The replicas of a connection; `directions` says per level which values an enabled mapping would send."""
    rows = c.execute(sa.select(t.replica).where(t.replica.c.connection_id == connection_id).order_by(t.replica.c.name)).all()
    states: list[ReplicaState] = []
    for row in rows:
        sends = directions.get(row.level, frozenset())
        states.append(
            ReplicaState(
                name=row.name,
                level=row.level,
                base=load_base(c, connection_id, row.name),
                resync_no=row.resync_no,
                sends_entries=True in sends,
                sends_exits=False in sends,
                retry_due=_retry_due(c, connection_id, row.name, now_us),
            )
        )
    return states


def load_resync_numbers(c: sa.Connection, connection_id: str) -> Mapping[str, int]:
    """How often each replica of the connection was asked to be sent again."""
    r = t.replica.c
    return {row.name: row.resync_no for row in c.execute(sa.select(r.name, r.resync_no).where(r.connection_id == connection_id))}


def load_base(c: sa.Connection, connection_id: str, replica: str) -> tuple[BaseRow, ...]:
    b = t.base.c
    rows = c.execute(sa.select(b.lo, b.version, b.exits_version, b.resync_no).where(b.connection_id == connection_id, b.replica == replica))
    return tuple(sorted(BaseRow(row.lo, row.version, row.exits_version, row.resync_no) for row in rows))


def _retry_due(c: sa.Connection, connection_id: str, replica: str, now_us: int) -> bool:
    e = t.exception.c
    query = sa.select(sa.literal(1)).where(
        e.connection_id == connection_id, e.replica == replica, e.kind == "retryable", e.retry_at <= now_us
    )
    return c.execute(query.limit(1)).first() is not None


def load_exceptions(c: sa.Connection, connection_id: str, replica: str) -> list[ExceptionRow]:
    """The exceptions of a replica, by address and part."""
    e = t.exception.c
    rows = c.execute(sa.select(t.exception).where(e.connection_id == connection_id, e.replica == replica).order_by(e.address, e.part))
    return [
        ExceptionRow(
            r.address, r.part, ExceptionKind(r.kind), r.value, r.message_id, r.generation, r.seq, r.reason, r.attempts, r.retry_at, r.digest
        )
        for r in rows
    ]


def generations_of_exceptions(c: sa.Connection, connection_id: str) -> set[int]:
    """The generations whose files hold the payloads of the connection's exceptions."""
    e = t.exception.c
    return set(c.execute(sa.select(e.generation).where(e.connection_id == connection_id).distinct()).scalars())


@dataclass(frozen=True, slots=True)
class Failures:
    """What a connection keeps as exceptions: `dead` were refused, `waiting` are tried again from `retry_at_us` on."""

    dead: int
    waiting: int
    retry_at_us: int | None


def failures(c: sa.Connection, connection_id: str) -> Failures:
    """The exceptions of a connection in numbers."""
    e = t.exception.c
    rows = c.execute(
        sa.select(e.kind, sa.func.count().label("rows"), sa.func.min(e.retry_at).label("retry_at"))
        .where(e.connection_id == connection_id)
        .group_by(e.kind)
    )
    found = {row.kind: (row.rows, row.retry_at) for row in rows}
    waiting = found.get("retryable", (0, None))
    return Failures(found.get("rejected", (0, None))[0], waiting[0], waiting[1])


def settled_counts(c: sa.Connection, connection_id: str, *, since_us: int) -> list[Mapping[str, Mapping[str, int]]]:
    """The counts of every generation settled since the instant."""
    g = t.generation.c
    rows = c.execute(sa.select(g.counts).where(g.connection_id == connection_id, g.state == "settled", g.settled_at >= since_us))
    return [row.counts or {} for row in rows]


def version_size(c: sa.Connection, connection: ConnectionRow) -> int:
    """Members of the current version at the computation's own level; 0 before the first."""
    v = t.version.c
    query = sa.select(v.size).where(v.computation_id == connection.computation_id, v.n == connection.current)
    return int(c.execute(query).scalar() or 0)


def unsettled_generation(c: sa.Connection, connection_id: str) -> GenerationRow | None:
    """The generation that is open or was being planned, if there is one."""
    g = t.generation.c
    row = c.execute(
        sa.select(t.generation).where(g.connection_id == connection_id, g.state.in_(["planning", "open"])).order_by(g.id)
    ).first()
    if row is None:
        return None
    return GenerationRow(
        row.id, row.replica, row.kind, row.lo, row.hi, row.target, row.current_when_planned, row.sends_exits, row.resync_no, row.state
    )


def record_count(c: sa.Connection, generation_id: int) -> int:
    """How many records an open generation has."""
    return int(c.execute(sa.select(t.generation.c.records).where(t.generation.c.id == generation_id)).scalar_one() or 0)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The answer to a run of seqs, both ends included."""

    lo: int
    hi: int
    answer: str
    reason: str | None
    attempts: int


def load_ledger(c: sa.Connection, generation_id: int) -> list[LedgerRow]:
    """The acknowledged ranges of a generation, in order."""
    rows = c.execute(sa.select(t.ledger).where(t.ledger.c.generation == generation_id).order_by(t.ledger.c.lo))
    return [LedgerRow(r.lo, r.hi, r.answer, r.reason, r.attempts) for r in rows]
