"""Mixpanel: membership and traits on profiles of people and groups, and memberships as events.

A request holds 2,000 profiles, 200 groups or 2,000 events, and 2 MB. Profiles are named by the project's token and nothing else; events
need the API secret, and one whose insert id was seen is dropped. `/import` in strict mode takes the good events of a batch and answers 400
with `failed_records` for the others.
Source: https://developer.mixpanel.com/reference/profile-batch-update, group-batch-update and import-events there (November 2026)
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, failure, json_request, object_of
from engage_pipelines.destinations.authentication import Basic
from engage_pipelines.destinations.base import Accepted, Action, Bisect, Effect, Limits, MembershipAs, Record
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer
from engage_pipelines.domain.instants import from_datetime

IDS = uuid.UUID("0b8b0c80-9d0e-5b53-a7b9-3a0b1c2f7d52")
"""The namespace of insert ids: Mixpanel takes 36 letters, digits and dashes, a message id is longer and has others."""

_HOSTS = {"US": "https://api.mixpanel.com", "EU": "https://api-eu.mixpanel.com", "IN": "https://api-in.mixpanel.com"}
_RESERVED = {
    "email": "$email",
    "firstName": "$first_name",
    "lastName": "$last_name",
    "name": "$name",
    "phone": "$phone",
    "username": "$username",
    "avatar": "$avatar",
}
_CREATED = ("created", "createdAt", "created_at")
"""Traits that say since when somebody is known; the first that is there counts."""
_TRAITS = Field("traits", "object", "Properties of the profile; the membership is among them.", default=path("$.traits"))


class MixpanelSettings(ApiSettings):
    """The project."""

    project_token: str = Setting(min_length=1, description="Token of the project; it names the project and lets nobody read.")
    api_secret: SecretStr = Setting(min_length=1, description="API secret of the project, for events.")
    region: Literal["US", "EU", "IN"] = Setting("US", description="Where the project's data lies.")

    def api(self, rest: str) -> str:
        """The address of a path of the API."""
        return self.at(_HOSTS[self.region] + rest)


class Mixpanel(ApiDestination):
    """People and groups of a Mixpanel project."""

    key = "mixpanel"
    name = "Mixpanel"
    description = "Sets membership and traits on profiles of people and groups in Mixpanel, or tracks them as events."
    docs_url = "https://developer.mixpanel.com/reference/profile-batch-update"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = MixpanelSettings
    authentication = Basic("api_secret", "")
    actions = (
        Action(
            "identify_user",
            "Set properties of the person",
            frozenset({"identify"}),
            inputs=(
                Field("user_id", description="The person's id.", default=path("$.userId")),
                Field("anonymous_id", description="The person's anonymous id, for those without another.", default=path("$.anonymousId")),
                Field("ip", description="IP address, for the place.", default=path("$.context.ip")),
                _TRAITS,
            ),
        ),
        Action(
            "group_identify_user",
            "Set properties of the group",
            frozenset({"group"}),
            inputs=(
                Field("group_key", description="Group key of the project.", default="$group_id"),
                Field("group_id", description="The group's id.", default=path("$.groupId"), required=True),
                _TRAITS,
            ),
            limits=Limits(max_batch_records=200, max_batch_bytes=1_900_000),
        ),
        Action(
            "track_event",
            "Track an event",
            frozenset({"track"}),
            inputs=(
                Field("event", description="Name of the event.", default=path("$.event"), required=True),
                Field("distinct_id", description="The person's id.", default=first_of("$.userId", "$.anonymousId"), required=True),
                Field("user_id", description="The person's user id.", default=path("$.userId")),
                Field("anonymous_id", description="The device that it happened on.", default=path("$.anonymousId")),
                Field("insert_id", description="Id of the event; by it Mixpanel drops a repeat.", default=path("$.messageId")),
                Field("time", "datetime", "When it happened.", default=path("$.timestamp")),
                Field("event_properties", "object", "What belongs to the event.", default=path("$.properties")),
            ),
        ),
    )
    presets = (presets.membership("identify_user"), presets.entered_and_exited("track_event"), presets.accounts("group_identify_user"))
    limits = Limits(max_batch_records=2_000, max_batch_bytes=1_900_000)
    segment_slugs = ("mixpanel", "actions-mixpanel")
    segment_actions = (("identifyUser", "identify_user"), ("groupIdentifyUser", "group_identify_user"), ("trackEvent", "track_event"))

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"project_token": values.get("projectToken"), "api_secret": values.get("apiSecret")}
        return {**ours, "region": str(values.get("apiRegion") or "US")[:2]}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        traits = payload.get("traits", {})
        if action.key == "identify_user":
            place = {"$ip": payload["ip"]} if payload.get("ip") else {}
            who = payload.get("user_id") or payload.get("anonymous_id")
            return {"$token": settings.project_token, "$distinct_id": who, **place, "$set": _person(traits)}
        if action.key == "group_identify_user":
            named = _named(traits, {"name": "$name"})
            group = {"$group_key": payload["group_key"], "$group_id": payload["group_id"]}
            return {"$token": settings.project_token, **group, "$set": named}
        device = payload.get("anonymous_id")
        told = {"$user_id": payload.get("user_id"), "$device_id": device, "$anon_id": device}
        who = {"distinct_id": payload["distinct_id"], **{name: value for name, value in told.items() if value}}
        seen = {"$insert_id": str(uuid.uuid5(IDS, payload.get("insert_id") or record.message_id))}
        when = {"time": _milliseconds(payload["time"])} if "time" in payload else {}
        return {"event": payload["event"], "properties": {**payload.get("event_properties", {}), **when, **who, **seen}}

    def talk(self, batch: Batch) -> Conversation:
        count, settings = len(batch.items), batch.settings
        if batch.action.key == "track_event":
            answer = yield json_request("POST", settings.api("/import?strict=1"), batch.payloads)
            return _failed(answer, count) or failure(answer, count) or Accepted()
        place = "/engage" if batch.action.key == "identify_user" else "/groups"
        answer = yield json_request("POST", settings.api(f"{place}?verbose=1"), batch.payloads)
        return failure(answer, count) or _not_taken(answer, count) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("POST", settings.api("/import?strict=1"), [])
        return failure(answer, 0) or Accepted()


def _milliseconds(time: Any) -> int:
    """Since 1970; Mixpanel takes no dates as text."""
    try:
        return round(time) if isinstance(time, int | float) else from_datetime(datetime.fromisoformat(time)) // 1_000
    except ValueError:
        raise UnusableError("the time of the event cannot be read") from None


def _person(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Traits under the names that Mixpanel gives them, with a name made of the two when there is none."""
    named = _named(traits, _RESERVED)
    first, last = named.get("$first_name"), named.get("$last_name")
    return named | ({"$name": f"{first} {last}"} if first and last and "$name" not in named else {})


def _named(traits: Mapping[str, Any], reserved: Mapping[str, str]) -> dict[str, Any]:
    named = {reserved.get(name, name): value for name, value in traits.items() if name not in _CREATED}
    since = next((traits[name] for name in _CREATED if traits.get(name) is not None), None)
    return named if since is None else {**named, "$created": since}


def _failed(answer: Answer, count: int) -> Accepted | None:
    """What strict mode says of a batch whose other events were imported; None when it says no such thing."""
    records = object_of(answer).get("failed_records") if answer.status == 400 else None
    if not isinstance(records, list) or not records:
        return None
    found = {one.get("index"): str(one.get("message") or "Mixpanel gives no reason") for one in records if isinstance(one, dict)}
    if not all(isinstance(index, int) and 0 <= index < count for index in found):
        return None
    return Accepted({index: f"{message}" for index, message in found.items() if isinstance(index, int)})


def _not_taken(answer: Answer, count: int) -> Accepted | Bisect | None:
    """A success that says in its body that it is none."""
    said = object_of(answer)
    if said.get("status") not in {0, "error"}:
        return None
    reason = f"Mixpanel did not take it: {said.get('error') or 'it gives no reason'}"
    return Accepted({0: reason}) if count == 1 else Bisect(reason)
