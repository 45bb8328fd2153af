"""SQL of BigQuery (GoogleSQL). JSON columns are of type JSON."""

from collections.abc import Callable, Sequence

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.base import Dialect


class BigQuery(Dialect):
    name = "bigquery"
    title = "BigQuery"
    text_type = "STRING"
    double = "FLOAT64"
    bigint = "INT64"
    decimal = "NUMERIC"
    boolean = "BOOL"
    document = "STRING"

    def identifier(self, name: str) -> str:
        return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"

    def text(self, text: str) -> str:
        escaped = self.checked(text).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
        return f"'{escaped}'"

    def matches(self, text: str, pattern: str) -> str:
        return f"regexp_contains({text}, {self.text(f'^({pattern})$')})"

    def found(self, text: str, pattern: str) -> str:
        return f"regexp_extract({text}, {self.text(pattern)})"

    def cast(self, expression: str, kind: str) -> str:
        return f"safe_cast({expression} AS {kind})"

    def day_number(self, text: str) -> str:
        return f"unix_date(safe_cast({text} AS DATE))"

    def microseconds(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"unix_date({column}) * 86400000000"
        return f"unix_micros(timestamp({column}))" if kind is Kind.DATETIME else f"unix_micros({column})"

    def instant_text(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"CAST({column} AS STRING)"
        at = f"timestamp({column})" if kind is Kind.DATETIME else column
        return f"format_timestamp('%Y-%m-%dT%H:%M:%E6SZ', {at}, 'UTC')"

    def instant_literal(self, at_us: int, kind: Kind) -> str | None:
        standard = super().instant_literal(at_us, kind)
        if standard is None:
            return None
        return f"{'TIMESTAMP' if kind is Kind.TIMESTAMP else 'DATETIME'} {standard[standard.index(chr(39)) :]}"

    def json_column(self, column: str) -> str:
        return column

    def json_at(self, value: str, path: Sequence[str]) -> str:
        return value + "".join(f"[{self.text(name)}]" for name in path)

    def json_kind(self, value: str) -> str:
        return f"nullif(json_type({value}), 'null')"

    def json_text(self, value: str) -> str:
        return f"CASE WHEN json_type({value}) IN ('array', 'object') THEN to_json_string({value}) ELSE json_value({value}) END"

    def json_any(self, value: str, condition: Callable[[str], str]) -> str:
        depth = value.count("je") + 1
        return f"EXISTS (SELECT 1 FROM unnest(json_query_array({value})) AS je{depth} WHERE {condition(f'je{depth}')})"

    def json_elements(self, rows: str, document: str) -> tuple[str, str]:
        return f"{rows} CROSS JOIN unnest(json_query_array({document})) AS je", "je"

    def json_texts(self, text: str) -> str:
        return f"to_json_string(array_agg({text} ORDER BY {text}))"

    def json_kept(self, value: str) -> str:
        return f"to_json_string({value})"

    def json_again(self, kept: str) -> str:
        return f"parse_json({kept}, wide_number_mode => 'round')"
