"""Users and accounts in one definition: which computations a condition may ask about where it stands.

Users are asked about traits of users, and about audiences of both levels; accounts about traits and audiences of accounts. What only users
have, asked of an account, is asked of its users.
"""

from collections.abc import Iterator, Mapping

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.inspection import trait_uses
from engage_pipelines.domain.query.pieces import fail
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    Comparison,
    Condition,
    Definition,
    Events,
    Not,
    Or,
    Trait,
    TraitDefinition,
    inside_where,
)

Levels = Mapping[str, Level]


def level_of(comparison: Comparison, level: Level, audiences: Levels, traits: Levels) -> Level:
    """Of whom a comparison is asked that stands at `level`."""
    match comparison.scalar.source:
        case Events():
            return Level.USER
        case Trait((key,)) if audiences.get(key) is Level.USER:
            return Level.USER
        case Trait((key, *_)) if traits.get(key) is Level.USER:
            return Level.USER
        case _:
            return level


def check_levels(definition: Definition | TraitDefinition, audiences: Levels, traits: Levels) -> None:
    """Raises DefinitionError for a computed trait or an audience that is asked of the wrong ones."""
    if isinstance(definition, TraitDefinition):
        for use in trait_uses(definition):
            _check(use, Level.USER, audiences, traits)
        return
    for comparison, level in _placed(definition.condition, definition.level):
        asked = level_of(comparison, level, audiences, traits)
        source = comparison.scalar.source
        for use in (source, *comparison.arguments):
            if isinstance(use, Trait):
                _check(use, asked, audiences, traits)
        for inner in inside_where(comparison.scalar):
            for use in (inner.scalar.source, *inner.arguments):
                if isinstance(use, Trait):
                    _check(use, Level.USER, audiences, traits)


def _placed(condition: Condition, level: Level) -> Iterator[tuple[Comparison, Level]]:
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _placed(part, level)
        case Not(part):
            yield from _placed(part, level)
        case AnyUser(part) | AllUsers(part):
            yield from _placed(part, Level.USER)
        case Comparison():
            yield condition, level


def _check(use: Trait, asked: Level, audiences: Levels, traits: Levels) -> None:
    key = use.path[0]
    level = traits.get(key) or (audiences.get(key) if len(use.path) == 1 else None)
    if level is Level.USER and asked is Level.ACCOUNT:
        fail(use.place, f"{key!r} is of users, and this compares values of accounts.", "Write it on the left, inside ANY or ALL.")
    if level is Level.ACCOUNT and asked is Level.USER and key in traits:
        fail(use.place, f"trait {key!r} is of accounts, and this is asked of users.", "Write it outside of ANY, ALL and where(...).")
