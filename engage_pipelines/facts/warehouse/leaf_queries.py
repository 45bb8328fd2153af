"""Queries of single conditions: members with rows, and for each condition on these rows whether it holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.comparing import has_each
from engage_pipelines.domain.query.tree import As, Comparison, Events, Reduce, Trait
from engage_pipelines.facts.compile import events_of, trait_of, without_rows
from engage_pipelines.facts.row_conditions import start_of
from engage_pipelines.facts.warehouse.comparing import Comparing, Given
from engage_pipelines.facts.warehouse.conditions import RowConditions, TraitColumns
from engage_pipelines.facts.warehouse.dialects.base import parts_before_each
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reductions import aggregate
from engage_pipelines.facts.warehouse.row_scope import RowScope
from engage_pipelines.facts.warehouse.rows import event_rows, trait_rows
from engage_pipelines.facts.warehouse.values import NumberValue, Readings, RowValue, TextValue

_ALONE = (Reduce.FIRST, Reduce.LAST, Reduce.MODE)
Leaf = tuple[Level, Comparison]


@dataclass(slots=True)
class LeafQueries:
    """The queries by name, in an order in which each refers to earlier ones alone, and where each condition is answered."""

    warehouse: Warehouse
    comparing: Comparing
    queries: dict[str, str] = field(default_factory=dict[str, str])
    places: dict[Leaf, tuple[str, str]] = field(default_factory=dict[Leaf, tuple[str, str]])

    def add(self, leaves: Iterable[Leaf]) -> None:
        """Make the queries for these conditions, one per event name and trait key where that can be."""
        events: dict[str, list[Leaf]] = {}
        traits: dict[tuple[Level, str], list[Leaf]] = {}
        for leaf in dict.fromkeys(leaves):
            source, reducer = leaf[1].scalar.source, leaf[1].scalar.reducer
            if isinstance(source, Trait):
                traits.setdefault((leaf[0], source.path[0]), []).append(leaf)
            elif isinstance(source, Events) and reducer and reducer.kind in _ALONE:
                self._keep("e", [leaf], self._mode(leaf[1]) if reducer.kind is Reduce.MODE else self._at_an_end(leaf[1]))
            elif isinstance(source, Events):
                events.setdefault(source.name, []).append(leaf)
        for name, group in events.items():
            self._keep("e", group, self._events(name, [leaf for _, leaf in group]))
        for (level, key), group in traits.items():
            self._keep("t", group, self._traits(level, key, [leaf for _, leaf in group]))

    def truth(self, leaf: Leaf) -> tuple[str, str]:
        """The query that a condition is answered by, and its truth there; of members without rows too."""
        name, column = self.places[leaf]
        otherwise = "true" if without_rows(leaf[1], self.warehouse.at_us) else "false"
        return name, f"coalesce({name}.{column}, {otherwise})"

    def _keep(self, letter: str, group: Sequence[Leaf], query: str) -> None:
        name = f"{letter}{len(self.queries)}"
        self.queries[name] = query
        self.places.update({leaf: (name, f"b{number}") for number, leaf in enumerate(group)})

    # ---- events

    def _conditions(self) -> RowConditions:
        return RowConditions(self.warehouse, self.comparing, self.queries, _no_traits)

    def _events(self, name: str, leaves: Sequence[Comparison]) -> str:
        conditions, rows = self._conditions(), RowScope(name, "r")
        decided: dict[str, str] = {}
        truths: list[str] = []
        for number, leaf in enumerate(leaves):
            passes = conditions.filters(events_of(leaf).filters, rows)
            kept = f"r.{decided.setdefault(passes, f'w{len(decided)}')}" if passes else "r.member IS NOT NULL"
            reducer = leaf.scalar.reducer
            assert reducer
            value = aggregate(self.warehouse.dialect, reducer, rows, kept)
            truths.append(f"{self.comparing.holds(leaf.comparator, value, _literals(leaf))} AS b{number}")
        columns = "".join(f", {condition} AS {column}" for condition, column in decided.items())
        return f"SELECT r.member, {', '.join(truths)} FROM ({self._rows(rows, leaves, columns)}) r GROUP BY r.member"

    def _rows(self, rows: RowScope, leaves: Sequence[Comparison], columns: str) -> str:
        """Rows of an event with what was decided of each; none from before the longest window, if each condition has one."""
        starts = [start_of(events_of(leaf).filters, self.warehouse.at_us) for leaf in leaves]
        known = [start for start in starts if start is not None]
        since = min(known) if known and len(known) == len(starts) else None
        read = event_rows(self.warehouse, rows.event, rows.readings, since)
        return f"SELECT r.*{columns} FROM ({read}) r{''.join(rows.joins)}"

    def _at_an_end(self, leaf: Comparison) -> str:
        """Of the first or the last value by instant and message id."""
        reducer = leaf.scalar.reducer
        assert reducer
        assert reducer.argument
        conditions, rows = self._conditions(), RowScope(events_of(leaf).name, "r")
        passes = conditions.filters(events_of(leaf).filters, rows) or "true"
        value = rows.value(reducer.argument)
        present = f"{value.read('text')} IS NOT NULL"
        truth = self.comparing.holds(leaf.comparator, value, _literals(leaf))
        direction = "" if reducer.kind is Reduce.FIRST else " DESC"
        order = f"row_number() OVER (PARTITION BY r.member ORDER BY r.ts{direction}, r.message_id{direction}) AS n"
        decided = self._rows(rows, [leaf], f", {passes} AS w")
        ranked = f"SELECT r.*, {order} FROM ({decided}) r WHERE r.w AND {present}"
        return f"SELECT r.member, {truth} AS b0 FROM ({ranked}) r WHERE r.n = 1"

    def _mode(self, leaf: Comparison) -> str:
        reducer, dialect = leaf.scalar.reducer, self.warehouse.dialect
        assert reducer
        assert reducer.argument
        conditions, rows = self._conditions(), RowScope(events_of(leaf).name, "r")
        passes = conditions.filters(events_of(leaf).filters, rows) or "true"
        numeric = reducer.read_as is As.NUMBER
        read = rows.value(reducer.argument).read("number" if numeric else "text")
        decided = self._rows(rows, [leaf], f", {passes} AS w")
        counted = (
            f"SELECT r.member, {read} AS v, count(*) AS n FROM ({decided}) r WHERE r.w AND {read} IS NOT NULL GROUP BY r.member, {read}"
        )
        order = dialect.number_order("v") if numeric else "v"
        ranked = (
            f"SELECT member, v, row_number() OVER (PARTITION BY member ORDER BY n DESC, {order}) AS k"
            f" FROM ({counted}) c WHERE n >= {reducer.minimum_frequency}"
        )
        value = NumberValue(dialect, "m.v") if numeric else TextValue(dialect, "m.v")
        return f"SELECT m.member, {self.comparing.holds(leaf.comparator, value, _literals(leaf))} AS b0 FROM ({ranked}) m WHERE m.k = 1"

    # ---- traits

    def _traits(self, level: Level, key: str, leaves: Sequence[Comparison]) -> str:
        readings = Readings()
        truths = [f"{self._trait(leaf, readings)} AS b{number}" for number, leaf in enumerate(leaves)]
        last = "row_number() OVER (PARTITION BY v.member ORDER BY v.ts DESC, v.message_id DESC) AS n"
        given = trait_rows(self.warehouse, level, key, readings)
        return f"SELECT r.member, {', '.join(truths)} FROM (SELECT v.*, {last} FROM ({given}) v) r WHERE r.n = 1"

    def _trait(self, leaf: Comparison, readings: Readings) -> str:
        path = trait_of(leaf).path[1:]
        if not has_each(path):
            return self.comparing.holds(leaf.comparator, RowValue("r", readings, "trait", path), _literals(leaf))
        before, after = parts_before_each(path)
        document = self.warehouse.dialect.json_again(RowValue("r", readings, "trait", before).read("json"))
        return self.comparing.holds_for_each(leaf.comparator, document, after, _literals(leaf))


def _no_traits(trait: Trait) -> TraitColumns:
    raise TypeError(f"{trait} is looked at beside the rows, which a query of values does")


def _literals(leaf: Comparison) -> list[Given]:
    return list(leaf.arguments)  # type: ignore[misc]
