"""Pipedrive: people and organizations, found by a field that holds your ids, with the membership or a trait in a custom field of each.

One request is about one person or organization: it is searched for, then updated or made. Custom fields are named by keys of 40 characters
that Pipedrive gives them (Company settings, Data fields). An API token may ask 20 times in two seconds on the smallest plan.
The search lags some moments behind, so a repeat right after somebody was made may make them twice.
Source: https://developers.pipedrive.com/docs/api/v1 and https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting (November 2026)
"""

from typing import Any

import orjson
from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, failure, json_of, json_request, query_url
from engage_pipelines.destinations.authentication import ApiKey
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record
from engage_pipelines.destinations.fields import Field, first_of, path
from engage_pipelines.destinations.http import Answer

_MATCH = Field("match_field", description="Key of the field to find it by, in place of the one in the settings.")
_CUSTOM = Field("custom_fields", "object", "Custom fields by their keys.")
_TOLD = (
    Field("computation_key", description="Key of the membership or trait.", default=path("$.context.personas.computation_key")),
    Field("traits_or_props", "object", "Where its value is.", default=first_of("$.properties", "$.traits")),
)
_VISIBLE = Field("visible_to", description="Who may see it.", choices=("1", "3", "5", "7"))


class PipedriveSettings(ApiSettings):
    """The company and its fields."""

    domain: str = Setting(pattern="^[A-Za-z0-9-]+$", description="The company's name in its address: acme of acme.pipedrive.com.")
    api_token: SecretStr = Setting(min_length=1, description="API token of a user who may add and edit.")
    person_field: str = Setting(min_length=1, description="Key of the person field that holds your user ids.")
    organization_field: str = Setting(min_length=1, description="Key of the organization field that holds your account ids.")
    person_membership_field: str | None = Setting(
        None, description="Key of the text field of people that says true or false, or the value of a trait."
    )
    organization_membership_field: str | None = Setting(
        None, description="Key of the text field of organizations that says true or false, or the value of a trait."
    )

    def api(self, rest: str) -> str:
        """The address of a path of the API."""
        return self.at(f"https://{self.domain}.pipedrive.com/api/v1/{rest}")


class Pipedrive(ApiDestination):
    """People and organizations in Pipedrive."""

    key = "pipedrive"
    name = "Pipedrive"
    description = "Sets a custom field of people and organizations in Pipedrive."
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
        ours = {
            "domain": "domain",
            "apiToken": "api_token",
            "personField": "person_field",
            "organizationField": "organization_field",
            "personMembershipField": "person_membership_field",
            "organizationMembershipField": "organization_membership_field",
        }
        return {ours[name]: value for name, value in values.items() if name in ours}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        """Where it is looked for, what is set, and what is set beside that on something new."""
        is_person = action.key == "upsert_person"
        found_by = payload.get("match_field") or (settings.person_field if is_person else settings.organization_field)
        membership = settings.person_membership_field if is_person else settings.organization_membership_field
        fields = {name: payload[name] for name in ("name", "email", "phone", "visible_to") if payload.get(name)}
        fields |= payload.get("custom_fields", {})
        if membership:
            fields[membership] = _text(payload.get("traits_or_props", {}).get(payload.get("computation_key"), record.entered))
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
        if known is not None:
            answer = yield json_request("PUT", settings.api(f"{one['items']}/{known}"), one["fields"])
        elif item.entered:
            answer = yield json_request("POST", settings.api(one["items"]), {**one["new"], **one["fields"]})
        else:
            return Accepted()  # nobody is made only to say that they are not in
        return failure(answer, 1) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.api("users/me"))
        return failure(answer, 0) or Accepted()


def _text(value: Any) -> str | None:
    """A membership or the value of a trait as a text field holds it; null empties the field."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _first_id(answer: Answer) -> int | None:
    found = json_of(answer)
    rows = found.get("data") if isinstance(found, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    known = first.get("id") if isinstance(first, dict) else None
    return known if isinstance(known, int) else None
