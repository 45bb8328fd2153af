# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Paths of the mapping kit: `traits.email`, `items[0].name`, `traits['first name']`.

A path is split at dots and brackets; a step into a value that is falsy gives that value back, and texts and lists have
their `length` and their elements, as in JavaScript. '' and '.' are the whole payload.
"""

import re
from functools import lru_cache
from typing import Any

from engage_pipelines.domain.mapping.javascript import UNDEFINED, is_true, utf16_units
from engage_pipelines.domain.mapping.resolver import Resolver

_SPLIT = re.compile(r"""\[(?=["'0-9])|\.|(?<=["'0-9])\]+""")
_INDEX = re.compile("0|[1-9][0-9]*")


@lru_cache(maxsize=4096)
def path_keys(path: str) -> tuple[str, ...]:
    """The names along a path; none for the whole payload."""
    if path in ("", "."):
        return ()
    return tuple(part.replace("'", "").replace('"', "") for part in _SPLIT.split(path) if part)


def without_root(path: str) -> str:
    """The path without the first `$.`, wherever it stands."""
    return path.replace("$.", "", 1)


def get(value: Any, path: str) -> Any:
    """The value at a path, UNDEFINED when there is none."""
    for key in path_keys(path):
        value = step(value, key)
    return value


def step(value: Any, key: str) -> Any:
    """`value && value[key]`."""
    if isinstance(value, dict):
        return value.get(key, UNDEFINED)
    if not is_true(value):
        return value
    if isinstance(value, list):
        return _element(value, key, len(value))
    if isinstance(value, str):
        return _character(value, key)
    return UNDEFINED


def _element(items: Any, key: str, length: int) -> Any:
    if key == "length":
        return length
    return items[int(key)] if _INDEX.fullmatch(key) and len(key) < 11 and int(key) < length else UNDEFINED


def _character(text: str, key: str) -> Any:
    units = utf16_units(text)
    return _element(units, key, len(units))


def getter(path: str) -> Resolver:
    """The path compiled to a function of the payload."""
    return reader(path_keys(path))


def reader(keys: tuple[str, ...]) -> Resolver:
    """The names along a path compiled to a function of the payload."""
    if not keys:
        return lambda payload: payload
    first = keys[0]
    if len(keys) == 1:
        return lambda payload: payload.get(first, UNDEFINED) if payload.__class__ is dict else step(payload, first)
    if len(keys) == 2:
        return _two(first, keys[1])
    if len(keys) == 3:
        return _three(*keys)

    def many(payload: Any) -> Any:
        for key in keys:
            payload = payload.get(key, UNDEFINED) if payload.__class__ is dict else step(payload, key)
        return payload

    return many


def _two(first: str, second: str) -> Resolver:
    def two(payload: Any) -> Any:
        inner = payload.get(first, UNDEFINED) if payload.__class__ is dict else step(payload, first)
        return inner.get(second, UNDEFINED) if inner.__class__ is dict else step(inner, second)

    return two


def _three(first: str, second: str, third: str) -> Resolver:
    def three(payload: Any) -> Any:
        outer = payload.get(first, UNDEFINED) if payload.__class__ is dict else step(payload, first)
        inner = outer.get(second, UNDEFINED) if outer.__class__ is dict else step(outer, second)
        return inner.get(third, UNDEFINED) if inner.__class__ is dict else step(inner, third)

    return three
