"""Rows of events as they are called where a condition on them stands, and what has to be read of them and joined to them."""

from dataclasses import dataclass, field

from engage_pipelines.domain.query.tree import Comparison, Context, Property
from engage_pipelines.facts.warehouse.dialects.base import parts_before_each
from engage_pipelines.facts.warehouse.values import Readings, RowValue


@dataclass(slots=True)
class RowScope:
    """The rows that a condition is about, as they are called where it stands; `parent`: the rows that these follow."""

    event: str
    alias: str
    readings: Readings = field(default_factory=Readings)
    parent: "RowScope | None" = None
    joins: dict[str, None] = field(default_factory=dict[str, None])
    followed: dict[Comparison, str] = field(default_factory=dict[Comparison, str])

    def value(self, source: Property | Context) -> RowValue:
        scope = self._scope(source)
        return RowValue(scope.alias, scope.readings, _document(source), source.path)

    def before_each(self, source: Property | Context) -> tuple[RowValue, tuple[str, ...]]:
        """The value that is an array perhaps, and the names that follow the first `$`."""
        scope = self._scope(source)
        before, after = parts_before_each(source.path)
        return RowValue(scope.alias, scope.readings, _document(source), before), after

    def join(self, name: str) -> None:
        """Have the values of the query `name` beside each row, those of its member."""
        self.joins[f" LEFT JOIN {name} ON {name}.member = {self.alias}.member"] = None

    def _scope(self, source: Property | Context) -> "RowScope":
        return self.parent if isinstance(source, Property) and source.parent and self.parent else self


def _document(source: Property | Context) -> str:
    return "context" if isinstance(source, Context) else "properties"
