"""A fake Iterable that keeps users: fields by id, 1,000 users at most in one request, those that it does not take named by their ids."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json

MOST = 1_000


class Fake(FakeApi):
    """Users of a project by id, or by e-mail address where they have none."""

    login = (("api-key", "the-api-key"),)
    secrets = ("the-api-key",)

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, dict[str, Any]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-api-key", "endpoint": url}

    @route("GET", "/api/webhooks")
    def webhooks(self, request: Received) -> Reply:
        return reply_json({"webhooks": []})

    @route("POST", "/api/users/update")
    def update(self, request: Received) -> Reply:
        sent = sent_json(request)
        if self._take(sent):
            return reply_json({"msg": "", "code": "Success", "params": None})
        return reply_json({"msg": "Invalid userId", "code": "InvalidUserIdError", "params": None}, 400)

    @route("POST", "/api/users/bulkUpdate")
    def update_many(self, request: Received) -> Reply:
        sent = sent_json(request)
        if len(sent["users"]) > MOST:
            return reply_json({"msg": "too many users", "code": "BadParams"}, 413)
        known = [user for user in sent["users"] if not sent.get("updateOnly") or _who(user) in self.users]
        unknown = [_who(user) for user in sent["users"] if user not in known]
        invalid = [_who(user) for user in known if not self._take(user)]
        failed = {"invalidUserIds": invalid, "notFoundUserIds": unknown, "invalidEmails": []}
        fail_count = len(invalid) + len(unknown)
        return reply_json({"successCount": len(sent["users"]) - fail_count, "failCount": fail_count, "failedUpdates": failed})

    def _take(self, user: dict[str, Any]) -> bool:
        if not _who(user) or _who(user) == self.unwanted:
            return False
        self.users.setdefault(_who(user), {}).update(user["dataFields"])
        return True

    def held(self) -> Mapping[str, bool]:
        return {who: fields[KEY] for who, fields in self.users.items() if KEY in fields}


def _who(user: dict[str, Any]) -> str:
    return user.get("userId") or user.get("email") or ""
