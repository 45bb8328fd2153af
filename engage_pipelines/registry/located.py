"""Where in a file an error of the registry belongs: the field of the entry that it speaks of, and the place inside a text."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from engage_pipelines.domain.errors import DefinitionError, EngageError
from engage_pipelines.domain.mapping import validate_mapping
from engage_pipelines.registry.configuration import AudienceEntry, Entry, MappingEntry
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.problems import Problem, ProblemsError
from engage_pipelines.registry.yaml_marks import Marked, Place


def located(marked: Marked, place: Place, entry: Entry | None, error: EngageError) -> Iterator[Problem]:
    """The problems that an error of one entry comes to."""
    if isinstance(error, ProblemsError):
        yield from error.problems
    elif isinstance(error, DefinitionError):
        name = "definition" if isinstance(entry, AudienceEntry) else "trigger"
        what = error.what.removeprefix(f"line {error.line}, column {error.column}: ")
        yield marked.problem((*place, name), what, error.remedy, inside=(error.line, error.column))
    elif isinstance(error.__context__, ValidationError) and _has(entry, "settings"):
        yield from _of_settings(marked, (*place, "settings"), error.__context__, error)
    elif isinstance(entry, MappingEntry) and entry.fields is not None and (wrong := validate_mapping(entry.fields)):
        yield from (marked.problem((*place, "fields", *_path_of(one)), f"{one}.") for one in wrong)
    else:
        yield marked.problem((*place, *_spoken_of(entry, error.what)), error.what, error.remedy)


def _has(entry: Entry | None, name: str) -> bool:
    return entry is not None and name in type(entry).model_fields


def _of_settings(marked: Marked, place: Place, found: ValidationError, error: EngageError) -> Iterator[Problem]:
    known = [name.strip().removesuffix(" (optional)") for name in error.remedy.removeprefix("The settings are: ").rstrip(".").split(",")]
    for one in found.errors(include_url=False, include_context=False, include_input=False):
        loc = one["loc"]
        message = one["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if one["type"] == "extra_forbidden":
            yield marked.problem(
                (*place, *loc), f"{str(loc[-1])[:80]!r} is no setting.", did_you_mean(str(loc[-1]), known, otherwise=error.remedy)
            )
        elif one["type"] == "missing":
            yield marked.problem((*place, *loc[:-1]), f"the setting {'.'.join(map(str, loc))!r} is missing.", error.remedy)
        else:
            yield marked.problem((*place, *loc), f"{message}.", error.remedy)


def _path_of(message: str) -> Place:
    """`/traits/email should be ...` -> its place."""
    path = message.partition(" ")[0]
    return tuple(part for part in path.split("/") if part) if path.startswith("/") else ()


def _spoken_of(entry: Entry | None, text: str) -> Place:
    """The field whose value, or the setting whose name, the text speaks of."""
    if entry is None:
        return ()
    for name in type(entry).model_fields:
        value = getattr(entry, name)
        if isinstance(value, str) and value and repr(value) in text:
            return (name,)
        if isinstance(value, list):
            for index, one in enumerate(cast("list[Any]", value)):
                if isinstance(one, str) and repr(one.partition(":")[0]) in text:
                    return (name, index)
        if isinstance(value, Mapping):
            for inner in cast("Mapping[str, Any]", value):
                if text.startswith((f"{inner} ", f"{inner}:")) or f" {inner!r}" in text:
                    return (name, inner)
    return ()
