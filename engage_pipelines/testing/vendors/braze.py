"""A fake Braze: `/users/track` with 75 objects at most, a refused object named by its index, events kept as they come."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json

MOST = 75


class Fake(FakeApi):
    """People of a workspace by external id."""

    login = (("authorization", "Bearer the-braze-key"),)
    secrets = ("the-braze-key",)

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-braze-key", "endpoint": url}

    @route("POST", "/users/track")
    def track(self, request: Received) -> Reply:
        sent = sent_json(request)
        objects = [(name, index, one) for name in ("attributes", "events") for index, one in enumerate(sent.get(name, []))]
        if not objects:
            return reply_json({"message": "Attributes, events or purchases must be given"}, 400)
        if len(objects) > MOST:
            return reply_json({"message": "Too many objects"}, 400)
        errors: list[dict[str, Any]] = []
        for name, index, one in objects:
            problem = self._take(name, one)
            if problem:
                errors.append({"type": problem, "input_array": name, "index": index})
        if len(errors) == len(objects):
            return reply_json({"message": errors[0]["type"], "errors": errors}, 400)
        return reply_json(
            {"message": "success", "attributes_processed": len(objects) - len(errors)} | ({"errors": errors} if errors else {}), 201
        )

    def _take(self, name: str, one: dict[str, Any]) -> str:
        who = one.get("external_id") or one.get("email")
        if not who:
            return "'external_id', 'braze_id', 'user_alias' or 'email' is required"
        if who == self.unwanted:
            return "The value of an attribute is not valid"
        if name == "attributes":
            self.people.setdefault(who, {}).update(one)
        else:
            self.events.append(one)
        return ""

    def held(self) -> Mapping[str, bool]:
        return {who: person[KEY] for who, person in self.people.items() if KEY in person}
