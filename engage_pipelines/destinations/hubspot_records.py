"""Requests to HubSpot about many records of an object, and the properties that records hold: what its types share.

A property that is missing and ours to make (an audience's own, the account's id) is made when HubSpot says that there is none.
Source: https://developers.hubspot.com/docs/api-reference/latest/crm/properties/guide (November 2026)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

import orjson

from engage_pipelines.destinations.api import Batch, Talk, failure, json_request, object_of
from engage_pipelines.destinations.base import Stop, Verdict
from engage_pipelines.destinations.http import Answer, Request

API = "https://api.hubapi.com"
COMPANY_ID = "segment_group_id"
"""The property of companies that holds the account's id; called as Segment calls it, so that companies it made are found."""

GROUPS = {
    "contacts": "contactinformation",
    "contact": "contactinformation",
    "companies": "companyinformation",
    "company": "companyinformation",
}
"""Where a property of an object is made, for objects that have such a group from the start."""


# ---------------------------------------------------------------------- values


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as properties hold them: lists joined by semicolons, objects as JSON, text without spaces around, nothing for null."""
    return {name: property_value(value) for name, value in values.items() if value is not None}


def property_value(value: Any) -> Any:
    if isinstance(value, list):
        items = cast(list[Any], value)
        return ";".join(str(property_value(item)).lower() if isinstance(item, bool) else str(property_value(item)) for item in items)
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return value.strip() if isinstance(value, str) else value


def membership(payload: dict[str, Any]) -> dict[str, Any]:
    """The membership or trait as a property; empty text clears one that has no value any more."""
    key, values = payload.pop("computation_key", None), payload.pop("traits_or_props", {})
    return {key: "" if values[key] is None else property_value(values[key])} if key in values else {}


# ---------------------------------------------------------------------- properties that are missing


def _definition(name: str, value: Any, group: str) -> dict[str, Any]:
    """How the property of a computation is made."""
    base = {"name": name, "label": name, "groupName": group}
    if isinstance(value, bool):
        options = [{"label": word, "value": word, "displayOrder": at} for at, word in enumerate(("true", "false"))]
        return {**base, "type": "enumeration", "fieldType": "booleancheckbox", "options": options}
    if isinstance(value, int | float):
        return {**base, "type": "number", "fieldType": "number"}
    return {**base, "type": "string", "fieldType": "text"}


def _unknown(answer: Answer) -> set[str]:
    """Names of the properties that HubSpot says there are none of."""
    if answer.status != 400 or b"PROPERTY_DOESNT_EXIST" not in answer.body:
        return set()
    return set(re.findall(r'"name"\s*:\s*"([^"]+)"', str(object_of(answer).get("message", "")))) or {"?"}


def written(batch: Batch, place: str, request: Request, properties: Mapping[str, Any], group: str | None) -> Talk[Answer | Verdict]:
    """The answer to a request, said again once the properties that are ours to make were made; a verdict where one is not."""
    answer = yield request
    missing = _unknown(answer)
    ours = {batch.target.computation, COMPANY_ID} & set(properties)
    if not missing:
        return answer
    if missing - ours or group is None:
        return Stop(
            f"HubSpot has no property {', '.join(sorted(missing))} of {place}.",
            "Make it in HubSpot (Settings, Properties), or take it out of the mapping.",
        )
    for name in sorted(missing):
        made = _definition(name, properties[name], group)
        made |= {"label": "Account id", "hidden": True, "hasUniqueValue": True, "formField": False} if name == COMPANY_ID else {}
        said = yield json_request("POST", batch.settings.at(f"{API}/crm/v3/properties/{quote(place, safe='')}"), made)
        failed = failure(said, 0) if said.status != 409 else None  # 409: somebody else was quicker
        if failed is not None:
            return failed
    return (yield request)


# ---------------------------------------------------------------------- many records


def batch_request(settings: Any, place: str, what: str, body: Mapping[str, Any]) -> Request:
    """A request about many records of an object: `what` is read, create, update or upsert."""
    return json_request("POST", settings.at(f"{API}/crm/v3/objects/{quote(place, safe='')}/batch/{what}"), body)


def known_ids(answer: Answer, names: Sequence[str], prop: str) -> dict[str, str]:
    """HubSpot's ids of those who are there, by the value they were asked for, whatever its case in the answer."""
    found: dict[str, str] = {}
    for record in object_of(answer).get("results", []):
        values = record.get("properties") or {}
        others = str(values.get("hs_additional_emails") or "").split(";") if prop == "email" else []
        for value in (values.get(prop), *others):
            if value:
                found.setdefault(str(value).lower(), str(record.get("id")))
    return {name: found[name.lower()] for name in names if name.lower() in found}


def write(batch: Batch, place: str, what: str, inputs: Mapping[str, Any], group: str | None) -> Talk[tuple[Answer, Verdict | None]]:
    request = batch_request(batch.settings, place, what, {"inputs": list(inputs.values())})
    everything = {name: value for one in inputs.values() for name, value in one["properties"].items()}
    answer = yield from written(batch, place, request, everything, group)
    return (answer, failure(answer, len(inputs))) if isinstance(answer, Answer) else (Answer(0, {}, b""), answer)
