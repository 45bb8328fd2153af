"""When time alone can change who is in, told by shelves: the same instants as `next_change` tells, without reading files."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engage_pipelines.facts.next_change import NEVER, Clock
from engage_pipelines.facts.shelf import Shelf


@dataclass(slots=True)
class ShelfClock(Clock):
    """`hidden_from_us` is the first instant at which a row that is not about events becomes visible."""

    shelves: Sequence[Shelf] = ()
    hidden_from_us: int = NEVER
    _crossings: dict[tuple[str, int], int | None] = field(default_factory=dict)
    _hidden: list[int] = field(default_factory=list)

    def crosses(self, event: str, age: int) -> int | None:
        if (event, age) not in self._crossings:
            at_us = self.session.at_us
            found = [first for each in self.shelves if (first := each.first_at(event, at_us - age)) is not None and first <= at_us]
            self._crossings[event, age] = min(found) + age + 1 if found else None
        return self._crossings[event, age]

    def first_hidden(self) -> int | None:
        if not self._hidden:
            later = self.session.at_us + 1
            found = [first for each in self.shelves for event in each.ranges if (first := each.first_at(event, later)) is not None]
            self._hidden.append(min([self.hidden_from_us, *found]))
        return self._hidden[0]
