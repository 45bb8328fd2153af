"""The OpenAPI document of the API, made of the table of operations and the models of their bodies."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from engage_pipelines.server.api.answers import JSON, VERSIONED
from engage_pipelines.server.api.calls import Operation

_VERSION = "1"
_PARTS = re.compile(r"{(\w+)}")
_ERROR = {
    "type": "object",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {
                    "type": {"type": "string"},
                    "message": {"type": "string"},
                    "field": {"type": "string"},
                    "status": {"type": "integer"},
                    "data": {},
                },
            },
        }
    },
}
_STATUSES = {
    "400": "The body is no JSON.",
    "401": "No token, or one that is not valid.",
    "403": "The token's role or permission does not reach so far.",
    "404": "The named thing is not there.",
    "409": "It would break a rule, or somebody changed the thing meanwhile.",
    "413": "The body is too large.",
    "422": "A field does not fit; `field` names it.",
    "503": "The state is busy or cannot be read; try again.",
}


def document(operations: Sequence[Operation], *, path: str) -> dict[str, Any]:
    """The document; `path` is where the API is mounted."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "engage_pipelines",
            "version": _VERSION,
            "description": "Segment Public API shapes for what Segment has, and paths under /x/ for what it lacks.",
        },
        "servers": [{"url": path}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    needs = f"Takes the role {one.role}" + (" and the permission to see members." if one.members else ".")
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": needs,
        "parameters": [*_in_path(one), *_in_query(one)],
        "responses": {"200": _answer(one), **{status: _failure(text) for status, text in _STATUSES.items()}},
    }
    if one.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": _model(one, schemas)}}}
    return told


def _answer(one: Operation) -> Mapping[str, Any]:
    data = {"type": "object", "required": list(one.gives), "properties": {name: {} for name in one.gives}}
    schema = {"type": "object", "required": ["data"], "properties": {"data": data}}
    return {"description": one.summary, "content": {media: {"schema": schema} for media in (JSON, *VERSIONED)}}


def _failure(text: str) -> Mapping[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {"description": text, "content": dict.fromkeys((JSON, *VERSIONED), schema)}


def _in_path(one: Operation) -> list[Mapping[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 300}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in _PARTS.findall(one.path)]


def _in_query(one: Operation) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for query in one.query:
        is_object = query.schema.get("type") == "object"
        style = {"style": "deepObject", "explode": True} if is_object else {}
        found.append({"name": query.name, "in": "query", "description": query.text, "schema": query.schema, **style})
    return found


def _model(one: Operation, schemas: dict[str, Any]) -> Mapping[str, Any]:
    """The body's model among the components, with those that it is made of; equal names of different models get their operation's name."""
    assert one.body is not None
    prefix = one.name[0].upper() + one.name[1:]
    schema = one.body.model_json_schema(ref_template=f"#/components/schemas/{prefix}.{{model}}")
    for name, inner in cast("dict[str, Any]", schema.pop("$defs", {})).items():
        schemas[f"{prefix}.{name}"] = inner
    schemas[prefix] = schema
    return {"$ref": f"#/components/schemas/{prefix}"}
