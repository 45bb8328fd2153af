"""What the compiler needs of a warehouse's SQL; everything that two warehouses say in different words is a method here.

Every expression is NULL where there is no such reading, and never an error for a value that somebody happened to store.
Values have the kinds string, number, boolean, array and object, as JSON names them. Instants are UTC microseconds since 1970.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from engage_pipelines.domain.errors import ConfigurationError, DefinitionError
from engage_pipelines.domain.query.tree import EACH
from engage_pipelines.domain.warehouse_mapping import EPOCH_UNITS_US, Kind

NUMBER_PATTERN = "[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"
EXACT_PATTERN = "[+-]?[0-9]{1,12}([.][0-9]{1,6})?"
INSTANT_PATTERN = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)?)?"
)
"""The patterns of the language (domain.query.values and instants) in words that every engine of patterns has."""

_FRACTION = "[.]([0-9]+)"
_ZONE = "T[0-9:.]+([+-][0-9:]+)"
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Dialect:
    """Standard SQL; what a warehouse says otherwise it overrides."""

    name = ""
    title = ""
    text_type = "VARCHAR"
    double = "DOUBLE"
    bigint = "BIGINT"
    decimal = "DECIMAL(18, 6)"
    boolean = "BOOLEAN"
    document = "VARCHAR"
    """The type of a column that holds a JSON value within a query."""

    # ---- names and literals

    def identifier(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def text(self, text: str) -> str:
        return "'" + self.checked(text).replace("'", "''") + "'"

    def checked(self, text: str) -> str:
        if "\0" in text:
            raise DefinitionError("a text holds the character NUL, which no column can.", "Take it out.")
        return text

    def number_literal(self, number: float) -> str:
        return f"CAST('{number!r}' AS {self.double})"

    def null(self, kind: str) -> str:
        return f"CAST(NULL AS {kind})"

    def sample(self, query: str, rows: int) -> str:
        return f"SELECT * FROM ({query}) q LIMIT {rows}"

    # ---- texts

    def as_text(self, expression: str) -> str:
        """A column or number as text that is compared by code point."""
        return f"CAST({expression} AS {self.text_type})"

    def contains(self, text: str, part: str) -> str:
        return f"strpos({text}, {self.text(part)}) > 0"

    def starts_with(self, text: str, part: str) -> str:
        return f"substr({text}, 1, {len(part)}) = {self.text(part)}"

    def ends_with(self, text: str, part: str) -> str:
        return f"right({text}, {len(part)}) = {self.text(part)}"

    def matches(self, text: str, pattern: str) -> str:
        """Whether the whole of the text is as the pattern says."""
        return f"{text} ~ {self.pattern(f'^({pattern})$')}"

    def found(self, text: str, pattern: str) -> str:
        """What the one group of the pattern finds; NULL or empty when it finds nothing."""
        raise NotImplementedError

    def pattern(self, pattern: str) -> str:
        return self.text(pattern)

    def same(self, left: str, right: str) -> str:
        """Equal, or both NULL."""
        return f"{left} IS NOT DISTINCT FROM {right}"

    # ---- numbers

    def cast(self, expression: str, kind: str) -> str:
        """A cast of a text that is known to fit."""
        return f"CAST({expression} AS {kind})"

    def number(self, text: str) -> str:
        """The number that a text reads as, finite."""
        number = self.cast(text, self.double)
        return f"CASE WHEN {self.matches(text, NUMBER_PATTERN)} AND {self.is_finite(number)} THEN {number} END"

    def is_finite(self, number: str) -> str:
        return f"abs({number}) <= {self.number_literal(1.7976931348623157e308)}"

    def number_of_column(self, column: str) -> str:
        number = f"CAST({column} AS {self.double})"
        return f"CASE WHEN {self.is_finite(number)} THEN {number} END"

    def exact(self, text: str) -> str:
        """The number as a decimal, when it is one that is summed exactly."""
        return f"CASE WHEN {self.matches(text, EXACT_PATTERN)} THEN {self.cast(text, self.decimal)} END"

    def number_text(self, column: str) -> str:
        """A column of numbers as text, without zeros at the end of a fraction."""
        text = self.as_text(column)
        return f"CASE WHEN {self.matches(text, '[+-]?[0-9]+[.][0-9]+')} THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"

    def number_order(self, number: str) -> str:
        """A double as the text that ties between numbers are broken by: whole numbers with one zero after the point."""
        whole = f"concat({self.as_text(self.to_bigint(number))}, '.0')"
        return f"CASE WHEN abs({number}) < 1e16 AND floor({number}) = {number} THEN {whole} ELSE {self.as_text(number)} END"

    def to_bigint(self, expression: str) -> str:
        return f"CAST({expression} AS {self.bigint})"

    def total(self, condition: str, number: str) -> str:
        """The sum of doubles of the rows that meet the condition."""
        return f"sum(CASE WHEN {condition} THEN {number} END)"

    # ---- instants

    def instant(self, text: str) -> str:
        """The instant that a text names. Independent of the time zone of the connection."""
        day = self.day_number(f"substr({text}, 1, 10)")
        seconds = f"CASE WHEN substr({text}, 17, 1) = ':' THEN {self._int(f'substr({text}, 18, 2)')} ELSE 0 END"
        minutes = f"{self._int(f'substr({text}, 12, 2)')} * 60 + {self._int(f'substr({text}, 15, 2)')}"
        fraction = self._int(f"substr(concat({self._or_zero(self.found(text, _FRACTION))}, '000000'), 1, 6)")
        zone = self._or_zero(self.found(text, _ZONE))
        sign = f"CASE WHEN substr({zone}, 1, 1) = '-' THEN -1 ELSE 1 END"
        zone_minutes = f"{self._int(f'substr({zone}, 2, 2)')} * 60 + {self._int(f'''replace(substr({zone}, 4, 3), ':', '')''')}"
        return (
            f"CASE WHEN {self.matches(text, INSTANT_PATTERN)} AND substr({text}, 1, 4) <> '0000' THEN {day} * {_DAY_US}"
            f" + CASE WHEN substr({text}, 11, 1) = 'T' THEN (({minutes}) * 60 + {seconds}) * 1000000 + {fraction}"
            f" - ({sign}) * ({zone_minutes}) * 60000000 ELSE 0 END END"
        )

    def _int(self, text: str) -> str:
        return f"{self.cast(self._or_zero(text), self.bigint)}"

    def _or_zero(self, text: str) -> str:
        return f"coalesce(nullif({text}, ''), '0')"

    def day_number(self, text: str) -> str:
        """Days since 1970 of a text like 2011-03-13, as a bigint; NULL when there is no such day."""
        raise NotImplementedError

    def instant_of_column(self, column: str, kind: Kind) -> str:
        """The instant that a column of that kind holds."""
        if kind in EPOCH_UNITS_US:
            return f"CAST({column} AS {self.bigint}) * {EPOCH_UNITS_US[kind]}"
        if kind is Kind.TEXT:
            return self.instant(self.as_text(column))
        return self.microseconds(column, kind)

    def microseconds(self, column: str, kind: Kind) -> str:
        """Of a column of timestamps, of times without a zone, or of days."""
        raise NotImplementedError

    def instant_text(self, column: str, kind: Kind) -> str:
        """Such a column as text in UTC, as JSON would have it."""
        raise NotImplementedError

    def instant_literal(self, at_us: int, kind: Kind) -> str | None:
        """An instant as a literal of the column's own type, so that an index or a partition is used; None where there is none."""
        at = _EPOCH + timedelta(microseconds=at_us)
        if kind is Kind.TIMESTAMP:
            return f"TIMESTAMP WITH TIME ZONE '{at:%Y-%m-%d %H:%M:%S.%f}+00:00'"
        return f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}'" if kind is Kind.DATETIME else None

    # ---- JSON

    def json_column(self, column: str) -> str:
        """A mapped column of JSON as a JSON value."""
        raise self.cannot("read JSON")

    def json_at(self, value: str, path: Sequence[str]) -> str:
        """What names lead to within a JSON value; NULL when nothing is there."""
        raise self.cannot("read JSON")

    def json_kind(self, value: str) -> str:
        raise self.cannot("read JSON")

    def json_text(self, value: str) -> str:
        """A text itself, anything else as compact JSON; NULL for null."""
        raise self.cannot("read JSON")

    def json_any(self, value: str, condition: Callable[[str], str]) -> str:
        """Whether the condition holds for one element at least of what may be an array."""
        raise self.cannot("look into the elements of an array ($)")

    def json_elements(self, rows: str, document: str) -> tuple[str, str]:
        """What stands after FROM for the rows, each once per element of `document`, where that is an array; and the element."""
        raise self.cannot("take an array apart")

    def json_texts(self, text: str) -> str:
        """The texts of a group, each there once, as a sorted JSON array, as `json_kept` keeps it."""
        raise self.cannot("make a list")

    def json_kept(self, value: str) -> str:
        """A JSON value as the rows of a query carry it, so that rows can be told apart by it."""
        return value

    def json_again(self, kept: str) -> str:
        """The JSON value again."""
        return kept

    def cannot(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"SQL for {self.title} cannot {what} here.", "Map a column of its own, or write the condition another way."
        )


def parts_before_each(path: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names before the first `$`, and what follows it."""
    place = list(path).index(EACH)
    return tuple(path[:place]), tuple(path[place + 1 :])
