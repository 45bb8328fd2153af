"""LinkedIn matched audiences: an audience as a DMP segment of an ad account.

An application makes 600 requests a minute for one member. A request holds 5,000 people here, a number that the documents do not name; one
that LinkedIn finds too large is halved. A segment is there five seconds after
it was made, and takes an ad when 300 of its people are matched, which takes up to two days. LinkedIn gives a status to every person of a
request. Versions of the API live for a year: raise `api_version` before that.
Source: https://learn.microsoft.com/en-us/linkedin/marketing/matched-audiences/create-and-manage-segment-users (November 2026)
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import Field as Setting
from pydantic import SecretStr, model_validator

from engage_pipelines.destinations import normalising, presets
from engage_pipelines.destinations.advertising import anywhere, said_of_list
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    Talk,
    failure,
    json_request,
    object_of,
    query_url,
)
from engage_pipelines.destinations.authentication import OAuth2
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Backoff,
    Effect,
    Limits,
    ListId,
    MembershipAs,
    Record,
    Settings,
    Target,
    Verdict,
)
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer, Request

API = "https://api.linkedin.com/rest"
SETTLES_S = 5.0

_NAMES = (("first_name", "firstName"), ("last_name", "lastName"), ("title", "title"), ("company", "company"))
_NOT_NOW = frozenset({408, 429, *range(500, 600)})


class LinkedinAudiencesSettings(ApiSettings):
    """The ad account."""

    client_id: str = Setting(min_length=1, description="Client id of the application, which LinkedIn has approved for audiences.")
    client_secret: SecretStr = Setting(min_length=1, description="Client secret of the application.")
    refresh_token: SecretStr = Setting(min_length=1, description="Refresh token with the permissions rw_dmp_segments and r_ads.")
    ad_account_id: str = Setting(pattern=r"^\d+$", description="Id of the ad account.")
    send_email: bool = Setting(True, description="Send hashed e-mail addresses.")
    send_google_advertising_id: bool = Setting(True, description="Send Google advertising ids.")
    source_platform: str = Setting(
        "SEGMENT", pattern=r"^[A-Z0-9_]+$", description="Name that LinkedIn has given the application's segments."
    )
    api_version: str = Setting("202604", pattern=r"^\d{6}$", description="Version of the API: year and month.")

    @model_validator(mode="after")
    def _sends_something(self) -> "LinkedinAudiencesSettings":
        if not (self.send_email or self.send_google_advertising_id):
            raise ValueError("send_email or send_google_advertising_id must be on")
        return self

    @property
    def account(self) -> str:
        """The ad account as LinkedIn names it."""
        return f"urn:li:sponsoredAccount:{self.ad_account_id}"


class LinkedinSegmentSettings(Settings):
    """What may be said of one segment."""

    source_segment_id: str | None = Setting(None, min_length=1, description="Our id of the segment; the audience's key unless said.")


class LinkedinAudiences(ApiDestination):
    """A DMP segment at LinkedIn for each connection."""

    key = "linkedin_audiences"
    name = "LinkedIn audiences"
    description = "Keeps an audience as a matched audience (DMP segment) of an ad account at LinkedIn."
    docs_url = "https://learn.microsoft.com/en-us/linkedin/marketing/matched-audiences/create-and-manage-segment-users"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = LinkedinAudiencesSettings
    list_settings_model = LinkedinSegmentSettings
    authentication = OAuth2("https://www.linkedin.com/oauth/v2/accessToken")
    user_address_kinds = ("email",)
    creates_lists = True
    list_ids_are_unique = True
    minimum_list_size = 300
    actions = (
        Action(
            "update_audience",
            "Keep the segment",
            frozenset({"identify", "track"}),
            inputs=(
                Field("email", description="E-mail address.", default=anywhere("email")),
                Field("first_name", description="First name.", default=path("$.traits.firstName")),
                Field("last_name", description="Last name.", default=path("$.traits.lastName")),
                Field("title", description="Job title.", default=path("$.traits.title")),
                Field("company", description="Name of the company.", default=path("$.traits.company")),
                Field("country", description="Country, ISO 3166-1 alpha-2.", default=path("$.traits.country")),
                Field(
                    "google_advertising_id",
                    description="Google advertising id of the device.",
                    default=path("$.context.device.advertisingId"),
                ),
                Field(
                    "personas_audience_key",
                    description="Our id of the segment, where it is not the connection's own.",
                    default=first_of("$.properties.audience_key", "$.context.personas.computation_key"),
                ),
            ),
            batch_keys=("personas_audience_key",),
        ),
    )
    presets = (presets.membership("update_audience"),)
    limits = Limits(max_batch_records=5_000, max_batch_bytes=4_000_000, requests_per_s=10)
    segment_slugs = ("linkedin-audiences", "actions-linkedin-audiences")
    segment_actions = (("updateAudience", "update_audience"),)

    def external_target(self, settings: Settings, target: Target) -> str | None:
        """LinkedIn finds segments by our id, in which there is no space."""
        assert isinstance(settings, LinkedinAudiencesSettings)
        return f"{self.key} segment {settings.source_platform}/{_source_id(target)} of {settings.account}"

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        ids: list[dict[str, str]] = []
        if settings.send_email and payload.get("email"):
            ids.append({"idType": "SHA256_EMAIL", "idValue": normalising.email_hash(payload["email"])})
        if settings.send_google_advertising_id and payload.get("google_advertising_id"):
            ids.append({"idType": "GOOGLE_AID", "idValue": payload["google_advertising_id"]})
        if not ids:
            wanted = (
                "an e-mail address" if settings.send_email else "",
                "a Google advertising id" if settings.send_google_advertising_id else "",
            )
            raise UnusableError(f"the segment takes people by {' or '.join(filter(None, wanted))}, and there is none")
        element = {"action": "ADD" if record.entered else "REMOVE", "userIds": ids}
        element |= {theirs: payload[ours] for ours, theirs in _NAMES if payload.get(ours)}
        if payload.get("country"):
            element["country"] = normalising.country(payload["country"]).upper()
        return {"element": element, "source_id": payload.get("personas_audience_key")}

    def talk(self, batch: Batch) -> Conversation:
        settings: LinkedinAudiencesSettings = batch.settings
        segment = batch.target.external_id
        if segment is None:
            found = yield from self._segment_of(batch)
            if not isinstance(found, ListId):
                return found
            segment = found.value
        rest = f"/dmpSegments/{quote(segment, safe='')}/users"
        body = {"elements": [one["element"] for one in batch.payloads]}
        answer = yield _request(settings, "POST", rest, body, {"X-RestLi-Method": "BATCH_CREATE"})
        if answer.status == 404:
            return Backoff("LinkedIn does not know the segment, or not yet", SETTLES_S)
        return failure(answer, len(batch.items)) or _statuses(answer, len(batch.items))

    def _segment_of(self, batch: Batch) -> Talk[ListId | Verdict]:
        """The segment that the payloads name, made when it is not there."""
        named = batch.payloads[0]["source_id"] or _source_id(batch.target)
        found = yield from _find(batch.settings, named)
        return found if found is not None else (yield from _make(batch.settings, named, name=named))

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _request(settings, "GET", f"/adAccounts/{settings.ad_account_id}")
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        if not target.external_id:
            return (yield from _find(settings, _source_id(target)))
        answer = yield _request(settings, "GET", f"/dmpSegments/{quote(target.external_id, safe='')}")
        if answer.status == 404:
            return None
        return failure(answer, 0) or ListId(target.external_id)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        return (yield from _make(settings, _source_id(target), name=target.list_name()))


def _source_id(target: Target) -> str:
    return said_of_list(LinkedinSegmentSettings, target, {}).source_segment_id or target.computation


def _request(
    settings: LinkedinAudiencesSettings, method: str, rest: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Request:
    version = {"LinkedIn-Version": settings.api_version, "X-Restli-Protocol-Version": "2.0.0"}
    return json_request(method, settings.at(API + rest), body, {**version, **(headers or {})})


def _find(settings: LinkedinAudiencesSettings, source_id: str) -> Talk[ListId | Verdict | None]:
    which = {"q": "account", "account": settings.account, "sourceSegmentId": source_id, "sourcePlatform": settings.source_platform}
    answer = yield _request(settings, "GET", query_url("/dmpSegments", which))
    failed = failure(answer, 0)
    if failed is not None:
        return failed
    found = object_of(answer).get("elements") or []
    return ListId(str(found[0]["id"])) if found else None


def _make(settings: LinkedinAudiencesSettings, source_id: str, *, name: str) -> Talk[ListId | Verdict]:
    new = {
        "name": name,
        "sourcePlatform": settings.source_platform,
        "sourceSegmentId": source_id,
        "account": settings.account,
        "type": "USER",
        "destinations": [{"destination": "LINKEDIN"}],
    }
    answer = yield _request(settings, "POST", "/dmpSegments", new)
    made = answer.headers.get("x-restli-id") or answer.headers.get("x-linkedin-id")
    if made:
        return ListId(made)
    return failure(answer, 0) or Backoff("LinkedIn made a segment and does not tell its id")


def _statuses(answer: Answer, count: int) -> Accepted | Backoff:
    """One status for each person, in their order; where LinkedIn gives none, all were taken."""
    told = object_of(answer).get("elements") or []
    if len(told) != count:
        return Accepted()
    if any(one.get("status") in _NOT_NOW for one in told):
        return Backoff("LinkedIn could not take everybody now")
    bad = {at: one for at, one in enumerate(told) if isinstance(one.get("status"), int) and one["status"] >= 400}
    return Accepted({at: str(one.get("message") or f"LinkedIn answered {one['status']}") for at, one in bad.items()})
