"""Abilities that some destination types have and others lack, and the mark of a test that needs them."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

_Test = TypeVar("_Test", bound=Callable[..., None])


class Ability(StrEnum):
    """What some types can do and others cannot; the value says what is missing."""

    HTTP = "it speaks no HTTP, so there are no answers to read"
    CHANGES = "with these settings it replaces the whole list and takes no changes"
    WHOLE_LIST = "with these settings it takes changes and no whole lists"


def needs(*abilities: Ability) -> Callable[[_Test], _Test]:
    """Marks a test of the suite that only types with these abilities run."""

    def mark(test: _Test) -> _Test:
        test.needs = abilities  # type: ignore[attr-defined]
        return test

    return mark
