"""Klaviyo: an audience as a list of profiles, and traits on profiles.

One profile goes to the profiles endpoint, where one that is there already is answered 409 with its id. Several are imported by a job, which
takes 10,000 profiles and 5 MB, 150 times a minute: Klaviyo answers 202 before it is done, and 400 when one of them is not valid. Who
leaves is looked for, 100 at a time, and taken off the list, 1,000 at a time; the profile stays. An import takes some minutes, and who
leaves before theirs is done is not found: hence the time between two syncs.
Source: https://developers.klaviyo.com/en/reference/bulk_import_profiles, create_profile, get_profiles and lists there (November 2026)
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import normalising, presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    Talk,
    failure,
    json_request,
    object_of,
    placed,
    query_url,
)
from engage_pipelines.destinations.authentication import ApiKey
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
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
from engage_pipelines.destinations.http import Answer, Request
from engage_pipelines.destinations.parts import parts

API = "https://a.klaviyo.com/api"
REVISION = "2025-01-15"
MOST_FOUND = 100
MOST_REMOVED = 1_000

_KINDS = ("external_id", "email", "phone_number")
_ADDRESS = ("address1", "address2", "city", "region", "zip", "latitude", "longitude", "country")
_REFUSED = re.compile(r"/data/attributes/profiles/data/(\d+)(?:/|$)")

_WHO = (
    Field("email", description="E-mail address.", default=first_of("$.traits.email", "$.context.traits.email"), format="email"),
    Field("phone_number", description="Phone number, E.164.", default=path("$.context.traits.phone")),
    Field("external_id", description="Your own id of the person, 255 characters at most; not filled in unless a mapping does."),
    Field("country_code", description="Country of phone numbers without one, ISO 3166-1 alpha-2."),
)
_LIST = Field(
    "list_id",
    description="The list, where it is not the connection's own.",
    default=first_of("$.context.personas.audience_settings.listId", "$.context.personas.external_audience_id"),
)


def _about(place: str, properties: str) -> tuple[Field, ...]:
    """The fields about a person, whose data is at that place of the record."""
    address = {"city": "city", "region": "state", "zip": "postal_code", "address1": "street", "country": "country"}
    return (
        Field("first_name", description="First name.", default=path(f"{place}.firstName")),
        Field("last_name", description="Last name.", default=path(f"{place}.lastName")),
        Field("organization", description="Company that the person works for.", default=path(f"{place}.company.name")),
        Field("title", description="Job title.", default=path(f"{place}.title")),
        Field("image", description="Picture of the person.", default=path(f"{place}.avatar")),
        Field(
            "location",
            "object",
            "Address of the person.",
            default={name: path(f"{place}.address.{at}") for name, at in address.items()},
            fields=tuple(Field(name, description=f"{name.capitalize()}.", null_allowed=True) for name in _ADDRESS),
        ),
        Field("properties", "object", "Properties of your own.", default=path(properties)),
    )


class KlaviyoSettings(ApiSettings):
    """The account."""

    api_key: SecretStr = Setting(min_length=1, description="Private API key with the right to read and write lists and profiles.")
    account: str = Setting(
        "", description="A name for the account, where there are several: lists of the same audience are told apart by it."
    )


class KlaviyoListSettings(Settings):
    """What may be said of one list."""

    listId: str | None = Setting(None, description="A list that is there already, in place of one made for the connection.")  # noqa: N815


class Klaviyo(ApiDestination):
    """A list in Klaviyo for each connection, and the profiles on it."""

    key = "klaviyo"
    name = "Klaviyo"
    description = "Keeps an audience as a list in Klaviyo, and sets traits on profiles."
    docs_url = "https://developers.klaviyo.com/en/reference/bulk_import_profiles"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = KlaviyoSettings
    list_settings_model = KlaviyoListSettings
    authentication = ApiKey("api_key", "Authorization", "Klaviyo-API-Key ")
    user_address_kinds = ("email",)
    creates_lists = True
    list_ids_are_unique = True
    min_interval_s = 300
    actions = (
        Action(
            "add_to_list",
            "Add to the list",
            frozenset({"identify", "track"}),
            direction="entered",
            inputs=(*_WHO, _LIST, *_about("$.properties", "$.properties.properties")),
            batch_keys=("list_id",),
        ),
        Action(
            "remove_from_list",
            "Remove from the list",
            frozenset({"identify", "track"}),
            direction="exited",
            inputs=(*_WHO, _LIST),
            batch_keys=("list_id",),
            limits=Limits(max_batch_records=1_000, max_batch_bytes=4_000_000, requests_per_s=2.5),
        ),
        Action("upsert_profile", "Create or update the profile", frozenset({"identify"}), inputs=(*_WHO, *_about("$.traits", "$.traits"))),
    )
    presets = presets.list_pairs("add_to_list", "remove_from_list")
    limits = Limits(max_batch_records=10_000, max_batch_bytes=4_400_000, requests_per_s=2.5)
    segment_slugs = ("klaviyo", "actions-klaviyo")
    segment_actions = (
        ("addProfileToList", "add_to_list"),
        ("removeProfileFromList", "remove_from_list"),
        ("upsertProfile", "upsert_profile"),
    )

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        region = payload.pop("country_code", None)
        if not any(payload.get(kind) for kind in _KINDS):
            raise UnusableError("Klaviyo needs an email, a phone_number or an external_id")
        if len(payload.get("external_id", "")) > 255:
            raise UnusableError("external_id has more than the 255 characters that Klaviyo takes")
        if "phone_number" in payload:
            payload["phone_number"] = normalising.phone(payload["phone_number"], region=region)
        return payload

    def talk(self, batch: Batch) -> Conversation:
        list_id = None if batch.action.key == "upsert_profile" else batch.list_id()
        if batch.action.key == "upsert_profile":
            return (yield from _upserted(batch, None))
        if list_id is None:
            return Stop("the connection has no list in Klaviyo yet.", "Sync the connection: its list is made first.")
        return (yield from _upserted(batch, list_id) if batch.action.key == "add_to_list" else _removed(batch, list_id))

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _request(settings, "GET", "/accounts/")
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        known = _said(target).listId or target.external_id
        if known:
            answer = yield _request(settings, "GET", f"/lists/{quote(known, safe='')}")
            return None if answer.status == 404 else failure(answer, 0) or ListId(known)
        name = _text(target.list_name())
        answer = yield json_request("GET", query_url(settings.at(API + "/lists"), {"filter": f"equals(name,{name})"}), headers=_HEADERS)
        found = object_of(answer).get("data") or []
        return failure(answer, 0) or (ListId(str(found[0]["id"])) if found else None)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        given = _said(target).listId
        if given:
            return Stop(f"Klaviyo knows no list {given!r}.", "Correct listId in the settings of the connection's list, or leave it out.")
        data = {"type": "list", "attributes": {"name": target.list_name()}}
        answer = yield _request(settings, "POST", "/lists", {"data": data})
        made = _id_of(answer)
        return failure(answer, 0) or (ListId(made) if made else Stop("Klaviyo made no list.", "Check that the API key may write lists."))


_HEADERS = {"Accept": "application/json", "revision": REVISION}


def _request(settings: KlaviyoSettings, method: str, path_: str, body: Any = None) -> Request:
    return json_request(method, settings.at(API + path_), body, _HEADERS)


def _said(target: Target) -> KlaviyoListSettings:
    known = KlaviyoListSettings.model_fields
    return KlaviyoListSettings.model_validate({name: value for name, value in target.list_settings.items() if name in known})


def _text(value: str) -> str:
    """A text in Klaviyo's filters."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _id_of(answer: Answer) -> str | None:
    data = object_of(answer).get("data")
    return str(data["id"]) if isinstance(data, dict) and data.get("id") else None


def _attributes(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name != "list_id"}


# ---------------------------------------------------------------------- profiles


def _upserted(batch: Batch, list_id: str | None) -> Conversation:
    return (yield from _one(batch, list_id) if len(batch.items) == 1 else _imported(batch, list_id))


def _one(batch: Batch, list_id: str | None) -> Conversation:
    """A profile made, or brought up to date when it is there, and put on the list."""
    attributes = _attributes(batch.payloads[0])
    profile = {"type": "profile", "attributes": attributes}
    answer = yield _request(batch.settings, "POST", "/profiles/", {"data": profile})
    known = _duplicate(answer)
    says_more = list_id is None or any(value for name, value in attributes.items() if name not in _KINDS)
    if known is not None and says_more:
        answer = yield _request(batch.settings, "PATCH", f"/profiles/{quote(known, safe='')}", {"data": {**profile, "id": known}})
    failed = failure(answer, 1) if known is None or says_more else None
    if failed is not None or list_id is None:
        return failed or Accepted()
    profile_id = known or _id_of(answer)
    if profile_id is None:
        return Accepted({0: "Klaviyo names no profile that it made of it"})
    member = {"data": [{"type": "profile", "id": profile_id}]}
    answer = yield _request(batch.settings, "POST", _members(list_id), member)
    return failure(answer, 0) or Accepted()


def _duplicate(answer: Answer) -> str | None:
    """The id of the profile that is there already."""
    if answer.status != 409:
        return None
    errors = object_of(answer).get("errors")
    meta = errors[0].get("meta") if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    known = meta.get("duplicate_profile_id") if isinstance(meta, dict) else None
    return str(known) if known else None


def _imported(batch: Batch, list_id: str | None) -> Conversation:
    """Several profiles imported; those that Klaviyo names as not valid are left out and refused."""
    refused: dict[int, str] = {}
    left = list(range(len(batch.items)))
    while left:
        profiles = [{"type": "profile", "attributes": _attributes(batch.payloads[at])} for at in left]
        job: dict[str, Any] = {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": profiles}}}
        if list_id:
            job["relationships"] = {"lists": {"data": [{"type": "list", "id": list_id}]}}
        answer = yield _request(batch.settings, "POST", "/profile-bulk-import-jobs/", {"data": job})
        wrong = _named(answer, len(left))
        if not wrong:
            failed = failure(answer, len(left)) or Accepted()
            verdict = placed(failed, left)
            return Accepted({**refused, **verdict.rejected}) if isinstance(verdict, Accepted) else verdict
        refused |= {left[at]: reason for at, reason in wrong.items()}
        left = [at for at in left if at not in refused]
    return Accepted(refused)


def _named(answer: Answer, count: int) -> dict[int, str]:
    """By index why Klaviyo finds profiles not valid, when it says so of single ones."""
    found: dict[int, str] = {}
    errors = object_of(answer).get("errors") if answer.status == 400 else None
    for error in errors if isinstance(errors, list) else []:
        source = error.get("source") if isinstance(error, dict) else None
        at = _REFUSED.match(str(source.get("pointer", ""))) if isinstance(source, dict) else None
        if at is None or int(at[1]) >= count:
            return {}
        found[int(at[1])] = str(error.get("detail") or error.get("title") or "Klaviyo gives no reason")
    return found


# ---------------------------------------------------------------------- leaving


def _removed(batch: Batch, list_id: str) -> Conversation:
    """Those whom Klaviyo knows are taken off the list; whom it does not know is on none."""
    ids: list[str] = []
    for kind in _KINDS:
        values = [str(payload[kind]) for payload in batch.payloads if payload.get(kind)]
        if kind == "email":
            values = [spelling for value in values for spelling in (value, value.lower())]
        for part in parts(values, MOST_FOUND):
            answer = yield _search(batch.settings, kind, part)
            failed = failure(answer, 0)
            if failed is not None:
                return failed
            ids += [str(found["id"]) for found in object_of(answer).get("data") or []]
    ids = list(dict.fromkeys(ids))
    for start in range(0, len(ids), MOST_REMOVED):
        members = [{"type": "profile", "id": one} for one in ids[start : start + MOST_REMOVED]]
        answer = yield _request(batch.settings, "DELETE", _members(list_id), {"data": members})
        failed = failure(answer, 0)
        if failed is not None:
            return failed
    return Accepted()


def _search(settings: KlaviyoSettings, kind: str, values: list[str]) -> Request:
    wanted = {"filter": f"any({kind},[{','.join(_text(value) for value in values)}])", "page[size]": str(MOST_FOUND)}
    return json_request("GET", query_url(settings.at(API + "/profiles/"), wanted), headers=_HEADERS)


def _members(list_id: str) -> str:
    return f"/lists/{quote(list_id, safe='')}/relationships/profiles/"
