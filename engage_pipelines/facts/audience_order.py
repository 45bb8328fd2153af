"""Order of evaluation: definitions read, what they refer to before themselves, loops named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engage_pipelines.domain.computation import Audience
from engage_pipelines.domain.errors import DefinitionError, EngageError
from engage_pipelines.domain.query import Definition, audience_references, parse


@dataclass(frozen=True, slots=True)
class Readable:
    """An audience whose definition can be evaluated."""

    audience: Audience
    definition: Definition


def in_order(audiences: Sequence[Audience], context: Sequence[Audience]) -> dict[str, Readable | EngageError]:
    """The audiences and those they refer to, by key, referred-to ones first; an error in place of what cannot be evaluated."""
    known = {audience.key: audience for audience in (*context, *audiences)}
    order = _Order(known, {}, [])
    for audience in audiences:
        order.visit(audience.key)
    return order.done


@dataclass(frozen=True, slots=True)
class _Order:
    known: Mapping[str, Audience]
    done: dict[str, Readable | EngageError]
    path: list[str]

    def visit(self, key: str) -> None:
        if key in self.done:
            return
        try:
            self.done[key] = self._read(self.known[key])
        except EngageError as error:
            self.done.setdefault(key, error)

    def _read(self, audience: Audience) -> Readable:
        definition = parse(audience.definition, audience.level)
        self.path.append(audience.key)
        try:
            for key in sorted(audience_references(definition) & self.known.keys()):
                self._follow(audience.key, key)
        finally:
            self.path.pop()
        return Readable(audience, definition)

    def _follow(self, key: str, referred: str) -> None:
        if referred in self.path:
            loop = self.path[self.path.index(referred) :]
            error = _loop(loop)
            for each in loop:
                self.done[each] = error
            raise error
        self.visit(referred)
        error = self.done[referred]
        if isinstance(error, Readable):
            return
        if key in self.done:  # a loop that this one is part of was found on the way
            raise error
        raise DefinitionError(
            f"audience {key!r} refers to audience {referred!r}, which cannot be evaluated: {error}", "Mend that one first."
        )


def _loop(keys: Sequence[str]) -> DefinitionError:
    start = keys.index(min(keys))
    shown = " -> ".join([*keys[start:], *keys[:start], keys[start]])
    return DefinitionError(f"audiences refer to each other in a loop: {shown}.", "Take trait(...) of one of them out of its definition.")
