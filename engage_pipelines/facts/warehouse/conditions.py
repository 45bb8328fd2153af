"""Conditions on rows of events in a warehouse's SQL.

A funnel becomes a query of its own: the distinct rows that it starts from, each with what those that follow come to, joined back to the
rows. So no subquery refers to the row around it, which several warehouses cannot do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engage_pipelines.domain.query.comparing import has_each, holds_for, literal_value
from engage_pipelines.domain.query.tree import (
    And,
    Argument,
    Between,
    Comparison,
    Condition,
    Context,
    Events,
    Filter,
    Not,
    Or,
    Path,
    Property,
    Sources,
    Trait,
    Where,
    Within,
)
from engage_pipelines.facts.warehouse.comparing import Comparing, Given
from engage_pipelines.facts.warehouse.dialects.base import parts_before_each
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reductions import Rows, aggregate, is_grouped, reduce_rows, shape_of, value_at
from engage_pipelines.facts.warehouse.row_scope import RowScope
from engage_pipelines.facts.warehouse.rows import event_rows
from engage_pipelines.facts.warehouse.values import Value


@dataclass(frozen=True, slots=True)
class TraitColumns:
    """Values of a trait: the query `name` has one row per member, and `at` is what is there at a path inside the value."""

    name: str
    at: Callable[[Path], Value]


@dataclass(frozen=True, slots=True)
class RowConditions:
    """Conditions on rows; `queries` collects those of funnels, named with `letter` first; `traits` finds values of the row's member."""

    warehouse: Warehouse
    comparing: Comparing
    queries: dict[str, str]
    traits: Callable[[Trait], TraitColumns]
    letter: str = "f"

    def filters(self, filters: Sequence[Filter], rows: RowScope) -> str:
        """Whether a row passes all of them; '' when there are none."""
        return " AND ".join(self._filter(each, rows) for each in filters)

    def _filter(self, each: Filter, rows: RowScope) -> str:
        ts, at_us = f"{rows.alias}.ts", self.warehouse.at_us
        match each:
            case Where(condition):
                return self.where(condition, rows)
            case Sources(exclude):
                listed = ", ".join(self.warehouse.dialect.text(source) for source in exclude)
                return f"({rows.alias}.source IS NULL OR {rows.alias}.source NOT IN ({listed}))"
            case Within(window, True):
                if not rows.parent:
                    raise TypeError("no row to follow")
                return f"({ts} > {rows.parent.alias}.ts AND {ts} <= {rows.parent.alias}.ts + {window.us})"
            case Within(window):
                return f"({ts} BETWEEN {at_us - window.us} AND {at_us})"
            case Between(newer, older):
                return f"({ts} BETWEEN {at_us - older.us} AND {at_us - newer.us})"

    def where(self, condition: Condition, rows: RowScope) -> str:
        match condition:
            case And(parts):
                return "(" + " AND ".join(self.where(part, rows) for part in parts) + ")"
            case Or(parts):
                return "(" + " OR ".join(self.where(part, rows) for part in parts) + ")"
            case Not(part):
                return f"(NOT {self.where(part, rows)})"
            case Comparison():
                return self._comparison(condition, rows)
            case _:
                raise TypeError(f"{condition} is no condition on rows")

    def _comparison(self, comparison: Comparison, rows: RowScope) -> str:
        source = comparison.scalar.source
        if isinstance(source, Events):
            return self._follows(comparison, source, rows)
        if not isinstance(source, Property | Context | Trait):
            return "true" if holds_for(comparison, literal_value(source), at_us=self.warehouse.at_us) else "false"
        given = self._given(comparison.arguments, rows)
        if isinstance(source, Trait):
            columns = self.traits(source)
            rows.join(columns.name)
            return trait_holds(self.comparing, comparison, columns, given)
        if not has_each(source.path):
            return self.comparing.holds(comparison.comparator, rows.value(source), given)
        value, after = rows.before_each(source)
        document = self.warehouse.dialect.json_again(value.read("json"))
        return self.comparing.holds_for_each(comparison.comparator, document, after, given)

    def _given(self, arguments: Sequence[Argument], rows: RowScope) -> list[Given]:
        return [self._argument(each, rows) for each in arguments]

    def _argument(self, argument: Argument, rows: RowScope) -> Given:
        if isinstance(argument, Trait):
            columns = self.traits(argument)
            rows.join(columns.name)
            return columns.at(argument.path[1:])
        return rows.value(argument) if isinstance(argument, Property | Context) else argument

    # ---- funnels

    def _follows(self, comparison: Comparison, events: Events, rows: RowScope) -> str:
        """Whether rows of another event that follow the row at hand reduce to what is asked; a query of its own reduces them."""
        if comparison in rows.followed:
            return rows.followed[comparison]
        reducer, dialect = comparison.scalar.reducer, self.warehouse.dialect
        assert reducer
        parent = RowScope(rows.event, "p")
        inner = RowScope(events.name, "f", parent=parent)
        condition = " AND ".join(["f.member = p.member", *([self.filters(events.filters, inner)] if events.filters else [])])
        keys = [("p.member", "member"), ("p.ts", "ts"), *((f"p.{column}", column) for column in parent.readings.columns.values())]
        reduced = Rows(inner, keys, "f.member IS NOT NULL", lambda: self._pairs(parent, inner, condition))
        if is_grouped(reducer) and not any(isinstance(each, Property | Context | Trait) for each in comparison.arguments):
            truth = self.comparing.holds(
                comparison.comparator, aggregate(dialect, reducer, inner, reduced.present), self._given(comparison.arguments, rows)
            )
            name = self._keep(f"SELECT {reduced.grouped}, {truth} AS b FROM {reduced.source()} GROUP BY {reduced.grouped}")
            holds = f"coalesce({name}.b, false)"
        else:
            name = self._keep(reduce_rows(dialect, reducer, reduced))
            value = value_at(dialect, shape_of(reducer), name)
            holds = self.comparing.holds(comparison.comparator, value, self._given(comparison.arguments, rows))
        ours = [
            dialect.same(f"{name}.{column}", f"{rows.alias}.{rows.readings.column(reading)}")
            for reading, column in parent.readings.columns.items()
        ]
        on = " AND ".join([f"{name}.member = {rows.alias}.member", f"{name}.ts = {rows.alias}.ts", *ours])
        rows.joins[f" LEFT JOIN {name} ON {on}"] = None
        rows.followed[comparison] = holds
        return holds

    def _keep(self, query: str) -> str:
        name = f"{self.letter}{len(self.queries)}"
        self.queries[name] = query
        return name

    def _pairs(self, parent: RowScope, inner: RowScope, condition: str) -> str:
        """The rows that a funnel starts from, each beside those that follow it, or alone."""
        keys = "".join(f", {column}" for column in parent.readings.columns.values())
        starts = event_rows(self.warehouse, parent.event, parent.readings)
        follows = f"({event_rows(self.warehouse, inner.event, inner.readings)}) f"
        distinct = f"SELECT DISTINCT member, ts{keys} FROM ({starts}) d WHERE member IS NOT NULL"
        beside = f"({follows}{''.join(inner.joins)})" if inner.joins else follows
        return f"({distinct}) p LEFT JOIN {beside} ON {condition}"


def trait_holds(comparing: Comparing, comparison: Comparison, columns: TraitColumns, given: Sequence[Given]) -> str:
    """Whether a comparison is true of the value of a trait, whose query is joined where this stands."""
    assert isinstance(comparison.scalar.source, Trait)
    path = comparison.scalar.source.path[1:]
    if not has_each(path):
        return comparing.holds(comparison.comparator, columns.at(path), given)
    before, after = parts_before_each(path)
    document = comparing.dialect.json_again(columns.at(before).read("json"))
    return comparing.holds_for_each(comparison.comparator, document, after, given)
