"""TikTok audiences: an audience as a custom audience that a partner fills, of an advertiser account.

People are matched by hashes of their e-mail address, phone number and advertising id, in that order in every row; what is missing is an
empty place. A request holds 1,000 rows and a megabyte: the documents name no number, Tealium's connector for the same endpoint takes these
(https://docs.tealium.com/server-side-connectors/tiktok-audiences-connector-setup-guide/). An audience takes an
ad when it holds 1,000 matched people.
TikTok answers 200 to everything; the code in the answer says what became of the request as a whole.
Source: https://ads.tiktok.com/marketing_api/docs?id=1739940585975809 (mapping) and ...?id=1739940583739393 (segments) (November 2026)
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
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
)
from engage_pipelines.destinations.authentication import ApiKey
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Backoff,
    Bisect,
    Effect,
    Limits,
    ListId,
    MembershipAs,
    Pause,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Answer, Request

API = "https://business-api.tiktok.com/open_api/v1.3"

_IDS = (
    ("send_email", "email", "EMAIL_SHA256"),
    ("send_phone", "phone", "PHONE_SHA256"),
    ("send_advertising_id", "advertising_id", "IDFA_SHA256"),
)
"""The field that lets an id be sent, the field that holds it, and TikTok's name of it."""

_TOKEN_IS_BAD = frozenset({40101, 40102, 40103, 40104, 40105, 40106})
_NOT_ALLOWED = frozenset({40001, 40110})
_TOO_FAST = frozenset({40016, 40100, 40133})
_NOT_THERE = 40007
_PAUSE_S = 60.0
_PAGES = 50


class TiktokAudiencesSettings(ApiSettings):
    """The advertiser account."""

    access_token: SecretStr = Setting(min_length=1, description="Access token with the permission for audiences; it does not expire.")
    advertiser_id: str | None = Setting(None, pattern=r"^\d+$", description="Id of the advertiser account.")


class TiktokAudienceSettings(Settings):
    """What may be said of one audience."""

    advertiser_id: str | None = Setting(None, pattern=r"^\d+$", description="Another advertiser account to keep the audience in.")


_SEGMENT_NAMES = {"advertiserId": "advertiser_id"}


class TiktokAudiences(ApiDestination):
    """A custom audience at TikTok for each connection."""

    key = "tiktok_audiences"
    name = "TikTok audiences"
    description = "Keeps an audience as a custom audience of an advertiser at TikTok."
    docs_url = "https://ads.tiktok.com/marketing_api/docs?id=1739940585975809"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = TiktokAudiencesSettings
    list_settings_model = TiktokAudienceSettings
    authentication = ApiKey("access_token", "Access-Token")
    user_address_kinds = ("email",)
    creates_lists = True
    list_ids_are_unique = True
    minimum_list_size = 1_000
    actions = (
        Action(
            "sync_audience",
            "Keep the audience",
            frozenset({"identify", "track"}),
            inputs=(
                Field("email", description="E-mail address.", default=anywhere("email")),
                Field("phone", description="Phone number, with the country code.", default=anywhere("phone")),
                Field("advertising_id", description="Advertising id of the device.", default=path("$.context.device.advertisingId")),
                Field("send_email", "boolean", "Send e-mail addresses.", default=True),
                Field("send_phone", "boolean", "Send phone numbers.", default=True),
                Field("send_advertising_id", "boolean", "Send advertising ids.", default=True),
                Field(
                    "external_audience_id",
                    description="The audience, where it is not the connection's own.",
                    default=path("$.context.personas.external_audience_id"),
                ),
                Field("audience_id", description="The audience, as older mappings name it."),
                Field("selected_advertiser_id", description="The advertiser account, as older mappings name it."),
            ),
            batch_keys=("external_audience_id", "audience_id", "selected_advertiser_id", "send_email", "send_phone", "send_advertising_id"),
        ),
    )
    presets = (presets.membership("sync_audience"),)
    limits = Limits(max_batch_records=1_000, max_batch_bytes=1_000_000, requests_per_s=10)
    segment_slugs = ("tiktok-audiences", "actions-tiktok-audiences")
    segment_actions = tuple(
        (name, "sync_audience") for name in ("syncAudience", "addToAudience", "removeFromAudience", "addUser", "removeUser")
    )

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        accounts = values.get("advertiser_ids") or []
        ours = {"advertiser_id": str(accounts[0])} if accounts else {}
        return super().settings_from_segment({**values, **ours})

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        sends = tuple(payload.get(send, True) for send, _, _ in _IDS)
        hashes = [
            _HASHES[name](payload[name]) if payload.get(name) else None for sent, (_, name, _) in zip(sends, _IDS, strict=True) if sent
        ]
        if not any(hashes):
            raise UnusableError("there is no e-mail address, phone number or advertising id, or the mapping keeps it back")
        audience = payload.get("external_audience_id") or payload.get("audience_id")
        return {"hashes": hashes, "sends": sends, "list_id": audience, "advertiser": payload.get("selected_advertiser_id")}

    def talk(self, batch: Batch) -> Conversation:
        audience = batch.list_id()
        advertiser = batch.payloads[0]["advertiser"] or _advertiser(batch.settings, batch.target)
        if audience is None:
            return Stop("the connection has no audience at TikTok yet.", "Sync the connection: its audience is made first.")
        if advertiser is None:
            return _NO_ADVERTISER
        refused: dict[int, str] = {}
        for entered in (True, False):
            for positions in _of_one_schema(batch, batch.positions(entered=entered)):
                answer = yield _mapping(batch, positions, audience, advertiser, entered=entered)
                failed = _failed(answer, len(positions))
                if isinstance(failed, Accepted):
                    refused[positions[0]] = failed.rejected[0]
                elif failed is not None:
                    return failed
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.at(f"{API}/user/info/"))
        return _failed(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        advertiser = _advertiser(settings, target)
        if advertiser is None:
            return _NO_ADVERTISER
        if target.external_id is None:
            return (yield from _find_by_name(settings, advertiser, _name(target)))
        asked = {"advertiser_id": advertiser, "custom_audience_ids": orjson.dumps([target.external_id]).decode()}
        answer = yield json_request("GET", settings.at(f"{API}/dmp/custom_audience/get") + "?" + urlencode(asked))
        said = object_of(answer)
        if said.get("code") == _NOT_THERE:
            return None
        failed = _failed(answer, 0)
        if failed is not None:
            return failed
        ids = {str(one.get("audience_details", {}).get("audience_id")) for one in _listed(answer)}
        return ListId(target.external_id) if target.external_id in ids else None

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        advertiser = _advertiser(settings, target)
        if advertiser is None:
            return _NO_ADVERTISER
        new = {"custom_audience_name": _name(target), "advertiser_id": advertiser, "action": "create"}
        answer = yield json_request("POST", settings.at(f"{API}/segment/audience/"), new)
        made = _data(answer).get("audience_id")
        return _failed(answer, 0) or (ListId(str(made)) if made else Backoff("TikTok made no audience, and does not say why"))


_NO_ADVERTISER = Stop("no advertiser account is named.", "Set advertiser_id in the settings of the destination or of the list.")
_LONGEST_NAME = 70


def _name(target: Target) -> str:
    return target.list_name(longest=_LONGEST_NAME, cut="...")


def _advertiser(settings: TiktokAudiencesSettings, target: Target) -> str | None:
    return said_of_list(TiktokAudienceSettings, target, _SEGMENT_NAMES).advertiser_id or settings.advertiser_id


# ---------------------------------------------------------------------- what TikTok matches by

_HASHES = {
    "email": normalising.email_hash,
    "phone": normalising.phone_hash,
    "advertising_id": normalising.text_hash,
}


def _of_one_schema(batch: Batch, positions: list[int]) -> list[list[int]]:
    """The positions, those that send the same kinds of ids together; in the product a batch has one schema alone."""
    parts: dict[tuple[bool, ...], list[int]] = {}
    for at in positions:
        parts.setdefault(batch.payloads[at]["sends"], []).append(at)
    return list(parts.values())


def _mapping(batch: Batch, positions: list[int], audience: str, advertiser: str, *, entered: bool) -> Request:
    people = [batch.payloads[at] for at in positions]
    schema = [kind for sent, (_, _, kind) in zip(people[0]["sends"], _IDS, strict=True) if sent]
    rows = [[{"id": hash_, "audience_ids": [audience]} if hash_ else {} for hash_ in one["hashes"]] for one in people]
    body = {"advertiser_ids": [advertiser], "action": "add" if entered else "delete", "id_schema": schema, "batch_data": rows}
    return json_request("POST", batch.settings.at(f"{API}/segment/mapping/"), body)


# ---------------------------------------------------------------------- what TikTok answers


def _find_by_name(settings: TiktokAudiencesSettings, advertiser: str, name: str) -> Talk[ListId | Verdict | None]:
    for page in range(1, _PAGES + 1):
        asked = {"advertiser_id": advertiser, "page": str(page), "page_size": "100"}
        answer = yield json_request("GET", settings.at(f"{API}/dmp/custom_audience/list/") + "?" + urlencode(asked))
        failed = _failed(answer, 0)
        if failed is not None:
            return failed
        found = [one for one in _listed(answer) if one.get("name") == name]
        if found:
            return ListId(str(found[0]["audience_id"]))
        if page >= (_data(answer).get("page_info") or {}).get("total_page", 1):
            return None
    return None


def _data(answer: Answer) -> dict[str, Any]:
    data = object_of(answer).get("data")
    return data if isinstance(data, dict) else {}


def _listed(answer: Answer) -> list[dict[str, Any]]:
    return _data(answer).get("list") or []


def _failed(answer: Answer, count: int) -> Verdict | None:
    """The verdict on an answer, None when it is a success and says so."""
    failed = failure(answer, count)
    if failed is not None and answer.status != 400:
        return failed
    said = object_of(answer)
    code, message = said.get("code"), str(said.get("message") or "it gives no reason")
    if code == 0:
        return None
    if not isinstance(code, int):
        return failed or Backoff("TikTok does not say whether it took the request")
    if code in _TOKEN_IS_BAD:
        return Stop(f"TikTok refuses the access token: {message}", "Give this destination a new access token in its settings.")
    if code in _NOT_ALLOWED:
        return Stop(f"TikTok does not allow this: {message}", "Give the token's owner the right to manage audiences of this advertiser.")
    if code in _TOO_FAST:
        return Pause(_PAUSE_S)
    if code >= 50_000:
        return Backoff(f"TikTok cannot do it now: {message}")
    reason = f"TikTok answered {code}: {message}"
    if count == 0:
        return Stop(reason, "Check the advertiser account and the audience in the settings.")
    return Accepted({0: reason}) if count == 1 else Bisect(reason)
