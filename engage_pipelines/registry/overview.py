"""Audiences and traits as lists and pages show them: size, status, destinations and uses, in a few queries whatever their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.connection import status_word
from engage_pipelines.registry.computations import waiting_for_destinations
from engage_pipelines.registry.definitions import users_of_each
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import computation, compute_request, connection, destination, version


@dataclass(frozen=True, slots=True)
class Joined:
    """A destination that an audience is connected to; `status` is Connected, Disconnected, Disconnecting, Disabled or Awaiting mapping."""

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


def list_summaries(
    c: sa.Connection, space_id: str, *, kind: str = "audience", search: str = "", offset: int = 0, limit: int = 50
) -> tuple[list[Summary], int]:
    """The audiences, or traits, whose name or key contains `search`, by name, and how many there are of them in all."""
    asked = {"space": space_id, "kind": kind, "part": as_part(search), "offset": offset, "limit": limit}
    total = c.execute(_how_many(searched=bool(search)), asked).scalar_one()
    return summarize(c, space_id, c.execute(_by_name(searched=bool(search)), asked).all()), total


def summarize(c: sa.Connection, space_id: str, rows: Sequence[Row]) -> list[Summary]:
    """What there is to say of these audiences or traits of one space."""
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
    ids = {"ids": [row.id for row in rows]}
    versions = {row.computation_id: row for row in c.execute(_current_versions(), ids)}
    held = {row.computation_id: row.n for row in c.execute(_held_versions(), ids)}
    computing, waiting = _asked(c, space_id), waiting_for_destinations(c, rows)
    found: list[Condition] = []
    for row in rows:
        current, newest = versions.get(row.id), held.get(row.id, 0)
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
    return list(c.execute(_ended(), {"computation": computation_id, "offset": offset, "limit": limit}))


def computed_audiences(c: sa.Connection, space_id: str) -> Sequence[tuple[str, str]]:
    """Key and name of the audiences that have a version, by key."""
    return [(key, name) for key, name in c.execute(_computed(), {"space": space_id, "kind": "audience"}).all()]


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
    asked: dict[str, bool] = {}
    for row in c.execute(_owed_computing(), {"space": space_id}):
        for one in row.computation_ids:
            asked[one] = asked.get(one, False) or row.started_at is not None
    return asked


def _destinations(c: sa.Connection, rows: Sequence[Row]) -> dict[str, list[Joined]]:
    enabled = {row.id: row.enabled for row in rows}
    # a page has hundreds of connections, and they say one of a few things about one of a few destinations
    said: dict[tuple[str, str, bool, bool], Joined] = {}
    found: dict[str, list[Joined]] = {}
    for of, state, leaves, to, key, name, type_, on in c.execute(_connected(), {"ids": list(enabled)}):
        joined = said.get((to, state, leaves, enabled[of]))
        if joined is None:
            word = status_word(state, destination_enabled=on, computation_enabled=enabled[of], leaves=leaves)
            joined = said[to, state, leaves, enabled[of]] = Joined(key, name, type_, word)
        found.setdefault(of, []).append(joined)
    return found


# ---- the questions, each made once: building one takes longer than the database needs to answer it


def as_part(text: str) -> str:
    """The pattern of texts that contain this one, as `searched` takes it."""
    return "%" + text.replace("/", "//").replace("%", "/%").replace("_", "/_") + "%"


def computations_query(*, searched: bool, columns: Sequence[sa.ColumnElement[Any]] = ()) -> sa.Select[*tuple[Any, ...]]:
    """The audiences or traits (`kind`) of `space`, with `searched` those whose name or key is like `part`."""
    t = computation.c
    wanted = [t.space_id == sa.bindparam("space", type_=sa.String), t.kind == sa.bindparam("kind", type_=sa.String), t.deleted_at.is_(None)]
    if searched:
        part = sa.bindparam("part", type_=sa.String)
        wanted.append(sa.or_(*(sa.func.lower(column).like(sa.func.lower(part), escape="/") for column in (t.name, t.key))))
    return (sa.select(*columns) if columns else sa.select(computation)).where(*wanted)


@cache
def _how_many(*, searched: bool) -> sa.Select[*tuple[Any, ...]]:
    return computations_query(searched=searched, columns=(sa.func.count(computation.c.id),))


@cache
def _by_name(*, searched: bool) -> sa.Select[*tuple[Any, ...]]:
    return _part(computations_query(searched=searched).order_by(sa.func.lower(computation.c.name), computation.c.key))


@cache
def _computed() -> sa.Select[*tuple[Any, ...]]:
    t = computation.c
    return computations_query(searched=False, columns=(t.key, t.name)).where(t.current_version.is_not(None)).order_by(t.key)


@cache
def _ended() -> sa.Select[*tuple[Any, ...]]:
    """The newest first."""
    v = version.c
    of_one = sa.and_(v.computation_id == sa.bindparam("computation", type_=sa.String), v.state != "reserved")
    return _part(sa.select(version).where(of_one).order_by(v.n.desc()))


def _part(query: sa.Select[*tuple[Any, ...]]) -> sa.Select[*tuple[Any, ...]]:
    return query.offset(sa.bindparam("offset", type_=sa.Integer)).limit(sa.bindparam("limit", type_=sa.Integer))


@cache
def _current_versions() -> sa.Select[*tuple[Any, ...]]:
    v = version.c
    current = sa.and_(v.computation_id == computation.c.id, v.n == computation.c.current_version)
    query = sa.select(v.computation_id, v.n, v.size, v.users).select_from(computation.join(version, current))
    return query.where(computation.c.id.in_(_of_ids()))


@cache
def _held_versions() -> sa.Select[*tuple[Any, ...]]:
    """The newest that is held, of each audience that has one."""
    v = version.c
    query = sa.select(v.computation_id, sa.func.max(v.n).label("n")).where(v.state == "held", v.computation_id.in_(_of_ids()))
    return query.group_by(v.computation_id)


@cache
def _owed_computing() -> sa.Select[*tuple[Any, ...]]:
    r = compute_request.c
    return sa.select(r.computation_ids, r.started_at).where(r.space_id == sa.bindparam("space", type_=sa.String), r.state == "owed")


@cache
def _connected() -> sa.Select[*tuple[Any, ...]]:
    d, con = destination.c, connection.c
    return (
        sa.select(con.computation_id, con.state, con.leaves_since.is_not(None), d.id, d.key, d.name, d.type, d.enabled)
        .join(destination, d.id == con.destination_id)
        .where(con.computation_id.in_(_of_ids()), con.removed_at.is_(None))
        .order_by(d.name, d.key)
    )


def _of_ids() -> sa.BindParameter[Any]:
    return sa.bindparam("ids", expanding=True, type_=sa.String)
