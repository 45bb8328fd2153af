"""Scopes of conditions: whether a condition of a definition is about users, about accounts, or about membership in another audience."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.levels import level_of
from engage_pipelines.domain.query.tree import AllUsers, And, AnyUser, Comparison, Condition, Not, Or, Trait

_NONE: Mapping[str, Level] = {}


@dataclass(frozen=True, slots=True)
class Scoped:
    """A comparison where it stands: over users or accounts; `audience` is the key of the audience whose members alone decide it."""

    level: Level
    comparison: Comparison
    audience: str | None = None


def scoped(condition: Condition, level: Level, audiences: Mapping[str, Level], traits: Mapping[str, Level] = _NONE) -> Iterator[Scoped]:
    """Every comparison outside of `where`, with its scope: what only users can have is about users, also when it is not wrapped."""
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from scoped(part, level, audiences, traits)
        case Not(part):
            yield from scoped(part, level, audiences, traits)
        case AnyUser(part) | AllUsers(part):
            yield from scoped(part, Level.USER, audiences, traits)
        case Comparison():
            yield scope_of(condition, level, audiences, traits)


def scope_of(comparison: Comparison, level: Level, audiences: Mapping[str, Level], traits: Mapping[str, Level] = _NONE) -> Scoped:
    """The scope of one comparison that stands at `level`; `traits` are the computed ones."""
    asked = level_of(comparison, level, audiences, traits)
    match comparison.scalar.source:
        case Trait((key,)) if key in audiences and not any(isinstance(each, Trait) for each in comparison.arguments):
            return Scoped(asked, comparison, key)
        case _:
            return Scoped(asked, comparison)
