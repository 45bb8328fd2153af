# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The checks that Segment's own kit makes of a mapping, with its words and paths: every problem, each with its path."""

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from engage_pipelines.domain.mapping.javascript import UNDEFINED, entries, type_name
from engage_pipelines.domain.mapping.resolver import MappingError
from engage_pipelines.domain.mapping.texts import MAX_REPLACE, utf16_length

Stack: TypeAlias = tuple[str, ...]
Check: TypeAlias = Callable[[Any, Stack], None]


class InvalidMappingError(MappingError):
    """What is wrong with one part of a mapping; `several` when it was gathered from its fields."""

    def __init__(self, messages: list[str], *, several: bool = False) -> None:
        super().__init__(" ".join(messages))
        self.messages = messages
        self.several = several


_sound: ContextVar[set[int] | None] = ContextVar("sound_parts", default=None)
"""The parts of the mapping under way that were found sound: options are checked as an object and again one by one, all the way down."""


def check_mapping(mapping: object, stack: Stack = ()) -> None:
    """Segment's own checks. Raises: InvalidMappingError."""
    sound = _sound.get()
    if sound is None:
        token = _sound.set(set())
        try:
            _check(mapping, stack)
        finally:
            _sound.reset(token)
    elif id(mapping) not in sound:
        _check(mapping, stack)
        sound.add(id(mapping))


def _check(mapping: object, stack: Stack) -> None:
    kind = _kind(mapping)
    if kind == "directive":
        _check_directive(mapping, stack)
    elif kind == "object":
        _check_object(mapping, stack)


def _kind(value: object) -> str:
    return "directive" if isinstance(value, dict) and any(key.startswith("@") for key in value) else type_name(value)


def a_kind(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _fault(message: str, stack: Stack) -> InvalidMappingError:
    return InvalidMappingError([f"/{'/'.join(stack)} {message}."])


def _gathered(checks: list[Callable[[], None]]) -> None:
    messages: list[str] = []
    for check in checks:
        try:
            check()
        except InvalidMappingError as wrong:
            messages += wrong.messages
    if messages:
        raise InvalidMappingError(messages, several=True)


def _check_directive(value: Any, stack: Stack) -> None:
    named = [key for key in value if key.startswith("@")]
    if len(named) > 1:
        raise _fault(f"should only have one @-prefixed key but it has {len(named)} keys", stack)
    if any(not key.startswith("@") and key != "_metadata" for key in value):
        raise _fault(f"should only have one @-prefixed key but it has {len(value)} keys", stack)
    name = named[0]
    if name not in _CHECKS:
        raise _fault(f"has an invalid directive: {name}", stack)
    _CHECKS[name](value[name], (*stack, name))


def _check_object(value: Any, stack: Stack) -> None:
    if _kind(value) != "object":
        raise _fault(f"should be an object but it is {a_kind(_kind(value))}", stack)
    _gathered([lambda key=key: check_mapping(value[key], (*stack, key)) for key, _ in entries(value)])


def _directive_or_raw(value: Any, stack: Stack) -> None:
    kind = _kind(value)
    if kind == "directive":
        check_mapping(value, stack)
    elif kind in ("undefined", "function"):
        raise _fault(f"should be a mapping directive or a JSON value but it is {a_kind(kind)}", stack)


def _directive_or_string(value: Any, stack: Stack) -> None:
    kind = _kind(value)
    if kind == "directive":
        check_mapping(value, stack)
    elif kind != "string":
        raise _fault(f"should be a string or a mapping directive but it is {a_kind(kind)}", stack)


def _directive_or_object(value: Any, stack: Stack) -> None:
    kind = _kind(value)
    if kind in {"directive", "object"}:
        check_mapping(value, stack)
    else:
        raise _fault(f"should be a object or a mapping directive but it is {a_kind(kind)}", stack)


def _of_kind(wanted: str) -> Check:
    def check(value: Any, stack: Stack) -> None:
        if _kind(value) != wanted:
            raise _fault(f"should be {a_kind(wanted)} but it is {a_kind(_kind(value))}", stack)

    return check


_string, _boolean = _of_kind("string"), _of_kind("boolean")


def _array(value: Any, stack: Stack) -> None:
    if not isinstance(value, list):
        raise _fault(f"should be an array but it is {a_kind(type_name(value))}", stack)


def check_length(least: int) -> Check:
    def check(value: Any, stack: Stack) -> None:
        _string(value, stack)
        if utf16_length(value) < least:
            raise _fault(f"should be a string of length {least} or greater", stack)
        if utf16_length(value) > MAX_REPLACE:
            raise _fault(f"should be a string of length {MAX_REPLACE} or less", stack)

    return check


def _one_of(*allowed: str) -> Check:
    def check(value: Any, stack: Stack) -> None:
        _string(value, stack)
        if value.lower() not in allowed:
            raise _fault(f"should be one of {', '.join(allowed)} but it is {json.dumps(value, ensure_ascii=False)}", stack)

    return check


def _fields(required: Mapping[str, Check], optional: Mapping[str, Check], *, order: tuple[str, ...] = ()) -> Check:
    def check_field(value: Any, name: str, stack: Stack) -> None:
        if value.get(name, UNDEFINED) is not UNDEFINED:
            (required.get(name) or optional[name])(value[name], (*stack, name))
        elif name in required:
            raise _fault(f"should have field {json.dumps(name)} but it doesn't", stack)

    def check(value: Any, stack: Stack) -> None:
        _check_object(value, stack)
        _gathered([lambda name=name: check_field(value, name, stack) for name in order or (*required, *optional)])

    return check


def _array_path(value: Any, stack: Stack) -> None:
    _array(value, stack)
    path, shape = [*value, UNDEFINED, UNDEFINED][:2]
    _directive_or_string(path, stack)
    check_mapping(shape, stack)


_merge_fields = _fields({"objects": _array}, {"direction": _one_of("left", "right")}, order=("direction", "objects"))


def _merge(value: Any, stack: Stack) -> None:
    _merge_fields(value, stack)
    for item in value["objects"]:
        _directive_or_object(item, ())


_CHECKS: dict[str, Check] = {
    "@if": _fields({}, {"exists": _directive_or_raw, "then": _directive_or_raw, "else": _directive_or_raw}),
    "@case": _fields({}, {"operator": _string, "value": _directive_or_string}),
    "@replace": _fields(
        {"pattern": check_length(1), "value": _directive_or_string},
        {"replacement": check_length(0), "ignorecase": _boolean, "global": _boolean},
        order=("pattern", "replacement", "value", "ignorecase", "global"),
    ),
    "@arrayPath": _array_path,
    "@path": _directive_or_string,
    "@json": _fields({"value": _directive_or_raw, "mode": _one_of("encode", "decode")}, {}),
    "@flatten": _fields({"value": _directive_or_raw}, {"separator": _string}, order=("separator", "value")),
    "@merge": _merge,
    "@template": _directive_or_string,
    "@literal": _directive_or_raw,
    "@transform": _fields({"apply": _directive_or_object, "mapping": _directive_or_object}, {}),
    "@excludeWhenNull": _directive_or_raw,
    "@liquid": _string,
}
