"""A fake Braze that keeps cohorts: both keys are in the body, whoever Braze does not know is left out, cohorts must be made first."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json


class Fake(FakeApi):
    """Cohorts by id."""

    secrets = ("the-client-secret", "the-partner-key")
    list_id = "cohort-1"

    def __init__(self) -> None:
        super().__init__()
        self.cohorts: dict[str, set[str]] = {"cohort-1": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"client_secret": "the-client-secret", "partner_api_key": "the-partner-key", "partner": "engage", "endpoint": url}

    def _lets_in(self, request: Received) -> bool:
        sent = sent_json(request) if request.body else {}
        return sent.get("client_secret") == "the-client-secret" and sent.get("partner_api_key") == "the-partner-key"

    @route("POST", "/partners/engage/cohorts")
    def make(self, request: Received) -> Reply:
        sent = sent_json(request)
        self.cohorts.setdefault(sent["cohort_id"], set())
        return reply_json({"message": "success"}, 201)

    @route("POST", "/partners/engage/cohorts/users")
    def change(self, request: Received) -> Reply:
        sent = sent_json(request)
        changes: list[dict[str, Any]] = sent["cohort_changes"]
        if changes and sent["cohort_id"] not in self.cohorts:
            return reply_json({"message": "Cohort does not exist"}, 400)
        if any(self.unwanted in change["user_ids"] for change in changes if self.unwanted):
            return reply_json({"message": "An id is not valid"}, 400)
        for change in changes:
            people = set(change["user_ids"])
            held = self.cohorts[sent["cohort_id"]]
            self.cohorts[sent["cohort_id"]] = held - people if change.get("should_remove") else held | people
        return reply_json({"message": "success"}, 201)

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(set[str]().union(*self.cohorts.values()), True)
