# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The checks of a mapping before it is used: every problem, each with its path.

The words and paths are those of Segment's kit. Its checks stop at the options of a directive whose value is a plain object
or list; ours go on below it, and know what would fail when a payload comes (`compat="segment"` leaves that out).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from engage_pipelines.domain.mapping.directives import DIRECTIVES, MAX_REPLACE, ROOT_KEY, with_root_directive
from engage_pipelines.domain.mapping.javascript import UNDEFINED, is_true, type_name
from engage_pipelines.domain.mapping.resolver import MappingError
from engage_pipelines.domain.mapping.texts import utf16_length

Stack: TypeAlias = tuple[str, ...]
Check: TypeAlias = Callable[[Any, Stack], None]

MAX_DEPTH = 100


class Problems(Exception):  # noqa: N818 - not an error of ours: the problems on their way up
    """What is wrong with one part of a mapping; `several` when they were gathered from its fields."""

    def __init__(self, messages: list[str], *, several: bool = False) -> None:
        super().__init__(*messages)
        self.messages = messages
        self.several = several


def validate_mapping(mapping: object, *, compat: Literal["segment"] | None = None) -> list[str]:
    """All problems, none for a mapping that can be compiled."""
    if compat is None and (deep := _too_deep(mapping)):
        return [deep]
    try:
        mapping = with_root_directive(mapping) if isinstance(mapping, dict) and compat is None else mapping
        check_mapping(mapping)
    except MappingError as wrong:
        return [f"/{ROOT_KEY} {wrong.what}."]
    except Problems as wrong:
        return wrong.messages
    if compat == "segment":
        return []
    if not isinstance(mapping, dict):
        return [f"/ should be an object but it is {_a(type_name(mapping))}."]
    return _nested_problems(mapping, ())


def check_mapping(mapping: object, stack: Stack = ()) -> None:
    """Segment's own checks. Raises: Problems."""
    kind = _kind(mapping)
    if kind == "directive":
        _check_directive(mapping, stack)
    elif kind == "object":
        _check_object(mapping, stack)


def _kind(value: object) -> str:
    return "directive" if isinstance(value, dict) and any(key.startswith("@") for key in value) else type_name(value)


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _fault(message: str, stack: Stack) -> Problems:
    return Problems([f"/{'/'.join(stack)} {message}."])


def _gathered(checks: list[Callable[[], None]]) -> None:
    messages: list[str] = []
    for check in checks:
        try:
            check()
        except Problems as wrong:
            messages += wrong.messages
    if messages:
        raise Problems(messages, several=True)


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
        raise _fault(f"should be an object but it is {_a(_kind(value))}", stack)
    _gathered([lambda key=key: check_mapping(value[key], (*stack, key)) for key in value])


def _directive_or_raw(value: Any, stack: Stack) -> None:
    kind = _kind(value)
    if kind == "directive":
        _check_directive(value, stack)
    elif kind in ("undefined", "function"):
        raise _fault(f"should be a mapping directive or a JSON value but it is {_a(kind)}", stack)


def _directive_or_string(value: Any, stack: Stack) -> None:
    kind = _kind(value)
    if kind == "directive":
        _check_directive(value, stack)
    elif kind != "string":
        raise _fault(f"should be a string or a mapping directive but it is {_a(kind)}", stack)


def _directive_or_object(value: Any, stack: Stack) -> None:
    kind = _kind(value)
    if kind == "directive":
        _check_directive(value, stack)
    elif kind == "object":
        _check_object(value, stack)
    else:
        raise _fault(f"should be a object or a mapping directive but it is {_a(kind)}", stack)


def _of_kind(wanted: str) -> Check:
    def check(value: Any, stack: Stack) -> None:
        if _kind(value) != wanted:
            raise _fault(f"should be {_a(wanted)} but it is {_a(_kind(value))}", stack)

    return check


_string, _boolean, _array = _of_kind("string"), _of_kind("boolean"), _of_kind("array")


def _length(least: int) -> Check:
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
        {"pattern": _length(1), "value": _directive_or_string},
        {"replacement": _length(0), "ignorecase": _boolean, "global": _boolean},
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


def _too_deep(mapping: object) -> str | None:
    level = [mapping]
    for _ in range(MAX_DEPTH):
        level = [c for part in level for c in (part.values() if isinstance(part, dict) else part if isinstance(part, list) else ())]
        if not level:
            return None
    return f"/ should not nest deeper than {MAX_DEPTH} levels."


def _nested_problems(value: Any, stack: Stack) -> list[str]:
    """What Segment's kit would find only with a payload: directives inside of raw values, options that cannot work."""
    if isinstance(value, list):
        return [problem for n, item in enumerate(value) for problem in _problems_at(item, (*stack, str(n)))]
    if not isinstance(value, dict):
        return []
    found = [message for key, needed in _NEEDED.items() if key in value for message in needed(value[key], (*stack, key))]
    return found + [problem for key, inner in value.items() for problem in _problems_at(inner, (*stack, key))]


def _problems_at(value: Any, stack: Stack) -> list[str]:
    if stack[-1] == "_metadata":
        return []
    try:
        check_mapping(value, stack)
    except Problems as wrong:
        return wrong.messages
    return _nested_problems(value, stack)


def _needs(*names: str) -> Callable[[Any, Stack], list[str]]:
    def check(options: Any, stack: Stack) -> list[str]:
        if isinstance(options, dict) and not any(is_true(options.get(name)) for name in names):
            return [f"/{'/'.join(stack)} should have {' or '.join(json.dumps(name) for name in names)} with a value."]
        return []

    return check


def _needs_case(options: Any, stack: Stack) -> list[str]:
    if isinstance(options, dict) and options.get("operator") not in ("lower", "upper"):
        return [f'/{"/".join(stack)}/operator should be "lower" or "upper" but it is {json.dumps(options.get("operator"))}.']
    return []


def _second_replacement(options: Any, stack: Stack) -> list[str]:
    problems: list[str] = []
    for name in ("pattern2", "replacement2"):
        if isinstance(options, dict) and options.get(name) is not None:
            try:
                _length(0)(options[name], (*stack, name))
            except Problems as wrong:
                problems += wrong.messages
    return problems


def _liquid(template: Any, stack: Stack) -> list[str]:
    from engage_pipelines.domain.mapping.liquid import liquid_fault  # noqa: PLC0415 - rarely needed and slow to load

    fault = liquid_fault(template) if isinstance(template, str) else None
    return [f"/{'/'.join(stack)} {fault}."] if fault else []


_NEEDED: dict[str, Callable[[Any, Stack], list[str]]] = {
    "@if": _needs("exists", "blank"),
    "@case": _needs_case,
    "@replace": _second_replacement,
    "@flatten": _needs("separator"),
    "@json": _needs("value"),
    "@merge": _needs("direction"),
    "@liquid": _liquid,
}

assert set(_CHECKS) == set(DIRECTIVES)
