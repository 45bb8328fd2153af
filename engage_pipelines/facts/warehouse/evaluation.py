"""Evaluation of audiences and traits by a warehouse: one SELECT each, in one state of the warehouse.

What comes back are members by number, and of traits their values, which are kept on the session.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa

from engage_pipelines.domain.computation import Computation, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query import Definition, TraitDefinition, events
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.inspection import trait_uses
from engage_pipelines.domain.query.names import nearest
from engage_pipelines.domain.query.tree import Trait, inside_where
from engage_pipelines.facts.admission import admits_strangers
from engage_pipelines.facts.audience_order import Readable, ReadableTrait, all_in_order
from engage_pipelines.facts.bits import Ids, ids_of
from engage_pipelines.facts.evaluate import Evaluated, Members
from engage_pipelines.facts.scopes import scoped
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.sql_values import scalar_json, text_json
from engage_pipelines.facts.trait_values import computed_values, members_of
from engage_pipelines.facts.warehouse.next_change import first_change
from engage_pipelines.facts.warehouse.of_members import MemberRows
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reading import Reader
from engage_pipelines.facts.warehouse.reductions import is_counted
from engage_pipelines.facts.warehouse.rows import knows_trait
from engage_pipelines.facts.warehouse.select import select_members, select_values

_PREFIXES = "CASE m.kind WHEN 'user_id' THEN 'u:' WHEN 'anonymous_id' THEN 'a:' ELSE 'g:' END"
_MEMBERS = f"SELECT DISTINCT n.member FROM read_members m JOIN numbers n ON n.key = {_PREFIXES} || m.id ORDER BY n.member"
_USERS = "SELECT DISTINCT member FROM account_users SEMI JOIN asked_accounts USING (account) ORDER BY member"
_NO_TEXT = "value_kind <> 'number' OR isfinite(TRY_CAST(m.value AS DOUBLE))"
"""A number that no double holds is no value."""
_VALUES = f"""
    SELECT n.member, CASE WHEN m.value_kind = 'string' THEN {text_json("m.value")} ELSE {scalar_json("m.value")} END AS value
    FROM read_values m JOIN numbers n ON n.key = {_PREFIXES} || m.id WHERE m.value IS NOT NULL AND ({_NO_TEXT})"""
_CALLS = """
    CREATE TEMP TABLE account_calls AS SELECT a.member AS account, u.member, max(r.called_at) AS called_at
    FROM read_calls r JOIN numbers u ON u.key = r.member JOIN numbers a ON a.key = r.account GROUP BY ALL"""
_kept = count()

_Read = Readable | ReadableTrait


@dataclass(frozen=True, slots=True)
class InWarehouse:
    """Answers evaluations of a session whose rows are in a warehouse."""

    reader: Reader
    warehouse: Warehouse
    with_visitors: bool = False
    has_mark: bool = False
    """Whether the fingerprint of the session tells when facts moved; else nobody needs to know when time moves anything."""

    def evaluate(self, session: FactsSession, computations: Sequence[Computation], context: Sequence[Computation]) -> dict[str, Evaluated]:
        """Each of the computations by key; one that the warehouse cannot answer carries its error."""
        plan = all_in_order(computations, context)
        readable = {key: _as_of(each, session.at_us) for key, each in plan.items() if not isinstance(each, EngageError)}
        results: dict[str, Evaluated] = {}
        for computation in computations:
            each = plan[computation.key]
            results[computation.key] = (
                Evaluated(computation.key, None, each, ())
                if isinstance(each, EngageError)
                else self._evaluated(session, readable[computation.key], readable)
            )
        return results

    def read_rows(self, session: FactsSession, members: Sequence[int], definition: Definition | TraitDefinition) -> None:
        MemberRows(session.connection, self.reader, self.warehouse).read(members, definition)

    def next_change(self, session: FactsSession, ages: Collection[tuple[str, int]]) -> int | None:
        return first_change(self.reader, self.warehouse, session.at_us, ages) if self.has_mark else None

    def close(self) -> None:
        self.reader.close()

    def _evaluated(self, session: FactsSession, each: _Read, readable: Mapping[str, _Read]) -> Evaluated:
        try:
            if isinstance(each, Readable):
                return self._audience(session, each, readable)
            return self._trait(session, each, readable)
        except EngageError as error:
            return Evaluated(each.audience.key if isinstance(each, Readable) else each.trait.key, None, error, ())

    def _audience(self, session: FactsSession, each: Readable, readable: Mapping[str, _Read]) -> Evaluated:
        if not self.with_visitors and admits_strangers([each.audience]):
            raise EngageError("The session was opened without visitors, which the audience admits.", "Report this.")
        warnings = tuple(self._warnings(each, readable))
        found = self._ids(session, select_members(self.warehouse, each, readable))
        if each.audience.level is Level.USER:
            members = Members(found, np.zeros(0, dtype=np.int64))
        else:
            members = Members(_users_of(session, found), found)
        return Evaluated(each.audience.key, members, None, warnings)

    def _trait(self, session: FactsSession, each: ReadableTrait, readable: Mapping[str, _Read]) -> Evaluated:
        query = select_values(self.warehouse, each, readable)
        assert each.definition
        if each.trait.level is Level.ACCOUNT:
            self._read_calls(session)
        name = f"values_of_{next(_kept)}"
        self._read(session, "read_values", ("kind", "id", "value_kind", "value"), query)
        session.connection.execute(f"CREATE TEMP TABLE {name} AS {_VALUES}")
        rows = f"SELECT member, value FROM {name}"
        values = computed_values(each, rows, "0" if is_counted(each.definition.scalar.reducer) else None)
        warnings = tuple(self._warnings(each, readable))
        return Evaluated(each.trait.key, members_of(session, values, each.trait.level), None, warnings, values)

    def _read_calls(self, session: FactsSession) -> None:
        """When users of accounts were last told of, once for all traits of the session: the relation account_calls."""
        found = session.connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'account_calls'").fetchall()
        if not found:
            query = self.warehouse.account_calls()
            shared = ", ".join(f"{name} AS ({each})" for name, each in self.warehouse.shared)
            self._read(session, "read_calls", ("member", "account", "called_at"), f"WITH {shared} {query}" if shared else query)
            session.connection.execute(_CALLS)

    def _read(self, session: FactsSession, table: str, columns: Sequence[str], query: str) -> None:
        """Have a table hold what a question finds; the rows come over in chunks."""
        db = session.connection
        listed = ", ".join(f"{name} {'BIGINT' if name.endswith('_at') else 'VARCHAR'}" for name in columns)
        db.execute(f"CREATE OR REPLACE TEMP TABLE {table}({listed})")
        for rows in self.reader.chunks(query):
            held: dict[str, Any] = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
            types = {name: pa.int64() if name.endswith("_at") else pa.string() for name in columns}
            db.register("read_rows", pa.table({name: pa.array(each, types[name]) for name, each in held.items()}))
            db.execute(f"INSERT INTO {table} SELECT * FROM read_rows")
            db.unregister("read_rows")

    def _ids(self, session: FactsSession, query: str) -> Ids:
        """The members that a SELECT finds, by number, sorted and distinct."""
        self._read(session, "read_members", ("kind", "id"), query)
        return ids_of(session.connection.execute(_MEMBERS).fetchnumpy()["member"])

    def _warnings(self, each: _Read, readable: Mapping[str, _Read]) -> Iterator[str]:
        """One sentence per event or trait that no mapped table has; a column of event names may hold any."""
        tables = self.warehouse.facts.tables.event_tables
        known = {event for _, event in tables if event is not None}
        assert each.definition
        if all(table.event_column is None for table, _ in tables):
            for name in sorted(events(each.definition) - known):
                yield _sentence("event", name, nearest(name, known))
        for level, key in sorted(_sent_traits(each, readable)):
            if not knows_trait(self.warehouse, level, key):
                yield _sentence(f"trait of {level}s", key, None)


def _sent_traits(each: _Read, readable: Mapping[str, _Read]) -> set[tuple[Level, str]]:
    """The traits that a definition reads and nothing computes, by the level that they are asked of."""
    levels = {key: one.audience.level for key, one in readable.items() if isinstance(one, Readable)}
    traits = {key: one.trait.level for key, one in readable.items() if isinstance(one, ReadableTrait)}
    uses: list[tuple[Level, object]] = []
    if isinstance(each, ReadableTrait):
        assert each.definition
        uses = [(Level.USER, use) for use in trait_uses(each.definition)]
    else:
        for one in scoped(each.definition.condition, each.definition.level, levels, traits):
            uses += [(one.level, use) for use in (one.comparison.scalar.source, *one.comparison.arguments)]
            uses += [(Level.USER, use) for inner in inside_where(one.comparison.scalar) for use in (inner.scalar.source, *inner.arguments)]
    return {
        (level, use.path[0])
        for level, use in uses
        if isinstance(use, Trait) and use.path[0] not in traits and not (len(use.path) == 1 and use.path[0] in levels)
    }


def _as_of(each: _Read, at_us: int) -> _Read:
    if isinstance(each, ReadableTrait):
        return each
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
