"""Conditions on rows of events, and what the rows reduce to, in a warehouse's SQL.

A funnel becomes a query of its own: the distinct rows that it starts from, each with whether others follow, joined back to the rows. So no
subquery refers to the row around it, which several warehouses cannot do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engage_pipelines.domain.query.comparing import has_each, holds_for, literal_value
from engage_pipelines.domain.query.tree import (
    And,
    Argument,
    As,
    Between,
    Comparison,
    Condition,
    Context,
    Events,
    Filter,
    Not,
    Or,
    Property,
    Reduce,
    Reducer,
    Sources,
    Trait,
    Where,
    Within,
)
from engage_pipelines.facts.warehouse.comparing import Comparing, Given
from engage_pipelines.facts.warehouse.dialects.base import parts_before_each
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.rows import event_rows
from engage_pipelines.facts.warehouse.values import NumberValue, Readings, RowValue, TextValue, Value


@dataclass(slots=True)
class RowScope:
    """The rows that a condition is about, as they are called where it stands; `parent`: the rows that these follow."""

    event: str
    alias: str
    readings: Readings = field(default_factory=Readings)
    parent: "RowScope | None" = None
    joins: list[str] = field(default_factory=list[str])
    followed: dict[Comparison, str] = field(default_factory=dict[Comparison, str])

    def value(self, source: Property | Context) -> RowValue:
        scope = self._scope(source)
        return RowValue(scope.alias, scope.readings, _document(source), source.path)

    def before_each(self, source: Property | Context) -> tuple[RowValue, tuple[str, ...]]:
        """The value that is an array perhaps, and the names that follow the first `$`."""
        scope = self._scope(source)
        before, after = parts_before_each(source.path)
        return RowValue(scope.alias, scope.readings, _document(source), before), after

    def _scope(self, source: Property | Context) -> "RowScope":
        return self.parent if isinstance(source, Property) and source.parent and self.parent else self


def _document(source: Property | Context) -> str:
    return "context" if isinstance(source, Context) else "properties"


@dataclass(frozen=True, slots=True)
class RowConditions:
    """Conditions on rows; `queries` collects those of funnels, by name."""

    warehouse: Warehouse
    comparing: Comparing
    queries: dict[str, str]

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
        if not isinstance(source, Property | Context):
            return "true" if holds_for(comparison, literal_value(source), at_us=self.warehouse.at_us) else "false"
        given = self._given(comparison.arguments, rows)
        if not has_each(source.path):
            return self.comparing.holds(comparison.comparator, rows.value(source), given)
        value, after = rows.before_each(source)
        document = self.warehouse.dialect.json_again(value.read("json"))
        return self.comparing.holds_for_each(comparison.comparator, document, after, given)

    def _given(self, arguments: Sequence[Argument], rows: RowScope) -> list[Given]:
        given: list[Given] = []
        for each in arguments:
            if isinstance(each, Trait):
                raise TypeError("comparing with a trait is refused by the checks")
            given.append(rows.value(each) if isinstance(each, Property | Context) else each)
        return given

    # ---- funnels

    def _follows(self, comparison: Comparison, events: Events, rows: RowScope) -> str:
        """Whether rows of another event that follow the row at hand reduce to what is asked; the column of a query of its own."""
        if comparison in rows.followed:
            return rows.followed[comparison]
        name = f"f{len(self.queries)}"
        self.queries[name] = ""
        parent = RowScope(rows.event, "p")
        inner = RowScope(events.name, "f", parent=parent)
        given = self._given(comparison.arguments, parent)
        condition = " AND ".join(["f.member = p.member", *([self.filters(events.filters, inner)] if events.filters else [])])
        reducer = comparison.scalar.reducer
        assert reducer
        if reducer.kind in (Reduce.FIRST, Reduce.LAST):
            query = self._followed_by(comparison, reducer, (parent, inner), (condition, given))
        else:
            truth = self.comparing.holds(comparison.comparator, self.reduced(reducer, inner, "f.member IS NOT NULL"), given)
            keys = _keys(parent)
            query = f"SELECT {keys}, {truth} AS b FROM {self._pairs(parent, inner, condition)} GROUP BY {keys}"
        self.queries[name] = query
        same = self.warehouse.dialect.same
        ours = [
            same(f"{name}.{column}", f"{rows.alias}.{rows.readings.column(reading)}") for reading, column in parent.readings.columns.items()
        ]
        on = " AND ".join([f"{name}.member = {rows.alias}.member", f"{name}.ts = {rows.alias}.ts", *ours])
        rows.joins.append(f" LEFT JOIN {name} ON {on}")
        rows.followed[comparison] = f"coalesce({name}.b, false)"
        return rows.followed[comparison]

    def _pairs(self, parent: RowScope, inner: RowScope, condition: str) -> str:
        """The rows that a funnel starts from, each beside those that follow it, or alone."""
        keys = "".join(f", {column}" for column in parent.readings.columns.values())
        starts = event_rows(self.warehouse, parent.event, parent.readings)
        follows = event_rows(self.warehouse, inner.event, inner.readings)
        distinct = f"SELECT DISTINCT member, ts{keys} FROM ({starts}) d WHERE member IS NOT NULL"
        return f"({distinct}) p LEFT JOIN ({follows}) f ON {condition}"

    def _followed_by(
        self, comparison: Comparison, reducer: Reducer, scopes: tuple[RowScope, RowScope], said: tuple[str, list[Given]]
    ) -> str:
        """Of the first or the last row that follows."""
        (parent, inner), (condition, given) = scopes, said
        assert reducer.argument
        value = inner.value(reducer.argument)
        present = f"{value.read('text')} IS NOT NULL"
        truth = self.comparing.holds(comparison.comparator, RowValue("w", inner.readings, value.document, value.path), [
            RowValue("w", parent.readings, each.document, each.path, prefix="p_") if isinstance(each, RowValue) else each for each in given
        ])  # fmt: skip
        keys = _keys(parent)
        direction = "" if reducer.kind is Reduce.FIRST else " DESC"
        order = f"row_number() OVER (PARTITION BY {keys} ORDER BY f.ts{direction}, f.message_id{direction}) AS n"
        pairs = self._pairs(parent, inner, f"{condition} AND {present}")
        read = "".join(f", f.{column}" for column in inner.readings.columns.values())
        own = "".join(f", p.{column} AS p_{column}" for column in parent.readings.columns.values())
        again = "".join(f", w.p_{column} AS {column}" for column in parent.readings.columns.values())
        return f"SELECT w.member, w.ts{again}, {truth} AS b FROM (SELECT p.member, p.ts{own}{read}, {order} FROM {pairs}) w WHERE w.n = 1"

    # ---- reducers

    def reduced(self, reducer: Reducer, rows: RowScope, condition: str) -> Value:
        """What the rows that meet the condition reduce to, over groups of rows; first, last and mode need queries of their own."""
        dialect = self.warehouse.dialect
        if not reducer.argument:
            return NumberValue(dialect, f"count(CASE WHEN {condition} THEN 1 END)")
        value = rows.value(reducer.argument)
        match reducer.kind:
            case Reduce.UNIQUE_COUNT:
                return NumberValue(dialect, f"count(DISTINCT CASE WHEN {condition} THEN {value.read('text')} END)")
            case Reduce.SUM:
                return NumberValue(dialect, self._sum(value, condition))
            case Reduce.AVG:
                count = f"count(CASE WHEN {condition} THEN {value.read('number')} END)"
                return NumberValue(dialect, f"({self._sum(value, condition)} / nullif({count}, 0))")
            case Reduce.MIN | Reduce.MAX:
                way = "text" if reducer.read_as is As.STRING else "number"
                found = f"{reducer.kind}(CASE WHEN {condition} THEN {value.read(way)} END)"
                return TextValue(dialect, found) if way == "text" else NumberValue(dialect, found)
            case _:
                raise TypeError(f"{reducer.kind} has a query of its own")

    def _sum(self, value: RowValue, condition: str) -> str:
        """The sum: of decimals while every number of the member is one, so that money adds up exactly and in any order; else of doubles."""
        dialect = self.warehouse.dialect
        number, exact = value.read("number"), value.read("exact")
        inexact = f"count(CASE WHEN {condition} AND {number} IS NOT NULL AND {exact} IS NULL THEN 1 END)"
        decimals = f"CAST(sum(CASE WHEN {condition} THEN {exact} END) AS {dialect.double})"
        return f"(CASE WHEN {inexact} = 0 THEN {decimals} ELSE {dialect.total(condition, number)} END)"


def _keys(parent: RowScope) -> str:
    return ", ".join(["p.member", "p.ts", *(f"p.{column}" for column in parent.readings.columns.values())])
