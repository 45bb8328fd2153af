"""A fake Marketo: people by number, static lists, imports of CSV, tokens; errors come with status 200 and a code."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_form, sent_query

MOST, MOST_BYTES, LONGEST_ADDRESS = 300, 10_000_000, 8_000


class Fake(FakeApi):
    """An instance with one folder; e-mail addresses are found in whatever case they are written."""

    secrets = ("the-client-secret",)
    token_path = "/identity/oauth/token"  # noqa: S105 (a path)
    list_id = "1001"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"1001": "Big spenders"}
        self.lists: dict[str, set[str]] = {"1001": set()}
        self.people: dict[str, dict[str, str]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"client_id": "the-client", "client_secret": "the-client-secret", "endpoint": url, "folder": "Audiences"}

    def respond(self, request: Received) -> Reply:
        path = urlsplit(request.path).path
        if path == self.token_path and sent_form(request).get("grant_type") != "client_credentials":
            return Reply(400, b'{"error": "unsupported_grant_type"}')
        if path != self.token_path and not self._lets_in(request):
            return _problem("602", "Access token expired")
        if len(request.path) > LONGEST_ADDRESS:
            return Reply(414)
        return super().respond(request)

    @route("GET", "/rest/asset/v1/folder/byName.json")
    def folder(self, request: Received) -> Reply:
        known = sent_query(request)["name"] == "Audiences"
        return _result([{"id": 13, "name": "Audiences"}]) if known else reply_json({"success": True, "warnings": ["No assets found"]})

    @route("GET", "/rest/asset/v1/staticList/byName.json")
    def list_by_name(self, request: Received) -> Reply:
        found = [{"id": int(one), "name": name} for one, name in self.names.items() if name == sent_query(request)["name"]]
        return _result(found) if found else _problem("702", "Static list not found")

    @route("GET", "/rest/asset/v1/staticList/([^/]+).json")
    def one_list(self, request: Received, list_id: str) -> Reply:
        return _result([{"id": int(list_id)}]) if list_id in self.names else _problem("702", "Static list not found")

    @route("POST", "/rest/asset/v1/staticLists.json")
    def make_list(self, request: Received) -> Reply:
        sent = sent_query(request)
        if sent["folder"] != "13" or sent["name"] in self.names.values():
            return _problem("709", "A list of this name is there already")
        made = str(max(int(one) for one in self.names) + 1)
        self.names[made], self.lists[made] = sent["name"], set()
        return _result([{"id": int(made), "name": sent["name"]}])

    @route("POST", "/bulk/v1/leads.json")
    def take(self, request: Received) -> Reply:
        asked = sent_query(request)
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        if len(request.body) > MOST_BYTES:
            return Reply(413)
        if asked["listId"] not in self.lists:
            return _problem("1013", "List not found")
        file = re.fullmatch(rb"--" + boundary + rb"\r\n.*?\r\n\r\n(.*)\r\n--" + boundary + rb"--\r\n", request.body, re.DOTALL)
        if file is None:
            return _problem("613", "Invalid multipart request")
        rows = list(csv.DictReader(io.StringIO(file[1].decode(), newline="")))
        if any(row[asked["lookupField"]] == self.unwanted for row in rows):
            return _problem("1003", "Value for field is not valid")
        for row in rows:
            number = next(iter(self._numbers(asked["lookupField"], [row[asked["lookupField"]]])), str(500 + len(self.people)))
            self.people.setdefault(number, {}).update(row)
            self.lists[asked["listId"]].add(number)
        return _result([{"batchId": 7, "importId": "7", "status": "Queued"}])

    @route("GET", "/rest/v1/leads.json")
    def find(self, request: Received) -> Reply:
        asked = sent_query(request)
        values = asked["filterValues"].split(",")
        if len(values) > MOST:
            return _problem("1003", "Too many values to filter")
        return _result([{"id": int(one)} for one in self._numbers(asked["filterType"], values)])

    @route("DELETE", "/rest/v1/lists/([^/]+)/leads.json")
    def leave(self, request: Received, list_id: str) -> Reply:
        ids = sent_query(request).get("id", "").split(",")
        if list_id not in self.lists:
            return _problem("1013", "List not found")
        if not ids[0] or len(ids) > MOST:
            return _problem("1003", "Between 1 and 300 ids")
        self.lists[list_id] -= set(ids)
        return _result([{"id": int(one), "status": "removed"} for one in ids])

    def _numbers(self, field: str, values: list[str]) -> list[str]:
        wanted = {value.casefold() for value in values}
        return [number for number, one in self.people.items() if one.get(field, "").casefold() in wanted]

    def held(self) -> Mapping[str, bool]:
        return {self.people[number]["email"].lower(): True for number in self.lists["1001"]}


def _result(found: Sequence[Mapping[str, object]]) -> Reply:
    return reply_json({"requestId": "e42b#1", "success": True, "result": found})


def _problem(code: str, said: str) -> Reply:
    return reply_json({"requestId": "e42b#1", "success": False, "errors": [{"code": code, "message": said}]})
