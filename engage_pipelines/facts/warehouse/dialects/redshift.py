"""SQL of Amazon Redshift. JSON columns are of type SUPER.

A number in text counts when its exponent has at most two digits and it is no longer than 250 digits: there is no cast that may fail.
"""

from collections.abc import Sequence

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.base import Dialect

_READABLE = "[+-]?([0-9]{1,200}([.][0-9]{0,50})?|[.][0-9]{1,50})([eE][+-]?[0-9]{1,2})?"


class Redshift(Dialect):
    name = "redshift"
    title = "Redshift"
    text_type = "VARCHAR(65535)"
    double = "DOUBLE PRECISION"
    document = "SUPER"

    def text(self, text: str) -> str:
        return "'" + self.checked(text).replace("\\", "\\\\").replace("'", "''") + "'"

    def found(self, text: str, pattern: str) -> str:
        return f"regexp_substr({text}, {self.text(pattern)}, 1, 1, 'e')"

    def same(self, left: str, right: str) -> str:
        return f"({left} = {right} OR ({left} IS NULL AND {right} IS NULL))"

    def number(self, text: str) -> str:
        return f"CASE WHEN {self.matches(text, _READABLE)} THEN CAST({text} AS {self.double}) END"

    def day_number(self, text: str) -> str:
        year, month, day = (f"CAST(substr({text}, {start}, {length}) AS INTEGER)" for start, length in ((1, 4), (6, 2), (9, 2)))
        leap = f"CASE WHEN {year} % 4 = 0 AND ({year} % 100 <> 0 OR {year} % 400 = 0) THEN 29 ELSE 28 END"
        last = f"CASE WHEN {month} IN (4, 6, 9, 11) THEN 30 WHEN {month} = 2 THEN {leap} WHEN {month} BETWEEN 1 AND 12 THEN 31 ELSE 0 END"
        return f"CASE WHEN {day} BETWEEN 1 AND {last} THEN CAST(datediff(day, DATE '1970-01-01', CAST({text} AS DATE)) AS BIGINT) END"

    def microseconds(self, column: str, kind: Kind) -> str:
        at = f"({column} AT TIME ZONE 'UTC')" if kind is Kind.TIMESTAMP else f"CAST({column} AS TIMESTAMP)"
        return f"datediff(us, TIMESTAMP '1970-01-01 00:00:00', {at})"

    def instant_text(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"to_char({column}, 'YYYY-MM-DD')"
        at = f"({column} AT TIME ZONE 'UTC')" if kind is Kind.TIMESTAMP else column
        return f"""to_char({at}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

    def instant_literal(self, at_us: int, kind: Kind) -> str | None:
        standard = super().instant_literal(at_us, kind)
        return standard and standard.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")

    def json_column(self, column: str) -> str:
        return column

    def json_at(self, value: str, path: Sequence[str]) -> str:
        return value + "".join(f".{self.identifier(name)}" for name in path)

    def json_kind(self, value: str) -> str:
        return f"nullif(json_typeof({value}), 'null')"

    def json_text(self, value: str) -> str:
        return (
            f"CASE json_typeof({value}) WHEN 'string' THEN CAST({value} AS {self.text_type}) WHEN 'null' THEN NULL"
            f" ELSE json_serialize({value}) END"
        )
