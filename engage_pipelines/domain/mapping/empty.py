# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a mapped payload leaves out before its fields are checked: null and empty texts that a field's type does not allow."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.domain.mapping.javascript import UNDEFINED


def remove_empty_values(value: Any, schema: Mapping[str, Any] | None = None, *, is_root: bool = False) -> Any:
    """The value without them; UNDEFINED when nothing is left. At the root, which single records have, '' goes for texts too.

    schema is JSON Schema; parts it does not describe stay as they are.
    """
    schema = schema or {}
    if not schema.get("type") and not schema.get("enum"):
        return value
    if isinstance(value, list):
        items = schema.get("items")
        return [item for item in value if remove_empty_values(item, items) is not UNDEFINED] if items else value
    if isinstance(value, dict):
        return _object(value, schema.get("properties"), is_root=is_root)
    types = schema.get("type")
    allowed = types if isinstance(types, list) else [types]
    if (value is None and "null" not in allowed) or (value == "" and "string" not in allowed):
        return UNDEFINED
    return value


def _object(value: dict[str, Any], fields: Any, *, is_root: bool) -> dict[str, Any]:
    if not fields:
        return value
    out: dict[str, Any] = {}
    for key, inner in value.items():
        kept = remove_empty_values(inner, fields.get(key))
        if kept is not UNDEFINED and not (is_root and kept == ""):
            out[key] = kept
    return out
