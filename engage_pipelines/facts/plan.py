"""Plans of evaluations: computations in their order and stages, and what each asks of the facts.

A plan depends on definitions alone, but where events count from some instant on. A process that evaluates the same ones again has it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from engage_pipelines.domain.computation import Audience, Computation, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.tree import Comparison, Events, Trait
from engage_pipelines.facts.admission import admits_strangers
from engage_pipelines.facts.audience_order import Readable, ReadableTrait, all_in_order
from engage_pipelines.facts.scopes import scoped
from engage_pipelines.facts.stages import by_stage, values_read
from engage_pipelines.facts.unknown_names import Named, named_by, named_by_trait

REMEMBERED = 4

Leaf = tuple[Level, Comparison]
Step = Readable | ReadableTrait | EngageError


@dataclass(frozen=True, slots=True)
class Asks:
    """What one computation asks of the facts: conditions, as an audience, keys of those whose values its queries read, and names."""

    leaves: tuple[Leaf, ...]
    reads: tuple[str, ...]
    named: Named


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated, what is referred to before what refers to it; `wanted` are the keys that were asked for.

    `levels` are those of audiences, `traits` those of computed traits.
    """

    steps: Mapping[str, Step]
    wanted: tuple[str, ...]
    levels: Mapping[str, Level]
    traits: Mapping[str, Level]
    with_strangers: bool

    @cached_property
    def computed(self) -> frozenset[str]:
        """The keys of all audiences and computed traits."""
        return frozenset((*self.levels, *self.traits))

    @cached_property
    def stages(self) -> Sequence[Sequence[Readable | ReadableTrait]]:
        """What can be evaluated, those that are asked of the facts together together."""
        return by_stage(self.steps, self.levels, self.traits)

    @cached_property
    def asks(self) -> Mapping[str, Asks]:
        """Of each that can be evaluated."""
        return {key: self._asks(each) for key, each in self.steps.items() if not isinstance(each, EngageError)}

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The conditions of all audiences, each once."""
        return tuple(dict.fromkeys(leaf for each in self.asks.values() for leaf in each.leaves))

    @cached_property
    def read_as_values(self) -> frozenset[str]:
        """The keys whose values are read by queries."""
        return frozenset(key for each in self.asks.values() for key in each.reads)

    @cached_property
    def is_whole(self) -> bool:
        """Whether all of it can be evaluated."""
        return not any(isinstance(each, EngageError) for each in self.steps.values())

    def _asks(self, each: Readable | ReadableTrait) -> Asks:
        reads = tuple(sorted(values_read(each, self.levels, self.traits)))
        if isinstance(each, Readable):
            return Asks(tuple(self._leaves(each)), reads, named_by(each.definition, self.levels, self.traits))
        if each.definition is None:
            return Asks((), reads, Named(frozenset(), frozenset()))
        return Asks((), reads, named_by_trait(each.definition, self.levels, self.traits))

    def _leaves(self, each: Readable) -> Iterator[Leaf]:
        """Literals and memberships are none."""
        for one in scoped(each.definition.condition, each.definition.level, self.levels, self.traits):
            if one.audience is None and isinstance(one.comparison.scalar.source, Events | Trait):
                yield one.level, one.comparison


def plan_of(at_us: int, computations: Sequence[Computation], context: Sequence[Computation]) -> Plan:
    """The computations and those that they refer to, as they are meant at an instant."""
    counts_from = any(isinstance(each, Audience) and each.events_since_us is not None for each in (*computations, *context))
    asked = (at_us if counts_from else 0, tuple(computations), tuple(context))
    plan = _remembered(*asked)
    # an error that was raised before carries where that was
    return plan if plan.is_whole else _made(*asked)


def _made(at_us: int, computations: tuple[Computation, ...], context: tuple[Computation, ...]) -> Plan:
    steps = {key: _as_of(each, at_us) for key, each in all_in_order(computations, context).items()}
    audiences = [each.audience for each in steps.values() if isinstance(each, Readable)]
    return Plan(
        steps,
        tuple(each.key for each in computations),
        {each.key: each.level for each in audiences},
        {key: each.trait.level for key, each in steps.items() if isinstance(each, ReadableTrait)},
        admits_strangers(audiences),
    )


_remembered = lru_cache(maxsize=REMEMBERED)(_made)


def _as_of(each: Step, at_us: int) -> Step:
    """The audience with its definition as it is meant at the instant, if its events count from some instant on."""
    if not isinstance(each, Readable):
        return each
    return Readable(each.audience, count_events_since(each.definition, each.audience.events_since_us, at_us=at_us))
