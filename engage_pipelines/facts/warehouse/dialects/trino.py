"""SQL of Trino. JSON columns are of type JSON."""

from collections.abc import Callable, Sequence

from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.base import Dialect


class Trino(Dialect):
    name = "trino"
    title = "Trino"
    document = "VARCHAR"

    def ends_with(self, text: str, part: str) -> str:
        return f"substr({text}, greatest(length({text}) - {len(part) - 1}, 1)) = {self.text(part)}"

    def matches(self, text: str, pattern: str) -> str:
        # $ would let a line break at the end pass
        return f"regexp_like({text}, {self.text(f'^({pattern})' + chr(92) + 'z')})"

    def found(self, text: str, pattern: str) -> str:
        return f"regexp_extract({text}, {self.text(pattern)}, 1)"

    def cast(self, expression: str, kind: str) -> str:
        return f"try_cast({expression} AS {kind})"

    def day_number(self, text: str) -> str:
        return f"date_diff('day', DATE '1970-01-01', try_cast({text} AS DATE))"

    def microseconds(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"date_diff('day', DATE '1970-01-01', {column}) * 86400000000"
        at = f"with_timezone({column}, 'UTC')" if kind is Kind.DATETIME else column
        return f"CAST(round(to_unixtime({at}) * 1000000) AS BIGINT)"

    def instant_text(self, column: str, kind: Kind) -> str:
        if kind is Kind.DATE:
            return f"CAST({column} AS VARCHAR)"
        at = f"at_timezone({column}, 'UTC')" if kind is Kind.TIMESTAMP else column
        return f"date_format({at}, '%Y-%m-%dT%H:%i:%s.%fZ')"

    def instant_literal(self, at_us: int, kind: Kind) -> str | None:
        standard = super().instant_literal(at_us, kind)
        return standard and standard.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMP").replace("+00:00'", " UTC'")

    def json_column(self, column: str) -> str:
        return column

    def json_at(self, value: str, path: Sequence[str]) -> str:
        if not path:
            return value
        if any('"' in name or "\\" in name for name in path):
            raise self.cannot(f"read the name {path[-1]!r}")
        return f"json_extract({value}, {self.text('$' + ''.join(f'[{chr(34)}{name}{chr(34)}]' for name in path))})"

    def json_kind(self, value: str) -> str:
        return (
            f"CASE substr(json_format({value}), 1, 1) WHEN '\"' THEN 'string' WHEN '[' THEN 'array' WHEN '{{' THEN 'object'"
            f" WHEN 't' THEN 'boolean' WHEN 'f' THEN 'boolean' WHEN 'n' THEN NULL ELSE 'number' END"
        )

    def json_text(self, value: str) -> str:
        return f"coalesce(json_extract_scalar({value}, '$'), nullif(json_format({value}), 'null'))"

    def json_any(self, value: str, condition: Callable[[str], str]) -> str:
        depth = value.count("je") + 1
        return f"any_match(try_cast({value} AS ARRAY(JSON)), je{depth} -> {condition(f'je{depth}')})"

    def json_elements(self, rows: str, document: str) -> tuple[str, str]:
        return f"{rows} CROSS JOIN UNNEST(try_cast({document} AS ARRAY(JSON))) AS x(je)", "x.je"

    def json_texts(self, text: str) -> str:
        return f"json_format(CAST(array_agg({text} ORDER BY {text}) AS JSON))"

    def json_kept(self, value: str) -> str:
        return f"json_format({value})"

    def json_again(self, kept: str) -> str:
        return f"json_parse({kept})"
