"""A fake Amplitude that keeps cohorts: not made empty, people that the project does not know are skipped and named."""

import base64
from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

MOST = 100_000


class Fake(FakeApi):
    """Cohorts by id; everybody but the unwanted is known."""

    login = (("authorization", "Basic " + base64.b64encode(b"the-api-key:the-secret-key").decode()),)
    secrets = ("the-api-key", "the-secret-key")
    list_id = "cohort1"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"cohort1": "Big spenders"}
        self.cohorts: dict[str, set[str]] = {"cohort1": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        keys = {"api_key": "the-api-key", "secret_key": "the-secret-key"}
        return {**keys, "app_id": "4711", "default_owner_email": "owner@example.test", "endpoint": url}

    @route("GET", "/api/2/usersearch")
    def search(self, request: Received) -> Reply:
        found = [{"user_id": "seed", "amplitude_id": 12}] if sent_query(request)["user"] == "3" else []
        return reply_json({"matches": found})

    @route("GET", "/api/3/cohorts")
    def cohorts_there(self, request: Received) -> Reply:
        return reply_json({"cohorts": [{"id": name, "name": said, "archived": False} for name, said in self.names.items()]})

    @route("POST", "/api/3/cohorts/upload")
    def upload(self, request: Received) -> Reply:
        sent = sent_json(request)
        if not sent["ids"] or sent["app_id"] != "4711":
            return reply_json({"error": {"message": "ids must not be empty"}}, 400)
        made = f"cohort{len(self.names) + 1}"
        self.names[made] = sent["name"]
        self.cohorts[made] = set(sent["ids"])
        return reply_json({"cohortId": made})

    @route("POST", "/api/3/cohorts/membership")
    def membership(self, request: Received) -> Reply:
        sent = sent_json(request)
        held = self.cohorts.get(sent["cohort_id"])
        if held is None:
            return reply_json({"error": {"message": "Cohort not found"}}, 404)
        results: list[dict[str, Any]] = []
        for change in sent["memberships"]:
            if len(change["ids"]) > MOST:
                return reply_json({"error": {"message": "too many ids"}}, 413)
            adds = change["operation"] == "ADD"
            skipped = [name for name in change["ids"] if name == self.unwanted or (not adds and name not in held)]
            people = set(change["ids"]) - set(skipped)
            held = held | people if adds else held - people
            results.append({"skipped_ids": skipped, "id_type": change["id_type"], "operation": change["operation"]})
        self.cohorts[sent["cohort_id"]] = held
        return reply_json({"cohort_id": sent["cohort_id"], "memberships_result": results})

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.cohorts["cohort1"], True)
