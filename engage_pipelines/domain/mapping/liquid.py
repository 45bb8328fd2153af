# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""`@liquid` templates, by python-liquid, within the limits and with the tags and filters that Segment allows.

At most 1000 characters, 500 ms of rendering and a million characters of any value on the way. Loops, partials and the
filters that would walk through lists are disabled. Values print as JavaScript prints them. An unknown filter is skipped, an
unknown tag is refused.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache, wraps
from typing import Any, TextIO

from liquid import Environment, Tag
from liquid.ast import Node
from liquid.builtin.output import Output, OutputNode
from liquid.context import RenderContext
from liquid.exceptions import FilterArgumentError, LiquidError, LiquidSyntaxError, OutputStreamLimitError
from liquid.stream import TokenStream
from liquid.template import BoundTemplate
from liquid.undefined import Undefined

from engage_pipelines.domain.mapping.javascript import type_name
from engage_pipelines.domain.mapping.liquid_comparisons import with_lenient_comparisons
from engage_pipelines.domain.mapping.liquid_filters import FILTERS, printed
from engage_pipelines.domain.mapping.resolver import MOST_CHARACTERS, MappingError, Resolver, failing

MAX_CHARACTERS = 1000
MAX_RENDER_S = 0.5
DISABLED_TAGS = ("case", "for", "include", "layout", "render", "tablerow")
DISABLED_FILTERS = [
    "array_to_sentence_string",
    "concat",
    "find",
    "find_exp",
    "find_index",
    "find_index_exp",
    "group_by",
    "group_by_exp",
    "has",
    "has_exp",
    "map",
    "newline_to_br",
    "reject",
    "reject_exp",
    "reverse",
    "sort",
    "sort_natural",
    "uniq",
    "where_exp",
    "type",
]
_OTHER_TAGS = ("tablerow", "ifchanged", "doc", "break", "continue")
_TOO_LONG = "memory alloc limit exceeded"
_deadline: ContextVar[float] = ContextVar("liquid_deadline", default=float("inf"))


class TemplateError(MappingError):
    """A template that cannot be read (`ParseError`) or rendered (`RenderError`), with the place in it."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def liquid_renderer(template: object) -> Resolver:
    """The template as a function of the payload; its faults are raised when a payload comes."""
    if not isinstance(template, str):
        return failing(f"liquid template value must be a string, got {type_name(template)}")
    if not template:
        return lambda _: ""
    if len(template) > MAX_CHARACTERS:
        return failing(f"liquid template values are limited to {MAX_CHARACTERS} characters")
    return lambda payload: _render(template, payload)


def liquid_fault(template: str) -> str | None:
    """What is wrong with a template before any payload comes, in words that continue its path; None when it is sound."""
    if len(template) > MAX_CHARACTERS:
        return f"should have at most {MAX_CHARACTERS} characters but it has {len(template)}"
    try:
        _parsed(template)
    except TemplateError as wrong:
        return f"should be a Liquid template: {wrong.what}"
    disabled = [name for name in DISABLED_FILTERS if re.search(rf"\|\s*{name}\b", template)]
    return f'should not use the filter "{disabled[0]}", which is disabled' if disabled else None


def _render(template: str, payload: Any) -> str:
    parsed = _parsed(template)
    token = _deadline.set(time.monotonic() + MAX_RENDER_S)
    try:
        return parsed.render(**payload) if isinstance(payload, Mapping) else parsed.render()
    except (LiquidError, ArithmeticError, ValueError, TypeError, RecursionError) as wrong:
        raise _fault(wrong, template, "RenderError") from None
    finally:
        _deadline.reset(token)


@lru_cache(maxsize=512)
def _parsed(template: str) -> BoundTemplate:
    try:
        return with_lenient_comparisons(_environment().from_string(template))
    except (LiquidError, ValueError, RecursionError) as wrong:
        raise _fault(wrong, template, "ParseError") from None


def _fault(wrong: Exception, template: str, kind: str) -> TemplateError:
    message = str(wrong.message) if isinstance(wrong, LiquidError) else str(wrong)
    message = _TOO_LONG if isinstance(wrong, OutputStreamLimitError) else message
    at = wrong.token.start_index if isinstance(wrong, LiquidError) and wrong.token else 0
    opening = max(template.rfind("{{", 0, at + 2), template.rfind("{%", 0, at + 2), 0)
    line = template.count("\n", 0, opening) + 1
    return TemplateError(f"{message}, line:{line}, col:{opening - (template.rfind(chr(10), 0, opening) + 1) + 1}", kind=kind)


class _Bounded(Environment):
    output_stream_limit = MOST_CHARACTERS


class _DisabledTag(Tag):
    block = False

    def parse(self, stream: TokenStream) -> Node:
        raise LiquidSyntaxError(f'tag "{stream.current.value}" is disabled', token=stream.current)


class _Missing(Undefined):
    """What is not there; in comparisons it is nil, which the library would refuse for < and >."""

    def __liquid__(self) -> None:
        return None


class _PrintingNode(OutputNode):
    """An output statement that prints as JavaScript does."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        if time.monotonic() > _deadline.get():
            raise LiquidError("template render limit exceeded", token=self.token)
        return buffer.write(printed(self.expression.evaluate(context)))


class _PrintingOutput(Output):
    node_class = _PrintingNode


def _disabled_filter(name: str) -> Callable[..., Any]:
    def disabled(*_: Any, **__: Any) -> Any:
        raise FilterArgumentError(f'filter "{name}" is disabled', token=None)

    return disabled


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter within the limits of time and size; what could grow by itself is refused before it grows."""

    @wraps(function)
    def limited(value: Any, *arguments: Any, **options: Any) -> Any:
        if time.monotonic() > _deadline.get():
            raise LiquidError("template render limit exceeded", token=None)
        if isinstance(value, range) and len(value) > MOST_CHARACTERS:
            raise LiquidError(_TOO_LONG, token=None)
        result = function(value, *arguments, **options)
        if isinstance(result, str | list) and len(result) > MOST_CHARACTERS:
            raise LiquidError(_TOO_LONG, token=None)
        return result

    return limited


@cache
def _environment() -> Environment:
    environment = _Bounded(strict_filters=False, undefined=_Missing)
    for name in _OTHER_TAGS:
        environment.tags.pop(name, None)
    for name in DISABLED_TAGS:
        environment.tags[name] = _DisabledTag(environment)
    environment.tags["output"] = _PrintingOutput(environment)
    environment.filters = {name: _limited(function) for name, function in FILTERS.items()}
    environment.filters |= {name: _disabled_filter(name) for name in DISABLED_FILTERS}
    return environment
