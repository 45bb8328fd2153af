"""A fake HubSpot with its lists: made by hand, changed by the ids of records, ids that there are none of are named."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import reply_json, route, sent_json
from engage_pipelines.testing.vendors import hubspot

MOST = 100_000


class Fake(hubspot.Fake):
    """Lists by id, and the ids of the records on them."""

    list_id = "1"

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, dict[str, Any]] = {
            "1": {"listId": "1", "name": "Big spenders", "objectTypeId": "0-1", "processingType": "MANUAL"},
            "2": {"listId": "2", "name": "Kept by HubSpot", "objectTypeId": "0-1", "processingType": "DYNAMIC"},
        }
        self.members: dict[str, set[str]] = {"1": set(), "2": set()}

    @route("GET", "/crm/v3/lists/([^/]+)")
    def one_list(self, request: Received, number: str) -> Reply:
        return reply_json({"list": self.lists[number]}) if number in self.lists else Reply(404, b"{}")

    @route("GET", "/crm/v3/lists/object-type-id/contact/name/([^/]+)")
    def named_list(self, request: Received, name: str) -> Reply:
        found = next((one for one in self.lists.values() if one["name"] == unquote(name)), None)
        return reply_json({"list": found}) if found else Reply(404, b"{}")

    @route("POST", "/crm/v3/lists")
    def make_list(self, request: Received) -> Reply:
        sent = sent_json(request)
        if any(one["name"] == sent["name"] for one in self.lists.values()):
            return reply_json({"message": "duplicate", "subCategory": "ILS.DUPLICATE_LIST_NAMES"}, 400)
        number = str(len(self.lists) + 1)
        self.lists[number] = {"listId": number, **sent}
        self.members[number] = set()
        return reply_json({"list": self.lists[number]})

    @route("PUT", "/crm/v3/lists/([^/]+)/memberships/add-and-remove")
    def change_members(self, request: Received, number: str) -> Reply:
        sent = sent_json(request)
        asked = {*sent["recordIdsToAdd"], *sent["recordIdsToRemove"]}
        if number not in self.lists or len(asked) > MOST or self.lists[number]["processingType"] == "DYNAMIC":
            return reply_json({"message": "the list cannot be changed"}, 400)
        there = set(self.table("contacts"))
        self.members[number] |= set(sent["recordIdsToAdd"]) & there
        self.members[number] -= set(sent["recordIdsToRemove"])
        return reply_json({"recordIdsMissing": sorted(asked - there)})

    def held(self) -> Mapping[str, bool]:
        return {self.table("contacts")[number]["email"]: True for number in self.members["1"]}
