"""Bits of single conditions: every distinct one of all definitions, asked once, in one query per event name and trait key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import duckdb
import numpy as np

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import EngageError, StateError
from engage_pipelines.domain.query.tree import Comparison, Events, Trait
from engage_pipelines.facts.bits import Bits, Universe, ids_of
from engage_pipelines.facts.compile import LeafQuery, event_queries, trait_queries, without_rows
from engage_pipelines.facts.session import FactsSession


@dataclass(frozen=True, slots=True)
class LeafBits:
    """Bits by level and condition, an error for those whose query failed, and the events and traits that members have rows of."""

    bits: dict[tuple[Level, Comparison], Bits] = field(default_factory=dict)
    errors: dict[tuple[Level, Comparison], EngageError] = field(default_factory=dict)
    seen_events: set[str] = field(default_factory=set)
    seen_traits: set[tuple[Level, str]] = field(default_factory=set)

    def of(self, level: Level, leaf: Comparison) -> Bits:
        """Raises the EngageError of a condition whose query failed."""
        if (level, leaf) in self.errors:
            raise self.errors[level, leaf]
        return self.bits[level, leaf]


def ask(session: FactsSession, universes: dict[Level, Universe], leaves: Iterable[tuple[Level, Comparison]]) -> LeafBits:
    """The bits of all conditions given. A condition on events is about users; one on traits is of the level it comes with."""
    wanted = dict.fromkeys(leaves)
    result = LeafBits()
    events = [leaf for _, leaf in wanted if isinstance(leaf.scalar.source, Events)]
    for query in event_queries(events, session.events):
        _run(session, query, {Level.USER: universes[Level.USER]}, result)
    by_level = {level: {leaf for each, leaf in wanted if each is level} for level in Level}
    traits = [leaf for _, leaf in wanted if isinstance(leaf.scalar.source, Trait)]
    for query in trait_queries(traits, session.at_us):
        levels = {level: universes[level] for level in Level if by_level[level] & set(query.leaves)}
        _run(session, query, levels, result)
    return result


def columns_of(session: FactsSession, sql: str) -> Mapping[str, object]:
    """What a query finds, by column. Raises StateError when the facts cannot be read."""
    try:
        return session.connection.execute(sql).fetchnumpy()
    except duckdb.Error as error:
        first_line = str(error).splitlines()[0]
        raise StateError(
            f"the facts could not be read: {first_line}", "See whether files and memory are in order, then try again."
        ) from error


def _run(session: FactsSession, query: LeafQuery, universes: dict[Level, Universe], result: LeafBits) -> None:
    try:
        columns = columns_of(session, query.sql)
    except StateError as error:
        result.errors.update({(level, leaf): error for level in universes for leaf in query.leaves})
        return
    for level, universe in universes.items():
        positions, known = universe.positions(ids_of(columns["member"]))
        positions = positions[known]
        if len(positions):
            _remember(query, level, result)
        for number, leaf in enumerate(query.leaves):
            flags = np.full(universe.size, without_rows(leaf, session.at_us), dtype=np.bool_)
            flags[positions] = np.asarray(columns[f"b{number}"], dtype=np.bool_)[known]
            result.bits[level, leaf] = universe.bits(flags)


def _remember(query: LeafQuery, level: Level, result: LeafBits) -> None:
    source = query.leaves[0].scalar.source
    if isinstance(source, Events):
        result.seen_events.add(source.name)
    elif isinstance(source, Trait):
        result.seen_traits.add((level, source.path[0]))
