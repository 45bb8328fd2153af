"""Display & Video 360: an audience as a Customer Match audience of an advertiser, by contact data or by devices.

A request holds 10,000 people; Segment's own sends up to 500,000. A project may write 700 times a minute, and a change of members counts as
five writes, so 140 requests a minute are left; nobody gets more. One consent holds for all that a request adds. A postal address counts
as a whole alone: both names, country and postal code. People fall off after the days that the audience was made with, 540 at most: a resync
enters them anew. An audience takes an ad when it holds 100 active people.
Source: https://developers.google.com/display-video/api/guides/audiences/upload-customer-match,
https://developers.google.com/display-video/api/reference/rest/v4/firstPartyAndPartnerAudiences and, for the pace,
https://developers.google.com/display-video/api/limits (write-intensive methods; November 2026)
"""

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field as Setting
from pydantic import SecretStr

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
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Request

HOST = "https://displayvideo.googleapis.com/v4"
API = f"{HOST}/firstPartyAndPartnerAudiences"

_LIST_NAMES = {"contacts": "ContactInfoList", "devices": "MobileDeviceIdList"}
_ADDRESS = ("firstName", "lastName", "countryCode", "zipCodes")
_PAGES = 50

Consent = Literal["GRANTED", "UNSPECIFIED"]


class DisplayVideo360Settings(ApiSettings):
    """The advertiser."""

    client_id: str = Setting(min_length=1, description="Client id of the OAuth application.")
    client_secret: SecretStr = Setting(min_length=1, description="Client secret of the OAuth application.")
    refresh_token: SecretStr = Setting(min_length=1, description="Refresh token with the scope display-video.")
    advertiser_id: str | None = Setting(None, pattern=r"^\d+$", description="Id of the advertiser.")
    ad_user_data_consent: Consent = Setting("UNSPECIFIED", description="Consent of the people to send their data to Google.")
    ad_personalization_consent: Consent = Setting("UNSPECIFIED", description="Consent of the people to personalised ads.")


class DisplayVideoAudienceSettings(Settings):
    """What may be said of one audience."""

    advertiser_id: str | None = Setting(None, pattern=r"^\d+$", description="Another advertiser to keep the audience for.")
    audience_type: Literal["CUSTOMER_MATCH_CONTACT_INFO", "CUSTOMER_MATCH_DEVICE_ID"] = Setting(
        "CUSTOMER_MATCH_CONTACT_INFO", description="By what people are matched; an audience knows one kind alone."
    )
    description: str | None = Setting(None, description="What the audience is, for people who read it.")
    app_id: str | None = Setting(None, description="The app that the devices' ids come from; needed for these.")
    membership_days: int = Setting(540, ge=1, le=540, description="Days after which people fall off the audience.")


_SEGMENT_NAMES = {
    "advertiserId": "advertiser_id",
    "audienceType": "audience_type",
    "appId": "app_id",
    "membershipDurationDays": "membership_days",
}
_OF_AUDIENCE = (
    Field(
        "external_id",
        description="The audience, where it is not the connection's own.",
        default=path("$.context.personas.external_audience_id"),
    ),
    Field("advertiser_id", description="Its advertiser.", default=path("$.context.personas.audience_settings.advertiserId")),
)


class DisplayVideo360(ApiDestination):
    """A Customer Match audience for each connection."""

    key = "display_video_360"
    name = "Display & Video 360"
    description = "Keeps an audience as a Customer Match audience in Display & Video 360."
    docs_url = "https://developers.google.com/display-video/api/guides/audiences/upload-customer-match"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = DisplayVideo360Settings
    list_settings_model = DisplayVideoAudienceSettings
    authentication = OAuth2("https://oauth2.googleapis.com/token")
    user_address_kinds = ("email",)
    creates_lists = True
    list_ids_are_unique = True
    minimum_list_size = 100
    actions = (
        Action(
            "contacts",
            "Keep the audience by contact data",
            frozenset({"identify", "track"}),
            inputs=(
                Field("emails", "array", "E-mail addresses.", default=anywhere("email"), items="string"),
                Field("phoneNumbers", "array", "Phone numbers, with the country code.", default=anywhere("phone"), items="string"),
                Field("zipCodes", "array", "Postal codes.", items="string"),
                Field("firstName", description="First name.", default=anywhere("firstName")),
                Field("lastName", description="Last name.", default=anywhere("lastName")),
                Field("countryCode", description="Country, ISO 3166-1 alpha-2."),
                *_OF_AUDIENCE,
            ),
            batch_keys=("external_id", "advertiser_id"),
        ),
        Action(
            "devices",
            "Keep the audience by devices",
            frozenset({"identify", "track"}),
            inputs=(
                Field(
                    "mobileDeviceIds",
                    "array",
                    "Advertising ids of the person's devices.",
                    default=first_of("$.context.traits.mobileDeviceIds", "$.context.device.advertisingId"),
                    required=True,
                    items="string",
                ),
                *_OF_AUDIENCE,
            ),
            batch_keys=("external_id", "advertiser_id"),
        ),
    )
    presets = (presets.membership("contacts"),)
    limits = Limits(max_batch_records=10_000, max_batch_bytes=8_000_000, requests_per_s=140 / 60)
    segment_slugs = ("first-party-dv360", "actions-first-party-dv360")
    segment_actions = (
        ("addToAudContactInfo", "contacts"),
        ("removeFromAudContactInfo", "contacts"),
        ("addToAudMobileDeviceId", "devices"),
        ("removeFromAudMobileDeviceId", "devices"),
    )

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        members = [_contact(payload)] if action.key == "contacts" else [one for one in payload["mobileDeviceIds"] if one]
        if not any(members):
            raise UnusableError("there is no e-mail address, phone number, whole postal address or device to match by")
        return {"members": members, "list_id": payload.get("external_id"), "advertiser": payload.get("advertiser_id")}

    def talk(self, batch: Batch) -> Conversation:
        audience = batch.list_id()
        advertiser = batch.payloads[0]["advertiser"] or _said(batch.settings, batch.target).advertiser_id
        if audience is None:
            return Stop("the connection has no audience in Display & Video 360 yet.", "Sync the connection: its audience is made first.")
        if advertiser is None:
            return _NO_ADVERTISER
        refused: dict[int, str] = {}
        for entered in (True, False):
            positions = batch.positions(entered=entered)
            if not positions:
                continue
            answer = yield _edit(batch, positions, audience, advertiser, entered=entered)
            failed = failure(answer, len(positions))
            if isinstance(failed, Accepted):
                refused[positions[0]] = failed.rejected[0]
            elif failed is not None:
                return failed
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        place = f"advertisers/{settings.advertiser_id}" if settings.advertiser_id else "partners"
        answer = yield json_request("GET", settings.at(f"{HOST}/{place}"))
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        advertiser = _said(settings, target).advertiser_id
        if advertiser is None:
            return _NO_ADVERTISER
        if target.external_id is None:
            return (yield from _find_by_name(settings, advertiser, target.list_name()))
        answer = yield json_request("GET", _url(settings, advertiser, f"/{quote(target.external_id, safe='')}"))
        if answer.status == 404:
            return None
        return failure(answer, 0) or ListId(target.external_id)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        said = _said(settings, target)
        if said.advertiser_id is None:
            return _NO_ADVERTISER
        if said.audience_type == "CUSTOMER_MATCH_DEVICE_ID" and not said.app_id:
            return Stop("an audience of devices needs the app that their ids come from.", "Say app_id in the settings of the list.")
        new = {
            "displayName": target.list_name(),
            "audienceType": said.audience_type,
            "membershipDurationDays": str(said.membership_days),
            "firstPartyAndPartnerAudienceType": "TYPE_FIRST_PARTY",
            **({"description": said.description} if said.description else {}),
            **({"appId": said.app_id} if said.app_id else {}),
        }
        answer = yield json_request("POST", _url(settings, said.advertiser_id), new)
        made = object_of(answer).get("firstPartyAndPartnerAudienceId")
        return failure(answer, 0) or (ListId(str(made)) if made else Backoff("Google made no audience, and does not say why"))


_NO_ADVERTISER = Stop("no advertiser is named.", "Set advertiser_id in the settings of the destination or of the connection's list.")


def _said(settings: DisplayVideo360Settings, target: Target) -> DisplayVideoAudienceSettings:
    said = said_of_list(DisplayVideoAudienceSettings, target, _SEGMENT_NAMES)
    return said if said.advertiser_id else said.model_copy(update={"advertiser_id": settings.advertiser_id})


def _url(settings: DisplayVideo360Settings, advertiser: str, rest: str = "", more: Mapping[str, str] | None = None) -> str:
    return query_url(settings.at(API + rest), {"advertiserId": advertiser, **(more or {})})


def _find_by_name(settings: DisplayVideo360Settings, advertiser: str, name: str) -> Talk[ListId | Verdict | None]:
    page: dict[str, str] = {}
    for _ in range(_PAGES):
        answer = yield json_request("GET", _url(settings, advertiser, more={"filter": f'displayName : "{_quoted(name)}"', **page}))
        failed = failure(answer, 0)
        if failed is not None:
            return failed
        said = object_of(answer)
        for one in said.get("firstPartyAndPartnerAudiences") or []:
            if one.get("displayName") == name and one.get("firstPartyAndPartnerAudienceType") == "TYPE_FIRST_PARTY":
                return ListId(str(one["firstPartyAndPartnerAudienceId"]))
        if not said.get("nextPageToken"):
            return None
        page = {"pageToken": said["nextPageToken"]}
    return None


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _edit(batch: Batch, positions: list[int], audience: str, advertiser: str, *, entered: bool) -> Request:
    settings: DisplayVideo360Settings = batch.settings
    kind = batch.action.key
    members = [member for at in positions for member in batch.payloads[at]["members"]]
    listed: dict[str, Any] = {{"contacts": "contactInfos", "devices": "mobileDeviceIds"}[kind]: members}
    if entered:
        consents = {"adUserData": settings.ad_user_data_consent, "adPersonalization": settings.ad_personalization_consent}
        listed["consent"] = {name: f"CONSENT_STATUS_{consent}" for name, consent in consents.items()}
    body = {"advertiserId": advertiser, f"{'added' if entered else 'removed'}{_LIST_NAMES[kind]}": listed}
    return json_request("POST", settings.at(f"{API}/{quote(audience, safe='')}:editCustomerMatchMembers"), body)


def _contact(payload: Mapping[str, Any]) -> dict[str, Any]:
    country = payload.get("countryCode")
    found: dict[str, Any] = {}
    if payload.get("emails"):
        found["hashedEmails"] = [normalising.email_hash(one) for one in payload["emails"]]
    if payload.get("phoneNumbers"):
        found["hashedPhoneNumbers"] = [normalising.phone_hash(one, region=country) for one in payload["phoneNumbers"]]
    if country and all(payload.get(name) for name in _ADDRESS):
        found |= {
            "hashedFirstName": normalising.text_hash(payload["firstName"], _squeezed),
            "hashedLastName": normalising.text_hash(payload["lastName"], _squeezed),
            "countryCode": normalising.country(country).upper(),
            "zipCodes": payload["zipCodes"],
        }
    return found


def _squeezed(value: str) -> str:
    return re.sub(r"\s+", "", value).lower()
