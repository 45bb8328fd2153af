"""Warnings about names that the facts do not know: most often a misspelt event or trait, and an audience of size 0."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query import Definition, TraitDefinition, events
from engage_pipelines.domain.query.inspection import trait_uses
from engage_pipelines.domain.query.names import nearest
from engage_pipelines.domain.query.tree import Trait, inside_where
from engage_pipelines.facts.leaves import columns_of
from engage_pipelines.facts.scopes import scoped
from engage_pipelines.facts.session import FactsSession


@dataclass
class KnownNames:
    """Names that there are as of the session's instant; the facts are asked only about those that were not seen on the way."""

    session: FactsSession
    seen_events: Set[str]
    seen_traits: Set[tuple[Level, str]]

    @cached_property
    def events(self) -> frozenset[str]:
        return frozenset(_texts(columns_of(self.session, "SELECT name FROM event_names")["name"]))

    @cached_property
    def traits(self) -> Mapping[Level, frozenset[str]]:
        found = columns_of(self.session, "SELECT level, key FROM trait_keys")
        pairs = list(zip(_texts(found["level"]), _texts(found["key"]), strict=True))
        return {level: frozenset(key for each, key in pairs if each == level.value) for level in Level}


def _texts(column: object) -> list[str]:
    return [str(each) for each in np.asarray(column).tolist()]


@dataclass(frozen=True, slots=True)
class Named:
    """Events and traits that a definition names, the traits by the level that they are asked of; computed ones are not among them."""

    events: frozenset[str]
    traits: frozenset[tuple[Level, str]]


def named_by(definition: Definition, audiences: Mapping[str, Level], traits: Mapping[str, Level]) -> Named:
    """What an audience names; `traits` are the computed ones."""
    asked: set[tuple[Level, str]] = set()
    for each in scoped(definition.condition, definition.level, audiences, traits):
        uses = [(each.level, use) for use in (each.comparison.scalar.source, *each.comparison.arguments)]
        uses += [(Level.USER, use) for inner in inside_where(each.comparison.scalar) for use in (inner.scalar.source, *inner.arguments)]
        asked.update((level, use.path[0]) for level, use in uses if isinstance(use, Trait) and not _is_computed(use, audiences, traits))
    return Named(events(definition), frozenset(asked))


def named_by_trait(definition: TraitDefinition, audiences: Mapping[str, Level], traits: Mapping[str, Level]) -> Named:
    """The same of the definition of a trait, which looks at traits of users alone."""
    uses = {(Level.USER, use.path[0]) for use in trait_uses(definition) if not _is_computed(use, audiences, traits)}
    return Named(events(definition), frozenset(uses))


def warnings_of(named: Named, known: KnownNames, computed: Set[str]) -> Iterator[str]:
    """One sentence per unknown name, with the nearest one there is; `computed` are the keys of audiences and traits."""
    yield from _unknown_events(named.events, known)
    yield from _unknown_traits(named.traits, known, computed)


def _is_computed(use: Trait, audiences: Mapping[str, Level], traits: Mapping[str, Level]) -> bool:
    return use.path[0] in traits or (len(use.path) == 1 and use.path[0] in audiences)


def _unknown_events(asked: Set[str], known: KnownNames) -> Iterator[str]:
    for name in sorted(asked - known.seen_events):
        if name not in known.events:
            yield _sentence("event", name, nearest(name, known.events))


def _unknown_traits(asked: Set[tuple[Level, str]], known: KnownNames, computed: Set[str]) -> Iterator[str]:
    for level, key in sorted(asked - known.seen_traits):
        if key not in known.traits[level]:
            kind = "trait of accounts" if level is Level.ACCOUNT else "trait of users"
            yield _sentence(kind, key, nearest(key, known.traits[level] | computed))


def _sentence(kind: str, name: str, near: str | None) -> str:
    return f"no {kind} {name!r} has been seen." + (f" Did you mean {near!r}?" if near else "")
