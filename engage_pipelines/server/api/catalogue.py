"""The catalogue of destination types in the shapes of Segment's; an action's id is its key, and a type's id is the type."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from engage_pipelines.destinations.base import Action, DestinationType, MembershipAs, Preset
from engage_pipelines.destinations.fields import Field, Kind
from engage_pipelines.destinations.settings_model import form_schema
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.types import find_type, supported_calls
from engage_pipelines.server.api.calls import PAGINATION, Answer, Call, Operation
from engage_pipelines.server.api.pages import page_of_list, read_page

_TRIGGERS = {"identify": 'type = "identify"', "track": 'type = "track"', "group": 'type = "group"'}
_FIELD_TYPES: Mapping[Kind, str] = {
    "string": "STRING",
    "integer": "INTEGER",
    "number": "NUMBER",
    "boolean": "BOOLEAN",
    "object": "OBJECT",
    "array": "OBJECT",
    "datetime": "DATETIME",
}
_KINDS = {bool: "boolean", int: "number", float: "number"}


@lru_cache(maxsize=256)
def metadata_of(info: DestinationType) -> Mapping[str, Any]:
    """A destination type as Segment's clients read its metadata, with how it takes membership."""
    calls = supported_calls(info)
    return {
        "id": info.key,
        "name": info.name,
        "slug": info.key,
        "description": info.description,
        "logos": {"default": "", "mark": None, "alt": None},
        "options": options_of(info),
        "settingsSchema": form_schema(info.settings_model),
        "status": "PUBLIC",
        "previousNames": [],
        "categories": ["Audience lists" if info.membership_as is MembershipAs.USER_LIST else "Audience traits"],
        "website": info.docs_url,
        "components": [{"type": "SERVER", "code": "", "owner": "SEGMENT"}],
        "supportedFeatures": {
            "cloudModeInstances": "SINGLE",
            "deviceModeInstances": "NONE",
            "replay": True,
            "browserUnbundling": False,
            "browserUnbundlingPublic": False,
        },
        "supportedMethods": {**{call: call in calls for call in ("identify", "track", "group")}, "pageview": False, "alias": False},
        "supportedPlatforms": {"browser": False, "server": True, "mobile": False, "warehouse": False, "cloudAppObject": False},
        "actions": [_action(one) for one in info.actions],
        "presets": [_preset(info, one) for one in info.presets],
        "contacts": [],
        "partnerOwned": False,
        "supportedRegions": [],
        "regionEndpoints": [],
        "membershipAs": str(info.membership_as),
        "effect": str(info.effect),
    }


def options_of(info: DestinationType) -> list[dict[str, Any]]:
    """The settings that people may write."""
    return [_option(name, field) for name, field in info.settings_model.model_fields.items() if name != "files_dir"]


def _option(name: str, field: Any) -> dict[str, Any]:
    kind = next((word for one, word in _KINDS.items() if field.annotation is one), "string")
    told: dict[str, Any] = {"name": name, "type": kind, "required": bool(field.is_required()), "label": name.replace("_", " ").capitalize()}
    if field.description:
        told["description"] = field.description
    default = field.default
    if default is not PydanticUndefined and not isinstance(default, SecretStr):
        told["defaultValue"] = default if isinstance(default, str | int | float | None) else str(default)
    return told


def _action(action: Action) -> dict[str, Any]:
    calls = [call for call in _TRIGGERS if call in action.calls]
    return {
        "id": action.key,
        "slug": action.key,
        "name": action.name,
        "description": action.name,
        "platform": "CLOUD",
        "hidden": False,
        "defaultTrigger": " or ".join(_TRIGGERS[call] for call in calls) or None,
        "fields": [_field(action, one, order) for order, one in enumerate(_inputs(action))],
        "schema": action.schema(),
    }


def _inputs(action: Action) -> Sequence[Field]:
    """The typed fields of the payload; of an action that takes any object, those of its default mapping."""
    return action.inputs or [Field(name, null_allowed=True) for name in action.fields if not name.startswith("@")]


def _field(action: Action, one: Field, order: int) -> dict[str, Any]:
    return {
        "id": f"{action.key}.{one.name}",
        "sortOrder": order,
        "fieldKey": one.name,
        "label": one.name.replace("_", " ").capitalize(),
        "type": _FIELD_TYPES[one.items or "object" if one.type == "array" else one.type],
        "description": one.description,
        "defaultValue": action.fields.get(one.name),
        "required": one.required,
        "multiple": one.type == "array",
        "choices": [{"label": choice, "value": choice} for choice in one.choices] or None,
        "dynamic": False,
        "allowNull": one.null_allowed,
    }


def _preset(info: DestinationType, preset: Preset) -> dict[str, Any]:
    action = next(one for one in info.actions if one.key == preset.action)
    return {"actionId": preset.action, "name": preset.name, "fields": dict(preset.fields or action.fields), "trigger": preset.trigger}


def _list(call: Call) -> Answer:
    types = sorted(call.registry.types.items())
    found = page_of_list([one for _, one in types], [key for key, _ in types], read_page(call.query))
    return Answer({"destinationsCatalog": [metadata_of(one) for one in found.rows], "pagination": found.pagination})


def _get(call: Call) -> Answer:
    return Answer({"destinationMetadata": metadata_of(find_type(call.registry.types, call.part("destinationMetadataId")))})


def _no_sources(call: Call) -> Answer:
    return Answer({"sourcesCatalog": [], "pagination": page_of_list((), (), read_page(call.query)).pagination})


def _no_warehouses(call: Call) -> Answer:
    return Answer({"warehousesCatalog": [], "pagination": page_of_list((), (), read_page(call.query)).pagination})


def _nothing(_call: Call) -> Answer:
    raise NotFoundError("This server has a catalogue of destinations alone.", "See GET /catalog/destinations.")


OPERATIONS = (
    Operation("getDestinationsCatalog", "GET", "/catalog/destinations", _list, "The destination types",
              ("destinationsCatalog", "pagination"), query=(PAGINATION,)),
    Operation("getDestinationMetadata", "GET", "/catalog/destinations/{destinationMetadataId}", _get, "One destination type",
              ("destinationMetadata",)),
    Operation("getSourcesCatalog", "GET", "/catalog/sources", _no_sources, "Source types: none", ("sourcesCatalog", "pagination"),
              query=(PAGINATION,)),
    Operation("getSourceMetadata", "GET", "/catalog/sources/{sourceMetadataId}", _nothing, "A source type: there is none",
              ("sourceMetadata",)),
    Operation("getWarehousesCatalog", "GET", "/catalog/warehouses", _no_warehouses, "Warehouse types: none",
              ("warehousesCatalog", "pagination"), query=(PAGINATION,)),
    Operation("getWarehouseMetadata", "GET", "/catalog/warehouses/{warehouseMetadataId}", _nothing, "A warehouse type: there is none",
              ("warehouseMetadata",)),
)  # fmt: skip
