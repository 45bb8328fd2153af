"""A fake Iterable that keeps static lists: known by number, made by name, 1,000 users at most in one request."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json

MOST = 1_000


class Fake(FakeApi):
    """Lists by number; who is on one is a user of the project."""

    login = (("api-key", "the-api-key"),)
    secrets = ("the-api-key",)
    list_id = "77"

    def __init__(self) -> None:
        super().__init__()
        self.names = {77: KEY}
        self.lists: dict[int, set[str]] = {77: set()}
        self.users: set[str] = set()

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-api-key", "endpoint": url}

    @route("GET", "/api/lists")
    def lists_there(self, request: Received) -> Reply:
        return reply_json({"lists": [{"id": number, "name": name, "listType": "Standard"} for number, name in self.names.items()]})

    @route("POST", "/api/lists")
    def make(self, request: Received) -> Reply:
        number = max(self.names) + 1
        self.names[number] = sent_json(request)["name"]
        self.lists[number] = set()
        return reply_json({"listId": number})

    @route("POST", "/api/lists/(subscribe|unsubscribe)")
    def change(self, request: Received, what: str) -> Reply:
        sent = sent_json(request)
        if sent["listId"] not in self.lists or not isinstance(sent["listId"], int):
            return reply_json({"msg": "Invalid listId", "code": "BadParams"}, 400)
        if len(sent["subscribers"]) > MOST:
            return reply_json({"msg": "too many subscribers", "code": "BadParams"}, 413)
        people = [_who(one) for one in sent["subscribers"]]
        refused = [who for who in people if who == self.unwanted]
        unknown = [who for who in people if who not in self.users] if _only_existing(what, sent) else []
        taken = set(people) - set(refused) - set(unknown)
        if what == "subscribe":
            self.users |= taken
            self.lists[sent["listId"]] |= taken
        else:
            self.lists[sent["listId"]] -= taken
        failed = {"invalidUserIds": refused, "notFoundUserIds": unknown}
        return reply_json({"successCount": len(taken), "failCount": len(people) - len(taken), "failedUpdates": failed})

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.lists[77], True)


def _who(user: dict[str, Any]) -> str:
    return user.get("userId") or user.get("email") or ""


def _only_existing(what: str, sent: dict[str, Any]) -> bool:
    return what == "unsubscribe" or bool(sent.get("updateExistingUsersOnly"))
