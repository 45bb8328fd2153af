"""What the parts of the mapping kit share: the shape of a compiled part, and the failure of one payload."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from engage_pipelines.domain.errors import EngageError

Resolver: TypeAlias = Callable[[Any], Any]


class MappingError(EngageError):
    """A payload that a mapping cannot be applied to; the record is rejected with these words, others go on."""


@dataclass(slots=True)
class Build:
    """What is learnt while a mapping is compiled: whether a list of the result can have holes."""

    holes: bool = False


def failing(message: str) -> Resolver:
    """A part that fails for every payload, as the peer does: when it is reached, not when the mapping is read."""

    def fail(_: Any) -> NoReturn:
        raise MappingError(message)

    return fail
