# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The checks of a mapping before it is used: every problem, each with its path.

The words and paths are those of Segment's kit. Its checks stop at the options of a directive whose value is a plain object
or list; ours go on below it, and know what would fail when a payload comes (`compat="segment"` leaves that out).
"""

import json
from collections.abc import Callable
from typing import Any, Literal

from engage_pipelines.domain.mapping.checks import InvalidMappingError, Stack, a_kind, check_length, check_mapping
from engage_pipelines.domain.mapping.directives import ROOT_KEY, with_root_directive
from engage_pipelines.domain.mapping.javascript import is_true, type_name
from engage_pipelines.domain.mapping.resolver import MappingError

MAX_DEPTH = 100


def validate_mapping(mapping: object, *, compat: Literal["segment"] | None = None) -> list[str]:
    """All problems, none for a mapping that can be compiled."""
    if compat is None and (deep := _too_deep(mapping)):
        return [deep]
    try:
        mapping = with_root_directive(mapping) if isinstance(mapping, dict) and compat is None else mapping
    except MappingError as wrong:
        return [f"/{ROOT_KEY} {wrong.what}."]
    if compat == "segment":
        return _of_segment(mapping, ())
    if not isinstance(mapping, dict):
        return [f"/ should be an object but it is {a_kind(type_name(mapping))}."]
    return _once(_of_segment(mapping, ()), _nested_problems(mapping, ()))


def _once(found: list[str], more: list[str]) -> list[str]:
    """All of them, but at each path only what was found there first: the same problem has different words below and above."""
    at = {problem.split(" ", 1)[0] for problem in found}
    others = dict.fromkeys(problem for problem in more if problem.split(" ", 1)[0] not in at)
    return [*found, *others]


def _of_segment(mapping: object, stack: Stack) -> list[str]:
    try:
        check_mapping(mapping, stack)
    except InvalidMappingError as wrong:
        return wrong.messages
    return []


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
    return _once(_of_segment(value, stack), _nested_problems(value, stack))


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
                check_length(0)(options[name], (*stack, name))
            except InvalidMappingError as wrong:
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
