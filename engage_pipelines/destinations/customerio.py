"""Customer.io: membership and traits as attributes of people and of objects (accounts), or as events.

Everything goes to the batch endpoint of the Track API v2, which takes 500 KB a request and 32 KB an entry, at 100 requests a second. It
answers 207 with `errors`, each with the `batch_index` of an entry that it refused. Dates among the attributes are sent as Unix seconds,
which Customer.io compares by, unless the mapping says otherwise. A repeated event is seen once, by its id.
Source: https://docs.customer.io/api/track/ (November 2026)
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, cast

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, failure, json_request, object_of
from engage_pipelines.destinations.authentication import Basic
from engage_pipelines.destinations.base import Accepted, Action, Backoff, Effect, Limits, MembershipAs, Record
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer

_HOSTS = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}
_ID = Field("id", description="The person's id, e-mail address or cio_ id.", default=first_of("$.userId", "$.traits.email"))
_ANONYMOUS = Field("anonymous_id", description="The visitor's id.", default=path("$.anonymousId"))
_CONVERT = Field("convert_timestamp", "boolean", "On: dates are sent as Unix seconds.", default=True)
_TIMESTAMP = Field("timestamp", description="When it happened.", default=path("$.timestamp"))
_CREATED = Field(
    "created_at", description="When the person or object began to be.", default=first_of("$.traits.created_at", "$.traits.createdAt")
)
_RELATION = Field("relationship_attributes", "object", "Attributes of the relation.", default=path("$.traits.relationshipAttributes"))
_OBJECT_TYPE = Field(
    "object_type_id",
    description="What kind of object it is; 1 unless said.",
    default=first_of("$.traits.object_type_id", "$.traits.objectTypeId"),
)
_ISO = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")


class CustomerioSettings(ApiSettings):
    """The workspace."""

    site_id: SecretStr = Setting(min_length=1, description="Site ID of the Track API.")
    api_key: SecretStr = Setting(min_length=1, description="API key of the Track API.")
    region: Literal["us", "eu"] = Setting("us", description="Where the workspace is.")


class Customerio(ApiDestination):
    """People and objects in a Customer.io workspace."""

    key = "customerio"
    name = "Customer.io"
    description = "Sets membership and traits as attributes of people and objects in Customer.io, or tracks them as events."
    docs_url = "https://docs.customer.io/api/track/"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = CustomerioSettings
    authentication = Basic("site_id", "api_key")
    user_address_kinds = ("user_id", "email", "anonymous_id")
    actions = (
        Action(
            "update_person",
            "Create or update the person",
            frozenset({"identify"}),
            inputs=(
                _ID,
                _ANONYMOUS,
                Field("email", description="E-mail address.", default=path("$.traits.email")),
                _CREATED,
                Field("group_id", description="The object that the person belongs to.", default=path("$.traits.objectId")),
                Field("custom_attributes", "object", "Attributes; the membership is among them.", default=path("$.traits")),
                _RELATION,
                _TIMESTAMP,
                _OBJECT_TYPE,
                _CONVERT,
            ),
        ),
        Action(
            "update_object",
            "Create or update the object",
            frozenset({"group"}),
            inputs=(
                Field("id", description="The object's id.", default=path("$.groupId"), required=True),
                _CREATED,
                Field("custom_attributes", "object", "Attributes; the membership is among them.", default=path("$.traits")),
                _RELATION,
                Field("user_id", description="A person that belongs to the object.", default=path("$.userId")),
                _ANONYMOUS,
                _OBJECT_TYPE,
                _CONVERT,
            ),
        ),
        Action(
            "track_event",
            "Track an event",
            frozenset({"track"}),
            inputs=(
                Field("id", description="The person's id, e-mail address or cio_ id.", default=path("$.userId")),
                _ANONYMOUS,
                Field("name", description="Name of the event.", default=path("$.event"), required=True),
                Field("event_id", description="Tells a repeat.", default=path("$.messageId")),
                _TIMESTAMP,
                Field("data", "object", "What belongs to the event.", default=path("$.properties")),
                _CONVERT,
            ),
        ),
    )
    presets = (presets.membership("update_person"), presets.entered_and_exited("track_event"), presets.accounts("update_object"))
    limits = Limits(max_batch_records=100, max_batch_bytes=300_000, max_record_bytes=30_000, requests_per_s=100)
    segment_slugs = ("customerio", "actions-customerio")
    segment_actions = (("createUpdatePerson", "update_person"), ("createUpdateObject", "update_object"), ("trackEvent", "track_event"))

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"site_id": values.get("siteId"), "api_key": values.get("apiKey")}
        return {**ours, "region": "eu" if str(values.get("accountRegion", "")).startswith("EU") else "us"}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        return _ENTRIES[action.key](payload)

    def talk(self, batch: Batch) -> Conversation:
        answer = yield json_request("POST", _url(batch.settings, "/api/v2/batch"), {"batch": batch.payloads})
        if answer.status != 207:
            return failure(answer, len(batch.items)) or Accepted()
        refused = _refused(answer, len(batch.items))
        return Accepted(refused) if refused else Backoff(f"{answer.place} answered 207 without errors that can be read")

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", _url(settings, "/auth"))
        return failure(answer, 0) or Accepted()


def _url(settings: CustomerioSettings, path_: str) -> str:
    return settings.at(_HOSTS[settings.region] + path_)


_SAID_ELSEWHERE = ("object_type_id", "objectTypeId", "relationshipAttributes")
"""What of the traits is about the tie to an account."""


def _person(payload: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = _attributes(payload, payload.get("custom_attributes", {}))
    for name in _SAID_ELSEWHERE:
        attributes.pop(name, None)
    if "created_at" in payload:
        attributes.pop("createdAt", None)
        attributes["created_at"] = _time(payload, payload["created_at"])
    if "email" in payload:
        attributes["email"] = payload["email"]
    identifiers = _identifiers(payload.get("id"), payload.get("anonymous_id"))
    if "anonymous_id" in payload and "anonymous_id" not in identifiers:
        attributes["anonymous_id"] = payload["anonymous_id"]
    entry = {"type": "person", "action": "identify", "attributes": attributes, "identifiers": identifiers, **_timestamp(payload)}
    if "group_id" in payload:
        object_ = {"object_type_id": payload.get("object_type_id", "1"), "object_id": payload["group_id"]}
        entry["cio_relationships"] = [_relation(object_, payload)]
    return entry


def _object(payload: dict[str, Any]) -> dict[str, Any]:
    user, visitor = payload.get("user_id"), payload.get("anonymous_id")
    entry: dict[str, Any] = {
        "type": "object",
        "action": "identify" if user or not visitor else "identify_anonymous",
        "identifiers": {"object_type_id": payload.get("object_type_id", "1"), "object_id": payload["id"]},
    }
    if "created_at" in payload:
        entry["created_at"] = _time(payload, payload["created_at"])
    if "custom_attributes" in payload:
        entry["attributes"] = _attributes(payload, payload["custom_attributes"])
        if visitor:
            entry["attributes"]["anonymous_id"] = visitor
    if user or visitor:
        entry["cio_relationships"] = [_relation(_identifiers(user, visitor), payload)]
    return entry


def _event(payload: dict[str, Any]) -> dict[str, Any]:
    identifiers = _identifiers(payload.get("id"), payload.get("anonymous_id"))
    attributes = _attributes(payload, payload.get("data", {}))
    if "anonymous_id" in payload and "anonymous_id" not in identifiers:
        attributes["anonymous_id"] = payload["anonymous_id"]
    entry = {
        "type": "person",
        "action": "event",
        "name": payload["name"],
        "attributes": attributes,
        "identifiers": identifiers,
        **_timestamp(payload),
    }
    return {**entry, "id": payload["event_id"]} if "event_id" in payload else entry


_ENTRIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "update_person": _person,
    "update_object": _object,
    "track_event": _event,
}


def _identifiers(person: str | None, visitor: str | None) -> dict[str, str]:
    """By which of its identifiers Customer.io is to find a person."""
    if person and person.startswith("cio_"):
        return {"cio_id": person.removeprefix("cio_")}
    if person:
        return {"email" if _EMAIL.fullmatch(person) else "id": person}
    if visitor:
        return {"anonymous_id": visitor}
    raise UnusableError("Customer.io needs an id, an e-mail address or an anonymous id")


def _relation(to: dict[str, str], payload: dict[str, Any]) -> dict[str, Any]:
    more = {"relationship_attributes": payload["relationship_attributes"]} if "relationship_attributes" in payload else {}
    return {"identifiers": to, **more}


def _timestamp(payload: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": _unix_s(payload["timestamp"])} if "timestamp" in payload else {}


def _time(payload: dict[str, Any], value: Any) -> Any:
    return _unix_s(value) if payload.get("convert_timestamp", True) else value


def _attributes(payload: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return cast(dict[str, Any], _converted(values)) if payload.get("convert_timestamp", True) else dict(values)


def _converted(value: Any) -> Any:
    """Dates in objects as Unix seconds; what lies in lists stays."""
    if isinstance(value, dict):
        return {key: _converted(inner) for key, inner in cast(dict[str, Any], value).items()}
    return _unix_s(value) if isinstance(value, str) else value


def _unix_s(text: Any) -> Any:
    """ISO 8601 as Unix seconds, UTC where no zone is named; anything else as it is."""
    if not isinstance(text, str) or not _ISO.fullmatch(text):
        return text
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() // 1)


def _refused(answer: Answer, count: int) -> dict[int, str]:
    refused: dict[int, str] = {}
    for error in object_of(answer).get("errors") or []:
        index = error.get("batch_index") if isinstance(error, dict) else None
        if isinstance(index, int) and 0 <= index < count:
            refused[index] = str(error.get("message") or error.get("reason") or "Customer.io gives no reason")
    return refused
