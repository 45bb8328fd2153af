"""SQL of Spark 4 and of Databricks (runtime 15.3 and newer), which read JSON through VARIANT. JSON columns are texts."""

from collections.abc import Callable, Sequence

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.base import Dialect

_DAY_US = 86_400_000_000


class Spark(Dialect):
    name = "spark"
    title = "Spark and Databricks"
    text_type = "STRING"
    document = "STRING"

    def identifier(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def text(self, text: str) -> str:
        escaped = self.checked(text).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
        return f"'{escaped}'"

    def contains(self, text: str, part: str) -> str:
        return f"contains({text}, {self.text(part)})"

    def starts_with(self, text: str, part: str) -> str:
        return f"startswith({text}, {self.text(part)})"

    def ends_with(self, text: str, part: str) -> str:
        return f"endswith({text}, {self.text(part)})"

    def matches(self, text: str, pattern: str) -> str:
        # $ would let a line break at the end pass
        return f"{text} RLIKE {self.text(f'^({pattern})' + chr(92) + 'z')}"

    def found(self, text: str, pattern: str) -> str:
        return f"regexp_extract({text}, {self.text(pattern)}, 1)"

    def same(self, left: str, right: str) -> str:
        return f"{left} <=> {right}"

    def cast(self, expression: str, kind: str) -> str:
        return f"try_cast({expression} AS {kind})"

    def day_number(self, text: str) -> str:
        return f"CAST(unix_date(try_cast({text} AS DATE)) AS BIGINT)"

    def microseconds(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"CAST(unix_date({column}) AS BIGINT) * {_DAY_US}"
        if kind is Kind.DATETIME:
            return f"timestampdiff(MICROSECOND, TIMESTAMP_NTZ '1970-01-01 00:00:00', {column})"
        return f"unix_micros({column})"

    def instant_text(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"date_format({column}, 'yyyy-MM-dd')"
        at = f"to_utc_timestamp({column}, current_timezone())" if kind is Kind.TIMESTAMP else column
        pattern = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"
        return f"date_format({at}, {self.text(pattern)})"

    def instant_literal(self, at_us: int, kind: Kind) -> str | None:
        standard = super().instant_literal(at_us, kind)
        if standard is None:
            return None
        return standard.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMP") if kind is Kind.TIMESTAMP else f"TIMESTAMP_NTZ{standard[9:]}"

    def json_column(self, column: str) -> str:
        return f"try_parse_json({column})"

    def json_at(self, value: str, path: Sequence[str]) -> str:
        if not path:
            return value
        if any('"' in name or "\\" in name for name in path):
            raise self.cannot(f"read the name {path[-1]!r}")
        steps = "".join(f'["{name}"]' for name in path)
        return f"try_variant_get({value}, {self.text('$' + steps)}, 'variant')"

    def json_kind(self, value: str) -> str:
        kind = f"schema_of_variant({value})"
        return (
            f"CASE WHEN {kind} = 'STRING' THEN 'string' WHEN {kind} = 'BOOLEAN' THEN 'boolean' WHEN {kind} = 'VOID' THEN NULL"
            f" WHEN startswith({kind}, 'ARRAY') THEN 'array' WHEN startswith({kind}, 'OBJECT') THEN 'object' ELSE 'number' END"
        )

    def json_text(self, value: str) -> str:
        return f"try_variant_get({value}, '$', 'string')"

    def json_any(self, value: str, condition: Callable[[str], str]) -> str:
        depth = value.count("je") + 1
        return f"exists(try_variant_get({value}, '$', 'array<variant>'), je{depth} -> {condition(f'je{depth}')})"

    def json_elements(self, rows: str, document: str) -> tuple[str, str]:
        return f"{rows} LATERAL VIEW explode(try_variant_get({document}, '$', 'array<variant>')) x AS je", "x.je"

    def json_texts(self, text: str) -> str:
        return f"to_json(sort_array(collect_list({text})))"

    def json_kept(self, value: str) -> str:
        return f"to_json({value})"

    def json_again(self, kept: str) -> str:
        return f"try_parse_json({kept})"
