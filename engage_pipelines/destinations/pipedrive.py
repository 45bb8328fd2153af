"""Pipedrive: people and organizations, found by a field that holds your ids, with each membership or trait in a custom field of its own.

One request is about one person or organization: it is searched for, then updated or made. Custom fields are named by keys of 40 characters
that Pipedrive gives them (Company settings, Data fields); the one of an audience or trait is found by its name, or made.
An API token may ask 20 times in two seconds on the smallest plan.
The search lags some moments behind, so a repeat right after somebody was made may make them twice.
Source: https://developers.pipedrive.com/docs/api/v1, https://pipedrive.readme.io/docs/core-api-concepts-custom-fields and
https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting (November 2026)
"""

from collections.abc import Mapping
from typing import Any, cast

import orjson
from pydantic import Field as Setting
from pydantic import PrivateAttr, SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    Talk,
    failure,
    json_of,
    json_request,
    object_of,
    query_url,
)
from engage_pipelines.destinations.authentication import ApiKey
from engage_pipelines.destinations.base import Accepted, Action, Backoff, Effect, Limits, MembershipAs, Record, Verdict
from engage_pipelines.destinations.fields import Field, first_of, path
from engage_pipelines.destinations.http import Answer

_MATCH = Field("match_field", description="Key of the field to find it by, in place of the one in the settings.")
_CUSTOM = Field("custom_fields", "object", "Custom fields by their keys.")
_TOLD = (
    Field("membership_field", description="Key of the text field of the membership or trait, in place of the one of its name."),
    Field("computation_key", description="Key of the membership or trait.", default=path("$.context.personas.computation_key")),
    Field("traits_or_props", "object", "Where its value is.", default=first_of("$.properties", "$.traits")),
)
_FIELDS_AT_ONCE = 500
_VISIBLE = Field("visible_to", description="Who may see it.", choices=("1", "3", "5", "7"))


class PipedriveSettings(ApiSettings):
    """The company and its fields."""

    domain: str = Setting(pattern="^[A-Za-z0-9-]+$", description="The company's name in its address: acme of acme.pipedrive.com.")
    api_token: SecretStr = Setting(min_length=1, description="API token of a user who may add and edit.")
    person_field: str = Setting(min_length=1, description="Key of the person field that holds your user ids.")
    organization_field: str = Setting(min_length=1, description="Key of the organization field that holds your account ids.")
    _fields: dict[tuple[str, str], str] = PrivateAttr(default_factory=dict[tuple[str, str], str])

    @property
    def known_fields(self) -> dict[tuple[str, str], str]:
        """Keys of fields by where they are and their name, for as long as this process lasts."""
        return self._fields

    def api(self, rest: str) -> str:
        """The address of a path of the API."""
        return self.at(f"https://{self.domain}.pipedrive.com/api/v1/{rest}")


class Pipedrive(ApiDestination):
    """People and organizations in Pipedrive."""

    key = "pipedrive"
    name = "Pipedrive"
    description = "Sets custom fields of people and organizations in Pipedrive, one for each audience or trait."
    docs_url = "https://developers.pipedrive.com/docs/api/v1/Persons"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.AT_LEAST_ONCE
    settings_model = PipedriveSettings
    authentication = ApiKey("api_token", "x-api-token")
    user_address_kinds = ("user_id",)
    actions = (
        Action(
            "upsert_person",
            "Create or update the person",
            frozenset({"identify"}),
            inputs=(
                _MATCH,
                Field("match_value", description="Value of that field.", default=path("$.userId"), required=True),
                Field("name", description="Name of the person.", default=path("$.traits.name")),
                Field("email", "array", "E-mail addresses.", default=path("$.traits.email"), items="string"),
                Field("phone", "array", "Phone numbers.", default=path("$.traits.phone"), items="string"),
                _VISIBLE,
                _CUSTOM,
                *_TOLD,
            ),
        ),
        Action(
            "upsert_organization",
            "Create or update the organization",
            frozenset({"group"}),
            inputs=(
                _MATCH,
                Field("match_value", description="Value of that field.", default=path("$.groupId"), required=True),
                Field("name", description="Name of the organization.", default=path("$.traits.name")),
                _VISIBLE,
                _CUSTOM,
                *_TOLD,
            ),
        ),
    )
    presets = (presets.membership("upsert_person"), presets.accounts("upsert_organization"))
    limits = Limits(max_batch_records=1, max_batch_bytes=100_000, requests_per_s=10)
    segment_slugs = ("pipedrive", "actions-pipedrive")
    segment_actions = (("createUpdatePerson", "upsert_person"), ("createUpdateOrganization", "upsert_organization"))

    def settings_from_segment(self, values: Any) -> dict[str, Any]:
        ours = {"domain": "domain", "apiToken": "api_token", "personField": "person_field", "organizationField": "organization_field"}
        return {ours[name]: value for name, value in values.items() if name in ours}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        """Where it is looked for, what is set, and what is set beside that on something new."""
        is_person = action.key == "upsert_person"
        found_by = payload.get("match_field") or (settings.person_field if is_person else settings.organization_field)
        name_of_it = payload.get("computation_key")
        fields = {name: payload[name] for name in ("name", "email", "phone", "visible_to") if payload.get(name)}
        fields |= payload.get("custom_fields", {})
        told = _text(payload.get("traits_or_props", {}).get(name_of_it, record.entered)) if name_of_it else None
        name = next(iter(payload.get("email", [])), payload["match_value"])
        return {
            "items": "persons" if is_person else "organizations",
            "search": {
                "term": payload["match_value"],
                "field_key": found_by,
                "exact_match": "true",
                "field_type": "personField" if is_person else "organizationField",
                "return_item_ids": "true",
            },
            "fields": fields,
            "told": told,
            "told_in": payload.get("membership_field"),
            "told_as": name_of_it,
            "new": {"name": name, found_by: payload["match_value"]},
        }

    def talk(self, batch: Batch) -> Conversation:
        settings, item = batch.settings, batch.items[0]
        one = item.payload
        found = yield json_request("GET", query_url(settings.api("itemSearch/field"), one["search"]))
        refused = failure(found, 1)
        if refused is not None:
            return refused
        known = _first_id(found)
        if known is None and not item.entered:
            return Accepted()  # nobody is made only to say that they are not in
        field = one["told_in"] or (yield from _field_of(settings, one)) if one["told_as"] else ""
        if not isinstance(field, str):
            return field
        fields = {**one["fields"], field: one["told"]} if field else one["fields"]
        if known is not None:
            answer = yield json_request("PUT", settings.api(f"{one['items']}/{known}"), fields)
        else:
            answer = yield json_request("POST", settings.api(one["items"]), {**one["new"], **fields})
        return failure(answer, 1) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.api("users/me"))
        return failure(answer, 0) or Accepted()


def _field_of(settings: PipedriveSettings, one: Mapping[str, Any]) -> Talk[str | Verdict]:
    """The key of the field that has the name of the audience or trait; one is made when there is none."""
    place, name = one["search"]["field_type"] + "s", str(one["told_as"])
    if (place, name) not in settings.known_fields:
        found = yield from _looked_up(settings, place, name)
        if found is None:
            answer = yield json_request("POST", settings.api(place), {"name": name, "field_type": "varchar"})
            failed = failure(answer, 0)
            if failed is not None:
                return failed
            found = _key_of(object_of(answer).get("data"))
        if not isinstance(found, str):
            return found or Backoff("Pipedrive made a field and did not say its key")
        settings.known_fields[place, name] = found
    return settings.known_fields[place, name]


def _looked_up(settings: PipedriveSettings, place: str, name: str) -> Talk[str | Verdict | None]:
    start: int | None = 0
    while start is not None:
        answer = yield json_request("GET", query_url(settings.api(place), {"start": str(start), "limit": str(_FIELDS_AT_ONCE)}))
        failed = failure(answer, 0)
        if failed is not None:
            return failed
        told = object_of(answer)
        for field in told.get("data") or []:
            if field.get("name") == name and _key_of(field) is not None:
                return _key_of(field)
        pages = (told.get("additional_data") or {}).get("pagination") or {}
        start = pages.get("next_start") if pages.get("more_items_in_collection") else None
    return None


def _key_of(field: Any) -> str | None:
    key = cast("dict[str, Any]", field).get("key") if isinstance(field, dict) else None
    return key if isinstance(key, str) and key else None


def _text(value: Any) -> str | None:
    """A membership or the value of a trait as a text field holds it; null empties the field."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _first_id(answer: Answer) -> int | None:
    found = json_of(answer)
    rows = found.get("data") if isinstance(found, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    known = first.get("id") if isinstance(first, dict) else None
    return known if isinstance(known, int) else None
