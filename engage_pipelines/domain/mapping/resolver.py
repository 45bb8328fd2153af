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
    def holes(self) -> bool:
        """Whether a list of the result can have a place without a value."""
        return "holes" in self.found

    def note_holes(self, can_be: bool) -> None:
        if can_be:
            self.found.add("holes")


def failing(message: str) -> Resolver:
    """A part that fails for every payload, as the peer does: when it is reached, not when the mapping is read."""

    def fail(_: Any) -> NoReturn:
        raise MappingError(message)

    return fail
