"""Queries of values, one row per member: what rows reduce to, traits that were sent, computed traits, and memberships.

Where a condition compares values of the same member with each other, these are joined to the members or to their rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.tree import Events, Path, Scalar, Trait
from engage_pipelines.facts.row_conditions import start_of
from engage_pipelines.facts.warehouse.comparing import Comparing
from engage_pipelines.facts.warehouse.conditions import RowConditions, TraitColumns
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reductions import Rows, Shape, is_counted, reduce_rows, shape_of, value_at
from engage_pipelines.facts.warehouse.row_scope import RowScope
from engage_pipelines.facts.warehouse.rows import event_rows, trait_rows
from engage_pipelines.facts.warehouse.values import JsonValue, MissingValue, NumberValue, Readings, RowValue, TruthValue, Value

_LAST = "row_number() OVER (PARTITION BY v.member ORDER BY v.ts DESC, v.message_id DESC) AS n"


@dataclass(frozen=True, slots=True)
class People:
    """Names of queries of a SELECT: everyone of a level, who belongs to whom, and the members of an audience as a level sees them."""

    everyone: Callable[[Level], str]
    account_users: Callable[[], str]
    members: Callable[[str, Level], str]


@dataclass(slots=True)
class ValueQueries:
    """Values by name of a query; `later` takes the queries that refer to others, after these.

    `audiences` are the keys whose membership can be asked, `traits` the computed traits by level and key.
    """

    warehouse: Warehouse
    comparing: Comparing
    people: People
    later: dict[str, str]
    audiences: Mapping[str, Level]
    traits: Mapping[tuple[Level, str], Scalar]
    sent: dict[tuple[Level, str], tuple[str, Readings]] = field(default_factory=dict[tuple[Level, str], tuple[str, Readings]])
    reduced: dict[tuple[Level, Scalar], str] = field(default_factory=dict[tuple[Level, Scalar], str])

    @property
    def queries(self) -> Sequence[tuple[str, str]]:
        """The queries of traits that were sent, which refer to none of the others, once all that is read of them is known."""
        return [(name, self._sent_query(level, key, readings)) for (level, key), (name, readings) in self.sent.items()]

    def of_trait(self, level: Level, trait: Trait) -> TraitColumns:
        """The values that somebody of the level has: a membership, what was computed, or what was sent, in this order."""
        key, *inside = trait.path
        if not inside and key in self.audiences:
            name = self.people.members(key, level)
            return TraitColumns(name, lambda _: TruthValue(self.warehouse.dialect, f"{name}.member IS NOT NULL"))
        scalar = self.traits.get((level, key))
        if scalar is not None:
            return self.of_scalar(level, scalar)
        name, readings = self.sent.setdefault((level, key), (f"t{len(self.sent)}_sent", Readings()))
        return TraitColumns(name, lambda path: RowValue(name, readings, "trait", path))

    def of_scalar(self, level: Level, scalar: Scalar) -> TraitColumns:
        """What rows of an event reduce to, for users, or for accounts over all their users."""
        reducer = scalar.reducer
        assert reducer
        if (level, scalar) not in self.reduced:
            query = self._reduced(level, scalar)
            name = f"v{len(self.later)}"
            self.later[name] = query
            self.reduced[level, scalar] = name
        name = self.reduced[level, scalar]
        shape, dialect = shape_of(reducer), self.warehouse.dialect

        def at(path: Path) -> Value:
            if not path:
                return NumberValue(dialect, f"coalesce({name}.v, 0)") if is_counted(reducer) else value_at(dialect, shape, name)
            if shape is Shape.ANY:
                return JsonValue(dialect, dialect.json_at(dialect.json_again(f"{name}.j"), path))
            return MissingValue(dialect)

        return TraitColumns(name, at)

    def _sent_query(self, level: Level, key: str, readings: Readings) -> str:
        given = trait_rows(self.warehouse, level, key, readings)
        return f"SELECT r.* FROM (SELECT v.*, {_LAST} FROM ({given}) v) r WHERE r.n = 1"

    def _reduced(self, level: Level, scalar: Scalar) -> str:
        events, reducer = scalar.source, scalar.reducer
        assert isinstance(events, Events)
        assert reducer
        rows = RowScope(events.name, "r")
        conditions = RowConditions(self.warehouse, self.comparing, self.later, lambda trait: self.of_trait(Level.USER, trait), "g")
        passes = conditions.filters(events.filters, rows) or "1 = 1"
        since = start_of(events.filters, self.warehouse.at_us)

        def source() -> str:
            read = event_rows(self.warehouse, rows.event, rows.readings, since)
            owner = "r.member" if level is Level.USER else "b.account"
            kept = f"SELECT r.*, {owner} AS owner FROM ({read}) r{''.join(rows.joins)}{self._owners(level)} WHERE {passes}"
            return f"({self._of_session(events, kept)}) r"

        query = reduce_rows(self.warehouse.dialect, reducer, Rows(rows, [("r.owner", "member")], "1 = 1", source))
        columns = "q.k, q.v, q.j" if shape_of(reducer) is Shape.ANY else "q.v"
        return f"SELECT q.member, {columns} FROM ({query}) q WHERE q.v IS NOT NULL"

    def _owners(self, level: Level) -> str:
        everyone = f" JOIN {self.people.everyone(Level.USER)} u ON u.member = r.member"
        return f" JOIN {self.people.account_users()} b ON b.member = r.member{everyone}" if level is Level.ACCOUNT else ""

    def _of_session(self, events: Events, kept: str) -> str:
        """The rows of the session that is going on: back from the last one, up to a gap that is longer than a session lasts."""
        if not events.expires_after:
            return kept
        longest = events.expires_after.us
        gaps = f"SELECT g.*, lag(g.ts) OVER (PARTITION BY g.owner ORDER BY g.ts) AS last_ts FROM ({kept}) g"
        starts = f"CASE WHEN g.last_ts IS NULL OR g.ts - g.last_ts > {longest} THEN g.ts END"
        edges = f"max({starts}) OVER (PARTITION BY g.owner) AS began, max(g.ts) OVER (PARTITION BY g.owner) AS ended"
        bounds = f"SELECT g.*, {edges} FROM ({gaps}) g"
        return f"SELECT g.* FROM ({bounds}) g WHERE g.ts >= g.began AND g.ended >= {self.warehouse.at_us - longest}"
