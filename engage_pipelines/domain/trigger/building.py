"""Nodes of a trigger from the tokens and parts that its grammar names: a method for each rule.

Source: https://segment.com/docs/api/public-api/fql/
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn, cast

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger.check import check_call, check_comparison, check_condition, check_inclusion
from engage_pipelines.domain.trigger.tree import RESERVED, Call, Comparison, Inclusion, Items, Junction, Negation, Node, Path, Place, Value

if TYPE_CHECKING:
    from lark import Token


def _conditions(operator: str) -> Callable[[Sequence[Node]], Node]:
    def junction(parts: Sequence[Node]) -> Node:
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            check_condition(part)
        flat = [inner for p in parts for inner in (p.conditions if isinstance(p, Junction) and p.operator == operator else (p,))]
        return Junction(cast(Any, operator), tuple(flat), getattr(parts[0], "at", (1, 1)))

    return junction


class Builder:
    """Tokens and nodes to nodes; the parser calls it as it reduces, so there is no second walk and no deep recursion."""

    disjunction = staticmethod(_conditions("or"))
    conjunction = staticmethod(_conditions("and"))

    def start(self, parts: list[Node]) -> Node:
        check_condition(parts[0])
        return parts[0]

    def negation(self, parts: list[Any]) -> Node:
        check_condition(parts[1])
        return Negation(parts[1], _place(parts[0]))

    def condition(self, parts: list[Any]) -> Node:
        if len(parts) == 1:
            return parts[0]
        left, operator, right = parts
        node = (
            Inclusion(left, right, _place(operator)) if operator.type == "IN" else Comparison(operator.value, left, right, _place(operator))
        )
        check_inclusion(node) if isinstance(node, Inclusion) else check_comparison(node)
        return node

    def value(self, parts: list[Node]) -> Node:
        return parts[0]

    def call(self, parts: list[Any]) -> Node:
        node = Call(str(parts[0]), tuple(parts[1:]), _place(parts[0]))
        check_call(node)
        return node

    def path(self, parts: list[Any]) -> Node:
        return _path(parts[0])

    def items(self, parts: list[Any]) -> Node:
        return Items(tuple(parts[1:]), _place(parts[0]))

    def text(self, parts: list[Any]) -> Node:
        return Value(_unescape(str(parts[0])[1:-1], "\\\"'"), _place(parts[0]))

    def number(self, parts: list[Any]) -> Node:
        return _number(parts[0])

    def true(self, parts: list[Any]) -> Node:
        return Value(True, _place(parts[0]))

    def false(self, parts: list[Any]) -> Node:
        return Value(False, _place(parts[0]))

    def null(self, parts: list[Any]) -> Node:
        return Value(None, _place(parts[0]))


def _refuse(token: "Token", what: str, remedy: str) -> NoReturn:
    raise DefinitionError(what, remedy, line=_place(token)[0], column=_place(token)[1])


def _place(token: "Token") -> Place:
    return token.line or 1, token.column or 1


def _unescape(text: str, escapable: str | None = None) -> str:
    out: list[str] = []
    characters = iter(text)
    for c in characters:
        if c != "\\":
            out.append(c)
            continue
        escaped = next(characters, "")
        out.append(escaped if escapable is None or escaped in escapable else c + escaped)
    return "".join(out)


def _segments(text: str) -> tuple[str, ...]:
    parts, start, escaped = list[str](), 0, False
    for n, c in enumerate(text):
        if c == "." and not escaped:
            parts.append(text[start:n])
            start = n + 1
        escaped = c == "\\" and not escaped
    return tuple(_unescape(part) for part in [*parts, text[start:]])


def _number(token: "Token") -> Value:
    written = str(token)
    number = int(written) if written.lstrip("+-").isdecimal() and len(written) <= 17 else float(written)
    if not isfinite(number):
        _refuse(token, f"the number {written} is too large.", "Write a number below 1.8e308.")
    return Value(number, _place(token))


def _path(token: "Token") -> Path:
    segments = _segments(str(token))
    head = segments[0]
    if not str(token).startswith("\\") and head.lower() in RESERVED:
        meant = "null" if head.lower() in ("nil", "none") else head.lower()
        _refuse(token, f"{str(token)!r} is read as a field of the event.", f"Write {meant} in small letters, or \\{token} for the field.")
    return Path(segments, _place(token))
