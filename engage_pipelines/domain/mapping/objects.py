"""Objects of a mapping, each as a function written for it: straight lines of code in place of a loop with a call for every field.

The code that is written holds nothing of the mapping's text: keys, steps and constants are bound to numbered names. So objects of one shape
share their code, and a step that several paths begin with is taken once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, TypeAlias, cast

from engage_pipelines.domain.mapping.javascript import UNDEFINED
from engage_pipelines.domain.mapping.paths import reader, step
from engage_pipelines.domain.mapping.resolver import Resolver

MOST_FIELDS = 200
"""With more a loop is as good, and the code stays bounded."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The names along a path into the payload; none for the whole of it."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same for every payload."""

    value: Any


Part: TypeAlias = Steps | Constant | Resolver


def resolver_of(part: Part) -> Resolver:
    """The part as a function of the payload."""
    if isinstance(part, Constant):
        value = part.value
        return lambda _: value
    return reader(part.keys) if isinstance(part, Steps) else part


def object_builder(fields: Sequence[tuple[str, Part]], *, keep: bool) -> Resolver:
    """The object as a function of the payload; `keep`: with the keys whose value is undefined."""
    if len(fields) > MOST_FIELDS:
        return _looped([(key, resolver_of(part)) for key, part in fields], keep=keep)
    written = _Written()
    for key, part in fields:
        written.field(key, part, keep=keep)
    return written.compiled()


def _looped(fields: Sequence[tuple[str, Resolver]], *, keep: bool) -> Resolver:
    def build(payload: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, field in fields:
            value = field(payload)
            if keep or value is not UNDEFINED:
                out[key] = value
        return out

    return build


class _Written:
    """The lines of one function, and what the names in them are bound to."""

    def __init__(self) -> None:
        self._lines = ["out = {}"]
        self._bound: dict[str, Any] = {"UNDEFINED": UNDEFINED, "step": step, "dict": dict}
        self._taken: dict[tuple[str, ...], str] = {(): "payload"}

    def field(self, key: str, part: Part, *, keep: bool) -> None:
        place = f"out[{self._bind(key)}]"
        if isinstance(part, Constant):
            if keep or part.value is not UNDEFINED:
                self._lines.append(f"{place} = {self._bind(part.value)}")
            return
        value = self._at(part.keys) if isinstance(part, Steps) else self._assign(f"{self._bind(part)}(payload)")
        self._lines.append(f"{place} = {value}" if keep else f"if {value} is not UNDEFINED: {place} = {value}")

    def compiled(self) -> Resolver:
        exec(_code("\n ".join(["def build(payload):", *self._lines, "return out"])), self._bound)  # noqa: S102 - no text of a mapping is in it
        return cast(Resolver, self._bound["build"])

    def _at(self, keys: tuple[str, ...]) -> str:
        """The name that holds what lies at the end of the path."""
        if keys not in self._taken:
            outer, key = self._at(keys[:-1]), self._bind(keys[-1])
            self._taken[keys] = self._assign(f"{outer}.get({key}, UNDEFINED) if {outer}.__class__ is dict else step({outer}, {key})")
        return self._taken[keys]

    def _assign(self, expression: str) -> str:
        name = f"v{len(self._lines)}"
        self._lines.append(f"{name} = {expression}")
        return name

    def _bind(self, value: Any) -> str:
        name = f"c{len(self._bound)}"
        self._bound[name] = value
        return name


@lru_cache(maxsize=256)
def _code(source: str) -> CodeType:
    return compile(source, "<an object of a mapping>", "exec")
