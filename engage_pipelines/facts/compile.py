"""Conditions to DuckDB queries: one query per event name, one per trait key, one per `mode`.

Each query gives `member` and one truth value per condition, b0, b1 and so on, never NULL; members without a row are left out and have
the truth of `without_rows`. JSON is read once per row and path: layer 1 extracts, layer 2 reads numbers and dates, layer 3 decides
`where`, and the aggregates above see plain columns (DuckDB does not find common expressions inside aggregates by itself).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
from engage_pipelines.facts.sql_values import JsonValue, Keep, NumberValue, TextValue, Value, inline, predicate, predicate_each, quote_text


@dataclass(frozen=True, slots=True)
class LeafQuery:
    """A query for conditions that read the same rows; column b<n> is the truth of the n-th condition."""

    sql: str
    leaves: tuple[Comparison, ...]


def without_rows(leaf: Comparison, at_us: int) -> bool:
    """The truth of a condition for someone who has no row at all: counts are 0, everything else is missing."""
    reducer = leaf.scalar.reducer
    counts = reducer is not None and reducer.kind in (Reduce.COUNT, Reduce.UNIQUE_COUNT)
    return holds_for(leaf, 0 if counts else None, at_us=at_us)


def event_queries(leaves: Sequence[Comparison], at_us: int) -> list[LeafQuery]:
    """The queries for conditions on events; equal conditions are asked once."""
    by_name: dict[str, list[Comparison]] = {}
    queries: list[LeafQuery] = []
    for leaf in dict.fromkeys(leaves):
        if leaf.scalar.reducer and leaf.scalar.reducer.kind is Reduce.MODE:
            queries.append(_mode_query(leaf, at_us))
        else:
            by_name.setdefault(_events(leaf).name, []).append(leaf)
    return [*(_event_query(name, group, at_us) for name, group in by_name.items()), *queries]


def trait_queries(leaves: Sequence[Comparison], at_us: int) -> list[LeafQuery]:
    """The queries for conditions on present traits, of users and accounts alike."""
    by_key: dict[str, list[Comparison]] = {}
    for leaf in dict.fromkeys(leaves):
        by_key.setdefault(_trait(leaf).path[0], []).append(leaf)
    return [_trait_query(key, group, at_us) for key, group in by_key.items()]


def _events(leaf: Comparison) -> Events:
    if not isinstance(leaf.scalar.source, Events):
        raise TypeError(f"{leaf} is not about events")
    return leaf.scalar.source


def _trait(leaf: Comparison) -> Trait:
    if not isinstance(leaf.scalar.source, Trait):
        raise TypeError(f"{leaf} is not about a trait")
    return leaf.scalar.source


# ---- layers of columns


@dataclass(slots=True)
class _Columns:
    """Expressions that are computed once per row, by layer."""

    layers: dict[int, dict[str, str]] = field(default_factory=lambda: {1: {}, 2: {}, 3: {}})

    def keep(self, layer: int, expression: str) -> str:
        kept = self.layers[layer]
        return kept.setdefault(expression, f"c{layer}_{len(kept)}")

    def over(self, base: str, rest: str) -> str:
        """The query `SELECT base..., layer 1 <rest>` with the other layers around it."""
        query = f"SELECT {base}{self._listed(1)} {rest}"
        for layer in (2, 3):
            if self.layers[layer]:
                query = f"SELECT *{self._listed(layer)} FROM ({query})"
        return query

    def _listed(self, layer: int) -> str:
        return "".join(f", {expression} AS {name}" for expression, name in self.layers[layer].items())


@dataclass(frozen=True, slots=True)
class _Rows:
    """How the columns of event rows are named where a condition stands; `parent`: the rows that these follow."""

    alias: str
    keep: Keep
    at_us: int
    parent: "_Rows | None" = None

    def value(self, source: Property | Context) -> JsonValue:
        rows = self.parent if isinstance(source, Property) and source.parent and self.parent else self
        column = "context" if isinstance(source, Context) else "properties"
        return JsonValue(f"{rows.alias}.{column}", source.path, self.keep)

    def column(self, name: str) -> str:
        return f"{self.alias}.{name}" if self.parent else name


# ---- conditions on rows


def _where(condition: Condition, rows: _Rows) -> str:
    match condition:
        case And(parts):
            return "(" + " AND ".join(_where(part, rows) for part in parts) + ")"
        case Or(parts):
            return "(" + " OR ".join(_where(part, rows) for part in parts) + ")"
        case Not(part):
            return f"(NOT {_where(part, rows)})"
        case Comparison():
            return _row_comparison(condition, rows)
        case _:
            raise TypeError(f"{condition} is no condition on rows")


def _row_comparison(comparison: Comparison, rows: _Rows) -> str:
    source = comparison.scalar.source
    if isinstance(source, Events):
        return rows.keep(1, _follows(comparison, source, rows))
    if isinstance(source, Property | Context):
        value = rows.value(source)
        if not has_each(source.path):
            return predicate(comparison.comparator, value, _given(comparison.arguments, rows), rows.at_us)
        given = _given(comparison.arguments, replace(rows, keep=inline))
        return rows.keep(1, predicate_each(comparison.comparator, value.document, value.path, given, rows.at_us))
    return "true" if holds_for(comparison, literal_value(comparison.scalar.source), at_us=rows.at_us) else "false"


def _given(arguments: Sequence[Argument], rows: _Rows) -> list[object]:
    return [rows.value(each) if isinstance(each, Property | Context) else each for each in arguments]


def _follows(comparison: Comparison, events: Events, rows: _Rows) -> str:
    """A funnel: rows of another event after the row at hand, reduced and compared; it is always one row, with true or false."""
    inner = _Rows("f", inline, rows.at_us, parent=_Rows(rows.alias, inline, rows.at_us))
    filters = [_filter(each, inner) for each in events.filters]
    conditions = [f"f.member = {rows.alias}.member", f"f.event = {quote_text(events.name)}", *filters]
    return f"(SELECT {_reduced(comparison, inner, 'true')} FROM event_rows f WHERE {' AND '.join(conditions)})"


def _filter(each: Filter, rows: _Rows) -> str:
    ts = rows.column("ts")
    match each:
        case Where(condition):
            return rows.keep(3, _where(condition, rows))
        case Sources(exclude):
            source = rows.column("source")
            return f"({source} IS NULL OR {source} NOT IN ({', '.join(map(quote_text, exclude))}))"
        case Within(window, True):
            if not rows.parent:
                raise TypeError("no row to follow")
            return f"({ts} > {rows.parent.alias}.ts AND {ts} <= {rows.parent.alias}.ts + {window.us})"
        case Within(window):
            return f"({ts} BETWEEN {rows.at_us - window.us} AND {rows.at_us})"
        case Between(newer, older):
            return f"({ts} BETWEEN {rows.at_us - older.us} AND {rows.at_us - newer.us})"


# ---- reducers


def _reduced(comparison: Comparison, rows: _Rows, condition: str) -> str:
    """The truth of a comparison of what the rows that pass `condition` reduce to."""
    reducer = comparison.scalar.reducer
    if not reducer:
        raise TypeError("events are compared through a reducer")
    return predicate(comparison.comparator, _reduced_value(reducer, rows, condition), comparison.arguments, rows.at_us)


def _reduced_value(reducer: Reducer, rows: _Rows, condition: str) -> Value:
    kept = f"FILTER (WHERE {condition})"
    if not reducer.argument:
        return NumberValue(f"(count(*) {kept})")
    value = rows.value(reducer.argument)
    match reducer.kind:
        case Reduce.UNIQUE_COUNT:
            return NumberValue(f"(count(DISTINCT {value.text}) {kept})")
        case Reduce.SUM:
            return NumberValue(_sum(value, kept))
        case Reduce.AVG:
            return NumberValue(f"({_sum(value, kept)} / count({value.number}) {kept})")
        case Reduce.MIN | Reduce.MAX:
            if reducer.read_as is As.STRING:
                return TextValue(f"({reducer.kind}({value.text}) {kept})")
            return NumberValue(f"({reducer.kind}({value.number}) {kept})")
        case Reduce.FIRST | Reduce.LAST:
            function = "arg_min" if reducer.kind is Reduce.FIRST else "arg_max"
            order = f"row({rows.column('ts')}, {rows.column('message_id')})"
            return JsonValue(f"({function}({value.json}, {order}) FILTER (WHERE {value.text} IS NOT NULL AND {condition}))", ())
        case _:
            raise TypeError(f"{reducer.kind} has a query of its own")


def _sum(value: JsonValue, kept: str) -> str:
    """The sum: of decimals while every number of the member is one, so that money adds up exactly and in any order; else of doubles."""
    doubles = f"nullif(fsum({value.number}) {kept}, CAST('nan' AS DOUBLE))"
    return f"(CASE WHEN count({value.inexact}) {kept} = 0 THEN CAST(sum({value.exact}) {kept} AS DOUBLE) ELSE {doubles} END)"


# ---- queries


def _event_query(name: str, leaves: Sequence[Comparison], at_us: int) -> LeafQuery:
    columns = _Columns()
    rows = _Rows("e", columns.keep, at_us)
    truths: list[str] = []
    for number, leaf in enumerate(leaves):
        condition = " AND ".join([_filter(each, rows) for each in _events(leaf).filters]) or "true"
        truths.append(f"{_reduced(leaf, rows, condition)} AS b{number}")
    source = columns.over("e.member, e.ts, e.message_id, e.source", _from_events(name, leaves, at_us))
    return LeafQuery(f"SELECT member, {', '.join(truths)} FROM ({source}) GROUP BY member", tuple(leaves))


def _from_events(name: str, leaves: Sequence[Comparison], at_us: int) -> str:
    """The rows that the conditions read; none before the longest window when each of them has one."""
    starts = [_start(_events(leaf).filters, at_us) for leaf in leaves]
    known = [start for start in starts if start is not None]
    since = f" AND e.ts >= {min(known)}" if known and len(known) == len(starts) else ""
    return f"FROM event_rows e WHERE e.event = {quote_text(name)}{since}"


def _start(filters: Sequence[Filter], at_us: int) -> int | None:
    starts = [at_us - each.window.us for each in filters if isinstance(each, Within)]
    starts += [at_us - each.older.us for each in filters if isinstance(each, Between)]
    return max(starts, default=None)


def _mode_query(leaf: Comparison, at_us: int) -> LeafQuery:
    reducer, events = leaf.scalar.reducer, _events(leaf)
    if not reducer or not reducer.argument:
        raise TypeError("mode is of a property")
    columns = _Columns()
    rows = _Rows("e", columns.keep, at_us)
    read = rows.value(reducer.argument)
    value = read.number if reducer.read_as is As.NUMBER else read.text
    conditions = [*(_filter(each, rows) for each in events.filters), f"{value} IS NOT NULL"]
    source = columns.over("e.member, e.ts, e.source", _from_events(events.name, [leaf], at_us))
    counted = f"SELECT member, {value} AS v, count(*) AS n FROM ({source}) WHERE {' AND '.join(conditions)} GROUP BY ALL"
    first = "row_number() OVER (PARTITION BY member ORDER BY n DESC, CAST(v AS VARCHAR)) = 1"
    chosen = f"SELECT member, v FROM ({counted}) WHERE n >= {reducer.minimum_frequency} QUALIFY {first}"
    typed = NumberValue("v") if reducer.read_as is As.NUMBER else TextValue("v")
    truth = predicate(leaf.comparator, typed, leaf.arguments, at_us)
    return LeafQuery(f"SELECT member, {truth} AS b0 FROM ({chosen})", (leaf,))


def _trait_query(key: str, leaves: Sequence[Comparison], at_us: int) -> LeafQuery:
    columns = _Columns()
    truths: list[str] = []
    for number, leaf in enumerate(leaves):
        path = _trait(leaf).path[1:]
        if has_each(path):
            truth = columns.keep(1, predicate_each(leaf.comparator, "v", path, leaf.arguments, at_us))
        else:
            truth = predicate(leaf.comparator, JsonValue("v", path, columns.keep), leaf.arguments, at_us)
        truths.append(f"{truth} AS b{number}")
    # the last row wins; a window sorts this several times faster than arg_max over (ts, message_id) does
    last = "row_number() OVER (PARTITION BY member ORDER BY ts DESC, message_id DESC) = 1"
    present = f"FROM (SELECT member, value AS v FROM trait_rows WHERE key = {quote_text(key)} QUALIFY {last})"
    return LeafQuery(f"SELECT member, {', '.join(truths)} FROM ({columns.over('member', present)})", tuple(leaves))
