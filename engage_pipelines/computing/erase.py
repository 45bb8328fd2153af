"""Erasing a person: out of the versions, the frozen records, the database and the facts, after its exits were sent.

The facts come last, and the suppression after them: they say which addresses the person has, so a process that dies half way is simply
followed by the same command again. What destinations hold is theirs; the exits tell them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

import duckdb
import sqlalchemy as sa

from engage_pipelines.computing.erase_elsewhere import Elsewhere, find_elsewhere
from engage_pipelines.domain.connection import State
from engage_pipelines.domain.errors import BusyError, StateError
from engage_pipelines.facts.erase import Person, erase_facts, find_person
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.computations import waiting_for_destinations
from engage_pipelines.registry.lookup import Row, find_space, list_audiences
from engage_pipelines.registry.messaging import forget_address
from engage_pipelines.registry.suppression import Profile, forget
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.settings import Settings
from engage_pipelines.snapshots.erase import erase_from_versions, erase_records
from engage_pipelines.snapshots.rows import Chain


@dataclass(frozen=True, slots=True)
class Erased:
    """How much was taken away where."""

    facts: int
    versions: int
    records: int
    refused: int
    is_in_warehouse: bool = False
    """Whether a warehouse still has the person: its rows are their owner's to delete, and the profile stays suppressed until then."""


@dataclass(frozen=True, slots=True)
class Eraser:
    """Erases one profile of one space."""

    settings: Settings
    registry: Registry
    space: Row
    profile: Profile
    seen: list[Person] = field(default_factory=list[Person])

    def outstanding(self) -> list[str]:
        """What is to happen before nobody outside is told that the person is in, in words; nothing when it may be erased."""
        if not self.seen:
            # a warehouse is read once, however often this is asked while exits are waited for
            self.seen.append(self._person()[0])
        (person,) = self.seen
        with self.registry.database.read() as c, duckdb.connect() as db:
            return list(_Outside(c, db, self.settings.snapshots_dir / self.space.key, person).outstanding(self.space))

    def erase(self) -> Erased:
        """Take the person away everywhere. Raises BusyError while records are under way, StateError when a disk refuses."""
        person, elsewhere = self._person()
        with self.registry.database.read() as c:
            if _is_sending(c, self.space.id):
                raise BusyError("A sync of the space is under way.", "Let it end, or pause it and remove the connection, then erase again.")
            generations = [self.settings.generations_dir / f"{n}.parquet" for n in _generations(c, self.space.id)]
        versions = erase_from_versions(self.settings.snapshots_dir / self.space.key, person.subjects)
        records = erase_records(generations, person.addresses)
        with self.registry.database.write() as c:
            refused = _erase_rows(c, self.space.id, person)
        facts = erase_facts(self.settings.facts_dir, self.space.key, person)
        if elsewhere is not None:
            facts += elsewhere.forget()
        is_in_warehouse = elsewhere is not None and elsewhere.is_there
        with self.registry.change() as change:
            if not is_in_warehouse:
                forget(change.c, self.space.id, self.profile)
            change.record("erase", f"profile {self.space.key}/#{self.profile.digest}", after={"facts": facts, "versions": versions})
        self.registry.database.forget_deleted()
        return Erased(facts, versions, records, refused, is_in_warehouse)

    def _person(self) -> "tuple[Person, Elsewhere | None]":
        """The person by every fact that is kept; and how a warehouse knows it, where that has the facts."""
        ingested = find_person(self.settings.facts_dir, self.space.key, self.profile.kind, self.profile.id)
        if self.space.facts is None:
            return ingested, None
        with self.registry.database.read() as c:
            now_us = self.registry.database.now_us(c)
        elsewhere = find_elsewhere(self.settings, self.space, self.profile, at_us=now_us)
        both = [sorted({*mine, *theirs}) for mine, theirs in zip(astuple(ingested), astuple(elsewhere.person), strict=True)]
        return Person(tuple(both[0]), tuple(both[1])), elsewhere


def eraser(settings: Settings, registry: Registry, profile: Profile) -> Eraser:
    """An eraser in the space that the registry means."""
    with registry.database.read() as c:
        return Eraser(settings, registry, find_space(c, registry.space), profile)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What audiences and connections still say of a person."""

    c: sa.Connection
    db: duckdb.DuckDBPyConnection
    folder: Path
    person: Person

    def outstanding(self, space: Row) -> Iterator[str]:
        audiences = [row for row in list_audiences(self.c, space.id) if row.current_version]
        waiting = waiting_for_destinations(self.c, audiences)
        for audience in audiences:
            chain = self._chain(audience)
            if self._is_in(chain, audience.current_version):
                yield self._why_in(audience, is_waiting=audience.id in waiting)
                continue
            yield from self._connections(audience, chain)

    def _why_in(self, audience: Row, *, is_waiting: bool) -> str:
        if not audience.enabled or is_waiting:
            return f"audience {audience.key} holds it and is not computed: enable or connect it, or delete it"
        newest = sa.select(t.version.c.state).where(t.version.c.computation_id == audience.id).order_by(t.version.c.n.desc()).limit(1)
        if self.c.execute(newest).scalar() == "held":
            return f"the next version of {audience.key} is held: engage audience release {audience.key}"
        return f"audience {audience.key} is yet to be computed"

    def _connections(self, audience: Row, chain: Chain) -> Iterator[str]:
        con, dst = t.connection.c, t.destination.c
        query = sa.select(con.id, con.state, dst.key, dst.enabled).join(t.destination, dst.id == con.destination_id)
        for row in self.c.execute(query.where(con.computation_id == audience.id, con.removed_at.is_(None))).all():
            if not self._is_owed(row.id, audience.current_version, chain):
                continue
            name = f"{audience.key} -> {row.key}"
            goes_on = row.state in (State.ACTIVE, State.LEAVING) and row.enabled
            yield f"the exits of {name} are yet to be sent" if goes_on else f"{name} is {row.state.replace('_', ' ')}: mend or remove it"

    def _is_owed(self, connection_id: str, current: int, chain: Chain) -> bool:
        b, e = t.base.c, t.exception.c
        versions = set(self.c.execute(sa.select(b.version).where(b.connection_id == connection_id)).scalars())
        if any(self._is_in(chain, n) for n in versions if n != current):
            return True
        waits = sa.and_(e.connection_id == connection_id, e.kind == "retryable", e.address.in_(self.person.addresses))
        return self.c.execute(sa.select(e.address).where(waits).limit(1)).first() is not None

    def _chain(self, audience: Row) -> Chain:
        return Chain.of(self.folder / audience.key, published_versions(self.c, audience.id))

    def _is_in(self, chain: Chain, n: int) -> bool:
        members = ", ".join(map(str, self.person.subjects)) or "NULL"
        try:
            return bool(self.db.execute(f"select 1 from ({chain.rows(n)}) where member in ({members}) limit 1").fetchall())
        except duckdb.IOException as error:
            raise StateError(f"Version {n} of {chain.folder.name} cannot be read: {error}.", "Restore it from a backup.") from error


def _of_space(space_id: str) -> sa.Select[tuple[str]]:
    """Ids of every connection of the space, removed ones too."""
    return sa.select(t.connection.c.id).join(t.computation).where(t.computation.c.space_id == space_id)


def _is_sending(c: sa.Connection, space_id: str) -> bool:
    g = t.generation.c
    live = _of_space(space_id).where(t.connection.c.removed_at.is_(None))
    unsettled = sa.and_(g.connection_id.in_(live), g.state.in_(["planning", "open"]))
    return c.execute(sa.select(g.id).where(unsettled).limit(1)).first() is not None


def _generations(c: sa.Connection, space_id: str) -> list[int]:
    return list(c.execute(sa.select(t.generation.c.id).where(t.generation.c.connection_id.in_(_of_space(space_id)))).scalars())


def _erase_rows(c: sa.Connection, space_id: str, person: Person) -> int:
    """Take the addresses out of the tables; how many records had been refused for them. Bounds of ranges that are done say nothing more.

    Raises BusyError for an address that a connection still begins a range with: once it has caught up, it has one range.
    """
    b, g, e = t.base.c, t.generation.c, t.exception.c
    of_space = _of_space(space_id)
    live = of_space.where(t.connection.c.removed_at.is_(None))
    if c.execute(sa.select(b.lo).where(b.connection_id.in_(live), b.lo.in_(person.addresses)).limit(1)).first():
        raise BusyError("A connection of the space has not caught up yet.", "Let its sync end, or remove it, then erase again.")
    emails = [address.removeprefix("email:") for address in person.addresses if address.startswith("email:")]
    forget_address(c, space_id, "EMAIL", emails)
    c.execute(sa.delete(t.base).where(b.connection_id.in_(of_space), b.lo.in_(person.addresses)))
    bounds: Mapping[sa.ColumnElement[str], str | None] = {g.lo: "", g.hi: None}
    for column, value in bounds.items():
        of_person = sa.and_(g.connection_id.in_(of_space), column.in_(person.addresses))
        c.execute(sa.update(t.generation).where(of_person).values({column: value}))
    return c.execute(sa.delete(t.exception).where(e.connection_id.in_(of_space), e.address.in_(person.addresses))).rowcount
