"""Audiences as lists and pages show them: size, status in words, destinations and uses, in a few queries whatever their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.connection import status_word
from engage_pipelines.registry.computations import users_of_each, waiting_for_destinations
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import computation, compute_request, connection, destination, version


@dataclass(frozen=True, slots=True)
class Joined:
    """A destination that an audience is connected to; `status` is Connected, Disconnected, Disabled or Awaiting mapping."""

    key: str
    name: str
    type: str
    status: str


@dataclass(frozen=True, slots=True)
class Condition:
    """How an audience is; `size` and `users` are of the current version, None before the first. `held` is the version that is held."""

    status: str
    size: int | None
    users: int | None
    held: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One audience; `size` and `users` are of the current version, None before the first. `held` is a version that waits for someone."""

    row: Row
    status: str
    size: int | None
    users: int | None
    held: int | None
    destinations: tuple[Joined, ...]
    used_by: tuple[str, ...]


def list_summaries(c: sa.Connection, space_id: str, *, search: str = "", offset: int = 0, limit: int = 50) -> tuple[list[Summary], int]:
    """The audiences whose name or key contains `search`, by name, and how many there are of them in all."""
    wanted = [computation.c.space_id == space_id, computation.c.kind == "audience", computation.c.deleted_at.is_(None)]
    if search:
        wanted.append(sa.or_(*(column.icontains(search, autoescape=True) for column in (computation.c.name, computation.c.key))))
    total = c.execute(sa.select(sa.func.count()).select_from(computation).where(*wanted)).scalar_one()
    by_name = sa.select(computation).where(*wanted).order_by(sa.func.lower(computation.c.name), computation.c.key)
    return summarize(c, space_id, c.execute(by_name.offset(offset).limit(limit)).all()), total


def summarize(c: sa.Connection, space_id: str, rows: Sequence[Row]) -> list[Summary]:
    """What there is to say of these audiences of one space."""
    destinations, uses = _destinations(c, rows), users_of_each(c, space_id)
    return [
        Summary(
            row=row,
            status=one.status,
            size=one.size,
            users=one.users,
            held=one.held,
            destinations=tuple(destinations.get(row.id, ())),
            used_by=tuple(uses.get(row.key, ())),
        )
        for row, one in zip(rows, conditions(c, space_id, rows), strict=True)
    ]


def conditions(c: sa.Connection, space_id: str, rows: Sequence[Row]) -> list[Condition]:
    """How these audiences of one space are, one for each row."""
    versions, computing, waiting = _versions(c, [row.id for row in rows]), _asked(c, space_id), waiting_for_destinations(c, rows)
    held: dict[str, int] = {}
    for of, n in versions:
        held[of] = max(n, held.get(of, 0))
    found: list[Condition] = []
    for row in rows:
        current = versions.get((row.id, row.current_version))
        newest = held.get(row.id, 0)
        found.append(
            Condition(
                status=_status(row, computing.get(row.id), waits=row.id in waiting),
                size=None if current is None else current.size,
                users=None if current is None else current.users,
                held=newest if newest > (row.current_version or 0) else None,
            )
        )
    return found


def list_versions(c: sa.Connection, computation_id: str, *, offset: int = 0, limit: int = 100) -> list[Row]:
    """The versions whose evaluation ended, the newest first."""
    ended = sa.and_(version.c.computation_id == computation_id, version.c.state != "reserved")
    return list(c.execute(sa.select(version).where(ended).order_by(version.c.n.desc()).offset(offset).limit(limit)))


def _status(row: Row, working: bool | None, *, waits: bool) -> str:
    """`working`: a run evaluates it; False when that was asked for and no run has begun, None when nobody asked."""
    if not row.enabled:
        return "Disabled"
    if working:
        return "Computing"
    if row.last_error:
        return "Failed"
    if waits:
        return "Not computing"
    if row.current_version is None:
        # a first version that is held was computed
        return "Preparing" if row.checked_at is None else "Live"
    return "Live"


def _asked(c: sa.Connection, space_id: str) -> dict[str, bool]:
    """By computation whether a run works on it, for those that are asked for."""
    r = compute_request.c
    owed = sa.select(r.computation_ids, r.started_at).where(r.space_id == space_id, r.state == "owed")
    asked: dict[str, bool] = {}
    for row in c.execute(owed):
        for one in row.computation_ids:
            asked[one] = asked.get(one, False) or row.started_at is not None
    return asked


def _versions(c: sa.Connection, ids: Sequence[str]) -> dict[tuple[str, int], Any]:
    """The current versions, and the held ones."""
    v = version.c
    is_current = sa.and_(v.computation_id == computation.c.id, v.n == computation.c.current_version)
    query = (
        sa.select(v.computation_id, v.n, v.size, v.users)
        .join(computation, computation.c.id == v.computation_id)
        .where(v.computation_id.in_(ids), sa.or_(is_current, v.state == "held"))
    )
    return {(row.computation_id, row.n): row for row in c.execute(query)}


def _destinations(c: sa.Connection, rows: Sequence[Row]) -> dict[str, list[Joined]]:
    enabled = {row.id: row.enabled for row in rows}
    d, con = destination.c, connection.c
    query = (
        sa.select(con.computation_id, con.state, d.key, d.name, d.type, d.enabled)
        .join(destination, d.id == con.destination_id)
        .where(con.computation_id.in_(enabled), con.removed_at.is_(None))
        .order_by(d.name, d.key)
    )
    found: dict[str, list[Joined]] = {}
    for row in c.execute(query):
        word = status_word(row.state, destination_enabled=row.enabled, computation_enabled=enabled[row.computation_id])
        found.setdefault(row.computation_id, []).append(Joined(row.key, row.name, row.type, word))
    return found
