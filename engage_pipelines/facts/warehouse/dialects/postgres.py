"""SQL of PostgreSQL 12 and newer."""

from collections.abc import Callable, Sequence

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.base import NUMBER_PATTERN, Dialect

_PLAIN = "[+-]?([0-9]{1,250}([.][0-9]{0,250})?|[.][0-9]{1,250})"
_SCIENTIFIC = "[+-]?([0-9]{1,150}([.][0-9]{0,100})?|[.][0-9]{1,100})[eE][+-]?0*[0-9]{1,3}"
_LARGEST = "1.7976931348623157e308"
_SMALLEST = "2.5e-324"
_STRINGS_OR_SPACES = r"""("([^"\\]|\\.)*")|\s+"""


class PostgreSQL(Dialect):
    name = "postgres"
    title = "PostgreSQL"
    text_type = "text"
    double = "double precision"
    bigint = "bigint"
    decimal = "numeric(18, 6)"
    boolean = "boolean"
    document = "jsonb"

    def as_text(self, expression: str) -> str:
        return f'CAST({expression} AS text) COLLATE "C"'

    def found(self, text: str, pattern: str) -> str:
        return f"substring({text} from {self.pattern(pattern)})"

    def ends_with(self, text: str, part: str) -> str:
        return f"right({text}, {len(part)}) = {self.text(part)}" if part else "true"

    def number(self, text: str) -> str:
        # a cast that fails ends the whole query, so only what surely fits is cast; what is longer goes through numeric, which is wider
        read = self._double(f"CAST({text} AS numeric)")
        return (
            f"CASE WHEN {self.matches(text, _PLAIN)} THEN {read}"
            f" WHEN {self.matches(text, _SCIENTIFIC)} THEN {read}"
            f" WHEN {self.matches(text, NUMBER_PATTERN)} THEN {self._odd_number(text)} END"
        )

    def _odd_number(self, text: str) -> str:
        """Of very long digits or exponents: zero, or nothing that a double could hold."""
        zero = self.matches(text, "[+-]?[0.]*([eE].*)?")
        tiny = self.matches(text, "[^eE]{1,250}[eE]-[0-9]+")
        long = f"length({text}) < 5000 AND {self.matches(text, '[0-9.+-]*')}"
        return f"CASE WHEN {zero} OR {tiny} THEN 0 WHEN {long} THEN {self._double(f'CAST({text} AS numeric)')} END"

    def _double(self, wide: str) -> str:
        """A numeric as a double; NULL where it is too large."""
        near_zero = f"WHEN abs({wide}) < {_SMALLEST} THEN 0"
        return f"CASE WHEN abs({wide}) > {_LARGEST} THEN NULL {near_zero} ELSE CAST({wide} AS {self.double}) END"

    def number_of_column(self, column: str) -> str:
        number = f"CAST({column} AS double precision)"
        return f"CASE WHEN {column} BETWEEN -1e-307 AND 1e-307 THEN 0 WHEN {column} BETWEEN -{_LARGEST} AND {_LARGEST} THEN {number} END"

    def total(self, condition: str, number: str) -> str:
        # numerics add up exactly and in any order; the shortest text of a double is a numeric
        total = f"sum(CASE WHEN {condition} THEN CAST(CAST({number} AS text) AS numeric) END)"
        return f"CASE WHEN abs({total}) <= {_LARGEST} THEN CAST({total} AS double precision) END"

    def day_number(self, text: str) -> str:
        year, month, day = (f"CAST(substr({text}, {start}, {length}) AS integer)" for start, length in ((1, 4), (6, 2), (9, 2)))
        leap = f"CASE WHEN {year} % 4 = 0 AND ({year} % 100 <> 0 OR {year} % 400 = 0) THEN 29 ELSE 28 END"
        last = f"CASE WHEN {month} IN (4, 6, 9, 11) THEN 30 WHEN {month} = 2 THEN {leap} WHEN {month} BETWEEN 1 AND 12 THEN 31 ELSE 0 END"
        days = f"make_date({year}, {month}, {day}) - DATE '1970-01-01'"
        return f"CASE WHEN {day} BETWEEN 1 AND {last} THEN CAST({days} AS bigint) END"

    def microseconds(self, column: str, kind: Kind) -> str:
        return f"CASE WHEN isfinite({column}) THEN CAST(round(extract(epoch FROM {column}) * 1000000) AS bigint) END"

    def instant_text(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"""to_char({column}, 'YYYY-MM-DD') COLLATE "C\""""
        at = f"{column} AT TIME ZONE 'UTC'" if kind is Kind.TIMESTAMP else column
        return f"""to_char({at}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') COLLATE "C\""""

    def json_column(self, column: str) -> str:
        # json, arrays and rows become jsonb, which is one type with one text form
        return f"to_jsonb({column})"

    def json_at(self, value: str, path: Sequence[str]) -> str:
        # -> with a name steps into objects alone, unlike a path, which takes a digit for a place in an array
        return f"({''.join([value, *(f' -> {self.text(name)}' for name in path)])})"

    def json_kind(self, value: str) -> str:
        return f"nullif(jsonb_typeof({value}), 'null')"

    def json_text(self, value: str) -> str:
        compact = f"regexp_replace(CAST({value} AS text), '{_STRINGS_OR_SPACES}', '\\1', 'g')"
        text = f"{value} #>> '{{}}'"
        return f"""(CASE WHEN jsonb_typeof({value}) IN ('array', 'object') THEN {compact} ELSE {text} END) COLLATE "C\""""

    def json_elements(self, rows: str, document: str) -> tuple[str, str]:
        array = f"CASE WHEN jsonb_typeof({document}) = 'array' THEN {document} ELSE '[]'::jsonb END"
        return f"{rows} CROSS JOIN LATERAL jsonb_array_elements({array}) AS x(je)", "x.je"

    def json_texts(self, text: str) -> str:
        return f"jsonb_agg({text} ORDER BY {text})"

    def json_any(self, value: str, condition: Callable[[str], str]) -> str:
        elements = f"jsonb_array_elements(CASE WHEN jsonb_typeof({value}) = 'array' THEN {value} ELSE '[]'::jsonb END)"
        depth = value.count("je") + 1
        return f"EXISTS (SELECT 1 FROM {elements} AS x{depth}(je{depth}) WHERE {condition(f'je{depth}')})"
