"""HubSpot: membership and traits as properties of contacts, companies (accounts) and records of other objects.

A request about contacts or records holds 100. They are read first: those who are there are updated, the others made, but nobody only to say
that they are not in. HubSpot answers a batch as one; e-mail addresses come back in lower case. The property of an audience is made when
HubSpot has none of its name, and so is the one that holds an account's id on companies. A private app may ask 100 times in ten seconds on
the smallest plan.
Source: https://developers.hubspot.com/docs/api-reference/latest/crm/objects/contacts/guide and
https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines (November 2026)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
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
    placed,
)
from engage_pipelines.destinations.authentication import Bearer
from engage_pipelines.destinations.base import SYNC_MODE, Accepted, Action, Effect, Limits, MembershipAs, Record, Verdict
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer
from engage_pipelines.destinations.hubspot_records import (
    API,
    COMPANY_ID,
    GROUPS,
    batch_request,
    flattened,
    known_ids,
    membership,
    property_value,
    write,
    written,
)

_MEMBERSHIP = (
    Field("computation_key", description="Property of the membership or trait.", default=path("$.context.personas.computation_key")),
    Field("traits_or_props", "object", "Where its value is.", default=first_of("$.properties", "$.traits")),
)
_PROPERTIES = Field("properties", "object", "Other properties, by their internal names.")
_STAGE = Field("lifecyclestage", description="Lifecycle stage, forwards or backwards.")


def _field(name: str, where: str, words: str, otherwise: str = "") -> Field:
    return Field(name, description=words, default=first_of(where, otherwise) if otherwise else path(where))


_ADDRESS = (
    _field("address", "$.traits.address.street", "Street."),
    _field("city", "$.traits.address.city", "City."),
    _field("state", "$.traits.address.state", "State."),
    _field("zip", "$.traits.address.postalCode", "Postal code.", "$.traits.address.postal_code"),
)
_CONTACT = (
    _field("company", "$.traits.company", "Name of the company."),
    _field("firstname", "$.traits.first_name", "First name.", "$.traits.firstName"),
    _field("lastname", "$.traits.last_name", "Last name.", "$.traits.lastName"),
    _field("phone", "$.traits.phone", "Phone number."),
    *_ADDRESS,
    _field("country", "$.traits.address.country", "Country."),
    _field("website", "$.traits.website", "Website."),
    _STAGE,
)
_COMPANY = (
    _field("name", "$.traits.name", "Name of the company."),
    _field("description", "$.traits.description", "What the company does."),
    *_ADDRESS,
    _field("domain", "$.traits.website", "Domain."),
    _field("phone", "$.traits.phone", "Phone number."),
    Field("numberofemployees", "integer", "How many work there.", default=path("$.traits.employees")),
    _field("industry", "$.traits.industry", "Industry."),
    _STAGE,
)
OBJECT_DETAILS = (
    Field("object_type", description="Object, such as contact or an object of your own.", required=True),
    Field("id_field_name", description="Unique property that records are found by.", required=True),
    Field("id_field_value", description="Its value.", required=True),
    Field("property_group", description="Group of properties in which a missing property of an audience is made; none is made without."),
)


class HubspotSettings(ApiSettings):
    """The account."""

    access_token: SecretStr = Setting(min_length=1, description="Access token of a private app that may read and write these objects.")


class Hubspot(ApiDestination):
    """Contacts, companies and records in HubSpot."""

    key = "hubspot"
    name = "HubSpot"
    description = "Sets membership and traits as properties of contacts, companies and other records in HubSpot."
    docs_url = "https://developers.hubspot.com/docs/api-reference/latest/crm/objects/contacts/guide"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = HubspotSettings
    authentication = Bearer("access_token")
    user_address_kinds = ("email",)
    actions = (
        Action(
            "upsert_contact",
            "Create or update the contact",
            frozenset({"identify"}),
            inputs=(
                Field("email", description="E-mail address.", default=path("$.traits.email"), required=True, format="email"),
                *_CONTACT,
                _PROPERTIES,
                *_MEMBERSHIP,
            ),
        ),
        Action(
            "upsert_company",
            "Create or update the company",
            frozenset({"group"}),
            inputs=(
                Field("groupid", description="The account's id.", default=first_of("$.groupId", "$.context.groupId"), required=True),
                Field("createNewCompany", "boolean", "On: a company that is not there is made.", default=True),
                Field("associateContact", "boolean", "On: the contact with contact_email is told to belong to it.", default=True),
                Field("contact_email", description="E-mail address of that contact.", default=path("$.context.traits.email")),
                Field("companysearchfields", "object", "Properties and values to find the company by, when its id is not known."),
                *_COMPANY,
                _PROPERTIES,
                *_MEMBERSHIP,
            ),
            limits=Limits(max_batch_records=1, max_batch_bytes=500_000, requests_per_s=10),
        ),
        Action(
            "upsert_object",
            "Create or update a record of any object",
            frozenset({"identify", "group"}),
            inputs=(
                Field("object_details", "object", "Which record of which object.", required=True, fields=OBJECT_DETAILS),
                _PROPERTIES,
                Field("sensitive_properties", "object", "Properties that HubSpot keeps as sensitive."),
                *_MEMBERSHIP,
                Field(SYNC_MODE, description="What may happen to records.", choices=("upsert", "add", "update")),
            ),
            sync_modes=("upsert", "add", "update"),
        ),
    )
    presets = (presets.membership("upsert_contact"), presets.accounts("upsert_company"))
    limits = Limits(max_batch_records=100, max_batch_bytes=2_000_000, requests_per_s=10)
    segment_slugs = ("hubspot", "actions-hubspot-cloud")
    segment_actions = (("upsertContact", "upsert_contact"), ("upsertCompany", "upsert_company"), ("upsertObject", "upsert_object"))

    def type_from_segment(self, fields: Mapping[str, Any]) -> str:
        details = fields.get("list_details")
        has_list = isinstance(details, dict) and (details.get("connected_to_engage_audience") or details.get("list_name"))
        return "hubspot_lists" if has_list else self.key

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        member = membership(payload)
        own = {**flattened(payload.get("properties", {})), **flattened(payload.get("sensitive_properties", {})), **member}
        if action.key == "upsert_object":
            return {**payload["object_details"], "mode": payload.get(SYNC_MODE, "upsert"), "properties": own}
        if action.key == "upsert_company":
            if COMPANY_ID in own:
                raise UnusableError(f"the property {COMPANY_ID} holds the account's id and cannot be set")
            return {**payload, "properties": {**_standard(payload, _COMPANY), COMPANY_ID: payload["groupid"], **own}}
        email = payload["email"].strip().lower()
        return {"id": email, "properties": {**_standard(payload, _CONTACT), "email": email, **own}}

    def talk(self, batch: Batch) -> Conversation:
        return _CONVERSATIONS[batch.action.key](batch)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.at(f"{API}/crm/v3/objects/contacts?limit=1"))
        return failure(answer, 0) or Accepted()


def _standard(payload: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    found = {field.name: property_value(payload[field.name]) for field in fields if field.name in payload}
    return found | ({"lifecyclestage": found["lifecyclestage"].lower()} if "lifecyclestage" in found else {})


def _contacts(batch: Batch) -> Conversation:
    last = {one["id"]: one for one in batch.payloads}
    read = {
        "properties": ["email", "lifecyclestage", "hs_additional_emails"],
        "idProperty": "email",
        "inputs": [{"id": one} for one in last],
    }
    answer = yield batch_request(batch.settings, "contacts", "read", read)
    failed = failure(answer, 0)
    if failed is not None:
        return failed
    known = known_ids(answer, list(last), "email")
    entering = {item.payload["id"] for item in batch.items if item.entered}
    new = {email: {"properties": one["properties"]} for email, one in last.items() if email not in known and email in entering}
    there = {
        email: {"id": known[email], "properties": {name: value for name, value in last[email]["properties"].items() if name != "email"}}
        for email in last
        if email in known
    }
    refused: dict[str, str] = {}
    for what, inputs in (("create", new), ("update", there)):
        if not inputs:
            continue
        answer, verdict = yield from write(batch, "contacts", what, inputs, GROUPS["contacts"])
        if isinstance(verdict, Accepted):
            refused[next(iter(inputs))] = verdict.rejected[0]
        elif verdict is not None:
            return verdict
        elif what == "update":
            failed = yield from _stages(batch, answer, inputs)
            if failed is not None:
                return failed
    return Accepted({at: refused[one["id"]] for at, one in enumerate(batch.payloads) if one["id"] in refused})


def _stages(batch: Batch, answer: Answer, inputs: Mapping[str, Any]) -> Talk[Verdict | None]:
    """A lifecycle stage goes backwards only when it was emptied before."""
    wanted = {one["id"]: one["properties"]["lifecyclestage"] for one in inputs.values() if "lifecyclestage" in one["properties"]}
    has = {str(one.get("id")): (one.get("properties") or {}).get("lifecyclestage") for one in object_of(answer).get("results", [])}
    back = {known: stage for known, stage in wanted.items() if known in has and has[known] != stage}
    for stages in (dict.fromkeys(back, ""), back):
        if stages:
            change = [{"id": known, "properties": {"lifecyclestage": stage}} for known, stage in stages.items()]
            answer = yield batch_request(batch.settings, "contacts", "update", {"inputs": change})
            failed = failure(answer, len(change))
            if failed is not None:
                return failed
    return None


def _objects(batch: Batch) -> Conversation:
    parts: dict[tuple[str, str], list[int]] = {}
    for at, one in enumerate(batch.payloads):
        parts.setdefault((one["object_type"], one["id_field_name"]), []).append(at)
    refused: dict[int, str] = {}
    for positions in parts.values():
        verdict = yield from _records(replace(batch, items=tuple(batch.items[at] for at in positions)))
        if not isinstance(verdict, Accepted):
            return verdict
        refused |= {positions[at]: reason for at, reason in verdict.rejected.items()}
    return Accepted(refused)


def _records(batch: Batch) -> Conversation:
    """The conversation about records of one object that are found by one property."""
    first = batch.payloads[0]
    place, prop, mode, group = first["object_type"], first["id_field_name"], first["mode"], first.get("property_group")
    last = {one["id_field_value"]: one for one in batch.payloads}
    entering = {item.payload["id_field_value"] for item in batch.items if item.entered}
    known: dict[str, str] = {}
    if mode != "upsert" or len(entering) < len(last):
        read = {"properties": [prop], "idProperty": prop, "inputs": [{"id": one} for one in last]}
        answer = yield batch_request(batch.settings, place, "read", read)
        failed = failure(answer, 0)
        if failed is not None:
            return failed
        known = known_ids(answer, list(last), prop)
    refused: dict[str, str] = {}
    for what, values in _steps(mode, list(last), entering, known).items():
        inputs = {value: _input(what, prop, value, last[value]["properties"]) for value in values}
        if inputs:
            _, verdict = yield from write(batch, place, what, inputs, GROUPS.get(place, group))
            if isinstance(verdict, Accepted):
                refused[next(iter(inputs))] = verdict.rejected[0]
            elif verdict is not None:
                return verdict
    return Accepted({at: refused[value] for at, one in enumerate(batch.payloads) if (value := one["id_field_value"]) in refused})


def _steps(mode: str, values: list[str], entering: set[str], known: Mapping[str, str]) -> dict[str, list[str]]:
    """What is written of which records: nobody is made only to say that they are not in."""
    if mode == "add":
        return {"create": [value for value in values if value not in known and value in entering]}
    if mode == "update":
        return {"update": [value for value in values if value in known]}
    return {
        "upsert": [value for value in values if value in entering],
        "update": [value for value in values if value not in entering and value in known],
    }


def _input(what: str, prop: str, value: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    named = {} if what == "create" else {"id": value}
    return {"idProperty": prop, **named, "properties": {**properties} if what == "update" else {**properties, prop: value}}


# ---------------------------------------------------------------------- companies


def _company(batch: Batch) -> Conversation:
    one, entered = batch.payloads[0], batch.items[0].entered
    url = batch.settings.at(f"{API}/crm/v3/objects/companies")
    body = {"properties": one["properties"]}
    request = json_request("PATCH", f"{url}/{quote(one['groupid'], safe='')}?idProperty={COMPANY_ID}", body)
    answer = yield from written(batch, "companies", request, one["properties"], GROUPS["companies"])
    if isinstance(answer, Answer) and answer.status == 404:
        found = yield from _found_company(batch.settings.at(f"{API}/crm/v3/objects/companies/search"), one.get("companysearchfields") or {})
        if not isinstance(found, str | None):
            return found
        if found is None and not (entered and one.get("createNewCompany", True)):
            return Accepted()
        made = {**body, "associations": []}
        request = json_request("PATCH", f"{url}/{found}", body) if found else json_request("POST", url, made)
        answer = yield from written(batch, "companies", request, one["properties"], GROUPS["companies"])
    if not isinstance(answer, Answer):
        return answer
    failed = failure(answer, 1)
    if failed is None and one.get("associateContact") and one.get("contact_email"):
        failed = yield from _associated(batch, str(object_of(answer).get("id", "")), one["contact_email"].strip().lower())
    return failed or Accepted()


def _found_company(url: str, by: Mapping[str, Any]) -> Talk[str | Verdict | None]:
    """The company with one of these properties; refused when there are several."""
    if not by:
        return None
    groups = [{"filters": [{"propertyName": name, "operator": "EQ", "value": value}]} for name, value in by.items()]
    asked = {"filterGroups": groups, "properties": ["name", "domain", "lifecyclestage", COMPANY_ID], "sorts": ["name"]}
    answer = yield json_request("POST", url, asked)
    failed = failure(answer, 1)
    results = object_of(answer).get("results", [])
    if failed is not None or not results:
        return failed
    if len(results) > 1:
        return Accepted({0: "more than one company in HubSpot is found by companysearchfields"})
    return str(results[0].get("id"))


def _associated(batch: Batch, company: str, email: str) -> Talk[Verdict | None]:
    """The contact of that address belongs to the company; one whom HubSpot does not know is left alone."""
    answer = yield json_request("GET", batch.settings.at(f"{API}/crm/v3/objects/contacts/{quote(email, safe='')}?idProperty=email"))
    if answer.status == 404:
        return None
    failed, contact = failure(answer, 1), object_of(answer).get("id")
    if failed is not None or not contact:
        return failed
    place = f"companies/{company}/associations/contacts/{contact}/company_to_contact"
    answer = yield json_request("PUT", batch.settings.at(f"{API}/crm/v3/objects/{place}"))
    failed = failure(answer, 1)
    return None if failed is None else placed(failed, [0])


_CONVERSATIONS = {"upsert_contact": _contacts, "upsert_company": _company, "upsert_object": _objects}
