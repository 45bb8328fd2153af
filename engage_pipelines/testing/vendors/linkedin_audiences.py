"""A fake LinkedIn with the DMP segments of one ad account: 5,000 people in a request, a status for each of them, versions of the API."""

import re
from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

MOST = 5_000
ACCOUNT = "urn:li:sponsoredAccount:4711"


class Fake(FakeApi):
    """Segments by id, people by the hash of their e-mail address or by their device."""

    login = (("linkedin-version", "202604"), ("x-restli-protocol-version", "2.0.0"))
    secrets = ("the-client-secret", "the-refresh-token")
    token_path = "/oauth/v2/accessToken"  # noqa: S105 (a path)
    list_id = "77"

    def __init__(self) -> None:
        super().__init__()
        self.sources = {"77": "big_spenders"}
        self.segments: dict[str, set[str]] = {"77": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        secrets = {"client_secret": "the-client-secret", "refresh_token": "the-refresh-token"}
        return {**secrets, "client_id": "the-client", "ad_account_id": "4711", "endpoint": url}

    @route("GET", "/rest/adAccounts/4711")
    def account(self, request: Received) -> Reply:
        return reply_json({"id": 4711})

    @route("GET", "/rest/dmpSegments")
    def find(self, request: Received) -> Reply:
        asked = sent_query(request)
        if asked["q"] != "account" or asked["account"] != ACCOUNT:
            return reply_json({"message": "not an account of yours"}, 403)
        found = [{"id": int(id_)} for id_, source in self.sources.items() if source == asked["sourceSegmentId"]]
        return reply_json({"elements": found, "paging": {"total": len(found)}})

    @route("GET", r"/rest/dmpSegments/(\d+)")
    def segment(self, request: Received, id_: str) -> Reply:
        return reply_json({"id": int(id_)}) if id_ in self.segments else reply_json({"message": "not found"}, 404)

    @route("POST", "/rest/dmpSegments")
    def make(self, request: Received) -> Reply:
        made = str(77 + len(self.segments))
        self.sources[made] = sent_json(request)["sourceSegmentId"]
        self.segments[made] = set()
        return Reply(201, b"", {"x-restli-id": made})

    @route("POST", r"/rest/dmpSegments/(\d+)/users")
    def users(self, request: Received, id_: str) -> Reply:
        elements = sent_json(request)["elements"]
        if id_ not in self.segments:
            return reply_json({"message": "not found"}, 404)
        if request.headers.get("x-restli-method") != "BATCH_CREATE" or len(elements) > MOST:
            return reply_json({"message": "not a batch of 5000 elements at most"}, 400)
        return reply_json({"elements": [self._take(self.segments[id_], one) for one in elements]})

    def _take(self, segment: set[str], element: Mapping[str, Any]) -> dict[str, Any]:
        for user in element["userIds"]:
            bad_hash = user["idType"] == "SHA256_EMAIL" and not re.fullmatch("[0-9a-f]{64}", user["idValue"])
            if bad_hash or user["idValue"] == self.unwanted:
                return {"status": 400, "message": "idValue is not valid"}
            (segment.add if element["action"] == "ADD" else segment.discard)(user["idValue"])
        return {"status": 201}

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.segments["77"], True)
