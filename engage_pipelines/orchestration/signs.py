"""Signs: one cheap look at the registry that says whether a tick has anything to do, and the connections that partitions mirror."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.registry import tables as t


@dataclass(frozen=True, slots=True)
class Signs:
    """Texts that stay equal while nothing that Dagster mirrors was written, and whether any request may have something to be done."""

    computations: str
    connections: str
    due: bool


def read_signs(connection: sa.Connection, now_us: int) -> Signs:
    """One query over small or indexed tables."""
    com, con, spa = t.computation.c, t.connection.c, t.space.c
    of_computations = (
        sa.func.count(com.id), sa.func.max(com.updated_at), sa.func.max(com.deleted_at), sa.func.count(com.deleted_at),
        sa.func.count(spa.id), sa.func.max(spa.updated_at),
    )  # fmt: skip
    of_connections = (
        sa.func.count(con.id), sa.func.max(con.created_at), sa.func.count(con.removed_at), sa.func.max(con.removed_at),
        sa.func.count(com.deleted_at), sa.func.max(com.deleted_at),
    )  # fmt: skip
    aggregates = [sa.select(aggregate).scalar_subquery() for aggregate in (*of_computations, *of_connections)]
    due = (sa.exists().where(table.c.state == "owed", table.c.not_before <= now_us) for table in (t.sync_request, t.compute_request))
    row = connection.execute(sa.select(*aggregates, *due)).one()
    seen = len(of_computations)
    return Signs(_text(row[:seen]), _text(row[seen : len(aggregates)]), any(row[len(aggregates) :]))


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


def _text(values: tuple[object, ...]) -> str:
    return ".".join("-" if value is None else str(value) for value in values)
