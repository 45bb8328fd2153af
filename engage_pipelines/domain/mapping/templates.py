"""Templates of the mapping kit: text with `{{path}}` or `{{{path}}}` in it; neither form escapes anything.

What is missing or null prints as nothing. As in Segment's kit the triple form is put in first, and what it puts in is read
again for the double form: a payload that holds `{{x}}` is expanded there.
"""

import re
from typing import Any

from engage_pipelines.domain.mapping.javascript import SPACES, UNDEFINED, text_of
from engage_pipelines.domain.mapping.paths import get, getter
from engage_pipelines.domain.mapping.resolver import Resolver, check_length

_TRIPLE = re.compile(r"\{\{\{([^}]+)\}\}\}")
_DOUBLE = re.compile(r"\{\{([^}]+)\}\}")


def render(template: str, payload: Any) -> str:
    """The template with the payload's values. Raises MappingError when that becomes too long."""
    length = len(template)

    def value(found: re.Match[str]) -> str:
        nonlocal length
        text = _printed(get(payload, found[1].strip(SPACES)))
        length += len(text)
        check_length("@template", length)
        return text

    return _DOUBLE.sub(value, _TRIPLE.sub(value, template))


def renderer(template: str) -> Resolver:
    """The template compiled to a function of the payload."""
    if "{{{" in template:
        return lambda payload: render(template, payload)
    pieces = _DOUBLE.split(template)
    if len(pieces) == 1:
        return lambda _: template
    texts, gets = pieces[::2], [getter(path.strip(SPACES)) for path in pieces[1::2]]
    if len(gets) == 1:
        return _one(texts, gets)
    if len(gets) == 2:
        return _two(texts, gets)
    form = "{}".join(text.replace("{", "{{").replace("}", "}}") for text in texts).format

    def several(payload: Any) -> str:
        values = [_printed(read(payload)) for read in gets]
        check_length("@template", sum(map(len, values)))
        return form(*values)

    return several


def _one(texts: list[str], gets: list[Resolver]) -> Resolver:
    before, after = texts
    only = gets[0]

    def one(payload: Any) -> str:
        value = only(payload)
        return f"{before}{value if value.__class__ is str else _printed(value)}{after}"

    return one


def _two(texts: list[str], gets: list[Resolver]) -> Resolver:
    before, between, after = texts
    first, second = gets

    def two(payload: Any) -> str:
        one, other = first(payload), second(payload)
        one = one if one.__class__ is str else _printed(one)
        other = other if other.__class__ is str else _printed(other)
        return f"{before}{one}{between}{other}{after}"

    return two


def _printed(value: Any) -> str:
    if value.__class__ is str:
        return value
    return "" if value is None or value is UNDEFINED else text_of(value)
