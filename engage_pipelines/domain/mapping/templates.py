"""Templates of the mapping kit: text with `{{path}}` or `{{{path}}}` in it; neither form escapes anything.

What is missing or null prints as nothing. As in Segment's kit the triple form is put in first, and what it puts in is read
again for the double form: a payload that holds `{{x}}` is expanded there.
"""

import re
from typing import Any

from engage_pipelines.domain.mapping.javascript import SPACES, UNDEFINED, text_of
from engage_pipelines.domain.mapping.paths import get, getter
from engage_pipelines.domain.mapping.resolver import Resolver

_TRIPLE = re.compile(r"\{\{\{([^}]+)\}\}\}")
_DOUBLE = re.compile(r"\{\{([^}]+)\}\}")


def render(template: str, payload: Any) -> str:
    """The template with the payload's values."""
    payload = {} if payload is UNDEFINED else payload

    def value(found: re.Match[str]) -> str:
        return _printed(get(payload, found[1].strip(SPACES)))

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
        before, only, after = texts[0], gets[0], texts[1]
        return lambda payload: before + _printed(only(_scope(payload))) + after
    pairs, last = list(zip(texts, gets, strict=False)), texts[-1]

    def several(payload: Any) -> str:
        payload = _scope(payload)
        return "".join([text + _printed(read(payload)) for text, read in pairs]) + last

    return several


def _scope(payload: Any) -> Any:
    return {} if payload is UNDEFINED else payload


def _printed(value: Any) -> str:
    if value.__class__ is str:
        return value
    return "" if value is None or value is UNDEFINED else text_of(value)
