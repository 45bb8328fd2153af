"""Definitions that count events from an instant on: what audiences without historical data, or with a look-back, are evaluated as."""

from dataclasses import dataclass, replace

from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    Comparison,
    Condition,
    Definition,
    Duration,
    Events,
    Filter,
    Not,
    Or,
    Unit,
    Where,
    Within,
)


@dataclass(frozen=True, slots=True)
class _Exact(Duration):
    """A length of time to the microsecond, which no text can say; one below zero is a window in which nothing lies."""

    @property
    def us(self) -> int:
        return self.amount


def count_events_since(definition: Definition, since_us: int | None, *, at_us: int) -> Definition:
    """The definition as it is meant at `at_us` when only events at or after `since_us` count; traits are not touched."""
    if since_us is None:
        return definition
    window = Within(_Exact(at_us - since_us, Unit.SECOND))
    return replace(definition, condition=_limited(definition.condition, window))


def _limited(condition: Condition, window: Within) -> Condition:
    match condition:
        case And(parts):
            return And(tuple(_limited(part, window) for part in parts))
        case Or(parts):
            return Or(tuple(_limited(part, window) for part in parts))
        case Not(part) | AnyUser(part) | AllUsers(part):
            return replace(condition, part=_limited(part, window))
        case Comparison():
            source = condition.scalar.source
            if not isinstance(source, Events):
                return condition
            filters = (*(_filter(each, window) for each in source.filters), window)
            return replace(condition, scalar=replace(condition.scalar, source=replace(source, filters=filters)))


def _filter(each: Filter, window: Within) -> Filter:
    """What follows an event within a funnel is limited like the event."""
    return replace(each, condition=_limited(each.condition, window)) if isinstance(each, Where) else each
