"""Rows reduced to values as queries: one row per key, with the value in columns.

| shape | columns |
|---|---|
| number, text | v |
| texts | v, the list as a JSON value |
| any | k, v and j: kind, text and JSON of the value that a row has |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engage_pipelines.domain.query.tree import As, Reduce, Reducer
from engage_pipelines.facts.warehouse.dialects.base import Dialect
from engage_pipelines.facts.warehouse.row_scope import RowScope
from engage_pipelines.facts.warehouse.values import AnyValue, JsonValue, NumberValue, RowValue, TextValue, Value


class Shape(StrEnum):
    """What the columns of a value hold."""

    NUMBER = "number"
    TEXT = "text"
    TEXTS = "texts"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to reduce: those that are `present`, by their keys (expression, name); `source` is asked for once all columns are known."""

    scope: RowScope
    keys: Sequence[tuple[str, str]]
    present: str
    source: Callable[[], str]

    @property
    def listed(self) -> str:
        return ", ".join(f"{expression} AS {name}" for expression, name in self.keys)

    @property
    def grouped(self) -> str:
        return ", ".join(expression for expression, _ in self.keys)

    @property
    def names(self) -> str:
        return ", ".join(name for _, name in self.keys)


def shape_of(reducer: Reducer) -> Shape:
    match reducer.kind:
        case Reduce.FIRST | Reduce.LAST:
            return Shape.ANY
        case Reduce.UNIQUE:
            return Shape.TEXTS
        case Reduce.MODE:
            return Shape.NUMBER if reducer.read_as is As.NUMBER else Shape.TEXT
        case Reduce.MIN | Reduce.MAX:
            return Shape.TEXT if reducer.read_as is As.STRING else Shape.NUMBER
        case _:
            return Shape.NUMBER


def is_grouped(reducer: Reducer) -> bool:
    """Whether it is an aggregate over groups of rows, and needs no query of its own."""
    return reducer.kind not in (Reduce.FIRST, Reduce.LAST, Reduce.MODE, Reduce.UNIQUE)


def is_counted(reducer: Reducer | None) -> bool:
    """Whether the value of nobody's rows is 0, and not missing."""
    return reducer is not None and reducer.kind in (Reduce.COUNT, Reduce.UNIQUE_COUNT)


def value_at(dialect: Dialect, shape: Shape, alias: str) -> Value:
    """The value in the columns of a query of that shape."""
    match shape:
        case Shape.NUMBER:
            return NumberValue(dialect, f"{alias}.v")
        case Shape.TEXT:
            return TextValue(dialect, f"{alias}.v")
        case Shape.TEXTS:
            return JsonValue(dialect, dialect.json_again(f"{alias}.v"))
        case Shape.ANY:
            return AnyValue(dialect, alias)


def reduce_rows(dialect: Dialect, reducer: Reducer, rows: Rows) -> str:
    """The keys and the value of each key that has rows; the value may be NULL. Raises ConfigurationError for what a dialect cannot say."""
    match reducer.kind:
        case Reduce.FIRST | Reduce.LAST:
            return _at_an_end(reducer, rows)
        case Reduce.MODE:
            return _mode(dialect, reducer, rows)
        case Reduce.UNIQUE:
            return _texts(dialect, reducer, rows)
        case _:
            value = aggregate(dialect, reducer, rows.scope, rows.present)
            read = value.read("text" if shape_of(reducer) is Shape.TEXT else "number")
            return f"SELECT {rows.listed}, {read} AS v FROM {rows.source()} GROUP BY {rows.grouped}"


def aggregate(dialect: Dialect, reducer: Reducer, rows: RowScope, condition: str) -> NumberValue | TextValue:
    """What the rows that meet the condition reduce to, over groups of rows; first, last, mode and unique need queries of their own."""
    if not reducer.argument:
        return NumberValue(dialect, f"count(CASE WHEN {condition} THEN 1 END)")
    value = rows.value(reducer.argument)
    match reducer.kind:
        case Reduce.UNIQUE_COUNT:
            return NumberValue(dialect, f"count(DISTINCT CASE WHEN {condition} THEN {value.read('text')} END)")
        case Reduce.SUM:
            return NumberValue(dialect, _sum(dialect, value, condition))
        case Reduce.AVG:
            count = f"count(CASE WHEN {condition} THEN {value.read('number')} END)"
            return NumberValue(dialect, f"({_sum(dialect, value, condition)} / nullif({count}, 0))")
        case Reduce.MIN | Reduce.MAX:
            way = "text" if reducer.read_as is As.STRING else "number"
            found = f"{reducer.kind}(CASE WHEN {condition} THEN {value.read(way)} END)"
            return TextValue(dialect, found) if way == "text" else NumberValue(dialect, found)
        case _:
            raise TypeError(f"{reducer.kind} has a query of its own")


def _sum(dialect: Dialect, value: RowValue, condition: str) -> str:
    """The sum: of decimals while every number of the member is one, so that money adds up exactly and in any order; else of doubles."""
    number, exact = value.read("number"), value.read("exact")
    inexact = f"count(CASE WHEN {condition} AND {number} IS NOT NULL AND {exact} IS NULL THEN 1 END)"
    decimals = f"CAST(sum(CASE WHEN {condition} THEN {exact} END) AS {dialect.double})"
    return f"(CASE WHEN {inexact} = 0 THEN {decimals} ELSE {dialect.total(condition, number)} END)"


def _argument(reducer: Reducer, rows: Rows) -> RowValue:
    if reducer.argument is None:
        raise TypeError(f"{reducer.kind} is of a property")
    return rows.scope.value(reducer.argument)


def _at_an_end(reducer: Reducer, rows: Rows) -> str:
    value, alias = _argument(reducer, rows), rows.scope.alias
    kind, text, json = (value.read(way) for way in ("kind", "text", "json"))
    direction = "" if reducer.kind is Reduce.FIRST else " DESC"
    order = f"row_number() OVER (PARTITION BY {rows.grouped} ORDER BY {alias}.ts{direction}, {alias}.message_id{direction}) AS n"
    ranked = (
        f"SELECT {rows.listed}, {kind} AS k, {text} AS v, {json} AS j, {order}"
        f" FROM {rows.source()} WHERE {rows.present} AND {text} IS NOT NULL"
    )
    return f"SELECT {rows.names}, k, v, j FROM ({ranked}) q WHERE n = 1"


def _mode(dialect: Dialect, reducer: Reducer, rows: Rows) -> str:
    value = _argument(reducer, rows)
    if reducer.read_as is As.ARRAY:
        document = dialect.json_again(value.read("json"))
        held = f"SELECT {rows.listed}, {document} AS d FROM {rows.source()} WHERE {rows.present}"
        from_, element = dialect.json_elements(f"({held}) q", "q.d")
        keys = ", ".join(f"q.{name}" for _, name in rows.keys)
        read = f"SELECT {keys}, {dialect.json_text(element)} AS v FROM {from_}"
    else:
        way = "number" if reducer.read_as is As.NUMBER else "text"
        read = f"SELECT {rows.listed}, {value.read(way)} AS v FROM {rows.source()} WHERE {rows.present}"
    counted = f"SELECT {rows.names}, v, count(*) AS n FROM ({read}) q WHERE v IS NOT NULL GROUP BY {rows.names}, v"
    order = dialect.number_order("v") if reducer.read_as is As.NUMBER else "v"
    ranked = (
        f"SELECT {rows.names}, v, row_number() OVER (PARTITION BY {rows.names} ORDER BY n DESC, {order}) AS k"
        f" FROM ({counted}) q WHERE n >= {reducer.minimum_frequency}"
    )
    return f"SELECT {rows.names}, v FROM ({ranked}) q WHERE k = 1"


def _texts(dialect: Dialect, reducer: Reducer, rows: Rows) -> str:
    text = _argument(reducer, rows).read("text")
    distinct = f"SELECT DISTINCT {rows.listed}, {text} AS v FROM {rows.source()} WHERE {rows.present} AND {text} IS NOT NULL"
    return f"SELECT {rows.names}, {dialect.json_texts('v')} AS v FROM ({distinct}) q GROUP BY {rows.names}"
