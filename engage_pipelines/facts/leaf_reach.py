"""What a condition looks at: whether new rows and edges of windows alone say whose answer may be another one than before."""

from dataclasses import dataclass
from functools import lru_cache

from engage_pipelines.domain.query.tree import Comparison, Duration, Events, Trait, all_comparisons
from engage_pipelines.facts.next_change import edges_of

_KNOWN = 4_000
"""Conditions that are remembered, for they are looked at in each evaluation."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The events whose rows a condition reads with the ages at which they enter or leave a window, or the trait whose value it reads."""

    events: frozenset[str] = frozenset()
    edges: frozenset[tuple[str, int]] = frozenset()
    trait: str | None = None
    follows: bool = False
    """Whether it looks for rows that follow others."""


@lru_cache(maxsize=_KNOWN)
def reach_of(leaf: Comparison, computed: frozenset[str]) -> Reach | None:
    """None for what has to be asked of everyone: dates compared with the present instant, sessions, and values of other computations,
    `computed` being their keys.
    """
    parts = list(all_comparisons(leaf))
    arguments = [argument for each in parts for argument in each.arguments]
    if any(isinstance(argument, Duration | Trait) for argument in arguments):
        return None
    source = leaf.scalar.source
    if isinstance(source, Trait):
        return None if source.path[0] in computed else Reach(trait=source.path[0])
    inner = [each.scalar.source for each in parts]
    if not isinstance(source, Events) or any(isinstance(each, Trait) for each in inner):
        return None
    events = [each for each in inner if isinstance(each, Events)]
    if any(each.expires_after for each in events):
        return None
    edges = frozenset(edge for each in events for edge in edges_of(each))
    return Reach(frozenset(each.name for each in events), edges, follows=len(events) > 1)
