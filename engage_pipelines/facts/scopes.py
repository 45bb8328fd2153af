"""Scopes of conditions: whether a condition of a definition is about users, about accounts, or about membership in another audience."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.tree import AllUsers, And, AnyUser, Comparison, Condition, Events, Not, Or, Trait


@dataclass(frozen=True, slots=True)
class Scoped:
    """A comparison where it stands: over users or accounts; `audience` is the key of the audience it asks about."""

    level: Level
    comparison: Comparison
    audience: str | None = None


def scoped(condition: Condition, level: Level, audiences: Mapping[str, Level]) -> Iterator[Scoped]:
    """Every comparison outside of `where`, with its scope: what only users can have is about users, also when it is not wrapped."""
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from scoped(part, level, audiences)
        case Not(part):
            yield from scoped(part, level, audiences)
        case AnyUser(part) | AllUsers(part):
            yield from scoped(part, Level.USER, audiences)
        case Comparison():
            yield scope_of(condition, level, audiences)


def scope_of(comparison: Comparison, level: Level, audiences: Mapping[str, Level]) -> Scoped:
    """The scope of one comparison that stands at `level`."""
    match comparison.scalar.source:
        case Events():
            return Scoped(Level.USER, comparison)
        case Trait((key,)) if key in audiences:
            # users are asked about audiences of accounts as well; accounts are not asked about audiences of users
            return Scoped(Level.USER if audiences[key] is Level.USER else level, comparison, key)
        case _:
            return Scoped(level, comparison)
