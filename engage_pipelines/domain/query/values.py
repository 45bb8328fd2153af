"""Values of customer data, as the language reads them: numbers, texts, truth values, dates; and when two are the same.

A value is what JSON holds. null is missing. Numbers are IEEE doubles, as in JSON itself.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from engage_pipelines.domain.query.tree import EACH, Path

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

NUMBER_PATTERN = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""Texts that read as a number: no spaces, no separators, no infinities."""

EXACT_PATTERN = r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,6})?"
"""Numbers that are summed as decimals, exactly: money. Others are summed as doubles."""

_NUMBER = re.compile(NUMBER_PATTERN)
EXACT = re.compile(EXACT_PATTERN)


def number_of(value: Json) -> float | None:
    """The number that a value is or reads as; true and false are none, nor is what no double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def text_form(value: Json) -> str | None:
    """A value as text: a text is itself, anything else its JSON; None when it is missing."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def flattened(value: Json) -> str | None:
    """What `contains` looks into: a text, or the JSON of a list or an object; numbers and truth values are no text."""
    return None if isinstance(value, bool | int | float) else text_form(value)


def same(left: Json, right: Json) -> bool:
    """Whether two values are equal: texts by code point, numbers (one of them may be a text) as numbers,
    truth values (one of them may be the text true or false) as truth values. Lists and objects equal nothing."""
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    if isinstance(left, bool) or isinstance(right, bool):
        scalar = isinstance(left, bool | str) and isinstance(right, bool | str)
        return scalar and text_form(left) == text_form(right)
    number = number_of(left)
    return number is not None and number == number_of(right)


def walk(value: Json, path: Path) -> Iterator[Json]:
    """What the path leads to: one value, or none when a step finds no object; with `$` any number of them."""
    if not path:
        yield value
    elif path[0] == EACH:
        if isinstance(value, Sequence) and not isinstance(value, str):
            for element in value:
                yield from walk(element, path[1:])
    elif isinstance(value, Mapping) and path[0] in value:
        yield from walk(cast(Mapping[str, Json], value)[path[0]], path[1:])
