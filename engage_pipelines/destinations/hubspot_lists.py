"""HubSpot lists: an audience as a static list of contacts, or of records of another object.

Who enters is made or updated by a unique property, 100 in a request, and added by HubSpot's own id; who leaves is looked up and taken off
the list, and stays a contact. A list takes 100,000 changes in a request. A repeat does nothing.
Source: https://developers.hubspot.com/docs/api-reference/latest/crm/lists/guide (November 2026)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from pydantic import Field as Setting

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, Talk, failure, json_request, object_of
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
from engage_pipelines.destinations.fields import Field, first_of
from engage_pipelines.destinations.hubspot import HubspotSettings
from engage_pipelines.destinations.hubspot_records import API, batch_request, flattened, known_ids, write

LISTS = f"{API}/crm/v3/lists"


class HubspotListSettings(Settings):
    """What may be said of one list."""

    object_type: str = Setting("contact", min_length=1, description="Object that the list is of.")
    id_field_name: str = Setting("email", min_length=1, description="Unique property that its records are found by.")
    list_name: str | None = Setting(None, description="Name of the list; the audience's own unless said.")


_USUAL = {"object_type": "contact", "id_field_name": "email"}


class HubspotLists(ApiDestination):
    """A static list in HubSpot for each connection."""

    key = "hubspot_lists"
    name = "HubSpot lists"
    description = "Keeps an audience as a static list in HubSpot."
    docs_url = "https://developers.hubspot.com/docs/api-reference/latest/crm/lists/guide"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = HubspotSettings
    list_settings_model = HubspotListSettings
    authentication = Bearer("access_token")
    user_address_kinds = ("email",)
    creates_lists = True
    actions = (
        Action(
            "sync_list",
            "Keep the list",
            frozenset({"identify", "track"}),
            inputs=(
                Field(
                    "id_field_value",
                    description="Value of the unique property; an e-mail address unless the list says otherwise.",
                    default=first_of("$.traits.email", "$.context.traits.email"),
                    required=True,
                ),
                Field("properties", "object", "Properties to set on those who enter."),
            ),
        ),
    )
    presets = (presets.membership("sync_list"), presets.entered_and_exited("sync_list"))
    limits = Limits(max_batch_records=100, max_batch_bytes=2_000_000, requests_per_s=10)
    segment_slugs = ("hubspot-lists",)  # Segment has lists as a part of upsertObject; the type of that name is `hubspot`
    segment_actions = (("upsertObject", "sync_list"),)

    def fields_from_segment(self, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[str]]:
        details = {**_object(fields.get("object_details")), **_object(fields.get("list_details"))}
        said = {name: details[name] for name in HubspotListSettings.model_fields if isinstance(details.get(name), str)}
        wanted = " ".join(f"--list-setting {name}={value}" for name, value in said.items() if value != _USUAL.get(name))
        ours = {"id_field_value": details.get("id_field_value"), "properties": fields.get("properties")}
        notes = ["the list belongs to the connection of an audience: it is named like the audience, and made with the first sync"]
        notes += [f"connect the audience with {wanted}"] if wanted else []
        return {name: value for name, value in ours.items() if value is not None}, notes

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        return {"id": payload["id_field_value"].strip(), "properties": flattened(payload.get("properties", {}))}

    def talk(self, batch: Batch) -> Conversation:
        list_id = batch.list_id()
        if list_id is None:
            return Stop("the connection has no list in HubSpot yet.", "Sync the connection: its list is made first.")
        said = _said(batch.target)
        names = [one["id"].lower() if said.id_field_name == "email" else one["id"] for one in batch.payloads]
        entering, leaving = ([names[at] for at in batch.positions(entered=entered)] for entered in (True, False))
        refused: dict[str, str] = {}
        ids: dict[str, str] = {}
        if entering:
            verdict = yield from _made(batch, said, names, ids)
            if isinstance(verdict, Accepted):
                refused = {entering[at]: reason for at, reason in verdict.rejected.items()}
            elif verdict is not None:
                return verdict
            refused |= {name: "HubSpot did not say which record this is" for name in entering if name not in ids and name not in refused}
        if leaving:
            failed = yield from _looked_up(batch, said, leaving, ids)
            if failed is not None:
                return failed
        change = {"recordIdsToAdd": _ids(entering, ids), "recordIdsToRemove": _ids(leaving, ids)}
        if any(change.values()):
            url = batch.settings.at(f"{LISTS}/{quote(list_id, safe='')}/memberships/add-and-remove")
            answer = yield json_request("PUT", url, change)
            failed = failure(answer, 0)
            if failed is not None:
                return failed
            missing = {str(one) for one in object_of(answer).get("recordIdsMissing") or []}
            refused |= {name: "HubSpot does not know this record" for name in entering if ids.get(name) in missing}
        return Accepted({at: refused[name] for at, name in enumerate(names) if batch.items[at].entered and name in refused})

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.at(f"{API}/crm/v3/objects/contacts?limit=1"))
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        said = _said(target)
        place = (
            f"/{quote(target.external_id, safe='')}"
            if target.external_id
            else f"/object-type-id/{quote(said.object_type, safe='')}/name/{quote(_name(target), safe='')}"
        )
        answer = yield json_request("GET", settings.at(LISTS + place))
        if answer.status == 404:
            return None
        found: dict[str, Any] = object_of(answer).get("list") or {}
        if found.get("processingType") == "DYNAMIC":
            return Stop(
                "the list of this name in HubSpot is an active one, which HubSpot itself keeps.",
                "Give the connection's list another name, or make that list static.",
            )
        return ListId(str(found["listId"])) if "listId" in found else failure(answer, 0)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        made = {"name": _name(target), "objectTypeId": _said(target).object_type, "processingType": "MANUAL"}
        answer = yield json_request("POST", settings.at(LISTS), made)
        found: dict[str, Any] = object_of(answer).get("list") or {}
        if "listId" in found:
            return ListId(str(found["listId"]))
        return failure(answer, 0) or Stop("HubSpot made no list.", "Check that the private app may write lists (crm.lists.write).")


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _said(target: Target) -> HubspotListSettings:
    known = HubspotListSettings.model_fields
    return HubspotListSettings.model_validate({name: value for name, value in target.list_settings.items() if name in known})


def _name(target: Target) -> str:
    return target.list_name(_said(target).list_name)


def _ids(names: Iterable[str], ids: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(ids[name] for name in names if name in ids))


def _made(batch: Batch, said: HubspotListSettings, names: list[str], ids: dict[str, str]) -> Talk[Verdict | None]:
    """Those who enter are made or updated; their ids are noted. A refusal counts positions among them."""
    prop = said.id_field_name
    inputs = {
        names[at]: {"idProperty": prop, "id": names[at], "properties": {**batch.payloads[at]["properties"], prop: names[at]}}
        for at in batch.positions(entered=True)
    }
    answer, verdict = yield from write(batch, said.object_type, "upsert", inputs, None)
    if verdict is None:
        ids |= known_ids(answer, list(inputs), prop)
    return verdict


def _looked_up(batch: Batch, said: HubspotListSettings, leaving: list[str], ids: dict[str, str]) -> Talk[Verdict | None]:
    """The ids of those who leave are noted; nobody is made to be taken off a list."""
    prop = said.id_field_name
    read = {"properties": [prop], "idProperty": prop, "inputs": [{"id": name} for name in dict.fromkeys(leaving)]}
    answer = yield batch_request(batch.settings, said.object_type, "read", read)
    failed = failure(answer, 0)
    if failed is None:
        ids |= known_ids(answer, leaving, prop)
    return failed
