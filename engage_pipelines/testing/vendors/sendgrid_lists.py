"""A fake SendGrid that keeps lists: contacts come on as they are written, are looked for by identifiers and taken off by their numbers."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import reply_json, route, sent_json, sent_query
from engage_pipelines.testing.vendors.sendgrid import Contacts

MOST = 100


class Fake(Contacts):
    """Lists by id."""

    list_id = "list-1"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"list-1": "Big spenders"}
        self.lists: dict[str, set[str]] = {"list-1": set()}

    @route("GET", "/v3/marketing/lists")
    def lists_there(self, request: Received) -> Reply:
        size = int(sent_query(request).get("page_size", "100"))
        return reply_json({"result": [{"id": one, "name": name} for one, name in self.names.items()][:size]})

    @route("GET", "/v3/marketing/lists/([^/]+)")
    def one_list(self, request: Received, list_id: str) -> Reply:
        known = self.names.get(unquote(list_id))
        return reply_json({"id": list_id, "name": known}) if known else _problem(404, "list not found")

    @route("POST", "/v3/marketing/lists")
    def make(self, request: Received) -> Reply:
        name = sent_json(request)["name"]
        if name in self.names.values() or not 1 <= len(name) <= 100:
            return _problem(400, "name exists already, or is too long")
        made = f"list-{len(self.names) + 1}"
        self.names[made], self.lists[made] = name, set()
        return reply_json({"id": made, "name": name}, 201)

    @route("PUT", "/v3/marketing/contacts")
    def put(self, request: Received) -> Reply:
        sent = sent_json(request)
        if any(one not in self.lists for one in sent["list_ids"]):
            return _problem(400, "list ids are not valid")
        problem = self.problem(sent)
        for contact in [] if problem else sent["contacts"]:
            number = self.keep(contact)
            for one in sent["list_ids"]:
                self.lists[one].add(number)
        return problem or reply_json({"job_id": "job1"}, 202)

    @route("POST", "/v3/marketing/contacts/search/emails")
    def by_address(self, request: Received) -> Reply:
        return self._found("email", {one: one.lower() for one in sent_json(request)["emails"]})

    @route("POST", "/v3/marketing/contacts/search/identifiers/(phone_number_id|external_id|anonymous_id)")
    def by_identifier(self, request: Received, kind: str) -> Reply:
        return self._found(kind, {one: one for one in sent_json(request)["identifiers"]})

    def _found(self, kind: str, wanted: dict[str, str]) -> Reply:
        if len(wanted) > MOST:
            return _problem(400, "too many identifiers")
        found: dict[str, Any] = {}
        for name, value in wanted.items():
            number = self.find(kind, value)
            found[name] = {"contact": {"id": number}} if number else {"error": "contact not found"}
        return reply_json({"result": found}) if any("contact" in one for one in found.values()) else _problem(404, "none found")

    @route("DELETE", "/v3/marketing/lists/([^/]+)/contacts")
    def leave(self, request: Received, list_id: str) -> Reply:
        ids = sent_query(request).get("contact_ids", "").split(",")
        if list_id not in self.lists:
            return _problem(404, "list not found")
        if not ids[0] or len(ids) > MOST:
            return _problem(400, "between 1 and 100 contacts")
        self.lists[list_id] -= set(ids)
        return reply_json({"job_id": "job2"}, 202)

    def held(self) -> Mapping[str, bool]:
        return {self.contacts[number]["email"]: True for number in self.lists["list-1"]}


def _problem(status: int, said: str) -> Reply:
    return reply_json({"errors": [{"message": said}]}, status)
