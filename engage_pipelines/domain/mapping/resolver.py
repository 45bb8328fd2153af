"""What the parts of the mapping kit share: the shape of a compiled part, how it is compiled, and the failure of one payload."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from engage_pipelines.domain.errors import EngageError

Resolver: TypeAlias = Callable[[Any], Any]


class MappingError(EngageError):
    """A payload that a mapping cannot be applied to; the record is rejected with these words, others go on."""


@dataclass(frozen=True, slots=True)
class Build:
    """The circumstances in which a part is compiled, and what is learnt on the way.

    keep: the part is an operand of `@merge`, for which a key whose value is undefined takes the place of an earlier one.
    """

    keep: bool = False
    found: set[str] = field(default_factory=set[str])

    @property
    def plain(self) -> "Build":
        return Build(found=self.found)

    @property
    def keeping(self) -> "Build":
        return Build(keep=True, found=self.found)

    @property
    def multiplies(self) -> bool:
        """Whether a part of the payload can be there many times over in the result."""
        return "transforms" in self.found

    @property
    def holes(self) -> bool:
        """Whether a list of the result can have a place without a value."""
        return "holes" in self.found

    def note_transform(self) -> None:
        self.found.add("transforms")

    def note_holes(self, can_be: bool) -> None:
        if can_be:
            self.found.add("holes")


MOST_CHARACTERS = 1_000_000
"""So long a text may become at most, and of so many parts a payload: a mapping may not make gigabytes of a record."""


def check_length(directive: str, length: int) -> None:
    """Raises MappingError when a text is longer than any may be."""
    if length > MOST_CHARACTERS:
        raise MappingError(f"{directive} makes a text of more than {MOST_CHARACTERS:,} characters.", "Let it repeat less of the payload.")


def bounded_text(directive: str, value: Any) -> Any:
    """The value itself. Raises MappingError for a text that is longer than any may be."""
    if isinstance(value, str):
        check_length(directive, len(value))
    return value


def failing(message: str) -> Resolver:
    """A part that fails for every payload, as the peer does: when it is reached, not when the mapping is read."""

    def fail(_: Any) -> NoReturn:
        raise MappingError(message)

    return fail
