# What an event holds is known only when it is looked at, so the elements of its lists and objects have no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The meaning of a trigger: its tree compiled once to a function of the event.

A field that is missing is null. `=` holds for equal values of one type; `< <= > >=` only between numbers; `in` only
with a list; everything that is not true counts as false, so `!` of a missing field is true. Functions of null and of
values they do not take: contains and match are false, length is 0 for null, the others are null (string(null) is the
empty text, bool(null) is false).
"""

import operator
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, TypeAlias

from engage_pipelines.domain.mapping.javascript import json_text, number_text
from engage_pipelines.domain.trigger.globs import compiled_glob
from engage_pipelines.domain.trigger.tree import Call, Comparison, Inclusion, Items, Junction, Negation, Node, Path, Value

Event: TypeAlias = Mapping[str, Any]
Condition: TypeAlias = Callable[[Event], bool]
Reading: TypeAlias = Callable[[Event], Any]

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def compile_condition(node: Node) -> Condition:
    """The node as a function that gives True or False for any event."""
    match node:
        case Value(value):
            return (lambda _: True) if value is True else (lambda _: False)
        case Comparison():
            return _comparison(node)
        case Inclusion(value, collection):
            return _inclusion(compile_value(value), compile_value(collection))
        case Negation(condition):
            negated = compile_condition(condition)
            return lambda event: not negated(event)
        case Junction(word, conditions):
            parts = tuple(compile_condition(part) for part in conditions)
            return _every(parts) if word == "and" else _some(parts)
        case _:
            read = compile_value(node)
            return lambda event: read(event) is True


def compile_value(node: Node) -> Reading:
    """The node as a function that gives its value for any event, None when it is missing."""
    match node:
        case Path(segments):
            return _read(segments)
        case Value(value):
            return lambda _: value
        case Items(items):
            parts = [compile_value(item) for item in items]
            return lambda event: [part(event) for part in parts]
        case Call("match", (text, Value(pattern))):
            return _match_constant(compile_value(text), str(pattern))
        case Call(name, arguments):
            return _call(name, [compile_value(argument) for argument in arguments])
        case _:
            return compile_condition(node)


def _read(segments: tuple[str, ...]) -> Reading:
    first = segments[0]
    if len(segments) == 1:
        return lambda event: event.get(first)
    if len(segments) == 2:
        second = segments[1]

        def read_two(event: Event) -> Any:
            inner = event.get(first)
            return inner.get(second) if isinstance(inner, dict) else None

        return read_two
    rest = segments[1:]

    def read(event: Event) -> Any:
        value = event.get(first)
        for segment in rest:
            if not isinstance(value, dict):
                return None
            value = value.get(segment)
        return value

    return read


def _every(parts: tuple[Condition, ...]) -> Condition:
    if len(parts) == 2:
        first, second = parts
        return lambda event: first(event) and second(event)

    def every(event: Event) -> bool:
        for part in parts:  # noqa: SIM110 - a generator would double the time
            if not part(event):
                return False
        return True

    return every


def _some(parts: tuple[Condition, ...]) -> Condition:
    if len(parts) == 2:
        first, second = parts
        return lambda event: first(event) or second(event)

    def some(event: Event) -> bool:
        for part in parts:  # noqa: SIM110 - see above
            if part(event):
                return True
        return False

    return some


def _comparison(node: Comparison) -> Condition:
    if node.operator in _ORDERINGS:
        return _ordering(compile_value(node.left), compile_value(node.right), _ORDERINGS[node.operator])
    equal = _equality(node.left, node.right)
    return equal if node.operator == "=" else lambda event: not equal(event)


def _ordering(left: Reading, right: Reading, holds: Callable[[Any, Any], bool]) -> Condition:
    def ordering(event: Event) -> bool:
        a, b = left(event), right(event)
        return is_number(a) and is_number(b) and holds(a, b)

    return ordering


def _equality(left: Node, right: Node) -> Condition:
    if isinstance(left, Value):
        left, right = right, left
    read = compile_value(left)
    if not isinstance(right, Value):
        other = compile_value(right)
        return lambda event: same(read(event), other(event))
    wanted = right.value
    if wanted is None or isinstance(wanted, bool):
        return lambda event: read(event) is wanted
    if isinstance(wanted, str):
        return _text_equality(left, read, wanted)

    def equal_number(event: Event) -> bool:
        value = read(event)
        return value == wanted and is_number(value)

    return equal_number


def _text_equality(left: Node, read: Reading, wanted: str) -> Condition:
    if isinstance(left, Path) and len(left.segments) == 1:
        name = left.segments[0]
        return lambda event: event.get(name) == wanted
    return lambda event: read(event) == wanted


def _inclusion(value: Reading, collection: Reading) -> Condition:
    def included(event: Event) -> bool:
        wanted, items = value(event), collection(event)
        return isinstance(items, list) and any(same(wanted, item) for item in items)

    return included


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(a: object, b: object) -> bool:
    """Equal and of one type, all the way down; 1 and 1.0 are one number."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def _match_constant(text: Reading, pattern: str) -> Condition:
    fits = compiled_glob(pattern).fullmatch

    def matches(event: Event) -> bool:
        value = text(event)
        return isinstance(value, str) and fits(value) is not None

    return matches


def _call(name: str, arguments: list[Reading]) -> Reading:
    if len(arguments) == 1:
        function, (only,) = _OF_ONE[name], arguments
        return lambda event: function(only(event))
    pair, (first, second) = _OF_TWO[name], arguments
    return lambda event: pair(first(event), second(event))


def _length(value: Any) -> int | None:
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return len(value) if isinstance(value, list) else None


def _on_text(change: Callable[[str], str]) -> Callable[[Any], str | None]:
    return lambda value: change(value) if isinstance(value, str) else None


def _titlecase(text: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))


def _typeof(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "number" if is_number(value) else "map"


def _bool(value: Any) -> bool:
    """Empty, zero, null and the texts false and 0 are false; everything else is true."""
    return value.strip().lower() not in ("", "false", "0") if isinstance(value, str) else bool(value)


def _string(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return number_text(value) if is_number(value) else str(json_text(value))


def _number(value: Any) -> int | float | None:
    if not isinstance(value, str):
        return value if is_number(value) else None
    try:
        number = float(value) if value.isascii() and "_" not in value else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) else None


_OF_ONE: dict[str, Callable[[Any], Any]] = {
    "length": _length,
    "lowercase": _on_text(str.lower),
    "uppercase": _on_text(str.upper),
    "snakecase": _on_text(lambda text: text.replace(" ", "_")),
    "kebabcase": _on_text(lambda text: text.replace(" ", "-")),
    "titlecase": _on_text(_titlecase),
    "typeof": _typeof,
    "bool": _bool,
    "string": _string,
    "number": _number,
}
_OF_TWO: dict[str, Callable[[Any, Any], bool]] = {
    "contains": lambda text, part: isinstance(text, str) and isinstance(part, str) and part in text,
    "match": lambda text, pattern: (
        isinstance(text, str) and isinstance(pattern, str) and compiled_glob(pattern).fullmatch(text) is not None
    ),
}
