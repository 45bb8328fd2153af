"""Meta custom audiences: an audience as a customer list of an ad account, for ads on Facebook and Instagram.

A request names 10,000 people at most. What is personal is hashed here: SHA-256 of the value as Meta wants it normalised; ids of your own
and of devices go as they are. Changes show within a day, and an audience takes an ad only when about 100 of its people are matched.
Meta answers 400 for many things; the code in the answer says whether it was the token, the pace or the data.
Source: https://developers.facebook.com/docs/marketing-api/reference/custom-audience/users, .../audiences/guides/custom-audiences and
https://developers.facebook.com/docs/graph-api/guides/error-handling (November 2026)
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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
    query_url,
)
from engage_pipelines.destinations.authentication import Bearer
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

GRAPH = "https://graph.facebook.com"
SCHEMA = ("EXTERN_ID", "EMAIL", "PHONE", "DOBY", "DOBM", "DOBD", "LN", "FN", "FI", "GEN", "CT", "ST", "ZIP", "COUNTRY", "MADID")

_TOKEN_IS_BAD = frozenset({102, 190})
_TOO_FAST = frozenset({4, 17, 32, 613, 80000, 80003, 80004})
_NOT_ALLOWED = frozenset({3, 10, *range(200, 300)})
_ILL = frozenset({1, 2})
_NO_SUCH_OBJECT = 33
_BLOCKED = 1713230
_PAUSE_S = 300.0
_MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"]
_GENDERS = {**dict.fromkeys(("m", "male", "man", "boy"), "m"), **dict.fromkeys(("f", "female", "woman", "girl"), "f")}
_STATES: dict[str, str] = dict(
    re.findall(
        r"(\w+):(\w+)",
        "alabama:al alaska:ak arizona:az arkansas:ar california:ca colorado:co connecticut:ct delaware:de florida:fl georgia:ga "
        "hawaii:hi idaho:id illinois:il indiana:in iowa:ia kansas:ks kentucky:ky louisiana:la maine:me maryland:md massachusetts:ma "
        "michigan:mi minnesota:mn mississippi:ms missouri:mo montana:mt nebraska:ne nevada:nv newhampshire:nh newjersey:nj "
        "newmexico:nm newyork:ny northcarolina:nc northdakota:nd ohio:oh oklahoma:ok oregon:or pennsylvania:pa rhodeisland:ri "
        "southcarolina:sc southdakota:sd tennessee:tn texas:tx utah:ut vermont:vt virginia:va washington:wa westvirginia:wv "
        "wisconsin:wi wyoming:wy",
    )
)


class FacebookCustomAudiencesSettings(ApiSettings):
    """The ad account."""

    access_token: SecretStr = Setting(min_length=1, description="Access token of a system user with the permission ads_management.")
    ad_account_id: str = Setting(pattern=r"^(act_)?\d+$", description="Id of the ad account, with or without act_.")
    api_version: str = Setting("v24.0", pattern=r"^v\d+\.\d+$", description="Version of the Graph API.")

    def graph(self, rest: str) -> str:
        """The address of something in the Graph API."""
        return self.at(f"{GRAPH}/{self.api_version}/{rest}")


class FacebookAudienceSettings(Settings):
    """What may be said of one custom audience."""

    ad_account_id: str | None = Setting(None, pattern=r"^(act_)?\d+$", description="Another ad account to make the audience in.")
    description: str | None = Setting(None, description="What the audience is, for people who read it in Ads Manager.")


_SEGMENT_NAMES = {"engageAdAccountId": "ad_account_id", "audienceDescription": "description"}


class FacebookCustomAudiences(ApiDestination):
    """A custom audience at Meta for each connection."""

    key = "facebook_custom_audiences"
    name = "Facebook custom audiences"
    description = "Keeps an audience as a custom audience of an ad account at Meta."
    docs_url = "https://developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = FacebookCustomAudiencesSettings
    list_settings_model = FacebookAudienceSettings
    authentication = Bearer("access_token")
    user_address_kinds = ("user_id", "email")
    creates_lists = True
    list_ids_are_unique = True
    minimum_list_size = 100
    actions = (
        Action(
            "sync",
            "Keep the custom audience",
            frozenset({"identify", "track"}),
            inputs=(
                Field("externalId", description="Your own id of the person.", default=path("$.userId")),
                Field("email", description="E-mail address.", default=anywhere("email")),
                Field("phone", description="Phone number, with the country code.", default=anywhere("phone")),
                Field(
                    "birth",
                    "object",
                    "Date of birth.",
                    fields=(Field("year", description="Year."), Field("month", description="Month."), Field("day", description="Day.")),
                ),
                Field(
                    "name",
                    "object",
                    "Name of the person.",
                    default={"first": anywhere("first_name"), "last": anywhere("last_name")},
                    fields=(
                        Field("first", description="First name."),
                        Field("last", description="Last name."),
                        Field("firstInitial", description="First letter of the first name."),
                    ),
                ),
                Field("gender", description="Gender: m or f, or a word that means one of them.", default=anywhere("gender")),
                Field("city", description="City.", default=anywhere("city")),
                Field("state", description="State or province.", default=anywhere("state")),
                Field("zip", description="Postal code.", default=anywhere("postal_code")),
                Field("country", description="Country, ISO 3166-1 alpha-2.", default=anywhere("country")),
                Field("mobileAdId", description="Advertising id of the person's device (IDFA or Android)."),
                Field("appId", description="The app that knows the person."),
                Field("pageId", description="The page that knows the person."),
                Field("igAccountIds", description="The Instagram account that knows the person."),
                Field(
                    "external_audience_id",
                    description="The custom audience, where it is not the connection's own.",
                    default=path("$.context.personas.external_audience_id"),
                ),
            ),
            batch_keys=("external_audience_id",),
            sync_modes=("mirror", "upsert", "delete"),
        ),
    )
    presets = (presets.membership("sync"),)
    limits = Limits(max_batch_records=10_000, max_batch_bytes=8_000_000)
    segment_slugs = ("facebook-custom-audiences", "actions-facebook-custom-audiences")
    segment_actions = (("sync", "sync"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        named = {"ad_account_id" if name == "retlAdAccountId" else name: value for name, value in values.items()}
        return super().settings_from_segment(named)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if not any(payload.get(name) for name in ("externalId", "email", "phone", "mobileAdId")):
            raise UnusableError("a custom audience needs an externalId, an e-mail address, a phone number or a mobileAdId")
        ids = {name: payload.get(field, "") for name, field in _IDS_OF_PLACES}
        return {"row": _row(payload), "external_audience_id": payload.get("external_audience_id"), **ids}

    def talk(self, batch: Batch) -> Conversation:
        audience = batch.list_id("external_audience_id")
        if audience is None:
            return Stop("the connection has no custom audience yet.", "Sync the connection: its audience is made first.")
        refused: dict[int, str] = {}
        for entered in (True, False):
            positions = batch.positions(entered=entered)
            if not positions:
                continue
            answer = yield _users(batch, audience, positions, entered=entered)
            failed = _failed(answer, len(positions)) or _invalid(answer, len(positions))
            if isinstance(failed, Accepted):
                refused[positions[0]] = failed.rejected[0]
            elif failed is not None:
                return failed
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", query_url(settings.graph(_account(settings.ad_account_id)), {"fields": "id"}))
        return _failed(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        if target.external_id:
            url = settings.graph(quote(target.external_id, safe=""))
            answer = yield json_request("GET", query_url(url, {"fields": "id,name"}))
            if _is_unknown(answer):
                return None
            found = object_of(answer).get("id")
            return _failed(answer, 0) or (ListId(str(found)) if str(found) == target.external_id else None)
        name = target.list_name()
        wanted = orjson.dumps([{"field": "name", "operator": "EQUAL", "value": name}]).decode()
        url = settings.graph(f"{_account(_said(settings, target).ad_account_id)}/customaudiences")
        answer = yield json_request("GET", query_url(url, {"fields": "id,name", "filtering": wanted}))
        failed = _failed(answer, 0)
        if failed is not None:
            return failed
        same = [one for one in object_of(answer).get("data", []) if one.get("name") == name]
        return ListId(str(same[0]["id"])) if same else None

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        said = _said(settings, target)
        body = {
            "name": target.list_name(),
            "subtype": "CUSTOM",
            "customer_file_source": "BOTH_USER_AND_PARTNER_PROVIDED",
            **({"description": said.description} if said.description else {}),
        }
        answer = yield json_request("POST", settings.graph(f"{_account(said.ad_account_id)}/customaudiences"), body)
        made = object_of(answer).get("id")
        return _failed(answer, 0) or (ListId(str(made)) if made else Backoff("Meta made no audience, and does not say why"))


_IDS_OF_PLACES = (("app_ids", "appId"), ("page_ids", "pageId"), ("ig_account_ids", "igAccountIds"))


def _said(settings: FacebookCustomAudiencesSettings, target: Target) -> FacebookAudienceSettings:
    said = said_of_list(FacebookAudienceSettings, target, _SEGMENT_NAMES)
    return said if said.ad_account_id else said.model_copy(update={"ad_account_id": settings.ad_account_id})


def _account(id_: str | None) -> str:
    return f"act_{(id_ or '').removeprefix('act_')}"


def _users(batch: Batch, audience: str, positions: list[int], *, entered: bool) -> Request:
    people = [batch.payloads[at] for at in positions]
    payload: dict[str, Any] = {"schema": SCHEMA, "data": [one["row"] for one in people]}
    for name, _ in _IDS_OF_PLACES:
        if any(one[name] for one in people):
            payload[name] = [one[name] for one in people]
    url = batch.settings.graph(f"{quote(audience, safe='')}/users")
    return json_request("POST" if entered else "DELETE", url, {"payload": payload})


# ---------------------------------------------------------------------- what Meta matches by


def _row(payload: Mapping[str, Any]) -> list[str]:
    birth, name = payload.get("birth", {}), payload.get("name", {})
    country = payload.get("country", "")
    phone = payload.get("phone")
    return [
        payload.get("externalId", ""),
        normalising.email_hash(payload["email"]) if payload.get("email") else "",
        normalising.phone_hash(phone, region=country if len(country) == 2 else None, plus="without") if phone else "",
        *(_hash(birth.get(part), normalise) for part, normalise in (("year", str.strip), ("month", _month), ("day", _day))),
        *(_hash(name.get(part), _name) for part in ("last", "first", "firstInitial")),
        _hash(payload.get("gender"), _gender),
        _hash(payload.get("city"), _letters),
        _hash(payload.get("state"), _state),
        _hash(payload.get("zip"), _postal_code),
        _hash(country, normalising.country),
        payload.get("mobileAdId", "").lower(),
    ]


def _hash(value: str | None, normalise: Any) -> str:
    """The hash of a value that helps to match, empty when nothing of it is left."""
    if not value or normalising.is_hashed(value.strip()):
        return (value or "").strip().lower()
    text = normalise(value)
    return normalising.hashed(text) if text else ""


def _name(value: str) -> str:
    return re.sub(r"[^\w\s]|_", "", value.strip().lower())


def _letters(value: str) -> str:
    return re.sub(r"[^a-z0-9]", "", value.lower())


def _state(value: str) -> str:
    text = _letters(value)
    return _STATES.get(text, text)


def _month(value: str) -> str:
    text = value.strip().lower()
    return f"{_MONTHS.index(text) + 1:02}" if text in _MONTHS else text.zfill(2)


def _day(value: str) -> str:
    return value.strip().zfill(2)


def _gender(value: str) -> str:
    text = value.strip().lower()
    return _GENDERS.get(text, text)


def _postal_code(value: str) -> str:
    """Of a ZIP+4 the first five digits."""
    text = value.strip()
    return text[:5] if re.fullmatch(r"\d{5}-\d{4}", text) else re.sub(r"[\s-]+", "", text).lower()


# ---------------------------------------------------------------------- what Meta answers


def _failed(answer: Answer, count: int) -> Verdict | None:
    """The verdict on an answer that is no success: Meta's code says more than the status."""
    error = object_of(answer).get("error")
    if answer.status in {401, 429} or not isinstance(error, dict):
        return failure(answer, count)
    code, said = error.get("code"), error.get("error_user_msg") or error.get("message") or "it gives no reason"
    if code in _TOKEN_IS_BAD:
        return Stop(f"Meta refuses the access token: {said}", "Give this destination a new access token in its settings.")
    if code in _TOO_FAST:
        return Pause(_wait_s(answer))
    if code in _NOT_ALLOWED:
        return Stop(f"Meta does not allow this: {said}", "Give the token's owner the right to manage this ad account and its audiences.")
    if error.get("error_subcode") == _BLOCKED:
        return Stop(f"Meta has blocked the audience: {said}", "Appeal in Audience Manager, or name another audience.")
    if code in _ILL or error.get("is_transient"):
        return Backoff(f"Meta cannot do it now: {said}")
    return failure(answer, count)


def _wait_s(answer: Answer) -> float:
    """Meta tells in minutes when the account may ask again."""
    try:
        usage = orjson.loads(answer.headers.get("x-business-use-case-usage", "{}"))
        waits = [one["estimated_time_to_regain_access"] for ones in usage.values() for one in ones]
        return min(max([60.0 * max(waits), _PAUSE_S]), 86_400.0) if waits else _PAUSE_S
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return _PAUSE_S


def _is_unknown(answer: Answer) -> bool:
    error = object_of(answer).get("error")
    return answer.status == 404 or (isinstance(error, dict) and error.get("error_subcode") == _NO_SUCH_OBJECT)


def _invalid(answer: Answer, count: int) -> Accepted | Bisect | None:
    """Rows that Meta took for no hashes; it says how many, not surely which."""
    if not object_of(answer).get("num_invalid_entries"):
        return None
    reason = "Meta calls it an invalid entry"
    return Accepted({0: reason}) if count == 1 else Bisect(reason)
