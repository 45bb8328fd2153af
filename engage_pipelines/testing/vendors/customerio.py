"""A fake Customer.io: the Track API v2's batch endpoint, 500 KB a request and 32 KB an entry, refused entries under 207."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json


class Fake(FakeApi):
    """People, objects and events of a workspace."""

    login = (("authorization", "Basic " + base64.b64encode(b"the-site-id:the-track-key").decode()),)
    secrets = ("the-site-id", "the-track-key")

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"site_id": "the-site-id", "api_key": "the-track-key", "endpoint": url}

    @route("GET", "/auth")
    def auth(self, request: Received) -> Reply:
        return reply_json({"meta": "nice credentials."})

    @route("POST", "/api/v2/batch")
    def batch(self, request: Received) -> Reply:
        if len(request.body) > 500_000:
            return reply_json({"errors": [{"reason": "size", "message": "the request is larger than 500 KB"}]}, 413)
        problems = [(index, self._take(entry)) for index, entry in enumerate(sent_json(request)["batch"])]
        errors = [{"batch_index": index, "reason": "invalid", "message": problem} for index, problem in problems if problem]
        return reply_json({"errors": errors} if errors else {}, 207 if errors else 200)

    def _take(self, entry: dict[str, Any]) -> str:
        if len(orjson.dumps(entry)) > 32_768:
            return "the entry is larger than 32 KB"
        who = next(iter(entry["identifiers"].values())) if entry["type"] == "person" else entry["identifiers"]["object_id"]
        if who == self.unwanted:
            return "the value of an attribute is not valid"
        if entry["action"] == "event":
            self.events[entry["id"]] = entry
        else:
            held = self.people if entry["type"] == "person" else self.objects
            held.setdefault(who, {}).update(entry.get("attributes", {}))
        return ""

    def held(self) -> Mapping[str, bool]:
        return {who: person[KEY] for who, person in self.people.items() if KEY in person}
