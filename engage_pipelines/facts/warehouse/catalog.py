"""What the mapped columns hold: said in the mapping, or told by the warehouse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.domain.query.names import nearest
from engage_pipelines.domain.warehouse_mapping import INSTANTS, Kind, MappedColumn, Table, WarehouseFacts

Columns = Mapping[str, Kind | None]
"""By column of a table what it holds; None when it is of a type that we cannot read."""
TableName = tuple[str | None, str]

_NUMBER_AS = (Kind.EPOCH_S, Kind.EPOCH_MS, Kind.EPOCH_US, Kind.NUMBER)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables and columns that there are; without `found` the mapping alone tells."""

    facts: WarehouseFacts
    found: Mapping[TableName, Columns] | None = None

    def columns(self, table: Table) -> Columns:
        """The columns of a table. Raises ConfigurationError when it is not there, with the nearest name."""
        if self.found is None:
            raise ConfigurationError(
                f"The columns of {shown(self.facts, table)} are not known.", "Write which column holds which property or trait."
            )
        name = (self.facts.schema_of(table), table.table)
        if name not in self.found:
            there = sorted(each for schema, each in self.found if schema == name[0] and (schema, each) not in _mapped(self.facts))
            near = nearest(table.table, there)
            raise ConfigurationError(
                f"The warehouse has no table {shown(self.facts, table)}, or the login may not see it.",
                f"Did you mean {near!r}?" if near else "Correct the mapping, or grant SELECT on it.",
            )
        return self.found[name]

    def kind(self, table: Table, column: MappedColumn, *, otherwise: Kind | None = None) -> Kind:
        """What a column holds. Raises ConfigurationError when it is not there, cannot be read, or nobody says what it holds."""
        if self.found is None:
            if column.type is None and otherwise is None:
                raise ConfigurationError(
                    f"Nobody says what column {column.column!r} of {shown(self.facts, table)} holds.",
                    f"Write {{column: {column.column}, type: text}}, or another of {', '.join(Kind)}.",
                )
            return column.type or otherwise or Kind.TEXT
        columns = self.columns(table)
        if column.column not in columns:
            near = nearest(column.column, columns)
            raise ConfigurationError(
                f"Table {shown(self.facts, table)} has no column {column.column!r}.",
                f"Did you mean {near!r}?" if near else "Correct the mapping.",
            )
        real = columns[column.column]
        if real is None:
            raise ConfigurationError(
                f"Column {column.column!r} of {shown(self.facts, table)} is of a type that cannot be read.",
                "Map another one, or a view that casts it.",
            )
        return self._agreed(table, column, real)

    def _agreed(self, table: Table, column: MappedColumn, real: Kind) -> Kind:
        wanted = column.type
        if wanted is None or wanted is real or (real is Kind.NUMBER and wanted in _NUMBER_AS):
            return wanted or real
        if wanted is Kind.TEXT:
            return Kind.TEXT
        raise ConfigurationError(
            f"Column {column.column!r} of {shown(self.facts, table)} is mapped as {wanted}, and holds {real}.", "Correct its type."
        )

    def instant_kind(self, table: Table, column: MappedColumn) -> Kind:
        """What a column of instants holds. Raises ConfigurationError for one that holds no instants."""
        kind = self.kind(table, column, otherwise=Kind.TIMESTAMP)
        if kind not in INSTANTS:
            epochs = "Write {column: NAME, type: epoch_ms}, or epoch_s or epoch_us."
            remedy = epochs if kind is Kind.NUMBER else "Map a column of timestamps."
            raise ConfigurationError(
                f"Column {column.column!r} of {shown(self.facts, table)} holds {kind}, and an instant is needed.", remedy
            )
        return kind


def shown(facts: WarehouseFacts, table: Table) -> str:
    """A table as messages name it."""
    return ".".join(part for part in (facts.schema_of(table), table.table) if part)


def _mapped(facts: WarehouseFacts) -> Sequence[TableName]:
    return [(facts.schema_of(table), table.table) for _, table in facts.tables.all]
