"""What each destination of an audience was told of one member, address by address, and what it refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.protocol import ExceptionKind
from engage_pipelines.domain.records import CALL_LETTERS
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.matching import live_connections

_CALLS = {letter: call for call, letter in CALL_LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A record of the member that did not arrive: `kind` is rejected, retryable or left_out."""

    call: str
    kind: str
    entered: bool
    reason: str
    attempts: int
    failed_at: int
    retry_at: int | None


@dataclass(frozen=True, slots=True)
class Told:
    """One address at one destination. `version` is the one whose state it was told, 0 when it was told nothing yet."""

    destination: str
    state: str
    address: str = field(repr=False)
    version: int
    failed: Sequence[Attempt]


def told_of(c: sa.Connection, of: Row, level: str, addresses: Sequence[str]) -> list[Told]:
    """By destination and address, of the connections that are not removed."""
    found: list[Told] = []
    names = {row.id: row.key for row in c.execute(sa.select(t.destination.c.id, t.destination.c.key))}
    for row in live_connections(c, t.connection.c.computation_id == of.id):
        found.extend(_told_by(c, row, names[row.destination_id], level, addresses))
    return sorted(found, key=lambda one: (one.destination, one.address))


def _told_by(c: sa.Connection, row: Row, name: str, level: str, addresses: Sequence[str]) -> Iterator[Told]:
    r, b, e = t.replica.c, t.base.c, t.exception.c
    replicas = list(c.execute(sa.select(r.name).where(r.connection_id == row.id, r.level == level)).scalars())
    for replica in replicas:
        mine = sa.and_(e.connection_id == row.id, e.replica == replica, e.address.in_(addresses))
        failed: dict[str, list[Attempt]] = {}
        for each in c.execute(sa.select(t.exception).where(mine).order_by(e.address, e.part)):
            failed.setdefault(each.address, []).append(_attempt(each))
        for address in addresses:
            of_range = sa.and_(b.connection_id == row.id, b.replica == replica, b.lo <= address)
            version = c.execute(sa.select(b.version).where(of_range).order_by(b.lo.desc())).scalars().first()
            yield Told(name, row.state, address, version or 0, failed.get(address, ()))


def _attempt(row: Any) -> Attempt:
    return Attempt(_CALLS[row.part[:1]], str(ExceptionKind(row.kind)), row.value, row.reason, row.attempts, row.created_at, row.retry_at)
