"""What is owed: the questions that the launcher asks the registry, each answered from its present state and never from what changed last."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.registry import tables as t

WORKING_STATES = ("active", "leaving")
"""Connections whose requests are launched; the others keep theirs until they are mended, resumed or given a mapping."""


@dataclass(frozen=True, slots=True)
class Signs:
    """One cheap look: has anything that Dagster mirrors changed, and is anything due? Signs are equal while nothing changed."""

    computations: str
    connections: str
    due: bool


@dataclass(frozen=True, slots=True)
class OwedSync:
    """A sync request that is due."""

    id: str
    attempt: int
    run_id: str | None
    space: str
    audience: str
    destination: str
    connection_id: str

    @property
    def run_key(self) -> str:
        return f"{self.id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class OwedCompute:
    """A compute request that is due; `computations` are (kind, key) of those that still exist."""

    id: str
    attempt: int
    run_id: str | None
    space: str
    computations: tuple[tuple[str, str], ...]

    @property
    def run_key(self) -> str:
        return f"{self.id}:{self.attempt}"


def read_signs(connection: sa.Connection, now_us: int) -> Signs:
    """One query over small or indexed tables."""
    com, con, spa = t.computation.c, t.connection.c, t.space.c
    row = connection.execute(
        sa.select(
            _one(sa.func.count(com.id)), _one(sa.func.max(com.updated_at)), _one(sa.func.max(com.deleted_at)),
            _one(sa.func.count(spa.id)), _one(sa.func.max(spa.updated_at)),
            _one(sa.func.count(con.id)), _one(sa.func.max(con.created_at)), _one(sa.func.max(con.removed_at)),
            _one(sa.func.count(con.removed_at)),
            sa.exists(_due_syncs(now_us)), sa.exists(_due_computes(now_us)),
        )
    ).one()  # fmt: skip
    return Signs(_sign(row[:5]), _sign(row[5:9]), bool(row[9] or row[10]))


def _one(aggregate: sa.ColumnElement[int]) -> sa.ScalarSelect[int]:
    return sa.select(aggregate).scalar_subquery()


def _sign(values: sa.Row | tuple[object, ...]) -> str:
    return ".".join("-" if value is None else str(value) for value in values)


def _due_syncs(now_us: int) -> sa.Select[tuple[str]]:
    req, con, com, dst = t.sync_request.c, t.connection.c, t.computation.c, t.destination.c
    return (
        sa.select(req.id)
        .join(t.connection, req.connection_id == con.id)
        .join(t.computation, con.computation_id == com.id)
        .join(t.destination, con.destination_id == dst.id)
        .where(
            req.state == "owed",
            req.not_before <= now_us,
            con.removed_at.is_(None),
            con.state.in_(WORKING_STATES),
            dst.enabled.is_(sa.true()),
            com.current_version.is_not(None),
        )
    )


def _due_computes(now_us: int) -> sa.Select[tuple[str]]:
    req = t.compute_request.c
    return sa.select(req.id).where(req.state == "owed", req.not_before <= now_us)


def read_owed_syncs(connection: sa.Connection, now_us: int, limit: int) -> list[OwedSync]:
    """The due sync requests, one per connection: the oldest; a run works off whatever else its connection owes."""
    req, con, com, dst, spa = t.sync_request.c, t.connection.c, t.computation.c, t.destination.c, t.space.c
    query = (
        _due_syncs(now_us)
        .join(t.space, com.space_id == spa.id)
        .with_only_columns(
            req.id, req.attempt, req.run_id, spa.key.label("space"), com.key.label("audience"), dst.key.label("destination"), req.connection_id
        )
        .order_by(req.not_before, req.created_at, req.id)
        .limit(limit)
    )  # fmt: skip
    first: dict[str, OwedSync] = {}
    for row in connection.execute(query).mappings():
        first.setdefault(row["connection_id"], OwedSync(**row))
    return list(first.values())


def read_owed_computes(connection: sa.Connection, now_us: int, limit: int) -> list[OwedCompute]:
    """The due compute requests, oldest first."""
    req, spa, com = t.compute_request.c, t.space.c, t.computation.c
    query = (
        _due_computes(now_us)
        .join(t.space, req.space_id == spa.id)
        .with_only_columns(req.id, req.attempt, req.run_id, spa.key.label("space"), req.computation_ids)
        .order_by(req.created_at, req.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    wanted = {computation for row in rows for computation in row.computation_ids}
    known = {
        row.id: (row.kind, row.key)
        for row in connection.execute(sa.select(com.id, com.kind, com.key).where(com.id.in_(wanted), com.deleted_at.is_(None)))
    }
    return [
        OwedCompute(row.id, row.attempt, row.run_id, row.space, tuple(sorted(known[c] for c in row.computation_ids if c in known)))
        for row in rows
    ]


def read_connected(connection: sa.Connection) -> Mapping[tuple[str, str], frozenset[str]]:
    """(space, audience) -> the keys of its connected destinations; audiences that once had some are there with none."""
    con, com, dst, spa = t.connection.c, t.computation.c, t.destination.c, t.space.c
    query = (
        sa.select(spa.key.label("space"), com.key.label("audience"), dst.key.label("destination"), con.removed_at, com.deleted_at)
        .join(t.computation, con.computation_id == com.id)
        .join(t.destination, con.destination_id == dst.id)
        .join(t.space, com.space_id == spa.id)
    )
    found: dict[tuple[str, str], set[str]] = {}
    for row in connection.execute(query):
        destinations = found.setdefault((row.space, row.audience), set())
        if row.removed_at is None and row.deleted_at is None:
            destinations.add(row.destination)
    return {key: frozenset(destinations) for key, destinations in found.items()}
