"""Intercom: membership and traits as custom attributes of contacts and of companies (accounts).

One conversation is about one contact or company: it is searched for, then updated or made. The search lags some moments behind; whoever was
just made is then named in the refusal of a second one, and updated. A custom attribute must be known to Intercom before it is sent: the one
of the audience is made when it is not. An app may ask 10,000 times a minute, a workspace 25,000, spread evenly over
the minute; a conversation is two or three requests.
Source: https://developers.intercom.com/docs/references/rest-api/api.intercom.io/contacts and
https://developers.intercom.com/docs/references/rest-api/errors/rate-limiting (November 2026)
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

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
    query_url,
)
from engage_pipelines.destinations.authentication import Bearer
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record, Verdict
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer, Request

_HOSTS = {"us": "https://api.intercom.io", "eu": "https://api.eu.intercom.io", "au": "https://api.au.intercom.io"}
_VERSION = {"Intercom-Version": "2.11"}
_DATES = ("signed_up_at", "last_seen_at", "remote_created_at")
_WHO = (
    Field("external_id", description="The person's id.", default=path("$.userId")),
    Field("email", description="E-mail address.", default=path("$.traits.email"), format="email"),
)
_ATTRIBUTES = (
    Field("custom_attributes", "object", "Custom attributes, by their names."),
    Field("computation_key", description="Attribute of the membership or trait.", default=path("$.context.personas.computation_key")),
    Field("traits_or_props", "object", "Where its value is.", default=first_of("$.properties", "$.traits")),
)


class IntercomSettings(ApiSettings):
    """The workspace."""

    access_token: SecretStr = Setting(min_length=1, description="Access token of an app that may read and write users and companies.")
    region: Literal["us", "eu", "au"] = Setting("us", description="Where the workspace is.")

    def api(self, rest: str) -> str:
        """The address of a path of the API."""
        return self.at(f"{_HOSTS[self.region]}/{rest}")


class Intercom(ApiDestination):
    """Contacts and companies in Intercom."""

    key = "intercom"
    name = "Intercom"
    description = "Sets membership and traits as custom attributes of contacts and companies in Intercom."
    docs_url = "https://developers.intercom.com/docs/references/rest-api/api.intercom.io/contacts"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = IntercomSettings
    authentication = Bearer("access_token")
    user_address_kinds = ("user_id", "email")
    actions = (
        Action(
            "upsert_contact",
            "Create or update the contact",
            frozenset({"identify"}),
            inputs=(
                Field("role", description="Role of the contact.", default="user", required=True, choices=("user", "lead")),
                *_WHO,
                Field("phone", description="Phone number.", default=path("$.traits.phone")),
                Field("name", description="Name.", default=path("$.traits.name")),
                Field("avatar", description="URL of a picture.", default=path("$.traits.avatar"), format="uri"),
                Field("signed_up_at", "datetime", "When the person signed up."),
                Field("last_seen_at", "datetime", "When the person was last seen; a change of an audience is no such thing."),
                Field("owner_id", "number", "Id of the admin who owns the contact."),
                Field("unsubscribed_from_emails", "boolean", "Whether the person gets no e-mails."),
                *_ATTRIBUTES,
            ),
        ),
        Action(
            "upsert_company",
            "Create or update the company",
            frozenset({"group"}),
            inputs=(
                Field("company_id", description="The account's id.", default=path("$.groupId"), required=True),
                *_WHO,
                Field("remote_created_at", "datetime", "When the account began to be.", default=path("$.traits.createdAt")),
                Field("name", description="Name of the company.", default=path("$.traits.name")),
                Field("monthly_spend", "number", "What the company spends in a month.", default=path("$.traits.monthly_spend")),
                Field("plan", description="Plan of the company.", default=path("$.traits.plan")),
                Field("size", "number", "How many work there.", default=path("$.traits.employees")),
                Field("website", description="Website.", default=path("$.traits.website")),
                Field("industry", description="Industry.", default=path("$.traits.industry")),
                *_ATTRIBUTES,
            ),
        ),
    )
    presets = (presets.membership("upsert_contact"), presets.accounts("upsert_company"))
    limits = Limits(max_batch_records=1, max_batch_bytes=200_000, requests_per_s=50)
    segment_slugs = ("intercom", "actions-intercom-cloud")
    segment_actions = (("identifyContact", "upsert_contact"), ("groupIdentifyContact", "upsert_company"))

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        """Whom to look for, and what is set."""
        key, values = payload.pop("computation_key", None), payload.pop("traits_or_props", {})
        attributes = payload.pop("custom_attributes", {}) | ({key: values[key]} if key in values else {})
        sent = {name: _seconds(value) if name in _DATES else value for name, value in payload.items()}
        who = {name: sent[name] for name in ("external_id", "email") if name in sent}
        if action.key == "upsert_company":
            sent = {name: value for name, value in sent.items() if name not in who}
        elif not who:
            raise UnusableError("a contact needs an external_id or an email")
        return {"who": who, "sent": sent | ({"custom_attributes": attributes} if attributes else {})}

    def talk(self, batch: Batch) -> Conversation:
        contact = yield from _found(batch)
        if not isinstance(contact, str | None):
            return contact
        return (yield from (_contact if batch.action.key == "upsert_contact" else _company)(batch, contact))

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _request("GET", settings.api("me"))
        return failure(answer, 0) or Accepted()


def _request(method: str, url: str, body: Any = None) -> Request:
    return json_request(method, url, body, _VERSION)


def _seconds(value: Any) -> Any:
    """A date as Unix seconds; what is none is left to Intercom to refuse."""
    if not isinstance(value, str) or value.isdecimal():
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _found(batch: Batch) -> Talk[str | Verdict | None]:
    """Intercom's id of the contact, None when there is none; of several the one of the wanted role."""
    one = batch.payloads[0]
    field = next(iter(one["who"]), None)
    if field is None:
        return None
    query = {"field": field, "operator": "=", "value": one["who"][field]}
    answer = yield _request("POST", batch.settings.api("contacts/search"), {"query": query})
    failed = failure(answer, 1)
    if failed is not None:
        return failed
    contacts: list[dict[str, Any]] = [contact for contact in object_of(answer).get("data") or [] if contact.get("id")]
    wanted = (contact for contact in contacts if contact.get("role") == one["sent"].get("role"))
    contact = next(wanted, next(iter(contacts), None))
    return str(contact["id"]) if contact else None


def _contact(batch: Batch, known: str | None) -> Conversation:
    if known is None and not batch.items[0].entered:
        return Accepted()  # nobody is made only to say that they are not in
    if known is None:
        answer = yield from _written(batch, "contact", "POST", "contacts")
        known = _named(answer) if isinstance(answer, Answer) and answer.status == 409 else None
        if known is None:
            return answer if not isinstance(answer, Answer) else failure(answer, 1) or Accepted()
    answer = yield from _written(batch, "contact", "PUT", f"contacts/{quote(known, safe='')}")
    return answer if not isinstance(answer, Answer) else failure(answer, 1) or Accepted()


def _named(answer: Answer) -> str | None:
    """The contact that is there already, which Intercom names when it refuses another."""
    found = re.search(r"\bid=([0-9A-Za-z]+)", answer.body.decode(errors="replace"))
    return found[1] if found else None


def _company(batch: Batch, contact: str | None) -> Conversation:
    settings, one = batch.settings, batch.items[0]
    if not one.entered:
        answer = yield _request("GET", query_url(settings.api("companies"), {"company_id": one.payload["sent"]["company_id"]}))
        if answer.status == 404:
            return Accepted()  # none is made only to say that it is not in
        failed = failure(answer, 1)
        if failed is not None:
            return failed
    answer = yield from _written(batch, "company", "POST", "companies")
    if not isinstance(answer, Answer):
        return answer
    failed, company = failure(answer, 1), object_of(answer).get("id")
    if failed is None and contact is not None and company:
        answer = yield _request("POST", settings.api(f"contacts/{quote(contact, safe='')}/companies"), {"id": company})
        failed = failure(answer, 1)
    return failed or Accepted()


def _written(batch: Batch, model: str, method: str, place: str) -> Talk[Answer | Verdict]:
    """The answer to what is set, said again once the attribute of the audience was made."""
    sent: Mapping[str, Any] = batch.payloads[0]["sent"]
    request = _request(method, batch.settings.api(place), sent)
    answer = yield request
    name = batch.target.computation
    told = answer.body.decode(errors="replace").lower()
    value = sent.get("custom_attributes", {}).get(name)
    missing = answer.status in {400, 422} and "custom attribute" in told and "not exist" in told and name.lower() in told
    if not missing or value is None:
        return answer
    kind = "boolean" if isinstance(value, bool) else "float" if isinstance(value, int | float) else "string"
    made = yield _request("POST", batch.settings.api("data_attributes"), {"name": name, "model": model, "data_type": kind})
    failed = failure(made, 0) if made.status not in {400, 409} else None  # somebody else was quicker
    if failed is not None:
        return failed
    return (yield request)
