"""Questions about a definition: what it refers to, and whether time alone can change its answer."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.tree import (
    Between,
    Comparison,
    Condition,
    Context,
    Definition,
    Duration,
    Events,
    Path,
    Property,
    Scalar,
    Trait,
    TraitDefinition,
    Within,
    all_comparisons,
    inside_where,
)


def trait_uses(definition: Definition | TraitDefinition) -> Iterator[Trait]:
    """Every trait or audience that the definition reads: on either side of a comparison, inside `where` too."""
    for each in comparisons_of(definition):
        if isinstance(each.scalar.source, Trait):
            yield each.scalar.source
        yield from (argument for argument in each.arguments if isinstance(argument, Trait))


def references(definition: Definition | TraitDefinition) -> frozenset[str]:
    """Every trait or audience key that the definition reads, of users and of accounts alike."""
    return frozenset(each.path[0] for each in trait_uses(definition))


def audience_references(definition: Definition | TraitDefinition) -> frozenset[str]:
    """The keys that may name an audience: those without a nested name."""
    return frozenset(each.path[0] for each in trait_uses(definition) if len(each.path) == 1)


def computation_references(
    definition: Definition | TraitDefinition, *, audiences: Container[str], traits: Container[str]
) -> frozenset[str]:
    """Those of the audiences and computed traits that the definition reads; a nested name is never that of an audience."""
    alone = audience_references(definition)
    return frozenset(key for key in references(definition) if key in traits or (key in alone and key in audiences))


def events(definition: Definition | TraitDefinition) -> frozenset[str]:
    """Every event name that the definition reads, those of funnels too."""
    return frozenset(each.name for each in event_sources(definition))


def event_sources(definition: Definition | TraitDefinition) -> Iterator[Events]:
    """Every use of an event, those of funnels too."""
    if isinstance(definition, TraitDefinition) and isinstance(definition.scalar.source, Events):
        yield definition.scalar.source
    for each in comparisons_of(definition):
        if isinstance(each.scalar.source, Events):
            yield each.scalar.source


@dataclass(frozen=True, slots=True)
class RowPaths:
    """Parts of rows that a definition reads, of any event."""

    properties: frozenset[Path]
    context: frozenset[Path]


def row_paths(definition: Definition | TraitDefinition) -> RowPaths:
    """Every property and part of the context that the definition reads: compared, compared with, or reduced."""
    scalars = [each.scalar for each in comparisons_of(definition)]
    scalars += [definition.scalar] if isinstance(definition, TraitDefinition) else []
    read = [each.source for each in scalars]
    read += [each.reducer.argument for each in scalars if each.reducer and each.reducer.argument]
    read += [argument for each in comparisons_of(definition) for argument in each.arguments if isinstance(argument, Property | Context)]
    properties = frozenset(each.path for each in read if isinstance(each, Property))
    return RowPaths(properties, frozenset(each.path for each in read if isinstance(each, Context)))


def events_of(condition: Condition) -> frozenset[str]:
    """Every event name that a condition reads."""
    sources = (each.scalar.source for each in all_comparisons(condition))
    return frozenset(source.name for source in sources if isinstance(source, Events))


def needs_batch(definition: Definition | TraitDefinition) -> bool:
    """Whether it has a window, a funnel, a parent reference, or is about accounts; otherwise each new row alone decides."""
    if definition.level is Level.ACCOUNT or any(_forces_batch(each) for each in comparisons_of(definition)):
        return True
    return isinstance(definition, TraitDefinition) and _has_window(definition.scalar)


def reads_traits(scalar: Scalar) -> bool:
    """Whether the conditions on its rows look at traits of the one whose rows they are."""
    return any(
        isinstance(each.scalar.source, Trait) or any(isinstance(argument, Trait) for argument in each.arguments)
        for each in inside_where(scalar)
    )


def comparisons_of(definition: Definition | TraitDefinition) -> Iterator[Comparison]:
    """Every comparison of a definition."""
    return inside_where(definition.scalar) if isinstance(definition, TraitDefinition) else all_comparisons(definition.condition)


def _forces_batch(comparison: Comparison) -> bool:
    source = comparison.scalar.source
    if isinstance(source, Property) and source.parent:
        return True
    if any(isinstance(each, Duration) or (isinstance(each, Property) and each.parent) for each in comparison.arguments):
        return True
    return _has_window(comparison.scalar)


def _has_window(scalar: Scalar) -> bool:
    source = scalar.source
    if not isinstance(source, Events):
        return False
    return source.expires_after is not None or any(isinstance(each, Within | Between) for each in source.filters)
