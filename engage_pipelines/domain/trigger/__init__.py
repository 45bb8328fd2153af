"""Triggers: which calls a mapping fires on, in Segment's filter query language (FQL).

Correct by default: precedence, nesting, negation and every documented function mean what they say, and a text that does
not parse is refused. With `compat="segment"` the text is read as Segment's own parser reads it, with all its defects,
for people who move mappings over and want the same calls.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from engage_pipelines.domain.trigger.evaluate import compile_condition
from engage_pipelines.domain.trigger.grammar import parse_tree

__all__ = ["Trigger", "parse_trigger"]


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
    return Trigger(text, compat, compile_condition(parse_tree(text)))
