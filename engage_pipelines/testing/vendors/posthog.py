"""A fake PostHog: `/batch/` with the project's key in the body, people and groups set by events."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json

MOST_BYTES = 20_000_000


class Fake(FakeApi):
    """Persons by distinct id, groups by type and key, other events as they come."""

    secrets = ("phc_the-project-key",)

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "phc_the-project-key", "endpoint": url}

    @route("POST", "/batch/")
    def capture(self, request: Received) -> Reply:
        sent = sent_json(request)
        if sent.get("api_key") != "phc_the-project-key":
            return reply_json({"type": "authentication_error", "code": "invalid_api_key"}, 401)
        events = sent.get("batch") or []
        if not events or len(request.body) > MOST_BYTES:
            return reply_json({"type": "validation_error", "code": "invalid_payload"}, 400)
        if any(one["properties"].get("distinct_id") in {None, "", self.unwanted} for one in events):
            return reply_json({"type": "validation_error", "code": "invalid_payload", "detail": "distinct_id cannot be used"}, 400)
        for one in events:
            self._take(one["event"], one["properties"], one)
        return reply_json({"status": 1})

    def _take(self, name: str, properties: dict[str, Any], event: dict[str, Any]) -> None:
        if name == "$identify":
            self.people.setdefault(properties["distinct_id"], {}).update(properties["$set"])
        elif name == "$groupidentify":
            self.groups.setdefault((properties["$group_type"], properties["$group_key"]), {}).update(properties["$group_set"])
        else:
            self.events.append(event)

    def held(self) -> Mapping[str, bool]:
        return {who: person[KEY] for who, person in self.people.items() if KEY in person}
