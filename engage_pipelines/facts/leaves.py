"""Bits of single conditions: every distinct one of all definitions, asked once, in one scan per event name and trait key.

Where the rows of a scan do not add up exactly, or a condition is of another kind, it is asked by a query of its own.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import EngageError, StateError
from engage_pipelines.domain.query.comparing import holds_for
from engage_pipelines.domain.query.tree import Comparison, Events, Trait
from engage_pipelines.facts.bits import Bits, Universe, ids_of
from engage_pipelines.facts.compile import (
    LeafQuery,
    compares_traits,
    event_queries,
    events_of,
    trait_of,
    trait_queries,
    trait_query,
    without_rows,
)
from engage_pipelines.facts.counting import Found, count_events, count_together, last_traits
from engage_pipelines.facts.known import Known, Relation
from engage_pipelines.facts.member_values import compared_rows, without_values
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.tally import Places, is_counted, places_of


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


def ask(
    session: FactsSession, universes: dict[Level, Universe], leaves: Iterable[tuple[Level, Comparison]], known: Known, result: LeafBits
) -> None:
    """The bits of all conditions given, into `result`. A condition on events is about users; one on traits is of the level it comes with.

    `known` holds what was computed before, and is read in place of traits.
    """
    wanted = [each for each in dict.fromkeys(leaves) if each not in result.bits and each not in result.errors]
    if not wanted:
        return
    linked = columns_of(session, f"SELECT subject, member FROM {session.merged_subjects}")
    subjects, members = ids_of(linked["subject"]), ids_of(linked["member"])
    places = {level: places_of(universe.members, subjects, members) for level, universe in universes.items()}
    asking = _Asking(session, universes, places, known, result)
    alone = [(level, leaf) for level, leaf in wanted if not compares_traits(leaf)]
    for level, leaf in wanted:
        if compares_traits(leaf):
            asking.compared(level, leaf)
    asking.events(dict.fromkeys(leaf for _, leaf in alone if isinstance(leaf.scalar.source, Events)))
    by_key: dict[str, dict[Level, dict[Comparison, None]]] = {}
    computed: dict[tuple[Level, str], dict[Comparison, None]] = {}
    for level, leaf in alone:
        if isinstance(leaf.scalar.source, Trait):
            key = leaf.scalar.source.path[0]
            if known.is_computed(level, leaf.scalar.source):
                computed.setdefault((level, key), {})[leaf] = None
            else:
                by_key.setdefault(key, {}).setdefault(level, {})[leaf] = None
    for key, by_level in by_key.items():
        asking.trait(key, by_level)
    for (level, key), some in computed.items():
        asking.computed(level, known.relations[level, key], list(some))


@dataclass(frozen=True, slots=True)
class _Asking:
    session: FactsSession
    universes: Mapping[Level, Universe]
    places: Mapping[Level, Places]
    known: Known
    result: LeafBits

    def compared(self, level: Level, leaf: Comparison) -> None:
        """A comparison with the value of a trait, which is another one for each member."""
        query = LeafQuery(compared_rows(leaf, level, self.session.events, self.known), (leaf,))
        otherwise = without_values(leaf, level, self.known, self.session.at_us)
        _run(self.session, query, {level: self.universes[level]}, self.result, otherwise=lambda _: otherwise)

    def computed(self, level: Level, values: Relation, leaves: Sequence[Comparison]) -> None:
        """Conditions on the values of a computed trait."""
        at_us = self.session.at_us
        missing = None if values.missing is None else json.loads(values.missing)
        query = trait_query(values.rows, leaves, at_us)

        def otherwise(leaf: Comparison) -> bool:
            return holds_for(leaf, missing if len(trait_of(leaf).path) == 1 else None, at_us=at_us)

        _run(self.session, query, {level: self.universes[level]}, self.result, otherwise=otherwise)

    def events(self, leaves: Iterable[Comparison]) -> None:
        by_name: dict[str, list[Comparison]] = {}
        others: list[Comparison] = []
        for leaf in leaves:
            if is_counted(leaf):
                by_name.setdefault(events_of(leaf).name, []).append(leaf)
            else:
                others.append(leaf)
        few = self.session.events.has_few
        for groups in [by_name] if few and by_name else [{name: group} for name, group in by_name.items()]:
            try:
                found = (count_together if few else count_events)(self.session, groups, self.places[Level.USER])
            except duckdb.Error as error:
                for group in groups.values():
                    self._fail(Level.USER, group, error)
            else:
                for each in found.values():
                    others += self._keep(Level.USER, each)
        for query in event_queries(others, self.session.events, self.known):
            _run(self.session, query, {Level.USER: self.universes[Level.USER]}, self.result)

    def trait(self, key: str, by_level: Mapping[Level, Iterable[Comparison]]) -> None:
        leaves = list(dict.fromkeys(leaf for each in by_level.values() for leaf in each))
        try:
            found = last_traits(self.session, key, leaves, {level: self.places[level] for level in by_level})
        except duckdb.Error as error:
            for level in by_level:
                self._fail(level, leaves, error)
            return
        for level, each in found.items():
            for query in trait_queries(self._keep(level, each), self.session.at_us):
                _run(self.session, query, {level: self.universes[level]}, self.result)

    def _keep(self, level: Level, found: Found) -> list[Comparison]:
        """Remember what was found; the conditions that have to be asked otherwise."""
        for leaf, truths in found.truths.items():
            if truths is not None:
                self.result.bits[level, leaf] = self.universes[level].bits(truths[:-1])
        if found.any_row:
            _remember(next(iter(found.truths)), level, self.result)
        return [leaf for leaf, truths in found.truths.items() if truths is None]

    def _fail(self, level: Level, leaves: Iterable[Comparison], error: duckdb.Error) -> None:
        self.result.errors.update({(level, leaf): unreadable(error) for leaf in leaves})


def columns_of(session: FactsSession, sql: str) -> Mapping[str, object]:
    """What a query finds, by column. Raises StateError when the facts cannot be read."""
    try:
        return session.connection.execute(sql).fetchnumpy()
    except duckdb.Error as error:
        raise unreadable(error) from error


def unreadable(error: duckdb.Error) -> StateError:
    return StateError(
        f"the facts could not be read: {str(error).splitlines()[0]}", "See whether files and memory are in order, then try again."
    )


def _run(
    session: FactsSession,
    query: LeafQuery,
    universes: dict[Level, Universe],
    result: LeafBits,
    *,
    otherwise: Callable[[Comparison], bool] | None = None,
) -> None:
    """Ask a query; `otherwise` is the truth of a condition for members that the query does not give."""
    try:
        columns = columns_of(session, query.sql)
    except StateError as error:
        result.errors.update({(level, leaf): error for level in universes for leaf in query.leaves})
        return
    for level, universe in universes.items():
        positions, known = universe.positions(ids_of(columns["member"]))
        positions = positions[known]
        if len(positions):
            _remember(query.leaves[0], level, result)
        for number, leaf in enumerate(query.leaves):
            rest = without_rows(leaf, session.at_us) if otherwise is None else otherwise(leaf)
            flags = np.full(universe.size, rest, dtype=np.bool_)
            flags[positions] = np.asarray(columns[f"b{number}"], dtype=np.bool_)[known]
            result.bits[level, leaf] = universe.bits(flags)


def _remember(leaf: Comparison, level: Level, result: LeafBits) -> None:
    source = leaf.scalar.source
    if isinstance(source, Events):
        result.seen_events.add(source.name)
    elif isinstance(source, Trait):
        result.seen_traits.add((level, source.path[0]))
