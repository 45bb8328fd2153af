"""Evaluation of audiences by a warehouse: one SELECT each, in one state of the warehouse; what comes back are members by number."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query import Definition, TraitDefinition, events
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.names import nearest
from engage_pipelines.domain.query.tree import Trait
from engage_pipelines.facts.admission import admits_strangers
from engage_pipelines.facts.audience_order import Readable, in_order
from engage_pipelines.facts.bits import Ids, ids_of
from engage_pipelines.facts.evaluate import Evaluated, Members
from engage_pipelines.facts.scopes import scoped
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.warehouse.next_change import first_change
from engage_pipelines.facts.warehouse.of_members import MemberRows
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reading import Reader
from engage_pipelines.facts.warehouse.rows import knows_trait
from engage_pipelines.facts.warehouse.select import select_members

_PREFIXES = "CASE m.kind WHEN 'user_id' THEN 'u:' WHEN 'anonymous_id' THEN 'a:' ELSE 'g:' END"
_MEMBERS = f"SELECT DISTINCT n.member FROM read_members m JOIN numbers n ON n.key = {_PREFIXES} || m.id ORDER BY n.member"
_USERS = "SELECT DISTINCT member FROM account_users SEMI JOIN asked_accounts USING (account) ORDER BY member"


@dataclass(frozen=True, slots=True)
class InWarehouse:
    """Answers evaluations of a session whose rows are in a warehouse."""

    reader: Reader
    warehouse: Warehouse
    with_visitors: bool = False
    has_mark: bool = False
    """Whether the fingerprint of the session tells when facts moved; else nobody needs to know when time moves anything."""

    def evaluate(self, session: FactsSession, audiences: Sequence[Audience], context: Sequence[Audience]) -> dict[str, Evaluated]:
        """Each of the audiences by key; one that the warehouse cannot answer carries its error."""
        plan = in_order(audiences, context)
        readable = {key: _as_of(each, session.at_us) for key, each in plan.items() if isinstance(each, Readable)}
        results: dict[str, Evaluated] = {}
        for audience in audiences:
            each = plan[audience.key]
            results[audience.key] = (
                self._evaluated(session, readable[audience.key], readable)
                if isinstance(each, Readable)
                else Evaluated(audience.key, None, each, ())
            )
        return results

    def read_rows(self, session: FactsSession, members: Sequence[int], definition: Definition | TraitDefinition) -> None:
        MemberRows(session.connection, self.reader, self.warehouse).read(members, definition)

    def next_change(self, session: FactsSession, ages: Collection[tuple[str, int]]) -> int | None:
        return first_change(self.reader, self.warehouse, session.at_us, ages) if self.has_mark else None

    def close(self) -> None:
        self.reader.close()

    def _evaluated(self, session: FactsSession, each: Readable, readable: Mapping[str, Readable]) -> Evaluated:
        try:
            if not self.with_visitors and admits_strangers([each.audience]):
                raise EngageError("The session was opened without visitors, which the audience admits.", "Report this.")
            warnings = tuple(self._warnings(each, readable))
            found = self._ids(session, select_members(self.warehouse, each, readable))
        except EngageError as error:
            return Evaluated(each.audience.key, None, error, ())
        if each.audience.level is Level.USER:
            members = Members(found, np.zeros(0, dtype=np.int64))
        else:
            members = Members(_users_of(session, found), found)
        return Evaluated(each.audience.key, members, None, warnings)

    def _ids(self, session: FactsSession, query: str) -> Ids:
        """The members that a SELECT finds, by number, sorted and distinct; they come over in chunks."""
        db = session.connection
        db.execute("CREATE OR REPLACE TEMP TABLE read_members(kind VARCHAR, id VARCHAR)")
        for rows in self.reader.chunks(query):
            kinds, ids = zip(*rows, strict=True)
            db.register("read_rows", pa.table({"kind": pa.array(kinds, pa.string()), "id": pa.array(ids, pa.string())}))
            db.execute("INSERT INTO read_members SELECT * FROM read_rows")
            db.unregister("read_rows")
        return ids_of(db.execute(_MEMBERS).fetchnumpy()["member"])

    def _warnings(self, each: Readable, readable: Mapping[str, Readable]) -> Iterator[str]:
        """One sentence per event or trait that no mapped table has; a column of event names may hold any."""
        tables = self.warehouse.facts.tables.event_tables
        known = {event for _, event in tables if event is not None}
        if all(table.event_column is None for table, _ in tables):
            for name in sorted(events(each.definition) - known):
                yield _sentence("event", name, nearest(name, known))
        levels = {key: one.audience.level for key, one in readable.items()}
        for one in scoped(each.definition.condition, each.definition.level, levels):
            source = one.comparison.scalar.source
            if one.audience is None and isinstance(source, Trait) and not knows_trait(self.warehouse, one.level, source.path[0]):
                yield _sentence(f"trait of {one.level}s", source.path[0], None)


def _as_of(each: Readable, at_us: int) -> Readable:
    return replace(each, definition=count_events_since(each.definition, each.audience.events_since_us, at_us=at_us))


def _users_of(session: FactsSession, accounts: Ids) -> Ids:
    """The users who belong to one of the accounts at least."""
    session.connection.register("asked_accounts", pa.table({"account": pa.array(accounts, pa.int64())}))
    try:
        return ids_of(session.connection.execute(_USERS).fetchnumpy()["member"])
    finally:
        session.connection.unregister("asked_accounts")


def _sentence(kind: str, name: str, near: str | None) -> str:
    return f"no table is mapped that holds the {kind} {name!r}." + (f" Did you mean {near!r}?" if near else "")
