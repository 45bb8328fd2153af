"""Stages of an evaluation: what is asked of the facts together, and what has to wait for the values of something computed before.

Membership that alone decides a condition is put together from bits and waits for nothing. Values of computed traits, and membership that is
compared with other values or looked at inside `where`, are read by the queries themselves, which therefore come later.
"""

from collections.abc import Iterator, Mapping, Sequence

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query import computation_references
from engage_pipelines.domain.query.inspection import trait_uses
from engage_pipelines.facts.audience_order import Readable, ReadableTrait
from engage_pipelines.facts.scopes import scoped

Levels = Mapping[str, Level]
Plan = Mapping[str, Readable | ReadableTrait | EngageError]


def by_stage(plan: Plan, audiences: Levels, traits: Levels) -> list[Sequence[Readable | ReadableTrait]]:
    """What can be evaluated, in stages; `plan` has what is referred to before what refers to it."""
    stages: dict[str, int] = {}
    found: list[list[Readable | ReadableTrait]] = []
    for key, each in plan.items():
        if isinstance(each, EngageError):
            continue
        before = [stages[other] + 1 for other in _valued(each, audiences, traits) if other in stages]
        if each.definition is not None:
            referred = computation_references(each.definition, audiences=audiences, traits=traits)
            before += [stages[other] for other in referred if other in stages]
        stages[key] = max(before, default=0)
        while len(found) <= stages[key]:
            found.append([])
        found[stages[key]].append(each)
    return [*found]


def values_read(each: Readable | ReadableTrait, audiences: Levels, traits: Levels) -> frozenset[str]:
    """The keys whose values its queries read."""
    return frozenset(_valued(each, audiences, traits))


def _valued(each: Readable | ReadableTrait, audiences: Levels, traits: Levels) -> Iterator[str]:
    if each.definition is None:
        return
    decided = set[int]()
    if isinstance(each, Readable):
        condition, level = each.definition.condition, each.definition.level
        decided = {id(one.comparison.scalar.source) for one in scoped(condition, level, audiences, traits) if one.audience is not None}
    for use in trait_uses(each.definition):
        if id(use) not in decided and (use.path[0] in traits or (len(use.path) == 1 and use.path[0] in audiences)):
            yield use.path[0]
