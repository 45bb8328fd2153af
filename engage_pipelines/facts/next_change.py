"""When time alone can change who is in: rows that enter a window or leave it, and rows that are not visible yet.

A definition without windows of time changes only with the facts. Instants are UTC microseconds since 1970.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engage_pipelines.domain.query import Definition, TraitDefinition
from engage_pipelines.domain.query.inspection import comparisons_of, event_sources
from engage_pipelines.domain.query.tree import Between, Duration, Events, Within
from engage_pipelines.facts.bits import ids_of
from engage_pipelines.facts.leaves import columns_of
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.sql_values import quote_text

NEVER = 2**62


@dataclass(slots=True)
class Clock:
    """Asks the facts of a session, each question once."""

    session: FactsSession
    _known: dict[str, int | None] = field(default_factory=dict)

    def next_change(self, definitions: Sequence[Definition | TraitDefinition]) -> int | None:
        """The first instant after the session's at which one of the definitions may hold for others; None when that is not known."""
        edges: set[tuple[str, int]] = set()
        for definition in definitions:
            if any(isinstance(argument, Duration) for each in comparisons_of(definition) for argument in each.arguments):
                return None
            for source in event_sources(definition):
                edges.update(edges_of(source))
        if self.session.elsewhere is not None:
            return self._elsewhere(frozenset(edges))
        moments = [self.first_hidden(), *(self.crosses(event, age) for event, age in edges)]
        return min((moment for moment in moments if moment is not None), default=NEVER)

    def _elsewhere(self, ages: frozenset[tuple[str, int]]) -> int | None:
        """Of rows that are not here: when the first row of an event is older than an age, or one that is not visible yet becomes so."""
        assert self.session.elsewhere is not None
        if repr(sorted(ages)) not in self._known:
            self._known[repr(sorted(ages))] = self.session.elsewhere.next_change(self.session, ages)
        return self._known[repr(sorted(ages))]

    def crosses(self, event: str, age: int) -> int | None:
        """When the next row of the event is older than `age` by a microsecond."""
        at_us = self.session.at_us
        rows = self.session.events.rows
        first = self._first(f"{rows} WHERE event = {quote_text(event)} AND ts BETWEEN {at_us - age} AND {at_us}")
        return None if first is None else first + age + 1

    def first_hidden(self) -> int | None:
        source = self.session.source
        if source is None or source.manifest is None:
            return None
        moments = [self._first(f"({rows}) WHERE ts > {self.session.at_us}") for rows in source.instants()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _first(self, rows: str) -> int | None:
        if rows not in self._known:
            # the first of an order skips what lies later in sorted files, which the least value does not
            found = ids_of(columns_of(self.session, f"SELECT ts FROM {rows} ORDER BY ts LIMIT 1")["ts"])
            self._known[rows] = int(found[0]) if len(found) else None
        return self._known[rows]


def edges_of(source: Events) -> Iterator[tuple[str, int]]:
    """Ages at which a row of an event enters or leaves a window; a row enters the recent end one microsecond before it is older."""
    if source.expires_after:
        yield source.name, source.expires_after.us
    for each in source.filters:
        if isinstance(each, Within) and not each.parent:
            yield source.name, each.window.us
        if isinstance(each, Between):
            yield source.name, each.older.us
            yield source.name, each.newer.us - 1
