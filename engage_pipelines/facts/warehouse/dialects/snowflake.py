"""SQL of Snowflake. JSON columns are VARIANT or OBJECT."""

from collections.abc import Callable, Sequence

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.base import Dialect


class Snowflake(Dialect):
    name = "snowflake"
    title = "Snowflake"
    bigint = "NUMBER(38, 0)"
    decimal = "NUMBER(18, 6)"
    document = "VARIANT"

    def text(self, text: str) -> str:
        return "'" + self.checked(text).replace("\\", "\\\\").replace("'", "''") + "'"

    def contains(self, text: str, part: str) -> str:
        return f"contains({text}, {self.text(part)})"

    def starts_with(self, text: str, part: str) -> str:
        return f"startswith({text}, {self.text(part)})"

    def ends_with(self, text: str, part: str) -> str:
        return f"endswith({text}, {self.text(part)})"

    def matches(self, text: str, pattern: str) -> str:
        # the whole text by itself
        return f"regexp_like({text}, {self.text(pattern)})"

    def found(self, text: str, pattern: str) -> str:
        return f"regexp_substr({text}, {self.text(pattern)}, 1, 1, 'e', 1)"

    def same(self, left: str, right: str) -> str:
        return f"equal_null({left}, {right})"

    def cast(self, expression: str, kind: str) -> str:
        return f"try_cast({expression} AS {kind})"

    def day_number(self, text: str) -> str:
        return f"datediff(day, DATE '1970-01-01', try_to_date({text}, 'YYYY-MM-DD'))"

    def microseconds(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"datediff(day, DATE '1970-01-01', {column}) * 86400000000"
        return f"date_part(epoch_microsecond, {column})"

    def instant_text(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"to_char({column}, 'YYYY-MM-DD')"
        at = f"convert_timezone('UTC', {column})" if kind is Kind.TIMESTAMP else column
        return f"""to_char({at}, 'YYYY-MM-DD"T"HH24:MI:SS.FF6"Z"')"""

    def instant_literal(self, at_us: int, kind: Kind) -> str | None:
        standard = super().instant_literal(at_us, kind)
        if standard is None:
            return None
        written = standard[standard.index("'") :]
        return f"{written}::TIMESTAMP_TZ" if kind is Kind.TIMESTAMP else f"{written}::TIMESTAMP_NTZ"

    def json_column(self, column: str) -> str:
        return f"to_variant({column})"

    def json_at(self, value: str, path: Sequence[str]) -> str:
        for name in path:
            value = f"get(as_object({value}), {self.text(name)})"
        return value

    def json_kind(self, value: str) -> str:
        return (
            f"CASE typeof({value}) WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'ARRAY' THEN 'array'"
            f" WHEN 'OBJECT' THEN 'object' WHEN 'INTEGER' THEN 'number' WHEN 'DECIMAL' THEN 'number' WHEN 'DOUBLE' THEN 'number' END"
        )

    def json_text(self, value: str) -> str:
        return f"CASE WHEN typeof({value}) <> 'NULL_VALUE' THEN to_varchar({value}) END"

    def json_any(self, value: str, condition: Callable[[str], str]) -> str:
        depth = value.count("je") + 1
        return f"array_size(filter(as_array({value}), je{depth} -> {condition(f'je{depth}')})) > 0"

    def json_elements(self, rows: str, document: str) -> tuple[str, str]:
        return f"{rows}, LATERAL flatten(input => as_array({document})) x", "x.value"

    def json_texts(self, text: str) -> str:
        return f"to_variant(array_agg({text}) WITHIN GROUP (ORDER BY {text}))"
