"""Rows of events for evaluation: from typed columns in files that have them, from the JSON elsewhere, with the same meaning.

A reading that some files have a column for and others not becomes a UNION ALL over both kinds of files.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engage_pipelines.facts.promotion import BOOLEAN, NUMBER, TEXT, Promoted
from engage_pipelines.facts.sql_values import Reading, exact_sql, instant_sql, millionths_sql, number_sql, quote_path
from engage_pipelines.facts.store import Manifest, file_rows, relation

_NEVER = {"number": "NULL::DOUBLE", "exact": "NULL::DECIMAL(18, 6)", "millionths": "'nan'::DOUBLE", "instant": "NULL::BIGINT"}
_ROW_COLUMNS = ("event", "ts", "message_id", "source", "properties", "context")
_JSON_FUNCTIONS = {"json": "json_extract", "type": "json_type"}


@dataclass(frozen=True, slots=True)
class EventSource:
    """Where the rows of events are. Without `manifest` they are those of the relation `event_rows`, whose members are their subjects.

    `at_us` is the last instant that counts; `is_merged` when some subjects belong to another member, by `member_of`.
    """

    at_us: int
    folder: Path = field(default_factory=Path)
    manifest: Manifest | None = None
    is_merged: bool = False

    @property
    def has_few(self) -> bool:
        """Whether there are so few rows that a query costs more than they do."""
        return False

    def by_subject(self, condition: str, columns: Collection[str], readings: Mapping[Reading, str]) -> str:
        """A query for `subject`, some of the columns of event rows, and readings under the names given."""
        if self.manifest is None:
            return read_rows("event_rows", "member AS subject", condition, columns, {each: (name, None) for each, name in readings.items()})
        visible = f"({condition}) AND ts <= {self.at_us}"
        parts = [
            read_rows(rows, "subject", visible, columns, {each: (name, found.get(each)) for each, name in readings.items()})
            for rows, found in self._groups(readings)
        ]
        return " UNION ALL ".join(parts)

    def by_member(self, condition: str, columns: Collection[str], readings: Mapping[Reading, str]) -> str:
        """The same with `member` in place of `subject`."""
        rows = self.by_subject(condition, columns, readings)
        if not self.is_merged:
            return f"SELECT subject AS member, * EXCLUDE (subject) FROM ({rows})"
        return (
            "SELECT coalesce(m.member, s.subject) AS member, s.* EXCLUDE (subject)"
            f" FROM ({rows}) s LEFT JOIN member_of m ON m.subject = s.subject"
        )

    @property
    def rows(self) -> str:
        """SQL for all rows, also those that are not visible yet, without members."""
        if self.manifest is None:
            return "event_rows"
        return relation(self.folder, "events", self.manifest.files("events"))

    def instants(self) -> list[str]:
        """SQL for the instants of everything that has one, in a column `ts`, visible or not."""
        assert self.manifest
        columns = {"events": "ts", "traits": "ts", "links": "ts", "memberships": "ts", "subjects": "first_at"}
        return [
            f"SELECT {column} AS ts FROM {relation(self.folder, table, self.manifest.files(table))}" for table, column in columns.items()
        ]

    def _groups(self, readings: Mapping[Reading, str]) -> list[tuple[str, Mapping[Reading, Promoted]]]:
        """Files that have columns for the same of the readings, and those columns."""
        assert self.manifest
        groups: dict[tuple[tuple[Reading, Promoted], ...], list[str]] = {}
        for name in self.manifest.files("events"):
            found = columns_for(readings, self.manifest.promoted.get(name, ()))
            groups.setdefault(tuple(found.items()), []).append(name)
        if not groups:
            return [(relation(self.folder, "events", ()), {})]
        return [(self._rows(names), dict(found)) for found, names in groups.items()]

    def _rows(self, names: Sequence[str]) -> str:
        assert self.manifest
        columns = {frozenset(each.column for each in self.manifest.promoted.get(name, ())) for name in names}
        return file_rows(self.folder, names, alike=len(columns) == 1)


def columns_for(readings: Iterable[Reading], promoted: Iterable[Promoted]) -> Mapping[Reading, Promoted]:
    """The columns that tell some of the readings."""
    by_path = {each.path: each for each in promoted}
    return {
        reading: column
        for reading in readings
        if reading.document == "properties" and (column := by_path.get(reading.path)) and _expression(reading.way, column)
    }


def read_rows(
    rows: str, subject: str, condition: str, columns: Collection[str], readings: Mapping[Reading, tuple[str, Promoted | None]]
) -> str:
    """Two layers: JSON is read once per path and way of reading, numbers and dates are told from it above."""
    inner = [subject, *(name for name in _ROW_COLUMNS if name in columns)]
    outer = ["subject", *(name for name in _ROW_COLUMNS if name in columns)]
    names: dict[str, str] = {}
    for reading, (alias, column) in readings.items():
        expression = _expression(reading.way, column) if column else None
        if expression is None:
            function = _JSON_FUNCTIONS.get(reading.way, "json_extract_string")
            raw = f"{function}({reading.document}, {quote_path(reading.path)})"
            expression = _from_text(reading.way)
        else:
            assert column
            raw = column.column
        name = names.setdefault(raw, f"raw_{len(names)}")
        outer.append(f"{expression.format(name)} AS {alias}")
    inner += [f"{raw} AS {name}" for raw, name in names.items()]
    return f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} FROM {rows} WHERE {condition})"


def _expression(way: str, column: Promoted) -> str | None:
    """A reading of a typed column, `{0}` standing for it; None when the column does not tell."""
    match column.kind, way:
        case _, "present":
            return "({0} IS NOT NULL)"
        case (_, "type"):
            return "CASE WHEN {0} IS NOT NULL THEN '" + {NUMBER: "DOUBLE", TEXT: "VARCHAR", BOOLEAN: "BOOLEAN"}[column.kind] + "' END"
        case (kind, "json"):
            # a number that was not written as an integer of moderate size has its digits in the JSON alone
            return "to_json({0})" if kind != NUMBER or column.whole else None
        case (kind, _) if kind == TEXT:
            return _from_text(way)
        case (kind, "text") if kind == BOOLEAN:
            return "CAST({0} AS VARCHAR)"
        case (_, "text"):
            return "CAST(CAST({0} AS BIGINT) AS VARCHAR)" if column.whole else None
        case (kind, "number") if kind == NUMBER:
            return "{0}"
        case (kind, "exact") if kind == NUMBER:
            return "CAST({0} AS DECIMAL(18, 6))" if column.exact else None
        case (kind, "millionths") if kind == NUMBER:
            return "coalesce(round({0} * 1e6), 'nan')" if column.exact else None
        case _:
            return _NEVER[way]


def _from_text(way: str) -> str:
    """A reading of the text that a path leads to, or for json and type of just that."""
    match way:
        case "present":
            return "({0} IS NOT NULL)"
        case "number":
            return _marked(number_sql("\0"))
        case "exact":
            return _marked(exact_sql("\0"))
        case "millionths":
            return _marked(millionths_sql("\0"))
        case "instant":
            return _marked(instant_sql("\0"))
        case _:
            return "{0}"


def _marked(sql: str) -> str:
    """Braces of patterns doubled, for the one format to come."""
    return sql.replace("{", "{{").replace("}", "}}").replace("\0", "{0}")
