"""Values of customer data in DuckDB's SQL: reading them out of JSON text, and comparing them as the language means it.

Every predicate here is true or false, never NULL. Names and texts are quoted, so nothing in a definition can become SQL. The reference
for what these expressions must say is domain.query.values and domain.query.comparing.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engage_pipelines.domain.query.comparing import NEGATIONS, bounds
from engage_pipelines.domain.query.instants import DATE, TIME, ZONE
from engage_pipelines.domain.query.tree import EACH, Comparator, Duration, Moment, Number, Path, Text, Truth
from engage_pipelines.domain.query.values import EXACT_PATTERN, NUMBER_PATTERN, number_of

Keep = Callable[[int, str], str]
"""Makes a column of an expression, computed once per row in the layer of that number, and gives its name."""

_STAMPED = f"{DATE}{TIME}{ZONE}"
_PLAIN = f"{DATE}(?:{TIME})?"


NUMBERS = ("UBIGINT", "BIGINT", "UHUGEINT", "HUGEINT", "DOUBLE")
TEXTS = ("VARCHAR",)
TEXTS_AND_LISTS = ("VARCHAR", "ARRAY", "OBJECT")
"""JSON types as json_type names them."""


def inline(_layer: int, expression: str) -> str:
    """Keeps nothing: for expressions that stand inside a subquery or a lambda."""
    return expression


def quote_text(text: str) -> str:
    """A text literal; DuckDB knows no escapes in it but the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


def quote_double(number: float) -> str:
    return f"CAST('{number!r}' AS DOUBLE)"


def quote_path(path: Path) -> str:
    """A JSON path literal, every name quoted; `$` becomes the elements of an array."""
    return quote_text("$" + "".join("[*]" if part == EACH else "." + json.dumps(part, ensure_ascii=False) for part in path))


class Value(Protocol):
    """What predicates need of a value; each property is an expression that is NULL when there is no such reading.

    `present` is true or false.
    """

    @property
    def present(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def number(self) -> str: ...
    @property
    def instant(self) -> str: ...
    def is_type(self, *types: str) -> str:
        """Whether the value is of one of these JSON types."""
        ...


@dataclass(frozen=True, slots=True)
class JsonValue:
    """What a path leads to in a column of JSON text."""

    document: str
    path: Path
    keep: Keep = field(default=inline)

    @property
    def json(self) -> str:
        return self.keep(1, f"json_extract({self.document}, {quote_path(self.path)})")

    @property
    def present(self) -> str:
        return f"{self.text} IS NOT NULL"

    @property
    def text(self) -> str:
        return self.keep(1, f"json_extract_string({self.document}, {quote_path(self.path)})")

    @property
    def number(self) -> str:
        return self.keep(2, number_sql(self.text))

    @property
    def exact(self) -> str:
        """The number as a decimal, when it is one that is summed exactly."""
        text = self.text
        return self.keep(2, exact_sql(text))

    @property
    def inexact(self) -> str:
        """Something, when there is a number and it is not exact."""
        return self.keep(3, f"CASE WHEN {self.number} IS NOT NULL AND {self.exact} IS NULL THEN true END")

    @property
    def instant(self) -> str:
        return self.keep(2, instant_sql(self.text))

    def is_type(self, *types: str) -> str:
        kind = self.keep(1, f"json_type({self.document}, {quote_path(self.path)})")
        return f"{kind} IN ({', '.join(map(quote_text, types))})"


WAYS = ("present", "json", "text", "type", "number", "exact", "millionths", "instant")


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a part of an event row: `way` is one of WAYS, `document` the column of JSON text."""

    document: str
    path: Path
    way: str


@dataclass(frozen=True, slots=True)
class ReadValue:
    """What a path leads to in an event row, by columns that `read` promises, one per way of reading."""

    document: str
    path: Path
    read: Callable[[Reading], str]
    keep: Keep

    def _way(self, way: str) -> str:
        return self.read(Reading(self.document, self.path, way))

    @property
    def present(self) -> str:
        return self._way("present")

    @property
    def json(self) -> str:
        return self._way("json")

    @property
    def text(self) -> str:
        return self._way("text")

    @property
    def number(self) -> str:
        return self._way("number")

    @property
    def exact(self) -> str:
        return self._way("exact")

    @property
    def millionths(self) -> str:
        return self._way("millionths")

    @property
    def inexact(self) -> str:
        """Something, when there is a number and it is not exact."""
        return self.keep(3, f"CASE WHEN {self.number} IS NOT NULL AND {self.exact} IS NULL THEN true END")

    @property
    def instant(self) -> str:
        return self._way("instant")

    def is_type(self, *types: str) -> str:
        return f"{self._way('type')} IN ({', '.join(map(quote_text, types))})"


@dataclass(frozen=True, slots=True)
class NumberValue:
    """A value that is always a number, or missing."""

    number: str

    @property
    def present(self) -> str:
        return f"{self.number} IS NOT NULL"

    @property
    def text(self) -> str:
        return f"CAST({self.number} AS VARCHAR)"

    @property
    def instant(self) -> str:
        return "NULL"

    def is_type(self, *types: str) -> str:
        return _truth("DOUBLE" in types)


@dataclass(frozen=True, slots=True)
class TextValue:
    """A value that is always a text, or missing."""

    text: str

    @property
    def present(self) -> str:
        return f"{self.text} IS NOT NULL"

    @property
    def number(self) -> str:
        return number_sql(self.text)

    @property
    def instant(self) -> str:
        return instant_sql(self.text)

    def is_type(self, *types: str) -> str:
        return _truth("VARCHAR" in types)


@dataclass(frozen=True, slots=True)
class ListValue:
    """A list of texts, or missing; looked into as the JSON that it is."""

    texts: str

    @property
    def present(self) -> str:
        return f"{self.texts} IS NOT NULL"

    @property
    def text(self) -> str:
        return text_json(self.texts)

    @property
    def number(self) -> str:
        return "NULL"

    @property
    def instant(self) -> str:
        return "NULL"

    def is_type(self, *types: str) -> str:
        return _truth("ARRAY" in types)


def number_sql(text: str) -> str:
    """The number that a text reads as, as a double."""
    number = f"TRY_CAST({text} AS DOUBLE)"
    return f"CASE WHEN regexp_full_match({text}, '{NUMBER_PATTERN}') AND isfinite({number}) THEN {number} END"


def exact_sql(text: str) -> str:
    """The number that a text reads as, as a decimal, when it is one that is summed exactly."""
    return f"CASE WHEN regexp_full_match({text}, '{EXACT_PATTERN}') THEN TRY_CAST({text} AS DECIMAL(18, 6)) END"


def millionths_sql(text: str) -> str:
    """The number times a million, as a double without fraction; nan where there is none, inf where it is not one that is summed exactly."""
    return f"CASE WHEN ({number_sql(text)}) IS NULL THEN 'nan' ELSE coalesce(round(CAST({exact_sql(text)} AS DOUBLE) * 1e6), 'inf') END"


def instant_sql(text: str) -> str:
    """The instant that a text names, in microseconds since 1970. Independent of the time zone of the connection."""
    return f"""CASE
        WHEN starts_with({text}, '0000') THEN NULL
        WHEN regexp_full_match({text}, '{_STAMPED}') THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))
        WHEN regexp_full_match({text}, '{_PLAIN}') THEN epoch_us(TRY_CAST({text} AS TIMESTAMP)) END"""


def number_json(number: str) -> str:
    """A double as JSON text: whole ones as integers, so that the same number has one text."""
    whole = f"{number} = trunc({number}) AND abs({number}) < 9e15"
    return f"CASE WHEN {whole} THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) ELSE CAST(to_json({number}) AS VARCHAR) END"


def text_json(text: str) -> str:
    """A text, or a list of texts, as JSON text."""
    return f"CAST(to_json({text}) AS VARCHAR)"


def scalar_json(json: str) -> str:
    """JSON as text, numbers as `number_json` writes them."""
    number = number_json(f"CAST({json} AS DOUBLE)")
    return f"CASE WHEN json_type({json}) = 'DOUBLE' AND isfinite(CAST({json} AS DOUBLE)) THEN {number} ELSE CAST({json} AS VARCHAR) END"


# ---- predicates


def predicate(comparator: Comparator, value: Value, given: Sequence[object], at_us: int) -> str:
    """Whether the comparison holds; `given` are literals, durations and other values."""
    positive = NEGATIONS.get(comparator, comparator)
    found = f"coalesce({_positive(positive, value, given, at_us)}, false)"
    return f"NOT {found}" if comparator in NEGATIONS else found


def predicate_each(comparator: Comparator, document: str, path: Path, given: Sequence[object], at_us: int) -> str:
    """Whether the comparison holds for one element at least; the negations: for none."""
    positive = NEGATIONS.get(comparator, comparator)
    one = predicate(positive, JsonValue("e", ()), given, at_us)
    elements = f"json_extract({document}, {quote_path(path)})"
    found = f"coalesce(list_bool_or(list_transform({elements}, lambda e: {one})), false)"
    return f"NOT {found}" if comparator in NEGATIONS else found


_SIGNS = {
    Comparator.GREATER_THAN: ">",
    Comparator.AT_LEAST: ">=",
    Comparator.LESS_THAN: "<",
    Comparator.AT_MOST: "<=",
}


def _positive(comparator: Comparator, value: Value, given: Sequence[object], at_us: int) -> str:
    match comparator:
        case Comparator.EXISTS:
            return value.present
        case Comparator.EQUALS | Comparator.ONE_OF:
            return _any(_equal(value, each) for each in given)
        case Comparator.DIFFERS:
            return _differs(value, given[0])
        case Comparator.GREATER_THAN | Comparator.AT_LEAST | Comparator.LESS_THAN | Comparator.AT_MOST:
            return f"{value.number} {_SIGNS[comparator]} {_number_given(given[0])}"
        case Comparator.CONTAINS:
            return _any(_contains(value, each.value) for each in given if isinstance(each, Text))
        case Comparator.STARTS_WITH | Comparator.ENDS_WITH:
            function = "starts_with" if comparator is Comparator.STARTS_WITH else "ends_with"
            found = _any(f"{function}({value.text}, {quote_text(each.value)})" for each in given if isinstance(each, Text))
            return f"{value.is_type(*TEXTS)} AND {found}"
        case _:
            return _dated(comparator, value, given[0], at_us)


def _any(conditions: Iterable[str]) -> str:
    return "(" + " OR ".join(conditions) + ")"


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _equal(value: Value, given: object) -> str:
    match given:
        case Number(number):
            return f"{value.number} = {quote_double(float(number))}"
        case Truth(truth):
            return f"{value.text} = '{_truth(truth)}'"
        case Moment(at_us):
            return f"{value.instant} = {at_us}"
        case Text(text):
            return _equal_text(value, text)
        case _:
            return _equal_values(value, _value(given))


def _equal_text(value: Value, text: str) -> str:
    """Equal to a text: the text form alone does not tell 5 from '5', nor a list from a text that looks like one."""
    equal = f"{value.text} = {quote_text(text)}"
    number = number_of(text)
    if number is not None:
        return f"(({value.is_type(*TEXTS)} AND {equal}) OR ({value.is_type(*NUMBERS)} AND {value.number} = {quote_double(number)}))"
    return f"({value.is_type(*TEXTS)} AND {equal})" if text[:1] in ("[", "{") else equal


def _equal_values(left: Value, right: Value) -> str:
    truths = f"({left.is_type('BOOLEAN')} OR {right.is_type('BOOLEAN')})"
    readable = f"({left.is_type('BOOLEAN', *TEXTS)} AND {right.is_type('BOOLEAN', *TEXTS)})"
    return f"""CASE WHEN {left.is_type(*TEXTS)} AND {right.is_type(*TEXTS)} THEN {left.text} = {right.text}
        WHEN {truths} THEN {readable} AND {left.text} = {right.text} ELSE {left.number} = {right.number} END"""


def _differs(value: Value, given: object) -> str:
    present = value.present
    if not isinstance(given, Number | Text | Truth | Moment):
        present += f" AND {_value(given).present}"
    return f"{present} AND NOT coalesce({_equal(value, given)}, false)"


def _number_given(given: object) -> str:
    """What a number is compared with. A text got here only because it reads as a number."""
    if isinstance(given, Number):
        return quote_double(float(given.value))
    if isinstance(given, Text):
        return quote_double(number_of(given.value) or 0.0)
    return _value(given).number


def _value(given: object) -> Value:
    if not isinstance(given, JsonValue | ReadValue):
        raise TypeError(f"{given!r} has no place in a comparison")
    return given


def _contains(value: Value, part: str) -> str:
    return f"({value.is_type(*TEXTS_AND_LISTS)} AND contains({value.text}, {quote_text(part)}))"


def _dated(comparator: Comparator, value: Value, given: object, at_us: int) -> str:
    if not isinstance(given, Moment | Duration):
        raise TypeError(f"{given!r} is neither a date nor a length of time")
    first, last = bounds(comparator, given, at_us)
    ends = [f"{value.instant} {sign} {end}" for sign, end in ((">=", first), ("<=", last)) if end is not None]
    return f"({' AND '.join(ends)})"
