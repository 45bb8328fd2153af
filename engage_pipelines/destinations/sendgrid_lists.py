"""SendGrid lists: an audience as a list of marketing contacts.

Contacts come onto a list as they are written; SendGrid answers 202 before it is done. Who leaves is looked for by identifiers, 100 at a
time, and taken off the list, 100 at a time: the contact stays, and nobody is written for leaving. A contact that is written takes some
minutes to be found: hence the time between two syncs. An account has 1,000 lists at most.
Source: https://www.twilio.com/docs/sendgrid/api-reference/lists, get-contacts-by-emails and get-contacts-by-identifiers (November 2026)
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic import Field as Setting

from engage_pipelines.destinations import normalising, presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, Talk, failure, json_request, object_of, placed, query_url
from engage_pipelines.destinations.authentication import Bearer
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
from engage_pipelines.destinations.http import Request
from engage_pipelines.destinations.parts import parts
from engage_pipelines.destinations.sendgrid import IDENTIFIERS, SendgridSettings, put_contacts, settings_from_segment

MOST = 100

_LIST = "external_audience_id"
_ATTRIBUTES = {
    "first_name": ("first_name", "First name."),
    "last_name": ("last_name", "Last name."),
    "phone_number": ("phone", "Phone number, E.164; the contact is not known by it."),
    "address_line_1": ("street", "First line of the address."),
    "address_line_2": ("address_line_2", "Second line of the address."),
    "city": ("city", "City."),
    "state_province_region": ("state", "State, province or region."),
    "country": ("country", "Country."),
    "postal_code": ("postal_code", "Postal code."),
}


class SendgridListsSettings(SendgridSettings):
    """The account whose lists are kept."""

    account: str = Setting(
        "", description="A name for the account, where there are several: lists of the same audience are told apart by it."
    )


class SendgridListSettings(Settings):
    """What may be said of one list."""

    listName: str | None = Setting(None, description="Name of the list; the audience's own unless said.")  # noqa: N815


class SendgridLists(ApiDestination):
    """A list in SendGrid for each connection."""

    key = "sendgrid_lists"
    name = "SendGrid lists"
    description = "Keeps an audience as a list of marketing contacts in SendGrid."
    docs_url = "https://www.twilio.com/docs/sendgrid/api-reference/lists"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = SendgridListsSettings
    list_settings_model = SendgridListSettings
    authentication = Bearer("api_key")
    user_address_kinds = ("email",)
    creates_lists = True
    list_ids_are_unique = True
    min_interval_s = 300
    actions = (
        Action(
            "sync_audience",
            "Keep the list",
            frozenset({"identify", "track"}),
            inputs=(
                Field(
                    "identifiers",
                    "object",
                    "What the contact is known by.",
                    default={"email": first_of("$.traits.email", "$.context.traits.email")},
                    required=True,
                    fields=(
                        Field("email", description="E-mail address.", format="email"),
                        Field("phone_number_id", description="Phone number, E.164."),
                        Field("external_id", description="Your own id of the contact."),
                        Field("anonymous_id", description="Anonymous id of the contact."),
                    ),
                ),
                Field(
                    "user_attributes",
                    "object",
                    "What else to know of the contact.",
                    default={name: first_of(f"$.traits.{at}", f"$.properties.{at}") for name, (at, _) in _ATTRIBUTES.items()},
                    fields=tuple(Field(name, description=words) for name, (_, words) in _ATTRIBUTES.items()),
                ),
                Field("custom_text_fields", "object", "Custom fields of text, by their ids."),
                Field("custom_number_fields", "object", "Custom fields of numbers, by their ids."),
                Field("custom_date_fields", "object", "Custom fields of dates, by their ids; ISO 8601."),
                Field(
                    _LIST,
                    description="The list, where it is not the connection's own.",
                    default=path("$.context.personas.external_audience_id"),
                ),
            ),
            batch_keys=(_LIST,),
        ),
    )
    presets = (presets.membership("sync_audience"), presets.entered_and_exited("sync_audience"))
    limits = Limits(max_batch_records=1_000, max_batch_bytes=4_000_000)
    segment_slugs = ("sendgrid-audiences", "actions-sendgrid-audiences")
    segment_actions = (("syncAudience", "sync_audience"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return settings_from_segment(values)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        known_by: dict[str, Any] = payload["identifiers"]
        about: dict[str, Any] = payload.get("user_attributes", {})
        if not known_by:
            raise UnusableError("a list takes people by email, phone_number_id, external_id or anonymous_id")
        for values, name in ((known_by, "phone_number_id"), (about, "phone_number")):
            if name in values:
                values[name] = normalising.phone(values[name])
        custom = _custom_fields(payload)
        contact = {**known_by, **about, **({"custom_fields": custom} if custom else {})}
        return {"contact": contact, **({_LIST: payload[_LIST]} if _LIST in payload else {})}

    def talk(self, batch: Batch) -> Conversation:
        list_id = batch.list_id(_LIST)
        if list_id is None:
            return Stop("the connection has no list in SendGrid yet.", "Sync the connection: its list is made first.")
        refused: dict[int, str] = {}
        for entered in (True, False):
            positions = batch.positions(entered=entered)
            contacts = [batch.payloads[at]["contact"] for at in positions]
            if contacts:
                change = put_contacts(batch.settings, contacts, [list_id]) if entered else _removed(batch.settings, contacts, list_id)
                verdict = placed((yield from change), positions)
                if not isinstance(verdict, Accepted):
                    return verdict
                refused |= verdict.rejected
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _lists(settings)
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        if target.external_id:
            answer = yield json_request("GET", settings.api(f"/lists/{quote(target.external_id, safe='')}"))
            return None if answer.status == 404 else failure(answer, 0) or ListId(target.external_id)
        answer = yield _lists(settings)
        found = (str(one["id"]) for one in object_of(answer).get("result") or [] if one.get("name") == _name(target))
        list_id = next(found, None)
        return failure(answer, 0) or (ListId(list_id) if list_id else None)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        answer = yield json_request("POST", settings.api("/lists"), {"name": _name(target)})
        made = object_of(answer).get("id")
        return failure(answer, 0) or (ListId(str(made)) if made else Stop("SendGrid made no list.", "Check what the API key may do."))


def _name(target: Target) -> str:
    return target.list_name(target.list_settings.get("listName"), longest=100)


def _lists(settings: SendgridSettings) -> Request:
    """All lists there can be."""
    return json_request("GET", query_url(settings.api("/lists"), {"page_size": "1000"}))


def _custom_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    dates: dict[str, Any] = payload.get("custom_date_fields", {})
    fields = {**payload.get("custom_text_fields", {}), **payload.get("custom_number_fields", {})}
    return {name: value for name, value in fields.items() if value is not None} | {name: _date(value) for name, value in dates.items()}


def _date(value: Any) -> str:
    """A date as SendGrid writes it, in UTC."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise UnusableError("a custom date field must be a date such as 2026-03-01") from None
    return f"{at.astimezone(UTC) if at.tzinfo else at:%m/%d/%Y}"


def _removed(settings: SendgridSettings, contacts: list[dict[str, Any]], list_id: str) -> Conversation:
    """Those whom SendGrid knows are taken off the list; whom it does not know is on none."""
    ids: list[str] = []
    for kind in IDENTIFIERS:
        for part in parts((str(one[kind]) for one in contacts if one.get(kind)), MOST):
            answer = yield _search(settings, kind, part)
            if answer.status == 404:
                continue
            failed = failure(answer, len(contacts))
            if failed is not None:
                return failed
            found = [one.get("contact") for one in (object_of(answer).get("result") or {}).values()]
            ids += [str(contact["id"]) for contact in found if contact]
    for part in parts(ids, MOST):
        url = query_url(settings.api(f"/lists/{quote(list_id, safe='')}/contacts"), {"contact_ids": ",".join(part)})
        answer = yield json_request("DELETE", url)
        failed = failure(answer, 0)
        if failed is not None:
            return failed
    return Accepted()


def _search(settings: SendgridSettings, kind: str, values: list[str]) -> Request:
    """A search by identifiers; addresses are found in whatever case they are written."""
    if kind == "email":
        return json_request("POST", settings.api("/contacts/search/emails"), {"emails": values})
    return json_request("POST", settings.api(f"/contacts/search/identifiers/{kind}"), {"identifiers": values})
