"""A fake Mixpanel: profiles by token and id, groups, and events of which a repeated insert id is dropped."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route

PROJECT = "the-project-token"
_LOGIN = "Basic dGhlLWFwaS1zZWNyZXQ6"


class Fake(FakeApi):
    """A project."""

    login = (("authorization", _LOGIN),)
    secrets = ("the-api-secret",)

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"project_token": PROJECT, "api_secret": "the-api-secret", "endpoint": url}

    @route("POST", "/engage")
    def engage(self, request: Received) -> Reply:
        sent: list[dict[str, Any]] = orjson.loads(request.body)
        problem = self._problem(sent, 2_000, "$distinct_id")
        if problem is None:
            for one in sent:
                self.people.setdefault(one["$distinct_id"], {}).update(one["$set"])
        return problem or reply_json({"status": 1, "error": None})

    @route("POST", "/groups")
    def companies(self, request: Received) -> Reply:
        sent: list[dict[str, Any]] = orjson.loads(request.body)
        problem = self._problem(sent, 200, "$group_id")
        if problem is None:
            for one in sent:
                self.groups.setdefault((one["$group_key"], one["$group_id"]), {}).update(one["$set"])
        return problem or reply_json({"status": 1, "error": None})

    def _problem(self, sent: list[dict[str, Any]], most: int, who: str) -> Reply | None:
        if len(sent) > most:
            return Reply(413, b"{}")
        if any(one.get("$token") != PROJECT for one in sent):
            return reply_json({"status": 0, "error": "token, missing or invalid"}, 401)
        if any(not one.get(who) or one[who] == self.unwanted for one in sent):
            return reply_json({"status": 0, "error": f"{who}, missing or invalid"})
        return None

    @route("POST", "/import")
    def take(self, request: Received) -> Reply:
        sent: list[dict[str, Any]] = orjson.loads(request.body)
        failed: list[dict[str, Any]] = []
        for index, one in enumerate(sent):
            insert_id = one["properties"].get("$insert_id", "")
            if not re.fullmatch("[A-Za-z0-9-]{1,36}", insert_id):
                failed.append({"index": index, "field": "properties.$insert_id", "message": "'properties.$insert_id' is invalid"})
            elif one["properties"]["distinct_id"] == self.unwanted:
                failed.append({"index": index, "field": "properties.distinct_id", "message": "'distinct_id' is invalid"})
            else:
                self.events.setdefault(insert_id, one)
        if failed:
            taken = len(sent) - len(failed)
            return reply_json(
                {"code": 400, "error": "some data points failed", "num_records_imported": taken, "failed_records": failed}, 400
            )
        return reply_json({"code": 200, "num_records_imported": len(sent), "status": "OK"})

    def held(self) -> Mapping[str, bool]:
        return {who: person[KEY] for who, person in self.people.items() if KEY in person}
