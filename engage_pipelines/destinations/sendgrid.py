"""SendGrid: the membership or trait as a custom field of marketing contacts.

A request holds 30,000 contacts and 6 MB. SendGrid answers 202 before it is done, and 400 when an address in it is not valid: that contact
is left out and the others go. The custom field is named by the audience's key and made when it is not there.
Source: https://www.twilio.com/docs/sendgrid/api-reference/contacts/add-or-update-a-contact and custom-fields there (November 2026)
"""

import re
from collections.abc import Mapping
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
    Talk,
    failure,
    json_request,
    object_of,
    placed,
)
from engage_pipelines.destinations.authentication import Bearer
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record, Stop, Verdict
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer

IDENTIFIERS = ("email", "phone_number_id", "external_id", "anonymous_id")

_HOSTS = {"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"}
_NOT_VALID = re.compile(r"email '(.+?)' is not valid")
_NAMES = {"state": "state_province_region", "primary_email": "email"}


class SendgridSettings(ApiSettings):
    """The account."""

    api_key: SecretStr = Setting(min_length=1, description="API key with full access to Marketing.")
    region: Literal["global", "eu"] = Setting("global", description="Where the account's data is.")

    def api(self, rest: str) -> str:
        """The address of a path of the marketing API."""
        return self.at(f"{_HOSTS[self.region]}/v3/marketing{rest}")


def settings_from_segment(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an account for those of Segment's destinations."""
    return {"api_key": values.get("sendGridApiKey"), "region": "eu" if ".eu." in str(values.get("endpoint")) else "global"}


def _trait(name: str, description: str, at: str | None = None) -> Field:
    return Field(name, description=description, default=first_of(f"$.traits.{at or name}", f"$.properties.{at or name}"), null_allowed=True)


class Sendgrid(ApiDestination):
    """Marketing contacts in SendGrid."""

    key = "sendgrid"
    name = "SendGrid"
    description = "Sets the membership as a custom field of marketing contacts in SendGrid."
    docs_url = "https://www.twilio.com/docs/sendgrid/api-reference/contacts/add-or-update-a-contact"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = SendgridSettings
    authentication = Bearer("api_key")
    user_address_kinds = ("email",)
    actions = (
        Action(
            "update_contact",
            "Create or update the contact",
            frozenset({"identify"}),
            inputs=(
                _trait("primary_email", "E-mail address.", "email"),
                _trait("phone_number_id", "Phone number that the contact is known by.", "phone"),
                _trait("external_id", "Your own id of the contact."),
                Field("anonymous_id", description="Anonymous id of the contact.", default=path("$.anonymousId"), null_allowed=True),
                _trait("first_name", "First name."),
                _trait("last_name", "Last name."),
                _trait("country", "Country.", "address.country"),
                _trait("postal_code", "Postal code.", "address.postal_code"),
                _trait("city", "City.", "address.city"),
                _trait("state", "State.", "address.state"),
                _trait("address_line_1", "First line of the address.", "address.line1"),
                _trait("address_line_2", "Second line of the address.", "address.line2"),
                _trait("phone_number", "Phone number.", "phone"),
                _trait("whatsapp", "WhatsApp number."),
                _trait("line", "LINE id."),
                _trait("facebook", "Facebook id."),
                _trait("unique_name", "Unique name."),
                Field("customFields", "object", "Custom fields that are there, by their names or ids."),
                Field("traits", "object", "Where the membership or trait is found under the audience's key.", default=path("$.traits")),
            ),
        ),
    )
    presets = (presets.membership("update_contact"),)
    limits = Limits(max_batch_records=30_000, max_batch_bytes=5_000_000)
    segment_slugs = ("sendgrid", "actions-sendgrid")
    segment_actions = (("updateUserProfile", "update_contact"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return settings_from_segment(values)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        own, traits = payload.pop("customFields", {}), payload.pop("traits", {})
        contact = {_NAMES.get(name, name): value for name, value in payload.items()}
        if not any(contact.get(name) for name in IDENTIFIERS):
            raise UnusableError("SendGrid needs an e-mail address, a phone_number_id, an external_id or an anonymous_id")
        return {"contact": contact, "custom_fields": own, "traits": traits}

    def talk(self, batch: Batch) -> Conversation:
        key = batch.target.computation
        told = [payload["traits"][key] for payload in batch.payloads if payload["traits"].get(key) is not None]
        fields = yield from _field_ids(batch.settings, key, told)
        if not isinstance(fields, dict):
            return fields
        contacts: list[dict[str, Any]] = []
        refused: dict[int, str] = {}
        for at, payload in enumerate(batch.payloads):
            wanted = {**payload["custom_fields"], **({key: payload["traits"][key]} if key in payload["traits"] else {})}
            unknown = [name for name in wanted if name.casefold() not in fields]
            if unknown:
                refused[at] = f"SendGrid has no custom field {unknown[0]!r}: make it there, or take it out of the mapping"
            else:
                custom = {fields[name.casefold()]: _value(value) for name, value in wanted.items() if value is not None}
                contacts.append({**payload["contact"], "custom_fields": custom})
        positions = [at for at in range(len(batch.items)) if at not in refused]
        verdict = yield from put_contacts(batch.settings, contacts)
        if not isinstance(verdict, Accepted):
            return verdict
        return Accepted({**refused, **{positions[at]: reason for at, reason in verdict.rejected.items()}})

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.api("/field_definitions"))
        return failure(answer, 0) or Accepted()


def _field_ids(settings: SendgridSettings, key: str, told: list[Any]) -> Talk[dict[str, str] | Verdict]:
    """Ids of the account's custom fields by name and by id, in lower case; that of the audience is made when there is something to tell."""
    answer = yield json_request("GET", settings.api("/field_definitions"))
    failed = failure(answer, 0)
    if failed is not None:
        return failed
    there: list[dict[str, Any]] = object_of(answer).get("custom_fields") or []
    ids = {str(one["id"]).casefold(): str(one["id"]) for one in there}
    ids |= {str(one["name"]).casefold(): str(one["id"]) for one in there}
    if not told or key.casefold() in ids:
        return ids
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in told)
    made = {"name": key, "field_type": "Number" if is_number else "Text"}
    answer = yield json_request("POST", settings.api("/field_definitions"), made)
    field_id = object_of(answer).get("id")
    if not field_id:
        return failure(answer, 0) or Stop(f"SendGrid made no custom field {key!r}.", "Make it in SendGrid, as a text field.")
    return {**ids, key.casefold(): str(field_id)}


def _value(value: Any) -> Any:
    """A value as custom fields take it, which know text, numbers and dates."""
    return orjson.dumps(value).decode() if isinstance(value, bool | dict | list) else value


def put_contacts(settings: SendgridSettings, contacts: list[dict[str, Any]], list_ids: list[str] | None = None) -> Conversation:
    """The conversation that writes contacts, and puts them on lists; those whose address is not valid are left out and refused."""
    refused: dict[int, str] = {}
    left = list(range(len(contacts)))
    while left:
        body: dict[str, Any] = {"contacts": [contacts[at] for at in left]}
        answer = yield json_request("PUT", settings.api("/contacts"), body if list_ids is None else {"list_ids": list_ids, **body})
        wrong = _not_valid(answer)
        named = {at for at in left if str(contacts[at].get("email", "")).casefold() in wrong}
        if not named:
            verdict = placed(failure(answer, len(left)) or Accepted(), left)
            return Accepted({**refused, **verdict.rejected}) if isinstance(verdict, Accepted) else verdict
        refused |= dict.fromkeys(named, "SendGrid finds the e-mail address not valid")
        left = [at for at in left if at not in named]
    return Accepted(refused)


def _not_valid(answer: Answer) -> set[str]:
    """Addresses that an answer names as not valid, without regard to case."""
    errors = object_of(answer).get("errors") if answer.status == 400 else None
    messages = [str(error.get("message")) for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return {found[1].casefold() for message in messages if (found := _NOT_VALID.search(message))}
