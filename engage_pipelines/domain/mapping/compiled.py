# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""A mapping as a function: read and checked once, applied to any number of payloads."""

from collections.abc import Callable, Mapping
from typing import Any

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.mapping.directives import compile_whole
from engage_pipelines.domain.mapping.javascript import UNDEFINED
from engage_pipelines.domain.mapping.resolver import MOST_CHARACTERS, Build, MappingError
from engage_pipelines.domain.mapping.validate import validate_mapping


def compile_mapping(fields: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    """The mapping as a function of the payload.

    The result holds no key whose value is missing; null stays, and so does a list's place for a missing value, as null. It
    shares parts with the payload: treat both as read-only. Applying it again gives an equal result. The function raises
    MappingError for a payload that the mapping does not fit.

    Raises: DefinitionError with every problem and its path, for the author of the mapping.
    """
    problems = validate_mapping(fields)
    if problems:
        raise DefinitionError(f"the mapping has {len(problems)} problems: {' '.join(problems)}", "Mend the fields at these paths.")
    build = Build()
    resolve = compile_whole(fields, build)
    holes, multiplies = build.holes, build.multiplies

    def apply(payload: Mapping[str, Any]) -> Any:
        try:
            result = resolve(payload if payload.__class__ is dict else dict(payload))
        except RecursionError:
            raise MappingError("the payload nests too deep.", "Send it with fewer levels.") from None
        if multiplies:
            _check_size(result)
        if holes:
            return filled(result)
        return None if result is UNDEFINED else result

    return apply


def _check_size(value: Any) -> None:
    """Raises MappingError for a result of too many parts: one part can be in it at many places, and each is sent."""
    waiting, seen = [value], 0
    while waiting:
        part = waiting.pop()
        inner = list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else ()
        seen += len(inner)
        if seen > MOST_CHARACTERS:
            raise MappingError(
                f"the mapping makes more than {MOST_CHARACTERS:,} values of the payload.", "Let @transform repeat less of it."
            )
        waiting.extend(inner)


def filled(value: Any) -> Any:
    """The value with null in the place of what is missing in lists."""
    if isinstance(value, list):
        return [filled(item) for item in value]
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    return None if value is UNDEFINED else value


def without_undefined(value: Any) -> Any:
    """The value without keys whose value is undefined, all the way down; places of lists stay undefined."""
    if isinstance(value, list):
        return [without_undefined(item) for item in value]
    if isinstance(value, dict):
        return {key: without_undefined(item) for key, item in value.items() if item is not UNDEFINED}
    return value
