"""Salesforce: membership and traits as fields of contacts, leads and accounts, one by one or in bulk.

One by one, the record is looked for by its matchers (a query), then updated or made. In bulk, 200 records in a request are upserted by an
external id field, and each has an outcome of its own (sObject collections). As jobs (API 2.0), 5,000 rows are: a job is worked on after the
upload, looked at until it is done, and asked which rows it refused.
The membership is in a custom field, `<key>__c` unless the mapping says otherwise, which must be there. What an organization may ask in a
day depends on its edition; when it is used up the answer is 403.
Source: https://developer.salesforce.com/docs/platform/api-rest/guide/resources-list.html,
https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections-upsert.html,
https://developer.salesforce.com/docs/platform/api-asynch/guide/bulk-api-2-0-ingest.html (November 2026)
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import Field as Setting
from pydantic import PrivateAttr, SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    Endpoint,
    json_request,
    object_of,
    query_url,
)
from engage_pipelines.destinations.authentication import OAuth2
from engage_pipelines.destinations.base import (
    SYNC_MODE,
    Accepted,
    Action,
    Effect,
    Limits,
    MembershipAs,
    Record,
)
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.salesforce_answers import cannot_be_made, failed
from engage_pipelines.destinations.salesforce_bulk import in_bulk
from engage_pipelines.destinations.salesforce_jobs import Job
from engage_pipelines.destinations.salesforce_text import field_name, query_for

_VERSION = "v53.0"
_MODES = {"add": "create"}
_COLLECTION = Limits(max_batch_records=200, max_batch_bytes=3_000_000)
_COMMON = (
    Field("operation", description="What may happen to records.", default="upsert", choices=("create", "update", "upsert")),
    Field("recordMatcherOperator", description="Whether any or all matchers must fit.", default="OR", choices=("OR", "AND")),
    Field(
        "bulkUpsertExternalId",
        "object",
        "External id field that rows of bulk jobs are told apart by, and its value.",
        fields=(Field("externalIdName", description="API name of the field."), Field("externalIdValue", description="Its value.")),
    ),
    Field("customFields", "object", "Other fields, by their API names."),
    Field("membership_field", description="API name of the field of the membership or trait, in place of the key with __c."),
    Field("computation_key", description="Key of the membership or trait.", default=path("$.context.personas.computation_key")),
    Field("traits_or_props", "object", "Where its value is.", default=first_of("$.properties", "$.traits")),
    Field(SYNC_MODE, description="What may happen to records, as sync mode.", choices=("add", "update", "upsert")),
)
_BY_EMAIL = Field("traits", "object", "Fields that the record is found by, and their values.", default={"Email": path("$.traits.email")})
_BY_NUMBER = Field(
    "traits", "object", "Fields that the record is found by, and their values.", default={"AccountNumber": path("$.groupId")}
)


def _field(name: str, place: str, words: str) -> Field:
    return Field(name, description=words, default=first_of(f"$.traits.{place}", f"$.properties.{place}"))


def _address(prefix: str) -> tuple[Field, ...]:
    parts = ("city", "postal_code", "country", "street", "state")
    return tuple(_field(f"{prefix}{part}", f"address.{part}", f"{part.replace('_', ' ').capitalize()} of the address.") for part in parts)


_NAMES = (
    _field("last_name", "last_name", "Last name."),
    _field("first_name", "first_name", "First name."),
    _field("email", "email", "E-mail address."),
)
_CONTACT = (*_NAMES, Field("account_id", description="Salesforce's id of the contact's account."), *_address("mailing_"))
_LEAD = (_field("company", "company", "Company."), *_NAMES, *_address(""))
_ACCOUNT = (
    Field("name", description="Name of the account.", default=path("$.traits.name")),
    Field("account_number", description="The account's id.", default=path("$.groupId")),
    Field("number_of_employees", "integer", "How many work there.", default=first_of("$.traits.employees", "$.properties.employees")),
    *_address("billing_"),
    *(Field(f"shipping_{part}", description=f"Shipping {part}.") for part in ("city", "postal_code", "country", "street", "state")),
    _field("phone", "phone", "Phone number."),
    _field("description", "description", "What the account is."),
    _field("website", "website", "Website."),
)
_OBJECTS = {
    "upsert_contact": ("Contact", _CONTACT, ("LastName",)),
    "upsert_lead": ("Lead", _LEAD, ("LastName", "Company")),
    "upsert_account": ("Account", _ACCOUNT, ("Name",)),
}
"""By action the object, its standard fields, and what Salesforce makes none without."""


def _upsert(key: str, call: str, found_by: Field) -> Action:
    sobject, fields, _ = _OBJECTS[key]
    inputs = (found_by, *fields, *_COMMON)
    modes = ("upsert", "add", "update")
    return Action(key, f"Create or update the {sobject.lower()}", frozenset({call}), inputs=inputs, sync_modes=modes)


class SalesforceSettings(ApiSettings):
    """The organization."""

    instance_url: Endpoint = Setting(description="Address of the organization, such as https://acme.my.salesforce.com.")
    client_id: str = Setting(min_length=1, description="Consumer key of the connected app.")
    client_secret: SecretStr = Setting(min_length=1, description="Consumer secret of the connected app.")
    refresh_token: SecretStr = Setting(min_length=1, description="Refresh token of a user who may edit these objects.")
    sandbox: bool = Setting(False, description="On: tokens come from test.salesforce.com.")
    bulk: bool = Setting(False, description="On: 200 records in a request, told apart by an external id.")
    jobs: bool = Setting(False, description="On, with bulk: jobs of 5,000 rows (Bulk API 2.0), which use up fewer requests.")
    placeholder: str = Setting(
        "[not provided]", description="What stands for a name that Salesforce demands; empty: such records are refused."
    )

    _jobs_under_way: dict[tuple[str, ...], Job] = PrivateAttr(default_factory=dict[tuple[str, ...], Job])

    @property
    def jobs_under_way(self) -> dict[tuple[str, ...], Job]:
        """Jobs that are not done yet, by their batch, for as long as this process lasts."""
        return self._jobs_under_way

    def api(self, rest: str) -> str:
        """The address of a path of the API."""
        return self.at(f"{self.instance_url}/services/data/{_VERSION}/{rest}")


class Salesforce(ApiDestination):
    """Contacts, leads and accounts in Salesforce."""

    key = "salesforce"
    name = "Salesforce"
    description = "Sets membership and traits as fields of contacts, leads and accounts in Salesforce."
    docs_url = "https://developer.salesforce.com/docs/platform/api-rest/guide/resources-list.html"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = SalesforceSettings
    authentication = OAuth2("https://login.salesforce.com/services/oauth2/token")
    user_address_kinds = ("email",)
    actions = (
        _upsert("upsert_contact", "identify", _BY_EMAIL),
        _upsert("upsert_lead", "identify", _BY_EMAIL),
        _upsert("upsert_account", "group", _BY_NUMBER),
    )
    presets = (presets.membership("upsert_contact"), presets.accounts("upsert_account"))
    limits = Limits(max_batch_records=1, max_batch_bytes=1_000_000)
    segment_slugs = ("salesforce", "actions-salesforce")
    segment_actions = tuple((f"{name}{version}", f"upsert_{name}") for name in ("contact", "lead", "account") for version in ("", "2"))

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"instanceUrl": "instance_url", "isSandbox": "sandbox"}
        known = self.settings_model.model_fields
        return {ours.get(name, name): value for name, value in values.items() if ours.get(name, name) in known}

    def limits_with(self, settings: Any) -> Limits:
        if not settings.bulk:
            return self.limits
        return Limits(max_batch_records=5_000, max_batch_bytes=50_000_000) if settings.jobs else _COLLECTION

    def token_url(self, settings: Any) -> str:
        return settings.at(f"https://{'test' if settings.sandbox else 'login'}.salesforce.com/services/oauth2/token")

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        """How it is found, what is set, and what is set beside that on something new."""
        sobject, fields, needed = _OBJECTS[action.key]
        sent = {_api_name(field.name): payload[field.name] for field in fields if field.name in payload}
        sent |= {field_name(name): value for name, value in payload.get("customFields", {}).items()}
        sent |= _membership(payload)
        new = {name: settings.placeholder for name in needed if not sent.get(name)}
        mode = payload.get(SYNC_MODE) or payload.get("operation", "upsert")
        found: dict[str, Any] = {"object": sobject, "mode": _MODES.get(mode, mode), "sent": sent, "new": new}
        if settings.bulk:
            return found | _external_id(payload, found["mode"])
        matchers = {name: value for name, value in payload.get("traits", {}).items() if value not in (None, "")}
        if not matchers and found["mode"] != "create":
            raise UnusableError("there is no value to find the record by (traits)")
        operator = payload.get("recordMatcherOperator", "OR")
        return found | {"id": matchers.get("Id"), "query": query_for(sobject, matchers, operator) if matchers else ""}

    def talk(self, batch: Batch) -> Conversation:
        return (yield from (in_bulk if batch.settings.bulk else _alone)(batch))

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.api("limits"))
        return failed(answer, 0) or Accepted()


# ---------------------------------------------------------------------- values


def _api_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _membership(payload: Mapping[str, Any]) -> dict[str, Any]:
    key, values = payload.get("computation_key"), payload.get("traits_or_props", {})
    return {field_name(payload.get("membership_field") or f"{key}__c"): values[key]} if key in values else {}


def _external_id(payload: Mapping[str, Any], mode: str) -> dict[str, str]:
    if mode == "create":
        raise UnusableError("what goes in bulk can be repeated only as an upsert or update (operation)")
    given = payload.get("bulkUpsertExternalId", {})
    if not (given.get("externalIdName") and given.get("externalIdValue")):
        raise UnusableError("what goes in bulk needs an external id field and its value (bulkUpsertExternalId)")
    return {"field": field_name(given["externalIdName"]), "value": given["externalIdValue"]}


# ---------------------------------------------------------------------- one by one


def _alone(batch: Batch) -> Conversation:
    one, entered = batch.payloads[0], batch.items[0].entered
    known: str | None = one["id"] if one["mode"] == "update" and one["id"] else None
    if known is None and one["mode"] != "create":
        answer = yield json_request("GET", query_url(batch.settings.api("query/"), {"q": one["query"]}))
        wrong = failed(answer, 1)
        if wrong is not None:
            return wrong
        found: list[dict[str, Any]] = object_of(answer).get("records") or []
        if len(found) > 1:
            return Accepted({0: f"more than one {one['object']} in Salesforce is found by these values"})
        known = str(found[0]["Id"]) if found else None
    place = f"sobjects/{one['object']}"
    if known is not None:
        answer = yield json_request("PATCH", batch.settings.api(f"{place}/{quote(known, safe='')}"), one["sent"])
        return failed(answer, 1) or Accepted()
    if not entered:
        return Accepted()  # nobody is made only to say that they are not in
    reason = cannot_be_made(one)
    if reason is not None:
        return Accepted({0: reason})
    answer = yield json_request("POST", batch.settings.api(place), {**one["sent"], **one["new"]})
    return failed(answer, 1) or Accepted()
