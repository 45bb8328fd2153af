"""Triggers as Segment's own parser reads and evaluates them, defect by defect, for people who bring theirs along.

Known defects: parentheses in parentheses do not parse; of mixed `and` and `or` on one level the last decides for all; `!(...)`
loses its negation; conditions on other fields than type, event, name, userId, properties, traits and context vanish, which
widens the filter; `in` and most functions are skipped; text in single quotes keeps the quotes.
Source: npm @segment/destination-subscriptions, observed.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from engage_pipelines.domain.mapping.javascript import UNDEFINED, number_of, text_of
from engage_pipelines.domain.mapping.paths import getter, reader
from engage_pipelines.domain.trigger.segment_lexer import END, Token, segment_tokens

Ast: TypeAlias = dict[str, Any]
Verdict: TypeAlias = Callable[[Any], bool]
Check: TypeAlias = Callable[[Any], Verdict]
# Object.prototype's names: the peer's table of fields finds something under them, and then takes no condition from it
_INHERITED = frozenset(
    [
        "constructor",
        "__defineGetter__",
        "__defineSetter__",
        "hasOwnProperty",
        "__lookupGetter__",
        "__lookupSetter__",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toString",
        "valueOf",
        "__proto__",
        "toLocaleString",
    ]
)
_PLAIN_FIELDS = {"type": "event-type", "event": "event", "name": "name", "userId": "userId"}
_NESTED_FIELDS = {"properties": "event-property", "traits": "event-trait", "context": "event-context"}
_PLACES = {kind: place for place, kind in {**_PLAIN_FIELDS, **_NESTED_FIELDS}.items()}
_UNREADABLE = "Cannot read properties of undefined (reading 'type')"


class SegmentFault(Exception):  # noqa: N818 - the fault is the peer's
    """What makes the peer throw; its words are the peer's."""


def parse_segment(text: str) -> Ast:
    """The peer's tree: {type: group, operator, children}, or {error: words}, with which nothing ever matches."""
    try:
        tree = _parse(_with_dotted_names(segment_tokens(text)))
        if tree is None:
            raise SegmentFault(_UNREADABLE)
    except SegmentFault as wrong:
        return {"error": str(wrong)}
    return tree if tree["type"] == "group" else {"type": "group", "operator": "and", "children": [tree]}


def _with_dotted_names(tokens: list[Token]) -> list[Token]:
    out: list[Token] = []
    n = 0
    while n < len(tokens):
        following = tokens[n + 1].type if n + 1 < len(tokens) else ""
        if out and out[-1].type == "ident" and tokens[n].type == "dot" and following == "ident":
            out[-1] = Token("ident", f"{out[-1].value}.{tokens[n + 1].value}")
            n += 2
        else:
            out.append(tokens[n])
            n += 1
    return out


def _parse(tokens: list[Token]) -> Ast | None:
    nodes: list[Ast | None] = []
    word = "and"
    rest = tokens[::-1]
    while rest and (token := rest.pop()).type != "eos":
        if token.type == "ident":
            _identifier(token, rest, nodes)
        elif token == Token("operator", "!"):
            _negation(rest, nodes)
        elif token.type == "parenleft":
            nodes.append(_parse([*_group(rest), END]))
        elif token.type == "conditional":
            word = token.value
    if len(nodes) > 1:
        return {"type": "group", "operator": word, "children": nodes}
    return nodes[0] if nodes else None


def _identifier(token: Token, rest: list[Token], nodes: list[Ast | None]) -> None:
    head = token.value.split(".")[0]
    if head in _PLAIN_FIELDS or head in _NESTED_FIELDS or head in _INHERITED:
        sign, value = _taken(rest, "Operator token is missing"), _taken(rest, "Value token is missing")
        if head not in _INHERITED:
            nodes.append(_condition(token.value, head, sign.value, value))
    if token.value in ("contains", "match"):
        nodes += _call(token.value, rest, negated=False)


def _taken(rest: list[Token], missing: str) -> Token:
    if not rest:
        raise SegmentFault(missing)
    return rest.pop()


def _negation(rest: list[Token], nodes: list[Ast | None]) -> None:
    if not rest:
        raise SegmentFault(_UNREADABLE)
    if rest[-1].type == "ident" and rest[-1].value in ("contains", "match"):
        nodes += _call(rest.pop().value, rest, negated=True)


def _group(rest: list[Token]) -> list[Token]:
    inner: list[Token] = []
    while rest:
        token = rest.pop()
        if token.type == "parenright":
            return inner
        inner.append(token)
    raise SegmentFault(_UNREADABLE)


def _condition(path: str, head: str, sign: str, value: Token) -> Ast:
    """A comparison; which operators a field knows beyond the plain ones differs from field to field."""
    node: Ast = _field(path, head)
    existence = {"=": "not_exists", "!=": "exists"}.get(sign) if value.value == "null" else None
    if existence and head not in ("type", "event"):
        return {**node, "operator": existence}
    truth = {"true": "is_true", "false": "is_false"}.get(value.value) if sign == "=" else None
    if truth and head not in ("type", "event", "name"):
        return {**node, "operator": truth}
    if head in _PLAIN_FIELDS:
        return {**node, "operator": sign, "value": text_of(_value(value))}
    numeric = {"=": "number_equals", "!=": "number_not_equals"}.get(sign) if value.type == "number" else None
    return {**node, "operator": numeric or sign, "value": _value(value)}


def _field(path: str, head: str) -> Ast:
    if head in _PLAIN_FIELDS:
        return {"type": _PLAIN_FIELDS[head]}
    return {"type": _NESTED_FIELDS[head], "name": path.removeprefix(f"{head}.")}


def _value(token: Token) -> str | float | bool:
    if token.type == "string":
        return token.value.removeprefix('"').removesuffix('"')
    if token.type == "number":
        return number_of(token.value)
    return token.value == "true" if token.type == "ident" and token.value in ("true", "false") else token.value


def _call(name: str, rest: list[Token], *, negated: bool) -> list[Ast | None]:
    rest[-1:] = []
    field = _taken(rest, f"{name}() is missing a 1st argument").value
    rest[-1:] = []
    written = _taken(rest, f"{name}() is missing a 2nd argument")
    rest[-1:] = []
    value = text_of(_value(written))
    if name == "match":
        at_start = written.value.endswith('*"')
        name, value = (
            ("starts_with", _utf16_slice(value, drop_last=True)) if at_start else ("ends_with", _utf16_slice(value, drop_last=False))
        )
    condition = {"operator": f"not_{name}" if negated else name, "value": value}
    if field in ("event", "name", "userId"):
        return [{"type": field, **condition}]
    head = next((head for head in _NESTED_FIELDS if field.startswith(head)), None)
    return [{**_field(field, head), **condition}] if head else []


def _utf16_slice(text: str, *, drop_last: bool) -> str:
    raw = text.encode("utf-16-le", "surrogatepass")
    return (raw[:-2] if drop_last else raw[2:]).decode("utf-16-le", "surrogatepass")


def segment_matches(tree: Any, event: Any) -> bool:
    """The peer's verdict on an event. Raises: SegmentFault where the peer throws."""
    return compile_segment(tree)(event)


def compile_segment(tree: Any) -> Verdict:
    """The tree as a function of the event, which raises SegmentFault where the peer throws."""
    if tree.get("error"):
        return lambda _: False
    verdict = _group_verdict(tree)
    return lambda event: event is not UNDEFINED and verdict(event)


def _group_verdict(tree: Any) -> Verdict:
    parts = [_verdict(child) for child in tree.get("children", ())]
    decisive = {"and": False, "or": True}.get(tree.get("operator"))
    if decisive is None:
        return lambda _: False

    def verdict(event: Any) -> bool:
        for part in parts:
            if part(event) is decisive:
                return decisive
        return not decisive

    return verdict


def _verdict(condition: Any) -> Verdict:
    if condition is None:
        return _fails(_UNREADABLE)
    kind = condition.get("type")
    if kind == "group":
        return _group_verdict(condition)
    place, check = _PLACES.get(kind), _CHECKS.get(condition.get("operator"))
    if place is None:
        return lambda _: False
    read, path = getter(place), condition.get("name")
    if place in _NESTED_FIELDS:
        keys = re.findall(r"[^\[.\]]+", path or "")
        if path and not keys:
            return _fails("Cannot read properties of null (reading 'reduce')")
        read = reader((place, *keys)) if keys else _nothing
    if check is None:
        return lambda _: False
    holds = check(condition.get("value", UNDEFINED))
    return lambda event: holds(read(event))


def _nothing(_: Any) -> Any:
    return UNDEFINED


def _fails(words: str) -> Verdict:
    def fail(_: Any) -> bool:
        raise SegmentFault(words)

    return fail


def _ordered(holds: Callable[[float, float], bool]) -> Check:
    def check(expected: Any) -> Verdict:
        number = number_of(expected)
        return lambda actual: isinstance(actual, int | float) and not isinstance(actual, bool) and holds(actual, number)

    return check


def _in_text(holds: Callable[[str, str], bool]) -> Check:
    def check(expected: Any) -> Verdict:
        text = text_of(expected)
        return lambda actual: isinstance(actual, str) and holds(actual, text)

    return check


def _equal(expected: Any) -> Verdict:
    text = text_of(expected)
    return lambda actual: actual == text


def _unequal(expected: Any) -> Verdict:
    text = text_of(expected)
    return lambda actual: actual != text


_CHECKS: dict[str, Check] = {
    "=": _equal,
    "!=": _unequal,
    "number_equals": _ordered(operator.eq),
    "number_not_equals": _ordered(operator.ne),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "contains": _in_text(operator.contains),
    "not_contains": _in_text(lambda actual, part: part not in actual),
    "starts_with": _in_text(str.startswith),
    "not_starts_with": _in_text(lambda actual, start: not actual.startswith(start)),
    "ends_with": _in_text(str.endswith),
    "not_ends_with": _in_text(lambda actual, end: not actual.endswith(end)),
    "exists": lambda _: lambda actual: actual is not UNDEFINED and actual is not None,
    "not_exists": lambda _: lambda actual: actual is UNDEFINED or actual is None,
    "is_true": lambda _: lambda actual: actual is True,
    "is_false": lambda _: lambda actual: actual is False,
}
