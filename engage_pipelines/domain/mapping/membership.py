"""Whether a call says that its user is in: what Segment hands to destinations as `audienceMembership`."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.domain.mapping.javascript import UNDEFINED

_ENTRY_EVENTS = {"add": ("new",), "update": ("updated",), "upsert": ("new", "updated"), "mirror": ("new", "updated")}
_EXIT_EVENTS = {"delete": ("deleted",), "mirror": ("deleted",)}


def stated_membership(call: Mapping[str, Any], sync_mode: str | None = None) -> bool | None:
    """True or False as the call states it, None when it does not; a table row's event counts under a sync mode."""
    by_computation = computation_membership(call)
    return row_membership(call, sync_mode) if by_computation is None else by_computation


def computation_membership(call: Mapping[str, Any]) -> bool | None:
    """The boolean at the computation's key: in traits of an identify, in properties of a track."""
    personas = _object(_object(call, "context"), "personas")
    key = personas.get("computation_key")
    if personas.get("computation_class") not in ("audience", "journey_step") or not key or key is UNDEFINED:
        return None
    place = {"identify": "traits", "track": "properties"}.get(str(call.get("type")))
    value = _object(call, place).get(key) if place else None
    return value if isinstance(value, bool) else None


def row_membership(call: Mapping[str, Any], sync_mode: str | None) -> bool | None:
    """new, updated or deleted rows of a table, against the sync mode of the mapping."""
    if call.get("type") != "track" or not sync_mode:
        return None
    if call.get("event") in _ENTRY_EVENTS.get(sync_mode, ()):
        return True
    return False if call.get("event") in _EXIT_EVENTS.get(sync_mode, ()) else None


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}
