"""What each comparator says of values: true or false, never unknown."""

from collections.abc import Sequence

from engage_pipelines.domain.query.instants import instant_us, moment_text
from engage_pipelines.domain.query.tree import (
    EACH,
    Comparator,
    Comparison,
    Context,
    Duration,
    Events,
    Moment,
    Number,
    Property,
    Source,
    Text,
    Trait,
    Truth,
)
from engage_pipelines.domain.query.values import Json, flattened, number_of, same

Given = Json | Moment | Duration

NEGATIONS = {Comparator.ABSENT: Comparator.EXISTS, Comparator.OMITS: Comparator.CONTAINS, Comparator.NONE_OF: Comparator.ONE_OF}
"""Comparators that are true exactly when another one is false, of a missing value too."""


def holds(comparator: Comparator, values: Sequence[Json], given: Sequence[Given], *, at_us: int) -> bool:
    """Whether it is true of what a path led to: none or one value, with `$` any number, of which one is enough."""
    positive = NEGATIONS.get(comparator, comparator)
    found = any(value is not None and _true_of(positive, value, given, at_us) for value in values)
    return found != (comparator in NEGATIONS)


def holds_for(comparison: Comparison, value: Json, *, at_us: int) -> bool:
    """Whether a comparison with literals is true of one value; None is a missing one."""
    given: list[Given] = []
    for each in comparison.arguments:
        if isinstance(each, Trait | Property | Context):
            raise TypeError("only literals are the same for everyone")
        given.append(each if isinstance(each, Moment | Duration) else literal_value(each))
    return holds(comparison.comparator, [value], given, at_us=at_us)


def literal_value(literal: Source) -> Json:
    """A literal as customer data would hold it."""
    match literal:
        case Number(value):
            return float(value)
        case Text(value) | Truth(value):
            return value
        case Moment():
            return moment_text(literal)
        case Events() | Trait() | Property() | Context():
            raise TypeError(f"{literal} is no literal")


def _true_of(comparator: Comparator, value: Json, given: Sequence[Given], at_us: int) -> bool:
    match comparator:
        case Comparator.EXISTS:
            return True
        case Comparator.EQUALS | Comparator.ONE_OF:
            return any(_equal(value, each) for each in given)
        case Comparator.DIFFERS:
            return given[0] is not None and not _equal(value, given[0])
        case Comparator.GREATER_THAN | Comparator.AT_LEAST | Comparator.LESS_THAN | Comparator.AT_MOST:
            return _ordered(comparator, number_of(value), _number_given(given[0]))
        case Comparator.CONTAINS:
            text = flattened(value)
            return text is not None and any(part in text for part in _texts(given))
        case Comparator.STARTS_WITH:
            return isinstance(value, str) and value.startswith(tuple(_texts(given)))
        case Comparator.ENDS_WITH:
            return isinstance(value, str) and value.endswith(tuple(_texts(given)))
        case _:
            instant = instant_us(value) if isinstance(value, str) else None
            return instant is not None and _on_time(comparator, instant, given[0], at_us)


def _equal(value: Json, given: Given) -> bool:
    if isinstance(given, Moment):
        return isinstance(value, str) and instant_us(value) == given.at_us
    return not isinstance(given, Duration) and same(value, given)


def _number_given(given: Given) -> float | None:
    return None if isinstance(given, Moment | Duration) else number_of(given)


def _ordered(comparator: Comparator, left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    match comparator:
        case Comparator.GREATER_THAN:
            return left > right
        case Comparator.AT_LEAST:
            return left >= right
        case Comparator.LESS_THAN:
            return left < right
        case _:
            return left <= right


def _texts(given: Sequence[Given]) -> list[str]:
    return [each for each in given if isinstance(each, str)]


def bounds(comparator: Comparator, given: Given, at_us: int) -> tuple[int | None, int | None]:
    """The first and the last instant that a comparator of dates lets through, both included; None is no bound."""
    if isinstance(given, Moment):
        return (None, given.at_us - 1) if comparator is Comparator.BEFORE_DATE else (given.at_us + 1, None)
    if not isinstance(given, Duration):
        raise TypeError("dates are compared with dates and lengths of time")
    match comparator:
        case Comparator.WITHIN_LAST:
            return at_us - given.us, at_us
        case Comparator.WITHIN_NEXT:
            return at_us, at_us + given.us
        case Comparator.BEFORE_LAST:
            return None, at_us - given.us
        case _:
            return at_us + given.us, None


def _on_time(comparator: Comparator, instant: int, given: Given, at_us: int) -> bool:
    first, last = bounds(comparator, given, at_us)
    return (first is None or first <= instant) and (last is None or instant <= last)


def has_each(path: Sequence[str]) -> bool:
    """Whether a condition is about the elements of an array, each on its own."""
    return EACH in path
