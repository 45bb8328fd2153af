"""What `trait('key')` reads: the present traits of profiles, and in their place the results of computations evaluated before."""

from dataclasses import dataclass, field

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.tree import Path, Trait
from engage_pipelines.facts.store import quoted


@dataclass(frozen=True, slots=True)
class Relation:
    """One value per member as SQL: `rows` gives member and value, JSON text that is never NULL; everyone else has the value `missing`."""

    rows: str
    missing: str | None = None

    def value(self, column: str) -> str:
        """The value where the rows were joined and may be missing."""
        return column if self.missing is None else f"coalesce({column}, {quoted(self.missing)})"


@dataclass(frozen=True, slots=True)
class Known:
    """Results so far, by the level at which they are asked about. `traits` are the keys of computed traits, whose values have an inside."""

    relations: dict[tuple[Level, str], Relation] = field(default_factory=dict[tuple[Level, str], Relation])
    traits: set[str] = field(default_factory=set[str])

    def of(self, level: Level, trait: Trait) -> tuple[Relation, Path]:
        """The relation that a trait is read from, and the path that leads to it there."""
        key, *inside = trait.path
        known = self.relations.get((level, key))
        if known is not None and (not inside or key in self.traits):
            return known, tuple(inside)
        return Relation(present_values(key)), tuple(inside)

    def is_computed(self, level: Level, trait: Trait) -> bool:
        return (level, trait.path[0]) in self.relations and trait.path[0] in self.traits


def present_values(key: str) -> str:
    """SQL for the value of each member that was given the trait; the last row wins."""
    # a window sorts this several times faster than arg_max over (ts, message_id) does
    last = "row_number() OVER (PARTITION BY member ORDER BY ts DESC, message_id DESC) = 1"
    return f"SELECT member, value FROM trait_rows WHERE key = {quoted(key)} QUALIFY {last}"
