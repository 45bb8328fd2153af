"""Rows of single members, read out of a warehouse as values: what an explanation shows, and nothing of anybody else."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query import Definition, TraitDefinition, events
from engage_pipelines.domain.query.inspection import row_paths, trait_uses
from engage_pipelines.domain.query.tree import Path
from engage_pipelines.facts.warehouse.documents import Document
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reading import Reader
from engage_pipelines.facts.warehouse.rows import event_rows, trait_rows
from engage_pipelines.facts.warehouse.values import Readings

_MOST_AT_ONCE = 5_000
_AFTER_ALL = "\U0010ffff"
"""In place of no message id, which PostgreSQL sorts after every other."""

_KEYS = "SELECT key, member FROM numbers WHERE member IN (SELECT unnest($1::BIGINT[])) ORDER BY member"
_LAST = "row_number() OVER (PARTITION BY v.member ORDER BY v.ts DESC, v.message_id DESC) AS n"
_COLUMNS = {
    "event_rows": ("member", "event", "ts", "message_id", "properties", "context", "source", "kind"),
    "trait_rows": ("member", "key", "ts", "message_id", "value", "level"),
}
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class MemberRows:
    """Fills the relations event_rows and trait_rows of a session."""

    db: duckdb.DuckDBPyConnection
    reader: Reader
    warehouse: Warehouse

    def read(self, members: Sequence[int], definition: Definition | TraitDefinition) -> None:
        """Have these relations hold what the definition may look at of the members, and nothing else.

        Raises StateError, or ConfigurationError for a mapping that does not fit.
        """
        self.db.execute("DELETE FROM event_rows; DELETE FROM trait_rows")
        found = self.db.execute(_KEYS, [list(members)]).fetchall()
        for start in range(0, len(found), _MOST_AT_ONCE):
            numbers: dict[str, int] = dict(found[start : start + _MOST_AT_ONCE])
            for name in sorted(events(definition)):
                self._events(numbers, name, definition)
            for level in Level:
                of_level = {key: number for key, number in numbers.items() if key.startswith("g:") is (level is Level.ACCOUNT)}
                if of_level:
                    self._traits(of_level, level, definition)

    def _events(self, numbers: Mapping[str, int], name: str, definition: Definition | TraitDefinition) -> None:
        readings, paths = Readings(), row_paths(definition)
        properties = Document.of("properties", paths.properties, readings)
        context = Document.of("context", paths.context, readings)
        query = event_rows(self.warehouse, name, readings)
        for rows in self._chunks(query, ("ts", "message_id", "source"), readings, numbers):
            self._insert("event_rows", [
                (numbers[member], name, ts, message_id or _AFTER_ALL, _json(properties, values), _json(context, values), source, "track")
                for member, ts, message_id, source, *values in rows
            ])  # fmt: skip

    def _traits(self, numbers: Mapping[str, int], level: Level, definition: Definition | TraitDefinition) -> None:
        paths: dict[str, set[Path]] = {}
        for each in trait_uses(definition):
            paths.setdefault(each.path[0], set()).add(each.path[1:])
        for key in sorted(paths):
            readings = Readings()
            document = Document.of("trait", paths[key], readings)
            query = f"SELECT * FROM (SELECT v.*, {_LAST} FROM ({trait_rows(self.warehouse, level, key, readings)}) v) r WHERE r.n = 1"
            for rows in self._chunks(query, ("ts",), readings, numbers):
                # a table of the present does not say since when
                self._insert("trait_rows", [
                    (numbers[member], key, ts or None, "", _json(document, values), level.value) for member, ts, *values in rows
                ])  # fmt: skip

    def _chunks(self, query: str, columns: Sequence[str], readings: Readings, numbers: Mapping[str, int]) -> Iterator[list[_Row]]:
        """Rows of these members: the member, the columns, and the readings."""
        shared = ", ".join(f"{name} AS ({each})" for name, each in self.warehouse.shared)
        listed = ", ".join(f"q.{column}" for column in ("member", *columns, *readings.columns.values()))
        keys = ", ".join(self.warehouse.dialect.text(key) for key in numbers)
        with_ = f"WITH {shared} " if shared else ""
        yield from self.reader.chunks(f"{with_}SELECT {listed} FROM ({query}) q WHERE q.member IN ({keys})")

    def _insert(self, relation: str, rows: Sequence[_Row]) -> None:
        columns = {
            name: pa.array(values, pa.int64() if name in ("member", "ts") else pa.string())
            for name, values in zip(_COLUMNS[relation], zip(*rows, strict=True), strict=True)
        }
        self.db.register("read_rows", pa.table(columns))
        try:
            self.db.execute(f"INSERT INTO {relation} SELECT * FROM read_rows")
        finally:
            self.db.unregister("read_rows")


def _json(document: Document, values: Sequence[Any]) -> str:
    return json.dumps(document.value(values), ensure_ascii=False)
