"""Marketo: an audience as a static list of people.

Who enters is imported as CSV with the list's number; a file holds 10 MB, ten imports wait at most, and Marketo answers before it is done.
Who leaves is looked for, 300 at a time, and taken off the list; the person stays. An import takes some minutes, and who leaves before
theirs is done is not found: hence the time between two syncs. An instance takes 100 calls in 20 seconds.
Marketo answers 200 to nearly everything: `success` and the codes of `errors` say what became of it, an expired token (601, 602) among them.
Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/error-codes, bulk-import/bulk-lead-import,
lead-database/list-membership and assets/static-lists there (November 2026)
"""

import csv
import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson
from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    Batch,
    Conversation,
    Endpoint,
    Talk,
    failure,
    json_request,
    object_of,
    query_url,
)
from engage_pipelines.destinations.authentication import OAuth2
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
from engage_pipelines.destinations.fields import Field, UnusableError, checked, first_of, path
from engage_pipelines.destinations.http import Answer, Request
from engage_pipelines.destinations.parts import parts

BOUNDARY = "engage-pipelines-leads-5b1f7c3e9d"
MOST = 300

_TOKEN_CODES = frozenset({"601", "602"})
_PAUSES_S = {"606": 20.0, "607": 3_600.0, "615": 5.0}
"""Too many calls in 20 seconds, on this day, at the same time."""
_LATER = frozenset({"502", "604", "608", "611", "713", "719", "1016", "1019", "1029"})
"""Marketo is ill or busy: timeouts, too many imports waiting, one for this list under way."""
_NOT_THERE = frozenset({"610", "702"})

_EMAIL = (Field("email", format="email"),)
_FROM_TRAITS: dict[str, Any] = {
    "@if": {
        "exists": path("$.context.traits.email"),
        "then": path("$.context.traits.email"),
        "else": first_of("$.traits.email", "$.properties.email"),
    }
}
_LIST = Field(
    "external_id",
    description="Number of the list, where it is not the connection's own.",
    default=path("$.context.personas.external_audience_id"),
)
_LOOKUP = Field(
    "lookup_field",
    description="By which field Marketo finds a person.",
    default="email",
    required=True,
    choices=(
        "email",
        "id",
        "cookies",
        "twitterId",
        "facebookId",
        "linkedinId",
        "sfdcAccountId",
        "sfdcContactId",
        "sfdcLeadId",
        "sfdcOpptyId",
    ),
)


class MarketoSettings(Settings):
    """The Marketo instance."""

    client_id: str = Setting(min_length=1, description="Client id of the API service (LaunchPoint).")
    client_secret: SecretStr = Setting(min_length=1, description="Client secret of the API service.")
    endpoint: Endpoint = Setting(description="REST API endpoint of the instance, such as https://123-ABC-456.mktorest.com.")
    folder: str = Setting(min_length=1, description="Name of the folder that lists are made in.")

    def api(self, rest: str) -> str:
        """The address of a path of the instance."""
        return self.endpoint.removesuffix("/rest") + rest


class MarketoStaticLists(ApiDestination):
    """A static list in Marketo for each connection."""

    key = "marketo_static_lists"
    name = "Marketo static lists"
    description = "Keeps an audience as a static list in Marketo."
    docs_url = "https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/bulk-import/bulk-lead-import"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = MarketoSettings
    authentication = OAuth2("", grant="client_credentials")
    user_address_kinds = ("email",)
    creates_lists = True
    min_interval_s = 300
    actions = (
        Action(
            "add_to_list",
            "Add to the list",
            frozenset({"identify", "track"}),
            direction="entered",
            inputs=(
                _LIST,
                _LOOKUP,
                Field("data", "object", "Fields of the person by their names in Marketo.", default={"email": _FROM_TRAITS}, required=True),
            ),
            batch_keys=("external_id", "lookup_field"),
        ),
        Action(
            "remove_from_list",
            "Remove from the list",
            frozenset({"identify", "track"}),
            direction="exited",
            inputs=(_LIST, _LOOKUP, Field("field_value", description="Value of that field.", default=_FROM_TRAITS, required=True)),
            batch_keys=("external_id", "lookup_field"),
            limits=Limits(max_batch_records=MOST, max_batch_bytes=1_000_000, requests_per_s=5),
        ),
    )
    presets = presets.list_pairs("add_to_list", "remove_from_list")
    limits = Limits(max_batch_records=50_000, max_batch_bytes=9_000_000, requests_per_s=5)
    segment_slugs = ("marketo-static-lists", "actions-marketo-static-lists")
    segment_actions = (("addToList", "add_to_list"), ("removeFromList", "remove_from_list"))

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"client_id": "client_id", "client_secret": "client_secret", "api_endpoint": "endpoint", "folder_name": "folder"}
        return {ours[name]: value for name, value in values.items() if name in ours}

    def token_url(self, settings: Any) -> str:
        return settings.api("/identity/oauth/token")

    def token_refused(self, answer: Answer) -> bool:
        return answer.status == 401 or _code(answer) in _TOKEN_CODES

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        lookup = payload["lookup_field"]
        value = payload.get("field_value") or _cell(payload.get("data", {}).get(lookup))
        if not value:
            raise UnusableError("the field that Marketo finds people by is empty")
        if lookup == "email":
            checked({"email": value}, _EMAIL)
        if action.key == "remove_from_list":
            if "," in value:
                raise UnusableError("Marketo cannot look for a value with a comma in it")
            return payload
        cells = {name: _cell(one) for name, one in payload["data"].items()}
        if any(BOUNDARY in cell for cell in cells.values()):
            raise UnusableError("a field holds the text that ends a file to import")
        return {**payload, "data": cells}

    def talk(self, batch: Batch) -> Conversation:
        list_id = batch.list_id("external_id")
        if list_id is None:
            return Stop("the connection has no list in Marketo yet.", "Sync the connection: its list is made first.")
        if batch.action.key == "remove_from_list":
            return (yield from _removed(batch, list_id))
        answer = yield _import(batch, list_id)
        return read(answer, len(batch.items)) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        folder = yield from _folder(settings)
        return Accepted() if isinstance(folder, str) else folder

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        if target.external_id:
            url = settings.api(f"/rest/asset/v1/staticList/{quote(target.external_id, safe='')}.json")
        else:
            url = query_url(settings.api("/rest/asset/v1/staticList/byName.json"), {"name": _name(target)})
        answer = yield json_request("GET", url)
        found = _first_id(answer)
        if found is not None:
            return ListId(found)
        return None if _code(answer) in _NOT_THERE else read(answer, 0)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        folder = yield from _folder(settings)
        if not isinstance(folder, str):
            return folder
        wanted = {"folder": folder, "name": _name(target)}
        answer = yield json_request("POST", query_url(settings.api("/rest/asset/v1/staticLists.json"), wanted))
        made = _first_id(answer)
        if made is not None:
            return ListId(made)
        return read(answer, 0) or Stop("Marketo made no list.", "Check that the API user may write assets.")


def _name(target: Target) -> str:
    return target.list_name()


def _folder(settings: MarketoSettings) -> Talk[str | Verdict]:
    """The number of the folder that lists are made in."""
    answer = yield json_request("GET", query_url(settings.api("/rest/asset/v1/folder/byName.json"), {"name": settings.folder}))
    found = _first_id(answer)
    if found is not None:
        return found
    failed = None if _code(answer) in _NOT_THERE else read(answer, 0)
    return failed or Stop(f"Marketo has no folder {settings.folder!r}.", "Make it in Marketo, or correct folder in the settings.")


# ---------------------------------------------------------------------- entering


def _import(batch: Batch, list_id: str) -> Request:
    wanted = {"format": "csv", "listId": list_id, "lookupField": batch.payloads[0]["lookup_field"]}
    rows: list[dict[str, str]] = [payload["data"] for payload in batch.payloads]
    body = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="leads.csv"\r\n'
        "Content-Type: text/csv\r\n\r\n"
        f"{_table(rows)}\r\n--{BOUNDARY}--\r\n"
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Request(query_url(batch.settings.api("/bulk/v1/leads.json"), wanted), body.encode(), headers)


def _table(rows: list[dict[str, str]]) -> str:
    """The rows as CSV under every name that one of them has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


# ---------------------------------------------------------------------- leaving


def _removed(batch: Batch, list_id: str) -> Conversation:
    """Those whom Marketo knows are taken off the list; whom it does not know is on none."""
    wanted = {"filterType": batch.payloads[0]["lookup_field"]}
    ids: list[str] = []
    for part in parts((payload["field_value"] for payload in batch.payloads), MOST):
        page: dict[str, str] = {"filterValues": ",".join(part)}
        while page:
            answer = yield json_request("GET", query_url(batch.settings.api("/rest/v1/leads.json"), {**wanted, **page}))
            failed = read(answer, len(batch.items))
            if failed is not None:
                return failed
            said = object_of(answer)
            ids += [str(lead["id"]) for lead in said.get("result") or []]
            page = {**page, "nextPageToken": str(said["nextPageToken"])} if said.get("nextPageToken") else {}
    for part in parts(ids, MOST):
        url = query_url(batch.settings.api(f"/rest/v1/lists/{quote(list_id, safe='')}/leads.json"), {"id": ",".join(part)})
        answer = yield json_request("DELETE", url)
        failed = read(answer, 0)
        if failed is not None:
            return failed
    return Accepted()


# ---------------------------------------------------------------------- answers


def _error(answer: Answer) -> Mapping[str, Any]:
    """The first error that an answer names, empty when it names none."""
    errors = object_of(answer).get("errors")
    first: Any = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, dict) else {}


def _code(answer: Answer) -> str:
    return str(_error(answer).get("code", ""))


def _first_id(answer: Answer) -> str | None:
    said = object_of(answer)
    found: Any = said.get("result") if said.get("success") else None
    return str(found[0]["id"]) if isinstance(found, list) and found else None


def read(answer: Answer, count: int) -> Verdict | None:
    """The verdict on an answer that is no success, by its status and by its code; `count` as in `failure`."""
    failed = failure(answer, count)
    said = object_of(answer)
    if failed is not None or said.get("success") is True:
        return failed
    code = _code(answer)
    if not code:
        return Backoff(f"{answer.place} says neither that it did it nor why it did not")
    if code in _PAUSES_S:
        return Pause(_PAUSES_S[code])
    reason = f"{answer.place} answered {code}: {_error(answer).get('message') or 'it gives no reason'}"
    if code in _LATER:
        return Backoff(reason)
    if count == 0 or code.startswith("6"):
        return Stop(f"{reason}.", "Check the settings of the destination, and what the API user may do.")
    return Accepted({0: reason}) if count == 1 else Bisect(reason)
