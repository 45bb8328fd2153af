"""The registry as configuration files: one per space, which applied again change nothing, and on an empty registry make the same.

Secrets stay references; one that is encrypted becomes bullets and its name, which keep the old value where there is one, and elsewhere
ask for a reference. Not in it: what operating did (stops, versions, requests), suppressed profiles, tokens, and everything deleted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
import yaml

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.domain.connection import State
from engage_pipelines.domain.enrichment import OPTION as ENRICHMENT
from engage_pipelines.domain.instants import to_datetime
from engage_pipelines.registry.configuration import Document
from engage_pipelines.registry.connections import list_connections
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.destinations import list_destinations
from engage_pipelines.registry.list_settings import OPTION
from engage_pipelines.registry.lookup import Row, list_audiences, list_spaces, list_traits
from engage_pipelines.registry.mappings import list_mappings
from engage_pipelines.registry.secrets import BULLETS, is_reference
from engage_pipelines.registry.sources import list_sources
from engage_pipelines.registry.tables import destination, source
from engage_pipelines.registry.type_settings import replace_secrets
from engage_pipelines.registry.types import find_type

Types = Mapping[str, DestinationType]

_LINE = r"[\x20-\x7e\xa0-\u2027\u202a-\ud7ff]"
_PLAIN_LINE = re.compile(rf"{_LINE}*\Z")
_PLAIN_TEXT = re.compile(rf"{_LINE}+(\n{_LINE}*[!-\x7e\xa1-\u1fff\u3001-\ud7ff])+\n?\Z")
"""Several lines that a block keeps as they are: nothing that YAML takes for a line's end or for indentation."""


def export_documents(c: sa.Connection, types: Types) -> dict[str, dict[str, Any]]:
    """By key of the space the document that makes it. Raises NotFoundError for a destination whose type is not installed."""
    return {space.key: _Space(c, types, space).document() for space in list_spaces(c)}


def as_yaml(document: Mapping[str, Any], *, schema: str) -> str:
    """The text of a file that holds the document; `schema` is where editors find its JSON Schema."""
    Document.model_validate(document)
    blocks = [yaml.dump({name: part}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110) for name, part in document.items()]
    return "\n".join([f"# yaml-language-server: $schema={schema}\n", *blocks])


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, nothing by alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # unless it is escaped, what YAML takes for a line's end would come back as another
    style = "|" if _PLAIN_TEXT.match(text) else None if _PLAIN_LINE.match(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


class _Space:
    """One space on its way into a document."""

    def __init__(self, c: sa.Connection, types: Types, row: Row) -> None:
        self._c = c
        self._types = types
        self._row = row
        self._audiences = {one.id: one for one in list_audiences(c, row.id)}
        self._computations = self._audiences | {one.id: one for one in list_traits(c, row.id)}
        self._destinations = {one.id: one for one in list_destinations(c, row.id)}

    def document(self) -> dict[str, Any]:
        parts = {
            "sources": list(self._sources()),
            "destinations": [self._destination(row) for row in self._destinations.values()],
            "traits": [_trait(row) for row in list_traits(self._c, self._row.id)],
            "audiences": [_audience(row) for row in self._audiences.values()],
            "mappings": list(self._mappings()),
            "connections": list(self._connections()),
        }
        space: dict[str, Any] = {"key": self._row.key, "name": _name(self._row)}
        if self._row.evaluate_at is not None:
            space["evaluate_at"] = _instant(self._row.evaluate_at)
        if self._row.one_configuration_per_type != "space":
            space["one_configuration_per_type"] = self._row.one_configuration_per_type
        if self._row.facts is not None:
            space["facts"] = self._row.facts
        if self._row.facts is not None:
            space["facts"] = self._row.facts
        return {"space": _without_empty(space), **{name: part for name, part in parts.items() if part}}

    def _sources(self) -> Iterator[dict[str, Any]]:
        for owner in list_sources(self._c, self._row.id):
            on_it = [
                _without_empty(
                    {"key": row.key, "type": row.type, "name": _name(row), "settings": self._settings(row, f"{owner.key}.{row.key}")}
                )
                for row in list_destinations(self._c, self._row.id, source_id=owner.id)
            ]
            yield _without_empty({"key": owner.key, "name": _name(owner), "destinations": on_it})

    def _destination(self, row: Row) -> dict[str, Any]:
        settings = self._settings(row, row.key)
        made = {"key": row.key, "type": row.type, "name": _name(row)}
        original = self._original(row)
        if original is not None:
            path, there = original
            copied = self._settings(there, row.key)
            if copied.keys() <= settings.keys():
                same = {name for name in copied if row.settings[name] == there.settings[name]}
                settings = {name: value for name, value in settings.items() if name not in same}
                made = {"key": row.key, "import_from": path, "name": row.name}
        enabled = {} if row.enabled else {"enabled": False}
        return {**_without_empty({**made, "settings": settings}), **enabled}

    def _original(self, row: Row) -> tuple[str, Row] | None:
        """The configuration that a destination was copied from, while it is there."""
        if row.imported_from is None:
            return None
        found = self._c.execute(sa.select(destination).where(destination.c.id == row.imported_from)).first()
        if found is None or found.removed_at is not None or found.source_id is None or found.type != row.type:
            return None
        owner = self._c.execute(sa.select(source.c.key).where(source.c.id == found.source_id)).scalar_one()
        return f"{owner}/{found.key}", found

    def _settings(self, row: Row, where: str) -> dict[str, Any]:
        info = find_type(self._types, row.type)
        return replace_secrets(info, row.settings, lambda text, field: text if is_reference(text) else f"{BULLETS} {where}.{field}")

    def _mappings(self) -> Iterator[dict[str, Any]]:
        for to in self._destinations.values():
            for row in sorted(list_mappings(self._c, to.id), key=lambda one: one.name):
                if row.connection_id is None:
                    fields = {} if self._usual_fields(to, row.action) == row.fields else {"fields": row.fields}
                    made = {"destination": to.key, "name": row.name, "trigger": row.trigger, "action": row.action}
                    yield {**made, **fields, **({"enabled": True} if row.enabled else {})}

    def _usual_fields(self, to: Row, action: str) -> Any:
        actions = {one.key: one for one in find_type(self._types, to.type).actions}
        return dict(actions[action].fields) if action in actions else None

    def _connections(self) -> Iterator[dict[str, Any]]:
        places = {one: place for place, one in enumerate((*self._computations, *self._destinations))}
        rows = [row for row in list_connections(self._c, self._row.id) if {row.computation_id, row.destination_id} <= places.keys()]
        for row in sorted(rows, key=lambda one: (places[one.computation_id], places[one.destination_id])):
            of, to = self._computations[row.computation_id], self._destinations[row.destination_id]
            backfill = row.options.get("backfill", True)
            usual = of.options.get("include_historical_data", True)
            yield {
                "audience": of.key,
                "destination": to.key,
                "calls": list(row.calls),
                **({} if backfill == usual else {"backfill": backfill}),
                **({"ids": list(row.options["id_sync"])} if row.options.get("id_sync") else {}),
                **({"traits": list(row.options[ENRICHMENT])} if row.options.get(ENRICHMENT) else {}),
                **({OPTION: row.options[OPTION]} if row.options.get(OPTION) else {}),
                **({"on_disconnect": row.options["on_disconnect"]} if row.options.get("on_disconnect") else {}),
                **({"paused": True} if row.state == State.PAUSED else {}),
                **_without_empty({"presets": list(self._presets(row, of, to))}),
            }

    def _presets(self, connected: Row, of: Row, to: Row) -> Iterator[dict[str, Any]]:
        info = find_type(self._types, to.type)
        usual = {(one.trigger.replace("{key}", of.key), one.action) for one in info.presets}
        for row in sorted(list_mappings(self._c, to.id), key=lambda one: one.name):
            if row.connection_id != connected.id:
                continue
            told: dict[str, Any] = {} if row.enabled else {"enabled": False}
            if (row.trigger, row.action) not in usual:
                told |= {"trigger": row.trigger, "action": row.action}
            if self._usual_fields(to, row.action) != row.fields:
                told["fields"] = row.fields
            if told:
                yield {"name": row.name, **told}


def _trait(row: Row) -> dict[str, Any]:
    made = {
        "key": row.key,
        "name": _name(row),
        "description": row.description,
        "level": row.level,
        "type": str(type_of_trait(row)),
        "definition": row.definition,
        "cadence": row.cadence,
        "account_trait_conflict": row.options.get("account_trait_conflict", ""),
    }
    return {**_without_empty(made), **({} if row.enabled else {"enabled": False})}


def _audience(row: Row) -> dict[str, Any]:
    made = {
        "key": row.key,
        "name": _name(row),
        "description": row.description,
        "level": row.level,
        "definition": row.definition,
        "cadence": row.cadence,
        "options": row.options,
    }
    return {**_without_empty(made), **({} if row.enabled else {"enabled": False})}


def _name(row: Row) -> str:
    """Empty where it is the key, which files leave out."""
    return "" if row.name == row.key else row.name


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", {}, [])}


def _instant(at_us: int) -> str:
    """To the microsecond, where there are any."""
    return f"{to_datetime(at_us).replace(tzinfo=None).isoformat()}Z"
