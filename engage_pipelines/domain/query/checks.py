"""Checks of a definition before it runs: what may stand at its level and place, types, and the limit on its size."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.pieces import fail
from engage_pipelines.domain.query.tree import (
    EACH,
    AllUsers,
    And,
    AnyUser,
    As,
    Comparator,
    Comparison,
    Condition,
    Context,
    Definition,
    Duration,
    Events,
    Moment,
    Not,
    Number,
    Or,
    Property,
    Reduce,
    Reducer,
    Scalar,
    Text,
    Trait,
    TraitDefinition,
    Truth,
    Where,
    Within,
    all_comparisons,
    inside_where,
)
from engage_pipelines.domain.query.values import number_of

MAX_EXPRESSIONS = 50


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where a condition stands: over users or accounts, over rows (1) or over rows that follow a row (2 and more)."""

    level: Level
    wrapped: bool = False
    rows: int = 0


def check(definition: Definition) -> None:
    """Raises DefinitionError for the first thing that cannot be evaluated."""
    _check_size(all_comparisons(definition.condition))
    _condition(definition.condition, _Scope(definition.level))


def check_trait(definition: TraitDefinition) -> None:
    """Raises DefinitionError for the first thing that cannot be evaluated."""
    scalar = definition.scalar
    _check_size([Comparison(scalar, Comparator.EXISTS, (), scalar.place), *inside_where(scalar)])
    assert isinstance(scalar.source, Events)
    _events(scalar, scalar.source, _Scope(definition.level), is_trait=True)


def _check_size(everything: Iterable[Comparison]) -> None:
    primary = [each for each in everything if isinstance(each.scalar.source, Events | Trait)]
    if len(primary) > MAX_EXPRESSIONS:
        fail(
            primary[MAX_EXPRESSIONS].place,
            f"this is expression {MAX_EXPRESSIONS + 1} of {len(primary)}; a definition holds at most {MAX_EXPRESSIONS}.",
            "Move some into another audience and refer to it by trait('audience_key') = true.",
        )


def _condition(condition: Condition, scope: _Scope) -> None:
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                _condition(part, scope)
        case Not(part):
            _condition(part, scope)
        case AnyUser(part, place) | AllUsers(part, place):
            word = "ANY" if isinstance(condition, AnyUser) else "ALL"
            if scope.rows or scope.wrapped:
                fail(place, f"{word} cannot stand inside {'where(...)' if scope.rows else 'ANY or ALL'}.", "Write it outside.")
            if scope.level is not Level.ACCOUNT:
                fail(place, f"{word} is for account audiences alone.", "Leave it out, or make the audience one of accounts.")
            _condition(part, replace(scope, wrapped=True))
        case Comparison():
            _comparison(condition, scope)


def _comparison(comparison: Comparison, scope: _Scope) -> None:
    scalar = comparison.scalar
    _source(scalar, scope)
    for argument in comparison.arguments:
        _argument(argument, scope)
        if isinstance(scalar.source, Number | Text | Truth | Moment) and isinstance(argument, Property | Context | Trait):
            word = "trait" if isinstance(argument, Trait) else "property"
            fail(comparison.place, f"a fixed value stands on the left of a {word}.", f"Write the {word} first.")
    _types(comparison)


def _source(scalar: Scalar, scope: _Scope) -> None:
    match scalar.source:
        case Events():
            _events(scalar, scalar.source, scope)
        case Property() | Context():
            _row_value(scalar.source, scope)
        case _:
            pass


def _row_value(source: Property | Context, scope: _Scope) -> None:
    name = "context" if isinstance(source, Context) else "property"
    if not scope.rows:
        fail(source.place, f"{name}(...) needs rows of an event.", f"Write event('Name').where({name}('...') = 'value').count() >= 1.")
    if isinstance(source, Property) and source.parent and scope.rows < 2:
        remedy = "Use it where .within(parent: 1 day) stands."
        fail(source.place, "property(parent: ...) needs an event that follows another.", remedy)


def _argument(argument: object, scope: _Scope) -> None:
    match argument:
        case Trait(path, place) | Property(path, _, place) | Context(path, place):
            if not isinstance(argument, Trait):
                _row_value(argument, scope)
            if EACH in path:
                fail(place, "$ on the right of a comparison is not supported yet.", "Write the value with $ on the left.")
        case _:
            pass


def _events(scalar: Scalar, events: Events, scope: _Scope, *, is_trait: bool = False) -> None:
    parent_windows = [each for each in events.filters if isinstance(each, Within) and each.parent]
    if events.expires_after and not is_trait:
        fail(events.expires_after.place, "expires_after(...) is for computed traits alone.", "Use within(7 days) here.")
    if scope.rows and not parent_windows:
        fail(events.place, "an event inside where(...) needs a window after the parent row.", "Write .within(parent: 1 day).")
    if parent_windows and not scope.rows:
        fail(parent_windows[0].place, "within(parent: ...) needs a parent event.", "Write it inside where(...) of another event.")
    if not scalar.reducer:
        fail(events.place, "an event is compared without a reducer.", "Write .count() before the comparison.")
    inner = replace(scope, rows=scope.rows + 1)
    for each in events.filters:
        if isinstance(each, Where):
            _condition(each.condition, inner)
    _reducer(scalar.reducer, inner)


def _reducer(reducer: Reducer, scope: _Scope) -> None:
    if reducer.argument:
        _row_value(reducer.argument, scope)
        if isinstance(reducer.argument, Property) and reducer.argument.parent:
            fail(reducer.argument.place, "property(parent: ...) in a reducer is not supported yet.", "Reduce the event's own property.")
        if EACH in reducer.argument.path:
            fail(reducer.argument.place, "$ in a reducer is not supported yet.", "Use $ inside where(...).")


# ---- types

_ORDER = (Comparator.GREATER_THAN, Comparator.AT_LEAST, Comparator.LESS_THAN, Comparator.AT_MOST)
_TEXTUAL = (Comparator.CONTAINS, Comparator.OMITS, Comparator.STARTS_WITH, Comparator.ENDS_WITH)
_DATED = (
    Comparator.BEFORE_DATE,
    Comparator.AFTER_DATE,
    Comparator.WITHIN_LAST,
    Comparator.WITHIN_NEXT,
    Comparator.BEFORE_LAST,
    Comparator.AFTER_NEXT,
)
_SAME = (Comparator.EQUALS, Comparator.DIFFERS, Comparator.ONE_OF, Comparator.NONE_OF)
_OF_LISTS = (Comparator.CONTAINS, Comparator.OMITS, Comparator.EXISTS, Comparator.ABSENT)
_ALWAYS_NUMBERS = (Reduce.COUNT, Reduce.UNIQUE_COUNT, Reduce.SUM, Reduce.AVG)


def _types(comparison: Comparison) -> None:
    comparator = comparison.comparator
    if comparator in _ORDER:
        for argument in comparison.arguments:
            _orderable(argument, comparator)
    reducer = comparison.scalar.reducer
    if reducer and reducer.kind is Reduce.UNIQUE and comparator not in _OF_LISTS:
        remedy = "Compare it with contains('text'), omits('text'), exists() or absent(), or write .count() after unique(...)."
        fail(reducer.place, f"unique(...) gives a list, which {comparator}(...) does not compare.", remedy)
    if reducer and (reducer.kind in _ALWAYS_NUMBERS or reducer.read_as is As.NUMBER):
        _number_reducer(comparison, reducer)
    if isinstance(comparison.scalar.source, Events) or comparator not in _DATED:
        return
    if isinstance(comparison.scalar.source, Number | Truth):
        fail(comparison.place, f"{comparator}(...) needs a date.", "Compare a trait or a property that holds a date.")


def _orderable(argument: object, comparator: Comparator) -> None:
    match argument:
        case Moment(_, _, place):
            word = "after_date" if comparator in (Comparator.GREATER_THAN, Comparator.AT_LEAST) else "before_date"
            fail(place, f"{comparator} compares numbers, and this is a date.", f"Write .{word}(...) instead.")
        case Text(value, place) if number_of(value) is None:
            fail(place, f"{comparator} compares numbers, and {value[:40]!r} is none.", "Write a number, or compare texts with =.")
        case Truth(_, place):
            fail(place, f"{comparator} compares numbers, and true and false are none.", "Write = true or = false.")
        case _:
            pass


def _number_reducer(comparison: Comparison, reducer: Reducer) -> None:
    comparator = comparison.comparator
    if comparator in _TEXTUAL or comparator in _DATED:
        needs = "a text" if comparator in _TEXTUAL else "a date"
        fail(reducer.place, f"{reducer.kind}(...) gives a number, and {comparator}(...) needs {needs}.", "Compare it with >= or =.")
    if comparator not in _SAME:
        return
    for argument in comparison.arguments:
        numeric = isinstance(argument, Number) or (isinstance(argument, Text) and number_of(argument.value) is not None)
        if not numeric and not isinstance(argument, Property | Context | Trait | Duration):
            fail(argument.place, f"{reducer.kind}(...) gives a number, and this is none.", "Compare it with a number.")
