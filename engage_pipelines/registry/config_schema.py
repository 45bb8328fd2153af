"""The JSON Schema of configuration files, made from their models, for editors that complete and check YAML."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.registry.configuration import Document

SCHEMA_FILE = "engage.schema.json"


def config_schema(types: Mapping[str, DestinationType] | None = None) -> dict[str, Any]:
    """The schema of one file (draft 2020-12); with `types` it knows them, their settings, and what their actions are called."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}
    if types:
        for name in ("DestinationEntry", "SourceDestinationEntry"):
            _add_types(schema["$defs"][name], types)
    return schema


def _add_types(entry: dict[str, Any], types: Mapping[str, DestinationType]) -> None:
    named = [{"const": key, "title": info.name, "description": info.description} for key, info in types.items()]
    entry["properties"]["type"] = {"description": entry["properties"]["type"].get("description", ""), "oneOf": named}
    entry["allOf"] = [
        {
            "if": {"properties": {"type": {"const": key}}, "required": ["type"]},
            "then": {"properties": {"settings": _settings(info)}},
        }
        for key, info in types.items()
    ]


def _settings(info: DestinationType) -> dict[str, Any]:
    found = info.settings_model.model_json_schema()
    # the operator's, never the file's
    found.get("properties", {}).pop("files_dir", None)
    if "files_dir" in found.get("required", []):
        found["required"].remove("files_dir")
    return _inlined(found, found.pop("$defs", {}))


def _inlined(value: Any, known: Mapping[str, Any], depth: int = 0) -> Any:
    """The schema without references, which would point into another document; a secret may be a reference of any length."""
    if isinstance(value, list):
        return [_inlined(one, known, depth) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        # a model that holds itself is described to the depth that anybody writes
        return {} if depth > 5 else _inlined(known[value["$ref"].rpartition("/")[2]], known, depth + 1)
    if value.get("format") == "password":
        return {"type": "string", "description": f"{value.get('description', 'A secret.')} As env:NAME or file:/path."}
    return {key: _inlined(one, known, depth) for key, one in value.items()}
