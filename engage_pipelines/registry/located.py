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
        yield from _of_fields(marked, place, entry)
    elif isinstance(error.__context__, ValidationError) and _has(entry, "settings"):
        yield from _of_settings(marked, (*place, "settings"), error.__context__, error)
    elif wrong := list(_of_fields(marked, place, entry)):
        yield from wrong
    else:
        yield marked.problem((*place, *_spoken_of(entry, error.what)), error.what, error.remedy)


def _of_fields(marked: Marked, place: Place, entry: Entry | None) -> Iterator[Problem]:
    if isinstance(entry, MappingEntry) and entry.fields is not None:
        for one in validate_mapping(entry.fields):
            yield marked.problem((*place, "fields", *_path_of(one)), f"{one.rstrip('.')}.")


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
    given = {name: getattr(entry, name) for name in type(entry).model_fields}
    for name, value in given.items():
        for index, one in enumerate(cast("list[Any]", value) if isinstance(value, list) else []):
            if isinstance(one, str) and repr(one.partition(":")[0]) in text:
                return (name, index)
    for name, value in given.items():
        if isinstance(value, str) and value and repr(value) in text:
            return (name,)
        for inner in cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else ():
            if text.startswith((f"{inner} ", f"{inner}:")) or f" {inner!r}" in text:
                return (name, inner)
    return ()
