"""A fake Amplitude: forms with the API key in them, `success` in plain text, a whole request refused for one wrong entry."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_form

_LOGIN = "Basic " + base64.b64encode(b"the-api-key:the-secret-key").decode()
_DONE = Reply(200, b"success", {"Content-Type": "text/html;charset=utf-8"})


class Fake(FakeApi):
    """Properties of people and groups."""

    secrets = ("the-api-key", "the-secret-key")

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-api-key", "secret_key": "the-secret-key", "endpoint": url}

    @route("GET", "/api/2/usersearch")
    def search(self, request: Received) -> Reply:
        return reply_json({"matches": []}) if request.headers.get("authorization") == _LOGIN else self.unauthorised()

    @route("POST", "/identify")
    def identify(self, request: Received) -> Reply:
        return self._take(request, self.people, "user_properties", ("user_id", "device_id"))

    @route("POST", "/groupidentify")
    def identify_group(self, request: Received) -> Reply:
        return self._take(request, self.groups, "group_properties", ("group_value",))

    def _take(self, request: Received, held: dict[str, dict[str, Any]], properties: str, names: tuple[str, ...]) -> Reply:
        form = sent_form(request)
        if form.get("api_key") != "the-api-key":
            return Reply(400, b"invalid_api_key")
        entries: list[dict[str, Any]] = orjson.loads(form["identification"])
        if len(entries) > 1_000 or len(request.body) > 1_000_000:
            return Reply(413, b"request_too_large")
        known = [next((entry[name] for name in names if name in entry), "") for entry in entries]
        if "" in known or self.unwanted in known:
            return Reply(400, b"invalid_identification")
        for name, entry in zip(known, entries, strict=True):
            held.setdefault(name, {}).update(entry[properties])
        return _DONE

    def held(self) -> Mapping[str, bool]:
        return {who: properties[KEY] for who, properties in self.people.items() if KEY in properties}
