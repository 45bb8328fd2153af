"""What types for advertising lists share: where a person's data is looked for, and what was said of a connection's list."""

from collections.abc import Mapping
from typing import Any, TypeVar

from engage_pipelines.destinations.base import Settings, Target
from engage_pipelines.destinations.fields import path

Said = TypeVar("Said", bound=Settings)

_PLACES = ("traits", "context.traits", "properties")


def anywhere(name: str) -> dict[str, Any]:
    """The directive that finds a person's trait where the calls carry it: with an Identify, beside an event, or in it."""
    *others, last = [f"$.{place}.{name}" for place in _PLACES]
    found: dict[str, Any] = path(last)
    for place in reversed(others):
        found = {"@if": {"exists": path(place), "then": path(place), "else": found}}
    return found


def said_of_list(model: type[Said], target: Target, segment_names: Mapping[str, str]) -> Said:
    """The settings of the connection's list; `segment_names` are Segment's names of them, and ours."""
    given = {segment_names.get(name, name): value for name, value in target.list_settings.items()}
    return model.model_validate({name: value for name, value in given.items() if name in model.model_fields})
