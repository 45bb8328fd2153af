"""What each destination of an audience was told of one member, address by address, and what it refused."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from engage_pipelines.destinations.base import DestinationType
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


def told_of(c: sa.Connection, types: Mapping[str, DestinationType], of: Row, level: str, addresses: Sequence[str]) -> list[Told]:
    """By destination and address, of the connections that are not removed; addresses that a destination does not match by are left out."""
    found: list[Told] = []
    destinations = {row.id: row for row in c.execute(sa.select(t.destination.c.id, t.destination.c.key, t.destination.c.type))}
    for row in live_connections(c, t.connection.c.computation_id == of.id):
        to = destinations[row.destination_id]
        matched = addresses if level == "account" else _matched(types[to.type], row, addresses) if to.type in types else ()
        found.extend(_told_by(c, row, to.key, level, matched))
    return sorted(found, key=lambda one: (one.destination, one.address))


def _matched(type_: DestinationType, row: Row, addresses: Sequence[str]) -> list[str]:
    """Those of the kinds that the connection tells; without rules the preferred kind, others for people without one (`plan.Counted`)."""
    told: Sequence[str] = row.options.get("id_kinds", ())
    kinds = told or type_.user_address_kinds
    preferred = [address for address in addresses if address.startswith(f"{kinds[0]}:")]
    if preferred and not told:
        return preferred
    return [address for address in addresses if address.partition(":")[0] in kinds]


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
