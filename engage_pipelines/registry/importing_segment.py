"""Taking in what Segment's Public API says of destinations and subscriptions: what of it comes over, what differs, what is not there.

A destination becomes one of the space, of the type whose `segment_slugs` name it; a subscription becomes a mapping, switched off. Where a
part of Segment's destination is a type of its own here, as HubSpot's lists, a destination of that type is made beside it. Secrets are never
taken: each becomes a reference to an environment variable, which the report names. Nothing of one destination stays when it cannot be made.
Source: docs.segmentapis.com, destinations and their subscriptions.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from engage_pipelines.destinations.base import Action, DestinationType
from engage_pipelines.domain.errors import EngageError, InputError
from engage_pipelines.domain.trigger import differs_from_segment
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.destinations import NewDestination, create_destination, list_destinations
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import NewMapping, add_mapping
from engage_pipelines.registry.secrets import is_reference
from engage_pipelines.registry.type_settings import replace_secrets, secret_fields

_MOST_BYTES = 100_000_000
_OURS = {"enable_batching", "batch_size", "batch_bytes", "batch_keys", "__segment_internal_matching_key"}
"""Fields of Segment's that say how it sends; here the type decides that."""
_UNSAID: tuple[Any, ...] = (None, "", [], {}, False)
_SYNC_MODE = "__segment_internal_sync_mode"


@dataclass(slots=True)
class Imported:
    """What became of one thing: what it was taken as, or the reason why not; `differs` is what is other than at Segment."""

    kind: str
    name: str
    taken_as: str | None = None
    reason: str = ""
    differs: list[str] = field(default_factory=list[str])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    """Environment variables that the references name, and which setting each is for."""


@dataclass(frozen=True, slots=True)
class SegmentExport:
    """The destinations of an export with the subscriptions of each."""

    destinations: tuple[Mapping[str, Any], ...]
    subscriptions: tuple[Mapping[str, Any], ...]

    def of(self, destination: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        nested = [one for one in _list(destination.get("subscriptions")) if isinstance(one, dict)]
        return [*nested, *(one for one in self.subscriptions if one.get("destinationId") == destination.get("id"))]


def read_export(file: Path) -> SegmentExport:
    """Answers of the Public API: one, or a list of several, with or without their envelope `data`. Raises InputError."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file} has more than {_MOST_BYTES:,} bytes.", "Export destinations and subscriptions alone.")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{file} is not JSON.", "Save what the Public API answered.") from None
    destinations: list[Mapping[str, Any]] = []
    subscriptions: list[Mapping[str, Any]] = []
    for answer in content if isinstance(content, list) else [content]:
        data = answer.get("data", answer) if isinstance(answer, dict) else {}
        for name, found in (("destination", destinations), ("subscription", subscriptions)):
            found.extend(one for one in (*_list(data.get(f"{name}s")), data.get(name)) if isinstance(one, dict))
    if not destinations:
        raise InputError(
            f"{file} holds no destinations.", "It should hold what GET /destinations and GET /destinations/ID/subscriptions answer."
        )
    return SegmentExport(tuple(destinations), tuple(subscriptions))


def import_segment(change: Change, space: Row, export: SegmentExport) -> list[Imported]:
    """Make what can be made, and say what became of each thing, in order."""
    by_slug = {slug: info for info in change.registry.types.values() for slug in getattr(info, "segment_slugs", ())}
    found: list[Imported] = []
    for one in export.destinations:
        found.extend(_destination(change, space, one, (by_slug, export.of(one))))
    return found


def _destination(
    change: Change, space: Row, given: Mapping[str, Any], what: tuple[Mapping[str, DestinationType], list[Mapping[str, Any]]]
) -> Iterator[Imported]:
    by_slug, subscriptions = what
    metadata = given.get("metadata") if isinstance(given.get("metadata"), dict) else {}
    slug = str(cast("Mapping[str, Any]", metadata).get("slug") or given.get("slug") or "")
    name = str(given.get("name") or cast("Mapping[str, Any]", metadata).get("name") or slug or given.get("id") or "?")
    info = by_slug.get(slug)
    if info is None:
        yield Imported("destination", name, reason=f"there is no destination type for Segment's {slug[:80]!r}")
        yield from (Imported("subscription", _named(one), reason="its destination did not come over") for one in subscriptions)
        return
    belong = {info.key: list[Mapping[str, Any]]()}
    for one in subscriptions:
        belong.setdefault(info.type_from_segment(_said(one)), []).append(one)
    for key, mine in belong.items():
        type_ = change.registry.types[key]
        yield from _of_type(change, space, type_, (given, name if type_ is info else f"{name} ({type_.name})", mine))


def _of_type(
    change: Change, space: Row, info: DestinationType, what: tuple[Mapping[str, Any], str, list[Mapping[str, Any]]]
) -> Iterator[Imported]:
    given, name, subscriptions = what
    report = Imported("destination", name)
    try:
        with change.c.begin_nested():
            row = _make(change, space, info, (_with_settings(given, info, subscriptions), name, report))
    except EngageError as error:
        report.reason = str(error)
        yield report
        yield from (Imported("subscription", _named(one), reason="its destination did not come over") for one in subscriptions)
        return
    report.taken_as = row.key
    yield report
    for one in subscriptions:
        yield _subscription(change, row, info, one)


def _with_settings(given: Mapping[str, Any], info: DestinationType, subscriptions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What is given, whose settings hold too what subscriptions say that is a setting here; the first that says it counts."""
    settings = cast("dict[str, Any]", given.get("settings")) if isinstance(given.get("settings"), dict) else {}
    found: dict[str, Any] = {}
    for one in subscriptions:
        said = {name: value for name, value in _said(one).items() if name in info.segment_fields_that_are_settings}
        found = {**{name: value for name, value in said.items() if isinstance(value, str)}, **found}
    return {**given, "settings": {**found, **settings}}


def _make(change: Change, space: Row, info: DestinationType, what: tuple[Mapping[str, Any], str, Imported]) -> Row:
    given, name, report = what
    taken = {row.key for row in list_destinations(change.c, space.id)}
    key = _free_key(name, taken)
    values = cast("dict[str, Any]", given.get("settings")) if isinstance(given.get("settings"), dict) else {}
    ours = _settings(info, values)
    left = [one for one, value in values.items() if value not in _UNSAID and _settings(info, {one: value}) == _settings(info, {})]
    if left:
        report.differs.append(f"settings that mean nothing here: {', '.join(sorted(left))}")
    if given.get("enabled") is False:
        report.differs.append("it is switched off at Segment, and here too")
    # the API masks what it holds, and a file is no place for the rest
    for secret in secret_fields(info):
        if info.settings_model.model_fields[secret].is_required():
            ours.setdefault(secret, "")

    def refer(text: str, setting: str) -> str:
        if is_reference(text):
            return text
        variable = re.sub(r"[^A-Z0-9]+", "_", f"{key}_{setting}".upper())
        report.variables[variable] = setting
        return f"env:{variable}"

    settings = replace_secrets(info, ours, refer)
    return create_destination(change, space, NewDestination(key, info.key, settings, name, given.get("enabled") is not False))


def _settings(info: DestinationType, values: Mapping[str, Any]) -> dict[str, Any]:
    """Ours, without those that nobody said."""
    try:
        return {name: value for name, value in info.settings_from_segment(values).items() if value is not None}
    except (TypeError, ValueError, AttributeError, KeyError):
        raise InputError(f"its settings are not those of a {info.key} destination.", "Make it by hand.") from None


def _subscription(change: Change, to: Row, info: DestinationType, given: Mapping[str, Any]) -> Imported:
    name = _named(given)
    report = Imported("subscription", f"{to.key}: {name}")
    slug = str(given.get("actionSlug") or given.get("partnerAction") or given.get("actionId") or "")
    action = dict(info.segment_actions).get(slug)
    actions = {one.key: one for one in info.actions}
    if action not in actions:
        report.reason = f"the type {info.key} has nothing for Segment's action {slug[:80]!r}"
        return report
    trigger = str(given.get("trigger") or given.get("subscribe") or "")
    try:
        fields = _fields(given, info, actions[action], report)
        with change.c.begin_nested():
            row = add_mapping(change, to, NewMapping(name, trigger, action, fields))
    except EngageError as error:
        report.reason = f"{error}"
        return report
    report.taken_as = row.name
    other = differs_from_segment(trigger)
    if other is not None:
        report.differs.append(f"trigger: {other}")
    if given.get("enabled"):
        report.differs.append("it is switched on at Segment, and off here until you enable it")
    return report


def _fields(given: Mapping[str, Any], info: DestinationType, action: Action, report: Imported) -> dict[str, Any] | None:
    """What is sent, None for the action's own; fields that the action does not know are left out and told."""
    said = _said(given)
    if not said:
        return None
    translated, notes = info.fields_from_segment(said)
    report.differs.extend(notes)
    fields = {name: value for name, value in translated.items() if name not in _OURS}
    known = {one.name for one in action.inputs}
    if not known or "@path" in fields:
        return fields
    left = sorted(fields.keys() - known - {_SYNC_MODE})
    if left:
        report.differs.append(f"fields that the action has not: {', '.join(left)}")
    return {name: value for name, value in fields.items() if name not in left}


def _said(subscription: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a subscription as Segment has them; none when nothing is said."""
    said = subscription.get("settings", subscription.get("mapping"))
    if isinstance(said, dict) and isinstance(cast("dict[str, Any]", said).get("mapping"), dict):
        said = cast("dict[str, Any]", said)["mapping"]
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _named(subscription: Mapping[str, Any]) -> str:
    return str(subscription.get("name") or subscription.get("actionSlug") or subscription.get("id") or "subscription")[:300]


def _free_key(name: str, taken: Iterable[str]) -> str:
    """A legal key made of the name, that nobody has."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "destination"
    key = plain if plain[0].isalpha() else f"d_{plain}"
    known = set(taken)
    return next(one for one in (key, *(f"{key}_{n}" for n in range(2, len(known) + 3))) if one not in known)


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
