"""Text to definition: read, then checked."""

from functools import lru_cache
from typing import cast

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.checks import check, check_trait
from engage_pipelines.domain.query.tree import Condition, Definition, Scalar, TraitDefinition

_KNOWN = 1_000
"""Definitions that are remembered: an evaluation reads each several times, and trees never change."""


@lru_cache(maxsize=_KNOWN)
def parse(text: str, level: Level) -> Definition:
    """The definition, checked. Linear in the length of the text. Raises DefinitionError with line, column and remedy."""
    definition = Definition(level, cast(Condition, _read(text, "start")))
    check(definition)
    return definition


@lru_cache(maxsize=_KNOWN)
def parse_trait(text: str, level: Level) -> TraitDefinition:
    """The definition of a computed trait, checked. Raises DefinitionError with line, column and remedy."""
    definition = TraitDefinition(level, cast(Scalar, _read(text, "trait")))
    check_trait(definition)
    return definition


def _read(text: str, start: str) -> object:
    from engage_pipelines.domain.query.reading import read  # noqa: PLC0415 - brings lark, and most commands read no definition

    return read(text, start)
