"""Warnings about names that the facts do not know: most often a misspelt event or trait, and an audience of size 0."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query import Definition, events
from engage_pipelines.domain.query.names import nearest
from engage_pipelines.domain.query.tree import Trait
from engage_pipelines.facts.scopes import scoped
from engage_pipelines.facts.session import FactsSession


@dataclass(frozen=True, slots=True)
class KnownNames:
    """What there is as of the session's instant."""

    events: frozenset[str]
    traits: Mapping[Level, frozenset[str]]


def known_names(session: FactsSession) -> KnownNames:
    """Event names and trait keys of the facts."""
    names = frozenset(name for (name,) in session.connection.execute("SELECT name FROM event_names").fetchall())
    pairs = session.connection.execute("SELECT level, key FROM trait_keys").fetchall()
    return KnownNames(names, {level: frozenset(key for each, key in pairs if each == level.value) for level in Level})


def warnings_of(definition: Definition, known: KnownNames, audiences: Mapping[str, Level]) -> Iterator[str]:
    """One sentence per unknown name, with the nearest one there is."""
    for name in sorted(events(definition) - known.events):
        yield _sentence("event", name, nearest(name, known.events))
    asked = {
        (each.level, each.comparison.scalar.source.path[0])
        for each in scoped(definition.condition, definition.level, audiences)
        if isinstance(each.comparison.scalar.source, Trait) and each.audience is None
    }
    for level, key in sorted(asked):
        if key not in known.traits[level]:
            kind = "trait of accounts" if level is Level.ACCOUNT else "trait of users"
            yield _sentence(kind, key, nearest(key, known.traits[level] | audiences.keys()))


def _sentence(kind: str, name: str, near: str | None) -> str:
    return f"no {kind} {name!r} has been seen." + (f" Did you mean {near!r}?" if near else "")
