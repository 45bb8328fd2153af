"""Triggers: which calls a mapping fires on, in Segment's filter query language (FQL).

Correct by default: precedence, nesting, negation and every documented function mean what they say, and a text that does
not parse is refused. With `compat="segment"` the text is read as Segment's own parser reads it, with all its defects,
for people who move mappings over and want the same calls.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger.difference import differs_from_segment
from engage_pipelines.domain.trigger.evaluate import compile_condition
from engage_pipelines.domain.trigger.grammar import parse_tree
from engage_pipelines.domain.trigger.segment import SegmentFault, compile_segment, parse_segment

__all__ = ["Trigger", "differs_from_segment", "parse_trigger"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger ready to run: `matches(event)` is True or False for every event and never raises. Equal when text and
    reading are equal.
    """

    text: str
    compat: Literal["segment"] | None
    matches: Callable[[Mapping[str, Any]], bool] = field(compare=False, repr=False)


@lru_cache(maxsize=1024)
def parse_trigger(text: str, *, compat: Literal["segment"] | None = None) -> Trigger:
    """The trigger that a text means.

    Raises: DefinitionError, for the author of the trigger, when the text does not parse (with `compat`, when Segment
    would match nothing with it).
    """
    if compat is None:
        return Trigger(text, compat, compile_condition(parse_tree(text)))
    tree = parse_segment(text)
    if "error" in tree:
        raise DefinitionError(
            f"Segment's parser fails on this trigger and would never fire it ({tree['error']}).", "Leave out compat: segment."
        )
    verdict = compile_segment(tree)

    def matches(event: Mapping[str, Any]) -> bool:
        try:
            return verdict(event)
        except SegmentFault:
            return False

    return Trigger(text, compat, matches)
