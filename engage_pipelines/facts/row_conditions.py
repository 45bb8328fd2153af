"""Conditions on event rows in DuckDB's SQL, and the columns that they read.

A value is read once per row: the source of the rows gives one column per value and way of reading it, layer 1 adds what arrays and funnels
need, layer 3 decides `where`, and what stands above sees plain columns (DuckDB does not find common expressions by itself).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.comparing import has_each, holds_for, literal_value
from engage_pipelines.domain.query.tree import (
    EACH,
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
    Path,
    Property,
    Reduce,
    Reducer,
    Sources,
    Trait,
    Where,
    Within,
)
from engage_pipelines.facts.known import Known, Relation
from engage_pipelines.facts.sql_values import (
    JsonValue,
    Keep,
    ListValue,
    NumberValue,
    Reading,
    ReadValue,
    TextValue,
    Value,
    inline,
    predicate,
    predicate_each,
    quote_path,
    quote_text,
)

# ---- layers of columns


@dataclass(slots=True)
class Columns:
    """What is needed of each row: columns and readings of its source, and expressions that are computed once, by layer."""

    known: Known = field(default_factory=Known)
    layers: dict[int, dict[str, str]] = field(default_factory=lambda: {1: {}, 2: {}, 3: {}})
    needed: set[str] = field(default_factory=set)
    readings: dict[Reading, str] = field(default_factory=dict)
    traits: dict[Relation, str] = field(default_factory=dict)
    """By relation of values of users, the column that holds those of the row's member."""

    def read(self, reading: Reading) -> str:
        return self.readings.setdefault(reading, f"r{len(self.readings)}")

    def keep(self, layer: int, expression: str) -> str:
        kept = self.layers[layer]
        return kept.setdefault(expression, f"c{layer}_{len(kept)}")

    def trait(self, relation: Relation) -> str:
        """The value of the row's member, as JSON text; not NULL when everyone has one."""
        name = self.traits.setdefault(relation, f"t{len(self.traits)}")
        return f"e.{name}"

    def over(self, rows: str) -> str:
        """The rows of a query, which go by the name e, with the layers around them. With traits, the rows must have a member."""
        if self.traits:
            listed = "".join(f", {relation.value(f'{name}.value')} AS {name}" for relation, name in self.traits.items())
            joins = "".join(f" LEFT JOIN ({relation.rows}) {name} ON {name}.member = r.member" for relation, name in self.traits.items())
            rows = f"SELECT r.*{listed} FROM ({rows}) r{joins}"
        query = f"SELECT e.*{self._listed(1)} FROM ({rows}) e"
        for layer in (2, 3):
            if self.layers[layer]:
                query = f"SELECT *{self._listed(layer)} FROM ({query})"
        return query

    def _listed(self, layer: int) -> str:
        return "".join(f", {expression} AS {name}" for expression, name in self.layers[layer].items())


@dataclass(frozen=True, slots=True)
class Rows:
    """How the columns of event rows are named where a condition stands; `parent`: the rows that these follow.

    Rows that follow are those of the relation event_rows, without readings.
    """

    alias: str
    keep: Keep
    at_us: int
    columns: Columns
    parent: "Rows | None" = None

    def value(self, source: Property | Context | Trait) -> JsonValue | ReadValue:
        if isinstance(source, Trait):
            # rows that follow are those of the same member
            relation, path = self.columns.known.of(Level.USER, source)
            return JsonValue(self.columns.trait(relation), path, self.keep)
        rows = self.parent if isinstance(source, Property) and source.parent and self.parent else self
        document = "context" if isinstance(source, Context) else "properties"
        if rows.parent:
            return JsonValue(f"{rows.alias}.{document}", source.path, self.keep)
        return ReadValue(document, source.path, self.columns.read, self.keep)

    def document(self, source: Property | Context | Trait) -> tuple[str, Path]:
        """The column of JSON text that a value is in, and the path that leads to it there."""
        value = self.value(source)
        if isinstance(value, JsonValue):
            return value.document, value.path
        self.columns.needed.add(value.document)
        return f"e.{value.document}", value.path

    @property
    def depth(self) -> int:
        """How many rows these follow, one after the other."""
        return 0 if self.parent is None else self.parent.depth + 1

    def column(self, name: str) -> str:
        if self.parent:
            return f"{self.alias}.{name}"
        self.columns.needed.add(name)
        return name


def rows_of(columns: Columns, at_us: int) -> Rows:
    """Rows that follow no others."""
    return Rows("e", columns.keep, at_us, columns)


# ---- conditions on rows


def where_sql(condition: Condition, rows: Rows) -> str:
    match condition:
        case And(parts):
            return "(" + " AND ".join(where_sql(part, rows) for part in parts) + ")"
        case Or(parts):
            return "(" + " OR ".join(where_sql(part, rows) for part in parts) + ")"
        case Not(part):
            return f"(NOT {where_sql(part, rows)})"
        case Comparison():
            return _row_comparison(condition, rows)
        case _:
            raise TypeError(f"{condition} is no condition on rows")


def _row_comparison(comparison: Comparison, rows: Rows) -> str:
    source = comparison.scalar.source
    if isinstance(source, Events):
        return rows.keep(1, _follows(comparison, source, rows))
    if isinstance(source, Property | Context | Trait):
        if not has_each(source.path):
            return predicate(comparison.comparator, rows.value(source), _given(comparison.arguments, rows), rows.at_us)
        given = _given(comparison.arguments, replace(rows, keep=inline))
        return rows.keep(1, predicate_each(comparison.comparator, *rows.document(source), given, rows.at_us))
    return "true" if holds_for(comparison, literal_value(comparison.scalar.source), at_us=rows.at_us) else "false"


def _given(arguments: Sequence[Argument], rows: Rows) -> list[object]:
    return [rows.value(each) if isinstance(each, Property | Context | Trait) else each for each in arguments]


def _follows(comparison: Comparison, events: Events, rows: Rows) -> str:
    """A funnel: rows of another event after the row at hand, reduced and compared; it is always one row, with true or false."""
    rows.columns.needed |= {"ts", "member"}
    name = f"f{rows.depth}"
    inner = Rows(name, inline, rows.at_us, rows.columns, parent=replace(rows, keep=inline))
    filters = [filter_sql(each, inner) for each in events.filters]
    conditions = [f"{name}.member = {rows.alias}.member", f"{name}.event = {quote_text(events.name)}", *filters]
    return f"(SELECT {reduced_sql(comparison, inner, 'true')} FROM event_rows {name} WHERE {' AND '.join(conditions)})"


def filter_sql(each: Filter, rows: Rows) -> str:
    ts = rows.column("ts")
    match each:
        case Where(condition):
            return rows.keep(3, where_sql(condition, rows))
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


def reduced_sql(comparison: Comparison, rows: Rows, condition: str) -> str:
    """The truth of a comparison of what the rows that pass `condition` reduce to; with anything but literals, the rows follow another."""
    reducer = comparison.scalar.reducer
    if not reducer:
        raise TypeError("events are compared through a reducer")
    # what it is compared with is said of the row that these follow, where the comparison stands
    given = _given(comparison.arguments, replace(rows.parent or rows, keep=inline))
    return predicate(comparison.comparator, reduced_value(reducer, rows, condition), given, rows.at_us)


def reduced_value(reducer: Reducer, rows: Rows, condition: str) -> Value:
    """What the rows that pass `condition` reduce to, as an aggregate."""
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
            return JsonValue(f"({function}({value.json}, {order}) FILTER (WHERE {value.present} AND {condition}))", ())
        case Reduce.UNIQUE:
            return ListValue(f"list_sort(array_agg(DISTINCT {value.text}) FILTER (WHERE {condition} AND {value.present}))")
        case _:
            return _mode(reducer, rows, kept)


def _mode(reducer: Reducer, rows: Rows, kept: str) -> Value:
    """The most frequent value by way of a list of all; where rows are many, a query of its own does it, see `member_values`."""
    counted = f"map_entries(list_aggregate({_mode_list(reducer, rows, kept)}, 'histogram'))"
    frequent = f"list_filter({counted}, lambda h: h.value >= {reducer.minimum_frequency})"
    ordered = f"list_transform({frequent}, lambda h: struct_pack(n := -CAST(h.value AS BIGINT), t := CAST(h.key AS VARCHAR), v := h.key))"
    chosen = f"(list_sort({ordered})[1].v)"
    return NumberValue(chosen) if reducer.read_as is As.NUMBER else TextValue(chosen)


def _mode_list(reducer: Reducer, rows: Rows, kept: str) -> str:
    assert reducer.argument
    if reducer.read_as is As.ARRAY:
        return f"flatten(list({elements_sql(rows, reducer.argument)}) {kept})"
    value = rows.value(reducer.argument)
    return f"list({value.number if reducer.read_as is As.NUMBER else value.text}) {kept}"


def elements_sql(rows: Rows, argument: Property | Context) -> str:
    """The texts of the elements of an array; none of what is no array."""
    document, path = rows.document(argument)
    return rows.keep(1, f"list_transform(json_extract({document}, {quote_path((*path, EACH))}), lambda x: json_extract_string(x, '$'))")


def _sum(value: JsonValue | ReadValue, kept: str) -> str:
    """The sum: of decimals while every number of the member is one, so that money adds up exactly and in any order; else of doubles."""
    doubles = f"nullif(fsum({value.number}) {kept}, CAST('nan' AS DOUBLE))"
    return f"(CASE WHEN count({value.inexact}) {kept} = 0 THEN CAST(sum({value.exact}) {kept} AS DOUBLE) ELSE {doubles} END)"


# ---- rows of one event


def start_of(filters: Sequence[Filter], at_us: int) -> int | None:
    """The instant before which no row passes the filters, if there is one."""
    starts = [at_us - each.window.us for each in filters if isinstance(each, Within) and not each.parent]
    starts += [at_us - each.older.us for each in filters if isinstance(each, Between)]
    return max(starts, default=None)


def which_rows(name: str, filters: Sequence[Sequence[Filter]], at_us: int) -> str:
    """A condition for the rows of an event that conditions with these filters read: none before the longest window if each has one."""
    starts = [start_of(each, at_us) for each in filters]
    known = [start for start in starts if start is not None]
    since = f" AND ts >= {min(known)}" if known and len(known) == len(starts) else ""
    return f"event = {quote_text(name)}{since}"
