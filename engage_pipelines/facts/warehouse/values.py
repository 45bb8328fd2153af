"""Values of a warehouse's rows: the ways in which a column, a part of a JSON value, or what rows reduce to can be read.

A reading is an expression that is NULL when there is no such reading. `kind` is string, number, boolean, array or object.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engage_pipelines.domain.warehouse_mapping import EPOCH_UNITS_US, Kind
from engage_pipelines.facts.warehouse.dialects.base import Dialect

WAYS = ("text", "kind", "number", "exact", "instant", "json")


class Value(Protocol):
    """What comparing needs of a value."""

    def read(self, way: str) -> str:
        """The expression for one of WAYS."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a part of a row: `document` is properties, context or trait."""

    document: str
    path: tuple[str, ...]
    way: str


@dataclass(slots=True)
class Readings:
    """What is read of each row, and the column that each reading has in the query of the rows."""

    columns: dict[Reading, str] = field(default_factory=dict[Reading, str])

    def column(self, reading: Reading) -> str:
        return self.columns.setdefault(reading, f"c{len(self.columns)}")


@dataclass(frozen=True, slots=True)
class RowValue:
    """A value of a row of the query `alias`, its columns the readings' behind `prefix`; `on_use` is told of each column that is read."""

    alias: str
    readings: Readings
    document: str
    path: tuple[str, ...]
    on_use: Callable[[str], object] = field(default=lambda _column: None)
    prefix: str = ""

    def read(self, way: str) -> str:
        column = self.readings.column(Reading(self.document, self.path, way))
        self.on_use(column)
        return f"{self.alias}.{self.prefix}{column}"


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A JSON value at hand, such as an element of an array."""

    dialect: Dialect
    value: str

    def read(self, way: str) -> str:
        return json_reading(self.dialect, self.value, way)


@dataclass(frozen=True, slots=True)
class NumberValue:
    """A value that is always a number, or missing."""

    dialect: Dialect
    number: str

    def read(self, way: str) -> str:
        match way:
            case "number":
                return self.number
            case "kind":
                return f"CASE WHEN {self.number} IS NOT NULL THEN 'number' END"
            case "text":
                return self.dialect.as_text(self.number)
            case _:
                return missing(self.dialect, way)


@dataclass(frozen=True, slots=True)
class TextValue:
    """A value that is always a text, or missing."""

    dialect: Dialect
    text: str

    def read(self, way: str) -> str:
        return text_reading(self.dialect, self.text, way)


@dataclass(frozen=True, slots=True)
class AnyValue:
    """A value of any kind in the columns k, v and j of the query `alias`: its kind, its text and its JSON."""

    dialect: Dialect
    alias: str

    def read(self, way: str) -> str:
        kind, text = f"{self.alias}.k", f"{self.alias}.v"
        match way:
            case "kind":
                return kind
            case "text":
                return text
            case "json":
                return f"{self.alias}.j"
            case "instant":
                return f"CASE WHEN {kind} = 'string' THEN {self.dialect.instant(text)} END"
            case _:
                return f"CASE WHEN {kind} IN ('string', 'number') THEN {text_reading(self.dialect, text, way)} END"


@dataclass(frozen=True, slots=True)
class TruthValue:
    """A value that is true or false, as the condition says; never missing."""

    dialect: Dialect
    condition: str

    def read(self, way: str) -> str:
        match way:
            case "text":
                return f"CASE WHEN {self.condition} THEN 'true' ELSE 'false' END"
            case "kind":
                return "'boolean'"
            case _:
                return missing(self.dialect, way)


@dataclass(frozen=True, slots=True)
class MissingValue:
    """No value at all."""

    dialect: Dialect

    def read(self, way: str) -> str:
        return missing(self.dialect, way)


def text_reading(dialect: Dialect, text: str, way: str) -> str:
    match way:
        case "text":
            return text
        case "kind":
            return f"CASE WHEN {text} IS NOT NULL THEN 'string' END"
        case "number":
            return dialect.number(text)
        case "exact":
            return dialect.exact(text)
        case "instant":
            return dialect.instant(text)
        case _:
            return dialect.null(dialect.document)


def json_reading(dialect: Dialect, value: str, way: str) -> str:
    match way:
        case "json":
            return dialect.json_kept(value)
        case "kind":
            return dialect.json_kind(value)
        case _:
            return text_reading(dialect, dialect.json_text(value), way)


def column_reading(dialect: Dialect, column: str, kind: Kind, rest: Sequence[str], way: str) -> str:
    """A reading of a column of that kind; `rest` are the names that lead further into a value of JSON."""
    if kind is Kind.JSON:
        return json_reading(dialect, dialect.json_at(dialect.json_column(column), rest), way)
    if rest:
        return missing(dialect, way)
    if kind is Kind.TEXT:
        return text_reading(dialect, dialect.as_text(column), way)
    if kind is Kind.NUMBER or kind in EPOCH_UNITS_US:
        return _number_column(dialect, column, way)
    if kind is Kind.BOOLEAN:
        return _boolean_column(dialect, column, way)
    return _instant_column(dialect, column, kind, way)


def missing(dialect: Dialect, way: str) -> str:
    """The reading of a value that no column holds."""
    types = {"number": dialect.double, "exact": dialect.decimal, "instant": dialect.bigint, "json": dialect.document}
    null = dialect.null(types.get(way, dialect.text_type))
    return dialect.as_text(null) if way in ("text", "kind") else null


def _number_column(dialect: Dialect, column: str, way: str) -> str:
    number = dialect.number_of_column(column)
    match way:
        case "number":
            return number
        case "text":
            return f"CASE WHEN {number} IS NOT NULL THEN {dialect.number_text(column)} END"
        case "kind":
            return f"CASE WHEN {number} IS NOT NULL THEN 'number' END"
        case "exact":
            return dialect.exact(dialect.number_text(column))
        case _:
            return missing(dialect, way)


def _boolean_column(dialect: Dialect, column: str, way: str) -> str:
    match way:
        case "text":
            return f"CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"
        case "kind":
            return f"CASE WHEN {column} IS NOT NULL THEN 'boolean' END"
        case _:
            return missing(dialect, way)


def _instant_column(dialect: Dialect, column: str, kind: Kind, way: str) -> str:
    match way:
        case "text":
            return dialect.instant_text(column, kind)
        case "kind":
            return f"CASE WHEN {column} IS NOT NULL THEN 'string' END"
        case "instant":
            return dialect.microseconds(column, kind)
        case _:
            return missing(dialect, way)
