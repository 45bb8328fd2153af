"""What a definition may say that no warehouse is asked yet; refused with words instead of being answered wrong."""

from collections.abc import Iterator

from engage_pipelines.domain.query.pieces import fail
from engage_pipelines.domain.query.tree import (
    As,
    Between,
    Comparison,
    Definition,
    Events,
    Place,
    Reduce,
    Trait,
    Where,
    all_comparisons,
    inside_where,
)

_REMEDY = "Take the events in with `engage ingest` to use it, or write the definition without it."


def check_warehouse(definition: Definition) -> None:
    """Raises DefinitionError for the first thing that cannot be asked of a warehouse."""
    for comparison in all_comparisons(definition.condition):
        for what, place in _beyond(comparison):
            fail(place, f"{what} is not there yet for facts in a warehouse.", _REMEDY)
        for inner in inside_where(comparison.scalar):
            for what, place in _beyond_rows(inner):
                fail(place, f"{what} is not there yet for facts in a warehouse.", _REMEDY)


def _beyond(comparison: Comparison) -> Iterator[tuple[str, Place]]:
    for argument in comparison.arguments:
        if isinstance(argument, Trait):
            yield "comparing with trait(...)", argument.place
    reducer = comparison.scalar.reducer
    if reducer and reducer.kind is Reduce.UNIQUE:
        yield "unique(...) without .count()", reducer.place
    if reducer and reducer.read_as is As.ARRAY:
        yield "`as array`", reducer.place


def _beyond_rows(inner: Comparison) -> Iterator[tuple[str, Place]]:
    source, reducer = inner.scalar.source, inner.scalar.reducer
    if isinstance(source, Trait):
        yield "trait(...) inside where(...)", source.place
    if not isinstance(source, Events):
        return
    if reducer and reducer.kind is Reduce.MODE:
        yield "mode(...) of an event that follows another", reducer.place
    for each in source.filters:
        if isinstance(each, Between):
            yield "between(...) on an event that follows another", each.place
        if isinstance(each, Where) and any(isinstance(one.scalar.source, Events) for one in all_comparisons(each.condition)):
            yield "an event inside an event inside an event", each.place
