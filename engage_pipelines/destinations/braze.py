"""Braze: membership and traits as custom attributes of people, or as custom events.

A request holds 75 attribute or event objects at most, and a workspace 3,000 requests in three seconds. Braze answers 201 and names the
objects that it could not take under `errors`, by their index. A request in which every object is wrong is answered 400.
Source: https://www.braze.com/docs/api/endpoints/user_data/post_user_track and https://www.braze.com/docs/api/api_limits (November 2026)
"""

from typing import Any, Literal

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, Endpoint, failure, json_request, object_of
from engage_pipelines.destinations.authentication import Bearer
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record, Settings
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Answer

TRACK = "/users/track"

_WHO = (
    Field("external_id", description="The person's id in Braze.", default=path("$.userId")),
    Field(
        "user_alias",
        "object",
        "Another name of the person: a label, and the name under it.",
        fields=(Field("alias_name", description="The name."), Field("alias_label", description="What kind of name it is.")),
    ),
    Field("braze_id", description="Braze's own id of the person.", default=path("$.properties.braze_id")),
)
_ONLY_EXISTING = Field("_update_existing_only", "boolean", "On: nobody is created.", default=False)
_PROFILE = (
    Field("country", description="Country, ISO 3166-1 alpha-2.", default=path("$.context.location.country")),
    Field("email", description="E-mail address.", default=path("$.traits.email")),
    Field("email_subscribe", description="opted_in, unsubscribed or subscribed."),
    Field("first_name", description="First name.", default=path("$.traits.firstName")),
    Field("last_name", description="Last name.", default=path("$.traits.lastName")),
    Field("gender", description="Gender; M, F, O, N, P, or a word that means one of them.", default=path("$.traits.gender")),
    Field("home_city", description="City.", default=path("$.traits.address.city")),
    Field("image_url", description="Picture of the person.", default=path("$.traits.avatar")),
    Field("language", description="Language, ISO 639-1."),
    Field("phone", description="Phone number, E.164.", default=path("$.traits.phone")),
    Field("push_subscribe", description="opted_in, unsubscribed or subscribed."),
    Field("time_zone", description="Time zone of the IANA database."),
    Field("dob", description="Date of birth, as 2026-03-01."),
)
_CUSTOM = Field("custom_attributes", "object", "Attributes of your own; the membership is among them.", default=path("$.traits"))
_RESERVED = frozenset(field.name for field in (*_WHO, *_PROFILE, _CUSTOM, _ONLY_EXISTING)) | {"firstName", "lastName", "avatar"}
_GENDERS = {
    **dict.fromkeys(("m", "man", "male"), "M"),
    **dict.fromkeys(("f", "w", "woman", "female"), "F"),
    **dict.fromkeys(("o", "other"), "O"),
    **dict.fromkeys(("n", "not applicable"), "N"),
    **dict.fromkeys(("p", "prefer not to say"), "P"),
}


class BrazeSettings(Settings):
    """The workspace."""

    api_key: SecretStr = Setting(min_length=1, description="REST API key with the permission users.track.")
    endpoint: Endpoint = Setting("https://rest.iad-01.braze.com", description="REST endpoint of your Braze instance.")


class Braze(ApiDestination):
    """People in a Braze workspace."""

    key = "braze"
    name = "Braze"
    description = "Sets membership and traits as custom attributes of people in Braze, or tracks them as events."
    docs_url = "https://www.braze.com/docs/api/endpoints/user_data/post_user_track"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = BrazeSettings
    authentication = Bearer("api_key")
    user_address_kinds = ("user_id", "email")
    actions = (
        Action("update_user", "Update the person", frozenset({"identify"}), inputs=(*_WHO, *_PROFILE, _CUSTOM, _ONLY_EXISTING)),
        Action(
            "track_event",
            "Track an event",
            frozenset({"track"}),
            inputs=(
                *_WHO,
                Field("email", description="E-mail address, for people without an id.", default=path("$.context.traits.email")),
                Field("name", description="Name of the event.", default=path("$.event"), required=True),
                Field("time", "datetime", "When it happened.", default=path("$.receivedAt"), required=True),
                Field("properties", "object", "What belongs to the event.", default=path("$.properties")),
                _ONLY_EXISTING,
            ),
            effect=Effect.AT_LEAST_ONCE,
        ),
    )
    presets = (presets.membership("update_user"), presets.entered_and_exited("track_event"))
    limits = Limits(max_batch_records=75, max_batch_bytes=4_000_000, requests_per_s=1_000)
    segment_slugs = ("braze", "actions-braze-cloud")
    segment_actions = (
        ("updateUserProfile", "update_user"),
        ("updateUserProfile2", "update_user"),
        ("trackEvent", "track_event"),
        ("trackEvent2", "track_event"),
    )

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if not any(payload.get(name) for name in ("external_id", "user_alias", "braze_id", "email")):
            raise UnusableError("Braze needs an external_id, a user_alias, a braze_id or an e-mail address")
        if action.key == "track_event":
            return payload
        own: dict[str, Any] = payload.pop("custom_attributes", {})
        if "gender" in payload:
            payload["gender"] = _GENDERS.get(payload["gender"].lower(), payload["gender"])
        return {**{name: value for name, value in own.items() if name not in _RESERVED}, **payload}

    def talk(self, batch: Batch) -> Conversation:
        objects: Literal["attributes", "events"] = "attributes" if batch.action.key == "update_user" else "events"
        answer = yield _track(batch.settings, objects, batch.payloads)
        return failure(answer, len(batch.items)) or Accepted(_refused(answer, objects, len(batch.items)))

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _track(settings, "attributes", [])
        # whoever is let in is told that there is nothing to do
        return Accepted() if answer.status == 400 else failure(answer, 0) or Accepted()


def _track(settings: BrazeSettings, objects: str, payloads: list[Any]) -> Any:
    return json_request("POST", settings.endpoint + TRACK, {objects: payloads}, {"X-Braze-Batch": "true"} if len(payloads) > 1 else None)


def _refused(answer: Answer, objects: str, count: int) -> dict[int, str]:
    """By index why Braze did not take an object, from the errors of an answer that is a success for the others."""
    refused: dict[int, str] = {}
    for error in object_of(answer).get("errors") or []:
        if isinstance(error, dict) and error.get("input_array") == objects and isinstance(error.get("index"), int):
            index: int = error["index"]
            if 0 <= index < count:
                refused[index] = str(error.get("type") or "Braze gives no reason")
    return refused
