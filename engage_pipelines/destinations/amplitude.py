"""Amplitude: membership and traits as user properties and as properties of groups (accounts). Nothing is counted as an event.

The Identify API takes a list of people in one form, with the project's API key in it; the figures of the HTTP API are its own: a megabyte
and 1,000 entries a request. It says 400 and why when one of them is wrong, and 429 for people that change too often. A property shows from
the person's next event on.
Source: https://amplitude.com/docs/apis/analytics/identify and https://amplitude.com/docs/apis/analytics/group-identify (November 2026)
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    failure,
    form_request,
    json_request,
    query_url,
)
from engage_pipelines.destinations.authentication import Basic
from engage_pipelines.destinations.base import Accepted, Action, Bisect, Effect, Limits, MembershipAs, Record, Stop, Verdict
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer, Request

LIBRARY = "engage-pipelines"

_INGESTION = {"north_america": "https://api2.amplitude.com", "europe": "https://api.eu.amplitude.com"}
_DASHBOARD = {"north_america": "https://amplitude.com", "europe": "https://analytics.eu.amplitude.com"}

_USER = Field("user_id", description="The person's id.", default=path("$.userId"))
_DEVICE = Field(
    "device_id", description="The device's id, for people without one.", default=first_of("$.context.device.id", "$.anonymousId")
)
_MIN_ID = Field("min_id_length", "integer", "Length that ids must have; Amplitude's own rule unless said.")
_INSERT = Field("insert_id", description="Tells a repeat.")


class AmplitudeSettings(ApiSettings):
    """The project."""

    api_key: SecretStr = Setting(min_length=1, description="API key of the project.")
    secret_key: SecretStr = Setting(min_length=1, description="Secret key of the project; for trying the credentials.")
    region: Literal["north_america", "europe"] = Setting("north_america", description="Where the project's data is.")


class Amplitude(ApiDestination):
    """People and groups in an Amplitude project."""

    key = "amplitude"
    name = "Amplitude"
    description = "Sets membership and traits as properties of people and groups in Amplitude."
    docs_url = "https://amplitude.com/docs/apis/analytics/identify"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = AmplitudeSettings
    actions = (
        Action(
            "identify_user",
            "Set properties of the person",
            frozenset({"identify"}),
            inputs=(
                _USER,
                _DEVICE,
                Field("user_properties", "object", "Properties; the membership is among them.", default=path("$.traits")),
                Field("groups", "object", "Groups that the person belongs to, by their type."),
                Field("app_version", description="Version of the app.", default=path("$.context.app.version")),
                Field("platform", description="Platform of the device.", default=path("$.context.device.type")),
                Field("os_name", description="Operating system.", default=path("$.context.os.name")),
                Field("os_version", description="Its version.", default=path("$.context.os.version")),
                Field("device_brand", description="Brand of the device.", default=path("$.context.device.brand")),
                Field("device_manufacturer", description="Its maker.", default=path("$.context.device.manufacturer")),
                Field("device_model", description="Its model.", default=path("$.context.device.model")),
                Field("carrier", description="Network.", default=path("$.context.network.carrier")),
                Field("country", description="Country.", default=path("$.context.location.country")),
                Field("region", description="Region.", default=path("$.context.location.region")),
                Field("city", description="City.", default=path("$.context.location.city")),
                Field("dma", description="Market area."),
                Field("language", description="Language.", default=path("$.context.locale")),
                Field("paying", "boolean", "On: the person pays."),
                Field("start_version", description="Version that the person began with."),
                _INSERT,
                _MIN_ID,
            ),
            batch_keys=("min_id_length",),
        ),
        Action(
            "identify_group",
            "Set properties of the group",
            frozenset({"group"}),
            inputs=(
                _USER,
                _DEVICE,
                _INSERT,
                Field("time", description="When it was.", default=path("$.timestamp")),
                Field("group_properties", "object", "Properties; the membership is among them.", default=path("$.traits")),
                Field("group_type", description="What kind of group it is, as the project calls it.", default="account", required=True),
                Field("group_value", description="The group's name in Amplitude.", default=path("$.groupId"), required=True),
                _MIN_ID,
            ),
            batch_keys=("min_id_length",),
        ),
    )
    presets = (presets.membership("identify_user"), presets.accounts("identify_group"))
    limits = Limits(max_batch_records=500, max_batch_bytes=300_000, requests_per_s=100)
    segment_slugs = ("amplitude", "actions-amplitude")
    segment_actions = (("identifyUser", "identify_user"), ("groupIdentifyUser", "identify_group"))

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"api_key": values.get("apiKey"), "secret_key": values.get("secretKey"), "region": values.get("endpoint", "north_america")}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if action.key == "identify_user" and not (payload.get("user_id") or payload.get("device_id")):
            raise UnusableError("Amplitude needs a user_id or a device_id")
        platform = payload.get("platform")
        if platform in {"ios", "android"}:
            payload["platform"] = {"ios": "iOS", "android": "Android"}[platform]
        return payload

    def talk(self, batch: Batch) -> Conversation:
        if batch.action.key == "identify_user":
            answer = yield _identification(batch, "/identify", [_without(person, "min_id_length") for person in batch.payloads])
            return _verdict(answer, len(batch.items))
        with_people = [at for at, group in enumerate(batch.payloads) if "user_id" in group or "device_id" in group]
        if with_people:
            answer = yield _identification(batch, "/identify", [_member(batch.payloads[at]) for at in with_people])
            verdict = _verdict(answer, len(with_people))
            if verdict != Accepted():
                return verdict if len(batch.items) == 1 or not isinstance(verdict, Accepted) else Bisect(verdict.rejected[0])
        answer = yield _identification(batch, "/groupidentify", [_group(group) for group in batch.payloads])
        return _verdict(answer, len(batch.items))

    def try_out(self, settings: Any) -> Conversation:
        login = Basic("api_key", "secret_key").sign(settings, None)
        url = settings.at(_DASHBOARD[settings.region] + "/api/2/usersearch")
        answer = yield json_request("GET", query_url(url, {"user": "testUser@example.com"}), headers=login.headers)
        return failure(answer, 0) or Accepted()


def _identification(batch: Batch, path_: str, entries: list[dict[str, Any]]) -> Request:
    settings: AmplitudeSettings = batch.settings
    form = {"api_key": settings.api_key.get_secret_value(), "identification": orjson.dumps(entries).decode()}
    shortest = batch.payloads[0].get("min_id_length")
    if shortest is not None:
        form["options"] = orjson.dumps({"min_id_length": shortest}).decode()
    return form_request("POST", settings.at(_INGESTION[settings.region] + path_), form)


def _without(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**{name: value for name, value in payload.items() if name not in names}, "library": LIBRARY}


def _member(payload: dict[str, Any]) -> dict[str, Any]:
    """The person as one of the group."""
    group = {payload["group_type"]: payload["group_value"]}
    person = _without(payload, "group_properties", "group_type", "group_value", "min_id_length", "time")
    at_ms = _unix_ms(payload.get("time"))
    return {**person, "groups": group, "user_properties": group} | ({} if at_ms is None else {"time": at_ms})


def _group(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "group_properties": payload.get("group_properties", {}),
        "group_value": payload["group_value"],
        "group_type": payload["group_type"],
        "library": LIBRARY,
    }


def _unix_ms(text: str | None) -> int | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)


def _verdict(answer: Answer, records: int) -> Verdict:
    """What an answer of the ingestion means: a wrong API key is told with 400, in words."""
    if answer.status == 400 and b"api key" in answer.body.lower().replace(b"_", b" "):
        return Stop(
            f"{answer.place} does not know the API key.", "Set the API key of the Amplitude project in the settings of the destination."
        )
    return failure(answer, records) or Accepted()
