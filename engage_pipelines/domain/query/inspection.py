"""Questions about a definition: what it refers to, and whether time alone can change its answer."""

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.tree import (
    Between,
    Comparison,
    Condition,
    Definition,
    Duration,
    Events,
    Property,
    Trait,
    Within,
    all_comparisons,
    comparisons,
)


def references(definition: Definition) -> frozenset[str]:
    """Every trait or audience key that the definition reads, of users and of accounts alike."""
    return frozenset(each.scalar.source.path[0] for each in comparisons(definition.condition) if isinstance(each.scalar.source, Trait))


def audience_references(definition: Definition) -> frozenset[str]:
    """The keys that may name another audience: those without a nested name."""
    sources = (each.scalar.source for each in comparisons(definition.condition))
    return frozenset(source.path[0] for source in sources if isinstance(source, Trait) and len(source.path) == 1)


def events(definition: Definition) -> frozenset[str]:
    """Every event name that the definition reads, those of funnels too."""
    return events_of(definition.condition)


def events_of(condition: Condition) -> frozenset[str]:
    """Every event name that a condition reads."""
    sources = (each.scalar.source for each in all_comparisons(condition))
    return frozenset(source.name for source in sources if isinstance(source, Events))


def needs_batch(definition: Definition) -> bool:
    """Whether it has a window, a funnel, a parent reference, or is about accounts; otherwise each new row alone decides."""
    return definition.level is Level.ACCOUNT or any(_forces_batch(each) for each in all_comparisons(definition.condition))


def _forces_batch(comparison: Comparison) -> bool:
    source = comparison.scalar.source
    if isinstance(source, Property) and source.parent:
        return True
    if any(isinstance(each, Duration) or (isinstance(each, Property) and each.parent) for each in comparison.arguments):
        return True
    return isinstance(source, Events) and any(isinstance(each, Within | Between) for each in source.filters)
